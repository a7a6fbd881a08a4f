"""What only a real process can show: exit codes, signals, locks, readers that go away."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from places import HANG, ROOT, TINY, WITH_TINY

from cli.program import CheckpointError
from engine import checkpoint
from engine.run_reader import with_newest, with_step

TRAINER = [sys.executable, str(ROOT / "trainer.py"), "--config", str(TINY)]
SHORT = ["train.epochs=null", "checkpoint.best=null", "train.steps=60"]


@pytest.mark.parametrize("delay", [0.1, 1.5])
def test_a_signal_during_start_up_writes_nothing(tmp_path, delay):
    process = subprocess.Popen(
        [*TRAINER, *SHORT],
        cwd=tmp_path,
        env=WITH_TINY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(delay)
    process.terminate()
    process.communicate(timeout=HANG)
    # Within the first moments Python itself has no handler yet and the signal ends it, which a
    # shell reports as 143 too.
    assert process.returncode in (143, -signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_goes_away_does_not_stop_the_run(tmp_path):
    """As in `python trainer.py ... 2>&1 | head -1`."""
    pipe, end = os.pipe()
    process = subprocess.Popen(
        [*TRAINER, *SHORT, "--run_dir", "run"],
        cwd=tmp_path,
        env=WITH_TINY,
        stdout=end,
        stderr=end,
    )
    os.close(end)
    os.read(pipe, 1)
    os.close(pipe)
    assert process.wait(timeout=HANG) == 0
    assert checkpoint.read_state(checkpoint.newest(tmp_path / "run/checkpoints"))["progress"][
        "finished"
    ]


def test_one_writer_any_number_of_readers_and_what_signals_do(tmp_path, program):
    """While one trainer runs, a second is refused and evaluation works.

    Its checkpoints come and go meanwhile. Two signals end it at once and lose no checkpoint; after
    one signal it has saved.
    """
    run_dir = tmp_path / "run"
    forever = [
        *TRAINER,
        "--run_dir",
        str(run_dir),
        "train.epochs=1000000",
        "checkpoint.every=20",
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": WITH_TINY}
    process = subprocess.Popen(forever, **pipes)
    try:
        deadline = time.monotonic() + HANG
        while len(checkpoint.steps_in(run_dir / "checkpoints")) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        second = program(*forever[1:])
        assert (second.returncode, second.stdout) == (7, "")
        assert second.stderr.startswith(
            f"trainer: error: {run_dir}: in use by process {process.pid} on "
        )
        scored = program(ROOT / "eval.py", "--ckpt", run_dir)
        assert scored.returncode == 0, scored.stderr
        assert json.loads(scored.stdout)["examples"] == 32
        assert process.poll() is None
    finally:
        process.terminate()
        process.send_signal(signal.SIGINT)  # the second signal ends it at once
        _, stderr = process.communicate(timeout=HANG)
    assert process.returncode in (130, 143) and "Traceback" not in stderr
    for path in checkpoint.steps_in(run_dir / "checkpoints").values():
        checkpoint.verify(path)
    third = subprocess.Popen(forever, **pipes)
    for line in third.stderr:
        if "going on from step" in line:
            break
    third.send_signal(signal.SIGINT)
    _, stderr = third.communicate(timeout=HANG)
    assert third.returncode == 75 and "trainer: stopped: SIGINT: saved" in stderr


def test_numbers_that_blow_up_end_with_5(program, tmp_path):
    done = program(
        *TRAINER[1:],
        *SHORT,
        "--run_dir",
        tmp_path / "run",
        "optimizer={name: sgd, learning_rate: 1e38}",
    )
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.splitlines()[-1].startswith(
        "trainer: error: step 2: loss or gradient is NaN or infinite, first in "
    )
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_place_is_refused(program, tmp_path):
    tmp_path.chmod(0o500)
    done = program(*TRAINER[1:], *SHORT, "--run_dir", tmp_path / "run")
    assert done.returncode == 6 and "cannot write here" in done.stderr


RACE = """
import itertools, os, pathlib, sys
from engine import checkpoint
os.fsync = lambda _: None  # the race is for names
directory = pathlib.Path(sys.argv[1])
for step in itertools.count(1):
    weights = str(step).encode() * 5000
    write = lambda path: (path / "weights.bin").write_bytes(weights)
    checkpoint.commit(directory, step, write, {"step": step}, 0)
    checkpoint.keep_only(directory, {step})
"""


def test_readers_and_removals_race_without_an_error(tmp_path, capsys):
    """The only checkpoint, replaced as fast as that goes, is read until 200 of them were seen."""

    def read(path):
        state = checkpoint.read_state(path)
        assert (path / "weights.bin").read_bytes() == str(state["step"]).encode() * 5000
        return state["step"]

    process = subprocess.Popen(
        [sys.executable, "-c", RACE, str(tmp_path / "checkpoints")], cwd=ROOT
    )
    try:
        while not checkpoint.steps_in(tmp_path / "checkpoints"):
            time.sleep(0.01)
        seen = []
        while len(set(seen)) < 200:
            seen.append(with_newest(tmp_path, read)[1])
    finally:
        process.kill()
        process.wait()
    assert seen == sorted(seen)
    assert capsys.readouterr().err == ""
    checkpoint.clean_up(tmp_path / "checkpoints")
    assert checkpoint.newest(tmp_path / "checkpoints", quarantine=True)


def test_a_step_that_is_removed_while_it_is_read_is_one_line(tmp_path):
    path = checkpoint.commit(
        tmp_path, 7, lambda path: (path / "weights.bin").write_bytes(b"w"), {"step": 7}, 0
    )

    def removed(path):
        checkpoint.remove(path)
        return checkpoint.read_state(path)

    with pytest.raises(
        CheckpointError, match=r"step-0000000007: was removed while it was being read"
    ):
        with_step(path, removed)


STREAMS = [">/dev/full", "2>/dev/full", "2>&-", ">&-", "<&- >&- 2>&-"]


@pytest.mark.slow
@pytest.mark.parametrize("redirection", STREAMS)
def test_a_full_or_closed_stream_changes_no_exit_code(tmp_path, redirection):
    words = [*TRAINER, *SHORT, "--run_dir", "run"]
    command = ["bash", "-c", f'"$@" {redirection}', "bash", *words]
    done = subprocess.run(
        command, cwd=tmp_path, env=WITH_TINY, capture_output=True, text=True, timeout=HANG
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert checkpoint.verify_all(tmp_path / "run")["verified"][-1] == 60
    if ">" in redirection[:1]:
        assert "warning: stdout" in done.stderr
