"""Columns of tables and of series.

`window` takes inputs [n, steps, columns]; `encode_categories` takes inputs [n, columns] and
`categories`, string [n, text columns].
"""

from collections import defaultdict

import tensorflow as tf

from cli.program import ConfigError
from ops import features as expected


def window(features, seeds, config):
    """Inputs [n, steps - horizon, columns], targets [n, horizon]."""
    series = features["inputs"]
    horizon = config.horizon
    column = config.column
    if series.shape.rank != 3 or horizon >= series.shape[1] or column >= series.shape[2]:
        raise ConfigError(
            "window: expected series [steps, columns] of more than "
            f"{horizon} steps and {column} columns, got inputs of shape {series.shape[1:]}"
        )
    return features | {"inputs": series[:, :-horizon], "targets": series[:, -horizon:, column]}


def undo_targets_window(config, undo):
    def of_column(numbers: list[float]) -> list[float]:
        return numbers[config.column : config.column + 1] or numbers  # the latter: one for all

    return [
        step.model_copy(update={"scale": of_column(step.scale), "offset": of_column(step.offset)})
        for step in undo
    ]


def encode_categories(features, seeds, config):
    """Inputs float32 [n, columns + categories]."""
    encoded = [expected.numbers(features, config)]
    for column, names in enumerate(config.categories):
        text = _categories(features)[:, column, tf.newaxis]
        encoded.append(tf.cast(text == tf.constant(names), tf.float32))  # (n, names)
    features = features | {"inputs": tf.concat(encoded, axis=1)}
    del features["categories"]
    return features


def measure_encode_categories(config, batches):
    columns = defaultdict(set)
    for batch in batches:
        for column, texts in enumerate(_categories(batch).numpy().T):
            columns[column].update(texts)
    categories = [sorted(map(bytes.decode, texts)) for texts in columns.values()]
    return config.model_copy(update={"categories": categories})


def _categories(features):
    if "categories" not in features:
        raise ConfigError("encode_categories: expected text columns; this data set has none")
    return features["categories"]
