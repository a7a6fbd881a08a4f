"""What a run was computed with: environment.json."""

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import tensorflow as tf

from cli.typed_yaml import flatten

_CPU_INFO = Path("/proc/cpuinfo")  # on Linux
_PACKAGES = ("tensorflow", "keras", "numpy", "pydantic", "tensorboard")
# Environment variables that change results; not logging, not cluster addresses.
_VARIABLES = re.compile(
    r"(?!TF_CPP_|TF_CONFIG)(TF|XLA|OMP|ONEDNN|DNNL|MKL|OPENBLAS|CUDA|NCCL|KERAS)_"
)
# What may change how numbers are rounded.
_ROUNDING = (
    "python",
    "machine",
    "cpus",
    "devices",
    "versions",
    "git",
    "cpu",
    "threads",
    "variables",
)


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


def changes(before: dict, now: dict) -> list[str]:
    """`what: before -> now` of everything that may round numbers differently."""
    old = _flat(before)
    new = _flat(now)
    changed = [key for key in old | new if old.get(key) != new.get(key)]
    return [_change(key, str(old.get(key))[:40], str(new.get(key))[:40]) for key in changed]


def _flat(environment: dict) -> dict:
    """What may change how numbers are rounded, by `key` or `key.name`."""
    entries = {key: environment.get(key) for key in _ROUNDING}
    return {".".join(path): value for path, value in flatten(entries) if value != {}}


def _change(key: str, old: str, new: str) -> str:
    return f"{key} differ" if old == new or key == "cpu.flags" else f"{key}: {old} -> {new}"
