"""The task of the tests of the machinery: one label for each item."""

from model import Task, label_loss, label_metrics


class TinyLabels(Task):
    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.label_loss = label_loss(config, spec)
        self.outputs = ([*spec.target_shape, spec.num_classes],)

    def loss(self, targets, logits):
        return self.label_loss(targets, logits, self.config.label_smoothing)

    def metrics(self, training):
        return label_metrics(self.config, self.spec, training)

    def predict(self, model, inputs):
        return {"logits": model(inputs, training=False)}
