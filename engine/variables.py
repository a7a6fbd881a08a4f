"""The variables of a run: by name, on disk, what a step keeps; last, private names of libraries."""

import difflib
import math
import os
import re
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common import global_state
from tensorflow.python.eager import context

from cli.program import CheckpointError, ConfigError
from engine import checkpoint
from engine.stateless import fold
from train_config import Skip, Train

FIRST_LOSS_SCALE = 2.0**10
STEPS_TO_GROW = 2000  # finite ones in a row, after which the loss scale is doubled


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
    """{name: value} of a checkpoint. Raises CheckpointError for files that hold no variables."""
    try:
        reader = tf.train.load_checkpoint(str(directory / "variables"))
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except MemoryError:
        raise
    except Exception as error:  # what damage makes TensorFlow's reader raise is not documented
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{directory}: its variables cannot be read: {reason}") from error


def with_averages(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A checkpoint's values with the averaged weights (`ema/path`) as the model's."""
    averages = {name for name in values if name.startswith("ema/")}
    last = {name: values[name] for name in values.keys() - averages}
    return last | {name.replace("ema/", "model/", 1): values[name] for name in averages}


# ---- what a step keeps beside weights and slots; made in the scope of the strategy


def counter(name: str) -> keras.Variable:
    return keras.Variable(0, trainable=False, dtype="int64", name=name)


class FinitePolicy:
    """Whether a run goes on after a step whose loss or gradient was not finite.

    Such a step changes no weight. With float16 it halves the loss scale, and the run goes on while
    the scale is above 1; with `skip` the run goes on `at_most` times. Everything else ends it.
    """

    def __init__(self, train: Train):
        self.non_finite = train.non_finite
        self.skipped = self.loss_scale = None
        self.variables = {}
        if isinstance(train.non_finite, Skip):
            self.skipped = counter("skipped")
            self.variables["skipped"] = self.skipped
        if train.precision == "float16":  # whose smallest numbers are so large that gradients are 0
            self._scale_loss()

    def _scale_loss(self) -> None:
        self.loss_scale = keras.Variable(FIRST_LOSS_SCALE, trainable=False, name="loss_scale")
        self.finite_steps = counter("finite_steps")
        self.variables |= {"loss_scale": self.loss_scale, "finite_steps": self.finite_steps}

    def scale(self) -> tf.Tensor:
        """What a loss is multiplied by before its gradient is taken."""
        return tf.convert_to_tensor(1.0 if self.loss_scale is None else self.loss_scale)

    def goes_on(self, finite) -> tf.Tensor:
        """Takes the outcome of a step; returns whether another may follow."""
        goes_on = finite
        if self.loss_scale is not None:
            goes_on |= tf.convert_to_tensor(self.loss_scale) > 1.0
            self._rescale(finite)
        if self.skipped is not None:
            skips = ~goes_on & (tf.convert_to_tensor(self.skipped) < self.non_finite.at_most)
            self.skipped.assign_add(tf.cast(skips, tf.int64))
            goes_on |= skips
        return goes_on

    def _rescale(self, finite) -> None:
        grows = finite & (tf.convert_to_tensor(self.finite_steps) + 1 >= STEPS_TO_GROW)
        factor = tf.where(finite, tf.where(grows, 2.0, 1.0), 0.5)
        self.loss_scale.assign(tf.maximum(self.loss_scale * factor, 1.0))
        self.finite_steps.assign(tf.where(finite & ~grows, self.finite_steps + 1, 0))


class Averages:
    """Exponential moving averages of variables, saved beside them as `ema/<path>`."""

    def __init__(self, model: keras.Model, decay: float | None):
        """Of no variable without a decay."""
        self.averaged = [v for v in model.variables if decay and "float" in v.dtype]
        self.decay = decay
        self.variables = {
            v.path: keras.Variable(tf.convert_to_tensor(v), trainable=False, dtype=v.dtype)
            for v in self.averaged
        }

    def _pairs(self):
        return zip(self.variables.values(), self.averaged, strict=True)

    def begin(self) -> None:
        """Starts from the variables as they are now."""
        for average, variable in self._pairs():
            average.assign(tf.convert_to_tensor(variable))

    def update(self, step) -> None:
        """Moves to the variables; faster in the first steps, or random weights would linger."""
        step = tf.cast(step, tf.float32)
        for average, variable in self._pairs():
            decay = tf.minimum(self.decay, (1.0 + step) / (10.0 + step))
            share = 1.0 - tf.cast(decay, average.dtype)
            average.assign(average + share * (variable - average))

    @contextmanager
    def swapped_in(self):
        """Inside `with` the network has its averages; afterwards its own values, bit for bit."""
        values = [variable.numpy() for variable in self.averaged]
        for average, variable in self._pairs():
            variable.assign(tf.convert_to_tensor(average))
        try:
            yield
        finally:
            for variable, value in zip(self.averaged, values, strict=True):
                variable.assign(value)


class DropoutSeeds:
    """Seeds of random layers: a function of (seed, step, layer, share of the batch).

    So towers draw different masks, and a resumed run draws what an uninterrupted one would have.
    """

    def __init__(self, model: keras.Model, seed: int):
        self.seed = seed
        self.states = [v for v in model.variables if is_seed(v)]

    def set(self, step, share) -> None:
        """`share`: the number of an accumulated share of the batch, counted through all towers."""
        for layer, state in enumerate(self.states):
            bits = fold(fold(self.seed, step), share * len(self.states) + layer)
            low = bits & tf.constant(0xFFFFFFFF, tf.uint64)
            high = tf.bitwise.right_shift(bits, tf.constant(32, tf.uint64))
            state.assign(tf.cast(tf.stack([low, high]), state.dtype))


def is_seed(variable: keras.Variable) -> bool:
    return variable.path.endswith("seed_generator_state")


class BatchStatistics:
    """What a forward pass changes in a network, such as the moving means of batch normalization."""

    def __init__(self, model: keras.Model):
        self.variables = [v for v in model.non_trainable_variables if not is_seed(v)]

    def values(self) -> list[tf.Tensor]:
        return [tf.identity(variable) for variable in self.variables]

    def restore(self, values: list[tf.Tensor]) -> None:
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(value)


class InputWait:
    """Seconds for which steps waited for their batches: a reading, which no checkpoint holds."""

    def __init__(self):
        self.seconds = tf.Variable(0.0, trainable=False, dtype=tf.float64)

    def first_of(self, iterator) -> dict:
        """The first batch of a call. Nothing computes beside it: all of the time is waiting."""
        begin = tf.timestamp()
        with tf.control_dependencies([begin]):
            batch = next(iterator)
        with tf.control_dependencies([batch["id"]]):
            self.seconds.assign_add(tf.timestamp() - begin)
        return batch

    def add(self, step_done: tf.Tensor, next_ids: list[tf.Tensor]) -> None:
        """The time from when `step_done` is computed until the next batch is there."""
        with tf.control_dependencies([step_done]):
            step_end = tf.timestamp()
        with tf.control_dependencies([step_end, *next_ids]):
            self.seconds.assign_add(tf.timestamp() - step_end)


# ---- private names, read in Keras 3.15.1 and TensorFlow 2.21; a test says which one is gone


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


def keras_session() -> dict:
    """What Keras keeps for this thread. keras/src/backend/common/global_state.py."""
    return global_state.GLOBAL_STATE_TRACKER.__dict__


def tensorflow_generator() -> tuple:
    """The seed, and what draws the seeds of operations: None before the first seed was set.

    tensorflow/python/eager/context.py.
    """
    eager = context.context()
    return eager._seed, getattr(eager, "_rng", None)


def set_tensorflow_generator(seed, rng) -> None:
    eager = context.context()
    eager._seed = seed
    eager._rng = rng
