"""A convolutional autoencoder; given damaged inputs, a denoising one.

G. Hinton, R. Salakhutdinov, Reducing the dimensionality of data with neural networks, 2006;
P. Vincent et al., Extracting and composing robust features with denoising autoencoders, 2008,
section 2.
"""

import keras
from keras import layers

from model_config import Autoencoder
from models import blocks
from train_config import Spec


def build(config: Autoencoder, spec: Spec) -> keras.Model:
    """Images [B, H, W, C] -> images of the same shape.

    Each stage of the encoder halves height and width, each of the decoder doubles them.
    """
    factor = 2 ** len(config.filters)
    height, width, channels = spec.image_shape(factor, "autoencoder")
    images = x = keras.Input((height, width, channels), name="images")
    below = -height % factor
    beside = -width % factor
    borders = ((0, below), (0, beside))  # so that every stage halves evenly
    if below or beside:
        x = layers.ZeroPadding2D(borders, name="pad")(x)
    skipped = []
    stages = list(enumerate(config.filters, 1))
    for number, filters in stages:  # (B, H, W, .) -> (B, H/2, W/2, filters)
        x = blocks.conv_bn(x, filters, name=f"encode{number}")
        skipped.append(x)
        x = blocks.conv_bn(x, filters, strides=2, name=f"down{number}")
    x = blocks.conv_bn(x, config.filters[-1], name="code")
    upsample = {"nearest": upsample_nearest, "transposed": upsample_transposed}[config.upsampling]
    for number, filters in reversed(stages):  # (B, H/2, W/2, .) -> (B, H, W, filters)
        x = upsample(x, filters, name=f"up{number}")
        if config.skip:
            x = layers.Concatenate(name=f"skip{number}")([x, skipped.pop()])
        x = blocks.conv_bn(x, filters, name=f"decode{number}")
    x = layers.Conv2D(channels, 1, name="outputs")(x)
    if below or beside:
        x = layers.Cropping2D(borders, name="crop")(x)
    if config.residual:
        x = layers.Add(name="residual")([images, x])  # the network says what to change
    return keras.Model(images, x, name="autoencoder")


def upsample_nearest(x, filters, factor=2, name="up"):
    """Repeats pixels, then convolves: [B, H, W, C] -> [B, f * H, f * W, filters].

    No checkerboard: Odena et al., Deconvolution and checkerboard artifacts, 2016.
    """
    x = layers.UpSampling2D(factor, interpolation="nearest", name=f"{name}_nearest")(x)
    return blocks.conv_bn(x, filters, 3, name=name)


def upsample_transposed(x, filters, factor=2, name="up"):
    """Transposed convolution, normalization, ReLU: [B, H, W, C] -> [B, f * H, f * W, filters].

    The kernel is twice the factor wide, so that every output pixel is in as many windows: Odena et
    al., 2016. Long et al., Fully convolutional networks, 2015, section 3.3.
    """
    conv = layers.Conv2DTranspose(
        filters,
        2 * factor,
        factor,
        "same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )
    return blocks.batch_norm(conv(x), "relu", name)
