"""Images from damaged ones, or from themselves: outputs of the targets' shape.

`psnr`: signal-to-noise ratio in dB; `psnr_gain`: how much above that of the inputs, where these
have the targets' shape too.
"""

import tensorflow as tf

from model import Task, mean_of
from tasks import metrics


class Reconstruction(Task):
    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.outputs = (spec.target_shape,)
        self.error_loss = {"mse": tf.square, "mae": tf.abs}[config.loss]

    def call(self, model, batch, training):
        inputs = batch["inputs"]
        return {"images": model(inputs, training=training), "inputs": inputs}

    def loss(self, targets, outputs):
        losses = self.error_loss(outputs["images"] - targets)
        return metrics.mean_per_example(losses)

    def metrics(self, training):
        metrics = {"psnr": mean_of(self.psnr)}
        if self.spec.input_shape == self.spec.target_shape:
            metrics["psnr_gain"] = mean_of(self.gain)
        return metrics

    def psnr(self, targets, outputs):
        return metrics.psnr(outputs["images"], targets, self.config.peak)

    def gain(self, targets, outputs):
        psnr_of_inputs = metrics.psnr(outputs["inputs"], targets, self.config.peak)
        return self.psnr(targets, outputs) - psnr_of_inputs

    def predict(self, model, inputs):
        return {"images": model(inputs, training=False)}
