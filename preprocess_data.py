"""Operations on whole batches of features, found by name; as a program: raw data -> records.

An operation is `name(features, seeds, config) -> features` in any file of ops/, and a class of its
options in data_config.py, below `Op`, or below `BatchOp` if it works between the examples of a
batch. `features` is {feature: [n, ...]}; `seeds` is one uint64 per example, which depends on the
run's seed and the example's position alone: a random operation gives the same example the same
treatment on any number of threads, towers and restarts. Beside it stands what it needs of:

    measure_<name>(config, batches) -> config     with nothing left open, from training features
    undo_<name>(config) -> Undo                   takes what it gives back to the units before
    undo_targets_<name>(config, undo) -> [Undo]   of targets made of inputs that `undo` undoes
    tokens_<name>(config) -> [str]                token of each id that it gives
    window_<name>(config, height, width, seeds) -> y, x, height, width      what a crop cuts out

python preprocess_data.py --source image_folder --dir photos --out data/photos [--per_shard 1024]
                          [--compress] [key=value ...]
python preprocess_data.py --check data/photos
"""

from pathlib import Path

from cli import program, typed_yaml
from cli.program import ConfigError, warn
from data_config import Dataset
from train_config import Data, MixedDataset, Undo

COMMAND = program.Command(
    "preprocess_data", "python preprocess_data.py --source NAME --out DIR [key=value ...]", Dataset
)
COMMAND.string(
    "source",
    None,
    "The data set, by its name in the configuration; its options follow as key=value.",
)
COMMAND.path("dir", None, "Where its raw files are.")
COMMAND.path("out", None, "The directory to be written; it appears when it is complete.")
COMMAND.integer("per_shard", 1024, "Examples in each file.", lower_bound=1)
COMMAND.boolean(
    "compress",
    False,
    "Compress each record for itself (zlib), so that any one can still be read alone.",
)
COMMAND.integer(
    "workers", 0, "Shards that are written beside each other; 0: one a core.", lower_bound=0
)
COMMAND.path(
    "check", None, "Reads every byte of a directory that was written before, and writes nothing."
)


def prepare(command: program.Command):
    if command.check is not None:
        return None
    for flag, expected in (("source", "data set"), ("out", "directory to be written")):
        if getattr(command, flag) is None:
            raise ConfigError(f"command line: --{flag}: missing; expected a {expected}")
    data = {"train": {"name": command.source, "dir": command.dir or None}}
    overridden = typed_yaml.apply_overrides(data, [f"train.{word}" for word in command.overrides])
    config = typed_yaml.validate(Data, data, "command line", {}, overridden).train
    for op in config.first_ops or []:
        if op.makes_tokens:
            raise ConfigError(
                f"command line: first_ops: {op.name}: "
                "expected in the configuration of a run, which keeps the vocabulary"
            )
    return config


if __name__ == "__main__":  # before TensorFlow is imported: a mistake answers at once
    PREPARED = program.start(COMMAND, prepare)

import functools
import importlib
import itertools
import math
import os
import pkgutil
import tempfile
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import tensorflow as tf

import data_loader
import ops as room
from engine import shards
from engine.damaged import naming_examples, reason_of
from engine.stateless import fold

_EXAMPLES_AT_ONCE = 64  # of photos as they come, some megabytes each
_TEXTS_AT_ONCE = 4096
_MOST_MEASURED = 20_000  # examples of large sets of which a mean or a range is taken
_SHARE_OF_MEMORY = 0.5  # that a cache may take of what is free
# What TensorFlow raises for features that an operation cannot take, such as a table to be shifted.
_REFUSALS = (ValueError, TypeError, IndexError)


# ---- operations by name


@functools.cache
def _functions() -> dict[str, list[Callable]]:
    """The functions of ops/, by name; those that a file imports are not its own."""
    functions = defaultdict(list)
    for file in pkgutil.iter_modules(room.__path__, "ops."):
        for name, function in vars(importlib.import_module(file.name)).items():
            if getattr(function, "__module__", "") == file.name:
                functions[name].append(function)
    return functions


def find(name: str) -> Callable | None:
    """The function of this name in ops/, or None."""
    functions = _functions().get(name, [None])
    if len(functions) > 1:
        files = " and ".join(found.__module__ for found in functions)
        raise ConfigError(f"{files}: expected one function `{name}`, got {len(functions)}")
    return functions[0]


def operation(config) -> Callable:
    function = find(config.name)
    if function is None:
        raise ConfigError(
            f"ops/: expected a function `{config.name}` in one of its files, "
            f"for {type(config).__name__} of data_config.py"
        )
    return function


def apply_ops(features, seeds: tf.Tensor, ops: list, num_classes: int, first_draw: int = 0):
    """Runs the operations in order; number i draws from seeds of its own, first_draw + i."""
    _check_order(ops)
    steps = [
        (operation(config), config, fold(seeds, draw))
        for draw, config in enumerate(ops, first_draw)
    ]
    while steps:
        function, config, step_seeds = steps.pop(0)
        options = {"num_classes": num_classes} if config.takes_num_classes else {}
        if config.any_size:
            following = []
            size = None
            while steps and size is None:
                following.append(steps.pop(0))
                size = getattr(following[-1][1], "size", None)
            options |= {"following": following, "find": find}
        try:
            features = function(features, step_seeds, config, **options)
        except ConfigError as error:
            raise ConfigError(f"data.ops: {error}") from error
        except _REFUSALS as error:
            raise ConfigError(f"data.ops: {_reason(config.name, features, error)}") from error
    return features


def _check_order(ops: list) -> None:
    """Raises ConfigError where pixels would move before it is known that targets lie on them."""
    movers = []
    for config in ops:
        if config.makes and movers:
            raise ConfigError(
                f"data.ops: {config.name}: expected before {movers[0]}, which moves its pixels"
            )
        if config.geometric:
            movers.append(config.name)


def _reason(name: str, features: dict, error: Exception) -> str:
    """One line for an error of TensorFlow while the graph of an operation is made."""
    shapes = [
        f"{key} {value.dtype.name} {value.shape.as_list()}"
        for key, value in features.items()
        if hasattr(value, "dtype") and value.shape.rank is not None
    ]
    return f"{reason_of(error, name)}; it was given {', '.join(shapes)} (the batch first)"


def vocabulary(ops: list, of: str = "inputs") -> list[str]:
    """The token of each id that the operations make of a feature; [] if they make none."""
    for config in ops:
        if config.makes_tokens and of in config.changes:
            return find("tokens_" + config.name)(config)
    return []


def target_units(ops: list) -> list[Undo]:
    """What takes targets of numbers back to the units of the data, the last operation first.

    There is nothing to take back where they are whole numbers, such as classes.
    """
    undo = {"inputs": [], "targets": []}
    for config in ops:
        if undo_op := find("undo_" + config.name):
            for name in config.changes:
                undo[name] = [undo_op(config), *undo[name]]
        if undo_targets := find("undo_targets_" + config.name):
            undo["targets"] = undo_targets(config, undo["inputs"])
    return undo["targets"]


# ---- what is done once, before training


def measured(data: Data) -> Data:
    """The same with every open field of an operation filled in: vocabularies, means, ranges.

    An operation is measured after those before it, in their order in evaluation, on up to 20,000
    training examples of each data set that shares its list, spread evenly over the set, or on all.
    """
    for key in ("first_ops", "eval_ops", "ops"):
        data = _with_measured_lists(data, key)
    for place, config in _operations(data):
        if config.measured and getattr(config, config.measured) is None:
            raise ConfigError(
                f"{place}: nothing to measure it on; expected it among the ops or first_ops "
                "of a training set, or its numbers written out"
            )
    return data


def _operations(data: Data):
    """(where it stands, its options) of every operation of every data set."""
    for split in data_loader.SPLITS:
        for part in data.datasets(split):
            for config in (*part.first_ops, *part.train_ops, *part.eval_ops, *part.ops):
                yield f"data.{split}: {part.name}: {config.name}", config


def _with_measured_lists(data: Data, key: str) -> Data:
    """The list of the section and those that data sets of a mix have of their own."""
    parts = data.datasets("train")
    sharing = [part for part in parts if getattr(part.dataset, key) is None]
    if sharing:
        data = data.model_copy(update={key: _measured_list(key, sharing)})
    for number, part in enumerate(parts):
        if part not in sharing:
            data = _with_own_list(data, key, data.datasets("train")[number])
    return data


def _measured_list(key: str, parts: list[MixedDataset]) -> list:
    """The list of operations that these data sets share, measured."""
    configs = list(getattr(parts[0], key))
    for number, config in enumerate(configs):
        measure = find("measure_" + config.name)
        if measure and (not config.measured or getattr(config, config.measured) is None):
            batches = _reaching(key, parts, configs[:number], config.all_examples)
            configs[number] = measure(config, batches)
    return configs


def _reaching(key: str, parts: list[MixedDataset], before: list, all_examples: bool):
    """Training features as they reach an operation of the list `key`."""
    for part in parts:
        lists = {"first_ops": [], "eval_ops": part.first_ops}
        earlier = lists.get(key, [*part.first_ops, *part.eval_ops])
        source = data_loader.load(part.dataset, "train", part.directory)
        count = len(source) if all_examples else min(len(source), _MOST_MEASURED)
        indices = np.arange(count) * len(source) // count
        ops = [config for config in [*earlier, *before] if not config.random]
        yield from _batches(source, ops, indices)


def _with_own_list(data: Data, key: str, part: MixedDataset) -> Data:
    """A data set's own list measured, wherever the set stands: in validation it is the same."""
    old = part.dataset
    new = old.model_copy(update={key: _measured_list(key, [part])})
    update = {split: new for split in data_loader.SPLITS if getattr(data, split) == old}
    sources = {name: new for name, source in data.sources.items() if source == old}
    return data.model_copy(update=update | {"sources": data.sources | sources})


def _treat(source, ops: list, indices):
    features = source.read(indices)
    return apply_ops(features, fold(0, indices), ops, len(source.class_names))


def _batches(source, ops: list, indices: np.ndarray):
    """Features of the examples, a batch at a time; treated in parallel, given in order."""
    of_texts = source.sizes is not None and not source.stored_bytes
    at_once = _TEXTS_AT_ONCE if of_texts else _EXAMPLES_AT_ONCE

    def treat(some):
        return _treat(source, ops, some)

    def batch(start):
        return treat(tf.constant(indices)[start : start + at_once])

    starts = tf.data.Dataset.range(0, len(indices), at_once)
    with naming_examples(treat, indices, source.locate):
        yield from starts.map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)


def cached(source: data_loader.Source, ops: list) -> data_loader.Source:
    """The source after `ops`, computed once: in memory if it fits, else in a temporary file."""
    batches = _batches(source, ops, np.arange(len(source)))
    first = next(batches)
    specs = {key: tf.TensorSpec(value.shape[1:], value.dtype) for key, value in first.items()}
    for key, spec in specs.items():
        if spec.dtype == tf.string or None in spec.shape:
            raise ConfigError(
                f"data.cache: {source.name}: expected numbers of one size after first_ops, "
                f"got {key} of {spec.dtype.name}; decode first"
            )
    length = len(source)
    size = length * sum(math.prod(spec.shape) * spec.dtype.size for spec in specs.values())
    in_memory = size <= _SHARE_OF_MEMORY * _free_memory()
    warn(
        f"data: cache: {length:,} examples of {source.name} take {size / 1e9:.2f} GB "
        f"{'in memory' if in_memory else 'on disk'}"
    )
    arrays = {
        key: _array([length, *spec.shape], spec.dtype.as_numpy_dtype, in_memory)
        for key, spec in specs.items()
    }
    start = 0
    for batch in itertools.chain([first], batches):
        for key, value in batch.items():
            arrays[key][start : start + len(value)] = value.numpy()
        start += len(batch["inputs"])

    def rows(indices):
        return [array[indices] for array in arrays.values()]

    return data_loader.Source(
        source.name,
        length,
        lambda indices: data_loader.in_python(rows, indices, specs),
        source.class_names,
        source.fingerprint,
        source.locate,
        source.labels,
    )


def _free_memory() -> int:
    """Bytes; of all memory where the system does not tell what is free, as macOS."""
    key = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES"
    return os.sysconf(key) * os.sysconf("SC_PAGE_SIZE")


def _array(shape: list[int], dtype, in_memory: bool) -> np.ndarray:
    if in_memory:
        return np.empty(shape, dtype)
    with tempfile.NamedTemporaryFile(prefix="cache-") as file:  # gone with the process
        return np.memmap(file, dtype, "w+", shape=tuple(shape))


# ---- the program: raw data -> records


def write(config, out: Path, per_shard: int, compress: bool, workers: int) -> dict:
    """Writes the splits of a data set after its `first_ops`; returns the program's last line."""
    config = measured(Data(train=config)).train
    splits = _splits_of(config)
    options = config.model_dump(mode="json", exclude={"dir", "damaged", "max_damaged"})
    plan = {
        "source": options | {"per_shard": per_shard, "compress": compress},
        "fingerprints": {split: source.fingerprint for split, source in splits.items()},
    }

    def treat(source, indices):
        return _treat(source, config.first_ops or [], indices)

    job = shards.Job(splits, treat, plan, per_shard, compress, workers)
    return shards.report(out, shards.write(out, job))


def _splits_of(config) -> dict[str, data_loader.Source]:
    splits = {}
    for split in data_loader.SPLITS:
        try:
            splits[split] = data_loader.load(config, split, config.dir)
        except data_loader.NoSplit:
            if split == "train":
                raise
    if len(splits) == 3 and splits["valid"].fingerprint == splits["test"].fingerprint:
        del splits["test"]  # one official set, which stands for both
    return splits


def main(config) -> dict:
    if COMMAND.check is not None:
        return {"checked": COMMAND.check, "examples": shards.check(Path(COMMAND.check))}
    return write(config, Path(COMMAND.out), COMMAND.per_shard, COMMAND.compress, COMMAND.workers)


if __name__ == "__main__":
    program.run(COMMAND, lambda: main(PREPARED))
