"""What every data set keeps to, your own too: each class below data_config.Dataset is loaded.

A data set that does not load without files or options has in its test file, test_<name>.py,

    def example(folder) -> dict:    writes a small set into `folder`, returns its options

and, if it likes, REFUSED, rows of (id, {file: bytes}, options, message): what loading must refuse,
by a DataError that begins with the directory and then the message, whatever the files claim; FAULTS
and SOUND_RUNS, see ../test_faults.py; and `seeds`, see test_fuzz.py.
"""

import ast
import dataclasses
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from loading import examples_of, fill, load, no_warnings, refused, rows_of
from places import ROOT
from pydantic import ValidationError

import data_loader
from cli.program import DataError, Failure
from cli.typed_yaml import name_of, named_classes
from data_config import Dataset
from data_loader import SPLITS, NoSplit, Source

NAMES = [name_of(cls) for cls in named_classes(Dataset)]


def everything_below(folder) -> dict:
    paths = sorted(folder.rglob("*"))
    return {path: path.read_bytes() if path.is_file() else None for path in paths}


@pytest.mark.parametrize(("name", "content", "options", "message"), rows_of("REFUSED"))
def test_what_loading_refuses(tmp_path, name, content, options, message):
    folder = fill(tmp_path / "data", content)
    before = everything_below(tmp_path)
    options = dict(options)
    split = options.pop("split", "train")
    tracemalloc.start()
    try:
        with no_warnings():
            line = refused(lambda: load(split, name, folder, **options), f"{folder}{message}")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(line) < 1000
    assert peak < 16 << 20
    assert everything_below(tmp_path) == before


# ---- the contract


@pytest.mark.parametrize("name", NAMES)
def test_a_source_keeps_its_contract(name, tmp_path):
    write_example = getattr(examples_of(name), "example", None)
    options = write_example(tmp_path) if write_example else {}
    directory = tmp_path if write_example else None
    try:
        load("train", name, directory, **options)
    except (Failure, ValidationError) as error:
        if write_example:
            raise
        pytest.fail(
            f"tests/sources/test_{name}.py: expected a function `example(folder)` that writes a "
            f"small set and returns its options, because {name} does not load without: {error}"
        )
    splits = {}
    for split in SPLITS:
        try:
            splits[split] = load(split, name, directory, **options)
        except DataError as error:
            assert isinstance(error, NoSplit) or "no split" in str(error)
            continue
        problems = problems_of(splits[split], load(split, name, directory, **options))
        assert problems == [], split
    assert "train" in splits
    assert len({source.class_names for source in splits.values()}) == 1
    assert splits["train"].fingerprint not in [
        source.fingerprint for split, source in splits.items() if split != "train"
    ]


def problems_of(source: Source, again: Source) -> list[str]:
    """What a source does not keep to; `again`: the same split, loaded once more."""
    last = len(source) - 1
    indices = tf.constant([last, 0, last], tf.int64)
    eager = source.read(indices)
    in_graph = tf.function(source.read, input_signature=[tf.TensorSpec([None], tf.int64)])(indices)
    labels, sizes, names = source.labels, source.sizes, source.class_names
    some = range(0, len(source), max(1, len(source) // 1000))
    locations = [source.locate(index) for index in some]
    targets = eager.get("targets")
    has_classes = names and targets is not None and targets.dtype.is_integer
    are_labels = labels is not None and targets is not None and targets.shape.rank == 1
    kept = {
        "examples": len(source) > 0,
        "the feature `inputs`": "inputs" in eager,
        "one value an index": all(len(value) == 3 for value in eager.values()),
        "the same example twice the same": all(
            np.array_equal(value[0], value[2]) for value in eager.values()
        ),
        "the same in a graph": eager.keys() == in_graph.keys()
        and all(np.array_equal(value, in_graph[key]) for key, value in eager.items()),
        "classes in range": not has_classes
        or bool(tf.reduce_all((targets >= 0) & (targets < len(names)))),
        "names of classes that differ": len(set(names)) == len(names),
        "labels int64 [length]": labels is None
        or (labels.dtype, labels.shape) == (np.int64, (len(source),)),
        "labels that are the targets": not are_labels
        or labels[indices.numpy()].tolist() == targets.numpy().tolist(),
        "sizes int64 [length]": sizes is None
        or (sizes.dtype, sizes.shape) == (np.int64, (len(source),)),
        "a location of one line each": all(len(text.splitlines()) == 1 for text in locations)
        and len(set(locations)) == len(locations),
        "the same when loaded again": source.fingerprint == again.fingerprint
        and source.locate(last) == again.locate(last)
        and len(source) == len(again),
    }
    return [f"expected {what}" for what, is_kept in kept.items() if not is_kept]


SOUND = data_loader.from_arrays(
    "sound", {"inputs": np.eye(4), "targets": np.array([0, 1, 2, 0])}, ["a", "b", "c"]
)


def changing(indices):
    noise = tf.random.uniform([len(indices), 4], dtype=tf.float64)
    return SOUND.read(indices) | {"inputs": noise}


@pytest.mark.parametrize(
    ("problem", "change"),
    [
        ("the feature `inputs`", {"read": lambda indices: {"targets": indices * 0}}),
        ("one value an index", {"read": lambda indices: {"inputs": tf.zeros([4, 2])}}),
        ("the same example twice the same", {"read": changing}),
        ("the same in a graph", {"read": changing}),
        ("names of classes that differ", {"class_names": ("a", "b", "b")}),
        ("classes in range", {"read": lambda indices: {"inputs": indices, "targets": indices + 3}}),
        ("labels int64 [length]", {"labels": np.array([0, 1, 2, 0], np.int32)}),
        ("labels that are the targets", {"labels": np.array([0, 1, 2, 1])}),
        ("sizes int64 [length]", {"sizes": np.ones(3, np.int64)}),
        ("a location of one line each", {"locate": lambda index: "memory"}),
        ("the same when loaded again", {"fingerprint": "another"}),
    ],
)
def test_the_contract_notices(problem, change):
    assert problems_of(SOUND, SOUND) == []
    assert f"expected {problem}" in problems_of(dataclasses.replace(SOUND, **change), SOUND)


def test_a_warning_inside_is_noticed(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"x")
    with pytest.raises(AssertionError, match="unclosed file"), no_warnings():
        open(path)  # noqa: SIM115


# ---- the room


def unlisted(files: list[Path]) -> list[str]:
    """Files of the room that neither a data set is named after nor another file imports."""
    imported = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                imported |= {node.module.removeprefix("sources."), *(a.name for a in node.names)}
    stems = [file.stem for file in files if file.stem != "__init__"]
    return [stem for stem in stems if stem not in imported and stem not in NAMES]


def test_every_file_is_a_data_set_or_read_by_one(tmp_path):
    files = sorted((ROOT / "sources").glob("*.py"))
    for stem in unlisted(files):
        pytest.fail(
            f"sources/{stem}.py: no class of data_config.py has `name: Literal[{stem!r}]`, and no "
            f"file of sources/ imports it; add the class below Dataset, or delete the file"
        )
    forgotten = tmp_path / "forgotten.py"
    forgotten.write_text("def load(config, split, directory): ...")
    assert unlisted([*files, forgotten]) == ["forgotten"]
