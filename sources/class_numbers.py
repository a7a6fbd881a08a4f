"""Classes of labels that are stored as numbers or as texts, one for each example."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from cli.program import DataError
from sources.labels import numbered

_SHOWN = 12  # names, in a line


class Classes(NamedTuple):
    names: tuple[str, ...]
    numbers: np.ndarray  # int64 [n], the place of each example's class among the names
    notes: tuple[str, ...] = ()


def of_values(labels, given: Sequence[str] | None, what: str, locate: Callable, cure="") -> Classes:
    """The values that occur are the classes, in order, or those that are `given` are.

    `labels`: whole numbers [n] or texts; `what`: what they are called; `locate(index)`: where one
    is stored. Raises DataError for labels that are no classes, or are not among those given.
    """
    texts = [str(label) for label in labels]
    if given is None:
        names, numbers = numbered(texts, what, cure)
        if _is_text(labels):
            return Classes(tuple(names), numbers, _alike(names, what))
        note = f"{what}: {len(names)} classes, the values that occur: {shown(names)}"
        is_usual = names == [str(place) for place in range(len(names))]
        return Classes(tuple(names), numbers, () if is_usual else (note,))
    if _is_text(labels):
        return _of_given_texts(texts, given, locate)
    return _of_given_numbers(np.asarray(labels, np.int64), given, what, locate)


def shown(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _SHOWN else ""
    return ", ".join(name[:40] for name in names[:_SHOWN]) + more


def _alike(names: list[str], what: str) -> tuple[str, ...]:
    counts = Counter(name.casefold() for name in names)
    alike = [name for name in names if counts[name.casefold()] > 1]
    return (f"{what}: classes that differ by case: {shown(alike)}",) if alike else ()


def _is_text(labels) -> bool:
    return not isinstance(labels, np.ndarray) or labels.dtype.kind in "UO"


def _of_given_texts(texts: list[str], given: Sequence[str], locate: Callable) -> Classes:
    number_of = {name: number for number, name in enumerate(given)}
    unknown = [index for index, text in enumerate(texts) if text not in number_of]
    if unknown:
        raise DataError(
            f"{locate(unknown[0])}: targets: expected one of `class_names` ({shown(given)}), "
            f"got {texts[unknown[0]][:40]!r} ({len(unknown)} such examples)"
        )
    numbers = np.array([number_of[text] for text in texts], np.int64)
    return Classes(tuple(given), numbers, _without_examples(numbers, given))


def _without_examples(numbers: np.ndarray, given: Sequence[str]) -> tuple[str, ...]:
    counts = np.bincount(numbers, minlength=len(given))
    empty = [name for name, count in zip(given, counts, strict=True) if not count]
    return (f"classes without an example: {shown(empty)}",) if empty else ()


def _of_given_numbers(labels: np.ndarray, given: Sequence[str], what, locate) -> Classes:
    """Numbers from 0 are places among the names; others are so in their order, one a name."""
    outside = np.flatnonzero((labels < 0) | (labels >= len(given)))
    if not len(outside):
        return Classes(tuple(given), labels, _without_examples(labels, given))
    values, numbers = np.unique(labels, return_inverse=True)
    if len(values) == len(given):
        note = f"{what}: the values {shown([str(value) for value in values])} are {shown(given)}"
        return Classes(tuple(given), numbers.astype(np.int64), (note,))
    raise DataError(
        f"{locate(int(outside[0]))}: targets: expected a class from 0 to {len(given) - 1}, "
        f"got {labels[outside[0]]} ({len(outside)} such examples); `class_names` has "
        f"{len(given)} names, the labels {len(values)} values: {shown(list(map(str, values)))}"
    )
