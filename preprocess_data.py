"""Pure operations on whole batches of features, by the name that the configuration uses; as a program: raw data -> records.

An operation is `op(features, seeds, config) -> features`: `features` is {feature: [n, ...]}, `config` its options from
`data_config.py`, `seeds` one uint64 per example, which depends on the run's seed and the example's position alone: a
random operation gives the same example the same treatment on any number of threads, towers and restarts.
To add one: a function in `image_ops.py` or `sequence_ops.py`, listed there, with the name of its class in `data_config.py`.

python preprocess_data.py --source image_folder --dir photos --out data/photos [--per_shard 1024] [--compress] [key=value ...]
python preprocess_data.py --check data/photos
"""

from pathlib import Path

from cli import program, typed_yaml
from cli.program import ConfigError, DataError, ResourceError, Stopped, StopSignals, warn
from data_config import Dataset
from train_config import Data, MixedDataset

COMMAND = program.Command(
    "preprocess_data", "python preprocess_data.py --source NAME --out DIR [key=value ...]", Dataset
)
COMMAND.string(
    "source",
    None,
    "The data set, by its name in the configuration; its options follow as key=value.",
)
COMMAND.string("dir", None, "Where its raw files are.")
COMMAND.string("out", None, "The directory to be written; it appears when it is whole.")
COMMAND.integer("per_shard", 1024, "Examples in each file.", lower_bound=1)
COMMAND.boolean(
    "compress",
    False,
    "Compress each record for itself (zlib), so that any one can still be read alone.",
)
COMMAND.integer(
    "workers", 0, "Shards that are written beside each other; 0: one a core.", lower_bound=0
)
COMMAND.string(
    "check", None, "Reads every byte of a directory that was written before, and writes nothing."
)


def prepare(command: program.Command):
    if command.check is not None:
        return None
    for flag in ("source", "out"):
        if getattr(command, flag) is None:
            raise ConfigError(
                f"command line: --{flag}: missing; expected a {'data set' if flag == 'source' else 'directory to be written'}"
            )
    data = {"train": {"name": command.source} | ({"dir": command.dir} if command.dir else {})}
    overridden = typed_yaml.apply_overrides(data, [f"train.{word}" for word in command.overrides])
    config = typed_yaml.validate(Data, data, "command line", {}, overridden).train
    if any(op.name == "tokenize" for op in config.first_ops or []):
        raise ConfigError(
            "command line: first_ops: tokenize: expected in the configuration of a run, which keeps the vocabulary"
        )
    return config


if __name__ == "__main__":  # before TensorFlow is imported: a mistake answers at once
    PREPARED = program.start(COMMAND, prepare)

import base64
import hashlib
import itertools
import json
import math
import os
import shlex
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import Progress

import data_loader
from engine import checkpoint
from engine import record_files as records
from engine.stateless import fold
from ops.images import BATCH_OPS, IMAGE_OPS, decode_batch
from ops.sequences import MEASURES, SEQUENCE_OPS, needs_measuring, tokens_of
from sources.images import damage_of
from sources.source import position_of

__all__ = ["BATCH_OPS", "OPS", "apply_ops", "cached", "measured", "vocabulary"]

OPS = IMAGE_OPS | SEQUENCE_OPS
_EXAMPLES_AT_ONCE = 64  # of photos as they come, some megabytes each
_TEXTS_AT_ONCE = 4096
_MOST_MEASURED = (
    20_000  # examples of which the mean, the range or the vocabulary of large sets is taken
)
_SHARE_OF_MEMORY = 0.5  # that a cache may take of what is free


def apply_ops(features, seeds: tf.Tensor, ops: list, num_classes: int):
    """Runs the operations in order; each draws from seeds of its own."""
    number = 0
    while number < len(ops):
        end = number + 1
        if (
            ops[number].name == "decode_image"
        ):  # up to the operation that gives images of different sizes one size
            while end < len(ops) and getattr(ops[end - 1], "size", None) is None:
                end += 1
            features = decode_batch(
                features, [fold(seeds, draw) for draw in range(number, end)], ops[number:end]
            )
        else:
            config = ops[number]
            known = {"num_classes": num_classes} if config.name == "one_hot" else {}
            features = OPS[config.name](features, fold(seeds, number), config, **known)
        number = end
    return features


def vocabulary(ops: list, of: str = "inputs") -> list[str]:
    """The token of each id that the operations make of a feature; [] if they make none."""
    return next(
        (tokens_of(config) for config in ops if config.name == "tokenize" and config.of == of), []
    )


# ------------------------------------------------------------------------------- what is done once, before training


def _batches(source: data_loader.Source, ops: list, indices: np.ndarray):
    """Features of the examples in this order, a batch at a time; treated in parallel, given in order."""

    def features(chunk):
        return apply_ops(source.read(chunk), fold(0, chunk), ops, len(source.class_names))

    of_text = source.sizes is not None and not source.stored_bytes
    at_once = _TEXTS_AT_ONCE if of_text else _EXAMPLES_AT_ONCE

    def batch(start):
        return features(tf.constant(indices)[start : start + at_once])

    starts = tf.data.Dataset.range(0, len(indices), at_once)
    try:
        yield from starts.map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)
    except READING_ERRORS as error:
        if reason := first_failure(error, features, indices, source.locate):
            raise DataError(reason) from error
        raise


# What reading and treating examples raises; the last where TensorFlow quotes a record that is no text.
READING_ERRORS = (
    tf.errors.InvalidArgumentError, tf.errors.UnknownError, tf.errors.InternalError, tf.errors.DataLossError, UnicodeDecodeError,
)  # fmt: skip


def first_failure(
    error: Exception, features: Callable, ids: Iterable[int], locate: Callable[[int], str]
) -> str | None:
    """One line for an error of the pipeline: the item and what is wrong with the first of `ids` for which `features` fails alone."""
    if "DataError: " in str(error):  # raised by a function of ours inside the graph
        return program.reason_of(error, "")
    treat = tf.function(
        features, input_signature=[tf.TensorSpec([None], tf.int64)]
    )  # once: the damaged one may be the last of many

    def failure(some: list[int]) -> str | None:
        try:
            treat(tf.constant(some, tf.int64))
        except (tf.errors.OpError, UnicodeDecodeError) as found:
            return program.reason_of(found, locate(some[0]))
        return None

    ids = iter(ids)  # there may be many, and the damaged one among the first
    while some := [int(each) for each in itertools.islice(ids, 64)]:
        if failure(some):
            return next((reason for each in some if (reason := failure([each]))), None)
    return None


def measured(data: Data) -> Data:
    """The same with everything filled in that operations measure on the training examples: vocabularies, means, ranges.

    An operation is measured after those before it, in their order in evaluation, on up to 20,000 examples of each data set
    that shares its list, spread evenly over the set; vocabularies and categories on all of them.
    """
    for key in ("first_ops", "eval_ops", "ops"):
        parts = data.datasets("train")
        users = [part for part in parts if getattr(part.dataset, key) is None]
        if users:
            data = data.model_copy(update={key: _measured_list(data, key, users)})
        for old in [part for part in parts if part not in users]:
            part = next(part for part in data.datasets("train") if part.name == old.name)
            new = part.dataset.model_copy(update={key: _measured_list(data, key, [part])})
            data = _with_dataset(data, part.dataset, new)
    for split in ("train", "valid", "test"):
        for part in data.datasets(split):
            for config in [*part.first_ops, *part.train_ops, *part.eval_ops, *part.ops]:
                if needs_measuring(config) and config.name != "truncate":
                    expected = "expected it among the ops or first_ops of a training set, or its numbers written out"
                    raise ConfigError(
                        f"data.{split}: {part.name}: {config.name}: nothing to measure it on; {expected}"
                    )
    return data


def _measured_list(data: Data, key: str, users: list[MixedDataset]) -> list:
    configs = list(getattr(users[0], key))
    for number, config in enumerate(configs):
        if needs_measuring(config):
            configs[number] = MEASURES[config.name](
                config, _reaching(data, key, users, configs[:number], config)
            )
    return configs


def _reaching(data: Data, key: str, users: list[MixedDataset], before: list, config):
    """Training features of all `users` as they reach an operation of their shared list."""
    for part in users:
        lists = {
            "first_ops": [],
            "eval_ops": part.first_ops,
            "ops": [*part.first_ops, *part.eval_ops],
        }
        source = data_loader.load(part.dataset, "train", part.directory)
        count = (
            len(source)
            if config.name in ("tokenize", "encode_categories", "truncate")
            else min(len(source), _MOST_MEASURED)
        )
        indices = np.arange(count) * len(source) // count
        ops = [op for op in [*lists[key], *before] if not op.random]
        yield from _batches(source, ops, indices)


def _with_dataset(data: Data, old, new) -> Data:
    """`new` wherever `old` stands: a set that is measured in training is the same in validation."""
    update = {split: new for split in ("train", "valid", "test") if getattr(data, split) == old}
    return data.model_copy(
        update=update
        | {"sources": {name: new if each == old else each for name, each in data.sources.items()}}
    )


def cached(source: data_loader.Source, ops: list) -> data_loader.Source:
    """The same source after `ops`, computed once: in memory where it fits, else in a temporary memory-mapped file."""
    batches = iter(_batches(source, ops, np.arange(len(source))))
    first = next(batches)
    for key, value in first.items():
        if value.dtype == tf.string or None in value.shape[1:]:
            raise ConfigError(
                f"data.cache: {source.name}: expected numbers of one size after first_ops, got {key} of {value.dtype.name}; decode first"
            )
    size = sum(
        len(source) * math.prod(value.shape[1:]) * value.dtype.size for value in first.values()
    )
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    in_memory = size <= _SHARE_OF_MEMORY * free
    warn(
        f"data: cache: {len(source):,} examples of {source.name} take {size / 1e9:.2f} GB {'in memory' if in_memory else 'on disk'}"
    )
    arrays = {
        key: _array([len(source), *value.shape[1:]], value.dtype.as_numpy_dtype, in_memory)
        for key, value in first.items()
    }
    start, batch = 0, first
    while batch is not None:
        for key, value in batch.items():
            arrays[key][start : start + len(value)] = value.numpy()
        start, batch = start + len(batch["inputs"]), next(batches, None)
    specs = {key: tf.TensorSpec(value.shape[1:], value.dtype) for key, value in first.items()}

    def rows(indices):
        return [array[indices] for array in arrays.values()]

    def read(indices):
        values = tf.numpy_function(
            rows, [indices], [spec.dtype for spec in specs.values()], stateful=False
        )
        return {
            key: tf.ensure_shape(value, [None, *specs[key].shape])
            for key, value in zip(specs, values, strict=True)
        }

    return data_loader.Source(
        source.name,
        len(source),
        read,
        source.class_names,
        source.fingerprint,
        source.locate,
        source.labels,
    )


def _array(shape: list[int], dtype, in_memory: bool) -> np.ndarray:
    if in_memory:
        return np.empty(shape, dtype)
    with tempfile.NamedTemporaryFile(
        prefix="cache-"
    ) as file:  # without a name from here on: gone with the process
        return np.memmap(file, dtype, "w+", shape=tuple(shape))


# ---------------------------------------------------------------------------------------- the program: raw -> records

_SUFFIX = ".done"  # beside a shard that is whole: what the manifest will say of it
_WORDS = 20_000


def write(config, out: Path, per_shard: int, compress: bool, workers: int) -> dict:
    """Writes `out`; interrupted, the same call goes on with the next shard and ends with the same bytes."""
    config = measured(Data(train=config)).train
    splits = _splits_of(config)
    options = {
        key: value
        for key, value in config.model_dump(mode="json").items()
        if key not in ("dir", "damaged")
    }
    plan = {  # what decides the bytes
        "source": options | {"per_shard": per_shard, "compress": compress},
        "fingerprints": {split: source.fingerprint for split, source in splits.items()},
    }
    if (out / records.MANIFEST).exists():
        written = records.read_manifest(out)
        if any(written.get(key) != value for key, value in plan.items()):
            raise ConfigError(
                f"{out}: was written from other data or options; choose another --out or remove it"
            )
        warn(f"{out}: already written: nothing to do")
        return _result(out, written)
    if out.exists():
        raise ConfigError(
            f"{out}: expected no such directory yet, or one that this program has written"
        )
    part = out.with_name(out.name + ".part")
    with checkpoint.lock(part, "--out"):
        _begin(part, plan)
        described = _write_shards(part, config, splits, per_shard, compress, workers)
        manifest = _manifest(part, config, splits, described, plan)
        _flushed(part / records.MANIFEST, json.dumps(manifest, indent=1).encode())
        for name in (
            "plan.json",
            "lock",
            *(
                f"{shard['file']}{_SUFFIX}"
                for split in manifest["splits"].values()
                for shard in split["shards"]
            ),
        ):
            (part / name).unlink()
        checkpoint.flush(part)
        os.rename(part, out)
        checkpoint.flush(out.parent)
    return _result(out, manifest)


def _splits_of(config) -> dict[str, data_loader.Source]:
    splits = {}
    for split in data_loader.SPLITS:
        try:
            splits[split] = data_loader.load(config, split, config.dir)
        except data_loader.NoSplit:
            if split == "train":
                raise
    if len(splits) == 3 and splits["valid"].fingerprint == splits["test"].fingerprint:
        del splits["test"]  # one official set, which stands for both
    return splits


def _begin(part: Path, plan: dict) -> None:
    """Keeps the shards of an earlier attempt at the same plan, and nothing else."""
    text, file = json.dumps(plan, indent=1), part / "plan.json"
    same = file.exists() and file.read_text() == text
    if file.exists() and not same:
        warn(f"{part}: begun from other data or options: starting again")
    for path in list(part.iterdir()):
        whole = same and (
            path.name.endswith(_SUFFIX) or path.with_name(path.name + _SUFFIX).exists()
        )
        if path.name != "lock" and not whole:
            path.unlink()
    _flushed(file, text.encode())


def _flushed(path: Path, data: bytes) -> None:
    """Writes a file that is whole or not there under its name, also after a loss of power."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(data)
    checkpoint.flush(temporary)
    os.replace(temporary, path)


def _write_shards(
    part: Path, config, splits: dict, per_shard: int, compress: bool, workers: int
) -> dict[str, list[dict]]:
    """{split: [what there is to say of each shard]}; several at a time."""
    described = {
        split: [None] * math.ceil(len(source) / per_shard) for split, source in splits.items()
    }
    jobs = [(split, number) for split, shards in described.items() for number in range(len(shards))]
    orders = {split: _shuffled(len(source)) for split, source in splits.items()}
    total = sum(map(len, splits.values()))
    console = Console(stderr=True)
    bar = Progress(console=console, disable=not console.is_terminal)
    with StopSignals() as signals, bar, ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        task = bar.add_task("writing", total=total)

        def work(split: str, number: int):
            if signals.number is not None:
                return split, number, None
            indices = orders[split][number * per_shard : (number + 1) * per_shard]
            path = part / records.shard_name(split, number, len(described[split]))
            return (
                split,
                number,
                _shard(path, splits[split], config.first_ops or [], indices, compress),
            )

        try:
            for future in as_completed([pool.submit(work, *job) for job in jobs]):
                split, number, found = future.result()
                described[split][number] = found
                bar.advance(task, found["examples"] if found else 0)
        except BaseException:
            pool.shutdown(
                wait=False, cancel_futures=True
            )  # a full disk need not be found again by every shard
            raise
    if signals.number is not None and any(None in shards for shards in described.values()):
        done = sum(shard is not None for shards in described.values() for shard in shards)
        raise Stopped(
            f"{part}: {done} of {len(jobs)} shards are written; run the same command again to go on: {shlex.join(sys.argv)}"
        )
    if damaged := [
        name for shards in described.values() for shard in shards for name in shard["damaged"]
    ]:
        shown = "; ".join(damaged[:10]) + (
            f"; and {len(damaged) - 10} more" if len(damaged) > 10 else ""
        )
        raise DataError(
            f"{len(damaged)} of {total:,} examples cannot be read: {shown}; remove them, or leave out up to 0.1 % with damaged=skip"
        )
    return described


def _shuffled(length: int) -> np.ndarray:
    """The order in which examples are written: raw files lie class by class, and a shard should hold some of each."""
    return np.array(sorted(range(length), key=lambda index: position_of(str(index))))


def _shard(
    path: Path, source: data_loader.Source, ops: list, indices: np.ndarray, compress: bool
) -> dict:
    """Writes one shard unless it is there already; returns what the manifest needs to know of it."""
    done = path.with_name(path.name + _SUFFIX)
    if done.exists():
        return json.loads(done.read_text())
    labels, digests, damaged, words = [], [], [], Counter()
    count, sums, squares = 0, 0.0, 0.0
    temporary = path.with_name(path.name + ".tmp")
    try:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for index, row in _rows(source, ops, indices):
                if isinstance(row, str):
                    damaged.append(row)
                    continue
                data = _example(row).SerializeToString(deterministic=True)
                writer.write(zlib.compress(data) if compress else data)
                labels.append(int(source.labels[index]) if source.labels is not None else -1)
                digests.append(_digest(row["inputs"]))
                values = _values(row)
                if values is None:
                    words.update(row["inputs"].decode().split())
                else:
                    count, sums, squares = (
                        count + len(values),
                        sums + values.sum(axis=0),
                        squares + (values**2).sum(axis=0),
                    )
    except (
        tf.errors.OpError
    ) as error:  # what is wrong with an example comes as a row: this is the disk, or the memory
        raise ResourceError(program.reason_of(error, str(temporary))) from error
    entries = records.index_shard(temporary, labels)
    checkpoint.flush(temporary)
    found = {
        "examples": len(labels),
        "bytes": temporary.stat().st_size,
        "sha256": records.sha256_of(temporary),
        "index": base64.b64encode(entries.tobytes()).decode(),
        "labels": labels,
        "digests": digests,
        "damaged": damaged,
        "moments": [count, np.asarray(sums).tolist(), np.asarray(squares).tolist()],
        "words": dict(words),
    }
    os.replace(temporary, path)
    if not damaged:  # or mending the files would not be noticed where their names and sizes stay
        _flushed(done, json.dumps(found).encode())
    return found


def _rows(source: data_loader.Source, ops: list, indices: np.ndarray):
    """(index, {feature: value of one example}), or (index, what is wrong with it); a batch at a time while nothing is."""
    for start in range(0, len(indices), _EXAMPLES_AT_ONCE):
        yield from _rows_of_batch(source, ops, indices[start : start + _EXAMPLES_AT_ONCE])


def _rows_of_batch(source: data_loader.Source, ops: list, indices: np.ndarray):

    def treated(some):
        return {
            key: value.numpy()
            for key, value in apply_ops(
                source.read(some), fold(0, some), ops, len(source.class_names)
            ).items()
        }

    try:
        batch = treated(tf.constant(indices))
        found = [{key: value[row] for key, value in batch.items()} for row in range(len(indices))]
    except (*READING_ERRORS, DataError) as error:  # eager calls give the DataError itself
        if len(indices) > 1:
            for index in indices:
                yield from _rows_of_batch(source, ops, np.array([index]))
            return
        found = [program.reason_of(error, source.locate(int(indices[0])))]
    for index, row in zip(indices.tolist(), found, strict=True):
        if (
            not isinstance(row, str)
            and "orientation" in row
            and (damage := damage_of(row["inputs"], source.locate(index)))
        ):
            row = damage
        if (
            not isinstance(row, str) and "sample_weight" in row
        ):  # a sequence: without the padding of its batch
            length = int(row["sample_weight"].sum())
            row |= {key: row[key][:length] for key in ("targets", "sample_weight")}
        yield index, row


def _example(row: dict) -> tf.train.Example:
    features = {}
    for key, value in row.items():
        if isinstance(value, bytes):  # not through NumPy, which drops zero bytes at the end
            features[key] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        elif value.dtype == object:
            features[key] = tf.train.Feature(
                bytes_list=tf.train.BytesList(value=value.ravel().tolist())
            )
        elif value.dtype == np.uint8:
            features[key] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.tobytes()]))
        elif value.dtype.kind == "f":
            features[key] = tf.train.Feature(
                float_list=tf.train.FloatList(value=value.ravel().tolist())
            )
        else:
            features[key] = tf.train.Feature(
                int64_list=tf.train.Int64List(value=value.ravel().tolist())
            )
    return tf.train.Example(features=tf.train.Features(feature=features))


def _digest(value) -> str:
    data = value if isinstance(value, bytes) else np.ascontiguousarray(value).tobytes()
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _values(row: dict) -> np.ndarray | None:
    """float64 [items, channels] of an example's numbers or pixels; None for text."""
    inputs = row["inputs"]
    if "orientation" in row:
        inputs = tf.io.decode_image(inputs, channels=0, expand_animations=False).numpy()
        inputs = np.repeat(inputs[..., :1], 3, axis=2) if inputs.shape[2] < 3 else inputs[..., :3]
    elif isinstance(inputs, bytes):
        return None
    inputs = np.asarray(inputs, np.float64)
    return inputs.reshape(-1, inputs.shape[-1] if inputs.ndim else 1)


def _manifest(part: Path, config, splits: dict, described: dict, plan: dict) -> dict:
    """Writes the index of each split; returns what manifest.json says."""
    first = next(iter(splits.values()))
    manifest = {
        "format": records.FORMAT,
        **plan,
        "command": shlex.join(sys.argv),
        "compressed": plan["source"]["compress"],
        "class_names": list(first.class_names),
        "features": _features(first, config.first_ops or []),
        "splits": {},
    }
    seen: dict[str, tuple[str, int]] = {}
    within, across = [], []
    for split, shards in described.items():
        entries = b"".join(base64.b64decode(shard["index"]) for shard in shards)
        _flushed(part / f"{split}.index", entries)
        labels = [label for shard in shards for label in shard["labels"]]
        counts = Counter(labels)
        digests = [digest for shard in shards for digest in shard["digests"]]
        for index, digest in zip(_shuffled(len(digests)).tolist(), digests, strict=True):
            before = seen.setdefault(digest, (split, index))
            if before != (split, index):
                pair = [splits[before[0]].locate(before[1]), splits[split].locate(index)]
                (within if before[0] == split else across).append(pair)
        manifest["splits"][split] = {
            "examples": len(labels),
            "classes": {name: counts[number] for number, name in enumerate(first.class_names)}
            if max(labels) >= 0
            else {},
            "shards": [
                {
                    "file": records.shard_name(split, number, len(shards)),
                    **{key: shard[key] for key in ("bytes", "sha256", "examples")},
                }
                for number, shard in enumerate(shards)
            ],
            "index": {
                "file": f"{split}.index",
                "bytes": len(entries),
                "sha256": hashlib.sha256(entries).hexdigest(),
            },
        }
    manifest["duplicates"] = {
        "within": len(within),
        "across": len(across),
        "first": [*across[:20], *within[:20]],
    }
    moments = [shard["moments"] for shard in described["train"]]
    if count := sum(moment[0] for moment in moments):
        mean, square = (np.sum([moment[at] for moment in moments], axis=0) / count for at in (1, 2))
        manifest |= {
            "mean": mean.tolist(),
            "std": np.sqrt(np.maximum(square - mean**2, 0)).tolist(),
        }
    words = sum((Counter(shard["words"]) for shard in described["train"]), Counter())
    if words:
        manifest["vocabulary"] = sorted(words, key=lambda word: (-words[word], word))[:_WORDS]
    return manifest


def _features(source: data_loader.Source, ops: list) -> dict:
    """{feature: type and shape of one example}; -1: any length."""

    def features(indices):
        return apply_ops(source.read(indices), fold(0, indices), ops, len(source.class_names))

    found = (
        tf.function(features)
        .get_concrete_function(tf.TensorSpec([None], tf.int64))
        .structured_outputs
    )
    return {
        key: {
            "dtype": value.dtype.name,
            "shape": [-1 if size is None else size for size in value.shape[1:]],
        }
        for key, value in found.items()
    }


def _result(out: Path, manifest: dict) -> dict:
    """Says what there is to know of the set; returns the program's last line."""
    for split, described in manifest["splits"].items():
        counts = sorted(described["classes"].items(), key=lambda item: item[1])
        text = f"{out}: {split}: {described['examples']:,} examples in {len(described['shards'])} shards"
        if counts:
            (least, few), (most, many) = counts[0], counts[-1]
            text += f"; largest class {most} {many:,}, smallest {least} {few:,} ({many / max(few, 1):.1f} x)"
        warn(text)
    duplicates = manifest["duplicates"]
    for kind, words in (
        ("within", "twice in one split"),
        ("across", "in two splits: what is tested on was trained on"),
    ):
        if duplicates[kind]:
            pairs = (
                duplicates["first"][: duplicates["across"]]
                if kind == "across"
                else duplicates["first"][duplicates["across"] :]
            )
            shown = "".join(f"\n  {a} = {b}" for a, b in pairs[:5])
            warn(f"{out}: {duplicates[kind]:,} examples are {words}:{shown}")
    examples = {split: described["examples"] for split, described in manifest["splits"].items()}
    return {
        "out": str(out),
        "examples": examples,
        "duplicates": {key: duplicates[key] for key in ("within", "across")},
    }


def check(directory: Path) -> dict:
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        shards = sum(
            len(described["shards"])
            for described in records.read_manifest(directory)["splits"].values()
        )
        task = bar.add_task("checking", total=shards)
        total = records.check(directory, lambda _: bar.advance(task))
    return {"checked": str(directory), "examples": total}


def main(config) -> dict:
    if COMMAND.check is not None:
        return check(Path(COMMAND.check))
    return write(config, Path(COMMAND.out), COMMAND.per_shard, COMMAND.compress, COMMAND.workers)


if __name__ == "__main__":
    program.run(COMMAND, lambda: main(PREPARED))
