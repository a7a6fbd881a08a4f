"""Metrics of the field that Keras lacks: sums over items, divided once when they are read."""

from collections.abc import Callable

import keras
import tensorflow as tf

from engine.variables import build_f1_score


class Ratio(keras.metrics.Metric):
    """then(sum of numerators / sum of denominators); `parts(targets, outputs, sample_weight)` gives both, unreduced."""

    def __init__(self, parts: Callable, name: str, then: Callable = lambda ratio: ratio):
        super().__init__(name=name)
        self._parts, self._then = parts, then
        self.numerator = self.add_variable((), "zeros", name="numerator")
        self.denominator = self.add_variable((), "zeros", name="denominator")

    def update_state(self, targets, outputs, sample_weight):
        numerators, denominators = self._parts(targets, outputs, sample_weight)
        self.numerator.assign_add(tf.reduce_sum(numerators))
        self.denominator.assign_add(tf.reduce_sum(denominators))

    def result(self):
        return self._then(
            tf.math.divide_no_nan(
                tf.convert_to_tensor(self.numerator), tf.convert_to_tensor(self.denominator)
            )
        )


def mean_of(values: Callable, name: str, then: Callable = lambda mean: mean) -> Ratio:
    """then(the weighted mean of values(targets, outputs)), which have the shape of `sample_weight`."""
    return Ratio(
        lambda targets, outputs, weight: (values(targets, outputs) * weight, weight), name, then
    )


class Sums:
    """Metrics by name, kept apart from what they add up, so that parts of a batch can be added in any place.

    Every metric here is a sum over items until it is read: what a part of a batch contributes is what its update makes of
    zeros, and contributions add up over parts, towers, processes and steps. Keras' own would be summed when they are read,
    and a checkpoint of several towers would not restore them bit for bit.
    """

    def __init__(self, metrics: dict[str, keras.metrics.Metric]):
        """Call it in the scope of the strategy; `loss` is updated with the unreduced loss, all others with targets and outputs."""
        self.metrics = metrics
        parts = [
            (f"{name}/{variable.name}", variable.shape)
            for name, metric in metrics.items()
            for variable in metric.variables
        ]
        self.totals = {
            name: keras.Variable(tf.zeros(shape), trainable=False) for name, shape in parts
        }

    def of(self, loss, targets, outputs, sample_weight) -> list[tf.Tensor]:
        """What these items contribute: tensors like `totals`. `loss` is unreduced, of the shape of `sample_weight`."""
        found = []
        for name, metric in self.metrics.items():
            items = (loss, sample_weight) if name == "loss" else (targets, outputs, sample_weight)
            found += metric.stateless_update_state(
                [tf.zeros(variable.shape) for variable in metric.variables], *items
            )
        return found

    def add(self, contributions: list[tf.Tensor]) -> None:
        for total, contribution in zip(self.totals.values(), contributions, strict=True):
            total.value.assign_add(
                tf.cast(contribution, total.dtype)
            )  # at once: workers of parameter servers may meet here

    def results(self) -> dict[str, tf.Tensor]:
        totals = iter(self.totals.values())
        return {
            name: metric.stateless_result(
                [tf.convert_to_tensor(next(totals)) for _ in metric.variables]
            )
            for name, metric in self.metrics.items()
        }

    def reset(self) -> None:
        for total in self.totals.values():
            total.assign(tf.zeros(total.shape))


# ---------------------------------------------------------------------------------------------------------- classes

# Items in one row: targets are class indices [N] or probabilities [N, num_classes]; logits [N, num_classes].


def labels_of(targets):
    """Class indices int64 [N]."""
    return tf.cast(targets if targets.dtype.is_integer else tf.argmax(targets, axis=-1), tf.int64)


def accuracy(targets, logits):
    """1.0 where the largest logit, the first of equals, is the target's: float32 [N]."""
    return tf.cast(tf.argmax(logits, axis=-1) == labels_of(targets), tf.float32)


def top_5_accuracy(targets, logits):
    """1.0 where fewer than five logits are above the target's: float32 [N]. A non-finite logit counts as a miss."""
    target_logit = tf.gather(logits, labels_of(targets), batch_dims=1)
    above = tf.reduce_sum(tf.cast(~(logits <= target_logit[:, tf.newaxis]), tf.int32), axis=-1)
    return tf.cast(above < 5, tf.float32)


class Auc(keras.metrics.AUC):
    """Area under the ROC curve of each class against the rest, averaged; 200 thresholds, trapezoids (Keras)."""

    def __init__(self, num_classes: int, name: str = "auc"):
        super().__init__(name=name, multi_label=True, num_labels=num_classes)

    def update_state(self, targets, logits, sample_weight):
        wanted = tf.one_hot(labels_of(targets), self.num_labels)
        weight = tf.repeat(sample_weight[:, tf.newaxis], self.num_labels, axis=1)
        super().update_state(wanted, tf.nn.softmax(logits), weight)


class F1(keras.metrics.F1Score):
    """2 * precision * recall / (precision + recall) of each class, averaged (macro)."""

    def __init__(self, num_classes: int, name: str = "f1"):
        super().__init__(name=name, average="macro")
        self._num_classes = num_classes
        build_f1_score(self, num_classes)

    def update_state(self, targets, logits, sample_weight):
        super().update_state(
            tf.one_hot(labels_of(targets), self._num_classes), logits, sample_weight
        )


class ConfusionMatrix(keras.metrics.Metric):
    """[num_classes, num_classes]: weight of the items of each class (rows), by the class that was predicted (columns)."""

    def __init__(self, num_classes: int, name: str = "confusion_matrix"):
        super().__init__(name=name)
        self.matrix = self.add_variable((num_classes, num_classes), "zeros", name="matrix")

    def update_state(self, targets, logits, sample_weight):
        predicted = tf.argmax(logits, axis=-1)
        self.matrix.assign_add(
            tf.math.confusion_matrix(
                labels_of(targets), predicted, self.matrix.shape[0], sample_weight, tf.float32
            )
        )

    def result(self):
        return tf.convert_to_tensor(self.matrix)


# -------------------------------------------------------------------------------------------------------- sequences


def whole(right, weight):
    """([B], [B]): weight of the sequences of which every item that counts is right; weight of all. From [B, T] both."""
    counts = tf.reduce_max(weight, axis=1)
    return counts * tf.reduce_min(tf.where(weight > 0, right, 1.0), axis=1), counts


def edit_distance(written, targets):
    """Insertions, deletions and substitutions that turn `written` into `targets`, token ids [B, any] padded with 0: float32 [B]."""
    sparse = [tf.sparse.from_dense(tf.cast(tokens, tf.int32)) for tokens in (written, targets)]
    return tf.edit_distance(*sparse, normalize=False)


# ----------------------------------------------------------------------------------------------------------- images


def psnr(images, targets, peak: float):
    """Peak signal-to-noise ratio in dB, 10 log10(peak^2 / mean squared error), of each image: float32 [B]; at most 100."""
    error = tf.reduce_mean(tf.square(images - targets), axis=tf.range(1, tf.rank(images)))
    return 10.0 * tf.math.log(peak**2 / tf.maximum(error, peak**2 * 1e-10)) / tf.math.log(10.0)


# ------------------------------------------------------------------------------------------------------- embeddings


def neighbors_in_group(vectors, groups, k: int):
    """Share of the `k` nearest neighbors, by cosine, that are in the same group, over all members of groups.

    vectors [V, D]; groups int [V], -1 for tokens in no group, which are left out on both sides.
    """
    members = tf.where(tf.constant(groups) >= 0)[:, 0]
    vectors = tf.math.l2_normalize(tf.gather(vectors, members), axis=1)
    groups = tf.gather(tf.constant(groups), members)
    likeness = tf.linalg.set_diag(
        tf.matmul(vectors, vectors, transpose_b=True), tf.fill(tf.shape(members), -2.0)
    )
    nearest = tf.math.top_k(likeness, k).indices  # (members, k)
    return tf.reduce_mean(tf.cast(tf.gather(groups, nearest) == groups[:, tf.newaxis], tf.float32))
