"""Points in pictures: outputs [B, K, 2] or [B, 2 K] against x and y in pixels [B, K, 2].

A network says where a point is by its share of the picture: -1 is the left or upper edge, 1 the
right or lower one. Each point is an item; one that is not visible weighs nothing.
`pck`: share of the points that are at most `threshold` of the larger side away (percentage of
correct keypoints; Yang, Ramanan, Articulated human detection, 2013, section 7).
"""

from functools import partial

import tensorflow as tf

from cli.program import ConfigError
from model import Task, mean_of
from tasks import losses

_CURE = "add the operation `points_as_targets`"


class Keypoints(Task):
    def __init__(self, config, spec):
        super().__init__(config, spec)
        shape = spec.target_shape
        is_image = len(spec.input_shape) == 3 and None not in spec.input_shape
        if not is_image or len(shape) != 2 or shape[1] != 2 or "float" not in spec.target_dtype:
            raise ConfigError(
                "task: keypoints: expected images of one size with targets [points, 2], got inputs "
                f"of shape {spec.input_shape}, {spec.target_dtype} targets of {shape}; {_CURE}"
            )
        self.outputs = ([2 * shape[0]], shape)
        height, width, _ = spec.input_shape
        self.size = [float(width), float(height)]
        self.side = max(self.size)
        losses_of_errors = {
            "mse": tf.square,
            "mae": tf.abs,
            "huber": partial(losses.huber, delta=config.delta),
        }
        self.error_loss = losses_of_errors[config.loss]

    def call(self, model, batch, training):
        if batch["sample_weight"].shape.rank != 2:
            raise ConfigError(f"task: keypoints: expected a weight for each point; {_CURE}")
        return super().call(model, batch, training)

    def pixels(self, outputs):
        """[B, K, 2]: whole numbers are centers of pixels."""
        shares = tf.reshape(outputs, [-1, *self.spec.target_shape])
        return (shares + 1.0) / 2.0 * tf.constant(self.size, shares.dtype) - 0.5

    def loss(self, targets, outputs):
        errors = (self.pixels(outputs) - targets) / (self.side / 2.0)
        return tf.reduce_sum(self.error_loss(errors), axis=-1)

    def metrics(self, training):
        return {"mean_error": mean_of(self.distances), "pck": mean_of(self.is_near)}

    def distances(self, targets, outputs):
        """In pixels: [B, K]."""
        return tf.norm(self.pixels(outputs) - targets, axis=-1)

    def is_near(self, targets, outputs):
        near = self.distances(targets, outputs) <= self.config.threshold * self.side
        return tf.cast(near, tf.float32)

    def predict(self, model, inputs):
        return {"points": self.pixels(model(inputs, training=False))}
