"""How a run begins or goes on: its directory, its newest checkpoint, and what must be as it was.

What it was begun with stands in its config.yaml and, of the machine, in environment.json.
A run may go on with another rounding (devices, versions, another processor), longer, or looked at
and kept otherwise, which is said; with other data if that is asked for; computing something else
never: that is another run, which may branch from a checkpoint of this one.
"""

import contextlib
import hashlib
import json
import os
import shlex
import sys
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, NonNegativeInt

import train_config
from cli import files, program
from cli.program import CheckpointError, ConfigError
from cli.typed_yaml import flatten, to_text
from engine import checkpoint
from engine.devices import Devices
from engine.environment import environment, environment_changes
from engine.lineage import Lineage, Parent, Start, read_lineage
from engine.variables import read_variables
from train_config import EarlyStopping, Rollback, TrainConfig

_FIRST_FILES = {  # of a run killed at once
    "lock",
    "class_names.jsonl",
    "class_names.jsonl.part",
    "config.yaml.part",
    "environment.json.part",
}


@dataclass
class Progress:
    """What decides how a run goes on, apart from variables: kept in a checkpoint's state.json."""

    best: list[tuple[float, int]] = field(default_factory=list)  # (value, step), best first
    early_best: float | None = None
    early_step: int | None = None  # of early_best
    stale: NonNegativeInt = 0  # full validations since early_best
    finished: bool = False
    rollbacks: NonNegativeInt = 0
    valid: dict[str, float | list | None] = field(default_factory=dict)  # the last full validation
    to_validate: bool = False  # a signal came before the validation of this step was done
    before_end: dict | None = None  # as it was before a validation that only the end called for

    def update(self, config: TrainConfig, step: int, metrics: dict[str, float]) -> bool:
        """Takes one full validation; returns whether it is among the best."""
        self.valid = metrics
        self.to_validate = False
        if config.early_stopping:
            self._count_stale(config.early_stopping, metrics, step)
        best = config.checkpoint.best
        if best and metrics[best.metric] is not None:  # None: nothing was there to be measured
            ranked = [*self.best, (metrics[best.metric], step)]
            ranked.sort(key=lambda entry: entry[0], reverse=best.mode == "max")
            self.best = ranked[: best.keep]  # sorting is stable: of equals, the earlier stays
        return step in self.best_steps

    @property
    def best_steps(self) -> list[int]:
        """Steps whose checkpoints are kept for what they scored."""
        steps = [at for _, at in self.best]
        return steps if self.early_step is None else [*steps, self.early_step]

    def _count_stale(self, stopping: EarlyStopping, metrics: dict[str, float], step: int) -> None:
        sign = 1 if stopping.mode == "max" else -1
        value = metrics[stopping.metric]
        best = self.early_best
        if value is not None and (best is None or sign * value > sign * best + stopping.min_delta):
            self.early_best = value
            self.early_step = step
            self.stale = 0
        else:
            self.stale += 1
        self.finished |= self.stale >= stopping.patience

    def changed_in_place(self, before: TrainConfig, config: TrainConfig, at_end, longer):
        """The same under a configuration that keeps or stops otherwise than before.

        `at_end`: at the run's last step, `longer`: which before was this one.
        """
        progress = self
        if longer and self.before_end is not None:
            progress = Progress(**self.before_end)
        if _goal(before.checkpoint.best) != _goal(config.checkpoint.best):
            progress = replace(progress, best=[])
        old = before.early_stopping
        new = config.early_stopping
        if _goal(old) != _goal(new):
            progress = replace(progress, early_best=None, early_step=None, stale=0)
        if longer or old != new:
            is_stale = new is not None and progress.stale >= new.patience
            progress = replace(progress, finished=at_end or is_stale)
        return progress


def _goal(section) -> tuple | None:
    """The metric and the direction by which a section tells better from worse."""
    return section and (section.metric, section.mode)


class _State(BaseModel, strict=True):
    """What a run reads of a checkpoint's state.json."""

    step: int
    data: str  # the fingerprint of the training set
    progress: Progress


def begin_or_go_on(
    run, run_dir: Path, allow_changed_data: bool, parent: Path | None = None
) -> Progress:
    """Restores the newest checkpoint of `run_dir`, or begins; all workers alike.

    Writes the directory's first files. `run` is the `Run` of trainer.py. `parent`: the checkpoint
    of another run with which this one begins.
    """
    devices = run.devices
    variables = run.trainer.variables()
    if devices.workers > 1:
        _check_same(run.config, run.mix, devices)
    progress = Progress()
    if devices.is_chief:
        before = _check_directory(run_dir, run)
        checkpoint.clean_up(run_dir / "checkpoints")
        newest = checkpoint.newest(run_dir / "checkpoints", quarantine=True)
        if newest:
            progress = _go_on(newest, run, before, allow_changed_data)
        elif parent:
            progress = _branch(parent, variables, run.total_steps)
        else:
            run.begin()
        if not progress.finished:
            _write_first_files(run_dir, run, before if newest else None, parent)
    if devices.workers > 1:
        progress = _from_chief(progress, devices)
        take_from_chief(variables, devices)
    if run.config.checkpoint.best is None:
        progress.best = []
    if isinstance(run.config.train.non_finite, Rollback):
        run.lower_rate(progress.rollbacks)
    return progress


def _from_chief(progress: Progress, devices: Devices) -> Progress:
    texts = devices.gather_texts(json.dumps(asdict(progress)))
    return Progress(**json.loads(texts[0]))


def _write_first_files(run_dir: Path, run, before: TrainConfig | None, parent: Path | None) -> None:
    """`before`: the configuration of a run that goes on."""
    train_config.save_config(run.config, run_dir / "config.yaml")
    file = run_dir / "environment.json"
    now = environment(run.mix.fingerprint)
    if before:
        _name_changes(file, now)
    now["lineage"] = _lineage(run_dir, run, before, parent).model_dump()
    program.write_whole(file, json.dumps(now, indent=1))


def _branch(parent: Path, variables: dict, total: int) -> Progress:
    """Begins where a checkpoint of another run stands; what that run has kept stays there."""
    state = files.read_json(parent / "state.json", _State)
    if state.step >= total:
        raise ConfigError(
            f"{parent}: expected a branch to go on from step {state.step}, got a length of "
            f"{total}; give it more train.steps or train.epochs, or branch from an earlier step"
        )
    restore(parent, variables)
    progress = state.progress
    if progress.before_end is not None:
        progress = Progress(**progress.before_end)
    return replace(progress, best=[], early_step=None, finished=False, before_end=None)


def _go_on(newest: Path, run, before: TrainConfig, allow_changed_data: bool) -> Progress:
    mix = run.mix
    state = files.read_json(newest / "state.json", _State)
    if state.data != mix.fingerprint:
        changed = f"{mix.name}: the data have changed since this run began"
        if not allow_changed_data:
            raise CheckpointError(
                f"{changed}; expected the same, --allow_changed_data, or another --run_dir"
            )
        program.warn(
            f"warning: {changed}: from here on this is not the run that it would have been"
        )
    total = run.total_steps
    step = state.step
    if total < step:
        raise CheckpointError(
            f"{newest}: already at step {step}; expected a length of at least that, got {total}"
        )
    restore(newest, run.trainer.variables())
    longer = step < total and step == run.clock.total_steps(before.train)
    return state.progress.changed_in_place(before, run.config, step == total, longer)


def restore(path: Path, variables: dict) -> None:
    """Gives every variable its value from a checkpoint."""
    checkpoint.restore(path, variables, read_variables(path))


def take_from_chief(variables: dict, devices: Devices) -> None:
    """Gives every worker the variables of the first."""
    values = devices.from_chief([variable.numpy() for variable in variables.values()])
    for variable, value in zip(variables.values(), values, strict=True):
        variable.assign(value)


# ---- what must be as it was


def _check_same(config: TrainConfig, mix, devices: Devices) -> None:
    """Raises ConfigError unless every worker has the configuration and the data of the first."""
    text = json.dumps({"data": mix.fingerprint, "config": config.model_dump(mode="json")})
    workers = [json.loads(text) for text in devices.gather_texts(text)]
    configs = [TrainConfig.model_validate(worker["config"]) for worker in workers]
    for number, worker in enumerate(workers):
        changed = differences(configs[0], configs[number])
        if worker["data"] != workers[0]["data"]:
            changed.append("its data differ")
        if changed:
            raise ConfigError(
                f"worker {number} differs from worker 0: {'; '.join(changed)}; "
                "expected the same configuration and data"
            )


def _check_directory(run_dir: Path, run) -> TrainConfig | None:
    """The configuration with which a run was begun, if there is one in the directory.

    Raises CheckpointError for another run's directory, or one that holds something else.
    """
    file = run_dir / "config.yaml"
    if not file.exists():
        if {*os.listdir(run_dir)} - _FIRST_FILES:
            raise CheckpointError(
                f"{run_dir}: expected an empty directory or a run with a config.yaml; "
                "choose another --run_dir"
            )
        return None
    if not checkpoint.has_any(run_dir / "checkpoints"):
        program.warn(f"{run_dir}: it ended before its first checkpoint: begun anew")
        return None
    before = checkpoint.load_run_config(run_dir)
    _check_unchanged(file, before, run)
    return before


def _check_unchanged(file: Path, before: TrainConfig, run) -> None:
    changes = _changes(before, run.config)
    if refused := _refused(before, run):
        for line in refused.values() if len(refused) > 1 else ():
            program.warn(f"{file}: {line}")
        raise CheckpointError(
            f"{file}: this run was started with another configuration: "
            f"{'; '.join(refused.values())}; expected no change, or another --run_dir"
            f"{_branching(file.parent, refused, run)}"
        )
    if changed := [text for key, text in changes.items() if key in _HOW]:
        program.warn(
            f"{file.parent}: computed otherwise than before: {'; '.join(changed)}: "
            "from here on equal but for rounding, dropout"
        )
    if changed := [text for key, text in changes.items() if _is_beside(key) or key in _LENGTH]:
        program.warn(f"{file.parent}: from here on with {'; '.join(changed)}")


def _refused(before: TrainConfig, run) -> dict[tuple, str]:
    """{key: `key: old -> new`} of what may not change in place.

    What was measured counts where nothing else differs: then the data are others.
    """
    given, now, old = (c.model_dump(mode="json") for c in (run.given, run.config, before))
    chosen = TrainConfig.model_validate(_without_measured(old, given, now))
    for one in (chosen, before):
        other = run.given if one is chosen else run.config
        refused = {
            key: text
            for key, text in _differing(one, other).items()
            if not _is_beside(key) and (key not in _LENGTH or _depends_on_length(run.config))
        }
        if refused:
            return refused
    return {}


def _depends_on_length(config: TrainConfig) -> bool:
    return config.optimizer.schedule.of_length


def _without_measured(before, given, now):
    """A configuration as JSON, with null for what was null in `given` and is not in `now`."""
    if given is None and now is not None:
        return None
    if isinstance(before, dict) and isinstance(given, dict) and isinstance(now, dict):
        return {
            key: _without_measured(value, given.get(key, value), now.get(key))
            for key, value in before.items()
        }
    lists = [value for value in (before, given, now) if isinstance(value, list)]
    if len(lists) == 3 and len({len(value) for value in lists}) == 1:
        return [_without_measured(*values) for values in zip(*lists, strict=True)]
    return before


def _branching(run_dir: Path, refused: dict[tuple, str], run) -> str:
    """The command that begins another run from this one with the changes that are asked for."""
    if len(refused) > 5:
        return ""
    values = dict(flatten(run.given.model_dump(mode="json")))
    words = [f"{'.'.join(map(str, key))}={to_text(values.get(key))}" for key in refused]
    command = ["python", "trainer.py", "--from", str(run_dir), "--run_dir", "NEW", *words]
    return f"; to branch: {shlex.join(command)}"


def _name_changes(file: Path, now: dict) -> None:
    """Says where the environment is not as it was; nothing if that is not known."""
    try:
        before = files.read_json(file, dict)
    except FileNotFoundError:
        return
    except CheckpointError as error:
        program.warn(f"warning: {error}: what has changed since is not known")
        return
    if changed := environment_changes(before, now):
        program.warn(
            f"{file}: another environment than before: {'; '.join(changed)}: "
            "from here on equal only up to rounding"
        )


_BESIDE = ("summary", "checkpoint", "validation", "early_stopping")
_LENGTH = {("train", "steps"), ("train", "epochs")}
# How a run is computed, not what: it may change from start to start, and with it the rounding.
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
    return {
        key: f"{'.'.join(key)}: {to_text(before.get(key))} -> {to_text(after.get(key))}"
        for key in before | after
        if before.get(key) != after.get(key)
    }


def _is_beside(key: tuple) -> bool:
    """Whether a field decides what is looked at and kept, not what is computed."""
    return key[0] in _BESIDE or key == ("train", "log_every")


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """What differs of what is computed; where data lie and how it is computed are left out."""
    return list(_differing(old, new).values())


def _differing(old: TrainConfig, new: TrainConfig) -> dict[tuple, str]:
    different = {
        key: text
        for key, text in _changes(old, new).items()
        if key not in _HOW and key[0] != "distribute" and (key[0], key[-1]) != ("data", "dir")
    }
    before = list(old.optimizer.multipliers)
    after = list(new.optimizer.multipliers)
    if before != after and sorted(before) == sorted(after):  # the first that matches counts
        different[("optimizer", "multipliers")] = (
            f"optimizer.multipliers: in the order {', '.join(before)} -> {', '.join(after)}"
        )
    return different


# ---- where a run comes from


def _lineage(run_dir: Path, run, before: TrainConfig | None, parent: Path | None) -> Lineage:
    """The lineage of a run with this start; `before`: the configuration of one that goes on."""
    lineage = Lineage()
    if before:
        with contextlib.suppress(CheckpointError):  # it is told as far as it is known
            lineage = read_lineage(run_dir)
    elif parent:
        lineage = Lineage(parent=_parent(parent, run))
    changed = list(_changes(before, run.config).values()) if before else []
    time = datetime.now(UTC).isoformat(timespec="seconds")
    return lineage.with_start(
        Start(time=time, step=run.trainer.step, argv=sys.argv, changed=changed)
    )


def _parent(path: Path, run) -> Parent:
    run_dir = path.parent.parent
    origin = checkpoint.load_run_config(run_dir)
    manifest = files.read_bytes(path / "MANIFEST.json")
    return Parent(
        run=str(run_dir.resolve()),
        step=checkpoint.read_state(path)["step"],
        manifest=hashlib.sha256(manifest).hexdigest(),
        changed=list(_changes(origin, run.config).values()),
    )
