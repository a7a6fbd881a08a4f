"""Metrics: each class below `LabelMetric` has its function or class; those of the field by hand."""

import numpy as np
import pytest
import tensorflow as tf
from networks import section, spec_of

import model_config
from cli.program import ConfigError
from cli.typed_yaml import name_of, named_classes
from eval import MetricTotals
from model import Ratio, build_task, label_metrics, mean_of
from tasks import metrics

NAMES = [name_of(cls) for cls in named_classes(model_config.LabelMetric)]


def metric_of(name, training=False):
    config = section(model_config.TaskConfig, "classification", metrics=[name])
    return label_metrics(config, spec_of([3], 7), training).get(name)


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_for_labels(name):
    """Weight 0 changes nothing, parts of a batch add up, indices and probabilities agree."""
    random = np.random.default_rng(0)
    logits = tf.constant(random.normal(size=(12, 7)), tf.float32)
    targets, weights = random.integers(0, 7, 12), np.float32([1, 1, 2, 0.5] * 3)
    whole, parts, soft = metric_of(name), metric_of(name), metric_of(name)
    whole.update_state(tf.constant(targets), logits, tf.constant(weights))
    for part in (slice(0, 5), slice(5, 12)):
        parts.update_state(tf.constant(targets[part]), logits[part], tf.constant(weights[part]))
    parts.update_state(tf.constant(targets), -logits, tf.zeros(12))
    soft.update_state(tf.one_hot(targets, 7), logits, tf.constant(weights))
    np.testing.assert_allclose(parts.result(), whole.result(), rtol=1e-5)
    np.testing.assert_allclose(soft.result(), whole.result(), rtol=1e-5)
    other = metric_of(name)
    other.update_state(tf.constant(targets), 3.0 * tf.one_hot(targets, 7), tf.constant(weights))
    assert not np.allclose(other.result(), whole.result())


def test_a_metric_says_itself_where_it_is_left_out():
    sections = {name_of(cls): cls for cls in named_classes(model_config.LabelMetric)}
    for name, cls in sections.items():
        assert metric_of(name) is not None
        assert (metric_of(name, training=True) is not None) == cls.in_training
    config = section(model_config.TaskConfig, "classification", metrics=NAMES)
    few = label_metrics(config, spec_of([3], 5), training=False)
    assert set(NAMES) - set(few) == {"top_5_accuracy"} & set(NAMES)


def test_a_metric_without_its_function_or_class_is_one_line(monkeypatch):
    expected = "expected a function `f1` or a class `F1` for the metric 'f1' of model_config.py"
    monkeypatch.delattr(metrics, "F1")
    with pytest.raises(ConfigError, match=f"^tasks/metrics.py: {expected}$"):
        metric_of("f1")


def test_ratio_and_mean_by_hand():
    """Root of (1 * 2 + 7 * 1) / 3; 1 - (2 + 1) / (2 * 2 + 2 * 1); before any item there is none."""
    values, weights = tf.constant([1.0, 7.0]), tf.constant([2.0, 1.0])
    mean = mean_of(lambda targets, outputs: outputs, tf.sqrt)
    ratio = Ratio(lambda targets, outputs, weight: (weight, 2 * weight), lambda ratio: 1 - ratio)
    assert np.isnan([float(mean.result()), float(ratio.result())]).all()
    for metric in (mean, ratio):
        metric.update_state(values, values, weights)
    assert float(mean.result()) == pytest.approx(3.0**0.5)
    assert float(ratio.result()) == 0.5


@pytest.mark.parametrize(
    ("name", "targets", "expected"),
    [
        ("f1", [0, 0, 1, 1], (0.8 + 2 / 3) / 2),
        ("f1", [0, 0, 0, 0], 2 * 3 / (4 + 3)),
        ("mean_iou", [0, 0, 1, 1], (2 / 3 + 1 / 2) / 2),
        ("mean_iou", [0, 0, 0, 0], 3 / 4),
        ("auc", [0, 0, 1, 1], 1.0),
        ("auc", [1, 0, 0, 1], 0.5),
        ("auc", [0, 0, 0, 0], np.nan),
        ("accuracy", [0, 0, 1, 1], 0.75),
        ("top_5_accuracy", [0, 0, 1, 1], 1.0),
    ],
)
def test_classes_without_examples_count_in_no_mean(name, targets, expected):
    """Of 7 classes; 0, 0, 0, 1 are predicted, ever less of 0 and more of 1."""
    logits = np.full((4, 7), -20, np.float32)
    logits[:, 0], logits[:, 1] = [3, 2, 1, -1], [-3, -2, -1, 1]
    metric = metric_of(name)
    metric.update_state(tf.constant(targets), tf.constant(logits), tf.ones(4))
    np.testing.assert_allclose(metric.result(), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["f1", "mean_iou", "auc", "accuracy"])
def test_what_cannot_be_measured_is_null_in_json(name):
    config = section(model_config.TaskConfig, "classification", metrics=[name])
    totals = MetricTotals(build_task(config, spec_of([3], 7)), training=False)
    assert totals.numbers()[name] is None


@pytest.mark.parametrize(
    ("written", "targets", "expected"),
    [
        ([[4, 5]], [[4, 5]], 0),
        ([[4, 5, 6]], [[4, 6, 0]], 1),
        ([[0, 0]], [[4, 5]], 2),
        ([[5, 4]], [[4, 5]], 2),
        ([[4]], [[4, 5, 6, 4]], 3),
    ],
)
def test_edit_distance(written, targets, expected):
    found = metrics.edit_distance(tf.constant(written), tf.constant(targets))
    assert found.numpy().tolist() == [expected]


def test_signal_to_noise_on_another_scale():
    """On a scale to 255, an error of 25.5 is 20 dB; no error counts as 100 dB."""
    clean = tf.zeros([2, 2, 2, 1])
    np.testing.assert_allclose(metrics.psnr(clean + 25.5, clean, 255.0), [20.0, 20.0], rtol=1e-5)
    np.testing.assert_allclose(metrics.psnr(clean, clean, 1.0), [100.0, 100.0], rtol=1e-5)


def test_neighbors_by_hand():
    """Directions 0, 10, 90, 100 degrees and one in no group, nearest of all.

    Then with groups torn apart.
    """
    angles = np.radians([0, 10, 90, 100, 5])
    lengths = [[1], [5], [1], [5], [1]]
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    vectors = tf.constant(directions * lengths, tf.float32)
    assert float(metrics.neighbors_in_group(vectors, [0, 0, 1, 1, -1], 1)) == 1.0
    assert float(metrics.neighbors_in_group(vectors, [0, 1, 0, 1, -1], 1)) == 0.0
    # 0 sees 90, 100 sees 10
    assert float(metrics.neighbors_in_group(vectors, [0, 1, 0, 1, -1], 2)) == 0.25
