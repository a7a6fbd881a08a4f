"""Columns of tables and of series.

`window` takes inputs [n, steps, columns]; `encode_categories` takes inputs [n, columns] and
`categories`, string [n, text columns]; `fill` takes inputs [n, columns] and `missing`, float32 of
the same shape, 1 where a cell has no value and its input is 0.
"""

from collections import defaultdict

import numpy as np
import tensorflow as tf

from cli.program import ConfigError, DataError
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


def fill(features, seeds, config):
    """Inputs float32 [n, columns], or [n, 2 * columns] with `indicator`."""
    if "missing" not in features:
        raise ConfigError("fill: expected a table with `missing: keep`; this data set has none")
    missing = features["missing"]
    columns = missing.shape[1]
    if len(config.values) not in (1, columns):
        raise ConfigError(
            f"fill: values: expected 1 or {columns}, one per column, got {len(config.values)}"
        )
    inputs = features["inputs"] + missing * tf.constant(config.values, tf.float32)
    if config.indicator:
        inputs = tf.concat([inputs, missing], axis=1)
    features = features | {"inputs": inputs}
    del features["missing"]
    return features


def measure_fill(config, batches):
    values = []
    missing = []
    for batch in batches:
        if "missing" not in batch:
            raise ConfigError("fill: expected a table with `missing: keep`; this data set has none")
        values.append(batch["inputs"].numpy())
        missing.append(batch["missing"].numpy())
    values = np.where(np.concatenate(missing) > 0, np.nan, np.concatenate(values))
    empty = np.flatnonzero(np.isnan(values).all(axis=0))
    if len(empty):
        raise DataError(
            f"fill: column {empty[0]}, from 0, has no value in the training examples; `ignore` it"
        )
    statistic = {"mean": np.nanmean, "median": np.nanmedian, "most_frequent": _most_frequent}
    found = statistic[config.statistic](values.astype(np.float64), axis=0)
    return config.model_copy(update={"values": found.tolist()})


def _most_frequent(values, axis: int):
    """The smallest of the most frequent numbers of each column, [rows, columns] with NaN."""
    modes = []
    for column in np.moveaxis(values, axis, -1):
        numbers, counts = np.unique(column[~np.isnan(column)], return_counts=True)
        modes.append(numbers[counts.argmax()])
    return np.array(modes)


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
