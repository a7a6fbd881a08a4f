"""Pixels in, pixels out: what the operations on images [n, height, width, channels] share."""

from typing import NamedTuple

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


# ---- where the pixels of a result come from


class Placement(NamedTuple):
    """Output pixel (x, y) is input (a x + b y + c, d x + e y + f); whole numbers are centers.

    `rows`: float32 [n, 6] of a, b, c, d, e, f; `size`: height and width of the output.
    """

    rows: tf.Tensor
    size: tuple

    @classmethod
    def of(cls, seeds, size, a=1.0, b=0.0, c=0.0, d=0.0, e=1.0, f=0.0) -> "Placement":
        """Of coefficients that are numbers or [n], one for each seed."""
        ones = tf.ones_like(seeds, tf.float32)
        columns = [ones * tf.cast(value, tf.float32) for value in (a, b, c, d, e, f)]
        return cls(tf.stack(columns, axis=1), size)


def about_center(size, a, b, d, e, shift_x=0.0, shift_y=0.0) -> Placement:
    """Output pixel (x, y), from the center, is input (a x + b y + shift_x, d x + e y + shift_y).

    The coefficients are float32 [n].
    """
    height, width = size
    y = (height - 1) / 2
    x = (width - 1) / 2
    to_x = x - a * x - b * y + shift_x
    to_y = y - d * x - e * y + shift_y
    return Placement(tf.stack([a, b, to_x, d, e, to_y], axis=1), (height, width))


def rotation(size, angle) -> Placement:
    """Turns about the center by `angle` [n] in radians."""
    cos = tf.cos(angle)
    sin = tf.sin(angle)
    return about_center(size, cos, -sin, sin, cos)


def resized_placement(seeds, window, size, corner=(0, 0)) -> Placement:
    """A window of the input (height, width) at a corner (y, x) resized, edges to edges."""
    (height, width), (y, x) = (
        [tf.cast(pixels, tf.float32) for pixels in pair] for pair in (window, corner)
    )
    rows, columns = (tf.cast(pixels, tf.float32) for pixels in size)
    a = width / columns
    e = height / rows
    c = x + a / 2 - 0.5
    f = y + e / 2 - 0.5
    return Placement.of(seeds, size, a=a, c=c, e=e, f=f)


def placed(images, placement: Placement, interpolation: str, fill: float = 0.0):
    """Images as a placement shows them; `fill` is what lies outside."""
    zeros = tf.zeros_like(placement.rows[:, :2])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.concat([placement.rows, zeros], axis=1),
        output_shape=placement.size,
        fill_value=fill,
        interpolation=interpolation,
        fill_mode="CONSTANT",
    )


def placed_points(points, placement: Placement):
    """Points float32 [n, K, 3] (x, y, visible) as a placement shows them.

    What is outside the output is not visible.
    """
    a, b, c, d, e, f = tf.unstack(placement.rows[:, tf.newaxis], axis=-1)  # (n, 1)
    x, y, visible = tf.unstack(points, axis=-1)
    determinant = a * e - b * d
    from_x = x - c
    from_y = y - f
    x = tf.math.divide_no_nan(e * from_x - b * from_y, determinant)
    y = tf.math.divide_no_nan(a * from_y - d * from_x, determinant)
    height, width = placement.size
    right = tf.cast(width, tf.float32) - 0.5
    bottom = tf.cast(height, tf.float32) - 0.5
    inside = (x >= -0.5) & (x < right) & (y >= -0.5) & (y < bottom)
    return tf.stack([x, y, visible * tf.cast(inside, tf.float32)], axis=-1)


def rectangle(images, y, x, height, width):
    """bool [n, height, width, 1], true inside; corners and sizes are int32 [n], in pixels."""

    def inside(length: int, start, size):
        places = tf.range(length)[tf.newaxis]
        start = start[:, tf.newaxis]
        return (places >= start) & (places < start + size[:, tf.newaxis])

    in_rows = inside(images.shape[1], y, height)
    in_columns = inside(images.shape[2], x, width)
    return in_rows[:, :, tf.newaxis, tf.newaxis] & in_columns[:, tf.newaxis, :, tf.newaxis]
