"""What tests of networks share.

Specs and batches to try them on, sizes, and what a block must do.
"""

import importlib
import importlib.util
import math
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from cli.program import ConfigError
from cli.typed_yaml import name_of, named_classes
from engine.checkpoint import restore
from engine.optimizer import build_optimizer, build_schedule
from engine.variables import read_variables, write_variables
from eval import Evaluator
from model import build_model, build_task
from model_config import Network, TaskConfig
from train_config import Adam, Clock, Spec, Train
from trainer import Trainer

IMAGENET, CIFAR, DIGITS = ([224, 224, 3], 1000), ([32, 32, 3], 10), ([28, 28, 1], 10)
TOKENS = "<pad>\n<unknown>\n<start>\n<end>\n" + "\n".join("abcdefgh")
IDS = np.int32([[4 + (7 * row + 3 * place) % 8 for place in range(6)] for row in range(32)])
IMAGES = {
    "inputs": np.random.default_rng(0).random((32, 28, 28, 1), np.float32),
    "targets": np.arange(32) % 10,
    "sample_weight": np.ones(32, np.float32),
}


def spec_of(shape, num_classes=10, dtype="float32", **fields):
    names = [str(number) for number in range(num_classes)]
    targets = {"target_shape": [], "target_dtype": "int64"} | fields
    return Spec(
        input_shape=shape,
        input_dtype=dtype,
        num_classes=num_classes,
        class_names=names,
        **targets,
    )


TEXT = spec_of(
    [None],
    0,
    "int32",
    target_shape=[None],
    target_dtype="int32",
    vocabulary=TOKENS,
    target_vocabulary=TOKENS,
)


def load_example(room: str, name: str):
    """The module tests/<room>/test_<name>.py, or None."""
    file = Path(__file__).parent / room / f"test_{name}.py"
    if not file.exists():
        return None
    spec = importlib.util.spec_from_file_location(f"example_{room}_{name}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def section(base, name: str, **options):
    """The section of the class below `base` that has this name.

    Skips the test where there is none.
    """
    classes = {name_of(cls): cls for cls in named_classes(base)}
    if name not in classes:
        pytest.skip(f"{name} is not here")
    return classes[name](name=name, **options)


def network(name: str, **options):
    return section(Network, name, **options)


def task(name: str, spec: Spec, **options):
    return build_task(section(TaskConfig, name, **options), spec)


# ---- sizes


def shapes_only(config, shape, num_classes):
    """The network without numbers in its variables.

    What has 138 million of them is built at once.
    """
    keras.utils.clear_session()
    with keras.StatelessScope(initialize_variables=False):
        module = importlib.import_module(f"models.{config.name}")
        return module.build(config, spec_of(shape, num_classes))


def check_count(config, data, expected, source):
    """`expected`: trainable weights.

    A float: published in millions with two digits after the point.
    """
    model = shapes_only(config, *data)
    count = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    if isinstance(expected, float):
        count = round(count / 1e4) * 1e4
    assert count == expected, source


def check_grids(config, shapes):
    """Outputs of layers at 224 pixels."""
    model = shapes_only(config, *IMAGENET)
    assert {name: model.get_layer(name).output.shape[1:] for name in shapes} == shapes


def check_refuses_other_shapes(config):
    """Images that the network cannot take are refused in one line."""
    expected = r"expected images of one size, at least \d+x\d+ pixels, and a channel axis"
    for shape in [15, 16, 3], [28, 28], [28, 28, 1, 1], [None, None, 3], [28, 28, None], []:
        with pytest.raises(ConfigError, match=rf"^{config.name}.*: {expected}, got .*$"):
            build_model(config, spec_of(shape))


def check_block(block, arguments, shape, within):
    """Of images of 9x8 pixels and 8 channels.

    Shape, any batch size, named outputs within, a gradient everywhere.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    inputs = keras.Input((9, 8, 8))
    model = keras.Model(inputs, block(inputs, **arguments))
    assert model.output_shape == (None, *shape)
    outputs = {name: model.get_layer(name).output.shape for name in within}
    assert outputs == {name: (None, *at) for name, at in within.items()}
    x = np.random.default_rng(0).normal(size=(5, 9, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(model(x)[:2], model(x[:2]), atol=1e-5)
    with tf.GradientTape() as tape:
        # of the cube: batch normalization keeps sums and squares as they are
        loss = tf.reduce_sum(model(x, training=True) ** 3)
    named = zip(
        model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
    )
    assert [v.path for v, g in named if g is None or not np.any(g)] == []


# ---- training


def build_step(model, task, settings, steps: int = 1, batch_size: int = 32, precision="float32"):
    """The training step, with all gradients clipped to a norm of 1."""
    schedule = build_schedule(settings, Clock(batch_size, batch_size), steps)
    optimizer = build_optimizer(settings, schedule, model)
    train = Train(steps=steps, precision=precision)
    return Trainer(model, task, optimizer, schedule, train, clip_norm=1.0)


def evaluator(model, task):
    """evaluate(batches) -> {metric: value} of the next batch."""
    evaluate = Evaluator(model, task)
    return lambda batches: evaluate.score_batches(iter(batches), 1)


def check_trains(config, precision, spec, task, batch):
    """Two steps in a precision move what stays in its type, and give finite scores."""
    model = build_model(config, spec, precision=precision)
    step = build_step(model, task, Adam(name="adam", learning_rate=1e-4), 2, precision=precision)
    batches = tf.data.Dataset.from_tensors(batch | {"id": tf.range(32, dtype=tf.int64)}).repeat()
    assert step.run(iter(batches), tf.constant(2))
    kept = {"bfloat16": "float32"}.get(precision, precision)
    assert {variable.dtype for variable in model.trainable_variables} == {kept}
    assert model.compute_dtype == precision
    scores = evaluator(model, task)(batches)
    assert all(np.isfinite(value).all() for value in scores.values())


def write_and_zero(path, variables):
    """Saves variables by their names and zeroes them."""
    write_variables(path, variables)
    for variable in variables.values():
        variable.assign(tf.zeros_like(variable))


def restore_all(path, variables, *groups):
    restore(path, variables, read_variables, groups=groups)


def example_of(config):
    """(spec, task, batch) on which a network is tried.

    EXAMPLE of its test file, or images of classes.
    """
    default = {"spec": spec_of([28, 28, 1]), "task": {"name": "classification"}, "batch": IMAGES}
    example = getattr(load_example("models", config.name), "EXAMPLE", default)
    batch = {key: tf.constant(value) for key, value in example["batch"].items()}
    return example["spec"], task(spec=example["spec"], **example["task"]), batch
