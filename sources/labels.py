"""Labels as people write them -> classes: names in order, and the number of each example's."""

import unicodedata
from collections.abc import Sequence

import numpy as np

from cli.program import DataError

_FEW = 20  # labels, below which nothing can be told from how many differ


def numbered(labels: Sequence[str], place, cure: str = "") -> tuple[list[str], np.ndarray]:
    """(class names in order, the place of each label among them: int64 [n]).

    Names are compared in Unicode's form NFC; whole numbers are ordered as numbers. Raises DataError
    where labels differ nearly as often as there are examples, which are then no classes; `cure`
    says what they may be.
    """
    labels = [unicodedata.normalize("NFC", label) for label in labels]
    class_names = sorted(set(labels), key=_rank)
    if len(labels) >= _FEW and len(class_names) > len(labels) // 2:
        shown = ", ".join(repr(name[:40]) for name in class_names[:3])
        raise DataError(
            f"{place}: {len(class_names):,} different targets in {len(labels):,} examples "
            f"({shown}, ...): expected classes{cure}"
        )
    number_of = {name: number for number, name in enumerate(class_names)}
    return class_names, np.array([number_of[label] for label in labels], np.int64)


def _rank(name: str) -> tuple:
    is_whole = name.removeprefix("-").isdecimal() and len(name) < 19
    return (0, int(name), name) if is_whole else (1, 0, name)
