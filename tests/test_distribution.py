"""One device, several towers, accumulated parts and several processes compute the same."""

import functools
import os
import shutil
import signal

import keras
import numpy as np
import pytest
import spread
import tensorflow as tf
from places import HANG, TINY, tiny_labels
from processes import RUN, ending, start, trainer_words, wait_for_step
from spread import outcome

import input_ops
import launch
import trainer
from cli.program import Stopped
from engine import checkpoint
from engine.cluster import tf_config
from engine.devices import Devices, open_devices
from engine.variables import DropoutSeeds, read_variables
from eval import Evaluator
from model import build_task
from train_config import Distribute, load_config
from trainer import Trainer

# float64 shows that nothing but rounding is left; metrics are float32 in both, and so are only as
# close as that.
CLOSE = {"float32": 1e-5, "float64": 1e-10}
ONE = Devices(tf.distribute.get_strategy())


def towers(number: int) -> Devices:
    return open_devices(Distribute(strategy="towers", towers=number, virtual_devices=4))


def apart(a: dict, b: dict, prefix: str = "model/") -> float:
    """The largest difference between variables, absolute, or relative for values above 1."""
    names = [name for name in a if name.startswith(prefix) and a[name].dtype.kind == "f"]
    return max(
        float(np.max(np.abs(a[name] - b[name]) / np.maximum(1.0, np.abs(a[name]))))
        for name in names
    )


@functools.cache
def on_one_device(network, precision="float32"):
    return outcome(network, ONE, precision=precision)


# Statistics of a batch normalization are those of each accumulated part: that network is left out
# of these rows.
SPREAD = {
    "2 towers": (2, 1),
    "4 towers": (4, 1),
    "accumulate 2": (1, 2),
    "accumulate 2 on 2 towers": (2, 2),
}
WITH_PARTS = ("plain", "weighted", "masked")
MATRIX = [
    (network, row)
    for network in (*WITH_PARTS, "batch_norm")
    for row in SPREAD
    if network in WITH_PARTS or SPREAD[row][1] == 1
]


@pytest.mark.parametrize("precision", CLOSE)
@pytest.mark.parametrize(("network", "row"), MATRIX)
def test_however_a_batch_is_spread_the_weights_are_the_same(network, row, precision):
    number, accumulate = SPREAD[row]
    found, expected = (
        outcome(network, towers(number), precision=precision, accumulate=accumulate),
        on_one_device(network, precision),
    )
    assert apart(found, expected) < CLOSE[precision]
    assert apart(found, expected, "optimizer/") < CLOSE[precision]
    assert apart(found, expected, "reading/") < 1e-5
    np.testing.assert_array_equal(found["ids"], expected["ids"])


def test_the_comparison_means_something():
    """The weights moved, clipping and weights of 0 and of classes were at work, unevenly."""
    assert apart(on_one_device("weighted"), on_one_device("plain")) > 0.01
    start = spread.build_step("plain", ONE)
    before = {name: variable.numpy() for name, variable in start.variables().items()}
    assert apart(before, on_one_device("plain")) > 0.02
    weights = np.array(
        [batch["sample_weight"].numpy() for batch in spread.batches_of("plain", ONE).take(20)]
    )
    halves = weights.reshape(20, 2, 8).sum(2)
    assert (weights == 0).any(1).all() and (halves[:, 0] != halves[:, 1]).mean() > 0.5


class MeanPerTower(Trainer):
    """Each tower's mean over all of its items, then the mean of these."""

    def tower_sums(self, batch, share):
        sums = super().tower_sums(batch, share)
        size = float(batch["id"].shape[0])
        gradients = [gradient / size for gradient in sums.gradients]
        return sums._replace(gradients=gradients, weight=tf.ones([], self.float_type))


class MaskedMeanPerTower(Trainer):
    """Each tower's mean over its items that count, then the mean of these."""

    def tower_sums(self, batch, share):
        sums = super().tower_sums(batch, share)
        gradients = [gradient / sums.weight for gradient in sums.gradients]
        return sums._replace(gradients=gradients, weight=tf.ones([], self.float_type))


class ClippedPerTower(Trainer):
    """Each tower clips before gradients are added up, as an optimizer's own clipping does."""

    def tower_sums(self, batch, share):
        sums = super().tower_sums(batch, share)
        clipped, _ = tf.clip_by_global_norm(sums.gradients, 0.5 * sums.weight)
        return sums._replace(gradients=clipped)


@pytest.mark.parametrize("wrong", [MeanPerTower, MaskedMeanPerTower, ClippedPerTower])
@pytest.mark.parametrize("network", ["plain", "masked"])
def test_the_usual_mistakes_are_noticed(network, wrong):
    assert (
        apart(outcome(network, towers(2), cls=wrong), on_one_device(network))
        > 20 * CLOSE["float32"]
    )


def test_batch_statistics_of_each_tower_alone_are_noticed(monkeypatch):
    expected = on_one_device("batch_norm")
    monkeypatch.setattr(spread, "synchronize", lambda model, strategy: None)
    assert apart(outcome("batch_norm", towers(2)), expected) > 20 * CLOSE["float32"]


def test_dropout_is_of_the_part_of_the_batch(monkeypatch):
    """Two towers draw what two accumulated parts draw, each its own.

    With one stream for both the result is another.
    """
    parts, two = outcome("dropout", ONE, accumulate=2), outcome("dropout", towers(2))
    assert apart(two, parts) < CLOSE["float32"]
    set_seeds = DropoutSeeds.set
    monkeypatch.setattr(
        DropoutSeeds, "set", lambda self, step, share: set_seeds(self, step, 0 * share)
    )
    assert apart(outcome("dropout", towers(2)), parts) > 20 * CLOSE["float32"]


@pytest.mark.parametrize("number", [1, 2, 4])
def test_evaluation_counts_every_example_once_on_any_number_of_towers(number):
    """A network that returns its input; 7 examples in batches of 4, of which 5 are right."""
    devices = towers(number) if number > 1 else ONE
    with devices.strategy.scope():
        inputs = keras.Input([3])
        model = keras.Model(inputs, keras.layers.Identity(name="same")(inputs))
    logits = np.log(
        np.array(
            [[8, 1, 1], [1, 8, 1], [1, 1, 8], [8, 1, 1], [1, 8, 1], [8, 1, 1], [8, 1, 1]],
            np.float32,
        )
        / 10
    )
    mix = input_ops.Mix.of(
        spread.from_arrays(
            "seven", {"inputs": logits, "targets": np.array([0, 1, 2, 0, 1, 2, 1])}, list("abc")
        ),
        [],
    )
    spec = spread.Spec(
        input_shape=[3], **spread.SHAPE | {"num_classes": 3, "class_names": list("abc")}
    )
    metrics = ["accuracy", "auc", "f1", "confusion_matrix"]
    evaluate = Evaluator(
        model,
        build_task(tiny_labels(metrics=metrics), spec),
        True,
        devices,
    )
    found = evaluate.score_sets(input_ops.eval_sets(mix, 4))
    assert found["accuracy"] == found["seven/accuracy"] == pytest.approx(5 / 7)
    assert found["loss"] == pytest.approx(-(5 * np.log(0.8) + 2 * np.log(0.1)) / 7, rel=1e-5)
    assert found["confusion_matrix"] == [[2, 0, 0], [1, 2, 0], [1, 0, 1]]
    assert found["f1"] == pytest.approx((2 / 3 + 4 / 5 + 2 / 3) / 3)


def test_the_parts_of_processes_make_the_batch():
    whole = [batch["id"].numpy() for batch in spread.batches_of("plain", ONE).take(9)]
    parts = [
        [
            batch["id"].numpy()
            for batch in spread.batches_of("plain", Devices(ONE.strategy, worker, 4)).take(9)
        ]
        for worker in range(4)
    ]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def in_process(run_dir, *more, **options):
    return trainer.train_and_evaluate(
        load_config(TINY, [*RUN, "model.dropout=0", "train.steps=160", *more]),
        run_dir,
        **options,
    )


def on_towers(number):
    return (
        ["distribute.strategy=one"]
        if number == 1
        else [f"distribute={{strategy: towers, towers: {number}, virtual_devices: 4}}"]
    )


@pytest.fixture(scope="module")
def stopped_on_two_towers(tmp_path_factory):
    """A run directory, stopped halfway on two towers; and one of the whole run."""
    directory = tmp_path_factory.mktemp("towers")
    in_process(directory / "whole", *on_towers(2))

    def stop(step, _metrics):
        if step == 80:  # once: a second signal would end this process at once
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        in_process(directory / "stopped", *on_towers(2), on_eval=stop)
    return directory


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_checkpoint_of_two_towers_goes_on_on_any_number(
    number, stopped_on_two_towers, tmp_path, capsys
):
    run_dir, whole = tmp_path / "run", stopped_on_two_towers / "whole"
    shutil.copytree(stopped_on_two_towers / "stopped", run_dir)
    in_process(run_dir, *on_towers(number))
    warned = (
        f"distribute.towers: 2 -> {number if number > 1 else 'null'}" in capsys.readouterr().err
    )
    assert warned == (number != 2)
    found, expected = (
        read_variables(checkpoint.newest(each / "checkpoints")) for each in (run_dir, whole)
    )
    assert apart(expected, found) < 1e-5 and apart(expected, found, "ema/") < 1e-5
    if number == 2:
        assert ending(run_dir) == ending(whole)


# ---- real processes


@pytest.fixture(scope="module")
def of_two_workers(tmp_path_factory):
    out, what = (
        tmp_path_factory.mktemp("workers"),
        [f"{n}-{p}" for n in ("plain", "batch_norm", "masked") for p in CLOSE],
    )
    jobs = {"worker": launch.free_addresses(2)}
    processes = [
        start(["tests/spread.py", out / f"{i}.npz", *what], TF_CONFIG=tf_config(jobs, "worker", i))
        for i in range(2)
    ]
    for process in processes:
        _, stderr = process.communicate(timeout=HANG)
        assert process.returncode == 0, stderr[-2000:]
    found = [dict(np.load(out / f"{i}.npz")) for i in range(2)]

    def of(each, network, precision):
        begin = f"{network}-{precision}/"
        return {
            name.removeprefix(begin): value
            for name, value in each.items()
            if name.startswith(begin)
        }

    return lambda network, precision: [of(each, network, precision) for each in found]


@pytest.mark.parametrize("precision", CLOSE)
@pytest.mark.parametrize("network", ["plain", "batch_norm", "masked"])
def test_two_processes_compute_the_same(network, precision, of_two_workers):
    first, second = of_two_workers(network, precision)
    expected = on_one_device(network, precision)
    for name, value in first.items():
        if name.startswith(("model/", "optimizer/", "reading/")):
            assert value.tobytes() == second[name].tobytes(), name
    assert apart(first, expected) < CLOSE[precision]
    assert apart(first, expected, "reading/") < 1e-5
    np.testing.assert_array_equal(
        np.concatenate([first["ids"], second["ids"]], axis=1), expected["ids"]
    )


TWO_TOWERS = ["distribute={strategy: towers, towers: 2, virtual_devices: 2}"]
AS_IN_PROCESSES = ["model.dropout=0.4", "train.steps=640"]


def test_two_towers_that_are_killed_go_on_to_the_same_bytes(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    in_process(whole, *on_towers(2), *AS_IN_PROCESSES)
    process = start(trainer_words(killed, *TWO_TOWERS))
    wait_for_step(process, killed, 60)
    process.kill()
    process.communicate()
    killed_at = max(checkpoint.steps_in(killed / "checkpoints"))
    assert killed_at < 640, "the run was over before the kill"
    in_process(killed, *on_towers(2), *AS_IN_PROCESSES)
    assert ending(killed) == ending(whole)


# ---- what does not fit together
