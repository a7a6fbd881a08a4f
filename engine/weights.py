"""Variables on disk, by name; trained weights to begin with, from a run or a file, and what is frozen.

A .npz holds one array for each variable, under its path: np.savez(file, **{v.path: v.numpy() for v in model.weights}).
A .weights.h5 is what Keras' model.save_weights(file) writes. It numbers the variables of a layer: `c1/0`, `c1/1`.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py
import keras
import numpy as np
import tensorflow as tf

from cli.program import CheckpointError, ConfigError, warn
from engine.run_reader import read_network, with_checkpoint
from train_config import InitFrom

_MOST_NAMES = 10  # in a line
_MOST_PACKED = 2000  # times that arrays may be larger than what is stored of them: NumPy's zip and HDF5 reach about 1,000


# ----------------------------------------------------------------------------------------- trained weights to begin with


def load_weights(model: keras.Model, config: InitFrom) -> None:
    """Gives every variable of `model` its value from a file or a run; says on stderr which and which not.

    Each of them is loaded, in its shape, or matches `skip`: else CheckpointError, and nothing has changed.
    """
    is_file = config.ckpt.endswith((".npz", ".weights.h5"))
    if is_file:
        place, found = _read_file(Path(config.ckpt))
    else:
        place, found = with_checkpoint(config.ckpt, lambda path: read_network(path, config.ema))
    found = {
        name: value for name, value in found.items() if not name.endswith("seed_generator_state")
    }  # of dropout: set at each step
    variables = {variable.path: variable for variable in model.weights}
    paths = _numbered(model) if config.ckpt.endswith(".weights.h5") else {}
    names = _renamed(list(found), config.map, paths, place)
    fresh = first_matches("init_from.skip", config.skip, list(variables))
    values, problems = {}, []
    for path, variable in variables.items():
        if path in fresh:
            continue
        if path not in names:
            problems.append(f"{path}: missing")
            continue
        value, dtype = found[names[path]], tf.as_dtype(variable.dtype).as_numpy_dtype
        if value.shape != tuple(variable.shape) or not np.can_cast(value.dtype, dtype, "same_kind"):
            problems.append(
                f"{path}: expected {variable.dtype}{list(variable.shape)}, got {value.dtype}{list(value.shape)}"
            )
            continue
        with np.errstate(over="ignore"):
            values[path] = value.astype(dtype)
        if not np.isfinite(values[path]).all():
            problems.append(f"{path}: expected finite numbers, got NaN or infinity")
    left_over = sorted(paths.get(old, old) for new, old in names.items() if new not in values)
    if problems:
        unused = f"; left over in it: {_some(left_over)}" if left_over else ""
        raise CheckpointError(
            f"{place}: does not fit {model.name}: {_some(problems, '; ')}{unused}; see init_from.map and init_from.skip"
        )
    if not values:
        raise ConfigError(
            f"init_from.skip: every variable of {model.name} is skipped; expected something to load from {place}"
        )
    for path, value in values.items():
        variables[path].assign(value)
    warn(f"init_from: {place}: loaded {len(values)} of {len(variables)} variables: {_some(values)}")
    if fresh:
        warn(f"init_from: fresh, by init_from.skip: {_some(fresh)}")
    if left_over:
        warn(f"init_from: left over in {place}: {_some(left_over)}")


def _renamed(
    names: list[str], renames: dict[str, str], paths: dict[str, str], place: Path
) -> dict[str, str]:
    """{new name: name in the file}; `paths` are the last renames, of whole names."""
    new_names = list(names)
    for regex, replacement in renames.items():
        first_matches("init_from.map", [regex], new_names)
        new_names = [re.sub(regex, replacement, name) for name in new_names]
    new_names = [paths.get(name, name) for name in new_names]
    renamed = dict(zip(new_names, names, strict=True))
    for new, old in zip(new_names, names, strict=True):
        if renamed[new] != old:
            raise ConfigError(
                f"init_from.map: {old} and {renamed[new]} of {place} both become {new!r}; expected different names"
            )
    return renamed


def first_matches(field: str, regexes: Iterable[str], names: list[str]) -> dict[str, str]:
    """{name: the first of the regexes that is found in it}. Raises ConfigError for one that is found in no name: a typing error."""
    regexes = list(regexes)
    for regex in regexes:
        if not any(re.search(regex, name) for name in names):
            near = difflib.get_close_matches(regex, names, 3, 0.4) or names[:3]
            raise ConfigError(
                f"{field}: {regex!r} is found in no variable; there is {', '.join(near) or 'none'}"
            )
    matches = {
        name: next((regex for regex in regexes if re.search(regex, name)), None) for name in names
    }
    return {name: regex for name, regex in matches.items() if regex is not None}


def _some(names: Iterable[str], between: str = ", ") -> str:
    names = list(names)
    more = f" (and {len(names) - _MOST_NAMES} more)" if len(names) > _MOST_NAMES else ""
    return between.join(names[:_MOST_NAMES]) + more


# ------------------------------------------------------------------------------------------------------------ files


def _read_file(path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    try:
        return path, _read_npz(path) if path.suffix == ".npz" else _read_h5(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except CheckpointError:
        raise
    except Exception as error:  # of readers of zip, of headers, of HDF5: what damage makes them raise is nowhere written
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path}: expected a {path.suffix} file of weights: {reason}"
        ) from error


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        if not hasattr(archive, "files"):
            raise CheckpointError(f"{path}: expected an archive (.npz), got a single array")
        unpacked = sum(member.file_size for member in archive.zip.infolist())
        if unpacked > _MOST_PACKED * path.stat().st_size:
            raise CheckpointError(
                f"{path}: expected at most {_MOST_PACKED:,} times its size when unpacked, got {unpacked:,} bytes"
            )
        found = {name: archive[name] for name in archive.files}
    for name, array in found.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            raise CheckpointError(
                f"{path}: {name}: expected an array of numbers, got {getattr(array, 'dtype', 'none')}"
            )
    return found


def _read_h5(path: Path) -> dict[str, np.ndarray]:
    """{layer/.../number: value}. Groups bear the names of attributes and classes; a layer's own name is an attribute of its `vars`."""
    values = {}
    with h5py.File(path, "r") as file:
        objects = dict(_objects(path, file, set()))
        for place, found in objects.items():
            if isinstance(found, h5py.Group):
                continue
            folders, number = place.split("/")[1:-1], found.name.rpartition("/")[2]
            above = ["/".join(["", *folders[:depth], "vars"]) for depth in range(1, len(folders))]
            layers = [objects[each].attrs.get("name") for each in above if each in objects]
            name = (
                "/".join([*(layer for layer in layers if isinstance(layer, str)), number])
                if folders[-1:] == ["vars"]
                else place[1:]
            )
            if name in values:
                raise CheckpointError(f"{path}: {place}: expected one array called {name}, got two")
            values[name] = _array(path, place, found)
    return values


def _objects(
    path: Path, group: h5py.Group, seen: set
) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """(place, group or array) of everything below. Refuses what lies in other files, and what is there more than once: a circle."""
    for key in group:
        place, link = f"{group.name.rstrip('/')}/{key}", group.get(key, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise CheckpointError(
                f"{path}: {place}: expected data in this file, got {type(link).__name__}"
            )
        found = group[key]
        address = h5py.h5o.get_info(found.id).addr
        if address in seen:
            raise CheckpointError(
                f"{path}: {place}: expected everything once, got it under two names"
            )
        seen.add(address)
        yield place, found
        if isinstance(found, h5py.Group):
            yield from _objects(path, found, seen)


def _array(path: Path, place: str, found) -> np.ndarray:
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "biuf":
        raise CheckpointError(
            f"{path}: {place}: expected an array of numbers, got {getattr(found, 'dtype', type(found).__name__)}"
        )
    if found.external or found.is_virtual:
        raise CheckpointError(
            f"{path}: {place}: expected data in this file, got an array in another"
        )
    if found.nbytes > _MOST_PACKED * found.id.get_storage_size():
        raise CheckpointError(
            f"{path}: {place}: expected {found.nbytes:,} bytes, got {found.id.get_storage_size():,}"
        )
    return found[()]


def _numbered(model: keras.Model) -> dict[str, str]:
    """{name in a .weights.h5: path of the variable}; of a layer that two others share, below each of them."""
    paths = {}

    def visit(layer, names):
        own = {}
        layer.save_own_variables(own)
        paths.update(
            {"/".join([*names, number]): variable.path for number, variable in own.items()}
        )
        for child in layer._flatten_layers(
            include_self=False, recursive=False
        ):  # nested ones too; Keras has no public way
            visit(child, [*names, child.name])

    visit(model, [])
    return paths


# ----------------------------------------------------------------------------------------------------------- frozen


def freeze(model: keras.Model, regexes: list[str]) -> None:
    """Takes the variables whose path matches out of training; call it before the optimizer is built, which then has no slots for them."""
    trained = [variable.path for variable in model.trainable_variables]
    frozen = first_matches("freeze", regexes, trained)
    if len(frozen) == len(trained):
        raise ConfigError(
            f"freeze: nothing of {model.name} is left to train; expected fewer of its {len(trained)} variables"
        )
    for layer in model._flatten_layers(include_self=False):
        # A layer of which nothing else is left is frozen as such: BatchNormalization then also keeps its moving averages.
        if layer.weights and all(
            any(re.search(regex, variable.path) for regex in regexes) for variable in layer.weights
        ):
            layer.trainable = False
    for variable in model.trainable_variables:
        if variable.path in frozen:
            variable.trainable = False
