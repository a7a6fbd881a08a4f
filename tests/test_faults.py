"""The catalog of faults, one row each: a program, what is wrong, the exit code, the one line.

Programs run as files, in this process. What needs a process of its own (signals, kills, workers)
is in test_process.py, test_distribution.py and engine/test_checkpoint.py; every kind of damage to
every format, and downloads, in sources/.
"""

import contextlib
import errno
import json
import os
import runpy
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import tensorflow as tf
from loading import rows_of
from places import ROOT
from sources.tiny_files import write_files

import trainer
from cli.program import Stopped
from engine import checkpoint
from engine.variables import read_variables, write_variables
from train_config import load_config

CONFIG = """\
model:      {name: tiny, dropout: 0.1}
task:       {name: tiny_labels}
data:       {train: tiny_numbers, valid: tiny_numbers}
optimizer:  {name: sgd, learning_rate: 0.02}
train:      {batch_size: 8, steps: 6}
checkpoint: {every: 2}
summary:    {tensorboard: false}
"""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def run_program(capfd, monkeypatch):
    """run_program("trainer.py", word, ...) -> (exit code, stdout, lines of stderr).

    Runs the program's own file, from start to exit.
    """

    def run(name, *words):
        before = [signal.getsignal(number) for number in SIGNALS]
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        capfd.readouterr()
        try:
            with pytest.raises(SystemExit) as caught:
                runpy.run_path(str(ROOT / name), run_name="__main__")
        finally:
            for number, handler in zip(SIGNALS, before, strict=True):
                signal.signal(number, handler)
        stdout, stderr = capfd.readouterr()
        return caught.value.code, stdout, stderr.splitlines()

    return run


@pytest.fixture(autouse=True)
def in_a_directory_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(CONFIG)


def everything(folder="."):
    """{path: (size, time of the last change)} of all files but locks, which name their holder."""
    found = {}
    for directory, _, names in os.walk(folder):
        found |= {
            (directory, name): os.stat(f"{directory}/{name}")[6:9:2]
            for name in names
            if name != "lock"
        } | {directory: None}
    return found


def with_config(old, new):
    text = CONFIG.replace(old, new)
    assert text != CONFIG
    return lambda: Path("run.yaml").write_text(text)


TRAIN = ("trainer.py", "--config", "run.yaml")
TWO = "distribute={strategy: towers, towers: 2, virtual_devices: 2}"
BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1]\n"  # each line eight times the one before
BOMB += "".join(
    f"{n}: &{n} [{', '.join([f'*{m}'] * 8)}]\n" for m, n in zip("abcdef", "bcdefg", strict=True)
)
CONFIGURATION = {
    "missing file": (
        None,
        [*TRAIN[:2], "run.yml.yaml"],
        "run.yml.yaml: no such file; there is run.yaml",
    ),
    "YAML syntax": (with_config("steps: 6}", "steps: 6"), TRAIN, "run.yaml:6:11: YAML syntax: "),
    "unknown key": (
        with_config("batch_size", "bacth_size"),
        TRAIN,
        "run.yaml: train.bacth_size: unknown key, did you mean 'batch_size'?",
    ),
    "unknown key, deep": (
        None,
        [*TRAIN, "optimizer.schedule={name: cosine, fnal: 1}"],
        "unknown key, did you mean 'final'?",
    ),
    "wrong section": (
        with_config("steps: 6", "steps: 6, dropout: 1"),
        TRAIN,
        "unknown key here; did you mean 'model.dropout'?",
    ),
    "duplicate key": (
        with_config("summary:", "train:"),
        TRAIN,
        "run.yaml:7:1: duplicate key 'train', first on line 5",
    ),
    "3.7 for an integer": (
        None,
        [*TRAIN, "train.batch_size=3.7"],
        "train.batch_size: expected a valid integer, got",
    ),
    "text for a number": (
        None,
        [*TRAIN, "optimizer.learning_rate=fast"],
        "optimizer.learning_rate: expected a valid number",
    ),
    "character 0": (
        None,
        [*TRAIN, 'data.dir="a\\0b"'],
        "data.dir:1:1: expected text without the character 0",
    ),
    "beyond 64 bits": (
        None,
        [*TRAIN, "train.steps=4611686018427387905"],
        "train.steps: expected -4,611,686,018,427,387,904 to 4,611,",
    ),
    "batch of 0": (
        None,
        [*TRAIN, "train.batch_size=0"],
        "train.batch_size: expected greater than or equal to 1, got 0",
    ),
    "rate below 0": (
        None,
        [*TRAIN, "optimizer.learning_rate=-1"],
        "optimizer.learning_rate: expected greater than 0, got -1",
    ),
    "dropout of 1.5": (
        None,
        [*TRAIN, "model.dropout=1.5"],
        "model.dropout: expected less than 1, got 1.5",
    ),
    "unknown network": (
        None,
        [*TRAIN, "model.name=tny"],
        "model.name: unknown name 'tny', did you mean 'tiny'?",
    ),
    "unknown data set": (
        None,
        [*TRAIN, "data.train=tiny_nubmers"],
        "data.train: unknown name 'tiny_nubmers', did you mean 'tiny_numbers'?",
    ),
    "unknown optimizer": (
        None,
        [*TRAIN, "optimizer.name=lion"],
        "optimizer.name: unknown name 'lion'; expected one of adagrad, adam, ",
    ),
    "unknown operation": (
        None,
        [*TRAIN, "data.ops=[tiny_sacle]"],
        "data.ops.0: unknown name 'tiny_sacle', did you mean 'tiny_scale'?",
    ),
    "not divisible": (
        None,
        [*TRAIN, "train.batch_size=9", TWO],
        "expected a multiple of 2 (2 towers), got 9; nearest: 8 or 10",
    ),
    "misspelt override": (
        None,
        [*TRAIN, "trian.steps=3"],
        "command line: trian: unknown key, did you mean 'train'?",
    ),
    "Python tag": (
        with_config("0.1", "!!python/object/apply:os.mkdir [hacked]"),
        TRAIN,
        "is not allowed; expected plain YAML",
    ),
    "two exclusive fields": (
        None,
        [*TRAIN, "train.epochs=3", "train.steps=3"],
        "expected exactly one of `steps` and `epochs`",
    ),
    "rate of a mix below 0": (
        None,
        [*TRAIN, "data.train={tiny_numbers: -0.5}"],
        "data.train.tiny_numbers: expected greater than 0, got -0.5",
    ),
    "empty mix": (None, [*TRAIN, "data.train={}"], "data.train: "),
    "over 1 MB": (
        with_config("summary:", "#" * (1 << 20) + "\nsummary:"),
        TRAIN,
        "expected a configuration of at most 1,048,576 bytes",
    ),
    "alias bomb": (
        with_config("model:", BOMB + "model:"),
        TRAIN,
        "more than 20,000 values or 50 levels once aliases are expanded",
    ),
}


def refused(run_program, code, prepare, words, message):
    """Runs a program that must end with this code and this message.

    Returns its lines, and what was on the disk before.
    """
    if prepare:
        prepare()
    before = everything()
    found, stdout, stderr = run_program(*words)
    assert (found, stdout) == (code, ""), stderr
    assert (
        stderr[-1].startswith(f"{words[0][:-3]}: error: ")
        and message in stderr[-1]
        and "Traceback" not in "".join(stderr)
    )
    return stderr, before


@pytest.mark.parametrize("fault", CONFIGURATION)
def test_configuration(fault, run_program):
    stderr, before = refused(run_program, 2, *CONFIGURATION[fault])
    assert len(stderr) == 1 and everything() == before


@pytest.mark.parametrize(
    "override",
    ["optimizer.learning_rate=1e-3", 'optimizer.learning_rate="1e-3"', "train.batch_size='8'"],
)
def test_what_loses_nothing_is_taken(override, run_program):
    code, stdout, _ = run_program(*TRAIN, override, "--print_config")
    assert code == 0 and f"{override.split('=')[0]}: " in stdout


# ---- data: rows in the test files of the data sets, sources/test_<name>.py

FILES = "data={train: tiny_files, valid: null, dir: set}"


@pytest.mark.parametrize(("source", "write", "data", "message", "while_reading"), rows_of("FAULTS"))
def test_data(source, write, data, message, while_reading, run_program):
    words = (*TRAIN, data, "--run_dir", "run")
    _, before = refused(run_program, 3, lambda: write(Path("set")), words, message)
    assert os.path.exists("run") == while_reading
    shutil.rmtree("run", ignore_errors=True)
    assert {place for place in everything() if place not in before} == set()


@pytest.mark.parametrize(("source", "write", "data"), rows_of("SOUND_RUNS"))
def test_sound_data_of_these_rows_train(source, write, data, run_program):
    write(Path("set"))
    assert run_program(*TRAIN, data, "--run_dir", "run")[0] == 0


# ---- checkpoints


def flip(path, at):
    data = bytearray(Path(path).read_bytes())
    data[at] ^= 4
    Path(path).write_bytes(data)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run of 6 steps, and one stopped by a signal at its validation of step 4."""
    directory = tmp_path_factory.mktemp("runs")
    (directory / "run.yaml").write_text(CONFIG)
    config = load_config(directory / "run.yaml", ["validation={every: 2}"])
    trainer.train_and_evaluate(config, directory / "finished")
    with pytest.raises(Stopped):
        trainer.train_and_evaluate(
            config,
            directory / "stopped",
            on_eval=lambda step, _: os.kill(os.getpid(), signal.SIGTERM) if step == 4 else None,
        )
    return directory


@pytest.fixture
def run_dirs(runs, tmp_path):
    for name in ("finished", "stopped"):
        shutil.copytree(runs / name, tmp_path / name)  # elsewhere than it was: that works
    return tmp_path


GO_ON = (*TRAIN, "validation={every: 2}", "--run_dir", "stopped")
STEP_4, STEP_2 = "stopped/checkpoints/step-0000000004", "stopped/checkpoints/step-0000000002"
DATA_FILE = "variables.data-00000-of-00001"


def last_manifest(run_dir):
    return (checkpoint.newest(run_dir / "checkpoints") / "MANIFEST.json").read_text()


def test_a_run_that_was_copied_elsewhere_goes_on_to_the_same_bytes(run_dirs, run_program):
    code, stdout, _ = run_program(*GO_ON)
    assert code == 0 and json.loads(stdout)["step"] == 6
    assert last_manifest(run_dirs / "stopped") == last_manifest(run_dirs / "finished")


def test_a_finished_run_says_so(run_dirs, run_program):
    before = everything("finished")
    code, stdout, stderr = run_program(*TRAIN, "validation={every: 2}", "--run_dir", "finished")
    assert code == 0 and json.loads(stdout)["step"] == 6
    assert stderr == ["finished: already at step 6 of 6: nothing to do"]
    assert everything("finished") == before


@pytest.mark.parametrize(
    "damage",
    [lambda path: flip(path, 50), lambda path: os.truncate(path, 60), os.unlink],
    ids=["bit", "cut", "gone"],
)
def test_the_newest_is_damaged(damage, run_dirs, run_program):
    damage(f"{STEP_4}/{DATA_FILE}")
    code, stdout, stderr = run_program(*GO_ON)
    assert code == 0 and json.loads(stdout)["step"] == 6
    assert stderr[0].startswith(f"warning: {STEP_4}/{DATA_FILE}: ") and stderr[0].endswith(
        "going on from step 2, 2 steps before"
    )
    assert os.path.isdir(f"{STEP_4}.bad")
    assert last_manifest(run_dirs / "stopped") == last_manifest(run_dirs / "finished")
    code, stdout, stderr = run_program("trainer.py", "--verify", "stopped")
    assert (code, stdout) == (4, "") and stderr == [
        f"trainer: error: stopped: {STEP_4}.bad: was damaged and set aside"
    ]


def other_variables(names):
    """The last checkpoint of the stopped run, well-formed, with other variables."""
    path = Path(STEP_4)
    values, state = read_variables(path), checkpoint.read_state(path)
    values = {
        names.get(name, name): tf.Variable(value)
        for name, value in values.items()
        if names.get(name, name)
    }
    shutil.rmtree(path)
    checkpoint.commit(path.parent, 4, lambda new: write_variables(new, values), state, 0)


def all_damaged():
    for path in (STEP_4, STEP_2):
        flip(f"{path}/state.json", 5)


RUN_OF_THE_PROGRAM = {
    "none where one is required": (
        lambda: shutil.rmtree("stopped/checkpoints"),
        ("eval.py", "--ckpt", "stopped"),
        "no checkpoint yet",
    ),
    "all corrupt": (
        all_damaged,
        GO_ON,
        "stopped/checkpoints: every checkpoint is damaged; the newest: stopped",
    ),
    "variable missing": (
        lambda: other_variables({"model/logits/bias": ""}),
        GO_ON,
        "model/logits/bias: missing in the checkpoint",
    ),
    "variable extra": (
        lambda: other_variables({"model/logits/bias": "model/logits/b"}),
        ("eval.py", "--ckpt", "stopped"),
        "model/logits/bias: missing in the checkpoint; model/logits/b: in the checkpoint only",
    ),
    "another shape": (
        None,
        ("eval.py", "--ckpt", "finished", "model.units=9"),
        "model/hidden/kernel: expected float32[6, 9], got float32[6, 8]",
    ),
    "changed configuration": (
        None,
        (*GO_ON, "train.seed=3"),
        "stopped/config.yaml: this run was started with another configuration: train.seed: 0 -> 3",
    ),
    "no run": (
        lambda: os.makedirs("else/where"),
        ("eval.py", "--ckpt", "else"),
        "else: expected a run directory with a config.yaml, or one of its checkpoints; "
        "found: where",
    ),
    "a directory of somebody else": (
        None,
        (*TRAIN, "--run_dir", "."),
        "expected an empty directory or a run with a config.yaml",
    ),
}


@pytest.mark.parametrize("fault", RUN_OF_THE_PROGRAM)
def test_checkpoints(fault, run_dirs, run_program):
    stderr, before = refused(run_program, 4, *RUN_OF_THE_PROGRAM[fault])
    quarantined = fault == "all corrupt"
    assert len(stderr) == 1 and (quarantined or everything() == before)


def test_leftovers_of_a_killed_save_are_removed(run_dirs, run_program):
    os.makedirs("stopped/checkpoints/.writing-step-0000000006")
    code, _, stderr = run_program(*GO_ON)
    assert (
        code == 0
        and stderr[0]
        == "stopped/checkpoints/.writing-step-0000000006: left behind by a killed process; removed"
    )


def test_another_environment_is_one_line(run_dirs, run_program):
    file = run_dirs / "stopped/environment.json"
    before = json.loads(file.read_text())
    assert {
        "argv",
        "versions",
        "git",
        "cpu",
        "cpus",
        "threads",
        "devices",
        "data",
        "variables",
    } <= before.keys()
    assert before["cpu"]["flags"] and before["versions"]["tensorflow"] == tf.__version__
    changed = before | {
        "cpus": 64,
        "versions": before["versions"] | {"tensorflow": "2.20.0"},
        "argv": ["other"],
    }
    changed["cpu"] = before["cpu"] | {"flags": before["cpu"]["flags"] + " avx9"}
    file.write_text(json.dumps(changed))
    code, _, stderr = run_program(*GO_ON)
    (line,) = [line for line in stderr if "environment" in line]
    assert code == 0 and line == (
        f"stopped/environment.json: another environment than before: cpus: 64 -> {before['cpus']}; "
        f"versions.tensorflow: 2.20.0 -> {tf.__version__}; cpu.flags differ: "
        "from here on equal only up to rounding"
    )


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_half_an_environment_is_no_obstacle(content, run_dirs, run_program):
    (run_dirs / "stopped/environment.json").write_text(content)
    assert run_program(*GO_ON)[0] == 0


# ---- disk, permissions, clock


@contextlib.contextmanager
def mounted(place, *options):
    """A file system in memory at `place`; skips where this process may not mount one."""
    os.makedirs(place, exist_ok=True)
    if os.system(f"mount -t tmpfs {' '.join(options)} tmpfs {place} 2> /dev/null"):
        pytest.skip("cannot mount a file system here")
    try:
        yield
    finally:
        os.system(f"umount -l {place}")


def test_a_disk_that_is_really_full(run_program):
    """It has room for two checkpoints and a half of 0.3 MB."""
    with mounted("small", "-o", "size=1000k"):
        words = (
            *TRAIN,
            "model.units=5000",
            "optimizer={name: adam}",
            "checkpoint={every: 2, keep: 9}",
            "--run_dir",
            "small/run",
        )
        code, stdout, stderr = run_program(*words, "train.steps=40")
        assert (code, stdout) == (6, ""), stderr
        assert (
            "disk full while saving a checkpoint (about 6" in stderr[-1]
            and "bytes free" in stderr[-1]
        ), stderr[-1]
        assert "memory" not in stderr[-1] and "GPU" not in stderr[-1]
        saved = checkpoint.steps_in(Path("small/run/checkpoints"))
        assert saved and not list(Path("small/run/checkpoints").glob(".*"))
        code, stdout, stderr = run_program("trainer.py", "--verify", "small/run")
        assert code == 0 and json.loads(stdout)["verified"] == list(saved)
        os.system("mount -o remount,size=100m small")
        code, stdout, stderr = run_program(*words, "train.steps=40")
        assert code == 0 and f"going on from step {max(saved)}" in "".join(stderr)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO], ids=errno.errorcode.get)
def test_a_disk_that_fails_while_readings_are_written(number, run_program, monkeypatch):
    write = os.write

    def failing(descriptor, data):
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("metrics.jsonl"):
            raise OSError(number, os.strerror(number))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", failing)
    code, stdout, stderr = run_program(*TRAIN, "--run_dir", "run")
    assert (code, stdout, stderr[-1]) == (
        6,
        "",
        f"trainer: error: run/metrics.jsonl: {os.strerror(number)}",
    )


def test_a_read_only_run_directory_is_refused_before_the_network_is_built(run_program, monkeypatch):
    with mounted("sealed", "-o", "ro"):
        monkeypatch.setattr("model.build_model", None)
        code, stdout, stderr = run_program(*TRAIN, "--run_dir", "sealed/run")
        assert (code, stdout) == (6, "")
        assert stderr == [
            "trainer: error: sealed/run: cannot write here: Read-only file system; "
            "choose another with --run_dir"
        ]


def test_read_only_data_work(run_program):
    with mounted("sealed"):
        write_files("sealed/set")
        os.system("mount -o remount,ro sealed")
        data = FILES.replace("dir: set", "dir: sealed/set")
        assert run_program(*TRAIN, data, "--run_dir", "run")[0] == 0


def test_a_run_directory_deleted_while_running(tmp_path, monkeypatch, run_program):
    commit = checkpoint.commit

    def deleted(directory, step, *more):
        if step == 4:
            shutil.rmtree(directory.parent)
        return commit(directory, step, *more)

    monkeypatch.setattr(checkpoint, "commit", deleted)
    code, stdout, stderr = run_program(*TRAIN, "--run_dir", "run")
    assert (code, stdout) == (6, "") and stderr[
        -1
    ] == "trainer: error: run: expected the run's directory, which somebody has deleted"
    assert not os.path.exists("run")


def test_tensorboard_that_cannot_be_written_is_one_warning(run_program):
    run_program(*TRAIN, "--run_dir", "run", "summary.tensorboard=true", "train.steps=3")
    shutil.rmtree("run/tensorboard")
    Path("run/tensorboard").touch()
    shutil.rmtree("run/checkpoints")
    code, _, stderr = run_program(
        *TRAIN, "--run_dir", "run", "summary.tensorboard=true", "train.steps=3"
    )
    assert (
        code == 0
        and len(
            [line for line in stderr if "cannot write TensorBoard files, going on without" in line]
        )
        == 1
    )


def test_nothing_depends_on_the_time_of_day(run_program, monkeypatch, run_dirs):
    """The clock goes back an hour with each look at it."""
    hours = iter(range(10**9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: next(hours))
    assert run_program(*GO_ON)[0] == 0
    assert last_manifest(run_dirs / "stopped") == last_manifest(run_dirs / "finished")


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_during_a_save_lets_it_complete_then_saves_and_ends(
    number, run_dirs, run_program, monkeypatch
):
    commit = checkpoint.commit

    def signalled(directory, step, write, *more):
        def write_and_get_it(path):
            write(path)
            if step == 2:
                os.kill(os.getpid(), number)

        return commit(directory, step, write_and_get_it, *more)

    monkeypatch.setattr(checkpoint, "commit", signalled)
    words = (*TRAIN, "validation={every: 2}", "--run_dir", "run")
    code, stdout, stderr = run_program(*words)
    assert (code, stdout) == (75, "")
    assert stderr[-1].startswith(
        f"trainer: stopped: {number.name}: saved run at step 4 of 6; "
        "run the same command again to go on: "
    )
    assert stderr[-1].endswith("trainer.py --config run.yaml 'validation={every: 2}' --run_dir run")
    assert list(checkpoint.steps_in(Path("run/checkpoints"))) == [2, 4]
    assert run_program(*words)[0] == 0
    assert last_manifest(Path("run")) == last_manifest(Path("finished"))


# ---- numbers, memory, devices


@pytest.mark.parametrize(
    "error",
    [tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\nmore"), MemoryError()],
)
def test_out_of_memory_names_the_batch_of_each_tower(error, run_program, monkeypatch):
    def exhausted(*_):
        raise error

    monkeypatch.setattr("engine.log.Pace.timing", exhausted)  # around the compiled steps
    code, stdout, stderr = run_program(*TRAIN, "--run_dir", "run", "train.accumulate=2")
    memory = "out of memory, with 4 examples at a time on each of 1 towers"
    message = f"trainer: error: {memory}; try a smaller train.batch_size or"
    assert (code, stdout) == (6, "") and stderr[-1].startswith(message), stderr


def test_more_devices_than_there_are(run_program):
    code, stdout, stderr = run_program(
        *TRAIN, "--run_dir", "run", "distribute={strategy: towers, towers: 4}"
    )
    assert (
        (code, stdout, len(stderr)) == (6, "", 1)
        and "expected at most 1" in stderr[0]
        and not os.path.exists("run")
    )


def test_malformed_cluster(run_program, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{")
    code, stdout, stderr = run_program(*TRAIN)
    assert (code, stdout) == (2, "") and stderr == [
        "trainer: error: TF_CONFIG: expected JSON, got '{': "
        "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
    ]


# ---- one fault, many programs

PREVIEW = ("input_ops.py", "--config", "run.yaml", "--preview", "sheet.png")
PREPARE = ("preprocess_data.py", "--source", "tiny_files", "--dir", "set", "--out", "out")
EVALUATE = ("eval.py", "--ckpt", "finished")
LAUNCH = ("launch.py", "--workers", "2")
EVERY = (TRAIN, PREVIEW, PREPARE, EVALUATE, LAUNCH)


def damaged_after_training():
    write_files("set")
    trainer.train_and_evaluate(load_config("run.yaml", [FILES]), Path("files"))
    Path("set/valid/3.txt").write_text("1 2 3 none 5 6 0")


ALIKE = {
    "unknown flag": (
        2,
        None,
        [(*words, "--dbug") for words in EVERY[:-1]],  # the launcher says where its own end
        "command line: Unknown command line flag 'dbug'",
    ),
    "flag out of range": (
        2,
        None,
        [(*LAUNCH[:2], "0"), (*PREVIEW, "--count", "0"), (*PREPARE, "--workers", "-1")],
        "command line: flag --",
    ),
    "no key=value": (
        2,
        None,
        [(*words, "fast") for words in EVERY[:-1]],
        "command line: fast: expected key=value, got 'fast' (see --help)",
    ),
    "flag missing": (
        2,
        None,
        [TRAIN[:1], PREVIEW[:1], PREPARE[:1], EVALUATE[:1]],
        ": missing; expected a",
    ),
    "misspelt override": (
        2,
        None,
        [(*words, "train.bacth_size=3") for words in (TRAIN, PREVIEW, EVALUATE)],
        "command line: train.bacth_size: unknown key, did you mean 'batch_size'?",
    ),
    "no such configuration": (
        2,
        lambda: os.unlink("run.yaml"),
        [TRAIN, PREVIEW],
        "run.yaml: no such file",
    ),
    "no data": (
        3,
        None,
        [(*TRAIN, FILES), (*PREVIEW, FILES), PREPARE, (*EVALUATE, FILES)],
        "set: no such directory; expected one directory per split",
    ),
    "damaged example": (
        3,
        damaged_after_training,
        [
            (*TRAIN, FILES),
            (*PREVIEW, FILES, "--split", "valid"),
            ("eval.py", "--ckpt", "files"),
            PREPARE,
        ],
        "set/valid/3.txt: expected seven numbers: could not convert string to float: 'none'",
    ),
}


@pytest.mark.parametrize("fault", ALIKE)
def test_a_fault_reads_alike_in_every_program(fault, run_dirs, run_program):
    expected, prepare, commands, message = ALIKE[fault]
    if prepare:
        prepare()
    seen = set()
    for name, *words in commands:
        code, stdout, stderr = run_program(name, *words)
        assert (code, stdout) == (expected, ""), (name, stderr)
        begin = f"{name[:-3]}: error: "
        assert stderr[-1].startswith(begin) and message in stderr[-1], stderr[-1]
        seen.add(stderr[-1].removeprefix(begin))
    assert len(seen) == 1 or fault in (
        "flag missing",
        "flag out of range",
        "damaged example",
    )  # others' names; preparation counts
