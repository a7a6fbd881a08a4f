"""Evaluation: the only one. The trainer calls it while training; as a program it scores a run.

python eval.py --ckpt RUN [--which newest|best|STEP] [--split valid] [key=value ...]
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cli import files, program
from cli.program import CheckpointError, ConfigError, DataError
from engine import checkpoint
from train_config import TrainConfig

COMMAND = program.Command(
    "eval",
    "python eval.py --ckpt RUN [--which newest|best|STEP] [--split valid] [key=value ...]",
    TrainConfig,
)
COMMAND.path("ckpt", None, "A run (its newest checkpoint), or the directory of one step.")
COMMAND.choice("split", "valid", ["train", "valid", "test"], "Which split of the data to score.")
COMMAND.string("which", "newest", "Which checkpoint of the run: newest, best, or a step's number.")


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
import numpy as np
import tensorflow as tf

import data_loader
import input_ops
from engine.devices import Devices, open_towers
from engine.run_reader import restore_network, with_checkpoint
from engine.session import own_session
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
        """Results as numbers; lists for a confusion matrix; None for what cannot be measured."""
        numbers = {name: value.numpy().tolist() for name, value in self.results().items()}
        return {name: None if value != value else value for name, value in numbers.items()}


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

    def score_sets(
        self, sets: Iterable[input_ops.EvalSet], is_stopped: Callable = lambda: False
    ) -> dict[str, float] | None:
        """Means over every example of all sets; of several, `<set>/<metric>` of each as well.

        Where the batches of a set are an iterator, it is that far on afterwards. None, where
        `is_stopped()` became true before the end, which one process alone asks.
        """
        self.totals.reset()
        of_sets = {}
        for eval_set in sets:
            if self.set_totals:
                self.set_totals.reset()
            if not self._run_in_calls(iter(eval_set.batches), eval_set.num_batches, is_stopped):
                return None
            if self.set_totals:
                numbers = self.set_totals.numbers()
                of_sets |= {f"{eval_set.name}/{name}": value for name, value in numbers.items()}
        return self.totals.numbers() | of_sets

    def _run_in_calls(self, iterator, num_batches: int, is_stopped: Callable) -> bool:
        """In calls of about half a second: while one runs, Python answers no signal.

        Returns whether it came to the end.
        Several processes make one call, since those that exchange something must make the same
        ones, and time passes otherwise for each.
        """
        done = 0
        at_once = 1 if self.devices.workers == 1 else num_batches  # the first call compiles
        while done < num_batches:
            if is_stopped() and self.devices.workers == 1:
                return False
            begin = time.perf_counter()
            number = min(at_once, num_batches - done)
            self._run(iterator, tf.constant(number))
            done += number
            batches_per_second = number / (time.perf_counter() - begin)
            at_once = max(1, int(batches_per_second * _SECONDS_PER_CALL))
        return True


# ---- a run that was trained


@dataclass(eq=False)
class LoadedRun:
    """A run with the weights of one checkpoint: the averaged ones, where these are scored."""

    path: Path  # of the checkpoint
    step: int
    config: TrainConfig
    model: keras.Model
    task: Task
    devices: Devices = field(default_factory=Devices)

    def __post_init__(self):
        predict = partial(self.task.predict, self.model)
        self._predict = tf.function(predict, reduce_retracing=True)

    @property
    def class_names(self) -> list[str]:
        return self.config.spec.class_names

    def predict(self, inputs, like: str | None = None) -> dict[str, np.ndarray]:
        """What the task makes of examples: {name: [n, ...]}, such as labels and probabilities.

        `inputs`: paths of image files, texts, an array [n, ...] as the data set holds it, or
        {feature: array}. They go through the operations of evaluation, without random ones and
        those on targets. `like`: the data set of a mix whose operations these are.
        Raises DataError for what does not fit the network.
        """
        with own_session():
            mix = input_ops.open_inputs(inputs, self.config, like)
            batch_size = min(self.config.train.batch_size, len(mix))
            (examples,) = input_ops.eval_sets(mix, batch_size)
            with mix.naming_examples():
                outputs = [self._predict(batch["inputs"]) for batch in examples.batches]
        return {
            name: joined([output[name].numpy() for output in outputs])[: len(mix)]
            for name in outputs[0]
        }

    def evaluate(self, split: str = "valid", data: dict | None = None) -> dict:
        """Metrics of a whole split, and what was scored.

        `data`: {split: source_from(...)} of a run whose examples were given in Python.
        """
        config = self.config
        check_places(config, split, self.path.parent.parent)
        with own_session(), data_loader.giving(config.data, data):
            mix = open_split(config, split)
            sets = input_ops.eval_sets(mix, config.train.batch_size)
            evaluator = Evaluator(self.model, self.task, len(sets) > 1, self.devices)
            with mix.naming_examples():
                metrics = evaluator.score_sets(sets)
        result = {"checkpoint": str(self.path), "step": self.step, "data": mix.name, "split": split}
        return result | {"examples": len(mix), **metrics}


def open_split(config: TrainConfig, split: str) -> input_ops.Mix:
    """A split as the run would have it; says what was found in the data."""
    names = config.spec.class_names
    mix = input_ops.open_mix(config.data, split, training=False, class_names=names)
    input_ops.check_spec(config.spec, mix)
    input_ops.show_reports({split: mix})
    return mix


def joined(arrays: list[np.ndarray]) -> np.ndarray:
    """Of batches [n, ...]; sequences are padded with 0 to the longest."""
    shape = np.max([array.shape[1:] for array in arrays], axis=0)
    padding = [[[0, 0], *((0, d) for d in shape - array.shape[1:])] for array in arrays]
    padded = [np.pad(*pair) for pair in zip(arrays, padding, strict=True)]
    return np.concatenate(padded)


def load_run(run_dir: str | Path, which: str | int = "newest") -> LoadedRun:
    """A run to predict and to score with; of one checkpoint: "newest", "best" or a step's number.

    `run_dir` may be the directory of one checkpoint too. In a notebook, a script or a thread:
    leaves Keras' session and the random generators as they were.
    """
    directory, _ = checkpoint.find_run(run_dir)
    config = checkpoint.load_run_config(directory)
    with own_session():
        return restored(run_dir, which, config, Devices())


def restored(ckpt: str | Path, which, config: TrainConfig, devices: Devices) -> LoadedRun:
    if config.spec is None:
        raise ConfigError(f"{ckpt}: expected the config.yaml of a run, with a `spec`, got none")
    precision = config.train.precision
    model = build_model(config.model, config.spec, precision=precision, strategy=devices.strategy)
    variables = named_variables(model=model.variables)
    path, step = with_checkpoint(
        ckpt, lambda path: restore_network(path, variables, config.scores_averages), which
    )
    return LoadedRun(path, step, config, model, build_task(config.task, config.spec), devices)


# ---- the program


def main(ckpt: str, config: TrainConfig, split: str, which: str = "newest") -> dict:
    devices = open_towers(config.distribute, config.train.batch_size)
    return restored(ckpt, which, config, devices).evaluate(split)


if __name__ == "__main__":
    program.run(COMMAND, lambda: main(COMMAND.ckpt, CONFIG, COMMAND.split, COMMAND.which))
