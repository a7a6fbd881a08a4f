"""One label per example: loss and metrics by hand."""

import numpy as np
import pytest
import tensorflow as tf
from networks import spec_of, task
from scoring import LABELS, NUMBERS, about, scores

from cli.program import ConfigError

EXAMPLE = {
    "spec": LABELS,
    "targets": np.int64([0, 1, 2, 1]),
    "outputs": np.float32([[2, 0, 0], [0, 0, 1], [0, 0, 3], [0, 1, 0]]),
    "misfit": (4, "expected a network with outputs of shape [3]; flat gives [4]"),
}


def test_loss_and_label_smoothing_by_hand():
    """Logits (0, ln 3): probabilities 1/4 and 3/4.

    Smoothing 0.2 of two classes: targets 0.1 and 0.9.
    """
    spec = spec_of([28, 28, 1], 2)
    logits, targets = tf.constant([[0.0, np.log(3.0)]]), tf.constant([1], tf.int64)
    plain = task("classification", spec).loss
    smooth = task("classification", spec, label_smoothing=0.2).loss
    even = -0.5 * np.log(0.25) - 0.5 * np.log(0.75)
    np.testing.assert_allclose(plain(targets, logits), [-np.log(0.75)], rtol=1e-6)
    np.testing.assert_allclose(plain(tf.constant([[0.5, 0.5]]), logits), [even], rtol=1e-6)
    smoothed = -0.1 * np.log(0.25) - 0.9 * np.log(0.75)
    np.testing.assert_allclose(smooth(targets, logits), [smoothed], rtol=1e-6)


def test_metrics_by_hand():
    """Six classes; the target is first, third and last of its row; the last item has weight 0."""
    six = task("classification", spec_of([28, 28, 1], 6))
    logits = tf.constant(
        [[9.0, 1, 2, 3, 4, 5], [9, 8, 7, 1, 2, 3], [0, 1, 2, 3, 4, 5], [9, 0, 0, 0, 0, 0]]
    )
    targets, weights = np.int64([0, 2, 0, 0]), [1.0, 1.0, 1.0, 0.0]
    assert scores(six, targets, logits, weights) == about(accuracy=1 / 3, top_5_accuracy=2 / 3)
    one_hot = scores(six, tf.one_hot(targets, 6), logits, weights, training=True)
    assert one_hot["accuracy"] == pytest.approx(1 / 3)


def test_metrics_of_labels_by_hand():
    """Three items count, of classes a, b, b; a and b are found, then b is taken for c; the fourth
    weighs nothing.

    F1: a 1, b 2*1*0.5/1.5. AUC, thresholds exact for these well separated scores: a: 1 of 2
    pairs 1 -> 1; b: positives 0.79, 0.09 against 0.11: one of two pairs. No item is c: it counts in
    neither mean.
    """
    metrics = ["accuracy", "top_5_accuracy", "auc", "f1", "confusion_matrix"]
    labels = task("classification", LABELS, metrics=metrics)
    logits = np.log(
        np.float32([[0.8, 0.11, 0.09], [0.11, 0.79, 0.1], [0.01, 0.09, 0.9], [0.9, 0.05, 0.05]])
    )
    found = scores(labels, [0, 1, 1, 2], logits, [1.0, 1.0, 1.0, 0.0])
    assert found.pop("confusion_matrix").tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert found.pop("auc") == pytest.approx((1 + 0.5) / 2, abs=0.01)
    assert found == about(accuracy=2 / 3, f1=(1 + 2 / 3) / 2)
    assert set(labels.metrics(training=True)) == {"accuracy", "auc", "f1"}


def test_classification_needs_classes():
    expected = "task: classification: expected targets that are classes, got float32"
    with pytest.raises(ConfigError, match=expected):
        task("classification", NUMBERS)
