"""What a run is computed with: environment.json, and what of it is not so any more.

Everything that ran: packages with their versions, devices, variables of the environment, and the
code: the commit, what differs from it, and text files that git does not know, such as a network
that was never committed.
"""

import os
import platform
import re
import shlex
import stat
import subprocess
import sys
from importlib.metadata import distributions, version
from pathlib import Path

import tensorflow as tf

from cli import files, program
from cli.program import ROOT, CheckpointError

_CPU_INFO = Path("/proc/cpuinfo")  # on Linux
_PACKAGES = ("tensorflow", "keras", "numpy", "pydantic", "tensorboard")
# Environment variables that change results; not logging, not cluster addresses.
_VARIABLES = re.compile(
    r"(?!TF_CPP_|TF_CONFIG)(TF|XLA|OMP|ONEDNN|DNNL|MKL|OPENBLAS|CUDA|NCCL|KERAS)_"
)
# Entries that may change how numbers are rounded: plain ones, and dictionaries.
_PLAIN = ("python", "machine", "cpus", "devices")
_NESTED = ("versions", "git", "cpu", "threads", "variables")

# What of the checkout is kept, in bytes.
_MOST_OF_DIFF = 1 << 19
_MOST_OF_FILE = 1 << 17
_MOST_OF_FILES = 1 << 19
_MOST_LOOKED_AT = 2000  # files, since data may lie in the checkout
_MOST_NAMED = 50  # of what is left out
_RUN_FILES = ("lock", "environment.json")  # a directory with one of them is a run's
_MAY_BE_SECRET = re.compile(r"secret|credential|token|passw|\.pem$|\.key$|^id_[a-z0-9]+$", re.I)


def environment(data: str) -> dict:
    """What is needed to run the same again. `data`: the fingerprint of the training set."""
    variables = {name: os.environ[name] for name in sorted(os.environ) if _VARIABLES.match(name)}
    threading = tf.config.threading
    return {
        "argv": sys.argv,
        "directory": os.getcwd(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES},
        "packages": _packages(),
        "git": checkout(),
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


def _packages() -> dict[str, str]:
    """Versions of all that is installed, by name."""
    found = {}
    for package in distributions():
        name = package.metadata["Name"]
        if name:  # what a broken removal leaves has none
            found.setdefault(name.lower(), package.version)  # the first on the path is imported
    return dict(sorted(found.items()))


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


# ---- the code


def checkout(root: Path = ROOT) -> dict:
    """The commit of the project, `diff` to it, {path: text} of `untracked`, and what is `left_out`.

    None where there is no git. Files that are not text, large, hidden, of runs, or that may hold
    secrets are left out; each with its reason.
    """
    commit = _git(root, "rev-parse", "HEAD")
    diff = _git(root, "diff", "--no-ext-diff", "--no-color", "HEAD")
    left_out = []
    if diff and len(diff) > _MOST_OF_DIFF:
        left_out.append(f"diff: beyond {_MOST_OF_DIFF:,} of {len(diff):,} characters")
        diff = diff[:_MOST_OF_DIFF]
    found = {"commit": commit, "diff": diff, "untracked": None, "left_out": left_out}
    names = _git(root, "ls-files", "--others", "--exclude-standard", "-z")
    if names is not None:
        found["untracked"] = _untracked(root, sorted(filter(None, names.split("\0"))), left_out)
    return found


def _git(root: Path, *words: str) -> str | None:
    command = ["git", "-C", str(root), *words]
    try:
        output = subprocess.check_output(command, stderr=subprocess.DEVNULL, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return output.decode(errors="replace").strip()


def _untracked(root: Path, names: list[str], left_out: list[str]) -> dict[str, str]:
    """{path: text}, code first; says in `left_out` what is not among them."""
    texts = {}
    room = _MOST_OF_FILES
    reasons = []
    by_kind = sorted(names, key=lambda name: (not name.endswith(".py"), name))
    for name in by_kind[:_MOST_LOOKED_AT]:
        path = root / name
        if _is_of_run(root, path):
            continue
        reason, text = _text_of(path, name)
        if text is not None and len(text) > room:
            reason = f"more than {_MOST_OF_FILES:,} bytes in all"
        if reason:
            reasons.append(f"{name}: {reason}")
            continue
        texts[name] = text
        room -= len(text)
    left_out += reasons[:_MOST_NAMED]
    more = len(reasons[_MOST_NAMED:]) + len(names[_MOST_LOOKED_AT:])
    if more:
        left_out.append(f"and {more:,} more files")
    return texts


def _is_of_run(root: Path, path: Path) -> bool:
    folders = [folder for folder in path.parents if folder != root and folder.is_relative_to(root)]
    return any((folder / name).exists() for folder in folders for name in _RUN_FILES)


def _text_of(path: Path, name: str) -> tuple[str | None, str | None]:
    """(why it is left out, its text); one of them is None."""
    if any(part.startswith(".") or _MAY_BE_SECRET.search(part) for part in name.split("/")):
        return "hidden, or may hold secrets", None
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return "no regular file", None
        if status.st_size > _MOST_OF_FILE:
            return f"{status.st_size:,} bytes", None
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        return "no text", None
    except OSError as error:
        return str(error.strerror), None
    return ("no text", None) if "\0" in text else (None, text)


# ---- what is not so any more


def environment_changes(before: dict, now: dict) -> list[str]:
    """`what: before -> now` of everything that may round numbers differently."""
    return _differences(_flat(before), _flat(now))


def reproduce(run_dir: Path, data: str | None) -> dict:
    """Says what differs between a run's environment and this one; how to have it again.

    `data`: the fingerprint of the training set now; None where it cannot be read.
    """
    before = read_environment(run_dir)
    now = environment(data or "not here")
    differences = [
        *environment_changes(before, now),
        *_differences(_packages_of(before), _packages_of(now)),
        *_differences(_other_files_of(before), _other_files_of(now)),
    ]
    if before.get("data") != now["data"]:
        differences.append("data differ" if data else "data: not here")
    argv = before.get("argv")
    command = shlex.join(map(str, argv)) if isinstance(argv, list) else None
    for line in differences or ["nothing differs"]:
        program.warn(f"{run_dir}: {line}")
    left_out = _dictionary(before, "git").get("left_out")
    for line in left_out if isinstance(left_out, list) else []:
        program.warn(f"{run_dir}: not kept: {line}")
    return {
        "run_dir": str(run_dir),
        "command": command,
        "directory": before.get("directory"),
        "commit": _dictionary(before, "git").get("commit"),
        "differences": differences,
    }


def read_environment(run_dir: Path) -> dict:
    """Raises CheckpointError for what is no environment.json."""
    file = run_dir / "environment.json"
    expected = f"{file}: expected the environment of a run"

    def failure(message: str) -> CheckpointError:
        return CheckpointError(f"{expected}: {message.removeprefix(f'{file}: ')}")

    try:
        return files.read_json(file, dict, failure)
    except FileNotFoundError as error:
        raise failure("no such file") from error


def _dictionary(environment: dict, key: str) -> dict:
    nested = environment.get(key)
    return nested if isinstance(nested, dict) else {}


def _packages_of(environment: dict) -> dict:
    """Those that `versions` does not name."""
    packages = _dictionary(environment, "packages")
    return {f"packages.{name}": packages[name] for name in packages if name not in _PACKAGES}


def _files_of(environment: dict) -> dict:
    untracked = _dictionary(_dictionary(environment, "git"), "untracked")
    return {f"untracked {name}": text for name, text in untracked.items()}


def _other_files_of(environment: dict) -> dict:
    files = _files_of(environment)
    return {name: text for name, text in files.items() if not name.endswith(".py")}


def _flat(environment: dict) -> dict:
    """Entries that may change how numbers are rounded, those of dictionaries as `key.name`."""
    entries = {key: environment.get(key) for key in _PLAIN}
    for key in _NESTED:
        nested = _dictionary(environment, key)
        entries |= {f"{key}.{name}": value for name, value in nested.items()}
    kept = {key: entries[key] for key in entries if key not in ("git.untracked", "git.left_out")}
    code = {name: text for name, text in _files_of(environment).items() if name.endswith(".py")}
    return kept | code


def _differences(old: dict, new: dict) -> list[str]:
    changed = [key for key in old | new if old.get(key) != new.get(key)]
    return [_change(key, old.get(key), new.get(key)) for key in changed]


def _change(key: str, old, new) -> str:
    if key.startswith("untracked "):
        return f"{key}: {'not here' if new is None else 'new' if old is None else 'differs'}"
    before, after = (" ".join(str(value)[:40].split()) for value in (old, new))
    same = before == after or key in ("cpu.flags", "git.diff")
    return f"{key} differ" if same else f"{key}: {before} -> {after}"
