"""The cells of a table of images, from CSV or JSON lines."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cli.program import DataError
from engine.checkpoint import listed
from engine.safe_files import lines_of
from sources import tables

_USUAL_NAMES = {"id", "image", "image_id", "img", "file", "filename", "file_name", "path"}
LIST_SEPARATOR = "\x1f"  # between the items of a JSON list
_FLOAT32_MAX = 3.4e38


@dataclass(frozen=True)
class Rows:
    """The cells of a table, as text; `places` says where each row is stored."""

    path: Path
    names: list[str]
    cells: list[list[str]]
    places: list[str]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, config, directory: str | None) -> "Rows":
        paths = tables.paths_of(config, directory)
        if len(paths) == 1 and paths[0].suffix in (".jsonl", ".ndjson"):
            return cls.of_json_lines(paths[0])
        columns = {config.image, config.split_column, config.group, *(config.target or [])}

        def is_named(cells: list[str]) -> bool:
            lowered = {cell.lower() for cell in cells}
            return bool(columns & set(cells)) or bool(_USUAL_NAMES & lowered)

        table = tables.read(config, directory, is_named)
        return cls(table.path, table.names, table.rows, table.places, table.notes)

    @classmethod
    def of_json_lines(cls, path: Path) -> "Rows":
        """An object each with the same keys; a list of texts is one cell."""
        names: list[str] = []
        cells, places = [], []
        for number, line in lines_of(path):
            if not line.strip():
                continue
            place = f"{path}:{number}"
            record = _json_object(place, line)
            names = names or list(record)
            if set(record) != set(names):
                raise DataError(
                    f"{place}: expected the keys {listed(names)}, as in the first line, "
                    f"got {listed(record) or 'none'}"
                )
            cells.append([_cell(record[name]) for name in names])
            places.append(place)
        if not names:
            raise DataError(f"{path}: expected at least one JSON object, got none")
        return cls(path, names, cells, places)

    def __len__(self) -> int:
        return len(self.cells)

    def require(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.names:
                raise DataError(f"{self.path}: no column {name!r}; it has {listed(self.names)}")

    def column(self, name: str) -> list[str]:
        at = self.names.index(name)
        return [row[at].strip() for row in self.cells]

    def numbers(self, names: list[str], empty: float = math.nan) -> np.ndarray:
        """float32 [rows, names]; an empty cell is refused unless there is a number for it."""
        values = np.empty((len(self), len(names)), np.float32)
        for at, name in enumerate(names):
            for row, cell in enumerate(self.column(name)):
                values[row, at] = value = _number(cell) if cell else empty
                if not abs(value) <= _FLOAT32_MAX:
                    raise DataError(
                        f"{self.places[row]}: {name}: expected a finite number, got {cell[:40]!r}"
                    )
        return values


def _number(cell: str) -> float:
    try:
        return math.nan if "_" in cell else float(cell)  # Python reads 1_000 as a number
    except ValueError:
        return math.nan


def _json_object(place: str, line: str) -> dict:
    try:
        record = json.loads(line)
        json.dumps(record, ensure_ascii=False).encode()  # half a surrogate pair has no code
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise DataError(f"{place}: expected one JSON object, got {line[:40]!r}")
    return record


def _cell(value) -> str:
    if isinstance(value, list):
        return LIST_SEPARATOR.join(map(str, value))
    return "" if value is None else str(value)
