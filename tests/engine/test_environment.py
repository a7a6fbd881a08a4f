"""What a run was computed with, and what of it has changed."""

import json
import os
import subprocess

import pytest
import tensorflow as tf
from places import TINY

from cli.program import CheckpointError
from engine import environment as module
from engine.environment import checkout, environment, environment_changes, reproduce


def test_what_is_needed_to_run_the_same_again(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("TF_CONFIG", "{}")
    found = environment("fingerprint")
    assert found["data"] == "fingerprint" and found["versions"]["tensorflow"] == tf.__version__
    assert found["variables"]["TF_ENABLE_ONEDNN_OPTS"] == "0"
    assert not {"TF_CPP_MIN_LOG_LEVEL", "TF_CONFIG"} & found["variables"].keys()
    assert found["cpus"] == len(os.sched_getaffinity(0))
    assert found["devices"] and environment_changes(found, environment("another fingerprint")) == []


def test_it_is_made_without_git_linux_or_affinity(monkeypatch, tmp_path):
    """As on a Mac: no os.sched_getaffinity, no /proc/cpuinfo."""

    def no_git(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(subprocess, "run", no_git)
    monkeypatch.setattr(module, "_CPU_INFO", tmp_path / "absent")
    found = environment("fingerprint")
    assert found["cpus"] == os.cpu_count() and found["cpu"] == {}
    assert found["git"] == {"commit": None, "diff": None, "untracked": None, "left_out": []}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"cpus": 64}, ["cpus: 2 -> 64"]),
        ({"versions": {"keras": "3.16"}}, ["versions.keras: 3.15 -> 3.16"]),
        ({"cpu": {"model": "A", "flags": "avx"}}, ["cpu.flags differ"]),
        ({"git": {"diff": "x" * 60 + "a"}}, ["git.diff differ"]),  # too long to be shown
        ({"variables": {}}, ["variables.TF_X: 1 -> None"]),
        ({"argv": ["other"], "directory": "/other", "data": "other"}, []),
        ({"threads": "not a dictionary"}, ["threads.inside: 0 -> None"]),
    ],
)
def test_what_may_round_differently_is_named(change, expected):
    before = {
        "cpus": 2,
        "versions": {"keras": "3.15"},
        "cpu": {"model": "A", "flags": "avx avx2"},
        "git": {"diff": "x" * 60 + "b"},
        "threads": {"inside": 0},
        "variables": {"TF_X": "1"},
        "argv": ["trainer.py"],
    }
    assert environment_changes(before, before | change) == expected


def test_an_empty_one_differs_in_everything():
    assert "python: None -> 3.11" in environment_changes({}, {"python": "3.11"})


# ---- the code


def git(root, *words):
    options = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(root), *options, *words], check=True, capture_output=True)


@pytest.fixture
def project(tmp_path):
    """A checkout of one commit."""
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "-q")
    (root / "model.py").write_text("width = 1\n")
    (root / ".gitignore").write_text("ignored/\n")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    return root


def write(root, files: dict):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def test_a_checkout_is_its_commit_its_changes_and_files_that_git_does_not_know(project):
    write(
        project, {"model.py": b"width = 2\n", "models/mine.py": b"# \xc3\xa9\n", "ignored/x": b"x"}
    )
    found = checkout(project)
    assert len(found["commit"]) == 40 and "+width = 2" in found["diff"]
    assert found["untracked"] == {"models/mine.py": "# é\n"} and found["left_out"] == []


def test_what_is_left_out_of_a_checkout_is_said(project, monkeypatch):
    monkeypatch.setattr(module, "_MOST_OF_FILE", 100)
    monkeypatch.setattr(module, "_MOST_OF_FILES", 120)
    monkeypatch.setattr(module, "_MOST_OF_DIFF", 50)
    files = {
        "a.txt": b"a" * 90,
        "big.txt": b"b" * 101,
        "c.bin": b"\xff",
        "d.bin": b"a\0b",
        ".env": b"KEY=1",
        "my_token.txt": b"1",
        "z.py": b"z" * 40,
        "run/environment.json": b"{}",
        "run/notes.txt": b"of a run",
        "model.py": b"width = 222222222222222222222222222\n",
    }
    write(project, files)
    (project / "link").symlink_to("/etc/hostname")
    found = checkout(project)
    assert list(found["untracked"]) == ["z.py"] and len(found["diff"]) == 50
    diff, *lines = found["left_out"]
    assert diff.startswith("diff: beyond 50 of ")
    assert lines == [
        ".env: hidden, or may hold secrets",
        "a.txt: more than 120 bytes in all",
        "big.txt: 101 bytes",
        "c.bin: no text",
        "d.bin: no text",
        "link: no regular file",
        "my_token.txt: hidden, or may hold secrets",
    ]


def test_many_files_are_counted_not_read(project, monkeypatch):
    monkeypatch.setattr(module, "_MOST_LOOKED_AT", 4)
    monkeypatch.setattr(module, "_MOST_NAMED", 1)
    write(project, {f"{number}.bin": b"\xff" for number in range(9)})
    assert checkout(project)["left_out"] == ["0.bin: no text", "and 8 more files"]


# ---- then and now


def test_what_differs_between_then_and_now(tmp_path, capsys):
    now = environment("data")
    packages = now["packages"] | {"rich": "0.1", "gone": "1.0"}
    git_then = now["git"] | {"diff": "other", "left_out": ["big.csv: 9 bytes"]}
    git_then["untracked"] = (now["git"]["untracked"] or {}) | {"models/lost.py": "1", "a.md": "1"}
    then = now | {"argv": ["trainer.py", "a b"], "packages": packages, "git": git_then}
    (tmp_path / "environment.json").write_text(json.dumps(then))
    found = reproduce(tmp_path, "data")
    assert found["command"] == "trainer.py 'a b'" and found["commit"] == now["git"]["commit"]
    assert found["differences"] == [
        "git.diff differ",
        "untracked models/lost.py: not here",
        f"packages.rich: 0.1 -> {now['packages']['rich']}",
        "packages.gone: 1.0 -> None",
        "untracked a.md: not here",
    ]
    assert "not kept: big.csv: 9 bytes" in capsys.readouterr().err


@pytest.mark.parametrize("data", [None, "others"])
def test_data_that_differ_or_are_not_here(tmp_path, data):
    (tmp_path / "environment.json").write_text(json.dumps(environment("data")))
    expected = "data differ" if data else "data: not here"
    assert reproduce(tmp_path, data)["differences"] == [expected]


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_environment_is_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "environment.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"environment\.json: expected the environment of"):
        reproduce(tmp_path, "data")


@pytest.mark.parametrize(
    "odd", [{"git": 7}, {"git": {"left_out": 7}}, {"packages": []}, {"versions": None}, {"argv": 7}]
)
def test_an_environment_of_odd_parts_is_compared(tmp_path, odd):
    (tmp_path / "environment.json").write_text(json.dumps(environment("data") | odd))
    reproduce(tmp_path, "data")


def test_the_program_says_it(program, tmp_path):
    short = ["train.epochs=null", "train.steps=1", "checkpoint.best=null"]
    program("trainer.py", "--config", TINY, "--run_dir", tmp_path / "run", *short)
    done = program("trainer.py", "--reproduce", tmp_path / "run")
    assert json.loads(done.stdout)["differences"] == [], done.stderr
    assert "nothing differs" in done.stderr
