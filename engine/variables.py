"""Variables by name and on disk; and, last, what is private in Keras."""

import difflib
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cli.program import ConfigError
from engine import checkpoint


def named_variables(**groups: Iterable) -> dict[str, keras.Variable]:
    """{group/path: variable} over all groups.

    Raises ConfigError where two variables share a path: one would be lost.
    """
    named = {}
    for group, variables in groups.items():
        for variable in variables:
            name = f"{group}/{variable.path}"
            if name in named:
                raise ConfigError(
                    f"{name}: two variables have this path; give their layers different names"
                )
            named[name] = variable
    return named


def size_of(variables: Iterable[keras.Variable]) -> int:
    """Bytes of their values."""
    return sum(math.prod(v.shape) * tf.as_dtype(v.dtype).size for v in variables)


def first_matches(field: str, regexes: Iterable[str], names: list[str]) -> dict[str, str]:
    """{name: the first of the regexes that is found in it}; names without one are left out.

    Raises ConfigError, with `field`, for a regex that is found in no name: a typing error.
    """
    matches = {}
    for regex in regexes:
        found = [name for name in names if re.search(regex, name)]
        if not found:
            near = difflib.get_close_matches(regex, names, 3, 0.4) or names[:3]
            raise ConfigError(
                f"{field}: {regex!r} is found in no variable; there is {', '.join(near) or 'none'}"
            )
        matches = dict.fromkeys(found, regex) | matches
    return {name: matches[name] for name in names if name in matches}


# ---- on disk


def write_variables(directory: Path, variables: dict[str, keras.Variable]) -> None:
    """Writes `variables.index` and `variables.data-*`, readable by tf.train.load_checkpoint."""
    names = sorted(variables)
    try:
        tf.raw_ops.SaveV2(
            prefix=str(directory / "variables"),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[tf.convert_to_tensor(variables[name]) for name in names],
        )
    except tf.errors.OpError as error:
        _name_disk_error(error, directory)
        raise


def _name_disk_error(error: tf.errors.OpError, directory: Path) -> None:
    """Raises OSError: TensorFlow's is ResourceExhaustedError, for a full disk as for a full GPU."""
    for number in checkpoint.DISK:
        if os.strerror(number) in str(error):
            raise OSError(number, os.strerror(number), str(directory)) from error


def read_variables(directory: Path) -> dict[str, np.ndarray]:
    """{name: value} of a checkpoint."""
    reader = tf.train.load_checkpoint(str(directory / "variables"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def with_averages(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A checkpoint's values with the averaged weights (`ema/path`) as the model's."""
    averages = {name for name in values if name.startswith("ema/")}
    last = {name: values[name] for name in values.keys() - averages}
    return last | {name.replace("ema/", "model/", 1): values[name] for name in averages}


# ---- private in Keras, as read in 3.15.1; tests/engine/test_variables.py names one that is gone


def without_keras_sum(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Keeps an optimizer from adding up gradients over towers: those it gets are summed already.

    keras/src/backend/tensorflow/optimizer.py: a list of (gradient, variable) -> the same, summed.
    """
    optimizer._all_reduce_sum_gradients = list
    return optimizer


def layers_of(model: keras.Model) -> list[keras.Layer]:
    """All layers of a model, those within layers too, each once. keras/src/layers/layer.py."""
    return model._flatten_layers(include_self=False)


def sublayers(layer: keras.Layer) -> list[keras.Layer]:
    """The layers right below a layer or a model. keras/src/layers/layer.py."""
    return layer._flatten_layers(include_self=False, recursive=False)


def build_f1_score(metric: keras.metrics.F1Score, num_classes: int) -> None:
    """Makes its variables now, not with the first batch. keras/src/metrics/f_score_metrics.py."""
    metric._build((None, num_classes), (None, num_classes))
