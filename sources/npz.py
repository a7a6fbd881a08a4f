"""NumPy arrays: `x_train`, `y_train`, ... (also valid, test), or `x`, `y` to be divided.

    np.savez("digits.npz", x=images, y=labels)

A record: {"inputs": uint8 [...] if x is, else float32 [...]; "targets": int64 [], a class;
           or float32 [...], with `targets: numbers`; "sample_weight": float32 [], if asked for}
Images [height, width] get an axis of channels; channels that come first are put last.
"""

from pathlib import Path

import numpy as np

from cli.program import DataError
from data_loader import SPLITS, Source, from_arrays
from sources import example_weights, splits
from sources.array_files import Arrays, described
from sources.array_labels import classes_of
from sources.array_names import Pair, pairs_of

_SMALLEST_SIDE = 8  # of an image, in pixels; a shorter axis may be anything
_EXACT = 1 << 24  # whole numbers up to this have a float32 of their own


def load(config, split, directory) -> Source:
    stored = Arrays(Path(directory or "", config.file))
    pairs, notes = pairs_of(stored, config)
    place = _place_of(stored, pairs, split, config)
    pair = pairs[place.split]
    for each in pairs.values():
        _check(stored, each)
    _check_alike(stored, pairs)
    class_names = ()
    if config.targets == "classes":
        classes = classes_of(stored, list(pairs.values()), pair, config.class_names)
        class_names, targets = classes.names, classes.numbers
        notes += classes.notes
    else:
        targets = _numbers(stored, pair.y, notes)
    features = {"inputs": _inputs(stored, pair.x, config.images, notes), "targets": targets}
    if pair.weights:
        features["sample_weight"] = example_weights.checked(
            stored.arrays[pair.weights],
            len(targets),
            stored.path,
            pair.weights,
            lambda row: stored.locate(pair.x, row),
        )
    rows = np.arange(len(targets))
    if place.shares:
        strata = targets if class_names and targets.ndim == 1 else ()
        rows = splits.by_key(stored.path, split, place.shares, rows, strata)
    return from_arrays(
        "npz",
        {key: array[rows] for key, array in features.items()},
        class_names,
        lambda index: stored.locate(pair.x, rows[index]),
        {"inputs": [pair.x], "targets": [pair.y]},
        [*place.notes, *notes],
    )


def _place_of(stored: Arrays, pairs: dict[str, Pair], split: str, config) -> splits.Stored:
    """Where a split lies; data without a split, beside a test set, are for training."""
    if "" in pairs and len(pairs) > 1:
        pairs.setdefault("train", pairs.pop(""))
    names = [name for name in SPLITS if name in pairs]
    if split in names and "train" not in names:
        return splits.Stored(split, None)
    place = splits.stored_split(stored.path, split, config, names)
    if place.split not in pairs:
        raise DataError(
            f"{stored.path}: expected the arrays x_{split} and y_{split}, or x and y, "
            f"got {stored}; name them, x: NAME, y: NAME"
        )
    return place


def _check(stored: Arrays, pair: Pair) -> None:
    """Raises DataError unless inputs and targets are plain, of one length, not empty."""
    for name, kinds in ((pair.x, "biuf"), (pair.y, "biufSU")):
        array = stored.arrays[name]
        if array.dtype.kind not in kinds or not array.shape:
            raise DataError(
                f"{stored.path}: {name}: expected an array of numbers, "
                f"got {array.dtype} of shape {array.shape}"
            )
    x, y = stored.arrays[pair.x], stored.arrays[pair.y]
    if len(x) != len(y):
        raise DataError(
            f"{stored.path}: expected {pair.x} and {pair.y} of one length, "
            f"got {len(x)} and {len(y)}"
        )
    if not x.size or not y.size:
        raise DataError(
            f"{stored.path}: expected at least one example, "
            f"got {pair.x} {x.shape} and {pair.y} {y.shape}"
        )


def _check_alike(stored: Arrays, pairs: dict[str, Pair]) -> None:
    """Raises DataError for bytes in one split and numbers, scaled perhaps, in another."""
    dtypes = {stored.arrays[pair.x].dtype == np.uint8 for pair in pairs.values()}
    if len(dtypes) > 1:
        found = ", ".join(f"{pair.x} {stored.arrays[pair.x].dtype}" for pair in pairs.values())
        raise DataError(f"{stored.path}: expected inputs of one type in all splits, got {found}")


def _inputs(stored: Arrays, x: str, are_images: bool | None, notes: list[str]) -> np.ndarray:
    """uint8 or float32 [n, ...]"""
    array = stored.arrays[x]
    shape = array.shape
    sides = shape[2:] if len(shape) == 4 else shape[1:]
    may_be_images = len(sides) == 2 and min(sides) >= _SMALLEST_SIDE
    if are_images and len(shape) not in (3, 4):
        raise DataError(f"{stored.path}: {x}: expected images, got {described(array)}")
    if are_images is None and not may_be_images:
        are_images = False
    channels_first = len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3, 4)
    if channels_first and are_images is not False:
        array = np.moveaxis(array, 1, -1)
        notes.append(f"{x}: channels put last, {list(shape[1:])} -> {list(array.shape[1:])}")
    if len(shape) == 3 and (are_images or (are_images is None and array.dtype == np.uint8)):
        array = array[..., np.newaxis]
        notes.append(f"{x}: images [{shape[1]}, {shape[2]}] with an axis of one channel added")
    elif len(shape) == 3 and are_images is None and shape[1] == shape[2]:
        notes.append(f"{x}: {described(array)} taken as it is; images? `images: true`")
    return array if array.dtype == np.uint8 else _float32(array, x, notes)


def _numbers(stored: Arrays, y: str, notes: list[str]) -> np.ndarray:
    array = stored.arrays[y]
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{stored.path}: {y}: expected numbers, got {array.dtype}; or targets: classes"
        )
    return _float32(array, y, notes)


def _float32(array: np.ndarray, name: str, notes: list[str]) -> np.ndarray:
    with np.errstate(over="ignore"):  # to inf, which from_arrays refuses
        numbers = array.astype(np.float32)
    if array.dtype.kind in "iu" and array.dtype.itemsize > 2:
        large = np.argwhere((array > _EXACT) | (array < -_EXACT))
        rounded = [at for at in map(tuple, large) if int(numbers[at]) != int(array[at])]
        if rounded:
            notes.append(
                f"{name}: {len(rounded)} whole numbers rounded, because float32 does not hold "
                f"them: {array[rounded[0]]}, ..."
            )
    return numbers
