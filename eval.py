"""Evaluation: the only one. The trainer calls it while training; as a program it scores a run.

python eval.py --ckpt RUN [--split valid] [key=value ...]
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cli import files, program
from cli.program import CheckpointError, ConfigError, DataError
from engine import checkpoint
from train_config import TrainConfig

COMMAND = program.Command(
    "eval",
    "python eval.py --ckpt RUN [--split train|valid|test] [key=value ...]",
    TrainConfig,
)
COMMAND.path("ckpt", None, "A run (its newest checkpoint), or the directory of one step.")
COMMAND.choice("split", "valid", ["train", "valid", "test"], "Which split of the data to score.")


def prepare(command: program.Command):
    if command.ckpt is None:
        raise ConfigError("command line: --ckpt: missing; expected a run directory")
    run_dir, _ = checkpoint.find_run(command.ckpt)
    config = checkpoint.load_run_config(run_dir, command.overrides)
    check_places(config, command.split, run_dir)
    return config


def check_places(config: TrainConfig, split: str, run_dir: Path) -> None:
    """Raises DataError for a relative directory of data that is where training ran, not here."""
    try:
        trained_in = Path(files.read_json(run_dir / "environment.json", dict)["directory"])
    except (OSError, CheckpointError, LookupError, TypeError):
        return
    for mixed in config.data.datasets(split):
        directory = mixed.directory
        if directory and not Path(directory).exists() and (trained_in / directory).exists():
            raise DataError(
                f"{directory}: no such directory here; training ran in {trained_in}: "
                f"expected data.dir={trained_in / directory}, or the program started there"
            )


if __name__ == "__main__":  # before TensorFlow is imported: a mistake answers at once
    CONFIG = program.start(COMMAND, prepare)

import keras
import tensorflow as tf

import input_ops
from engine.devices import Devices, open_towers
from engine.run_reader import restore_network, with_checkpoint
from engine.variables import named_variables
from model import Task, build_model, build_task, cast_floats

_SECONDS_PER_CALL = 0.5


class MetricTotals:
    """Metrics by name, kept apart from what they add up, so that sums can be taken anywhere.

    Every metric here is a sum over items until it is read: what some items contribute is what a
    metric's update makes of zeros, and contributions add up over shares of a batch, towers,
    processes and steps. Keras' own would be summed when they are read, and a checkpoint of several
    towers would not restore them bit for bit.
    """

    def __init__(self, task: Task, training: bool):
        """Make it in the scope of the strategy."""
        self.metrics = {"loss": keras.metrics.Mean(name="loss"), **task.metrics(training)}
        self.totals = {}
        for name, metric in self.metrics.items():
            for variable in metric.variables:
                total = keras.Variable(tf.zeros(variable.shape), trainable=False)
                self.totals[f"{name}/{variable.name}"] = total

    def of(self, loss, targets, outputs, sample_weight) -> list[tf.Tensor]:
        """What these items contribute: tensors like `totals`. `loss` is not yet weighted."""
        contributions = []
        for name, metric in self.metrics.items():
            scored = (loss,) if name == "loss" else (targets, outputs)
            zeros = [tf.zeros(variable.shape) for variable in metric.variables]
            contributions += metric.stateless_update_state(zeros, *scored, sample_weight)
        return contributions

    def add(self, contributions: list[tf.Tensor]) -> None:
        for total, contribution in zip(self.totals.values(), contributions, strict=True):
            # At once: workers of parameter servers may meet here.
            total.value.assign_add(tf.cast(contribution, total.dtype))

    def results(self) -> dict[str, tf.Tensor]:
        totals = iter(self.totals.values())
        results = {}
        for name, metric in self.metrics.items():
            values = [tf.convert_to_tensor(next(totals)) for _ in metric.variables]
            results[name] = metric.stateless_result(values)
        return results

    def reset(self) -> None:
        for total in self.totals.values():
            total.assign(tf.zeros(total.shape))

    def numbers(self) -> dict:
        """Results as numbers; lists for a confusion matrix."""
        return {name: value.numpy().tolist() for name, value in self.results().items()}


@dataclass(eq=False)
class Evaluator:
    """Scores a model on batches; compiled once, whatever their number and their data set."""

    model: keras.Model
    task: Task
    several: bool = False  # more than one data set is scored, each for itself as well
    devices: Devices = field(default_factory=Devices)

    def __post_init__(self):
        self.task.check_fits(self.model)
        with self.devices.strategy.scope():
            self.totals = MetricTotals(self.task, training=False)
            self.set_totals = MetricTotals(self.task, training=False) if self.several else None
        self._run = tf.function(self._score, reduce_retracing=True)

    def _score(self, iterator, num_batches):
        with self.devices.strategy.scope():
            for _ in tf.range(num_batches):
                batch = self.devices.split_to_towers(next(iterator))
                sums = self.devices.strategy.run(self._contributions, args=(batch,))
                sums = self.devices.first_local(self.devices.sum_over_towers(sums))
                self.totals.add(sums)
                if self.set_totals:
                    self.set_totals.add(sums)

    def _contributions(self, batch) -> list[tf.Tensor]:
        """One tower's share of a batch."""
        targets = batch["targets"]
        outputs = cast_floats(self.task.call(self.model, batch, training=False), tf.float32)
        loss = self.task.loss(targets, outputs)
        return self.totals.of(loss, targets, outputs, batch["sample_weight"])

    def score_batches(self, iterator, num_batches: int) -> dict[str, float]:
        """Means over the items of the next batches, each item weighted by `sample_weight`."""
        self.totals.reset()
        self._run(iterator, tf.constant(num_batches))
        return self.totals.numbers()

    def score_sets(self, sets: Iterable[input_ops.EvalSet]) -> dict[str, float]:
        """Means over every example of all sets; of several, `<set>/<metric>` of each as well.

        Where the batches of a set are an iterator, it is that far on afterwards.
        """
        self.totals.reset()
        of_sets = {}
        for eval_set in sets:
            if self.set_totals:
                self.set_totals.reset()
            self._run_in_calls(iter(eval_set.batches), eval_set.num_batches)
            if self.set_totals:
                numbers = self.set_totals.numbers()
                of_sets |= {f"{eval_set.name}/{name}": value for name, value in numbers.items()}
        return self.totals.numbers() | of_sets

    def _run_in_calls(self, iterator, num_batches: int) -> None:
        """In calls of about half a second: while one runs, Python answers no signal.

        Several processes make one call, since those that exchange something must make the same
        ones, and time passes otherwise for each.
        """
        done = 0
        at_once = 1 if self.devices.workers == 1 else num_batches  # the first call compiles
        while done < num_batches:
            begin = time.perf_counter()
            number = min(at_once, num_batches - done)
            self._run(iterator, tf.constant(number))
            done += number
            batches_per_second = number / (time.perf_counter() - begin)
            at_once = max(1, int(batches_per_second * _SECONDS_PER_CALL))


def main(ckpt: str, config: TrainConfig, split: str) -> dict:
    devices = open_towers(config.distribute, config.train.batch_size)
    names = config.spec.class_names
    mix = input_ops.open_mix(config.data, split, training=False, class_names=names)
    input_ops.check_spec(config.spec, mix)
    input_ops.show_reports({split: mix})
    precision = config.train.precision
    model = build_model(config.model, config.spec, precision=precision, strategy=devices.strategy)
    variables = named_variables(model=model.variables)
    path, step = with_checkpoint(
        ckpt, lambda path: restore_network(path, variables, config.scores_averages)
    )
    sets = input_ops.eval_sets(mix, config.train.batch_size)
    task = build_task(config.task, config.spec)
    evaluator = Evaluator(model, task, len(sets) > 1, devices)
    with mix.naming_examples():
        metrics = evaluator.score_sets(sets)
    result = {"checkpoint": str(path), "step": step, "data": mix.name, "split": split}
    return result | {"examples": len(mix), **metrics}


if __name__ == "__main__":
    program.run(COMMAND, lambda: main(COMMAND.ckpt, CONFIG, COMMAND.split))
