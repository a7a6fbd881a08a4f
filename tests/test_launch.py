"""Processes of one run, stopped, killed and started again; what the launcher makes of it."""

import json
import os
import signal
import subprocess
import sys

import pytest
from places import HANG, TINY
from processes import (
    children,
    ending,
    finish,
    launcher_words,
    start,
    trainer_words,
    wait_for_step,
)

import launch
from cli.program import Failure, Stopped, StopSignals
from engine import checkpoint
from engine.cluster import tf_config

SERVERS = ("--workers", "2", "--ps", "1", "--chief")


def assert_stopped_at_one_step(process, run_dir):
    _, stderr = process.communicate(timeout=HANG)
    assert process.returncode == 75, stderr[-2000:]
    saved = [line for line in stderr.splitlines() if "SIGTERM: saved" in line]
    steps = {line.split(" at step ")[1].split()[0] for line in saved}
    assert len(saved) == 2 and steps == {str(max(checkpoint.steps_in(run_dir / "checkpoints")))}


@pytest.mark.slow
def test_killed_and_stopped_workers_go_on_to_the_same_bytes(tmp_path):
    """SIGKILL to a worker ends all, a signal to one stops all at one step; then the run goes on."""
    whole, run_dir = tmp_path / "whole", tmp_path / "run"
    finish(launcher_words(whole))
    process = start(launcher_words(run_dir))
    wait_for_step(process, run_dir, 60)
    os.kill(children(process.pid)[1], signal.SIGKILL)
    _, stderr = process.communicate(timeout=HANG)
    assert process.returncode == 75, stderr[-2000:]
    last = stderr.splitlines()[-1]
    assert "worker 1 by SIGKILL" in last and "worker 0 with 75" in last
    assert "another process of this run has gone" in stderr and "Traceback" not in stderr

    killed_at = max(checkpoint.steps_in(run_dir / "checkpoints"))
    process = start(launcher_words(run_dir))
    wait_for_step(process, run_dir, killed_at + 20)
    os.kill(children(process.pid)[1], signal.SIGTERM)
    assert_stopped_at_one_step(process, run_dir)
    stopped_at = max(checkpoint.steps_in(run_dir / "checkpoints"))
    assert stopped_at < 640, "the run was over before the signal"

    _, stderr = finish(launcher_words(run_dir))
    assert "going on from step" in stderr
    assert ending(run_dir) == ending(whole)


def test_a_signal_to_the_launcher_stops_all_at_one_step(tmp_path):
    process = start(launcher_words(tmp_path / "run", "train.steps=40000"))
    wait_for_step(process, tmp_path / "run", 20)
    process.terminate()
    assert_stopped_at_one_step(process, tmp_path / "run")


def test_workers_that_differ_are_refused_before_the_first_step(tmp_path):
    jobs = {"worker": launch.free_addresses(2)}
    words = [trainer_words(tmp_path / "run", *more) for more in ((), ("train.seed=1",))]
    processes = [
        start(each, TF_CONFIG=tf_config(jobs, "worker", i)) for i, each in enumerate(words)
    ]
    for process in processes:
        stdout, stderr = process.communicate(timeout=HANG)
        assert (process.returncode, stdout) == (2, "")
        assert stderr.splitlines()[-1] == (
            "trainer: error: worker 1 differs from worker 0: train.seed: 0 -> 1; "
            "expected the same configuration and data"
        )
    assert not (tmp_path / "run").exists()


def test_a_worker_that_never_comes_is_named_after_a_bound(tmp_path):
    mine, missing = launch.free_addresses(2)
    process = start(
        trainer_words(tmp_path / "run", "distribute.wait=3"),
        TF_CONFIG=tf_config({"worker": [mine, missing]}, "worker", 0),
    )
    stdout, stderr = process.communicate(timeout=HANG)
    assert (process.returncode, stdout) == (6, "")
    message = f"TF_CONFIG: worker 0: worker 1 ({missing}) did not come within 3 s"
    assert f"trainer: error: {message}" in stderr
    assert not (tmp_path / "run").exists()


class Fake:
    """What the launcher knows of a process, which ends at once with this code, or not at all."""

    def __init__(self, job, index, code=None):
        self.job, self.name, self.starts = job, f"{job} {index}", 0
        self.result = '{"step": 1}' if index == 0 else ""
        seconds = HANG if code is None else 0
        script = f"import time; time.sleep({seconds}); raise SystemExit({code})"
        self._words = [sys.executable, "-c", script]
        self.start()

    def start(self):
        self.process = subprocess.Popen(self._words)
        self.starts += 1

    def wait_for_output(self):
        pass


def launched(monkeypatch, *tasks):
    monkeypatch.setattr(launch, "_GRACE", 1.0)
    with StopSignals() as signals:
        return launch.wait(list(tasks), signals)


def test_a_chief_decides(monkeypatch):
    """A worker that has come back as the chief ends is still starting, and is ended."""
    assert launched(monkeypatch, Fake("chief", 0, 0), Fake("worker", 0)) == {"step": 1}
    with pytest.raises(Failure, match="chief 0 with 5, worker 0 by SIGTERM") as failure:
        launched(monkeypatch, Fake("chief", 0, 5), Fake("worker", 0))
    assert failure.value.exit_code == 5


def test_without_a_chief_every_worker_counts(monkeypatch):
    with pytest.raises(Stopped, match="worker 0 with 0, worker 1 by SIGTERM; start it again"):
        launched(monkeypatch, Fake("worker", 0, 0), Fake("worker", 1))


def test_workers_of_a_chief_are_started_again_so_many_times(monkeypatch):
    worker = Fake("worker", 0, 3)
    with pytest.raises(Failure, match="chief 0 by SIGTERM, worker 0 with 3") as failure:
        launched(monkeypatch, Fake("chief", 0), worker)
    assert worker.starts == 11 and failure.value.exit_code == 3


@pytest.mark.slow
def test_parameter_servers_end_though_a_lost_worker_never_returned(tmp_path):
    """Without a launcher that would start it again."""
    chief, ps, *workers = launch.free_addresses(4)
    jobs = {"chief": [chief], "ps": [ps], "worker": workers}
    places = [("chief", 0), ("ps", 0), ("worker", 0), ("worker", 1)]
    words = trainer_words(tmp_path / "run")
    chief, *others = [start(words, TF_CONFIG=tf_config(jobs, job, index)) for job, index in places]
    wait_for_step(chief, tmp_path / "run", 20)
    others[-1].kill()
    stdout, stderr = chief.communicate(timeout=HANG)
    assert chief.returncode == 0, stderr[-3000:]
    assert json.loads(stdout.splitlines()[-1])["step"] == 640
    assert [process.wait(timeout=HANG) for process in others] == [0, 0, -signal.SIGKILL]


@pytest.mark.slow
def test_parameter_servers_survive_the_loss_and_return_of_a_worker_and_learn(tmp_path):
    """The run lasts longer than a worker takes to come back."""
    steps = ["train.steps=40000", "checkpoint.every=200", "validation.every=2000"]
    more = ["validation.stepwise=null", "train.ema=null", "train.log_every=1000"]
    process = start(launcher_words(tmp_path / "run", *steps, *more, tasks=SERVERS))
    wait_for_step(process, tmp_path / "run", 400)
    os.kill(children(process.pid)[2], signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=HANG)
    assert process.returncode == 0, stderr[-3000:]
    assert "launch: worker 0 ended with -9: started again" in stderr
    assert json.loads(stdout.splitlines()[-1])["valid"]["accuracy"] > 0.9


@pytest.mark.parametrize(("job", "missing"), [("chief", "worker 0"), ("worker", "chief")])
def test_a_task_of_parameter_servers_that_never_comes_is_named(job, missing, tmp_path):
    addresses = launch.free_addresses(3)
    jobs = {
        job: [address] for job, address in zip(("chief", "worker", "ps"), addresses, strict=True)
    }
    words = trainer_words(tmp_path / "run", "distribute.wait=2")
    process = start(words, TF_CONFIG=tf_config(jobs, job, 0))
    stdout, stderr = process.communicate(timeout=HANG)
    assert (process.returncode, stdout) == (6, ""), stderr
    last = stderr.splitlines()[-1]
    assert missing in last and "did not come within 2 s" in last


def test_the_launcher_ends_with_the_code_of_what_failed(program):
    words = ["--", "--config", TINY, "optimizer.learning_rte=1"]
    done = program("launch.py", "--workers", "2", *words)
    assert (done.returncode, done.stdout) == (2, "")
    message = "optimizer.learning_rte: unknown key, did you mean 'learning_rate'?"
    assert done.stderr.count(message) == 2
    assert done.stderr.splitlines()[-1] == "launch: error: worker 0 with 2, worker 1 with 2"
    done = program("launch.py", "--ps", "1", "--", "--config", TINY)
    assert done.returncode == 2 and "--ps and --chief: expected both" in done.stderr
