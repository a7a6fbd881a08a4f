"""The README's commands do what it says; its names exist."""

import json
import re
import shlex

import pytest
from conftest import CONFIGS, ROOT

README = (ROOT / "README.md").read_text()
COMMANDS = [line.split("  #")[0].strip() for block in re.findall(r"```bash\n(.*?)```", README, re.S) for line in block.splitlines()]
TRAINER = [command.split("&&")[-1].strip() for command in COMMANDS if "trainer.py" in command]


def test_the_first_two_commands_set_up_and_run():
    assert COMMANDS[0] == "pip install -e . && python trainer.py --config configs/lenet.yaml"
    assert COMMANDS[1] == "pip install -e '.[test]' && pytest"


def test_every_config_has_its_row_and_header():
    for path in CONFIGS:
        assert f"| `{path.stem}` |" in README
        header = path.read_text().splitlines()[:4]
        assert any(f"python trainer.py --config configs/{path.name}" in line for line in header if line.startswith("#"))
        assert any(re.search(r"20\d\d-\d\d-\d\d", line) for line in header if line.startswith("#"))


def test_every_file_it_names_exists():
    for name in set(re.findall(r"`([\w/]+\.(?:py|yaml|md))`", README)) - {"models/mynet.py", "config.yaml"}:
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
    assert result["run_dir"] == "runs/lenet" and result["step"] == 63 and result["valid"]["accuracy"] > 0.4
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
