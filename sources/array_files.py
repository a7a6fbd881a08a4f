"""Arrays by name: of an archive (.npz), several of them, .npy files, or a directory of those."""

from pathlib import Path

import numpy as np

from cli.program import DataError
from engine.safe_files import read_npy, read_npz


class Arrays:
    """`arrays` {name: array}. Of several archives, the arrays of one name are put together."""

    def __init__(self, path: Path):
        self.path = path
        self.files = _files_at(path)
        parts = [_read(file) for file in self.files]
        self.is_single = path.suffix == ".npy"
        if path.is_dir():  # as if it were an archive
            self.files = [path]
            parts = [{name: array for part in parts for name, array in part.items()}]
        self._parts = parts
        self.arrays = parts[0] if len(parts) == 1 else self._together()

    def add(self, name: str) -> None:
        """The one array of another file, such as y.npy, under the file's name."""
        path = self.path.parent / name
        (part, *others) = _read(path).values()
        if others:
            raise DataError(f"{path}: expected a single array, got {1 + len(others)}")
        self.arrays[name] = part

    def _together(self) -> dict[str, np.ndarray]:
        first = self._parts[0]
        for file, part in zip(self.files, self._parts, strict=True):
            for name in first.keys() | part.keys():
                pair = (first.get(name), part.get(name))
                if None in [array if array is None else 0 for array in pair]:
                    raise DataError(
                        f"{file}: expected the arrays of {self.files[0].name} "
                        f"({', '.join(sorted(first))}), got {', '.join(sorted(part))}"
                    )
                if not pair[0].ndim or pair[0].shape[1:] != pair[1].shape[1:]:
                    raise DataError(
                        f"{file}: {name}: expected rows of shape {list(pair[0].shape[1:])}, as in "
                        f"{self.files[0].name}, got {described(pair[1])}"
                    )
        return {name: np.concatenate([part[name] for part in self._parts]) for name in first}

    def locate(self, name: str, row: int) -> str:
        if len(self.files) == 1:
            return f"{self.path}: row {row}"
        lengths = [len(part[name]) for part in self._parts]
        ends = np.cumsum(lengths)
        number = int(np.searchsorted(ends, row, side="right"))
        return f"{self.files[number]}: row {row - ends[number] + lengths[number]}"

    def __str__(self) -> str:
        """Every array with its type and its shape."""
        names = sorted(self.arrays)
        more = f", ... ({len(names)} in all)" if len(names) > 12 else ""
        known = [f"{name} {described(self.arrays[name])}" for name in names[:12]]
        return ", ".join(known) + more or "none"


def described(array: np.ndarray) -> str:
    return f"{array.dtype} {list(array.shape)}"


def _files_at(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(path.glob("*.npy"))
        if not files:
            raise DataError(f"{path}: expected .npy files in this directory, got none")
        return files
    if any(char in path.name for char in "*?[") and not path.exists():
        files = sorted(path.parent.glob(path.name))
        if not files:
            raise DataError(f"{path}: expected at least one file of this pattern, got none")
        return files
    return [path]


def _read(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".npy":
        return {path.stem: read_npy(path, DataError)}
    return read_npz(path, DataError)
