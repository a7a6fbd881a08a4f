"""Configuration: one-line mistakes, overrides, durations in steps, saving and comparing."""

import json
import re
from pathlib import Path

import pytest
from places import CONFIGS

import eval
import train_config
from cli import program, typed_yaml
from cli.program import ConfigError, DataError
from engine.resume import differences
from train_config import Clock, describe_config, load_config, save_config

RUN = Path("run.yaml")  # a text of its own: tests below name its lines and values
TEXT = """\
model:      {name: tiny, dropout: 0.2}
task:       {name: tiny_labels}
data: {train: tiny_numbers, valid: tiny_numbers, train_ops: [{name: random_shift, pixels: 2}]}
optimizer:  {name: adam, learning_rate: 2e-3, schedule: {name: cosine, warmup: 200}, clip_norm: 1.0}
train:      {batch_size: 128, epochs: 40, seed: 0, log_every: 50}
validation: {every: 2 epochs, stepwise: {every: 100, batches: 2}}
checkpoint: {every: 200, keep: 3, best: {metric: accuracy, mode: max, keep: 1}}
"""


@pytest.fixture(autouse=True)
def run_yaml(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    RUN.write_text(TEXT)


def mistake(*overrides: str, path=RUN) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, list(overrides))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"model: \xff", "expected UTF-8 text, got byte 0xff at 7"),
        (b"- a\n- b\n", "expected sections such as `model:`, got ['a', 'b']"),
        (b"", "expected sections such as `model:`, got null"),
        (b"#" * (1 << 20) + b"\n", "at most 1,048,576 bytes, got 1,048,577"),
        (None, "run2.yaml: no such file; there is "),
    ],
    ids=["bytes", "list", "empty", "big", "missing"],
)
def test_files_that_are_no_configuration(tmp_path, content, message):
    file = tmp_path / "run2.yaml"
    if content is not None:
        file.write_bytes(content)
    found = mistake(path=file)
    assert found.startswith(f"{file}: ")
    assert message in found


# ---- mistakes


@pytest.mark.parametrize(
    ("override", "key", "what"),
    [
        # unknown keys, at every depth
        ("modle.name=tiny", "modle", "unknown key, did you mean 'model'?"),
        ("model.dropuot=0.1", "model.dropuot", "unknown key, did you mean 'dropout'?"),
        ("optimizer.schedule.warmpu=3", "optimizer.schedule.warmpu", "did you mean 'warmup'?"),
        ("data.train_ops.0.pixles=2", "data.train_ops.0.pixles", "did you mean 'pixels'?"),
        ("summary.images.zzz=3", "summary.images.zzz", "unknown key; expected one of count, every"),
        # right key, wrong place
        ("train.learning_rate=1", "train.learning_rate", "did you mean 'optimizer.learning_rate'?"),
        ("dropout=0.1", "dropout", "did you mean 'model.dropout'?"),
        # types
        ("train.batch_size=3.7", "train.batch_size", "got 3.7"),
        ("train.batch_size='3.7'", "train.batch_size", "got '3.7'"),
        ("train.batch_size=true", "train.batch_size", "expected a number, got true"),
        (
            "optimizer.learning_rate=false",
            "optimizer.learning_rate",
            "expected a number, got false",
        ),
        (
            "optimizer.learning_rate=fast",
            "optimizer.learning_rate",
            "expected a valid number, got 'fast'",
        ),
        ("train.batch_size=", "train.batch_size", "got null"),
        ("data.ops=scale", "data.ops", "expected a valid list, got 'scale'"),
        ("data.dir=010", "data.dir", "expected a valid string, got 10"),
        ("model=3", "model", "expected a section, got 3"),
        # ranges
        ("train.batch_size=0", "train.batch_size", "expected greater than or equal to 1, got 0"),
        ("train.seed=9223372036854775808", "train.seed", "got 9223372036854775808"),
        (
            "optimizer.learning_rate=-1",
            "optimizer.learning_rate",
            "expected greater than 0, got -1",
        ),
        ("optimizer.learning_rate=1e999", "optimizer.learning_rate", "expected a finite number"),
        ("model.dropout=1.5", "model.dropout", "expected less than 1, got 1.5"),
        # names
        ("model.name=tinny", "model.name", "unknown name 'tinny', did you mean 'tiny'?"),
        ("model.name=zzz", "model.name", "unknown name 'zzz'; expected one of "),
        ("model.name=", "model.name", "unknown name null"),
        (
            "data.train=tiny_numbrs",
            "data.train",
            "unknown name 'tiny_numbrs', did you mean 'tiny_numbers'?",
        ),
        ("optimizer.name=adm", "optimizer.name", "unknown name 'adm', did you mean 'adam'?"),
        ("data.ops=[scal]", "data.ops.0", "unknown name 'scal', did you mean 'scale'?"),
        ("data.train_ops.0.name=zzz", "data.train_ops.0.name", "unknown name"),
        ("checkpoint.best.mode=maximum", "checkpoint.best.mode", "did you mean 'max'?"),
        # durations and patterns
        (
            "train.log_every=0",
            "train.log_every",
            "expected a number of steps above 0 or text such as '3 epochs', got 0",
        ),
        ("train.log_every=2.5", "train.log_every", "got 2.5"),
        ("train.log_every=1.5 steps", "train.log_every", "got '1.5 steps'"),
        ("train.log_every=3 weeks", "train.log_every", "got '3 weeks'"),
        ("train.log_every=0 epochs", "train.log_every", "got '0 epochs'"),
        ("train.log_every=true", "train.log_every", "got true"),
        (
            "optimizer.no_decay=['(']",
            "optimizer.no_decay.0",
            "expected a regular expression, got '('",
        ),
        # fields that must fit each other
        (
            "optimizer.schedule={name: piecewise, boundaries: [1, 2], factors: [1]}",
            "optimizer.schedule",
            "expected 2 factors",
        ),
        (
            "optimizer.schedule={name: exponential, every: 10}",
            "optimizer.schedule.factor",
            "missing",
        ),
        # words that cannot be applied
        ("data.train_ops.7.pixels=1", "data.train_ops.7.pixels", "not a section"),
        ("train.batch_size.x=1", "train.batch_size.x", "train.batch_size is 128, not a section"),
        ("train.batch_size=!!python/name:os.abort", "train.batch_size:1:1", "not allowed"),
    ],
)
def test_mistakes_on_the_command_line(override, key, what):
    message = mistake(override)
    assert message.startswith(f"command line: {key}: ")
    assert what in message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "dropout: 0.2",
            "dropuot: 0.2",
            "model.dropuot: unknown key, did you mean 'dropout'? (line 1)",
        ),
        ("\ntrain:", "\ntrian:", "trian: unknown key, did you mean 'train'? (line 5)"),
        (
            "batch_size: 128",
            "batch_size: 12.8",
            "train.batch_size: expected a valid integer, got 12.8 (line 5)",
        ),
        (
            "epochs: 40",
            "epochs: 40, steps: 10",
            "train: expected exactly one of `steps` and `epochs`",
        ),
        ("epochs: 40, ", "", "(the other absent or null), got neither (line 5)"),
        ("pixels: 2", "", "data.train_ops.0.pixels: missing; expected a value (line 3)"),
        ("model:      {name: tiny, dropout: 0.2}\n", "", "model: missing; expected a value"),
        (
            "name: cosine",
            "name: cosin",
            "optimizer.schedule.name: unknown name 'cosin', did you mean 'cosine'? (line 4)",
        ),
        ("name: random_shift, ", "", "data.train_ops.0: expected a section with a `name`"),
    ],
)
def test_mistakes_in_the_file(old, new, message):
    assert TEXT.count(old) == 1
    RUN.write_text(TEXT.replace(old, new))
    found = mistake("summary.tensorboard=false")  # an innocent override is not blamed
    assert found.startswith("run.yaml: ")
    assert message in found


def test_an_override_displaces_the_length_of_the_file_and_says_so(capsys):
    config = load_config(RUN, ["train.steps=10"])
    assert (config.train.steps, config.train.epochs) == (10, None)
    assert capsys.readouterr().err == "train.epochs=40 of run.yaml gives way to train.steps\n"
    assert load_config(RUN, ["train.steps=10", "train.epochs=null"]).train.steps == 10
    assert load_config(RUN, ["train.steps=null"]).train.epochs == 40
    assert capsys.readouterr().err == ""  # nothing was displaced
    shown = rows(RUN, ["train.steps=10"])
    assert shown["train.steps"] == ("10", "override")
    assert shown["train.epochs"] == ("null", "default")


def test_two_lengths_are_refused_where_both_come_from_one_place():
    both = mistake("train.steps=10", "train.epochs=3")
    assert both.startswith("command line: train.") and "got both" in both
    assert "got both" in mistake("train={steps: 10, epochs: 3}")
    RUN.write_text(TEXT.replace("epochs: 40", "epochs: 40, steps: 10"))
    assert "got both (line 5)" in mistake()
    with pytest.raises(ConfigError, match="got neither"):
        load_config(RUN, ["train.epochs=null", "train.steps=null"])


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("train.batch_size='64'", 64),
        ("train.batch_size=64.0", 64),
        ("optimizer.learning_rate=1e-3", 0.001),
        ("optimizer.learning_rate='1e-3'", 0.001),
        ("optimizer.learning_rate=1", 1.0),
        ("train.log_every='200'", 200),
        ("train.log_every=200 steps", 200),
        ("train.log_every=1 epochs", "1 epoch"),
        ("optimizer.schedule.warmup=0", 0),
        ("data.train_ops.0.pixels=3", 3),
    ],
)
def test_what_loses_nothing_is_accepted(override, value):
    result = load_config(RUN, [override])
    for part in override.split("=")[0].split("."):
        result = result[int(part)] if part.isdigit() else getattr(result, part)
    assert result == value
    assert type(result) is type(value)


# ---- save, show, compare


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_saved_configurations_read_back(tmp_path, path):
    config = load_config(path)
    save_config(config, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml") == config
    assert load_config(tmp_path / "saved.yaml", ["train.seed=12345"]) != config


@pytest.mark.parametrize(
    "text",
    [
        "1e-3",
        "null",
        "~",
        "",
        "010",
        "True",
        "off",
        "1:30",
        "2024-01-31",
        "=",
        "<<",
        "a: b",
        "# no",
        "- x",
        " x ",
        "'",
        '"',
        "!t",
        "&a",
        "*a",
        "{",
        "%",
        "@",
        "a\nb\n",
        "\t",
        "\\",
        "\u00e9\u4e2d\U0001f600",
        "\u0085",
        "x " * 100,
        "...",
    ],
    ids=ascii,
)
def test_text_that_looks_like_something_else_reads_back(tmp_path, text):
    spec = train_config.Spec(
        input_shape=[1],
        input_dtype="float32",
        target_shape=[],
        target_dtype="int64",
        num_classes=2,
        class_names=["a", text],
    )
    config = load_config(RUN).model_copy(update={"spec": spec})
    save_config(config, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml").spec.class_names == ["a", text]
    shown = typed_yaml.to_text(text)
    assert "\n" not in shown
    assert typed_yaml.parse(shown, "f")[0] == text


@pytest.mark.parametrize("duration", ["1000000 epochs", "0.00001 epochs", "0.123456789 epochs"])
def test_durations_keep_their_value_when_saved(tmp_path, duration):
    config = load_config(RUN, [f"train.log_every={duration}"])
    save_config(config, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml").train.log_every == config.train.log_every
    assert float(config.train.log_every.split()[0]) == float(duration.split()[0])


def rows(path, overrides=()) -> dict[str, tuple[str, str]]:
    """--print_config as {key: (value, origin)}."""
    split = [line.rpartition("  # ") for line in describe_config(path, overrides).splitlines()]
    return {
        key: (value.strip(), origin)
        for text, _, origin in split
        for key, _, value in [text.partition(": ")]
    }


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_printed_line_is_an_override_with_its_origin(path):
    before = rows(path)
    assert "override" not in {origin for _, origin in before.values()}
    wrong = []
    for key, (value, _) in before.items():
        try:
            after = rows(path, [f"{key}={value}"])
        except ConfigError as error:
            wrong.append(str(error))
            continue
        wrong += [] if after[key] == (value, "override") else [f"{key}: {after[key]}"]
        wrong += [
            f"{key} also marks {other}"
            for other in after
            if other != key and after[other][1] == "override"
        ]
    assert not wrong


def test_origins():
    shown = rows(RUN, ["data.train_ops.0.pixels=3", "early_stopping={patience: 2}"])
    assert shown["train.batch_size"] == ("128", f"{RUN}:5")
    assert shown["data.valid.name"] == ("tiny_numbers", f"{RUN}:3")  # written as a bare name
    assert shown["optimizer.beta_1"] == ("0.9", "default")
    assert shown["early_stopping.patience"] == ("2", "override")
    assert shown["data.train_ops"] == (
        "[{name: random_shift, pixels: 3}]",
        "override",
    )  # an override inside the list


def test_differences_name_what_changed_and_ignore_where_data_lies():
    old = load_config(RUN)
    assert differences(old, load_config(RUN, ["data.dir=/elsewhere"])) == []
    new = load_config(
        RUN, ["optimizer.learning_rate=1e-3", "data.train_ops=[]", "validation.stepwise=null"]
    )
    assert differences(old, new) == [
        "data.train_ops: [{name: random_shift, pixels: 2}] -> []",
        "optimizer.learning_rate: 0.002 -> 0.001",
        "validation.stepwise.every: 100 -> null",
        "validation.stepwise.batches: 2 -> null",
    ]


# ---- the clock


def train(**length) -> train_config.Train:
    return train_config.Train(**length)


@pytest.mark.parametrize(
    ("batch_size", "examples", "length", "steps"),
    [
        (128, 4000, {"epochs": 40}, 1250),  # 160,000 / 128
        (128, 4000, {"epochs": 1}, 32),  # 31.25
        (128, 4000, {"epochs": 0.5}, 16),  # 15.625
        (128, 4000, {"steps": 7}, 7),
        (100, 1000, {"epochs": 10}, 100),  # no 101st step
        (10, 100, {"epochs": 1.1}, 11),  # 1.1 * 100 is 110.00000000000001 in floating point
        (10, 100, {"epochs": 0.01}, 1),
        (128, 5, {"epochs": 3}, 1),  # a set smaller than a batch
    ],
)
def test_length_of_a_run(batch_size, examples, length, steps):
    assert Clock(batch_size, examples).total_steps(train(**length)) == steps


def test_durations_in_steps():
    clock = Clock(128, 4000)
    assert [clock.steps(d) for d in (None, 200, "1 epoch", "40 epochs", "0.5 epochs")] == [
        0,
        200,
        32,
        1250,
        16,
    ]
    # Epochs end after 4,000, 8,000, 12,000, 16,000 examples: within steps 32 (31.25), 63 (62.5), 94
    # (93.75) and 125.
    assert [step for step in range(126) if clock.is_due(step, "1 epoch")] == [32, 63, 94, 125]
    assert [step for step in range(126) if clock.is_due(step, 50)] == [50, 100]
    assert not any(clock.is_due(step, None) for step in range(126))
    assert clock.next_due(5, None) is None


@pytest.mark.parametrize("every", [1, 3, "1 epoch", "2 epochs", "0.5 epochs", "0.01 epochs"])
@pytest.mark.parametrize(
    ("batch_size", "examples"), [(128, 4000), (1, 7), (7, 1), (10, 100), (64, 65), (3, 1000)]
)
def test_next_due_is_the_next_step_that_is_due(batch_size, examples, every):
    clock = Clock(batch_size, examples)
    due = [step for step in range(1, 801) if clock.is_due(step, every)]
    assert due
    for step in range(due[-1]):
        assert clock.next_due(step, every) == next(d for d in due if d > step)


@pytest.mark.parametrize(
    ("step", "cadences", "limit", "steps"),
    [
        (0, [50, None, "1 epoch"], 1000, 32),  # an epoch ends within step 32 (31.25)
        (32, [50, None, "1 epoch"], 1000, 18),  # 50
        (50, [50, None, "1 epoch"], 1000, 13),  # 63 (62.5)
        (63, [50, "1 epoch"], 7, 7),
        (63, [50, "1 epoch"], 1, 1),
        (120, [50, "1 epoch", 123], 1000, 3),  # a run of 123 steps
        (5, [None], 9, 9),
        (5, [], 9, 9),
        (3, ["0.01 epochs"], 9, 1),  # due at every step
    ],
)
def test_steps_to_the_next_cadence(step, cadences, limit, steps):
    assert Clock(128, 4000).steps_to_next(step, cadences, limit) == steps


@pytest.mark.parametrize("epochs", [1, 10, 40])
@pytest.mark.parametrize(
    ("batch_size", "examples"), [(128, 4000), (100, 1000), (1, 7), (3, 1000), (64, 65)]
)
def test_as_many_epochs_end_as_the_run_has(batch_size, examples, epochs):
    clock = Clock(batch_size, examples)
    total = clock.total_steps(train(epochs=epochs))

    def count(every):
        return sum(clock.is_due(step, every) for step in range(total + 1))

    assert count("1 epoch") == epochs
    assert count("0.5 epochs") == min(2 * epochs, total)  # two in one step are one
    assert clock.is_due(total, "1 epoch")


# ---- paths


@pytest.mark.parametrize(
    ("written", "meant"),
    [("~/x", "/home/me/x"), ("$SETS/a", "/sets/a"), ("${SETS}/a", "/sets/a"), ("a/$", "a/$")],
)
def test_home_and_variables_in_paths(monkeypatch, written, meant):
    """In the configuration and in flags, wherever a path stands."""
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SETS", "/sets")
    assert load_config(RUN, [f"data.dir='{written}'"]).data.dir == meant
    command = program.Command("trainer", "")
    command.path("run_dir", None, "Where the run lives.")
    command.parse(["trainer.py", f"--run_dir={written}"])
    assert command.run_dir == meant


def test_a_variable_that_is_not_there(monkeypatch):
    monkeypatch.delenv("SETS", raising=False)
    message = "data.dir: no environment variable 'SETS', got '${SETS}/a'"
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(RUN, ["data.dir='${SETS}/a'"])
    command = program.Command("trainer", "")
    command.path("run_dir", None, "Where the run lives.")
    command.parse(["trainer.py", "--run_dir=$SETS"])
    with pytest.raises(ConfigError, match="command line: --run_dir: no environment variable"):
        command.run_dir  # noqa: B018


def test_a_directory_that_was_where_training_ran_is_named(tmp_path, monkeypatch):
    """`eval.py` started elsewhere than the trainer, with a relative data.dir."""
    there = tmp_path / "there"
    (there / "photos").mkdir(parents=True)
    (tmp_path / "environment.json").write_text(json.dumps({"directory": str(there)}))
    config = load_config(RUN, ["data.dir=photos"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"expected data.dir={there}/photos"):
        eval.check_places(config, "valid", tmp_path)
    monkeypatch.chdir(there)
    eval.check_places(config, "valid", tmp_path)  # here it is
