"""The README's commands do what it says; its names exist."""

import json
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from PIL import Image
from places import CONFIGS, ROOT

from sources import images

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.split("  #")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.S)
    for line in block.splitlines()
]
TRAINER = [
    command.split("&&")[-1].strip()
    for command in COMMANDS
    if "trainer.py" in command and "photos.yaml" not in command
]
OWN_PHOTOS = README[README.index("### Your own photos") : README.index("| data set |")]


def test_the_first_two_commands_set_up_and_run():
    assert COMMANDS[0] == "pip install -e . && python trainer.py --config configs/lenet.yaml"
    assert COMMANDS[1] == "pip install -e '.[test]' && pytest"


def test_every_config_has_its_row_and_header():
    for path in CONFIGS:
        assert f"| `{path.stem}` |" in README
        header = path.read_text().splitlines()[:4]
        assert any(
            f"python trainer.py --config configs/{path.name}" in line
            for line in header
            if line.startswith("#")
        )
        assert any(re.search(r"20\d\d-\d\d-\d\d", line) for line in header if line.startswith("#"))


def test_every_file_it_names_exists():
    for name in set(re.findall(r"`([\w/]+\.(?:py|yaml|md))`", README)) - {
        "models/mynet.py",
        "configs/mynet.yaml",
        "config.yaml",
        "photos.yaml",
    }:
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("command", TRAINER)
def test_its_training_commands_are_accepted(command, program):
    """All of them as far as the configuration; `--help` and `--print_config` stop there by themselves."""
    words = shlex.split(command)[1:]
    more = [] if "--help" in words else ["--print_config"]
    done = program(*words, *more)
    assert (done.returncode, done.stderr) == (0, "")


def test_train_again_and_evaluate_from_another_directory(program, tmp_path):
    """The README's first flow, shortened; from elsewhere, since a run must not depend on where it was started."""
    train = [ROOT / "trainer.py", "--config", ROOT / "configs/lenet.yaml", "train.epochs=2"]
    first = program(*train, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    result = json.loads(first.stdout.splitlines()[-1])
    assert (
        result["run_dir"] == "runs/lenet"
        and result["step"] == 63
        and result["valid"]["accuracy"] > 0.4
    )
    run_dir = tmp_path / "runs/lenet"
    assert {path.name for path in run_dir.iterdir()} == {
        "config.yaml", "environment.json", "metrics.jsonl", "tensorboard", "checkpoints", "lock",
    }  # fmt: skip
    assert {path.name for path in (run_dir / "checkpoints/step-0000000063").iterdir()} == {
        "variables.index", "variables.data-00000-of-00001", "state.json", "MANIFEST.json",
    }  # fmt: skip
    assert "step 50/63" in first.stderr and "waiting for input" in first.stderr

    again = program(*train, cwd=tmp_path)
    assert json.loads(again.stdout) == result and "already at step 63 of 63" in again.stderr

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
    """From a folder of photos to training, mixing and records, with the README's own file and commands, word for word."""
    inputs = images.read_idx(ROOT / "data/mnist_sample/train-images-idx3-ubyte.gz", 3)
    labels = images.read_idx(ROOT / "data/mnist_sample/train-labels-idx1-ubyte.gz", 1)
    for number in range(600):
        folder = tmp_path / "photos" / str(labels[number])
        folder.mkdir(parents=True, exist_ok=True)
        side = 28 + number % 5 * 9
        Image.fromarray(inputs[number]).resize((side, side)).save(
            folder / f"{number}.{('png', 'jpg', 'bmp', 'gif')[number % 4]}"
        )
    (config,) = re.findall(r"```yaml\n(# photos\.yaml\n.*?)```", OWN_PHOTOS, re.S)
    (tmp_path / "photos.yaml").write_text(config)
    commands = [
        line
        for block in re.findall(r"```bash\n(.*?)```", OWN_PHOTOS, re.S)
        for line in block.splitlines()
    ]
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
    assert (
        mixed["valid"]["mnist_sample/accuracy"] > 0.9
        and mixed["valid"]["image_folder/accuracy"] > 0.9
    )
    assert sum(prepared["examples"].values()) == 600
    assert checked["examples"] == 600 and packed["valid"]["accuracy"] > 0.8


def test_its_network_loss_and_metric_of_your_own(tmp_path):
    """In a copy: one file, one class, one YAML, two functions, word for word; it trains, and the harness finds it by itself."""
    copy = tmp_path / "project"
    shutil.copytree(
        ROOT,
        copy,
        ignore=shutil.ignore_patterns(".git", "runs", "__pycache__", ".*_cache", "*.egg-info"),
    )
    blocks = re.findall(
        r"```(?:python|yaml)\n# (\S+?)(?:, .*?)?\n(.*?)```",
        README[README.index("## Make it yours") :],
        re.S,
    )
    own = dict(blocks)
    assert list(own) == ["models/mynet.py", "model_config.py", "configs/mynet.yaml", "model.py"]
    for name in ("models/mynet.py", "configs/mynet.yaml"):
        (copy / name).write_text(own[name])

    def change(name, *replacements):
        text = (copy / name).read_text()
        for old, new in replacements:
            assert text.count(old) == 1, (name, old)
            text = text.replace(old, new)
        (copy / name).write_text(text)

    change(
        "model_config.py",
        ("ModelConfig = one_of(", own["model_config.py"] + "\n\nModelConfig = one_of(Mynet, "),
    )
    change("model.py", ("def _label_metrics(", own["model.py"] + "\n\ndef _label_metrics("))
    change(
        "train_config.py",
        ("_LabelLoss = Literal[", '_LabelLoss = Literal["poly1", '),
        ("_LabelMetric = Literal[", '_LabelMetric = Literal["confidence", '),
    )

    def run(*words):
        return subprocess.run(
            [sys.executable, *words], cwd=copy, capture_output=True, text=True, timeout=240
        )

    trained = run("trainer.py", "--config", "configs/mynet.yaml")
    assert trained.returncode == 0, trained.stderr
    valid = json.loads(trained.stdout.splitlines()[-1])["valid"]
    assert valid["accuracy"] > 0.7 and 0.2 < valid["confidence"] < 1
    tested = run(
        "-m", "pytest", "-q", "-n", "0", "tests/models/test_every_network.py", "-k", "mynet"
    )
    assert tested.returncode == 0 and "3 passed" in tested.stdout, tested.stdout
