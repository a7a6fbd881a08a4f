"""Decoding, size and color of images, none of it random.

`decode_image` takes encoded files, string [n], and, where the data set knows them, their EXIF
`orientation` and `image_size`, int32 [n] and [n, 2]. All else takes inputs [n, height, width,
channels], uint8 or float, and gives the same type: bytes are rounded and clipped.
"""

from functools import partial

import tensorflow as tf

from cli.program import ConfigError
from engine import indexed_bmp
from ops.features import geometric, on_colors
from ops.pixels import (
    Placement,
    as_type_of,
    cropped,
    free_space,
    luma,
    padded,
    resized,
    resized_placement,
    rounded,
    size_of,
)

# ---- decoding


def decode_image(features, seeds, config, following: list, find):
    """Files of different sizes cannot be one tensor: what gives them one size runs in here.

    `following`: (operation, its config, its seeds) of the operations up to one with a `size`;
    `find(name)`: a function of ops/, or None.
    """
    features = dict(features)
    encoded = features["inputs"]
    if encoded.dtype != tf.string or encoded.shape.rank != 1:
        raise ConfigError(
            "decode_image: expected encoded images, "
            f"got {encoded.dtype.name} inputs of shape {encoded.shape[1:]}"
        )
    size = getattr(following[-1][1], "size", None) if following else None
    if size is None or not all(step.of_images for _, step, _ in following):
        raise ConfigError(
            "decode_image: files may differ in size: "
            "expected `resize` with a size, a crop or `pad_image` after it"
        )
    spec = tf.TensorSpec([*size, config.channels], tf.uint8)
    makes = {step.makes for _, step, _ in following}
    carried = {"mask", "points", "targets"} if makes - {None} else {"mask", "points"}
    beside = {key: features.pop(key) for key in carried & features.keys()}
    image_size = features.pop("image_size", None)
    orientation = features.pop("orientation", tf.ones_like(encoded, tf.int32))
    is_jpeg = tf.strings.substr(encoded, 0, 2) == b"\xff\xd8"
    any_image = partial(_decoded, channels=config.channels)
    if beside:
        return features | _with_targets(any_image, [encoded, orientation], beside, following, spec)
    images = tf.cond(
        tf.reduce_all(is_jpeg & (orientation <= 1)),
        lambda: _plain_jpegs(encoded, image_size, following, find, spec),
        lambda: _one_by_one(any_image, [encoded, orientation], following, spec),
    )
    images = tf.ensure_shape(images, [encoded.shape[0], *spec.shape])
    return features | {"inputs": images}


def _plain_jpegs(encoded, image_size, following: list, find, spec):
    """Upright JPEGs: a loop with as few operations as can be, for small images each counts."""
    _, crop, seeds = following[0]
    window_of = find("window_" + crop.name)
    if window_of and image_size is not None:
        height, width = tf.unstack(image_size, axis=1)
        window = window_of(crop, height, width, seeds)
        if window:
            return _windows_of_jpegs(encoded, width, *window, spec)
    decoded = partial(_jpeg, channels=spec.shape[2])
    return _one_by_one(decoded, [encoded], following, spec)


def _windows_of_jpegs(encoded, full_width, y, x, height, width, spec):
    """Decodes a column more on each side: the decoder interpolates colors between columns."""
    left = tf.maximum(x - 1, 0)
    right = tf.minimum(x + width + 1, full_width)
    zero = tf.zeros_like(x)
    channels = spec.shape[2]
    around = tf.stack([y, left, zero + height, right - left], axis=1)
    begin = tf.stack([zero, x - left, zero], axis=1)
    size = tf.stack([zero + height, zero + width, zero + channels], axis=1)
    of_one_size = isinstance(height, int)

    def of_jpeg(data, around, begin, size):
        image = _jpeg(data, channels, around)
        if of_one_size:
            return tf.ensure_shape(tf.slice(image, begin, spec.shape), spec.shape)
        image = tf.slice(image, begin, size)[tf.newaxis]
        return tf.ensure_shape(resized(image, spec.shape[:2])[0], spec.shape)

    return _one_by_one(of_jpeg, [encoded, around, begin, size], [], spec)


def _one_by_one(decoded, columns: list, following: list, spec):
    """decoded(row of each column) -> one image, then the operations that follow; [n, *spec].

    The pipeline runs several batches beside each other, which uses all cores without a switch of
    threads an image.
    """

    def treated(row):
        columns, seeds = row
        image = decoded(*columns)
        if not following:
            return image
        features = {"inputs": image[tf.newaxis]}
        for (operation, config, _), seed in zip(following, seeds, strict=True):
            features = operation(features, seed[tf.newaxis], config)
        return features["inputs"][0]

    if tf.executing_eagerly():  # where sizes are known, which would choose other ways
        treated = tf.function(treated)
    rows = columns, [seeds for _, _, seeds in following]
    return tf.map_fn(treated, rows, fn_output_signature=spec, parallel_iterations=1)


def _with_targets(decoded, columns: list, beside: dict, following: list, spec) -> dict:
    """As `_one_by_one`, with what lies in the pictures `beside` them: all features afterwards."""

    def treated(columns, beside, seeds):
        image = decoded(*columns)
        features = {"inputs": image[tf.newaxis]}
        features |= {key: value[tf.newaxis] for key, value in beside.items()}
        for (operation, config, _), seed in zip(following, seeds, strict=True):
            features = operation(features, seed[tf.newaxis], config)
        features = {key: value[0] for key, value in features.items()}
        return features | {"inputs": tf.ensure_shape(features["inputs"], spec.shape)}

    treated = tf.function(treated, autograph=False)
    rows = columns, beside, [seeds for _, _, seeds in following]
    specs = tf.nest.map_structure(lambda value: tf.TensorSpec(value.shape[1:], value.dtype), rows)
    signature = tf.nest.map_structure(
        lambda value: tf.TensorSpec(value.shape, value.dtype),
        treated.get_concrete_function(*specs).structured_outputs,
    )
    return tf.map_fn(
        lambda row: treated(*row), rows, fn_output_signature=signature, parallel_iterations=1
    )


def _jpeg(data, channels: int, window=None):
    """uint8 [height, width, channels], of the window (y, x, height, width) if there is one."""

    def decoded(channels):
        if window is None:
            return tf.io.decode_jpeg(data, channels=channels)
        return tf.io.decode_and_crop_jpeg(data, window, channels=channels)

    if channels == 3:
        return decoded(3)
    is_cmyk = tf.io.extract_jpeg_shape(data)[2] == 4  # the decoder knows no way from it to gray
    return tf.cond(is_cmyk, lambda: _gray(decoded(3)), lambda: decoded(1))


def _gray(rgb):
    return as_type_of(rgb, luma(rgb))


def _decoded(data, orientation, channels: int):
    """uint8 [height, width, channels], upright."""

    def usual():
        return tf.io.decode_image(data, channels=channels, expand_animations=False)

    def of_its_own_channels():
        """GIF and BMP, of which TensorFlow gives just what the file holds."""
        image = tf.io.decode_image(data, expand_animations=False)
        image.set_shape([None, None, None])
        is_gray = tf.shape(image)[2] == 1
        rgb = tf.cond(is_gray, lambda: tf.repeat(image, 3, axis=2), lambda: image[..., :3])
        rgb.set_shape([None, None, 3])
        return rgb

    def of_colors():
        is_indexed = indexed_bmp.is_indexed_bmp(data)
        rgb = tf.cond(is_indexed, lambda: indexed_bmp.decode(data), of_its_own_channels)
        rgb.set_shape([None, None, 3])
        return rgb if channels == 3 else _gray(rgb)

    start = tf.strings.substr(data, 0, 2)
    kinds = [
        (start == b"\xff\xd8", lambda: _jpeg(data, channels)),
        ((start == b"GI") | (start == b"BM"), of_colors),
    ]
    image = tf.case(kinds, default=usual)
    image.set_shape([None, None, channels])
    image = tf.cond(orientation > 1, lambda: _upright(image, orientation), lambda: image)
    image.set_shape([None, None, channels])
    return image


def _upright(image, orientation):
    """EXIF orientation 2 to 8 undone (CIPA DC-008, tag 0x0112): mirrored, turned, or both."""
    turned = [
        lambda: image,
        lambda: tf.image.flip_left_right(image),
        lambda: tf.image.rot90(image, 2),
        lambda: tf.image.flip_up_down(image),
        lambda: tf.image.transpose(image),
        lambda: tf.image.rot90(image, 3),
        lambda: tf.image.rot90(tf.image.transpose(image), 2),
        lambda: tf.image.rot90(image, 1),
    ]
    return tf.switch_case(tf.clip_by_value(orientation - 1, 0, 7), turned)


# ---- size


def _size_after(config, height, width):
    """Height and width: two ints, or int32 [2] where a shortest side is given."""
    if config.size is not None:
        return config.size
    sides = tf.stack([height, width])
    ratio = config.shortest / tf.reduce_min(sides)
    return rounded(tf.cast(sides, tf.float64) * ratio)


def _resize_placement(config, height, width, seeds) -> Placement:
    size = _size_after(config, height, width)
    return resized_placement(seeds, (height, width), (size[0], size[1]))


@geometric(_resize_placement)
def resize(images, seeds, config):
    return resized(images, _size_after(config, *size_of(images)), config.method)


def _center_placement(config, height, width, seeds) -> Placement:
    y, x, *size = window_center_crop(config, height, width, seeds)
    return Placement.of(seeds, tuple(size), c=x, f=y)


@geometric(_center_placement)
def center_crop(images, seeds, config):
    window = window_center_crop(config, *size_of(images), seeds)
    return _of_size(config, cropped(images, *window))


def _of_size(config, images):
    return tf.ensure_shape(images, [images.shape[0], *config.size, images.shape[3]])


def window_center_crop(config, height, width, seeds):
    rows, columns = free_space(config, height, width)
    return rows // 2, columns // 2, *config.size


def _pad_placement(config, height, width, seeds) -> Placement:
    rows = config.size[0] - height
    columns = config.size[1] - width
    return Placement.of(seeds, config.size, c=-(columns // 2), f=-(rows // 2))


@geometric(_pad_placement)
def pad_image(images, seeds, config):
    height, width = size_of(images)
    below = config.size[0] - height
    right = config.size[1] - width
    if isinstance(height, int) and (below < 0 or right < 0):
        raise ConfigError(
            f"pad_image: size: expected at least the image, {height}x{width}, "
            f"got {config.size[0]}x{config.size[1]}"
        )
    rows = below // 2, below - below // 2
    columns = right // 2, right - right // 2
    return _of_size(config, padded(images, rows, columns, config.value))


# ---- color


@on_colors
def grayscale(images, seeds, config):
    return as_type_of(images, luma(images))
