"""The black box of a run: a step whose loss or gradient was not finite, kept so that it can be looked at and repeated.

    blowup/step-0000000123/{batch.npz, state.json, variables.*, MANIFEST.json}

Step 123 is the one that failed; the variables are as they were before it. It is written like a checkpoint, whole or not at
all; `python trainer.py --replay DIR [key=value ...]` repeats the step.
"""

import functools
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from cli.program import CheckpointError, NumericsError
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
from train_step import TrainStep, build_train_step


class Finding(NamedTuple):
    """Where numbers first are not finite in a step."""

    where: str
    layer: str | None  # the first whose outputs are not
    variable: str | None  # the first whose gradient is not

    def __str__(self):
        return self.where + (f", of the gradients in {self.variable}" if self.variable else "")


def find(train_step: TrainStep, batch: dict, gradients: list) -> Finding:
    """Looks in the order of computation: inputs, weights, layers, loss, gradients."""
    model, layer = train_step.model, None
    pairs = [
        (v.path, gradient.numpy())
        for v, gradient in zip(model.trainable_variables, gradients, strict=True)
    ]
    broken = [path for path, gradient in pairs if not _is_finite(gradient)]
    parts = [
        key for key in ("inputs", "targets", "sample_weight") if _first_row(batch[key]) is not None
    ]
    weights = [v.path for v in model.variables if not _is_finite(tf.convert_to_tensor(v).numpy())]
    with _watching(model) as layers:
        loss = train_step.forward(batch)
    if layers:
        layer = layers[0]
    if parts:
        where = f"the {parts[0]} of example {int(batch['id'][_first_row(batch[parts[0]])])}"
    elif weights:
        where = f"the weights {weights[0]}"
    elif layer:
        where = f"the outputs of layer {layer}"
    elif (row := _first_row(loss)) is not None:
        where = f"the loss of example {int(batch['id'][row])}"
    else:
        where = "the backward pass" if broken else "a sum over the batch"
    return Finding(where, layer, broken[0] if broken else None)


def _is_finite(array: np.ndarray) -> bool:
    return array.dtype.kind in "iub" or bool(np.isfinite(array.astype(np.float64)).all())


def _first_row(tensor: tf.Tensor) -> int | None:
    return next((row for row, values in enumerate(tensor.numpy()) if not _is_finite(values)), None)


@contextmanager
def _watching(model):
    """Inside `with`: names of layers whose outputs were not finite, in the order in which they were called, inner ones first."""
    found, layers = [], layers_of(model)

    def watched(layer, call):
        @functools.wraps(call)
        def call_and_look(*args, **more):
            outputs = call(*args, **more)
            tensors = [
                each
                for each in tf.nest.flatten(outputs)
                if tf.is_tensor(each) and hasattr(each, "numpy")
            ]  # not inside a graph
            if not all(_is_finite(tf.convert_to_tensor(each).numpy()) for each in tensors):
                found.append(layer.name)
            return outputs

        return call_and_look

    for layer in layers:
        layer.call = watched(layer, layer.call)
    try:
        yield found
    finally:
        for layer in layers:
            del layer.call  # the class has its own


def record(
    run_dir: Path,
    step: int,
    train_step: TrainStep,
    batch: dict,
    gradients: list,
    finding: Finding,
    more: dict,
) -> Path:
    """Writes `run_dir`/blowup/step-...: the batch, the variables before the step, norms; `more` goes into state.json. Returns the path."""
    arrays = {key: value.numpy() for key, value in batch.items()}
    by_path = dict(
        zip([v.path for v in train_step.model.trainable_variables], gradients, strict=True)
    )
    norms = {
        v.path: {"weights": _norm(v), "gradient": _norm(by_path.get(v.path))}
        for v in train_step.model.variables
        if "float" in v.dtype
    }
    report = {
        "step": step,
        **finding._asdict(),
        "ids": arrays["id"].tolist(),
        **more,
        "norms": norms,
    }
    variables = train_step.variables()

    def write(path: Path) -> None:
        np.savez(path / "batch.npz", **arrays)
        write_variables(path, variables)

    directory = run_dir / "blowup"
    checkpoint.clean_up(directory)
    checkpoint.remove(
        checkpoint.path_of(directory, step)
    )  # the same step, when the run was started again
    size = size_of(variables.values()) + sum(array.nbytes for array in arrays.values())
    return checkpoint.commit(directory, step, write, report, size)


def _norm(value) -> float | str | None:
    """Euclidean; text where it is not finite, which JSON cannot hold."""
    if value is None:
        return None
    norm = float(np.linalg.norm(tf.convert_to_tensor(value).numpy().astype(np.float64)))
    return norm if np.isfinite(norm) else str(norm)


def replay(directory: Path, config: TrainConfig) -> dict:
    """Repeats the step that was kept in `directory`. Raises NumericsError where it is not finite again."""
    checkpoint.verify(directory)
    report = checkpoint.read_state(directory)
    devices = open_towers(config.distribute, config.train.batch_size)
    train_step = build_train_step(config, report["examples"], devices)
    checkpoint.restore(
        directory,
        named_variables(model=train_step.model.variables),
        read_variables,
        groups=("model",),
    )
    train_step.skip_to(report["step"] - 1)  # of which dropout is; the optimizer may be another one
    train_step.rate_factor.assign(report["rate_factor"])
    try:
        with np.load(directory / "batch.npz", allow_pickle=False) as file:
            batch = {
                key: tf.constant(file[key]) for key in ("inputs", "targets", "sample_weight", "id")
            }
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{directory / 'batch.npz'}: not a batch: {error}") from error
    _, finite, _, gradients = train_step.inspect(iter(tf.data.Dataset.from_tensors(batch)))
    if not finite:
        found = find(train_step, batch, gradients)
        raise NumericsError(
            f"{directory}: step {report['step']}: loss or gradient is NaN or infinite again, first in {found}"
        )
    readings = {name: float(value) for name, value in train_step.read_metrics().items()}
    return {"replayed": str(directory), "step": report["step"], "finite": True, **readings}
