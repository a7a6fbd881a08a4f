"""Runs of the tiny network in processes of their own, that tests watch, stop and kill."""

import json
import subprocess
import sys
import time

from places import HANG, ROOT, TINY, WITH_TINY

from engine import checkpoint

# Everything that could go out of step; long enough to be killed on the way on a fast machine.
RUN = [
    "data.train={name: tiny_numbers, size: 960}",
    "model.dropout=0.4",
    "optimizer.learning_rate=1e-3",
    "train.batch_size=48",
    "train.epochs=null",
    "train.steps=640",
    "train.log_every=35",
    "train.ema=0.9",
    "validation.every=0.5 epochs",
    "validation.stepwise={every: 40, batches: 3}",
    "checkpoint={every: 20, keep: 99}",
    "early_stopping={metric: loss, patience: 1000}",
]


def start(words, **environment) -> subprocess.Popen:
    command, pipe = [sys.executable, *map(str, words)], subprocess.PIPE
    return subprocess.Popen(
        command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, env=WITH_TINY | environment
    )


def trainer_words(run_dir, *more):
    return ["trainer.py", "--config", TINY, "--run_dir", run_dir, *RUN, *more]


def launcher_words(run_dir, *more, tasks=("--workers", "2")):
    return ["launch.py", *tasks, "--", *trainer_words(run_dir, *more)[1:]]


def wait_for_step(process, run_dir, step) -> None:
    deadline = time.monotonic() + HANG
    while max(checkpoint.steps_in(run_dir / "checkpoints"), default=0) < step:
        assert process.poll() is None, process.communicate()[1][-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.002)


def finish(words) -> tuple[dict, str]:
    """(result, stderr) of a program that ends well."""
    process = start(words)
    stdout, stderr = process.communicate(timeout=HANG)
    assert process.returncode == 0, stderr[-3000:]
    return json.loads(stdout.splitlines()[-1]), stderr


def children(pid: int) -> list[int]:
    """The processes that a process started, in order."""
    command = ["ps", "--ppid", str(pid), "-o", "pid="]
    listed = subprocess.run(command, capture_output=True, text=True)
    return sorted(map(int, listed.stdout.split()))


def ending(run_dir):
    """What must not differ: the bytes of the last checkpoint, every reading but the pace."""
    last = checkpoint.newest(run_dir / "checkpoints")
    readings = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    for reading in readings:
        reading.pop("examples_per_second", None)
    return json.loads((last / "MANIFEST.json").read_text())["files"], readings
