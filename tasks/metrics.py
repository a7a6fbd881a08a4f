"""Metrics that Keras lacks: for labels by their names, of sequences, images and embeddings.

`task.metrics: [accuracy, auc]`: each is a class below `LabelMetric` in `model_config.py`, and here
either a function of its name, `accuracy(targets, logits)`, of whose values the weighted mean is
taken, or, where it is no mean over items, a Keras metric class of its name in CamelCase, made by
`Auc(num_classes)`. Items stand in one row: targets are class indices [N] or probabilities
[N, num_classes], logits [N, num_classes].
"""

import keras
import tensorflow as tf


def labels_of(targets):
    """Class indices int64 [...] of indices or probabilities [..., num_classes]."""
    labels = targets if targets.dtype.is_integer else tf.argmax(targets, axis=-1)
    return tf.cast(labels, tf.int64)


def accuracy(targets, logits):
    """1.0 where the largest logit, the first of equals, is the target's: float32 [...]."""
    correct = tf.argmax(logits, axis=-1) == labels_of(targets)
    return tf.cast(correct, tf.float32)


def top_5_accuracy(targets, logits):
    """1.0 where fewer than five logits are above the target's: float32 [N]. NaN is a miss."""
    labels = labels_of(targets)[:, tf.newaxis]
    target_logits = tf.gather(logits, labels, batch_dims=1)  # (N, 1)
    above = tf.cast(~(logits <= target_logits), tf.int32)
    count = tf.reduce_sum(above, axis=-1)
    return tf.cast(count < 5, tf.float32)


# ---- averaged over classes


def mean_where(values, counts):
    """Mean of the values [num_classes] that count; NaN where none does, for it is not 0."""
    return tf.reduce_mean(tf.boolean_mask(values, counts))


class Auc(keras.metrics.AUC):
    """Area under the ROC curve of each class against the rest, averaged; 200 thresholds.

    Only over classes that have examples and counter-examples: others have no curve.
    """

    def __init__(self, num_classes: int):
        super().__init__(name="auc", multi_label=True, num_labels=num_classes)

    def update_state(self, targets, logits, sample_weight):
        num_classes = logits.shape[-1]
        one_hot = tf.one_hot(labels_of(targets), num_classes)
        weight = tf.repeat(sample_weight[:, tf.newaxis], num_classes, axis=1)
        probabilities = tf.nn.softmax(logits)
        super().update_state(one_hot, probabilities, weight)

    def result(self):
        positives = self.true_positives + self.false_negatives  # (thresholds, num_classes)
        negatives = self.false_positives + self.true_negatives
        recall = tf.math.divide_no_nan(self.true_positives + 0.0, positives)
        fall_out = tf.math.divide_no_nan(self.false_positives + 0.0, negatives)
        heights = (recall[:-1] + recall[1:]) / 2
        areas = tf.reduce_sum((fall_out[:-1] - fall_out[1:]) * heights, axis=0)
        return mean_where(areas, (positives[0] > 0) & (negatives[0] > 0))


class ConfusionMatrix(keras.metrics.Metric):
    """[num_classes, num_classes]: weight of the items by class (rows) and predicted class."""

    def __init__(self, num_classes: int):
        super().__init__(name="confusion_matrix")
        shape = (num_classes, num_classes)
        self.matrix = self.add_variable(shape, "zeros", name="matrix")

    def update_state(self, targets, logits, sample_weight):
        counts = tf.math.confusion_matrix(
            labels_of(targets),
            tf.argmax(logits, axis=-1),
            logits.shape[-1],
            sample_weight,
            tf.float32,
        )
        self.matrix.assign_add(counts)

    def result(self):
        return tf.convert_to_tensor(self.matrix)

    def of_classes(self) -> tuple:
        """Weight [num_classes] of the items that are it, are taken for it, and both."""
        matrix = tf.convert_to_tensor(self.matrix)
        return tf.reduce_sum(matrix, 1), tf.reduce_sum(matrix, 0), tf.linalg.diag_part(matrix)


class F1(ConfusionMatrix):
    """2 * precision * recall / (precision + recall) of each class that has examples, averaged."""

    def result(self):
        items, predicted, hits = self.of_classes()
        return mean_where(2 * hits / (items + predicted), items > 0)


class MeanIou(ConfusionMatrix):
    """Intersection over union of each class that has examples, averaged.

    Everingham et al., The PASCAL visual object classes challenge, 2010, section 4.
    """

    def result(self):
        items, predicted, hits = self.of_classes()
        return mean_where(hits / (items + predicted - hits), items > 0)


class PerItem(keras.metrics.Metric):
    """A metric of items in one row, updated with those of examples: [B, ...] -> [items]."""

    def __init__(self, metric: keras.metrics.Metric):
        super().__init__()
        self.metric = metric

    def update_state(self, targets, logits, sample_weight):
        targets = tf.reshape(targets, [-1])
        logits = tf.reshape(logits, [-1, logits.shape[-1]])
        weight = tf.reshape(sample_weight, [-1])
        self.metric.update_state(targets, logits, weight)

    def result(self):
        return self.metric.result()


# ---- sequences


def edit_distance(written, targets):
    """Insertions, deletions, substitutions between them: ids int32 [B, any], 0 pads -> [B]."""
    written = tf.sparse.from_dense(written)
    targets = tf.sparse.from_dense(targets)
    return tf.edit_distance(written, targets, normalize=False)


# ---- images


def mean_per_example(values):
    """[B, ...] -> [B]."""
    return tf.reduce_mean(values, axis=tf.range(1, tf.rank(values)))


def psnr(images, targets, peak: float):
    """Signal-to-noise ratio in dB, 10 log10(peak^2 / mean squared error), at most 100: [B]."""
    error = mean_per_example(tf.square(images - targets))
    ratio = peak**2 / tf.maximum(error, peak**2 * 1e-10)
    return 10.0 * tf.math.log(ratio) / tf.math.log(10.0)


# ---- embeddings


def neighbors_in_group(vectors, groups: list[int], k: int):
    """Share of the `k` nearest neighbors, by cosine, in the same group, over all members of groups.

    vectors [V, D]; groups [V], -1 for tokens in no group, which are left out on both sides.
    """
    groups = tf.constant(groups)
    members = tf.where(groups >= 0)[:, 0]
    groups = tf.gather(groups, members)
    vectors = tf.gather(vectors, members)
    vectors = tf.math.l2_normalize(vectors, axis=1)
    cosines = tf.matmul(vectors, vectors, transpose_b=True)
    never = tf.fill(tf.shape(members), -2.0)
    cosines = tf.linalg.set_diag(cosines, never)  # nobody is a neighbor of itself
    nearest = tf.math.top_k(cosines, k).indices  # (members, k)
    in_group = tf.gather(groups, nearest) == groups[:, tf.newaxis]
    return tf.reduce_mean(tf.cast(in_group, tf.float32))
