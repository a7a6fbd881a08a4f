"""Evaluation: the only one. The trainer calls it while training; as a program it scores a run or one of its checkpoints.

python eval.py --ckpt RUN [--split valid] [key=value ...]
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import train_config
from cli import program
from cli.program import CheckpointError, ConfigError
from engine import checkpoint

COMMAND = program.Command(
    "eval",
    "python eval.py --ckpt RUN [--split train|valid|test] [key=value ...]",
    train_config.TrainConfig,
)
COMMAND.string(
    "ckpt", None, "A run directory (its newest checkpoint), or the directory of one step."
)
COMMAND.choice("split", "valid", ["train", "valid", "test"], "Which split of the data to score.")


def find_run(ckpt: str | None) -> tuple[Path, Path | None]:
    """A run's directory or one step's -> (run directory, step's directory if one was named)."""
    if ckpt is None:
        raise ConfigError("command line: --ckpt: missing; expected a run directory")
    path = Path(ckpt)
    if (path / "MANIFEST.json").is_file() and (path.parent.parent / "config.yaml").is_file():
        return path.parent.parent, path
    return checkpoint.run_of(path), None


def prepare(command: program.Command):
    run_dir, step_dir = find_run(command.ckpt)
    return run_dir, step_dir, train_config.load_config(run_dir / "config.yaml", command.overrides)


if __name__ == "__main__":  # before TensorFlow is imported: a mistake answers at once
    PREPARED = program.start(COMMAND, prepare)

import keras
import tensorflow as tf

import input_ops
from engine.devices import Devices, open_towers
from engine.weights import named_variables, read_variables, with_averages
from model import Task, build_model, build_task, cast_floats
from tasks.metrics import Sums

_SECONDS_PER_CALL = 0.5


class Evaluator:
    """Scores a model on batches; compiled once, whatever the number of batches and whichever set they come from."""

    def __init__(
        self, model: keras.Model, task: Task, apart: bool = False, devices: Devices | None = None
    ):
        """`apart`: several sets are to be scored, each for itself as well."""
        task.check_fits(model)
        self.model, self.task, self.devices = (
            model,
            task,
            devices or Devices(tf.distribute.get_strategy()),
        )
        metrics = {"loss": keras.metrics.Mean(name="loss"), **task.metrics(training=False)}
        with self.devices.strategy.scope():
            self.sums, self.sums_apart = Sums(metrics), Sums(metrics) if apart else None
        self._run = tf.function(self._score, reduce_retracing=True)

    def _score(self, iterator, num_batches):
        with self.devices.strategy.scope():
            for _ in tf.range(num_batches):
                batch = self.devices.deal(next(iterator))
                found = self.devices.one(
                    self.devices.sum(self.devices.strategy.run(self._contributions, args=(batch,)))
                )
                self.sums.add(found)
                if self.sums_apart:
                    self.sums_apart.add(found)

    def _contributions(self, batch):
        """One tower's part of a batch."""
        targets, sample_weight = batch["targets"], batch["sample_weight"]
        outputs = cast_floats(self.task.call(self.model, batch, training=False), tf.float32)
        return self.sums.of(self.task.loss(targets, outputs), targets, outputs, sample_weight)

    def __call__(self, iterator, num_batches: int) -> dict[str, float]:
        """Means over the items of the next `num_batches` batches, each item weighted by `sample_weight`."""
        self.sums.reset()
        self._run(iterator, tf.constant(num_batches))
        return _numbers(self.sums)

    def _run_in_calls(self, iterator, num_batches: int) -> None:
        """In calls of about half a second: while one runs, Python answers no signal.

        Several processes make one call, since those that exchange something must make the same ones, and time passes otherwise for each.
        """
        done, most = 0, 1 if self.devices.workers == 1 else num_batches  # the first call compiles
        while done < num_batches:
            begin, number = time.perf_counter(), min(most, num_batches - done)
            self._run(iterator, tf.constant(number))
            done += number
            most = max(1, int(number * _SECONDS_PER_CALL / (time.perf_counter() - begin)))

    def whole(
        self, sets: list[tuple[str, Iterable[dict], int]], mix: input_ops.Mix
    ) -> dict[str, float]:
        """Every example of every set of `mix` once: the means over all of them; of several, `<set>/<metric>` of each as well.

        `sets`: (name, its batches, their number) of each; where the batches are an iterator, it is that far on afterwards.
        """
        self.sums.reset()
        found = {}
        with input_ops.naming_examples(mix, lambda: range(len(mix))):
            for name, batches, num_batches in sets:
                if self.sums_apart:
                    self.sums_apart.reset()
                self._run_in_calls(iter(batches), num_batches)
                if self.sums_apart:
                    found |= {
                        f"{name}/{key}": value for key, value in _numbers(self.sums_apart).items()
                    }
        return _numbers(self.sums) | found


def _numbers(sums: Sums) -> dict:
    """Numbers; lists of a confusion matrix."""
    return {name: value.numpy().tolist() for name, value in sums.results().items()}


def with_newest(run_dir: Path, use: Callable[[Path], object]) -> tuple[Path, object]:
    """The newest checkpoint of a run that may be training, and removing old ones: its path, and what `use` makes of it."""
    directory = run_dir / "checkpoints"
    for _ in range(20):
        path = checkpoint.newest(directory)
        if path is None:
            raise CheckpointError(f"{directory}: no checkpoint yet; expected at least one")
        try:
            return path, use(path)
        except (OSError, ValueError, tf.errors.OpError):
            if path.exists():
                raise
    raise CheckpointError(f"{directory}: every checkpoint was removed while it was being read")


def with_step(path: Path, use: Callable[[Path], object]):
    """What `use` makes of one checkpoint, verified, of a run that may be removing it."""
    checkpoint.verify(path)
    try:
        return use(path)
    except (OSError, ValueError, tf.errors.OpError) as error:
        if path.exists():
            raise
        raise CheckpointError(f"{path}: was removed while it was being read") from error


def restore_one(path: Path, variables: dict, averaged: bool = False) -> int:
    """Restores one step's directory, nothing missing and nothing left over; returns the step."""

    def read(path: Path) -> dict:
        return with_averages(read_variables(path)) if averaged else read_variables(path)

    checkpoint.restore(path, variables, read, groups=("model",))
    return checkpoint.read_state(path)["step"]


def read_model(ckpt: str, averaged: bool = False) -> tuple[Path, dict]:
    """(checkpoint, {path: value} of its network's variables) of a run, its newest, or of one of its steps."""

    def read(path: Path) -> dict:
        found = read_variables(path)
        if averaged and not any(name.startswith("ema/") for name in found):
            raise CheckpointError(
                f"{path}: expected averaged weights, for init_from.ema, but that run had no train.ema"
            )
        found = with_averages(found) if averaged else found
        return {
            name.removeprefix("model/"): value
            for name, value in found.items()
            if name.startswith("model/")
        }

    run_dir, step_dir = find_run(ckpt)
    if step_dir is None:
        return with_newest(run_dir, read)
    return step_dir, with_step(step_dir, read)


def main(
    run_dir: Path, step_dir: Path | None, config: train_config.TrainConfig, split: str
) -> dict:
    devices = open_towers(config.distribute, config.train.batch_size)
    mix = input_ops.open_mix(config.data, split, training=False)
    input_ops.check_spec(config.spec, mix)
    model = build_model(
        config.model, config.spec, precision=config.train.precision, strategy=devices.strategy
    )
    variables = named_variables(model=model.variables)
    averaged = bool(config.train.ema and config.validation.ema)
    if step_dir is None:
        step_dir, step = with_newest(run_dir, lambda path: restore_one(path, variables, averaged))
    else:
        step = with_step(step_dir, lambda path: restore_one(path, variables, averaged))
    sets = input_ops.eval_sets(mix, config.train.batch_size)
    metrics = Evaluator(model, build_task(config.task, config.spec), len(sets) > 1, devices).whole(
        sets, mix
    )
    return {
        "checkpoint": str(step_dir),
        "step": step,
        "data": mix.name,
        "split": split,
        "examples": len(mix),
        **metrics,
    }


if __name__ == "__main__":
    program.run(COMMAND, lambda: main(*PREPARED, COMMAND.split))
