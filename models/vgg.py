"""VGG.

Simonyan, Zisserman, Very deep convolutional networks for large-scale image recognition, 2015,
table 1, column D.
"""

import keras
from keras import layers

from model_config import Vgg
from models import blocks
from train_config import Spec

STAGES = (  # channels, convolutions before a pooling
    (64, 2),
    (128, 2),
    (256, 3),
    (512, 3),
    (512, 3),
)
RELU = {"activation": "relu", "kernel_initializer": "he_normal"}


def build(config: Vgg, spec: Spec) -> keras.Model:
    """Images [B, H, W, C], H and W at least 16 -> logits [B, num_outputs].

    Depth 16 is the paper's: 13 convolutions with biases, three dense layers; 138,357,544 weights at
    224x224 and 1,000 classes. Depth 13 has the same convolutions, each with batch normalization and
    PReLU, and a fully convolutional head (section 3.2): scores of every place, averaged.
    """
    images = x = keras.Input(spec.image_shape(16, "vgg"), name="images")
    for stage, (channels, count) in enumerate(STAGES, 1):
        filters = blocks.scaled(channels, config.width)
        for number in range(1, count + 1):
            name = f"conv{stage}_{number}"
            if config.depth == 16:
                x = layers.Conv2D(filters, 3, padding="same", **RELU, name=name)(x)
            else:
                x = blocks.conv_bn(x, filters, 3, act="prelu", name=name)
        if min(x.shape[1:3]) > 1:  # images under 32 pixels have none left for the last pooling
            x = layers.MaxPooling2D(2, name=f"pool{stage}")(x)  # -> (B, H/2, W/2, filters)
    head = _dense if config.depth == 16 else _convolutional
    logits = head(x, config, spec.num_outputs)
    return keras.Model(images, logits, name="vgg")


def _dense(x, config, num_outputs):
    x = layers.Flatten(name="flatten")(x)  # at 224x224: (B, 7, 7, 512) -> (B, 25088)
    units = blocks.scaled(4096, config.width)
    for name in ("fc6", "fc7"):
        x = layers.Dense(units, **RELU, name=name)(x)
        x = blocks.dropout(x, config.dropout, f"{name}_dropout")
    return layers.Dense(num_outputs, name="logits")(x)


def _convolutional(x, config, num_outputs):
    x = blocks.dropout(x, config.dropout)
    x = layers.Conv2D(num_outputs, 1, name="scores")(x)  # -> (B, H/32, W/32, num_outputs)
    return blocks.global_average(x, "logits")  # -> (B, num_outputs)
