"""Xception, as Chollet's 36 convolutional layers or the aligned 41.

Chollet, Xception: deep learning with depthwise separable convolutions, 2017, figure 5. Chen et al.,
Encoder-decoder with atrous separable convolution for semantic image segmentation, 2018, section 3.2
and figure 4.
"""

import keras
from keras import layers

from model_config import Xception
from models.blocks import batch_norm, conv_bn, depthwise_bn, head, scaled, stem_strides
from train_config import Spec

EXIT = {  # channels of the last two units, by `aligned`
    True: ((728, 1024, 1024), (1536, 1536, 2048)),
    False: ((728, 1024), (1536, 2048)),
}


def build(config: Xception, spec: Spec) -> keras.Model:
    """Images [B, H, W, C], H and W at least 16 -> logits [B, num_outputs].

    `aligned`: three separable convolutions a unit, strides instead of poolings, normalization after
    each depthwise convolution too, and ReLU there in the exit alone, as in the authors' code: in
    all units, as their text has it, small networks learn several times more slowly. With 8 middle
    units there are 2 + 3*3 + 8*3 + 3 + 3 = 41 layers, otherwise 2 + 3*2 + 8*3 + 2 + 2 = 36, with
    22,855,952 trainable weights for RGB and 1,000 classes. Strides that would make the grid coarser
    than `output_stride` become dilations of what follows. Under 96 pixels the stem has no stride.
    """
    aligned = config.aligned
    width = config.width
    images = keras.Input(spec.image_shape(16, "xception"), name="images")  # (B, 299, 299, 3)
    strides = [stem_strides(images), 2, 2, 2, *[1] * config.middle, 2, 1]
    plan = strides_and_dilations(strides, config.output_stride)
    x = conv_bn(images, scaled(32, width), 3, plan[0][0], name="stem1")  # -> (B, 150, 150, 32)
    x = conv_bn(x, scaled(64, width), 3, name="stem2")
    count = 3 if aligned else 2
    units = {  # channels of the separable convolutions of each
        "entry1": [128] * count,
        "entry2": [256] * count,
        "entry3": [728] * count,
    }
    for number in range(1, config.middle + 1):
        units[f"middle{number}"] = [728] * 3
    units["exit1"], last = EXIT[aligned]
    for (name, channels), grid in zip(units.items(), plan[1:-1], strict=True):
        filters = [scaled(number, width) for number in channels]
        x = unit(x, filters, *grid, aligned, name)  # -> 75, 38, 19, ..., (B, 10, 10, 1024)
    _, dilation = plan[-1]
    for number, channels in enumerate(last, 1):  # -> (B, 10, 10, 2048)
        filters = scaled(channels, width)
        x = separable(x, filters, 1, dilation, aligned, f"exit2_{number}", "relu")
    logits = head(x, spec.num_outputs, config.dropout)
    return keras.Model(images, logits, name="xception")


def strides_and_dilations(strides: list[int], output_stride: int) -> list[tuple[int, int]]:
    """(stride, dilation) of layers with these strides once their product stops at `output_stride`.

    ([2, 2, 2], 2) -> [(2, 1), (1, 1), (1, 2)]: the second sees the grid that it always saw, the
    third one twice as fine.
    """
    plan = []
    reached = dilation = 1
    for stride in strides:
        if reached * stride <= output_stride:
            reached *= stride
            plan.append((stride, dilation))
        else:
            plan.append((1, dilation))
            dilation *= stride
    return plan


def unit(x, filters, strides, dilation, aligned, name):
    """ReLU and separable convolution for each of `filters`, around which the input flows.

    Units that change shapes have a 1x1 convolution in the shortcut, and end with the stride, or
    with max-pooling: -> [B, H/s, W/s, filters[-1]].
    """
    y = x
    last = len(filters)
    for number, count in enumerate(filters, 1):
        stride = strides if aligned and number == last else 1
        layer = f"{name}_{number}"
        y = layers.ReLU(name=f"{layer}_relu")(y)
        y = separable(y, count, stride, dilation, aligned, layer)
    if last == 2:  # Chollet's units of the entry and of the exit
        y = layers.MaxPooling2D(3, strides, "same", name=f"{name}_pool")(y)
    if x.shape[-1] != filters[-1] or strides > 1:
        x = conv_bn(x, filters[-1], 1, strides, None, f"{name}_shortcut")
    return layers.Add(name=f"{name}_add")([x, y])


def separable(x, filters, strides, dilation, aligned, name, act=None):
    """3x3 a channel, 1x1, batch normalization, activation: -> [B, H/s, W/s, filters]."""
    if aligned:
        return separable_conv(x, filters, strides, act, name, dilation)
    conv = layers.SeparableConv2D(
        filters,
        3,
        padding="same",
        dilation_rate=dilation,
        use_bias=False,
        name=f"{name}_conv",
    )
    return batch_norm(conv(x), act, name)


def separable_conv(x, filters, strides=1, act="relu", name="separable", dilation=1):
    """Depthwise 3x3, then pointwise 1x1, each with batch normalization and activation.

    Howard et al., MobileNets, 2017, figure 3.
    """
    x = depthwise_bn(x, strides, act, f"{name}_depthwise", dilation)
    return conv_bn(x, filters, 1, act=act, name=f"{name}_pointwise")
