"""What a run is made of, and how it begins or goes on; the loop is in trainer.py."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import tensorflow as tf

import input_ops
import train_config
from cli import program
from cli.program import CheckpointError, ConfigError
from engine import checkpoint
from engine.devices import Devices, open_devices
from engine.environment import changes, environment
from engine.variables import read_variables
from engine.weights import load_weights
from eval import Evaluator, read_model
from model import initialize
from preprocess_data import measured
from train_config import Clock, TrainConfig
from train_step import TrainStep, build_train_step


@dataclass
class Run:
    """Everything that a run is made of, before its first step."""

    config: TrainConfig
    devices: Devices
    mix: input_ops.Mix
    clock: Clock
    total_steps: int
    train_step: TrainStep
    evaluator: Evaluator
    batches_from: Callable[
        ..., tf.data.Dataset
    ]  # step -> this process's part of the training batches from there on, endless
    valid_mix: input_ops.Mix
    valid: list[
        tuple[str, tf.data.Dataset, int]
    ]  # of each set: batches that hold every example once, and their number
    valid_from: Callable[
        [int], tf.data.Dataset
    ]  # batch -> shuffled validation batches from there on, endless


def build_run(config: TrainConfig, debug: str | None = None, devices: Devices | None = None) -> Run:
    devices = devices or open_devices(config.distribute)
    data, train, towers, part = (
        measured(config.data),
        config.train,
        devices.towers,
        (devices.worker, devices.workers),
    )
    if problem := train_config.indivisible(train, towers):
        raise ConfigError(problem)
    mix = input_ops.open_mix(data, "train", training=True)
    input_ops.check_batches(
        mix, train.batch_size, data.batch_ops, devices.workers
    )  # now, as a run that is refused leaves nothing

    def batches_from(step: int, part: tuple[int, int] = part):
        order = input_ops.order_of(data)
        batches = input_ops.train_batches(
            mix, train.batch_size, train.seed, step, batch_ops=data.batch_ops, part=part, **order
        )
        return batches.take(1).cache().repeat() if debug == "overfit" else batches

    spec = input_ops.spec_of(mix)
    config = config.model_copy(update={"data": data, "spec": spec})
    if debug == "overfit":
        valid_mix, valid, valid_from = mix, [(mix.name, batches_from(0).take(1), 1)], batches_from
    else:
        valid_mix = input_ops.open_mix(data, "valid", training=False)
        input_ops.check_spec(spec, valid_mix)
        valid = input_ops.eval_sets(valid_mix, train.batch_size, part)
        valid = (
            [(name, batches.take(1), 1) for name, batches, _ in valid] if debug == "fdr" else valid
        )

        def valid_from(batch: int):
            size = min(train.batch_size, max(len(valid_mix) // towers, 1) * towers)
            return input_ops.train_batches(valid_mix, size, train.seed + 1, batch, part=part)

    clock = Clock(train.batch_size, len(mix))
    train_step = build_train_step(config, len(mix), devices)
    evaluator = Evaluator(train_step.model, train_step.task, len(valid) > 1, devices)
    numbers = [
        name for name, value in evaluator.sums.results().items() if value.shape.rank == 0
    ]  # no confusion matrix
    for section in (config.checkpoint.best, config.early_stopping):
        if section and section.metric not in numbers:
            raise ConfigError(
                f"metric: unknown name {section.metric!r}; expected one of {', '.join(numbers)}"
            )
    return Run(
        config,
        devices,
        mix,
        clock,
        clock.total_steps(train),
        train_step,
        evaluator,
        batches_from,
        valid_mix,
        valid,
        valid_from,
    )


@dataclass
class Progress:
    """What decides how a run goes on, apart from variables: kept in every checkpoint's state.json."""

    best: list[list] = field(
        default_factory=list
    )  # [value, step] of the best checkpoints, best first
    early_best: float | None = None
    stale: int = 0  # full validations since early_best
    finished: bool = False
    rollbacks: int = 0
    valid: dict[str, float] = field(default_factory=dict)  # the last full validation

    def update(self, config: TrainConfig, step: int, metrics: dict[str, float]) -> bool:
        """Takes one full validation; returns whether it is among the best."""
        self.valid = metrics
        if stopping := config.early_stopping:
            value = metrics[stopping.metric]
            margin = stopping.min_delta if stopping.mode == "min" else -stopping.min_delta
            if self.early_best is None or better(stopping.mode, value, self.early_best - margin):
                self.early_best, self.stale = value, 0
            else:
                self.stale += 1
            self.finished |= self.stale >= stopping.patience
        if not (best := config.checkpoint.best):
            return False
        ranked = sorted(
            [*self.best, [metrics[best.metric], step]],
            key=lambda entry: entry[0],
            reverse=best.mode == "max",
        )
        self.best = ranked[: best.keep]  # sorting is stable: of equals, the earlier stays
        return any(entry[1] == step for entry in self.best)


def better(mode: str, value: float, than: float) -> bool:
    return value > than if mode == "max" else value < than


# ----------------------------------------------------------------------------------------------- beginning, or going on


def resume(run: Run, run_dir: Path, allow_changed_data: bool) -> Progress:
    """Brings `run` to the newest checkpoint of its directory, or writes the directory's first files; all processes alike."""
    devices = run.devices
    if devices.workers > 1:
        check_same(run)
    progress = (
        restore_or_begin(run, run_dir, allow_changed_data) if devices.is_chief else Progress()
    )
    if devices.workers > 1:
        progress = Progress(**json.loads(devices.gather_texts(json.dumps(asdict(progress)))[0]))
    take_from_chief(run)
    lower_rate(run, progress)
    return progress


def take_from_chief(run: Run) -> None:
    """Gives every worker the variables of the first."""
    if run.devices.workers > 1:
        variables = list(run.train_step.variables().values())
        values = run.devices.from_chief([variable.numpy() for variable in variables])
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def lower_rate(run: Run, progress: Progress) -> None:
    if progress.rollbacks:
        run.train_step.rate_factor.assign(run.config.train.non_finite.factor**progress.rollbacks)


def restore(run: Run, path: Path) -> None:
    """Gives every variable of the step its value from a checkpoint."""
    variables = run.train_step.variables()
    checkpoint.restore(
        path, variables, read_variables, groups=tuple({name.split("/")[0] for name in variables})
    )


def check_same(run: Run) -> None:
    """Raises ConfigError unless every worker has the configuration and the data of the first."""
    own = json.dumps({"data": run.mix.fingerprint, "config": run.config.model_dump(mode="json")})
    first, *others = [json.loads(text) for text in run.devices.gather_texts(own)]
    for worker, other in enumerate(others, 1):
        changed = train_config.differences(
            *(TrainConfig.model_validate(each["config"]) for each in (first, other))
        )
        changed += ["its data are other ones"] * (first["data"] != other["data"])
        if changed:
            raise ConfigError(
                f"worker {worker} differs from worker 0: {'; '.join(changed)}; expected the same configuration and data"
            )


def restore_or_begin(run: Run, run_dir: Path, allow_changed_data: bool) -> Progress:
    """The newest checkpoint, or random weights and those of `init_from`; writes the directory's first files."""
    directory, config_file = run_dir / "checkpoints", run_dir / "config.yaml"
    if config_file.exists():
        before = train_config.load_config(config_file)
        if changed := train_config.differences(before, run.config):
            raise CheckpointError(
                f"{config_file}: this run began otherwise: {'; '.join(changed)}; expected no change, or another --run_dir"
            )
        if changed := train_config.computed_otherwise(before, run.config):
            program.warn(
                f"{run_dir}: computed otherwise than before: {'; '.join(changed)}: from here on equal but for rounding, dropout"
            )
    elif {path.name for path in run_dir.iterdir()} - {
        "lock",
        "config.yaml.part",
        "environment.json.part",
    }:
        raise CheckpointError(
            f"{run_dir}: expected an empty directory or a run with a config.yaml; choose another --run_dir"
        )
    checkpoint.clean_up(directory)
    newest = checkpoint.newest(directory, quarantine=True)
    progress = Progress()
    if newest is not None:
        state = checkpoint.read_state(newest)
        if state["data"] != run.mix.fingerprint:
            message = f"{run.mix.name}: the data have changed since this run began"
            if not allow_changed_data:
                raise CheckpointError(
                    f"{message}; expected the same, --allow_changed_data, or another --run_dir"
                )
            program.warn(
                f"warning: {message}: from here on this is not the run that it would have been"
            )
        restore(run, newest)
        progress = Progress(**state["progress"])
    else:  # weights from files at the beginning only: afterwards the run has a checkpoint of its own
        initialize(run.train_step.model, run.config.model, run.config.spec)
        if run.config.init_from:
            load_weights(run.train_step.model, run.config.init_from, read_model)
        run.train_step.begin_averages()
    if not progress.finished:
        train_config.save_config(run.config, config_file)
        write_environment(run, run_dir / "environment.json", going_on=newest is not None)
    return progress


def write_environment(run: Run, file: Path, going_on: bool) -> None:
    """Keeps where and with what this run is computed; says so if that is not as it was."""
    now = environment(run.mix.fingerprint)
    try:
        before = json.loads(file.read_text())
    except (OSError, ValueError):
        before = now
    if not isinstance(before, dict):  # somebody else's
        before = {}
    if going_on and (changed := changes(before, now)):
        program.warn(
            f"{file}: another environment than before: {'; '.join(changed)}: from here on equal only up to rounding"
        )
    program.write_whole(file, json.dumps(now, indent=1))
