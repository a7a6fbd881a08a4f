"""The optimizer and its learning rate. Clipping is not here: it needs the gradient of all towers.

A schedule is a function of this file with its name in the configuration; an optimizer is a row of
`_OPTIMIZERS`.
"""

import re

import keras
import tensorflow as tf
from keras.optimizers import schedules

from cli.program import ConfigError
from engine.variables import first_matches
from train_config import Clock


class Warmup(schedules.LearningRateSchedule):
    """Linear from 0 to `peak` in `steps` steps, then `schedule` from its beginning."""

    def __init__(self, steps: int, schedule: schedules.LearningRateSchedule, peak: float):
        self.steps = steps
        self.schedule = schedule
        self.peak = peak
        self.factor: tf.Variable | float = 1.0  # lowered by rollbacks

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        warm = self.peak * (step + 1.0) / max(self.steps, 1)
        rate = tf.cast(self.schedule(tf.maximum(step - self.steps, 0.0)), tf.float32)
        return tf.where(step < self.steps, warm, rate) * self.factor


def build_schedule(config, clock: Clock, total_steps: int) -> Warmup:
    """The learning rate as a function of the step (0 for the first update)."""
    section = config.schedule
    rate = config.learning_rate
    warmup = clock.steps(section.warmup) if section.warmup else 0
    build = _named(section.name, "schedule", globals())
    schedule = build(section, rate, max(1, total_steps - warmup), warmup, clock)
    return Warmup(warmup, schedule, rate)


def _named(name: str, kind: str, table: dict):
    if name not in table:
        raise ConfigError(f"engine/optimizer.py: {name!r}: no such {kind}; train_config.py has one")
    return table[name]


# ---- schedules: (section, peak rate, steps after the warm-up, steps of the warm-up, clock)


def constant(config, rate, steps, warmup, clock):
    return schedules.PolynomialDecay(rate, steps, rate)


def exponential(config, rate, steps, warmup, clock):
    every = clock.steps(config.every)
    return schedules.ExponentialDecay(rate, every, config.factor, config.staircase)


def cosine(config, rate, steps, warmup, clock):
    return schedules.CosineDecay(rate, steps, alpha=config.final)


def polynomial(config, rate, steps, warmup, clock):
    return schedules.PolynomialDecay(rate, steps, config.final * rate, config.power)


def piecewise(config, rate, steps, warmup, clock):
    """Boundaries count from the start of the run.

    Keras changes the value after the boundary's step: one later than is meant here.
    """
    boundaries = [clock.steps(boundary) - warmup - 1 for boundary in config.boundaries]
    if boundaries != sorted({*boundaries}) or boundaries[0] < 0:
        raise ConfigError(
            "optimizer.schedule.boundaries: expected rising steps after the warm-up, "
            f"got {config.boundaries}"
        )
    rates = [rate * factor for factor in (1.0, *config.factors)]
    return schedules.PiecewiseConstantDecay([*map(float, boundaries)], rates)


# ---- optimizers

_OPTIMIZERS = {  # Keras' class, and those of its arguments that are fields of the configuration
    "sgd": (keras.optimizers.SGD, {"momentum", "nesterov"}),
    "adam": (keras.optimizers.Adam, {"beta_1", "beta_2", "epsilon"}),
    "adamw": (keras.optimizers.AdamW, {"beta_1", "beta_2", "epsilon"}),
    "rmsprop": (keras.optimizers.RMSprop, {"rho", "momentum", "epsilon", "centered"}),
    "adagrad": (keras.optimizers.Adagrad, {"initial_accumulator_value", "epsilon"}),
}


def build_optimizer(config, schedule: Warmup, model: keras.Model) -> keras.optimizers.Optimizer:
    """The optimizer with its slots, for the variables that the model trains."""
    keras_class, fields = _named(config.name, "optimizer", _OPTIMIZERS)
    options = config.model_dump(include=fields)
    decay = config.weight_decay or None
    optimizer = keras_class(schedule, weight_decay=decay, name=config.name, **options)
    variables = model.trainable_variables
    if decay:
        optimizer.exclude_from_weight_decay(
            [v for v in variables if any(re.search(regex, v.path) for regex in config.no_decay)]
        )
    optimizer.build(variables)
    return optimizer


def build_multipliers(config, model: keras.Model) -> list[tuple[keras.Variable, float]]:
    """The variables whose updates are scaled, each with its factor.

    Raises ConfigError for a regex that comes first for no variable.
    """
    multipliers = config.multipliers
    variables = {variable.path: variable for variable in model.trainable_variables}
    regexes = first_matches("optimizer.multipliers", multipliers, list(variables))
    if unused := {*multipliers} - {*regexes.values()}:
        raise ConfigError(
            f"optimizer.multipliers: {min(unused)!r} is found only where an earlier one is; "
            "expected the special ones first"
        )
    factors = [(variables[path], multipliers[regex]) for path, regex in regexes.items()]
    return [(variable, factor) for variable, factor in factors if factor != 1]
