"""Times of rows, as numbers that rise with them: numbers, ISO 8601 or a format of the user's."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

from cli.program import DataError
from sources.cells import number_of
from sources.tables import Table

_COMPACT = {8: "%Y%m%d", 6: "%Y%m"}  # digits of dates that are written as whole numbers
_USUAL = (
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d.%m.%Y",
    "%d-%m-%Y",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%Y-%m-%d",
    "%Y년 %m월 %d일",
    "%Y年%m月%d日",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%b %Y",
    "%Y/%m",
    "%m/%Y",
)
_TIMES_OF_DAY = ("", " %H:%M", " %H:%M:%S", " %I:%M %p")


class Times(NamedTuple):
    values: np.ndarray  # [rows], in a unit in which a regular step is always the same
    name: str = ""  # of their column
    notes: tuple[str, ...] = ()


def read_times(table: Table, name: str, time_format: str | None) -> Times:
    """Raises DataError, with the line and the cure, for what is neither number nor ISO 8601."""
    cells = table.column(name)
    if time_format:
        dates = _parsed(table, name, cells, lambda cell: _strptime(cell, time_format))
        return Times(_ordinals(dates), name)
    compact = _COMPACT.get(len(cells[0]))
    if compact and all(_is_date(cell, compact) for cell in cells):
        dates = [datetime.strptime(cell, compact) for cell in cells]
        return Times(_ordinals(dates), name, (f"{name}: {cells[0]} and so on read as dates",))
    numbers = [number_of(cell) for cell in cells]
    if None not in numbers:
        return Times(np.array(numbers, np.float64), name)
    return Times(_ordinals(_parsed(table, name, cells, _iso)), name)


def _is_date(cell: str, time_format: str) -> bool:
    digits = len(cell) == len(datetime(2000, 1, 1).strftime(time_format)) and cell.isdecimal()
    date = _strptime(cell, time_format) if digits else None
    return date is not None and 1500 <= date.year <= 2200


def _strptime(cell: str, time_format: str) -> datetime | None:
    try:
        return datetime.strptime(cell, time_format)
    except ValueError:
        return None


def _iso(cell: str) -> datetime | None:
    try:
        return datetime.fromisoformat(cell + "-01" if re.fullmatch(r"\d{4}-\d\d", cell) else cell)
    except ValueError:
        return None


def is_iso(cell: str) -> bool:
    return _iso(cell) is not None


def _parsed(table: Table, name, cells: list[str], parse: Callable) -> list[datetime]:
    dates = [parse(cell) for cell in cells]
    if None in dates:
        row = dates.index(None)
        raise DataError(
            f"{table.places[row]}: {name}: expected a time, a number or ISO 8601 (2024-01-31), "
            f"got {cells[row][:40]!r}{_cure(cells)}"
        )
    aware = [date.tzinfo is not None for date in dates]
    if len(set(aware)) > 1:
        row = aware.index(not aware[0])
        raise DataError(f"{table.places[row]}: {name}: expected a zone in every time, or in none")
    try:
        return [date.astimezone(UTC).replace(tzinfo=None) for date in dates] if aware[0] else dates
    except OverflowError as error:
        raise DataError(f"{table.places[0]}: {name}: expected years 1 to 9999: {error}") from error


def usual_formats(cells: list[str]) -> list[str]:
    """Usual formats in which all of them are times."""
    formats = (date + time for date in _USUAL for time in _TIMES_OF_DAY)
    some = cells[:1] + cells[1 :: max(1, len(cells) // 50)]
    found = [shape for shape in formats if all(_strptime(cell, shape) for cell in some)]
    return [shape for shape in found if all(_strptime(cell, shape) for cell in cells)]


def _cure(cells: list[str]) -> str:
    formats = " or ".join(f"'{shape}'" for shape in usual_formats(cells))
    return f"; `time_format: {formats}`?" if formats else "; see the option `time_format`"


def _ordinals(dates: list[datetime]) -> np.ndarray:
    """int64: months, working days or microseconds, whichever a regular step is constant in."""
    ends = [(date + timedelta(days=1)).day == 1 for date in dates if date.year < 9999]
    days = {"end" if all(ends) else date.day for date in dates}
    clocks = {date.time() for date in dates}
    if len(days) == 1 and len(clocks) == 1:
        return np.array([12 * date.year + date.month for date in dates], np.int64)
    if len(clocks) == 1 and all(date.weekday() < 5 for date in dates):
        return np.busday_count("1970-01-01", np.array(dates, "datetime64[D]"))
    return np.array(dates, "datetime64[us]").astype(np.int64)
