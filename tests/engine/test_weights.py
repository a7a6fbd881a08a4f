"""Trained weights to begin with: what is loaded, what is refused, and what is frozen."""

import os

import keras
import numpy as np
import pytest
from keras import layers

from cli.program import CheckpointError, ConfigError
from engine import checkpoint
from engine.variables import named_variables, write_variables
from engine.weights import freeze, load_weights
from train_config import InitFrom

PATHS = [
    f"{layer}/{name}" for layer in ("c1", "c3", "c5", "f6", "logits") for name in ("kernel", "bias")
]


def network(num_classes: int = 5, seed: int = 0) -> keras.Model:
    """Three convolutions, a layer of 84, dropout (whose state is no weight), logits."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    images = keras.Input([28, 28, 1])
    x = layers.Conv2D(6, 5, padding="same", name="c1")(images)
    for name, width in (("c3", 16), ("c5", 120)):
        x = layers.Conv2D(width, 5, name=name)(layers.AveragePooling2D(2)(x))
    x = layers.Dropout(0.3)(layers.Dense(84, name="f6")(layers.Flatten()(x)))
    return keras.Model(images, layers.Dense(num_classes, name="logits")(x), name="digits")


def values_of(model) -> dict[str, np.ndarray]:
    return {variable.path: variable.numpy() for variable in model.weights}


def same(model, before: dict) -> list[str]:
    """The variables that are as they were."""
    return [path for path, value in values_of(model).items() if np.array_equal(value, before[path])]


def load(model, ckpt, **options) -> None:
    load_weights(model, InitFrom(ckpt=str(ckpt), **options))


def write_run(run_dir, model) -> None:
    """A run with a checkpoint of the network, and of an optimizer."""
    optimizer = keras.optimizers.SGD(momentum=0.9)
    optimizer.build(model.trainable_variables)
    variables = named_variables(model=model.variables, optimizer=optimizer.variables)
    run_dir.mkdir(exist_ok=True)
    checkpoint.commit(
        run_dir / "checkpoints",
        7,
        lambda path: write_variables(path, variables),
        {"step": 7},
        size=0,
    )
    (run_dir / "config.yaml").touch()


WRITE = {
    "run": write_run,
    "run.npz": lambda path, model: np.savez(path, **values_of(model)),
    "run.weights.h5": lambda path, model: model.save_weights(path),
}


each_form = pytest.mark.parametrize("form", WRITE)


@each_form
def test_the_same_network_loads_whole(form, tmp_path, capsys):
    old, new = network(seed=1), network(seed=2)
    for variable in old.weights:  # zeros would be alike in any two networks
        variable.assign(np.random.default_rng(len(variable.path)).random(variable.shape))
    WRITE[form](tmp_path / form, old)
    assert same(new, values_of(old)) == []
    load(new, tmp_path / form)
    assert same(new, values_of(old)) == PATHS
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f": loaded 10 of 10 variables: {', '.join(PATHS)}")


@each_form
def test_a_new_head_and_a_renamed_layer(form, tmp_path, capsys):
    """A network with 5 classes from one with 10, whose C1 bore another name."""
    images = keras.Input([28, 28, 1])
    x = layers.Conv2D(6, 5, padding="same", name="first")(images)
    for name, width in (("c3", 16), ("c5", 120)):
        x = layers.Conv2D(width, 5, name=name)(layers.AveragePooling2D(2)(x))
    x = layers.Dense(84, name="f6")(layers.Flatten()(x))
    old, new = keras.Model(images, layers.Dense(10, name="logits")(x)), network(5)
    fresh = values_of(new)
    WRITE[form](tmp_path / form, old)
    load(new, tmp_path / form, map={"^fir(st)/": "c1/"}, skip=["^logits/"])
    expected = {
        path.replace("first", "c1"): value
        for path, value in values_of(old).items()
        if "logits" not in path
    }
    assert all(np.array_equal(values_of(new)[path], value) for path, value in expected.items())
    assert set(expected) == set(PATHS[:8]) and set(same(new, fresh)) >= set(PATHS[8:])
    loaded, skipped, left_over = capsys.readouterr().err.splitlines()
    assert loaded.endswith(f": loaded 8 of 10 variables: {', '.join(PATHS[:8])}")
    assert skipped == "init_from: fresh, by init_from.skip: logits/kernel, logits/bias"
    assert left_over.startswith("init_from: left over in ") and left_over.endswith(
        ": logits/bias, logits/kernel"
    )


def test_one_step_of_a_run_may_be_named_and_damage_is_found(tmp_path):
    old, new = network(seed=1), network(seed=2)
    write_run(tmp_path, old)
    step = checkpoint.path_of(tmp_path / "checkpoints", 7)
    load(new, step)
    assert same(new, values_of(old)) == PATHS
    os.truncate(step / "variables.data-00000-of-00001", 1000)
    with pytest.raises(CheckpointError, match=r"expected [0-9,]+ bytes, got 1,000"):
        load(new, step)
    with pytest.raises(CheckpointError, match="every checkpoint is damaged"):
        load(new, tmp_path)
    with pytest.raises(CheckpointError, match="expected a run directory with a config"):
        load(new, tmp_path / "nowhere")


def nested(seed: int) -> keras.Model:
    """Layers within layers, in every way in which Keras numbers them.

    A wrapper, attributes, a list, a model, a shared one.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)

    class Block(layers.Layer):
        def __init__(self, shared, name):
            super().__init__(name=name)
            self.zoom, self.shared = layers.MultiHeadAttention(2, 4, name="attention"), shared
            self.feed = [layers.Dense(8, name="wide"), layers.Dense(4, name="narrow")]

        def call(self, x):
            return self.feed[1](self.feed[0](self.shared(self.zoom(x, x))))

    tokens, shared = keras.Input([6]), layers.Dense(4, name="shared")
    x = layers.Embedding(10, 4, name="embedding")(tokens)
    x = Block(shared, "block_b")(Block(shared, "block_a")(x))
    x = layers.Bidirectional(layers.LSTM(3, name="lstm"), name="both")(x)
    inner = keras.Sequential(
        [layers.Dense(3, name="inside"), layers.BatchNormalization(name="norm")], name="inner"
    )
    model = keras.Model(tokens, layers.Dense(2, name="logits")(inner(x)), name="nested")
    for variable in model.weights:
        variable.assign(
            np.random.default_rng([seed, *variable.path.encode()]).random(variable.shape)
        )
    return model


@each_form
def test_nested_layers_load_whole(form, tmp_path):
    old, new = nested(1), nested(2)
    WRITE[form](tmp_path / form, old)
    load(new, tmp_path / form)
    assert len(same(new, values_of(old))) == len(new.weights) == 41


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        (
            {"f6/bias": None},
            {},
            "does not fit digits: f6/bias: missing; see init_from.map and init_from.skip",
        ),
        (
            {"c1/kernel": np.zeros([3, 3, 1, 6], np.float32)},
            {},
            "digits: c1/kernel: expected float32[5, 5, 1, 6], got float32[3, 3, 1, 6];",
        ),
        (
            {"f6/bias": None, "f6/b": np.zeros(84)},
            {},
            "digits: f6/bias: missing; left over in it: f6/b; see",
        ),
        (
            {"f6/bias": np.full(84, 1e300)},
            {},
            "digits: f6/bias: expected finite numbers, got NaN or infinity;",
        ),  # of float32
        (
            {"f6/bias": np.zeros(84, complex)},
            {},
            "digits: f6/bias: expected float32[84], got complex128[84]; left over in it: f6/bias",
        ),
        (
            {},
            {"skip": ["logit/"]},
            "init_from.skip: 'logit/' is found in no variable; there is logits/bias",
        ),
        ({}, {"map": {"^conv": "c"}}, "init_from.map: '^conv' is found in no variable; there is "),
        ({}, {"map": {"^c[13]/": "c1/"}}, "init_from.map: c1/kernel and c3/kernel of "),
        ({}, {"skip": [""]}, "init_from.skip: every variable of digits is skipped"),
        (
            dict.fromkeys(PATHS[1:]),
            {"map": {"c1/": "c9/"}},
            "c5/bias: missing; f6/kernel: missing; f6/bias: missing; logits/",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changes(changes, options, message, tmp_path):
    old, new = network(seed=1), network(seed=2)
    before = values_of(new)
    arrays = {
        name: value for name, value in (values_of(old) | changes).items() if value is not None
    }
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises((CheckpointError, ConfigError)) as caught:
        load(new, tmp_path / "a.npz", **options)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert same(new, before) == PATHS


def test_ten_names_are_shown(tmp_path):
    np.savez(tmp_path / "a.npz", **{f"x{number:02}": np.zeros(1) for number in range(12)})
    with pytest.raises(CheckpointError) as caught:
        load(nested(1), tmp_path / "a.npz")
    assert "(and 31 more); left over in it: x00, " in str(
        caught.value
    ) and "x09 (and 2 more); see" in str(caught.value)


def small(seed: int = 0) -> keras.Model:
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    inputs = keras.Input([3])
    x = layers.BatchNormalization(name="norm")(layers.Dense(4, name="first")(inputs))
    return keras.Model(inputs, layers.Dense(3, name="logits")(x), name="small")


def test_a_layer_within_a_layer_is_frozen_as_such():
    model = nested(0)
    freeze(model, ["norm/", "attention/"])
    inner = model.get_layer("inner").get_layer("norm")
    assert not inner.trainable and model.get_layer("inner").trainable
    assert {v.path for v in model.weights if not v.trainable} == {
        path for path in (v.path for v in model.weights) if "norm/" in path or "attention/" in path
    }


@pytest.mark.parametrize(
    ("regexes", "message"),
    [
        (["^frist/"], "freeze: '^frist/' is found in no variable; there is first/"),
        (["moving"], "freeze: 'moving' is found in no variable"),  # averages are not trained anyway
        (
            ["kernel", "bias", "norm"],
            "freeze: nothing of small is left to train; expected fewer of its 6 variables",
        ),
    ],
)
def test_freezing_nothing_or_everything_is_refused(regexes, message):
    with pytest.raises(ConfigError) as caught:
        freeze(small(), regexes)
    assert message in str(caught.value)
