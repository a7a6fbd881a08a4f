"""Variables of Keras by name, and on disk."""

import math
import os
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cli.program import ConfigError
from engine import checkpoint


def named_variables(**groups: Iterable) -> dict[str, keras.Variable]:
    """{group/path: variable} over all groups. Raises ConfigError where two variables share a path: one would be lost."""
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


def write_variables(directory: Path, variables: dict[str, keras.Variable]) -> None:
    """Writes `variables.index` and `variables.data-*`, readable by tf.train.load_checkpoint."""
    names = sorted(variables)
    tensors = [tf.convert_to_tensor(variables[name]) for name in names]
    try:
        tf.raw_ops.SaveV2(
            prefix=str(directory / "variables"),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=tensors,
        )
    except (
        tf.errors.OpError
    ) as error:  # a full disk is to TensorFlow what a full GPU is: ResourceExhaustedError
        number = next(
            (number for number in checkpoint.DISK if os.strerror(number) in str(error)), None
        )
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(directory)) from error


def size_of(variables: Iterable[keras.Variable]) -> int:
    """Bytes of their values."""
    return sum(
        math.prod(variable.shape) * tf.as_dtype(variable.dtype).size for variable in variables
    )


def read_variables(directory: Path) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(directory / "variables"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def with_averages(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What was read from a checkpoint, with the averaged weights (`ema/path`) in the place of the last ones (`model/path`)."""
    averages = {
        f"model/{name.removeprefix('ema/')}": value
        for name, value in values.items()
        if name.startswith("ema/")
    }
    return {
        name: averages.get(name, value)
        for name, value in values.items()
        if not name.startswith("ema/")
    }


def without_keras_sum(optimizer):
    optimizer._all_reduce_sum_gradients = list
    return optimizer


def layers_of(model) -> list:
    return list(model._flatten_layers())
