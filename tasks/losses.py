"""Losses, unreduced: for labels by their names, and of numbers.

`task.loss: focal` is the function `focal(targets, logits, smoothing)` here and a class below
`LabelLoss` in `model_config.py`. Targets are class indices [...] or probabilities
[..., num_classes], logits [..., num_classes]; `smoothing` is the share of each target that is
spread over all classes. It returns [...].
"""

import tensorflow as tf


def probabilities_of(targets, logits, smoothing: float):
    """Smoothed target probabilities [..., num_classes]."""
    num_classes = logits.shape[-1]
    if targets.dtype.is_integer:
        targets = tf.one_hot(targets, num_classes, dtype=logits.dtype)
    return (1 - smoothing) * targets + smoothing / num_classes


def cross_entropy(targets, logits, smoothing: float):
    """-sum(p log q) of target probabilities p and predicted q."""
    if targets.dtype.is_integer and not smoothing:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    probabilities = probabilities_of(targets, logits, smoothing)
    return tf.nn.softmax_cross_entropy_with_logits(probabilities, logits)


def focal(targets, logits, smoothing: float):
    """Cross entropy times (1 - q)^2, so that easy items weigh little.

    Lin et al., Focal loss, 2017, section 3.2.
    """
    probabilities = probabilities_of(targets, logits, smoothing)
    logs = tf.nn.log_softmax(logits)
    weights = tf.square(1.0 - tf.exp(logs))
    return -tf.reduce_sum(probabilities * weights * logs, axis=-1)


# ---- numbers: the loss of each error


def huber(error, delta: float):
    """error^2 / 2 up to delta, delta * (|error| - delta / 2) beyond.

    Huber, Robust estimation of a location parameter, 1964.
    """
    size = tf.abs(error)
    squared = 0.5 * tf.square(error)
    straight = delta * (size - 0.5 * delta)
    return tf.where(size <= delta, squared, straight)
