"""Where each record of TFRecord files of others lies: found once, kept in a file beside them.

    DIR/train-1f0c2a9b7d3e.index.npz    entries (see record_files.ENTRY), how many values each
                                        record has of the features that are used, their labels

It holds the size and the time of change of every file, and is made again where one differs. Files
that are compressed as a whole (gzip, zlib) cannot be read at any place: they are unpacked first.
"""

import contextlib
import hashlib
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from cli.program import DataError
from engine.record_files import ENTRY, FOOTER, HEADER, File
from engine.safe_files import read_npz

_FORMAT = 1
_AT_ONCE = 256  # records that are parsed together
_MOST_PACKED = 2000  # times its size that a packed file may hold
_CHUNK = 1 << 22
_POLYNOMIAL = 0x82F63B78  # of CRC-32C
DTYPES = {"bytes_list": tf.string, "int64_list": tf.int64, "float_list": tf.float32}


class Column(NamedTuple):
    """A feature in every record."""

    counts: np.ndarray  # int64 [records], of its values
    values: np.ndarray | None = None  # [sum of counts], where they are kept


class RecordIndex(NamedTuple):
    files: list[File]
    counts: list[int]  # of records in each file
    entries: np.ndarray  # ENTRY [records]
    columns: dict[str, Column]
    kinds: dict[str, str]  # of the list of each feature
    save: Callable[[], None]  # writes it, unless it has been read

    def locate(self, number: int) -> str:
        ends = np.cumsum(self.counts)
        shard = int(np.searchsorted(ends, number, side="right"))
        record = number - ends[shard] + self.counts[shard]
        return f"{self.files[shard].path}: record {record}"


def open_index(
    paths: list[str], dtypes: dict[str, str], kept: list[str], directory: Path, name: str
) -> RecordIndex:
    """The index of some files, read from `directory` or made.

    `dtypes`: {feature: kind of its list}; `kept`: features whose values are kept. Raises DataError,
    with file and record, for damage and for records that lack a feature.
    """
    stats = [tf.io.gfile.stat(path) for path in paths]
    state = [
        [path, int(stat.length), int(stat.mtime_nsec)]
        for path, stat in zip(paths, stats, strict=True)
    ]
    asked = json.dumps([_FORMAT, paths, sorted(dtypes.items()), kept])
    digest = hashlib.sha256(asked.encode()).hexdigest()[:12]
    place = directory / f"{name}-{digest}.index.npz"
    plain = [_plain(path, directory) for path in paths]
    stored = _stored(place, state, plain, dtypes)
    if stored is not None:
        return stored
    files = [_file(_unpacked(path, directory)) for path in paths]
    scans = _scan_all(files, dtypes, kept)
    counts = [len(entries) for entries, _ in scans]
    if not sum(counts):
        raise DataError(f"{paths[0]}: expected at least one record, got none")
    entries = np.concatenate([entries for entries, _ in scans])
    columns = {key: _joined([found[key] for _, found in scans]) for key in dtypes}

    def save() -> None:
        arrays = {"entries": entries, "counts": np.array(counts), "state": json.dumps(state)}
        for number, column in enumerate(columns.values()):
            arrays[f"counts_{number}"] = column.counts
            if column.values is not None:
                arrays[f"values_{number}"] = column.values
        with _writing(place) as file:
            np.savez(file, **arrays)

    return RecordIndex(files, counts, entries, columns, dtypes, save)


def _stored(place: Path, state: list, plain: list[str], dtypes: dict) -> RecordIndex | None:
    """None where there is none, or of files as they no longer are, or a damaged one."""
    if not place.exists() or not all(map(tf.io.gfile.exists, plain)):
        return None
    try:
        arrays = read_npz(place, DataError)
        if json.loads(str(arrays["state"])) != state:
            return None
        columns = {
            name: Column(arrays[f"counts_{number}"], arrays.get(f"values_{number}"))
            for number, name in enumerate(dtypes)
        }
        counts = arrays["counts"].tolist()
        entries = arrays["entries"].astype(ENTRY)
    except (DataError, KeyError, ValueError):
        return None
    files = [_file(path) for path in plain]
    return RecordIndex(files, counts, entries, columns, dtypes, lambda: None)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator:
    """A file that appears under its name when it is whole. Raises DataError, naming the cure."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            yield file
        os.replace(part, path)
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror}: the index cannot be written there; "
            "expected a directory for it, index: DIR"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _file(path: str) -> File:
    return File(*os.path.split(path)) if os.path.dirname(path) else File(".", path)


def _joined(columns: list[Column]) -> Column:
    counts = np.concatenate([column.counts for column in columns])
    if columns[0].values is None:
        return Column(counts)
    return Column(counts, np.concatenate([column.values for column in columns]))


# ---- one file


def features_of(path: str) -> dict[str, str]:
    """{feature: kind of its list} of the first record of a file; {} where it has none."""
    file = _file(path)
    compression = _compression(path)
    if compression:
        data = _first_unpacked(path, compression)
    elif file.size():
        data = _framed(file, 0, 0, file.size())[HEADER:-FOOTER]
    else:
        return {}
    try:
        features = tf.train.Example.FromString(data).features.feature
    except Exception as error:  # the parser's own, which is not part of TensorFlow's interface
        raise DataError(f"{path}: record 0: expected a tf.train.Example") from error
    return {name: features[name].WhichOneof("kind") or "nothing" for name in sorted(features)}


def _first_unpacked(path: str, compression: str) -> bytes:
    try:
        return next(iter(tf.data.TFRecordDataset(path, compression).take(1))).numpy()
    except (StopIteration, tf.errors.OpError) as error:
        kind = compression.lower()
        raise DataError(f"{path}: record 0: damaged: expected TFRecords in {kind}") from error


def _framed(file: File, at: int, number: int, end: int) -> bytes:
    """The record that begins at a byte. Raises DataError for a length that cannot be."""
    place = f"{file.path}: record {number} at byte {at}"
    header = file.read(HEADER, at)
    if len(header) < HEADER:
        raise DataError(f"{place}: damaged: cut short")
    if _masked_crc32c(header[:8]) != int.from_bytes(header[8:], "little"):
        cure = "" if number else "; is it a TFRecord file?"
        raise DataError(f"{place}: damaged: the checksum of its length is wrong{cure}")
    size = HEADER + int.from_bytes(header[:8], "little") + FOOTER
    if at + size > end:
        raise DataError(f"{place}: damaged: cut short")
    return file.read(size, at)


def _entries(file: File) -> np.ndarray:
    """ENTRY [records], from the lengths before them."""
    entries = []
    at = 0
    size = file.size()
    while at < size:
        framed = _framed(file, at, len(entries), size)
        entries.append((at, len(framed), zlib.crc32(framed), -1))
        at += len(framed)
    return np.array(entries, ENTRY)


def _scan_all(files: list[File], dtypes: dict[str, str], kept: list[str]) -> list[tuple]:
    """Of every file what `_scan` returns. Raises DataError that counts all damaged files."""
    scans = []
    problems = []
    for file in files:
        try:
            scans.append(_scan(file, dtypes, kept))
        except DataError as error:
            problems.append(str(error))
    if problems:
        more = f"; {len(problems)} such files: {'; '.join(problems[1:10])}" if problems[1:] else ""
        raise DataError(problems[0] + more)
    return scans


def _scan(file: File, dtypes: dict[str, str], kept: list[str]) -> tuple[np.ndarray, dict]:
    """(ENTRY [records], {feature: Column}) of one file, all of which is read."""
    entries = _entries(file)
    layout = {key: tf.io.RaggedFeature(DTYPES[kind]) for key, kind in dtypes.items()}

    def columns(serialized):
        parsed = tf.io.parse_example(serialized, layout)
        counts = {key: value.row_lengths() for key, value in parsed.items()}
        return counts, {key: parsed[key].flat_values for key in kept}

    counts = {key: [np.zeros(0, np.int64)] for key in dtypes}
    values = {key: [] for key in kept}
    records = tf.data.TFRecordDataset(file.path, buffer_size=_CHUNK)
    done = 0
    try:
        for found, flat in records.batch(_AT_ONCE).map(columns).as_numpy_iterator():
            for key in dtypes:
                _check_counts(found[key], key, file, done)
                counts[key].append(found[key])
            for key in kept:
                values[key].append(
                    flat[key].astype("S") if flat[key].dtype == object else flat[key]
                )
            done += len(found[key])
    except tf.errors.DataLossError as error:
        at = re.search(r"record at (\d+)", str(error))
        number = int(np.searchsorted(entries["offset"], int(at[1]), "right")) - 1 if at else done
        raise DataError(
            f"{file.path}: record {number} at byte {entries['offset'][number]}: damaged: "
            "the checksum of its data is wrong"
        ) from error
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError) as error:  # quotes what is no text
        raise DataError(_first_wrong(file, records.skip(done), done, dtypes)) from error
    return entries, {
        key: Column(
            np.concatenate(counts[key]), np.concatenate(values[key]) if values.get(key) else None
        )
        for key in dtypes
    }


def _check_counts(counts: np.ndarray, key: str, file: File, done: int) -> None:
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        raise DataError(f"{file.path}: record {done + empty[0]}: no value of the feature {key!r}")


def _first_wrong(file: File, records, done: int, dtypes: dict[str, str]) -> str:
    """Which record is no Example, or has a feature of another type."""
    for number, data in enumerate(records.take(_AT_ONCE).as_numpy_iterator(), done):
        try:
            features = tf.train.Example.FromString(data).features.feature
        except Exception:  # the parser's own, which is not part of TensorFlow's interface
            return f"{file.path}: record {number}: expected a tf.train.Example"
        for key, kind in dtypes.items():
            found = features[key].WhichOneof("kind") if key in features else kind
            if found != kind:
                return f"{file.path}: record {number}: {key}: expected {kind}, got {found}"
    return f"{file.path}: expected tf.train.Examples"


def _crc32c_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _crc32c_table()


def _masked_crc32c(data: bytes) -> int:
    """As TFRecord files hold it: rotated by 15 bits, plus a constant."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF


# ---- files that are compressed as a whole


def is_plain(path: str) -> bool:
    return _compression(path) == ""


def _compression(path: str) -> str:
    head = _file(path).read(HEADER, 0)
    is_record = int.from_bytes(head[8:], "little") == _masked_crc32c(head[:8])
    if is_record and len(head) == HEADER:
        return ""
    if head[:3] == b"\x1f\x8b\x08":
        return "GZIP"
    return "ZLIB" if head[:1] == b"\x78" and int.from_bytes(head[:2]) % 31 == 0 else ""


def _plain(path: str, directory: Path) -> str:
    """Where the records of a file lie as they are, or will."""
    return path if is_plain(path) else str(directory / f"{os.path.basename(path)}.unpacked")


def _unpacked(path: str, directory: Path) -> str:
    plain = _plain(path, directory)
    if plain == path:
        return path
    file = _file(path)
    most = _MOST_PACKED * file.size()
    written = 0
    with _writing(Path(plain)) as out:
        for data in _unpacked_chunks(file):
            written += out.write(data)
            if written > most:
                raise DataError(f"{path}: expected at most {most:,} bytes when unpacked, got more")
    return plain


def _unpacked_chunks(file: File) -> Iterator[bytes]:
    """Of gzip or zlib, as the header says; another member may follow the end of one."""
    unpacker = zlib.decompressobj(47)
    for packed in _chunks(file):
        while packed:
            try:
                yield unpacker.decompress(packed, _CHUNK)
            except zlib.error as error:
                raise DataError(f"{file.path}: damaged: {error}") from error
            packed = unpacker.unconsumed_tail
            if unpacker.eof:
                packed = unpacker.unused_data
                unpacker = zlib.decompressobj(47)


def _chunks(file: File) -> Iterator[bytes]:
    offset = 0
    while chunk := file.read(_CHUNK, offset):
        offset += len(chunk)
        yield chunk
