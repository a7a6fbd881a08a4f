"""The format of prepared data: TFRecord shards, an index, a manifest.

    DIR/manifest.json            what there is, SHA-256 of every other file; written last
    DIR/train-00000-of-00004.tfrecord   standard framing, one tf.train.Example a record, the same number in each but the last
    DIR/train.index              where each record lies, its checksum, its class

A record is found by its number with one positioned read. The index holds a CRC-32 of the whole framed record, so a flipped
bit is noticed by whoever reads it; `check` finds it beforehand. A directory with a scheme, such as gs://bucket/photos, is
read through tf.io.gfile.
"""

import hashlib
import json
import math
import os
import re
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from cli.program import DataError

FORMAT = 1
MANIFEST = "manifest.json"
# offset and length of the framed record, its CRC-32, and its class (-1: none)
ENTRY = np.dtype([("offset", "<u8"), ("length", "<u4"), ("crc32", "<u4"), ("label", "<i4")])
_MOST_BYTES = 1 << 30  # of a record when unpacked
_HEADER, _FOOTER = 12, 4  # of a framed record: length and its CRC; CRC of the data


def shard_name(split: str, number: int, count: int) -> str:
    return f"{split}-{number:05d}-of-{count:05d}.tfrecord"


def index_shard(path: Path, labels: list[int]) -> np.ndarray:
    """The entries of a shard that has just been written, from its own bytes, of which one record is in memory at a time."""
    entries = np.zeros(len(labels), ENTRY)
    with open(path, "rb") as file:
        for number, label in enumerate(labels):
            at, header = file.tell(), file.read(_HEADER)
            framed = header + file.read(int.from_bytes(header[:8], "little") + _FOOTER)
            entries[number] = (at, len(framed), zlib.crc32(framed), label)
        assert not file.read(1), f"{path}: holds more than {len(labels)} records"
    return entries


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _File:
    """One file, local or not, read at any place by any thread. Raises DataError in its own name."""

    def __init__(self, directory: Path | str, name: str):
        self.path = f"{directory}/{name}"
        self._remote, self._lock, self._opened = "://" in self.path, threading.Lock(), None

    def size(self) -> int:
        try:
            return tf.io.gfile.stat(self.path).length
        except tf.errors.NotFoundError:
            raise DataError(f"{self.path}: no such file") from None

    def read(self, length: int = -1, offset: int = 0) -> bytes:
        try:
            if self._opened is None or self._remote:
                with self._lock:  # to open once; a remote file also has one place at which it reads
                    if self._opened is None:
                        self._opened = (
                            tf.io.gfile.GFile(self.path, "rb")
                            if self._remote
                            else os.open(self.path, os.O_RDONLY)
                        )
                    if self._remote:
                        self._opened.seek(offset)
                        return self._opened.read(length)
            return os.pread(self._opened, self.size() if length < 0 else length, offset)
        except (FileNotFoundError, tf.errors.NotFoundError):
            raise DataError(f"{self.path}: no such file") from None
        except (OSError, tf.errors.OpError) as error:
            raise DataError(
                f"{self.path}: {getattr(error, 'strerror', None) or str(error).splitlines()[0]}"
            ) from error

    def sha256(self) -> str:
        digest, offset = hashlib.sha256(), 0
        while block := self.read(1 << 22, offset):
            digest.update(block)
            offset += len(block)
        return digest.hexdigest()

    def __del__(self):
        if isinstance(self._opened, int):
            os.close(self._opened)


def read_manifest(directory: Path | str) -> dict:
    """Raises DataError for a directory that is not, or not yet, a prepared set."""
    file = _File(directory, MANIFEST)
    if not tf.io.gfile.exists(file.path):
        if tf.io.gfile.exists(f"{directory}.part"):
            raise DataError(
                f"{directory}: not finished: {directory}.part is there; run the command that writes it again"
            )
        raise DataError(
            f"{file.path}: no such file; expected what `python preprocess_data.py --out {directory}` writes"
        )
    try:
        manifest = json.loads(file.read())
        json.dumps(
            manifest, ensure_ascii=False
        ).encode()  # no half of a surrogate pair, which no name can hold
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file.path}: damaged: {error}") from error
    if problem := _problem_in(manifest):
        raise DataError(f"{file.path}: {problem}")
    return manifest


def _problem_in(manifest) -> str | None:
    """What keeps a manifest from being used: it may come from anywhere, so every field that is used is looked at."""
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        return f"expected a manifest of format {FORMAT}, got {manifest.get('format') if isinstance(manifest, dict) else manifest!r:.40}"
    kinds = {"features": dict, "class_names": list, "splits": dict, "compressed": bool}
    for key, kind in kinds.items():
        if not isinstance(manifest.get(key), kind):
            return f"{key}: expected a {kind.__name__}, got {manifest.get(key)!r:.40}"
    if not all(isinstance(name, str) for name in manifest["class_names"]):
        return "class_names: expected text"
    for name, feature in manifest["features"].items():
        shape = feature.get("shape") if isinstance(feature, dict) else None
        whole = (
            isinstance(shape, list)
            and all(type(size) is int and size >= 0 for size in shape)
            and math.prod(shape) < 1 << 31
        )
        sequence = shape == [-1] and feature.get("dtype") in ("int32", "int64", "float32")
        if not (whole or sequence) or feature.get("dtype") not in (
            "string",
            "uint8",
            "int32",
            "int64",
            "float32",
        ):
            return f"features: {name}: expected a dtype and a shape, got {feature!r:.60}"
    for split, described in manifest["splits"].items():
        if (
            not isinstance(described, dict)
            or not isinstance(described.get("shards"), list)
            or not described["shards"]
        ):
            return f"splits: {split}: expected a list of shards"
        for file in [*described["shards"], described.get("index")]:
            if not isinstance(file, dict) or {"file", "bytes", "sha256"} - file.keys():
                return f"splits: {split}: expected file, bytes and sha256 of every file, got {file!r:.60}"
            if (
                type(file["file"]) is not str
                or not re.fullmatch(r"\w[\w.-]*", file["file"])
                or type(file["bytes"]) is not int
            ):
                return f"splits: {split}: expected the name of a file in this directory, got {file['file']!r:.60}"
            if file is not described.get("index") and (
                type(file.get("examples")) is not int or file["examples"] < 1
            ):
                return f"splits: {split}: {file['file']}: expected a number of examples, got {file.get('examples')!r:.40}"
        counts = [file["examples"] for file in described["shards"]]
        if len(set(counts[:-1])) > 1 or counts[-1] > counts[0]:
            return (
                f"splits: {split}: expected the same number of examples in every shard but the last"
            )
    return None


class Records:
    """The records of one split, by number. What is cheap is checked at once: every file there, of its size, the index whole."""

    def __init__(self, directory: Path | str, split: str):
        manifest = read_manifest(directory)
        if split not in manifest["splits"]:
            raise DataError(
                f"{directory}: no split {split!r}; it has {', '.join(manifest['splits'])}"
            )
        self.manifest, self.described, self._compressed = (
            manifest,
            manifest["splits"][split],
            manifest["compressed"],
        )
        shards, index = self.described["shards"], self.described["index"]
        self.shards = [_File(directory, shard["file"]) for shard in shards]
        index_file = _File(directory, index["file"])
        for file, described in [*zip(self.shards, shards, strict=True), (index_file, index)]:
            if (size := file.size()) != described["bytes"]:
                raise DataError(
                    f"{file.path}: expected {described['bytes']:,} bytes, as in {MANIFEST}, got {size:,}"
                )
        data, counts = index_file.read(), [shard["examples"] for shard in shards]
        if hashlib.sha256(data).hexdigest() != index["sha256"]:
            raise DataError(f"{index_file.path}: damaged: its SHA-256 is not the one in {MANIFEST}")
        if len(data) != sum(counts) * ENTRY.itemsize:
            raise DataError(
                f"{index_file.path}: expected {sum(counts):,} entries of {ENTRY.itemsize} bytes, got {len(data):,} bytes"
            )
        self.index, self.block_length = np.frombuffer(data, ENTRY), counts[0]
        sizes = np.repeat([shard["bytes"] for shard in shards], counts)
        lengths, offsets = self.index["length"].astype(np.int64), self.index["offset"]
        outside = (
            (lengths < _HEADER + _FOOTER)
            | (lengths > sizes)
            | (offsets > np.maximum(sizes - lengths, 0))
        )
        if outside.any():
            number = int(outside.argmax())
            raise DataError(
                f"{index_file.path}: record {number}: expected a place in {shards[number // counts[0]]['file']}"
            )
        self.fingerprint = hashlib.sha256(
            json.dumps(self.described, sort_keys=True).encode()
        ).hexdigest()

    def __len__(self) -> int:
        return len(self.index)

    def locate(self, number: int) -> str:
        shard, offset = number // self.block_length, int(self.index["offset"][number])
        return f"{self.shards[shard].path}: record {number % self.block_length} at byte {offset}"

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """int64 [n] -> object [n] of serialized examples; one positioned read each."""
        found, entries = np.empty(len(numbers), object), self.index[numbers].tolist()
        shards, block_length, data_of = (
            self.shards,
            self.block_length,
            self._data_of,
        )  # looked up once: every microsecond counts
        for place, number in enumerate(numbers.tolist()):
            offset, length, crc32, _ = entries[place]
            found[place] = data_of(
                number, shards[number // block_length].read(length, offset), crc32
            )
        return found

    def read_in_blocks(self, blocks: int):
        """The same as `read`, by whole shards, of which the last `blocks` are kept: for storage where a read costs much."""
        kept: OrderedDict[int, bytes] = OrderedDict()
        guard = threading.Lock()

        def shard(number: int) -> bytes:
            with guard:  # one reader fetches; the others wait for the same shard
                if number not in kept:
                    kept[number] = self.shards[number].read()
                    while len(kept) > blocks:
                        kept.popitem(last=False)
                kept.move_to_end(number)
                return kept[number]

        def read(numbers: np.ndarray) -> np.ndarray:
            found = np.empty(len(numbers), object)
            for place in np.argsort(numbers // self.block_length, kind="stable").tolist():
                number = int(numbers[place])
                offset, length, crc32, _ = self.index[number].tolist()
                found[place] = self._data_of(
                    number, shard(number // self.block_length)[offset : offset + length], crc32
                )
            return found

        return read

    def _data_of(self, number: int, framed: bytes, crc32: int) -> bytes:
        if zlib.crc32(framed) != crc32:
            raise DataError(
                f"{self.locate(number)}: damaged: its checksum is not the one in the index"
            )
        if not self._compressed:
            return framed[_HEADER:-_FOOTER]
        unpack = zlib.decompressobj()
        try:
            data = unpack.decompress(framed[_HEADER:-_FOOTER], _MOST_BYTES)
        except zlib.error as error:
            raise DataError(f"{self.locate(number)}: damaged: {error}") from error
        if not unpack.eof:
            raise DataError(
                f"{self.locate(number)}: damaged: cut short, or more than {_MOST_BYTES:,} bytes when unpacked"
            )
        return data


def check(directory: Path | str, advance: Callable[[str], None]) -> int:
    """Reads every byte of a prepared set; returns the number of records. Raises DataError: shard, record, offset."""
    manifest, total = read_manifest(directory), 0
    for split, described in manifest["splits"].items():
        records = Records(directory, split)
        for number, shard in enumerate(described["shards"]):
            file = records.shards[number]
            if file.sha256() != shard["sha256"]:
                first = number * records.block_length
                for record in range(first, min(first + shard["examples"], len(records))):
                    records.read(np.array([record]))  # names the damaged record
                raise DataError(
                    f"{file.path}: damaged between its records: its SHA-256 is not the one in {MANIFEST}"
                )
            advance(shard["file"])
        total += len(records)
    return total
