"""README is what it says: every block of it is run here, its names exist, and it stays short."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from PIL import Image
from places import CONFIGS, HANG, ROOT

from engine.cluster import read_cluster
from sources.idx import read_idx

README = (ROOT / "README.md").read_text()
RESULTS = (ROOT / "configs/README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.S | re.M)
COMMANDS = [line for kind, block in BLOCKS if kind == "bash" for line in block.splitlines()]
PHOTOS = README[README.index("### Your own photos") : README.index("| a data set may look like |")]
OWN = README[README.index("## Make it yours") : README.index("## Networks and tasks")]
NEW_FILES = {
    "models/mynet.py",
    "configs/mynet.yaml",
    "configs/squares.yaml",
    "sources/squares.py",
    "tasks/quantile.py",
    "photos.yaml",
}


def test_it_is_short_and_every_block_is_of_a_kind_that_is_run():
    assert len(README.splitlines()) < 450
    assert {kind for kind, _ in BLOCKS} == {"bash", "yaml", "python", ""}
    (house,) = [block for kind, block in BLOCKS if kind == ""]  # the picture
    names = set(re.findall(r"(\w+(?:\.py|/))", house))
    assert {name for name in names if not (ROOT / name).exists()} == set()
    modules = {path.name for path in ROOT.glob("*.py")} - {"setup.py"}
    assert modules | {"sources/", "ops/", "models/", "tasks/", "engine/", "cli/"} == names


def test_every_config_has_its_row_and_header():
    for path in CONFIGS:
        assert f"| `{path.stem}` |" in RESULTS
        header = [line for line in path.read_text().splitlines()[:5] if line.startswith("#")]
        command = f"python trainer.py --config configs/{path.name}"
        assert any(command in line for line in header)
        assert any(re.search(r"20\d\d-\d\d-\d\d", line) for line in header)


def test_every_file_and_function_it_names_exists():
    text = README.replace(OWN, "")
    names = set(re.findall(r"`([\w/]+\.(?:py|yaml|md))`", text)) - {"config.yaml"} - NEW_FILES
    assert {name for name in names if not (ROOT / name).exists()} == set()
    defined = {
        "trainer": {"Trainer", "loop", "_step", "_apply", "tower_sums"},
        "input_ops": {"Mix", "ids", "ids_of_steps"},
        "engine/devices": {"split_to_towers"},
        "ops/images": {"decode_image"},
        "engine/optimizer": {"build_schedule"},
    }
    for file, names in defined.items():
        tree = ast.parse((ROOT / f"{file}.py").read_text())
        kinds = (ast.FunctionDef, ast.ClassDef)
        assert names <= {node.name for node in ast.walk(tree) if isinstance(node, kinds)}, file


def commands_of(text: str) -> list[str]:
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.S | re.M)
    return [line for block in blocks for line in block.splitlines()]


INSTALL = [line for line in COMMANDS if line.startswith("pip install")]
CLUSTER = [line for line in COMMANDS if re.match(r"#|hosts=|export |.*/shared/", line)]
RUN_ELSEWHERE = [*INSTALL, *CLUSTER, *commands_of(PHOTOS)]
CHECKED = [line for line in COMMANDS if line not in RUN_ELSEWHERE]


@pytest.mark.parametrize("command", [line for line in CHECKED if "trainer.py" in line])
def test_its_training_commands_are_accepted(command, program):
    """As far as the configuration; --help stops there by itself. Runs that it names: below."""
    words = shlex.split(command)[1:]
    if {"--verify", "--from", "--history"} & set(words):
        return
    if words[0] == "launch.py":
        words = words[words.index("--") + 1 :]
        words = ["trainer.py", *words]
    done = program(*words, *([] if "--help" in words else ["--print_config"]))
    assert (done.returncode, done.stderr) == (0, "")


def test_its_first_commands(program, tmp_path):
    """Train (shortened), train again, evaluate, verify, from another directory; what they print."""
    assert INSTALL[0] == "pip install -e . && python trainer.py --config configs/lenet.yaml"
    assert INSTALL[1] == "pip install -e '.[test]' && pytest"
    train = [ROOT / "trainer.py", "--config", ROOT / "configs/lenet.yaml", "train.epochs=2"]
    first = program(*train, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    result = json.loads(first.stdout.splitlines()[-1])
    assert result["run_dir"] == "runs/lenet" and result["step"] == 63
    assert result["valid"]["accuracy"] > 0.4
    run_dir = tmp_path / "runs/lenet"
    files = {
        "config.yaml",
        "data.json",
        "environment.json",
        "metrics.jsonl",
        "tensorboard",
        "checkpoints",
        "lock",
    }
    assert {path.name for path in run_dir.iterdir()} == files
    files = {"variables.index", "variables.data-00000-of-00001", "state.json", "MANIFEST.json"}
    assert {path.name for path in (run_dir / "checkpoints/step-0000000063").iterdir()} == files
    assert "step 50/63" in first.stderr and "waiting for input" in first.stderr

    again = program(*train, cwd=tmp_path)
    assert json.loads(again.stdout) == result and "already at step 63 of 63" in again.stderr

    verified = program(ROOT / "trainer.py", "--verify", "runs/lenet", cwd=tmp_path)
    assert 63 in json.loads(verified.stdout)["verified"]
    (branch,) = [line for line in COMMANDS if "--from" in line]
    words = [*shlex.split(branch)[2:-1], "train.epochs=3"]  # not 80
    branched = program(ROOT / "trainer.py", *words, cwd=tmp_path)
    assert json.loads(branched.stdout)["step"] == 94, branched.stderr
    history = program(ROOT / "trainer.py", "--history", "runs/branch", cwd=tmp_path)
    assert "train.epochs: 2.0 -> 3.0" in history.stdout
    run_dir.rename(tmp_path / "moved")
    scored = program(ROOT / "eval.py", "--ckpt", "moved", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout)["accuracy"] == result["valid"]["accuracy"]

    missing = program(ROOT / "eval.py", "--ckpt", "moved", "--split", "test", cwd=tmp_path)
    assert missing.returncode == 3
    assert missing.stderr == "eval: error: mnist_sample: no split 'test'; it has train, valid\n"
    nowhere = program(ROOT / "eval.py", "--ckpt", tmp_path, cwd=tmp_path)
    assert nowhere.returncode == 4 and "found: moved, runs" in nowhere.stderr


def test_its_flow_for_your_own_photos(program, tmp_path):
    """From photos to training, mixing, records, with its own file and commands, word for word."""
    inputs = read_idx(ROOT / "data/mnist_sample/train-images-idx3-ubyte.gz", 3)
    labels = read_idx(ROOT / "data/mnist_sample/train-labels-idx1-ubyte.gz", 1)
    for number in range(600):
        folder = tmp_path / "photos" / str(labels[number])
        folder.mkdir(parents=True, exist_ok=True)
        side = 28 + number % 5 * 9
        suffix = ("png", "jpg", "bmp", "gif")[number % 4]
        image = Image.fromarray(inputs[number]).resize((side, side))
        image.save(folder / f"{number}.{suffix}")
    (config,) = re.findall(r"```yaml\n(# photos\.yaml\n.*?)```", PHOTOS, re.S)
    (tmp_path / "photos.yaml").write_text(config)
    commands = commands_of(PHOTOS)
    assert len(commands) == 7
    results = []
    for command in commands:
        _, file, *words = shlex.split(command)
        done = program(ROOT / file, *words, cwd=tmp_path)
        assert done.returncode == 0, (command, done.stderr)
        results.append(json.loads(done.stdout.splitlines()[-1]))
        if "mnist_sample" in command:
            assert "data: mnist_sample: 70.00% of every batch" in done.stderr
    preview, trained, tested, mixed, prepared, checked, packed = results
    assert preview["inputs"] == [28, 28, 1] and Image.open(tmp_path / "sheet.png").size[0] > 1000
    assert trained["valid"]["accuracy"] > 0.8 and tested["accuracy"] > 0.8
    assert mixed["valid"]["mnist_sample/accuracy"] > 0.9
    assert mixed["valid"]["image_folder/accuracy"] > 0.9
    assert sum(prepared["examples"].values()) == 600
    assert checked["examples"] == 600 and packed["valid"]["accuracy"] > 0.8


def test_processes_of_slurm_get_their_cluster(tmp_path):
    """Its block, with Slurm's own words and python replaced by programs that answer as they do."""
    (block,) = [block for kind, block in BLOCKS if kind == "bash" and "scontrol" in block]
    for name, text in (("scontrol", "printf 'a\\nb\\n'"), ("python", 'printf "%s" "$TF_CONFIG"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_JOB_NODELIST": "ab", "SLURM_PROCID": "1"}
    environment = {**os.environ, **slurm, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", block], env=environment, capture_output=True, text=True)
    cluster = read_cluster(done.stdout)
    assert cluster.jobs == {"worker": ["a:2222", "b:2222"]} and cluster.name == "worker 1"


# ---- make it yours


def additions() -> list[tuple[str, str, str]]:
    """(file, where in it, text) of each block; no place for a file of its own."""
    pattern = r"```(?:python|yaml)\n# (\S+?)(?:, (.*?))?\n(.*?)```"
    return re.findall(pattern, OWN, re.S)


def add(root, file: str, place: str, text: str) -> None:
    path = root / file
    if not place:
        assert not path.exists(), file
        path.write_text(text)
    elif place == "at the end":
        path.write_text(f"{path.read_text().rstrip()}\n\n\n{text}")
    else:
        (name,) = re.fullmatch(r"above (\w+)", place).groups()
        before, after = re.split(rf"^(?=(?:class )?{name}\b)", path.read_text(), flags=re.M)
        path.write_text(f"{before}{text}\n\n{after}")


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the project with everything that README adds, word for word."""
    copy = tmp_path_factory.mktemp("extended") / "project"
    ignore = shutil.ignore_patterns(".git", "runs", "__pycache__", ".*_cache", "*.egg-info")
    shutil.copytree(ROOT, copy, ignore=ignore)
    for addition in additions():
        add(copy, *addition)
    return copy


def run_in(copy, *words):
    return subprocess.run(
        [sys.executable, *words], cwd=copy, capture_output=True, text=True, timeout=HANG
    )


def test_each_addition_touches_one_file_and_one_class():
    files = [(file, place) for file, place, _ in additions() if not file.endswith(".yaml")]
    rooms = [file.split("/")[0] for file, _ in files if "/" in file]
    assert sorted(rooms) == ["models", "ops", "sources", "tasks", "tasks", "tasks"]
    classes = re.findall(r"^class (\w+)\((\w+)\):", OWN, re.M)
    bases = [base for _, base in classes if base != "Task"]
    assert sorted(bases) == ["Dataset", "LabelLoss", "LabelMetric", "Network", "Op", "TaskConfig"]


def test_its_network_loss_and_metric_train(extended):
    trained = run_in(extended, "trainer.py", "--config", "configs/mynet.yaml")
    assert trained.returncode == 0, trained.stderr
    valid = json.loads(trained.stdout.splitlines()[-1])["valid"]
    assert valid["accuracy"] > 0.7 and 0.2 < valid["confidence"] < 1


def test_its_data_set_operation_and_task_train(extended):
    trained = run_in(extended, "trainer.py", "--config", "configs/squares.yaml")
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout.splitlines()[-1])["valid"]["coverage"] == pytest.approx(
        0.8, abs=0.1
    )


def test_the_harnesses_find_what_was_added(extended):
    """An operation and a task are asked for an example.

    With one they are tested like all others.
    """
    names = "mynet or squares or negate or quantile"
    found = run_in(extended, "-m", "pytest", "-q", "-n", "0", "--collect-only", "-k", names)
    for name in names.split(" or "):
        assert re.search(rf"\b{name}\b", found.stdout), name
    tested = run_in(
        extended, "-m", "pytest", "-q", "-n", "0", "tests/models", "tests/sources", "-k", names
    )
    assert tested.returncode == 0, tested.stdout[-3000:]
