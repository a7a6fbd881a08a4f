"""The door to networks and tasks: both are found by their names; `Task` is what a trainer needs.

Network: `models/<name>.py` with `build(config, spec) -> keras.Model`; one that begins with values
from files also has `initialize(model, config, spec)`. Task: `tasks/<name>.py` with one class below
`Task`, whose name is that of the file in CamelCase. Losses and metrics for labels are found in
`tasks/losses.py` and `tasks/metrics.py`. Options of all of them are classes of `model_config.py`.
"""

import importlib
import math
from collections.abc import Callable

import keras
import tensorflow as tf

from cli.program import ConfigError, look_up
from engine.session import begin_session, seeded
from engine.variables import layers_of
from train_config import Spec

_POLICIES = {"bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}  # variables stay float32


def build_model(config, spec: Spec, seed=0, precision="float32", strategy=None) -> keras.Model:
    """The network of `models/<config.name>.py` for such data, with the random weights of a seed.

    Keras numbers unnamed layers and random generators through the life of a process, and
    checkpoints go by name: its session begins anew, so that a second run has the same names.
    """
    name = config.name
    expected = f"a function `build` for the network {name!r} of model_config.py"
    build = look_up(f"models.{name}", expected, "build")
    begin_session()
    strategy = strategy or tf.distribute.get_strategy()
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(_POLICIES.get(precision, precision))
        with seeded(seed), strategy.scope():
            model = build(config, spec)
    finally:
        keras.config.set_dtype_policy(policy)
    synchronize(model, strategy)
    dtype = model.inputs[0].dtype
    if dtype != spec.input_dtype:
        cure = "; add the operation `scale`" if spec.input_dtype == "uint8" else ""
        raise ConfigError(
            f"data.ops: expected {dtype} inputs for {name}, got {spec.input_dtype}{cure}"
        )
    return model


def synchronize(model: keras.Model, strategy: tf.distribute.Strategy) -> None:
    """Lets batch normalizations take the statistics of all towers; else only one's are saved."""
    for layer in layers_of(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = strategy.num_replicas_in_sync > 1


def initialize(model: keras.Model, config, spec: Spec) -> None:
    """Reads the files with whose values a network begins: once a run, never for evaluation."""
    network = importlib.import_module(f"models.{config.name}")
    if hasattr(network, "initialize"):
        network.initialize(model, config, spec)


# ---- tasks


class Task:
    """How outputs are scored and turned into predictions. Names no network and no data set.

    A task has three more methods:
    loss(targets, outputs): the unreduced loss, of the shape of `sample_weight`.
    metrics(training): fresh Keras metrics by name, updated with (targets, outputs, sample_weight).
    predict(model, inputs): {name: [B, ...]} for people and files.
    """

    inputs: tuple[str, ...] = ()  # names of the network's inputs; (): one tensor
    outputs: tuple[list[int | None], ...] = ()  # shapes it may give for an example; (): any

    def __init__(self, config, spec: Spec):
        """Raises ConfigError for data that the task cannot score."""
        self.config = config
        self.spec = spec

    def call(self, model: keras.Model, batch: dict, training: bool):
        """The network's outputs, and whatever else of the batch the loss and the metrics need."""
        return model(batch["inputs"], training=training)

    def check_fits(self, model: keras.Model) -> None:
        """Raises ConfigError for other inputs or outputs; axes of size 1 do not count."""
        inputs = tuple(sorted(model.input)) if isinstance(model.input, dict) else ()
        if inputs != self.inputs:
            raise _other_inputs(model, self.inputs, inputs)
        if not self.outputs:
            return
        shape = list(model.output_shape[1:])
        squeezed = _squeezed(shape)
        if not any(squeezed.is_compatible_with(_squeezed(output)) for output in self.outputs):
            expected = " or ".join(map(str, self.outputs))
            raise ConfigError(
                f"task: expected a network with outputs of shape {expected}; "
                f"{model.name} gives {shape}"
            )


def _other_inputs(model: keras.Model, *names: tuple[str, ...]) -> ConfigError:
    expected, got = (" and ".join(inputs) or "one tensor" for inputs in names)
    return ConfigError(f"task: expected a network that takes {expected}; {model.name} takes {got}")


def _squeezed(shape) -> tf.TensorShape:
    return tf.TensorShape([size for size in shape if size != 1])


def build_task(config, spec: Spec) -> Task:
    """The class of `tasks/<config.name>.py`, made for such data."""
    cls = _camel_case(config.name)
    expected = f"a class `{cls}` for the task {config.name!r} of model_config.py"
    task = look_up(f"tasks.{config.name}", expected, cls)
    return task(config, spec)


def cast_floats(tensors, dtype):
    """A structure of tensors with those of floating type cast."""

    def cast(tensor):
        return tf.cast(tensor, dtype) if tensor.dtype.is_floating else tensor

    return tf.nest.map_structure(cast, tensors)


# ---- losses and metrics


class Ratio(keras.metrics.Metric):
    """then(sum of numerators / sum of denominators) of `terms(targets, outputs, sample_weight)`.

    NaN where the denominators are 0: of nothing there is no mean.
    """

    def __init__(self, terms: Callable, then: Callable = lambda ratio: ratio):
        super().__init__()
        self._terms = terms
        self._then = then
        self.numerator = self.add_variable((), "zeros", name="numerator")
        self.denominator = self.add_variable((), "zeros", name="denominator")

    def update_state(self, targets, outputs, sample_weight):
        numerators, denominators = self._terms(targets, outputs, sample_weight)
        self.numerator.assign_add(tf.reduce_sum(numerators))
        self.denominator.assign_add(tf.reduce_sum(denominators))

    def result(self):
        is_empty = tf.equal(self.denominator, 0)
        ratio = tf.math.divide_no_nan(self.numerator + 0.0, self.denominator + 0.0)
        return self._then(tf.where(is_empty, math.nan, ratio))


def mean_of(values: Callable, then: Callable = lambda mean: mean) -> Ratio:
    """then(weighted mean of values(targets, outputs)), which have the shape of `sample_weight`."""

    def terms(targets, outputs, weight):
        return values(targets, outputs) * weight, weight

    return Ratio(terms, then)


def label_loss(config, spec: Spec) -> Callable:
    """The function of `tasks/losses.py` that a task names; ConfigError for targets of no class."""
    if not spec.num_classes:
        raise ConfigError(
            f"task: {config.name}: expected targets that are classes, "
            f"got {spec.target_dtype} of shape {spec.target_shape}"
        )
    name = config.loss.name
    expected = f"a function `{name}` for the loss {name!r} of model_config.py"
    return look_up("tasks.losses", expected, name)


def label_metrics(config, spec: Spec, training: bool) -> dict[str, keras.metrics.Metric]:
    """The metrics of `tasks/metrics.py` that a task names, fresh and by name."""
    num_classes = spec.num_classes
    metrics = {}
    for options in config.metrics:
        if num_classes <= options.more_classes_than or (training and not options.in_training):
            continue
        name = options.name
        cls = _camel_case(name)
        expected = (
            f"a function `{name}` or a class `{cls}` for the metric {name!r} of model_config.py"
        )
        metric = look_up("tasks.metrics", expected, name, cls)
        metrics[name] = metric(num_classes) if isinstance(metric, type) else mean_of(metric)
    return metrics


# ---- by name


def _camel_case(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
