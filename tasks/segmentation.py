"""One class per pixel: logits [B, H, W, num_classes] against indices [B, H, W].

Each pixel is an item with a weight of its own; what is ignored in a mask weighs nothing.
"""

import tensorflow as tf

from cli.program import ConfigError
from model import Task, label_loss, label_metrics
from tasks.metrics import PerItem

_CURE = "add the operation `mask_as_targets`"


class Segmentation(Task):
    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.label_loss = label_loss(config, spec)
        if len(spec.target_shape) != 2 or not spec.target_dtype.startswith("int"):
            got = f"{spec.target_dtype} of shape {spec.target_shape}"
            raise ConfigError(
                f"task: segmentation: expected a class for each pixel, got {got}; {_CURE}"
            )
        self.outputs = ([*spec.target_shape, spec.num_classes],)

    def call(self, model, batch, training):
        if batch["sample_weight"].shape.rank != 3:
            raise ConfigError(f"task: segmentation: expected a weight for each pixel; {_CURE}")
        return super().call(model, batch, training)

    def loss(self, targets, logits):
        return self.label_loss(targets, logits, self.config.label_smoothing)

    def metrics(self, training):
        metrics = label_metrics(self.config, self.spec, training)
        return {name: PerItem(metric) for name, metric in metrics.items()}

    def predict(self, model, inputs):
        return {"labels": tf.argmax(model(inputs, training=False), axis=-1)}
