"""Examples of your own, without a file: arrays, a tf.data.Dataset or a generator, in memory.

    train_and_evaluate(load_config("mine.yaml"), "runs/mine", data={"train": source_from((x, y)),
                                                                    "valid": source_from((u, v))})

with `data: {train: given}` in the configuration. A data set or a generator is read once, to its
end, so that every example has an index and a run resumes as with files.

A record: {"inputs": uint8 [...], float32 [...], int32 [...] or text; "targets", if there are any:
           int64 [] or [...], a class, float32 [...] or text; what else is given, such as
           "sample_weight", float32 []}
"""

from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

import data_loader
from cli.program import DataError
from data_loader import Source, from_arrays

MOST_BYTES = 2 << 30  # of what is read into memory from a data set or a generator
_MAX_CLASSES = 1_000_000
_CURE = "np.savez and `npz`, or preprocess_data.py and `records`"


def load(config, split, directory) -> Source:
    return data_loader.given(split)


def source_from(examples, class_names: Iterable[str], name: str) -> Source:
    """See data_loader.source_from. Targets that are whole numbers, or text with names, are classes.

    Raises DataError for what cannot be examples of one shape and type.
    """
    notes = []
    if isinstance(examples, tf.data.Dataset):
        _check_dataset(name, examples)
        examples = examples.as_numpy_iterator()
    elif callable(examples):
        examples = iter(examples())
    if isinstance(examples, Iterator):
        features = _read(name, examples)
        notes.append(_size_of(features))
    else:
        features = _named(name, examples)
    arrays = {key: _array(name, key, value) for key, value in features.items()}
    lengths = {key: len(array) for key, array in arrays.items()}
    if 0 in lengths.values():
        raise DataError(f"{name}: expected at least one example, got {lengths}")
    class_names = list(class_names)
    if "targets" in arrays:
        arrays["targets"], class_names, note = _classes(name, arrays["targets"], class_names)
        notes += note
    return from_arrays(name, arrays, class_names, name, notes=notes)


def _named(name: str, element) -> dict:
    """{feature: value} of inputs, (inputs, targets), with weights as a third, or a dictionary."""
    if isinstance(element, tuple) and len(element) <= 3:
        element = dict(zip(("inputs", "targets", "sample_weight"), element, strict=False))
    if not isinstance(element, dict):
        return {"inputs": element}
    if "inputs" not in element:
        raise DataError(f"{name}: expected a feature inputs, got {', '.join(map(str, element))}")
    return element


# ---- data sets and generators


def _check_dataset(name: str, dataset: tf.data.Dataset) -> None:
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise DataError(f"{name}: the data set has no end; expected one with .take(examples)")
    features = _named(name, dataset.element_spec)
    for key, spec in features.items():
        if not isinstance(spec, tf.TensorSpec):
            raise DataError(f"{name}: {key}: expected one tensor an example, got {spec}")
    shapes = [spec.shape for spec in features.values()]
    if any(shape.rank is None for shape in shapes):
        return
    first_axes = {shape[0] if shape.rank else "none" for shape in shapes}
    is_batch = first_axes == {None} or (len(shapes) > 1 and shapes[0].rank > 3)
    if is_batch and len(first_axes) == 1:
        raise DataError(
            f"{name}: elements look like batches, inputs {shapes[0]}; "
            "expected one example each: .unbatch(), or padding to one length"
        )


def _read(name: str, elements: Iterator) -> dict[str, np.ndarray]:
    """{feature: [n, ...]} of all elements. Raises DataError where they differ, or are too many."""
    columns = {}
    size = 0
    for number, element in enumerate(elements):
        features = {key: np.asarray(value) for key, value in _named(name, element).items()}
        columns = columns or {key: [] for key in features}
        if features.keys() != columns.keys():
            got, expected = (", ".join(sorted(keys)) for keys in (features, columns))
            raise DataError(f"{name}: example {number}: expected {expected}, got {got}")
        for key, value in features.items():
            _check_alike(f"{name}: example {number}: {key}", value, columns[key])
            columns[key].append(value)
            size += _bytes_of(value)
        if size > MOST_BYTES:
            raise DataError(
                f"{name}: more than {MOST_BYTES:,} bytes after {number + 1:,} examples; "
                f"expected what fits into memory: fewer, or files ({_CURE})"
            )
    if not columns:
        raise DataError(f"{name}: expected at least one example, got none")
    return {key: np.stack(values) for key, values in columns.items()}


def _check_alike(place: str, value: np.ndarray, before: list[np.ndarray]) -> None:
    if before and value.shape != before[0].shape:
        raise DataError(
            f"{place}: expected shape {list(before[0].shape)}, as the first, "
            f"got {list(value.shape)}; pad them to one shape"
        )


def _bytes_of(array: np.ndarray) -> int:
    return sum(map(len, array.ravel())) if array.dtype == object else array.nbytes


def _size_of(features: dict[str, np.ndarray]) -> str:
    size = sum(map(_bytes_of, features.values()))
    shapes = [f"{key} {array.dtype} {list(array.shape[1:])}" for key, array in features.items()]
    return f"read into memory once, {size:,} bytes: {', '.join(shapes)} each"


# ---- arrays


def _array(name: str, key: str, value) -> np.ndarray:
    """[n, ...] of uint8, int32 or float32, or of bytes objects; classes are not looked at."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(f"{name}: {key}: expected one array: {error}") from None
    if not array.ndim:
        raise DataError(f"{name}: {key}: expected an array of examples, got {array.dtype}")
    if array.dtype.kind in "USO":
        return _texts(name, key, array)
    if array.dtype.kind not in "biuf" and str(array.dtype) != "bfloat16":
        raise DataError(f"{name}: {key}: expected numbers or texts, got {array.dtype}")
    if array.dtype.kind in "iu":
        small = array if array.dtype == np.uint8 else array.astype(np.int64)
        return _int32(name, key, small) if key == "inputs" else small
    is_class = array.dtype == bool and key == "targets"
    with np.errstate(over="ignore"):  # to infinity, which is refused
        return array.astype(np.int64 if is_class else np.float32)


def _int32(name: str, key: str, array: np.ndarray) -> np.ndarray:
    limits = np.iinfo(np.int32)
    if array.dtype == np.uint8:
        return array
    if array.size and (array.min() < limits.min or array.max() > limits.max):
        raise DataError(f"{name}: {key}: expected whole numbers of 32 bits; or floats")
    return array.astype(np.int32)


def _texts(name: str, key: str, array: np.ndarray) -> np.ndarray:
    texts = np.empty(array.shape, object)
    for place, text in np.ndenumerate(array):
        if not isinstance(text, str | bytes):
            shown = type(text).__name__
            raise DataError(f"{name}: {key}: example {place[0]}: expected a text, got {shown}")
        texts[place] = text.encode() if isinstance(text, str) else bytes(text)
    return texts


def _classes(name: str, targets: np.ndarray, names: list[str]) -> tuple[np.ndarray, list, list]:
    """(targets, names of their classes, notes)."""
    if targets.dtype == object:
        return _named_classes(name, targets, names) if names else (targets, [], [])
    if targets.dtype.kind == "f":
        if names and targets.shape[1:] != (len(names),):
            raise DataError(f"{name}: targets: expected whole numbers as classes, got floats")
        return targets, names, []
    if targets.ndim > 3:  # pictures
        return targets, names, []
    targets = targets.astype(np.int64)
    if targets.shape[1:] == (1,):
        targets = targets[:, 0]
    if names:
        return targets, names, []
    highest = int(targets.max())
    if targets.min() < 0 or highest > _MAX_CLASSES:
        raise DataError(
            f"{name}: targets: expected classes from 0 to {_MAX_CLASSES:,}, or floats, "
            f"got {targets.min()} to {highest}"
        )
    note = f"targets are whole numbers: classes from 0 to {highest}; numbers would be floats"
    return targets, [str(number) for number in range(highest + 1)], [note]


def _named_classes(name: str, targets: np.ndarray, names: list[str]):
    number_of = {class_name.encode(): number for number, class_name in enumerate(names)}
    for place, text in np.ndenumerate(targets):
        if text not in number_of:
            raise DataError(
                f"{name}: example {place[0]}: targets: expected one of {', '.join(names[:12])}, "
                f"got {text.decode(errors='replace')!r}"
            )
    numbers = np.vectorize(number_of.get, otypes=[np.int64])
    return numbers(targets), names, []
