"""One label per item of a sequence: logits [B, T, num_classes] against indices [B, T].

`sequence_accuracy`: share of the sequences all of whose items are right.
"""

import tensorflow as tf

from model import Ratio, Task, label_loss, label_metrics
from tasks.metrics import PerItem, accuracy


class Tagging(Task):
    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.label_loss = label_loss(config, spec)
        self.outputs = ([*spec.target_shape, spec.num_classes],)

    def loss(self, targets, logits):
        return self.label_loss(targets, logits, self.config.label_smoothing)

    def metrics(self, training):
        metrics = label_metrics(self.config, self.spec, training)
        per_item = {name: PerItem(metric) for name, metric in metrics.items()}
        return per_item | {"sequence_accuracy": Ratio(self.sequences)}

    def sequences(self, targets, logits, weight):
        """Weight [B] of the sequences all of whose items that count are correct, and of all."""
        correct = tf.where(weight > 0, accuracy(targets, logits), 1.0)  # (B, T)
        sequence_weight = tf.reduce_max(weight, axis=1)
        return sequence_weight * tf.reduce_min(correct, axis=1), sequence_weight

    def predict(self, model, inputs):
        return {"labels": tf.argmax(model(inputs, training=False), axis=-1)}
