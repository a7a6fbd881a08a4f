"""Where the project and its configurations lie, and what a child process needs."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
TINY = ROOT / "tests" / "tiny" / "tiny.yaml"
# Python finds tests/tiny/sitecustomize.py here: the programs then know the tiny network.
WITH_TINY = {**os.environ, "PYTHONPATH": str(TINY.parent)}
HANG = 1500  # seconds; ten times what the longest child process takes on a slow and busy machine


def product_files() -> list[str]:
    """The Python files of the project below its root, but for those of the tests.

    What lies in a directory of a hidden name or of an environment of Python is not the project's.
    """
    directories = [path for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."]
    rooms = [path for path in directories if not (path / "pyvenv.cfg").exists()]
    files = [*ROOT.glob("*.py"), *(file for room in rooms for file in room.rglob("*.py"))]
    names = sorted(str(file.relative_to(ROOT)) for file in files)
    return [name for name in names if not name.startswith("tests/")]


def tiny_labels(**options):
    """The section of the tiny task, wherever tests/tiny/sitecustomize.py was imported."""
    from cli.typed_yaml import name_of, named_classes
    from model_config import TaskConfig

    (cls,) = [cls for cls in named_classes(TaskConfig) if name_of(cls) == "tiny_labels"]
    return cls(name="tiny_labels", **options)
