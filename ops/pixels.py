"""Pixels in, pixels out: what the operations on images [n, height, width, channels] share."""

import tensorflow as tf

from cli.program import ConfigError


def as_type_of(images, changed):
    """`changed` in the type of `images`; bytes are rounded and clipped."""
    if images.dtype != tf.uint8 or changed.dtype == tf.uint8:
        return tf.cast(changed, images.dtype)
    return tf.cast(tf.clip_by_value(tf.round(changed), 0.0, 255.0), tf.uint8)


def per_image(values):
    """[n] -> [n, 1, 1, 1]: one value an image."""
    return values[:, tf.newaxis, tf.newaxis, tf.newaxis]


def size_of(images) -> tuple:
    """Height and width: ints where they are known, else scalar tensors."""
    height, width = images.shape[1:3]
    if height is not None and width is not None:
        return height, width
    return tuple(tf.unstack(tf.shape(images)[1:3]))


def cropped(images, y, x, height, width):
    return images[:, y : y + height, x : x + width]


def padded(images, rows, columns, value=0.0, mode="CONSTANT"):
    """With so many rows and columns (before, after) added."""
    around = [[0, 0], rows, columns, [0, 0]]
    return tf.pad(images, around, mode, tf.cast(value, images.dtype))


def rounded(values):
    return tf.cast(tf.round(values), tf.int32)


def resized(images, size, method: str = "bilinear"):
    return as_type_of(images, tf.image.resize(images, size, method=method, antialias=True))


def free_space(config, height, width, padding: int = 0) -> tuple:
    """How many rows and columns a window of `config.size` can move in images with `padding`.

    Height and width are ints or int32 tensors of any shape, and so is the result. A window that
    does not fit is an error: at once if the size is known, else where the images are read.
    """
    height += 2 * padding
    width += 2 * padding
    rows = height - config.size[0]
    columns = width - config.size[1]
    window = f"{config.size[0]}x{config.size[1]}"
    if isinstance(rows, int):
        if rows < 0 or columns < 0:
            image = "padded image" if padding else "image"
            raise ConfigError(
                f"{config.name}: size: expected at most the {image}, {height}x{width}, got {window}"
            )
        return rows, columns
    fits = tf.reduce_all((rows >= 0) & (columns >= 0))
    expected = f"{config.name}: expected an image of at least {window}, got"
    with tf.control_dependencies([tf.debugging.Assert(fits, [expected, height, width])]):
        return tf.identity(rows), tf.identity(columns)


def luma(images):
    """[..., 3] -> float32 [..., 1] (ITU-R BT.601); one channel stays."""
    images = tf.cast(images, tf.float32)
    if images.shape[-1] == 1:
        return images
    return tf.tensordot(images, [[0.299], [0.587], [0.114]], 1)


def mean_luma(images):
    """float32 [n, 1, 1, 1]."""
    return tf.reduce_mean(luma(images), [1, 2, 3], keepdims=True)


def blend(away, images, factor):
    """factor [n] 0: `away`; 1: the images; above 1: beyond them."""
    return away + per_image(factor) * (images - away)


def rotated(images, angle):
    """Turned about the center by `angle` [n] in radians; float32."""
    cos = tf.cos(angle)
    sin = tf.sin(angle)
    return affine(images, cos, -sin, sin, cos)


def affine(images, a, b, d, e, shift_x=0.0, shift_y=0.0):
    """Output pixel (x, y), from the center, is input (a x + b y + shift_x, d x + e y + shift_y).

    The coefficients are float32 [n]; bilinear, 0 outside; float32.
    """
    _, height, width, _ = images.shape
    y = (height - 1) / 2
    x = (width - 1) / 2
    zero = tf.zeros_like(a)
    to_x = x - a * x - b * y + shift_x
    to_y = y - d * x - e * y + shift_y
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=tf.stack([a, b, to_x, d, e, to_y, zero, zero], axis=1),
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )


def rectangle(images, y, x, height, width):
    """bool [n, height, width, 1], true inside; corners and sizes are int32 [n], in pixels."""

    def inside(length: int, start, size):
        places = tf.range(length)[tf.newaxis]
        start = start[:, tf.newaxis]
        return (places >= start) & (places < start + size[:, tf.newaxis])

    in_rows = inside(images.shape[1], y, height)
    in_columns = inside(images.shape[2], x, width)
    return in_rows[:, :, tf.newaxis, tf.newaxis] & in_columns[:, tf.newaxis, :, tf.newaxis]
