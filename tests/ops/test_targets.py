"""Targets by hand."""

import numpy as np
from operations import BYTES, FLOATS, op, treat

EXAMPLES = {  # (options, features)
    "one_hot": ({}, BYTES),
    "inputs_as_targets": ({}, FLOATS),
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
