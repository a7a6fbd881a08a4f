"""A small Inception-v2.

Szegedy et al., Rethinking the inception architecture for computer vision, 2016, figures 5 and 10.
"""

import keras
from keras import layers

from model_config import Inception
from models.blocks import conv_bn, head, scaled
from train_config import Spec


def build(config: Inception, spec: Spec) -> keras.Model:
    """Images [B, H, W, C], H and W at least 16 -> logits [B, num_outputs].

    A stem, then two stages, each a grid reduction and `modules` modules. The paper's network has
    three stages and a stem for 299 pixels; here the stem keeps the size of images under 96 pixels
    and quarters that of others.
    """
    width = config.width
    images = keras.Input(spec.image_shape(16, "inception"), name="images")  # (B, 28, 28, 1)
    strides = 1 if min(images.shape[1:3]) < 96 else 2
    x = conv_bn(images, scaled(64, width), 3, strides, name="stem1")  # -> (B, 28, 28, 64)
    x = conv_bn(x, scaled(96, width), 3, strides, name="stem2")  # -> (B, 28, 28, 96)
    for stage in (1, 2):
        x = grid_reduction(x, width, f"reduction{stage}")  # -> (B, 14, 14, 256), (B, 7, 7, 256)
        for number in range(1, config.modules + 1):  # -> (B, 14, 14, 288), (B, 7, 7, 288)
            x = module(x, width, f"module{stage}_{number}")
    return keras.Model(images, head(x, spec.num_outputs, config.dropout), name="inception")


def grid_reduction(x, width=1.0, name="reduction"):
    """Halves the grid in three branches: -> [B, H/2, W/2, 32 + 128 + 96 channels times `width`].

    1x1 96, 3x3 96, 3x3/2 32; 1x1 96, 3x3/2 128; max-pooling/2, 1x1 96. No pooling alone (a
    bottleneck), no convolution at full size alone (dear): section 5 and figure 10.
    """
    few, middle, many = (scaled(filters, width) for filters in (32, 96, 128))
    double = conv_bn(x, middle, 1, name=f"{name}_double1")
    double = conv_bn(double, middle, 3, name=f"{name}_double2")
    double = conv_bn(double, few, 3, 2, name=f"{name}_double3")
    single = conv_bn(x, middle, 1, name=f"{name}_single1")
    single = conv_bn(single, many, 3, 2, name=f"{name}_single2")
    pooled = layers.MaxPooling2D(3, 2, "same", name=f"{name}_pool")(x)
    pooled = conv_bn(pooled, middle, 1, name=f"{name}_pool1")
    return layers.Concatenate(name=f"{name}_concat")([double, single, pooled])


def module(x, width, name):
    """Four branches, 64 + 96 + 96 + 32 channels times `width`; the 5x5 are two 3x3 (figure 5)."""
    few, middle, many = (scaled(filters, width) for filters in (32, 64, 96))
    one = conv_bn(x, middle, 1, name=f"{name}_one")
    three = conv_bn(x, middle, 1, name=f"{name}_three1")
    three = conv_bn(three, many, 3, name=f"{name}_three2")
    five = conv_bn(x, middle, 1, name=f"{name}_five1")
    five = conv_bn(five, many, 3, name=f"{name}_five2")
    five = conv_bn(five, many, 3, name=f"{name}_five3")
    pooled = layers.AveragePooling2D(3, 1, "same", name=f"{name}_pool")(x)
    pooled = conv_bn(pooled, few, 1, name=f"{name}_pool1")
    return layers.Concatenate(name=f"{name}_concat")([one, three, five, pooled])
