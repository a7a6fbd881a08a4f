"""A run that is made longer, is looked at otherwise, or branches from another; and its best."""

import json
import os
import signal

import numpy as np
import pytest
from places import TINY

import trainer
from cli.program import CheckpointError, ConfigError, Stopped
from engine import checkpoint
from engine.variables import read_variables
from train_config import load_config

STEPS = ["train.epochs=null", "train.log_every=5", "checkpoint.every=4"]


def train(run_dir, steps, *words, **options):
    config = load_config(TINY, [*STEPS, f"train.steps={steps}", *words])
    return trainer.train_and_evaluate(config, run_dir, **options)


def values(run_dir, step=24) -> dict:
    return read_variables(checkpoint.path_of(run_dir / "checkpoints", step))


def assert_same(run_dir, other, step=24):
    found, expected = values(run_dir, step), values(other, step)
    assert found.keys() == expected.keys() and len(found) > 10
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    train(run_dir, 24, "checkpoint.keep=9")
    return run_dir


def test_a_finished_run_goes_on_to_the_bytes_of_a_long_one(whole, tmp_path, capsys):
    """Stopped at 11 of 11, where nothing was due; on to 24."""
    assert train(tmp_path / "run", 11)["step"] == 11
    assert train(tmp_path / "run", 24)["step"] == 24
    assert "from here on with train.steps: 11 -> 24" in capsys.readouterr().err
    assert_same(tmp_path / "run", whole)
    starts = json.loads((tmp_path / "run/environment.json").read_text())["lineage"]["starts"]
    assert [start["step"] for start in starts] == [0, 11]
    assert starts[1]["changed"] == ["train.steps: 11 -> 24"]
    assert "train.steps: 11 -> 24" in trainer.history(tmp_path / "run")


def test_early_stopping_counts_as_in_a_long_run(tmp_path):
    """The validation at step 11 was called for by the end alone: it does not count."""
    stop = ["early_stopping={metric: loss, mode: min, patience: 3}", "validation.every=4"]
    train(tmp_path / "run", 11, *stop)
    train(tmp_path / "run", 24, *stop)
    train(tmp_path / "whole", 24, *stop)
    found = [
        checkpoint.read_state(checkpoint.newest(tmp_path / name / "checkpoints"))["progress"]
        for name in ("run", "whole")
    ]
    assert found[0] == found[1]


def test_a_schedule_that_depends_on_the_length_is_refused_with_the_command(tmp_path):
    cosine = "optimizer.schedule={name: cosine}"
    train(tmp_path / "run", 8, cosine)
    with pytest.raises(CheckpointError, match=r"train.steps: 8 -> 12; .*to branch: .*--from"):
        train(tmp_path / "run", 12, cosine)


def test_a_run_cannot_be_shorter_than_it_is(tmp_path):
    train(tmp_path / "run", 8)
    with pytest.raises(CheckpointError, match="already at step 8; expected a length of at least"):
        train(tmp_path / "run", 6)


@pytest.mark.parametrize(
    "word",
    [
        "checkpoint.keep=9",
        "train.log_every=1",
        "summary.tensorboard=true",
        "early_stopping={patience: 9}",
        "validation.every=3",
        "validation.stepwise={every: 2}",
        "checkpoint.best=null",
    ],
)
def test_what_is_looked_at_and_kept_changes_in_place(whole, tmp_path, word, capsys):
    train(tmp_path / "run", 12)
    assert train(tmp_path / "run", 24, word)["step"] == 24
    assert "from here on with" in capsys.readouterr().err
    found, expected = values(tmp_path / "run"), values(whole)
    for name in expected:
        if not name.startswith("metrics/"):  # which count from the last time they were read
            np.testing.assert_array_equal(found[name], expected[name], name)


def test_what_is_computed_does_not(tmp_path, capsys):
    """A line a field; statistics that were measured are not among them."""
    train(tmp_path / "run", 4)
    with pytest.raises(CheckpointError, match=r"train.seed: 0 -> 5; expected no change"):
        train(tmp_path / "run", 4, "train.seed=5", "optimizer.learning_rate=0.1")
    lines = capsys.readouterr().err.splitlines()
    assert f"{tmp_path}/run/config.yaml: optimizer.learning_rate: 0.01 -> 0.1" in lines
    assert f"{tmp_path}/run/config.yaml: train.seed: 0 -> 5" in lines


# ---- branches


def branch(origin, run_dir, *words):
    command = trainer.COMMAND.__class__("trainer", "", trainer.TrainConfig)
    command.path("from", origin, "")
    command.path("run_dir", str(run_dir), "")
    command.path("config", None, "")
    command.boolean("print_config", False, "")
    command.parse(["trainer.py", *words])
    config, directory, parent = trainer.prepare_branch(command, str(origin))
    return trainer.train_and_evaluate(config, directory, parent=parent)


def test_a_branch_with_nothing_changed_ends_with_the_same_bytes(whole, tmp_path):
    assert branch(f"{whole}@12", tmp_path / "run")["step"] == 24
    assert_same(tmp_path / "run", whole)
    lineage = json.loads((tmp_path / "run/environment.json").read_text())["lineage"]
    assert lineage["parent"]["step"] == 12 and lineage["parent"]["run"] == str(whole)
    assert lineage["parent"]["changed"] == []
    assert f"begun from {whole} at step 12" in trainer.history(tmp_path / "run")


def test_a_branch_takes_its_changes_and_leaves_its_parent_alone(whole, tmp_path):
    before = sorted(path.name for path in (whole / "checkpoints").iterdir())
    branch(f"{whole}@12", tmp_path / "run", "optimizer.learning_rate=0.001")
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == before
    found, parent = values(tmp_path / "run"), values(whole)
    assert any(not np.array_equal(found[name], parent[name]) for name in found)  # the control
    assert "optimizer.learning_rate: 0.01 -> 0.001" in trainer.history(tmp_path / "run")


def test_a_branch_that_has_nothing_to_do_is_refused(whole, tmp_path):
    with pytest.raises(ConfigError, match="expected a branch to go on from step 24, got a length"):
        branch(str(whole), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("which", "message"),
    [("13", "no checkpoint of step 13; it has 4, 6, 8"), ("last", "no checkpoint of step last")],
)
def test_a_step_that_is_not_there(whole, which, message):
    with pytest.raises(CheckpointError, match=message):
        checkpoint.chosen(whole, which)


# ---- the best, the first checkpoint, a signal


def test_early_stopping_keeps_the_checkpoint_of_its_best(tmp_path):
    """The loss grows from the second validation on: what it had is still there at the end."""
    words = ["optimizer={name: sgd, learning_rate: 5.0}", "checkpoint.best=null"]
    stop = "early_stopping={metric: loss, mode: min, patience: 5}"
    result = train(tmp_path / "run", 400, *words, stop, "validation.every=2", "checkpoint.keep=1")
    records = map(json.loads, (tmp_path / "run/metrics.jsonl").read_text().splitlines())
    losses = {record["step"]: record["loss"] for record in records if record["split"] == "valid"}
    best = min(losses, key=losses.get)
    assert result["step"] == max(losses) > best and len(losses) > 5
    (kept,) = result["best"]
    assert kept["step"] == best and kept["loss"] == losses[best]
    assert checkpoint.chosen(tmp_path / "run", "best").name == f"step-{best:010}"
    assert kept["checkpoint"] == str(checkpoint.chosen(tmp_path / "run", "best"))


def test_a_run_without_a_checkpoint_begins_anew(tmp_path, capsys):
    def broken(step, metrics):
        raise RuntimeError("a typing error")

    with pytest.raises(RuntimeError):
        train(tmp_path / "run", 4, "checkpoint={every: null}", on_eval=broken)
    assert train(tmp_path / "run", 4, "train.seed=7")["step"] == 4
    assert "it ended before its first checkpoint: begun anew" in capsys.readouterr().err


def test_a_signal_during_validation_is_answered_and_that_step_validated_first(
    whole, tmp_path, monkeypatch
):
    score = trainer.Evaluator._run_in_calls

    def interrupted(self, iterator, num_batches, is_stopped):
        if self.totals is not None and checkpoint.has_any(tmp_path / "run/checkpoints"):
            os.kill(os.getpid(), signal.SIGTERM)
        return score(self, iterator, num_batches, is_stopped)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Evaluator, "_run_in_calls", interrupted)
        with pytest.raises(Stopped, match="at step 6 of 24"):
            train(tmp_path / "run", 24)
    state = checkpoint.read_state(checkpoint.newest(tmp_path / "run/checkpoints"))
    assert state["progress"]["to_validate"]
    train(tmp_path / "run", 24)
    assert_same(tmp_path / "run", whole)
    records = map(json.loads, (tmp_path / "run/metrics.jsonl").read_text().splitlines())
    validated = [record["step"] for record in records if record["split"] == "valid"]
    assert validated == [6, 12, 18, 24]
