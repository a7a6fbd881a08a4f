"""Xception, as Chollet's 36 convolutional layers or the aligned 41.

Chollet, Xception: deep learning with depthwise separable convolutions, 2017, figure 5. Chen et al., Encoder-decoder with
atrous separable convolution for semantic image segmentation, 2018, section 3.2 and figure 4.
"""

import keras
from keras import layers

from model_config import Xception
from models import blocks
from train_config import Spec


def build(config: Xception, spec: Spec) -> keras.Model:
    """Images [B, H, W, C], H and W at least 16 -> logits [B, num_outputs].

    `aligned`: three separable convolutions a unit, strides instead of poolings, batch normalization after each depthwise
    convolution too, and ReLU there in the exit alone, as in the authors' code: in all units, as their text has it, small
    networks learn several times more slowly. With 8 middle units there are then 2 + 3*3 + 8*3 + 3 + 3 = 41 layers,
    otherwise 2 + 3*2 + 8*3 + 2 + 2 = 36, with 22,855,952 trainable weights for RGB and 1,000 classes.
    Strides that would make the grid coarser than `output_stride` become dilations of all that follows. Under 96 pixels
    the stem has no stride.
    """
    images = blocks.images(spec, 16, "xception")
    first = 1 if min(images.shape[1:3]) < 96 else 2
    plan = iter(
        strides_and_dilations([first, 2, 2, 2, *[1] * config.middle, 2, 1], config.output_stride)
    )

    def widths(*filters: int) -> list[int]:
        return [blocks.scaled(count, config.width) for count in filters]

    x = blocks.conv_bn(
        images, *widths(32), 3, next(plan)[0], name="stem1"
    )  # (B, 299, 299, 3) -> (B, 150, 150, 32)
    x = blocks.conv_bn(x, *widths(64), 3, name="stem2")
    for number, filters in enumerate(
        (128, 256, 728), 1
    ):  # -> (B, 75, 75, 128), 38, (B, 19, 19, 728)
        x = unit(
            x,
            widths(*[filters] * (3 if config.aligned else 2)),
            *next(plan),
            config.aligned,
            f"entry{number}",
        )
    for number in range(1, config.middle + 1):
        x = unit(x, widths(728, 728, 728), *next(plan), config.aligned, f"middle{number}")
    filters = widths(728, 1024, 1024) if config.aligned else widths(728, 1024)
    x = unit(x, filters, *next(plan), config.aligned, "exit1")  # -> (B, 10, 10, 1024)
    _, dilation = next(plan)
    for number, filters in enumerate(
        widths(1536, 1536, 2048) if config.aligned else widths(1536, 2048), 1
    ):
        if config.aligned:
            x = blocks.separable_conv(x, filters, 1, "relu", f"exit2_{number}", dilation)
        else:
            x = layers.ReLU(name=f"exit2_{number}_relu")(
                separable(x, filters, 1, dilation, False, f"exit2_{number}")
            )
        # -> (B, 10, 10, 2048)
    return keras.Model(images, blocks.head(x, spec.num_outputs, config.dropout), name="xception")


def strides_and_dilations(strides: list[int], output_stride: int) -> list[tuple[int, int]]:
    """(stride, dilation) of layers with these strides once their product stops at `output_stride`.

    ([2, 2, 2], 2) -> [(2, 1), (1, 1), (1, 2)]: the second sees the grid that it always saw, the third one twice as fine.
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


def unit(x, filters: list[int], strides: int, dilation: int, aligned: bool, name: str):
    """ReLU and separable convolution, as many times as `filters`, around which the input flows: -> [B, H/s, W/s, filters[-1]].

    The units that change shapes have a 1x1 convolution in the shortcut, and end with the stride, or with max-pooling.
    """
    y, last = x, len(filters)
    for number, count in enumerate(filters, 1):
        y = layers.ReLU(name=f"{name}_{number}_relu")(y)
        y = separable(
            y,
            count,
            strides if aligned and number == last else 1,
            dilation,
            aligned,
            f"{name}_{number}",
        )
    if last == 2:  # Chollet's units of the entry and of the exit
        y = layers.MaxPooling2D(3, strides, "same", name=f"{name}_pool")(y)
    if x.shape[-1] != filters[-1] or strides > 1:
        x = blocks.conv_bn(x, filters[-1], 1, strides, None, f"{name}_shortcut")
    return layers.Add(name=f"{name}_add")([x, y])


def separable(x, filters: int, strides: int, dilation: int, aligned: bool, name: str):
    """3x3 a channel, then 1x1, then batch normalization: -> [B, H/s, W/s, filters]; `aligned` as in `build`."""
    if aligned:
        x = blocks.depthwise_bn(x, strides, None, f"{name}_depthwise", dilation)
        return blocks.conv_bn(x, filters, 1, act=None, name=f"{name}_pointwise")
    x = layers.SeparableConv2D(
        filters, 3, padding="same", dilation_rate=dilation, use_bias=False, name=f"{name}_conv"
    )(x)
    return blocks.batch_norm(f"{name}_bn")(x)
