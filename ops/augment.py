"""Random changes of images, each example by its own seed; most are for training alone.

They take inputs [n, height, width, channels], uint8 or float, and give the same type: bytes are
rounded and clipped. Both kinds of noise take inputs of any shape. What comes into view is 0.
Those of place and size move masks and points too: ops/features.py.
"""

import math

import tensorflow as tf

import data_config
from cli.program import ConfigError
from engine.stateless import integers, philox, uniform
from ops import features as expected
from ops.features import geometric, moved, moving, on_colors, on_floats, on_images
from ops.pixels import (
    Placement,
    as_type_of,
    blend,
    cropped,
    free_space,
    luma,
    mean_luma,
    padded,
    per_image,
    placed,
    rectangle,
    resized,
    resized_placement,
    rotation,
    rounded,
    size_of,
)

# ---- place and size


def _crop_placement(config, height, width, seeds) -> Placement:
    y, x = _corner(config, height, width, seeds)
    return Placement.of(seeds, config.size, c=x - config.padding, f=y - config.padding)


@geometric(_crop_placement)
def random_crop(images, seeds, config):
    full_height, full_width = size_of(images)
    height, width = config.size
    channels = images.shape[3]
    pad = config.padding
    y, x = _corner(config, full_height, full_width, seeds)
    if not isinstance(full_height, int):  # one image of a size of its own
        images = padded(images, (pad, pad), (pad, pad))
        crop = cropped(images, y[0], x[0], height, width)
        return tf.ensure_shape(crop, [1, height, width, channels])
    # Padding flat rows, then one glimpse for the batch, inside the image, is the fastest way on
    # CPU: a gather of pixels takes five times as long, and so does a glimpse that pads by itself.
    flat = tf.reshape(images, [-1, full_height, full_width * channels])
    flat = tf.pad(tf.cast(flat, tf.float32), [[0, 0], [pad, pad], [pad * channels] * 2])
    windows = tf.image.extract_glimpse(
        tf.reshape(flat, [-1, full_height + 2 * pad, full_width + 2 * pad, channels]),
        config.size,
        tf.cast(tf.stack([y, x], axis=1), tf.float32),
        centered=False,
        normalized=False,
        noise="zero",
    )
    return tf.cast(windows, images.dtype)


def window_random_crop(config, height, width, seeds):
    """None where images are padded first: there is no such window in the file."""
    if config.padding:
        return None
    return *_corner(config, height, width, seeds), *config.size


def _corner(config, height, width, seeds) -> tuple:
    rows, columns = free_space(config, height, width, config.padding)
    return integers(seeds, 0, rows + 1), integers(seeds, 1, columns + 1)


def random_shift(features, seeds, config):
    size = tuple(expected.images(features, config).shape[1:3])
    crop = data_config.RandomCrop(name="random_crop", size=size, padding=config.pixels)
    return random_crop(features, seeds, crop)


def _resized_crop_placement(config, height, width, seeds) -> Placement:
    """The ends of a window meet the centers of the corner pixels; of one image alone, the edges."""
    y, x, h, w = window_random_resized_crop(config, height, width, seeds)
    if not isinstance(height, int):
        return resized_placement(seeds, (h, w), config.size, (y, x))
    a, c = _ends_to_centers(w, config.size[1])
    e, f = _ends_to_centers(h, config.size[0])
    c += tf.cast(x, tf.float32)
    f += tf.cast(y, tf.float32)
    return Placement.of(seeds, config.size, a=a, c=c, e=e, f=f)


def _ends_to_centers(length, size: int) -> tuple:
    """(scale, shift) with which `size` pixels show `length`; a single one shows the middle."""
    span = tf.cast(length - 1, tf.float32)
    return (span / (size - 1), 0.0) if size > 1 else (1.0, span / 2)


@geometric(_resized_crop_placement)
def random_resized_crop(images, seeds, config):
    height, width = size_of(images)
    y, x, h, w = window_random_resized_crop(config, height, width, seeds)
    if not isinstance(height, int):
        return resized(cropped(images, y[0], x[0], h[0], w[0]), config.size)
    # crop_and_resize maps the ends of a box to the centers of the corner pixels.
    last_row = max(height - 1, 1)
    last_column = max(width - 1, 1)
    top = y / last_row
    bottom = (y + h - 1) / last_row
    left = x / last_column
    right = (x + w - 1) / last_column
    box = tf.cast(tf.stack([top, left, bottom, right], axis=1), tf.float32)
    box = tf.minimum(box, 1 - 1e-6)  # beyond the last pixel by a rounding error it would give 0
    numbers = tf.range(tf.shape(images)[0])
    windows = tf.image.crop_and_resize(images, box, numbers, config.size)
    return as_type_of(images, windows)


def window_random_resized_crop(config, height, width, seeds):
    """What would be larger than the image is cut to it."""
    height = tf.cast(height, tf.float32)
    width = tf.cast(width, tf.float32)
    area, aspect = _area_and_aspect(config, seeds)
    area = area * height * width
    h = tf.clip_by_value(tf.round(tf.sqrt(area / aspect)), 1.0, height)
    w = tf.clip_by_value(tf.round(tf.sqrt(area * aspect)), 1.0, width)
    y = tf.floor(uniform(seeds, 2) * (height - h + 1))
    x = tf.floor(uniform(seeds, 3) * (width - w + 1))
    return tuple(tf.cast(pixels, tf.int32) for pixels in (y, x, h, w))


def _area_and_aspect(config, seeds) -> tuple:
    """Share of the area, drawn evenly, and proportions, their logarithm drawn evenly."""
    low, high = map(math.log, config.aspect)
    aspect = tf.exp(uniform(seeds, 1, low, high))
    return uniform(seeds, 0, *config.area), aspect


def random_flip(features, seeds, config):
    images = expected.images(features, config)
    is_horizontal = config.direction == "horizontal"
    is_flipped = integers(seeds, 0, 2) == 1
    flipped = tf.reverse(images, [2 if is_horizontal else 1])
    inputs = tf.where(per_image(is_flipped), flipped, images)
    changed = features | {"inputs": inputs}
    if not moving(features):
        return changed
    height, width = size_of(images)
    sign = tf.where(is_flipped, -1.0, 1.0)
    last = tf.where(is_flipped, tf.cast((width if is_horizontal else height) - 1, tf.float32), 0.0)
    coefficients = {"a": sign, "c": last} if is_horizontal else {"e": sign, "f": last}
    placement = Placement.of(seeds, (height, width), **coefficients)
    return _with_pairs(moved(changed, placement, config, images), is_flipped, config)


def _with_pairs(features, is_flipped, config):
    """Points that are mirror images of each other, such as both eyes, change names."""
    if "points" not in features:
        return features
    points = features["points"]
    if config.pairs is None:
        raise ConfigError(
            "random_flip: pairs: expected the pairs of points that a mirror exchanges, "
            "such as [[0, 1]] for two eyes, or [] for none"
        )
    order = list(range(points.shape[1]))
    for first, second in config.pairs:
        if max(first, second) >= len(order):
            raise ConfigError(
                f"random_flip: pairs: expected points from 0 to {len(order) - 1}, "
                f"got {[first, second]}"
            )
        order[first], order[second] = second, first
    exchanged = tf.gather(points, order, axis=1)
    is_flipped = is_flipped[:, tf.newaxis, tf.newaxis]
    return features | {"points": tf.where(is_flipped, exchanged, points)}


def _rotation(config, height, width, seeds) -> Placement:
    limit = math.radians(config.degrees)
    return rotation((height, width), uniform(seeds, 0, -limit, limit))


@geometric(_rotation)
def random_rotate(images, seeds, config):
    rotation = _rotation(config, *size_of(images), seeds)
    return as_type_of(images, placed(tf.cast(images, tf.float32), rotation, "BILINEAR"))


# ---- color


@on_colors
def color_jitter(images, seeds, config):
    white = 255.0 if images.dtype == tf.uint8 else 1.0
    pixels = tf.cast(images, tf.float32)
    ranges = (config.brightness, config.contrast, config.saturation)
    brightness, contrast, saturation = (
        uniform(seeds, draw, 1 - most, 1 + most) for draw, most in enumerate(ranges)
    )
    pixels = tf.clip_by_value(blend(0.0, pixels, brightness), 0.0, white)
    pixels = tf.clip_by_value(blend(mean_luma(pixels), pixels, contrast), 0.0, white)
    pixels = tf.clip_by_value(blend(luma(pixels), pixels, saturation), 0.0, white)
    if config.hue:
        if images.shape[3] != 3:
            raise ConfigError(f"color_jitter: hue: expected 3 channels, got {images.shape[3]}")
        hsv = tf.image.rgb_to_hsv(pixels / white)
        hue, others = tf.split(hsv, [1, 2], axis=-1)
        turn = uniform(seeds, 3, -config.hue, config.hue)
        hue = tf.math.floormod(hue + per_image(turn), 1.0)
        hsv = tf.concat([hue, others], axis=-1)
        pixels = tf.image.hsv_to_rgb(hsv) * white
    return as_type_of(images, pixels)


# ---- rectangles and noise


@on_images
def random_erasing(images, seeds, config):
    height, width = images.shape[1:3]
    area, aspect = _area_and_aspect(config, seeds)
    area = area * height * width
    h = tf.minimum(rounded(tf.sqrt(area * aspect)), height)
    w = tf.minimum(rounded(tf.sqrt(area / aspect)), width)
    y = integers(seeds, 2, height - h + 1)
    x = integers(seeds, 3, width - w + 1)
    is_changed = per_image(uniform(seeds, 4) < config.probability)
    return _filled(images, rectangle(images, y, x, h, w) & is_changed, config)


@on_images
def cutout(images, seeds, config):
    side = tf.fill(tf.shape(seeds), config.size)
    y = integers(seeds, 0, images.shape[1]) - config.size // 2
    x = integers(seeds, 1, images.shape[2]) - config.size // 2
    return _filled(images, rectangle(images, y, x, side, side), config)


def _filled(images, places, config):
    return tf.where(places, tf.cast(config.value, images.dtype), images)


@on_floats
def gaussian_noise(inputs, seeds, config):
    return inputs + config.std * _noise(tf.random.stateless_normal, inputs, seeds)


def salt_noise(features, seeds, config):
    inputs = features["inputs"]
    draws = _noise(tf.random.stateless_uniform, inputs, seeds)
    low = tf.cast(config.low, inputs.dtype)
    high = tf.cast(config.high, inputs.dtype)
    salted = tf.where(draws < config.share, high, inputs)
    salted = tf.where(draws < config.share / 2, low, salted)
    return features | {"inputs": salted}


def _noise(distribution, inputs, seeds):
    """float32 of the inputs' shape, each example from its own seed."""

    def draw(seed):
        return distribution(tf.shape(inputs)[1:], seed, alg="philox")

    shape = tf.TensorSpec(inputs.shape[1:])
    return tf.map_fn(draw, philox(seeds), fn_output_signature=shape)
