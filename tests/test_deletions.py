"""A fork deletes what it does not need: the rest imports, loads, and its tests are collected.

Deleting one is its file, its test file, its class and the configurations that name it; of an
operation, its functions. tests/deletions.py does that in copies of the project.
"""

import json
import re
import shutil
import subprocess
import sys

import deletions
import pytest
import yaml
from places import HANG, ROOT

import data_config
import model_config
from cli.typed_yaml import name_of, named_classes

BASES = {
    "network": [model_config.Network],
    "source": [data_config.Dataset],
    "operation": [data_config.Op, data_config.BatchOp],
    "task": [model_config.TaskConfig],
}
PRODUCT = [  # (kind, name, class) of all that the configuration chooses from
    (kind, name_of(cls), cls.__name__)
    for kind, bases in BASES.items()
    for base in bases
    for cls in named_classes(base)
    if cls.__module__ in ("model_config", "data_config")
]
LEANED_ON = ("lenet", "mnist_sample", "scale", "classification")  # more than on others
ONE_OF_EACH = [
    min(rows, key=lambda row: row[1] not in LEANED_ON)
    for rows in ([row for row in PRODUCT if row[0] == kind] for kind in BASES)
]
NETWORK = ONE_OF_EACH[0][1]


def results_of(requests: list[dict], directory) -> list[dict]:
    """The answers of tests/deletions.py, of a fresh copy."""
    copy = directory / "copy"
    deletions.copy_project(ROOT, copy)
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/deletions.py"), str(copy)],
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        timeout=HANG * len(requests),
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(requests)
    return results


def assert_no_problems(results: dict[str, dict]) -> None:
    lines = [
        f"without {name}: {problem}"
        for name, result in results.items()
        for problem in result["problems"]
    ]
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


def minimal_fork() -> list:
    """All but LeNet, folders of images, the digits that come with us, and what these need."""
    photos = re.search(r"```yaml\n# photos\.yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    files = [photos[1], (ROOT / "configs/lenet.yaml").read_text()]
    ops = set().union(*(deletions.names_in(yaml.safe_load(file)["data"]) for file in files))
    ops = deletions.with_what_they_call(ROOT, ops)
    keep = {"lenet", "image_folder", "mnist_sample", "classification", *ops}
    return [row for row in PRODUCT if row[1] not in keep]


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Results for nothing, one of each kind, all but the minimal fork, and a test that leans."""
    leaning = {"tests/test_leaning.py": f"import models.{NETWORK}"}
    each = [{"delete": [row]} for row in ONE_OF_EACH]
    control = {"delete": ONE_OF_EACH[:1], "write": leaning}
    requests = [{}, *each, {"delete": minimal_fork()}, control]
    return results_of(requests, tmp_path_factory.mktemp("deletions"))


@pytest.mark.timeout(8 * HANG)
def test_one_of_each_kind_and_all_but_a_minimal_fork_are_taken_away(quick):
    whole, *forks, _ = quick
    names = ["nothing", *(f"{kind} {name}" for kind, name, _ in ONE_OF_EACH), "all but a few"]
    assert_no_problems(dict(zip(names, (whole, *forks), strict=True)))
    number = len(whole["tests"])
    assert all(0 < len(result["tests"]) < number for result in forks)


@pytest.mark.timeout(8 * HANG)
def test_what_leans_on_a_deleted_name_is_noticed(quick):
    """A test file that imports a network."""
    (problem,) = [problem for problem in quick[-1]["problems"] if "test_leaning" in problem]
    assert problem.startswith("pytest --collect-only tests/test_leaning.py:")
    assert f"models.{NETWORK}" in problem


@pytest.mark.timeout(8 * HANG)
def test_a_name_finds_its_tests(quick):
    """`pytest -k NAME`: the name stands in the name of a test or of its file."""
    untested = [
        (kind, name)
        for kind, name, _ in PRODUCT
        if not any(re.search(rf"(?<![^\W_]){name}(?![^\W_])", test) for test in quick[0]["tests"])
    ]
    assert untested == []


@pytest.mark.slow
@pytest.mark.timeout(len(PRODUCT) * HANG)
def test_each_is_taken_away(tmp_path):
    results = results_of([{"delete": [row]} for row in PRODUCT], tmp_path)
    names = [f"{kind} {name}" for kind, name, _ in PRODUCT]
    assert_no_problems(dict(zip(names, results, strict=True)))


@pytest.mark.slow
@pytest.mark.timeout(10 * HANG)
def test_a_minimal_fork_is_green(tmp_path):
    """Without the README, which a fork writes anew, without benchmarks, and without this test."""
    fork = tmp_path / "fork"
    deletions.copy_project(ROOT, fork)
    deletions.take_away(fork, minimal_fork())
    deletions.take_away_tests(fork, minimal_fork())
    for name in ("test_readme.py", "test_deletions.py", "test_benchmarks.py"):
        (fork / "tests" / name).unlink()
    shutil.rmtree(fork / "benchmarks")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=fork, capture_output=True, text=True, timeout=10 * HANG)
    assert done.returncode == 0, done.stdout[-20_000:]
