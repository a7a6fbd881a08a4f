"""Data sets as a run loads them, what loading refuses, and the small sets that the tests load."""

import contextlib
import functools
import gc
import importlib.util
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from operations import op
from places import ROOT
from small_files import dataset

import data_config
import data_loader
import input_ops
from cli.program import DataError
from cli.typed_yaml import name_of, named_classes
from data_loader import SPLITS

UNDIVIDED = {
    "valid": 0,
    "test": 0,
}  # options of a set in one piece, all of which is to be trained on


def load(split: str, name: str, directory=None, **options) -> data_loader.Source:
    directory = None if directory is None else str(directory)
    return data_loader.load(dataset(name, **options), split, directory)


def read(source, indices=None) -> dict:
    """{feature: array} of some examples or of all."""
    indices = np.arange(len(source)) if indices is None else np.array(indices)
    features = source.read(tf.constant(indices, tf.int64))
    assert all(len(value) == len(indices) for value in features.values())
    return {key: value.numpy() for key, value in features.items()}


def divided(name, directory=None, splits=SPLITS, **options) -> dict:
    """{split: [location of each example]}.

    Asserts that the same call gives the same, and that no location is in two splits.
    """
    sources = {split: load(split, name, directory, **options) for split in splits}
    again = {split: load(split, name, directory, **options) for split in splits}
    fingerprints = [source.fingerprint for source in sources.values()]
    assert fingerprints == [source.fingerprint for source in again.values()]
    assert len(set(fingerprints)) == len(splits)
    locations = {split: locations_in(source) for split, source in sources.items()}
    assert locations == {split: locations_in(source) for split, source in again.items()}
    everywhere = [location for split in splits for location in locations[split]]
    assert len(set(everywhere)) == len(everywhere)
    assert len({source.class_names for source in sources.values()}) == 1
    return locations


def locations_in(source) -> list[str]:
    return [source.locate(index) for index in range(len(source))]


def line_numbers(locations: Iterable[str]) -> list[int]:
    return [int(location.rsplit(":", 1)[1]) for location in locations]


def decode_ops() -> list:
    """Operations that make [4, 4, 3] of image files; a test is skipped where a fork lacks one."""
    return [op("decode_image", channels=3), op("resize", size=[4, 4])]


def one_pass(source, ops=(), batch_size: int = 4, training: bool = False) -> int:
    """Every example once (or one epoch of training) by the real pipeline: the number of batches."""
    mix = input_ops.Mix.of(source, list(ops))
    with mix.naming_examples():
        if training:
            num_batches = len(mix) // batch_size
            batches = input_ops.train_batches(mix, batch_size, seed=0, stop=num_batches)
            return sum(1 for _ in batches)
        return sum(1 for _, batches, _ in input_ops.eval_sets(mix, batch_size) for _ in batches)


def failures_of_examples(source, ops) -> list[str]:
    """What the real pipeline says of each example, read one by one, without its location."""
    mix = input_ops.Mix.of(source, list(ops))
    batches, messages = iter(input_ops.eval_sets(mix, 1)[0][1]), []
    for index in range(len(source)):
        try:
            with mix.naming_examples([index]):
                next(batches)
            messages.append("read without an error")
        except DataError as error:
            messages.append(str(error).removeprefix(f"{source.locate(index)}: "))
    return messages


# ---- what is refused


def fill(folder: Path, content: dict[str, bytes] | None) -> Path:
    """Writes {path below the folder: bytes}; with None there is not even the folder."""
    for name, data in (content or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    if content is not None:
        folder.mkdir(exist_ok=True)
    return folder


def refused(call: Callable, start) -> str:
    """The text of the DataError that `call` raises: one line that begins with the file."""
    with pytest.raises(DataError) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(str(start)), message
    assert len(message.splitlines()) == 1, message
    return message


def with_byte(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


@contextlib.contextmanager
def no_warnings():
    """Fails for a warning that is given inside, such as of a file that is not closed.

    Garbage of other tests may hold open files too; it is not collected in here.
    """
    gc.disable()
    try:
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            yield
    finally:
        gc.enable()
    if given:
        raise AssertionError(f"warned: {'; '.join(str(warning.message) for warning in given)}")


# ---- what test files say of their data set


@dataclass
class Seed:
    """A sound file that test_fuzz.py breaks.

    `write(folder, data)` writes a set with `data` in the place of the sound bytes and returns the
    path that must be named; `read(folder)` reads all of it. In texts other breaks make sense.
    """

    data: bytes
    write: Callable[[Path, bytes], Path]
    read: Callable[[Path], None]
    is_text: bool = False


def seed(
    name: str,
    file: str,
    data: bytes,
    /,
    *,
    beside: dict[str, bytes] | None = None,
    wrapped: Callable[[bytes], bytes] = bytes,
    is_text: bool = False,
    **options,
) -> Seed:
    """`file` of a data set, other files `beside` it."""

    def write(folder: Path, broken: bytes) -> Path:
        return fill(folder, (beside or {}) | {file: wrapped(broken)}) / file

    def read_all(folder: Path) -> None:
        source = load("train", name, folder, **options)
        source.read(np.arange(min(len(source), 64)))

    return Seed(data, write, read_all, is_text)


class Fault(NamedTuple):
    """A row of FAULTS: a set that trainer.py refuses with this message, for test_faults.py.

    `write(folder)` writes it into `set` of the working directory; `data` is the override for it;
    with `while_reading`, a run that has begun finds the fault. Rows (id, write, data) of SOUND_RUNS
    are the control: these sets train.
    """

    fault: str
    write: Callable[[Path], object]
    data: str
    message: str
    while_reading: bool = False


@functools.cache
def examples_of(name: str):
    """tests/sources/test_<name>.py as a module, or None."""
    path = ROOT / "tests" / "sources" / f"test_{name}.py"
    if not path.exists():
        return None
    spec = importlib.util.spec_from_file_location(f"examples_of_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows_of(attribute: str) -> list:
    """Parameters of a test: the rows (id, ...) of this name in the test files of all data sets.

    Each with the name of its data set first.
    """
    return [
        pytest.param(name, *row, id=f"{name}: {row_id}")
        for name in map(name_of, named_classes(data_config.Dataset))
        for row_id, *row in getattr(examples_of(name), attribute, [])
    ]
