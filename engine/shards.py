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
        if manifest != manifest | job.plan:
            raise ConfigError(
                f"{out}: was written from other data or options; choose another --out or remove it"
            )
        warn(f"{out}: already written: nothing to do")
        return manifest
    if out.exists():
        raise ConfigError(
            f"{out}: expected no such directory yet, or one that this program has written"
        )
    part = Path(f"{out}.part")
    with checkpoint.lock(part, "--out"):
        _begin(part, job.plan)
        shards = _write_shards(part, job)
        manifest = _manifest(part, job, shards)
        _write_file(part / records.MANIFEST, json.dumps(manifest, indent=1).encode())
        for path in [part / "plan.json", part / "lock", *part.glob(f"*{_DONE}")]:
            path.unlink()
        checkpoint.flush(part)
        os.rename(part, out)
        checkpoint.flush(out.parent)
    return manifest


def _begin(part: Path, plan: dict) -> None:
    """Keeps the shards of an earlier attempt at the same plan, and nothing else."""
    text = json.dumps(plan, indent=1)
    file = part / "plan.json"
    is_same = file.exists() and file.read_text() == text
    if file.exists() and not is_same:
        warn(f"{part}: begun from other data or options: starting again")
    kept = {part / "lock"}
    for done in part.glob(f"*{_DONE}") if is_same else []:
        kept |= {done, done.with_suffix("")}
    for path in set(part.iterdir()) - kept:
        path.unlink()
    _write_file(file, text.encode())


def _write_file(path: Path, data: bytes) -> None:
    """Writes a file that is complete or not there under its name, also after a loss of power."""
    temporary = Path(f"{path}.tmp")
    temporary.write_bytes(data)
    checkpoint.flush(temporary)
    os.replace(temporary, path)


# ---- shards


def _write_shards(part: Path, job: Job) -> dict[str, list]:
    """{split: [what the manifest needs of each shard]}; several are written at a time."""
    planned = []
    for split, source in job.splits.items():
        order = written_order(len(source))
        count = math.ceil(len(order) / job.per_shard)
        for number in range(count):
            path = part / records.shard_name(split, number, count)
            indices = order[number * job.per_shard :][: job.per_shard]
            planned.append((split, path, indices))
    total = sum(map(len, job.splits.values()))
    bar = _progress_bar()
    with StopSignals() as signals, bar, ThreadPoolExecutor(job.workers or os.cpu_count()) as pool:
        task = bar.add_task("writing", total=total)

        def write_shard(split: str, path: Path, indices: np.ndarray) -> dict | None:
            if signals.number is not None:
                return None
            shard = _shard(path, job, job.splits[split], indices)
            bar.advance(task, len(indices))
            return shard

        futures = [pool.submit(write_shard, *shard) for shard in planned]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:  # a full disk need not be met again by every shard
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    shards = {split: [] for split in job.splits}
    damaged = []
    for future, (split, *_) in zip(futures, planned, strict=True):
        if shard := future.result():
            shards[split].append(shard)
            damaged += shard["damaged"]
    num_written = sum(map(len, shards.values()))
    if num_written < len(planned):
        raise Stopped(
            f"{part}: {num_written} of {len(planned)} shards are written; "
            f"run the same command again to go on: {shlex.join(sys.argv)}"
        )
    if damaged:
        raise DataError(
            f"{len(damaged)} of {total:,} examples cannot be read: "
            f"{checkpoint.listed(damaged, '; ')}; "
            "remove them, or leave out a few with damaged=skip (max_damaged)"
        )
    return shards


def _progress_bar() -> Progress:
    console = Console(stderr=True)
    return Progress(console=console, disable=not console.is_terminal)


def written_order(length: int) -> np.ndarray:
    """Raw files lie class by class, and a shard should hold some of each: indices, shuffled."""
    return np.array(sorted(range(length), key=lambda index: position_of(str(index))))


def _shard(path: Path, job: Job, source, indices: np.ndarray) -> dict:
    """Writes one shard unless it is there already; returns what the manifest needs of it."""
    done = Path(f"{path}{_DONE}")
    if done.exists():
        return json.loads(done.read_text())
    temporary = Path(f"{path}.tmp")
    labels = []
    digests = []
    damaged = []

    def write_records(writer: tf.io.TFRecordWriter) -> None:
        for index, example, reason in _examples(source, job.treat, indices):
            if reason is not None:
                damaged.append(reason)
                continue
            data = _serialized(example)
            writer.write(zlib.compress(data) if job.compress else data)
            labels.append(-1 if source.labels is None else int(source.labels[index]))
            digests.append(_digest(example["inputs"]))

    try:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            write_records(writer)
    except tf.errors.OpError as error:  # of the disk or the memory: examples give a reason
        raise ResourceError(reason_of(error, str(temporary))) from error
    entries = records.index_shard(temporary, labels)
    checkpoint.flush(temporary)
    shard = {
        "file": path.name,
        "bytes": temporary.stat().st_size,
        "sha256": records.sha256_of(temporary),
        "examples": len(labels),
        "index": base64.b64encode(entries.tobytes()).decode(),
        "digests": digests,
        "damaged": damaged,
    }
    os.replace(temporary, path)
    if not damaged:  # or files mended under their names and sizes would not be read again
        _write_file(done, json.dumps(shard).encode())
    return shard


def _examples(source, treat: Callable, indices: np.ndarray) -> Iterator[tuple]:
    """(index, {feature: value}, None) of each example, or (index, None, why it is damaged)."""
    starts = range(_EXAMPLES_AT_ONCE, len(indices), _EXAMPLES_AT_ONCE)
    for batch in np.split(indices, starts):
        yield from _examples_of_batch(source, treat, batch)


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
            for index in np.split(indices, len(indices)):
                yield from _examples_of_batch(source, treat, index)
        return
    for row, index in enumerate(indices.tolist()):
        example = {key: value[row] for key, value in features.items()}
        reason = None
        if "orientation" in example:  # an encoded image
            reason = damage_of(example["inputs"], source.locate(index))
        if "sample_weight" in example:  # a sequence, without the padding of its batch
            length = int(example["sample_weight"].sum())
            for key in ("targets", "sample_weight"):
                example[key] = example[key][:length]
        yield index, example, reason


def _serialized(example: dict) -> bytes:
    """A tf.train.Example."""
    features = {"feature": {key: _feature(value) for key, value in example.items()}}
    return tf.train.Example(features=features).SerializeToString(deterministic=True)


def _feature(value) -> tf.train.Feature:
    if isinstance(value, bytes):  # not through NumPy, which drops zero bytes at the end
        return tf.train.Feature(bytes_list={"value": [value]})
    if value.dtype == np.uint8:
        return tf.train.Feature(bytes_list={"value": [value.tobytes()]})
    values = {"value": value.ravel().tolist()}
    if value.dtype == object:
        return tf.train.Feature(bytes_list=values)
    if value.dtype.kind == "f":
        return tf.train.Feature(float_list=values)
    return tf.train.Feature(int64_list=values)


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
    index = part / f"{split}.index"
    _write_file(index, entries)
    labels = np.frombuffer(entries, records.ENTRY)["label"].tolist()
    counts = Counter(labels)
    classes = {}
    if max(labels) >= 0:
        classes = {name: counts[number] for number, name in enumerate(class_names)}
    described = []
    for shard in shards:
        described.append({key: shard[key] for key in ("file", "bytes", "sha256", "examples")})
    sha256 = records.sha256_of(index)
    return {
        "examples": len(labels),
        "classes": classes,
        "shards": described,
        "index": {"file": index.name, "bytes": len(entries), "sha256": sha256},
    }


def _features(source, treat: Callable) -> dict:
    """{feature: type and shape of one example}; -1: any length."""
    compiled = tf.function(lambda indices: treat(source, indices))
    specs = compiled.get_concrete_function(tf.TensorSpec([None], tf.int64)).structured_outputs
    features = {}
    for key, spec in specs.items():
        shape = [-1 if size is None else size for size in spec.shape[1:]]
        features[key] = {"dtype": spec.dtype.name, "shape": shape}
    return features


def _duplicates(splits: dict, shards: dict[str, list]) -> dict:
    """How many inputs occur twice, within one split and across two, and where the first are."""
    first_places = {}
    within = []
    across = []
    for split, source in splits.items():
        digests = [digest for shard in shards[split] for digest in shard["digests"]]
        for index, digest in zip(written_order(len(digests)).tolist(), digests, strict=True):
            other_split, other = first_places.setdefault(digest, (split, index))
            if (other_split, other) != (split, index):
                pair = [splits[other_split].locate(other), source.locate(index)]
                (within if other_split == split else across).append(pair)
    first = [*across[:20], *within[:20]]
    return {"within": len(within), "across": len(across), "first": first}


def report(out: Path, manifest: dict) -> dict:
    """Says what there is to know of a set that is written; returns the program's last line."""
    examples = {}
    for split, described in manifest["splits"].items():
        examples[split] = described["examples"]
        text = f"{described['examples']:,} examples in {len(described['shards'])} shards"
        if described["classes"]:
            ranked = sorted(described["classes"].items(), key=lambda item: item[1])
            (least, fewest) = ranked[0]
            (most, highest) = ranked[-1]
            ratio = highest / max(fewest, 1)
            text += (
                f"; largest class {most} {highest:,}, smallest {least} {fewest:,} ({ratio:.1f} x)"
            )
        warn(f"{out}: {split}: {text}")
    duplicates = manifest["duplicates"]
    within = duplicates["within"]
    across = duplicates["across"]
    pairs = [f"\n  {first} = {second}" for first, second in duplicates["first"]]
    if within:
        shown = "".join(pairs[across:][:5])
        warn(f"{out}: {within:,} examples are twice in one split:{shown}")
    if across:
        shown = "".join(pairs[: min(across, 5)])
        warn(
            f"{out}: {across:,} examples are in two splits: "
            f"what is tested on was trained on:{shown}"
        )
    counts = {"within": within, "across": across}
    return {"out": str(out), "examples": examples, "duplicates": counts}


def check(directory: Path) -> int:
    """Reads every byte of a set that was written before; returns how many examples it holds."""
    with _progress_bar() as bar:
        splits = records.read_manifest(directory)["splits"].values()
        task = bar.add_task("checking", total=sum(len(split["shards"]) for split in splits))
        return records.check(directory, lambda _: bar.advance(task))
