"""A step that is not finite is named, kept, repeated, and where asked for rolled back."""

import json
import os
import signal

import numpy as np
import pytest
import spread
import tensorflow as tf
from places import TINY

import trainer
from cli.program import CheckpointError, ConfigError, NumericsError, ResourceError, Stopped
from engine import blackbox, checkpoint
from engine.cluster import check_cluster, read_cluster
from engine.devices import Devices, open_devices
from engine.variables import read_variables
from train_config import Distribute, load_config
from trainer import build_run

ONE = Devices(tf.distribute.get_strategy())
SOFTMAX = [  # one layer, whose numbers are easily too large
    "model={name: tiny, units: 0, l2: 1e-3}",
    "train.epochs=null",
    "train.steps=12",
    "train.log_every=1",
    "checkpoint={every: 3}",
    "validation={every: null}",
]
# Weights of 1e21: their squares, and so the L2 penalty, are more than float32 holds; logits and
# gradients are not.
TOO_LARGE = "optimizer={name: sgd, learning_rate: 1e22}"


def run(run_dir, *overrides, **options):
    config = load_config(TINY, [*SOFTMAX, *overrides])
    return trainer.train_and_evaluate(config, run_dir, **options)


# ---- where it began


def spoil_inputs(step, batch):
    batch["inputs"][5, 3, 3] = np.inf
    return f"the inputs of example {batch['id'][5]}", "c1"


def spoil_weights(step, batch):
    kernel = next(v for v in step.model.variables if v.path == "f6/kernel")
    kernel.assign(tf.tensor_scatter_nd_update(kernel, [[0, 0]], [np.nan]))
    return "the weights f6/kernel", "f6"


def spoil_a_layer(step, batch):
    """Each finite; what they make of each other is not."""
    kernel = next(v for v in step.model.variables if v.path == "c3/kernel")
    kernel.assign(kernel * 1e38)
    batch["inputs"] *= 1e4
    return "the outputs of layer c3", "c3"


def spoil_the_loss(step, batch):
    """Logits of 3e38 and -3e38: their difference is not finite."""
    bias = next(v for v in step.model.variables if v.path == "logits/bias")
    bias.assign([3e38, -3e38, 0, 0])
    batch["targets"][:] = 0
    batch["targets"][[2, 9]] = 1
    return f"the loss of example {batch['id'][2]}", None


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("spoil", [spoil_inputs, spoil_weights, spoil_a_layer, spoil_the_loss])
def test_the_first_place_is_named(spoil, number):
    two = Distribute(strategy="towers", towers=2, virtual_devices=4)
    step = spread.build_step("plain", open_devices(two) if number == 2 else ONE)
    batch = {
        key: value.numpy() for key, value in next(iter(spread.batches_of("plain", ONE))).items()
    }
    batch["sample_weight"][:] = 1
    where, layer = spoil(step, batch)
    batches = tf.data.Dataset.from_tensors(
        {key: tf.constant(value) for key, value in batch.items()}
    )
    goes_on, finite, batch, gradients = step.inspect(iter(batches))
    assert not goes_on and not finite
    found = blackbox.find(step, batch, gradients)
    assert (found.where, found.layer) == (where, layer)
    trained = {v.path for v in step.model.trainable_variables}
    assert (
        found.variable in trained or spoil is spoil_the_loss
    )  # of whose gradients, differences of probabilities, all are finite
    assert not [
        layer for layer in step.model.layers if "call" in vars(layer)
    ]  # looked at, and left as they were


def test_what_is_finite_forwards_is_looked_for_backwards():
    """Outputs and loss are finite; the gradients are made up."""
    step = spread.build_step("plain", ONE)
    batch = next(iter(spread.batches_of("plain", ONE)))
    gradients = [
        tf.fill(v.shape, np.inf if v.path == "c5/kernel" else 1.0)
        for v in step.model.trainable_variables
    ]
    assert blackbox.find(step, batch, gradients) == ("the backward pass", None, "c5/kernel")
    gradients = [tf.fill(v.shape, 3e38) for v in step.model.trainable_variables]
    assert blackbox.find(step, batch, gradients) == ("a sum over the batch", None, None)


def test_looking_changes_nothing():
    step = spread.build_step("batch_norm", ONE)
    before = {name: variable.numpy().copy() for name, variable in step.variables().items()}
    step.forward(next(iter(spread.batches_of("batch_norm", ONE))))
    assert all(
        variable.numpy().tobytes() == before[name].tobytes()
        for name, variable in step.variables().items()
    )


def test_layers_within_layers_and_sequences():
    step = spread.build_step("masked", ONE)
    batch = next(iter(spread.batches_of("masked", ONE)))
    embedding = next(v for v in step.model.variables if "embedding" in v.path)
    embedding.assign(tf.fill(embedding.shape, np.nan))
    _, _, batch, gradients = step.inspect(iter(tf.data.Dataset.from_tensors(batch)))
    assert blackbox.find(step, batch, gradients).where == f"the weights {embedding.path}"
    assert blackbox.find(step, batch, gradients).layer == embedding.path.split("/")[-2]


# ---- kept, repeated


@pytest.fixture(scope="module")
def blown_up(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("blown") / "run"
    with pytest.raises(NumericsError) as caught:
        run(run_dir, TOO_LARGE)
    return run_dir, str(caught.value)


def test_a_blow_up_is_named_at_its_step_and_kept(blown_up):
    run_dir, message = blown_up
    kept = run_dir / "blowup/step-0000000002"
    assert message.startswith(
        "step 2: loss or gradient is NaN or infinite, first in a sum over the batch; examples "
    )
    assert (
        message.endswith(f"; kept: python trainer.py --replay {kept}")
        and len(message.splitlines()) == 1
    )
    assert not checkpoint.steps_in(run_dir / "checkpoints")
    checkpoint.verify(kept)
    report = checkpoint.read_state(kept)
    assert report["step"] == 2 and report["examples"] == 96 and report["layer"] is None
    assert ", ".join(map(str, report["ids"][:8])) in message and report["places"][0] in message
    assert (
        report["norms"]["logits/kernel"]["weights"] > 1e19
        and json.loads((kept / "state.json").read_text()) == report
    )
    batches = build_run(load_config(run_dir / "config.yaml")).batches_from(1)
    with np.load(kept / "batch.npz") as batch:
        expected = next(iter(batches))
        assert all(
            batch[key].tobytes() == value.numpy().tobytes() for key, value in expected.items()
        )
    variables = read_variables(kept)
    assert variables["trainer/step"] == 1 and np.isfinite(variables["model/logits/kernel"]).all()


def test_a_kept_step_is_repeated_and_its_cure_tried(blown_up, program):
    kept = blown_up[0] / "blowup/step-0000000002"
    again = program("trainer.py", "--replay", kept)
    assert (again.returncode, again.stdout) == (5, "")
    assert again.stderr == (
        f"trainer: error: {kept}: step 2: loss or gradient is NaN or infinite again, "
        "first in a sum over the batch\n"
    )
    cured = program("trainer.py", "--replay", kept, "model.l2=0")
    assert cured.returncode == 0, cured.stderr
    found = json.loads(cured.stdout)
    assert found["step"] == 2 and found["finite"] is True and np.isfinite(found["loss"])
    others = [
        "model.l2=0",
        "optimizer={name: adam}",
        "train.precision=bfloat16",
        "train.ema=0.9",
        "train.non_finite={name: skip}",
    ]
    config = load_config(blown_up[0] / "config.yaml", others)
    assert blackbox.replay(kept, config, trainer.build_trainer)["loss"] == pytest.approx(
        found["loss"], rel=0.01
    )


def test_a_kept_step_that_is_damaged_or_not_there(blown_up, tmp_path, program):
    kept = blown_up[0] / "blowup/step-0000000002"
    config = load_config(blown_up[0] / "config.yaml")
    with pytest.raises(CheckpointError, match=r"step-0000000003: no such checkpoint"):
        blackbox.replay(blown_up[0] / "blowup/step-0000000003", config, trainer.build_trainer)
    data = (kept / "batch.npz").read_bytes()
    (kept / "batch.npz").write_bytes(data[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"batch.npz: its bytes have changed"):
        blackbox.replay(kept, config, trainer.build_trainer)
    (kept / "batch.npz").write_bytes(data)
    done = program("trainer.py", "--replay", tmp_path)
    assert done.returncode == 4 and "expected a run directory" in done.stderr and done.stdout == ""


def test_the_same_step_is_kept_once_and_numbers_come_before_a_full_disk(
    blown_up, monkeypatch, capsys
):
    run_dir, message = blown_up
    with pytest.raises(NumericsError) as caught:
        run(run_dir, TOO_LARGE)
    assert str(caught.value) == message
    assert [path.name for path in (run_dir / "blowup").iterdir()] == ["step-0000000002"]

    def full(*_):
        raise ResourceError("disk full")

    monkeypatch.setattr(blackbox, "record", full)
    with pytest.raises(NumericsError, match=r"step 2: .*optimizer.clip_norm$"):
        run(run_dir, TOO_LARGE)
    assert "warning: the step could not be kept: disk full" in capsys.readouterr().err


# ---- policies

ROLLBACK = "train.non_finite={name: rollback, at_most: 2, factor: 1e-23}"


def readings(run_dir):
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in line.items() if key != "examples_per_second"}
        for line in lines
    ]


@pytest.mark.parametrize(
    "distribute",
    ["{strategy: one}", "{strategy: towers, towers: 2, virtual_devices: 4}"],
    ids=["one", "two"],
)
def test_a_rollback_goes_back_leaves_the_batches_out_and_lowers_the_rate(
    tmp_path, capsys, distribute
):
    result = run(tmp_path, TOO_LARGE, ROLLBACK, f"distribute={distribute}")
    lines = capsys.readouterr().err
    assert "warning: step 2: loss or gradient is NaN or infinite" in lines
    assert (
        "warning: rollback 1 of 2: weights of step 0, on from step 2, the learning rate times 1e-23"
        in lines
    )
    assert result["step"] == 12 and result["valid"]["loss"] < 1.0
    found = {each["step"]: each for each in readings(tmp_path) if each["split"] == "train"}
    assert (
        found[1]["learning_rate"] == pytest.approx(1e22) and 2 not in found
    )  # of which there is nothing to read
    assert found[3]["learning_rate"] == found[12]["learning_rate"] == pytest.approx(0.1)
    assert (
        checkpoint.read_state(checkpoint.newest(tmp_path / "checkpoints"))["progress"]["rollbacks"]
        == 1
    )


def test_rollbacks_are_bounded(tmp_path):
    with pytest.raises(NumericsError, match=r"^step 6: .*; after 2 rollbacks; kept: "):
        run(
            tmp_path,
            TOO_LARGE,
            "train.non_finite={name: rollback, at_most: 2, factor: 1}",
            "checkpoint={every: null}",
        )
    assert sorted(path.name for path in (tmp_path / "blowup").iterdir()) == [
        f"step-000000000{step}" for step in (2, 4, 6)
    ]
    assert (
        list(checkpoint.steps_in(tmp_path / "checkpoints"))[-1] == 4
    )  # the weights of step 0; no later ones


def test_a_run_that_was_rolled_back_is_stopped_and_goes_on_to_the_same_bytes(tmp_path):
    def stop(step, _metrics):
        if step == 8:
            os.kill(os.getpid(), signal.SIGTERM)

    more = (TOO_LARGE, ROLLBACK, "validation={every: 2}")
    run(tmp_path / "whole", *more)
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", *more, on_eval=stop)
    run(tmp_path / "stopped", *more)
    last = [checkpoint.newest(tmp_path / name / "checkpoints") for name in ("whole", "stopped")]
    assert len({(path / "MANIFEST.json").read_text() for path in last}) == 1
    assert readings(tmp_path / "whole") == readings(tmp_path / "stopped")


def test_steps_left_out_are_counted_in_the_readings(tmp_path):
    with pytest.raises(NumericsError, match="3 steps were left out before"):
        run(tmp_path, TOO_LARGE, "train.non_finite={name: skip, at_most: 3}")
    assert [each["skipped"] for each in readings(tmp_path)] == [0, 1, 2, 3]


def test_servers_cannot_go_back():
    jobs = {"chief": ["a:1"], "ps": ["b:2"], "worker": ["c:3"]}
    cluster = read_cluster(json.dumps({"cluster": jobs, "task": {"type": "chief", "index": 0}}))
    with pytest.raises(
        ConfigError, match="rollback: expected raise or skip with parameter servers"
    ):
        check_cluster(load_config(TINY, [*SOFTMAX, ROLLBACK]), cluster)
