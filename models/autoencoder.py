"""A convolutional autoencoder; given damaged inputs, a denoising one.

G. Hinton, R. Salakhutdinov, Reducing the dimensionality of data with neural networks, 2006; P. Vincent et al., Extracting and
composing robust features with denoising autoencoders, 2008, section 2.
"""

import keras
from keras import layers

from model_config import Autoencoder
from models import blocks
from train_config import Spec


def build(config: Autoencoder, spec: Spec) -> keras.Model:
    """Images [B, H, W, C] -> images of the same shape; each stage halves height and width, and the decoder doubles them again."""
    factor = 2 ** len(config.filters)
    images = x = blocks.images(spec, factor, "autoencoder")
    _, height, width, channels = images.shape
    bottom, right = -height % factor, -width % factor
    if bottom or right:
        x = layers.ZeroPadding2D(((0, bottom), (0, right)), name="pad")(
            x
        )  # so that every stage halves evenly
    skipped = []
    for number, filters in enumerate(config.filters, 1):
        x = blocks.conv_bn(x, filters, name=f"encode{number}")
        skipped.append(x)
        x = blocks.conv_bn(
            x, filters, strides=2, name=f"down{number}"
        )  # (B, H, W, .) -> (B, H/2, W/2, filters)
    x = blocks.conv_bn(x, config.filters[-1], name="code")
    upsample = {"nearest": blocks.upsample_nearest, "transposed": blocks.upsample_transposed}[
        config.upsampling
    ]
    for number, filters in reversed(list(enumerate(config.filters, 1))):
        x = upsample(x, filters, name=f"up{number}")  # (B, H/2, W/2, .) -> (B, H, W, filters)
        if config.skip:
            x = layers.Concatenate(name=f"skip{number}")([x, skipped[number - 1]])
        x = blocks.conv_bn(x, filters, name=f"decode{number}")
    x = layers.Conv2D(channels, 1, name="outputs")(x)
    if bottom or right:
        x = layers.Cropping2D(((0, bottom), (0, right)), name="crop")(x)
    if config.residual:
        x = layers.Add(name="residual")([images, x])  # the network says what to change
    return keras.Model(images, x, name="autoencoder")
