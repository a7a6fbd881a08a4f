"""One writer in a run directory: its lock, taken and left without a race.

The kernel locks the file `lock` and releases it however the process dies. Who has locked a file
looks whether that file still is the one in the directory: another may have removed it meanwhile.
Where there are no such locks (some network storage, Windows), the file itself is the lock: made by
one process, with its name in it, and broken when that process is dead. Nothing here imports
TensorFlow.
"""

import contextlib
import errno
import functools
import os
import re
import socket
import stat
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cli.files import flush, kind_of
from cli.program import BusyError, CheckpointError, ConfigError, ResourceError, warn

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

_NAME = "lock"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_FLAGS = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_MOST_TRIES = 1000
_OWNER = re.compile(r"process ([1-9][0-9]{0,8}) on (\S+) since \S+")


@dataclass
class _Lock:
    """A lock that this process holds."""

    file: Path
    descriptor: int
    is_new: bool  # whether this process has made the file
    by_file: bool  # whether the kernel has no locks here
    made: list[Path]  # directories that this process has made, the innermost first
    others: set[str]  # what else was there

    def is_in_place(self) -> bool:
        """Whether the file still is the one under its name."""
        try:
            return os.path.samestat(os.lstat(self.file), os.fstat(self.descriptor))
        except OSError:
            return False

    def content(self) -> bytes:
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        return os.read(self.descriptor, 1000)

    def close(self) -> None:
        os.close(self.descriptor)

    def leave(self) -> None:
        """Lets it go, and takes away what was made for it where nothing else has come."""
        try:
            if self.is_in_place() and self._is_unused():
                self.file.unlink()
                with contextlib.suppress(OSError):  # directories that others began to use stay
                    for directory in self.made:
                        directory.rmdir()
        finally:
            self.close()

    def _is_unused(self) -> bool:
        names = {*os.listdir(self.file.parent)} - {_NAME}
        return self.by_file or (names == self.others and (self.is_new or not names))


_held: dict[str, _Lock] = {}  # by absolute path of the directory


@contextlib.contextmanager
def lock(run_dir: Path, flag: str = "--run_dir"):
    """Holds the run directory for this process. Makes it, and removes it if nothing came into it.

    Raises BusyError with the holder's name, ResourceError for a place that cannot be written.
    """
    run_dir = Path(run_dir)
    try:
        str(run_dir).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{run_dir}: expected a path in UTF-8") from error
    try:
        held = _take(run_dir, flag)
    except OSError as error:
        raise ResourceError(
            f"{run_dir}: cannot write here: {error.strerror}; choose another with {flag}"
        ) from error
    key = os.path.abspath(run_dir)
    _held[key] = held
    try:
        yield
    finally:
        del _held[key]
        held.leave()


def check_held(run_dir: Path) -> None:
    """Raises ResourceError where a directory is no longer the one that this process has locked."""
    held = _held.get(os.path.abspath(run_dir))
    if held is None or held.is_in_place():
        return
    if not run_dir.exists():
        raise ResourceError(f"{run_dir}: expected the run's directory, which somebody has deleted")
    raise ResourceError(
        f"{run_dir}: expected the directory in which this run began; it was renamed or replaced, "
        f"or its file {_NAME} was: nothing more is written here; what was saved is where it is now"
    )


# ---- taking it


def _take(run_dir: Path, flag: str) -> _Lock:
    made = []
    problem = OSError(errno.EBUSY, os.strerror(errno.EBUSY))
    for _ in range(_MOST_TRIES):
        try:
            made += [path for path in _make(run_dir) if path not in made]
            if held := _try(_open(run_dir, made), flag):
                return held
        except (FileNotFoundError, FileExistsError) as error:  # another has removed it meanwhile
            problem = error
            if os.path.lexists(run_dir) and not run_dir.is_dir():
                break
        time.sleep(0.001)
    raise problem


def _try(held: _Lock, flag: str) -> _Lock | None:
    """The lock, taken; None where its file is no longer the one of the directory."""
    undo = held.close
    try:
        if not _is_free(held):
            raise _busy(held, flag)
        if not held.is_in_place():
            return None
        _check_content(held)
        undo = held.leave
        _sign(held)
        undo = contextlib.nullcontext
    finally:
        undo()
    return held


def _make(run_dir: Path) -> list[Path]:
    """Makes the directory; returns which directories were not there, the innermost first."""
    missing = [path for path in (run_dir, *run_dir.parents) if not path.exists()]
    run_dir.mkdir(parents=True, exist_ok=True)
    for path in missing:
        flush(path.parent)  # a checkpoint is durable only if all directories above it are
    return missing


def _open(run_dir: Path, made: list[Path]) -> _Lock:
    """Its lock, not yet taken. Raises CheckpointError where something else has that name."""
    file = run_dir / _NAME
    others = {*os.listdir(run_dir)} - {_NAME}
    try:
        descriptor = os.open(file, _FLAGS | os.O_CREAT | os.O_EXCL, 0o644)
        return _Lock(file, descriptor, True, False, made, others)
    except FileExistsError:
        status = os.lstat(file)
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"{file}: expected a regular file, got {kind_of(status)}")
    return _Lock(file, os.open(file, _FLAGS), False, False, made, others)


def _is_free(held: _Lock) -> bool:
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        fcntl.flock(held.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _warn_of_files(held.file.parent, error.strerror)
    held.by_file = True
    return held.is_new or _is_broken(held)


@functools.cache
def _warn_of_files(run_dir: Path, reason: str) -> None:
    warn(
        f"warning: {run_dir}: no locks here ({reason}): its file {_NAME} keeps others out, "
        "but a killed run on another machine leaves it"
    )


def _busy(held: _Lock, flag: str) -> BusyError:
    owner = held.content().decode(errors="replace") or "another process"
    cure = f"; if that has ended, remove {held.file}" if held.by_file else ""
    return BusyError(
        f"{held.file.parent}: in use by {owner}; wait for it or choose another {flag}{cure}"
    )


def _check_content(held: _Lock) -> None:
    """Raises CheckpointError for a file that is no lock: it may be a user's own."""
    content = held.content().strip(b"\0")  # zeros: after a loss of power
    is_lock = content.startswith(b"process ") or b"process ".startswith(content)
    if not is_lock and "config.yaml" not in held.others:
        raise CheckpointError(
            f"{held.file}: expected the lock of a run, got another file; choose another directory"
        )


def _sign(held: _Lock) -> None:
    """Writes who has the lock."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    owner = f"process {os.getpid()} on {socket.gethostname()} since {since}"
    os.ftruncate(held.descriptor, 0)
    os.lseek(held.descriptor, 0, os.SEEK_SET)
    os.write(held.descriptor, owner.encode())


# ---- without locks of the kernel


def _is_broken(held: _Lock) -> bool:
    """Removes the file of an owner that is dead; then it is not in place, and is made anew.

    One process at a time: between looking and removing, another may have made its own.
    """
    content = held.content()
    if not _is_dead(content):
        return False
    guard = held.file.with_name(f"{_NAME}.breaking")
    try:
        os.close(os.open(guard, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    try:
        if held.is_in_place() and held.content() == content:
            held.file.unlink()
    finally:
        guard.unlink()
    return True


def _is_dead(owner: bytes) -> bool:
    """Whether a process of this machine that has ended wrote this; no where that is not known."""
    match = _OWNER.fullmatch(owner.decode(errors="replace"))
    if match is None or match[2] != socket.gethostname() or os.name == "nt":
        return False
    process = int(match[1])
    if process == os.getpid():
        return not any(held.content() == owner for held in _held.values())
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is somebody else's
        return False
    return False
