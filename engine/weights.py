"""Trained weights to begin with, from a run or a file; and variables that are not trained.

A .npz holds the array of each variable under its path:
np.savez(file, **{v.path: v.numpy() for v in model.weights}).
A .weights.h5 is what model.save_weights(file) writes, where a layer's variables are numbered: c1/0.
"""

import re
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cli.program import CheckpointError, ConfigError, warn
from engine.checkpoint import listed
from engine.run_reader import read_network
from engine.safe_files import read_h5, read_npz
from engine.variables import first_matches, layers_of, sublayers
from train_config import InitFrom


def load_weights(model: keras.Model, config: InitFrom) -> None:
    """Gives every variable of `model` its value from a file or a run.

    Each is loaded, in its shape, or matches `skip`: else CheckpointError, and nothing has changed.
    Says on stderr which were loaded, which are fresh, and what is left over.
    """
    source, values = _read(config)
    variables = {variable.path: variable for variable in model.weights}
    paths = _paths_by_number(model) if config.ckpt.endswith(".weights.h5") else {}
    names = _renamed(list(values), config.map, paths, source)
    fresh = first_matches("init_from.skip", config.skip, list(variables))
    loaded = {}
    problems = []
    for path, variable in variables.items():
        if path in fresh:
            continue
        try:
            loaded[path] = _converted(values.get(names.get(path)), variable)
        except ValueError as error:
            problems.append(f"{path}: {error}")
    left_over = sorted(paths.get(old, old) for new, old in names.items() if new not in loaded)
    if problems:
        unused = f"; left over in it: {listed(left_over)}" if left_over else ""
        raise CheckpointError(
            f"{source}: does not fit {model.name}: {listed(problems, '; ')}{unused}; "
            "see init_from.map and init_from.skip"
        )
    if not loaded:
        raise ConfigError(
            f"init_from.skip: every variable of {model.name} is skipped; "
            f"expected something to load from {source}"
        )
    for path, value in loaded.items():
        variables[path].assign(value)
    warn(
        f"init_from: {source}: loaded {len(loaded)} of {len(variables)} variables: {listed(loaded)}"
    )
    if fresh:
        warn(f"init_from: fresh, by init_from.skip: {listed(fresh)}")
    if left_over:
        warn(f"init_from: left over in {source}: {listed(left_over)}")


def _read(config: InitFrom) -> tuple[Path, dict[str, np.ndarray]]:
    """(file or checkpoint, {name in it: value}), without the states of random generators."""
    path = Path(config.ckpt)
    if config.ckpt.endswith(".weights.h5"):
        values = read_h5(path, CheckpointError)
    elif path.suffix == ".npz":
        values = read_npz(path, CheckpointError)
    else:
        path, values = read_network(config.ckpt, config.ema)
    # Random generators of dropout are seeded at each step.
    for name in list(values):
        if name.endswith("seed_generator_state"):
            del values[name]
    return path, values


def _converted(value: np.ndarray | None, variable: keras.Variable) -> np.ndarray:
    """The value in the variable's type. Raises ValueError where it does not fit."""
    if value is None:
        raise ValueError("missing")
    dtype = tf.as_dtype(variable.dtype).as_numpy_dtype
    if value.shape != tuple(variable.shape) or not np.can_cast(value.dtype, dtype, "same_kind"):
        raise ValueError(
            f"expected {variable.dtype}{list(variable.shape)}, got {value.dtype}{list(value.shape)}"
        )
    with np.errstate(over="ignore"):
        value = value.astype(dtype)
    if not np.isfinite(value).all():
        raise ValueError("expected finite numbers, got NaN or infinity")
    return value


def _renamed(
    names: list[str], renames: dict[str, str], paths: dict[str, str], source: Path
) -> dict[str, str]:
    """{new name: name in the file}; `paths` are the last renames, of whole names."""
    new_names = names
    for regex, replacement in renames.items():
        first_matches("init_from.map", [regex], new_names)
        new_names = [re.sub(regex, replacement, name) for name in new_names]
    renamed = {}
    for old, new in zip(names, new_names, strict=True):
        new = paths.get(new, new)
        if new in renamed:
            raise ConfigError(
                f"init_from.map: {renamed[new]} and {old} of {source} both become {new!r}; "
                "expected different names"
            )
        renamed[new] = old
    return renamed


def _paths_by_number(model: keras.Model) -> dict[str, str]:
    """{name in a .weights.h5: path}; a layer that two others share is below each of them."""
    paths = {}

    def visit(layer, names):
        numbered = {}
        layer.save_own_variables(numbered)
        for number, variable in numbered.items():
            paths["/".join([*names, number])] = variable.path
        for child in sublayers(layer):
            visit(child, [*names, child.name])

    visit(model, [])
    return paths


def freeze(model: keras.Model, regexes: list[str]) -> None:
    """Takes the variables whose path matches out of training.

    Call it before the optimizer is built, which then has no slots for them.
    """
    trained = [variable.path for variable in model.trainable_variables]
    frozen = first_matches("freeze", regexes, trained)
    if len(frozen) == len(trained):
        raise ConfigError(
            f"freeze: nothing of {model.name} is left to train; "
            f"expected fewer of its {len(trained)} variables"
        )
    for layer in layers_of(model):
        # If all of a layer is frozen, freeze the layer: batch normalization stops updating too.
        names = [variable.path for variable in layer.weights]
        if names and all(any(re.search(regex, name) for regex in regexes) for name in names):
            layer.trainable = False
    for variable in model.trainable_variables:
        if variable.path in frozen:
            variable.trainable = False
