"""Pure operations on whole batches of features, by the name that the configuration uses.

An operation is `op(features, seeds, config) -> features`: `features` is {feature: [n, ...]}, `config` its options from
`data_config.py`, `seeds` one uint64 per example, which depends on the run's seed and the example's position alone: a
random operation gives the same example the same treatment on any number of threads, towers and restarts.
To add one: a function here with the name of its class in `data_config.py`, listed in OPS at the end.
"""

import math

import tensorflow as tf

import data_config
from program import ConfigError

# --------------------------------------------------------------------------------------------------- random numbers

_GOLDEN = 0x9E3779B97F4A7C15


def mix64(x: tf.Tensor) -> tf.Tensor:
    """splitmix64: uint64 -> uint64, one to one, every bit of the input moves half of the output.

    Steele, Lea, Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
    x += tf.constant(_GOLDEN, tf.uint64)
    x = (x ^ tf.bitwise.right_shift(x, tf.constant(30, tf.uint64))) * tf.constant(0xBF58476D1CE4E5B9, tf.uint64)
    x = (x ^ tf.bitwise.right_shift(x, tf.constant(27, tf.uint64))) * tf.constant(0x94D049BB133111EB, tf.uint64)
    return x ^ tf.bitwise.right_shift(x, tf.constant(31, tf.uint64))


def fold(seeds, data) -> tf.Tensor:
    """A new independent seed from a seed and a number, both of any integer type; shapes broadcast. uint64."""
    return mix64(mix64(tf.cast(seeds, tf.uint64)) ^ tf.cast(data, tf.uint64))


def uniform(seeds: tf.Tensor, draw: int, low: float = 0.0, high: float = 1.0) -> tf.Tensor:
    """float32 [n] in [low, high), one per seed; different draws of one seed are independent."""
    bits = tf.bitwise.right_shift(fold(seeds, draw), tf.constant(40, tf.uint64))  # 24 bits: what float32 holds exactly
    return low + (high - low) * tf.cast(bits, tf.float32) * 2.0**-24


def integers(seeds: tf.Tensor, draw: int, count: int) -> tf.Tensor:
    """int32 [n] in [0, count), one per seed."""
    return tf.cast(tf.math.floormod(fold(seeds, draw), tf.constant(count, tf.uint64)), tf.int32)


# ---------------------------------------------------------------------------------------------------------- numbers


def scale(features, seeds, config: data_config.Scale):
    return features | {"inputs": tf.cast(features["inputs"], tf.float32) / config.by}


def standardise(features, seeds, config: data_config.Standardise):
    inputs = tf.cast(features["inputs"], tf.float32)
    for key, values in (("mean", config.mean), ("std", config.std)):
        if len(values) not in (1, inputs.shape[-1]):
            raise ConfigError(f"standardise: {key}: expected 1 or {inputs.shape[-1]} values, one per channel, got {len(values)}")
    return features | {"inputs": (inputs - tf.constant(config.mean)) / tf.constant(config.std)}


def one_hot(features, seeds, config: data_config.OneHot, *, num_classes: int):
    if not features["targets"].dtype.is_integer:
        raise ConfigError(f"one_hot: expected class indices in the targets, got {features['targets'].dtype.name}")
    return features | {"targets": tf.one_hot(features["targets"], num_classes)}


# ----------------------------------------------------------------------------------------------------------- images


def _images(features, op: str) -> tf.Tensor:
    images = features["inputs"]
    if images.shape.rank != 4:
        raise ConfigError(f"{op}: expected images [height, width, channels], got inputs of shape {images.shape[1:]}")
    return images


def random_crop(features, seeds, config: data_config.RandomCrop):
    images = _images(features, "random_crop")
    _, full_height, full_width, channels = images.shape
    (height, width), pad = config.size, config.padding
    rows, columns = full_height + 2 * pad - height, full_width + 2 * pad - width  # how far the window can move
    if rows < 0 or columns < 0:
        padded = f"{full_height + 2 * pad}x{full_width + 2 * pad}"
        raise ConfigError(f"random_crop: size: expected at most the padded image, {padded}, got {height}x{width}")
    # Padding flat rows, then one glimpse for the batch, inside the image, is the fastest way on CPU: a gather of pixels
    # takes five times as long, and so does a glimpse that pads by itself.
    flat = tf.reshape(tf.cast(images, tf.float32), [-1, full_height, full_width * channels])
    flat = tf.pad(flat, [[0, 0], [pad, pad], [pad * channels, pad * channels]])
    images = tf.reshape(flat, [-1, full_height + 2 * pad, full_width + 2 * pad, channels])
    corner = tf.cast(tf.stack([integers(seeds, 0, rows + 1), integers(seeds, 1, columns + 1)], axis=1), tf.float32)
    windows = tf.image.extract_glimpse(images, [height, width], corner, centered=False, normalized=False, noise="zero")
    return features | {"inputs": windows}


def random_shift(features, seeds, config: data_config.RandomShift):
    size = tuple(_images(features, "random_shift").shape[1:3])
    return random_crop(features, seeds, data_config.RandomCrop(name="random_crop", size=size, padding=config.pixels))


def random_flip(features, seeds, config: data_config.RandomFlip):
    images = _images(features, "random_flip")
    flipped = tf.reverse(images, [2 if config.direction == "horizontal" else 1])
    chosen = integers(seeds, 0, 2)[:, tf.newaxis, tf.newaxis, tf.newaxis] == 1
    return features | {"inputs": tf.where(chosen, flipped, images)}


def random_rotate(features, seeds, config: data_config.RandomRotate):
    images = _images(features, "random_rotate")
    limit = math.radians(config.degrees)
    angle = uniform(seeds, 0, -limit, limit)
    cos, sin, zero = tf.cos(angle), tf.sin(angle), tf.zeros_like(angle)
    y, x = (images.shape[1] - 1) / 2, (images.shape[2] - 1) / 2
    # Each output pixel (x, y) reads the input at (a x + b y + c, d x + e y + f): a rotation about the centre.
    transforms = tf.stack([cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y, zero, zero], axis=1)
    rotated = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=transforms,
        output_shape=images.shape[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return features | {"inputs": rotated}


OPS = {op.__name__: op for op in (scale, standardise, one_hot, random_crop, random_shift, random_flip, random_rotate)}


def apply_ops(features, seeds: tf.Tensor, ops: list, num_classes: int):
    """Runs the operations in order; each draws from seeds of its own."""
    for number, config in enumerate(ops):
        known = {"num_classes": num_classes} if config.name == "one_hot" else {}
        features = OPS[config.name](features, fold(seeds, number), config, **known)
    return features
