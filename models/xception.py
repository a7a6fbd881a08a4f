"""Xception, as Chollet's 36 convolutional layers or the aligned 41.

Chollet, Xception: deep learning with depthwise separable convolutions, 2017, figure 5. Chen et al.,
Encoder-decoder with atrous separable convolution for semantic image segmentation, 2018, section 3.2
and figure 4.
"""

import keras
from keras import layers

from model_config import Xception
from models.blocks import batch_norm, conv_bn, depthwise_bn, head, scaled
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
    aligned, width = config.aligned, config.width
    images = keras.Input(spec.image_shape(16, "xception"), name="images")  # (B, 299, 299, 3)
    first = 1 if min(images.shape[1:3]) < 96 else 2
    strides = [first, 2, 2, 2, *[1] * config.middle, 2, 1]
    grid = iter(strides_and_dilations(strides, config.output_stride))
    x = conv_bn(images, scaled(32, width), 3, next(grid)[0], name="stem1")  # -> (B, 150, 150, 32)
    x = conv_bn(x, scaled(64, width), 3, name="stem2")
    for number, count in enumerate((128, 256, 728), 1):  # -> 75, 38, (B, 19, 19, 728)
        filters = [scaled(count, width)] * (3 if aligned else 2)
        x = unit(x, filters, *next(grid), aligned, f"entry{number}")
    filters = [scaled(728, width)] * 3
    for number in range(1, config.middle + 1):
        x = unit(x, filters, *next(grid), aligned, f"middle{number}")
    exit1, exit2 = ([scaled(count, width) for count in counts] for counts in EXIT[aligned])
    x = unit(x, exit1, *next(grid), aligned, "exit1")  # -> (B, 10, 10, 1024)
    _, dilation = next(grid)
    for number, count in enumerate(exit2, 1):  # -> (B, 10, 10, 2048)
        name = f"exit2_{number}"
        if aligned:
            x = separable_conv(x, count, 1, "relu", name, dilation)
        else:
            x = separable(x, count, 1, dilation, False, name)
            x = layers.ReLU(name=f"{name}_relu")(x)
    return keras.Model(images, head(x, spec.num_outputs, config.dropout), name="xception")


def strides_and_dilations(strides: list[int], output_stride: int) -> list[tuple[int, int]]:
    """(stride, dilation) of layers with these strides once their product stops at `output_stride`.

    ([2, 2, 2], 2) -> [(2, 1), (1, 1), (1, 2)]: the second sees the grid that it always saw, the
    third one twice as fine.
    """
    reached, dilation, plan = 1, 1, []
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
    y, last = x, len(filters)
    for number, count in enumerate(filters, 1):
        stride = strides if aligned and number == last else 1
        y = layers.ReLU(name=f"{name}_{number}_relu")(y)
        y = separable(y, count, stride, dilation, aligned, f"{name}_{number}")
    if last == 2:  # Chollet's units of the entry and of the exit
        y = layers.MaxPooling2D(3, strides, "same", name=f"{name}_pool")(y)
    if x.shape[-1] != filters[-1] or strides > 1:
        x = conv_bn(x, filters[-1], 1, strides, None, f"{name}_shortcut")
    return layers.Add(name=f"{name}_add")([x, y])


def separable(x, filters, strides, dilation, aligned, name):
    """3x3 a channel, then 1x1, then batch normalization: -> [B, H/s, W/s, filters]."""
    if aligned:
        return separable_conv(x, filters, strides, None, name, dilation)
    conv = layers.SeparableConv2D(
        filters,
        3,
        padding="same",
        dilation_rate=dilation,
        use_bias=False,
        name=f"{name}_conv",
    )
    return batch_norm(f"{name}_bn")(conv(x))


def separable_conv(x, filters, strides=1, act="relu", name="separable", dilation=1):
    """Depthwise 3x3, then pointwise 1x1, each with batch normalization and activation.

    Howard et al., MobileNets, 2017, figure 3.
    """
    x = depthwise_bn(x, strides, act, f"{name}_depthwise", dilation)
    return conv_bn(x, filters, 1, act=act, name=f"{name}_pointwise")
