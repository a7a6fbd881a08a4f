"""Variables by name and on disk; what is private in Keras is still there, and in one file."""

import ast
import errno
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from places import ROOT, product_files

from cli.program import ConfigError
from engine import variables
from engine.variables import (
    first_matches,
    keras_session,
    layers_of,
    named_variables,
    read_variables,
    set_tensorflow_generator,
    size_of,
    sublayers,
    tensorflow_generator,
    with_averages,
    without_keras_sum,
    write_variables,
)


def variable(path: str, value=0.0) -> keras.Variable:
    made = keras.Variable(np.float32(value), name=path.rpartition("/")[2])
    made._path = path
    return made


# ---- by name and on disk


def test_every_variable_has_its_group_before_its_path():
    a, b = variable("dense/kernel"), variable("dense/bias")
    assert named_variables(model=[a], optimizer=[b]) == {
        "model/dense/kernel": a,
        "optimizer/dense/bias": b,
    }
    with pytest.raises(ConfigError, match=r"^model/dense/bias: two variables have this path"):
        named_variables(model=[b, a, b])


def test_what_was_written_is_read_bit_for_bit(tmp_path):
    made = {
        "model/kernel": keras.Variable(np.random.default_rng(0).random([3, 5], np.float32)),
        "model/half": keras.Variable(np.float16([1.5, -2.5]), dtype="float16"),
        "trainer/step": keras.Variable(7, dtype="int64"),
    }
    write_variables(tmp_path, made)
    values = read_variables(tmp_path)
    assert values.keys() == made.keys()
    for name, value in values.items():
        assert (value.dtype, value.tobytes()) == (made[name].dtype, made[name].numpy().tobytes())
    assert size_of(made.values()) == 15 * 4 + 2 * 2 + 8


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_a_full_disk_is_an_error_of_the_system(number, tmp_path, monkeypatch):
    def fail(**_):
        raise tf.errors.ResourceExhaustedError(None, None, f"variables; {os.strerror(number)}")

    monkeypatch.setattr(tf.raw_ops, "SaveV2", fail)
    with pytest.raises(OSError) as caught:
        write_variables(tmp_path, {"model/a": variable("a")})
    assert (caught.value.errno, caught.value.filename) == (number, str(tmp_path))


def test_any_other_error_of_tensorflow_stays_one(tmp_path, monkeypatch):
    def fail(**_):
        raise tf.errors.InternalError(None, None, "a bug")

    monkeypatch.setattr(tf.raw_ops, "SaveV2", fail)
    with pytest.raises(tf.errors.InternalError):
        write_variables(tmp_path, {"model/a": variable("a")})


def test_averages_stand_for_the_last_values():
    values = {"model/a": 1, "model/steps": 2, "ema/a": 3, "optimizer/ema/a": 4}
    assert with_averages(values) == {"model/a": 3, "model/steps": 2, "optimizer/ema/a": 4}
    assert with_averages({"model/a": 1}) == {"model/a": 1}


def test_the_first_regex_that_is_found_counts():
    names = ["c1/kernel", "c1/bias", "f6/kernel"]
    assert first_matches("freeze", ["kernel", "^c1/"], names) == {
        "c1/kernel": "kernel",
        "c1/bias": "^c1/",
        "f6/kernel": "kernel",
    }
    assert first_matches("freeze", [], names) == {}
    with pytest.raises(ConfigError) as caught:
        first_matches("freeze", ["c1", "f7/kernel"], names)
    message = "freeze: 'f7/kernel' is found in no variable; there is f6/kernel"
    assert str(caught.value).startswith(message)
    with pytest.raises(ConfigError, match="there is none"):
        first_matches("freeze", ["c1"], [])


# ---- private in Keras

PRIVATE = [
    (keras.optimizers.Optimizer, "_all_reduce_sum_gradients"),
    (keras.Layer, "_flatten_layers"),
]


@pytest.mark.parametrize(
    ("owner", "name"), PRIVATE, ids=lambda case: getattr(case, "__name__", case)
)
def test_keras_still_has(owner, name):
    assert callable(getattr(owner, name, None)), (
        f"Keras {keras.__version__} has no {owner.__name__}.{name} any more: see the last section "
        "of engine/variables.py"
    )


def test_autograph_still_leaves_our_errors_as_they_are():
    """`Failure.ag_pass_through`: else each would carry the stack of a graph in its one line."""

    @tf.function
    def refusing():
        raise ConfigError("data.ops: one line")

    with pytest.raises(ConfigError, match=r"^data.ops: one line$"):
        refusing()


def test_tensorflow_and_keras_still_keep_their_state_there():
    """A seed that is set stands where engine/variables.py looks, and comes back."""
    before = tensorflow_generator()
    tf.random.set_seed(before[0] or 1)
    first = tf.random.uniform([]).numpy()
    kept = tensorflow_generator()
    tf.random.set_seed(7)
    assert tensorflow_generator()[0] == 7
    tf.random.set_seed(before[0] or 1)
    assert tf.random.uniform([]).numpy() == first
    set_tensorflow_generator(*kept)
    assert tensorflow_generator() == kept
    keras.config.set_dtype_policy(keras.config.dtype_policy())
    assert "dtype_policy" in keras_session()


def test_an_optimizer_adds_up_nothing_over_towers():
    """Two towers with gradient 1 each, which are sums already: SGD at rate 1 moves by 1, not 2."""
    strategy = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], tf.distribute.ReductionToOneDevice()
    )
    for prepare, expected in ((without_keras_sum, -1.0), (lambda optimizer: optimizer, -2.0)):
        with strategy.scope():
            moved = keras.Variable(0.0, name="moved")
            optimizer = prepare(keras.optimizers.SGD(1.0))
            optimizer.build([moved])
            strategy.run(lambda: optimizer.apply([tf.constant(1.0)], [moved]))  # noqa: B023
        assert float(tf.convert_to_tensor(moved)) == expected


def test_layers_within_layers_are_found_once():
    shared = keras.layers.Dense(2, name="shared")
    inner = keras.layers.Bidirectional(keras.layers.LSTM(3, name="inside"), name="inner")
    inputs = keras.Input([4, 2], name="inputs")
    model = keras.Model(inputs, inner(shared(shared(inputs))))
    found = layers_of(model)
    assert len(found) == len({id(layer) for layer in found})
    names = [layer.name for layer in found]
    assert {"inner", "inputs", "shared"} < set(names) and names.count("shared") == 1
    assert [name for name in names if "inside" in name] == ["backward_inside", "forward_inside"]
    assert model not in layers_of(model)
    assert [layer.name for layer in sublayers(model)] == ["inputs", "shared", "inner"]


def private_names(source: str) -> set[str]:
    """Attributes `x._name` that the source does not define itself: those of a library."""
    used, own = set(), set(OF_PYTHON)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            own.add(node.name)
        elif isinstance(node, (ast.AnnAssign, ast.Assign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            own |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Attribute) and node.attr[0] == "_" and node.attr[:2] != "__":
            used.add(node.attr)
            if isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
                own.add(node.attr)
    return used - own


OF_PYTHON = {"_asdict", "_replace", "_fields", "_exit"}  # named tuples; os._exit


def test_private_names_of_libraries_stand_in_one_file():
    files = [file for file in product_files() if not file.startswith("benchmarks/")]
    found = {file: private_names((ROOT / file).read_text()) for file in files}
    allowed = {name for _, name in PRIVATE} | {"_seed", "_rng"}
    assert found.pop("engine/variables.py") == allowed
    assert {file: names for file, names in found.items() if names} == {}
    assert variables.__file__.endswith("engine/variables.py")


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("model._flatten_layers()", {"_flatten_layers"}),
        ("optimizer._all_reduce_sum_gradients = list", {"_all_reduce_sum_gradients"}),
        ("class A:\n    def f(self):\n        self._build(1)", {"_build"}),
        ("class A:\n    def _f(self):\n        self._x = 1\n        self._f(self._x)", set()),
        ("os._exit(1); pair._asdict(); x.__doc__", set()),
    ],
)
def test_the_rule_notices(source, names):
    assert private_names(source) == names
