"""U-Net: a class for each pixel.

Ronneberger, Fischer, Brox, U-Net: convolutional networks for biomedical image segmentation, 2015,
figure 1. Differences: convolutions pad and are followed by batch normalization.
"""

import keras
from keras import layers

from model_config import Unet
from models import blocks
from train_config import Spec


def build(config: Unet, spec: Spec) -> keras.Model:
    """Images [B, H, W, C] -> logits [B, H, W, num_outputs]."""
    factor = 2**config.depth
    height, width, channels = spec.image_shape(factor, "unet")
    images = x = keras.Input((height, width, channels), name="images")
    borders = ((0, -height % factor), (0, -width % factor))  # so that every stage halves evenly
    x = layers.ZeroPadding2D(borders, name="pad")(x)
    skipped = []
    for number in range(config.depth):  # (B, H, W, .) -> (B, H/2, W/2, filters)
        x = two_convs(x, blocks.scaled(64 * 2**number, config.width), name=f"encode{number}")
        skipped.append(x)
        x = layers.MaxPooling2D(2, name=f"pool{number}")(x)
    x = two_convs(x, blocks.scaled(64 * factor, config.width), name="bottom")
    for number in reversed(range(config.depth)):  # (B, H/2, W/2, .) -> (B, H, W, filters)
        filters = blocks.scaled(64 * 2**number, config.width)
        up = layers.Conv2DTranspose(filters, 2, 2, name=f"up{number}")
        x = layers.Concatenate(name=f"skip{number}")([skipped[number], up(x)])
        x = two_convs(x, filters, name=f"decode{number}")
    x = layers.Cropping2D(borders, name="crop")(x)
    logits = layers.Conv2D(spec.num_outputs, 1, name="logits")(x)
    return keras.Model(images, logits, name="unet")


def two_convs(x, filters, name="convs"):
    """Two 3x3 convolutions: -> [B, H, W, filters]."""
    x = blocks.conv_bn(x, filters, name=f"{name}_first")
    return blocks.conv_bn(x, filters, name=f"{name}_second")
