"""Training: the step, what a run is made of, the loop. A page each, in this order; the program.

python trainer.py --config configs/lenet.yaml [--run_dir DIR] [--print_config] [key=value ...]
python trainer.py --config FILE --debug fdr|overfit         one batch of everything; learn one batch
python trainer.py --verify RUN                              every checkpoint, byte by byte
python trainer.py --reproduce RUN                           what differs between then and now
python trainer.py --replay RUN/blowup/STEP [key=value ...]  a step that was not finite, once more
"""

import contextlib
import json
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import train_config
from cli import program
from cli.program import ConfigError, DataError, Stopped, StopSignals
from engine import checkpoint
from engine.cluster import check_cluster, read_cluster
from engine.lineage import history

COMMAND = program.Command(
    "trainer",
    "python trainer.py --config FILE [--run_dir DIR] [key=value ...]",
    train_config.TrainConfig,
)
COMMAND.path("config", None, "The run's YAML file; see configs/.")
COMMAND.path("run_dir", None, "Where the run lives; runs/<config name> if absent.")
COMMAND.path("from", None, "Begin with a checkpoint of another run: RUN, RUN@best or RUN@STEP.")
COMMAND.path("history", None, "Print where a run comes from, and its starts.")
COMMAND.boolean("print_config", False, "Print every field, its value and where it came from.")
COMMAND.boolean("allow_changed_data", False, "Go on although the training data have changed.")
COMMAND.path("verify", None, "Check every checkpoint of this run directory.")
COMMAND.path("replay", None, "Repeat a step that was not finite: RUN/blowup/step-...")
COMMAND.path("reproduce", None, "Print what differs between a run's environment and this one.")
COMMAND.choice("debug", None, ["fdr", "overfit"], "One batch of everything; learn one batch.")


def prepare(command: program.Command):
    if command.verify is not None:
        return json.dumps(checkpoint.verify_all(checkpoint.run_of(command.verify)))
    if command.replay is not None:
        return prepare_replay(Path(command.replay), command.overrides)
    if command.reproduce is not None:
        run_dir = checkpoint.run_of(command.reproduce)
        return checkpoint.load_run_config(run_dir, command.overrides), run_dir, None
    if command.history is not None:
        return history(checkpoint.run_of(command.history))
    if getattr(command, "from") is not None:
        return prepare_branch(command, getattr(command, "from"))
    if command.config is None:
        raise ConfigError(
            "command line: --config: missing; expected a file such as configs/lenet.yaml"
        )
    overrides = train_config.DEBUG.get(command.debug, []) + command.overrides
    if command.print_config:
        return train_config.describe_config(command.config, overrides)
    suffix = f"-{command.debug}" if command.debug else ""
    run_dir = Path(command.run_dir or f"runs/{train_config.run_name(command.config)}{suffix}")
    config = train_config.load_config(command.config, overrides)
    if "TF_CONFIG" in os.environ or config.distribute.strategy in ("workers", "parameter_server"):
        check_processes(config, command.debug)
    return config, run_dir, None


def prepare_branch(command: program.Command, origin: str):
    """The configuration of a run's checkpoint with the changes that are asked for."""
    name, at, which = origin.rpartition("@")
    run_dir = checkpoint.run_of(name if at else origin)
    parent = checkpoint.chosen(run_dir, which if at else "newest")
    if command.run_dir is None:
        raise ConfigError("command line: --run_dir: missing; expected a directory for the branch")
    path = command.config or run_dir / "config.yaml"
    if command.print_config:
        return train_config.describe_config(path, command.overrides)
    return train_config.load_config(path, command.overrides), Path(command.run_dir), parent


def prepare_replay(step_dir: Path, overrides: list[str]):
    run_dir = checkpoint.run_of(step_dir.parent.parent)
    return checkpoint.load_run_config(run_dir, overrides), step_dir, None


def check_processes(config: train_config.TrainConfig, debug: str | None) -> None:
    """Raises ConfigError where a run does not fit the processes of TF_CONFIG, or needs some."""
    cluster = read_cluster()
    check_cluster(config, cluster)
    if debug and cluster:
        raise ConfigError("command line: --debug: expected one machine, got a cluster in TF_CONFIG")


if __name__ == "__main__":  # before TensorFlow is imported: a mistake answers at once
    CONFIG, RUN_DIR, PARENT = program.start(COMMAND, prepare)

import keras
import numpy as np
import tensorflow as tf

import data_loader
import input_ops
from engine import blackbox, resume
from engine.devices import Devices, is_compiled, naming_failures, open_devices, serve, slice_of
from engine.environment import reproduce
from engine.log import Log, Pace, Screen, Stopwatch
from engine.optimizer import Warmup, build_multipliers, build_optimizer, build_schedule
from engine.resume import Progress
from engine.session import own_session
from engine.variables import (
    Averages,
    BatchStatistics,
    DropoutSeeds,
    FinitePolicy,
    InputWait,
    counter,
    named_variables,
    size_of,
    without_keras_sum,
    write_variables,
)
from engine.weights import freeze, load_weights
from eval import Evaluator, LoadedRun, MetricTotals, load_run
from model import Task, build_model, build_task, cast_floats, initialize
from preprocess_data import measured
from train_config import Clock, Rollback, Train, TrainConfig

_MOST_LOOKED_AT = 20_000  # examples, where one is damaged

# ---- the step


class Sums(NamedTuple):
    """What one tower found in its items. Adds up over accumulated shares, towers and processes."""

    gradients: list[tf.Tensor]  # of the summed loss, in the order of the trainable variables
    weight: tf.Tensor  # sum of sample_weight
    loss: tf.Tensor  # sum of loss * sample_weight, and the regularizers times weight
    metrics: list[tf.Tensor]  # contributions to the totals of the metrics


class Outcome(NamedTuple):
    goes_on: tf.Tensor  # whether another step may follow
    finite: tf.Tensor  # whether the step counted
    gradients: list  # summed, on each tower
    scale: tf.Tensor  # what makes them the means by which variables were moved


class Look(NamedTuple):
    """What can be seen of one step."""

    goes_on: tf.Tensor
    finite: tf.Tensor
    batch: dict  # this worker's share
    gradients: list[tf.Tensor]  # means, as they were applied


@dataclass(eq=False)
class Trainer:
    """The training step, compiled: the only place that makes gradients.

    Reading the code? Go to `_step`, then `tower_sums`; the methods before them only loop over it.
    Everything is a sum over items until one division by the weight of the whole batch, then one
    clip, then one update: so it does not matter how a batch is spread, but for rounding. (Batch
    statistics are of all towers, but of each accumulated share.)
    """

    model: keras.Model
    task: Task
    optimizer: keras.optimizers.Optimizer
    schedule: Warmup
    train: Train
    clip_norm: float | None = None
    multipliers: Sequence = ()  # (variable, factor of its updates): Adam's do not scale with them
    devices: Devices = field(default_factory=Devices)

    def __post_init__(self):
        train = self.train
        without_keras_sum(self.optimizer)  # the gradients that it gets are summed already
        self.float_type = tf.float64 if train.precision == "float64" else tf.float32  # of sums
        self.dropout = DropoutSeeds(self.model, train.seed)
        self.statistics = BatchStatistics(self.model)
        with self.devices.strategy.scope():
            self.metrics = MetricTotals(self.task, training=True)
            self.rate_factor = tf.Variable(1.0, trainable=False)  # follows from past rollbacks
            self.step_variable = counter("step")
            self.policy = FinitePolicy(train)
            self.averages = Averages(self.model, train.ema)
        self.schedule.factor = self.rate_factor
        self.input_wait = InputWait()
        self._forward_backward = self._gradients
        if is_compiled(self.model, train.jit):
            self._forward_backward = tf.function(self._gradients, jit_compile=True)
        self.run = tf.function(self._steps, reduce_retracing=True)
        self.run_one = tf.function(self._one_step, reduce_retracing=True)
        self.inspect = tf.function(self._inspect, reduce_retracing=True)
        self.read_metrics = tf.function(self._read_metrics)

    def readings(self) -> dict[str, float]:
        """Means since the last reading, and the last step's learning rate; starts them again."""
        return {name: float(value) for name, value in self.read_metrics().items()}

    @property
    def step(self) -> int:
        """How many steps were taken."""
        return int(tf.convert_to_tensor(self.step_variable))

    def variables(self) -> dict[str, keras.Variable]:
        """Everything that a step changes, by name: what a checkpoint holds."""
        named = named_variables(model=self.model.variables, optimizer=self.optimizer.variables)
        groups = {
            "trainer": {"step": self.step_variable, **self.policy.variables},
            "metrics": self.metrics.totals,
            "ema": self.averages.variables,
        }
        for group, variables in groups.items():
            named |= {f"{group}/{name}": variable for name, variable in variables.items()}
        return named

    def _steps(self, iterator, num_steps):
        """Up to `num_steps` steps, the next batch fetched while one computes; whether to go on."""
        with self.devices.strategy.scope():
            done = 0
            goes_on = True
            batch = self.devices.split_to_towers(self.input_wait.first_of(iterator))
            while done < num_steps and goes_on:
                done += 1
                following = batch
                if done < num_steps:
                    following = self.devices.split_to_towers(next(iterator))
                goes_on = self._step(batch).goes_on
                self.input_wait.add(goes_on, self.devices.first_local([following["id"]]))
                batch = following
        return goes_on

    def _one_step(self, batch):
        return self._step(batch).goes_on

    def run_on_workers(self, iterator, num_steps: int) -> bool:
        """Steps on the workers of parameter servers, in no order; a lost worker's is done again.

        The batches are made here: so they are those of every other strategy, whatever the data.
        """
        coordinator = self.devices.coordinator
        steps = [coordinator.schedule(self.run_one, (next(iterator),)) for _ in range(num_steps)]
        coordinator.join()
        return all(bool(step.fetch()) for step in steps)

    def _inspect(self, iterator) -> Look:
        """One step with what others do not pay for."""
        with self.devices.strategy.scope():
            batch = self.input_wait.first_of(iterator)
            outcome = self._step(self.devices.split_to_towers(batch))
            gradients = self.devices.first_local(outcome.gradients)
            gradients = [gradient * outcome.scale for gradient in gradients]
            return Look(outcome.goes_on, outcome.finite, batch, gradients)

    def _step(self, batch) -> Outcome:
        """One step on a batch that is split to the towers."""
        statistics = self.statistics.values()
        sums = self.devices.sum_over_towers(self._sums_of_towers(batch))
        gradients = sums.gradients
        (weight, loss, metrics) = self.devices.first_local(sums[1:])
        # Sums become means and are clipped in one multiplication.
        norm = tf.linalg.global_norm(self.devices.first_local(gradients))
        scale = 1.0 / tf.maximum(weight, 1e-12)
        if self.clip_norm is not None:
            clipped = tf.minimum(scale, self.clip_norm / norm)
            scale = tf.where(tf.math.is_finite(norm), clipped, scale)
        finite = tf.math.is_finite(norm) & tf.math.is_finite(loss)
        if finite:
            self._update(gradients, scale)
            self.metrics.add(metrics)
        else:
            self.statistics.restore(statistics)
        return Outcome(self._count(finite), finite, gradients, scale)

    def _sums_of_towers(self, batch) -> Sums:
        """Each tower's sums over its share of the batch, taken in `train.accumulate` shares."""
        run = self.devices.strategy.run
        if self.train.accumulate == 1:
            return run(self.tower_sums, args=(batch, 0))
        sums = run(self._no_sums)
        # Not inside strategy.run, where towers could not exchange batch statistics from a loop.
        for share in tf.range(self.train.accumulate):
            sums = run(self._add_share, args=(sums, batch, share))
        return sums

    def _add_share(self, sums: Sums, batch, share) -> Sums:
        size = self.train.accumulate
        items = {key: slice_of(value, share, size) for key, value in batch.items()}
        return tf.nest.map_structure(tf.add, sums, self.tower_sums(items, share))

    def _no_sums(self) -> Sums:
        gradients = [tf.zeros(v.shape, self.float_type) for v in self.model.trainable_variables]
        zero = tf.zeros((), self.float_type)
        totals = self.metrics.totals.values()
        return Sums(gradients, zero, zero, [tf.zeros(v.shape, self.float_type) for v in totals])

    def tower_sums(self, batch, share) -> Sums:
        """The sums of one accumulated share on one tower."""
        tower = tf.distribute.get_replica_context().replica_id_in_sync_group
        self.dropout.set(self.step_variable, tower * self.train.accumulate + share)
        scale = self.policy.scale()
        gradients, weight, total, loss, outputs = self._forward_backward(batch, scale)
        loss, outputs = cast_floats((loss, outputs), tf.float32)
        metrics = self.metrics.of(loss, batch["targets"], outputs, batch["sample_weight"])
        return Sums(gradients, weight, total, [tf.cast(m, self.float_type) for m in metrics])

    def _gradients(self, batch, loss_scale):
        batch = cast_floats(batch, self.float_type)
        loss_scale = tf.cast(loss_scale, self.float_type)
        sample_weight = batch["sample_weight"]
        weight = tf.reduce_sum(sample_weight)
        with tf.GradientTape() as tape:
            outputs = self.task.call(self.model, batch, training=True)
            outputs = cast_floats(outputs, self.float_type)
            loss = self.task.loss(batch["targets"], outputs)  # the shape of sample_weight
            penalties = [tf.cast(penalty, self.float_type) for penalty in self.model.losses]
            penalty = tf.add_n([tf.zeros([], self.float_type), *penalties])
            # Regularizers count once per step: times the weight that the division takes out again.
            total = tf.reduce_sum(loss * sample_weight) + weight * penalty
            scaled = total * loss_scale  # so that small gradients are not 0 in float16
        gradients = tape.gradient(scaled, self.model.trainable_variables)
        self._check_all_reached(gradients)
        gradients = [tf.cast(tf.convert_to_tensor(g), self.float_type) for g in gradients]
        return [g / loss_scale for g in gradients], weight, total, loss, outputs

    def _check_all_reached(self, gradients: list) -> None:
        pairs = zip(self.model.trainable_variables, gradients, strict=True)
        if missing := ", ".join(v.path for v, gradient in pairs if gradient is None):
            raise ConfigError(
                f"{self.model.name}: no gradient reaches {missing}; "
                "expected every trainable variable in the loss"
            )

    def _update(self, gradients, scale) -> None:
        before = [tf.identity(variable) for variable, _ in self.multipliers]
        self.devices.strategy.run(self._apply, args=(gradients, scale))
        for (variable, factor), old in zip(self.multipliers, before, strict=True):
            variable.assign(old + factor * (variable - old))
        self.averages.update(self.step_variable)

    def _apply(self, gradients, scale) -> None:
        means = [gradient * scale for gradient in gradients]
        # Keras multiplies by the learning rate: that of build_schedule at this step.
        self.optimizer.apply(means, self.model.trainable_variables)

    def _count(self, finite) -> tf.Tensor:
        """Counts the step, taken or left out, unless it ends the run; returns whether to go on."""
        goes_on = self.policy.goes_on(finite)
        self.step_variable.value.assign_add(tf.cast(goes_on, tf.int64))
        if self.policy.variables:  # the learning rate is of the step, taken or left out
            iterations = self.optimizer.iterations
            iterations.assign_add(tf.cast(goes_on & ~finite, iterations.dtype))
        return goes_on

    def _read_metrics(self) -> dict[str, tf.Tensor]:
        with self.devices.strategy.scope():
            readings = self.metrics.results()
            readings["learning_rate"] = self.schedule(self.step_variable - 1)
            for name, variable in self.policy.variables.items():
                if name != "finite_steps":
                    readings[name] = tf.cast(variable, tf.float32)
            self.metrics.reset()
            return readings

    def forward(self, batch) -> tf.Tensor:
        """The unreduced loss of a batch, uncompiled and changing nothing; each tower has all of it.

        So the black box can look at what each layer gives.
        """

        def whole_batch(batch):
            self.dropout.set(self.step_variable, 0)
            outputs = self.task.call(self.model, batch, training=True)
            return self.task.loss(batch["targets"], outputs)

        statistics = self.statistics.values()
        batch = cast_floats(batch, self.float_type)
        with self.devices.strategy.scope():
            losses = self.devices.strategy.run(whole_batch, args=(batch,))
            (loss,) = self.devices.first_local([losses])
        self.statistics.restore(statistics)
        return loss

    def skip_to(self, step: int) -> None:
        """Counts up to `step` without computing."""
        self.optimizer.iterations.assign(step)
        self.step_variable.assign(step)


def build_trainer(config: TrainConfig, num_examples: int, devices: Devices) -> Trainer:
    """The step of a resolved configuration (with its spec), for so many training examples."""
    train = config.train
    model = build_model(config.model, config.spec, train.seed, train.precision, devices.strategy)
    task = build_task(config.task, config.spec)
    if config.freeze:
        freeze(model, config.freeze)
    clock = Clock(train.batch_size, num_examples)
    schedule = build_schedule(config.optimizer, clock, clock.total_steps(train))
    with devices.strategy.scope():
        optimizer = build_optimizer(config.optimizer, schedule, model)
    multipliers = build_multipliers(config.optimizer, model) if config.optimizer.multipliers else ()
    clip_norm = config.optimizer.clip_norm
    return Trainer(model, task, optimizer, schedule, train, clip_norm, multipliers, devices)


# ---- what a run is made of


@dataclass
class Run:
    """Everything that a run is made of, before its first step."""

    config: TrainConfig
    devices: Devices
    mix: input_ops.Mix
    valid_mix: input_ops.Mix
    clock: Clock
    total_steps: int
    trainer: Trainer
    evaluator: Evaluator
    class_weight: np.ndarray | None
    given: TrainConfig  # as it was before anything was measured
    valid_batches: Iterator | None = None  # from the first look at a few of them on

    def begin(self) -> None:
        """Gives the network the values of files: only now, since later it has its checkpoints."""
        initialize(self.trainer.model, self.config.model, self.config.spec)
        if self.config.init_from:
            load_weights(self.trainer.model, self.config.init_from)
        self.trainer.averages.begin()

    def lower_rate(self, rollbacks: int) -> None:
        self.trainer.rate_factor.assign(self.config.train.non_finite.factor**rollbacks)

    def batches_from(self, step: int, share: tuple[int, int] | None = None) -> tf.data.Dataset:
        """This worker's share of the training batches from a step on, endless."""
        data = self.config.data
        train = self.config.train
        limit = train.first_batches
        batches = input_ops.train_batches(
            self.mix,
            train.batch_size,
            train.seed,
            start=0 if limit else step,
            order=data.order,
            batch_ops=data.batch_ops,
            share=share or self.devices.share,
            class_weight=self.class_weight,
        )
        return batches.take(limit).cache().repeat().skip(step % limit) if limit else batches

    @cached_property
    def valid_sets(self) -> list[input_ops.EvalSet]:
        """This worker's share of the batches that hold every validation example once."""
        train = self.config.train
        if train.first_batches:  # what was trained on, and nothing else
            batches = self.batches_from(0).take(train.first_batches)
            return [input_ops.EvalSet(self.mix.name, batches, train.first_batches)]
        sets = input_ops.eval_sets(self.valid_mix, train.batch_size, self.devices.share)
        limit = self.config.validation.first_batches
        return [valid_set.first(limit) for valid_set in sets] if limit else sets

    def valid_batches_from(self, batch: int) -> tf.data.Dataset:
        """Shuffled validation batches, endless."""
        train = self.config.train
        towers = self.devices.towers
        if train.first_batches:
            return self.batches_from(batch)
        size = min(train.batch_size, max(len(self.valid_mix) // towers, 1) * towers)
        share = self.devices.share
        return input_ops.train_batches(self.valid_mix, size, train.seed + 1, batch, share=share)

    def take_steps(self, batches, num_steps: int, look_into: bool) -> tuple[bool, Look | None]:
        """One call of the trainer, to its end: whether to go on, and what can be seen of a step."""
        if look_into:
            look = self.trainer.inspect(batches)
            return bool(look.goes_on), look
        if self.devices.coordinator:
            return self.trainer.run_on_workers(batches, num_steps), None
        return bool(self.trainer.run(batches, tf.constant(num_steps))), None

    @cached_property
    def endless_sets(self) -> list[input_ops.EvalSet]:
        return [valid_set.endless() for valid_set in self.valid_sets]

    def score_sets(self, watch: Stopwatch, is_stopped: Callable) -> dict[str, float] | None:
        with watch("validating"), self.scored_weights(), self.valid_mix.naming_examples():
            return self.evaluator.score_sets(self.endless_sets, is_stopped)

    def score_batches(self, step: int, watch: Stopwatch) -> dict[str, float]:
        """Of the next few batches: those that a run which was never stopped looks at here."""
        stepwise = self.config.validation.stepwise
        if self.valid_batches is None:
            drawn = self.clock.times_due(step - 1, stepwise.every) * stepwise.batches
            self.valid_batches = iter(self.valid_batches_from(drawn))
        with watch("validating"), self.scored_weights(), self.valid_mix.naming_examples():
            return self.evaluator.score_batches(self.valid_batches, stepwise.batches)

    def scored_weights(self):
        """Inside `with` the network has the weights that are to be scored."""
        if self.config.scores_averages:
            return self.trainer.averages.swapped_in()
        return contextlib.nullcontext()

    def naming_examples(self, step: int, num_steps: int):
        """Inside `with`, an error names an example that the pipeline may have been treating."""
        return self.mix.naming_examples(self._upcoming(step, num_steps))

    def _upcoming(self, step: int, num_steps: int):
        data = self.config.data
        train = self.config.train
        ahead = 512  # the pipeline treats small batches in groups of up to 512 examples
        stop = step + num_steps + ahead
        columns = input_ops.ids_of_steps(
            self.mix, train.batch_size, train.seed, step, stop, data.order
        )
        for _, _, ids in columns:
            yield from ids.numpy()
        yield from range(min(len(self.mix), _MOST_LOOKED_AT))  # to name all bad ones at once


def build_run(given: TrainConfig, devices: Devices | None = None) -> Run:
    config = given
    devices = devices or open_devices(config.distribute)
    data = measured(config.data)
    train = config.train
    if problem := train_config.indivisible(train, devices.towers):
        raise ConfigError(problem)
    mix = input_ops.open_mix(data, "train", training=True)
    # Now, since a run that is refused leaves nothing.
    input_ops.check_batches(mix, train.batch_size, data.batch_ops, devices.workers)
    class_weight = input_ops.class_weights(mix, train.class_weight)
    spec = input_ops.spec_of(mix)
    config = config.model_copy(update={"data": data, "spec": spec})
    valid_mix = mix
    if not train.first_batches:
        names = spec.class_names
        valid_mix = input_ops.open_mix(data, "valid", training=False, class_names=names)
        input_ops.check_spec(spec, valid_mix)
    clock = Clock(train.batch_size, len(mix))
    trainer = build_trainer(config, len(mix), devices)
    several = len(valid_mix.sources) > 1 and not train.first_batches
    evaluator = Evaluator(trainer.model, trainer.task, several, devices)
    _check_metrics(config, evaluator)
    total = clock.total_steps(train)
    return Run(
        config, devices, mix, valid_mix, clock, total, trainer, evaluator, class_weight, given
    )


def report_data(run: Run, run_dir: Path) -> None:
    """Says what was found in the data; data.json keeps it."""
    if run.devices.is_chief:
        reports = input_ops.show_reports({"train": run.mix, "valid": run.valid_mix})
        program.write_whole(run_dir / "data.json", json.dumps(reports, indent=1))


def _check_metrics(config: TrainConfig, evaluator: Evaluator) -> None:
    """Raises ConfigError where the best checkpoint or early stopping goes by an unknown metric."""
    results = evaluator.totals.results()
    names = [name for name, value in results.items() if value.shape.rank == 0]  # no matrix
    for section in (config.checkpoint.best, config.early_stopping):
        if section and section.metric not in names:
            raise ConfigError(
                f"metric: unknown name {section.metric!r}; expected one of {', '.join(names)}"
            )


# ---- the loop


class Result(dict):
    """What the program prints; `.run` is the trained run, with its model and `predict`."""

    @cached_property
    def run(self) -> LoadedRun:
        return load_run(self["run_dir"])


def train_and_evaluate(
    config: TrainConfig,
    run_dir: str | Path,
    *,
    data: dict | None = None,
    on_eval=None,
    allow_changed_data: bool = False,
    parent: Path | None = None,
) -> Result:
    """Trains to the end, going on from the newest checkpoint of `run_dir` if there is one.

    `data`: {split: source_from(...)} of the splits that the configuration takes from `given`.
    `parent`: the checkpoint of another run with which this one begins, its step included.
    `on_eval(step, metrics)` is called after each full validation; a true answer ends the run there.
    Returns what the program prints. Raises Stopped after a signal, with everything saved: the same
    call then goes on.

    In a notebook, a script or a thread: leaves Keras' session, the random generators and, but for
    the time of the call, the handlers of signals as they were.
    """
    run_dir = Path(run_dir)
    watch = Stopwatch()
    devices = open_devices(config.distribute)  # before anything else of TensorFlow
    lock = checkpoint.lock(run_dir) if devices.is_chief else contextlib.nullcontext()
    given = data_loader.giving(config.data, data)
    with own_session(), given, lock, naming_failures(config.train, devices):
        with watch("start-up"):
            run = build_run(config, devices)
            progress = resume.begin_or_go_on(run, run_dir, allow_changed_data, parent)
            if not progress.finished:
                report_data(run, run_dir)
            step = run.trainer.step
            total = run.total_steps
        if progress.finished:
            program.warn(f"{run_dir}: already at step {step} of {total}: nothing to do")
        else:
            quiet = not devices.is_chief
            with StopSignals() as signals, Screen(total, step, quiet=quiet) as screen:
                step = loop(run, run_dir, progress, on_eval, signals, screen, watch)
            screen.shares(watch.shares())
    result = {
        "run_dir": str(run_dir),
        "step": step,
        "steps": total,
        "examples": step * config.train.batch_size,
        "valid": progress.valid,
    }
    if progress.best:
        metric = config.checkpoint.best.metric
        result["best"] = [_kept(run_dir, metric, *best) for best in progress.best]
    elif progress.early_step is not None:
        metric = config.early_stopping.metric
        result["best"] = [_kept(run_dir, metric, progress.early_best, progress.early_step)]
    return Result(result)


def _kept(run_dir: Path, metric: str, value: float, step: int) -> dict:
    path = checkpoint.path_of(run_dir / "checkpoints", step)
    return {metric: value, "step": step, "checkpoint": str(path)}


def loop(run: Run, run_dir: Path, progress: Progress, on_eval, signals, screen, watch) -> int:
    """Trains from the run's step to its end; returns the last step."""
    config = run.config
    clock = run.clock
    total = run.total_steps
    trainer = run.trainer
    step = trainer.step
    pace = Pace()
    log = Log(run_dir, step, config.summary, screen, watch, run.devices.is_chief)
    save = Saver(run, run_dir, progress, log)
    rehearse(run, run_dir, log, save, step)
    batches = iter(run.batches_from(step))
    stepwise = config.validation.stepwise
    stepwise_every = stepwise.every if stepwise else None
    every = (config.train.log_every, config.validation.every, config.checkpoint.every)
    if progress.to_validate:
        validate(run, progress, log, on_eval, signals, step)
        progress.finished |= step == total and not progress.to_validate
        save(step)

    while not progress.finished:
        # One compiled call, up to whatever is due first. A step to be looked into is a call itself.
        to_look = clock.steps_to_next(step, log.looks, limit=total - step + 1)
        limit = min(total - step, pace.steps_per_call, max(1, to_look - 1))
        num_steps = clock.steps_to_next(step, (*every, stepwise_every), limit)
        with watch("training"), pace.timing(num_steps), run.naming_examples(step, num_steps):
            goes_on, look = run.take_steps(batches, num_steps, look_into=to_look == 1)
        step += num_steps
        if not goes_on:
            step = roll_back(run, run_dir, progress)
            batches = iter(run.batches_from(step))
        progress.finished = step == total
        stop, seconds = run.devices.agree_on_stop(signals.number, pace.seconds)
        pace.update(seconds)
        examples_per_second = clock.batch_size / pace.seconds_per_step
        screen.progress(step, examples_per_second, pace.left(total - step))

        is_best = False
        if goes_on and look:
            log.look(step, clock, trainer.model, look)
        if goes_on and (clock.is_due(step, config.train.log_every) or progress.finished):
            readings = trainer.readings() | {"examples_per_second": examples_per_second}
            log.write(step, "train", readings)
        if clock.is_due(step, stepwise_every):
            log.write(step, "valid_batches", run.score_batches(step, watch))
        if clock.is_due(step, config.validation.every) or progress.finished:
            is_best = validate(run, progress, log, on_eval, signals, step)
        stop = stop or (signals.number if run.devices.workers == 1 else None)
        is_due = clock.is_due(step, config.checkpoint.every)
        if is_due or is_best or not goes_on or progress.finished or stop:
            save(step)
        if stop and not progress.finished:
            raise _stopped(stop, f"saved {run_dir} at step {step} of {total}")
    log.close()
    watch.move("training", "waiting for input", float(trainer.input_wait.seconds.numpy()))
    return step


def validate(run: Run, progress: Progress, log: Log, on_eval, signals, step: int) -> bool:
    """Scores every validation example; whether the step is among the best.

    A signal ends it within a second: the run then ends as well, and validates this step first when
    it goes on.
    """
    before = asdict(progress)
    before_end = None if run.clock.is_due(step, run.config.validation.every) else before
    metrics = run.score_sets(log.watch, lambda: signals.number)
    if metrics is None:
        progress.to_validate = True
        progress.finished = False
        return False
    log.write(step, "valid", metrics)
    is_best = progress.update(run.config, step, metrics)
    progress.before_end = before_end
    if on_eval:
        progress.finished |= run.devices.any_true(on_eval(step, metrics))
    return is_best


def _stopped(number: int, state: str) -> Stopped:
    is_program = COMMAND.flags.is_parsed()
    again = f"run the same command again to go on: {shlex.join(sys.argv)}"
    if not is_program:
        again = "the same call goes on"
    return Stopped(f"{signal.Signals(number).name}: {state}; {again}")


def rehearse(run: Run, run_dir: Path, log: Log, save: "Saver", step: int) -> None:
    """What comes before the first step: what is trained, on what, and a look at the evaluation."""
    if step:
        log.screen.line(f"{run_dir}: going on from step {step} of {run.total_steps}")
    else:
        one_place = run.devices.towers == 1 and run.devices.coordinator is None  # of its variables
        log.begin(run.trainer.model, (run_dir / "config.yaml").read_text(), graph=one_place)
    if len(run.mix.sources) > 1:
        for line in run.mix.shares(run.total_steps * run.clock.batch_size):
            log.screen.line(f"data: {line}")
    # A broken evaluation costs seconds here, not an epoch.
    with log.watch("validating"), run.valid_mix.naming_examples():
        run.evaluator.score_sets([valid_set.of_length(2) for valid_set in run.valid_sets])
    is_branch = step and not checkpoint.has_any(run_dir / "checkpoints")
    if is_branch or (not step and isinstance(run.config.train.non_finite, Rollback)):
        save(step)  # the first place to go back to


@dataclass
class Saver:
    """Saves the run as it is at a step; workers other than the first keep nothing."""

    run: Run
    run_dir: Path
    progress: Progress
    log: Log

    def __post_init__(self):
        self.variables = self.run.trainer.variables()
        self.size = size_of(self.variables.values())

    def __call__(self, step: int) -> None:
        if not self.run.devices.is_chief:
            return
        directory = self.run_dir / "checkpoints"
        progress = asdict(self.progress)
        state = {"step": step, "data": self.run.mix.fingerprint, "progress": progress}
        with self.log.watch("saving"):
            self.log.flush()
            checkpoint.commit(directory, step, self.write, state, self.size)
            keep = self.run.config.checkpoint.keep
            checkpoint.keep_last(directory, keep, self.progress.best_steps)

    def write(self, directory: Path) -> None:
        write_variables(directory, self.variables)


def roll_back(run: Run, run_dir: Path, progress: Progress) -> int:
    """After a step that was not finite: goes back to the last checkpoint, and on to the next step.

    Returns that step. Raises NumericsError where train.non_finite does not ask for it, or no more.
    All workers alike.
    """
    trainer = run.trainer
    policy = run.config.train.non_finite
    step = trainer.step
    failure = blackbox.failure(
        run_dir if run.devices.is_chief else None,
        trainer,
        iter(run.batches_from(step)),
        next(iter(run.batches_from(step, share=(0, 1)))),
        run.mix,
        progress.rollbacks,
    )
    if not isinstance(policy, Rollback) or progress.rollbacks == policy.at_most:
        raise failure
    if run.devices.is_chief:
        path = checkpoint.newest(run_dir / "checkpoints", quarantine=True)
        program.warn(f"warning: {failure}")
        resume.restore(path, trainer.variables())
    if run.devices.workers > 1:
        resume.take_from_chief(trainer.variables(), run.devices)
    back = trainer.step
    progress.rollbacks += 1
    run.lower_rate(progress.rollbacks)
    trainer.skip_to(step + 1)
    if run.devices.is_chief:
        program.warn(
            f"warning: rollback {progress.rollbacks} of {policy.at_most}: weights of step {back}, "
            f"on from step {step + 1}, "
            f"the learning rate times {policy.factor**progress.rollbacks:g}"
        )
    return step + 1


# ---- the program


def debug_fdr(config: TrainConfig) -> dict:
    """One batch of everything: train, look, validate, save, restore; nothing of it stays."""
    with tempfile.TemporaryDirectory() as directory:
        result = train_and_evaluate(config, Path(directory))
        again = train_and_evaluate(config, Path(directory))
    program.warn("fdr: one batch trained, validated, saved and restored")
    return result | {"run_dir": None, "restored_step": again["step"]}


def debug_overfit(config: TrainConfig) -> dict:
    """Trains on one batch until its loss is under 5 % of the first reading, if that is reached."""
    losses = []

    def is_learned(_step, metrics) -> bool:
        losses.append(metrics["loss"])
        return losses[-1] < 0.05 * losses[0]

    with tempfile.TemporaryDirectory() as directory:
        result = train_and_evaluate(config, Path(directory), on_eval=is_learned)
    learned = losses[-1] < 0.05 * losses[0]
    program.warn(
        f"overfit: {'learned' if learned else 'NOT learned'}: "
        f"loss {losses[0]:.3g} -> {losses[-1]:.3g} in {result['step']} steps"
    )
    return result | {"run_dir": None, "learned": learned}


def only_serves(config: TrainConfig) -> bool:
    """Whether this process is a worker or a parameter server that the chief drives."""
    cluster = read_cluster()
    on_this_machine = config.distribute.strategy in ("one", "towers")
    return bool(cluster) and cluster.has_servers and cluster.job != "chief" and not on_this_machine


def fingerprint_of(config: TrainConfig) -> str | None:
    """Of the training set; None where it cannot be read."""
    try:
        return input_ops.open_mix(config.data, "train", training=True).fingerprint
    except (ConfigError, DataError) as error:
        program.warn(f"data: {error}")
        return None


def main(config: TrainConfig, run_dir: Path, parent: Path | None) -> dict:
    if COMMAND.replay:
        return blackbox.replay(run_dir, config, build_trainer)
    if COMMAND.reproduce:
        return reproduce(run_dir, fingerprint_of(config))
    if "TF_CONFIG" in os.environ and only_serves(config):
        return serve(read_cluster(), config.distribute.wait)
    if COMMAND.debug:
        return {"fdr": debug_fdr, "overfit": debug_overfit}[COMMAND.debug](config)
    allow = COMMAND.allow_changed_data
    return train_and_evaluate(config, run_dir, allow_changed_data=allow, parent=parent)


if __name__ == "__main__":
    program.run(COMMAND, lambda: main(CONFIG, RUN_DIR, PARENT))
