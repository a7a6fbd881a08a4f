"""Targets by hand."""

import numpy as np
import pytest
import tensorflow as tf
from operations import BYTES, FLOATS, compiled, op, treat

from cli.program import ConfigError

IMAGES = {"inputs": np.zeros((4, 2, 2, 1), np.float32)}
MASKS = np.uint8([[[0, 1], [2, 255]]] * 3 + [[[255, 255], [1, 1]]])[..., np.newaxis]
POINTS = np.float32([[[0, 1, 1], [5, 6, 0]]] * 4)
EXAMPLES = {  # (options, features)
    "one_hot": ({}, BYTES),
    "inputs_as_targets": ({}, FLOATS),
    "mask_as_targets": ({}, IMAGES | {"mask": MASKS}),
    "targets_as_points": ({}, IMAGES | {"targets": POINTS}),
    "points_as_targets": ({}, IMAGES | {"points": POINTS}),
}


def test_one_hot_by_hand():
    found = treat([op("one_hot")], {"inputs": np.zeros(3), "targets": np.array([0, 2, 1])})
    assert found["targets"].tolist() == np.eye(3)[[0, 2, 1]].tolist()


def test_inputs_as_targets_keeps_them_from_gaussian_noise_that_follows():
    noisy = treat(
        [op("inputs_as_targets"), op("gaussian_noise", std=1.0)],
        {"inputs": np.zeros((2, 5), np.float32)},
    )
    assert not noisy["targets"].any() and noisy["inputs"].all()


def test_pixels_and_points_have_weights_of_their_own():
    """What is ignored or not visible weighs 0, everything else as much as its example."""
    weights = {"sample_weight": np.float32([1, 1, 1, 0.5])}
    found = treat([op("mask_as_targets")], IMAGES | {"mask": MASKS} | weights)
    assert found["targets"][[0, 3]].tolist() == [[[0, 1], [2, 0]], [[0, 0], [1, 1]]]
    assert found["sample_weight"][[0, 3]].tolist() == [[[1, 1], [1, 0]], [[0, 0], [0.5, 0.5]]]
    found = treat([op("points_as_targets")], IMAGES | {"points": POINTS} | weights)
    assert found["targets"][0].tolist() == [[0, 1], [5, 6]]
    assert found["sample_weight"][[0, 3]].tolist() == [[1, 0], [0.5, 0]]


def test_points_of_two_numbers_are_visible_and_coco_marks_the_hidden_with_1():
    pairs = IMAGES | {"targets": POINTS[..., :2].astype(np.int64)}
    assert treat([op("targets_as_points")], pairs)["points"][0].tolist() == [[0, 1, 1], [5, 6, 1]]
    coco = IMAGES | {"targets": np.float32([[[3, 4, 2], [5, 6, 1], [0, 0, 0]]] * 4)}
    points = treat([op("targets_as_points")], coco)["points"]
    assert points[0, :, 2].tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("name", "features", "message"),
    [
        ("mask_as_targets", {"targets": np.zeros(4)}, "put `decode_mask` before"),
        (
            "targets_as_points",
            {"targets": np.zeros((4, 6))},
            r"or \[points, 2\], got float64 \(6,\)",
        ),
        ("points_as_targets", {"targets": np.zeros(4)}, "put `targets_as_points` before"),
    ],
)
def test_targets_that_do_not_lie_in_the_picture_are_one_line(name, features, message):
    with pytest.raises(ConfigError, match=f"^data.ops: {name}: expected .*{message}$"):
        treat([op(name)], IMAGES | features)


def test_a_class_that_has_no_name_is_an_error_where_it_is_read():
    ops, features = [op("mask_as_targets")], IMAGES | {"mask": MASKS % 7 + 2}
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        treat(ops, features, function=compiled(ops, features))
    assert "mask_as_targets: expected classes from 0 to 2, got" in str(caught.value)
