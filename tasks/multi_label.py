"""Any number of labels per example: logits [B, L] against targets [B, L] of 0 and 1.

Loss and accuracy are means over labels.
"""

import math

import tensorflow as tf

from cli.program import ConfigError
from model import Ratio, Task, mean_of


class MultiLabel(Task):
    def __init__(self, config, spec):
        super().__init__(config, spec)
        if len(spec.target_shape) != 1 or spec.num_classes:
            raise ConfigError(
                "task: multi_label: expected a row of 0 and 1 as the targets of each example, "
                f"got {spec.target_dtype} of shape {spec.target_shape}"
            )
        self.outputs = (spec.target_shape,)
        odds = config.threshold / (1 - config.threshold)
        self.threshold = math.log(odds)  # of logits

    def loss(self, targets, logits):
        targets = tf.cast(targets, logits.dtype)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
        return tf.reduce_mean(losses, axis=-1)

    def metrics(self, training):
        return {"accuracy": mean_of(self.accuracy), "f1": Ratio(self.f1)}

    def accuracy(self, targets, logits):
        correct = (logits > self.threshold) == (targets > 0)
        return tf.reduce_mean(tf.cast(correct, tf.float32), axis=-1)

    def f1(self, targets, logits, weight):
        """2 tp / (2 tp + fp + fn), over all labels of all examples (micro)."""
        positive = tf.cast(targets > 0, tf.float32)
        predicted = tf.cast(logits > self.threshold, tf.float32)
        hits = 2.0 * tf.reduce_sum(positive * predicted, axis=-1)
        total = tf.reduce_sum(positive + predicted, axis=-1)
        return weight * hits, weight * total

    def predict(self, model, inputs):
        probabilities = tf.sigmoid(model(inputs, training=False))
        labels = tf.cast(probabilities > self.config.threshold, tf.int32)
        return {"labels": labels, "probabilities": probabilities}
