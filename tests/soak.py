"""A run, killed again and again at random instants, ends with the bytes of the run never killed.

    python tests/soak.py [kills] [seed]        30 kills take 5 to 8 minutes

Each process is killed (SIGKILL) at an instant drawn from all of a run's life: start-up, steps,
validation, saving, removing. Everything that could go out of step is on: see WORDS. A run that ends
before its kill is compared, and another begins.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from places import ROOT, TINY, WITH_TINY

from engine import checkpoint

# Dropout, a random operation, batch normalization, Adam, a schedule with warm-up, clipping, a mix
# of two sets, averages, best-k, early stopping, both kinds of validation, and readings across
# saves; epochs end inside batches.
WORDS = [
    "model={name: tiny, batch_norm: true, dropout: 0.3}",
    "data.sources.noisy={name: tiny_numbers, train_ops: [tiny_noise]}",
    "data.sources.plain={name: tiny_numbers, size: 50}",
    "data.train={noisy: 0.7, plain: 0.3}",
    "data.valid=tiny_numbers",
    "optimizer={name: adam, learning_rate: 1e-2, clip_norm: 1.0}",
    "optimizer.schedule={name: cosine, warmup: 10}",
    "train={batch_size: 40, steps: 1000, ema: 0.95, log_every: 7}",
    "validation={every: 40, stepwise: {every: 9, batches: 2}}",
    "checkpoint={every: 5, keep: 2, best: {metric: accuracy, keep: 2}}",
    "early_stopping={metric: loss, patience: 1000}",
]


def start(run_dir: Path, more: tuple[str, ...]) -> subprocess.Popen:
    words = ["trainer.py", "--config", str(TINY), "--run_dir", str(run_dir)]
    command = [sys.executable, *words, *WORDS, *more]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=WITH_TINY, **pipes)


def ending(run_dir: Path) -> tuple:
    """What must not differ: hashes of the last checkpoint, steps kept, readings but the pace."""
    last = checkpoint.newest(run_dir / "checkpoints")
    readings = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    for reading in readings:
        reading.pop("examples_per_second", None)
    files = json.loads((last / "MANIFEST.json").read_text())["files"]
    return files, list(checkpoint.steps_in(run_dir / "checkpoints")), readings


def finish(process: subprocess.Popen) -> None:
    _, stderr = process.communicate()
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}: {stderr[-2000:]}")


def soak(directory: Path, kills: int, seed: int, *more: str) -> dict:
    """Raises SystemExit where anything is lost, asks for a hand, or ends otherwise."""
    draw, begin = random.Random(seed), time.monotonic()
    finish(start(directory / "whole", more))
    life, expected = time.monotonic() - begin, ending(directory / "whole")
    done, runs, at_steps = 0, 0, []
    while done < kills or runs == 0:
        run_dir = directory / f"run{runs}"
        process = start(run_dir, more)
        try:
            process.wait(draw.uniform(0, life) if done < kills else None)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            done += 1
            at_steps.append(max(checkpoint.steps_in(run_dir / "checkpoints"), default=0))
            for path in checkpoint.steps_in(run_dir / "checkpoints").values():
                checkpoint.verify(path)
            continue
        finish(process)
        if ending(run_dir) != expected:
            problem = "ended otherwise than the run that was never killed"
            raise SystemExit(f"{run_dir}: {problem}, after kills at steps {at_steps}")
        runs, at_steps = runs + 1, []
    return {
        "kills": done,
        "runs": runs,
        "identical": runs,
        "seconds": round(time.monotonic() - begin),
    }


if __name__ == "__main__":
    KILLS, SEED = map(int, (sys.argv[1:] + ["30", "0"][len(sys.argv) - 1 :])[:2])
    with tempfile.TemporaryDirectory() as DIRECTORY:
        print(json.dumps(soak(Path(DIRECTORY), KILLS, SEED)))
