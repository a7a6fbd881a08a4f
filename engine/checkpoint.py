"""Durable state: checkpoints that are whole or not there.

    checkpoints/step-0000001200/{variables.index, variables.data-*, state.json, MANIFEST.json}

A checkpoint is written under a temporary name, every file flushed to the disk, the manifest (sizes
and SHA-256) last, then renamed. So a directory that has the right name is complete, whatever was
killed, and its manifest says whether the disk has kept it so. There is no pointer file: the newest
checkpoint is the highest step that verifies. Nothing here imports TensorFlow; the function that
writes variables and the one that reads them are passed in.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel

import train_config
from cli import files
from cli.files import flush, kind_of
from cli.program import CheckpointError, ConfigError, ResourceError, warn
from engine.run_lock import check_held, lock

__all__ = ["flush", "lock"]  # used from here

_STEP = re.compile(r"step-(\d{10,})")
DISK = {
    errno.ENOSPC: "disk full",
    errno.EDQUOT: "disk quota exceeded",
    errno.EFBIG: "file size limit",
    errno.EIO: "disk error",
}


# ---- saving


def path_of(directory: Path, step: int) -> Path:
    return directory / f"step-{step:010d}"


def commit(
    directory: Path, step: int, write: Callable[[Path], None], state: dict, size: int
) -> Path:
    """Saves one checkpoint: the files that `write(path)` makes, and `state` as state.json.

    `size`: about how many bytes that is, for the message of a full disk. The parent of `directory`
    must exist: where it was deleted, nothing is put in its place. When this returns, the checkpoint
    survives a loss of power. Whenever it does not, the others are as they were; an OSError of the
    disk becomes ResourceError. One of the same step gives way to it.
    """
    final = path_of(directory, step)
    temporary = directory / f".writing-{final.name}"
    replaced = directory / f".replaced-{final.name}"
    check_held(directory.parent)
    try:
        if not _is_directory(directory):
            directory.mkdir()
            flush(directory.parent)
        _discard(temporary)
        temporary.mkdir()
        write(temporary)
        (temporary / "state.json").write_text(json.dumps(state, indent=1))
        _write_manifest(temporary, step)
        flush(temporary)
        if final.exists():
            os.rename(final, replaced)
        os.rename(temporary, final)
        flush(directory)
        if replaced.exists():
            shutil.rmtree(replaced)
    except BaseException as error:
        with contextlib.suppress(OSError):
            _discard(temporary)
        _name_disk_error(error, final, size)
        raise
    return final


def _name_disk_error(error: BaseException, final: Path, size: int) -> None:
    """Raises ResourceError for what the disk or somebody who deletes has done."""
    run_dir = final.parent.parent
    number = getattr(error, "errno", None)
    if number == errno.ENOENT and not run_dir.exists():
        raise ResourceError(
            f"{run_dir}: expected the run's directory, which somebody has deleted"
        ) from error
    if number in DISK:
        raise ResourceError(
            f"{final}: {DISK[number]} while saving a checkpoint (about {size:,} bytes "
            f"needed, {shutil.disk_usage(run_dir).free:,} bytes free); the earlier "
            "ones are intact; make room on the disk and run the same command again"
        ) from error


def _write_manifest(directory: Path, step: int) -> None:
    fingerprints = {}
    for file in sorted(directory.iterdir()):
        fingerprints[file.name] = _fingerprint(file)
        flush(file)
    manifest = directory / "MANIFEST.json"
    manifest.write_text(json.dumps({"step": step, "files": fingerprints}, indent=1))
    flush(manifest)


def _fingerprint(file: Path) -> dict:
    with open(file, "rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"bytes": file.stat().st_size, "sha256": sha256}


def keep_only(directory: Path, steps: set[int]) -> None:
    """Removes every other checkpoint."""
    for step, path in steps_in(directory).items():
        if step not in steps:
            remove(path)


def keep_last(directory: Path, number: int, others: Iterable[int]) -> None:
    """Removes all but the last `number` checkpoints and those of the `others`, which are steps."""
    last = list(steps_in(directory))[-number:]
    keep_only(directory, {*last, *others})


def remove(path: Path) -> None:
    """Removes a checkpoint, if there; renamed first, so that its name never holds half of one."""
    doomed = path.with_name(f".removing-{path.name}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, doomed)
        _discard(doomed)


def _discard(path: Path) -> None:
    """Removes a directory, or whatever else has its name; what a link points to stays."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def clean_up(directory: Path) -> None:
    """Removes what a killed save or removal left behind. Call it with the run's lock held."""
    for replaced in directory.glob(".replaced-*"):
        final = replaced.with_name(replaced.name.removeprefix(".replaced-"))
        if final.exists():
            shutil.rmtree(replaced)
        else:
            os.rename(replaced, final)
    for leftover in [*directory.glob(".writing-*"), *directory.glob(".removing-*")]:
        warn(f"{leftover}: left behind by a killed process; removed")
        _discard(leftover)


# ---- finding and verifying


def steps_in(directory: Path) -> dict[int, Path]:
    """{step: path} of a directory's checkpoints, rising; not verified."""
    if not _is_directory(directory):
        return {}
    # Not glob(), which says nothing of a directory that it may not read.
    matches = [(_STEP.fullmatch(path.name), path) for path in directory.iterdir()]
    return dict(sorted((int(match[1]), path) for match, path in matches if match))


def has_any(directory: Path) -> bool:
    """Whether there has ever been a checkpoint, sound or not."""
    return bool(steps_in(directory)) or any(directory.glob("step-*.bad"))


def _is_directory(path: Path) -> bool:
    """Raises CheckpointError for anything else of that name: a link would lead elsewhere."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not stat.S_ISDIR(status.st_mode):
        raise CheckpointError(f"{path}: expected a directory of the run, got {kind_of(status)}")
    return True


class _Entry(BaseModel, strict=True):
    bytes: int
    sha256: str


class _Manifest(BaseModel, strict=True):
    step: int
    files: dict[str, _Entry]


class _State(BaseModel, strict=True, extra="allow"):
    step: int


def verify(path: Path) -> None:
    """Raises CheckpointError, naming the file, unless every file is as the manifest says.

    It names exactly the files that are there, but for hidden ones, which are none of ours.
    """
    manifest_file = path / "MANIFEST.json"
    try:
        if not _is_directory(path):
            raise CheckpointError(f"{path}: no such checkpoint")
        manifest = files.read_json(manifest_file, _Manifest)
        _check_names(path, manifest)
        for name, entry in manifest.files.items():
            _check_file(path / name, entry)
        state = read_state(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{error.filename}: no such file in this checkpoint") from error
    for file, step in ((manifest_file, manifest.step), (path / "state.json", state["step"])):
        if path_of(path.parent, step).name != path.name.removesuffix(".bad"):
            raise CheckpointError(f"{file}: expected the step of {path.name}, got {step}")


def _check_names(path: Path, manifest: _Manifest) -> None:
    file = path / "MANIFEST.json"
    names = {name for name in os.listdir(path) if not name.startswith(".")} - {file.name}
    for name in manifest.files:
        if os.path.basename(name) != name or (name in names and (path / name).is_symlink()):
            raise CheckpointError(f"{file}: {name:.80}: expected a file of this directory")
        if name not in names:
            raise CheckpointError(f"{path}/{name:.80}: no such file in this checkpoint")
    if "state.json" not in manifest.files:
        raise CheckpointError(f"{file}: expected state.json among its files")
    if unlisted := names - {*manifest.files}:
        raise CheckpointError(
            f"{file}: expected the names of all files that are there, "
            f"not without {listed(sorted(unlisted))}"
        )


def _check_file(file: Path, entry: _Entry) -> None:
    with files.naming(file), files.open_regular(file) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size != entry.bytes:
            raise CheckpointError(f"{file}: expected {entry.bytes:,} bytes, got {size:,}")
        if hashlib.file_digest(stream, "sha256").hexdigest() != entry.sha256:
            raise CheckpointError(
                f"{file}: its bytes have changed: SHA-256 differs from the manifest's"
            )


def _damage_of(path: Path) -> str | None:
    """What is wrong with a checkpoint; None for one that verifies."""
    try:
        verify(path)
    except CheckpointError as error:
        return str(error)
    return None


def newest(directory: Path, *, quarantine: bool = False) -> Path | None:
    """The newest checkpoint that verifies; None where there has never been one.

    Damaged newer ones are named in a warning with the steps lost and, with `quarantine`, renamed
    `*.bad`. Where all are damaged, CheckpointError: never a silent start from scratch.
    """
    if not has_any(directory):
        return None
    return _newest_sound(directory, steps_in(directory), quarantine)


def _newest_sound(directory: Path, steps: dict[int, Path], quarantine: bool) -> Path | None:
    damage = {}
    removed = False
    for step, path in reversed(steps.items()):
        problem = _damage_of(path)
        if problem is None:
            for lost, reason in damage.items():
                warn(f"warning: {reason}; going on from step {step}, {lost - step} steps before")
            return path
        if not os.path.lexists(path):
            removed = True
            continue
        damage[step] = problem
        if quarantine:
            bad = path.with_name(f"{path.name}.bad")
            _discard(bad)
            os.rename(path, bad)
    if removed:  # The trainer removed it while we were reading: look again.
        return newest(directory, quarantine=quarantine)
    reason = f"; the newest: {next(iter(damage.values()))}" if damage else ""
    raise CheckpointError(
        f"{directory}: every checkpoint is damaged{reason}; move them away to start again"
    )


def run_of(path: str | Path) -> Path:
    """The same path, if it is a run's; else CheckpointError that says what is there."""
    path = Path(path)
    if (path / "config.yaml").is_file():
        return path
    names = "no such directory"
    if path.is_dir():
        names = listed(sorted(os.listdir(path))) or "nothing"
    raise CheckpointError(
        f"{path}: expected a run directory with a config.yaml, or one of its checkpoints; "
        f"found: {names}"
    )


def find_run(ckpt: str | Path) -> tuple[Path, Path | None]:
    """A run's directory or one step's -> (run's directory, step's directory if it was named)."""
    path = Path(ckpt)
    run_dir = path.parent.parent
    if (path / "MANIFEST.json").is_file() and (run_dir / "config.yaml").is_file():
        return run_dir, path
    return run_of(path), None


def chosen(run_dir: Path, which: str = "newest") -> Path:
    """A verified checkpoint of a run: its `newest`, its `best`, or that of a step's number.

    Raises CheckpointError where there is none.
    """
    directory = run_dir / "checkpoints"
    path = newest(directory)
    if path is None:
        raise CheckpointError(f"{directory}: no checkpoint yet; expected at least one")
    if which == "newest":
        return path
    steps = steps_in(directory)
    if which == "best":
        progress = read_state(path)["progress"]
        best = [step for _, step in progress["best"]]
        if not best and progress.get("early_step") is not None:
            best = [progress["early_step"]]
        if not best:
            raise CheckpointError(
                f"{run_dir}: no best checkpoint; expected checkpoint.best or early_stopping"
            )
        which = str(best[0])
    if not which.isdecimal() or int(which) not in steps:
        has = listed(map(str, steps))
        raise CheckpointError(f"{run_dir}: no checkpoint of step {which}; it has {has}")
    verify(steps[int(which)])
    return steps[int(which)]


def load_run_config(run_dir: Path, overrides: Iterable[str] = ()) -> train_config.TrainConfig:
    """A run's configuration. Raises CheckpointError for its file, ConfigError for the overrides."""
    file = run_dir / "config.yaml"
    try:
        config = train_config.load_config(file)
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    return train_config.load_config(file, overrides) if overrides else config


def verify_all(run_dir: Path) -> dict:
    """The steps of a run's checkpoints, every byte of which was read.

    Raises CheckpointError that names the damaged ones.
    """
    directory = run_dir / "checkpoints"
    steps = steps_in(directory)
    damage = list(filter(None, map(_damage_of, steps.values())))
    set_aside = sorted(directory.glob("step-*.bad"))
    damage += [f"{path}: was damaged and set aside" for path in set_aside]
    if damage:
        raise CheckpointError(f"{run_dir}: {'; '.join(damage)}")
    if not steps:
        raise CheckpointError(f"{directory}: no checkpoint yet; expected at least one")
    return {"run_dir": str(run_dir), "verified": list(steps)}


# ---- restoring


def read_state(path: Path) -> dict:
    """What a checkpoint holds beside variables; `step` at least."""
    return files.read_json(path / "state.json", _State).model_dump()


def restore(path: Path, variables: Mapping, values: Mapping) -> None:
    """Assigns the values of a checkpoint to every variable, or to none of them.

    Values of other groups (the first part of the name) are left out. Raises CheckpointError where a
    variable is missing, left over, or of another shape or type.
    """
    groups = {name.split("/")[0] for name in variables}
    saved = {name for name in values if name.split("/")[0] in groups}
    problems = [f"{name}: missing in the checkpoint" for name in sorted({*variables} - saved)]
    problems += [f"{name}: in the checkpoint only" for name in sorted(saved - {*variables})]
    for name in sorted(saved & {*variables}):
        expected = _type_of(variables[name])
        got = _type_of(values[name])
        if expected != got:
            problems.append(f"{name}: expected {expected}, got {got}")
    if problems:
        raise CheckpointError(f"{path}: does not fit this model: {listed(problems, '; ')}")
    for name, variable in variables.items():
        variable.assign(values[name])


def _type_of(value) -> str:
    return f"{value.dtype}{list(value.shape)}"


def listed(items: Iterable[str], separator: str = ", ", most: int = 10) -> str:
    """The first of them in one line, and how many more there are."""
    items = list(items)
    more = f" (and {len(items) - most} more)" if len(items) > most else ""
    return separator.join(items[:most]) + more
