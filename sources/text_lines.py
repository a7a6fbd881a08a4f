"""Texts of files, a row a line: TSV, CSV, JSONL, Parquet; and texts as TensorFlow takes them."""

import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cli.program import DataError
from engine.safe_files import lines_of
from sources import tables
from sources.cells import shown


class Field(NamedTuple):
    """A column of texts that a data set needs; its name is the option that names the column."""

    name: str
    usual: tuple[str, ...]  # names by which it is known too, in lower case
    may_be_number: bool = False  # a whole one, in JSON


class Layout(NamedTuple):
    """What a data set takes from its files."""

    fields: tuple[Field, Field]
    positional: Callable  # (place, line) -> the two fields, of a TSV whose columns have no names
    others: tuple[str, ...] = ()  # options that name further columns


class TextRows(NamedTuple):
    path: Path  # of the first file
    columns: dict[str, list[str]]  # {name of a field or of an option: texts}
    places: list[str]  # of each row: file and line
    notes: list[str]
    is_positional: bool = False  # the columns have no names


def utf8(texts: Iterable[str]) -> np.ndarray:
    """Object array [n] of bytes."""
    return np.array([text.encode() for text in texts], dtype=object)


def normalized_lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """(number, text) of each line, in Unicode's form NFC: an é is one character, however typed."""
    for number, line in lines_of(path, encoding):
        yield number, unicodedata.normalize("NFC", line)


def read(config, directory, layout: Layout) -> TextRows:
    """All files of a set. Raises DataError with the line for empty fields and missing columns."""
    paths = tables.paths_of(config, directory)
    files = [_of_file(path, config, layout, paths) for path in paths]
    columns = {key: [text for file in files for text in file.columns[key]] for key in files[0][1]}
    places = [place for file in files for place in file.places]
    fields = [columns[field.name] for field in layout.fields]
    for place, *texts in zip(places, *fields, strict=True):
        if not all(text.strip() for text in texts):
            raise DataError(f"{place}: expected text in every field, got an empty one")
    notes = tables.note_of_files(paths, [len(file.places) for file in files])
    notes = [*notes, *dict.fromkeys(note for file in files for note in file.notes)]
    return TextRows(paths[0], columns, places, notes, files[0].is_positional)


def _of_file(path: Path, config, layout: Layout, paths) -> TextRows:
    if path.suffix == ".jsonl":
        return _of_json(path, config, layout)
    if path.suffix in (".csv", ".parquet"):
        is_named = partial(has_names, config=config, layout=layout)
        table = tables.of_file(path, config, is_named, paths)
        notes = list(table.notes)
        return _of_columns(path, table.names, table.rows, table.places, config, layout, notes)
    lines = [row for row in normalized_lines(path, config.encoding) if row[1].strip()]
    if not lines:
        raise DataError(f"{path}: expected at least one line, got none")
    first = [cell.strip() for cell in lines[0][1].split("\t")]
    has_header = _has_header(first, config, layout)
    names = config.names or (first if has_header else None)
    below = lines[has_header:]
    places = [f"{path}:{number}" for number, _ in below]
    if names is None:
        return _positional(path, below, places, config, layout)
    if not below:
        raise DataError(f"{path}: expected at least one line below the names, got none")
    rows = [line.split("\t", len(names) - 1) for _, line in below]
    for place, cells in zip(places, rows, strict=True):
        if len(cells) != len(names):
            raise DataError(
                f"{place}: expected {len(names)} columns, {shown(names)}, got {len(cells)}"
            )
    return _of_columns(path, names, rows, places, config, layout, [])


def has_names(cells: list[str], config, layout: Layout) -> bool:
    """Whether the user or the habit of the field calls columns so."""
    options = [field.name for field in layout.fields] + list(layout.others)
    if any(getattr(config, option) in cells for option in options if getattr(config, option)):
        return True
    found = [_candidates(cells, field) for field in layout.fields]
    return all(found) and found[0] != found[1]


def _has_header(first: list[str], config, layout: Layout) -> bool:
    if config.header is not None:
        return config.header
    if config.names is not None:
        return first == config.names
    is_named = any(getattr(config, field.name) for field in layout.fields)
    return is_named or has_names(first, config, layout)


def _candidates(names: list[str], field: Field) -> list[str]:
    lower = {name: name.lower() for name in names}
    exact = [name for name in names if lower[name] == field.name]
    return exact or [name for name in names if lower[name] in field.usual]


def _chosen(path, names: list[str], config, layout: Layout) -> tuple[dict[str, str], list[str]]:
    """({field or option: column}, notes)"""
    options = [option for option in layout.others if getattr(config, option)]
    chosen = {option: getattr(config, option) for option in options}
    found = [_candidates(names, field) for field in layout.fields]
    given = [getattr(config, field.name) for field in layout.fields]
    if len(names) == 2 and not any(given) and not any(found):
        found = [[name] for name in names]
    notes = []
    for field, column, candidates in zip(layout.fields, given, found, strict=True):
        if column is None and len(candidates) != 1:
            raise DataError(
                f"{path}:1: expected one column of the {field.name}s, got {shown(names)}; "
                f"`{field.name}: COLUMN`"
            )
        chosen[field.name] = column or candidates[0]
        if column is None and candidates != [field.name]:
            notes.append(f"{field.name}s from the column {candidates[0]!r}")
    for column in chosen.values():
        if column not in names:
            raise DataError(f"{path}:1: no column {column!r}; it has {shown(names)}")
    return chosen, notes


def _of_columns(path, names, rows, places, config, layout: Layout, notes) -> TextRows:
    chosen, found = _chosen(path, names, config, layout)
    at = {key: names.index(column) for key, column in chosen.items()}
    columns = {key: [cells[place] for cells in rows] for key, place in at.items()}
    return TextRows(path, columns, places, [*notes, *found])


def _positional(path, lines, places, config, layout: Layout) -> TextRows:
    for option in layout.others:
        if getattr(config, option):
            raise DataError(f"{path}: {option}: expected columns with names, or a .jsonl file")
    rows = [layout.positional(place, line) for place, (_, line) in zip(places, lines, strict=True)]
    names = [field.name for field in layout.fields]
    columns = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    return TextRows(path, columns, places, [], is_positional=True)


# ---- JSON


def _of_json(path: Path, config, layout: Layout) -> TextRows:
    places = []
    records = []
    for number, line in normalized_lines(path, config.encoding):
        if line.strip():
            places.append(f"{path}:{number}")
            records.append(_json_object(places[-1], line))
    if not records:
        raise DataError(f"{path}: expected at least one line, got none")
    keys = {option: getattr(config, option) for option in layout.others}
    notes = []
    for field in layout.fields:
        candidates = _candidates(list(records[0]), field)
        guessed = candidates[0] if len(candidates) == 1 else field.name
        keys[field.name] = getattr(config, field.name) or guessed
        if guessed != field.name and not getattr(config, field.name):
            notes.append(f"{field.name}s from the key {guessed!r}")
    keys = {name: key for name, key in keys.items() if key}
    rows = [
        _json_texts(place, record, keys, layout)
        for place, record in zip(places, records, strict=True)
    ]
    columns = {name: [row[name] for row in rows] for name in keys}
    return TextRows(path, columns, places, notes)


def _json_object(place: str, line: str) -> dict:
    got = f"got {line[:40]!r}"
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: expected one JSON object, {got}") from error
    if not isinstance(record, dict):
        raise DataError(f"{place}: expected a JSON object with the keys of its fields, {got}")
    return record


def _json_texts(place: str, record: dict, keys: dict[str, str], layout: Layout) -> dict[str, str]:
    got = f"got {json.dumps(record, ensure_ascii=False)[:40]!r}"
    for key in keys.values():
        if key not in record:
            raise DataError(f"{place}: expected a JSON object with the key {key!r}, {got}")
    for field in layout.fields:
        value = record[keys[field.name]]
        if not isinstance(value, str) and not (field.may_be_number and isinstance(value, int)):
            kind = "text or a whole number" if field.may_be_number else "text"
            raise DataError(f"{place}: expected {kind} as the {field.name}, {got}")
    texts = {name: unicodedata.normalize("NFC", str(record[key])) for name, key in keys.items()}
    for name, text in texts.items():
        try:
            text.encode()
        except UnicodeEncodeError:  # "\ud800" in JSON
            raise DataError(
                f"{place}: {keys[name]}: expected whole Unicode characters, "
                "got half a surrogate pair"
            ) from None
    return texts
