"""Evaluation: the only one. The trainer calls it while training; as a program it scores a run or one of its checkpoints.

python eval.py --ckpt RUN [--split valid] [key=value ...]
"""

from collections.abc import Callable
from pathlib import Path

import program
import train_config
from program import CheckpointError

COMMAND = program.Command("eval", "python eval.py --ckpt RUN [--split train|valid|test] [key=value ...]")
COMMAND.string("ckpt", None, "A run directory (its newest checkpoint), or the directory of one step.")
COMMAND.choice("split", "valid", ["train", "valid", "test"], "Which split of the data to score.")


def find_run(ckpt: str | None) -> tuple[Path, Path | None]:
    """A run's directory or one step's -> (run directory, step's directory if one was named)."""
    if ckpt is None:
        raise program.ConfigError("command line: --ckpt: missing; expected a run directory")
    path = Path(ckpt)
    if (path / "config.yaml").is_file():
        return path, None
    if (path / "MANIFEST.json").is_file() and (path.parent.parent / "config.yaml").is_file():
        return path.parent.parent, path
    there = ", ".join(sorted(child.name for child in path.iterdir())[:10]) if path.is_dir() else "no such directory"
    raise CheckpointError(f"{path}: expected a run directory with a config.yaml, or one of its checkpoints; found: {there or 'nothing'}")


def prepare(command: program.Command):
    if command.flags.help:
        return command.help_text(train_config.fields_help())
    run_dir, step_dir = find_run(command.ckpt)
    return run_dir, step_dir, train_config.load_config(run_dir / "config.yaml", command.overrides)


if __name__ == "__main__":  # before TensorFlow is imported: a mistake answers at once
    PREPARED = program.start(COMMAND, prepare)

import keras
import tensorflow as tf

import checkpoint
import input_ops
from model import Task, build_model, build_task
from weights import named_variables, read_variables


class Evaluator:
    """Scores a model on batches; compiled once, whatever the number of batches and whichever set they come from."""

    def __init__(self, model: keras.Model, task: Task, apart: bool = False):
        """`apart`: several sets are to be scored, each for itself as well."""
        task.check_fits(model)
        self.model, self.task = model, task
        self.metrics = {"loss": keras.metrics.Mean(name="loss"), **task.metrics(training=False)}
        self.apart = {"loss": keras.metrics.Mean(name="loss"), **task.metrics(training=False)} if apart else {}
        self._run = tf.function(self._score, reduce_retracing=True)

    def _score(self, iterator, num_batches):
        for _ in tf.range(num_batches):
            batch = next(iterator)
            targets, sample_weight = batch["targets"], batch["sample_weight"]
            outputs = self.task.call(self.model, batch, training=False)
            loss = self.task.loss(targets, outputs)
            update_metrics(self.metrics, loss, targets, outputs, sample_weight)
            update_metrics(self.apart, loss, targets, outputs, sample_weight)

    def __call__(self, iterator, num_batches: int) -> dict[str, float]:
        """Means over the items of the next `num_batches` batches, each item weighted by `sample_weight`."""
        for metric in self.metrics.values():
            metric.reset_state()
        self._run(iterator, tf.constant(num_batches))
        return _results(self.metrics)

    def whole(self, sets: list[tuple[str, tf.data.Dataset, int]], mix: input_ops.Mix) -> dict[str, float]:
        """Every example of every set of `mix` once: the means over all of them; of several, `<set>/<metric>` of each as well."""
        for metric in self.metrics.values():
            metric.reset_state()
        found = {}
        with input_ops.naming_examples(mix, lambda: range(len(mix))):
            for name, batches, num_batches in sets:
                for metric in self.apart.values():
                    metric.reset_state()
                self._run(iter(batches), tf.constant(num_batches))
                found |= {f"{name}/{key}": value for key, value in _results(self.apart).items()}
        return _results(self.metrics) | found


def _results(metrics: dict) -> dict:
    """Numbers; lists of a confusion matrix."""
    return {name: metric.result().numpy().tolist() for name, metric in metrics.items()}


def update_metrics(metrics: dict, loss, targets, outputs, sample_weight) -> None:
    """Adds one batch: `loss` is unreduced, of the shape of `sample_weight`."""
    for name, metric in metrics.items():
        if name == "loss":
            metric.update_state(loss, sample_weight)
        else:
            metric.update_state(targets, outputs, sample_weight)


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


def restore_one(path: Path, variables: dict) -> int:
    """Restores one step's directory, nothing missing and nothing left over; returns the step."""
    checkpoint.restore(path, variables, read_variables, groups=("model",))
    return checkpoint.read_state(path)["step"]


def read_model(ckpt: str) -> tuple[Path, dict]:
    """(checkpoint, {path: value} of its network's variables) of a run, its newest, or of one of its steps."""

    def read(path: Path) -> dict:
        return {name.removeprefix("model/"): value for name, value in read_variables(path).items() if name.startswith("model/")}

    run_dir, step_dir = find_run(ckpt)
    if step_dir is None:
        return with_newest(run_dir, read)
    checkpoint.verify(step_dir)
    return step_dir, read(step_dir)


def main(run_dir: Path, step_dir: Path | None, config: train_config.TrainConfig, split: str) -> dict:
    mix = input_ops.open_mix(config.data, split, training=False)
    input_ops.check_spec(config.spec, mix)
    model = build_model(config.model, config.spec)
    variables = named_variables(model=model.variables)
    if step_dir is None:
        step_dir, step = with_newest(run_dir, lambda path: restore_one(path, variables))
    else:
        checkpoint.verify(step_dir)
        step = restore_one(step_dir, variables)
    sets = input_ops.eval_sets(mix, config.train.batch_size)
    metrics = Evaluator(model, build_task(config.task, config.spec), apart=len(sets) > 1).whole(sets, mix)
    return {"checkpoint": str(step_dir), "step": step, "data": mix.name, "split": split, "examples": len(mix), **metrics}


if __name__ == "__main__":
    program.run(COMMAND, lambda: main(*PREPARED, COMMAND.split))
