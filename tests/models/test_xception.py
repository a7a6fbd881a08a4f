"""Xception against the numbers of its papers, and its dilations."""

import keras
import numpy as np
import pytest
from networks import (
    check_block,
    check_count,
    check_grids,
    check_refuses_other_shapes,
    network,
    spec_of,
)

from model import build_model
from models import xception

SMALL = {"width": 0.02, "middle": 1}
OTHERS = [{"aligned": False, "middle": 1, "width": 0.02, "output_stride": 4}]
SLOW_PRECISIONS = True


def test_separable_conv():
    within = {"separable_depthwise_relu": (5, 4, 8)}
    check_block(xception.separable_conv, {"filters": 12, "strides": 2}, (5, 4, 12), within)


@pytest.mark.parametrize(
    ("options", "expected", "source"),
    [
        ({"aligned": False}, 22_855_952, "the paper's table 3"),
        ({}, 26.97e6, "timm's xception41"),
        ({"middle": 16}, 39.92e6, "timm's xception65"),
    ],
)
def test_xception_has_the_papers_weights(options, expected, source):
    check_count(network("xception", **options), ([299, 299, 3], 1000), expected, source)


@pytest.mark.parametrize(
    ("options", "shapes"),
    [
        ({}, {"entry3_add": (14, 14, 728), "exit2_3_pointwise_relu": (7, 7, 2048)}),
        (
            {"output_stride": 16},
            {"exit1_add": (14, 14, 1024), "exit2_3_pointwise_relu": (14, 14, 2048)},
        ),
        (
            {"output_stride": 8, "aligned": False},
            {"entry3_add": (28, 28, 728), "exit2_2_relu": (28, 28, 2048)},
        ),
    ],
)
def test_xception_has_the_papers_grids(options, shapes):
    check_grids(network("xception", **options), shapes)


def test_dilations_see_what_strides_saw():
    """Strides on grids of 2n + 1 pixels sample places 0, 2, 4, ...

    There finer features must be the coarser ones.
    """
    features = {}
    for output_stride in (32, 16, 8):
        config = network("xception", width=0.02, middle=1, output_stride=output_stride)
        model = build_model(config, spec_of([129, 129, 3]), seed=1)
        outputs = model.get_layer("exit2_3_pointwise_relu").output
        features[output_stride] = keras.Model(model.inputs, outputs)
    x = np.random.default_rng(0).random((1, 129, 129, 3), np.float32)
    coarse, middle, fine = (features[output_stride](x).numpy() for output_stride in (32, 16, 8))
    assert (coarse.shape[1], middle.shape[1], fine.shape[1]) == (5, 9, 17)
    assert coarse.std() > 1e-3
    np.testing.assert_allclose(middle[:, ::2, ::2], coarse, atol=1e-5)
    np.testing.assert_allclose(fine[:, ::4, ::4], coarse, atol=1e-5)


def test_strides_and_dilations_by_hand():
    assert xception.strides_and_dilations([2, 2, 2, 1], 2) == [(2, 1), (1, 1), (1, 2), (1, 4)]
    assert xception.strides_and_dilations([2, 2, 2, 1], 32) == [(2, 1), (2, 1), (2, 1), (1, 1)]


def test_images_that_xception_cannot_take_are_refused_in_one_line():
    check_refuses_other_shapes(network("xception"))
