"""A run that is killed and started again ends with the bytes of the run that was not.

Weights, slots, readings: all of them.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import soak
from places import HANG, ROOT, TINY, WITH_TINY

import input_ops
import trainer
from cli.program import Stopped
from engine import checkpoint
from engine.variables import DropoutSeeds
from train_config import load_config

# Everything that could go out of step: dropout, random operations, Adam, a schedule, clipping,
# best-k, early stopping, both kinds of validation, readings across the save, epochs that end inside
# a batch.
OVERRIDES = [
    "model={name: tiny, dropout: 0.4, l2: 1e-4}",
    "data={train: tiny_numbers, train_ops: [tiny_noise], ops: [tiny_scale]}",
    "optimizer={name: adam, learning_rate: 1e-3, weight_decay: 1e-3, clip_norm: 1.0}",
    "optimizer.schedule={name: cosine, warmup: 60}",
    "train={batch_size: 40, steps: 600, log_every: 35}",
    "validation={every: 19.5 epochs, stepwise: {every: 40, batches: 2}}",
    "checkpoint.every=50",
    "early_stopping={metric: loss, patience: 1000}",
    "summary={images: null, histograms: {every: 90}}",
]


def run_to_the_end(run_dir, *more, **options):
    config = load_config(TINY, [*OVERRIDES, *more])
    return trainer.train_and_evaluate(config, run_dir, **options)


def outcome(run_dir):
    """What must not differ: hashes of the last checkpoint, its state, all readings but the pace."""
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
    words = ["trainer.py", "--config", "tests/tiny/tiny.yaml", "--run_dir", str(run_dir)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, *words, *OVERRIDES]
    return subprocess.Popen(command, cwd=ROOT, env=WITH_TINY, **pipes)


def wait_for_step(process, run_dir, step):
    deadline = time.monotonic() + HANG
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
    assert max(checkpoint.steps_in(run_dir / "checkpoints")) < 600, (
        "the run was over before the kill"
    )

    second = start_process(run_dir)
    wait_for_step(second, run_dir, 150)
    second.terminate()
    stdout, stderr = second.communicate(timeout=HANG)
    assert (second.returncode, stdout) == (75, "")
    assert "going on from step" in stderr
    last = stderr.splitlines()[-1]
    assert "trainer: stopped: SIGTERM: saved" in last and "--config tests/tiny/tiny.yaml" in last

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

    def restore_all_but_one(path, variables, values):
        restore(path, variables, values)
        slot = variables["optimizer/adam/hidden_kernel_momentum"]
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


def test_a_run_killed_at_random_instants_ends_with_the_same_bytes(tmp_path):
    """Batch normalization, a mix, averages and all the rest; tests/soak.py does it thirty times."""
    found = soak.soak(tmp_path, 1, 1, "train.steps=200", "validation.every=20")
    assert found["identical"] == 1
