"""Lines of UTF-8 files, and texts as TensorFlow takes them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from cli.program import DataError


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, text) of each line. Raises DataError, with the line, for what is no UTF-8."""
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                yield number, _decoded(line, path, number)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def _decoded(line: bytes, path, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}:{number}: expected UTF-8 text, "
            f"got byte {line[error.start]:#x} at {error.start}"
        ) from error


def columns_of(path: Path, fields_of: Callable) -> Iterator[tuple]:
    """Numbers of the lines, then each field that `fields_of(place, line)` gives; two hold text."""
    rows = []
    for number, line in lines_of(path):
        place = f"{path}:{number}"
        fields = fields_of(place, line)
        if not all(field.strip() for field in fields[:2]):
            raise DataError(f"{place}: expected text in every field, got an empty one")
        rows.append((number, *fields))
    if not rows:
        raise DataError(f"{path}: expected at least one line, got none")
    return zip(*rows, strict=True)


def numbered(labels: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """(class names in order, the place of each label among them: int64 [n])"""
    class_names = sorted(set(labels))
    number_of = {name: number for number, name in enumerate(class_names)}
    return class_names, np.array([number_of[label] for label in labels], np.int64)


def utf8(texts: Iterable[str]) -> np.ndarray:
    """Object array [n] of bytes."""
    return np.array([text.encode() for text in texts], dtype=object)
