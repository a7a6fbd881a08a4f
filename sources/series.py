"""Sliding windows over the number columns of a CSV file, in time; the latest rows are held out.

    month,sunspots
    1749-01,58.0

A record: {"inputs": float32 [window + horizon, columns]}; the operation `window` splits off the
`horizon` rows that are to be forecast. A window belongs to the split that these lie in, because
earlier rows are known by then.
"""

import hashlib
from pathlib import Path

import numpy as np
import tensorflow as tf

from cli.program import DataError
from data_loader import BUNDLED, Source
from sources import splits
from sources.tables import Table


def load(config, split, directory) -> Source:
    path = Path(directory or "", config.file) if config.file else BUNDLED / "sunspots_monthly.csv"
    table = Table(path)
    columns = config.columns or table.names[1:]
    table.require(columns)
    values = table.numbers(columns)
    rows = splits.in_order(path, split, config, len(table))
    length = config.window + config.horizon
    starts = np.arange(max(0, rows[0] - config.window), rows[-1] + 2 - length)
    if not len(starts):
        raise DataError(
            f"{path}: {split}: expected at least {length} rows for one window, got {len(rows)}"
        )
    series = tf.constant(values)

    def read(indices):
        window = tf.gather(starts, indices)[:, tf.newaxis] + np.arange(length)
        return {"inputs": tf.gather(series, window)}

    digest = hashlib.sha256(values.tobytes() + starts.tobytes() + str(length).encode())
    return Source(
        "series",
        len(starts),
        read,
        (),
        digest.hexdigest(),
        lambda index: f"{path}:{table.lines[starts[index]]}",
    )
