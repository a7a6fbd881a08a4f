"""A small Inception-v2.

Szegedy et al., Rethinking the inception architecture for computer vision, 2016, figures 5 and 10.
"""

import keras
from keras import layers

from model_config import Inception
from models.blocks import conv_bn, head, scaled, stem_strides
from train_config import Spec


def build(config: Inception, spec: Spec) -> keras.Model:
    """Images [B, H, W, C], H and W at least 16 -> logits [B, num_outputs].

    A stem, then two stages, each a grid reduction and `modules` modules. The paper's network has
    three stages and a stem for 299 pixels; here the stem keeps the size of images under 96 pixels
    and quarters that of others.
    """
    width = config.width
    images = keras.Input(spec.image_shape(16, "inception"), name="images")  # (B, 28, 28, 1)
    strides = stem_strides(images)
    x = branch(
        images,
        width,
        "stem",
        (64, 3, strides),  # -> (B, 28, 28, 64)
        (96, 3, strides),  # -> (B, 28, 28, 96)
    )
    for stage in (1, 2):
        x = grid_reduction(x, width, f"reduction{stage}")  # -> (B, 14, 14, 256), (B, 7, 7, 256)
        for number in range(1, config.modules + 1):  # -> (B, 14, 14, 288), (B, 7, 7, 288)
            x = module(x, width, f"module{stage}_{number}")
    logits = head(x, spec.num_outputs, config.dropout)
    return keras.Model(images, logits, name="inception")


def branch(x, width, name, *convs):
    """Numbered convolutions in a row, each (filters at a width of 1, kernel[, strides])."""
    for number, (filters, *window) in enumerate(convs, 1):
        x = conv_bn(x, scaled(filters, width), *window, name=f"{name}{number}")
    return x


def grid_reduction(x, width=1.0, name="reduction"):
    """Halves the grid in three branches: -> [B, H/2, W/2, 32 + 128 + 96 channels times `width`].

    No pooling alone (a bottleneck), no convolution at full size alone (dear): section 5, figure 10.
    """
    double = branch(
        x,
        width,
        f"{name}_double",
        (96, 1),
        (96, 3),
        (32, 3, 2),
    )
    single = branch(
        x,
        width,
        f"{name}_single",
        (96, 1),
        (128, 3, 2),
    )
    pooled = layers.MaxPooling2D(3, 2, "same", name=f"{name}_pool")(x)
    pooled = branch(pooled, width, f"{name}_pool", (96, 1))
    return layers.Concatenate(name=f"{name}_concat")([double, single, pooled])


def module(x, width, name):
    """Four branches, 64 + 96 + 96 + 32 channels times `width`; the 5x5 are two 3x3 (figure 5)."""
    one = conv_bn(x, scaled(64, width), 1, name=f"{name}_one")
    three = branch(
        x,
        width,
        f"{name}_three",
        (64, 1),
        (96, 3),
    )
    five = branch(
        x,
        width,
        f"{name}_five",
        (64, 1),
        (96, 3),
        (96, 3),
    )
    pooled = layers.AveragePooling2D(3, 1, "same", name=f"{name}_pool")(x)
    pooled = branch(pooled, width, f"{name}_pool", (32, 1))
    return layers.Concatenate(name=f"{name}_concat")([one, three, five, pooled])
