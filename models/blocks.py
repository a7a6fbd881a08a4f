"""Convolutional building blocks: each takes and returns a Keras tensor [B, H, W, C] and is usable alone.

`name` prefixes the names of a block's layers, so that its intermediate outputs can be found: model.get_layer("fire2_squeeze").
`act` is "relu", "relu6", "prelu" or None. Convolutions pad, so that the grid changes only by their strides: H -> ceil(H / strides).
"""

import keras
from keras import layers

from cli.program import ConfigError
from train_config import Spec


def images(spec: Spec, smallest: int, network: str):
    """The input [B, H, W, C] of a network that can do with `smallest` pixels in height and width. Raises ConfigError for others."""
    check_images(spec, smallest, network)
    return keras.Input(spec.input_shape, name="images")


def check_images(spec: Spec, smallest: int, network: str) -> None:
    height, width, *channels = [size or 0 for size in spec.input_shape] + [0] * (
        2 - len(spec.input_shape)
    )
    if len(channels) != 1 or not all(channels) or min(height, width) < smallest:
        raise ConfigError(
            f"{network}: expected images of one size, at least {smallest}x{smallest} pixels, and a channel axis, got {spec.input_shape}"
        )


def scaled(filters: int, width: float) -> int:
    """Channels times a width multiplier: the nearest multiple of 8 that is not below 90 %.

    As the authors of MobileNetV2 scale; a width of 1 changes no network here.
    """
    rounded = max(8, int(filters * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters * width else rounded


# ------------------------------------------------------------------------------------------ convolutions of one layer


def batch_norm(name: str):
    """Its moving averages follow in some 10 steps, not in Keras' 100, in which a short run would not forget where they began."""
    return layers.BatchNormalization(momentum=0.9, name=name)


def activation(x, kind: str | None, name: str):
    """ReLU, ReLU6 = min(max(x, 0), 6), or PReLU: one learned slope a channel, at first 0.25.

    He et al., Delving deep into rectifiers, 2015, section 2.1; Krizhevsky, Convolutional deep belief networks, 2010, for the 6.
    """
    if kind is None:
        return x
    if kind == "prelu":
        return layers.PReLU(keras.initializers.Constant(0.25), shared_axes=[1, 2], name=name)(x)
    return layers.ReLU(max_value={"relu": None, "relu6": 6.0}[kind], name=name)(x)


def conv_bn(
    x, filters: int, kernel: int = 3, strides: int = 1, act: str | None = "relu", name: str = "conv"
):
    """Convolution, batch normalization, activation. Ioffe, Szegedy, Batch normalization, 2015, section 3.2."""
    conv = layers.Conv2D(
        filters,
        kernel,
        strides,
        "same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )
    return activation(batch_norm(f"{name}_bn")(conv(x)), act, f"{name}_{act}")


def depthwise_bn(
    x, strides: int = 1, act: str | None = "relu", name: str = "depthwise", dilation: int = 1
):
    """One 3x3 filter a channel, batch normalization, activation. Howard et al., MobileNets, 2017, section 3.1."""
    he = keras.initializers.VarianceScaling(
        2.0, "fan_out", "truncated_normal"
    )  # Keras' fan_in counts all channels, not the one
    conv = layers.DepthwiseConv2D(
        3,
        strides,
        "same",
        dilation_rate=dilation,
        use_bias=False,
        depthwise_initializer=he,
        name=f"{name}_conv",
    )
    return activation(batch_norm(f"{name}_bn")(conv(x)), act, f"{name}_{act}")


def separable_conv(
    x,
    filters: int,
    strides: int = 1,
    act: str | None = "relu",
    name: str = "separable",
    dilation: int = 1,
):
    """Depthwise 3x3, then pointwise 1x1, each with batch normalization and activation. MobileNets, figure 3."""
    x = depthwise_bn(x, strides, act, f"{name}_depthwise", dilation)
    return conv_bn(x, filters, 1, act=act, name=f"{name}_pointwise")


def linear_bottleneck(x, filters: int, name: str = "linear"):
    """1x1 to few channels with no activation, which would lose what they hold. Sandler et al., MobileNetV2, 2018, section 3.2."""
    return conv_bn(x, filters, 1, act=None, name=name)


# ------------------------------------------------------------------------------------------------ blocks with shortcuts


def inverted_bottleneck(
    x,
    filters: int,
    strides: int = 1,
    expansion: int = 6,
    act: str = "relu6",
    shortcut: str = "projection",
    name: str = "inverted",
):
    """Expand 1x1, depthwise 3x3, linear bottleneck: [B, H, W, C] -> [B, H/s, W/s, filters]. MobileNetV2, section 3.3, table 1.

    shortcut: "identity": the paper's, only where input and output have one shape; "projection": always, through a
    max-pooling where the stride is above 1 and a 1x1 convolution where channels differ.
    """
    channels, y = x.shape[-1], x
    if expansion != 1:
        y = conv_bn(y, expansion * channels, 1, act=act, name=f"{name}_expand")
    y = depthwise_bn(y, strides, act, f"{name}_depthwise")
    y = linear_bottleneck(y, filters, f"{name}_project")
    if shortcut == "identity" and (strides > 1 or channels != filters):
        return y
    if strides > 1:
        x = layers.MaxPooling2D(strides, padding="same", name=f"{name}_shortcut_pool")(x)
    if channels != filters:
        x = conv_bn(x, filters, 1, act=None, name=f"{name}_shortcut")
    return layers.Add(name=f"{name}_add")([x, y])


def residual_block(
    x, filters: int, strides: int = 1, shortcut: str = "projection", name: str = "residual"
):
    """Two 3x3 convolutions around which the input flows. He et al., Deep residual learning, 2016, figures 2 and 5.

    shortcut where shapes differ: "projection": a 1x1 convolution (the paper's option B); "zeros": every other pixel, and
    channels of zeros, no weights (option A).
    """
    y = conv_bn(x, filters, 3, strides, name=f"{name}_a")
    y = conv_bn(y, filters, 3, act=None, name=f"{name}_b")
    if strides > 1 or x.shape[-1] != filters:
        x = (
            _zeros(x, filters, strides, name)
            if shortcut == "zeros"
            else conv_bn(x, filters, 1, strides, None, f"{name}_shortcut")
        )
    return activation(layers.Add(name=f"{name}_add")([x, y]), "relu", f"{name}_relu")


def residual_bottleneck(
    x, filters: int, strides: int = 1, reduction: int = 2, name: str = "bottleneck"
):
    """1x1 to filters / reduction, 3x3 with the stride, 1x1 to filters, around which the input flows.

    Deep residual learning, figure 5, where `reduction` is 4. The stride is in the 3x3, which sees every pixel, not in the
    first 1x1, which would skip three of four.
    """
    y = conv_bn(x, filters // reduction, 1, name=f"{name}_reduce")
    y = conv_bn(y, filters // reduction, 3, strides, name=f"{name}_conv")
    y = conv_bn(y, filters, 1, act=None, name=f"{name}_expand")
    if strides > 1 or x.shape[-1] != filters:
        x = conv_bn(x, filters, 1, strides, None, f"{name}_shortcut")
    return activation(layers.Add(name=f"{name}_add")([x, y]), "relu", f"{name}_relu")


def _zeros(x, filters: int, strides: int, name: str):
    x = layers.AveragePooling2D(1, strides, name=f"{name}_subsample")(x)  # windows of one pixel
    before = (filters - x.shape[-1]) // 2
    x = layers.Permute((1, 3, 2), name=f"{name}_channels_in")(
        x
    )  # (B, H, W, C) -> (B, H, C, W), so that padding reaches C
    x = layers.ZeroPadding2D(
        ((0, 0), (before, filters - x.shape[2] - before)), name=f"{name}_zeros"
    )(x)
    return layers.Permute((1, 3, 2), name=f"{name}_channels_out")(x)


# ------------------------------------------------------------------------------------------------ blocks with branches


def fire(x, squeeze: int, expand: int, name: str = "fire"):
    """Squeeze 1x1, then expand 1x1 and 3x3 side by side: -> [B, H, W, 2 * expand]. Iandola et al., SqueezeNet, 2016, section 3.2."""
    x = layers.Conv2D(
        squeeze, 1, activation="relu", kernel_initializer="he_normal", name=f"{name}_squeeze"
    )(x)
    one = layers.Conv2D(
        expand, 1, activation="relu", kernel_initializer="he_normal", name=f"{name}_expand1"
    )(x)
    three = layers.Conv2D(
        expand,
        3,
        padding="same",
        activation="relu",
        kernel_initializer="he_normal",
        name=f"{name}_expand3",
    )(x)
    return layers.Concatenate(name=f"{name}_concat")([one, three])


def grid_reduction(x, width: float = 1.0, name: str = "reduction"):
    """Halves the grid in three branches: [B, H, W, C] -> [B, H/2, W/2, 32 + 128 + 96 channels times `width`].

    1x1 96, 3x3 96, 3x3/2 32; 1x1 96, 3x3/2 128; max-pooling/2, 1x1 96. No pooling alone (a bottleneck), no convolution
    at full size alone (dear): Szegedy et al., Rethinking the inception architecture, 2016, section 5 and figure 10.
    """
    few, middle, many = (scaled(filters, width) for filters in (32, 96, 128))
    double = conv_bn(x, middle, 1, name=f"{name}_double1")
    double = conv_bn(double, middle, 3, name=f"{name}_double2")
    double = conv_bn(double, few, 3, 2, name=f"{name}_double3")
    single = conv_bn(x, middle, 1, name=f"{name}_single1")
    single = conv_bn(single, many, 3, 2, name=f"{name}_single2")
    pooled = layers.MaxPooling2D(3, 2, "same", name=f"{name}_pool")(x)
    pooled = conv_bn(pooled, middle, 1, name=f"{name}_pool1")
    return layers.Concatenate(name=f"{name}_concat")([double, single, pooled])


# --------------------------------------------------------------------------------------------- other sizes of the grid


def upsample_nearest(x, filters: int, factor: int = 2, act: str | None = "relu", name: str = "up"):
    """Repeats pixels, then convolves: [B, H, W, C] -> [B, f * H, f * W, filters].

    No checkerboard: Odena et al., Deconvolution and checkerboard artifacts, 2016.
    """
    x = layers.UpSampling2D(factor, interpolation="nearest", name=f"{name}_nearest")(x)
    return conv_bn(x, filters, 3, act=act, name=name)


def upsample_transposed(
    x, filters: int, factor: int = 2, act: str | None = "relu", name: str = "up"
):
    """Transposed convolution, batch normalization, activation: [B, H, W, C] -> [B, f * H, f * W, filters].

    The kernel is twice the factor wide, so that every output pixel is in as many windows: Odena et al., 2016.
    Long et al., Fully convolutional networks, 2015, section 3.3.
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
    return activation(batch_norm(f"{name}_bn")(conv(x)), act, f"{name}_{act}")


def global_average(x, name: str = "pool"):
    """[B, H, W, C] -> [B, C]. Lin et al., Network in network, 2014, section 3.2."""
    return layers.GlobalAveragePooling2D(name=name)(x)


def head(x, num_outputs: int, dropout: float = 0.0):
    """Global average pooling, dropout, logits: [B, H, W, C] -> [B, num_outputs]."""
    x = global_average(x)
    x = layers.Dropout(dropout, name="dropout")(x) if dropout else x
    return layers.Dense(num_outputs, name="logits")(x)
