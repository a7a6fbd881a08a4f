"""The one reader of the small files that a run or a data directory gives back.

Whoever wrote them, nothing in them is followed, waited for or read without end: a file must be a
regular one, of a bounded size, UTF-8, and what its type says. `failure(message)` makes the
exception for anything else: a class of cli/program.py.
"""

import contextlib
import errno
import functools
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from cli.program import CheckpointError, warn

Failure = Callable[[str], Exception]
MOST_BYTES = 1 << 26
# What is there is no such file; anything else, as a missing permission, is the system's.
_ODD = {
    errno.EINVAL,
    errno.EIO,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENODEV,
    errno.ENOTDIR,
    errno.ENXIO,
}
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def kind_of(status: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(status.st_mode), "a file")


def read_bytes(path: Path, failure: Failure = CheckpointError, most: int = MOST_BYTES) -> bytes:
    """What a regular file of at most `most` bytes holds. Raises FileNotFoundError where none is."""
    with naming(path, failure), open_regular(path, failure) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(min(size, most) + 1)
    if len(data) > most:
        raise failure(f"{path}: expected at most {most:,} bytes, got more")
    return data


@contextlib.contextmanager
def naming(path: Path, failure: Failure = CheckpointError):
    """Inside `with`, what is no file that can be read is a `failure`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _ODD:
            raise
        raise failure(f"{path}: {error.strerror}") from error


def open_regular(path: Path, failure: Failure = CheckpointError):
    """A regular file, opened for reading bytes. No FIFO and no device is waited for, or opened."""
    _check_regular(path, os.stat(path), failure)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    file = io.FileIO(descriptor)
    try:
        _check_regular(path, os.fstat(descriptor), failure)  # it may have been replaced
    except BaseException:
        file.close()
        raise
    return io.BufferedReader(file)


def _check_regular(path: Path, status: os.stat_result, failure: Failure) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise failure(f"{path}: expected a regular file, got {kind_of(status)}")


def read_text(path: Path, failure: Failure = CheckpointError, most: int = MOST_BYTES) -> str:
    """The same, decoded."""
    try:
        return read_bytes(path, failure, most).decode("utf-8")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise failure(
            f"{path}: expected UTF-8 text, got byte {byte:#x} at {error.start}"
        ) from error


def read_json(path: Path, kind, failure: Failure = CheckpointError, most: int = MOST_BYTES):
    """The content of a JSON file as a `kind`: a model of pydantic, or a type such as dict."""
    return parse_json(read_bytes(path, failure, most), kind, path, failure)


def parse_json(data: bytes | str, kind, path, failure: Failure = CheckpointError):
    """JSON, of bounded depth, as a `kind`; `path` is what a mistake names."""
    try:
        return TypeAdapter(kind).validate_json(data)
    except ValidationError as error:
        raise failure(f"{path}: {_first_mistake(error)}") from error


def as_kind(value, kind, path, failure: Failure = CheckpointError):
    """What was read from JSON as a `kind`."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise failure(f"{path}: {_first_mistake(error)}") from error


def _first_mistake(error: ValidationError) -> str:
    mistake, *_ = error.errors(include_url=False, include_input=False, include_context=False)
    place = ".".join(str(key)[:40] for key in mistake["loc"][:6])
    return f"{place}: {mistake['msg']}" if place else mistake["msg"]


# ---- on the disk

_NO_FLUSH = {errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


def flush(path: Path) -> None:
    """fsync of a file or, so that its names are durable too, of a directory.

    Not every system can flush directories (network storage, Windows), which is said once.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        is_known = error.errno in _NO_FLUSH or os.name == "nt"
        if not is_known or not os.path.isdir(path):
            raise
        _warn_of_directories()


@functools.cache
def _warn_of_directories() -> None:
    warn(
        "warning: directories cannot be flushed here: "
        "a loss of power may take the last checkpoint, not the ones before"
    )
