"""One device, several towers, accumulated parts and several processes compute the same; and what goes wrong has one line."""

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import spread
import tensorflow as tf
from places import HANG, ROOT
from spread import outcome

import input_ops
import launch
import trainer
from cli.program import ConfigError, Failure, ResourceError, Stopped, StopSignals
from engine import checkpoint
from engine.cluster import check_cluster, read_cluster, tf_config
from engine.devices import Devices, open_devices, open_towers
from engine.step_state import DropoutSeeds
from engine.variables import read_variables
from eval import Evaluator
from model import build_task
from model_config import ClassificationTask
from train_config import Distribute, load_config
from trainer import Trainer

# float64 shows that nothing but rounding is left; metrics are float32 in both, and so are only as close as that.
CLOSE = {"float32": 1e-5, "float64": 1e-10}
ONE = Devices(tf.distribute.get_strategy())


def towers(number: int) -> Devices:
    return open_devices(Distribute(strategy="towers", towers=number, virtual_devices=4))


def apart(a: dict, b: dict, prefix: str = "model/") -> float:
    """The largest difference between variables, absolute, or relative for values above 1."""
    names = [name for name in a if name.startswith(prefix) and a[name].dtype.kind == "f"]
    return max(
        float(np.max(np.abs(a[name] - b[name]) / np.maximum(1.0, np.abs(a[name]))))
        for name in names
    )


@functools.cache
def on_one_device(network, precision="float32"):
    return outcome(network, ONE, precision=precision)


# Statistics of a batch normalization are those of each accumulated part: that network is left out of these rows.
SPREAD = {
    "2 towers": (2, 1),
    "4 towers": (4, 1),
    "accumulate 2": (1, 2),
    "accumulate 2 on 2 towers": (2, 2),
}
WITH_PARTS = ("plain", "masked")
MATRIX = [
    (network, row)
    for network in (*WITH_PARTS, "batch_norm")
    for row in SPREAD
    if network in WITH_PARTS or SPREAD[row][1] == 1
]


@pytest.mark.parametrize("precision", CLOSE)
@pytest.mark.parametrize(("network", "row"), MATRIX)
def test_however_a_batch_is_spread_the_weights_are_the_same(network, row, precision):
    number, accumulate = SPREAD[row]
    found, expected = (
        outcome(network, towers(number), precision=precision, accumulate=accumulate),
        on_one_device(network, precision),
    )
    assert apart(found, expected) < CLOSE[precision]
    assert apart(found, expected, "optimizer/") < CLOSE[precision]
    assert apart(found, expected, "reading/") < 1e-5
    np.testing.assert_array_equal(found["ids"], expected["ids"])


def test_the_comparison_means_something():
    """The weights moved, clipping and weights of 0 were at work, unevenly."""
    start = spread.build_step("plain", ONE)
    before = {name: variable.numpy() for name, variable in start.variables().items()}
    assert apart(before, on_one_device("plain")) > 0.02
    weights = np.array(
        [batch["sample_weight"].numpy() for batch in spread.batches_of("plain", ONE).take(20)]
    )
    halves = weights.reshape(20, 2, 8).sum(2)
    assert (weights == 0).any(1).all() and (halves[:, 0] != halves[:, 1]).mean() > 0.5


class MeanPerTower(Trainer):
    """Each tower's mean over all of its items, then the mean of these."""

    def tower_sums(self, batch, share):
        sums = super().tower_sums(batch, share)
        size = float(batch["id"].shape[0])
        gradients = [gradient / size for gradient in sums.gradients]
        return sums._replace(gradients=gradients, weight=tf.ones([], self.float_type))


class MaskedMeanPerTower(Trainer):
    """Each tower's mean over its items that count, then the mean of these."""

    def tower_sums(self, batch, share):
        sums = super().tower_sums(batch, share)
        gradients = [gradient / sums.weight for gradient in sums.gradients]
        return sums._replace(gradients=gradients, weight=tf.ones([], self.float_type))


class ClippedPerTower(Trainer):
    """Each tower clips before gradients are added up, as an optimizer's own clipping does."""

    def tower_sums(self, batch, share):
        sums = super().tower_sums(batch, share)
        clipped, _ = tf.clip_by_global_norm(sums.gradients, 0.5 * sums.weight)
        return sums._replace(gradients=clipped)


@pytest.mark.parametrize("wrong", [MeanPerTower, MaskedMeanPerTower, ClippedPerTower])
@pytest.mark.parametrize("network", ["plain", "masked"])
def test_the_usual_mistakes_are_noticed(network, wrong):
    assert (
        apart(outcome(network, towers(2), cls=wrong), on_one_device(network))
        > 20 * CLOSE["float32"]
    )


def test_batch_statistics_of_each_tower_alone_are_noticed(monkeypatch):
    expected = on_one_device("batch_norm")
    monkeypatch.setattr(spread, "synchronize", lambda model, strategy: None)
    assert apart(outcome("batch_norm", towers(2)), expected) > 20 * CLOSE["float32"]


def test_dropout_is_of_the_part_of_the_batch(monkeypatch):
    """Two towers draw what two accumulated parts draw, each its own; with one stream for both the result is another."""
    parts, two = outcome("dropout", ONE, accumulate=2), outcome("dropout", towers(2))
    assert apart(two, parts) < CLOSE["float32"]
    set_seeds = DropoutSeeds.set
    monkeypatch.setattr(
        DropoutSeeds, "set", lambda self, step, share: set_seeds(self, step, 0 * share)
    )
    assert apart(outcome("dropout", towers(2)), parts) > 20 * CLOSE["float32"]


@pytest.mark.parametrize("number", [1, 2, 4])
def test_evaluation_counts_every_example_once_on_any_number_of_towers(number):
    """A network that returns its input; 7 examples in batches of 4, of which 5 are right."""
    devices = towers(number) if number > 1 else ONE
    with devices.strategy.scope():
        inputs = keras.Input([3])
        model = keras.Model(inputs, keras.layers.Identity(name="same")(inputs))
    logits = np.log(
        np.array(
            [[8, 1, 1], [1, 8, 1], [1, 1, 8], [8, 1, 1], [1, 8, 1], [8, 1, 1], [8, 1, 1]],
            np.float32,
        )
        / 10
    )
    mix = input_ops.Mix.of(
        spread.from_arrays(
            "seven", {"inputs": logits, "targets": np.array([0, 1, 2, 0, 1, 2, 1])}, list("abc")
        ),
        [],
    )
    spec = spread.Spec(
        input_shape=[3], **spread.SHAPE | {"num_classes": 3, "class_names": list("abc")}
    )
    metrics = ["accuracy", "auc", "f1", "confusion_matrix"]
    evaluate = Evaluator(
        model,
        build_task(ClassificationTask(name="classification", metrics=metrics), spec),
        True,
        devices,
    )
    found = evaluate.score_sets(input_ops.eval_sets(mix, 4))
    assert found["accuracy"] == found["seven/accuracy"] == pytest.approx(5 / 7)
    assert found["loss"] == pytest.approx(-(5 * np.log(0.8) + 2 * np.log(0.1)) / 7, rel=1e-5)
    assert found["confusion_matrix"] == [[2, 0, 0], [1, 2, 0], [1, 0, 1]]
    assert found["f1"] == pytest.approx((2 / 3 + 4 / 5 + 2 / 3) / 3)


def test_the_parts_of_processes_make_the_batch():
    whole = [batch["id"].numpy() for batch in spread.batches_of("plain", ONE).take(9)]
    parts = [
        [
            batch["id"].numpy()
            for batch in spread.batches_of("plain", Devices(ONE.strategy, worker, 4)).take(9)
        ]
        for worker in range(4)
    ]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def in_process(run_dir, *more, **options):
    return trainer.train_and_evaluate(
        load_config(ROOT / "configs/lenet.yaml", [*RUN, "model.dropout=0", *more]),
        run_dir,
        **options,
    )


def on_towers(number):
    return (
        ["distribute.strategy=one"]
        if number == 1
        else [f"distribute={{strategy: towers, towers: {number}, virtual_devices: 4}}"]
    )


@pytest.fixture(scope="module")
def stopped_on_two_towers(tmp_path_factory):
    """A run directory, stopped at step 80 of 160 on two towers; and the weights of the run that was not."""
    directory = tmp_path_factory.mktemp("towers")
    in_process(directory / "whole", *on_towers(2))
    stop = lambda step, _: os.kill(os.getpid(), signal.SIGTERM) if step >= 80 else None  # noqa: E731
    with pytest.raises(Stopped):
        in_process(directory / "stopped", *on_towers(2), on_eval=stop)
    return directory


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_checkpoint_of_two_towers_goes_on_on_any_number(
    number, stopped_on_two_towers, tmp_path, capsys
):
    run_dir, whole = tmp_path / "run", stopped_on_two_towers / "whole"
    shutil.copytree(stopped_on_two_towers / "stopped", run_dir)
    in_process(run_dir, *on_towers(number))
    warned = (
        f"distribute.towers: 2 -> {number if number > 1 else 'null'}" in capsys.readouterr().err
    )
    assert warned == (number != 2)
    found, expected = (
        read_variables(checkpoint.newest(each / "checkpoints")) for each in (run_dir, whole)
    )
    assert apart(expected, found) < 1e-5 and apart(expected, found, "ema/") < 1e-5
    if number == 2:
        assert ending(run_dir) == ending(whole)


# ------------------------------------------------------------------------------------------------------- real processes


def start(words, **environment):
    command, pipe = [sys.executable, *map(str, words)], subprocess.PIPE
    return subprocess.Popen(
        command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, env={**os.environ, **environment}
    )


@pytest.fixture(scope="module")
def of_two_workers(tmp_path_factory):
    out, what = (
        tmp_path_factory.mktemp("workers"),
        [f"{n}-{p}" for n in ("plain", "batch_norm", "masked") for p in CLOSE],
    )
    jobs = {"worker": launch.free_addresses(2)}
    processes = [
        start(["tests/spread.py", out / f"{i}.npz", *what], TF_CONFIG=tf_config(jobs, "worker", i))
        for i in range(2)
    ]
    for process in processes:
        _, stderr = process.communicate(timeout=HANG)
        assert process.returncode == 0, stderr[-2000:]
    found = [dict(np.load(out / f"{i}.npz")) for i in range(2)]

    def of(each, network, precision):
        begin = f"{network}-{precision}/"
        return {
            name.removeprefix(begin): value
            for name, value in each.items()
            if name.startswith(begin)
        }

    return lambda network, precision: [of(each, network, precision) for each in found]


@pytest.mark.parametrize("precision", CLOSE)
@pytest.mark.parametrize("network", ["plain", "batch_norm", "masked"])
def test_two_processes_compute_the_same(network, precision, of_two_workers):
    first, second = of_two_workers(network, precision)
    expected = on_one_device(network, precision)
    for name, value in first.items():
        if name.startswith(("model/", "optimizer/", "reading/")):
            assert value.tobytes() == second[name].tobytes(), name
    assert apart(first, expected) < CLOSE[precision]
    assert apart(first, expected, "reading/") < 1e-5
    np.testing.assert_array_equal(
        np.concatenate([first["ids"], second["ids"]], axis=1), expected["ids"]
    )


RUN = [
    "train.batch_size=48", "train.epochs=null", "train.steps=160", "train.log_every=35", "validation.every=0.5 epochs",
    "validation.stepwise={every: 40, batches: 3}", "checkpoint.every=20", "checkpoint.keep=20", "train.ema=0.9", "model.dropout=0.4",
    "early_stopping={metric: loss, patience: 1000}", "summary.tensorboard=false",
]  # fmt: skip
TWO_TOWERS = ["distribute={strategy: towers, towers: 2, virtual_devices: 2}"]


def ending(run_dir):
    """What must not differ: the bytes of the last checkpoint, and every reading but the pace."""
    last = checkpoint.newest(run_dir / "checkpoints")
    readings = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    for reading in readings:
        reading.pop("examples_per_second", None)
    return json.loads((last / "MANIFEST.json").read_text())["files"], readings


def trainer_words(run_dir, *more):
    return ["trainer.py", "--config", "configs/lenet.yaml", "--run_dir", run_dir, *RUN, *more]


def launcher_words(run_dir, *more, tasks=("--workers", "2")):
    return ["launch.py", *tasks, "--", *trainer_words(run_dir, *more)[1:]]


def wait_for_step(process, run_dir, step):
    deadline = time.monotonic() + HANG
    while max(checkpoint.steps_in(run_dir / "checkpoints"), default=0) < step:
        assert process.poll() is None, process.communicate()[1][-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.002)


def finish(words, timeout=HANG):
    process = start(words)
    stdout, stderr = process.communicate(timeout=timeout)
    assert process.returncode == 0, stderr[-3000:]
    return json.loads(stdout.splitlines()[-1]), stderr


def pids(parent: int) -> list[int]:
    """The processes that `parent` started, in order."""
    children = subprocess.run(
        ["ps", "--ppid", str(parent), "-o", "pid="], capture_output=True, text=True
    )
    return sorted(map(int, children.stdout.split()))


def test_two_towers_that_are_killed_go_on_to_the_same_bytes(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    in_process(whole, *on_towers(2), "model.dropout=0.4")
    process = start(trainer_words(killed, *TWO_TOWERS))
    wait_for_step(process, killed, 60)
    process.kill()
    process.communicate()
    assert max(checkpoint.steps_in(killed / "checkpoints")) < 160, (
        "the run was over before the kill"
    )
    in_process(killed, *on_towers(2), "model.dropout=0.4")
    assert ending(killed) == ending(whole)


def assert_stopped_at_one_step(process, run_dir):
    _, stderr = process.communicate(timeout=HANG)
    assert process.returncode == 75, stderr[-2000:]
    saved = [line for line in stderr.splitlines() if "SIGTERM: saved" in line]
    steps = {line.split(" at step ")[1].split()[0] for line in saved}
    assert len(saved) == 2 and steps == {str(max(checkpoint.steps_in(run_dir / "checkpoints")))}


def test_killed_and_stopped_workers_go_on_to_the_same_bytes(tmp_path):
    """SIGKILL to a worker ends all, a signal to one stops all at one step; then the run goes on to its end."""
    whole, run_dir, steps = tmp_path / "whole", tmp_path / "run", "train.steps=240"
    finish(launcher_words(whole, steps))
    process = start(launcher_words(run_dir, steps))
    wait_for_step(process, run_dir, 60)
    os.kill(pids(process.pid)[1], signal.SIGKILL)
    _, stderr = process.communicate(timeout=HANG)
    assert process.returncode == 75, stderr[-2000:]
    assert (
        "worker 1 by SIGKILL" in stderr.splitlines()[-1]
        and "worker 0 with 75" in stderr.splitlines()[-1]
    )
    assert "another process of this run has gone" in stderr and "Traceback" not in stderr

    killed_at = max(checkpoint.steps_in(run_dir / "checkpoints"))
    process = start(launcher_words(run_dir, steps))
    wait_for_step(process, run_dir, killed_at + 20)
    os.kill(pids(process.pid)[1], signal.SIGTERM)
    assert_stopped_at_one_step(process, run_dir)
    assert max(checkpoint.steps_in(run_dir / "checkpoints")) < 240, (
        "the run was over before the signal"
    )

    _, stderr = finish(launcher_words(run_dir, steps))
    assert "going on from step" in stderr
    assert ending(run_dir) == ending(whole)


def test_a_signal_to_the_launcher_stops_all_at_one_step(tmp_path):
    process = start(launcher_words(tmp_path / "run", "train.steps=4000"))
    wait_for_step(process, tmp_path / "run", 20)
    process.terminate()
    assert_stopped_at_one_step(process, tmp_path / "run")


def test_workers_that_differ_are_refused_before_the_first_step(tmp_path):
    jobs = {"worker": launch.free_addresses(2)}
    words = [trainer_words(tmp_path / "run", *more) for more in ((), ("train.seed=1",))]
    processes = [
        start(each, TF_CONFIG=tf_config(jobs, "worker", i)) for i, each in enumerate(words)
    ]
    for process in processes:
        stdout, stderr = process.communicate(timeout=HANG)
        assert (process.returncode, stdout) == (2, "")
        last = "trainer: error: worker 1 differs from worker 0: train.seed: 0 -> 1; expected the same configuration and data"
        assert stderr.splitlines()[-1] == last
    assert not (tmp_path / "run").exists()


def test_a_worker_that_never_comes_is_named_after_a_bound(tmp_path):
    mine, missing = launch.free_addresses(2)
    process = start(
        trainer_words(tmp_path / "run", "distribute.wait=3"),
        TF_CONFIG=tf_config({"worker": [mine, missing]}, "worker", 0),
    )
    stdout, stderr = process.communicate(timeout=HANG)
    assert (process.returncode, stdout) == (6, "")
    assert (
        f"trainer: error: TF_CONFIG: worker 0: worker 1 ({missing}) did not come within 3 s"
        in stderr
    )
    assert not (tmp_path / "run").exists()


SERVERS = ("--workers", "2", "--ps", "1", "--chief")


class Fake:
    """What the launcher knows of a process, which ends at once with this code, or not at all."""

    def __init__(self, job, index, code=None):
        self.job, self.name, self.result, self.starts = (
            job,
            f"{job} {index}",
            '{"step": 1}' if index == 0 else "",
            0,
        )
        self._words = [
            sys.executable,
            "-c",
            f"import time; time.sleep({HANG if code is None else 0}); raise SystemExit({code})",
        ]
        self.start()

    def start(self):
        self.process = subprocess.Popen(self._words)
        self.starts += 1

    def wait_for_output(self):
        pass


def launched(monkeypatch, *tasks):
    monkeypatch.setattr(launch, "_GRACE", 1.0)
    with StopSignals() as signals:
        return launch.wait(list(tasks), signals)


def test_a_chief_decides(monkeypatch):
    """A worker that has come back when the chief is about to end is still starting, and is ended."""
    assert launched(monkeypatch, Fake("chief", 0, 0), Fake("worker", 0)) == {"step": 1}
    with pytest.raises(Failure, match="chief 0 with 5, worker 0 by SIGTERM") as failure:
        launched(monkeypatch, Fake("chief", 0, 5), Fake("worker", 0))
    assert failure.value.exit_code == 5


def test_without_a_chief_every_worker_counts(monkeypatch):
    with pytest.raises(Stopped, match="worker 0 with 0, worker 1 by SIGTERM; start it again"):
        launched(monkeypatch, Fake("worker", 0, 0), Fake("worker", 1))


def test_workers_of_a_chief_are_started_again_so_many_times(monkeypatch):
    worker = Fake("worker", 0, 3)
    with pytest.raises(Failure, match="chief 0 by SIGTERM, worker 0 with 3") as failure:
        launched(monkeypatch, Fake("chief", 0), worker)
    assert worker.starts == 11 and failure.value.exit_code == 3


def test_parameter_servers_end_though_a_lost_worker_never_returned(tmp_path):
    """Without a launcher that would start it again."""
    jobs = dict(
        zip(
            ("chief", "ps", "worker"),
            ([address] for address in launch.free_addresses(3)),
            strict=True,
        )
    )
    jobs["worker"] += launch.free_addresses(1)
    words = trainer_words(tmp_path / "run", "train.steps=80")
    chief, *others = [
        start(words, TF_CONFIG=tf_config(jobs, job, i))
        for job in jobs
        for i in range(len(jobs[job]))
    ]
    wait_for_step(chief, tmp_path / "run", 20)
    others[-1].kill()
    stdout, stderr = chief.communicate(timeout=HANG)
    assert chief.returncode == 0, stderr[-3000:]
    assert json.loads(stdout.splitlines()[-1])["step"] == 80
    assert [process.wait(timeout=HANG) for process in others] == [0, 0, -signal.SIGKILL]


@pytest.mark.slow
def test_parameter_servers_survive_the_loss_and_return_of_a_worker_and_learn_lenet(tmp_path):
    words = [
        "launch.py",
        *SERVERS,
        "--",
        "--config",
        "configs/lenet.yaml",
        "--run_dir",
        tmp_path / "run",
    ]
    process = start(words)
    wait_for_step(process, tmp_path / "run", 400)
    os.kill(pids(process.pid)[2], signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=HANG)
    assert process.returncode == 0, stderr[-3000:]
    assert "launch: worker 0 ended with -9: started again" in stderr
    assert json.loads(stdout.splitlines()[-1])["valid"]["accuracy"] > 0.96


# ------------------------------------------------------------------------------------------- what does not fit together

WORKERS = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}
ALL = {
    "cluster": {"chief": ["a:1"], "ps": ["b:2"], "worker": ["c:3"]},
    "task": {"type": "chief", "index": 0},
}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "TF_CONFIG: expected JSON, got '{'"),
        ("[]", "TF_CONFIG: expected an object with `cluster` and `task`"),
        (json.dumps({"cluster": {"worker": "a:1"}}), "cluster: expected lists of addresses"),
        (json.dumps({"cluster": {"worker": []}}), "cluster: expected lists of addresses"),
        (
            json.dumps({"cluster": {"wroker": ["a:1"]}}),
            "cluster: wroker: unknown job; expected chief, worker, ps",
        ),
        (json.dumps({"cluster": {"worker": ["a"]}}), "cluster: expected host:port, got 'a'"),
        (
            json.dumps({"cluster": {"worker": ["a:1", "a:1"]}}),
            "cluster: a:1: expected every address once",
        ),
        (
            json.dumps({"cluster": {"worker": ["a:1"]}}),
            "task.type: expected one of worker, got None",
        ),
        (
            json.dumps(WORKERS | {"task": {"type": "ps", "index": 0}}),
            "task.type: expected one of worker, got 'ps'",
        ),
        (
            json.dumps(WORKERS | {"task": {"type": "worker", "index": 2}}),
            "task.index: expected 0 to 1 for worker, got 2",
        ),
        (
            json.dumps(WORKERS | {"task": {"type": "worker", "index": "0"}}),
            "task.index: expected 0 to 1 for worker, got '0'",
        ),
        (
            json.dumps(
                {"cluster": {"ps": ["a:1"], "worker": ["b:1"]}, "task": {"type": "ps", "index": 0}}
            ),
            "expected a chief and workers",
        ),
        (
            json.dumps(
                {
                    "cluster": {"chief": ["a:1"], "worker": ["b:1"]},
                    "task": {"type": "chief", "index": 0},
                }
            ),
            "expected `worker` alone",
        ),
    ],
)
def test_a_malformed_cluster_is_one_line(text, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_cluster(text)


@pytest.mark.parametrize("text", ["", " ", "{}", '{"task": {"type": "worker", "index": 0}}'])
def test_no_cluster(text):
    assert read_cluster(text) is None


@pytest.mark.parametrize(
    ("overrides", "cluster", "message"),
    [
        (
            ["train.batch_size=130", "distribute={strategy: towers, towers: 4}"],
            None,
            "4 (4 towers), got 130; nearest: 128 or 132",
        ),
        (
            ["train.batch_size=3", "train.accumulate=4"],
            None,
            "multiple of 4 (1 towers x train.accumulate 4), got 3; nearest: 4",
        ),
        (
            ["train.batch_size=127"],
            WORKERS,
            "multiple of 2 (2 towers), got 127; nearest: 126 or 128",
        ),
        (
            ["distribute.strategy=workers"],
            None,
            "distribute.strategy: workers: TF_CONFIG is not set",
        ),
        (
            ["distribute.strategy=parameter_server"],
            WORKERS,
            "parameter_server: expected chief, worker, ps in TF_CONFIG, got worker",
        ),
        (
            ["distribute.strategy=workers"],
            ALL,
            "workers: expected worker in TF_CONFIG, got chief, ps, worker",
        ),
        (
            ["distribute.virtual_devices=2"],
            WORKERS,
            "distribute.virtual_devices: expected none with the processes of TF_CONFIG",
        ),
        (["distribute={strategy: one, towers: 2}"], None, "strategy `one` is one device"),
        (
            ["distribute={strategy: workers, virtual_devices: 2}"],
            None,
            "expected no `virtual_devices` beside it",
        ),
        (["distribute.strategy=mirrored"], None, "unknown name 'mirrored'"),
    ],
)
def test_what_does_not_fit_is_one_line(overrides, cluster, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_cluster(
            load_config(ROOT / "configs/lenet.yaml", overrides),
            cluster and read_cluster(json.dumps(cluster)),
        )


def test_more_devices_than_there_are_is_an_error(program, tmp_path):
    with pytest.raises(
        ResourceError,
        match=re.escape(
            "distribute.towers: expected at most 4, as there are 4 virtual devices, got 8"
        ),
    ):
        open_devices(Distribute(strategy="towers", towers=8, virtual_devices=4))
    with pytest.raises(
        ResourceError,
        match=re.escape(
            "expected at most 1, as there are 1 device (no GPU, one CPU), got 4; distribute.virtual"
        ),
    ):
        open_devices(Distribute(strategy="towers", towers=4))
    done = program(
        "trainer.py",
        "--config",
        "configs/lenet.yaml",
        "--run_dir",
        tmp_path / "run",
        "distribute.towers=4",
    )
    assert (
        (done.returncode, done.stdout) == (6, "")
        and "Traceback" not in done.stderr
        and not (tmp_path / "run").exists()
    )


@pytest.mark.parametrize(("towers", "expected"), [(2, 2), (8, 4), (None, 4), (3, 3)])
def test_evaluation_takes_the_towers_that_are_here(towers, expected):
    """A run of eight towers is scored on the four that are here; of six examples a batch, on three of them."""
    distribute = Distribute(strategy="towers", towers=towers, virtual_devices=4)
    assert open_towers(distribute, 6 if expected == 3 else 8).towers == expected
    assert open_towers(Distribute(strategy="workers"), 8).towers == 1


@pytest.mark.parametrize(("job", "missing"), [("chief", "worker 0"), ("worker", "chief")])
def test_a_task_of_parameter_servers_that_never_comes_is_named(job, missing, tmp_path):
    jobs = dict(
        zip(
            ("chief", "worker", "ps"),
            ([address] for address in launch.free_addresses(3)),
            strict=True,
        )
    )
    process = start(
        trainer_words(tmp_path / "run", "distribute.wait=2"), TF_CONFIG=tf_config(jobs, job, 0)
    )
    stdout, stderr = process.communicate(timeout=HANG)
    assert (process.returncode, stdout) == (6, ""), stderr
    assert (
        missing in stderr.splitlines()[-1] and "did not come within 2 s" in stderr.splitlines()[-1]
    )


def test_the_launcher_ends_with_the_code_of_what_failed(program, tmp_path):
    done = program(
        "launch.py",
        "--workers",
        "2",
        "--",
        "--config",
        "configs/lenet.yaml",
        "optimizer.learning_rte=1",
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr.count("optimizer.learning_rte: unknown key, did you mean 'learning_rate'?") == 2
    )
    assert done.stderr.splitlines()[-1] == "launch: error: worker 0 with 2, worker 1 with 2"
    done = program("launch.py", "--ps", "1", "--", "--config", "configs/lenet.yaml")
    assert done.returncode == 2 and "--ps and --chief: expected both" in done.stderr
