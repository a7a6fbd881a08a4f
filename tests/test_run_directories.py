"""Run directories that somebody has changed: each file, each field, anything in their place.

A start goes on from an older sound checkpoint, leaves out what is damaged, or ends with one line:
never a traceback, never a wait, and nothing outside the directory is touched.
"""

import copy
import hashlib
import json
import os
import random
import shutil
import signal
import stat

import pytest
from places import TINY

import trainer
from cli.program import Failure
from engine import checkpoint, resume
from engine.devices import open_devices
from engine.log import MetricsLog
from train_config import load_config

OVERRIDES = [
    "train={batch_size: 16, steps: 12, log_every: 2}",
    "checkpoint={every: 4, keep: 5, best: {metric: accuracy}}",
    "validation.every=4",
]
NEWEST = "checkpoints/step-0000000008"
SECONDS = 20  # a start that takes longer waits for something


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run of 12 steps whose last checkpoint is gone: it goes on from step 8."""
    run_dir = tmp_path_factory.mktemp("base") / "run"
    trainer.train_and_evaluate(load_config(TINY, OVERRIDES), run_dir)
    shutil.rmtree(run_dir / "checkpoints/step-0000000012")
    return run_dir


@pytest.fixture(scope="module")
def run():
    config = load_config(TINY, OVERRIDES)
    return trainer.build_run(config, open_devices(config.distribute))


@pytest.fixture
def begin(run, monkeypatch, capsys):
    """begin(run_dir): what a start does before its first step; the step from which it goes on."""
    here = {"cpus": 2, "python": "3", "versions": {}, "git": {}, "cpu": {}, "variables": {}}
    monkeypatch.setattr(resume, "environment", lambda _: here)

    def call(run_dir) -> int:
        signal.alarm(SECONDS)
        try:
            with checkpoint.lock(run_dir):
                resume.begin_or_go_on(run, run_dir, False)
                step = run.trainer.step
                MetricsLog(run_dir / "metrics.jsonl", step).close()
                checkpoint.commit(run_dir / "checkpoints", 9, touch, {"step": 9}, 0)
                checkpoint.keep_last(run_dir / "checkpoints", 5, [])
            return step
        finally:
            signal.alarm(0)
            lines = capsys.readouterr().err.splitlines()
            assert not any("\x1b" in line for line in lines)

    return call


def touch(path):
    (path / "weights").write_bytes(b"")


# ---- what can stand where a file was


def remade(step_dir):
    """A manifest that fits what is there, as somebody makes it who knows how."""
    files = {
        path.name: {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in step_dir.iterdir()
        if path.is_file() and path.name != "MANIFEST.json"
    }
    text = json.dumps({"step": int(step_dir.name[5:]), "files": files})
    (step_dir / "MANIFEST.json").write_text(text)


def flipped(data: bytes) -> bytes:
    rng = random.Random(len(data))
    changed = bytearray(data)
    for _ in range(3):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


BYTES = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "flipped": flipped,
    "no UTF-8": lambda data: b"\xff\xfe\n" + data,
    "zeros": lambda data: bytes(len(data)),
    "deep": lambda data: b"[" * 100_000,
    "deep mapping": lambda data: b'{"a":' * 100_000,
    "list": lambda data: b"[1]",
    "null": lambda data: b"null",
    "number": lambda data: b"9" * 5000,
    "half a character": lambda data: b'{"step": "\\ud800"}',
    "twice": lambda data: data + data,
    "escapes": lambda data: b"\x1b[31mRED\x1b]0;owned\x07" + data,
}


def put(thing):
    """Takes away what is there and puts something else in its place."""

    def change(path, outside):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        thing(path, outside)

    return change


THINGS = {
    "gone": put(lambda path, outside: None),
    "a link to a file": put(lambda path, outside: path.symlink_to(outside / "precious")),
    "a link to a directory": put(lambda path, outside: path.symlink_to(outside)),
    "a link to nothing": put(lambda path, outside: path.symlink_to(outside / "absent")),
    "a link to itself": put(lambda path, outside: path.symlink_to(path)),
    "a link to a device": put(lambda path, outside: path.symlink_to("/dev/zero")),
    "a FIFO": put(lambda path, outside: os.mkfifo(path)),
    "a socket": put(lambda path, outside: os.mknod(path, 0o600 | stat.S_IFSOCK)),
    "a directory": put(lambda path, outside: path.mkdir()),
    "a full directory": put(lambda path, outside: shutil.copytree(outside, path)),
    "an empty file": put(lambda path, outside: path.touch()),
}
FILES = [
    "config.yaml",
    "environment.json",
    "metrics.jsonl",
    "lock",
    "data.json",
    f"{NEWEST}/MANIFEST.json",
    f"{NEWEST}/state.json",
    f"{NEWEST}/variables.index",
    f"{NEWEST}/variables.data-00000-of-00001",
]
FOLDERS = ["checkpoints", NEWEST, "checkpoints/step-0000000004"]
EXTRA = [
    "config.yaml.part",
    "environment.json.part",
    "metrics.jsonl.part",
    "lock.breaking",
    "checkpoints/.writing-step-0000000009",
    "checkpoints/.removing-step-0000000004",
    "checkpoints/step-0000000008.bad",
    "checkpoints/step-0000000099",
    f"checkpoints/step-{'9' * 200}",
    f"{NEWEST}/variables.data-00001-of-00002",
    "\x1b[31mRED",
]


def rewritten(change, sealed):
    def mutate(run_dir, name):
        file = run_dir / name
        file.write_bytes(change(file.read_bytes()))
        if sealed:
            remade(file.parent)

    return mutate


def mutations_of_files():
    """(name, mutate(run_dir, outside)): everything in the place of every file."""
    for name in FILES:
        for sealed in (False, True) if name.startswith(NEWEST) and "MANIFEST" not in name else (0,):
            for kind, change in BYTES.items():
                mutate = rewritten(change, sealed)
                yield f"{name} {kind} {sealed}", lambda d, _, m=mutate, n=name: m(d, n)
    for name in [*FILES, *FOLDERS]:
        for kind, change in THINGS.items():
            yield f"{name}: {kind}", lambda d, out, c=change, n=name: c(d / n, out)
    for name in EXTRA:
        for kind, change in list(THINGS.items())[1:]:

            def add(run_dir, outside, change=change, name=name):
                (run_dir / name).touch()
                change(run_dir / name, outside)

            yield f"also {name}: {kind}", add


VALUES = [None, "x", -1, 10**30, [], {}, True, 1.5, float("nan"), [[[1]]], "\x1b[31m", "../../x"]


def places(data, path=()):
    if path:
        yield path
    entries = data.items() if isinstance(data, dict) else []
    entries = enumerate(data) if isinstance(data, list) else entries
    for key, value in entries:
        yield from places(value, (*path, key))


def with_value(data, path, value, gone=False):
    data = copy.deepcopy(data)
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    if gone:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return data


def mutations_of_fields(base):
    """Every field of every JSON file: gone, and of other types and ranges."""
    for name in (f"{NEWEST}/MANIFEST.json", f"{NEWEST}/state.json", "environment.json"):
        data = json.loads((base / name).read_text())
        for place in list(places(data))[:24]:
            changes = [with_value(data, place, value) for value in VALUES]
            changes.append(with_value(data, place, None, gone=True))
            for number, changed in enumerate(changes):
                text = json.dumps(changed)
                mutate = rewritten(lambda _, text=text: text.encode(), name.endswith("state.json"))
                yield f"{name} {place} {number}", lambda d, _, m=mutate, n=name: m(d, n)
    lines = (base / "metrics.jsonl").read_text().splitlines()
    for number, value in enumerate(VALUES):
        for key in ("step", "split"):
            line = json.dumps(json.loads(lines[0]) | {key: value})
            text = "\n".join([lines[0], line, *lines[1:]]) + "\n"
            mutate = rewritten(lambda _, text=text: text.encode(), False)
            yield f"metrics {key} {number}", lambda d, _, m=mutate: m(d, "metrics.jsonl")


def contents(folder) -> dict:
    """{path: bytes} of all that is in a directory; None for directories."""
    paths = sorted(folder.rglob("*"))
    return {path: None if path.is_dir() else path.read_bytes() for path in paths}


def problems_of(mutations, base, begin, folder) -> tuple[int, list]:
    """How many there were, and what ended otherwise than it may."""
    outside = folder / "outside"
    (outside / "step-0000000003").mkdir(parents=True)
    (outside / "precious").write_text("precious")
    before = contents(outside)
    problems = []
    count = 0
    for count, (name, mutate) in enumerate(mutations, 1):  # noqa: B007
        run_dir = folder / "run"
        shutil.copytree(base, run_dir, symlinks=True)
        mutate(run_dir, outside)
        try:
            step = begin(run_dir)
            if step not in (0, 4, 8):
                problems.append((name, step))
        except Failure as failure:
            if failure.exit_code != 4:
                problems.append((name, repr(failure)))
        except Exception as error:
            problems.append((name, repr(error)))
        if contents(outside) != before:
            problems.append((name, "written outside"))
            before = contents(outside)
        shutil.rmtree(run_dir)
    return count, problems


def test_anything_in_the_place_of_a_file(base, begin, tmp_path):
    count, problems = problems_of(mutations_of_files(), base, begin, tmp_path)
    assert problems == [] and count > 300


def test_any_value_of_a_field(base, begin, tmp_path):
    count, problems = problems_of(mutations_of_fields(base), base, begin, tmp_path)
    assert problems == [] and count > 300
