"""Metrics that Keras lacks: for labels by their names, of sequences, images and embeddings.

`task.metrics: [accuracy, auc]`: each is a class below `LabelMetric` in `model_config.py`, and here
either a function of its name, `accuracy(targets, logits)`, of whose values the weighted mean is
taken, or, where it is no mean over items, a Keras metric class of its name in CamelCase, made by
`Auc(num_classes)`. Items stand in one row: targets are class indices [N] or probabilities
[N, num_classes], logits [N, num_classes].
"""

import keras
import tensorflow as tf

from engine.variables import build_f1_score


def labels_of(targets):
    """Class indices int64 [N]."""
    return tf.cast(targets if targets.dtype.is_integer else tf.argmax(targets, axis=-1), tf.int64)


def accuracy(targets, logits):
    """1.0 where the largest logit, the first of equals, is the target's: float32 [N]."""
    return tf.cast(tf.argmax(logits, axis=-1) == labels_of(targets), tf.float32)


def top_5_accuracy(targets, logits):
    """1.0 where fewer than five logits are above the target's: float32 [N]. NaN is a miss."""
    target_logit = tf.gather(logits, labels_of(targets), batch_dims=1)
    above = tf.reduce_sum(tf.cast(~(logits <= target_logit[:, tf.newaxis]), tf.int32), axis=-1)
    return tf.cast(above < 5, tf.float32)


class Auc(keras.metrics.AUC):
    """Area under the ROC curve of each class against the rest, averaged; 200 thresholds."""

    def __init__(self, num_classes: int):
        super().__init__(name="auc", multi_label=True, num_labels=num_classes)

    def update_state(self, targets, logits, sample_weight):
        one_hot = tf.one_hot(labels_of(targets), self.num_labels)
        weight = tf.repeat(sample_weight[:, tf.newaxis], self.num_labels, axis=1)
        super().update_state(one_hot, tf.nn.softmax(logits), weight)


class F1(keras.metrics.F1Score):
    """2 * precision * recall / (precision + recall) of each class, averaged (macro)."""

    def __init__(self, num_classes: int):
        super().__init__(name="f1", average="macro")
        self._num_classes = num_classes
        build_f1_score(self, num_classes)

    def update_state(self, targets, logits, sample_weight):
        one_hot = tf.one_hot(labels_of(targets), self._num_classes)
        super().update_state(one_hot, logits, sample_weight)


class ConfusionMatrix(keras.metrics.Metric):
    """[num_classes, num_classes]: weight of the items by class (rows) and predicted class."""

    def __init__(self, num_classes: int):
        super().__init__(name="confusion_matrix")
        self.matrix = self.add_variable((num_classes, num_classes), "zeros", name="matrix")

    def update_state(self, targets, logits, sample_weight):
        labels, predicted = labels_of(targets), tf.argmax(logits, axis=-1)
        size = self.matrix.shape[0]
        counts = tf.math.confusion_matrix(labels, predicted, size, sample_weight, tf.float32)
        self.matrix.assign_add(counts)

    def result(self):
        return tf.convert_to_tensor(self.matrix)


# ---- sequences


def correct_sequences(correct, weight):
    """[B, T] both -> weight [B] where all items that count are correct; weight [B] of all."""
    sequence_weight = tf.reduce_max(weight, axis=1)
    all_correct = tf.reduce_min(tf.where(weight > 0, correct, 1.0), axis=1)
    return sequence_weight * all_correct, sequence_weight


def edit_distance(written, targets):
    """Insertions, deletions, substitutions from one to the other: ids [B, any], 0 pads -> [B]."""
    written, targets = (tf.sparse.from_dense(tf.cast(ids, tf.int32)) for ids in (written, targets))
    return tf.edit_distance(written, targets, normalize=False)


# ---- images


def psnr(images, targets, peak: float):
    """Signal-to-noise ratio in dB, 10 log10(peak^2 / mean squared error), at most 100: [B]."""
    error = tf.reduce_mean(tf.square(images - targets), axis=tf.range(1, tf.rank(images)))
    return 10.0 * tf.math.log(peak**2 / tf.maximum(error, peak**2 * 1e-10)) / tf.math.log(10.0)


# ---- embeddings


def neighbors_in_group(vectors, groups: list[int], k: int):
    """Share of the `k` nearest neighbors, by cosine, in the same group, over all members of groups.

    vectors [V, D]; groups [V], -1 for tokens in no group, which are left out on both sides.
    """
    groups = tf.constant(groups)
    members = tf.where(groups >= 0)[:, 0]
    vectors = tf.math.l2_normalize(tf.gather(vectors, members), axis=1)
    groups = tf.gather(groups, members)
    cosines = tf.matmul(vectors, vectors, transpose_b=True)
    cosines = tf.linalg.set_diag(cosines, tf.fill(tf.shape(members), -2.0))
    nearest = tf.math.top_k(cosines, k).indices  # (members, k)
    return tf.reduce_mean(tf.cast(tf.gather(groups, nearest) == groups[:, tf.newaxis], tf.float32))


# ---- totals
