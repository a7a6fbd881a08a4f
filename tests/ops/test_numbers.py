"""Scaling by hand, there and back; what is measured, and on what."""

import numpy as np
import pytest
from operations import BYTES, given_data, listed, op, row, run, treat

from preprocess_data import measured, target_units

EXAMPLES = {  # (options, features)
    "scale": ({}, BYTES),
    "scale_to_one": ({}, BYTES),
    "imagenet": ({}, BYTES),
    "standardize": ({"mean": [0.1], "std": [2.0]}, BYTES),
    "min_max": ({"low": [3.0], "high": [9.0]}, BYTES),
    "log": ({}, BYTES),
}


@pytest.mark.parametrize(
    ("name", "options", "inputs", "expected"),
    [
        ("scale", {}, np.uint8([[0, 51, 255]]), [[0, 0.2, 1]]),
        ("scale", {"by": 4.0}, np.int64([[2, -1]]), [[0.5, -0.25]]),
        ("scale_to_one", {}, np.uint8([[0, 51, 255]]), [[-1, -0.6, 1]]),
        (
            "imagenet",
            {},
            np.uint8([[0, 51, 255]]),
            [[-0.485 / 0.229, (0.2 - 0.456) / 0.224, 0.594 / 0.225]],
        ),
        ("standardize", {"mean": [1, 2], "std": [2, 4]}, np.float32([[3, 10]]), [[1, 2]]),
        ("standardize", {"mean": [1], "std": [2]}, np.float32([[3, 11]]), [[1, 5]]),
        ("min_max", {"low": [0, 10], "high": [4, 20]}, np.float32([[3, 25]]), [[0.75, 1.5]]),
        ("log", {}, np.float32([[0, np.e - 1]]), [[0, 1]]),
        ("log", {"plus": 0}, np.float32([[1, 100]]), [[0, np.log(100)]]),
    ],
)
def test_numbers_by_hand(name, options, inputs, expected):
    np.testing.assert_allclose(run(name, inputs, **options), expected, rtol=1e-6)


def test_both_features_are_standardized_by_hand():
    ops = [op("standardize", of="both", mean=[1], std=[2])]
    both = treat(ops, {"inputs": np.float32([[3], [5]]), "targets": np.float32([1, 0])})
    assert both["inputs"].tolist() == [[1], [2]] and both["targets"].tolist() == [0, -0.5]


@pytest.mark.parametrize(
    ("ops", "back"),
    [
        (
            [row("standardize", of="targets", mean=[1.0, 2.0], std=[10.0, 20.0])],
            lambda x: x * [10, 20] + [1, 2],
        ),
        ([row("min_max", of="targets", low=[-1.0], high=[3.0])], lambda x: x * 4 - 1),
        (
            [
                row("log", plus=3.0),
                row("standardize", mean=[2.0], std=[0.5]),
                row("window", horizon=2),
            ],
            lambda x: np.exp(x * 0.5 + 2) - 3,
        ),
        (
            [
                row("standardize", mean=[7.0, 2.0], std=[9.0, 0.5]),
                row("window", horizon=2, column=1),
            ],
            lambda x: x * 0.5 + 2,
        ),
        ([row("scale"), row("inputs_as_targets"), row("scale", by=2.0)], lambda x: x * 255),
        # of the inputs: no matter for the targets
        ([row("standardize", mean=[7.0], std=[9.0])], lambda x: x),
    ],
    ids=[
        "standardize of targets",
        "min_max: a range",
        "log standardize window: a logarithm",
        "standardize window: a column",
        "scale inputs_as_targets: copied",
        "standardize: inputs only",
    ],
)
def test_what_takes_targets_back_to_their_units(ops, back):
    values = np.float64([[0.25, -1.5], [0.0, 3.0]])
    found = values
    for step in target_units(listed(ops)):
        found = found * step.scale + step.offset
        found = found if step.log_plus is None else np.exp(found) - step.log_plus
    np.testing.assert_allclose(found, back(values))


def test_statistics_are_of_the_training_examples_after_the_operations_before(monkeypatch):
    train, outlier = np.array([[0, 10], [2, 10], [4, 10], [6, 10]]), np.full((2, 2), 1e9)
    for held_out in (train[:2], outlier):  # what is held out changes nothing
        ops = [row("scale", by=2), row("standardize"), row("min_max")]
        splits = {"train": {"inputs": train}, "valid": {"inputs": held_out}}
        data = measured(given_data(monkeypatch, ops, **splits))
        _, standardize, min_max = data.ops
        np.testing.assert_allclose(standardize.mean, [1.5, 5])
        # A constant column stays finite.
        np.testing.assert_allclose(standardize.std, [np.sqrt(5) / 2, 1])
        np.testing.assert_allclose(min_max.low, [-1.5 / (np.sqrt(5) / 2), 0], rtol=1e-6)
        np.testing.assert_allclose(min_max.high, [1.5 / (np.sqrt(5) / 2), 1], rtol=1e-6)
        normal = treat(data.ops, {"inputs": train.astype(np.float32)})["inputs"]
        np.testing.assert_allclose(normal, np.stack([np.arange(4) / 3, np.zeros(4)], 1), atol=1e-6)


def test_statistics_of_many_batches_are_those_of_all_at_once(monkeypatch):
    # Far from 0: sums of squares would lose the digits.
    values = np.random.default_rng(0).normal(1e3, 1, (1000, 3)).astype(np.float32)
    data = given_data(monkeypatch, [row("standardize")], train={"inputs": values})
    (config,) = measured(data).ops
    np.testing.assert_allclose(config.mean, values.astype(float).mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(config.std, values.astype(float).std(axis=0), rtol=1e-9)
