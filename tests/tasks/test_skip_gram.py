"""Candidates near each token: loss, accuracy and groups by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf
from networks import task
from scoring import TOKENS, about, scores

from cli.program import ConfigError

NEAR = TOKENS.model_copy(update={"target_shape": [None, 2, 3]})
GROUPS = {"low": ["x"], "high": ["y"]}
EXAMPLE = {
    "spec": NEAR,
    "targets": np.zeros([4, 2, 2, 3], np.int32),
    "outputs": {
        "scores": np.random.default_rng(0).normal(size=(4, 2, 2, 3)).astype(np.float32),
        "vectors": np.random.default_rng(1).normal(size=(4, 2)).astype(np.float32),
    },
    "misfit": (4, "expected a network that takes candidates and tokens; flat takes one tensor"),
}


def test_skip_gram_by_hand():
    """Scores 0: ln 2 for each of three candidates.

    The true one is the highest of two of three items that count.
    """
    skip_gram = task("skip_gram", NEAR, groups=GROUPS, nearest=1)
    even = {"scores": tf.zeros([1, 2, 2, 3]), "vectors": tf.ones([4, 2])}
    loss = skip_gram.loss(None, even)
    np.testing.assert_allclose(loss, np.full([1, 2, 2], 3 * math.log(2)), rtol=1e-6)
    ranked = tf.constant([[[[2.0, 1, 0], [0, 1, 2]], [[1.0, 0, 0], [0, 1, 0]]]])
    found = scores(skip_gram, 0, even | {"scores": ranked}, [[[1.0, 1.0], [1.0, 0.0]]])
    # one token of each kind: the nearest is of the other
    assert found == about(accuracy=2 / 3, neighbors=0.0)
    expected = r"task\.nearest: expected fewer than the 2 tokens in groups, got 2"
    with pytest.raises(ConfigError, match=expected):
        task("skip_gram", NEAR, groups=GROUPS, nearest=2)
    with pytest.raises(ConfigError, match=r"task.groups.low: unknown name 'q'"):
        task("skip_gram", NEAR, groups={"low": ["q"]})
