"""Arrays and lines from files of others: nothing in them is run, followed or unpacked unbounded.

The readers of arrays raise `failure(message)`, with the file's path, for a file that is damaged,
hostile or not there: an exception class of cli/program.py, or a function that makes one.
"""

import codecs
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np

from cli.program import DataError
from engine import encodings

Failure = Callable[[str], Exception]
_MOST_PACKED = 2000  # times the stored size; the compression of NumPy and HDF5 reaches about 1,000
_BYTES_TO_GUESS_FROM = 1 << 20


class _Refused(Exception):
    pass


@contextlib.contextmanager
def _naming(path: Path, failure: Failure, expected: str):
    try:
        yield
    except FileNotFoundError:
        raise failure(f"{path}: no such file") from None
    except _Refused as error:
        raise failure(f"{path}: {error}") from None
    except Exception as error:  # what damage makes readers of zip and HDF5 raise is not documented
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "Object arrays" in reason or "Python objects" in reason:  # NumPy's own words
            reason = "got Python objects, which could run code; save numbers or texts (dtype str)"
        elif "allow_pickle" in reason:
            reason = "got another format"
        raise failure(f"{path}: expected {expected}: {reason}") from error


def read_npz(path: Path, failure: Failure) -> dict[str, np.ndarray]:
    """{name: array} of any plain type. Pickled objects, which could run code, are refused."""
    with _naming(path, failure, "a NumPy archive of plain arrays"), open(path, "rb") as file:
        archive = np.load(file, allow_pickle=False)
        if not hasattr(archive, "files"):
            raise _Refused("expected an archive (.npz), got a single array")
        unpacked = sum(member.file_size for member in archive.zip.infolist())
        if unpacked > _MOST_PACKED * path.stat().st_size:
            raise _Refused(
                f"expected at most {_MOST_PACKED:,} times its size when unpacked, "
                f"got {unpacked:,} bytes"
            )
        arrays = dict(archive)
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise failure(
                f"{path}: {name}: expected an array, got a file that does not begin as one"
            )
    return arrays


def read_npy(path: Path, failure: Failure) -> np.ndarray:
    """The array of a .npy file, of any plain type; no larger than the file."""
    with _naming(path, failure, "a NumPy array (.npy) of a plain type"):
        return np.array(np.load(path, mmap_mode="r", allow_pickle=False))


def read_h5(path: Path, failure: Failure) -> dict[str, np.ndarray]:
    """{layer/.../number: value} of a file that model.save_weights(path) has written.

    Groups bear the names of attributes and classes there; the name of a layer is an attribute of
    its group `vars`. An array in any other place has its place as its name.
    """
    values = {}
    with _naming(path, failure, "an HDF5 file of arrays"), h5py.File(path, "r") as file:
        objects = dict(_walk(file, set()))
        arrays = [place for place in objects if isinstance(objects[place], h5py.Dataset)]
        for place in arrays:
            name = _keras_name(place, objects)
            if name in values:
                raise _Refused(f"{place}: expected one array called {name}, got two")
            values[name] = objects[place][()]
    return values


def _keras_name(place: str, objects: dict[str, h5py.Group | h5py.Dataset]) -> str:
    """/layers/dense/vars/0 -> logits/0, where the layer is called so."""
    *folders, number = place[1:].split("/")
    if folders[-1:] != ["vars"]:
        return place[1:]
    groups = [f"/{'/'.join(folders[:depth])}/vars" for depth in range(1, len(folders))]
    layers = [objects[group].attrs.get("name") for group in groups if group in objects]
    return "/".join([*(layer for layer in layers if isinstance(layer, str)), number])


def _walk(group: h5py.Group, seen: set) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    for key in group:
        place = f"{group.name.rstrip('/')}/{key}"
        link = group.get(key, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise _Refused(f"{place}: expected data in this file, got {type(link).__name__}")
        child = group[key]
        address = h5py.h5o.get_info(child.id).addr
        if address in seen:  # a circle, perhaps
            raise _Refused(f"{place}: expected everything once, got it under two names")
        seen.add(address)
        yield place, child
        if isinstance(child, h5py.Group):
            yield from _walk(child, seen)
        else:
            _check_array(place, child)


def _check_array(place: str, array) -> None:
    if not isinstance(array, h5py.Dataset) or array.dtype.kind not in "biuf":
        got = getattr(array, "dtype", type(array).__name__)
        raise _Refused(f"{place}: expected an array of numbers, got {got}")
    if array.external or array.is_virtual:
        raise _Refused(f"{place}: expected data in this file, got an array in another")
    stored = array.id.get_storage_size()
    if array.nbytes > _MOST_PACKED * stored:
        raise _Refused(f"{place}: expected {array.nbytes:,} bytes, got {stored:,}")


def lines_of(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """(number from 1, text) of each line; a byte order mark goes before `encoding`.

    Raises DataError, with the line, for what is no text in this encoding.
    """
    try:
        with open(path, "rb") as file:
            encoding = encodings.marked(file.peek(4)) or encoding
            lines = file if _is_utf8(encoding) else _lines_in(file.read(), encoding, path)
            for number, line in enumerate(lines, 1):
                text = line if isinstance(line, str) else _decoded(line, path, number)
                if "\0" in text:
                    raise _no_text(path, number, "text", "a zero byte")
                yield number, text.rstrip("\r\n")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


def _decoded(line: bytes, path, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        got = f"byte {line[error.start]:#x} at {error.start}"
        raise _no_text(path, number, "UTF-8 text", got) from error


def _lines_in(data: bytes, encoding: str, path) -> list[str]:
    try:
        text = data.decode(encoding).removeprefix("\ufeff")
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        number = data[:start].count(b"\n") + 1
        got = f"byte {data[start]:#x} at {start} of the file"
        raise _no_text(path, number, f"text in {encoding}", got) from error
    return text.removesuffix("\n").split("\n") if text else []


def _no_text(path, number: int, expected: str, got: str) -> DataError:
    with open(path, "rb") as file:
        start = file.read(_BYTES_TO_GUESS_FROM)
    likely = " or ".join(encodings.likely(start[: start.rfind(b"\n") + 1] or start))
    cure = f"; encoding: {likely}?" if likely else ""
    return DataError(f"{path}:{number}: expected {expected}, got {got}{cure}")
