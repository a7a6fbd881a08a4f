"""MobileNetV2. Sandler et al., MobileNetV2: inverted residuals and linear bottlenecks, 2018, table 2."""

import math

import keras

from model_config import Mobilenet
from models import blocks
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

    3,504,872 trainable weights for RGB, 1,000 classes and multipliers of 1.
    `width` multiplies channels, except the last 1,280 where it is below 1 (section 6.1); `resolution` resizes the images
    first (Howard et al., MobileNets, 2017, section 3.4); `depth` multiplies the number of blocks of each stage. Under 96
    pixels the first and the last stride are left out: of 28 pixels 4 remain.
    """
    images = x = blocks.images(spec, math.ceil(16 / config.resolution), "mobilenet")
    if config.resolution != 1:
        size = [round(config.resolution * side) for side in spec.input_shape[:2]]
        x = keras.ops.image.resize(
            x, size, antialias=True
        )  # the layer Resizing would switch all that follows to training
    small = min(x.shape[1:3]) < 96
    x = blocks.conv_bn(
        x, blocks.scaled(32, config.width), 3, 1 if small else 2, "relu6", "stem"
    )  # (B, 224, 224, 3) -> (B, 112, 112, 32)
    for number, (expansion, filters, count, strides) in enumerate(
        STAGES, 1
    ):  # -> (B, 112, 112, 16) ... (B, 7, 7, 320)
        strides = 1 if small and number == 6 else strides
        for repeat in range(max(1, round(config.depth * count))):
            x = blocks.inverted_bottleneck(
                x,
                blocks.scaled(filters, config.width),
                strides if repeat == 0 else 1,
                expansion,
                shortcut=config.shortcut,
                name=f"stage{number}_{repeat + 1}",
            )
    x = blocks.conv_bn(
        x, blocks.scaled(1280, max(1.0, config.width)), 1, act="relu6", name="last"
    )  # -> (B, 7, 7, 1280)
    return keras.Model(images, blocks.head(x, spec.num_outputs, config.dropout), name="mobilenet")
