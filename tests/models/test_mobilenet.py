"""MobileNetV2 and its blocks against the numbers of the paper."""

import keras
import pytest
from networks import (
    IMAGENET,
    check_block,
    check_count,
    check_grids,
    check_refuses_other_shapes,
    network,
)

from models import mobilenet

SMALL = {"width": 0.125, "depth": 0.5}
OTHERS = [
    {"width": 0.125, "depth": 0.5, "resolution": 0.75, "shortcut": "projection", "dropout": 0.1}
]
SLOW_PRECISIONS = True

BLOCKS = [
    (mobilenet.linear_bottleneck, {"filters": 4}, (9, 8, 4), {"linear_conv": (9, 8, 4)}),
    (
        mobilenet.inverted_bottleneck,
        {"filters": 8},
        (9, 8, 8),
        {"inverted_expand_relu6": (9, 8, 48), "inverted_project_bn": (9, 8, 8)},
    ),
    (
        mobilenet.inverted_bottleneck,
        {"filters": 8, "expansion": 1},
        (9, 8, 8),
        {"inverted_depthwise_relu6": (9, 8, 8)},
    ),
    (
        mobilenet.inverted_bottleneck,
        {"filters": 12, "strides": 2},
        (5, 4, 12),
        {
            "inverted_depthwise_relu6": (5, 4, 48),
            "inverted_shortcut_pool": (5, 4, 8),
            "inverted_shortcut_bn": (5, 4, 12),
        },
    ),
]


@pytest.mark.parametrize(
    ("block", "arguments", "shape", "within"), BLOCKS, ids=lambda v: getattr(v, "__name__", None)
)
def test_block(block, arguments, shape, within):
    check_block(block, arguments, shape, within)


def test_an_identity_shortcut_only_where_shapes_stay():
    inputs = keras.Input((9, 8, 8))
    kinds = {"same": (8, 1), "strided": (8, 2), "wider": (12, 1)}
    added = {}
    for kind, at in kinds.items():
        outputs = mobilenet.inverted_bottleneck(inputs, *at, shortcut="identity")
        names = [layer.name for layer in keras.Model(inputs, outputs).layers]
        added[kind] = [name for name in names if "add" in name or "shortcut" in name]
    assert added == {"same": ["inverted_add"], "strided": [], "wider": []}


def test_mobilenet_has_the_papers_weights():
    source = "keras.applications.MobileNetV2, torchvision; the paper's table 4: 3.4 million"
    check_count(network("mobilenet"), IMAGENET, 3_504_872, source)


@pytest.mark.parametrize(
    ("options", "shapes"),
    [
        (
            {},
            {
                "stage5_3_add": (14, 14, 96),
                "stage7_1_project_bn": (7, 7, 320),
                "last_bn": (7, 7, 1280),
            },
        ),
        (
            {"resolution": 0.5, "width": 0.5},
            {"stage7_1_project_bn": (4, 4, 160), "last_bn": (4, 4, 1280)},
        ),
        ({"depth": 2.0}, {"stage3_6_add": (28, 28, 32)}),
    ],
)
def test_mobilenet_has_the_papers_grids(options, shapes):
    check_grids(network("mobilenet", **options), shapes)


def test_images_that_mobilenet_cannot_take_are_refused_in_one_line():
    check_refuses_other_shapes(network("mobilenet"))
