"""What a run was computed with."""

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import tensorflow as tf

_PACKAGES = ("tensorflow", "keras", "numpy", "pydantic", "tensorboard")
# Of the process, that libraries compute by; not what they print, nor where the others are.
_VARIABLES = re.compile(
    r"(?!TF_CPP_|TF_CONFIG)(TF|XLA|OMP|ONEDNN|DNNL|MKL|OPENBLAS|CUDA|NCCL|KERAS)_"
)
# Of environment.json: what changes how numbers are rounded, or which.
_COMPUTES = (
    "python",
    "versions",
    "git",
    "machine",
    "cpu",
    "cpus",
    "threads",
    "devices",
    "variables",
)


def environment(data: str) -> dict:
    """What a reader needs to run the same again: command, versions, code, machine, `data`: the fingerprint of the training set."""

    def git(*words):
        try:
            found = subprocess.run(
                ["git", *words],
                cwd=Path(__file__).parent,
                capture_output=True,
                text=True,
                timeout=10,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return found.stdout.strip() if found.returncode == 0 else None

    return {
        "argv": sys.argv,
        "directory": os.getcwd(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES},
        "git": {"commit": git("rev-parse", "HEAD"), "diff": git("diff", "HEAD")},
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": _cpu(),
        "cpus": len(os.sched_getaffinity(0)),
        "threads": {
            "inside": tf.config.threading.get_intra_op_parallelism_threads(),
            "between": tf.config.threading.get_inter_op_parallelism_threads(),
        },  # 0: as many as there are CPUs
        "variables": {
            name: value for name, value in sorted(os.environ.items()) if _VARIABLES.match(name)
        },
        "data": data,
        "devices": [
            tf.config.experimental.get_device_details(d).get("device_name", d.name)
            for d in tf.config.list_physical_devices()
        ],
    }


def _cpu() -> dict:
    """Model and instruction sets of the first CPU, as Linux tells them; nothing elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            first = file.read().partition("\n\n")[0]
    except OSError:
        return {}
    found = dict(re.findall(r"(?m)^([^\t:]+?)\s*: ?(.*)$", first))
    return {"model": found.get("model name"), "flags": found.get("flags", found.get("Features"))}


def other_environment(before: dict, now: dict) -> list[str]:
    """`what: before -> now` of everything that may round numbers otherwise."""
    rows = {key: (before.get(key), now.get(key)) for key in _COMPUTES}
    for key in ("versions", "git", "cpu", "threads", "variables"):
        old, new = (each if isinstance(each, dict) else {} for each in rows.pop(key))
        rows |= {f"{key}.{name}": (old.get(name), new.get(name)) for name in sorted({*old, *new})}
    shown = [
        (key, *(str(value)[:40] for value in pair))
        for key, pair in rows.items()
        if pair[0] != pair[1]
    ]
    return [
        f"{key}: {old} -> {new}" if old != new and key != "cpu.flags" else f"{key} differ"
        for key, old, new in shown
    ]
