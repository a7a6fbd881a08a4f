"""Examples written as records: shard by shard, kept through a kill, ended by the manifest.

`engine/record_files.py` describes the format. Nothing here knows a data set or an operation:
`treat(source, int64 [n])` gives the features of examples of a source of `data_loader.py`.
"""

import base64
import hashlib
import json
import math
import os
import shlex
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import Progress

from cli.program import ConfigError, DataError, ResourceError, Stopped, StopSignals, warn
from engine import checkpoint
from engine import record_files as records
from engine.damaged import READING_ERRORS, damage_of, reason_of
from engine.order import position_of

_DONE = ".done"  # beside a shard that is complete: what the manifest will say of it
_EXAMPLES_AT_ONCE = 64


@dataclass(frozen=True)
class Job:
    """What is written: `plan` is what decides the bytes, and stands in the manifest."""

    splits: dict  # {split: source}
    treat: Callable
    plan: dict
    per_shard: int
    compress: bool
    workers: int


def write(out: Path, job: Job) -> dict:
    """Writes `out`; interrupted, the same call goes on and ends with the same bytes."""
    if (out / records.MANIFEST).exists():
        manifest = records.read_manifest(out)
        if any(manifest.get(key) != value for key, value in job.plan.items()):
            cure = "choose another --out or remove it"
            raise ConfigError(f"{out}: was written from other data or options; {cure}")
        warn(f"{out}: already written: nothing to do")
        return manifest
    if out.exists():
        wanted = "no such directory yet, or one that this program has written"
        raise ConfigError(f"{out}: expected {wanted}")
    part = out.with_name(out.name + ".part")
    with checkpoint.lock(part, "--out"):
        _begin(part, job.plan)
        shards = _write_shards(part, job)
        manifest = _manifest(part, job, shards)
        _write_file(part / records.MANIFEST, json.dumps(manifest, indent=1).encode())
        for path in [part / "plan.json", part / "lock", *part.glob("*" + _DONE)]:
            path.unlink()
        checkpoint.flush(part)
        os.rename(part, out)
        checkpoint.flush(out.parent)
    return manifest


def _begin(part: Path, plan: dict) -> None:
    """Keeps the shards of an earlier attempt at the same plan, and nothing else."""
    text, file = json.dumps(plan, indent=1), part / "plan.json"
    is_same = file.exists() and file.read_text() == text
    if file.exists() and not is_same:
        warn(f"{part}: begun from other data or options: starting again")
    for path in list(part.iterdir()):
        is_done = path.name.endswith(_DONE) or path.with_name(path.name + _DONE).exists()
        if path.name != "lock" and not (is_same and is_done):
            path.unlink()
    _write_file(file, text.encode())


def _write_file(path: Path, data: bytes) -> None:
    """Writes a file that is complete or not there under its name, also after a loss of power."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(data)
    checkpoint.flush(temporary)
    os.replace(temporary, path)


# ---- shards


def _write_shards(part: Path, job: Job) -> dict[str, list]:
    """{split: [what the manifest needs of each shard]}; several are written at a time."""
    orders = {split: written_order(len(source)) for split, source in job.splits.items()}
    counts = {split: math.ceil(len(order) / job.per_shard) for split, order in orders.items()}
    shards = {split: [None] * count for split, count in counts.items()}
    numbers = [(split, number) for split, count in counts.items() for number in range(count)]
    total = sum(map(len, orders.values()))
    console = Console(stderr=True)
    bar = Progress(console=console, disable=not console.is_terminal)
    with StopSignals() as signals, bar, ThreadPoolExecutor(job.workers or os.cpu_count()) as pool:
        task = bar.add_task("writing", total=total)

        def write_shard(split: str, number: int):
            if signals.number is None:
                start = number * job.per_shard
                path = part / records.shard_name(split, number, counts[split])
                indices = orders[split][start : start + job.per_shard]
                shards[split][number] = _shard(path, job, job.splits[split], indices)
                bar.advance(task, len(indices))

        try:
            for future in as_completed([pool.submit(write_shard, *each) for each in numbers]):
                future.result()
        except BaseException:  # a full disk need not be met again by every shard
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    written = [shard for shards in shards.values() for shard in shards if shard is not None]
    if len(written) < len(numbers):
        again = f"run the same command again to go on: {shlex.join(sys.argv)}"
        raise Stopped(f"{part}: {len(written)} of {len(numbers)} shards are written; {again}")
    if damaged := [reason for shard in written for reason in shard["damaged"]]:
        shown = "; ".join(damaged[:10])
        others = f"; and {len(damaged) - 10} more" if len(damaged) > 10 else ""
        cure = "remove them, or leave out up to 0.1 % with damaged=skip"
        count = f"{len(damaged)} of {total:,} examples cannot be read"
        raise DataError(f"{count}: {shown}{others}; {cure}")
    return shards


def written_order(length: int) -> np.ndarray:
    """Raw files lie class by class, and a shard should hold some of each: indices, shuffled."""
    return np.array(sorted(range(length), key=lambda index: position_of(str(index))))


def _shard(path: Path, job: Job, source, indices: np.ndarray) -> dict:
    """Writes one shard unless it is there already; returns what the manifest needs of it."""
    done = path.with_name(path.name + _DONE)
    if done.exists():
        return json.loads(done.read_text())
    labels, digests, damaged = [], [], []
    temporary = path.with_name(path.name + ".tmp")
    try:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for index, example, reason in _examples(source, job.treat, indices):
                if reason is not None:
                    damaged.append(reason)
                    continue
                data = _serialized(example)
                writer.write(zlib.compress(data) if job.compress else data)
                labels.append(int(source.labels[index]) if source.labels is not None else -1)
                digests.append(_digest(example["inputs"]))
    except tf.errors.OpError as error:  # of the disk or the memory: examples give a reason
        raise ResourceError(reason_of(error, str(temporary))) from error
    entries = records.index_shard(temporary, labels)
    checkpoint.flush(temporary)
    shard = {
        "examples": len(labels),
        "bytes": temporary.stat().st_size,
        "sha256": records.sha256_of(temporary),
        "index": base64.b64encode(entries.tobytes()).decode(),
        "labels": labels,
        "digests": digests,
        "damaged": damaged,
    }
    os.replace(temporary, path)
    if not damaged:  # or files mended under their names and sizes would not be read again
        _write_file(done, json.dumps(shard).encode())
    return shard


def _examples(source, treat: Callable, indices: np.ndarray) -> Iterator[tuple]:
    """(index, {feature: value}, None) of each example, or (index, None, why it is damaged)."""
    for start in range(0, len(indices), _EXAMPLES_AT_ONCE):
        yield from _examples_of_batch(source, treat, indices[start : start + _EXAMPLES_AT_ONCE])


def _examples_of_batch(source, treat: Callable, indices: np.ndarray) -> Iterator[tuple]:
    """Treated as one batch while nothing is damaged, else one by one."""
    try:
        features = treat(source, tf.constant(indices))
        features = {key: value.numpy() for key, value in features.items()}
    except (*READING_ERRORS, DataError) as error:  # eager calls give the DataError itself
        if len(indices) == 1:
            (index,) = indices.tolist()
            yield index, None, reason_of(error, source.locate(index))
        else:
            for index in indices:
                yield from _examples_of_batch(source, treat, np.array([index]))
        return
    for row, index in enumerate(indices.tolist()):
        example = {key: value[row] for key, value in features.items()}
        reason = None
        if "orientation" in example:  # an encoded image
            reason = damage_of(example["inputs"], source.locate(index))
        if "sample_weight" in example:  # a sequence, without the padding of its batch
            length = int(example["sample_weight"].sum())
            example |= {key: example[key][:length] for key in ("targets", "sample_weight")}
        yield index, example, reason


def _serialized(example: dict) -> bytes:
    """A tf.train.Example."""
    features = {key: _feature(value) for key, value in example.items()}
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def _feature(value) -> tf.train.Feature:
    if isinstance(value, bytes):  # not through NumPy, which drops zero bytes at the end
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    if value.dtype == np.uint8:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.tobytes()]))
    values = value.ravel().tolist()
    if value.dtype == object:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if value.dtype.kind == "f":
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _digest(value) -> str:
    data = value if isinstance(value, bytes) else np.ascontiguousarray(value).tobytes()
    return hashlib.blake2b(data, digest_size=16).hexdigest()


# ---- manifest


def _manifest(part: Path, job: Job, shards: dict[str, list]) -> dict:
    """Writes the index of each split; returns what manifest.json says."""
    first = next(iter(job.splits.values()))
    splits = {split: _split(part, split, first.class_names, shards[split]) for split in shards}
    return {
        "format": records.FORMAT,
        **job.plan,
        "command": shlex.join(sys.argv),
        "compressed": job.compress,
        "class_names": list(first.class_names),
        "features": _features(first, job.treat),
        "splits": splits,
        "duplicates": _duplicates(job.splits, shards),
    }


def _split(part: Path, split: str, class_names, shards: list[dict]) -> dict:
    entries = b"".join(base64.b64decode(shard["index"]) for shard in shards)
    _write_file(part / f"{split}.index", entries)
    labels = [label for shard in shards for label in shard["labels"]]
    counts, has_labels = Counter(labels), max(labels) >= 0
    return {
        "examples": len(labels),
        "classes": {name: counts[number] for number, name in enumerate(class_names) if has_labels},
        "shards": [
            {"file": records.shard_name(split, number, len(shards))}
            | {key: shard[key] for key in ("bytes", "sha256", "examples")}
            for number, shard in enumerate(shards)
        ],
        "index": {
            "file": f"{split}.index",
            "bytes": len(entries),
            "sha256": hashlib.sha256(entries).hexdigest(),
        },
    }


def _features(source, treat: Callable) -> dict:
    """{feature: type and shape of one example}; -1: any length."""
    compiled = tf.function(lambda indices: treat(source, indices))
    specs = compiled.get_concrete_function(tf.TensorSpec([None], tf.int64)).structured_outputs
    return {
        key: {
            "dtype": spec.dtype.name,
            "shape": [-1 if size is None else size for size in spec.shape[1:]],
        }
        for key, spec in specs.items()
    }


def _duplicates(splits: dict, shards: dict[str, list]) -> dict:
    """How many inputs occur twice, within one split and across two, and where the first are."""
    first_places, within, across = {}, [], []
    for split, source in splits.items():
        digests = [digest for shard in shards[split] for digest in shard["digests"]]
        for index, digest in zip(written_order(len(digests)).tolist(), digests, strict=True):
            other_split, other = first_places.setdefault(digest, (split, index))
            if (other_split, other) != (split, index):
                pair = [splits[other_split].locate(other), source.locate(index)]
                (within if other_split == split else across).append(pair)
    return {
        "within": len(within),
        "across": len(across),
        "first": [*across[:20], *within[:20]],
    }


def report(out: Path, manifest: dict) -> dict:
    """Says what there is to know of a set that is written; returns the program's last line."""
    for split, described in manifest["splits"].items():
        text = f"{described['examples']:,} examples in {len(described['shards'])} shards"
        if described["classes"]:
            ranked = sorted(described["classes"].items(), key=lambda item: item[1])
            (least, fewest), (most, highest) = ranked[0], ranked[-1]
            text += f"; largest class {most} {highest:,}, smallest {least} {fewest:,}"
            text += f" ({highest / max(fewest, 1):.1f} x)"
        warn(f"{out}: {split}: {text}")
    duplicates = manifest["duplicates"]
    pairs = duplicates["first"]
    within, across = pairs[duplicates["across"] :], pairs[: duplicates["across"]]
    leak = "in two splits: what is tested on was trained on"
    for key, what, pairs in (("within", "twice in one split", within), ("across", leak, across)):
        if duplicates[key]:
            shown = "".join(f"\n  {a} = {b}" for a, b in pairs[:5])
            warn(f"{out}: {duplicates[key]:,} examples are {what}:{shown}")
    examples = {split: described["examples"] for split, described in manifest["splits"].items()}
    counts = {key: duplicates[key] for key in ("within", "across")}
    return {"out": str(out), "examples": examples, "duplicates": counts}


def check(directory: Path) -> int:
    """Reads every byte of a set that was written before; returns how many examples it holds."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        splits = records.read_manifest(directory)["splits"].values()
        task = bar.add_task("checking", total=sum(len(split["shards"]) for split in splits))
        return records.check(directory, lambda _: bar.advance(task))
