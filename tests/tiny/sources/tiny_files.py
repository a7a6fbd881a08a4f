"""A data set in files, each read when its example is asked for: DIR/<split>/<number>.txt.

Of seven numbers, the first six are the inputs and the last is the class: 0, 1 or 2. `write_files`
makes a sound set.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf

from cli.program import DataError
from data_loader import NoSplit, Source, in_python

SPECS = {"inputs": tf.TensorSpec([6], tf.float32), "targets": tf.TensorSpec([], tf.int64)}


def write_files(directory: Path, size: int = 24, splits=("train", "valid")) -> None:
    """`size` files in each split."""
    random = np.random.default_rng(1)
    centers = random.normal(size=(3, 6))
    for split in splits:
        (Path(directory) / split).mkdir(parents=True)
        for number in range(size):
            row = centers[number % 3] + random.normal(scale=0.5, size=6)
            text = " ".join(f"{value:.3f}" for value in [*row, number % 3])
            (Path(directory) / split / f"{number}.txt").write_text(text)


def load(config, split: str, directory) -> Source:
    folder = Path(directory or "") / split
    if not folder.parent.is_dir():
        raise DataError(f"{folder.parent}: no such directory; expected one directory per split")
    if not folder.is_dir():
        raise NoSplit(f"{folder}: no such directory; expected numbered text files")
    paths = [folder / f"{number}.txt" for number in range(len(list(folder.iterdir())))]

    def read_files(indices):
        rows = np.array([_read(paths[index]) for index in indices], np.float32)
        return rows[:, :6], rows[:, 6].astype(np.int64)

    def read(indices):
        return in_python(read_files, indices, SPECS)

    names = ("class 0", "class 1", "class 2")
    fingerprint = f"{split}: {len(paths)} files"
    locate = [str(path) for path in paths].__getitem__
    return Source("tiny_files", len(paths), read, names, fingerprint, locate)


def _read(path: Path) -> list[float]:
    try:
        return [float(word) for word in path.read_text().split()]
    except ValueError as error:
        raise DataError(f"{path}: expected seven numbers: {error}") from error
