"""A small Inception-v2. Szegedy et al., Rethinking the inception architecture for computer vision, 2016, figures 5 and 10."""

import keras
from keras import layers

from model_config import Inception
from models import blocks
from train_config import Spec


def build(config: Inception, spec: Spec) -> keras.Model:
    """Images [B, H, W, C], H and W at least 16 -> logits [B, num_outputs].

    A stem, then two stages, each a grid reduction and `modules` modules. The paper's network has three stages and a stem
    for 299 pixels; here the stem keeps the size of images under 96 pixels and quarters that of others.
    """
    images = blocks.images(spec, 16, "inception")
    strides = 1 if min(images.shape[1:3]) < 96 else 2
    x = blocks.conv_bn(
        images, blocks.scaled(64, config.width), 3, strides, name="stem1"
    )  # (B, 28, 28, 1) -> (B, 28, 28, 64)
    x = blocks.conv_bn(
        x, blocks.scaled(96, config.width), 3, strides, name="stem2"
    )  # -> (B, 28, 28, 96)
    for stage in (1, 2):
        x = blocks.grid_reduction(
            x, config.width, f"reduction{stage}"
        )  # -> (B, 14, 14, 256), (B, 7, 7, 256)
        for number in range(1, config.modules + 1):
            x = module(
                x, config.width, f"module{stage}_{number}"
            )  # -> (B, 14, 14, 288), (B, 7, 7, 288)
    return keras.Model(images, blocks.head(x, spec.num_outputs, config.dropout), name="inception")


def module(x, width: float, name: str):
    """Four branches side by side, the 5x5 as two 3x3 (figure 5): -> [B, H, W, 64 + 96 + 96 + 32 channels times `width`]."""
    few, middle, many = (blocks.scaled(filters, width) for filters in (32, 64, 96))
    one = blocks.conv_bn(x, middle, 1, name=f"{name}_one")
    three = blocks.conv_bn(x, middle, 1, name=f"{name}_three1")
    three = blocks.conv_bn(three, many, 3, name=f"{name}_three2")
    five = blocks.conv_bn(x, middle, 1, name=f"{name}_five1")
    five = blocks.conv_bn(five, many, 3, name=f"{name}_five2")
    five = blocks.conv_bn(five, many, 3, name=f"{name}_five3")
    pooled = layers.AveragePooling2D(3, 1, "same", name=f"{name}_pool")(x)
    pooled = blocks.conv_bn(pooled, few, 1, name=f"{name}_pool1")
    return layers.Concatenate(name=f"{name}_concat")([one, three, five, pooled])
