"""Tables with a line of column names (CSV): numbers, text columns, and one column to be predicted.

    age,kind,name,y
    5.5,dog,Rex,yes             target: y, categories: [kind], ignore: [name]

A record: {"inputs": float32 [number columns], [5.5];
           "categories": string [text columns], [b"dog"], if there are any; for `encode_categories`;
           "missing": float32 [number columns], 1 for a cell without a value, with `missing: keep`,
                      whose input is 0; for `fill`;
           "sample_weight": float32 [], if a column has it;
           "targets": int64 [], the place of "yes" in order; or float32 [], with `targets: numbers`}
"""

import re

import numpy as np

from cli.program import DataError
from data_loader import Source, from_arrays
from sources import example_weights, number_columns, splits, tables
from sources.cells import are_distinct, is_missing, notes_of_names, number_rows
from sources.labels import numbered
from sources.tables import Table
from sources.text_lines import utf8
from sources.times import read_times

_IDENTIFIER = re.compile(r"(.*[ _.-])?(id|idx|index|key|uuid|nr|no)|.*[a-z](Id|ID)", re.ASCII)
_ROWS_OF_IDENTIFIERS = 20  # below which numbers differ by chance


def load(config, split, directory) -> Source:
    table = _open(config, directory)
    special = _special(config)
    names = [name for name in table.names if name not in special]
    if not names and not config.categories:
        raise DataError(
            f"{table.path}: expected at least one column of inputs, got none beside "
            f"{', '.join(special)}; name columns of text in `categories`, fewer in `ignore`"
        )
    table, features, notes = _features(config, table, names)
    class_names = []
    if config.targets == "classes":
        class_names, features["targets"], found = _classes(table, config.target)
        notes += found
    if config.sample_weight:
        name = config.sample_weight
        weights = number_columns.read(table, [name], config, "")[:, 0]
        place = table.places.__getitem__
        weights = example_weights.checked(weights, len(table), table.path, name, place)
        features["sample_weight"] = weights
    kept, found = _rows_of(split, config, table, features["targets"] if class_names else ())
    features = {key: values[kept] for key, values in features.items()}
    columns = {"inputs": names, "targets": [config.target]}
    return from_arrays(
        "csv",
        features,
        class_names,
        lambda index: table.places[kept[index]],
        columns | ({"categories": config.categories} if config.categories else {}),
        (*table.notes, *notes, *found),
    )


def _special(config) -> list[str]:
    """Columns that are no inputs of numbers."""
    names = [config.target, config.group, config.time, config.split_column, config.sample_weight]
    return [name for name in names if name is not None] + [*config.categories, *config.ignore]


def _open(config, directory) -> Table:
    special = _special(config)
    table = tables.read(config, directory, lambda cells: any(name in cells for name in special))
    table.require(special)
    return tables.without_row_numbers(table, [*special, *(config.names or [])])


def _features(config, table: Table, names: list[str]) -> tuple[Table, dict, list[str]]:
    """(the table without the rows that are dropped, features, notes)"""
    has_numbers = config.targets == "numbers"
    columns = [*names, config.target] if has_numbers else names
    cure = "; text? `categories: [{0}]` or `ignore: [{0}]`"
    values = number_columns.read(table, columns, config, cure)
    is_empty = np.isnan(values)
    no_class = [not has_numbers and is_missing(cell) for cell in table.column(config.target)]
    notes = []
    if config.missing == "drop":
        kept = np.flatnonzero(~(is_empty.any(axis=1) | no_class))
        table = table.of_rows(kept, "missing values")
        values, is_empty = values[kept], is_empty[kept]
    elif has_numbers:
        number_columns.require_all(table, config.target, is_empty[:, -1])
    inputs, is_empty = (array[:, : len(names)] for array in (values, is_empty))
    features = {"inputs": np.nan_to_num(inputs, nan=0.0)}
    if config.missing == "keep":
        features["missing"] = is_empty.astype(np.float32)
        notes += number_columns.notes_of_missing(names, is_empty)
    notes += number_columns.notes_of_whole(table, names, values, config)
    notes += [note for name in names for note in _notes_of_identifier(table, name)]
    if config.categories:
        texts = [table.column(name) for name in config.categories]
        features["categories"] = np.stack([utf8(column) for column in texts], axis=1)
        for name, column in zip(config.categories, texts, strict=True):
            notes += notes_of_names(f"{name}: categories", sorted(set(column)))
            if empty := column.count(""):
                notes.append(f"{name}: {empty:,} empty cells are a category of their own")
    if has_numbers:
        features["targets"] = values[:, -1]
    return table, features, notes


def _notes_of_identifier(table: Table, name: str) -> list[str]:
    cells = table.column(name)
    if len(cells) < _ROWS_OF_IDENTIFIERS or not are_distinct(cells, table.num_files):
        return []
    if not (number_rows(cells, table.num_files) or _IDENTIFIER.fullmatch(name)):
        return []
    return [
        f"{name}: an input with another whole number in each row; an identifier? `ignore: [{name}]`"
    ]


def _classes(table: Table, target: str) -> tuple[list[str], np.ndarray, list[str]]:
    cells = table.column(target)
    if "" in cells:
        rows = [row for row, cell in enumerate(cells) if not cell]
        raise DataError(
            f"{table.places[rows[0]]}: {target}: expected the name of a class, got an empty cell, "
            f"in {tables.listed(table.keys[row] for row in rows)}; `missing: drop` leaves it out"
        )
    class_names, targets = numbered(cells, table.path, "; numbers? `targets: numbers`")
    notes = notes_of_names(f"{target}: classes", class_names)
    unknown = [name for name in class_names if is_missing(name)]
    if unknown:
        notes.append(f"{target}: {unknown[0]!r} is a class; missing? `missing: drop`")
    return class_names, targets, notes


def _rows_of(split, config, table: Table, classes) -> tuple[np.ndarray, list[str]]:
    path = table.path
    if config.time:
        times = read_times(table, config.time, config.time_format)
        rows_in_time = np.argsort(times.values, kind="stable")
        kept = rows_in_time[splits.in_order(path, split, config, len(table))]
        return kept, list(times.notes)
    if config.group:
        groups = table.column(config.group)
        alone = f"{config.group}: {groups.count(''):,} rows without a group stay together"
        return splits.by_group(path, split, config, groups), [alone] * ("" in groups)
    if config.split_column:
        of_split = tables.rows_of_split(
            table.column(config.split_column), table.places, config, split
        )
        if of_split.shares is None:
            return of_split.rows, of_split.notes
        keys = [table.keys[row] for row in of_split.rows]
        chosen = classes[of_split.rows] if len(classes) else ()
        kept = splits.by_key(path, split, of_split.shares, keys, chosen)
        return of_split.rows[kept], of_split.notes
    return splits.by_key(path, split, config, table.keys, classes), []
