"""LeNet-5.

LeCun, Bottou, Bengio, Haffner, Gradient-based learning applied to document recognition, 1998,
section II.B. Differences, as usual today: C3 sees all of S2's maps, sub-sampling is plain average
pooling, the output layer is linear (logits); C1 pads, so that 28x28 images need not be enlarged.
"""

import keras
from keras import layers

from model_config import Lenet
from train_config import Spec


def build(config: Lenet, spec: Spec) -> keras.Model:
    """Images [B, H, W, C], H and W at least 28 -> logits [B, num_outputs].

    61,706 weights for 28x28x1 and 10 classes.
    """
    act = config.activation
    l2 = keras.regularizers.L2(config.l2) if config.l2 else None
    images = keras.Input(spec.image_shape(28, "lenet"), name="images")  # (B, 28, 28, 1)
    x = layers.Conv2D(6, 5, 1, "same", activation=act, name="c1")(images)  # -> (B, 28, 28, 6)
    x = layers.AveragePooling2D(2, name="s2")(x)  # -> (B, 14, 14, 6)
    x = layers.Conv2D(16, 5, activation=act, name="c3")(x)  # -> (B, 10, 10, 16)
    x = layers.AveragePooling2D(2, name="s4")(x)  # -> (B, 5, 5, 16)
    x = layers.Conv2D(120, 5, activation=act, name="c5")(x)  # -> (B, 1, 1, 120)
    x = layers.Flatten(name="flatten")(x)  # -> (B, 120)
    x = layers.Dense(84, act, kernel_regularizer=l2, name="f6")(x)  # -> (B, 84)
    if config.dropout:
        x = layers.Dropout(config.dropout, name="dropout")(x)
    logits = layers.Dense(spec.num_outputs, kernel_regularizer=l2, name="logits")(x)  # -> (B, 10)
    return keras.Model(images, logits, name="lenet")
