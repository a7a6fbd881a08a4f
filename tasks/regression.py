"""Numbers [B, ...]: the loss is the mean over an example's; metrics are in the data's units.

`skill`: 1 - mean squared error / that of persistence, which says that nothing changes; above 0 is
better than that.
"""

import math
from functools import partial

import tensorflow as tf

from cli.program import ConfigError
from model import Ratio, Task, mean_of
from tasks import losses


class Regression(Task):
    def __init__(self, config, spec):
        super().__init__(config, spec)
        if spec.target_dtype.startswith("int") or None in spec.target_shape:
            raise ConfigError(
                f"task: regression: expected numbers as targets, "
                f"got {spec.target_dtype} of shape {spec.target_shape}; "
                "classes? see the option `targets` of the data set"
            )
        column = config.persistence
        shape = spec.input_shape
        if column is not None and (len(shape) != 2 or column >= shape[1]):
            expected = f"series [steps, columns] with a column {column}"
            raise ConfigError(f"task.persistence: expected {expected}, got inputs of shape {shape}")
        self.size = math.prod(spec.target_shape)
        self.outputs = ([self.size], spec.target_shape)
        losses_of_errors = {
            "mse": tf.square,
            "mae": tf.abs,
            "huber": partial(losses.huber, delta=config.delta),
        }
        self.error_loss = losses_of_errors[config.loss]

    def call(self, model, batch, training):
        inputs = batch["inputs"]
        column = self.config.persistence
        outputs = {"values": model(inputs, training=training)}
        if column is not None:
            last = inputs[:, -1:, column]  # (B, 1)
            outputs["persistence"] = tf.repeat(last, self.size, axis=1)  # -> (B, size)
        return outputs

    def loss(self, targets, outputs):
        errors = self.flat(outputs["values"]) - self.flat(targets)
        return tf.reduce_mean(self.error_loss(errors), axis=1)

    def flat(self, values):
        return tf.reshape(values, [-1, self.size])

    def metrics(self, training):
        metrics = {
            "rmse": mean_of(self.squared_error, tf.sqrt),
            "mae": mean_of(self.absolute_error),
        }
        if self.config.persistence is not None:
            metrics["skill"] = Ratio(self.skill, lambda ratio: 1.0 - ratio)
        return metrics

    def squared_error(self, targets, outputs, of: str = "values"):
        errors = self.errors(targets, outputs[of])
        return tf.reduce_mean(tf.square(errors), axis=1)

    def absolute_error(self, targets, outputs):
        errors = self.errors(targets, outputs["values"])
        return tf.reduce_mean(tf.abs(errors), axis=1)

    def errors(self, targets, values):
        """In the units of the data: [B, size]."""
        values = tf.reshape(values, tf.shape(targets))
        errors = self.unscaled(values) - self.unscaled(targets)
        return self.flat(errors)

    def skill(self, targets, outputs, weight):
        error = self.squared_error(targets, outputs)
        return weight * error, weight * self.squared_error(targets, outputs, "persistence")

    def unscaled(self, values):
        """Scaled targets, or outputs like them, in the units of the data."""
        for step in self.spec.target_units:
            values = values * tf.constant(step.scale) + tf.constant(step.offset)
            if step.log_plus is not None:
                values = tf.exp(values) - step.log_plus
        return values

    def predict(self, model, inputs):
        values = model(inputs, training=False)
        values = tf.reshape(values, [-1, *self.spec.target_shape])
        return {"values": self.unscaled(values)}
