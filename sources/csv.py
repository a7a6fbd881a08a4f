"""Tables with a line of column names (CSV): numbers, text columns, and one column to be predicted.

    age,kind,name,y
    5.5,dog,Rex,yes             target: y, categories: [kind], ignore: [name]

A record: {"inputs": float32 [number columns], [5.5];
           "categories": string [text columns], [b"dog"], if there are any; for `encode_categories`;
           "targets": int64 [], the place of "yes" in order; or float32 [], with `targets: numbers`}
"""

from pathlib import Path

import numpy as np

from cli.program import DataError
from data_loader import Source, from_arrays
from sources import splits
from sources.labels import numbered
from sources.tables import Table
from sources.text_lines import utf8


def load(config, split, directory) -> Source:
    path = Path(directory or "", config.file)
    table = Table(path, config.delimiter)
    special = [name for name in (config.target, config.group, config.time) if name is not None]
    special += [*config.categories, *config.ignore]
    table.require(special)
    features = {"inputs": table.numbers([name for name in table.names if name not in special])}
    if config.categories:
        columns = [utf8(table.column(name)) for name in config.categories]
        features["categories"] = np.stack(columns, axis=1)
    class_names = []
    if config.targets == "classes":
        class_names, features["targets"] = _classes(table, config.target)
    else:
        features["targets"] = table.numbers([config.target])[:, 0]
    kept = _rows_of(split, config, table, features["targets"] if class_names else ())
    features = {key: values[kept] for key, values in features.items()}
    return from_arrays(
        "csv", features, class_names, lambda index: f"{path}:{table.lines[kept[index]]}"
    )


def _classes(table: Table, target: str) -> tuple[list[str], np.ndarray]:
    cells = table.column(target)
    if "" in cells:
        line = table.lines[cells.index("")]
        raise DataError(
            f"{table.path}:{line}: {target}: expected the name of a class, got an empty cell"
        )
    return numbered(cells, table.path, "; numbers? `targets: numbers`")


def _rows_of(split, config, table: Table, classes) -> np.ndarray:
    if config.time:
        rows_in_time = _sorted(table.column(config.time))
        return rows_in_time[splits.in_order(table.path, split, config, len(table))]
    if config.group:
        return splits.by_group(table.path, split, config, table.column(config.group))
    return splits.by_key(table.path, split, config, table.lines, classes)


def _sorted(cells: list[str]) -> np.ndarray:
    """Indices in rising order: of numbers if all are numbers, else of text, such as 2026-11-23."""
    try:
        keys = [float(cell) for cell in cells]
        return np.argsort(keys, kind="stable")
    except ValueError:
        return np.array(sorted(range(len(cells)), key=cells.__getitem__))
