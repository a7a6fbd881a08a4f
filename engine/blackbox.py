"""The black box of a run: a step whose loss or gradient was not finite, kept to be repeated.

    blowup/step-0000000123/{batch.npz, state.json, variables.*, MANIFEST.json}

Step 123 is the one that failed; the variables are as they were before it. It is written like a
checkpoint, whole or not at all; `python trainer.py --replay DIR [key=value ...]` repeats the step.
`trainer` is, everywhere here, the `Trainer` of trainer.py.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from cli.program import CheckpointError, NumericsError, ResourceError, warn
from engine import checkpoint
from engine.devices import open_towers
from engine.variables import (
    layers_of,
    named_variables,
    read_variables,
    size_of,
    write_variables,
)
from train_config import TrainConfig

_BATCH = ("inputs", "targets", "sample_weight", "id")


class Finding(NamedTuple):
    """Where numbers first are not finite in a step."""

    where: str
    layer: str | None  # the first whose outputs are not
    variable: str | None  # the first whose gradient is not

    def __str__(self):
        return self.where + (f", of the gradients in {self.variable}" if self.variable else "")


def failure(run_dir: Path | None, trainer, batches: Iterator, batch: dict, mix, rollbacks: int):
    """Repeats the step that was not finite (it changed nothing) and keeps it: a NumericsError.

    `batches` begin with this worker's share of it, `batch` is all of it; it is kept in `run_dir`,
    or nowhere. `mix` says where the examples come from.
    """
    step = trainer.step
    gradients = trainer.inspect(batches).gradients
    finding = find(trainer, batch, gradients)
    ids = batch["id"].numpy().tolist()
    places = [mix.locate(example) for example in ids]
    notes = {
        "examples": len(mix),
        "data": mix.name,
        "places": places,
        "rate_factor": float(trainer.rate_factor.numpy()),
        "learning_rate": float(trainer.schedule(step)),
    }
    kept = ""
    if run_dir is not None:
        try:
            path = record(run_dir, step + 1, trainer, batch, gradients, finding, notes)
            kept = f"; kept: python trainer.py --replay {path}"
        except (OSError, ResourceError) as error:  # the numbers are what went wrong
            warn(f"warning: the step could not be kept: {error}")
    shown = ", ".join(map(str, ids[:8])) + (", ..." if len(ids) > 8 else "")
    return NumericsError(
        f"step {step + 1}: loss or gradient is NaN or infinite, first in {finding}; "
        f"examples {shown} of {mix.name}: the first is {places[0]}; "
        "expected finite numbers: check the data, or try a lower optimizer.learning_rate or an "
        f"optimizer.clip_norm{_what_was_before(trainer, rollbacks)}{kept}"
    )


def _what_was_before(trainer, rollbacks: int) -> str:
    skipped = trainer.policy.skipped
    if skipped is not None and int(tf.convert_to_tensor(skipped)):
        return f"; {int(tf.convert_to_tensor(skipped))} steps were left out before"
    return f"; after {rollbacks} rollbacks" if rollbacks else ""


def find(trainer, batch: dict, gradients: list) -> Finding:
    """Looks in the order of computation: inputs, weights, layers, loss, gradients."""
    model = trainer.model
    pairs = zip(model.trainable_variables, gradients, strict=True)
    broken = [v.path for v, gradient in pairs if not _is_finite(gradient.numpy())]
    with _watching(model) as layers:
        loss = trainer.forward(batch)
    layer = layers[0] if layers else None
    where = _first_of_batch(batch) or _first_weights(model)
    if not where and layer:
        where = f"the outputs of layer {layer}"
    if not where and (row := _first_row(loss)) is not None:
        where = f"the loss of example {int(batch['id'][row])}"
    where = where or ("the backward pass" if broken else "a sum over the batch")
    return Finding(where, layer, broken[0] if broken else None)


def _first_of_batch(batch: dict) -> str | None:
    for key in ("inputs", "targets", "sample_weight"):
        row = _first_row(batch[key])
        if row is not None:
            return f"the {key} of example {int(batch['id'][row])}"
    return None


def _first_weights(model) -> str | None:
    variables = (v for v in model.variables if not _is_finite(tf.convert_to_tensor(v).numpy()))
    variable = next(variables, None)
    return None if variable is None else f"the weights {variable.path}"


def _is_finite(array: np.ndarray) -> bool:
    return array.dtype.kind in "iub" or bool(np.isfinite(array.astype(np.float64)).all())


def _first_row(tensor: tf.Tensor) -> int | None:
    rows = enumerate(tensor.numpy())
    return next((row for row, values in rows if not _is_finite(values)), None)


@contextmanager
def _watching(model):
    """Inside `with`: names of layers whose outputs were not finite, inner ones first.

    In the order in which the layers were called.
    """
    names = []
    layers = layers_of(model)

    def watched(layer, call):
        @functools.wraps(call)
        def call_and_look(*args, **options):
            outputs = call(*args, **options)
            tensors = [t for t in tf.nest.flatten(outputs) if tf.is_tensor(t)]
            eager = [t for t in tensors if hasattr(t, "numpy")]  # not inside a graph
            if not all(_is_finite(tf.convert_to_tensor(t).numpy()) for t in eager):
                names.append(layer.name)
            return outputs

        return call_and_look

    for layer in layers:
        layer.call = watched(layer, layer.call)
    try:
        yield names
    finally:
        for layer in layers:
            del layer.call  # the class has its own


def record(
    run_dir: Path, step: int, trainer, batch: dict, gradients: list, finding: Finding, notes: dict
) -> Path:
    """Writes `run_dir`/blowup/step-...: the batch, the variables before the step, norms, notes."""
    arrays = {key: value.numpy() for key, value in batch.items()}
    trained = [v.path for v in trainer.model.trainable_variables]
    gradient_of = dict(zip(trained, gradients, strict=True))
    norms = {
        v.path: {"weights": _norm(v), "gradient": _norm(gradient_of.get(v.path))}
        for v in trainer.model.variables
        if "float" in v.dtype
    }
    ids = arrays["id"].tolist()
    state = {"step": step, **finding._asdict(), "ids": ids, **notes, "norms": norms}
    variables = trainer.variables()

    def write(path: Path) -> None:
        np.savez(path / "batch.npz", **arrays)
        write_variables(path, variables)

    directory = run_dir / "blowup"
    checkpoint.clean_up(directory)
    # The same step is there already when the run was started again.
    checkpoint.remove(checkpoint.path_of(directory, step))
    size = size_of(variables.values()) + sum(array.nbytes for array in arrays.values())
    return checkpoint.commit(directory, step, write, state, size)


def _norm(value) -> float | str | None:
    """Euclidean; text where it is not finite, which JSON cannot hold."""
    if value is None:
        return None
    norm = float(np.linalg.norm(tf.convert_to_tensor(value).numpy().astype(np.float64)))
    return norm if np.isfinite(norm) else str(norm)


def replay(directory: Path, config: TrainConfig, build_trainer: Callable) -> dict:
    """Repeats the step in `directory`. Raises NumericsError where it is not finite again."""
    checkpoint.verify(directory)
    state = checkpoint.read_state(directory)
    devices = open_towers(config.distribute, config.train.batch_size)
    trainer = build_trainer(config, state["examples"], devices)
    variables = named_variables(model=trainer.model.variables)
    checkpoint.restore(directory, variables, read_variables, groups=("model",))
    # Dropout is seeded by the step; the optimizer's state is not needed.
    trainer.skip_to(state["step"] - 1)
    trainer.rate_factor.assign(state["rate_factor"])
    batch = _read_batch(directory / "batch.npz")
    look = trainer.inspect(iter(tf.data.Dataset.from_tensors(batch)))
    if not look.finite:
        finding = find(trainer, batch, look.gradients)
        raise NumericsError(
            f"{directory}: step {state['step']}: loss or gradient is NaN or infinite again, "
            f"first in {finding}"
        )
    readings = {name: float(value) for name, value in trainer.read_metrics().items()}
    return {"replayed": str(directory), "step": state["step"], "finite": True, **readings}


def _read_batch(path: Path) -> dict[str, tf.Tensor]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: tf.constant(file[key]) for key in _BATCH}
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: not a batch: {error}") from error
