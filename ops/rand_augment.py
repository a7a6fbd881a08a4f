"""RandAugment: bytes in 1 or 3 channels -> the same, `count` of fourteen operations on each image.

Cubuk et al., RandAugment, 2019, section 3; strengths as in its table 6, up to `magnitude` 10.
"""

import math

import tensorflow as tf

from cli.program import ConfigError
from engine.stateless import fold, integers, uniform
from ops.features import on_images
from ops.pixels import affine, blend, luma, mean_luma, padded, rotated


@on_images
def rand_augment(images, seeds, config):
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
    sign = 2.0 * uniform(seed, 1) - 1.0
    sign = tf.where(sign < 0, -1.0, 1.0)
    one = tf.ones_like(sign)
    zero = tf.zeros_like(sign)
    amount = sign * strength
    slant = 0.3 * amount
    factor = 1 + 0.9 * amount
    bits = 8 - round(4 * strength)
    step = float(1 << (8 - bits))
    _, height, width, _ = image.shape
    branches = [
        lambda: image,
        lambda: _auto_contrast(image),
        lambda: _equalized(image),
        lambda: rotated(image, amount * math.radians(30)),
        lambda: tf.where(image >= 256 - 256 * strength, 255 - image, image),  # solarize
        lambda: tf.floor(image / step) * step,  # posterize
        lambda: blend(luma(image), image, factor),  # color
        lambda: blend(mean_luma(image), image, factor),  # contrast
        lambda: blend(0.0, image, factor),  # brightness
        lambda: blend(_smoothed(image), image, factor),  # sharpness
        lambda: affine(image, one, slant, zero, one),  # shear
        lambda: affine(image, one, zero, slant, one),
        lambda: affine(image, one, zero, zero, one, shift_x=0.45 * amount * width),  # translate
        lambda: affine(image, one, zero, zero, one, shift_y=0.45 * amount * height),
    ]
    changed = tf.switch_case(integers(seed, 0, len(branches))[0], branches)
    changed = tf.clip_by_value(tf.round(changed), 0.0, 255.0)
    return tf.ensure_shape(changed, image.shape)


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
