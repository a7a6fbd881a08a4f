"""Starting from trained weights: runs that begin with them, variables that are frozen or slowed."""

import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from places import TINY, tiny_labels
from processes import ending

import train_config
import trainer
from cli.program import CheckpointError, ConfigError, Stopped
from engine import checkpoint
from engine.optimizer import build_multipliers, build_optimizer, build_schedule
from engine.resume import differences
from engine.variables import read_variables
from engine.weights import freeze
from model import build_task
from train_config import Clock, Spec, load_config
from trainer import Trainer


def values_of(model) -> dict[str, np.ndarray]:
    return {variable.path: variable.numpy() for variable in model.weights}


def same(model, before: dict) -> list[str]:
    """The variables that are as they were."""
    return [path for path, value in values_of(model).items() if np.array_equal(value, before[path])]


# ---- frozen and slowed down


def small(seed: int = 0) -> keras.Model:
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    inputs = keras.Input([3])
    x = layers.BatchNormalization(name="norm")(layers.Dense(4, name="first")(inputs))
    return keras.Model(inputs, layers.Dense(3, name="logits")(x), name="small")


SPEC = Spec(
    input_shape=[3],
    input_dtype="float32",
    target_shape=[],
    target_dtype="int64",
    num_classes=3,
    class_names=list("abc"),
)


def train_steps(model, config, number: int = 1) -> Trainer:
    schedule = build_schedule(config, Clock(4, 4), 10)
    task = build_task(tiny_labels(), SPEC)
    optimizer, multipliers = build_optimizer(config, schedule, model), ()
    if config.multipliers:
        multipliers = build_multipliers(config, model)
    train = train_config.Train(steps=1)
    step = Trainer(model, task, optimizer, schedule, train, None, multipliers)
    inputs = np.random.default_rng(5).normal(size=[4, 3]).astype(np.float32) + 3
    batch = {
        "inputs": inputs,
        "targets": np.array([0, 1, 2, 0]),
        "sample_weight": np.ones(4, np.float32),
        "id": np.arange(4),
    }
    assert step.run(iter(tf.data.Dataset.from_tensors(batch).repeat()), tf.constant(number))
    return step


def test_what_is_frozen_stays_and_has_no_slots():
    model = small()
    before = values_of(model)
    freeze(model, ["^first/kernel", "^norm/"])
    step = train_steps(model, train_config.Adam(name="adam", learning_rate=0.1), 3)
    assert same(model, before) == [
        "first/kernel",
        "norm/gamma",
        "norm/beta",
        "norm/moving_mean",
        "norm/moving_variance",
    ]
    assert [path for path in step.variables() if path.endswith("_momentum")] == [
        "optimizer/adam/first_bias_momentum",
        "optimizer/adam/logits_kernel_momentum",
        "optimizer/adam/logits_bias_momentum",
    ]


def test_moving_averages_go_on_where_the_layer_is_not_frozen_as_a_whole():
    model = small()
    before = values_of(model)
    freeze(model, ["^norm/gamma", "^norm/beta"])
    train_steps(model, train_config.Sgd(name="sgd"), 1)
    assert same(model, before) == ["norm/gamma", "norm/beta"]


@pytest.mark.parametrize(
    ("regexes", "message"),
    [
        ({"^c3/": 0.5}, "optimizer.multipliers: '^c3/' is found in no variable; there is "),
        (
            {"logits": 0.5, "^logits/bias": 2},
            "optimizer.multipliers: '^logits/bias' is found only where an earlier one is",
        ),
        (
            {"^first/": 0.5},
            "optimizer.multipliers: '^first/' is found in no variable",
        ),  # it is frozen
    ],
)
def test_multipliers_of_nothing_are_refused(regexes, message):
    model = small()
    freeze(model, ["^first/"])
    with pytest.raises(ConfigError) as caught:
        build_multipliers(train_config.Sgd(name="sgd", multipliers=regexes), model)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_multipliers_by_hand(name):
    """One step moves what matches by a quarter of, or twice, what it moves without.

    The first regex that matches counts.
    """
    cls = {"sgd": train_config.Sgd, "adam": train_config.Adam}[name]
    moved = []
    for multipliers in ({}, {"^logits/bias": 2.0, "^logits/": 0.25, "gamma": 1.0}):
        model = small()
        before = values_of(model)
        train_steps(
            model, cls(name=name, learning_rate=0.5, weight_decay=0.1, multipliers=multipliers)
        )
        moved.append({path: value - before[path] for path, value in values_of(model).items()})
    for path, change in moved[0].items():
        factor = {"logits/kernel": 0.25, "logits/bias": 2.0}.get(path, 1.0)
        np.testing.assert_allclose(moved[1][path], factor * change, atol=1e-6, err_msg=path)
    # Adam's first step is the learning rate, whatever the gradient; decay spares biases.
    if name == "adam":
        np.testing.assert_allclose(np.abs(moved[0]["logits/bias"]), 0.5, rtol=1e-4)
        np.testing.assert_allclose(np.abs(moved[1]["logits/bias"]), 1.0, rtol=1e-4)


# ---- whole runs


OVERRIDES = [
    "model={name: tiny, batch_norm: true, dropout: 0.4}",
    "data.train={name: tiny_numbers, num_classes: 5, classes: [class 4, class 1, class 2]}",
    "train.epochs=null",
    "train.steps=40",
    "train.log_every=11",
    "validation={every: 6}",
    "checkpoint={every: 10, keep: 9}",
    "freeze=[^norm/]",
    "optimizer.multipliers={^hidden/kernel: 0.3, ^hidden/: 2}",
]
SHAPES = {
    "hidden/kernel": [6, 8],
    "hidden/bias": [8],
    "norm/gamma": [8],
    "norm/beta": [8],
    "norm/moving_mean": [8],
    "norm/moving_variance": [8],
    "logits/kernel": [8, 5],
    "logits/bias": [5],
}


def write_weights(path, seed: int):
    random = np.random.default_rng(seed)
    np.savez(path, **{name: random.random(shape, np.float32) for name, shape in SHAPES.items()})
    return path


def run(run_dir, trained, *more, **options):
    init = f"init_from={{ckpt: {trained}, skip: [^logits/]}}"
    config = load_config(TINY, [*OVERRIDES, init, *more])
    return trainer.train_and_evaluate(config, run_dir, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("trained") / "five.npz", seed=9)


@pytest.fixture(scope="module")
def uninterrupted(trained, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("uninterrupted")
    run(run_dir, trained)
    return run_dir


def test_a_run_begins_with_what_it_is_given_and_moves_what_it_may(uninterrupted, trained):
    saved = read_variables(checkpoint.newest(uninterrupted / "checkpoints"))
    begun = np.load(trained)
    for path in SHAPES:
        if path.startswith("logits/"):
            continue
        change = np.abs(saved[f"model/{path}"] - begun[path]).max()
        assert (change == 0) == path.startswith("norm/"), path
        # Adam moves each number by about the learning rate; a fresh one would be further off.
        assert change < 40 * 0.01 * (0.3 if path == "hidden/kernel" else 2), path
    assert saved["model/logits/kernel"].shape == (8, 3)
    assert not [name for name in saved if "norm_gamma" in name]
    assert [name for name in saved if "hidden_kernel" in name]


def test_a_stopped_run_goes_on_to_the_same_bytes(uninterrupted, trained, tmp_path, monkeypatch):
    seen = []

    def interrupt(step, _metrics):
        seen.append(step)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped, match="at step 18 of 40"):
        run(tmp_path / "run", trained, on_eval=interrupt)
    monkeypatch.setattr(
        "trainer.load_weights", lambda *_: pytest.fail("weights are loaded once, at the beginning")
    )
    run(tmp_path / "run", trained)
    assert ending(tmp_path / "run") == ending(uninterrupted)
    with pytest.raises(CheckpointError, match=r"optimizer.multipliers.\^hidden/kernel: 0.3 -> 0.4"):
        run(tmp_path / "run", trained, "optimizer.multipliers={^hidden/kernel: 0.4, ^hidden/: 2}")


def test_the_comparison_notices_another_multiplier_and_other_weights(
    uninterrupted, trained, tmp_path
):
    run(tmp_path / "slower", trained, "optimizer.multipliers={^hidden/kernel: 0.3, ^hidden/: 1.99}")
    run(tmp_path / "other", write_weights(tmp_path / "other.npz", seed=8))
    for run_dir in (tmp_path / "slower", tmp_path / "other"):
        assert ending(run_dir)[0] != ending(uninterrupted)[0]


def test_weights_that_do_not_fit_leave_no_run_behind(trained, tmp_path):
    message = r"logits/kernel: expected float32\[8, 3\], got float32\[8, 5\]"
    with pytest.raises(CheckpointError, match=message):
        run(tmp_path / "run", trained, "init_from.skip=[]")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("freeze=['(']", "freeze.0: expected a regular expression, got '('"),
        (
            "init_from={ckpt: r, skip: ['[']}",
            "init_from.skip.0: expected a regular expression, got '['",
        ),
        ("init_from={ckpt: r, map: {'(': x}}", "expected a regular expression, got '('"),
        (
            "init_from={ckpt: r, map: {c: '\\2'}}",
            "init_from.map: c: expected a replacement for re.sub, got '\\\\2': invalid group",
        ),
        ("init_from={skip: [c]}", "init_from.ckpt: missing"),
        (
            "optimizer.multipliers={c1: 0}",
            "optimizer.multipliers: c1: expected a factor above 0, got 0; "
            "to keep variables as they are",
        ),
        ("data.train={name: tiny_numbers, classes: ['1']}", "data.train.classes: "),
        (
            "data.train={name: tiny_numbers, classes: ['1', '2', '1']}",
            "data.train.classes: expected each class once, got '1' twice",
        ),
    ],
)
def test_mistakes_in_the_configuration(override, message):
    with pytest.raises(ConfigError) as caught:
        load_config(TINY, [override])
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_the_order_of_multipliers_is_a_change():
    old, new = (
        load_config(TINY, [f"optimizer.multipliers={text}"])
        for text in ("{c1: 2, c: 3}", "{c: 3, c1: 2}")
    )
    assert differences(old, new) == ["optimizer.multipliers: in the order c1, c -> c, c1"]
    assert differences(old, old) == []
