"""Where the time of a run's steps goes: input alone, step alone, both; and a trace of 50 steps.

python benchmarks/profile_steps.py configs/lenet.yaml DIR [key=value ...]        about 15 seconds

The trace is for TensorBoard's profiler: pip install tensorboard-plugin-profile, then
tensorboard --logdir DIR.
"""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tensorflow as tf

from train_config import TrainConfig, load_config
from trainer import build_run

STEPS = 50


def milliseconds(work) -> float:
    """Per step, of the second time; the first compiles."""
    work()
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) / STEPS * 1e3


def profile(config: TrainConfig, trace: Path) -> dict[str, float]:
    """Milliseconds per step of each row; writes the trace of one more call."""
    run = build_run(config)
    batches = iter(run.batches_from(0))
    constant = iter(tf.data.Dataset.from_tensors(next(batches)).cache().repeat())
    drain = tf.function(lambda: next(batches)["id"])

    def steps_from(iterator):
        return lambda: bool(run.trainer.run(iterator, tf.constant(STEPS)))

    rows = {
        "together": milliseconds(steps_from(batches)),
        "step alone": milliseconds(steps_from(constant)),
        "input alone": milliseconds(lambda: [drain() for _ in range(STEPS)]),
    }
    tf.profiler.experimental.start(str(trace))
    steps_from(batches)()
    tf.profiler.experimental.stop()
    return rows


if __name__ == "__main__":
    config_file, directory, *overrides = sys.argv[1:]
    for name, value in profile(load_config(config_file, overrides), Path(directory)).items():
        print(f"{name:<12} {value:8.2f} ms per step")
