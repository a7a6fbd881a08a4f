"""What tests of tasks share.

Specs, what a task makes of targets and outputs, networks that only give outputs.
"""

import keras
import pytest
import tensorflow as tf
from networks import spec_of

LABELS = spec_of([3], 3).model_copy(update={"class_names": ["a", "b", "c"]})
NUMBERS = spec_of([4, 1], 0, target_shape=[2], target_dtype="float32")
IMAGES = spec_of([2, 2, 1], 0, target_shape=[2, 2, 1], target_dtype="float32")
TOKENS = spec_of(
    [None],
    0,
    "int32",
    target_shape=[None],
    target_dtype="int32",
    vocabulary="<pad>\n<unknown>\nx\ny",
    target_vocabulary="<pad>\n<unknown>\n<start>\n<end>\nX\nY\nZ",
)


def scores(task, targets, outputs, weights, training=False) -> dict:
    metrics = task.metrics(training=training)
    for metric in metrics.values():
        metric.update_state(tf.constant(targets), outputs, tf.constant(weights))
    return {name: metric.result().numpy() for name, metric in metrics.items()}


def about(**expected):
    return pytest.approx(expected, abs=1e-5)


def identity(values):
    """A network whose outputs are given."""
    return lambda inputs, training: tf.constant(values)


def flat(size: int) -> keras.Model:
    """A network of one tensor that gives `size` numbers."""
    inputs = keras.Input([4])
    return keras.Model(inputs, keras.layers.Dense(size)(inputs), name="flat")
