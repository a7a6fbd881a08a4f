"""How outputs are scored: losses and metrics worked out by hand, in the units of the data, with padding that weighs nothing."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import model_config
import train_config
import trainer
from cli.program import ConfigError
from eval import Evaluator
from model import build_task
from tasks import metrics
from train_config import Spec, Undo

LABELS = Spec(
    input_shape=[3], input_dtype="float32", target_shape=[], target_dtype="int64", num_classes=3, class_names=["a", "b", "c"]
)  # fmt: skip
NUMBERS = Spec(
    input_shape=[4, 1],
    input_dtype="float32",
    target_shape=[2],
    target_dtype="float32",
    num_classes=0,
    class_names=[],
)
TOKENS = Spec(
    input_shape=[None], input_dtype="int32", target_shape=[None], target_dtype="int32", num_classes=0, class_names=[],
    vocabulary="<pad>\n<unknown>\nx\ny", target_vocabulary="<pad>\n<unknown>\n<start>\n<end>\nX\nY\nZ",
)  # fmt: skip


def scores(task, targets, outputs, weights, training=False):
    found = task.metrics(training=training)
    for metric in found.values():
        metric.update_state(tf.constant(targets), outputs, tf.constant(weights))
    return {name: metric.result().numpy() for name, metric in found.items()}


def about(**expected):
    return pytest.approx(expected, abs=1e-5)


def identity(values):
    """A network whose outputs are given."""
    return lambda inputs, training: tf.constant(values)


# -------------------------------------------------------------------------------------------------------------- labels


def test_metrics_of_labels_by_hand():
    """Three items count, of classes a, b, b; a and b are found, then b is taken for c; the fourth weighs nothing.

    F1: a 1, b 2*1*0.5/1.5, c 0; mean 0.55556. AUC, thresholds exact for these well separated scores: a: 1 of 2 pairs 1 -> 1;
    b: positives 0.79, 0.09 against 0.11: one of two pairs; c has no positive item: 0 by Keras.
    """
    config = model_config.ClassificationTask(
        name="classification",
        metrics=["accuracy", "top_5_accuracy", "auc", "f1", "confusion_matrix"],
    )
    logits = np.log(
        np.float32([[0.8, 0.11, 0.09], [0.11, 0.79, 0.1], [0.01, 0.09, 0.9], [0.9, 0.05, 0.05]])
    )
    found = scores(build_task(config, LABELS), [0, 1, 1, 2], logits, [1.0, 1.0, 1.0, 0.0])
    assert found.pop("confusion_matrix").tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert found.pop("auc") == pytest.approx((1 + 0.5 + 0) / 3, abs=0.01)
    assert found == about(accuracy=2 / 3, f1=5 / 9)
    assert set(build_task(config, LABELS).metrics(training=True)) == {"accuracy", "auc", "f1"}


def test_focal_loss_by_hand():
    """p = 1/4: (3/4)^2 * ln 4; p = 3/4: (1/4)^2 * ln(4/3): an easy item weighs 43 times less, not 5."""
    task = build_task(model_config.ClassificationTask(name="classification", loss="focal"), LABELS)
    logits = tf.math.log(tf.constant([[0.25, 0.5, 0.25], [0.125, 0.75, 0.125]]))
    found = task.loss(tf.constant([0, 1]), logits)
    np.testing.assert_allclose(found, [0.5625 * math.log(4), 0.0625 * math.log(4 / 3)], rtol=1e-5)


def test_tagging_counts_items_and_whole_sequences_without_their_padding():
    spec = LABELS.model_copy(update={"input_shape": [None], "target_shape": [None]})
    task = build_task(model_config.TaggingTask(name="tagging"), spec)
    logits = 9.0 * tf.one_hot([[0, 1, 2], [1, 1, 0], [2, 0, 0]], 3)
    targets, weights = [[0, 1, 0], [1, 2, 0], [0, 0, 0]], [[1.0, 1, 0], [1, 1, 1], [0, 0, 0]]
    assert scores(task, targets, logits, weights) == about(accuracy=0.8, sequence_accuracy=0.5)
    loss = task.loss(tf.constant(targets), tf.zeros([3, 3, 3]))
    np.testing.assert_allclose(loss, np.full([3, 3], math.log(3)), rtol=1e-6)


def test_multi_label_by_hand():
    """Four labels of two examples: hits 2 of 3 wanted and 3 given, so F1 = 2*2/6; the threshold 0.8 is the logit ln 4 = 1.386."""
    spec = LABELS.model_copy(
        update={"target_shape": [4], "target_dtype": "float32", "num_classes": 0, "class_names": []}
    )
    task = build_task(model_config.MultiLabelTask(name="multi_label", threshold=0.8), spec)
    targets = [[1.0, 0, 0, 1], [0, 0, 1, 0], [1, 1, 1, 1]]
    logits = tf.constant([[1.4, 1.3, -9, 1.3], [-9, 1.4, 2, 0], [0, 0, 0, 0.0]])
    assert scores(task, targets, logits, [1.0, 1.0, 0.0]) == about(accuracy=0.75, f1=2 / 3)
    zeros = task.loss(tf.constant(targets), tf.zeros([3, 4]))
    np.testing.assert_allclose(zeros, [math.log(2)] * 3, rtol=1e-6)
    assert spec.num_outputs == 4


@pytest.mark.parametrize("name", ["classification", "tagging"])
def test_labels_need_classes(name):
    with pytest.raises(
        ConfigError, match=f"task: {name}: expected targets that are classes, got float32"
    ):
        build_task(
            {
                "classification": model_config.ClassificationTask,
                "tagging": model_config.TaggingTask,
            }[name](name=name),
            NUMBERS,
        )


@pytest.mark.parametrize("update", [{}, {"num_classes": 0, "class_names": []}])
def test_many_labels_need_a_row_of_them(update):
    with pytest.raises(
        ConfigError,
        match="task: multi_label: expected a row of 0 and 1 as the targets of each example, got int64",
    ):
        build_task(
            model_config.MultiLabelTask(name="multi_label"), LABELS.model_copy(update=update)
        )


def test_many_labels_from_a_file_to_a_score(tmp_path):
    """Each label says whether one of three inputs is above 0: what one linear layer learns."""
    inputs = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    np.savez(tmp_path / "labels.npz", x=inputs, y=np.float32(inputs > 0))
    (tmp_path / "run.yaml").write_text(
        "model: {name: mlp, hidden: []}\ntask: {name: multi_label}\ndata: {train: {name: npz, file: labels.npz, targets: numbers}}\n"
        "optimizer: {name: adam, learning_rate: 0.1}\ntrain: {batch_size: 40, epochs: 20}\ncheckpoint: {every: null}\n"
    )
    config = train_config.load_config(tmp_path / "run.yaml", [f"data.dir={tmp_path}"])
    valid = trainer.train_and_evaluate(config, tmp_path / "run")["valid"]
    assert valid["accuracy"] > 0.9 and valid["f1"] > 0.9


# -------------------------------------------------------------------------------------------------- networks that do not fit


def flat(size: int) -> keras.Model:
    inputs = keras.Input([4])
    return keras.Model(inputs, keras.layers.Dense(size)(inputs), name="flat")


IMAGES = LABELS.model_copy(
    update={
        "input_shape": [2, 2, 1],
        "target_shape": [2, 2, 1],
        "target_dtype": "float32",
        "num_classes": 0,
        "class_names": [],
    }
)


@pytest.mark.parametrize(
    ("config", "spec", "size", "message"),
    [
        (
            model_config.ClassificationTask(name="classification"),
            LABELS,
            4,
            "expected a network with outputs of shape [3]; flat gives [4]",
        ),
        (
            model_config.TaggingTask(name="tagging"),
            LABELS.model_copy(update={"target_shape": [None]}),
            3,
            "outputs of shape [None, 3]; flat",
        ),
        (
            model_config.RegressionTask(name="regression"),
            NUMBERS,
            3,
            "expected a network with outputs of shape [2]",
        ),
        (
            model_config.ReconstructionTask(name="reconstruction"),
            IMAGES,
            4,
            "outputs of shape [2, 2, 1]; flat gives [4]",
        ),
        (
            model_config.Seq2seqTask(name="seq2seq"),
            TOKENS,
            7,
            "expected a network that takes previous and source; flat takes one tensor",
        ),
        (
            model_config.SkipGramTask(name="skip_gram"),
            TOKENS,
            4,
            "expected a network that takes candidates and tokens; flat takes one tensor",
        ),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_network_that_does_not_fit_is_named_before_training(config, spec, size, message):
    with pytest.raises(ConfigError) as caught:
        Evaluator(flat(size), build_task(config, spec))
    assert message in str(caught.value)


@pytest.mark.parametrize("shape", [[], [1], [2], [2, 1]])
def test_numbers_may_come_in_a_row_or_in_the_targets_shape(shape):
    spec = NUMBERS.model_copy(update={"target_shape": shape})
    Evaluator(
        flat(math.prod(shape)), build_task(model_config.RegressionTask(name="regression"), spec)
    )


# ------------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("loss", "expected"), [("mse", [(9 + 0.25) / 2]), ("mae", [(3 + 0.5) / 2]), ("huber", [(2 * (3 - 1) + 0.125) / 2])]
)  # fmt: skip
def test_losses_of_regression_by_hand(loss, expected):
    task = build_task(model_config.RegressionTask(name="regression", loss=loss, delta=2.0), NUMBERS)
    found = task.loss(tf.constant([[1.0, 2.0]]), {"values": tf.constant([[4.0, 2.5]])})
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_metrics_of_regression_are_in_units_and_against_persistence():
    """Scaled by (x - 10) / 5. Errors in units: 5 and 10, then 0 and 0; persistence is off by 10 and 20, then 5 and 5."""
    spec = NUMBERS.model_copy(update={"target_units": [Undo(scale=[5.0], offset=[10.0])]})
    task = build_task(model_config.RegressionTask(name="regression", persistence=0), spec)
    inputs = np.float32([[0, 0, 0, 1], [0, 0, 0, 2], [7, 7, 7, 7]])[..., np.newaxis]
    targets = np.float32([[3.0, -3.0], [1.0, 1.0], [0.0, 0.0]])
    outputs = task.call(
        identity([[4.0, -1.0], [1.0, 1.0], [9.0, 9.0]]), {"inputs": tf.constant(inputs)}, False
    )
    found = scores(task, targets, outputs, [1.0, 1.0, 0.0])
    mse, persistence = (25 + 100) / 2 / 2, ((100 + 400) / 2 + (25 + 25) / 2) / 2
    assert found == about(rmse=math.sqrt(mse), mae=3.75, skill=1 - mse / persistence)
    np.testing.assert_allclose(task.predict(identity([[1.0, 0.0]]), None)["values"], [[15.0, 10.0]])


def test_a_logarithm_of_the_targets_is_undone():
    """log(x + 1) scaled by 2: 2 * ln(x + 1); the target is 3 = ln 16 * ..., worked back exactly."""
    spec = NUMBERS.model_copy(
        update={"target_shape": [], "target_units": [Undo(scale=[0.5], offset=[0.0], log_plus=1.0)]}
    )
    task = build_task(model_config.RegressionTask(name="regression"), spec)
    outputs = task.call(
        identity(np.float32([[2 * math.log(6)]])), {"inputs": None}, True
    )  # 5 in units
    assert scores(task, np.float32([2 * math.log(4)]), outputs, [1.0]) == about(
        rmse=2.0, mae=2.0
    )  # 3 in units


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (LABELS, {}, "expected numbers as targets, got int64"),
        (
            NUMBERS,
            {"persistence": 1},
            "task.persistence: expected series \\[steps, columns\\] with a column 1",
        ),
    ],
)
def test_what_regression_refuses(spec, options, message):
    with pytest.raises(ConfigError, match=message):
        build_task(model_config.RegressionTask(name="regression", **options), spec)


# -------------------------------------------------------------------------------------------------------------- images


def test_signal_to_noise_by_hand():
    """Errors of 0.1 everywhere: 20 dB; of 0.01: 40 dB, a gain of 20; on a scale to 255, 25.5 is 20 dB."""
    spec = LABELS.model_copy(
        update={
            "input_shape": [2, 2, 1],
            "target_shape": [2, 2, 1],
            "target_dtype": "float32",
            "num_classes": 0,
        }
    )
    task = build_task(model_config.ReconstructionTask(name="reconstruction"), spec)
    clean = tf.zeros([2, 2, 2, 1])
    outputs = task.call(
        identity(np.full([2, 2, 2, 1], 0.01, np.float32)),
        {"inputs": clean + 0.1, "targets": clean},
        False,
    )
    assert scores(task, clean, outputs, [1.0, 0.0]) == about(psnr=40.0, psnr_gain=20.0)
    np.testing.assert_allclose(task.loss(clean, outputs), [1e-4, 1e-4], rtol=1e-5)
    np.testing.assert_allclose(
        metrics.psnr(clean + 25.5, clean, peak=255.0), [20.0, 20.0], rtol=1e-5
    )
    np.testing.assert_allclose(metrics.psnr(clean, clean, 1.0), [100.0, 100.0], rtol=1e-5)


# ----------------------------------------------------------------------------------------------------------- sequences


def test_error_rates_of_written_sequences_by_hand():
    """X Y Z written as X Z: one deletion; X as X: right; X Y as Y Y Y: two edits; the last sequence weighs nothing.

    Two of three sequences are wrong; 1 + 0 + 2 edits over 3 + 1 + 2 tokens. Ends and padding are no tokens.
    """
    x, y, z, end = 4, 5, 6, 3
    task = build_task(model_config.Seq2seqTask(name="seq2seq"), TOKENS)
    targets = np.int32([[x, y, z, end], [x, end, 0, 0], [x, y, end, 0], [z, end, 0, 0]])
    written = tf.constant(
        [[x, z, end, 0, 0], [x, end, 0, 0, 0], [y, y, y, end, 0], [x, x, x, x, x]]
    )
    weights = np.float32(targets != 0) * np.float32([[1], [1], [1], [0]])
    outputs = {
        "written": written,
        "logits": 9.0
        * tf.one_hot([[x, y, y, end], [x, end, 0, 0], [x, y, end, 0], [x, x, 0, 0]], 7),
    }
    assert scores(task, targets, outputs, weights) == about(
        token_accuracy=8 / 9, sequence_error_rate=2 / 3, token_error_rate=0.5
    )
    assert set(task.metrics(training=True)) == {"token_accuracy"}


def test_a_decoder_begins_with_the_start_token_and_is_told_the_truth():
    seen = {}

    def network(inputs, training):
        seen.update(inputs)
        return {"logits": tf.zeros([1, 3, 7])}

    task = build_task(model_config.Seq2seqTask(name="seq2seq", label_smoothing=0.7), TOKENS)
    outputs = task.call(
        network, {"inputs": tf.constant([[2]]), "targets": tf.constant([[4, 5, 3]])}, True
    )
    assert seen["previous"].numpy().tolist() == [[2, 4, 5]]
    logits = tf.math.log(
        tf.constant([[[0.1, 0.1, 0.1, 0.1, 0.4, 0.1, 0.1]]])
    )  # smoothed target: 0.1 each, and 0.3 more
    found = task.loss(tf.constant([[4]]), {"logits": logits})
    np.testing.assert_allclose(found, [[-(0.4 * math.log(0.4) + 0.6 * math.log(0.1))]], rtol=1e-5)
    assert outputs["logits"].shape == (1, 3, 7)
    with pytest.raises(ConfigError, match="expected targets with ends"):
        build_task(
            model_config.Seq2seqTask(name="seq2seq"),
            TOKENS.model_copy(update={"target_vocabulary": "<pad>\n<unknown>\nX"}),
        )


@pytest.mark.parametrize(
    ("written", "targets", "expected"),
    [([[4, 5]], [[4, 5]], 0), ([[4, 5, 6]], [[4, 6, 0]], 1), ([[0, 0]], [[4, 5]], 2), ([[5, 4]], [[4, 5]], 2), ([[4]], [[4, 5, 6, 4]], 3)],
)  # fmt: skip
def test_edit_distance(written, targets, expected):
    assert metrics.edit_distance(tf.constant(written), tf.constant(targets)).numpy().tolist() == [
        expected
    ]


# ---------------------------------------------------------------------------------------------------------- embeddings


def test_skip_gram_by_hand():
    """Scores 0: ln 2 for each of three candidates. The true one is the highest of two of three items that count."""
    spec = TOKENS.model_copy(update={"target_shape": [None, 2, 3]})
    task = build_task(
        model_config.SkipGramTask(
            name="skip_gram", groups={"low": ["x"], "high": ["y"]}, nearest=1
        ),
        spec,
    )
    flat = {"scores": tf.zeros([1, 2, 2, 3]), "vectors": tf.ones([4, 2])}
    np.testing.assert_allclose(
        task.loss(None, flat), np.full([1, 2, 2], 3 * math.log(2)), rtol=1e-6
    )
    ranked = tf.constant([[[[2.0, 1, 0], [0, 1, 2]], [[1.0, 0, 0], [0, 1, 0]]]])
    found = scores(task, 0, flat | {"scores": ranked}, [[[1.0, 1.0], [1.0, 0.0]]])
    assert found == about(
        accuracy=2 / 3, neighbors=0.0
    )  # one token of each kind: the nearest is of the other
    with pytest.raises(
        ConfigError, match=r"task\.nearest: expected fewer than the 2 tokens in groups, got 2"
    ):
        build_task(
            model_config.SkipGramTask(
                name="skip_gram", groups={"low": ["x"], "high": ["y"]}, nearest=2
            ),
            spec,
        )
    with pytest.raises(ConfigError, match=r"task.groups.low: unknown name 'q'"):
        build_task(model_config.SkipGramTask(name="skip_gram", groups={"low": ["q"]}), spec)


def test_neighbors_by_hand():
    """Directions 0, 10, 90, 100 degrees and one in no group, nearest of all; then with groups torn apart."""
    angles = np.radians([0, 10, 90, 100, 5])
    vectors = tf.constant(
        np.stack([np.cos(angles), np.sin(angles)], axis=1) * [[1], [5], [1], [5], [1]], tf.float32
    )
    assert float(metrics.neighbors_in_group(vectors, [0, 0, 1, 1, -1], 1)) == 1.0
    assert float(metrics.neighbors_in_group(vectors, [0, 1, 0, 1, -1], 1)) == 0.0
    assert (
        float(metrics.neighbors_in_group(vectors, [0, 1, 0, 1, -1], 2)) == 0.25
    )  # 0 sees 90, 100 sees 10
