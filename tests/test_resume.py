"""A run that is killed and started again ends with the bytes of the run that was not: weights, slots, readings."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import soak
from places import ROOT

import input_ops
import trainer
from cli.program import Stopped
from engine import checkpoint
from engine.step_state import DropoutSeeds
from train_config import load_config

# Everything that could go out of step: dropout, random shifts, Adam, schedule, clipping, best-k, early stopping, both
# kinds of validation, readings across the save, epochs that end inside a batch.
OVERRIDES = [
    "train.batch_size=48", "train.epochs=null", "train.steps=400", "train.log_every=35", "validation.every=0.5 epochs",
    "validation.stepwise={every: 40, batches: 3}", "checkpoint.every=50", "optimizer.weight_decay=1e-3", "model.l2=1e-4",
    "early_stopping={metric: loss, patience: 1000}", "summary.histograms={every: 90}", "summary.images=null", "model.dropout=0.4",
]  # fmt: skip


def run_to_the_end(run_dir, *more, **options):
    return trainer.train_and_evaluate(
        load_config(ROOT / "configs/lenet.yaml", [*OVERRIDES, *more]), run_dir, **options
    )


def outcome(run_dir):
    """What must not differ: the hashes of the last checkpoint's variables, its state, and every reading but the pace."""
    last = checkpoint.newest(run_dir / "checkpoints")
    manifest = json.loads((last / "MANIFEST.json").read_text())
    readings = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    for reading in readings:
        reading.pop("examples_per_second", None)
    return manifest["files"], checkpoint.read_state(last), readings


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("uninterrupted")
    run_to_the_end(run_dir)
    return outcome(run_dir)


def start_process(run_dir):
    command = [
        sys.executable,
        "trainer.py",
        "--config",
        "configs/lenet.yaml",
        "--run_dir",
        str(run_dir),
        *OVERRIDES,
    ]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ},
    )


def wait_for_step(process, run_dir, step):
    deadline = time.monotonic() + 120
    while max(checkpoint.steps_in(run_dir / "checkpoints"), default=0) < step:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_killed_and_terminated_processes_resume_to_the_same_bytes(uninterrupted, tmp_path):
    run_dir = tmp_path / "run"
    first = start_process(run_dir)
    wait_for_step(first, run_dir, 50)
    time.sleep(0.03)  # somewhere between two saves
    first.kill()
    assert first.wait() == -signal.SIGKILL
    assert max(checkpoint.steps_in(run_dir / "checkpoints")) < 400, (
        "the run was over before the kill"
    )

    second = start_process(run_dir)
    wait_for_step(second, run_dir, 150)
    second.terminate()
    stdout, stderr = second.communicate(timeout=60)
    assert (second.returncode, stdout) == (75, "")
    assert "going on from step" in stderr
    assert (
        "trainer: stopped: SIGTERM: saved" in stderr.splitlines()[-1]
        and "--config configs/lenet.yaml" in stderr.splitlines()[-1]
    )

    run_to_the_end(run_dir)
    assert outcome(run_dir) == uninterrupted


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run stopped by a signal in the middle of an epoch, between two readings."""
    run_dir, seen = tmp_path_factory.mktemp("stopped"), []

    def interrupt(step, _metrics):
        seen.append(step)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped, match="SIGTERM: saved"):
        run_to_the_end(run_dir, on_eval=interrupt)
    return run_dir


def gone_on(stopped, run_dir):
    shutil.copytree(stopped, run_dir)
    run_to_the_end(run_dir)
    return outcome(run_dir)


def test_stopped_in_this_process_resumes_to_the_same_bytes(uninterrupted, stopped, tmp_path):
    assert gone_on(stopped, tmp_path / "run") == uninterrupted


def leave_out_a_slot(monkeypatch):
    restore = checkpoint.restore

    def restore_all_but_one(path, variables, read, groups):
        restore(path, variables, read, groups)
        slot = variables["optimizer/adam/f6_kernel_momentum"]
        slot.assign(slot * 0)

    monkeypatch.setattr(checkpoint, "restore", restore_all_but_one)


def leave_out_the_random_state(monkeypatch):
    set_seeds = DropoutSeeds.set
    monkeypatch.setattr(
        DropoutSeeds, "set", lambda self, step, share: set_seeds(self, step, share + 1)
    )


def leave_out_the_position(monkeypatch):
    train_batches = input_ops.train_batches
    monkeypatch.setattr(
        input_ops,
        "train_batches",
        lambda mix, size, seed, start, **more: train_batches(mix, size, seed, 0, **more),
    )


@pytest.mark.parametrize(
    "sabotage", [leave_out_a_slot, leave_out_the_random_state, leave_out_the_position]
)
def test_the_comparison_notices_what_is_left_out(
    uninterrupted, stopped, tmp_path, monkeypatch, sabotage
):
    sabotage(monkeypatch)
    files, _, readings = gone_on(stopped, tmp_path / "run")
    data = "variables.data-00000-of-00001"
    assert files[data]["sha256"] != uninterrupted[0][data]["sha256"]
    assert readings != uninterrupted[2]


SMALLER = "model={name: vgg, width: 0.125, dropout: 0.3}"


def test_a_run_killed_at_random_instants_ends_with_the_same_bytes(tmp_path):
    """Batch normalization, a mix, averages and all the rest; tests/soak.py does it thirty times."""
    assert (
        soak.soak(tmp_path, 1, 1, SMALLER, "train.steps=40", "validation.every=20")["identical"]
        == 1
    )
