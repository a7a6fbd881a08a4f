"""Checkpoints of a run that may be training, and removing old ones while they are read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cli.program import CheckpointError
from engine import checkpoint
from engine.variables import read_variables, with_averages

_READING_ERRORS = (OSError, CheckpointError)  # where files go while they are read
_MOST_TRIES = 20


def with_newest(run_dir: Path, use: Callable[[Path], object]) -> tuple[Path, object]:
    """The newest checkpoint of a run, and what `use` makes of it."""
    directory = run_dir / "checkpoints"
    for _ in range(_MOST_TRIES):
        path = checkpoint.newest(directory)
        if path is None:
            raise CheckpointError(f"{directory}: no checkpoint yet; expected at least one")
        try:
            return path, use(path)
        except _READING_ERRORS:
            if path.exists():
                raise
    raise CheckpointError(f"{directory}: every checkpoint was removed while it was being read")


def with_step(path: Path, use: Callable[[Path], object]) -> tuple[Path, object]:
    """One checkpoint, verified, and what `use` makes of it."""
    checkpoint.verify(path)
    try:
        return path, use(path)
    except _READING_ERRORS as error:
        if path.exists():
            raise
        raise CheckpointError(f"{path}: was removed while it was being read") from error


def with_checkpoint(
    ckpt: str | Path, use: Callable[[Path], object], which: str | int = "newest"
) -> tuple[Path, object]:
    """A checkpoint of a run, or the one that is named, and what `use` makes of it.

    `which`: newest, best or the number of a step.
    """
    run_dir, step_dir = checkpoint.find_run(ckpt)
    if step_dir and which != "newest":
        raise CheckpointError(
            f"{ckpt}: one checkpoint; expected its run, {run_dir}, to choose {str(which)!r} of"
        )
    if which != "newest":
        step_dir = checkpoint.chosen(run_dir, str(which))
    return with_step(step_dir, use) if step_dir else with_newest(run_dir, use)


def restore_network(path: Path, variables: dict, averaged: bool) -> int:
    """Restores `model/...`, nothing missing and nothing left over; returns the step."""
    values = read_variables(path)
    checkpoint.restore(path, variables, with_averages(values) if averaged else values)
    return checkpoint.read_state(path)["step"]


def read_network(ckpt: str, averaged: bool) -> tuple[Path, dict[str, np.ndarray]]:
    """A run's newest checkpoint, or the one that is named, and {path: value} of its network.

    Raises CheckpointError for averages that the run has not.
    """
    path, values = with_checkpoint(ckpt, read_variables)
    if averaged and not any(name.startswith("ema/") for name in values):
        raise CheckpointError(
            f"{path}: expected averaged weights, for init_from.ema, but that run had no train.ema"
        )
    values = with_averages(values) if averaged else values
    names = [name for name in values if name.startswith("model/")]
    return path, {name.removeprefix("model/"): values[name] for name in names}
