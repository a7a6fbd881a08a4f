"""What the targets are: class indices as vectors, the inputs themselves, or a mask or points.

Of a mask and of points each pixel and each point is an item with a weight of its own.
"""

import tensorflow as tf

from cli.program import ConfigError
from ops.features import IGNORED


def one_hot(features, seeds, config, *, num_classes: int):
    """Targets int [n, ...] -> float32 [n, ..., num_classes]."""
    targets = features["targets"]
    got = targets.dtype
    if not got.is_integer:
        raise ConfigError(f"one_hot: expected class indices in the targets, got {got.name}")
    return features | {"targets": tf.one_hot(targets, num_classes)}


def inputs_as_targets(features, seeds, config):
    return features | {"targets": features["inputs"]}


def undo_targets_inputs_as_targets(config, undo):
    return undo


# ---- what lies in the picture: ops/features.py


def mask_as_targets(features, seeds, config, *, num_classes: int):
    """Mask uint8 [n, height, width, 1] -> targets int32 [n, height, width]."""
    features = dict(features)
    mask = features.pop("mask", None)
    if mask is None or mask.dtype != tf.uint8 or not num_classes:
        got = ", ".join(sorted(features)) if mask is None else f"{mask.dtype.name} {mask.shape[1:]}"
        raise ConfigError(
            f"mask_as_targets: expected a mask and names of its classes, "
            f"got {got} and {num_classes} classes; put `decode_mask` before"
        )
    classes = tf.cast(mask[..., 0], tf.int32)
    counts = classes != IGNORED
    classes = tf.where(counts, classes, 0)
    highest = tf.reduce_max(classes)
    expected = f"mask_as_targets: expected classes from 0 to {num_classes - 1}, got"
    with tf.control_dependencies([tf.debugging.Assert(highest < num_classes, [expected, highest])]):
        classes = tf.identity(classes)
    return _with_weights(features | {"targets": classes}, counts)


def targets_as_points(features, seeds, config):
    """Targets [n, K, 2 or 3] -> points float32 [n, K, 3]."""
    features = dict(features)
    targets = features.pop("targets", None)
    shape = None if targets is None else targets.shape
    if shape is None or shape.rank != 3 or shape[2] not in (2, 3) or targets.dtype == tf.string:
        got = "no targets" if targets is None else f"{targets.dtype.name} {shape[1:]}"
        raise ConfigError(
            "targets_as_points: expected targets [points, 3], x, y and whether it is visible, "
            f"or [points, 2], got {got}"
        )
    points = tf.cast(targets, tf.float32)
    xy = points[..., :2]
    visible = points[..., 2:] > 0 if shape[2] == 3 else tf.ones_like(points[..., :1], tf.bool)
    return features | {"points": tf.concat([xy, tf.cast(visible, tf.float32)], axis=-1)}


def points_as_targets(features, seeds, config):
    """Points float32 [n, K, 3] -> targets float32 [n, K, 2]."""
    features = dict(features)
    points = features.pop("points", None)
    if points is None:
        got = ", ".join(sorted(features))
        raise ConfigError(
            f"points_as_targets: expected points, got {got}; put `targets_as_points` before"
        )
    return _with_weights(features | {"targets": points[..., :2]}, points[..., 2] > 0)


def _with_weights(features, counts):
    """`counts` bool [n, ...]: each item's weight is that of its example, or 0."""
    weight = tf.cast(counts, tf.float32)
    if "sample_weight" in features:
        of_examples = features["sample_weight"]
        weight *= tf.reshape(of_examples, [-1] + [1] * (weight.shape.rank - 1))
    return features | {"sample_weight": weight}
