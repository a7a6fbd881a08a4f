"""Where raw examples come from: `load(config, split, directory)` returns a `Source`.

To add a data set `my_digits`, write two things; `load` finds the file by the name:

    sources/my_digits.py    def load(config, split, directory) -> Source:
                                ...
                                return from_arrays("my_digits", {"inputs": ..., "targets": ...})
    data_config.py          class MyDigits(Dataset):
                                name: Literal["my_digits"]

`config` is that class with the user's options, `split` one of SPLITS, `directory` the set's `dir`
or `data.dir`, or None. What a source gives is raw: operations decode and scale it. Whatever is
missing or damaged is a DataError of one line that begins with the file; a split that the data do
not have is NoSplit. sources/mnist_sample.py is a short one to copy;
tests/sources/test_every_source.py tests a new one too.
"""

import hashlib
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from cli.program import ConfigError, DataError, look_up
from engine.order import position_of
from train_config import Data

SPLITS = ("train", "valid", "test")
BUNDLED = Path(__file__).resolve().parent / "data"  # the sets that come with the project


class NoSplit(DataError):
    """The data are sound, but do not have this split."""


@dataclass(frozen=True)
class Source:
    """Examples by index.

    `read` takes int64 [n], every value in [0, length), and returns {feature: [n, ...]} for the
    batch at once; it is called inside the input pipeline's graph. The features are `inputs` and
    mostly `targets`, raw. `fingerprint` changes when the data does. `locate(index)` says where an
    example is stored. What is None where reading would be needed to know it: `labels`, int64
    [length], the class of each example, and `sizes`, int64 [length], in any unit. `stored_bytes`:
    of all examples, if they are read from files as they are asked for; 0 for what lies in memory.
    `block_length`, if examples are stored in blocks (shards) of so many: `read_in_blocks(number)`
    is then a `read` that fetches whole blocks and keeps the last `number` of them.
    `columns`: names of what a feature is made of, {feature: names}. `notes`: one line for each
    thing that the loader decided about the data, or left out.
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
    columns: dict[str, list[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.length

    @property
    def report(self) -> dict:
        """What was found: counts, the smallest and the largest class, columns, notes."""
        report = {"data": self.name, "examples": self.length, "classes": len(self.class_names)}
        if self.class_names and self.labels is not None:
            counts = np.bincount(self.labels, minlength=len(self.class_names))
            for size, number in (("smallest", counts.argmin()), ("largest", counts.argmax())):
                report[size] = {self.class_names[number]: int(counts[number])}
        return report | {"columns": self.columns, "notes": list(self.notes)}


def load(config, split: str, directory: str | None) -> Source:
    """The examples of one split, by `load` of sources/<config.name>.py.

    Raises DataError, naming the file, for whatever is missing or damaged.
    """
    expected = f"a function `load` for {config.name!r} of data_config.py"
    load_raw = look_up(f"sources.{config.name}", expected, "load")
    source = load_raw(config, split, directory)
    if config.classes is not None:
        source = of_classes(source, config.classes, must_exist=split == "train")
    if config.at_most:
        source = at_most(source, config.at_most)
    if not len(source):
        raise DataError(f"{source.name}: expected at least one example in {split}, got none")
    return source


# ---- given in Python

_GIVEN = ContextVar("given", default=None)  # {split: Source}, for the time of one call


def source_from(examples, class_names: Iterable[str] = (), classes: bool = True) -> Source:
    """A source of your own examples, without a file, in their order; see sources/given.py.

    `examples`: arrays, as inputs, (inputs, targets) or {feature: array}; or one example after the
    other, from a tf.data.Dataset or a function that gives an iterator. Targets that are whole
    numbers, texts or one-hot rows are classes, of these names or of their own; `classes` false:
    they stay what they are.
    """
    return _of_given("source_from")(examples, class_names, classes)


def source_from_images(paths: list[Path], ops: list, shape: list) -> tuple[Source, list]:
    """(a source of image files, operations that come before `ops`); see sources/given.py."""
    return _of_given("source_from_images")(paths, ops, shape)


def _of_given(function: str) -> Callable:
    return look_up("sources.given", f"a function `{function}`, for data without a set", function)


@contextmanager
def giving(config: Data, data: dict | None):
    """Inside `with`, the data set `given` has the sources of `data`, {split: source_from(...)}.

    Raises ConfigError for a split that the configuration takes from elsewhere.
    """
    for split in data or {}:
        if split not in SPLITS:
            raise ConfigError(f"data: expected {', '.join(SPLITS)}, got {split!r}")
        sections = config.datasets(split)
        if not any(section.dataset.in_python for section in sections):
            names = ", ".join(section.name for section in sections)
            raise ConfigError(
                f"data: {split!r} is given, but the configuration takes {names}; "
                f"expected data.{split}=given"
            )
    sources = {split: as_source(examples) for split, examples in (data or {}).items()}
    token = _GIVEN.set(sources)
    try:
        yield
    finally:
        _GIVEN.reset(token)


def as_source(examples) -> Source:
    return examples if isinstance(examples, Source) else source_from(examples)


def given(split: str) -> Source:
    """What was given in Python for a split."""
    sources = _GIVEN.get()
    if not sources:
        raise DataError(
            "given: its examples come from Python; expected a call with them, "
            f"data={{{split!r}: source_from(...)}}, or another data set as data.{split}"
        )
    if split not in sources:
        raise NoSplit(
            f"given: no split {split!r} in data; expected {split!r}: source_from(...) beside "
            f"{', '.join(map(repr, sources))}, or another data set as data.{split}"
        )
    return sources[split]


def report_lines(report: dict) -> list[str]:
    """The report of a source for people: a line of counts and columns, then its notes."""
    name = report["data"]
    line = f"{name}: {report['examples']:,} examples"
    if report["classes"]:
        line += f" of {report['classes']:,} classes"
    if "smallest" in report:
        line += f", {_sizes(report['smallest'], report['largest'])}"
    for feature, names in report["columns"].items():
        more = f" and {len(names) - 12} more" if len(names) > 12 else ""
        line += f"; {feature}: {', '.join(names[:12])}{more}"
    return [line, *(f"{name}: {note}" for note in report["notes"])]


def _sizes(smallest: dict[str, int], largest: dict[str, int]) -> str:
    ((small, fewest),) = smallest.items()
    ((large, most),) = largest.items()
    if fewest == most:
        return f"{most:,} of each"
    return f"smallest {small!r} {fewest:,}, largest {large!r} {most:,}"


# ---- arrays in memory


def from_arrays(
    name: str,
    features: dict[str, np.ndarray],
    class_names: Iterable[str] = (),
    locate: Callable[[int], str] | str = "memory",
    columns: dict[str, list[str]] | None = None,
    notes: Iterable[str] = (),
) -> Source:
    """A source over {feature: array [length, ...]} in memory; text as object arrays of bytes.

    `locate`: where an example is stored, or what the numbers of records are appended to.
    Raises DataError, with the record, for numbers that are not finite and for classes out of range.
    """
    lengths = {key: len(array) for key, array in features.items()}
    if len(set(lengths.values())) != 1:
        raise DataError(f"{name}: expected features of one length, got {lengths}")
    location = locate if callable(locate) else lambda index: f"{locate}: record {index}"
    class_names = tuple(class_names)
    for key, array in features.items():
        if array.dtype.kind == "f":
            check_finite(key, array, location)
    labels = None
    targets = features.get("targets")
    if class_names and targets is not None and targets.dtype.kind in "iu":
        check_classes(targets, len(class_names), location)
        labels = targets if targets.ndim == 1 else None
    texts = [array for array in features.values() if array.dtype == object]
    sizes = _text_sizes(texts) if texts else None
    tensors = {key: tf.constant(array) for key, array in features.items()}

    def read(indices):
        return {key: tf.gather(tensor, indices) for key, tensor in tensors.items()}

    return Source(
        name,
        len(features["inputs"]),
        read,
        class_names,
        _fingerprint(features),
        location,
        labels,
        sizes,
        columns=columns or {},
        notes=tuple(notes),
    )


def _fingerprint(features: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for key, array in sorted(features.items()):
        digest.update(f"{key} {array.dtype} {array.shape}".encode())
        is_text = array.dtype == object
        digest.update(b"\0".join(array.ravel()) if is_text else np.ascontiguousarray(array))
    return digest.hexdigest()


def _text_sizes(texts: list[np.ndarray]) -> np.ndarray:
    """Bytes of each example's texts, from object arrays [length, ...]: int64 [length]."""
    count_bytes = np.vectorize(len, otypes=[np.int64])
    return sum(count_bytes(array).sum(axis=tuple(range(1, array.ndim))) for array in texts)


def check_finite(key: str, array: np.ndarray, locate: Callable[[int], str]) -> None:
    """Raises DataError for the first example of a feature [n, ...] that holds NaN or infinity."""
    _refuse(key, array, ~np.isfinite(array), "finite numbers", locate)


def check_classes(targets: np.ndarray, num_classes: int, locate: Callable[[int], str]) -> None:
    """Raises DataError for the first example of [n, ...] with a class not in [0, num_classes)."""
    bad = (targets < 0) | (targets >= num_classes)
    _refuse("targets", targets, bad, f"a class from 0 to {num_classes - 1}", locate)


def _refuse(key: str, array, bad: np.ndarray, expected: str, locate: Callable) -> None:
    if bad.any():
        indices = np.unique(np.argwhere(bad)[:, 0]).tolist()
        index = indices[0]
        value = array[index][bad[index]].ravel()[0]
        places = [locate(i).rsplit(": ", 1)[-1] for i in indices[:10]]
        such = f"; {len(indices)} such: {', '.join(places)}" if len(indices) > 1 else ""
        raise DataError(f"{locate(index)}: {key}: expected {expected}, got {value}{such}")


# ---- sources made from others, and from Python


def of_classes(source: Source, classes: list[str], must_exist: bool = True) -> Source:
    """Only the examples of these classes, in their order, their labels numbered by `classes`.

    Raises DataError for a class that the source does not have, if it must, and where labels are
    not known without reading.
    """
    names = source.class_names
    notes = []
    for name in classes:
        if name not in names:
            line = f"classes: no class {name!r}; it has {', '.join(names[:12]) or 'none'}"
            if must_exist or not names:
                raise DataError(f"{source.name}: {line}")
            notes.append(line)
    dtype = _label_dtype(source, "classes")
    new_label = np.full(len(names), -1, np.int64)
    for label, name in enumerate(classes):
        if name in names:
            new_label[names.index(name)] = label
    kept = np.flatnonzero(new_label[source.labels] >= 0)
    chosen = _subset(source, kept, str(classes))
    labels = new_label[chosen.labels]
    kept_labels = tf.constant(labels)

    def read(indices):
        targets = tf.cast(tf.gather(kept_labels, indices), dtype)
        return chosen.read(indices) | {"targets": targets}

    names = tuple(classes)
    return replace(
        chosen, read=read, class_names=names, labels=labels, notes=(*source.notes, *notes)
    )


def at_most(source: Source, limits: dict[str, int]) -> Source:
    """No more examples of a class than its limit; the hash of an example's number chooses them.

    Raises DataError for a class that the source does not have, and where labels are not known
    without reading.
    """
    _label_dtype(source, "at_most")
    is_kept = np.ones(len(source), bool)
    for name, limit in limits.items():
        if name not in source.class_names:
            has = ", ".join(source.class_names[:12])
            raise DataError(f"{source.name}: at_most: no class {name!r}; it has {has}")
        members = np.flatnonzero(source.labels == source.class_names.index(name))
        by_hash = sorted(members, key=lambda index: position_of(str(index)))
        is_kept[by_hash[limit:]] = False
    left_out = len(source) - int(is_kept.sum())
    chosen = _subset(source, np.flatnonzero(is_kept), str(limits))
    return replace(chosen, notes=(*source.notes, f"{left_out:,} examples left out by at_most"))


def _subset(source: Source, kept: np.ndarray, key: str) -> Source:
    """The examples of these indices; `key` tells this choice from others."""
    kept_indices = tf.constant(kept, tf.int64)
    return replace(
        source,
        length=len(kept),
        read=lambda indices: source.read(tf.gather(kept_indices, indices)),
        fingerprint=f"{source.fingerprint} {key}",
        locate=lambda index: source.locate(int(kept[index])),
        labels=None if source.labels is None else source.labels[kept],
        sizes=None if source.sizes is None else source.sizes[kept],
        stored_bytes=source.stored_bytes * len(kept) // max(1, source.length),
        block_length=0,  # what is left of a block is no block
        read_in_blocks=None,
    )


def by_names(source: Source, class_names: tuple[str, ...]) -> Source:
    """The same examples, their labels numbered as in training, whose classes are `class_names`.

    Raises DataError for a class that training does not have, unless it has no example.
    """
    if source.class_names == class_names or not (source.class_names and class_names):
        return source
    number_of = {name: number for number, name in enumerate(class_names)}
    new_label = np.array([number_of.get(name, -1) for name in source.class_names], np.int64)
    occurring = range(len(new_label)) if source.labels is None else np.unique(source.labels)
    unknown = [source.class_names[number] for number in occurring if new_label[number] < 0]
    if unknown:
        raise DataError(
            f"{source.name}: {unknown[0]}: a class that training does not have; "
            f"expected one of {', '.join(class_names[:12])}"
        )
    renumber = tf.constant(np.maximum(new_label, 0))

    def renumbered(read):
        def read_renumbered(indices):
            features = read(indices)
            targets = features["targets"]
            labels = tf.gather(renumber, tf.cast(targets, tf.int64))
            return features | {"targets": tf.cast(labels, targets.dtype)}

        return read_renumbered

    blocks = source.read_in_blocks
    missing = [name for name in class_names if name not in source.class_names]
    absent = f", without {', '.join(missing[:12])}" if missing else ""
    note = f"its classes are numbered as in training{absent}"
    return replace(
        source,
        read=renumbered(source.read),
        class_names=class_names,
        labels=None if source.labels is None else new_label[source.labels],
        read_in_blocks=blocks and (lambda number: renumbered(blocks(number))),
        notes=(*source.notes, note),
    )


def _label_dtype(source: Source, option: str) -> tf.DType:
    """The type of the targets. Raises DataError unless they are one known class each."""
    expected = f"{source.name}: {option}: expected"
    if source.labels is None:
        raise DataError(f"{expected} a set that knows the class of each example without reading it")
    traced = tf.function(source.read).get_concrete_function(tf.TensorSpec([None], tf.int64))
    targets = traced.structured_outputs.get("targets")
    if targets is None or targets.shape.rank != 1 or not targets.dtype.is_integer:
        raise DataError(f"{expected} a class index as the target of each example, got {targets}")
    return targets.dtype


def in_python(
    function: Callable, indices: tf.Tensor, specs: dict[str, tf.TensorSpec]
) -> dict[str, tf.Tensor]:
    """{feature: [n, ...]} from a Python function that is called from the graph.

    `function` takes int64 [n] and returns one array for each of `specs`, which are of one example.
    A DataError that it raises comes out of TensorFlow as an error whose text holds it.
    """
    dtypes = [spec.dtype for spec in specs.values()]
    values = tf.numpy_function(function, [indices], dtypes, stateful=False)
    return {
        key: tf.ensure_shape(value, [None, *spec.shape])
        for (key, spec), value in zip(specs.items(), values, strict=True)
    }
