"""Tables of text: a line with the names of the columns, then rows (CSV)."""

import csv
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cli.program import DataError
from engine.safe_files import lines_of

_FLOAT32_MAX = 3.4e38


class Table:
    """Raises DataError with the line for a ragged row, a broken quotation, what is no number."""

    def __init__(self, path: Path, delimiter: str = ","):
        self.path = path
        self.lines: list[int] = []  # of each row
        self.rows: list[list[str]] = []
        lines = (line + "\n" for _, line in lines_of(path))
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            self.names = next(reader, [])
            if not any(self.names):
                raise DataError(
                    f"{path}:1: expected a line with the names of the columns, got nothing"
                )
            for name in self.names:
                if self.names.count(name) > 1:
                    raise DataError(
                        f"{path}:1: expected a name for each column, got {name!r} twice"
                    )
            for cells in filter(None, reader):  # no blank line
                if len(cells) != len(self.names):
                    raise DataError(
                        f"{path}:{reader.line_num}: expected {len(self.names)} cells, "
                        f"as in the first line, got {len(cells)}"
                    )
                self.lines.append(reader.line_num)
                self.rows.append(cells)
        except csv.Error as error:
            raise DataError(f"{path}:{reader.line_num}: damaged CSV: {error}") from error
        if not self.rows:
            raise DataError(f"{path}: expected at least one row below the names, got none")

    def __len__(self) -> int:
        return len(self.rows)

    def require(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.names:
                raise DataError(
                    f"{self.path}:1: no column {name!r}; it has {', '.join(self.names)}"
                )

    def column(self, name: str) -> list[str]:
        at = self.names.index(name)
        return [cells[at] for cells in self.rows]

    def numbers(self, names: list[str]) -> np.ndarray:
        """float32 [rows, names]"""
        values = np.empty((len(self), len(names)), np.float32)
        for at, name in enumerate(names):
            values[:, at] = [
                self._number(name, line, cell)
                for line, cell in zip(self.lines, self.column(name), strict=True)
            ]
        return values

    def _number(self, name, line, cell: str) -> float:
        try:
            value = math.nan if "_" in cell else float(cell)  # Python reads 1_000 as a number
        except ValueError:
            value = math.nan
        if not abs(value) <= _FLOAT32_MAX:
            raise DataError(
                f"{self.path}:{line}: {name}: expected a finite number, got {cell[:40]!r}"
            )
        return value
