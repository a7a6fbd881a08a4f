"""One label per item: padding counts in nothing."""

import math

import numpy as np
import pytest
import tensorflow as tf
from networks import task
from scoring import LABELS, NUMBERS, about, scores

from cli.program import ConfigError

SEQUENCES = LABELS.model_copy(update={"input_shape": [None], "target_shape": [None]})
EXAMPLE = {
    "spec": SEQUENCES,
    "targets": np.int64([[0, 1, 2], [1, 1, 0], [2, 0, 1], [0, 0, 0]]),
    "outputs": np.random.default_rng(0).normal(size=(4, 3, 3)).astype(np.float32),
    "misfit": (3, "outputs of shape [None, 3]; flat"),
}


def test_tagging_counts_items_and_whole_sequences_without_their_padding():
    tagging = task("tagging", SEQUENCES)
    logits = 9.0 * tf.one_hot([[0, 1, 2], [1, 1, 0], [2, 0, 0]], 3)
    targets, weights = [[0, 1, 0], [1, 2, 0], [0, 0, 0]], [[1.0, 1, 0], [1, 1, 1], [0, 0, 0]]
    expected = about(accuracy=0.8, sequence_accuracy=0.5)
    assert scores(tagging, targets, logits, weights) == expected
    loss = tagging.loss(tf.constant(targets), tf.zeros([3, 3, 3]))
    np.testing.assert_allclose(loss, np.full([3, 3], math.log(3)), rtol=1e-6)


def test_tagging_needs_classes():
    expected = "task: tagging: expected targets that are classes, got float32"
    with pytest.raises(ConfigError, match=expected):
        task("tagging", NUMBERS)
