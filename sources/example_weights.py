"""Weights of examples, as a feature `sample_weight`."""

from collections.abc import Callable

import numpy as np

from cli.program import DataError


def checked(weights: np.ndarray, length: int, place, name: str, locate: Callable) -> np.ndarray:
    """float32 [length]. Raises DataError unless it is one number of 0 or more for each example.

    `name`: what they are called in `place`; `locate(index)`: where an example is stored.
    """
    shape = weights.shape
    if weights.dtype.kind not in "biuf" or weights.size != length or shape[:1] != (length,):
        raise DataError(
            f"{place}: {name}: expected a weight for each of {length} examples, "
            f"got {weights.dtype} {list(shape)}"
        )
    weights = weights.reshape(-1).astype(np.float32)
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(bad):
        raise DataError(
            f"{locate(int(bad[0]))}: {name}: expected a weight of 0 or more, "
            f"got {weights[bad[0]]} ({len(bad)} such examples)"
        )
    if not weights.any():
        raise DataError(f"{place}: {name}: expected a weight above 0, got only zeros")
    return weights
