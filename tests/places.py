"""Where the project and its configurations lie, and what a child process needs."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
TINY = ROOT / "tests" / "tiny" / "tiny.yaml"
# Python finds tests/tiny/sitecustomize.py here: the programs then know the tiny network.
WITH_TINY = {**os.environ, "PYTHONPATH": str(TINY.parent)}
HANG = 1500  # seconds; ten times what the longest child process takes on a slow and busy machine
