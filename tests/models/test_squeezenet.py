"""SqueezeNet against the numbers of its paper."""

import keras
import pytest
from networks import (
    IMAGENET,
    check_block,
    check_count,
    check_grids,
    check_refuses_other_shapes,
    network,
    spec_of,
)

from model import build_model
from models import squeezenet

SMALL = {"width": 0.25}
SLOW_PRECISIONS = True


def test_fire():
    within = {"fire_squeeze": (9, 8, 4), "fire_expand1": (9, 8, 6), "fire_expand3": (9, 8, 6)}
    check_block(squeezenet.fire, {"squeeze": 4, "expand": 6}, (9, 8, 12), within)


@pytest.mark.parametrize(
    ("bypass", "source"),
    [
        (False, "torchvision's squeezenet1_0; the paper's table 1: 1,248,424"),
        (True, "section 6 of the paper: simple bypass adds none"),
    ],
)
def test_squeezenet_has_the_papers_weights(bypass, source):
    check_count(network("squeezenet", bypass=bypass), IMAGENET, 1_248_424, source)


def test_squeezenet_has_the_papers_grids():
    shapes = {"pool1": (55, 55, 96), "pool4": (27, 27, 256), "pool8": (13, 13, 512)}
    check_grids(network("squeezenet"), shapes)


@pytest.mark.parametrize("bypass", [False, True])
def test_bypass_adds_the_input_of_every_second_fire_module(bypass):
    model = build_model(network("squeezenet", width=0.25, bypass=bypass), spec_of([28, 28, 1]))
    added = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Add)]
    expected = ["fire3_bypass", "fire5_bypass", "fire7_bypass", "fire9_bypass"] if bypass else []
    assert added == expected


def test_images_that_squeezenet_cannot_take_are_refused_in_one_line():
    check_refuses_other_shapes(network("squeezenet"))
