"""What a run was computed with, and what of it has changed."""

import os
import subprocess

import pytest
import tensorflow as tf

from engine import environment as module
from engine.environment import environment, environment_changes


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
