"""Residual networks and their blocks against the numbers of the paper."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import (
    CIFAR,
    IMAGENET,
    check_block,
    check_count,
    check_grids,
    check_refuses_other_shapes,
    network,
)

from models import resnet

OTHERS = [{"depth": 50, "width": 0.0625}]
SLOW_PRECISIONS = True

BLOCKS = [
    (
        resnet.residual_block,
        {"filters": 12, "strides": 2},
        (5, 4, 12),
        {"residual_a_relu": (5, 4, 12), "residual_shortcut_bn": (5, 4, 12)},
    ),
    (
        resnet.residual_bottleneck,
        {"filters": 8},
        (9, 8, 8),
        {"bottleneck_reduce_relu": (9, 8, 4), "bottleneck_add": (9, 8, 8)},
    ),
    (
        resnet.residual_bottleneck,
        {"filters": 32, "strides": 2, "reduction": 4},
        (5, 4, 32),
        {
            "bottleneck_reduce_relu": (9, 8, 8),
            "bottleneck_conv_relu": (5, 4, 8),
            "bottleneck_expand_bn": (5, 4, 32),
        },
    ),
]


@pytest.mark.parametrize(
    ("block", "arguments", "shape", "within"), BLOCKS, ids=lambda v: getattr(v, "__name__", None)
)
def test_block(block, arguments, shape, within):
    check_block(block, arguments, shape, within)


def test_a_shortcut_of_zeros_has_no_weights_and_takes_every_other_pixel():
    """With kernels of 0 only the shortcut is left: channels 2 to 9 of 12 are the input's 8."""
    inputs = keras.Input((9, 8, 8))
    model = keras.Model(inputs, resnet.residual_block(inputs, 12, 2, "zeros"))
    # two convolutions, two batch normalizations
    assert model.count_params() == 9 * 8 * 12 + 9 * 12 * 12 + 2 * 4 * 12
    for variable in model.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    x = np.random.default_rng(0).random((2, 9, 8, 8), np.float32)
    expected = np.zeros((2, 5, 4, 12), np.float32)
    expected[..., 2:10] = x[:, ::2, ::2]
    np.testing.assert_array_equal(model(x), expected)


@pytest.mark.parametrize(
    ("depth", "data", "expected", "source"),
    [
        (18, IMAGENET, 11_689_512, "torchvision's resnet18"),
        (34, IMAGENET, 21_797_672, "torchvision's resnet34"),
        (50, IMAGENET, 25_557_032, "torchvision's resnet50"),
        (101, IMAGENET, 44_549_160, "torchvision's resnet101"),
        (152, IMAGENET, 60_192_808, "torchvision's resnet152"),
        (20, CIFAR, 0.27e6, "the paper's table 6"),
        (32, CIFAR, 0.46e6, "the paper's table 6"),
        (44, CIFAR, 0.66e6, "the paper's table 6"),
        (56, CIFAR, 0.85e6, "the paper's table 6"),
        (110, CIFAR, 1.73e6, "the paper's table 6, which says 1.7 million"),
    ],
)
def test_resnet_has_the_papers_weights(depth, data, expected, source):
    check_count(network("resnet", depth=depth), data, expected, source)


def test_resnet_has_the_papers_grids():
    shapes = {"stage2_3_relu": (56, 56, 256), "stage5_3_relu": (7, 7, 2048)}
    check_grids(network("resnet", depth=50), shapes)


def test_images_that_resnet_cannot_take_are_refused_in_one_line():
    check_refuses_other_shapes(network("resnet"))
