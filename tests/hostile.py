"""Hostile files: archives that unpack to far more, pickles that act; what a refusal may take."""

import pickle
import resource
import tracemalloc
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from small_files import npy

from cli.program import DataError, Failure

X, Y = np.arange(12.0).reshape(6, 2), np.array([0, 1, 0, 1, 2, 1])
SIZE = 64 << 20  # of what the bombs unpack to: enough to be seen, little enough for the control


def refused(read: Callable, path: Path, error: type[Failure] = DataError) -> str:
    """The one line of the expected failure.

    Little memory is taken, and nothing beside the file is written.
    """
    before = sorted(path.parent.parent.rglob("*"))
    tracemalloc.start()
    try:
        with pytest.raises(Failure) as caught:
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert isinstance(caught.value, error)
    assert message.startswith(f"{path}") and len(message.splitlines()) == 1, message
    assert peak < 16 << 20
    assert sorted(path.parent.parent.rglob("*")) == before
    return message


# ---- archives of arrays: of a data set, and of weights


def zipped(method=zipfile.ZIP_STORED, **members: bytes) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_npy", ".npy"), content)
    return file.getvalue()


def bomb(method) -> bytes:
    return zipped(method, x_npy=npy(np.zeros(SIZE, np.uint8)), y_npy=npy(Y))


def claims(data: bytes, size: int) -> bytes:
    """The same archive; the directory at its end says another size of the first member when it is
    unpacked.
    """
    entry = data.index(b"PK\1\2") + 24
    return data[:entry] + size.to_bytes(4, "little") + data[entry + 4 :]


SOUND = zipped(x_npy=npy(X), y_npy=npy(Y))
ARCHIVES_REFUSED = {
    "bzip2 bomb": (
        bomb(zipfile.ZIP_BZIP2),
        "expected at most 2,000 times its size when unpacked, got 67,1",
    ),
    "lzma bomb": (
        bomb(zipfile.ZIP_LZMA),
        "expected at most 2,000 times its size when unpacked, got 67,1",
    ),
    "directory": (
        claims(SOUND, (1 << 32) - 2),
        "expected at most 2,000 times its size when unpacked, got 4,29",
    ),
    "no arrays": (zipped(x=b"text", y_npy=npy(Y)), "x: expected an array"),
}
PICKLES = ["array of objects", "pickle", "member that is a pickle"]


def check_an_archive_is_refused(tmp_path, name, read, error=DataError) -> None:
    content, message = ARCHIVES_REFUSED[name]
    path = tmp_path / "data" / "a.npz"
    path.parent.mkdir()
    path.write_bytes(content)
    assert message in refused(read, path, error)


def check_a_claim_takes_no_memory(tmp_path, read, error=DataError) -> None:
    """NumPy reserves what the header of an array claims, which the system refuses or never gives.

    It ends where the file ends.
    """
    header = (
        npy(X).replace(b"(6, 2)", b"(4294967296, 2)").replace(b" " * 9, b"", 1)
    )  # 64 GiB; as long as before
    assert len(header) == len(npy(X))
    (tmp_path / "a.npz").write_bytes(zipped(x_npy=header, y_npy=npy(Y)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(error, match=f"^{tmp_path}/a.npz: expected a "):
        read(tmp_path / "a.npz")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def check_names_are_no_paths(tmp_path, name, read) -> None:
    """A sound archive with one more member, whose name is a path: read, and nothing written."""
    path = tmp_path / "a" / "b" / "a.npz"
    path.parent.mkdir(parents=True)
    members = {"x_npy": npy(X), "y_npy": npy(Y), "x__kernel_npy": npy(np.ones([2, 3]))}
    path.write_bytes(zipped(**{f"{name}_npy": npy(X), **members}))
    assert name.replace("__", "/") in np.load(path, allow_pickle=False).files
    read(path)
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [path]


class Hostile:
    """What a pickle of it does when it is read: it opens a file for writing."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def check_a_pickle_is_not_executed(tmp_path, form, read, error=DataError) -> None:
    path, executed = tmp_path / "data" / "a.npz", tmp_path / "executed"
    path.parent.mkdir()
    code = pickle.dumps(Hostile(executed))
    if form == "array of objects":
        objects = np.array([Hostile(executed)], object)
        np.savez(path, **{"x": objects, "x/kernel": objects, "y": Y})
    else:
        path.write_bytes(
            code if form == "pickle" else zipped(x_npy=code, y_npy=npy(Y), x__kernel_npy=code)
        )
    refused(read, path, error)
    assert not executed.exists()
    pickle.loads(code)  # the control: it is live
    assert executed.exists()
