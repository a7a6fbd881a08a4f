"""What every network must do, checked for each one that is registered: a forker's own is tested for free."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import model_config
import train_config
from cli import typed_yaml
from data_loader import DATASETS
from engine.checkpoint import restore
from engine.optimizer import build_optimizer, build_schedule
from engine.weights import named_variables, read_variables, write_variables
from eval import Evaluator
from model import TASKS, build_model, build_task
from model_config import ClassificationTask
from train_config import Adam, Clock, Spec, Train
from train_step import TrainStep

SMALL = {  # what makes a network that is large or needs more than 28 pixels quick to test
    "vgg": {"width": 0.125},
    "squeezenet": {"width": 0.25},
    "inception": {"width": 0.125, "modules": 1},
    "mobilenet": {"width": 0.125, "depth": 0.5},
    "xception": {"width": 0.02, "middle": 1},
    "pretrained": {"size": 32},
    "autoencoder": {"filters": [4, 8]},
    "seq2seq": {"embedding": 8, "encoder": {"units": 8}, "decoder": {"units": 16}},
}
NETWORKS = {
    cls.model_fields["name"].annotation.__args__[0]: cls
    for cls in typed_yaml.members(train_config.TrainConfig.model_fields["model"].annotation)
}
CONFIGS = [cls(name=name, **SMALL.get(name, {})) for name, cls in NETWORKS.items()]
OTHERS = [  # further shapes of the networks
    model_config.Lenet(name="lenet", activation="tanh", dropout=0.5, l2=1e-3),
    model_config.Mlp(name="mlp", hidden=[], l2=1e-3),
    model_config.Mlp(name="mlp", hidden=[32, 32], dropout=0.5),
    model_config.Vgg(name="vgg", depth=16, width=0.0625),
    model_config.Resnet(name="resnet", depth=50, width=0.0625),
    model_config.Mobilenet(
        name="mobilenet",
        width=0.125,
        depth=0.5,
        resolution=0.75,
        shortcut="projection",
        dropout=0.1,
    ),
    model_config.Xception(name="xception", aligned=False, middle=1, width=0.02, output_stride=4),
    model_config.Autoencoder(
        name="autoencoder", filters=[4, 8, 8], upsampling="transposed", skip=True, residual=True
    ),
    *(
        model_config.Seq2seq(name="seq2seq", attention=kind, **SMALL["seq2seq"])
        for kind in ("none", "luong_general", "bahdanau")
    ),
]
SPEC = Spec(
    input_shape=[28, 28, 1],
    input_dtype="float32",
    target_shape=[],
    target_dtype="int64",
    num_classes=10,
    class_names=[str(i) for i in range(10)],
)
IMAGES = {
    "inputs": np.random.default_rng(0).random((32, 28, 28, 1), np.float32),
    "targets": np.arange(32) % 10,
    "sample_weight": np.ones(32, np.float32),
}
TOKENS = "<pad>\n<unknown>\n<start>\n<end>\n" + "\n".join("abcdefgh")
IDS = np.int32([[4 + (7 * row + 3 * place) % 8 for place in range(6)] for row in range(32)])
WORDS = Spec(
    input_shape=[None], input_dtype="int32", target_shape=[None], target_dtype="int32", num_classes=0, class_names=[],
    vocabulary=TOKENS, target_vocabulary=TOKENS,
)  # fmt: skip
EXAMPLES = {  # what a network is tried on that does not take images and give logits: (spec, task, batch)
    "autoencoder": (
        SPEC.model_copy(update={"target_shape": [28, 28, 1], "target_dtype": "float32", "num_classes": 0, "class_names": []}),
        model_config.ReconstructionTask(name="reconstruction"),
        IMAGES | {"targets": IMAGES["inputs"]},
    ),
    "seq2seq": (
        WORDS,
        model_config.Seq2seqTask(name="seq2seq"),
        {"inputs": IDS, "targets": IDS, "sample_weight": np.ones([32, 6], np.float32)},
    ),
    "skip_gram": (
        WORDS.model_copy(update={"target_shape": [None, 2, 3]}),
        model_config.SkipGramTask(name="skip_gram"),
        {
            "inputs": IDS,
            "targets": np.stack([[IDS, IDS - 1, IDS - 2]] * 2).transpose(2, 3, 0, 1),
            "sample_weight": np.ones([32, 6, 2], np.float32),
        },
    ),
}  # fmt: skip

each_network = pytest.mark.parametrize(
    "config",
    [*CONFIGS, *(pytest.param(config, marks=pytest.mark.slow) for config in OTHERS)],
    ids=lambda config: " ".join(
        [
            config.name,
            *(
                f"{key}={value}"
                for key, value in config.model_dump(exclude_defaults=True).items()
                if key != "name"
            ),
        ]
    ),
)


def example_of(config):
    spec, task, batch = EXAMPLES.get(
        config.name, (SPEC, ClassificationTask(name="classification"), IMAGES)
    )
    return spec, build_task(task, spec), {key: tf.constant(value) for key, value in batch.items()}


def outputs_of(model, task, batch) -> list:
    """What the task makes of the network as it is in evaluation, without what a decoder writes by itself."""

    class Quiet:
        def __call__(self, inputs, training):
            return model(inputs, training=False)

        def __getattr__(self, name):
            return getattr(model, name)

    return tf.nest.flatten(task.call(Quiet(), batch, training=True))


@each_network
def test_network_builds_deterministically_for_any_batch_size(config):
    spec, task, batch = example_of(config)
    model, again, other = (build_model(config, spec, seed=seed) for seed in (3, 3, 4))
    assert [v.path for v in model.variables] == [v.path for v in again.variables]
    for a, b in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(not np.array_equal(a, b) for a, b in zip(model.weights, other.weights, strict=True))
    outputs = outputs_of(model, task, batch)
    for whole, one in zip(
        outputs,
        outputs_of(model, task, {key: value[:1] for key, value in batch.items()}),
        strict=True,
    ):
        np.testing.assert_allclose(whole[:1], one[:1], rtol=1e-5, atol=1e-5)
    for a, b in zip(outputs, outputs_of(again, task, batch), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (
        task.loss(batch["targets"], task.call(model, batch, training=True)).shape
        == batch["sample_weight"].shape
    )
    assert {value.shape[0] for value in task.predict(model, batch["inputs"]).values()} == {32}
    task.check_fits(model)


@each_network
def test_every_trainable_variable_gets_a_gradient(config):
    spec, task, batch = example_of(config)
    model = build_model(config, spec)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(task.loss(batch["targets"], task.call(model, batch, training=True)))
    gradients = tape.gradient(loss, model.trainable_variables)
    named = zip(model.trainable_variables, gradients, strict=True)
    assert [v.path for v, g in named if g is None or not np.any(tf.convert_to_tensor(g))] == []


@each_network
def test_variables_are_saved_and_restored_by_unique_names(config, tmp_path):
    model = build_model(config, example_of(config)[0], seed=1)
    optimizer = build_optimizer(
        Adam(name="adam"), build_schedule(Adam(name="adam"), Clock(4, 40), 10), model
    )
    variables = named_variables(model=model.variables, optimizer=optimizer.variables)
    assert len(variables) == len(model.variables) + len(optimizer.variables)
    write_variables(tmp_path, variables)
    expected = {name: tf.convert_to_tensor(v).numpy() for name, v in variables.items()}
    for variable in variables.values():
        variable.assign(tf.zeros_like(variable))
    restore(tmp_path, variables, read_variables, groups=("model", "optimizer"))
    for name, variable in variables.items():
        np.testing.assert_array_equal(variable, expected[name], err_msg=name)


QUICK = {"lenet", "mlp", "rnn", "skip_gram", "autoencoder"}
OF_16 = [*CONFIGS, *(config for config in OTHERS if config.name == "seq2seq")]


def is_quick(config, precision):
    return config.name in QUICK or (getattr(config, "attention", None), precision) == (
        "bahdanau",
        "bfloat16",
    )


@pytest.mark.parametrize(
    ("config", "precision"),
    [
        pytest.param(
            config,
            precision,
            marks=[pytest.mark.slow] * (not is_quick(config, precision)),
            id=f"{config.name}{n}-{precision}",
        )
        for n, config in enumerate(OF_16)
        for precision in ("bfloat16", "float64")
    ],
)
def test_every_network_trains_and_is_scored_in_other_precisions(config, precision):
    spec, task, batch = example_of(config)
    model, settings = (
        build_model(config, spec, precision=precision),
        Adam(name="adam", learning_rate=1e-4),
    )
    schedule = build_schedule(settings, Clock(32, 32), 2)
    step = TrainStep(
        model,
        task,
        build_optimizer(settings, schedule, model),
        schedule,
        Train(steps=2, precision=precision),
    )
    batches = tf.data.Dataset.from_tensors(batch | {"id": tf.range(32, dtype=tf.int64)}).repeat()
    assert step.run(iter(batches), tf.constant(2))
    kept = {"bfloat16": "float32"}.get(precision, precision)
    assert {variable.dtype for variable in model.trainable_variables} == {kept}
    assert model.compute_dtype == precision
    scores = Evaluator(model, task)(iter(batches), 1)
    assert all(np.isfinite(value).all() for value in scores.values())


def test_lenet_has_the_papers_layers():
    """By hand: C1 6*(25+1), C3 16*(6*25+1), C5 120*(16*25+1), F6 84*(120+1), output 10*(84+1)."""
    model = build_model(model_config.Lenet(name="lenet"), SPEC)
    counts = {layer.name: layer.count_params() for layer in model.layers if layer.count_params()}
    assert counts == {"c1": 156, "c3": 2416, "c5": 48120, "f6": 10164, "logits": 850}
    assert model.get_layer("s4").output.shape == (None, 5, 5, 16)


@pytest.mark.parametrize(
    ("functions", "union"),
    [
        (TASKS, train_config.TrainConfig.model_fields["task"].annotation),
        (DATASETS, train_config.DatasetConfig),
    ],
    ids=["tasks", "data sets"],
)
def test_every_name_of_the_configuration_has_its_function(functions, union):
    assert set(functions) == {
        cls.model_fields["name"].annotation.__args__[0] for cls in typed_yaml.members(union)
    }


# -------------------------------------------------------------------------------------------------- classification


def test_loss_and_label_smoothing_by_hand():
    """Logits (0, ln 3): probabilities 1/4 and 3/4. Smoothing 0.2 of two classes: targets 0.1 and 0.9."""
    spec = SPEC.model_copy(update={"num_classes": 2, "class_names": ["a", "b"]})
    logits, targets = tf.constant([[0.0, np.log(3.0)]]), tf.constant([1], tf.int64)
    plain = build_task(ClassificationTask(name="classification"), spec).loss
    smooth = build_task(ClassificationTask(name="classification", label_smoothing=0.2), spec).loss
    np.testing.assert_allclose(plain(targets, logits), [-np.log(0.75)], rtol=1e-6)
    np.testing.assert_allclose(
        plain(tf.constant([[0.5, 0.5]]), logits),
        [-0.5 * np.log(0.25) - 0.5 * np.log(0.75)],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        smooth(targets, logits), [-0.1 * np.log(0.25) - 0.9 * np.log(0.75)], rtol=1e-6
    )


def test_metrics_by_hand():
    """Six classes; the target is first, third and last of its row; the last item has weight 0."""
    spec = SPEC.model_copy(update={"num_classes": 6, "class_names": list("abcdef")})
    metrics = build_task(ClassificationTask(name="classification"), spec).metrics(training=False)
    logits = tf.constant(
        [[9.0, 1, 2, 3, 4, 5], [9, 8, 7, 1, 2, 3], [0, 1, 2, 3, 4, 5], [9, 0, 0, 0, 0, 0]]
    )
    targets, weights = tf.constant([0, 2, 0, 0], tf.int64), tf.constant([1.0, 1.0, 1.0, 0.0])
    for metric in metrics.values():
        metric.update_state(targets, logits, weights)
    assert {name: round(float(metric.result()), 6) for name, metric in metrics.items()} == {
        "accuracy": 0.333333,
        "top_5_accuracy": 0.666667,
    }
    one_hot = build_task(ClassificationTask(name="classification"), spec).metrics(training=True)[
        "accuracy"
    ]
    one_hot.update_state(tf.one_hot(targets, 6), logits, weights)
    assert round(float(one_hot.result()), 6) == 0.333333


def test_two_variables_of_one_path_are_refused():
    twins = [keras.Variable(0.0, name="w"), keras.Variable(1.0, name="w")]
    with pytest.raises(Exception, match="two variables have this path"):
        named_variables(model=twins)
