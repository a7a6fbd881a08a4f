"""The step, the optimizer, the loop and evaluation against numbers worked out by hand."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from places import CONFIGS, TINY, tiny_labels

import eval as evaluation
import input_ops
import train_config
import trainer
from cli import typed_yaml
from cli.program import CheckpointError, ConfigError
from data_loader import from_arrays
from engine import checkpoint
from engine.optimizer import build_optimizer, build_schedule
from engine.resume import Progress
from model import build_task
from train_config import Clock, Spec, Train, TrainConfig, load_config
from trainer import Trainer

SHORT = [
    "train.epochs=null",
    "validation={every: null}",
    "checkpoint={every: null}",
    "summary={tensorboard: false}",
]


def short_run(run_dir, *overrides, **options):
    config = load_config(TINY, [*SHORT, *overrides])
    return trainer.train_and_evaluate(config, run_dir, **options)


DIGITS = "{name: tiny_numbers, size: 600, shape: [28, 28, 1], num_classes: 10, as_bytes: true}"
NOT_BUNDLED = {"lenet_mnist": [f"data.train={DIGITS}", f"data.valid={DIGITS}"]}
SLOW = """
    g2p_luong g2p_plain g2p_bahdanau syllables_rnn syllables_lstm syllables_gru
    syllables_stacked_bigru vgg_small squeezenet resnet20 inception_small mobilenet_small
    xception_small
"""  # further ones of their kind, and deep ones, whose networks tests/models builds


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] * (path.stem in SLOW.split()), id=path.stem)
        for path in CONFIGS
    ],
)
def test_every_config_trains_validates_and_saves(path, tmp_path):
    """One batch of everything, on its own data, as `--debug fdr` does."""
    config = load_config(
        path, [*train_config.DEBUG["fdr"], *NOT_BUNDLED.get(path.stem, []), "init_from=null"]
    )
    result = trainer.train_and_evaluate(config, tmp_path / "run")
    assert result["step"] == 1 and all(
        np.isfinite(value).all() for value in result["valid"].values()
    )
    splits = [
        json.loads(line)["split"]
        for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    ]
    assert splits.count("train") == 1 and splits.count("valid") == 1
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["step-0000000001"]


# ---- evaluation

SPEC = Spec(
    input_shape=[3],
    input_dtype="float32",
    target_shape=[],
    target_dtype="int64",
    num_classes=3,
    class_names=list("abc"),
)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 5, 7, 100])
def test_evaluation_counts_every_example_once(batch_size):
    """A network that returns its input; 7 examples, of which 5 are right; the mean loss by hand."""
    inputs = keras.Input([3])
    model = keras.Model(inputs, keras.layers.Identity(name="same")(inputs))
    logits = np.log(
        np.array(
            [[8, 1, 1], [1, 8, 1], [1, 1, 8], [8, 1, 1], [1, 8, 1], [8, 1, 1], [8, 1, 1]],
            np.float32,
        )
        / 10
    )
    source = from_arrays(
        "seven", {"inputs": logits, "targets": np.array([0, 1, 2, 0, 1, 2, 1])}, list("abc")
    )
    evaluate = evaluation.Evaluator(model, build_task(tiny_labels(), SPEC))
    mix = input_ops.Mix.of(source, [])
    found = evaluate.score_sets(input_ops.eval_sets(mix, batch_size))
    assert found["accuracy"] == pytest.approx(5 / 7)
    assert found["loss"] == pytest.approx(-(5 * np.log(0.8) + 2 * np.log(0.1)) / 7, rel=1e-5)


def test_the_trained_number_is_the_evaluated_number(tmp_path):
    size = "data.train={name: tiny_numbers, size: 300}"  # and 100 to validate, a batch and a bit
    trained = short_run(tmp_path, "train.steps=30", "train.batch_size=96", size)["valid"]
    config = load_config(tmp_path / "config.yaml")
    evaluated = evaluation.main(tmp_path, config, "valid")
    assert {name: evaluated[name] for name in trained} == trained
    other_batch = evaluation.main(
        tmp_path, load_config(tmp_path / "config.yaml", ["train.batch_size=7"]), "valid"
    )
    assert other_batch["accuracy"] == pytest.approx(trained["accuracy"], abs=1e-6)
    assert other_batch["loss"] == pytest.approx(trained["loss"], rel=1e-4)


# ---- one step


def linear_step(clip_norm=None, l2=0.0, **options):
    """A Trainer of a linear network of three classes, of known weights, under plain SGD of rate 1.

    Returns it and the network's layer.
    """
    inputs = keras.Input([3])
    kernel = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 2]], np.float32)
    regularizer = keras.regularizers.L2(l2) if l2 else None
    layer = keras.layers.Dense(
        3,
        name="logits",
        kernel_regularizer=regularizer,
        kernel_initializer=keras.initializers.Constant(kernel),
    )
    model = keras.Model(inputs, layer(inputs))
    config = train_config.Sgd(name="sgd", learning_rate=1.0, **options)
    schedule = build_schedule(config, Clock(4, 4), 10)
    task = build_task(tiny_labels(), SPEC)
    return Trainer(
        model, task, build_optimizer(config, schedule, model), schedule, Train(steps=1), clip_norm
    ), layer


def one_step(step, inputs, targets, weights):
    batch = {
        "inputs": np.array(inputs, np.float32),
        "targets": np.array(targets),
        "sample_weight": np.array(weights, np.float32),
    }
    batch["id"] = np.arange(len(targets))
    _, _, _, gradients = step.inspect(iter(tf.data.Dataset.from_tensors(batch)))
    return [gradient.numpy() for gradient in gradients]


X = [[1.0, 2.0, 0.0], [0.0, 1.0, 1.0], [2.0, 0.0, 1.0], [5.0, 5.0, 5.0]]
Y = [0, 1, 2, 0]


def gradient_by_hand(rows, l2=0.0):
    """Softmax regression: X^T (softmax(X W) - onehot) / n, and 2 * l2 * W."""
    kernel, x = np.diag([1.0, 1.0, 2.0]), np.array(X)[rows]
    p = np.exp(x @ kernel)
    difference = p / p.sum(1, keepdims=True) - np.eye(3)[np.array(Y)[rows]]
    return x.T @ difference / len(rows) + 2 * l2 * kernel, difference.mean(0)


@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_gradients_are_means_over_weighted_items_and_regularizers_count_once(l2):
    step, layer = linear_step(l2=l2)
    found = one_step(step, X, Y, [1, 1, 1, 0])  # the fourth is padding
    for mine, expected in zip(found, gradient_by_hand([0, 1, 2], l2), strict=True):
        np.testing.assert_allclose(mine, expected, atol=1e-6)
    np.testing.assert_allclose(
        layer.kernel, np.diag([1.0, 1.0, 2.0]) - gradient_by_hand([0, 1, 2], l2)[0], atol=1e-6
    )


def test_clipping_is_by_the_global_norm_of_the_mean_gradient():
    expected = gradient_by_hand([0, 1, 2, 3])
    norm = np.sqrt(sum((g**2).sum() for g in expected))
    for clip_norm, factor in ((norm / 2, 0.5), (norm * 2, 1.0)):
        step, _ = linear_step(clip_norm=clip_norm)
        for mine, unclipped in zip(one_step(step, X, Y, [1, 1, 1, 1]), expected, strict=True):
            np.testing.assert_allclose(mine, unclipped * factor, rtol=1e-4, atol=1e-6)


def test_weight_decay_spares_what_is_excluded():
    """No weight counts, so the gradient is 0: the kernel decays by rate * decay, the bias stays."""
    step, layer = linear_step(weight_decay=0.25)
    layer.bias.assign([1.0, 1.0, 1.0])
    one_step(step, X, Y, [0, 0, 0, 0])
    np.testing.assert_allclose(layer.kernel, np.diag([0.75, 0.75, 1.5]))
    np.testing.assert_allclose(layer.bias, [1, 1, 1])


def test_a_step_that_is_not_finite_changes_nothing():
    step, layer = linear_step()
    before = layer.kernel.numpy().copy()
    batch = {
        "inputs": np.array(X, np.float32),
        "targets": np.array(Y),
        "sample_weight": np.ones(4, np.float32),
        "id": np.arange(4),
    }
    bad = {**batch, "inputs": np.array([*X[:3], [np.nan, 0, 0]], np.float32)}
    finite = step.run(iter(tf.data.Dataset.from_tensors(bad).repeat()), tf.constant(3))
    assert not finite and step.step == 0
    np.testing.assert_array_equal(layer.kernel, before)
    assert (
        step.run(iter(tf.data.Dataset.from_tensors(batch).repeat()), tf.constant(3))
        and step.step == 3
    )


def test_a_blow_up_shows_where_it_began():
    """Zero weights: every difference is finite, and so is the gradient of the bias.

    That of the kernel holds 4 * 3e38 * 2/3, which is not.
    """
    step, layer = linear_step(clip_norm=1.0)
    layer.kernel.assign(np.zeros((3, 3)))
    kernel, bias = one_step(step, np.full((4, 3), 3e38), [0, 0, 0, 0], [1, 1, 1, 1])
    assert not np.isfinite(kernel).all() and np.isfinite(bias).all()
    assert not layer.kernel.numpy().any()


OPTIMIZERS = [
    cls(name=cls.model_fields["name"].annotation.__args__[0])
    for cls in typed_yaml.members(TrainConfig.model_fields["optimizer"].annotation)
]


@pytest.mark.parametrize("config", OPTIMIZERS, ids=lambda config: config.name)
def test_every_optimizer_learns(config, tmp_path):
    rate = 0.05 if config.name in ("sgd", "adagrad") else 0.003
    options = f"optimizer={{name: {config.name}, learning_rate: {rate}, clip_norm: 1.0}}"
    result = short_run(tmp_path, "model.units=32", options, "train.steps=120")
    assert result["valid"]["accuracy"] > 0.9


# ---- schedules


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("{name: constant}", {0: 8, 99: 8}),
        ("{name: constant, warmup: 4}", {0: 2, 1: 4, 3: 8, 50: 8}),
        ("{name: exponential, every: 10, factor: 0.5}", {0: 8, 5: 8 * 0.5**0.5, 10: 4, 20: 2}),
        (
            "{name: exponential, every: 10, factor: 0.5, staircase: true}",
            {9: 8, 10: 4, 19: 4, 20: 2},
        ),
        ("{name: cosine, warmup: 20}", {19: 8, 20: 8, 60: 4, 100: 0}),
        ("{name: cosine, final: 0.25}", {0: 8, 50: 5, 100: 2}),
        ("{name: polynomial, power: 2}", {0: 8, 50: 2, 100: 0}),
        (
            "{name: piecewise, boundaries: [10, 1 epoch], factors: [0.5, 0.1]}",
            {9: 8, 10: 4, 49: 4, 50: 0.8, 99: 0.8},
        ),
        ("{name: piecewise, boundaries: [10], factors: [0.5], warmup: 4}", {3: 8, 9: 8, 10: 4}),
    ],
)
def test_schedules_by_hand(schedule, expected):
    """100 steps, an epoch of 50, rate 8; `s` is the number of updates already made."""
    config = load_config(
        TINY,
        [f"optimizer={{name: sgd, learning_rate: 8.0, schedule: {schedule}}}"],
    ).optimizer
    rate = build_schedule(config, Clock(2, 100), 100)
    assert {s: float(rate(s)) for s in expected} == pytest.approx(expected, abs=1e-5)


# ---- the loop


def tiny_config(*overrides):
    return load_config(TINY, list(overrides))


def test_the_best_are_ranked_and_of_equals_the_earlier_stays():
    config = tiny_config("checkpoint.best={metric: accuracy, mode: max, keep: 2}")
    progress = Progress()
    taken = [
        progress.update(config, step, {"accuracy": value})
        for step, value in enumerate([0.5, 0.7, 0.7, 0.6, 0.8], start=1)
    ]
    assert taken == [True, True, True, False, True]
    assert progress.best == [(0.8, 5), (0.7, 2)]
    lowest = Progress()
    config = tiny_config("checkpoint.best={metric: loss, mode: min, keep: 1}")
    assert [
        lowest.update(config, step, {"loss": value})
        for step, value in enumerate([3, 2, 4], start=1)
    ] == [True, True, False]


def test_early_stopping_waits_for_its_patience():
    config = tiny_config(
        "early_stopping={metric: loss, mode: min, patience: 2, min_delta: 0.1}",
        "checkpoint.best=null",
    )
    progress, finished = Progress(), []
    for step, value in enumerate([1.0, 0.95, 0.8, 0.75, 0.71], start=1):
        progress.update(config, step, {"loss": value})
        finished.append(progress.finished)
    assert finished == [False, False, False, False, True]


def test_early_stopping_ends_the_run_and_the_last_and_best_checkpoints_are_kept(tmp_path):
    stopping = "early_stopping={metric: loss, mode: min, patience: 3}"
    best = "checkpoint={every: 2, keep: 2, best: {metric: loss, mode: min, keep: 1}}"
    # No validation after the first, at step 5, is better.
    standing_still = "optimizer={name: sgd, learning_rate: 1e-20}"
    result = short_run(
        tmp_path, "train.steps=500", "validation={every: 5}", stopping, best, standing_still
    )
    assert result["step"] == 20
    assert result["best"][0]["step"] == 5
    assert list(checkpoint.steps_in(tmp_path / "checkpoints")) == [5, 18, 20]


def test_a_finished_run_says_so_and_a_changed_one_is_refused(tmp_path, capsys):
    first = short_run(tmp_path, "train.steps=3")
    files = {
        path: path.stat().st_mtime_ns
        for path in tmp_path.rglob("*")
        if path.is_file() and path.name != "lock"
    }
    assert short_run(tmp_path, "train.steps=3") == first
    assert "already at step 3 of 3" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="already at step 3; expected a length of at least"):
        short_run(tmp_path, "train.steps=2")
    with pytest.raises(CheckpointError, match=r"model.dropout: 0.2 -> 0.45"):
        short_run(tmp_path, "train.steps=3", "model.dropout=0.45")
    assert {
        path: path.stat().st_mtime_ns
        for path in tmp_path.rglob("*")
        if path.is_file() and path.name != "lock"
    } == files


def test_a_directory_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(CheckpointError, match="expected an empty directory or a run"):
        short_run(tmp_path, "train.steps=3")
    assert [path.name for path in tmp_path.iterdir() if path.name != "lock"] == ["thesis.txt"]


def test_a_process_killed_while_it_wrote_its_first_file_is_no_obstacle(tmp_path):
    (tmp_path / "config.yaml.part").write_text("model: {name: le")
    assert short_run(tmp_path, "train.steps=3")["step"] == 3
    assert not (tmp_path / "config.yaml.part").exists()


def test_changed_data_is_refused(tmp_path):
    run_dir = tmp_path / "run"
    with pytest.raises(RuntimeError, match="stop here"):
        short_run(
            run_dir,
            "train.steps=9",
            "checkpoint={every: 2}",
            "validation={every: 5}",
            on_eval=stop_here,
        )
    state = checkpoint.path_of(run_dir / "checkpoints", 4) / "state.json"
    manifest = state.with_name("MANIFEST.json")
    changed = json.loads(state.read_text()) | {"data": "0" * 64}
    state.write_text(json.dumps(changed))
    files = json.loads(manifest.read_text())
    files["files"]["state.json"] = checkpoint._fingerprint(state)
    manifest.write_text(json.dumps(files))
    again = ["train.steps=9", "checkpoint={every: 2}", "validation={every: 5}"]
    with pytest.raises(
        CheckpointError, match="tiny_numbers: the data have changed since this run began"
    ):
        short_run(run_dir, *again)
    assert short_run(run_dir, *again, allow_changed_data=True)["step"] == 9


def stop_here(_step, _metrics):
    raise RuntimeError("stop here")


def test_a_metric_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"unknown name 'acuracy'; expected one of loss, accuracy"
    ):
        short_run(tmp_path / "run", "train.steps=3", "checkpoint.best={metric: acuracy}")
    assert not (tmp_path / "run").exists()


def test_bytes_without_scaling_are_refused_with_the_cure(tmp_path):
    of_bytes = "data.train={name: tiny_numbers, as_bytes: true}"
    problem = "expected float32 inputs for tiny, got uint8; add the operation `scale`"
    with pytest.raises(ConfigError, match=rf"data.ops: {problem}"):
        short_run(tmp_path / "run", "train.steps=3", of_bytes)


def test_debug_presets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fdr = trainer.debug_fdr(tiny_config(*train_config.DEBUG["fdr"]))
    assert fdr["step"] == fdr["restored_step"] == 1
    overfit = [*train_config.DEBUG["overfit"], "model.units=64", "train.batch_size=32"]
    assert trainer.debug_overfit(tiny_config(*overfit))["learned"]
    hopeless = tiny_config(*overfit, "optimizer.learning_rate=1e-12", "train.steps=30")
    assert not trainer.debug_overfit(hopeless)["learned"]
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_has_both_splits_images_histograms_text_and_graph(tmp_path):
    summary = "summary={images: {every: 4, count: 2}, histograms: {every: 3}}"
    short_run(
        tmp_path,
        "data.train={name: tiny_numbers, shape: [8, 8, 1]}",
        "train.steps=6",
        "train.log_every=2",
        "validation={every: 3, stepwise: {every: 2}}",
        summary,
    )
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    board = EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "tensorboard")).Reload()
    steps = {
        (run, tag): [e.step for e in board.Tensors(run, tag)]
        for run, tags in board.Runs().items()
        for tag in tags["tensors"]
    }
    assert steps["train", "loss"] == steps["train", "learning_rate"] == [2, 4, 6]
    assert steps["valid", "accuracy"] == [3, 6] and steps["valid_batches", "accuracy"] == [2, 4, 6]
    histograms = [steps["train", f"{kind}/hidden/kernel"] for kind in ("weights", "gradients")]
    assert histograms == [[3, 6], [3, 6]]
    assert steps["train", "inputs"] == [4]
    assert steps["train", "config"] == steps["train", "variables"] == [0]
    assert board.Graph("train")
