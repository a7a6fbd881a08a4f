"""Steady time of one training step of LeNet-5: ours, in the real loop, against the bare step and
Keras `fit`; and of saving.

    python benchmarks/step_time.py [rounds]        about 6 minutes

Every round runs each row once, so that all of them meet the same weather on the machine; medians of
the rounds, and of
each round's ratio to its own limit.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import keras
import numpy as np
import tensorflow as tf

import trainer
from cli.program import StopSignals
from engine.log import Screen, Stopwatch
from engine.resume import Progress, begin_or_go_on
from train_config import load_config
from trainer import build_run

STEPS = {128: 700, 32: 2000}  # a round, by batch size
CALL = 50


class QuietScreen(Screen):
    """The real screen, writing to nowhere: the loop pays for it, the table stays readable."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._console.file = open(os.devnull, "w")  # noqa: SIM115


def ours(batch_size: int, directory: str, *overrides: str):
    """The trainer's own loop with its pipeline, metrics, metrics.jsonl, TensorBoard and screen.

    Training + input + logging (+ saving).
    """
    off = [
        f"{key}=null"
        for key in (
            "validation.every",
            "validation.stepwise",
            "checkpoint.every",
            "checkpoint.best",
        )
    ]
    off += ["summary.images=null", "summary.histograms=null"]
    config = load_config(
        ROOT / "configs/lenet.yaml", [f"train.batch_size={batch_size}", *off, *overrides]
    )
    run, run_dir = build_run(config), Path(directory)
    begin_or_go_on(run, run_dir, allow_changed_data=False)

    def measure() -> float:
        begin = run.trainer.step
        run.total_steps = begin + STEPS[batch_size]
        watch = Stopwatch()
        with StopSignals() as signals, QuietScreen(run.total_steps, begin) as screen:
            trainer.loop(run, run_dir, Progress(), None, signals, screen, watch)
        parts = (
            "training",
            "waiting for input",
            "logging",
            *(["saving"] if config.checkpoint.every else []),
        )
        return sum(watch.seconds[name] for name in parts) / STEPS[batch_size]

    return run, measure


def limit(run, num_steps: int):
    """The same model, loss, clipping and optimizer on one constant batch.

    No input, metrics, checks or logging.
    """
    model, task, optimizer = run.trainer.model, run.trainer.task, run.trainer.optimizer
    batch = next(iter(run.batches_from(0)))
    clip_norm = run.config.optimizer.clip_norm

    @tf.function
    def steps(inputs, targets):
        for _ in tf.range(CALL):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(task.loss(targets, model(inputs, training=True)))
            gradients = tape.gradient(loss, model.trainable_variables)
            if clip_norm is not None:
                gradients, _ = tf.clip_by_global_norm(gradients, clip_norm)
            optimizer.apply(gradients, model.trainable_variables)

    def measure() -> float:
        begin = time.perf_counter()
        for _ in range(num_steps // CALL):
            steps(batch["inputs"], batch["targets"])
        model.variables[0].numpy()
        return (time.perf_counter() - begin) / num_steps

    return measure


def keras_fit(run, batch_size: int, steps_per_execution: int):
    """Keras `fit` at its best.

    Scaled float arrays in memory, no augmentation, no validation, no bar.
    """
    model = keras.models.clone_model(run.trainer.model)
    model.compile(
        keras.optimizers.Adam(2e-3, global_clipnorm=run.config.optimizer.clip_norm),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(5)],
        steps_per_execution=steps_per_execution,
    )
    source = run.mix.sources[0].source
    features = source.read(tf.range(len(source)))
    examples = STEPS[batch_size] * batch_size
    repeats = -(
        -examples // len(source)
    )  # one long epoch, so that fit's cost per epoch does not count
    inputs = np.tile(features["inputs"].numpy().astype("float32") / 255, (repeats, 1, 1, 1))[
        :examples
    ]
    targets = np.tile(features["targets"].numpy(), repeats)[:examples]

    def measure() -> float:
        begin = time.perf_counter()
        model.fit(inputs, targets, batch_size=batch_size, epochs=1, verbose=0)
        return (time.perf_counter() - begin) / STEPS[batch_size]

    return measure


def main(rounds: int) -> None:
    print(f"LeNet-5, Adam, clipping, dropout; medians of {rounds} rounds; {os.cpu_count()} CPUs")
    print(f"{'ms per step':<54} {'median':>8} {'min':>8} {'max':>8} {'x limit':>8}")
    for batch_size in (128, 32):
        # Beside the project and not in /tmp, which may be memory: a checkpoint is flushed to the
        # disk.
        with (
            tempfile.TemporaryDirectory() as one,
            tempfile.TemporaryDirectory() as two,
            tempfile.TemporaryDirectory(dir=ROOT) as three,
        ):
            run, measure_ours = ours(batch_size, one)
            _, measure_plain = ours(batch_size, two, "data.train_ops=[]")
            _, measure_saving = ours(batch_size, three, "checkpoint.every=100")
            rows = {
                "limit: bare step, constant batch": limit(run, STEPS[batch_size]),
                "ours: configs/lenet.yaml, random shifts": measure_ours,
                "ours: the same, a checkpoint each 100 steps": measure_saving,
                "ours: without the shifts": measure_plain,
                "Keras fit: without shifts": keras_fit(run, batch_size, 1),
                "Keras fit, steps_per_execution=50": keras_fit(run, batch_size, CALL),
            }
            times: dict[str, list[float]] = {name: [] for name in rows}
            for number in range(rounds + 1):
                for name, measure in rows.items():
                    seconds = measure()
                    if number:  # the first round compiles
                        times[name].append(seconds * 1e3)
            base = times["limit: bare step, constant batch"]
            pairs = zip(
                times["ours: the same, a checkpoint each 100 steps"],
                times["ours: configs/lenet.yaml, random shifts"],
                strict=True,
            )
            cost = statistics.median(saving / without for saving, without in pairs) - 1
            for name, values in times.items():
                ratio = statistics.median(
                    value / limit_ for value, limit_ in zip(values, base, strict=True)
                )
                middle = statistics.median(values)
                print(
                    f"batch {batch_size:<4} {name:<43} {middle:8.2f} {min(values):8.2f} "
                    f"{max(values):8.2f} {ratio:8.2f}",
                    flush=True,
                )
            print(f"batch {batch_size:<4} a checkpoint each 100 steps costs {cost:.1%}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
