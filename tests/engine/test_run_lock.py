"""The lock of a run directory: one holder at a time, by the kernel or by the file itself."""

import collections
import errno
import json
import os
import socket
import subprocess
import sys

import pytest
from places import HANG, ROOT

from cli import files
from cli.program import BusyError, CheckpointError, ConfigError, ResourceError
from engine import checkpoint, run_lock

# Takes and leaves the lock of a directory for some seconds; counts what happened, as JSON.
RACE = """
import collections, errno, json, os, pathlib, sys, time
from cli.program import BusyError
from engine import run_lock

class NoLocks:
    LOCK_EX = LOCK_NB = 0
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

run_dir, seconds, by_kernel = pathlib.Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "True"
if not by_kernel:
    run_lock.fcntl = NoLocks
inside, found, end = run_dir.with_name("inside"), collections.Counter(), time.monotonic() + seconds
while time.monotonic() < end:
    try:
        with run_lock.lock(run_dir):
            try:
                os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                found["two holders"] += 1
            else:
                os.sched_yield()
                os.unlink(inside)
            found["held"] += 1
    except BusyError:
        found["busy"] += 1
    except Exception as error:
        found[repr(error)] += 1
print(json.dumps(found))
"""


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("by_kernel", [True, False])
def test_three_processes_never_hold_it_at_once(tmp_path, by_kernel, is_there):
    """Each removes the file when it leaves, and in one case the directory as well."""
    run_dir = tmp_path / "run"
    if is_there:
        run_dir.mkdir()
    command = [sys.executable, "-c", RACE, str(run_dir), "2", str(by_kernel)]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(3)
    ]
    found = collections.Counter()
    for process in processes:
        found.update(json.loads(process.communicate(timeout=HANG)[0]))
    assert found.keys() <= {"held", "busy"} and found["held"] > 10, found
    assert not any(run_dir.glob("*"))


def test_a_refused_run_leaves_the_directory_of_somebody_else_as_it_was(tmp_path):
    (tmp_path / "x.jpg").touch()
    with pytest.raises(CheckpointError, match="refused"), run_lock.lock(tmp_path):
        raise CheckpointError("refused")
    assert os.listdir(tmp_path) == ["x.jpg"]


def test_a_file_of_that_name_that_is_no_lock_keeps_its_bytes(tmp_path):
    (tmp_path / "lock").write_text("the combination is 1234")
    expected = "lock: expected the lock of a run, got another"
    with pytest.raises(CheckpointError, match=expected), run_lock.lock(tmp_path):
        pass
    assert (tmp_path / "lock").read_text() == "the combination is 1234"


def test_a_link_is_not_followed_and_a_fifo_not_waited_for(tmp_path):
    (tmp_path / "precious").write_text("precious")
    for number, make in enumerate(
        [lambda path: path.symlink_to(tmp_path / "precious"), os.mkfifo, os.mkdir]
    ):
        run_dir = tmp_path / str(number)
        run_dir.mkdir()
        make(run_dir / "lock")
        expected = "lock: expected a regular file, got a"
        with pytest.raises(CheckpointError, match=expected), run_lock.lock(run_dir):
            pass
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_path_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="UTF-8"), run_lock.lock(tmp_path / "\udcff"):
        pass
    assert not any(tmp_path.iterdir())


def write(path):
    (path / "weights").touch()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: run.rename(f"{run}.moved"), "run: expected the run's directory"),
        (lambda run: (run.rename(f"{run}.moved"), run.mkdir()), "it was renamed or replaced"),
        (lambda run: (run / "lock").unlink(), "or its file lock was"),
    ],
    ids=["renamed", "replaced", "lock removed"],
)
def test_nothing_is_saved_in_a_directory_that_is_another_now(tmp_path, change, message):
    run_dir = tmp_path / "run"
    with run_lock.lock(run_dir):
        checkpoint.commit(run_dir / "checkpoints", 1, write, {"step": 1}, 0)
        change(run_dir)
        with pytest.raises(ResourceError, match=message):
            checkpoint.commit(run_dir / "checkpoints", 2, write, {"step": 2}, 0)
    assert not (run_dir / "checkpoints/step-0000000002").exists()


# ---- where something is missing


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, "no fcntl"], ids=str)
def no_locks(request, monkeypatch):
    def flock(*_):
        raise OSError(request.param, os.strerror(request.param))

    run_lock._warn_of_files.cache_clear()
    if request.param == "no fcntl":
        monkeypatch.setattr(run_lock, "fcntl", None)
    else:
        monkeypatch.setattr(run_lock.fcntl, "flock", flock)


def owner(process, host=None):
    return f"process {process} on {host or socket.gethostname()} since 2026-01-01T00:00:00+00:00"


def test_without_locks_a_file_keeps_others_out_with_one_warning(tmp_path, no_locks, capsys):
    run_dir = tmp_path / "run"
    with run_lock.lock(run_dir):
        (run_dir / "config.yaml").touch()
        expected = f"in use by process {os.getpid()} .*remove .*lock"
        with pytest.raises(BusyError, match=expected), run_lock.lock(run_dir):
            pass
    assert os.listdir(run_dir) == ["config.yaml"]
    with run_lock.lock(run_dir):
        pass
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_file_of_a_dead_owner_is_broken_and_of_a_live_or_far_one_not(tmp_path, no_locks):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    file = tmp_path / "lock"
    (tmp_path / "config.yaml").touch()
    for text in (owner(dead.pid), owner(os.getpid())):  # of this process, which holds none
        file.write_text(text)
        with run_lock.lock(tmp_path):
            assert file.read_text().startswith(f"process {os.getpid()} on ")
        assert not file.exists()
    for text in (owner(os.getppid()), owner(dead.pid, "elsewhere"), "", "nobody"):
        file.write_text(text)
        with pytest.raises(BusyError), run_lock.lock(tmp_path):
            pass
        assert file.read_text() == text
    assert not (tmp_path / "lock.breaking").exists()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF])
def test_directories_that_cannot_be_flushed_are_one_warning(tmp_path, monkeypatch, capsys, number):
    fsync = os.fsync

    def failing(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    files._warn_of_directories.cache_clear()
    monkeypatch.setattr(os, "fsync", failing)
    for step in (1, 2):
        path = checkpoint.commit(tmp_path, step, write, {"step": step}, 0)
        checkpoint.verify(path)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_file_that_cannot_be_flushed_is_no_checkpoint(tmp_path, monkeypatch):
    def failing(_):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Invalid argument"):
        checkpoint.commit(tmp_path / "checkpoints", 1, write, {"step": 1}, 0)
    assert list(checkpoint.steps_in(tmp_path / "checkpoints")) == []
