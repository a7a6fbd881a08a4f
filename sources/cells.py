"""What the cells of tables hold: numbers as people write them, missing values, names alike."""

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "none", "?", "-", "--", ".")  # in lower case
_FLOAT32_MAX = 3.4e38
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d[\d.,' ]*|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)


def is_missing(cell: str) -> bool:
    return cell.lower() in MISSING


def is_number(cell: str) -> bool:
    """Whether it is written as a number, with any signs for decimals and thousands."""
    return bool(_NUMBER.fullmatch(cell))


def is_whole(cell: str) -> bool:
    return bool(_WHOLE.fullmatch(cell)) and len(cell) < 19


def are_distinct(cells: Sequence[str], num_files: int = 1) -> bool:
    """Whether these are whole numbers, none of them twice in a file."""
    return all(map(is_whole, cells)) and len(set(cells)) * num_files >= len(cells)


def number_rows(cells: Sequence[str], num_files: int = 1) -> bool:
    """Whether these are 0, 1, 2, ... or 1, 2, 3, ... in any order, in each file."""
    if not are_distinct(cells, num_files):
        return False
    numbers = set(map(int, cells))
    return min(numbers) in (0, 1) and max(numbers) - min(numbers) == len(numbers) - 1


def plain(cell: str, decimal: str, thousands: str | None) -> str | None:
    """The number as Python writes it: `1.234,5` -> `1234.5`; None if it is not so written."""
    if thousands == " ":
        cell = re.sub("[\u00a0\u202f]", " ", cell)  # blanks that do not break a line
    if thousands and thousands in cell:
        groups = rf"[+-]?\d{{1,3}}({re.escape(thousands)}\d{{3}})+({re.escape(decimal)}\d*)?"
        if not re.fullmatch(groups, cell, re.ASCII):
            return None
        cell = cell.replace(thousands, "")
    if decimal == ".":
        return cell
    return None if "." in cell else cell.replace(decimal, ".")


def number_of(cell: str, decimal: str = ".", thousands: str | None = None) -> float | None:
    """Its value; None for what is no finite number of float32."""
    written = plain(cell, decimal, thousands)
    try:
        value = math.nan if written is None or "_" in written else float(written)
    except ValueError:
        value = math.nan
    return value if abs(value) <= _FLOAT32_MAX else None


def cure_of_number(cell: str, decimal: str, thousands: str | None) -> str:
    """The options by which this would be a number."""
    signs = [(other, group) for other in ".," for group in (None, *".,' ") if other != group]
    cures = []
    for other, group in signs:
        if number_of(cell, other, group) is not None:
            changed = [f'`decimal: "{other}"`'] if other != decimal else []
            changed += [f'`thousands: "{group}"`'] if group not in (thousands, None) else []
            cures.append(" and ".join(changed))
    simple = [cure for cure in cures if cure and " and " not in cure] or cures
    return f"; {' or '.join(dict.fromkeys(simple))}?" if any(simple) else ""


def shown(names: Iterable[str]) -> str:
    """Names for a message of one line, at most twelve."""
    names = [name if name.isprintable() else ascii(name)[1:-1] for name in names]
    return ", ".join(name[:40] for name in names[:12]) + (", ..." if len(names) > 12 else "")


def notes_of_names(what: str, names: Iterable[str]) -> list[str]:
    """Says which names differ by case, by width or as 1 and 1.0 alone."""
    alike = defaultdict(list)
    for name in names:
        key = unicodedata.normalize("NFKC", name).casefold()
        value = number_of(key)
        alike[key if value is None else value].append(name)
    pairs = [" and ".join(map(repr, group)) for group in alike.values() if len(group) > 1]
    return [f"{what} that are nearly the same: {'; '.join(pairs[:5])}"] if pairs else []
