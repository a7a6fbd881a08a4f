"""U-Net against the sizes of its paper."""

import numpy as np
import pytest
from networks import IMAGES, check_count, network, spec_of

from cli.program import ConfigError
from model import build_model

SLOW_PRECISIONS = True
SMALL = {"depth": 2, "width": 0.125}
OTHERS = [{"depth": 1, "width": 0.25}, {"depth": 4, "width": 0.125}]
EXAMPLE = {
    "spec": spec_of([28, 28, 1], 3, target_shape=[28, 28], target_dtype="int32"),
    "task": {"name": "segmentation"},
    "batch": IMAGES
    | {
        "targets": (np.arange(32 * 784).reshape(32, 28, 28) % 3).astype(np.int32),
        "sample_weight": np.ones((32, 28, 28), np.float32),
    },
}


def test_unet_has_the_papers_weights():
    """By hand: 3x3 convolutions without biases, a scale and a shift a channel, 2x2 ways up.

    So 9 * (3 * 64 + 64 * 64) + 4 * 64 for the first two and 64 * 1000 + 1000 for the logits.
    """
    down = sum(9 * c * (c // 2 + c) + 4 * c for c in (128, 256, 512, 1024))
    up = sum(4 * 2 * c * c + c + 9 * c * (2 * c + c) + 4 * c for c in (64, 128, 256, 512))
    expected = 9 * 64 * (3 + 64) + 4 * 64 + down + up + 65_000
    check_count(network("unet"), ([224, 224, 3], 1000), expected, "figure 1")


def test_unet_halves_every_size_evenly_and_gives_it_back():
    spec = spec_of([30, 29, 3], 4, target_shape=[30, 29], target_dtype="int32")
    model = build_model(network("unet", depth=3, width=0.125), spec)
    assert model.get_layer("bottom_second_relu").output.shape == (None, 4, 4, 64)
    assert model.output_shape == (None, 30, 29, 4)
    with pytest.raises(ConfigError, match=r"^unet: expected images .*, at least 8x8 pixels"):
        build_model(network("unet", depth=3), spec.model_copy(update={"input_shape": [30, 7, 3]}))
