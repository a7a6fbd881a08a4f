"""Columns of numbers in a table: what is missing, what is no number, what float32 cannot hold."""

import numpy as np

from cli.program import DataError
from sources.cells import cure_of_number, is_missing, is_whole, number_of, plain
from sources.tables import Table, listed

_EXACT = 1 << 24  # whole numbers up to here are float32


def read(table: Table, names: list[str], config, cure: str = "") -> np.ndarray:
    """float32 [rows, names], NaN where a value is missing.

    Raises DataError, with the first place and the lines of up to ten cells, for what is no number,
    and for what is missing unless `config.missing` says otherwise. `cure`: of a column of text.
    """
    values = np.empty((len(table), len(names)), np.float32)
    wrong = []  # (row, name, cell)
    missing = []
    for at, name in enumerate(names):
        cells = table.column(name)
        numbers = [number_of(cell, config.decimal, config.thousands) for cell in cells]
        for row in [row for row, number in enumerate(numbers) if number is None]:
            numbers[row] = np.nan
            (missing if is_missing(cells[row]) else wrong).append((row, name, cells[row]))
        values[:, at] = numbers
    if wrong:
        raise _refusal(table, wrong, _cure(table, wrong, config, cure))
    if missing and config.missing == "fail":
        policies = type(config).model_fields["missing"].annotation.__args__
        keep = ", `missing: keep` with the operation `fill` fills them" * ("keep" in policies)
        raise _refusal(table, missing, f"; `missing: drop` leaves such rows out{keep}")
    return values


def _refusal(table: Table, cells: list[tuple], cure: str) -> DataError:
    cells = sorted(cells)
    row, name, cell = cells[0]
    rows = sorted({row for row, _, _ in cells})
    where = listed(table.keys[row] for row in rows)
    more = f"; {len(cells):,} such cells: {where}" if len(cells) > 1 else ""
    return DataError(
        f"{table.places[row]}: {name}: expected a finite number, got {cell[:40]!r}{cure}{more}"
    )


def _cure(table: Table, wrong: list[tuple], config, cure: str) -> str:
    _, name, cell = min(wrong)
    found = cure_of_number(cell, config.decimal, config.thousands)
    if not found and sum(column == name for _, column, _ in wrong) > len(table) // 2:
        return cure.format(name)
    return found


def require_all(table: Table, name: str, is_empty: np.ndarray) -> None:
    """Raises DataError where a target is missing."""
    if is_empty.any():
        rows = np.flatnonzero(is_empty)
        raise DataError(
            f"{table.places[rows[0]]}: {name}: expected a target, got none; "
            f"{listed(table.keys[row] for row in rows)}; `missing: drop` leaves such rows out"
        )


def notes_of_missing(names: list[str], is_empty: np.ndarray) -> list[str]:
    counts = {name: int(n) for name, n in zip(names, is_empty.sum(axis=0), strict=True) if n}
    shown = ", ".join(f"{name} {count:,}" for name, count in list(counts.items())[:12])
    return [f"{sum(counts.values()):,} missing values: {shown}"] if counts else []


def notes_of_whole(table: Table, names: list[str], values: np.ndarray, config) -> list[str]:
    """Says which whole numbers float32 rounds. Raises DataError where two become the same."""
    notes = []
    for at, name in enumerate(names):
        if not (np.abs(values[:, at]) >= _EXACT).any():
            continue
        written = [plain(cell, config.decimal, config.thousands) for cell in table.column(name)]
        rows = [row for row, cell in enumerate(written) if cell and is_whole(cell)]
        rounded = [row for row in rows if int(written[row]) != int(values[row, at])]
        if not rounded:
            continue
        row = rounded[0]
        example = f"{written[row]} is {int(values[row, at])} in float32"
        if len({int(written[row]) for row in rows}) > len(set(values[rows, at].tolist())):
            raise DataError(
                f"{table.places[row]}: {name}: expected numbers that float32 tells apart, "
                f"but {example}, as another is; an identifier? `ignore: [{name}]`"
            )
        notes.append(f"{name}: {len(rounded):,} whole numbers are rounded: {example}")
    return notes
