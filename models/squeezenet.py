"""SqueezeNet.

Iandola et al., SqueezeNet: AlexNet-level accuracy with 50x fewer parameters, 2016, table 1.
"""

from functools import partial

import keras
from keras import layers

from model_config import Squeezenet
from models import blocks
from train_config import Spec

# Channels of fire2 to fire9, each of which expands to 8 times as many.
SQUEEZE = (16, 16, 32, 32, 48, 48, 64, 64)

relu_conv = partial(layers.Conv2D, activation="relu", kernel_initializer="he_normal")


def build(config: Squeezenet, spec: Spec) -> keras.Model:
    """Images [B, H, W, C], H and W at least 16 -> logits [B, num_outputs].

    1,248,424 weights for RGB and 1,000 classes. With `bypass` the input of fire3, 5, 7 and 9,
    which has as many channels, is added to their output (figure 2, middle). Differences from the
    paper: no ReLU on the logits; under 96 pixels conv1 has no stride.
    """
    images = keras.Input(spec.image_shape(16, "squeezenet"), name="images")  # (B, 224, 224, 3)
    first = blocks.scaled(96, config.width)
    strides = blocks.stem_strides(images)
    x = relu_conv(first, 7, strides, "same", name="conv1")(images)  # -> (B, 112, 112, 96)
    x = layers.MaxPooling2D(3, 2, name="pool1")(x)  # -> (B, 55, 55, 96)
    for number, channels in enumerate(SQUEEZE, 2):
        name = f"fire{number}"
        squeeze = blocks.scaled(channels, config.width)
        y = fire(x, squeeze, 4 * squeeze, name)
        if config.bypass and number % 2:
            y = layers.Add(name=f"{name}_bypass")([x, y])
        x = y
        if number in (4, 8) and min(x.shape[1:3]) >= 3:  # -> (B, 27, 27, 256), (B, 13, 13, 512)
            x = layers.MaxPooling2D(3, 2, name=f"pool{number}")(x)
    x = blocks.dropout(x, config.dropout)
    x = layers.Conv2D(spec.num_outputs, 1, name="conv10")(x)  # -> (B, 13, 13, num_outputs)
    logits = blocks.global_average(x, "logits")
    return keras.Model(images, logits, name="squeezenet")


def fire(x, squeeze, expand, name="fire"):
    """Squeeze 1x1, then expand 1x1 and 3x3 side by side: -> [B, H, W, 2 * expand] (section 3.2)."""
    x = relu_conv(squeeze, 1, name=f"{name}_squeeze")(x)
    one = relu_conv(expand, 1, name=f"{name}_expand1")(x)
    three = relu_conv(expand, 3, padding="same", name=f"{name}_expand3")(x)
    return layers.Concatenate(name=f"{name}_concat")([one, three])
