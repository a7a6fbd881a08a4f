"""The operations of the tests of the machinery, on inputs [n, ...] of any shape."""

import math

import tensorflow as tf

from engine.stateless import uniform


def tiny_scale(features, seeds, config):
    """Inputs of any type -> float32, times the factor."""
    return features | {"inputs": tf.cast(features["inputs"], tf.float32) * config.factor}


def tiny_clip(features, seeds, config):
    """Inputs of any type -> the same type, none above the bound."""
    inputs = features["inputs"]
    return features | {"inputs": tf.minimum(inputs, tf.cast(config.high, inputs.dtype))}


def tiny_noise(features, seeds, config):
    """Adds uniform noise to float32 inputs, a function of each example's seed alone."""
    shape = features["inputs"].shape[1:]
    draws = tf.range(math.prod(shape))
    noise = uniform(seeds[:, tf.newaxis], draws, -config.scale, config.scale)
    return features | {"inputs": features["inputs"] + tf.reshape(noise, [-1, *shape])}
