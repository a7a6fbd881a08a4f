"""Any number of labels per example, by hand and from a file to a score."""

import math

import numpy as np
import pytest
import tensorflow as tf
from networks import section, task
from scoring import LABELS, about, scores

import train_config
import trainer
from cli.program import ConfigError
from data_config import Dataset

ROWS = LABELS.model_copy(
    update={"target_shape": [4], "target_dtype": "float32", "num_classes": 0, "class_names": []}
)
EXAMPLE = {
    "spec": ROWS,
    "targets": np.float32([[1, 0, 0, 1], [0, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]]),
    "outputs": np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32),
    "misfit": (3, "expected a network with outputs of shape [4]; flat gives [3]"),
}


def test_multi_label_by_hand():
    """Four labels of two examples.

    Hits 2 of 3 wanted and 3 given, so F1 = 2*2/6; the threshold 0.8 is the logit ln 4 = 1.386.
    """
    multi_label = task("multi_label", ROWS, threshold=0.8)
    targets = [[1.0, 0, 0, 1], [0, 0, 1, 0], [1, 1, 1, 1]]
    logits = tf.constant([[1.4, 1.3, -9, 1.3], [-9, 1.4, 2, 0], [0, 0, 0, 0.0]])
    assert scores(multi_label, targets, logits, [1.0, 1.0, 0.0]) == about(accuracy=0.75, f1=2 / 3)
    zeros = multi_label.loss(tf.constant(targets), tf.zeros([3, 4]))
    np.testing.assert_allclose(zeros, [math.log(2)] * 3, rtol=1e-6)
    assert ROWS.num_outputs == 4


@pytest.mark.parametrize("update", [{}, {"num_classes": 0, "class_names": []}])
def test_many_labels_need_a_row_of_them(update):
    expected = (
        "task: multi_label: expected a row of 0 and 1 as the targets of each example, got int64"
    )
    with pytest.raises(ConfigError, match=expected):
        task("multi_label", LABELS.model_copy(update=update))


def test_many_labels_from_a_file_to_a_score(tmp_path):
    """Each label says whether one of three inputs is above 0: what one linear layer learns."""
    section(Dataset, "npz", file="labels.npz")
    inputs = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    np.savez(tmp_path / "labels.npz", x=inputs, y=np.float32(inputs > 0))
    (tmp_path / "run.yaml").write_text(
        "model: {name: tiny}\ntask: {name: multi_label}\n"
        "data: {train: {name: npz, file: labels.npz, targets: numbers}}\n"
        "optimizer: {name: adam, learning_rate: 0.1}\ntrain: {batch_size: 40, epochs: 20}\n"
        "checkpoint: {every: null}\n"
    )
    config = train_config.load_config(tmp_path / "run.yaml", [f"data.dir={tmp_path}"])
    valid = trainer.train_and_evaluate(config, tmp_path / "run")["valid"]
    assert valid["accuracy"] > 0.9 and valid["f1"] > 0.9
