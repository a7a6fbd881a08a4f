"""The format of prepared data: TFRecord shards, an index, a manifest.

    DIR/manifest.json                   what there is, SHA-256 of every other file; written last
    DIR/train-00000-of-00004.tfrecord   standard framing, one tf.train.Example a record, the same
                                        number in each shard but the last
    DIR/train.index                     where each record lies, its checksum, its class

A record is found by its number with one positioned read. The index holds a CRC-32 of the whole
framed record, so a flipped bit is noticed by whoever reads it; `check` finds it beforehand. A
directory with a scheme, such as gs://bucket/photos, is read through tf.io.gfile.
"""

import functools
import hashlib
import json
import math
import os
import re
import threading
import weakref
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from cli import files
from cli.program import DataError

FORMAT = 1
MANIFEST = "manifest.json"
# offset and length of the framed record, its CRC-32, and its class (-1: none)
ENTRY = np.dtype([("offset", "<u8"), ("length", "<u4"), ("crc32", "<u4"), ("label", "<i4")])
_MAX_BYTES = 1 << 30  # of a record when unpacked
HEADER, FOOTER = 12, 4  # of a framed record: length and its CRC; CRC of the data
_SEQUENCES = ("int32", "int64", "float32")
_DTYPES = (*_SEQUENCES, "uint8", "string")


def shard_name(split: str, number: int, count: int) -> str:
    return f"{split}-{number:05d}-of-{count:05d}.tfrecord"


def index_shard(path: Path, labels: list[int]) -> np.ndarray:
    """The entries of a shard that has just been written, from its bytes, a record at a time."""
    entries = np.zeros(len(labels), ENTRY)
    with open(path, "rb") as file:
        for number, label in enumerate(labels):
            at = file.tell()
            header = file.read(HEADER)
            framed = header + file.read(int.from_bytes(header[:8], "little") + FOOTER)
            entries[number] = (at, len(framed), zlib.crc32(framed), label)
    return entries


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class File:
    """One file, local or not, read at any place by any thread. Raises DataError in its own name."""

    def __init__(self, directory: Path | str, name: str):
        self.path = f"{directory}/{name}"
        self._is_remote = "://" in self.path
        self._lock = threading.Lock()

    @functools.cached_property
    def _descriptor(self) -> int:
        # A FIFO is not waited for; it cannot be read at a place.
        descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        weakref.finalize(self, os.close, descriptor)
        return descriptor

    @functools.cached_property
    def _remote(self) -> tf.io.gfile.GFile:
        return tf.io.gfile.GFile(self.path, "rb")

    def size(self) -> int:
        try:
            return tf.io.gfile.stat(self.path).length
        except tf.errors.NotFoundError:
            raise DataError(f"{self.path}: no such file") from None

    def read(self, length: int = -1, offset: int = 0) -> bytes:
        try:
            if not self._is_remote:
                return os.pread(self._descriptor, self.size() if length < 0 else length, offset)
            with self._lock:  # it has one place at which it reads
                self._remote.seek(offset)
                return self._remote.read(length)
        except (FileNotFoundError, tf.errors.NotFoundError):
            raise DataError(f"{self.path}: no such file") from None
        except (OSError, tf.errors.OpError) as error:
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise DataError(f"{self.path}: {reason}") from error

    def sha256(self) -> str:
        digest = hashlib.sha256()
        offset = 0
        while block := self.read(1 << 22, offset):
            digest.update(block)
            offset += len(block)
        return digest.hexdigest()


# ---- the manifest


def is_prepared(directory: Path | str) -> bool:
    """Whether it holds something of a prepared set, also one that is not whole."""
    if tf.io.gfile.glob(f"{directory}/*.index"):
        return True
    return any(
        tf.io.gfile.exists(name) for name in (f"{directory}/{MANIFEST}", f"{directory}.part")
    )


def read_manifest(directory: Path | str) -> dict:
    """Raises DataError for a directory that is not, or not yet, a prepared set."""
    file = File(directory, MANIFEST)
    if not tf.io.gfile.exists(file.path):
        part = f"{directory}.part"
        if tf.io.gfile.exists(part):
            raise DataError(
                f"{directory}: not finished: {part} is there; run the command that writes it again"
            )
        raise DataError(
            f"{file.path}: no such file; "
            f"expected what `python preprocess_data.py --out {directory}` writes"
        )
    try:
        data = file.read() if "://" in file.path else files.read_bytes(file.path, DataError)
    except FileNotFoundError:
        raise DataError(f"{file.path}: no such file") from None
    manifest = files.parse_json(data, Any, f"{file.path}: damaged", DataError)
    problem = _problem_in(manifest)
    if problem:
        raise DataError(f"{file.path}: {problem}")
    return manifest


def _problem_in(manifest) -> str | None:
    """It may come from anywhere, so every field that is used is looked at."""
    version = manifest.get("format") if isinstance(manifest, dict) else manifest
    if version is manifest or version != FORMAT:
        return f"expected a manifest of format {FORMAT}, got {version!r:.40}"
    kinds = {"features": dict, "class_names": list, "splits": dict, "compressed": bool}
    for key, kind in kinds.items():
        if not isinstance(manifest.get(key), kind):
            return f"{key}: expected a {kind.__name__}, got {manifest.get(key)!r:.40}"
    if not all(isinstance(name, str) for name in manifest["class_names"]):
        return "class_names: expected text"
    for name, feature in manifest["features"].items():
        if not isinstance(feature, dict) or not _is_feature(**feature):
            return f"features: {name}: expected a dtype and a shape, got {feature!r:.60}"
    for split, described in manifest["splits"].items():
        problem = _problem_in_split(described)
        if problem:
            return f"splits: {split}: {problem}"
    return None


def _is_feature(dtype=None, shape=None, **_) -> bool:
    if shape == [-1]:
        return dtype in _SEQUENCES
    if dtype not in _DTYPES or not isinstance(shape, list):
        return False
    return all(type(size) is int and size >= 0 for size in shape) and math.prod(shape) < 1 << 31


def _problem_in_split(described) -> str | None:
    shards = described.get("shards") if isinstance(described, dict) else None
    if not isinstance(shards, list) or not shards:
        return "expected a list of shards"
    for file in [*shards, described.get("index")]:
        if not isinstance(file, dict) or {"file", "bytes", "sha256"} - file.keys():
            return f"expected file, bytes and sha256 of every file, got {file!r:.60}"
        name = file["file"]
        is_name = type(name) is str and re.fullmatch(r"\w[\w.-]*", name)
        if not is_name or type(file["bytes"]) is not int:
            return f"expected the name of a file in this directory, got {name!r:.60}"
    counts = []
    for shard in shards:
        count = shard.get("examples")
        if type(count) is not int or count < 1:
            return f"{shard['file']}: expected a number of examples, got {count!r:.40}"
        counts.append(count)
    if len(set(counts[:-1])) > 1 or counts[-1] > counts[0]:
        return "expected the same number of examples in every shard but the last"
    return None


# ---- records


def _open(directory: Path | str, described: dict) -> File:
    file = File(directory, described["file"])
    size = file.size()
    expected = described["bytes"]
    if size != expected:
        raise DataError(f"{file.path}: expected {expected:,} bytes, as in {MANIFEST}, got {size:,}")
    return file


class Shards:
    """Framed records of several TFRecord files, by number.

    `index`: ENTRY [records], file after file; `counts`: how many of them each file holds.
    """

    compressed = False

    def __init__(self, shards: list[File], counts: list[int], index: np.ndarray):
        self.shards = shards
        self.index = index
        self.begins = np.cumsum([0, *counts])
        is_even = len(set(counts[:-1])) <= 1 and counts[-1] <= counts[0]
        self.block_length = counts[0] if is_even else 0

    def __len__(self) -> int:
        return len(self.index)

    def shard_of(self, numbers):
        return np.searchsorted(self.begins, numbers, side="right") - 1

    def locate(self, number: int) -> str:
        shard = int(self.shard_of(number))
        record = number - self.begins[shard]
        return f"{self.shards[shard].path}: record {record} at byte {self.index['offset'][number]}"

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """int64 [n] -> object [n] of serialized examples; one positioned read each."""
        return self._read(numbers, lambda shard, *place: self.shards[shard].read(*place))

    def _read(self, numbers: np.ndarray, read_at: Callable) -> np.ndarray:
        """Records by `read_at(shard, length, offset)`, which gives the framed bytes."""
        data = np.empty(len(numbers), object)
        entries = self.index[numbers].tolist()
        shards = self.shard_of(numbers).tolist()
        for row, number in enumerate(numbers.tolist()):
            offset, length, crc32, _ = entries[row]
            framed = read_at(shards[row], length, offset)
            data[row] = self._data_of(number, framed, crc32)
        return data

    def read_in_blocks(self, blocks: int) -> Callable[[np.ndarray], np.ndarray]:
        """A `read` by whole shards, of which the last `blocks` are kept: for slow storage."""
        lock = threading.Lock()

        @functools.lru_cache(blocks)
        def whole(shard: int) -> bytes:
            return self.shards[shard].read()

        def read_at(shard: int, length: int, offset: int) -> bytes:
            with lock:  # one reader fetches; the others wait for the same shard
                block = whole(shard)
            return block[offset : offset + length]

        def read(numbers: np.ndarray) -> np.ndarray:
            order = np.argsort(self.shard_of(numbers), kind="stable")
            data = np.empty(len(numbers), object)
            data[order] = self._read(numbers[order], read_at)
            return data

        return read

    def _data_of(self, number: int, framed: bytes, crc32: int) -> bytes:
        if zlib.crc32(framed) != crc32:
            raise DataError(
                f"{self.locate(number)}: damaged: its checksum is not the one in the index"
            )
        data = framed[HEADER:-FOOTER]
        if not self.compressed:
            return data
        unpacker = zlib.decompressobj()
        try:
            unpacked = unpacker.decompress(data, _MAX_BYTES)
        except zlib.error as error:
            raise DataError(f"{self.locate(number)}: damaged: {error}") from error
        if not unpacker.eof:
            raise DataError(
                f"{self.locate(number)}: damaged: "
                f"cut short, or more than {_MAX_BYTES:,} bytes when unpacked"
            )
        return unpacked


class Records(Shards):
    """The records of one split of a prepared set.

    What is cheap is checked at once: every file there, of its size, the index whole.
    """

    def __init__(self, directory: Path | str, split: str):
        self.manifest = read_manifest(directory)
        splits = self.manifest["splits"]
        if split not in splits:
            raise DataError(f"{directory}: no split {split!r}; it has {', '.join(splits)}")
        self.described = splits[split]
        described_shards = self.described["shards"]
        shards = [_open(directory, shard) for shard in described_shards]
        index = _read_index(_open(directory, self.described["index"]), self.described)
        super().__init__(shards, [shard["examples"] for shard in described_shards], index)
        self.compressed = self.manifest["compressed"]
        text = json.dumps(self.described, sort_keys=True)
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()

    def check_shard(self, shard: int) -> None:
        """Reads every byte of it. Raises DataError: record and offset."""
        file = self.shards[shard]
        described = self.described["shards"][shard]
        if file.sha256() == described["sha256"]:
            return
        begin = shard * self.block_length
        for number in range(begin, begin + described["examples"]):
            self.read(np.array([number]))  # names the damaged record
        raise DataError(
            f"{file.path}: damaged between its records: its SHA-256 is not the one in {MANIFEST}"
        )


def _read_index(file: File, described: dict) -> np.ndarray:
    """ENTRY [records]. Raises DataError for one that does not fit the shards."""
    data = file.read()
    shards = described["shards"]
    counts = [shard["examples"] for shard in shards]
    total = sum(counts)
    if hashlib.sha256(data).hexdigest() != described["index"]["sha256"]:
        raise DataError(f"{file.path}: damaged: its SHA-256 is not the one in {MANIFEST}")
    if len(data) != total * ENTRY.itemsize:
        raise DataError(
            f"{file.path}: expected {total:,} entries of {ENTRY.itemsize} bytes, "
            f"got {len(data):,} bytes"
        )
    index = np.frombuffer(data, ENTRY)
    sizes = np.repeat([shard["bytes"] for shard in shards], counts)
    lengths = index["length"].astype(np.int64)
    too_far = index["offset"] > np.maximum(sizes - lengths, 0)
    outside = (lengths < HEADER + FOOTER) | (lengths > sizes) | too_far
    if outside.any():
        number = int(outside.argmax())
        shard = shards[number // counts[0]]["file"]
        raise DataError(f"{file.path}: record {number}: expected a place in {shard}")
    return index


def check(directory: Path | str, advance: Callable[[str], None]) -> int:
    """Reads every byte of a prepared set; returns the number of records.

    Raises DataError: shard, record, offset.
    """
    total = 0
    for split in read_manifest(directory)["splits"]:
        records = Records(directory, split)
        for number, shard in enumerate(records.described["shards"]):
            records.check_shard(number)
            advance(shard["file"])
        total += len(records)
    return total
