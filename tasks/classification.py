"""One label per example: logits [B, num_classes] against indices [B] or probabilities."""

import tensorflow as tf

from model import Task, label_loss, label_metrics


class Classification(Task):
    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.label_loss = label_loss(config, spec)
        self.outputs = ([spec.num_classes],)

    def loss(self, targets, logits):
        return self.label_loss(targets, logits, self.config.label_smoothing)

    def metrics(self, training):
        return label_metrics(self.config, self.spec, training)

    def predict(self, model, inputs):
        probabilities = tf.nn.softmax(model(inputs, training=False))
        return {
            "label": tf.argmax(probabilities, axis=-1),
            "probability": tf.reduce_max(probabilities, axis=-1),
        }
