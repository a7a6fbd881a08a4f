"""The optimizer and its learning rate, from the configuration. Clipping is not here: it needs the gradient of all towers."""

import re

import keras
import tensorflow as tf

from cli.program import ConfigError
from engine.weights import first_matches
from train_config import Clock


class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """Linear from 0 to the schedule's first value in `steps` steps, then the schedule from its beginning."""

    def __init__(
        self, steps: int, schedule: keras.optimizers.schedules.LearningRateSchedule, peak: float
    ):
        self.steps, self.schedule, self.peak = steps, schedule, peak
        self.factor: tf.Variable | float = 1.0  # lowered by rollbacks

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        warm = self.peak * (step + 1.0) / max(self.steps, 1)
        rate = tf.where(
            step < self.steps,
            warm,
            tf.cast(self.schedule(tf.maximum(step - self.steps, 0.0)), tf.float32),
        )
        return rate * self.factor

    def get_config(self):
        return {"steps": self.steps, "schedule": self.schedule, "peak": self.peak}


def build_schedule(config, clock: Clock, total_steps: int) -> Warmup:
    """The learning rate as a function of the step (0 for the first update) and the configuration alone."""
    schedule, rate = config.schedule, config.learning_rate
    warmup = clock.steps(schedule.warmup) if schedule.warmup else 0
    rest = max(1, total_steps - warmup)
    schedules = keras.optimizers.schedules
    if schedule.name == "exponential":
        after = schedules.ExponentialDecay(
            rate, clock.steps(schedule.every), schedule.factor, schedule.staircase
        )
    elif schedule.name == "cosine":
        after = schedules.CosineDecay(rate, rest, alpha=schedule.final)
    elif schedule.name == "polynomial":
        after = schedules.PolynomialDecay(rate, rest, schedule.final * rate, schedule.power)
    elif schedule.name == "piecewise":
        # Counted from the start of the run. Keras changes the value after the boundary's step: one later than meant here.
        boundaries = [clock.steps(boundary) - warmup - 1 for boundary in schedule.boundaries]
        if boundaries != sorted(set(boundaries)) or boundaries[0] < 0:
            raise ConfigError(
                f"optimizer.schedule.boundaries: expected rising steps after the warm-up, got {schedule.boundaries}"
            )
        after = schedules.PiecewiseConstantDecay(
            [float(b) for b in boundaries], [rate] + [rate * f for f in schedule.factors]
        )
    else:
        after = schedules.PolynomialDecay(rate, rest, rate)
    return Warmup(warmup, after, rate)


_OPTIMIZERS = {
    "sgd": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
}


def build_multipliers(config, model: keras.Model) -> list[tuple[keras.Variable, float]]:
    """The variables whose updates are scaled, each with its factor. Raises ConfigError for a regex that comes first for none."""
    trained = {variable.path: variable for variable in model.trainable_variables}
    regexes = first_matches("optimizer.multipliers", config.multipliers, list(trained))
    if idle := [regex for regex in config.multipliers if regex not in regexes.values()]:
        raise ConfigError(
            f"optimizer.multipliers: {idle[0]!r} is found only where an earlier one is; expected the special ones first"
        )
    factors = {path: config.multipliers[regex] for path, regex in regexes.items()}
    return [(trained[path], factor) for path, factor in factors.items() if factor != 1]


def build_optimizer(config, schedule: Warmup, model: keras.Model) -> keras.optimizers.Optimizer:
    ours = {
        "name",
        "learning_rate",
        "schedule",
        "clip_norm",
        "no_decay",
        "multipliers",
    }  # what is left are Keras' own arguments
    options = config.model_dump(exclude=ours)
    options["weight_decay"] = options["weight_decay"] or None
    optimizer = _OPTIMIZERS[config.name](schedule, name=config.name, **options)
    if options["weight_decay"]:
        no_decay = [
            v
            for v in model.trainable_variables
            if any(re.search(regex, v.path) for regex in config.no_decay)
        ]
        optimizer.exclude_from_weight_decay(no_decay)
    optimizer.build(model.trainable_variables)
    return optimizer
