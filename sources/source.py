"""What a data set gives: examples by index; and what several data sets are made with."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from cli.program import DataError
from engine.order import position_of

BUNDLED = Path(__file__).resolve().parent.parent / "data"  # the sets that come with the project
SPLITS = ("train", "valid", "test")


class NoSplit(DataError):
    """The data are sound, but do not have this split."""


@dataclass(frozen=True)
class Source:
    """Examples by index.

    `read` takes int64 [n], every value in [0, length), and returns {feature: [n, ...]} for the whole batch at once; it
    is called inside the input pipeline's graph. The features are `inputs` and mostly `targets`, raw: operations decode
    and scale them. `fingerprint` changes when the data does. `locate(index)` says where an example is stored.
    `sizes`, if examples are of different sizes and these are known without reading: int64 [length], in any unit.
    `labels`, if the examples have classes and they are known without reading: int64 [length].
    `stored_bytes`, of all examples that are read from files as they are asked for; 0 for what lies in memory.
    `block_length`, if examples are stored in blocks (shards) of so many: `read_in_blocks(number)` is then a `read` that
    fetches whole blocks and keeps the last `number` of them.
    """

    name: str
    length: int
    read: Callable[[tf.Tensor], dict[str, tf.Tensor]]
    class_names: tuple[str, ...]
    fingerprint: str
    locate: Callable[[int], str]
    labels: np.ndarray | None = None
    sizes: np.ndarray | None = None
    stored_bytes: int = 0
    block_length: int = 0
    read_in_blocks: Callable[[int], Callable] | None = None

    def __len__(self) -> int:
        return self.length


def from_arrays(
    name: str,
    features: dict[str, np.ndarray],
    class_names: Iterable[str] = (),
    locate: Callable[[int], str] | str = "memory",
) -> Source:
    """A source over arrays in memory, all of one length: {feature: [length, ...]}; text as arrays of bytes objects.

    Raises DataError, with the record, for numbers that are not finite and for classes out of range.
    """
    lengths = {key: len(array) for key, array in features.items()}
    if len(set(lengths.values())) != 1:
        raise DataError(f"{name}: expected features of one length, got {lengths}")
    length = next(iter(lengths.values()))
    if not length:
        raise DataError(f"{name}: expected at least one example, got none")
    place = locate if callable(locate) else lambda index: f"{locate}: record {index}"
    class_names = tuple(class_names)
    for key, array in features.items():
        if np.issubdtype(array.dtype, np.floating):
            check_finite(key, array, place)
    targets = features.get("targets")
    classes = (
        targets
        if class_names and targets is not None and np.issubdtype(targets.dtype, np.integer)
        else None
    )
    if classes is not None:
        check_classes(classes, len(class_names), place)
    digest = hashlib.sha256()
    for key in sorted(features):
        array = features[key]
        digest.update(f"{key} {array.dtype} {array.shape}".encode())
        digest.update(
            b"\0".join(array.ravel().tolist())
            if array.dtype == object
            else np.ascontiguousarray(array)
        )
    tensors = {key: tf.constant(array) for key, array in features.items()}

    def read(indices):
        return {key: tf.gather(tensor, indices) for key, tensor in tensors.items()}

    labels = classes if classes is not None and classes.ndim == 1 else None
    texts = [
        np.array([len(text) for text in array.ravel()]).reshape(length, -1)
        for array in features.values()
        if array.dtype == object
    ]
    sizes = np.concatenate(texts, axis=1).sum(axis=1) if texts else None
    return Source(name, length, read, class_names, digest.hexdigest(), place, labels, sizes)


def check_finite(key: str, array: np.ndarray, locate: Callable[[int], str]) -> None:
    bad = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if bad.any():
        value = next(v for v in array[bad.argmax()].ravel().tolist() if not np.isfinite(v))
        raise DataError(f"{locate(int(bad.argmax()))}: {key}: expected finite numbers, got {value}")


def check_classes(targets: np.ndarray, num_classes: int, locate: Callable[[int], str]) -> None:
    bad = (targets < 0) | (targets >= num_classes)
    if bad.any():
        index = int(bad.reshape(len(targets), -1).any(axis=1).argmax())
        value = np.extract(bad[index], targets[index])[0]
        raise DataError(
            f"{locate(index)}: targets: expected a class from 0 to {num_classes - 1}, got {value}"
        )


def of_classes(source: Source, classes: list[str]) -> Source:
    """The examples of these classes alone, in their order, their labels numbered by `classes`.

    Raises DataError for a class that the source does not have, and where labels are not known without reading.
    """
    names = list(source.class_names)
    if unknown := [name for name in classes if name not in names]:
        raise DataError(
            f"{source.name}: classes: no class {unknown[0]!r}; it has {', '.join(names[:12]) or 'none'}"
        )
    if source.labels is None:
        raise DataError(
            f"{source.name}: classes: expected a set that knows the class of each example without reading it"
        )
    stored = (
        tf.function(source.read)
        .get_concrete_function(tf.TensorSpec([None], tf.int64))
        .structured_outputs.get("targets")
    )
    if stored is None or stored.shape.rank != 1 or not stored.dtype.is_integer:
        raise DataError(
            f"{source.name}: classes: expected a class index as the target of each example, got {stored}"
        )
    number_of = np.full(len(names), -1, np.int64)
    number_of[[names.index(name) for name in classes]] = np.arange(len(classes))
    kept = np.flatnonzero(number_of[source.labels] >= 0)
    labels = number_of[source.labels[kept]]
    place_of, label_of = tf.constant(kept, tf.int64), tf.constant(labels)

    def read(indices):
        return source.read(tf.gather(place_of, indices)) | {
            "targets": tf.cast(tf.gather(label_of, indices), stored.dtype)
        }

    return replace(
        source,
        length=len(kept),
        read=read,
        class_names=tuple(classes),
        fingerprint=f"{source.fingerprint} {classes}",
        locate=lambda index: source.locate(int(kept[index])),
        labels=labels,
        sizes=None if source.sizes is None else source.sizes[kept],
        stored_bytes=source.stored_bytes * len(kept) // max(1, source.length),
        block_length=0,  # what is left of a block is no block
        read_in_blocks=None,
    )


def strings(texts: Iterable[str]) -> np.ndarray:
    """Texts as an array that TensorFlow takes: object [n] of UTF-8 bytes."""
    return np.array([text.encode() for text in texts], dtype=object)


def in_python(
    function: Callable, indices: tf.Tensor, specs: dict[str, tf.TensorSpec]
) -> dict[str, tf.Tensor]:
    """{feature: [n, ...]} from function(int64 [n]) -> one array for each of `specs` (shapes of one example), in the graph.

    A DataError that the function raises comes out of TensorFlow as an error whose text holds it.
    """
    values = tf.numpy_function(
        function, [indices], [spec.dtype for spec in specs.values()], stateful=False
    )
    return {
        key: tf.ensure_shape(value, [None, *spec.shape])
        for (key, spec), value in zip(specs.items(), values, strict=True)
    }


# -------------------------------------------------------------------------------------------------------- splitting


def divide(
    keys: list[str], valid: float, test: float, classes: Iterable = (), groups: Iterable[str] = ()
) -> dict[str, np.ndarray]:
    """{split: indices, rising}, by the hash of each key: the same key falls the same way on any machine.

    With `classes`, one an example, each class is divided alone, so that all splits hold the same shares of it. With
    `groups`, one an example, the group's hash decides and a group is never torn apart.
    """
    groups, classes = list(groups), np.array(list(classes))
    places = np.array([position_of(key) for key in (groups or keys)])
    if not groups:
        places = _ranks(places, classes if len(classes) else np.zeros(len(keys)))
    return {
        "test": np.flatnonzero(places < test),
        "valid": np.flatnonzero((places >= test) & (places < test + valid)),
        "train": np.flatnonzero(places >= test + valid),
    }


def _ranks(places: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The rank of each place within its class, as a fraction in (0, 1)."""
    ranks = np.empty(len(places))
    for name in np.unique(classes):
        members = np.flatnonzero(classes == name)
        ranks[members[np.argsort(places[members], kind="stable")]] = (
            np.arange(len(members)) + 0.5
        ) / len(members)
    return ranks


def in_order(length: int, valid: float, test: float) -> dict[str, np.ndarray]:
    """{split: indices}: the first for training, the last for the test."""
    begin_valid, begin_test = round(length * (1 - valid - test)), round(length * (1 - test))
    return {
        "train": np.arange(begin_valid),
        "valid": np.arange(begin_valid, begin_test),
        "test": np.arange(begin_test, length),
    }


def chosen(name: str, splits: dict[str, np.ndarray], split: str) -> np.ndarray:
    """The indices of one split. Raises DataError where it is empty."""
    if not len(splits[split]):
        raise NoSplit(
            f"{name}: the split {split!r} is empty; expected at least one example: see the shares `valid` and `test`"
        )
    return splits[split]


# ------------------------------------------------------------------------------------------------------------ files


def path_of(directory: Path | None, file: str) -> Path:
    return directory / file if directory else Path(file)


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, text) of each line of a UTF-8 file. Raises DataError with the line for anything else."""
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield (
                        number,
                        line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n"),
                    )
                except UnicodeDecodeError as error:
                    raise DataError(
                        f"{path}:{number}: expected UTF-8 text, got byte {line[error.start]:#x} at {error.start}"
                    ) from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
