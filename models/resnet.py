"""Residual networks.

He et al., Deep residual learning for image recognition, 2016: table 1 (ImageNet), section 4.2
(CIFAR).
"""

from functools import partial

import keras
from keras import layers

from model_config import Resnet
from models.blocks import activation, conv_bn, head, scaled, stem_strides
from train_config import Spec

IMAGENET = {  # blocks of each stage
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def build(config: Resnet, spec: Spec) -> keras.Model:
    """Images [B, H, W, C], H and W at least 16 -> logits [B, num_outputs].

    Depths 18 to 152 of table 1 begin with a 7x7/2 and a pooling, which is left out under 96 pixels,
    and have bottlenecks from 50 on; where shapes differ, shortcuts are projections (option B).
    Depths 20, 32, 44, 56 and 110 are the CIFAR networks: three stages of (depth - 2) / 6 blocks
    with 16, 32 and 64 channels, shortcuts without weights (option A).
    """
    depth = config.depth
    width = config.width
    images = keras.Input(spec.image_shape(16, "resnet"), name="images")
    if depth in IMAGENET:
        x = conv_bn(images, scaled(64, width), 7, 2, name="stem")  # -> (B, 112, 112, 64)
        if stem_strides(images) == 2:
            x = layers.MaxPooling2D(3, 2, "same", name="stem_pool")(x)  # -> (B, 56, 56, 64)
        first = 2
        counts = IMAGENET[depth]
        channels = (64, 128, 256, 512)  # -> (B, 56, 56, 64), 28, 14, (B, 7, 7, 512)
        block = residual_block
        expansion = 1
        if depth >= 50:  # -> (B, 56, 56, 256), 28, 14, (B, 7, 7, 2048)
            block = partial(residual_bottleneck, reduction=4)
            expansion = 4
    else:
        x = conv_bn(images, scaled(16, width), 3, name="stem")
        first = 1
        counts = [(depth - 2) // 6] * 3
        channels = (16, 32, 64)  # -> (B, 32, 32, 16), (B, 16, 16, 32), (B, 8, 8, 64)
        block = partial(residual_block, shortcut="zeros")
        expansion = 1
    for stage, count in enumerate(counts):
        filters = expansion * scaled(channels[stage], width)
        for number in range(count):
            strides = 2 if stage and not number else 1
            x = block(x, filters, strides, name=f"stage{stage + first}_{number + 1}")
    logits = head(x, spec.num_outputs, config.dropout)
    return keras.Model(images, logits, name="resnet")


def residual_block(x, filters, strides=1, shortcut="projection", name="residual"):
    """Two 3x3 convolutions around which the input flows (figures 2 and 5).

    shortcut where shapes differ: "projection": a 1x1 convolution (the paper's option B); "zeros":
    every other pixel, and channels of zeros, no weights (option A).
    """
    y = conv_bn(x, filters, 3, strides, name=f"{name}_a")
    y = conv_bn(y, filters, 3, act=None, name=f"{name}_b")
    return _with_shortcut(x, y, strides, shortcut, name)


def residual_bottleneck(x, filters, strides=1, reduction=2, name="bottleneck"):
    """1x1 to filters / reduction, 3x3 with the stride, 1x1 to filters, and the input added.

    Figure 5, where `reduction` is 4. The stride is in the 3x3, which sees every pixel, not in the
    first 1x1, which would skip three of four.
    """
    few = filters // reduction
    y = conv_bn(x, few, 1, name=f"{name}_reduce")
    y = conv_bn(y, few, 3, strides, name=f"{name}_conv")
    y = conv_bn(y, filters, 1, act=None, name=f"{name}_expand")
    return _with_shortcut(x, y, strides, "projection", name)


def _with_shortcut(x, y, strides, shortcut, name):
    filters = y.shape[-1]
    if strides > 1 or x.shape[-1] != filters:
        if shortcut == "zeros":
            x = _zeros(x, filters, strides, name)
        else:
            x = conv_bn(x, filters, 1, strides, None, f"{name}_shortcut")
    x = layers.Add(name=f"{name}_add")([x, y])
    return activation(x, "relu", f"{name}_relu")


def _zeros(x, filters, strides, name):
    x = layers.AveragePooling2D(1, strides, name=f"{name}_subsample")(x)  # windows of one pixel
    zeros = filters - x.shape[-1]
    before = zeros // 2
    borders = ((0, 0), (before, zeros - before))
    # (B, H, W, C) -> (B, H, C, W) and back: ZeroPadding2D reaches C only there
    x = layers.Permute((1, 3, 2), name=f"{name}_channels_in")(x)
    x = layers.ZeroPadding2D(borders, name=f"{name}_zeros")(x)
    return layers.Permute((1, 3, 2), name=f"{name}_channels_out")(x)
