"""What the targets are: class indices as vectors, or the inputs themselves."""

import tensorflow as tf

from cli.program import ConfigError


def one_hot(features, seeds, config, *, num_classes: int):
    """Targets int [n, ...] -> float32 [n, ..., num_classes]."""
    targets = features["targets"]
    got = targets.dtype
    if not got.is_integer:
        raise ConfigError(f"one_hot: expected class indices in the targets, got {got.name}")
    return features | {"targets": tf.one_hot(targets, num_classes)}


def inputs_as_targets(features, seeds, config):
    return features | {"targets": features["inputs"]}


def undo_targets_inputs_as_targets(config, undo):
    return undo
