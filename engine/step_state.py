"""What a training step keeps beside weights and slots: counters, averages, seeds, waiting times.

Each object here owns its variables; `trainer.Trainer` puts them together, and its `variables()` is
what a checkpoint holds. Make them in the scope of the strategy.
"""

from contextlib import contextmanager

import keras
import tensorflow as tf

from engine.stateless import fold
from train_config import Skip, Train

FIRST_LOSS_SCALE = 2.0**10
STEPS_TO_GROW = 2000  # finite ones in a row, after which the loss scale is doubled


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
