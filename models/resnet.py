"""Residual networks. He et al., Deep residual learning for image recognition, 2016: table 1 (ImageNet), section 4.2 (CIFAR)."""

import keras
from keras import layers

from model_config import Resnet
from models import blocks
from train_config import Spec

IMAGENET = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}  # blocks of each stage


def build(config: Resnet, spec: Spec) -> keras.Model:
    """Images [B, H, W, C], H and W at least 16 -> logits [B, num_outputs].

    Depths 18 to 152 of table 1 begin with a 7x7/2 and a pooling, which is left out under 96 pixels, and have bottlenecks
    from 50 on; where shapes differ, shortcuts are projections (option B). Depths 20, 32, 44, 56 and 110 are the CIFAR
    networks: three stages of (depth - 2) / 6 blocks with 16, 32 and 64 channels, shortcuts without weights (option A).
    """
    images = blocks.images(spec, 16, "resnet")
    x = _imagenet(images, config) if config.depth in IMAGENET else _cifar(images, config)
    return keras.Model(images, blocks.head(x, spec.num_outputs, config.dropout), name="resnet")


def _imagenet(images, config: Resnet):
    x = blocks.conv_bn(
        images, blocks.scaled(64, config.width), 7, 2, name="stem"
    )  # (B, 224, 224, 3) -> (B, 112, 112, 64)
    if min(images.shape[1:3]) >= 96:
        x = layers.MaxPooling2D(3, 2, "same", name="stem_pool")(x)  # -> (B, 56, 56, 64)
    for stage, count in enumerate(
        IMAGENET[config.depth]
    ):  # -> (B, 56, 56, 64), 28, 14, (B, 7, 7, 512); 4 x channels from 50 on
        filters = blocks.scaled(64 * 2**stage, config.width)
        for number in range(count):
            name, strides = f"stage{stage + 2}_{number + 1}", 2 if stage > 0 and number == 0 else 1
            if config.depth >= 50:
                x = blocks.residual_bottleneck(x, 4 * filters, strides, reduction=4, name=name)
            else:
                x = blocks.residual_block(x, filters, strides, name=name)
    return x


def _cifar(images, config: Resnet):
    x = blocks.conv_bn(
        images, blocks.scaled(16, config.width), 3, name="stem"
    )  # (B, 32, 32, 3) -> (B, 32, 32, 16)
    for stage in range(3):  # -> (B, 32, 32, 16), (B, 16, 16, 32), (B, 8, 8, 64)
        filters = blocks.scaled(16 * 2**stage, config.width)
        for number in range((config.depth - 2) // 6):
            strides = 2 if stage > 0 and number == 0 else 1
            x = blocks.residual_block(
                x, filters, strides, "zeros", name=f"stage{stage + 1}_{number + 1}"
            )
    return x
