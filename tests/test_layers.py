"""The structure of the house, read from the source: imports go down only, nothing is forgotten."""

import ast
import subprocess
import sys

import pytest
from places import HANG, ROOT

import data_config
import model_config
from cli.typed_yaml import name_of, named_classes

# A rule for each folder and each door; files of a folder are not listed.
LEVELS = [
    ["cli"],
    ["data_config", "model_config", "train_config"],
    ["engine"],
    ["data_loader", "model"],  # they find files of their rooms by name and never import them
    ["sources", "ops", "models", "tasks"],
    ["preprocess_data"],
    ["input_ops"],
    ["eval"],
    ["trainer"],
    ["launch"],
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
PACKAGES = ("cli", "engine", "sources", "ops", "models", "tasks")
DATA_SIDE = {"sources", "ops", "data_loader", "preprocess_data", "input_ops"}
MODEL_SIDE = {"models", "tasks", "model"}
LIGHT = {"cli", *LEVELS[1]}  # must answer at once
HEAVY = ("tensorflow", "keras", "numpy")
IMPORTS_TENSORFLOW = "program.py"  # its import_tensorflow, for all programs
TOP = [file for file in sorted(ROOT.glob("*.py")) if file.name != "setup.py"]
FILES = [*TOP, *(file for name in PACKAGES for file in sorted(ROOT.glob(f"{name}/*.py")))]
ROOMS = {
    "sources": [data_config.Dataset],
    "ops": [data_config.Op, data_config.BatchOp],
    "models": [model_config.Network],
    "tasks": [model_config.TaskConfig, model_config.LabelLoss, model_config.LabelMetric],
}


def room_of(file) -> str:
    return file.stem if file.parent == ROOT else file.parent.name


def imports_of(tree):
    """(module, names taken from it) of every import; functions too: no lazy import upwards."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module, [alias.name for alias in node.names]


def broken_rules(room: str, tree) -> list[str]:
    broken = []
    for name in (module.split(".")[0] for module, _ in imports_of(tree)):
        if name in HEAVY and room in LIGHT:
            broken.append(f"{room} imports {name}")
        if name not in LEVEL or name == room:
            continue
        if LEVEL[name] > LEVEL[room]:
            broken.append(f"{room} imports {name} from a level above")
        if LEVEL[name] == LEVEL[room] and name in PACKAGES:
            broken.append(f"{room} imports {name}, another room")
        for side, other in ((DATA_SIDE, MODEL_SIDE), (MODEL_SIDE, DATA_SIDE)):
            if room in side and name in other:
                broken.append(f"{room} imports {name} from the other side")
    return broken


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_down(file):
    room = room_of(file)
    assert room in LEVEL, f"{file.name}: no level: give it one in tests/test_layers.py"
    broken = broken_rules(room, ast.parse(file.read_text()))
    if (room, file.name) == ("cli", IMPORTS_TENSORFLOW):
        broken = [
            rule for rule in broken if rule not in ("cli imports tensorflow", "cli imports keras")
        ]
    assert broken == []


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("data_loader", "def f():\n    from trainer import main"),
        ("data_loader", "import sources.mnist"),
        ("input_ops", "import model"),
        ("model", "from input_ops import order"),
        ("cli", "import tensorflow as tf"),
        ("train_config", "import numpy as np"),
        ("engine", "from tasks import metrics"),
        ("models", "import preprocess_data"),
        ("tasks", "from ops import images"),
        ("ops", "from sources.idx import read"),
    ],
)
def test_the_rule_notices(room, source):
    assert broken_rules(room, ast.parse(source))


def test_few_modules_stand_at_the_top():
    assert len(TOP) <= 12, [file.name for file in TOP]


# ---- nothing is forgotten


def names_in(room: str) -> set[str]:
    return {name_of(section) for base in ROOMS[room] for section in named_classes(base)}


def functions_of(tree) -> set[str]:
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def forgotten(room: str, sources: dict[str, str], names: set[str]) -> list[str]:
    """Files of a room that hold no name of the configuration and that no other file imports."""
    trees = {stem: ast.parse(source) for stem, source in sources.items()}
    imported = set()
    for stem, tree in trees.items():
        for module, taken in imports_of(tree):
            modules = {module, *(f"{module}.{name}" for name in taken)}
            imported |= modules - {f"{room}.{stem}"}
    return [
        f"{room}/{stem}.py: no class of the configuration has its name and no file imports it"
        for stem, tree in trees.items()
        if not names & {stem, *functions_of(tree)} and f"{room}.{stem}" not in imported
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_every_file_of_a_room_is_used(room):
    files = [file for file in (ROOT / room).glob("*.py") if file.stem != "__init__"]
    sources = {file.stem: file.read_text() for file in files}
    assert forgotten(room, sources, names_in(room)) == []


def test_a_forgotten_file_is_noticed():
    sources = {"a": "from ops.b import f", "b": "f = 1", "c": "def d(): pass", "e": "import ops.e"}
    expected = "ops/e.py: no class of the configuration has its name and no file imports it"
    assert forgotten("ops", sources, {"a", "d"}) == [expected]


# ---- no name of a room outside of it


def names_compared(tree) -> list[str]:
    """Comparisons of some `x.name` with what is a name of a room."""
    names = set().union(*map(names_in, ROOMS))
    lines = []
    for node in ast.walk(tree):
        sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
        texts = {
            inner.value
            for side in sides
            for inner in ast.walk(side)
            if isinstance(inner, ast.Constant)
        }
        if (
            any(isinstance(side, ast.Attribute) and side.attr == "name" for side in sides)
            and texts & names
        ):
            lines.append(f"line {node.lineno}: {ast.unparse(node)}: let the class say it")
    return lines


DISPATCHERS = [file for file in FILES if room_of(file) != "models"]  # which have their own options


@pytest.mark.parametrize("file", DISPATCHERS, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_dispatch_on_names(file):
    assert names_compared(ast.parse(file.read_text())) == []


@pytest.mark.parametrize("source", ['config.name == "scale"', 'op.name in ("pad", "scale")'])
def test_a_dispatch_is_noticed(source):
    assert names_compared(ast.parse(source))
    assert not names_compared(ast.parse('path.name == "train.index"'))


def test_import_has_no_side_effect(tmp_path):
    """Importing all modules in an empty directory seeds, handles, writes and prints nothing."""
    modules = [str(file.relative_to(ROOT)).removesuffix(".py").replace("/", ".") for file in FILES]
    script = f"""
import importlib, random, signal, logging, os, sys
sys.path.insert(0, {str(ROOT)!r})
import numpy as np, tensorflow, keras
random.seed(7); np.random.seed(7); tensorflow.random.set_seed(7)
def state():
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    randomness = random.getstate(), np.random.get_state()[1].tolist()
    policy = keras.config.dtype_policy().name
    return randomness, handlers, logging.root.handlers[:], policy, dict(os.environ)
before = state()
for name in {modules!r}:
    importlib.import_module(name)
assert state() == before
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=HANG
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert list(tmp_path.iterdir()) == []
