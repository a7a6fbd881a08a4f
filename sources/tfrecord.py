"""TFRecord shards that another program has written: named features of tf.train.Examples.

    train-00000-of-00004, ..., validation-00000-of-00001    image/encoded, image/class/label

A record: {"inputs": string [], an encoded image or a text; uint8 [shape]; float32 or int64 [...];
           "targets": int64 [], a class; float32 [...], with `kind: numbers`; or string []}
"""

import hashlib
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from cli.program import DataError
from data_loader import SPLITS, NoSplit, Source
from engine.record_files import Shards
from engine.record_index import DTYPES, RecordIndex, features_of, is_plain, open_index
from engine.safe_files import lines_of
from sources import example_weights, splits
from sources.array_labels import Labels
from sources.class_numbers import Classes
from sources.examples import ExampleReader
from sources.shard_files import shards_of

_INPUTS = ("image/encoded", "image", "image_raw", "inputs", "input", "text", "x")  # of many sets
_TARGETS = ("image/class/label", "label", "labels", "targets", "target", "class", "y")
_DTYPES = {"int64_list": "int64", "float_list": "float32"}


def load(config, split, directory) -> Source:
    directory = directory or ""
    shards, notes = shards_of(directory, config.files)
    stored = _place_of(directory or config.files, split, config, shards)
    config = _with_features(config, shards[stored.split])
    indexes = {name: _index_of(config, shards[name], directory, name) for name in shards}
    index = indexes[stored.split]
    packed = [path for path in shards[stored.split] if not is_plain(path)]
    if packed:
        notes.append(f"{len(packed)} compressed files read from {index.files[0].path}, ...")
    classes = Classes((), np.zeros(0, np.int64))
    if config.kind == "classes":
        classes = _classes(config, directory, indexes, stored.split)
    records = Shards(index.files, index.counts, index.entries)
    rows = None
    if stored.shares:
        keys = _keys(index)
        rows = splits.by_key(directory or config.files, split, stored.shares, keys, classes.numbers)
    features = {"inputs": _inputs(config, index)}
    if config.kind != "classes":
        features["targets"] = _targets(config, index)
    known = {"targets": classes.numbers} if classes.names else {}
    if config.sample_weight:
        column = index.columns[config.sample_weight]
        name = config.sample_weight
        known["sample_weight"] = example_weights.checked(
            column.values, len(records), directory or config.files, name, index.locate
        )
    source = _source(records, features, classes.names, known, rows)
    for made in indexes.values():
        made.save()
    columns = {"inputs": [config.inputs], "targets": [config.targets]}
    notes = (*stored.notes, *notes, *classes.notes)
    return replace(source, columns=columns, notes=notes)


def _place_of(place: str, split: str, config, shards: dict) -> splits.Stored:
    names = [name for name in SPLITS if name in shards]
    if split in names and "train" not in names:
        return splits.Stored(split, None)
    stored = splits.stored_split(place, split, config, names)
    if stored.split not in shards:
        raise NoSplit(f"{place}: no split {split!r}; it has {', '.join(names)}")
    return stored


def _with_features(config, paths: list[str]):
    """The options with the names of both features.

    Raises DataError, with the features that are there, for a name that is not among them.
    """
    found = next(filter(None, map(features_of, paths)), {})
    of_kind = [key for key in found if found[key] in DTYPES]
    names = {}
    for option, usual in (("inputs", _INPUTS), ("targets", _TARGETS)):
        name = getattr(config, option)
        names[option] = [name] if name else [key for key in usual if key in of_kind]
    if any(len(keys) != 1 or keys[0] not in of_kind for keys in names.values()):
        known = [f"{key} ({kind.removesuffix('_list')})" for key, kind in found.items()]
        asked = [name for name in (config.inputs, config.targets) if name and name not in of_kind]
        problem = (
            f"no feature {asked[0]!r}"
            if asked
            else "expected a feature for inputs and one for targets"
        )
        raise DataError(
            f"{paths[0]}: {problem}; it has {', '.join(known) or 'no records'}; name them, "
            "{name: tfrecord, inputs: NAME, targets: NAME}"
        )
    return config.model_copy(update={option: keys[0] for option, keys in names.items()})


def _index_of(config, paths: list[str], directory: str, name: str) -> RecordIndex:
    found = next(filter(None, map(features_of, paths)), {})
    keys = filter(None, (config.inputs, config.targets, config.sample_weight))
    dtypes = {key: found.get(key) for key in keys}
    lacking = [key for key, kind in dtypes.items() if kind not in DTYPES]
    if lacking:
        raise DataError(f"{paths[0]}: no feature {lacking[0]!r}; it has {', '.join(found)}")
    place = config.index or directory or os.path.dirname(paths[0])
    if "://" in place:
        raise DataError(f"{place}: expected a local directory for the index, index: DIR")
    kept = [config.targets] if config.kind == "classes" else []
    kept += [config.sample_weight] if config.sample_weight else []
    return open_index(paths, dtypes, kept, Path(place), name or "all")


def _keys(index: RecordIndex) -> list[str]:
    """Of each record: the name of its file and its number there."""
    return [
        f"{os.path.basename(file.path)}:{number}"
        for file, count in zip(index.files, index.counts, strict=True)
        for number in range(count)
    ]


def _classes(config, directory: str, indexes: dict[str, RecordIndex], split: str) -> Classes:
    """The classes of all splits, and the numbers of one's, int64 [records]."""
    names = list(indexes)
    sizes = [len(indexes[name].entries) for name in names]
    ends = np.cumsum(sizes)

    def locate(number: int) -> str:
        place = int(np.searchsorted(ends, number, side="right"))
        return indexes[names[place]].locate(number - int(ends[place]) + sizes[place])

    columns = [indexes[name].columns[config.targets] for name in names]
    counts = np.concatenate([column.counts for column in columns])
    uneven = np.flatnonzero(counts != counts[0])
    if len(uneven):
        raise DataError(
            f"{locate(int(uneven[0]))}: {config.targets}: expected as many labels as in the first "
            f"record, {counts[0]}, got {counts[uneven[0]]} ({len(uneven)} such records)"
        )
    values = np.concatenate([column.values for column in columns])
    labels = values if counts[0] == 1 else values.reshape(-1, counts[0])
    what = f"{directory or config.files}: {config.targets}"
    found = Labels(labels, what, locate, "; numbers? `kind: numbers`").classes(
        _class_names(config, directory), ()
    )
    if found.numbers.ndim > 1:
        raise DataError(
            f"{locate(0)}: {config.targets}: expected one label, got {counts[0]}; "
            "several labels or numbers an example? `kind: numbers`"
        )
    begin = int(ends[names.index(split)]) - sizes[names.index(split)]
    own = found.numbers[begin : begin + sizes[names.index(split)]]
    notes = [note.removeprefix(what.removesuffix(config.targets)) for note in found.notes]
    return found._replace(numbers=own, notes=tuple(notes))


def _class_names(config, directory: str) -> list[str] | None:
    """As they are given, or from a file with one a line."""
    if not isinstance(config.class_names, str):
        return config.class_names
    lines = lines_of(Path(directory, config.class_names))
    return [name.strip() for _, name in lines if name.strip()]


def _inputs(config, index: RecordIndex) -> dict:
    key = config.inputs
    kind = index.kinds[key]
    if kind == "bytes_list":
        _even(config.inputs, index, 1)
        if config.shape is None:
            return {"dtype": "string", "shape": [], "key": key}
        return {"dtype": "uint8", "shape": config.shape, "key": key}
    dtype = _DTYPES[kind]
    counts = index.columns[key].counts
    if config.shape is not None:
        _even(key, index, math.prod(config.shape))
        return {"dtype": dtype, "shape": config.shape, "key": key}
    size = -1 if (counts != counts[0]).any() else int(counts[0])  # -1: padded to the longest
    return {"dtype": dtype, "shape": [size], "key": key}


def _targets(config, index: RecordIndex) -> dict:
    key = config.targets
    is_bytes = index.kinds[key] == "bytes_list"
    if is_bytes != (config.kind == "text"):
        raise DataError(
            f"{index.locate(0)}: {key}: expected {config.kind}, got "
            f"{'bytes' if is_bytes else 'numbers'}; see `kind`"
        )
    size = int(index.columns[key].counts[0])
    _even(key, index, 1 if is_bytes else size)
    dtype = "string" if is_bytes else _DTYPES[index.kinds[key]]
    return {"dtype": dtype, "shape": [] if size == 1 else [size], "key": key}


def _even(key: str, index: RecordIndex, size: int) -> None:
    counts = index.columns[key].counts
    wrong = np.flatnonzero(counts != size)
    if len(wrong):
        raise DataError(
            f"{index.locate(int(wrong[0]))}: {key}: expected {size} values, "
            f"got {counts[wrong[0]]} ({len(wrong)} such records)"
        )


def _source(records: Shards, features: dict, class_names: tuple, known: dict, rows) -> Source:
    """`features`: read from the records; `known`: {feature: array [records]} from the index.

    `rows`: numbers of the records that belong to the split; None: all.
    """
    rows_or_all = np.arange(len(records)) if rows is None else rows
    known = {key: values[rows_or_all] for key, values in known.items()}

    def locate(index: int) -> str:
        return records.locate(int(rows_or_all[index]))

    reader = ExampleReader(features, 0, locate)

    def read_by(read_records):
        read_examples = reader.read_by(lambda indices: read_records(rows_or_all[indices]))
        return _with_known(read_examples, known)

    digest = hashlib.sha256(records.index[rows_or_all].tobytes())
    digest.update(repr((features, class_names)).encode())
    for key in sorted(known):
        digest.update(known[key].tobytes())
    sizes = records.index["length"][rows_or_all].astype(np.int64)
    return Source(
        "tfrecord",
        len(rows_or_all),
        read_by(records.read),
        class_names,
        digest.hexdigest(),
        locate,
        known.get("targets"),
        sizes,
        stored_bytes=int(sizes.sum()),
        block_length=records.block_length if rows is None else 0,
        read_in_blocks=lambda blocks: read_by(records.read_in_blocks(blocks)),
    )


def _with_known(read_examples, known: dict[str, np.ndarray]):
    """Also the features that the index holds; whole numbers as targets become float32."""
    tensors = {key: tf.constant(values) for key, values in known.items()}

    def read(indices):
        batch = read_examples(indices)
        if "targets" in batch and batch["targets"].dtype == tf.int64:
            batch["targets"] = tf.cast(batch["targets"], tf.float32)
        return batch | {key: tf.gather(tensor, indices) for key, tensor in tensors.items()}

    return read
