"""The structure of the house, read from the source: imports go down only, and importing does nothing."""

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

LEVELS = {
    0: ["program", "typed_yaml", "cluster", "model_config", "data_config", "train_config"],
    1: ["stateless", "order", "records", "data_loader", "checkpoint", "summary", "distribution"],
    2: ["image_ops", "sequence_ops", "preprocess_data", "models", "metrics"],
    3: ["input_ops", "model", "optimizer", "weights"],
    4: ["eval", "train_step"],
    5: ["blackbox", "run"],
    6: ["trainer"],
    7: ["launch"],
}
LEVEL = {name: level for level, names in LEVELS.items() for name in names}
DATA_SIDE, MODEL_SIDE = (
    {"image_ops", "sequence_ops", "preprocess_data", "input_ops", "data_loader", "records", "order"},
    {"models", "metrics", "model", "optimizer", "weights"},
)
NO_TENSORFLOW = [*LEVELS[0], "checkpoint"]
PACKAGES = ("models", "data_loader")
FILES = sorted([*ROOT.glob("*.py"), *(file for package in PACKAGES for file in ROOT.glob(f"{package}/*.py"))])


def imports_of(tree):
    for node in ast.walk(tree):  # functions too: no lazy import upwards either
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0]


def broken_rules(module: str, tree) -> list[str]:
    found = []
    for name in imports_of(tree):
        if name in ("tensorflow", "keras") and module in NO_TENSORFLOW and module != "program":
            found.append(f"{module} imports {name}")
        if name not in LEVEL or name == module:
            continue
        if LEVEL[name] > LEVEL[module]:
            found.append(f"{module} imports {name} from a level above")
        if {module, name} & DATA_SIDE and {module, name} & MODEL_SIDE and LEVEL[module] in (2, 3):
            found.append(f"{module} imports {name} from the other side")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_down(file):
    module = file.parent.name if file.parent.name in PACKAGES else file.stem
    if module == "setup":
        pytest.skip("not part of the house")
    assert module in LEVEL, f"{file.name} has no level: give it one here"
    assert broken_rules(module, ast.parse(file.read_text())) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("data_loader", "def f():\n    from trainer import main"),
        ("input_ops", "import model"),
        ("model", "from input_ops import order"),
        ("checkpoint", "import tensorflow as tf"),
        ("models", "import preprocess_data"),
    ],
)
def test_the_rule_notices(module, source):
    assert broken_rules(module, ast.parse(source))


def test_import_has_no_side_effect(tmp_path):
    """Importing every module in an empty directory seeds nothing, installs no handler, writes nothing, prints nothing."""
    modules = [name for name in LEVEL if name != "models"]
    script = f"""
import random, signal, logging, sys
sys.path.insert(0, {str(ROOT)!r})
import numpy as np, tensorflow, keras
random.seed(7); np.random.seed(7); tensorflow.random.set_seed(7)
def state():
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    return random.getstate(), np.random.get_state()[1].tolist(), handlers, logging.root.handlers[:], keras.config.dtype_policy().name
before = state()
for name in {modules!r}:
    __import__(name)
assert state() == before
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert list(tmp_path.iterdir()) == []
