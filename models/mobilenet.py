"""MobileNetV2.

Sandler et al., MobileNetV2: inverted residuals and linear bottlenecks, 2018, table 2.
"""

import math

import keras
from keras import layers

from model_config import Mobilenet
from models.blocks import conv_bn, depthwise_bn, head, scaled, stem_strides
from train_config import Spec

STAGES = (  # expansion, channels, blocks, stride of the first block
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def build(config: Mobilenet, spec: Spec) -> keras.Model:
    """Images [B, H, W, C], at least 16x16 once resized -> logits [B, num_outputs].

    3,504,872 trainable weights for RGB, 1,000 classes and multipliers of 1. `width` multiplies
    channels, except the last 1,280 where it is below 1 (section 6.1); `resolution` resizes the
    images first (Howard et al., MobileNets, 2017, section 3.4); `depth` multiplies the number of
    blocks of each stage. Under 96 pixels the first and the last stride are left out: of 28 pixels
    4 remain.
    """
    smallest = math.ceil(16 / config.resolution)
    images = x = keras.Input(spec.image_shape(smallest, "mobilenet"), name="images")
    if config.resolution != 1:
        # The layer Resizing would switch all that follows to training.
        size = [round(config.resolution * side) for side in spec.input_shape[:2]]
        x = keras.ops.image.resize(x, size, antialias=True)
    width = config.width
    outer_strides = stem_strides(x)
    x = conv_bn(x, scaled(32, width), 3, outer_strides, "relu6", "stem")  # -> (B, 112, 112, 32)
    for stage, (expansion, channels, count, strides) in enumerate(STAGES, 1):
        filters = scaled(channels, width)
        if stage == 6:
            strides = outer_strides
        for number in range(1, max(1, round(config.depth * count)) + 1):
            x = inverted_bottleneck(
                x,
                filters,
                strides,
                expansion,
                config.shortcut,
                f"stage{stage}_{number}",
            )  # -> (B, 112, 112, 16) ... (B, 7, 7, 320)
            strides = 1  # of all but the first block
    filters = scaled(1280, max(1.0, width))
    x = conv_bn(x, filters, 1, act="relu6", name="last")  # -> (B, 7, 7, 1280)
    logits = head(x, spec.num_outputs, config.dropout)
    return keras.Model(images, logits, name="mobilenet")


def linear_bottleneck(x, filters, name="linear"):
    """1x1 to few channels with no activation, which would lose what they hold (section 3.2)."""
    return conv_bn(x, filters, 1, act=None, name=name)


def inverted_bottleneck(x, filters, strides=1, expansion=6, shortcut="projection", name="inverted"):
    """Expand 1x1, depthwise 3x3, linear bottleneck: [B, H, W, C] -> [B, H/s, W/s, filters].

    Section 3.3, table 1. shortcut: "identity": the paper's, only where input and output have one
    shape; "projection": always, through a max-pooling where the stride is above 1 and a 1x1
    convolution where channels differ.
    """
    y = x
    channels = x.shape[-1]
    if expansion != 1:
        y = conv_bn(y, expansion * channels, 1, act="relu6", name=f"{name}_expand")
    y = depthwise_bn(y, strides, "relu6", f"{name}_depthwise")
    y = linear_bottleneck(y, filters, f"{name}_project")
    if shortcut == "identity" and (strides > 1 or channels != filters):
        return y
    if strides > 1:
        x = layers.MaxPooling2D(strides, padding="same", name=f"{name}_shortcut_pool")(x)
    if channels != filters:
        x = conv_bn(x, filters, 1, act=None, name=f"{name}_shortcut")
    return layers.Add(name=f"{name}_add")([x, y])
