"""The hourglass, and the mean place of a heat map by hand."""

import numpy as np
import pytest
import tensorflow as tf
from networks import IMAGES, network, spec_of

from cli.program import ConfigError
from model import build_model
from models.hourglass import SoftArgmax

SLOW_PRECISIONS = True
SMALL = {"depth": 2, "width": 0.125}
OTHERS = [{"depth": 4, "width": 0.25}]
EXAMPLE = {
    "spec": spec_of([28, 28, 1], 0, target_shape=[3, 2], target_dtype="float32"),
    "task": {"name": "keypoints"},
    "batch": IMAGES
    | {
        "targets": np.random.default_rng(1).uniform(0, 27, (32, 3, 2)).astype(np.float32),
        "sample_weight": np.ones((32, 3), np.float32),
    },
}


def test_the_mean_place_of_a_map_by_hand():
    """Maps of 2x4: all alike; the last pixel of the first row; that and the one below it."""
    maps = np.zeros((1, 2, 4, 3), np.float32)
    maps[0, 0, 3, 1:] = maps[0, 1, 3, 2] = 50
    found = SoftArgmax()(tf.constant(maps))
    np.testing.assert_allclose(found, [[[0, 0], [0.75, -0.5], [0.75, 0]]], atol=1e-6)


def test_heat_maps_are_as_large_as_small_pictures_of_any_size():
    spec = EXAMPLE["spec"].model_copy(update={"input_shape": [30, 29, 3]})
    model = build_model(network("hourglass", depth=3, width=0.125), spec)
    assert model.get_layer("heat_maps").output.shape == (None, 30, 29, 3)
    assert model.output_shape == (None, 3, 2)


@pytest.mark.parametrize("fields", [{"target_shape": [6]}, {"input_shape": [3, 29, 3]}])
def test_what_the_hourglass_cannot_take_is_refused_in_one_line(fields):
    with pytest.raises(ConfigError, match=r"^hourglass: expected "):
        build_model(network("hourglass"), EXAMPLE["spec"].model_copy(update=fields))
