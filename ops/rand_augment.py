"""RandAugment: bytes in 1 or 3 channels -> the same, `count` of fourteen operations on each image.

Cubuk et al., RandAugment, 2019, section 3; strengths as in its table 6, up to `magnitude` 10.
"""

import math

import tensorflow as tf

from cli.program import ConfigError
from engine.stateless import fold, integers, uniform
from ops import features as expected
from ops.features import moved, moving
from ops.pixels import (
    Placement,
    about_center,
    blend,
    luma,
    mean_luma,
    padded,
    placed,
    rotation,
)

_OPERATIONS = 14


def rand_augment(features, seeds, config):
    """Those of place move a mask and points too, one after the other, as they move the image."""
    images = expected.images(features, config)
    changed = features | {"inputs": _all_augmented(images, seeds, config)}
    if moving(features):
        size = images.shape[1:3]
        for number in range(config.count):
            placement = _placement(fold(seeds, number), size, config.magnitude / 10)
            changed = moved(changed, placement, config, images)
    return changed


def _all_augmented(images, seeds, config):
    if images.dtype != tf.uint8 or images.shape[3] not in (1, 3):
        raise ConfigError(
            "rand_augment: expected bytes in 1 or 3 channels, "
            f"got {images.dtype.name} in {images.shape[3]}; put it before `scale`"
        )

    def augmented(row):
        image, seed = row
        image = tf.cast(image, tf.float32)[tf.newaxis]
        seed = seed[tf.newaxis]
        for number in range(config.count):
            image = _augmented(image, fold(seed, number), config.magnitude / 10)
        return tf.cast(image[0], tf.uint8)

    spec = tf.TensorSpec(images.shape[1:], tf.uint8)
    return tf.map_fn(augmented, (images, seeds), fn_output_signature=spec)


def _augmented(image, seed, strength: float):
    """One of the operations on float32 [1, height, width, channels] with values of bytes."""
    amount = _amount(seed, strength)
    factor = 1 + 0.9 * amount
    bits = 8 - round(4 * strength)
    step = float(1 << (8 - bits))
    moves = _moves(amount, image.shape[1:3])

    def at(number: int):
        return lambda: placed(image, moves[number](), "BILINEAR")

    branches = [
        lambda: image,
        lambda: _auto_contrast(image),
        lambda: _equalized(image),
        at(3),
        lambda: tf.where(image >= 256 - 256 * strength, 255 - image, image),  # solarize
        lambda: tf.floor(image / step) * step,  # posterize
        lambda: blend(luma(image), image, factor),  # color
        lambda: blend(mean_luma(image), image, factor),  # contrast
        lambda: blend(0.0, image, factor),  # brightness
        lambda: blend(_smoothed(image), image, factor),  # sharpness
        *(at(number) for number in (10, 11, 12, 13)),
    ]
    changed = tf.switch_case(integers(seed, 0, _OPERATIONS)[0], branches)
    changed = tf.clip_by_value(tf.round(changed), 0.0, 255.0)
    return tf.ensure_shape(changed, image.shape)


def _amount(seeds, strength: float):
    """Strength with a random sign: float32 [n]."""
    sign = 2.0 * uniform(seeds, 1) - 1.0
    return tf.where(sign < 0, -1.0, 1.0) * strength


def _moves(amount, size) -> dict:
    """{number of an operation of place: what gives its Placement}."""
    height, width = size
    one = tf.ones_like(amount)
    zero = tf.zeros_like(amount)
    slant = 0.3 * amount
    return {
        3: lambda: rotation(size, amount * math.radians(30)),
        10: lambda: about_center(size, one, slant, zero, one),  # shear
        11: lambda: about_center(size, one, zero, slant, one),
        12: lambda: about_center(size, one, zero, zero, one, shift_x=0.45 * amount * width),
        13: lambda: about_center(size, one, zero, zero, one, shift_y=0.45 * amount * height),
    }


def _placement(seeds, size, strength: float) -> Placement:
    """Of the operation that each seed draws; those of color leave everything where it is."""
    drawn = integers(seeds, 0, _OPERATIONS)[:, tf.newaxis]
    placement = Placement.of(seeds, size)
    for number, move in _moves(_amount(seeds, strength), size).items():
        rows = tf.where(drawn == number, move().rows, placement.rows)
        placement = placement._replace(rows=rows)
    return placement


def _auto_contrast(image):
    """Each channel stretched to [0, 255]."""
    low = tf.reduce_min(image, [1, 2], keepdims=True)
    high = tf.reduce_max(image, [1, 2], keepdims=True)
    stretched = (image - low) * 255.0 / tf.maximum(high - low, 1.0)
    return tf.where(high > low, stretched, image)


def _equalized(image):
    """Each channel's histogram made flat."""
    channels = [_equalized_channel(channel) for channel in tf.unstack(image[0], axis=-1)]
    return tf.stack(channels, axis=-1)[tf.newaxis]


def _equalized_channel(channel):
    values = tf.cast(channel, tf.int32)
    counts = tf.math.bincount(values, minlength=256, maxlength=256, dtype=tf.float32)
    counts = tf.cumsum(counts)
    total = counts[-1]
    darkest = tf.reduce_min(tf.where(counts > 0, counts, total))  # of the values that occur
    table = (counts - darkest) * 255.0 / tf.maximum(total - darkest, 1.0)
    return tf.where(total > darkest, tf.gather(tf.round(table), values), channel)


def _smoothed(image):
    kernel = tf.constant([1.0, 1, 1, 1, 5, 1, 1, 1, 1], shape=[3, 3, 1, 1]) / 13
    kernel = tf.tile(kernel, [1, 1, image.shape[3], 1])
    image = padded(image, (1, 1), (1, 1), mode="SYMMETRIC")
    return tf.nn.depthwise_conv2d(image, kernel, [1, 1, 1, 1], "VALID")
