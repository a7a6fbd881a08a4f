"""The operations of the tests of the machinery, which stand in tests/tiny/ops/tiny.py."""

import numpy as np
from operations import FLOATS, run

EXAMPLES = {
    "tiny_scale": ({}, FLOATS),
    "tiny_clip": ({"high": 0.5}, FLOATS),
    "tiny_noise": ({}, FLOATS),
}


def test_tiny_operations_by_hand():
    inputs = np.arange(8, dtype=np.float32).reshape(4, 2)
    np.testing.assert_array_equal(run("tiny_scale", inputs, factor=3.0), 3 * inputs)
    clipped = [[0, 1], [2, 2], [2, 2], [2, 2]]
    np.testing.assert_array_equal(run("tiny_clip", inputs, high=2), np.float32(clipped))
    noise = run("tiny_noise", inputs, scale=0.5) - inputs
    assert np.abs(noise).max() <= 0.5 and len(np.unique(noise)) == noise.size
