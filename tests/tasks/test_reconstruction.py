"""Images from damaged ones: decibels by hand."""

import numpy as np
import tensorflow as tf
from networks import task
from scoring import IMAGES, about, identity, scores

IMAGE = np.random.default_rng(0).random((4, 2, 2, 1), np.float32)
EXAMPLE = {
    "spec": IMAGES,
    "targets": np.random.default_rng(1).random((4, 2, 2, 1), np.float32),
    "outputs": {"images": IMAGE, "inputs": 0.5 * IMAGE},
    "misfit": (4, "outputs of shape [2, 2, 1]; flat gives [4]"),
}


def test_signal_to_noise_by_hand():
    """Errors of 0.1 everywhere: 20 dB; of 0.01: 40 dB, a gain of 20."""
    reconstruction = task("reconstruction", IMAGES)
    clean = tf.zeros([2, 2, 2, 1])
    model = identity(np.full([2, 2, 2, 1], 0.01, np.float32))
    batch = {"inputs": clean + 0.1, "targets": clean}
    outputs = reconstruction.call(model, batch, False)
    found = scores(reconstruction, clean, outputs, [1.0, 0.0])
    assert found == about(psnr=40.0, psnr_gain=20.0)
    np.testing.assert_allclose(reconstruction.loss(clean, outputs), [1e-4, 1e-4], rtol=1e-5)
