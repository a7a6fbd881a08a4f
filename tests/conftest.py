"""One TensorFlow import for all tests of a process, quiet; helpers that more than one test file uses."""

import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.fixture
def program():
    """Runs one of the programs as a user would: program("trainer.py", "--config", ...) -> CompletedProcess with text."""

    def call(*words, cwd=ROOT, timeout=120, env=None):
        command = [sys.executable, *map(str, words)]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, env={**os.environ, **(env or {})})

    return call
