"""One class per pixel: what is ignored counts in nothing."""

import math

import numpy as np
import pytest
import tensorflow as tf
from networks import task
from scoring import LABELS, about, identity, scores

from cli.program import ConfigError

PIXELS = LABELS.model_copy(
    update={"input_shape": [2, 2, 1], "target_shape": [2, 2], "target_dtype": "int32"}
)
EXAMPLE = {
    "spec": PIXELS,
    "targets": np.int32([[[0, 1], [2, 0]], [[1, 1], [2, 2]], [[2, 0], [0, 0]], [[1, 2], [0, 1]]]),
    "outputs": np.random.default_rng(0).normal(size=(4, 2, 2, 3)).astype(np.float32),
    "misfit": (3, "outputs of shape [2, 2, 3]; flat"),
}


def test_accuracy_and_mean_iou_by_hand_without_ignored_pixels_and_absent_classes():
    """Right: 3 of 5 pixels. IoU of class 0: 2 of 4; of class 1: 1 of 3; none is 2."""
    segmentation = task("segmentation", PIXELS)
    targets = np.int32([[[0, 0], [0, 1]], [[1, 2], [2, 2]]])
    written = [[[0, 0], [1, 1]], [[0, 0], [1, 2]]]
    weights = np.float32([[[1, 1], [1, 1]], [[1, 0], [0, 0]]])
    found = scores(segmentation, targets, 9.0 * tf.one_hot(written, 3), weights)
    assert found == about(accuracy=3 / 5, mean_iou=(2 / 4 + 1 / 3) / 2)
    loss = segmentation.loss(tf.constant(targets), tf.zeros([2, 2, 2, 3]))
    np.testing.assert_allclose(loss, np.full([2, 2, 2], math.log(3)), rtol=1e-6)
    labels = segmentation.predict(identity(9.0 * tf.one_hot(written, 3)), None)["labels"]
    assert labels.numpy().tolist() == written


def test_every_pixel_needs_a_weight():
    segmentation = task("segmentation", PIXELS)
    batch = {"inputs": tf.zeros([2, 2, 2, 1]), "sample_weight": tf.ones([2])}
    message = "^task: segmentation: expected a weight for each pixel; add the operation `mask_as_"
    with pytest.raises(ConfigError, match=message):
        segmentation.call(identity([0.0]), batch, training=True)


@pytest.mark.parametrize(
    "fields", [{"target_shape": []}, {"target_shape": [2, 2], "target_dtype": "float32"}]
)
def test_segmentation_needs_a_class_for_each_pixel(fields):
    message = "^task: segmentation: expected a class for each pixel, got .* `mask_as_targets`$"
    with pytest.raises(ConfigError, match=message):
        task("segmentation", PIXELS.model_copy(update=fields))
