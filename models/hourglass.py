"""An hourglass whose heat maps become coordinates.

Newell, Yang, Deng, Stacked hourglass networks for human pose estimation, 2016, section 3: one of
them, of plain convolutions. Nibali et al., Numerical coordinate regression with convolutional
neural networks, 2018, section 3: the mean place of a heat map, so that no map is a target.
"""

import keras
from keras import layers, ops

from cli.program import ConfigError
from model_config import Hourglass
from models import blocks
from train_config import Spec


def build(config: Hourglass, spec: Spec) -> keras.Model:
    """Images [B, H, W, C] -> points [B, K, 2], x and y from -1 to 1 between the edges.

    The heat maps have the size of the images, or half of it where these have 96 pixels or more.
    """
    if len(spec.target_shape) != 2 or spec.target_shape[1] != 2:
        raise ConfigError(
            f"hourglass: expected points as targets [points, 2], got {spec.target_shape}"
        )
    factor = 2**config.depth
    images = keras.Input(spec.image_shape(factor, "hourglass"), name="images")
    strides = blocks.stem_strides(images)
    filters = blocks.scaled(64, config.width)
    x = blocks.conv_bn(images, filters, strides=strides, name="stem")
    x = hourglass(x, filters, config.depth)
    # Flat maps all have their mean in the middle: they begin with hills, or learn very slowly.
    hills = keras.initializers.RandomNormal(stddev=1.0)
    maps = layers.Conv2D(spec.target_shape[0], 1, kernel_initializer=hills, name="heat_maps")(x)
    return keras.Model(images, SoftArgmax(name="points")(maps), name="hourglass")


def hourglass(x, filters, depth: int, name="hourglass"):
    """Features of every scale, added up: [B, H, W, C] -> [B, H, W, filters]."""
    side = blocks.conv_bn(x, filters, name=f"{name}{depth}_side")
    if not depth:
        return side
    _, height, width, _ = x.shape
    x = layers.MaxPooling2D(2, padding="same", name=f"{name}{depth}_pool")(x)
    x = blocks.conv_bn(x, filters, name=f"{name}{depth}_in")
    x = hourglass(x, filters, depth - 1, name)
    x = blocks.conv_bn(x, filters, name=f"{name}{depth}_out")
    x = layers.UpSampling2D(2, name=f"{name}{depth}_up")(x)
    borders = ((0, x.shape[1] - height), (0, x.shape[2] - width))  # of odd sizes
    x = layers.Cropping2D(borders, name=f"{name}{depth}_crop")(x)
    return layers.Add(name=f"{name}{depth}_sum")([side, x])


class SoftArgmax(layers.Layer):
    """Mean place of each map: [B, h, w, K] -> [B, K, 2], x and y from -1 to 1 between the edges.

    At least float32: a bfloat16 would know a place to a hundredth of the picture only.
    """

    def call(self, maps):
        dtype = "float64" if self.compute_dtype == "float64" else "float32"
        _, height, width, points = maps.shape
        flat = ops.reshape(ops.cast(maps, dtype), [-1, height * width, points])
        shares = ops.reshape(ops.softmax(flat, axis=1), [-1, height, width, points])
        x = ops.einsum("bhwk,w->bk", shares, _centers(width, dtype))
        y = ops.einsum("bhwk,h->bk", shares, _centers(height, dtype))
        return ops.stack([x, y], axis=-1)

    def compute_output_shape(self, shape):
        return (shape[0], shape[3], 2)


def _centers(size: int, dtype: str):
    """Where the centers of `size` pixels lie between -1 and 1."""
    return (2 * ops.arange(size, dtype=dtype) + 1) / size - 1
