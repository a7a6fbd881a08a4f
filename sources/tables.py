"""Tables: rows of cells below the names of their columns, from CSV, TSV and Parquet files.

Cells are text, without the blanks around them and in Unicode's form NFC. Whatever is left out is
in `Table.notes`.
"""

import csv
import glob
import importlib
import json
import os
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cli.program import ConfigError, DataError
from engine.safe_files import lines_of
from sources import splits
from sources.cells import are_distinct, is_number, number_rows, shown

_SHOWN = 10  # lines in one message
_OUR_SPLITS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}
_NUMBERING = ("index", "rownames", "row_names", "rownumber", "row_number")


@dataclass(frozen=True)
class Table:
    """Rows of one file or of several with the same columns."""

    path: Path  # of the first file
    names: list[str]
    rows: list[list[str]]
    places: list[str]  # of each row: file and line
    keys: list  # of each row, by whose hash it falls into a split
    notes: tuple[str, ...] = ()
    num_files: int = 1

    def __len__(self) -> int:
        return len(self.rows)

    def require(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.names:
                raise DataError(
                    f"{self.path}:1: no column {name!r}; it has {shown(self.names)}"
                    f"{_cure_of_names(self.names)}"
                )

    def require_columns(self) -> None:
        """Raises DataError where a single column looks like several."""
        if len(self.names) == 1 and (cure := _cure_of_names(self.names)):
            raise DataError(f"{self.path}:1: expected columns, got {self.names[0][:40]!r}{cure}")

    def column(self, name: str) -> list[str]:
        at = self.names.index(name)
        return [cells[at] for cells in self.rows]

    def of_rows(self, kept: np.ndarray, note: str = "") -> "Table":
        """Only these rows; `note` says of the others why they are left out."""
        if not len(kept):
            raise DataError(f"{self.path}: expected at least one row without {note}, got none")
        notes = self.notes
        left_out = sorted(set(range(len(self))) - set(kept.tolist()))
        if left_out and note:
            where = listed(self.keys[row] for row in left_out)
            notes = (*notes, f"{len(left_out):,} rows left out: {note}: {where}")
        return replace(
            self,
            rows=[self.rows[row] for row in kept],
            places=[self.places[row] for row in kept],
            keys=[self.keys[row] for row in kept],
            notes=notes,
        )

    def without(self, at: int, note: str) -> "Table":
        """All columns but number `at`."""
        return replace(
            self,
            names=self.names[:at] + self.names[at + 1 :],
            rows=[cells[:at] + cells[at + 1 :] for cells in self.rows],
            notes=(*self.notes, note),
        )


def listed(keys: Iterable) -> str:
    """`lines 3, 5, ...`: at most ten."""
    keys = list(map(str, keys))
    shown = ", ".join(keys[:_SHOWN]) + (", ..." if len(keys) > _SHOWN else "")
    return f"lines {shown}" if len(keys) > 1 else f"line {shown}"


# ---- files


def paths_of(config, directory) -> list[Path]:
    """The files that `file` names: one, several, or those of a pattern, sorted."""
    paths = []
    for name in [config.file] if isinstance(config.file, str) else config.file:
        path = Path(directory or "", name)
        if "*" not in name or path.exists():
            paths.append(path)
            continue
        found = sorted(map(Path, glob.glob(str(path), recursive=True)))
        if not found:
            raise DataError(f"{path}: expected a file of this pattern, got none")
        paths += found
    if not paths:
        raise ConfigError("data: file: expected at least one, got none")
    return paths


def keys_of(paths: Sequence[Path], path: Path, lines: Sequence[int]) -> list:
    """The number of each line, with its file where there are several."""
    if len(paths) == 1:
        return list(lines)
    folder = os.path.commonpath([str(path.parent) for path in paths])
    name = Path(os.path.relpath(path, folder)).as_posix()
    return [f"{name}:{line}" for line in lines]


def note_of_files(paths: Sequence[Path], counts: Sequence[int]) -> tuple[str, ...]:
    if len(paths) == 1:
        return ()
    pairs = zip(paths, counts, strict=True)
    shown = ", ".join(f"{path.name} {count:,}" for path, count in list(pairs)[:_SHOWN])
    return (f"{len(paths)} files put together: {shown}" + ", ..." * (len(paths) > _SHOWN),)


def read(config, directory, is_named: Callable[[list[str]], bool]) -> Table:
    """All files of a set as one table.

    `is_named(cells)`: whether the first line certainly has the names of the columns, because the
    user or the habit of the field names some of them. Raises DataError with the line for ragged
    rows, a broken quotation, a first line that looks like a row, files of different columns.
    """
    paths = paths_of(config, directory)
    tables = [of_file(path, config, is_named, paths) for path in paths]
    first = tables[0]
    for table in tables[1:]:
        if table.names != first.names:
            raise DataError(
                f"{table.path}: expected the columns of {first.path.name}, "
                f"{shown(first.names)}; got {shown(table.names)}"
            )
    notes = [note for table in tables for note in table.notes]
    return Table(
        first.path,
        first.names,
        [cells for table in tables for cells in table.rows],
        [place for table in tables for place in table.places],
        [key for table in tables for key in table.keys],
        (*note_of_files(paths, list(map(len, tables))), *dict.fromkeys(notes)),
        len(tables),
    )


def of_file(path: Path, config, is_named, paths: Sequence[Path]) -> Table:
    """The table in one of the files `paths`."""
    if path.suffix == ".parquet":
        names, rows = _read_parquet(path)
        lines = list(range(1, len(rows) + 1))
        places = [f"{path}: row {line}" for line in lines]
        notes = ()
    else:
        numbered_rows = _cells_of(path, config)
        names, numbered_rows, notes = _with_names(path, numbered_rows, config, is_named)
        lines, rows, more = _even(path, names, numbered_rows)
        places = [f"{path}:{line}" for line in lines]
        notes = (*notes, *more)
    _check_names(path, names)
    if not rows:
        raise DataError(f"{path}: expected at least one row below the names, got none")
    return Table(path, names, rows, places, keys_of(paths, path, lines), notes)


def _read_parquet(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise DataError(f"{path}: {error}; expected `pip install -e '.[parquet]'`") from error
    try:
        table = parquet.read_table(path)
        columns = [column.to_pylist() for column in table.columns]
    except FileNotFoundError as error:
        raise DataError(f"{path}: {os.strerror(error.errno or 2)}") from error
    except Exception as error:  # what damage makes pyarrow raise is not documented
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: damaged Parquet: {reason}") from error
    names = [_cell(name) for name in table.column_names]
    for name, column in zip(names, columns, strict=True):
        if any(isinstance(value, bytes | list | dict) for value in column):
            raise DataError(f"{path}: {name}: expected numbers, texts or times in each cell")
    return names, [list(map(_cell, cells)) for cells in zip(*columns, strict=True)]


def _cell(value) -> str:
    if not isinstance(value, str):
        is_time = hasattr(value, "isoformat")
        value = value.isoformat() if is_time else "" if value is None else str(value)
    return (value if value.isascii() else unicodedata.normalize("NFC", value)).strip()


# ---- lines


def _cells_of(path: Path, config) -> list[tuple[int, list[str]]]:
    """(line, cells) of each row that has any."""
    lines = (line + "\n" for _, line in lines_of(path, config.encoding))
    blanks = config.delimiter not in " \t"
    reader = csv.reader(lines, delimiter=config.delimiter, strict=True, skipinitialspace=blanks)
    try:
        rows = [(reader.line_num, list(map(_cell, cells))) for cells in reader]
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: damaged CSV: {error}") from error
    if rows and rows[0][1] == ["sep=", ""]:  # with which Excel says its delimiter
        rows = rows[1:]
    return [(line, cells) for line, cells in rows if any(cells) or len(cells) > 1]


def _with_names(path, numbered_rows, config, is_named):
    """(names, rows below them, notes)"""
    if not numbered_rows:
        raise DataError(f"{path}:1: expected a line with the names of the columns, got nothing")
    _, first = numbered_rows[0]
    if config.names is not None and len(config.names) != len(first):
        raise DataError(
            f"{path}:{numbered_rows[0][0]}: names: expected {len(first)}, "
            f"as there are columns, got {len(config.names)}"
        )
    has_header = config.header
    if has_header is None:
        has_header = _looks_like_names(path, first, config, is_named)
    names = config.names or (first if has_header else [f"c{at}" for at in range(len(first))])
    notes = () if has_header else (f"no header: columns {shown(names)}",)
    return names, numbered_rows[has_header:], notes


def _looks_like_names(path, first: list[str], config, is_named) -> bool:
    if config.names is not None:
        return first == config.names
    numbers = [cell for cell in first if is_number(cell)]
    if numbers and not is_named(first):
        raise DataError(
            f"{path}:1: expected a line with the names of the columns, got {numbers[0]!r} among "
            "them; without such a line `header: false` (c0, c1, ...) or `names: [...]`, "
            "with it `header: true`"
        )
    return True


def _check_names(path, names: list[str]) -> None:
    if not any(names):
        raise DataError(f"{path}:1: expected a line with the names of the columns, got nothing")
    for name in names:
        if name and names.count(name) > 1:
            raise DataError(f"{path}:1: expected a name for each column, got {name!r} twice")


def _even(path, names, numbered_rows) -> tuple[list[int], list[list[str]], tuple[str, ...]]:
    """(lines, rows, notes), without empty rows. Raises DataError for ragged ones."""
    empty = [line for line, cells in numbered_rows if not any(cells)]
    filled = [(line, cells) for line, cells in numbered_rows if any(cells)]
    filled = [  # a delimiter may end each row
        (line, cells if any(cells[len(names) :]) else cells[: len(names)]) for line, cells in filled
    ]
    ragged = [(line, cells) for line, cells in filled if len(cells) != len(names)]
    if ragged:
        line, cells = ragged[0]
        more = f"; {len(ragged)} such rows: {listed(line for line, _ in ragged)}"
        raise DataError(
            f"{path}:{line}: expected {len(names)} cells, as in the first line, got {len(cells)}"
            f"{more if len(ragged) > 1 else ''}{_cure_of_names(names)}"
        )
    notes = (f"{len(empty)} empty rows left out: {listed(empty)}",) if empty else ()
    return [line for line, _ in filled], [cells for _, cells in filled], notes


def _cure_of_names(names: list[str]) -> str:
    """What may be wrong where the columns are others than expected."""
    for delimiter in ";\t|,":
        if len(names) == 1 and delimiter in names[0]:
            return f"; `delimiter: {json.dumps(delimiter)}`?"
    if any(map(is_number, names)):
        return "; no line with names? `header: false` (c0, c1, ...) or `names: [...]`"
    return ""


def without_row_numbers(table: Table, used: Sequence[str]) -> Table:
    """Without what programs export beside the data: numbers of rows, columns of nothing.

    `used`: columns that the user names, which stay.
    """
    for at, name in reversed(list(enumerate(table.names))):
        if name in used:
            continue
        is_nameless = not name or name.startswith("Unnamed:")
        column = [cells[at] for cells in table.rows]
        if is_nameless and not any(column):
            table = table.without(at, f"column {at + 1} left out: it has no name and no values")
        elif (is_nameless and are_distinct(column, table.num_files)) or (
            name.lower() in _NUMBERING and number_rows(column, table.num_files)
        ):
            table = table.without(at, f"column {at + 1} left out: {name!r} numbers the rows")
        elif is_nameless:
            note = f"column {at + 1} has no name and is an input"
            table = replace(table, notes=(*table.notes, note))
    if table.names.count("") > 1:
        raise DataError(f"{table.path}:1: expected a name for each column, got none twice")
    return table


# ---- splits


class OfSplit(NamedTuple):
    rows: np.ndarray  # those that are stored as the split, or as train where it is held out of that
    shares: splits.Shares | None  # by which they are divided; None: all of them are the split
    notes: list[str]


def rows_of_split(words: Sequence[str], places: Sequence[str], config, split: str) -> OfSplit:
    """Where a split comes from when a column says of each row which one it is in."""
    column = config.split_column
    ours = [_OUR_SPLITS.get(word.lower()) for word in words]
    if None in ours:
        row = ours.index(None)
        got = repr(words[row][:40])
        raise DataError(f"{places[row]}: {column}: expected train, valid or test, got {got}")
    stored = splits.stored_split(column, split, config, sorted(set(ours)))
    if not stored.split:
        raise DataError(f"{places[0]}: {column}: expected some rows of train, got none")
    rows = np.flatnonzero(np.array(ours) == stored.split)
    return OfSplit(rows, stored.shares, list(stored.notes))
