"""A NumPy archive: arrays `x_train`, `y_train`, ... (also valid, test), or `x`, `y` to be divided.

    np.savez("digits.npz", x=images, y=labels)

A record: {"inputs": uint8 [...] if x is, else float32 [...]; "targets": int64 [], a class;
           or float32 [...], with `targets: numbers`}
"""

from pathlib import Path

import numpy as np

from cli.program import DataError
from data_loader import SPLITS, Source, from_arrays
from engine.safe_files import read_npz
from sources import splits

_MAX_CLASSES = 1_000_000


def load(config, split, directory) -> Source:
    path = Path(directory or "", config.file)
    arrays = read_npz(path, DataError)
    in_one_piece = f"x_{split}" not in arrays
    suffix = "" if in_one_piece else f"_{split}"
    x = f"x{suffix}"
    y = f"y{suffix}"
    inputs, targets = _pair(path, arrays, x, y, split)
    class_names = []
    if config.targets == "classes":
        numbers = _class_numbers(path, arrays, y)
        class_names = config.class_names or numbers
        targets = targets.astype(np.int64)
        if targets.shape[1:] == (1,):
            targets = targets[:, 0]
    else:
        targets = _float32(targets)
    if inputs.dtype != np.uint8:
        inputs = _float32(inputs)
    rows = np.arange(len(inputs))
    if in_one_piece:
        classes = targets if class_names and targets.ndim == 1 else ()
        rows = splits.by_key(path, split, config, rows, classes)
    features = {"inputs": inputs[rows], "targets": targets[rows]}
    return from_arrays("npz", features, class_names, lambda index: f"{path}: row {rows[index]}")


def _pair(path, arrays, x, y, split) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets. Raises DataError unless they are numbers, of one length, not empty."""
    if x == "x" and not {x, y} <= arrays.keys():
        raise DataError(
            f"{path}: expected the arrays x_{split} and y_{split}, or x and y, "
            f"got {', '.join(sorted(arrays)) or 'none'}"
        )
    if y not in arrays:
        raise DataError(f"{path}: expected the array {y}, got none")
    for name in (x, y):
        array = arrays[name]
        if array.dtype.kind not in "biuf" or not array.shape:
            raise DataError(
                f"{path}: {name}: expected an array of numbers, "
                f"got {array.dtype} of shape {array.shape}"
            )
    inputs = arrays[x]
    targets = arrays[y]
    if len(inputs) != len(targets):
        raise DataError(
            f"{path}: expected {x} and {y} of one length, got {len(inputs)} and {len(targets)}"
        )
    if not inputs.size or not targets.size:
        raise DataError(
            f"{path}: expected at least one example, got {x} {inputs.shape} and {y} {targets.shape}"
        )
    return inputs, targets


def _class_numbers(path, arrays, y) -> list[str]:
    """From 0 to the highest class of any split."""
    if arrays[y].dtype.kind == "f":
        raise DataError(
            f"{path}: {y}: expected whole numbers as classes, "
            f"got {arrays[y].dtype}; or targets: numbers"
        )
    labels = [arrays[name] for name in ("y", *map("y_{}".format, SPLITS)) if name in arrays]
    highest = max(int(array.max()) for array in labels if array.size and array.dtype.kind in "biu")
    if highest > _MAX_CLASSES:  # an identifier, a time: its classes would fill the memory
        raise DataError(f"{path}: expected at most {_MAX_CLASSES:,} classes, got a class {highest}")
    return [str(number) for number in range(highest + 1)]


def _float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # to inf, which from_arrays refuses
        return array.astype(np.float32)
