"""The project as a library: a run as an object, and what a call leaves as it was."""

import ast
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from places import HANG, ROOT, TINY, WITH_TINY

import trainer
from cli import program as programs
from cli.program import CheckpointError, ConfigError, DataError, Stopped, StopSignals
from data_loader import source_from
from engine import checkpoint
from engine.log import NotebookLine
from train_config import load_config
from trainer import load_run, train_and_evaluate

SHORT = [
    "train={batch_size: 16, steps: 6, log_every: 2}",
    "validation={every: 2}",
    "checkpoint={every: 2, keep: 3, best: {metric: loss, mode: min}}",
    "summary={tensorboard: false}",
]
GIVEN = ["data={train: given}"]


def config_of(*overrides):
    return load_config(TINY, [*SHORT, *overrides])


def weights(run_dir) -> bytes:
    """The bytes of the newest checkpoint's variables."""
    path = checkpoint.newest(Path(run_dir) / "checkpoints")
    return b"".join(file.read_bytes() for file in sorted(path.glob("variables.data*")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run whose averaged weights are scored, and what training it said."""
    run_dir = tmp_path_factory.mktemp("library") / "run"
    config = config_of("train.ema=0.5", "validation={every: 2, ema: true}")
    return run_dir, train_and_evaluate(config, str(run_dir))


# ---- a run as an object


def test_what_is_loaded_scores_as_it_was_trained(trained):
    run_dir, result = trained
    run = load_run(str(run_dir))
    assert isinstance(run.model, keras.Model) and run.step == 6
    found = run.evaluate("valid")
    assert {name: found[name] for name in result["valid"]} == result["valid"]
    assert run.evaluate()["examples"] == 32
    assert result.run.step == 6 and json.dumps(result)


def test_predictions_are_of_the_weights_that_are_scored(trained):
    """The averages: softmax of the logits gives the loss that the run has logged."""
    run_dir, result = trained
    run = load_run(run_dir)
    source = trainer.input_ops.open_mix(run.config.data, "valid", False).sources[0].source
    valid = source.read(tf.range(len(source), dtype=tf.int64))
    logits = run.predict(valid["inputs"].numpy())["logits"]
    assert logits.shape == (32, 3) and run.class_names == ["class 0", "class 1", "class 2"]
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(32), valid["targets"]]
    assert losses.mean() == pytest.approx(result["valid"]["loss"], rel=1e-5)
    one_by_one = [run.predict(valid["inputs"][i : i + 1].numpy())["logits"][0] for i in range(3)]
    np.testing.assert_allclose(logits[:3], one_by_one, rtol=1e-4, atol=1e-6)


def test_which_checkpoint(trained, program):
    run_dir, result = trained
    best = result["best"][0]["step"]
    assert load_run(run_dir, "best").step == best
    assert load_run(run_dir, 4).step == 4 == load_run(run_dir, "4").step
    assert load_run(checkpoint.path_of(run_dir / "checkpoints", 2)).step == 2
    done = program("eval.py", "--ckpt", run_dir, "--which", "4")
    assert json.loads(done.stdout)["step"] == 4, done.stderr


@pytest.mark.parametrize(
    ("call", "error", "line"),
    [
        (lambda d: load_run(d / "nowhere"), CheckpointError, "nowhere: expected a run directory"),
        (lambda d: load_run(d, 5), CheckpointError, "no checkpoint of step 5; it has 2, 4, 6"),
        (lambda d: load_run(d / "checkpoints/step-0000000002", 4), CheckpointError, "one check"),
        (lambda d: load_run(d, "last"), CheckpointError, "no checkpoint of step last; it has 2"),
        (lambda d: load_run(d).predict([1.0]), DataError, r"inputs of float32 \[6\] .* \[\]"),
        (lambda d: load_run(d).predict(np.ones([2, 5])), DataError, r"got float32 \[5\]"),
        (lambda d: load_run(d).predict(np.ones([0, 6])), DataError, "at least one example"),
        (lambda d: load_run(d).predict([[1], [1, 2]]), DataError, "inputs of one shape"),
        (lambda d: load_run(d).predict(np.full([1, 6], np.nan)), DataError, "record 0: inputs:"),
        (lambda d: load_run(d).predict(["a.png"]), ConfigError, "expected numbers as inputs"),
        (lambda d: load_run(d).predict([[1]], like="x"), ConfigError, "like: expected one of"),
        (lambda d: load_run(d).evaluate("test"), DataError, "no split 'test'"),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_one_line(trained, call, error, line):
    with pytest.raises(error, match=line) as raised:
        call(trained[0])
    assert len(str(raised.value).splitlines()) == 1


def test_whole_numbers_are_taken_as_floats(trained):
    run = load_run(trained[0])
    floats = run.predict(np.ones([2, 6], np.float64))["logits"]
    np.testing.assert_array_equal(run.predict([[1] * 6] * 2)["logits"], floats)


def test_predict_takes_the_operations_without_random_ones(tmp_path):
    """Of a mix with two lists of operations, `like` says which: one doubles its inputs."""
    double = "{name: tiny_numbers, ops: [{name: tiny_scale, factor: 2.0}, tiny_noise]}"
    plain = "{name: tiny_numbers, ops: [{name: tiny_scale, factor: 1.0}]}"
    sources = (
        f"data={{sources: {{double: {double}, plain: {plain}}}, train: {{double: 1, plain: 1}}}}"
    )
    run = train_and_evaluate(config_of(sources, "train.steps=1"), tmp_path / "run").run
    x = np.random.default_rng(0).normal(size=[3, 6])
    with pytest.raises(ConfigError, match="like: expected one of double, plain"):
        run.predict(x)
    np.testing.assert_array_equal(
        run.predict(x, like="double")["logits"], run.predict(2 * x, like="plain")["logits"]
    )


# ---- what a call leaves as it was


def state() -> list:
    """What the caller would draw and how he would name a layer."""
    return [
        random.random(),
        np.random.rand(),
        float(tf.random.uniform([])),
        float(keras.random.uniform([])),
        keras.layers.Dense(1).name,
        keras.config.dtype_policy().name,
    ]


def test_session_generators_and_policy_are_as_before(tmp_path, trained):
    def begin():
        keras.utils.clear_session()
        keras.utils.set_random_seed(5)
        keras.config.set_dtype_policy("mixed_bfloat16")
        return state()

    try:
        first = begin()
        expected = state()
        assert begin() == first
        train_and_evaluate(config_of("train.steps=1"), tmp_path / "run")
        load_run(trained[0]).predict(np.ones([1, 6]))
        assert state() == expected
    finally:
        keras.config.set_dtype_policy("float32")
        keras.utils.clear_session()


def test_the_callers_layers_do_not_matter(tmp_path, trained):
    keras.layers.Dense(1)
    train_and_evaluate(config_of(), tmp_path / "run")
    assert load_run(tmp_path / "run").step == 6


def test_two_threads_at_once_end_as_each_alone(tmp_path):
    handlers = [signal.getsignal(number) for number in programs.SIGNALS]

    def train(place):
        seed = f"train.seed={place[-1]}"
        return train_and_evaluate(config_of(seed, "model.units=16"), tmp_path / place)["step"]

    found = {}

    def work(place):
        found[place] = train(place)

    threads = [threading.Thread(target=work, args=(f"thread {seed}",)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"thread 1": 6, "thread 2": 6}
    for seed in (1, 2):
        train(f"alone {seed}")
        assert weights(tmp_path / f"alone {seed}") == weights(tmp_path / f"thread {seed}")
    assert [signal.getsignal(number) for number in programs.SIGNALS] == handlers


def interrupt(step, _metrics):
    if step == 2:
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_saves_and_the_same_call_goes_on(tmp_path):
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(
        Stopped, match=r"SIGINT: saved .*run at step \d of 6; the same call goes on"
    ):
        train_and_evaluate(config_of(), tmp_path / "run", on_eval=interrupt)
    assert signal.getsignal(signal.SIGINT) is handler
    assert train_and_evaluate(config_of(), tmp_path / "run")["step"] == 6
    train_and_evaluate(config_of(), tmp_path / "other")
    assert weights(tmp_path / "run") == weights(tmp_path / "other")


def test_two_interrupts_do_not_end_the_process(tmp_path):
    def interrupt_twice(step, metrics):
        interrupt(step, metrics)
        interrupt(step, metrics)
        time.sleep(HANG)  # left at once

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train_and_evaluate(config_of(), tmp_path / "run", on_eval=interrupt_twice)
    assert signal.getsignal(signal.SIGINT) is handler
    assert train_and_evaluate(config_of(), tmp_path / "run")["step"] == 6


def test_a_second_signal_goes_to_the_callers_handler():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: seen.append(number))
    try:
        with StopSignals() as signals:
            signal.raise_signal(signal.SIGTERM)
            assert (signals.number, seen) == (signal.SIGTERM, [])
            signal.raise_signal(signal.SIGTERM)
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


ELSEWHERE = """
import os, signal
del signal.SIGHUP, os.sched_getaffinity  # as on Windows, as on a Mac
import sys; sys.path.insert(0, {root!r})
from train_config import load_config
from trainer import train_and_evaluate
print(train_and_evaluate(load_config({tiny!r}, {short!r}), "run")["step"])
"""


def test_it_trains_where_the_system_has_less(tmp_path):
    script = ELSEWHERE.format(root=str(ROOT), tiny=str(TINY), short=SHORT)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=WITH_TINY,
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert done.stdout == "6\n", done.stderr


# ---- data without a file

X = np.random.default_rng(0).normal(size=[48, 6]).astype(np.float32)
Y = np.arange(48) % 3


def test_arrays_data_sets_and_generators_are_the_same_run(tmp_path):
    kinds = {
        "arrays": source_from((X, Y)),
        "dict": {"inputs": X, "targets": Y},
        "dataset": source_from(tf.data.Dataset.from_tensor_slices((X, Y))),
        "generator": source_from(lambda: zip(X, Y, strict=True)),
    }
    for name, train in kinds.items():
        data = {"train": train, "valid": (X[:9], Y[:9])}
        result = train_and_evaluate(config_of(*GIVEN), tmp_path / name, data=data)
        assert result["step"] == 6 and weights(tmp_path / name) == weights(tmp_path / "arrays")
    again = result.run.evaluate("valid", data={"valid": (X[:9], Y[:9])})
    assert again["loss"] == result["valid"]["loss"]


def test_a_run_goes_on_with_the_same_data_only(tmp_path):
    data = {"train": (X, Y), "valid": (X, Y)}
    with pytest.raises(Stopped):
        train_and_evaluate(config_of(*GIVEN), tmp_path / "run", data=data, on_eval=interrupt)
    changed = data | {"train": (X + 1, Y)}
    with pytest.raises(CheckpointError, match="given: the data have changed since this run began"):
        train_and_evaluate(config_of(*GIVEN), tmp_path / "run", data=changed)
    train_and_evaluate(config_of(*GIVEN), tmp_path / "run", data=data)
    train_and_evaluate(config_of(*GIVEN), tmp_path / "whole", data=data)
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


@pytest.mark.parametrize(
    ("overrides", "data", "error", "line"),
    [
        ([], {"train": (X, Y)}, ConfigError, "'train' is given, but the configuration takes"),
        (GIVEN, {"training": (X, Y)}, ConfigError, "expected train, valid, test, got 'training'"),
        (GIVEN, {"train": (X, Y)}, DataError, "no split 'valid' in data; expected 'valid':"),
        (GIVEN, None, DataError, "its examples come from Python; expected a call"),
    ],
)  # fmt: skip
def test_data_that_do_not_fit_the_configuration(tmp_path, overrides, data, error, line):
    with pytest.raises(error, match=re.escape(line)):
        train_and_evaluate(config_of(*overrides), tmp_path / "run", data=data)
    assert not (tmp_path / "run").exists()


# ---- modules of one name

SHADOWS = """
import pathlib, shutil, sys
sys.path.insert(0, {root!r})
from cli import program
here = pathlib.Path("beside"); sys.path.insert(0, str(here))
for name in [*program.MODULES.split(), *program.PACKAGES.split()]:
    if name == "cli":
        continue
    here.mkdir()
    for stem in (name, "unrelated", "trainer"):
        (here / (stem + ".py")).write_text("raise SystemExit")
    sys.path_importer_cache.clear()
    try:
        program.check_modules()
        print(name, "unnoticed")
    except ImportError as error:
        print(error)
    shutil.rmtree(here)
"""


def test_a_module_of_the_users_own_in_place_of_ours_is_named(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SHADOWS.format(root=str(ROOT))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 13, done.stderr
    beside = tmp_path / "beside/model.py"
    message = f"model: expected {ROOT}/model.py, found {beside}: rename yours, since this project "
    assert any(line.startswith(message) for line in lines)
    assert all("rename yours" in line for line in lines)


def test_the_modules_that_are_watched_are_those_that_others_import():
    imported = set()
    for file in [*ROOT.glob("*.py"), *ROOT.glob("*/*.py")]:
        if file.parent.name not in ("tests", "benchmarks"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    imported.add(node.module.split(".")[0])
    modules = {name for name in imported if (ROOT / f"{name}.py").exists()}
    packages = {name for name in imported if (ROOT / name / "__init__.py").exists()}
    assert modules - {"trainer", "launch"} == set(programs.MODULES.split())
    assert packages | {"models", "tasks"} == set(programs.PACKAGES.split())


# ---- notebooks


def test_the_line_of_a_notebook_is_one_output():
    class Handle:
        def __init__(self):
            self.shown = []

        def update(self, data, raw):
            self.shown.append(data["text/plain"])

    handles = []

    def display(data, raw, display_id):
        handles.append(Handle())
        handles[-1].update(data, raw)
        return handles[-1]

    line = NotebookLine(display)
    for step in range(3):
        line.show(f"step {step}")
    (handle,) = handles
    assert handle.shown == ["step 0", "step 1", "step 2"]
    assert NotebookLine.in_notebook() is None


TRAIN_CELL = """
import sys; sys.path.insert(0, {root!r})
from train_config import load_config
from trainer import train_and_evaluate
config = load_config({tiny!r}, ["train.epochs=null", "train.steps=600", "checkpoint.best=null"])
result = train_and_evaluate(config, "runs/tiny")
"""
PREDICT_CELL = """
from trainer import load_run
run = load_run("runs/tiny")
run.predict([[0.0] * 6, [1.0] * 6])
"""


def test_a_notebook(tmp_path):
    """60 readings move one line; a second cell predicts."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    train = TRAIN_CELL.format(root=str(ROOT), tiny=str(TINY))
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(text) for text in (train, PREDICT_CELL)]
    )
    client = nbclient.NotebookClient(
        notebook, timeout=HANG, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute(env={**os.environ, **WITH_TINY})
    training, predicting = (cell.outputs for cell in notebook.cells)
    (line,) = [output for output in training if output.output_type == "display_data"]
    assert line.data["text/plain"].startswith("step 600/600  loss ")
    text = "".join(output.text for output in training if output.output_type == "stream")
    assert not any(" examples/s " in row for row in text.splitlines())
    assert "logits" in predicting[-1].data["text/plain"]
