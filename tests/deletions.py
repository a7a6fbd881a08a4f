"""Takes networks, data sets, operations and tasks out of copies of the project, as a fork does.

    python tests/deletions.py COPY < requests.json        prints one JSON result for each request

A request is {"delete": [[kind, name, class], ...], "write": {file: text}}: all of it in one copy. A
result is {"problems": [line, ...], "tests": [id, ...]}: what no longer imports, answers, loads or
is collected, and the tests that are left. TensorFlow is imported once; each request is answered by
a child process, in a copy of COPY made of hard links.
"""

import ast
import importlib
import json
import os
import re
import runpy
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

import yaml

# kind: (room, file of its options, section of the YAML that names it)
KINDS = {
    "network": ("models", "model_config.py", "model"),
    "source": ("sources", "data_config.py", "data"),
    "operation": ("ops", "data_config.py", "data"),
    "task": ("tasks", "model_config.py", "task"),
}
BESIDE = (
    "",
    "measure_",
    "undo_",
    "undo_targets_",
    "tokens_",
    "window_",
)  # an operation's functions
PACKAGES = ("cli", "engine", *(room for room, _, _ in KINDS.values()))


def copy_project(root: Path, copy: Path) -> None:
    """Code, tests and configurations; the data stay where they are."""
    left_out = (".git", "runs", "data", "__pycache__", ".*_cache", "*.egg-info")
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns(*left_out))
    (copy / "data").symlink_to(root / "data")


# ---- taking away


def take_away(root: Path, deletions: list) -> None:
    """Deletes what has these names: files, test files, functions, classes, configurations."""
    for kind, name, class_name in deletions:
        room, config_file, section = KINDS[kind]
        cut(root / config_file, [class_name])
        if kind == "operation":
            for file in files_of(root, room):
                cut(file, [prefix + name for prefix in BESIDE])
        else:
            delete_file(root, room, name)
        for path in (root / "configs").glob("*.yaml"):
            if name in names_in(yaml.safe_load(path.read_text()).get(section)):
                path.unlink()
    while orphans := find_orphans(root):
        for room, stem in orphans:
            delete_file(root, room, stem)


def with_what_they_call(root: Path, names: set[str]) -> set[str]:
    """These functions of ops/, and those of the same files that they call, and so on."""
    calls = {}
    for file in files_of(root, "ops"):
        functions = [n for n in ast.parse(file.read_text()).body if isinstance(n, ast.FunctionDef)]
        in_file = {function.name for function in functions}
        for function in functions:
            named = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
            calls.setdefault(function.name, set()).update(named & in_file)
    found, following = set(), set(names)
    while following:
        found |= following
        following = set().union(*(calls.get(name, set()) for name in following)) - found
    return found


def delete_file(root: Path, room: str, stem: str) -> None:
    (root / room / f"{stem}.py").unlink()
    (root / "tests" / room / f"test_{stem}.py").unlink(missing_ok=True)


def files_of(root: Path, room: str) -> list[Path]:
    return [file for file in sorted((root / room).glob("*.py")) if file.stem != "__init__"]


def cut(file: Path, names: list[str]) -> None:
    """Removes the functions and classes of these names, with their decorators."""
    text = file.read_text()
    lines = text.splitlines(keepends=True)
    for node in reversed(ast.parse(text).body):
        if getattr(node, "name", None) in names:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            del lines[first - 1 : node.end_lineno]
    if "".join(lines) != text:
        file.unlink()  # a hard link
        file.write_text("".join(lines))


def names_in(section) -> set[str]:
    """All keys and texts of a part of a YAML file."""
    if isinstance(section, dict):
        return set(section).union(*map(names_in, section.values()))
    if isinstance(section, list):
        return set().union(*map(names_in, section))
    return {section} if isinstance(section, str) else set()


def find_orphans(root: Path) -> list[tuple[str, str]]:
    """(room, file) of what no class of the configuration names and no file imports."""
    config_files = {config_file for _, config_file, _ in KINDS.values()}
    literals = [re.findall(r'name: Literal\["(\w+)"', (root / f).read_text()) for f in config_files]
    named, imported = set().union(*literals), set()
    for file in root.rglob("*.py"):
        if "tests" not in file.relative_to(root).parts:
            imported |= imports_of(ast.parse(file.read_text()))
    orphans = []
    for room, _, _ in KINDS.values():
        for file in files_of(root, room):
            body = ast.parse(file.read_text()).body
            functions = {node.name for node in body if isinstance(node, ast.FunctionDef)}
            of_names = {file.stem} | (functions if room in ("ops", "tasks") else set())
            if not of_names & named and f"{room}.{file.stem}" not in imported:
                orphans.append((room, file.stem))
    return orphans


def imports_of(tree) -> set[str]:
    """Modules that a file imports, and what it imports from packages: {"sources.idx"}."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def take_away_tests(root: Path, deletions: list) -> None:
    """In the test files of operations that stay: the tests that name one that is gone."""
    gone = re.compile(
        "|".join(rf"\b{name}\b" for kind, name, _ in deletions if kind == "operation")
    )
    for file in sorted((root / "tests" / "ops").glob("test_*.py")):
        text = file.read_text()
        tests = [
            node.name
            for node in ast.parse(text).body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
            if any(gone.search(ast.unparse(part)) for part in [node, *node.decorator_list])
        ]
        cut(file, tests)


# ---- what is left


def check(root: Path) -> dict:
    """Imports, asks for help, loads and collects the project in `root`; changes the process."""
    os.chdir(root)
    sys.path[:] = [str(root), *(path for path in sys.path if not holds_project(path))]
    problems = []
    for module in modules_of(root):
        note(problems, f"import {module}", lambda module=module: importlib.import_module(module))
    note(problems, "trainer.py --help", show_help)
    for path in sorted((root / "configs").glob("*.yaml")):
        note(problems, path.name, lambda path=path: load_config(path))
    forget(root)
    tests = collect(problems)
    return {"problems": problems, "tests": tests}


def load_config(path: Path) -> None:
    importlib.import_module("train_config").load_config(path)


def holds_project(path: str) -> bool:
    return any((Path(path or ".") / name).exists() for name in ("trainer.py", "../trainer.py"))


def modules_of(root: Path) -> list[str]:
    top = [file.stem for file in sorted(root.glob("*.py")) if file.stem != "setup"]
    return top + [f"{room}.{file.stem}" for room in PACKAGES for file in files_of(root, room)]


def note(problems: list, what: str, action) -> None:
    try:
        action()
    except BaseException as error:  # SystemExit too
        problems.append(f"{what}: {type(error).__name__}: {error}")


def show_help() -> None:
    sys.argv = ["trainer.py", "--help"]
    try:
        runpy.run_path("trainer.py", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise


def forget(root: Path) -> None:
    """Modules of the project: the tests import them after the tiny network and data sets."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(f"{root}{os.sep}"):
            del sys.modules[name]


def collect(problems: list) -> list[str]:
    import pytest

    tests = []

    class Collected:
        def pytest_collectreport(self, report):
            if report.failed:
                problems.append(f"pytest --collect-only {report.nodeid}: {report.longreprtext}")

        def pytest_collection_finish(self, session):
            tests.extend(item.nodeid for item in session.items)

    options = "addopts=--import-mode=importlib"
    words = ["--collect-only", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-o", options]
    code = pytest.main(words, plugins=[Collected()])
    if code and not any(problem.startswith("pytest") for problem in problems):
        problems.append(f"pytest --collect-only: exit code {code}")
    return tests


# ---- the program


def answer(root: Path, request: dict, output: Path) -> dict:
    """The result of a child process, which changes `root`, imports it and writes to `output`."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            in_child(root, request, output, writer)
        except BaseException:
            traceback.print_exc()  # into `output`
        finally:  # what the parent opened is the parent's to close
            sys.stderr.flush()
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        result = pipe.read()
    os.waitpid(child, 0)
    if not result:
        return {"problems": [f"no answer: {output.read_text()[-4000:]}"], "tests": []}
    return json.loads(result)


def in_child(root: Path, request: dict, output: Path, writer: int) -> None:
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for name, text in request.get("write", {}).items():
        (root / name).write_text(text)
    take_away(root, request.get("delete", []))
    result = json.dumps(check(root))
    with os.fdopen(writer, "w") as pipe:
        pipe.write(result)


def main(copy: Path, requests: list[dict]) -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras  # noqa: F401
    import tensorflow as tf  # noqa: F401

    for request in requests:
        with tempfile.TemporaryDirectory(dir=copy.parent) as directory:
            root, output = Path(directory) / "project", Path(directory) / "output"
            shutil.copytree(copy, root, copy_function=os.link, symlinks=True)
            print(json.dumps(answer(root, request, output)), flush=True)
        sys.dont_write_bytecode = True


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.load(sys.stdin))
