"""Which arrays are inputs and which are targets, and of which split, by their names."""

import re
from typing import NamedTuple

from cli.program import DataError
from data_loader import SPLITS
from sources.array_files import Arrays

_WORDS = {
    "train": "training|train|tr",
    "valid": "validation|valid|val|dev",
    "test": "testing|test|te",
}
_INPUTS = re.compile("x|inputs?|images?|imgs?|data|features?", re.IGNORECASE)
_TARGETS = re.compile("y|targets?|labels?|outputs?|classes", re.IGNORECASE)
_BY_POSITION = {"arr_0", "arr_1"}  # what NumPy calls arrays that are saved without a name


class Pair(NamedTuple):
    """Names of arrays; `weights` is "" where none is asked for."""

    x: str
    y: str
    weights: str = ""


def pairs_of(stored: Arrays, config) -> tuple[dict[str, Pair], list[str]]:
    """({split: names of arrays}, notes). Data in one piece have the split "".

    Raises DataError, with all arrays and the options that name them, for what is not certain.
    """
    inputs = _named(stored, config.x, _INPUTS, "x")
    targets = _named(stored, config.y, _TARGETS, "y")
    notes = []
    if not (inputs or targets) and stored.arrays.keys() == _BY_POSITION:
        inputs, targets = {"": "arr_0"}, {"": "arr_1"}
        notes.append("arrays without names: arr_0 taken as inputs, arr_1 as targets")
    others = sorted(stored.arrays.keys() - targets.values())
    if not inputs and targets and len(others) == 1:
        inputs = {"": others[0]}
    weights = _named(stored, config.sample_weight, None, "sample_weight")
    pairs = {}
    for split, x in inputs.items():
        own = _parted(x)[1]  # of `x: x_test`, the targets are y_test
        places = [split, own] if split or config.y else [own, ""]
        y = next((targets[place] for place in places if place in targets), None)
        if y is None:
            wanted = f"y_{split or own}" if split or own else "y"
            raise DataError(
                f"{stored.path}: expected the array {wanted}, got none; it has {stored}: "
                "name it, y: NAME"
            )
        pairs[split] = Pair(x, y, weights.get(split) or weights.get("", ""))
    used = {name for pair in pairs.values() for name in pair}
    if left_out := sorted(stored.arrays.keys() - used):
        notes.append(f"arrays left out: {', '.join(left_out[:12])}")
    return pairs, notes


def _parted(name: str) -> tuple[str, str]:
    """x_train, train_x, trainX -> (x, train); images -> (images, "")."""
    for split, words in _WORDS.items():
        before = re.fullmatch(rf"(?:{words})[_.\- ]?(.+)", name, re.IGNORECASE)
        after = re.fullmatch(rf"(.+?)[_.\- ]?(?:{words})", name, re.IGNORECASE)
        for found in filter(None, (before, after)):
            if _INPUTS.fullmatch(found[1]) or _TARGETS.fullmatch(found[1]):
                return found[1], split
    return name, ""


def _named(stored: Arrays, name: str | None, known: re.Pattern | None, option: str) -> dict:
    """{split: array} of the arrays of a name, or of known names."""
    if name is None:
        return _of_known_names(stored, known, option) if known else {}
    if name.endswith((".npy", ".npz")) and name not in stored.arrays:
        stored.add(name)
    found = {"": name} if name in stored.arrays else {}
    for split, words in _WORDS.items():
        layout = rf"(?:{words})_?{re.escape(name)}|{re.escape(name)}_?(?:{words})"
        arrays = [array for array in stored.arrays if re.fullmatch(layout, array, re.IGNORECASE)]
        if arrays and arrays != [name]:
            found[split] = next(array for array in arrays if array != name)
    if not found:
        raise DataError(f"{stored.path}: {option}: no array {name!r}; it has {stored}")
    return found


def _of_known_names(stored: Arrays, known: re.Pattern, option: str) -> dict[str, str]:
    found = {}
    for split in ("", *SPLITS):
        usual = f"{option}_{split}" if split else option
        names = [
            name
            for name in stored.arrays
            if _parted(name)[1] == split and known.fullmatch(_parted(name)[0])
        ]
        if usual in names:
            names = [usual]
        if len(names) > 1:
            raise DataError(
                f"{stored.path}: expected one array {usual}, got {', '.join(names)}; "
                f"it has {stored}: name it, {option}: NAME"
            )
        if names:
            found[split] = names[0]
    return found
