"""Operations between the examples of a batch, of an even number: 2 i and 2 i + 1 are a pair.

Targets, class indices [n] or float [n, num_classes], become float32 [n, num_classes].
"""

import tensorflow as tf

from cli.program import ConfigError
from engine.stateless import integers, philox
from ops import features as expected
from ops.pixels import rectangle, rounded


def mixup(features, seeds, config, *, num_classes: int):
    inputs = expected.floats(features, config)
    targets = _soft_targets(features, num_classes, "mixup")
    share = _share_of_pairs(seeds, config.alpha)

    def blended(values):
        return _blended(values, tf.reshape(share, [-1] + [1] * (values.shape.rank - 1)))

    return features | {"inputs": blended(inputs), "targets": blended(targets)}


def cutmix(features, seeds, config, *, num_classes: int):
    images = expected.images(features, config)
    targets = _soft_targets(features, num_classes, "cutmix")
    height, width = images.shape[1:3]
    side = tf.sqrt(1 - _share_of_pairs(seeds, config.alpha))  # as a share of the image's
    h = rounded(side * height)
    w = rounded(side * width)
    y = integers(seeds, 2, height) - h // 2
    x = integers(seeds, 3, width) - w // 2
    pasted = rectangle(images, y, x, h, w)
    # What is left of the image itself, after the edges cut the rectangle.
    lost = tf.reduce_mean(tf.cast(pasted, tf.float32), [1, 2, 3])
    targets = _blended(targets, 1 - lost[:, tf.newaxis])
    inputs = tf.where(pasted, _neighbors(images), images)
    return features | {"inputs": inputs, "targets": targets}


def _blended(values, kept_share):
    return kept_share * values + (1 - kept_share) * _neighbors(values)


def _neighbors(values):
    """[n, ...] with the examples of each pair exchanged: a tower's even part needs no other."""
    shape = values.shape[1:]
    pairs = tf.reshape(values, [-1, 2, *shape])
    return tf.reshape(tf.reverse(pairs, [1]), [-1, *shape])


def _soft_targets(features, num_classes: int, op: str):
    targets = features["targets"]
    if targets.dtype.is_integer:
        if targets.shape.rank != 1 or not num_classes:
            raise ConfigError(
                f"{op}: expected one class for each example, "
                f"got targets of shape {targets.shape[1:]}"
            )
        targets = tf.one_hot(targets, num_classes)
    elif targets.shape.rank != 2:
        raise ConfigError(
            f"{op}: expected one class for each example, or a row of shares, "
            f"got targets of shape {targets.shape[1:]}"
        )
    return tf.cast(targets, tf.float32)


def _share_of_pairs(seeds, alpha: float):
    """float32 [n] from Beta(alpha, alpha): what an example keeps of itself, alike in a pair."""

    def gammas(seed):
        return tf.random.stateless_gamma([2], seed, alpha)

    spec = tf.TensorSpec([2])
    drawn = tf.map_fn(gammas, philox(seeds[::2]), fn_output_signature=spec)
    first, second = tf.unstack(drawn, axis=1)
    return tf.repeat(tf.math.divide_no_nan(first, first + second), 2)
