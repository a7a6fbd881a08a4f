"""Convolutional blocks that several networks use, by hand."""

import keras
import pytest
import tensorflow as tf
from networks import check_block

from models import blocks

BLOCKS = [
    (
        blocks.conv_bn,
        {"filters": 12, "strides": 2},
        (5, 4, 12),
        {"conv_conv": (5, 4, 12), "conv_bn": (5, 4, 12)},
    ),
    (blocks.conv_bn, {"filters": 12, "act": "prelu"}, (9, 8, 12), {"conv_bn": (9, 8, 12)}),
    (blocks.depthwise_bn, {"dilation": 2}, (9, 8, 8), {"depthwise_conv": (9, 8, 8)}),
    (blocks.global_average, {}, (8,), {}),
]


@pytest.mark.parametrize(
    ("block", "arguments", "shape", "within"), BLOCKS, ids=lambda v: getattr(v, "__name__", None)
)
def test_block(block, arguments, shape, within):
    check_block(block, arguments, shape, within)


def test_activations_by_hand():
    """The slope of PReLU begins at 0.25 and is one a channel, the same in all places."""
    x = tf.reshape(tf.constant([-4.0, 3.0, 8.0]), (1, 1, 3, 1))
    outputs = {
        kind: blocks.activation(x, kind, kind).numpy().ravel().tolist()
        for kind in ("relu", "relu6", "prelu")
    }
    assert outputs == {"relu": [0, 3, 8], "relu6": [0, 3, 6], "prelu": [-1, 3, 8]}
    inputs = keras.Input((9, 8, 5))
    model = keras.Model(inputs, blocks.activation(inputs, "prelu", "act"))
    assert model.get_layer("act").alpha.shape == (1, 1, 5)


def test_scaled_widths_are_multiples_of_8_and_not_below_90_percent():
    """MobileNetV2's stem at width 0.75.

    24. 24 * 0.5 = 12, a tie: 16. 16 * 0.6 = 9.6: 8 would be 83 %.
    """
    widths = [(32, 0.75), (24, 0.5), (16, 0.6), (64, 0.01), (728, 1.0)]
    assert [blocks.scaled(*at) for at in widths] == [24, 16, 16, 8, 728]
