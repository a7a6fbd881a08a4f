"""Numbers: NumPy archives, CSV tables, and series in time."""

import csv as csv_files
import hashlib
import math
from pathlib import Path

import numpy as np
import tensorflow as tf

import data_config
from cli.program import DataError
from sources.source import (
    BUNDLED,
    SPLITS,
    Source,
    chosen,
    divide,
    from_arrays,
    in_order,
    lines_of,
    path_of,
)

_MOST_CLASSES = 1_000_000
_MOST_PACKED = 2000  # times that an archive may be larger when unpacked: NumPy's own compression reaches about 1,000


def npz(config: data_config.Npz, split: str, directory: Path | None) -> Source:
    path = path_of(directory, config.file)
    arrays = _read_npz(path)
    if f"x_{split}" in arrays:
        names = (f"x_{split}", f"y_{split}")
    elif {"x", "y"} <= arrays.keys():
        names = ("x", "y")
    else:
        raise DataError(
            f"{path}: expected the arrays x_{split} and y_{split}, or x and y, got {', '.join(sorted(arrays)) or 'none'}"
        )
    inputs, targets = (arrays[name] if name in arrays else _missing(path, name) for name in names)
    for name, array in zip(names, (inputs, targets), strict=True):
        if array.dtype.kind not in "biuf" or array.ndim == 0:
            raise DataError(
                f"{path}: {name}: expected an array of numbers, got {array.dtype} of shape {array.shape}"
            )
    if len(inputs) != len(targets):
        raise DataError(
            f"{path}: expected {names[0]} and {names[1]} of one length, got {len(inputs)} and {len(targets)}"
        )
    if not inputs.size or not targets.size:
        raise DataError(
            f"{path}: expected at least one example, got {names[0]} {inputs.shape} and {names[1]} {targets.shape}"
        )
    class_names: list[str] = []
    if config.targets == "classes":
        if targets.dtype.kind == "f":
            raise DataError(
                f"{path}: {names[1]}: expected whole numbers as classes, got {targets.dtype}; or targets: numbers"
            )
        everywhere = [
            array
            for name, array in arrays.items()
            if name == "y" or name in {f"y_{split}" for split in SPLITS}
        ]
        highest = max((int(array.max()) for array in everywhere if array.size), default=0)
        if highest > _MOST_CLASSES:  # an identifier, a time: its classes would fill the memory
            raise DataError(
                f"{path}: expected at most {_MOST_CLASSES:,} classes, got a class {highest}"
            )
        class_names = config.class_names or [str(number) for number in range(highest + 1)]
        targets = targets.astype(np.int64)
        targets = targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else targets
    else:
        with np.errstate(over="ignore"):
            targets = targets.astype(np.float32)
    if inputs.dtype != np.uint8:
        with np.errstate(
            over="ignore"
        ):  # what float32 cannot hold becomes inf, which is refused below
            inputs = inputs.astype(np.float32)
    rows = np.arange(len(inputs))
    if names[0] == "x":
        classes = targets if class_names and targets.ndim == 1 else ()
        rows = chosen(
            str(path), divide([str(row) for row in rows], config.valid, config.test, classes), split
        )
    return from_arrays(
        "npz",
        {"inputs": inputs[rows], "targets": targets[rows]},
        class_names,
        lambda index: f"{path}: row {rows[index]}",
    )


def _missing(path: Path, name: str):
    raise DataError(f"{path}: expected the array {name}, got none")


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    """Every array of the archive; one with Python objects in it, which could run code, is refused."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            if not hasattr(archive, "files"):
                raise DataError(f"{path}: expected an archive (.npz), got a single array")
            unpacked = sum(member.file_size for member in archive.zip.infolist())
            if unpacked > _MOST_PACKED * path.stat().st_size:
                raise DataError(
                    f"{path}: expected at most {_MOST_PACKED:,} times its size when unpacked, got {unpacked:,} bytes"
                )
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except DataError:
        raise
    except Exception as error:  # of NumPy's readers of zip, of headers, of numbers: what damage makes them raise is nowhere written
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: expected a NumPy archive of plain arrays: {reason}") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise DataError(
                f"{path}: {name}: expected an array, got a file that does not begin as one"
            )
    return arrays


# -------------------------------------------------------------------------------------------------------------- csv


def _read_table(path: Path, delimiter: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """(names of the columns, [(line, cells)]). Raises DataError with the line for a ragged row or a broken quotation."""
    numbered = lines_of(path)
    reader = csv_files.reader(
        (line + "\n" for _, line in numbered), delimiter=delimiter, strict=True
    )
    try:
        header = next(reader, None)
        if not header or not any(header):
            raise DataError(f"{path}:1: expected a line with the names of the columns, got nothing")
        if len(set(header)) != len(header):
            twice = next(name for name in header if header.count(name) > 1)
            raise DataError(f"{path}:1: expected a name for each column, got {twice!r} twice")
        rows = []
        for cells in reader:
            if not cells:
                continue  # a blank line
            if len(cells) != len(header):
                raise DataError(
                    f"{path}:{reader.line_num}: expected {len(header)} cells, as in the first line, got {len(cells)}"
                )
            rows.append((reader.line_num, cells))
    except csv_files.Error as error:
        raise DataError(f"{path}:{reader.line_num}: damaged CSV: {error}") from error
    if not rows:
        raise DataError(f"{path}: expected at least one row below the names, got none")
    return header, rows


def _number(path: Path, line: int, column: str, text: str) -> float:
    try:
        value = math.nan if "_" in text else float(text)  # Python reads 1_000 as a number
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or abs(value) > 3.4e38:  # what float32 holds
        raise DataError(f"{path}:{line}: {column}: expected a finite number, got {text[:40]!r}")
    return value


def csv(config: data_config.Csv, split: str, directory: Path | None) -> Source:
    path = path_of(directory, config.file)
    header, rows = _read_table(path, config.delimiter)
    special = [name for name in (config.target, config.group, config.time) if name is not None]
    for name in [*special, *config.categories, *config.ignore]:
        if name not in header:
            raise DataError(f"{path}:1: no column {name!r}; it has {', '.join(header)}")
    numbers = [
        name for name in header if name not in {*special, *config.categories, *config.ignore}
    ]
    at = {name: place for place, name in enumerate(header)}

    def column(name: str) -> list[str]:
        return [cells[at[name]] for _, cells in rows]

    def numeric(name: str) -> np.ndarray:
        return np.array(
            [_number(path, line, name, cells[at[name]]) for line, cells in rows], np.float32
        )

    class_names: list[str] = []
    if config.targets == "classes":
        class_names = sorted(set(column(config.target)))
        if "" in class_names:
            line = next(line for line, cells in rows if not cells[at[config.target]])
            raise DataError(
                f"{path}:{line}: {config.target}: expected the name of a class, got an empty cell"
            )
        number_of = {name: number for number, name in enumerate(class_names)}
        targets = np.array([number_of[text] for text in column(config.target)], np.int64)
    else:
        targets = numeric(config.target)
    features = {
        "inputs": np.stack([numeric(name) for name in numbers], axis=1)
        if numbers
        else np.zeros((len(rows), 0), np.float32)
    }
    if config.categories:
        features["categories"] = np.array(
            [
                [cell.encode() for cell in cells]
                for cells in zip(*map(column, config.categories), strict=True)
            ],
            object,
        )
    features["targets"] = targets
    if config.time:
        in_time = _sorted_by(column(config.time))
        splits = {
            name: in_time[places]
            for name, places in in_order(len(rows), config.valid, config.test).items()
        }
    else:
        keys = [str(line) for line, _ in rows]
        splits = divide(
            keys,
            config.valid,
            config.test,
            targets if class_names else (),
            column(config.group) if config.group else (),
        )
    kept = chosen(str(path), splits, split)
    features = {key: values[kept] for key, values in features.items()}
    return from_arrays("csv", features, class_names, lambda index: f"{path}:{rows[kept[index]][0]}")


def _sorted_by(texts: list[str]) -> np.ndarray:
    """Indices in rising order: of numbers where all are numbers, else of text, such as 2026-11-23."""
    try:
        return np.argsort(np.array([float(text) for text in texts]), kind="stable")
    except ValueError:
        return np.array(sorted(range(len(texts)), key=lambda index: texts[index]))


# ----------------------------------------------------------------------------------------------------------- series


def series(config: data_config.Series, split: str, directory: Path | None) -> Source:
    path = path_of(directory, config.file) if config.file else BUNDLED / "sunspots_monthly.csv"
    header, rows = _read_table(path, ",")
    columns = config.columns or header[1:]
    for name in columns:
        if name not in header:
            raise DataError(f"{path}:1: no column {name!r}; it has {', '.join(header)}")
    places = [header.index(name) for name in columns]
    values = np.array(
        [[_number(path, line, header[at], cells[at]) for at in places] for line, cells in rows],
        np.float32,
    )
    # A window belongs to the split that its last `horizon` rows, those to be forecast, lie in.
    within = chosen(str(path), in_order(len(rows), config.valid, config.test), split)
    length = config.window + config.horizon
    starts = np.arange(max(0, int(within[0]) - config.window), int(within[-1]) + 2 - length)
    if not len(starts):
        raise DataError(
            f"{path}: {split}: expected at least {length} rows for one window, got {len(within)}"
        )
    table = tf.constant(values)

    def read(indices):
        return {
            "inputs": tf.gather(
                table, tf.gather(starts, indices)[:, tf.newaxis] + np.arange(length)
            )
        }  # (n, length, columns)

    digest = hashlib.sha256(values.tobytes() + starts.tobytes() + str(length).encode())
    return Source(
        "series",
        len(starts),
        read,
        (),
        digest.hexdigest(),
        lambda index: f"{path}:{rows[starts[index]][0]}",
    )
