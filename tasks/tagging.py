"""One label per item of a sequence: logits [B, T, num_classes] against indices [B, T].

`sequence_accuracy`: share of the sequences all of whose items are right.
"""

import keras
import tensorflow as tf

from model import Ratio, Task, label_loss, label_metrics
from tasks.metrics import correct_sequences, labels_of


class Tagging(Task):
    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.label_loss = label_loss(config, spec)
        self.outputs = ([*spec.target_shape, spec.num_classes],)

    def loss(self, targets, logits):
        return self.label_loss(targets, logits, self.config.label_smoothing)

    def metrics(self, training):
        metrics = label_metrics(self.config, self.spec, training)
        metrics = {name: PerItem(metric) for name, metric in metrics.items()}
        return metrics | {"sequence_accuracy": Ratio(self.sequences)}

    def sequences(self, targets, logits, weight):
        correct = tf.cast(tf.argmax(logits, axis=-1) == labels_of(targets), tf.float32)
        return correct_sequences(correct, weight)

    def predict(self, model, inputs):
        return {"labels": tf.argmax(model(inputs, training=False), axis=-1)}


class PerItem(keras.metrics.Metric):
    """A metric of items in one row, updated with sequences: [B, T] -> [B * T]."""

    def __init__(self, metric: keras.metrics.Metric):
        super().__init__()
        self.metric = metric

    def update_state(self, targets, logits, sample_weight):
        items = tf.reshape(logits, [-1, logits.shape[-1]])
        self.metric.update_state(tf.reshape(targets, [-1]), items, tf.reshape(sample_weight, [-1]))

    def result(self):
        return self.metric.result()
