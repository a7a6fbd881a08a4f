"""The convolutional autoencoder and its ways up."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import IMAGES, check_block, network, spec_of

from cli.program import ConfigError
from model import build_model
from models import autoencoder

SMALL = {"filters": [4, 8]}
OTHERS = [{"filters": [4, 8, 8], "upsampling": "transposed", "skip": True, "residual": True}]
EXAMPLE = {
    "spec": spec_of([28, 28, 1], 0, target_shape=[28, 28, 1], target_dtype="float32"),
    "task": {"name": "reconstruction"},
    "batch": IMAGES | {"targets": IMAGES["inputs"]},
}


@pytest.mark.parametrize(
    ("block", "arguments", "shape", "within"),
    [
        (autoencoder.upsample_nearest, {"filters": 4}, (18, 16, 4), {"up_nearest": (18, 16, 8)}),
        (
            autoencoder.upsample_transposed,
            {"filters": 4, "factor": 3},
            (27, 24, 4),
            {"up_conv": (27, 24, 4)},
        ),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_block(block, arguments, shape, within):
    check_block(block, arguments, shape, within)


def test_upsampling_by_hand():
    """Nearest repeats pixels.

    Transposed: away from the border each pixel is in 2 x 2 windows, wherever it lies.
    """
    x = np.arange(12, dtype=np.float32).reshape(1, 3, 4, 1)
    inputs = keras.Input((3, 4, 1))
    model = keras.Model(inputs, autoencoder.upsample_nearest(inputs, 1))
    nearest = keras.Model(inputs, model.get_layer("up_nearest").output)
    np.testing.assert_array_equal(nearest(x), x.repeat(2, axis=1).repeat(2, axis=2))
    model = keras.Model(inputs, autoencoder.upsample_transposed(inputs, 1))
    transposed = keras.Model(inputs, model.get_layer("up_conv").output)
    transposed.get_layer("up_conv").kernel.assign(tf.ones((4, 4, 1, 1)))
    places = transposed(np.ones_like(x))[0, 1:-1, 1:-1, 0]
    np.testing.assert_array_equal(places, np.full((4, 6), 4.0))


def test_autoencoder_halves_every_size_evenly():
    """30x29 pixels are padded to 32x32, so that three stages leave 4x4, and cropped again."""
    config = network("autoencoder", filters=[4, 8, 8])
    model = build_model(config, spec_of([30, 29, 3], 0, target_shape=[30, 29, 3]))
    assert model.get_layer("code_relu").output.shape == (None, 4, 4, 8)
    assert model.output_shape == (None, 30, 29, 3)
    with pytest.raises(ConfigError, match=r"^autoencoder: expected images .*, at least 8x8 pixels"):
        build_model(config, spec_of([30, 7, 3], 0, target_shape=[30, 7, 3]))
