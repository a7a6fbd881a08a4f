"""The network that the configuration names, the task that scores its outputs, and its variables on disk."""

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import train_config
from data_config import Spec
from program import ConfigError


def build_model(config, spec: Spec, seed: int = 0) -> keras.Model:
    """The network of `models/<config.name>.py` for data of this spec; its weights and names are the same at every call.

    Keras numbers unnamed layers and random generators through the life of a process, and checkpoints go by name: its
    session is cleared first, so that a second run in one process finds the names of the first.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    model = importlib.import_module(f"models.{config.name}").build(config, spec)
    if model.inputs[0].dtype != spec.input_dtype:
        cure = "; add the operation `scale`" if spec.input_dtype == "uint8" else ""
        raise ConfigError(f"data.ops: expected {model.inputs[0].dtype} inputs for {config.name}, got {spec.input_dtype}{cure}")
    return model


# ------------------------------------------------------------------------------------------------------------ tasks


@dataclass(frozen=True)
class Task:
    """How outputs are scored and turned into predictions. Names no network and no data set.

    loss(targets, outputs): the unreduced loss, of the shape of `sample_weight`.
    metrics(): fresh Keras metrics by name, each updated with (targets, outputs, sample_weight).
    predict(outputs): {name: [B, ...]} for people and files.
    """

    loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    metrics: Callable[[], dict[str, keras.metrics.Metric]]
    predict: Callable[[tf.Tensor], dict[str, tf.Tensor]]


def _labels(targets):
    """Class indices [B] of targets that are class indices already, or (soft) one-hot vectors [B, num_classes]."""
    return targets if targets.dtype.is_integer else tf.argmax(targets, axis=-1)


def top_k_accuracy(targets, logits, k: int):
    """1.0 where fewer than k logits are above the target's: float32 [B]. A non-finite logit counts as a miss."""
    target_logit = tf.gather(logits, _labels(targets), batch_dims=1)
    above = tf.reduce_sum(tf.cast(~(logits <= target_logit[:, tf.newaxis]), tf.int32), axis=-1)
    return tf.cast(above < k, tf.float32)


def accuracy(targets, logits):
    """1.0 where the largest logit, the first of equals, is the target's: float32 [B]."""
    return tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int64) == tf.cast(_labels(targets), tf.int64), tf.float32)


def classification(config: train_config.Classification, spec: Spec) -> Task:
    """One label per example: softmax cross entropy of logits [B, num_classes] against indices [B] or vectors."""
    smoothing = config.label_smoothing

    def loss(targets, logits):
        if smoothing == 0 and targets.dtype.is_integer:
            return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        probabilities = tf.one_hot(targets, spec.num_classes) if targets.dtype.is_integer else targets
        probabilities = (1 - smoothing) * probabilities + smoothing / spec.num_classes
        return tf.nn.softmax_cross_entropy_with_logits(probabilities, logits)

    def metrics():
        found = {"accuracy": keras.metrics.MeanMetricWrapper(accuracy, name="accuracy")}
        if spec.num_classes > 5:
            found["top_5_accuracy"] = keras.metrics.MeanMetricWrapper(top_k_accuracy, name="top_5_accuracy", k=5)
        return found

    def predict(logits):
        probabilities = tf.nn.softmax(logits)
        return {"label": tf.argmax(logits, axis=-1), "probability": tf.reduce_max(probabilities, axis=-1)}

    return Task(loss, metrics, predict)


TASKS = {"classification": classification}


def build_task(config, spec: Spec) -> Task:
    return TASKS[config.name](config, spec)


# ------------------------------------------------------------------------------------------------ variables on disk


def named_variables(**groups: Iterable) -> dict[str, keras.Variable]:
    """{group/path: variable} over all groups. Raises ConfigError where two variables share a path: one would be lost."""
    named = {}
    for group, variables in groups.items():
        for variable in variables:
            name = f"{group}/{variable.path}"
            if name in named:
                raise ConfigError(f"{name}: two variables have this path; give their layers different names")
            named[name] = variable
    return named


def write_variables(directory: Path, variables: dict[str, keras.Variable]) -> None:
    """Writes `variables.index` and `variables.data-*`, readable by tf.train.load_checkpoint."""
    names = sorted(variables)
    tensors = [tf.convert_to_tensor(variables[name]) for name in names]
    tf.raw_ops.SaveV2(prefix=str(directory / "variables"), tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors)


def read_variables(directory: Path) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(directory / "variables"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
