"""The binary version of CIFAR: rows of label bytes and 3,072 bytes, all red, then green, then blue.

A. Krizhevsky, Learning multiple layers of features from tiny images, 2009.
"""

from pathlib import Path

import numpy as np

from cli.program import DataError
from data_loader import BUNDLED, Source, from_arrays
from engine.safe_files import lines_of


def paths_of(name: str, directory: str | None, inner: str, files: list[str]) -> list[Path]:
    """The files, in the directory itself or in the one that unpacking the archive makes."""
    outer = Path(directory or BUNDLED / name)
    folder = outer if (outer / files[0]).is_file() else outer / inner
    paths = [folder / file for file in files]
    for path in paths:
        if not path.is_file():
            raise DataError(
                f"{outer / path.name}: no such file; "
                f"unpack cifar-{name.removeprefix('cifar')}-binary.tar.gz from "
                "https://www.cs.toronto.edu/~kriz/cifar.html, data.dir=DIR"
            )
    return paths


def names_in(path: Path, default: list[str]) -> list[str]:
    """The class names of a file beside the images, if it is there and has as many."""
    if not path.is_file():
        return default
    names = [name for _, line in lines_of(path) for name in line.split()]
    return names if len(names) == len(default) else default


def labeled_images(
    name: str, paths: list[Path], class_names: list[str], label_bytes: int, label_at: int
) -> Source:
    """Images uint8 [n, 32, 32, 3] and one of the labels of each."""
    row = label_bytes + 3072
    rows = []
    for path in paths:
        size = path.stat().st_size
        if size % row or not size:
            raise DataError(f"{path}: expected a multiple of {row} bytes, got {size:,}")
        rows.append(np.fromfile(path, np.uint8).reshape(-1, row))
    begins = np.cumsum([0, *map(len, rows)])

    def locate(index: int) -> str:
        file = np.searchsorted(begins, index, side="right") - 1
        return f"{paths[file]}: record {index - begins[file]}"

    rows = np.concatenate(rows)
    planes = rows[:, label_bytes:].reshape(-1, 3, 32, 32)
    features = {
        "inputs": planes.transpose(0, 2, 3, 1),
        "targets": rows[:, label_at].astype(np.int64),
    }
    return from_arrays(name, features, class_names, locate)
