"""Sliding windows over the number columns of a CSV file, in time; the latest rows are held out.

    month,sunspots
    1749-01,58.0

A record: {"inputs": float32 [window + horizon, columns]}; the operation `window` splits off the
`horizon` rows that are to be forecast. A window belongs to the split that these lie in, because
earlier rows are known by then. It crosses no hole or repeat in time, and no `group`.
"""

import hashlib
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from cli.program import DataError
from data_loader import BUNDLED, NoSplit, Source
from sources import number_columns, splits, tables
from sources.cells import is_missing, is_number
from sources.tables import Table
from sources.times import Times, is_iso, read_times, usual_formats

_MOSTLY = 0.8  # of the steps that go one way: a column of times, not of values


class Run(NamedTuple):
    """The rows of one group, in order; `breaks[i]`: no window may hold rows i - 1 and i."""

    rows: np.ndarray
    breaks: np.ndarray  # bool, as long


def load(config, split, directory) -> Source:
    if config.file is None:
        config = config.model_copy(update={"file": "sunspots_monthly.csv"})
        directory = BUNDLED
    table, columns, times = _open(config, directory)
    values = number_columns.read(table, columns, config, "; `columns: [...]` names the numbers")
    is_missing = np.isnan(values).any(axis=1)
    runs, notes = _runs(config, table, times, is_missing)
    if is_missing.any():
        lines = tables.listed(table.keys[row] for row in np.flatnonzero(is_missing))
        notes.append(f"{is_missing.sum():,} rows left out: missing values: {lines}")
    order = np.concatenate([run.rows for run in runs])
    values = values[order]
    starts, found = _starts(config, split, table, runs)
    notes += found
    length = config.window + config.horizon
    series = tf.constant(values)

    def read(indices):
        window = tf.gather(starts, indices)[:, tf.newaxis] + np.arange(length)
        return {"inputs": tf.gather(series, window)}

    digest = hashlib.sha256(values.tobytes() + starts.tobytes() + str(length).encode())
    return Source(
        "series",
        len(starts),
        read,
        (),
        digest.hexdigest(),
        lambda index: table.places[order[starts[index]]],
        columns={"inputs": columns},
        notes=(*table.notes, *times.notes, *notes),
    )


# ---- columns


def _open(config, directory) -> tuple[Table, list[str], Times]:
    named = [*(config.columns or []), *filter(None, (config.time, config.group))]
    table = tables.read(config, directory, lambda cells: any(name in cells for name in named))
    table.require(named)
    first, *others = table.names
    if config.columns:
        columns = config.columns
    elif config.time:
        columns = [name for name in table.names if name not in (config.time, config.group)]
    else:
        columns = [name for name in others if name != config.group] or [first]
    table.require_columns()
    time = config.time or (first if first not in (*columns, config.group) else None)
    if time is None:
        return table, columns, _as_they_stand(table, "no column of times")
    is_chosen = config.time or config.time_format or config.group
    if is_chosen or _holds_times(table, time):
        return table, columns, read_times(table, time, config.time_format)
    return table, columns, _as_they_stand(table, f"{time!r} left out: it holds no rising times")


def _as_they_stand(table: Table, why: str) -> Times:
    """As if each row were a step after the one before; files are apart."""
    files = [place.rpartition(":")[0] for place in table.places]
    is_first = [file != before for file, before in zip(files, files[:1] + files, strict=False)]
    values = np.arange(len(table)) + np.cumsum(is_first)
    return Times(values, notes=(f"{why}: rows follow each other as they stand",))


def _holds_times(table: Table, name: str) -> bool:
    """Whether it is meant as times, in a format that is known or not."""
    cells = table.column(name)
    if not all(map(is_number, cells)):
        first = next((cell for cell in cells if not is_missing(cell)), "")
        return is_number(first) or is_iso(first) or bool(usual_formats([first]))
    steps = np.diff(read_times(table, name, None).values)
    num_one_way = max((steps >= 0).sum(), (steps <= 0).sum())
    return num_one_way >= _MOSTLY * len(steps)


# ---- order


def _runs(config, table: Table, times: Times, is_missing) -> tuple[list[Run], list[str]]:
    """(the series of each group without missing rows, notes)"""
    groups = {}
    for row, group in enumerate(table.column(config.group) if config.group else [""] * len(table)):
        groups.setdefault(group, []).append(row)
    ordered = [_in_order(np.array(rows), config, table, times) for rows in groups.values()]
    notes = [f"{len(groups):,} series, one for each {config.group}"] if config.group else []
    if any((np.diff(rows) < 0).any() for rows in ordered):
        notes.append(f"rows sorted by {times.name}")
    steps = np.concatenate([np.diff(times.values[rows]) for rows in ordered])
    step = _regular_step(steps, config, table)
    runs = []
    holes = []  # rows after one
    repeats = []
    for rows in ordered:
        kept = rows[~is_missing[rows]]
        steps = np.diff(times.values[kept])
        holes += kept[1:][steps > 1.5 * step].tolist()
        repeats += kept[1:][steps == 0].tolist()
        is_break = (steps > 1.5 * step) | (steps == 0)
        is_break &= config.gaps == "break"
        runs.append(Run(kept, np.concatenate([[False], is_break])[: len(kept)]))
    if times.name:
        notes += _notes_of_gaps("holes", holes, config, table, times.name)
        notes += _notes_of_gaps("repeats", repeats, config, table, times.name)
    return runs, notes


def _notes_of_gaps(what: str, rows: list[int], config, table: Table, name: str) -> list[str]:
    if not rows:
        return []
    policy = "joined" if config.gaps == "join" else "no window crosses one, `gaps: join` does"
    first = f"the first before {table.column(name)[rows[0]]} ({table.places[rows[0]]})"
    return [f"{name}: {len(rows):,} {what} in time, {policy}; {first}"]


def _in_order(rows: np.ndarray, config, table: Table, times: Times) -> np.ndarray:
    """Rows of one series, rising in time. Raises DataError where they do not."""
    if config.sort:
        return rows[np.argsort(times.values[rows], kind="stable")]
    falls = np.flatnonzero(np.diff(times.values[rows]) < 0)
    if len(falls):
        earlier, later = rows[falls[0]], rows[falls[0] + 1]
        cells = table.column(times.name)
        raise DataError(
            f"{table.places[later]}: {times.name}: expected times that rise, got {cells[later]!r} "
            f"after {cells[earlier]!r}, and {len(falls) - 1:,} more falls; `sort: true` sorts; "
            "are there several series? `group: COLUMN`"
        )
    return rows


def _regular_step(steps: np.ndarray, config, table: Table) -> float:
    """The most frequent one. Raises DataError where most steps are others."""
    steps = steps[steps > 0] if len(steps) else steps
    if not len(steps):
        return 1.0
    sizes, counts = np.unique(np.round(steps, 9), return_counts=True)
    step = sizes[counts.argmax()] if counts.max() >= len(steps) / 2 else np.median(steps)
    share = np.mean((steps > 0.5 * step) & (steps < 1.5 * step))
    if share < 0.5 and config.gaps == "break":
        raise DataError(
            f"{table.path}: expected a regular step in time, but only {share:.0%} of the steps are "
            "alike; `gaps: join` takes the rows as they follow each other"
        )
    return float(step)


# ---- windows


def _starts(config, split, table: Table, runs: list[Run]) -> tuple[np.ndarray, list[str]]:
    """(where each window of the split begins in the rows of all runs: int64 [windows], notes)"""
    length = config.window + config.horizon
    starts = []
    num_rows = num_uncut = offset = 0
    empty = None
    for run in runs:
        try:
            rows = splits.in_order(table.path, split, config, len(run.rows))
        except NoSplit as error:
            empty = error
            continue
        finally:
            offset += len(run.rows)
        of_run = np.arange(max(0, rows[0] - config.window), rows[-1] + 2 - length)
        breaks = np.cumsum(run.breaks)
        num_rows += len(rows)
        num_uncut += len(of_run)
        of_run = of_run[breaks[of_run + length - 1] == breaks[of_run]]
        starts.append(of_run + offset - len(run.rows))
    if empty and not starts:
        raise empty
    if not sum(map(len, starts)):
        cure = ", cut by holes and repeats in time; `gaps: join` or `group: COLUMN`?"
        raise DataError(
            f"{table.path}: {split}: expected at least {length} rows for one window, "
            f"got {num_rows}{cure if num_uncut else ''}"
        )
    without = len(runs) - sum(1 for of_run in starts if len(of_run))
    notes = [f"{without} of {len(runs)} series too short for a window"] if without else []
    return np.concatenate(starts), notes
