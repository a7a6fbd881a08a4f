"""Losses for labels: each class below `LabelLoss` has its function, one number an item."""

import math

import numpy as np
import pytest
import tensorflow as tf
from networks import section, task
from scoring import LABELS

import model_config
from cli.program import ConfigError
from cli.typed_yaml import name_of, named_classes
from model import label_loss
from tasks import losses

NAMES = [name_of(cls) for cls in named_classes(model_config.LabelLoss)]


def loss_of(name):
    config = section(model_config.TaskConfig, "classification", loss=name)
    return label_loss(config, LABELS)


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_for_labels(name):
    """Indices and probabilities agree.

    Items and sequences too; the right logits cost less than others.
    """
    loss, random = loss_of(name), np.random.default_rng(0)
    logits = tf.constant(random.normal(size=(4, 5, 3)), tf.float32)
    targets = tf.constant(random.integers(0, 3, [4, 5]))
    for smoothing in (0.0, 0.2):
        found = loss(targets, logits, smoothing)
        assert found.shape == (4, 5) and found.dtype == tf.float32
        soft = loss(tf.one_hot(targets, 3), logits, smoothing)
        np.testing.assert_allclose(found, soft, rtol=1e-5)
        row = loss(tf.reshape(targets, [-1]), tf.reshape(logits, [-1, 3]), smoothing)
        np.testing.assert_allclose(row, np.ravel(found), rtol=1e-5)
    right, wrong = (loss(targets, 3.0 * tf.one_hot(targets + n, 3), 0.0) for n in (0, 1))
    assert np.all(right < wrong)


def test_cross_entropy_by_hand():
    """Probabilities 1/4 and 3/4; smoothed by 0.2: targets 0.1 and 0.9."""
    logits = tf.constant([[0.0, math.log(3.0)]])
    found = losses.cross_entropy(tf.constant([1]), logits, 0.2)
    np.testing.assert_allclose(found, [-0.1 * math.log(0.25) - 0.9 * math.log(0.75)], rtol=1e-6)


def test_focal_loss_by_hand():
    """p = 1/4: (3/4)^2 * ln 4.

    P = 3/4: (1/4)^2 * ln(4/3): an easy item weighs 43 times less, not 5.
    """
    classification = task("classification", LABELS, loss="focal")
    logits = tf.math.log(tf.constant([[0.25, 0.5, 0.25], [0.125, 0.75, 0.125]]))
    found = classification.loss(tf.constant([0, 1]), logits)
    np.testing.assert_allclose(found, [0.5625 * math.log(4), 0.0625 * math.log(4 / 3)], rtol=1e-5)


def test_a_loss_without_its_function_is_one_line(monkeypatch):
    expected = (
        "^tasks/losses.py: expected a function `focal` for the loss 'focal' of model_config.py$"
    )
    monkeypatch.delattr(losses, "focal")
    with pytest.raises(ConfigError, match=expected):
        loss_of("focal")
