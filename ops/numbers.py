"""Scaling of numbers of any shape [n, ..., channels]; what comes out is float32.

`standardize` and `min_max` may be measured on the training examples; `undo_<name>` takes targets
back to their own units.
"""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from cli.program import ConfigError
from ops import features as expected
from ops.features import on_numbers
from train_config import Undo


@on_numbers
def scale(inputs, seeds, config):
    return inputs / config.by


def undo_scale(config):
    return Undo(scale=[config.by], offset=[0.0])


@on_numbers
def scale_to_one(inputs, seeds, config):
    return inputs / 127.5 - 1.0


def undo_scale_to_one(config):
    return Undo(scale=[127.5], offset=[127.5])


# ---- ImageNet's statistics

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@on_numbers
def imagenet(inputs, seeds, config):
    if inputs.shape[-1] != 3:
        raise ConfigError(f"imagenet: expected 3 channels, got inputs of shape {inputs.shape[1:]}")
    return (inputs / 255.0 - tf.constant(_IMAGENET_MEAN)) / tf.constant(_IMAGENET_STD)


def undo_imagenet(config):
    return Undo(
        scale=[255.0 * std for std in _IMAGENET_STD],
        offset=[255.0 * mean for mean in _IMAGENET_MEAN],
    )


# ---- statistics of each channel


def standardize(features, seeds, config):
    for name, values, mean, std in _per_channel(features, config, "mean", "std"):
        features = features | {name: (values - mean) / std}
    return features


def undo_standardize(config):
    return Undo(scale=config.std, offset=config.mean)


def measure_standardize(config, batches):
    """Chan, Golub, LeVeque, Updating formulae for variances, 1979."""
    count = 0
    mean = 0.0
    squares = 0.0
    for values in _channels(config, batches):
        size = len(values)
        batch_mean = values.mean(axis=0)
        shift = batch_mean - mean
        squares += ((values - batch_mean) ** 2).sum(axis=0)
        squares += shift**2 * count * size / (count + size)
        mean += shift * size / (count + size)
        count += size
    std = np.sqrt(squares / count)
    std = np.where(std > 0, std, 1.0)  # a constant becomes 0
    return config.model_copy(update={"mean": mean.tolist(), "std": std.tolist()})


def min_max(features, seeds, config):
    for name, values, low, high in _per_channel(features, config, "low", "high"):
        features = features | {name: (values - low) / (high - low)}
    return features


def undo_min_max(config):
    return Undo(scale=np.subtract(config.high, config.low).tolist(), offset=config.low)


def measure_min_max(config, batches):
    low = np.inf
    high = -np.inf
    for values in _channels(config, batches):
        low = np.minimum(low, values.min(axis=0))
        high = np.maximum(high, values.max(axis=0))
    high = np.where(high > low, high, low + 1)
    return config.model_copy(update={"low": low.tolist(), "high": high.tolist()})


def _per_channel(features, config, *keys: str) -> Iterator[tuple]:
    """(name, float32 values, numbers of each field) of the features that are meant."""
    for name in config.changes:
        values = expected.numbers(features, config, name)
        is_scalar = values.shape.rank < 2
        channels = 1 if is_scalar else values.shape[-1]
        numbers = []
        for key in keys:
            given = getattr(config, key)
            if len(given) not in (1, channels):
                raise ConfigError(
                    f"{config.name}: {key}: expected 1 or {channels} values, one per channel, "
                    f"got {len(given)}"
                )
            numbers.append(tf.constant(given))
        yield name, values, *(number[0] if is_scalar else number for number in numbers)


def _channels(config, batches) -> Iterator[np.ndarray]:
    """float64 [items, channels] of each batch."""
    for batch in batches:
        values = expected.numbers(batch, config, config.changes[0])
        values = values.numpy().astype(np.float64)
        yield values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1)


# ---- logarithm


@on_numbers
def log(inputs, seeds, config):
    return tf.math.log(inputs + config.plus)


def undo_log(config):
    return Undo(scale=[1.0], offset=[0.0], log_plus=config.plus)
