"""Durable state: a run directory's lock, and checkpoints that are whole or not there.

    checkpoints/step-0000001200/{variables.index, variables.data-*, state.json, MANIFEST.json}

A checkpoint is written under a temporary name, every file flushed to the disk, the manifest (sizes and SHA-256) last,
then renamed. So a directory that has the right name is complete, whatever was killed, and its manifest says whether the
disk has kept it so. There is no pointer file: the newest checkpoint is the highest step that verifies.
Nothing here imports TensorFlow; who writes and reads variables is passed in.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from cli.program import BusyError, CheckpointError, ResourceError, warn

_STEP = re.compile(r"step-(\d{10,})")
DISK = {
    errno.ENOSPC: "disk full",
    errno.EDQUOT: "disk quota exceeded",
    errno.EFBIG: "file size limit",
    errno.EIO: "disk error",
}


# ------------------------------------------------------------------------------------------------------- committing


def path_of(directory: Path, step: int) -> Path:
    return directory / f"step-{step:010d}"


def commit(
    directory: Path, step: int, write: Callable[[Path], None], state: dict, size: int
) -> Path:
    """Saves one checkpoint: `write(path)` puts the variables' files into a new directory, `state` becomes state.json.

    `size`: about how many bytes that is, for the message of a full disk. The parent of `directory` must exist: where it
    was deleted, nothing is put in its place. When this returns, the checkpoint survives a loss of power. Whenever it does
    not, the others are as they were; an OSError of the disk becomes ResourceError.
    """
    final = path_of(directory, step)
    temporary = directory / f".writing-{final.name}"
    try:
        if not directory.exists():
            directory.mkdir()
            flush(directory.parent)
        temporary.mkdir()
        write(temporary)
        (temporary / "state.json").write_text(json.dumps(state, indent=1))
        files = sorted(temporary.iterdir())
        manifest = {"step": step, "files": {file.name: _fingerprint(file) for file in files}}
        for file in files:
            flush(file)
        (temporary / "MANIFEST.json").write_text(json.dumps(manifest, indent=1))
        flush(temporary / "MANIFEST.json")
        flush(temporary)
        os.rename(temporary, final)
        flush(directory)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, FileNotFoundError) and not directory.parent.exists():
            raise ResourceError(
                f"{directory.parent}: expected the run's directory, which somebody has deleted"
            ) from error
        if isinstance(error, OSError) and error.errno in DISK:
            raise ResourceError(
                f"{final}: {DISK[error.errno]} while saving a checkpoint (about {size:,} bytes needed, "
                f"{shutil.disk_usage(directory.parent).free:,} bytes free); the earlier ones are intact; "
                "make room on the disk and run the same command again"
            ) from error
        raise
    return final


def _fingerprint(file: Path) -> dict:
    with open(file, "rb") as stream:
        return {
            "bytes": file.stat().st_size,
            "sha256": hashlib.file_digest(stream, "sha256").hexdigest(),
        }


def flush(path: Path) -> None:
    """fsync of a file or, so that its names are durable too, of a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def keep_only(directory: Path, steps: set[int]) -> None:
    """Removes every other checkpoint."""
    for step, path in steps_in(directory).items():
        if step not in steps:
            remove(path)


def remove(path: Path) -> None:
    """Removes a checkpoint, renamed first so that nobody meets half of one under its own name; none is no error."""
    doomed = path.with_name(f".removing-{path.name}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, doomed)
        shutil.rmtree(doomed)


def clean_up(directory: Path) -> None:
    """Removes what a killed save or removal left behind. Call it with the run's lock held."""
    for leftover in [*directory.glob(".writing-*"), *directory.glob(".removing-*")]:
        warn(f"{leftover}: left behind by a killed process; removed")
        shutil.rmtree(leftover)


# ---------------------------------------------------------------------------------------------------------- finding


def steps_in(directory: Path) -> dict[int, Path]:
    """{step: path} of the checkpoints there, rising; not verified."""
    if not directory.is_dir():
        return {}
    found = {
        int(match[1]): path for path in directory.iterdir() if (match := _STEP.fullmatch(path.name))
    }
    return dict(sorted(found.items()))


def verify(path: Path) -> None:
    """Raises CheckpointError, naming the file, unless every file is as the manifest says."""
    try:
        manifest = json.loads((path / "MANIFEST.json").read_bytes())
        for name, expected in manifest["files"].items():
            if os.path.basename(name) != name or (path / name).is_symlink():
                raise CheckpointError(
                    f"{path / 'MANIFEST.json'}: {name}: expected a file of this directory"
                )
            size = (path / name).stat().st_size
            if size != expected["bytes"]:
                raise CheckpointError(
                    f"{path / name}: expected {expected['bytes']:,} bytes, got {size:,}"
                )
            if _fingerprint(path / name)["sha256"] != expected["sha256"]:
                raise CheckpointError(
                    f"{path / name}: its bytes have changed: SHA-256 differs from the manifest's"
                )
        if "state.json" not in manifest["files"]:
            raise CheckpointError(f"{path / 'MANIFEST.json'}: expected state.json among its files")
    except FileNotFoundError as error:
        raise CheckpointError(f"{error.filename}: no such file in this checkpoint") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path / 'MANIFEST.json'}: not a manifest: {error}") from error


def newest(directory: Path, *, quarantine: bool = False) -> Path | None:
    """The newest checkpoint that verifies; None where there has never been one.

    Damaged newer ones are named in a warning with the steps lost and, with `quarantine`, renamed `*.bad`. Where all are
    damaged, CheckpointError: never a silent start from scratch.
    """
    removed = True
    while removed:  # by a trainer, while we looked: there is a newer one by now
        steps, damage, removed = steps_in(directory), [], False
        for step in sorted(steps, reverse=True):
            path = steps[step]
            try:
                verify(path)
            except CheckpointError as error:
                if not path.exists():
                    removed = True
                    continue
                if quarantine:
                    shutil.rmtree(path.with_name(path.name + ".bad"), ignore_errors=True)
                    os.rename(path, path.with_name(path.name + ".bad"))
                damage.append((step, error))
                continue
            for bad, error in damage:
                warn(f"warning: {error}; going on from step {step}, {bad - step} steps before")
            return path
    if damage or list(directory.glob("step-*.bad")):
        reason = f"; the newest: {damage[0][1]}" if damage else ""
        raise CheckpointError(
            f"{directory}: every checkpoint is damaged{reason}; move them away to start again"
        )
    return None


def run_of(path: str | Path) -> Path:
    """The same path, if a run lives there; CheckpointError, saying what is there, if none does."""
    path = Path(path)
    if not (path / "config.yaml").is_file():
        there = (
            ", ".join(sorted(child.name for child in path.iterdir())[:10])
            if path.is_dir()
            else "no such directory"
        )
        raise CheckpointError(
            f"{path}: expected a run directory with a config.yaml, or one of its checkpoints; found: {there or 'nothing'}"
        )
    return path


def verify_all(run_dir: Path) -> dict:
    """The steps of a run's checkpoints, every byte of which was read. Raises CheckpointError that names the damaged ones."""
    directory = run_dir / "checkpoints"
    steps, damage = steps_in(directory), []
    for path in steps.values():
        try:
            verify(path)
        except CheckpointError as error:
            damage.append(str(error))
    damage += [
        f"{path}: was damaged and set aside" for path in sorted(directory.glob("step-*.bad"))
    ]
    if damage:
        raise CheckpointError(f"{run_dir}: {'; '.join(damage)}")
    if not steps:
        raise CheckpointError(f"{directory}: no checkpoint yet; expected at least one")
    return {"run_dir": str(run_dir), "verified": list(steps)}


def read_state(path: Path) -> dict:
    return json.loads((path / "state.json").read_bytes())


def restore(
    path: Path, variables: Mapping, read: Callable[[Path], dict], groups: tuple[str, ...]
) -> None:
    """Assigns every variable of `groups` (the first part of its name) from the checkpoint; all of them or none.

    Raises CheckpointError where a variable is missing, left over, or of another shape or type, on either side.
    """
    values = {name: value for name, value in read(path).items() if name.split("/")[0] in groups}
    problems = [
        f"{name}: missing in the checkpoint" for name in sorted(variables.keys() - values.keys())
    ]
    problems += [
        f"{name}: in the checkpoint only" for name in sorted(values.keys() - variables.keys())
    ]
    for name in sorted(variables.keys() & values.keys()):
        want, got = (
            (str(variables[name].dtype), tuple(variables[name].shape)),
            (values[name].dtype.name, values[name].shape),
        )
        if want != got:
            problems.append(
                f"{name}: expected {want[0]}{list(want[1])}, got {got[0]}{list(got[1])}"
            )
    if problems:
        more = f" (and {len(problems) - 10} more)" if len(problems) > 10 else ""
        raise CheckpointError(f"{path}: does not fit this model: {'; '.join(problems[:10])}{more}")
    for name, variable in variables.items():
        variable.assign(values[name])


# ---------------------------------------------------------------------------------------------------- one writer


@contextlib.contextmanager
def lock(run_dir: Path, flag: str = "--run_dir"):
    """Holds the run directory for this process; the kernel releases it when the process dies, however it dies.

    Creates the directory, and removes what it created again if nothing else came into it. Raises BusyError with the holder's name.
    """
    file = run_dir / "lock"
    made = [path for path in [run_dir, *run_dir.parents] if not path.exists()]
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        for path in made:
            flush(path.parent)  # a checkpoint is durable only where all names on the way to it are
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ResourceError(
            f"{run_dir}: cannot write here: {error.strerror}; choose another with {flag}"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 1000).decode() or "another process"
            raise BusyError(
                f"{run_dir}: in use by {holder}; wait for it or choose another {flag}"
            ) from None
        since = datetime.now(UTC).isoformat(timespec="seconds")
        os.ftruncate(descriptor, 0)
        os.write(
            descriptor, f"process {os.getpid()} on {socket.gethostname()} since {since}".encode()
        )
        try:
            yield
        finally:
            if run_dir.is_dir() and [path.name for path in run_dir.iterdir()] == ["lock"]:
                file.unlink()
                with contextlib.suppress(OSError):  # what others have begun to use stays
                    for path in made:
                        path.rmdir()
    finally:
        os.close(descriptor)


class Checkpoints:
    def __init__(self, directory, keep, write, size):
        self.directory, self.keep, self.write, self.size = directory, keep, write, size

    def save(self, step, variables, state, best_steps):
        commit(self.directory, step, lambda path: self.write(path, variables), state, self.size)
        last = list(steps_in(self.directory))[-self.keep :]
        keep_only(self.directory, {*last, *best_steps})


def find_run(ckpt) -> tuple[Path, Path | None]:
    """A run's directory or one step's -> (run directory, step's directory if one was named)."""
    path = Path(ckpt)
    if (path / "MANIFEST.json").is_file() and (path.parent.parent / "config.yaml").is_file():
        return path.parent.parent, path
    return run_of(path), None
