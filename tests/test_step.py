"""What a step does besides: accumulation, precision, averages, XLA, steps that are not finite."""

import numpy as np
import pytest
import spread
import tensorflow as tf
from places import TINY
from spread import build_step, outcome
from test_distribution import ONE, apart, on_one_device, towers

import eval as evaluation
import trainer
from cli.program import ConfigError, NumericsError
from engine import checkpoint
from engine.variables import read_variables
from engine.weights import load_weights
from model import build_model
from train_config import InitFrom, load_config

SHORT = [
    "train.epochs=null",
    "validation={every: null}",
    "checkpoint={every: null}",
]


def short_run(run_dir, *overrides, **options):
    config = load_config(TINY, [*SHORT, *overrides])
    return trainer.train_and_evaluate(config, run_dir, **options)


# ---- precision


@pytest.mark.parametrize("network", ["plain", "masked"])  # dropout draws other masks in 16 bits
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_sixteen_bits_come_close_and_keep_their_weights_in_32(network, precision):
    found, exact = on_one_device(network, precision), on_one_device(network)
    assert {name: found[name].dtype for name in exact} == {
        name: value.dtype for name, value in exact.items()
    }
    assert 0 < off_the_way(network, exact, found) < 0.5


def off_the_way(network, exact, found):
    """|found - exact| / |exact - start|: the distance, as a share of the way that training went."""
    start = {
        name: variable.numpy() for name, variable in build_step(network, ONE).variables().items()
    }
    names = [name for name in exact if name.startswith("model/")]
    distance = sum(float(np.square(found[name] - exact[name]).sum()) for name in names)
    return (
        distance / sum(float(np.square(exact[name] - start[name]).sum()) for name in names)
    ) ** 0.5


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_sixteen_bits_on_towers(precision):
    """Towers round otherwise: as far from one device as that is from 32 bits, no more."""
    one, two = on_one_device("plain", precision), outcome("plain", towers(2), precision=precision)
    assert 0 < off_the_way("plain", one, two) < 0.5


def test_everything_at_once():
    """Two towers, two accumulated parts on each, averages, XLA, clipping, scaled float16."""
    options = {"ema": 0.9, "non_finite": {"name": "skip"}}
    found = outcome("plain", towers(2), precision="float16", jit="on", accumulate=2, **options)
    plain = outcome("plain", ONE, **options)
    assert off_the_way("plain", plain, found) < 0.5 and apart(plain, found, "ema/") < 2e-2
    assert found["trainer/step"] == 20 and found["trainer/skipped"] == 0


@pytest.mark.parametrize("network", ["plain", "batch_norm", "masked"])
def test_compiled_networks_compute_the_same(network):
    assert (
        apart(
            outcome(network, ONE, jit="on", precision="float64"), on_one_device(network, "float64")
        )
        < 1e-10
    )


def test_compiled_networks_compute_the_same_on_towers():
    assert apart(outcome("plain", towers(2), jit="on"), on_one_device("plain")) < 1e-5


def test_batch_statistics_of_several_cpus_are_not_compiled():
    with pytest.raises(
        ConfigError, match=r"train.jit: on: expected auto or off for batch normalization"
    ):
        build_step("batch_norm", towers(2), jit="on")


# ---- steps that are not finite


def steps_with_a_bad_one(step, bad: int, number: int = 4):
    """Runs steps of which one has NaN in a single image, of the last tower.

    Returns (whether to go on, [variables before each step, and after the last]).
    """
    batches, seen = iter(spread.batches_of("plain", ONE)), []
    for at in range(number):
        batch = next(batches)
        if at == bad:
            spoilt = batch["inputs"].numpy()
            spoilt[-1] = np.nan
            batch |= {"inputs": tf.constant(spoilt), "sample_weight": tf.ones(spread.BATCH)}
        seen.append(
            {
                name: variable.numpy()
                for name, variable in step.variables().items()
                if "seed" not in name
            }
        )
        goes_on = step.run(iter(tf.data.Dataset.from_tensors(batch)), tf.constant(1))
    seen.append(
        {
            name: variable.numpy()
            for name, variable in step.variables().items()
            if "seed" not in name
        }
    )
    return bool(goes_on), seen


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("options", [{"non_finite": {"name": "skip"}}, {"precision": "float16"}])
def test_a_step_that_is_not_finite_is_left_out_on_all_towers(devices, options):
    step = build_step("plain", towers(2) if devices == 2 else ONE, ema=0.9, **options)
    goes_on, seen = steps_with_a_bad_one(step, 2)
    assert goes_on and seen[-1]["trainer/step"] == 4 and seen[-1]["optimizer/adam/iteration"] == 4
    before, after = seen[2], seen[3]
    changed = {name for name in before if before[name].tobytes() != after[name].tobytes()}
    counted = (
        {"trainer/skipped"}
        if "non_finite" in options
        else {"trainer/loss_scale", "trainer/finite_steps"}
    )
    assert changed == {"trainer/step", "optimizer/adam/iteration"} | counted
    if "precision" in options:
        assert (after["trainer/loss_scale"], before["trainer/loss_scale"]) == (512, 1024)
    assert apart(seen[3], seen[4]) > 0


def test_batch_statistics_are_left_out_too():
    step = build_step("batch_norm", ONE, non_finite={"name": "skip"})
    _, seen = steps_with_a_bad_one(step, 1)
    moving = "model/one_bn/moving_mean"
    assert seen[1][moving].tobytes() == seen[2][moving].tobytes() != seen[3][moving].tobytes()


def test_only_so_many_steps_are_left_out(tmp_path):
    step = build_step("plain", ONE, non_finite={"name": "skip", "at_most": 1})
    assert steps_with_a_bad_one(step, 1)[0]
    goes_on, _ = steps_with_a_bad_one(step, 3)
    assert not goes_on
    rate = "optimizer={name: sgd, learning_rate: 1e30}"
    with pytest.raises(
        NumericsError,
        match=r"step 5: loss or gradient is NaN or infinite, .*; 3 steps were left out before",
    ):
        short_run(
            tmp_path / "run", "train.steps=9", rate, "train.non_finite={name: skip, at_most: 3}"
        )


def test_the_scale_of_float16_grows_again(monkeypatch):
    monkeypatch.setattr("engine.variables.STEPS_TO_GROW", 3)
    step = build_step("plain", ONE, precision="float16")
    scales = [float(step.policy.loss_scale.numpy())]
    for _ in range(7):
        assert step.run(iter(spread.batches_of("plain", ONE)), tf.constant(1))
        scales.append(float(step.policy.loss_scale.numpy()))
    assert scales == [1024, 1024, 1024, 2048, 2048, 2048, 4096, 4096]


# ---- averages


@pytest.mark.parametrize("devices", [1, 2])
def test_averages_by_hand(devices):
    step = build_step("batch_norm", towers(2) if devices == 2 else ONE, ema=0.5)
    names = ("one_conv/kernel", "two_bn/moving_variance")
    expected = {
        name: step.variables()[f"model/{name}"].numpy().astype(np.float64) for name in names
    }
    batches = iter(spread.batches_of("batch_norm", ONE))
    for number in range(6):
        assert step.run(batches, tf.constant(1))
        decay = min(0.5, (1 + number) / (10 + number))
        for name in names:
            expected[name] = (
                decay * expected[name] + (1 - decay) * step.variables()[f"model/{name}"].numpy()
            )
    for name in names:
        np.testing.assert_allclose(
            step.variables()[f"ema/{name}"].numpy(), expected[name], rtol=1e-5, atol=1e-6
        )
    own = {name: variable.numpy() for name, variable in step.variables().items()}
    with step.averages.swapped_in():
        np.testing.assert_array_equal(
            step.variables()[f"model/{names[0]}"].numpy(), own[f"ema/{names[0]}"]
        )
    assert all(
        variable.numpy().tobytes() == own[name].tobytes()
        for name, variable in step.variables().items()
    )


def test_averages_are_evaluated_saved_and_taken_by_choice(tmp_path):
    trained = short_run(tmp_path / "run", "train.steps=30", "train.ema=0.9")["valid"]
    raw = short_run(tmp_path / "raw", "train.steps=30", "train.ema=0.9", "validation.ema=false")[
        "valid"
    ]
    config = tmp_path / "run/config.yaml"
    averaged = evaluation.main(tmp_path / "run", load_config(config), "valid")
    last = evaluation.main(tmp_path / "run", load_config(config, ["validation.ema=false"]), "valid")
    assert {name: averaged[name] for name in trained} == trained
    assert {name: last[name] for name in raw} == raw and raw["loss"] != trained["loss"]
    saved = read_variables(checkpoint.newest(tmp_path / "run/checkpoints"))
    built = load_config(config)
    for ema in (True, False):
        model = build_model(built.model, built.spec, seed=1)
        begin = InitFrom(ckpt=str(tmp_path / "run"), ema=ema, skip=["logits/"])
        load_weights(model, begin)
        expected = saved["ema/hidden/kernel" if ema else "model/hidden/kernel"]
        kernel = next(v for v in model.variables if v.path == "hidden/kernel")
        np.testing.assert_array_equal(kernel.numpy(), expected)
