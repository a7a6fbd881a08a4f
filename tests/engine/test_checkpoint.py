"""Checkpoints are whole or not there.

One process owns a run directory. Nothing here imports TensorFlow.
"""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
from places import HANG, ROOT

from cli.program import BusyError, CheckpointError, ResourceError
from engine import checkpoint

# What each script of another process begins with; none may wait for TensorFlow.
PREAMBLE = """
import pathlib, sys
from engine import checkpoint
assert "tensorflow" not in sys.modules
"""
WEIGHTS = bytes(range(256)) * 40
NAMES = ["MANIFEST.json", "state.json", "weights.bin"]


def write(path):
    (path / "weights.bin").write_bytes(WEIGHTS)


def commit(directory, *steps):
    return [
        checkpoint.commit(directory, step, write, {"step": step}, size=len(WEIGHTS))
        for step in steps
    ]


def names(directory) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# ---- commit and verify


def test_a_commit_is_complete_verifies_and_may_be_moved(tmp_path):
    (path,) = commit(tmp_path / "checkpoints", 1200)
    assert path == tmp_path / "checkpoints/step-0000001200"
    assert names(path) == NAMES
    assert checkpoint.read_state(path) == {"step": 1200}
    files = json.loads((path / "MANIFEST.json").read_text())["files"]
    assert {name: entry["bytes"] for name, entry in files.items()} == {
        "state.json": 17,
        "weights.bin": 10_240,
    }
    checkpoint.verify(path)
    shutil.copytree(tmp_path / "checkpoints", tmp_path / "elsewhere")
    assert checkpoint.newest(tmp_path / "elsewhere").name == path.name


def test_everything_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    events, rename = [], os.rename
    monkeypatch.setattr(
        os,
        "fsync",
        lambda number: events.append(os.path.basename(os.readlink(f"/proc/self/fd/{number}"))),
    )
    monkeypatch.setattr(os, "rename", lambda old, new: (events.append("rename"), rename(old, new)))
    commit(tmp_path, 1)
    before, after = events[: events.index("rename")], events[events.index("rename") + 1 :]
    assert sorted(before[:-2]) == ["state.json", "weights.bin"]
    assert before[-2:] == ["MANIFEST.json", ".writing-step-0000000001"]
    assert after == [tmp_path.name]


def truncate(file):
    os.truncate(file, file.stat().st_size - 1)


def flip_one_bit(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


DAMAGE = {
    "truncated": truncate,
    "longer": lambda f: f.write_bytes(f.read_bytes() + b"x"),
    "flipped": flip_one_bit,
    "missing": os.unlink,
}


@pytest.mark.parametrize("file", ["weights.bin", "state.json"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_found_and_the_file_named(tmp_path, damage, file):
    (path,) = commit(tmp_path, 1)
    damage(path / file)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.verify(path)
    assert str(caught.value).startswith(f"{path / file}: ")


@pytest.mark.parametrize(
    "content",
    [
        b'{"files": {"../step-0000000001/state.json": {"bytes": 14, "sha256": ""}}}',
        None,
        b"",
        b'{"step": 1, "fi',
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"files": {}}',
        b'{"files": {"state.json": 14}}',
        b'{"files": {"state.json": {}}}',
    ],
)
def test_a_manifest_that_is_none_is_named(tmp_path, content):
    (path,) = commit(tmp_path, 1)
    manifest = path / "MANIFEST.json"
    manifest.unlink() if content is None else manifest.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.verify(path)
    assert str(caught.value).startswith(f"{manifest}: ")


@pytest.mark.parametrize(
    ("raised", "expected", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ResourceError, "disk full"),
        (OSError(errno.EDQUOT, "quota"), ResourceError, "disk quota"),
        (OSError(errno.EFBIG, "too large"), ResourceError, "file size limit"),
        (OSError(errno.EIO, "I/O"), ResourceError, "disk error"),
        (
            PermissionError(errno.EACCES, "denied"),
            PermissionError,
            "denied",
        ),  # no disk to make room on
        (ValueError("a bug"), ValueError, "a bug"),
        (KeyboardInterrupt(), KeyboardInterrupt, ""),
    ],
    ids=repr,
)
def test_a_save_that_fails_leaves_what_was(tmp_path, raised, expected, words):
    (older,) = commit(tmp_path, 10)

    def fail(path):
        write(path)
        raise raised

    with pytest.raises(expected) as caught:
        checkpoint.commit(tmp_path, 20, fail, {}, size=20_480)
    assert words in str(caught.value)
    if expected is ResourceError:
        assert "about 20,480 bytes needed" in str(
            caught.value
        ) and f"{shutil.disk_usage(tmp_path).free // 1000**3:,}," in str(caught.value)
        assert "room on the disk" in str(caught.value)
    assert names(tmp_path) == [older.name]
    assert checkpoint.newest(tmp_path) == older


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO], ids=errno.errorcode.get
)
@pytest.mark.parametrize(
    ("function", "call"), [("mkdir", 0), *(("fsync", call) for call in range(5)), ("rename", 0)]
)
def test_a_disk_that_fails_at_any_place(tmp_path, monkeypatch, function, call, number):
    (older,) = commit(tmp_path, 10)
    calls, real = iter(range(100)), getattr(os, function)

    def failing(*words, **more):
        if next(calls) == call:
            raise OSError(number, os.strerror(number))
        return real(*words, **more)

    with (
        monkeypatch.context() as patch,
        pytest.raises(
            ResourceError, match=r"step-0000000020: (disk full|disk quota|file size|disk error)"
        ),
    ):
        patch.setattr(os, function, failing)
        commit(tmp_path, 20)
    renamed = (function, call) == (
        "fsync",
        4,
    )  # of the directory: only a loss of power can take the new one away
    assert names(tmp_path) == [older.name] + ["step-0000000020"] * renamed
    for path in checkpoint.steps_in(tmp_path).values():
        checkpoint.verify(path)
    commit(tmp_path, 30)


def test_a_deleted_run_directory_is_not_made_anew(tmp_path):
    commit(tmp_path / "checkpoints", 10)
    with pytest.raises(
        ResourceError, match=r"run: expected the run.s directory, which somebody has deleted"
    ):
        commit(tmp_path / "run/checkpoints", 20)
    assert names(tmp_path) == ["checkpoints"]


# ---- newest


@pytest.mark.parametrize("quarantine", [True, False])
def test_newest_falls_back_and_says_what_is_lost(tmp_path, capsys, quarantine):
    older, middle, newer = commit(tmp_path, 10, 20, 50)
    assert checkpoint.newest(tmp_path, quarantine=quarantine) == newer
    assert capsys.readouterr().err == ""
    flip_one_bit(newer / "weights.bin")
    (middle / "state.json").unlink()
    assert checkpoint.newest(tmp_path, quarantine=quarantine) == older
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert f"{newer / 'weights.bin'}: " in lines[0]
    assert "going on from step 10, 40 steps before" in lines[0]
    assert "10 steps before" in lines[1]
    bad = ".bad" if quarantine else ""
    assert names(tmp_path) == [older.name, middle.name + bad, newer.name + bad]


def test_all_damaged_is_an_error_also_the_second_time(tmp_path):
    for path in commit(tmp_path, 10, 20):
        truncate(path / "weights.bin")
    with pytest.raises(
        CheckpointError,
        match=r"every checkpoint is damaged; the newest: "
        r".*step-0000000020/weights.bin: expected 10,240 bytes",
    ):
        checkpoint.newest(tmp_path, quarantine=True)
    with pytest.raises(
        CheckpointError, match="every checkpoint is damaged"
    ):  # never a silent start from scratch
        checkpoint.newest(tmp_path, quarantine=True)


def test_a_link_is_no_file_of_a_checkpoint(tmp_path):
    (path,) = commit(tmp_path, 1)
    (tmp_path / "elsewhere").write_bytes(WEIGHTS)
    (path / "weights.bin").unlink()
    (path / "weights.bin").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        CheckpointError, match=r"MANIFEST.json: weights.bin: expected a file of this directory"
    ):
        checkpoint.verify(path)


def test_all_of_a_run_are_verified_and_every_damaged_one_is_named(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"expected a run directory with a config.yaml, .*; found: nothing"
    ):
        checkpoint.run_of(tmp_path)
    (tmp_path / "config.yaml").touch()
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        checkpoint.verify_all(checkpoint.run_of(str(tmp_path)))
    paths = commit(tmp_path / "checkpoints", 10, 20, 30, 40)
    assert checkpoint.verify_all(tmp_path) == {
        "run_dir": str(tmp_path),
        "verified": [10, 20, 30, 40],
    }
    truncate(paths[0] / "weights.bin")
    (paths[2] / "state.json").unlink()
    os.rename(paths[3], f"{paths[3]}.bad")
    with pytest.raises(CheckpointError) as caught:
        checkpoint.verify_all(tmp_path)
    for part in (
        "step-0000000010/weights.bin: expected 10,240 bytes",
        "step-0000000030/state.json: no such file",
        "40.bad: was damaged",
    ):
        assert part in str(caught.value)
    assert "step-0000000020" not in str(caught.value)


def test_a_run_or_one_of_its_steps_may_be_named(tmp_path):
    (tmp_path / "config.yaml").touch()
    (path,) = commit(tmp_path / "checkpoints", 10)
    assert checkpoint.find_run(str(tmp_path)) == (tmp_path, None)
    assert checkpoint.find_run(path) == (tmp_path, path)
    with pytest.raises(CheckpointError, match="expected a run directory with a config"):
        checkpoint.find_run(tmp_path / "checkpoints")


def test_the_same_step_may_be_damaged_twice(tmp_path):
    """A run that goes on from step 10 writes step 20 again.

    Its quarantine must not trip over the first one.
    """
    commit(tmp_path, 10)
    for _ in range(2):
        (newer,) = commit(tmp_path, 20)
        truncate(newer / "weights.bin")
        assert checkpoint.newest(tmp_path, quarantine=True).name == "step-0000000010"
        assert not newer.exists()


def test_none_ever_is_none(tmp_path):
    assert checkpoint.newest(tmp_path) is None
    assert checkpoint.newest(tmp_path / "absent") is None
    (tmp_path / ".writing-step-0000000010").mkdir()
    (tmp_path / "notes").mkdir()
    assert checkpoint.newest(tmp_path) is None


def test_a_checkpoint_removed_while_we_look_is_no_damage(tmp_path, monkeypatch, capsys):
    older, newer = commit(tmp_path, 10, 20)
    verify = checkpoint.verify
    monkeypatch.setattr(
        checkpoint, "verify", lambda path: (path == newer and shutil.rmtree(path), verify(path))
    )
    assert checkpoint.newest(tmp_path, quarantine=True) == older
    assert capsys.readouterr().err == ""


def test_the_only_checkpoint_may_be_replaced_while_we_look(tmp_path, monkeypatch, capsys):
    """Its trainer keeps one: what we were reading is gone, and a newer one is there."""
    (older,) = commit(tmp_path, 10)
    verify = checkpoint.verify

    def replaced(path):
        if path == older:
            commit(tmp_path, 20)
            checkpoint.remove(older)
        verify(path)

    monkeypatch.setattr(checkpoint, "verify", replaced)
    assert checkpoint.newest(tmp_path, quarantine=True).name == "step-0000000020"
    assert capsys.readouterr().err == ""
    assert names(tmp_path) == ["step-0000000020"]


def test_steps_are_ordered_as_numbers(tmp_path):
    commit(tmp_path, 9, 10, 12_345_678_901)  # eleven digits sort before ten as text
    assert list(checkpoint.steps_in(tmp_path)) == [9, 10, 12_345_678_901]
    assert checkpoint.newest(tmp_path).name == "step-12345678901"


# ---- removing, cleaning


def test_keep_only_removes_the_others(tmp_path):
    commit(tmp_path, 10, 20, 30, 40)
    checkpoint.keep_only(tmp_path, {20, 40, 99})
    assert names(tmp_path) == ["step-0000000020", "step-0000000040"]
    checkpoint.verify(tmp_path / "step-0000000020")


def test_a_run_keeps_the_last_and_the_best(tmp_path):
    def save(step, best_steps):
        checkpoint.commit(tmp_path, step, write, {"step": step}, len(WEIGHTS))
        checkpoint.keep_last(tmp_path, 2, best_steps)

    def newest():
        return checkpoint.newest(tmp_path, quarantine=True)

    assert newest() is None
    for step in (10, 20, 30):
        save(step, best_steps=[])
    assert list(checkpoint.steps_in(tmp_path)) == [20, 30]
    save(40, best_steps=[20])
    save(50, best_steps=[20])
    assert list(checkpoint.steps_in(tmp_path)) == [20, 40, 50]
    assert checkpoint.read_state(newest()) == {"step": 50}
    truncate(newest() / "weights.bin")
    assert newest().name == "step-0000000040"
    assert names(tmp_path)[-1] == "step-0000000050.bad"


def test_a_removal_that_is_cut_short_leaves_no_half_checkpoint(tmp_path, monkeypatch):
    commit(tmp_path, 10, 20)

    def killed(path):
        (path / "weights.bin").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", killed)
        checkpoint.keep_only(tmp_path, {20})
    assert list(checkpoint.steps_in(tmp_path)) == [20]
    checkpoint.clean_up(tmp_path)
    assert names(tmp_path) == ["step-0000000020"]


def test_clean_up_removes_leftovers_only_and_names_them(tmp_path, capsys):
    (kept,) = commit(tmp_path, 10)
    for name in (".writing-step-0000000020", ".removing-step-0000000005", "step-0000000030.bad"):
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    checkpoint.clean_up(tmp_path)
    assert names(tmp_path) == [kept.name, "step-0000000030.bad"]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0].rpartition("/")[2] for line in lines] == [
        ".writing-step-0000000020",
        ".removing-step-0000000005",
    ]
    checkpoint.clean_up(tmp_path / "absent")  # the first start of a run


# ---- restore


class Variable:
    """The three things that restore() asks of a variable."""

    def __init__(self, value):
        self.value = np.array(value, np.float32)
        self.dtype, self.shape = "float32", self.value.shape

    def assign(self, value):
        self.value = value


def restored(saved: dict, groups=("model", "optimizer")) -> dict:
    variables = {
        "model/a": Variable([1, 2]),
        "model/b": Variable(3),
        "optimizer/m": Variable([[4]]),
    }
    variables = {
        name: variable for name, variable in variables.items() if name.split("/")[0] in groups
    }
    try:
        checkpoint.restore("PATH", variables, saved)
    except CheckpointError as error:
        assert [v.value.tolist() for v in variables.values()] == [
            [1, 2],
            3,
            [[4]],
        ]  # all or nothing
        return {"error": str(error)}
    return {name: variable.value.tolist() for name, variable in variables.items()}


SAVED = {"model/a": np.float32([5, 6]), "model/b": np.float32(7), "optimizer/m": np.float32([[8]])}


def test_restore_assigns_its_groups():
    assert restored(SAVED) == {"model/a": [5, 6], "model/b": 7, "optimizer/m": [[8]]}
    assert restored(SAVED, groups=("model",)) == {
        "model/a": [5, 6],
        "model/b": 7,
    }  # evaluation leaves the optimizer


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"optimizer/m": None}, "optimizer/m: missing in the checkpoint"),
        ({"model/c": np.float32(1)}, "model/c: in the checkpoint only"),
        ({"optimizer/m": np.float32([8])}, "optimizer/m: expected float32[1, 1], got float32[1]"),
        ({"model/b": np.float32([7])}, "model/b: expected float32[], got float32[1]"),
        (
            {"optimizer/m": np.float64([[8]])},
            "optimizer/m: expected float32[1, 1], got float64[1, 1]",
        ),
        (
            {"model/b": None, "model/c": np.float32(1)},
            "model/b: missing in the checkpoint; model/c: in the checkpoint only",
        ),
    ],
)
def test_restore_refuses_what_does_not_fit_and_assigns_nothing(changes, problem):
    saved = {name: value for name, value in {**SAVED, **changes}.items() if value is not None}
    assert restored(saved) == {"error": f"PATH: does not fit this model: {problem}"}


def test_restore_names_ten_problems():
    error = restored(SAVED | {f"model/x{i:02}": np.float32(0) for i in range(12)})["error"]
    assert "model/x09" in error
    assert "model/x10" not in error
    assert error.endswith("(and 2 more)")


# ---- other processes


class Child:
    """A Python process that has printed its first line.

    It is killed without warning at the end of `with`.
    """

    def __init__(self, code: str, *words):
        command = [
            sys.executable,
            "-c",
            PREAMBLE + code,
            *map(str, words),
        ]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self):
        assert self.process.stdout.readline() == "ready\n"
        return self.process

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate(timeout=HANG)


HOLD = """
with checkpoint.lock(pathlib.Path(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.readline()
"""

WRITE = """
def write(path):
    (path / "weights.bin").write_bytes(b"half")
    print("ready", flush=True)
    sys.stdin.readline()
checkpoint.commit(pathlib.Path(sys.argv[1]), 20, write, {}, 0)
"""


def test_the_lock_names_its_holder_and_dies_with_it(tmp_path):
    run_dir = tmp_path / "run"
    with Child(HOLD, run_dir) as holder:
        with pytest.raises(BusyError) as caught, checkpoint.lock(run_dir):
            pass
        assert f"process {holder.pid} on {socket.gethostname()} since 20" in str(caught.value)
        assert names(run_dir) == ["lock"]  # the loser takes nothing away
    with checkpoint.lock(run_dir):  # its holder was killed, its file is still there
        (run_dir / "config.yaml").touch()
        assert (run_dir / "lock").read_text().startswith(f"process {os.getpid()} on ")
    assert names(run_dir) == ["config.yaml", "lock"]


def test_a_refused_run_leaves_no_directory(tmp_path):
    (tmp_path / "runs").mkdir()
    run_dir = tmp_path / "runs/new/er/est"
    with pytest.raises(ValueError, match="refused"), checkpoint.lock(run_dir):
        assert run_dir.is_dir()
        raise ValueError("refused")
    assert names(tmp_path) == ["runs"]  # which was there before
    assert names(tmp_path / "runs") == []


def test_a_run_directory_deleted_by_its_run_does_not_hide_the_error(tmp_path):
    with pytest.raises(CheckpointError, match="the reason"), checkpoint.lock(tmp_path / "run"):
        shutil.rmtree(tmp_path / "run")
        raise CheckpointError("the reason")


def test_a_run_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(ResourceError, match="file/run: cannot write here: Not a directory"),
        checkpoint.lock(tmp_path / "file/run"),
    ):
        pass


def test_a_process_killed_while_it_saves(tmp_path):
    (older,) = commit(tmp_path, 10)
    with Child(WRITE, tmp_path):
        assert checkpoint.newest(tmp_path) == older  # also while it is still writing
    assert names(tmp_path) == [".writing-step-0000000020", older.name]
    assert checkpoint.newest(tmp_path, quarantine=True) == older
    checkpoint.clean_up(tmp_path)
    commit(tmp_path, 20)
    assert names(tmp_path) == [older.name, "step-0000000020"]


# ---- crashes

CRASH = """
import os, signal
directory, point = pathlib.Path(sys.argv[1]), sys.argv[2]

def reach(place):
    print(place, flush=True)
    if place == point:
        os.kill(os.getpid(), signal.SIGKILL)

def watched(function, name_of):
    def call(*words, **more):
        name = name_of(*words)
        reach(f"before {function.__name__} {name}")
        function(*words, **more)
        reach(f"after {function.__name__} {name}")
    return call

for function in (os.mkdir, os.rename, os.unlink, os.rmdir):
    setattr(os, function.__name__, watched(function, lambda path, *_: os.path.basename(path)))
def name_of(number):
    return os.path.basename(os.readlink(f"/proc/self/fd/{number}"))

os.fsync = watched(os.fsync, name_of)

def write(path):
    with open(path / "weights.bin", "wb") as file:
        file.write(bytes(5000))
        file.flush()
        reach("after half of weights.bin")
        file.write(bytes(5000))

checkpoint.commit(directory, 30, write, {"step": 30}, 10_000)
checkpoint.keep_only(directory, {20, 30})
"""
NEW, OLD = ".writing-step-0000000030", "step-0000000010"
CALLS = [
    f"mkdir {NEW}",
    "fsync state.json",
    "fsync weights.bin",
    "fsync MANIFEST.json",
    f"fsync {NEW}",
    f"rename {NEW}",
    "fsync checkpoints",
    f"rename {OLD}",
    "unlink weights.bin",
    "unlink state.json",
    "unlink MANIFEST.json",
    f"rmdir .removing-{OLD}",
]
POINTS = [f"{when} {call}" for call in CALLS for when in ("before", "after")]
POINTS.insert(2, "after half of weights.bin")


def crashed(directory, point):
    commit(directory, 10, 20)
    command = [sys.executable, "-c", PREAMBLE + CRASH, directory, point]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANG)


def test_the_named_points_are_all_there_are(tmp_path):
    done = crashed(tmp_path / "checkpoints", "none")
    assert done.returncode == 0 and sorted(done.stdout.splitlines()) == sorted(POINTS)


def test_names_on_the_way_to_a_checkpoint_are_durable(tmp_path, monkeypatch):
    """A loss of power may take away what was not flushed.

    Every directory that has got a new name in it is.
    """
    flushed, fsync = [], os.fsync
    monkeypatch.setattr(
        os,
        "fsync",
        lambda number: (flushed.append(os.readlink(f"/proc/self/fd/{number}")), fsync(number))[1],
    )
    run_dir = tmp_path / "runs/new"
    with checkpoint.lock(run_dir):
        assert set(flushed) == {str(tmp_path), str(tmp_path / "runs")}
        commit(run_dir / "checkpoints", 10)
        assert str(run_dir) in flushed
        flushed.clear()
        commit(run_dir / "checkpoints", 20)
        assert str(run_dir) not in flushed
    flushed.clear()
    with checkpoint.lock(run_dir):
        assert flushed == []


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_point_the_old_or_the_new_one_is_there(point, tmp_path, capsys):
    directory = tmp_path / "checkpoints"
    assert crashed(directory, point).returncode == -signal.SIGKILL
    for path in checkpoint.steps_in(directory).values():  # nothing half has a checkpoint's name
        checkpoint.verify(path)
    renamed = POINTS.index(point) >= POINTS.index(f"after rename {NEW}")
    assert checkpoint.newest(directory, quarantine=True).name == (
        "step-0000000030" if renamed else "step-0000000020"
    )
    checkpoint.clean_up(directory)
    commit(directory, *([] if renamed else [30]), 40)
    checkpoint.keep_only(directory, {30, 40})
    assert names(directory) == ["step-0000000030", "step-0000000040"]
    assert "damaged" not in capsys.readouterr().err
