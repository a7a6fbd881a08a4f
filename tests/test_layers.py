"""The structure of the house, read from the source: imports go down only, and importing does nothing."""

import ast
import subprocess
import sys

import pytest
from places import ROOT

# A rule for each folder and each door; files of a folder are not listed.
LEVELS = {
    0: ["cli"],
    1: ["data_config", "model_config", "train_config"],
    2: ["engine"],
    3: ["sources", "ops", "models", "tasks", "model"],
    4: ["data_loader"],
    5: ["preprocess_data"],
    6: ["input_ops"],
    7: ["eval"],
    8: ["train_step"],
    9: ["blackbox"],
    10: ["run"],
    11: ["trainer"],
    12: ["launch"],
}
LEVEL = {name: level for level, names in LEVELS.items() for name in names}
PACKAGES = ("cli", "engine", "sources", "ops", "models", "tasks")
DATA_SIDE = {"sources", "ops", "data_loader", "preprocess_data", "input_ops"}
MODEL_SIDE = {"models", "tasks", "model"}
NO_TENSORFLOW = ["cli", *LEVELS[1]]
FILES = sorted(
    [*ROOT.glob("*.py"), *(file for package in PACKAGES for file in ROOT.glob(f"{package}/*.py"))]
)


def imports_of(tree):
    for node in ast.walk(tree):  # functions too: no lazy import upwards either
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0]


def broken_rules(module: str, tree) -> list[str]:
    found = []
    for name in imports_of(tree):
        if name in ("tensorflow", "keras") and module in NO_TENSORFLOW:
            found.append(f"{module} imports {name}")
        if name not in LEVEL or name == module:
            continue
        if LEVEL[name] > LEVEL[module]:
            found.append(f"{module} imports {name} from a level above")
        if (module in DATA_SIDE and name in MODEL_SIDE) or (
            module in MODEL_SIDE and name in DATA_SIDE
        ):
            found.append(f"{module} imports {name} from the other side")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_down(file):
    module = file.stem if file.parent == ROOT else file.parent.name
    if module == "setup":
        pytest.skip("not part of the house")
    assert module in LEVEL, f"{file.name} has no level: give it one here"
    found = broken_rules(module, ast.parse(file.read_text()))
    if (
        file.name == "program.py"
    ):  # whose import_tensorflow is the one place that imports it for all programs
        found = [
            problem
            for problem in found
            if problem not in ("cli imports tensorflow", "cli imports keras")
        ]
    assert found == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("data_loader", "def f():\n    from trainer import main"),
        ("input_ops", "import model"),
        ("model", "from input_ops import order"),
        ("cli", "import tensorflow as tf"),
        ("engine", "from tasks import metrics"),
        ("models", "import preprocess_data"),
        ("tasks", "from ops import images"),
    ],
)
def test_the_rule_notices(module, source):
    assert broken_rules(module, ast.parse(source))


def test_import_has_no_side_effect(tmp_path):
    """Importing every module in an empty directory seeds nothing, installs no handler, writes nothing, prints nothing."""
    modules = [
        str(file.relative_to(ROOT)).removesuffix(".py").replace("/", ".")
        for file in FILES
        if file.name != "setup.py"
    ]
    script = f"""
import importlib, random, signal, logging, sys
sys.path.insert(0, {str(ROOT)!r})
import numpy as np, tensorflow, keras
random.seed(7); np.random.seed(7); tensorflow.random.set_seed(7)
def state():
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    return random.getstate(), np.random.get_state()[1].tolist(), handlers, logging.root.handlers[:], keras.config.dtype_policy().name
before = state()
for name in {modules!r}:
    importlib.import_module(name)
assert state() == before
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert list(tmp_path.iterdir()) == []
