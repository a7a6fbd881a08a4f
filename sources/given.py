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
from pathlib import Path

import numpy as np
import tensorflow as tf
from pydantic import TypeAdapter

import data_loader
from cli.program import DataError
from data_config import OpConfig
from data_loader import Source, from_arrays
from sources.array_labels import Labels
from sources.class_numbers import Classes
from sources.image_files import ImageReader

MOST_BYTES = 2 << 30  # of what is read into memory from a data set or a generator
_MAX_PIXELS = 50_000_000  # of an image
_CURE = "; numbers? give floats"


def load(config, split, directory) -> Source:
    return data_loader.given(split)


def source_from(examples, class_names: Iterable[str], classes: bool) -> Source:
    """See data_loader.source_from.

    Raises DataError for what cannot be examples of one shape and type.
    """
    notes = []
    if isinstance(examples, tf.data.Dataset):
        _check_dataset(examples)
        examples = examples.as_numpy_iterator()
    elif callable(examples):
        examples = iter(examples())
    if isinstance(examples, Iterator):
        features = _read(examples)
        notes.append(_size_of(features))
    else:
        features = _named(examples)
    arrays = {key: _array(key, value) for key, value in features.items()}
    lengths = {key: len(array) for key, array in arrays.items()}
    if 0 in lengths.values():
        raise DataError(f"given: expected at least one example, got {lengths}")
    names = tuple(class_names)
    if "targets" in arrays and classes:
        found = _classes_of(arrays["targets"], names, arrays["inputs"].shape)
        names = found.names
        notes += found.notes
        arrays["targets"] = found.numbers
    texts = {key: _encoded(key, array) for key, array in arrays.items() if array.dtype.kind in "US"}
    return from_arrays("given", arrays | texts, names, "given", notes=notes)


def source_from_images(paths: list[Path], ops: list, shape: list) -> tuple[Source, list]:
    """(image files, operations before `ops` that make pictures of them, as a network has seen).

    Where the operations begin with arrays, the files must be of one size, and of its channels.
    """
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: expected an image file, got {_what_is(path)}")
    reader = ImageReader(Path(), list(map(str, paths)), _MAX_PIXELS)
    source = Source("given", len(paths), reader.read, (), "", reader.locate)
    if any(op.any_size for op in ops):
        return source, []
    channels = shape[-1]
    if len(shape) != 3 or channels not in (1, 3):
        raise DataError(f"{paths[0]}: expected arrays, since the network sees {shape}, got a file")
    headers = [reader.read_image(index)[1] for index in range(len(paths))]
    sizes = [_upright(header) for header in headers]
    for path, size in zip(paths, sizes, strict=True):
        if size != sizes[0]:
            raise DataError(f"{path}: expected {sizes[0]} pixels, as the first, got {size}")
    decode = [
        {"name": "decode_image", "channels": channels},
        {"name": "pad_image", "size": sizes[0]},
    ]
    return source, TypeAdapter(list[OpConfig]).validate_python(decode)


def _upright(header) -> tuple[int, int]:
    """Height and width as it is seen; EXIF 5 to 8 lie on their side."""
    size = (header.height, header.width)
    return size[::-1] if header.orientation > 4 else size


def _what_is(path: Path) -> str:
    return "something else" if path.exists() else "no such file"


def _named(element) -> dict:
    """{feature: value} of inputs, (inputs, targets), with weights as a third, or a dictionary."""
    if isinstance(element, tuple) and len(element) <= 3:
        element = dict(zip(("inputs", "targets", "sample_weight"), element, strict=False))
    if not isinstance(element, dict):
        return {"inputs": element}
    if "inputs" not in element:
        raise DataError(f"given: expected a feature inputs, got {', '.join(map(str, element))}")
    return element


# ---- data sets and generators


def _check_dataset(dataset: tf.data.Dataset) -> None:
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise DataError("given: the data set has no end; expected one with .take(examples)")
    features = _named(dataset.element_spec)
    for key, spec in features.items():
        if not isinstance(spec, tf.TensorSpec):
            raise DataError(f"given: {key}: expected one tensor an example, got {spec}")
    shapes = [spec.shape for spec in features.values()]
    if any(shape.rank is None for shape in shapes):
        return
    first_axes = {shape[0] if shape.rank else "none" for shape in shapes}
    is_batch = first_axes == {None} or (len(shapes) > 1 and shapes[0].rank > 3)
    if is_batch and len(first_axes) == 1:
        raise DataError(
            f"given: elements look like batches, inputs {shapes[0]}; "
            "expected one example each: .unbatch(), or padding to one length"
        )


def _read(elements: Iterator) -> dict[str, np.ndarray]:
    """{feature: [n, ...]} of all elements. Raises DataError where they differ, or are too many."""
    columns = {}
    size = 0
    for number, element in enumerate(elements):
        features = {key: np.asarray(value) for key, value in _named(element).items()}
        columns = columns or {key: [] for key in features}
        if features.keys() != columns.keys():
            got, expected = (", ".join(sorted(keys)) for keys in (features, columns))
            raise DataError(f"given: example {number}: expected {expected}, got {got}")
        for key, value in features.items():
            _check_alike(f"given: example {number}: {key}", value, columns[key])
            columns[key].append(value)
            size += _bytes_of(value)
        if size > MOST_BYTES:
            raise DataError(
                f"given: more than {MOST_BYTES:,} bytes after {number + 1:,} examples; "
                "expected what fits into memory: fewer, or files (np.savez and `npz`, `records`)"
            )
    if not columns:
        raise DataError("given: expected at least one example, got none")
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


def _array(key: str, value) -> np.ndarray:
    """[n, ...] of uint8, whole numbers, float32 or texts."""
    try:
        array = np.asarray(value)
        if array.dtype == object:  # texts of several lengths, or of None and other things
            array = np.array(array.tolist())
    except (ValueError, TypeError) as error:
        raise DataError(f"given: {key}: expected one array: {error}") from None
    if not array.ndim:
        raise DataError(f"given: {key}: expected an array of examples, got {array.dtype}")
    kind = array.dtype.kind
    if kind not in "biufUS" and array.dtype.name != "bfloat16":
        raise DataError(f"given: {key}: expected numbers or texts, got {array.dtype}")
    if key == "inputs" and kind in "iu" and array.dtype != np.uint8:
        return _int32(array)
    if kind in "iuUS" or (kind == "b" and key == "targets"):
        return array
    with np.errstate(over="ignore"):  # to infinity, which is refused
        return array.astype(np.float32)


def _int32(array: np.ndarray) -> np.ndarray:
    limits = np.iinfo(np.int32)
    if array.size and (array.min() < limits.min or array.max() > limits.max):
        raise DataError("given: inputs: expected whole numbers of 32 bits, or floats")
    return array.astype(np.int32)


def _encoded(key: str, array: np.ndarray) -> np.ndarray:
    """Texts as objects of bytes."""
    texts = np.empty(array.shape, object)
    for place, text in np.ndenumerate(array):
        texts[place] = text.encode() if isinstance(text, str) else bytes(text)
    return texts


def _classes_of(targets: np.ndarray, names: tuple[str, ...], input_shape: tuple) -> Classes:
    labels = Labels(targets, "targets", "given: record {}".format, _CURE)
    if targets.dtype.kind == "f" and not labels.is_one_hot():
        if names and targets.shape[1:] != (len(names),):
            raise DataError(f"given: targets: expected classes, got {targets.dtype}; .astype(int)")
        return Classes(names, targets)
    if targets.ndim > 3:  # pictures
        return Classes(names, targets)
    if targets.shape[1:] == (1,):
        labels.array = targets[:, 0]
    return labels.classes(names or None, input_shape)
