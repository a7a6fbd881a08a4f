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
from pydantic import BaseModel, PositiveInt

from cli import files
from cli.program import CheckpointError, NumericsError, ResourceError, warn
from engine import checkpoint
from engine.devices import open_towers
from engine.resume import restore
from engine.safe_files import read_npz
from engine.variables import layers_of, named_variables, size_of, write_variables
from train_config import TrainConfig

_BATCH = ("inputs", "targets", "sample_weight")


class _Notes(BaseModel, strict=True):
    """What repeating a step takes from its state.json."""

    step: PositiveInt
    examples: PositiveInt
    rate_factor: float


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
    gradients = trainer.inspect(batches).gradients
    finding = find(trainer, batch, gradients)
    ids = batch["id"].numpy().tolist()
    places = [mix.locate(example) for example in ids]
    notes = {
        "step": trainer.step + 1,
        **finding._asdict(),
        "ids": ids,
        "examples": len(mix),
        "data": mix.name,
        "places": places,
        "rate_factor": float(trainer.rate_factor.numpy()),
        "learning_rate": float(trainer.schedule(trainer.step)),
    }
    kept = ""
    if run_dir is not None:
        try:
            path = record(run_dir, trainer, batch, gradients, notes)
            kept = f"; kept: python trainer.py --replay {path}"
        except (OSError, ResourceError) as error:  # the numbers are what went wrong
            warn(f"warning: the step could not be kept: {error}")
    return NumericsError(
        f"step {trainer.step + 1}: loss or gradient is NaN or infinite, first in {finding}; "
        f"examples {checkpoint.listed(map(str, ids), most=8)} of {mix.name}: "
        f"the first is {places[0]}; "
        "expected finite numbers: check the data, or try a lower optimizer.learning_rate or an "
        f"optimizer.clip_norm{_what_was_before(trainer, rollbacks)}{kept}"
    )


def _what_was_before(trainer, rollbacks: int) -> str:
    skipped = trainer.policy.skipped
    steps = 0 if skipped is None else int(tf.convert_to_tensor(skipped))
    if steps:
        return f"; {steps} steps were left out before"
    return f"; after {rollbacks} rollbacks" if rollbacks else ""


def find(trainer, batch: dict, gradients: list) -> Finding:
    """Looks in the order of computation: inputs, weights, layers, loss, gradients."""
    model = trainer.model
    variables = _not_finite(model.trainable_variables, gradients)
    with _watching(model) as layers:
        loss = trainer.forward(batch)
    columns = {key: batch[key] for key in _BATCH}
    origins = _examples_of(columns, batch["id"])
    origins += [f"the weights {path}" for path in _not_finite(model.variables, model.variables)]
    origins += [f"the outputs of layer {layer}" for layer in layers]
    origins += _examples_of({"loss": loss}, batch["id"])
    origins.append("the backward pass" if variables else "a sum over the batch")
    return Finding(origins[0], next(iter(layers), None), next(iter(variables), None))


def _examples_of(columns: dict[str, tf.Tensor], ids: tf.Tensor) -> list[str]:
    """The values of single examples that are not finite."""
    return [
        f"the {name} of example {int(example)}"
        for name, column in columns.items()
        for example, values in zip(ids, column, strict=True)
        if not _is_finite(values)
    ]


def _not_finite(variables, values) -> list[str]:
    """Paths of the variables whose values are not finite."""
    pairs = zip(variables, values, strict=True)
    return [variable.path for variable, value in pairs if not _is_finite(value)]


def _is_finite(value) -> bool:
    array = tf.convert_to_tensor(value).numpy()
    return bool(np.isfinite(array.astype(np.float64)).all())


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
            eager = [t for t in tf.nest.flatten(outputs) if hasattr(t, "numpy")]  # not in a graph
            if not all(map(_is_finite, eager)):
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


def record(run_dir: Path, trainer, batch: dict, gradients: list, notes: dict) -> Path:
    """Writes `run_dir`/blowup/step-...: the batch, the variables before the step, norms, notes."""
    arrays = {key: value.numpy() for key, value in batch.items()}
    trained = [v.path for v in trainer.model.trainable_variables]
    gradient_of = dict(zip(trained, gradients, strict=True))
    norms = {
        v.path: {"weights": _norm(v), "gradient": _norm(gradient_of.get(v.path))}
        for v in trainer.model.variables
        if "float" in v.dtype
    }
    variables = trainer.variables()

    def write(path: Path) -> None:
        np.savez(path / "batch.npz", **arrays)
        write_variables(path, variables)

    directory = run_dir / "blowup"
    step = notes["step"]
    checkpoint.clean_up(directory)
    # The same step is there already when the run was started again.
    checkpoint.remove(checkpoint.path_of(directory, step))
    size = size_of(variables.values())
    return checkpoint.commit(directory, step, write, notes | {"norms": norms}, size)


def _norm(value) -> float | str | None:
    """Euclidean; text where it is not finite, which JSON cannot hold."""
    if value is None:
        return None
    norm = float(np.linalg.norm(tf.convert_to_tensor(value).numpy().astype(np.float64)))
    return norm if np.isfinite(norm) else str(norm)


def replay(directory: Path, config: TrainConfig, build_trainer: Callable) -> dict:
    """Repeats the step in `directory`. Raises NumericsError where it is not finite again."""
    checkpoint.verify(directory)
    state = files.read_json(directory / "state.json", _Notes)
    devices = open_towers(config.distribute, config.train.batch_size)
    trainer = build_trainer(config, state.examples, devices)
    restore(directory, named_variables(model=trainer.model.variables))
    # Dropout is seeded by the step; the optimizer's state is not needed.
    trainer.skip_to(state.step - 1)
    trainer.rate_factor.assign(state.rate_factor)
    arrays = read_npz(directory / "batch.npz", CheckpointError)
    batch = {key: tf.constant(array) for key, array in arrays.items()}
    outcome = trainer.inspect(iter(tf.data.Dataset.from_tensors(batch)))
    if not outcome.finite:
        finding = find(trainer, batch, outcome.gradients)
        raise NumericsError(
            f"{directory}: step {state.step}: loss or gradient is NaN or infinite again, "
            f"first in {finding}"
        )
    result = {"replayed": str(directory), "step": state.step, "finite": True}
    return result | trainer.readings()
