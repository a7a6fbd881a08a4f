"""`--help` fits a screen; `--help KEY` shows any section, choice or field."""

import pytest
from places import ROOT

from cli import help as manual
from cli.mistakes import dotted_keys
from cli.program import Command, ConfigError
from train_config import TrainConfig

PROGRAMS = ["trainer.py", "eval.py", "input_ops.py", "preprocess_data.py", "launch.py"]


def shown(*topics: str) -> str:
    command = Command("trainer", "python trainer.py --config FILE", TrainConfig)
    command.parse(["trainer.py", "--help", *topics])
    return manual.help_text(command)


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_fits_a_screen(program, name):
    ended = program(name, "--help", cwd=ROOT)
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[0].startswith(f"usage: python {name}")
    assert len(lines) <= 60 and max(map(len, lines)) <= 80


def test_all_sections_have_a_phrase():
    text = shown()
    for name, field in TrainConfig.model_fields.items():
        assert f"\n  {name} " in text
        assert field.description.split()[0] in text


def test_every_field_can_be_shown():
    for key in dotted_keys(TrainConfig):
        text = shown(key)
        assert text.startswith(f"{key}:")
        assert all(len(line) <= 80 or " " not in line.strip() for line in text.splitlines()), key


@pytest.mark.parametrize(
    ("topic", "fragments"),
    [
        ("train.epochs", ["Length of the run in passes over the training set. [null]"]),
        ("train.jit", ["(auto, on, off) [auto]"]),
        ("train", ["batch_size ", "[128]", "precision ", "bfloat16"]),
        ("model", ["tiny ", "dense layers"]),
        ("model.tiny", ["units ", "Units of the hidden layer", "[8]"]),
        ("model.name=tiny", ["units "]),
        ("data.tiny_numbers", ["num_classes "]),
        ("data.train.tiny_numbers.size", ["Training examples"]),
        ("data.train_ops.0", ["Operations on training examples only"]),
        ("optimizer", ["[adam]", "adamw ", "learning_rate ", "[constant]"]),
        ("optimizer.cosine", ["final "]),
        ("train.steps=100", ["Length of the run in steps"]),
        ("task", ["tiny_labels "]),
    ],
)
def test_a_key_is_explained(topic, fragments):
    text = shown(topic)
    for fragment in fragments:
        assert fragment in " ".join(text.split()) or fragment in text


def test_only_what_all_choices_have_is_shown_with_them():
    assert "beta_1 " not in shown("optimizer") and "beta_1 " in shown("optimizer.adam")


@pytest.mark.parametrize(
    ("topic", "nearest"),
    [("trian", "train"), ("train.epoch", "epochs"), ("epochs", "train.epochs"), ("lr", None)],
)
def test_an_unknown_key_names_the_nearest(topic, nearest):
    with pytest.raises(ConfigError, match=f"^command line: --help {topic}: unknown key") as caught:
        shown(topic)
    if nearest:
        assert f"did you mean {nearest!r}?" in str(caught.value)


def test_several_keys_and_short_flag():
    assert shown("train.steps", "train.epochs").count("Length of the run") == 2
    command = Command("trainer", "", TrainConfig)
    command.parse(["trainer.py", "-h"])
    assert "--help KEY" in manual.help_text(command)
