"""The contract of an operation, for every class below `Op` and `BatchOp`.

One of your own is tested for free.
"""

import ast
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from operations import check_alike_in_any_batch, compiled, example_of, treat
from places import ROOT

import data_config
import data_loader
import input_ops
from cli.program import ConfigError
from cli.typed_yaml import name_of, named_classes
from engine.stateless import fold
from preprocess_data import find, operation

HERE = Path(__file__).parent
OPS = [name_of(cls) for cls in named_classes(data_config.Op)]
BATCH_OPS = [name_of(cls) for cls in named_classes(data_config.BatchOp)]
BESIDE = ("measure_", "undo_", "undo_targets_", "tokens_", "window_")


def examples() -> dict:
    """EXAMPLES of all files of this folder.

    {name: (options, features, *operations that follow)}.
    """
    found = {}
    for file in sorted(HERE.glob("test_*.py")):
        if file != Path(__file__):
            spec = importlib.util.spec_from_file_location(f"examples_{file.stem}", file)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            found |= getattr(module, "EXAMPLES", {})
    return found


@pytest.fixture(scope="module")
def example():
    found = examples()

    def example(name) -> tuple[list, dict]:
        family = find(name).__module__.removeprefix("ops.") if find(name) else "<file of ops/>"
        wanted = f'EXAMPLES["{name}"] = (options, features that it takes)'
        assert name in found, f"{name}: no example; add {wanted} to tests/ops/test_{family}.py"
        return example_of(name, found)

    return example


def test_an_operation_without_its_example_is_one_line(example):
    wanted = r"mine: no example; add EXAMPLES\[\"mine\"\] = .* to tests/ops/test_<file of ops/>.py"
    with pytest.raises(AssertionError, match=wanted):
        example("mine")


@pytest.mark.parametrize("name", OPS)
def test_operations_treat_an_example_alike_in_any_batch(name, example):
    """What an example becomes depends on its own seed, not on its neighbors.

    So threads and towers cannot change it.
    """
    check_alike_in_any_batch(*example(name))


@pytest.mark.parametrize("name", BATCH_OPS)
def test_an_even_part_of_a_batch_is_mixed_as_in_the_whole(name, example):
    ops, features = example(name)
    function, seeds = compiled(ops, features), fold(3, tf.range(8))
    whole = treat(ops, features, seeds, function)
    halves = [
        treat(ops, {key: value[half] for key, value in features.items()}, seeds[half], function)
        for half in (slice(0, 4), slice(4, 8))
    ]
    for key in ("inputs", "targets"):
        np.testing.assert_array_equal(whole[key], np.concatenate([half[key] for half in halves]))


@pytest.mark.parametrize("name", OPS + BATCH_OPS)
def test_every_random_operation_says_so_and_only_those_draw(name, example):
    """`random` decides what may stand in first_ops and what is left out of measuring."""
    ops, features = example(name)
    seeds = tf.range(len(features["inputs"]))
    first = treat(ops, features)
    others = [treat(ops, features, fold(seed, seeds)) for seed in (1, 2)]
    differs = [not np.array_equal(first[key], other[key]) for other in others for key in first]
    assert any(differs) == ops[0].random


WRONG = {  # kinds of inputs; no operation can take all of them
    "numbers": np.zeros(4, np.float32),
    "table": np.zeros((4, 3), np.float32),
    "images": np.zeros((4, 6, 6, 3), np.uint8),
    "texts": np.array([b"a b", b"c", b"d", b"e"], object),
    "tokens": np.ones((4, 5), np.int64),
}


@pytest.mark.parametrize("name", OPS + BATCH_OPS)
def test_what_an_operation_cannot_take_is_refused_in_one_line(name, example):
    """Traced as the pipeline does it, with AutoGraph; its stack is no part of the message."""
    ops, _ = example(name)
    for kind, inputs in WRONG.items():
        features = {"inputs": inputs, "targets": WRONG["numbers"]}
        source = data_loader.from_arrays("rows", features)
        try:
            input_ops.Mix.of(source, ops)
        except ConfigError as refusal:
            line = str(refusal)
            assert line.startswith(("data.ops: ", "data: ")), kind
            assert "in user code" not in line and "\n" not in line, kind
            assert len(line) < 400, f"{kind}: {line}"


@pytest.mark.parametrize("name", OPS + BATCH_OPS)
def test_every_operation_has_its_function(name):
    classes = named_classes(data_config.Op) + named_classes(data_config.BatchOp)
    (cls,) = [cls for cls in classes if name_of(cls) == name]
    assert callable(operation(SimpleNamespace(name=name)))
    if cls.measured is not None:
        assert cls.measured in cls.model_fields
        assert find("measure_" + name), f"{name}: `measured` expects measure_{name} beside it"
    if cls.makes_tokens:
        assert find("tokens_" + name), f"{name}: `makes_tokens` expects tokens_{name} beside it"


@pytest.mark.parametrize("file", sorted((ROOT / "ops").glob("*.py")), ids=lambda file: file.stem)
def test_every_function_of_a_file_is_used(file):
    """A file of ops/ holds operations of data_config.py, or is imported by one that does."""
    trees = {path: ast.parse(path.read_text()) for path in (ROOT / "ops").glob("*.py")}
    imported = {
        name
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "ops"
        for name in (node.module.removeprefix("ops."), *(alias.name for alias in node.names))
    }
    if file.stem in imported | {"__init__"}:
        return
    functions = [node.name for node in trees[file].body if isinstance(node, ast.FunctionDef)]
    public = [name for name in functions if not name.startswith("_")]
    names = {prefix + name for name in OPS + BATCH_OPS for prefix in ("", *BESIDE)}
    unlisted = [name for name in public if name not in names]
    wanted = "add its class to data_config.py, below Op, or remove it"
    assert public and not unlisted, f"ops/{file.name}: {unlisted or 'no operation'}: {wanted}"
