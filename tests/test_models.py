"""What every network must do, checked for each one that is registered: a forker's own is tested for free."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import data_config
import model_config
import train_config
import typed_yaml
from checkpoint import restore
from data_config import Spec
from data_loader import DATASETS
from model import TASKS, build_model, build_task, named_variables, read_variables, write_variables
from optimizer import build_optimizer, build_schedule
from preprocess_data import OPS
from train_config import Adam, Classification, Clock

CONFIGS = [cls(name=cls.model_fields["name"].annotation.__args__[0]) for cls in typed_yaml.members(model_config.ModelConfig)]
CONFIGS += [model_config.Lenet(name="lenet", activation="tanh", dropout=0.5, l2=1e-3), model_config.Mlp(name="mlp", hidden=[], l2=1e-3)]
CONFIGS += [model_config.Mlp(name="mlp", hidden=[32, 32], dropout=0.5)]
SPEC = Spec(
    input_shape=[28, 28, 1],
    input_dtype="float32",
    target_shape=[],
    target_dtype="int64",
    num_classes=10,
    class_names=[str(i) for i in range(10)],
)
INPUTS = np.random.default_rng(0).random((32, 28, 28, 1), np.float32)
TARGETS = tf.constant(np.arange(32) % 10, tf.int64)

each_network = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: " ".join(f"{k}={v}" for k, v in c.model_dump().items()))


@each_network
def test_network_builds_deterministically_for_any_batch_size(config):
    model = build_model(config, SPEC, seed=3)
    again = build_model(config, SPEC, seed=3)
    other = build_model(config, SPEC, seed=4)
    assert model.output_shape == (None, 10)
    assert [v.path for v in model.variables] == [v.path for v in again.variables]
    for a, b in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(not np.array_equal(a, b) for a, b in zip(model.weights, other.weights, strict=True))
    np.testing.assert_allclose(model(INPUTS)[:1], model(INPUTS[:1]), atol=1e-5)
    np.testing.assert_array_equal(model(INPUTS), again(INPUTS))


@each_network
def test_every_trainable_variable_gets_a_gradient(config):
    model, task = build_model(config, SPEC), build_task(Classification(name="classification"), SPEC)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(task.loss(TARGETS, model(INPUTS, training=True)))
    gradients = tape.gradient(loss, model.trainable_variables)
    assert [v.path for v, g in zip(model.trainable_variables, gradients, strict=True) if g is None or not np.any(g)] == []


@each_network
def test_variables_are_saved_and_restored_by_unique_names(config, tmp_path):
    model = build_model(config, SPEC, seed=1)
    optimizer = build_optimizer(Adam(name="adam"), build_schedule(Adam(name="adam"), Clock(4, 40), 10), model)
    variables = named_variables(model=model.variables, optimizer=optimizer.variables)
    assert len(variables) == len(model.variables) + len(optimizer.variables)
    write_variables(tmp_path, variables)
    expected = {name: tf.convert_to_tensor(v).numpy() for name, v in variables.items()}
    for variable in variables.values():
        variable.assign(tf.zeros_like(variable))
    restore(tmp_path, variables, read_variables, groups=("model", "optimizer"))
    for name, variable in variables.items():
        np.testing.assert_array_equal(variable, expected[name], err_msg=name)


def test_lenet_has_the_papers_layers():
    """By hand: C1 6*(25+1), C3 16*(6*25+1), C5 120*(16*25+1), F6 84*(120+1), output 10*(84+1)."""
    model = build_model(model_config.Lenet(name="lenet"), SPEC)
    counts = {layer.name: layer.count_params() for layer in model.layers if layer.count_params()}
    assert counts == {"c1": 156, "c3": 2416, "c5": 48120, "f6": 10164, "logits": 850}
    assert model.get_layer("s4").output.shape == (None, 5, 5, 16)


@pytest.mark.parametrize(
    ("functions", "union"),
    [(TASKS, train_config.TaskConfig), (DATASETS, data_config.DatasetConfig), (OPS, data_config.OpConfig)],
    ids=["tasks", "data sets", "operations"],
)
def test_every_name_of_the_configuration_has_its_function(functions, union):
    assert set(functions) == {cls.model_fields["name"].annotation.__args__[0] for cls in typed_yaml.members(union)}


# -------------------------------------------------------------------------------------------------- classification


def test_loss_and_label_smoothing_by_hand():
    """Logits (0, ln 3): probabilities 1/4 and 3/4. Smoothing 0.2 of two classes: targets 0.1 and 0.9."""
    spec = SPEC.model_copy(update={"num_classes": 2, "class_names": ["a", "b"]})
    logits, targets = tf.constant([[0.0, np.log(3.0)]]), tf.constant([1], tf.int64)
    plain = build_task(Classification(name="classification"), spec).loss
    smooth = build_task(Classification(name="classification", label_smoothing=0.2), spec).loss
    np.testing.assert_allclose(plain(targets, logits), [-np.log(0.75)], rtol=1e-6)
    np.testing.assert_allclose(plain(tf.constant([[0.5, 0.5]]), logits), [-0.5 * np.log(0.25) - 0.5 * np.log(0.75)], rtol=1e-6)
    np.testing.assert_allclose(smooth(targets, logits), [-0.1 * np.log(0.25) - 0.9 * np.log(0.75)], rtol=1e-6)


def test_metrics_by_hand():
    """Six classes; the target is first, third and last of its row; the last item has weight 0."""
    spec = SPEC.model_copy(update={"num_classes": 6, "class_names": list("abcdef")})
    metrics = build_task(Classification(name="classification"), spec).metrics()
    logits = tf.constant([[9.0, 1, 2, 3, 4, 5], [9, 8, 7, 1, 2, 3], [0, 1, 2, 3, 4, 5], [9, 0, 0, 0, 0, 0]])
    targets, weights = tf.constant([0, 2, 0, 0], tf.int64), tf.constant([1.0, 1.0, 1.0, 0.0])
    for metric in metrics.values():
        metric.update_state(targets, logits, weights)
    assert {name: round(float(metric.result()), 6) for name, metric in metrics.items()} == {
        "accuracy": 0.333333,
        "top_5_accuracy": 0.666667,
    }
    one_hot = build_task(Classification(name="classification"), spec).metrics()["accuracy"]
    one_hot.update_state(tf.one_hot(targets, 6), logits, weights)
    assert round(float(one_hot.result()), 6) == 0.333333


def test_two_variables_of_one_path_are_refused():
    twins = [keras.Variable(0.0, name="w"), keras.Variable(1.0, name="w")]
    with pytest.raises(Exception, match="two variables have this path"):
        named_variables(model=twins)
