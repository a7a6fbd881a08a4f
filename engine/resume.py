"""How a run begins or goes on: its directory, its newest checkpoint, and what must be as it was.

A run may go on with another rounding (devices, versions, another processor), which is said; with
other data if that is asked for; with another configuration never.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import train_config
from cli import program
from cli.program import CheckpointError, ConfigError
from cli.typed_yaml import flatten, to_text
from engine import checkpoint
from engine.devices import Devices
from engine.environment import changes, environment
from engine.variables import read_variables
from train_config import TrainConfig

_FIRST_FILES = {"lock", "config.yaml.part", "environment.json.part"}  # of a run killed at once


@dataclass
class Progress:
    """What decides how a run goes on, apart from variables: kept in a checkpoint's state.json."""

    best: list[list] = field(default_factory=list)  # [value, step] of the best, best first
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
            first = self.early_best is None
            if first or is_better(stopping.mode, value, self.early_best - margin):
                self.early_best = value
                self.stale = 0
            else:
                self.stale += 1
            self.finished |= self.stale >= stopping.patience
        best = config.checkpoint.best
        if not best:
            return False
        ranked = [*self.best, [metrics[best.metric], step]]
        ranked.sort(key=lambda entry: entry[0], reverse=best.mode == "max")
        self.best = ranked[: best.keep]  # sorting is stable: of equals, the earlier stays
        return any(at == step for _, at in self.best)


def is_better(mode: str, value: float, than: float) -> bool:
    return value > than if mode == "max" else value < than


def begin_or_go_on(
    run_dir: Path,
    config: TrainConfig,
    mix,
    variables: dict,
    devices: Devices,
    begin: Callable[[], None],
    allow_changed_data: bool,
) -> Progress:
    """Restores the newest checkpoint of `run_dir`, or calls `begin()`; all workers alike.

    Writes the directory's first files. `config` is resolved, `variables` are the step's, by name;
    `mix` has the `name` and the `fingerprint` of the training data.
    """
    if devices.workers > 1:
        _check_same(config, mix, devices)
    progress = Progress()
    if devices.is_chief:
        progress = _begin_or_go_on(run_dir, config, mix, variables, begin, allow_changed_data)
    if devices.workers > 1:
        (text, *_) = devices.gather_texts(json.dumps(asdict(progress)))
        progress = Progress(**json.loads(text))
    take_from_chief(variables, devices)
    return progress


def _begin_or_go_on(
    run_dir: Path, config: TrainConfig, mix, variables, begin, allow_changed_data: bool
) -> Progress:
    _check_directory(run_dir, config)
    checkpoint.clean_up(run_dir / "checkpoints")
    newest = checkpoint.newest(run_dir / "checkpoints", quarantine=True)
    progress = Progress()
    if newest is None:
        begin()
    else:
        state = checkpoint.read_state(newest)
        _check_data(state["data"], mix, allow_changed_data)
        restore(newest, variables)
        progress = Progress(**state["progress"])
    if not progress.finished:
        train_config.save_config(config, run_dir / "config.yaml")
        _write_environment(
            run_dir / "environment.json", mix.fingerprint, going_on=newest is not None
        )
    return progress


def restore(path: Path, variables: dict) -> None:
    """Gives every variable its value from a checkpoint."""
    groups = tuple({name.split("/")[0] for name in variables})
    checkpoint.restore(path, variables, read_variables, groups=groups)


def take_from_chief(variables: dict, devices: Devices) -> None:
    """Gives every worker the variables of the first."""
    if devices.workers > 1:
        values = devices.from_chief([variable.numpy() for variable in variables.values()])
        for variable, value in zip(variables.values(), values, strict=True):
            variable.assign(value)


# ---- what must be as it was


def _check_same(config: TrainConfig, mix, devices: Devices) -> None:
    """Raises ConfigError unless every worker has the configuration and the data of the first."""
    text = json.dumps({"data": mix.fingerprint, "config": config.model_dump(mode="json")})
    first, *others = [json.loads(text) for text in devices.gather_texts(text)]
    for worker, other in enumerate(others, 1):
        configs = [TrainConfig.model_validate(worker["config"]) for worker in (first, other)]
        changed = differences(*configs)
        if first["data"] != other["data"]:
            changed.append("its data differ")
        if changed:
            raise ConfigError(
                f"worker {worker} differs from worker 0: {'; '.join(changed)}; "
                "expected the same configuration and data"
            )


def _check_directory(run_dir: Path, config: TrainConfig) -> None:
    """Raises CheckpointError for another run's directory, or one that holds something else."""
    file = run_dir / "config.yaml"
    if not file.exists():
        if {path.name for path in run_dir.iterdir()} - _FIRST_FILES:
            expected = "expected an empty directory or a run with a config.yaml"
            raise CheckpointError(f"{run_dir}: {expected}; choose another --run_dir")
        return
    before = train_config.load_config(file)
    if changed := differences(before, config):
        raise CheckpointError(
            f"{file}: this run was started with another configuration: {'; '.join(changed)}; "
            "expected no change, or another --run_dir"
        )
    if changed := computed_otherwise(before, config):
        program.warn(
            f"{run_dir}: computed otherwise than before: {'; '.join(changed)}: "
            "from here on equal but for rounding, dropout"
        )


def _check_data(before: str, mix, allow_changed_data: bool) -> None:
    if before == mix.fingerprint:
        return
    message = f"{mix.name}: the data have changed since this run began"
    if not allow_changed_data:
        expected = "expected the same, --allow_changed_data, or another --run_dir"
        raise CheckpointError(f"{message}; {expected}")
    program.warn(f"warning: {message}: from here on this is not the run that it would have been")


def _write_environment(file: Path, fingerprint: str, going_on: bool) -> None:
    """Keeps where and with what this run is computed; says so if that is not as it was."""
    now = environment(fingerprint)
    try:
        before = json.loads(file.read_text())
    except (OSError, ValueError):
        before = now
    if not isinstance(before, dict):  # somebody else's
        before = {}
    if going_on and (changed := changes(before, now)):
        program.warn(
            f"{file}: another environment than before: {'; '.join(changed)}: "
            "from here on equal only up to rounding"
        )
    program.write_whole(file, json.dumps(now, indent=1))


# How a run is computed, not what: it may change from start to start.
_HOW = {
    ("distribute", "strategy"),
    ("distribute", "towers"),
    ("distribute", "virtual_devices"),
    ("train", "accumulate"),
    ("train", "jit"),
}


def _changes(old: TrainConfig, new: TrainConfig) -> dict[tuple, str]:
    """{key: `key: old -> new`} of every field that differs."""
    before, after = (dict(flatten(config.model_dump(mode="json"))) for config in (old, new))
    changed = [key for key in before | after if before.get(key) != after.get(key)]
    return {
        key: f"{'.'.join(key)}: {to_text(before.get(key))} -> {to_text(after.get(key))}"
        for key in changed
    }


def computed_otherwise(old: TrainConfig, new: TrainConfig) -> list[str]:
    """What differs of how a run is computed; it changes the rounding."""
    return [text for key, text in _changes(old, new).items() if key in _HOW]


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """What differs of what is computed; where data lie and how it is computed are left out."""
    different = [
        text
        for key, text in _changes(old, new).items()
        if key not in _HOW and key[0] != "distribute" and (key[0], key[-1]) != ("data", "dir")
    ]
    before, after = list(old.optimizer.multipliers), list(new.optimizer.multipliers)
    if before != after and sorted(before) == sorted(after):  # the first that matches counts
        names = f"{', '.join(before)} -> {', '.join(after)}"
        different.append(f"optimizer.multipliers: in the order {names}")
    return different
