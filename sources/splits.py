"""Which examples of a set that comes in one piece belong to a split: indices, rising.

`config` has the shares `valid` and `test`; train gets the rest. A hash decides, not chance, so the
same key falls the same way on any machine. Raises NoSplit for a split without examples.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_loader import NoSplit
from engine.order import position_of


class Shares(NamedTuple):
    valid: float
    test: float


class Stored(NamedTuple):
    """Where a split comes from, in a set that is stored in splits or in one piece."""

    split: str  # as it is stored; "" where the set is in one piece
    shares: Shares | None  # `valid` and `test` of what is stored; None: all of it
    notes: tuple[str, ...] = ()


def stored_split(name, split: str, config, stored: Sequence[str]) -> Stored:
    """Where a split comes from. `stored`: the splits that the set has; none: it is in one piece.

    Without a `valid`, the share `valid` is held out of `train`. Raises NoSplit otherwise.
    """
    if "train" not in stored:
        return Stored("", Shares(config.valid, config.test))
    holds_out = "valid" not in stored and config.valid > 0
    if holds_out and split in ("train", "valid"):
        note = f"no split 'valid': {config.valid:.0%} of 'train' held out for it, by hash"
        return Stored("train", Shares(config.valid, 0.0), (note,))
    if split not in stored:
        raise NoSplit(f"{name}: no split {split!r}; it has {', '.join(stored)}")
    return Stored(split, None)


def by_key(name, split, config, keys: Sequence, classes: Sequence = ()) -> np.ndarray:
    """By the hash of each key; each class is divided alone, so all splits hold its share."""
    positions = np.array([position_of(str(key)) for key in keys])
    classes = np.array(classes) if len(classes) else np.zeros(len(keys))
    ranks = np.empty(len(keys))  # within its class, as a fraction in (0, 1)
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        members = members[np.argsort(positions[members], kind="stable")]
        ranks[members] = (np.arange(len(members)) + 0.5) / len(members)
    return _between(name, split, config, ranks)


def by_group(name, split, config, groups: Sequence[str]) -> np.ndarray:
    """By the hash of the group of each example: a group is never torn apart."""
    positions = np.array([position_of(group) for group in groups])
    return _between(name, split, config, positions)


def in_order(name, split, config, length: int) -> np.ndarray:
    """The first for training, the last for the test."""
    begin_valid = round(length * (1 - config.valid - config.test))
    begin_test = round(length * (1 - config.test))
    borders = {
        "train": (0, begin_valid),
        "valid": (begin_valid, begin_test),
        "test": (begin_test, length),
    }
    return _some(name, split, np.arange(*borders[split]))


def _between(name, split, config, positions: np.ndarray) -> np.ndarray:
    held_out = config.test + config.valid
    borders = {"test": (0, config.test), "valid": (config.test, held_out), "train": (held_out, 2)}
    begin, end = borders[split]
    return _some(name, split, np.flatnonzero((positions >= begin) & (positions < end)))


def _some(name, split, indices: np.ndarray) -> np.ndarray:
    if not len(indices):
        raise NoSplit(
            f"{name}: the split {split!r} is empty; "
            "expected at least one example: see the shares `valid` and `test`"
        )
    return indices
