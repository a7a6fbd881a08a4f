"""How a run begins or goes on: its directory, its newest checkpoint, and what must be as it was.

What it was begun with stands in its config.yaml and, of the machine, in environment.json.
A run may go on with another rounding (devices, versions, another processor), which is said; with
other data if that is asked for; with another configuration never.
"""

import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import tensorflow as tf
from pydantic import BaseModel, NonNegativeInt

import train_config
from cli import files, program
from cli.program import CheckpointError, ConfigError
from cli.typed_yaml import flatten, to_text
from engine import checkpoint
from engine.devices import Devices
from engine.variables import read_variables
from train_config import EarlyStopping, Rollback, TrainConfig

_FIRST_FILES = {  # of a run killed at once
    "lock",
    "class_names.jsonl",
    "class_names.jsonl.part",
    "config.yaml.part",
    "environment.json.part",
}
_CPU_INFO = Path("/proc/cpuinfo")  # on Linux
_PACKAGES = ("tensorflow", "keras", "numpy", "pydantic", "tensorboard")
# Environment variables that change results; not logging, not cluster addresses.
_VARIABLES = re.compile(
    r"(?!TF_CPP_|TF_CONFIG)(TF|XLA|OMP|ONEDNN|DNNL|MKL|OPENBLAS|CUDA|NCCL|KERAS)_"
)
# Entries that may change how numbers are rounded: plain ones, and dictionaries.
_PLAIN = ("python", "machine", "cpus", "devices")
_NESTED = ("versions", "git", "cpu", "threads", "variables")


@dataclass
class Progress:
    """What decides how a run goes on, apart from variables: kept in a checkpoint's state.json."""

    best: list[tuple[float, int]] = field(default_factory=list)  # (value, step), best first
    early_best: float | None = None
    stale: NonNegativeInt = 0  # full validations since early_best
    finished: bool = False
    rollbacks: NonNegativeInt = 0
    valid: dict[str, float | list] = field(default_factory=dict)  # the last full validation

    def update(self, config: TrainConfig, step: int, metrics: dict[str, float]) -> bool:
        """Takes one full validation; returns whether it is among the best."""
        self.valid = metrics
        if config.early_stopping:
            self._count_stale(config.early_stopping, metrics)
        best = config.checkpoint.best
        if not best:
            return False
        ranked = [*self.best, (metrics[best.metric], step)]
        ranked.sort(key=lambda entry: entry[0], reverse=best.mode == "max")
        self.best = ranked[: best.keep]  # sorting is stable: of equals, the earlier stays
        return step in [at for _, at in self.best]

    def _count_stale(self, stopping: EarlyStopping, metrics: dict[str, float]) -> None:
        sign = 1 if stopping.mode == "max" else -1
        value = sign * metrics[stopping.metric]
        if self.early_best is None or value > sign * self.early_best + stopping.min_delta:
            self.early_best = metrics[stopping.metric]
            self.stale = 0
        else:
            self.stale += 1
        self.finished |= self.stale >= stopping.patience


class _State(BaseModel, strict=True):
    """What a run reads of a checkpoint's state.json."""

    data: str  # the fingerprint of the training set
    progress: Progress


def begin_or_go_on(run, run_dir: Path, allow_changed_data: bool) -> Progress:
    """Restores the newest checkpoint of `run_dir`, or begins; all workers alike.

    Writes the directory's first files. `run` is the `Run` of trainer.py.
    """
    devices = run.devices
    variables = run.trainer.variables()
    if devices.workers > 1:
        _check_same(run.config, run.mix, devices)
    progress = Progress()
    if devices.is_chief:
        _check_directory(run_dir, run.config)
        checkpoint.clean_up(run_dir / "checkpoints")
        newest = checkpoint.newest(run_dir / "checkpoints", quarantine=True)
        if newest is None:
            run.begin()
        else:
            progress = _go_on(newest, run.mix, variables, allow_changed_data)
        if not progress.finished:
            _write_first_files(run_dir, run, going_on=newest is not None)
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


def _write_first_files(run_dir: Path, run, going_on: bool) -> None:
    train_config.save_config(run.config, run_dir / "config.yaml")
    file = run_dir / "environment.json"
    now = environment(run.mix.fingerprint)
    if going_on:
        _name_changes(file, now)
    program.write_whole(file, json.dumps(now, indent=1))


def _go_on(newest: Path, mix, variables: dict, allow_changed_data: bool) -> Progress:
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
    restore(newest, variables)
    return state.progress


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


def _check_directory(run_dir: Path, config: TrainConfig) -> None:
    """Raises CheckpointError for another run's directory, or one that holds something else."""
    file = run_dir / "config.yaml"
    if file.exists():
        _check_unchanged(file, checkpoint.load_run_config(run_dir), config)
    elif {*os.listdir(run_dir)} - _FIRST_FILES:
        raise CheckpointError(
            f"{run_dir}: expected an empty directory or a run with a config.yaml; "
            "choose another --run_dir"
        )


def _check_unchanged(file: Path, before: TrainConfig, config: TrainConfig) -> None:
    if changed := differences(before, config):
        raise CheckpointError(
            f"{file}: this run was started with another configuration: {'; '.join(changed)}; "
            "expected no change, or another --run_dir"
        )
    if changed := [text for key, text in _changes(before, config).items() if key in _HOW]:
        program.warn(
            f"{file.parent}: computed otherwise than before: {'; '.join(changed)}: "
            "from here on equal but for rounding, dropout"
        )


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


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """What differs of what is computed; where data lie and how it is computed are left out."""
    different = [
        text
        for key, text in _changes(old, new).items()
        if key not in _HOW and key[0] != "distribute" and (key[0], key[-1]) != ("data", "dir")
    ]
    before = list(old.optimizer.multipliers)
    after = list(new.optimizer.multipliers)
    if before != after and sorted(before) == sorted(after):  # the first that matches counts
        different.append(
            f"optimizer.multipliers: in the order {', '.join(before)} -> {', '.join(after)}"
        )
    return different


# ---- what a run is computed with


def environment(data: str) -> dict:
    """What is needed to run the same again. `data`: the fingerprint of the training set."""
    variables = {name: os.environ[name] for name in sorted(os.environ) if _VARIABLES.match(name)}
    threading = tf.config.threading
    return {
        "argv": sys.argv,
        "directory": os.getcwd(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES},
        "git": {"commit": _git("rev-parse", "HEAD"), "diff": _git("diff", "HEAD")},
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": _cpu(),
        "cpus": _num_cpus(),
        "threads": {  # 0: as many as there are CPUs
            "inside": threading.get_intra_op_parallelism_threads(),
            "between": threading.get_inter_op_parallelism_threads(),
        },
        "variables": variables,
        "data": data,
        "devices": [_device_name(device) for device in tf.config.list_physical_devices()],
    }


def _git(*words: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *words]
    try:
        output = subprocess.check_output(command, stderr=subprocess.DEVNULL, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return output.decode(errors="replace").strip()


def _num_cpus() -> int | None:
    """CPUs that this process may use, where the system tells (macOS does not); else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _device_name(device) -> str:
    return tf.config.experimental.get_device_details(device).get("device_name", device.name)


def _cpu() -> dict:
    """Model and instruction sets of the first CPU, as Linux tells them; nothing elsewhere."""
    try:
        text = _CPU_INFO.read_text(encoding="utf-8")
    except OSError:
        return {}
    fields = dict(re.findall(r"(?m)^([^\t:]+?)\s*: ?(.*)$", text.partition("\n\n")[0]))
    flags = fields.get("flags", fields.get("Features"))
    return {"model": fields.get("model name"), "flags": flags}


def environment_changes(before: dict, now: dict) -> list[str]:
    """`what: before -> now` of everything that may round numbers differently."""
    old = _flat(before)
    new = _flat(now)
    changed = [key for key in old | new if old.get(key) != new.get(key)]
    return [_change(key, str(old.get(key))[:40], str(new.get(key))[:40]) for key in changed]


def _flat(environment: dict) -> dict:
    """Entries that may change how numbers are rounded, those of dictionaries as `key.name`."""
    entries = {key: environment.get(key) for key in _PLAIN}
    for key in _NESTED:
        nested = environment.get(key)
        if isinstance(nested, dict):
            entries |= {f"{key}.{name}": value for name, value in nested.items()}
    return entries


def _change(key: str, old: str, new: str) -> str:
    return f"{key} differ" if old == new or key == "cpu.flags" else f"{key}: {old} -> {new}"
