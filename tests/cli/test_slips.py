"""Slips of a first day get their cure, in one line of at most 200 characters."""

import pytest
from places import TINY

import launch
from cli.program import Command, ConfigError
from data_config import Dataset
from train_config import TrainConfig, load_config


def slip(*words: str, config_class=TrainConfig, main_flag: str = "config") -> str:
    """The line of a program with such a command line."""
    command = Command("trainer", "python trainer.py", config_class)
    command.string(main_flag, None, "The first flag.")
    command.integer("count", 1, "A number.")
    with pytest.raises(ConfigError) as caught:
        command.parse(["trainer.py", *words])
        load_config(TINY, command.overrides)
    line = str(caught.value)
    assert line.startswith("command line: ") and len(line) <= 200 - len("preprocess_data: error: ")
    return line


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        # a field as a flag
        (["--epochs", "3"], "write train.epochs=3"),
        (["--epochs=3"], "write train.epochs=3"),
        (["--lr", "0.1"], "write optimizer.learning_rate=0.1"),
        (["--batch_size", "32"], "write train.batch_size=32"),
        (["--batch-size", "32"], "write train.batch_size=32"),
        (["--num_epochs", "3"], "write train.epochs=3"),
        (["--train.epochs", "3"], "write train.epochs=3"),
        (["--optimizer", "sgd"], "write optimizer.name=sgd"),
        (["--log_every", "3 epochs"], "write 'train.log_every=3 epochs'"),
        # a file without its flag
        (["configs/mine.yaml"], "write --config configs/mine.yaml"),
        (["mine.yml", "train.steps=1"], "write --config mine.yml"),
        # blanks and colons
        (["train.epochs", "=", "3"], "write train.epochs=3"),
        (["train.epochs=", "3"], "write train.epochs=3"),
        (["train.epochs", "=3"], "write train.epochs=3"),
        (["train.epochs", "3"], "write train.epochs=3"),
        (["train.batch_size:64"], "write train.batch_size=64"),
        (["train.batch_size:", "64"], "write train.batch_size=64"),
        (["data.ops=[pad,", "scale]"], "write 'data.ops=[pad, scale]', in quotes"),
        (["train.log_every=3", "epochs"], "write 'train.log_every=3 epochs', in quotes"),
        (["fast"], "expected key=value, got 'fast' (see --help)"),
        # a name for a section
        (["model=tiny"], "write model.name=tiny or, for its defaults, 'model={name: tiny}'"),
        (["optimizer=sgd"], "write optimizer.name=sgd"),
        (["optimizer.schedule=cosine"], "write optimizer.schedule.name=cosine"),
        (["optimizer=sdg"], "did you mean 'sgd'?"),
        # an operation without what it needs, or no list
        (
            ["data.ops=[tiny_clip]"],
            "data.ops.0.high: missing; expected {name: tiny_clip, high: ...}",
        ),
        (["data.ops=scale"], "write ['scale']"),
        # a field without its section
        (["epochs=3"], "did you mean 'train.epochs'?"),
        (["lr=0.1"], "did you mean 'optimizer.learning_rate'?"),
        (["optimizer.lr=0.1"], "did you mean 'optimizer.learning_rate'?"),
        (["train.learning_rate=0.1"], "did you mean 'optimizer.learning_rate'?"),
        (["data.ops=[zzz]"], "unknown name 'zzz'; expected one of "),
    ],
    ids=" ".join,
)
def test_a_slip_gets_its_cure(words, cure):
    assert cure in slip(*words)


def test_the_file_is_not_guessed_where_it_was_given():
    assert "--config" not in slip("--config", "a.yaml", "configs/b.yaml")


def test_blanks_around_an_equals_sign_are_no_slip():
    command = Command("trainer", "", TrainConfig)
    command.parse(["trainer.py", "train.epochs = 3"])
    assert load_config(TINY, command.overrides).train.epochs == 3


def test_data_sets_as_words_and_flags():
    asked = {"config_class": Dataset, "main_flag": "source"}
    assert "write --source tiny_numbers" in slip("tiny_numbers", **asked)
    assert "write size=3" in slip("--size", "3", **asked)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--workers", "2", "--config", "a.yaml"], "launch.py --workers 2 -- --config a.yaml"),
        (["--workers=2", "train.steps=3"], "launch.py -- train.steps=3"),
        (["--workers", "2", "configs/a.yaml"], "launch.py -- configs/a.yaml"),
    ],
)
def test_words_for_the_trainer_follow_two_dashes(words, line):
    with pytest.raises(ConfigError) as caught:
        launch.COMMAND.parse(["launch.py", *words])
    assert str(caught.value).endswith(f"what is for the trainer follows --: {line}")
