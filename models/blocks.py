"""Building blocks: each takes and returns a Keras tensor, [B, H, W, C] for convolutions.

`name` prefixes the names of a block's layers, so that its intermediate outputs can be found:
model.get_layer("stem_bn"). `act` is "relu", "relu6", "prelu" or None. Convolutions pad, so that the
grid changes only by their strides: H -> ceil(H / strides). A block of one network is in its file.
"""

import keras
from keras import layers


def scaled(filters: int, width: float) -> int:
    """Channels times a width multiplier: the nearest multiple of 8 that is not below 90 %.

    As the authors of MobileNetV2 scale; a width of 1 changes no network here.
    """
    rounded = max(8, int(filters * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters * width else rounded


def stem_strides(x) -> int:
    """2, or 1 for images under 96 pixels, of which too few would remain."""
    _, height, width, _ = x.shape
    return 1 if min(height, width) < 96 else 2


def batch_norm(x, act: str | None, name: str):
    """Batch normalization, activation. Ioffe, Szegedy, Batch normalization, 2015, section 3.2.

    Averages follow in some 10 steps, not Keras' 100: short runs forget where they began.
    """
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return activation(x, act, f"{name}_{act}")


def activation(x, kind: str | None, name: str):
    """ReLU, ReLU6 = min(max(x, 0), 6), or PReLU: one learned slope a channel, at first 0.25.

    He et al., Delving deep into rectifiers, 2015, section 2.1; Krizhevsky, Convolutional deep
    belief networks, 2010, for the 6.
    """
    if kind is None:
        return x
    if kind == "prelu":
        slope = keras.initializers.Constant(0.25)
        return layers.PReLU(slope, shared_axes=[1, 2], name=name)(x)
    highest = {"relu": None, "relu6": 6.0}[kind]
    return layers.ReLU(highest, name=name)(x)


def conv_bn(x, filters: int, kernel=3, strides=1, act: str | None = "relu", name="conv"):
    """Convolution, batch normalization, activation."""
    conv = layers.Conv2D(
        filters,
        kernel,
        strides,
        "same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )
    return batch_norm(conv(x), act, name)


def depthwise_bn(x, strides=1, act: str | None = "relu", name="depthwise", dilation=1):
    """One 3x3 filter a channel, batch normalization, activation.

    Howard et al., MobileNets, 2017, section 3.1.
    """
    # Keras' fan_in counts all channels, not the one that a filter sees.
    he_normal = keras.initializers.VarianceScaling(2.0, "fan_out", "truncated_normal")
    conv = layers.DepthwiseConv2D(
        3,
        strides,
        "same",
        dilation_rate=dilation,
        use_bias=False,
        depthwise_initializer=he_normal,
        name=f"{name}_conv",
    )
    return batch_norm(conv(x), act, name)


def global_average(x, name: str = "pool"):
    """[B, H, W, C] -> [B, C]. Lin et al., Network in network, 2014, section 3.2."""
    return layers.GlobalAveragePooling2D(name=name)(x)


def dropout(x, rate: float, name="dropout"):
    """Dropout; no layer at all for a rate of 0."""
    return layers.Dropout(rate, name=name)(x) if rate else x


def head(x, num_outputs: int, rate: float = 0.0):
    """Global average pooling, dropout, logits: [B, H, W, C] -> [B, num_outputs]."""
    x = global_average(x)
    x = dropout(x, rate)
    return layers.Dense(num_outputs, name="logits")(x)
