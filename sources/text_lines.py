"""Fields of the lines of a file, and texts as TensorFlow takes them."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from cli.program import DataError
from engine.safe_files import lines_of


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


def utf8(texts: Iterable[str]) -> np.ndarray:
    """Object array [n] of bytes."""
    return np.array([text.encode() for text in texts], dtype=object)
