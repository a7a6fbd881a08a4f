"""Points: errors in pixels by hand."""

import numpy as np
import pytest
import tensorflow as tf
from networks import spec_of, task
from scoring import about, identity, scores

from cli.program import ConfigError

POINTS = spec_of([10, 20, 3], 0, target_shape=[2, 2], target_dtype="float32")
EXAMPLE = {
    "spec": POINTS,
    "targets": np.float32(
        [[[3, 4], [5, 6]], [[9, 2], [19, 0]], [[0, 0], [8, 8]], [[1, 9], [4, 4]]]
    ),
    "outputs": np.random.default_rng(0).uniform(-1, 1, (4, 2, 2)).astype(np.float32),
    "misfit": (3, "outputs of shape [4] or [2, 2]; flat gives [3]"),
}


def test_edges_and_the_middle_of_a_picture_in_pixels():
    """Of 20x10 pixels: the centers of the corner pixels are half a pixel from the edges."""
    shares = np.float32([[[-1, -1], [1, 1]], [[0, 0], [-0.95, 0.9]]])
    found = task("keypoints", POINTS).predict(identity(shares.reshape(2, 4)), None)["points"]
    expected = [[[-0.5, -0.5], [19.5, 9.5]], [[9.5, 4.5], [0, 9]]]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_scores_of_visible_points_by_hand():
    """All outputs are the middle, (9.5, 4.5): 5 px, 1 px and 0 px away; one is not visible.

    Correct is what is at most 0.05 * 20 = 1 px away. Losses are of shares of half the larger side.
    """
    keypoints = task("keypoints", POINTS)
    targets = np.float32([[[12.5, 8.5], [9.5, 5.5]], [[9.5, 4.5], [0, 0]]])
    outputs = tf.zeros([2, 2, 2])
    weights = np.float32([[1, 1], [1, 0]])
    found = scores(keypoints, targets, outputs, weights)
    assert found == about(mean_error=(5 + 1 + 0) / 3, pck=2 / 3)
    wider = scores(task("keypoints", POINTS, threshold=0.25), targets, outputs, weights)
    assert wider == about(mean_error=2.0, pck=1.0)
    for loss, expected in (("mse", 0.09 + 0.16), ("mae", 0.3 + 0.4), ("huber", 0.025 + 0.035)):
        losses = task("keypoints", POINTS, loss=loss).loss(tf.constant(targets), outputs)
        assert losses.shape == (2, 2)
        np.testing.assert_allclose(losses[0, 0], expected, rtol=1e-5)
        assert losses[1, 0] == 0


def test_without_a_visible_point_there_is_no_score():
    found = scores(
        task("keypoints", POINTS),
        np.zeros([1, 2, 2], np.float32),
        tf.zeros([1, 2, 2]),
        [[0.0, 0.0]],
    )
    assert np.isnan(list(found.values())).all()


def test_every_point_needs_a_weight():
    batch = {"inputs": tf.zeros([2, 10, 20, 3]), "sample_weight": tf.ones([2])}
    message = "^task: keypoints: expected a weight for each point; add the operation `points_as_"
    with pytest.raises(ConfigError, match=message):
        task("keypoints", POINTS).call(identity([0.0]), batch, training=True)


@pytest.mark.parametrize(
    "fields", [{"target_shape": [4]}, {"target_shape": [2, 3]}, {"input_shape": [None, 3]}]
)
def test_keypoints_need_points_in_images_of_one_size(fields):
    message = "^task: keypoints: expected images of one size with targets .*`points_as_targets`$"
    with pytest.raises(ConfigError, match=message):
        task("keypoints", POINTS.model_copy(update=fields))
