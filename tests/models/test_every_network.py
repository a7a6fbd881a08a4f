"""What every network must do, checked for each class below `Network`: a forker's own is tested for
free.

tests/models/test_<name>.py of a network may hold SMALL, options that make it quick to test; OTHERS,
a list
of options for further shapes, which are slow tests; SLOW_PRECISIONS = True, if it is too large to
be
trained in other precisions by the quick ones; and EXAMPLE = {"spec": Spec, "task": {"name": ...},
"batch":
{"inputs", "targets", "sample_weight"}} with 32 examples, which a network needs that takes other
inputs
than images [28, 28, 1], or gives other outputs than logits of 10 classes.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import (
    check_trains,
    example_of,
    load_example,
    network,
    restore_all,
    spec_of,
    write_and_zero,
)
from places import ROOT

from cli.program import ConfigError
from cli.typed_yaml import name_of, named_classes
from engine.optimizer import build_optimizer, build_schedule
from engine.variables import named_variables
from model import build_model
from model_config import Network
from train_config import Adam, Clock

NAMES = [name_of(cls) for cls in named_classes(Network)]
FILES = {name: load_example("models", name) for name in NAMES}


def own(name, attribute, default):
    return getattr(FILES[name], attribute, default)


def id_of(name, options):
    return " ".join([name, *(f"{key}={value}" for key, value in options.items())])


CONFIGS = [
    pytest.param(name, own(name, "SMALL", {}), id=id_of(name, own(name, "SMALL", {})))
    for name in NAMES
]
OTHERS = [
    pytest.param(name, options, marks=pytest.mark.slow, id=id_of(name, options))
    for name in NAMES
    for options in own(name, "OTHERS", [])
]
each_network = pytest.mark.parametrize(("name", "options"), [*CONFIGS, *OTHERS])


def examples_for(config):
    """(spec, task, batch); fails in one line that says what to add for a network that takes other
    ones.
    """
    example = example_of(config)
    if own(config.name, "EXAMPLE", None) is None:
        try:
            build_model(config, example[0])
        except ConfigError as error:
            file = f"tests/models/test_{config.name}.py"
            pytest.fail(f"{file}: add EXAMPLE = {{spec, task, batch}}: {error}", pytrace=False)
    return example


def outputs_of(model, task, batch) -> list:
    """What the task makes of the network as it is in evaluation, without what a decoder writes by
    itself.
    """

    class Quiet:
        def __call__(self, inputs, training):
            return model(inputs, training=False)

        def __getattr__(self, name):
            return getattr(model, name)

    return tf.nest.flatten(task.call(Quiet(), batch, training=True))


def check_alone(outputs, alone):
    """The first example gives the same in a batch of 32 and alone, but for rounding.

    Convolutions of another batch size add up in another order, so a small output is off by the
    rounding of the large numbers that cancel in it: the tolerance belongs to the largest output.
    """
    for in_batch, output in zip(outputs, alone, strict=True):
        atol = 1e-5 * np.max(np.abs(in_batch))
        np.testing.assert_allclose(in_batch[:1], output[:1], rtol=1e-5, atol=atol)


@each_network
def test_network_builds_deterministically_for_any_batch_size(name, options):
    config = network(name, **options)
    spec, task, batch = examples_for(config)
    model, again, other = (build_model(config, spec, seed=seed) for seed in (3, 3, 4))
    assert [v.path for v in model.variables] == [v.path for v in again.variables]
    for a, b in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(not np.array_equal(a, b) for a, b in zip(model.weights, other.weights, strict=True))
    outputs = outputs_of(model, task, batch)
    check_alone(outputs, outputs_of(model, task, {key: value[:1] for key, value in batch.items()}))
    for a, b in zip(outputs, outputs_of(again, task, batch), strict=True):
        np.testing.assert_array_equal(a, b)
    loss = task.loss(batch["targets"], task.call(model, batch, training=True))
    assert loss.shape == batch["sample_weight"].shape
    assert {value.shape[0] for value in task.predict(model, batch["inputs"]).values()} == {32}
    task.check_fits(model)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_dependence_on_the_batch_is_noticed(scale):
    """The control: outputs of which a thousandth comes from the other examples, at any scale of
    them.
    """
    outputs = scale * np.random.default_rng(0).normal(size=(32, 10))
    check_alone([outputs], [outputs[:1]])
    check_alone([outputs], [outputs[:1] * (1 + 1e-6)])
    with pytest.raises(AssertionError):
        check_alone([outputs + 1e-3 * outputs.mean(axis=0)], [outputs[:1] + 1e-3 * outputs[:1]])
    with pytest.raises(AssertionError):
        check_alone([outputs * (1 + 1e-3)], [outputs[:1]])


@each_network
def test_every_trainable_variable_gets_a_gradient(name, options):
    config = network(name, **options)
    spec, task, batch = examples_for(config)
    model = build_model(config, spec)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(task.loss(batch["targets"], task.call(model, batch, training=True)))
    gradients = tape.gradient(loss, model.trainable_variables)
    named = zip(model.trainable_variables, gradients, strict=True)
    assert [v.path for v, g in named if g is None or not np.any(tf.convert_to_tensor(g))] == []


@each_network
def test_variables_are_saved_and_restored_by_unique_names(name, options, tmp_path):
    config, adam = network(name, **options), Adam(name="adam")
    model = build_model(config, examples_for(config)[0], seed=1)
    optimizer = build_optimizer(adam, build_schedule(adam, Clock(4, 40), 10), model)
    variables = named_variables(model=model.variables, optimizer=optimizer.variables)
    assert len(variables) == len(model.variables) + len(optimizer.variables)
    expected = {name: tf.convert_to_tensor(v).numpy() for name, v in variables.items()}
    write_and_zero(tmp_path, variables)
    restore_all(tmp_path, variables, "model", "optimizer")
    for path, variable in variables.items():
        np.testing.assert_array_equal(variable, expected[path], err_msg=path)


def test_two_variables_of_one_path_are_refused():
    twins = [keras.Variable(0.0, name="w"), keras.Variable(1.0, name="w")]
    with pytest.raises(Exception, match="two variables have this path"):
        named_variables(model=twins)


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        pytest.param(
            name, precision, marks=[pytest.mark.slow] * own(name, "SLOW_PRECISIONS", False)
        )
        for name in NAMES
        for precision in ("bfloat16", "float64")
    ],
)
def test_every_network_trains_and_is_scored_in_other_precisions(name, precision):
    config = network(name, **own(name, "SMALL", {}))
    check_trains(config, precision, *examples_for(config))


# ---- what is found by name


def test_a_network_without_an_example_that_it_needs_is_one_line(monkeypatch):
    def refuse(config, spec):
        raise ConfigError("tiny: expected tokens")

    monkeypatch.setitem(globals(), "build_model", refuse)
    expected = (
        r"^tests/models/test_tiny.py: add EXAMPLE = {spec, task, batch}: tiny: expected tokens$"
    )
    with pytest.raises(pytest.fail.Exception, match=expected):
        examples_for(network("tiny"))


def test_a_network_without_its_file_or_its_function_is_one_line(monkeypatch):
    import models.tiny

    config = network("tiny").model_copy(update={"name": "mynet"})
    expected = "expected a function `build` for the network 'mynet' of model_config.py"
    with pytest.raises(ConfigError, match=f"^models/mynet.py: no such file; {expected}$"):
        build_model(config, spec_of([4]))
    monkeypatch.delattr(models.tiny, "build")
    with pytest.raises(ConfigError, match=r"^models/tiny.py: expected a function `build` for the "):
        build_model(network("tiny"), spec_of([4]))


def test_every_file_of_the_room_is_a_network_or_imported_by_one():
    files = {file.stem: file.read_text() for file in (ROOT / "models").glob("*.py")}
    del files["__init__"]
    for name in files.keys() - set(NAMES):
        imported = [
            file
            for file, text in files.items()
            if file != name
            and (f"from models.{name} import" in text or f"from models import {name}\n" in text)
        ]
        assert imported, (
            f"models/{name}.py: no class below Network has this name, no file imports it"
        )
