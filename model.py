"""The network that the configuration names, and the task that scores its outputs."""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import keras
import tensorflow as tf

import model_config
from cli import typed_yaml
from cli.program import ConfigError
from data_config import END, PADDING, START
from engine.variables import layers_of
from tasks import metrics
from tasks.metrics import Ratio, labels_of, mean_of
from train_config import Spec

_POLICIES = {
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}  # computed in 16 bits, kept in 32


def build_model(
    config, spec: Spec, seed: int = 0, precision: str = "float32", strategy=None
) -> keras.Model:
    """The network of `models/<config.name>.py` for data of this spec; its weights and names are the same at every call.

    Keras numbers unnamed layers and random generators through the life of a process, and checkpoints go by name: its
    session is cleared first, so that a second run in one process finds the names of the first. With several towers every
    batch normalization takes the statistics of all of them: else each would go its own way and one of them be saved.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    strategy, policy = strategy or tf.distribute.get_strategy(), keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(_POLICIES.get(precision, precision))
        with strategy.scope():
            model = _module(config).build(config, spec)
    finally:
        keras.config.set_dtype_policy(policy)
    synchronize(model, strategy)
    if model.inputs[0].dtype != spec.input_dtype:
        cure = "; add the operation `scale`" if spec.input_dtype == "uint8" else ""
        raise ConfigError(
            f"data.ops: expected {model.inputs[0].dtype} inputs for {config.name}, got {spec.input_dtype}{cure}"
        )
    return model


def synchronize(model: keras.Model, strategy: tf.distribute.Strategy) -> None:
    """Lets every batch normalization take its statistics from all towers."""
    for layer in layers_of(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = strategy.num_replicas_in_sync > 1


def initialize(model: keras.Model, config, spec: Spec) -> None:
    """Lets a network that begins with values from files read them: once, when a run begins, and never for evaluation."""
    if hasattr(_module(config), "initialize"):
        _module(config).initialize(model, config, spec)


def _module(config):
    return importlib.import_module(f"models.{config.name}")


# ------------------------------------------------------------------------------------------------------------ tasks


def _of_inputs(model: keras.Model, batch: dict, training: bool):
    return model(batch["inputs"], training=training)


def cast_floats(tensors, dtype):
    """A structure of tensors with those of floating type cast."""
    return tf.nest.map_structure(
        lambda tensor: tf.cast(tensor, dtype) if tensor.dtype.is_floating else tensor, tensors
    )


@dataclass(frozen=True)
class Task:
    """How outputs are scored and turned into predictions. Names no network and no data set.

    loss(targets, outputs): the unreduced loss, of the shape of `sample_weight`.
    metrics(training): fresh Keras metrics by name, each updated with (targets, outputs, sample_weight).
    predict(model, inputs): {name: [B, ...]} for people and files.
    call(model, batch, training): the outputs, and whatever else of the batch the loss and the metrics need.
    inputs: names of the network's inputs; (): one tensor. outputs: shapes that it may give for an example; (): any.
    """

    loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    metrics: Callable[[bool], dict[str, keras.metrics.Metric]]
    predict: Callable[[keras.Model, tf.Tensor], dict[str, tf.Tensor]]
    call: Callable[[keras.Model, dict, bool], tf.Tensor] = _of_inputs
    inputs: tuple[str, ...] = ()
    outputs: tuple[list[int | None], ...] = ()

    def check_fits(self, model: keras.Model) -> None:
        """Raises ConfigError for a network that takes or gives something else; axes of size 1 do not count."""
        names = tuple(sorted(model.input)) if isinstance(model.input, dict) else ()
        if names != self.inputs:
            expected, got = (" and ".join(each) or "one tensor" for each in (self.inputs, names))
            raise ConfigError(
                f"task: expected a network that takes {expected}; {model.name} takes {got}"
            )
        if self.outputs and not any(
            _alike(shape, model.output_shape[1:]) for shape in self.outputs
        ):
            expected, got = " or ".join(map(str, self.outputs)), list(model.output_shape[1:])
            raise ConfigError(
                f"task: expected a network with outputs of shape {expected}; {model.name} gives {got}"
            )


def _alike(shape, other) -> bool:
    a, b = (tf.TensorShape([size for size in each if size != 1]) for each in (shape, other))
    return a.is_compatible_with(b)


# To add a loss or a metric for labels: one function, its line here, its name in train_config.py.


def cross_entropy(probabilities, logits):
    """Of target probabilities [N, num_classes] and logits: [N]."""
    return tf.nn.softmax_cross_entropy_with_logits(probabilities, logits)


def focal(probabilities, logits):
    """Cross entropy times (1 - p)^2, so that easy items weigh little. Lin et al., Focal loss, 2017, section 3.2."""
    logs = tf.nn.log_softmax(logits)
    return -tf.reduce_sum(probabilities * tf.square(1.0 - tf.exp(logs)) * logs, axis=-1)


LOSSES = {"cross_entropy": cross_entropy, "focal": focal}

METRICS = {  # name -> a fresh metric for so many classes
    "accuracy": lambda num_classes: mean_of(metrics.accuracy, "accuracy"),
    "top_5_accuracy": lambda num_classes: mean_of(metrics.top_5_accuracy, "top_5_accuracy"),
    "auc": metrics.Auc,
    "f1": metrics.F1,
    "confusion_matrix": metrics.ConfusionMatrix,
}


def _label_metrics(config, spec: Spec, training: bool) -> dict[str, keras.metrics.Metric]:
    left_out = {"top_5_accuracy"} if spec.num_classes <= 5 else set()
    left_out |= {"confusion_matrix"} if training else set()
    return {
        metric.name: METRICS[metric.name](spec.num_classes)
        for metric in config.metrics
        if metric.name not in left_out
    }


def _label_loss(loss: str, smoothing: float, targets, logits):
    """[...] of targets [...] (indices) or [..., num_classes] (probabilities) and logits [..., num_classes]."""
    if targets.dtype.is_integer and loss == "cross_entropy" and not smoothing:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    num_classes = logits.shape[-1]
    probabilities = (
        tf.one_hot(targets, num_classes, dtype=logits.dtype)
        if targets.dtype.is_integer
        else targets
    )
    return LOSSES[loss]((1 - smoothing) * probabilities + smoothing / num_classes, logits)


def _expect_classes(config, spec: Spec) -> None:
    if not spec.num_classes:
        raise ConfigError(
            f"task: {config.name}: expected targets that are classes, got {spec.target_dtype} of shape {spec.target_shape}"
        )


def classification(config: model_config.ClassificationTask, spec: Spec) -> Task:
    """One label per example: logits [B, num_classes] against indices [B] or probabilities [B, num_classes]."""
    _expect_classes(config, spec)

    def predict(model, inputs):
        probabilities = tf.nn.softmax(model(inputs, training=False))
        return {
            "label": tf.argmax(probabilities, axis=-1),
            "probability": tf.reduce_max(probabilities, axis=-1),
        }

    loss = partial(_label_loss, config.loss.name, config.label_smoothing)
    return Task(loss, partial(_label_metrics, config, spec), predict, outputs=([spec.num_classes],))


class _Items(keras.metrics.Metric):
    """A metric of items in one row, updated with sequences: [B, T] -> [B * T]."""

    def __init__(self, metric: keras.metrics.Metric):
        super().__init__(name=metric.name)
        self.metric = metric

    def update_state(self, targets, logits, sample_weight):
        items = tf.reshape(logits, [-1, logits.shape[-1]])
        self.metric.update_state(tf.reshape(targets, [-1]), items, tf.reshape(sample_weight, [-1]))

    def result(self):
        return self.metric.result()


def tagging(config: model_config.TaggingTask, spec: Spec) -> Task:
    """One label per item: logits [B, T, num_classes] against indices [B, T]; `sequence_accuracy`: all items of a sequence right."""
    _expect_classes(config, spec)

    def sequences(targets, logits, weight):
        right = tf.cast(tf.argmax(logits, axis=-1) == labels_of(targets), tf.float32)
        return metrics.whole(right, weight)

    def task_metrics(training: bool):
        found = {
            name: _Items(metric) for name, metric in _label_metrics(config, spec, training).items()
        }
        return found | {"sequence_accuracy": Ratio(sequences, "sequence_accuracy")}

    def predict(model, inputs):
        return {"labels": tf.argmax(model(inputs, training=False), axis=-1)}

    loss = partial(_label_loss, config.loss.name, config.label_smoothing)
    return Task(loss, task_metrics, predict, outputs=([*spec.target_shape, spec.num_classes],))


def multi_label(config: model_config.MultiLabelTask, spec: Spec) -> Task:
    """Any number of labels per example: logits [B, L] against targets [B, L] of 0 and 1; loss and accuracy are means over labels."""
    if len(spec.target_shape) != 1 or spec.num_classes:
        got = f"{spec.target_dtype} of shape {spec.target_shape}"
        raise ConfigError(
            f"task: multi_label: expected a row of 0 and 1 as the targets of each example, got {got}"
        )
    logit = math.log(config.threshold / (1 - config.threshold))

    def loss(targets, logits):
        return tf.reduce_mean(
            tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(targets, logits.dtype), logits), axis=-1
        )

    def accuracy(targets, logits):
        return tf.reduce_mean(tf.cast((logits > logit) == (targets > 0), tf.float32), axis=-1)

    def f1(targets, logits, weight):
        """2 tp / (2 tp + fp + fn), over all labels of all examples (micro)."""
        wanted, given = tf.cast(targets > 0, tf.float32), tf.cast(logits > logit, tf.float32)
        hits = 2.0 * tf.reduce_sum(wanted * given, axis=-1)
        return weight * hits, weight * tf.reduce_sum(wanted + given, axis=-1)

    def predict(model, inputs):
        probabilities = tf.sigmoid(model(inputs, training=False))
        return {
            "labels": tf.cast(probabilities > config.threshold, tf.int32),
            "probabilities": probabilities,
        }

    def task_metrics(training: bool):
        return {"accuracy": mean_of(accuracy, "accuracy"), "f1": Ratio(f1, "f1")}

    return Task(loss, task_metrics, predict, outputs=(spec.target_shape,))


def seq2seq(config: model_config.Seq2seqTask, spec: Spec) -> Task:
    """Token ids [B, T], an end token last, from a network that takes the true tokens before each (teacher forcing).

    Evaluation also lets the network write by itself: `sequence_error_rate` is the share of sequences that are not exactly
    right, `token_error_rate` the edit distance over the number of true tokens.
    """
    if spec.target_tokens[START : END + 1] != ["<start>", "<end>"]:
        raise ConfigError(
            "task: seq2seq: expected targets with ends; add the operation {name: tokenize, of: targets, ends: true}"
        )

    def call(model, batch, training):
        targets = batch["targets"]
        previous = tf.concat([tf.fill([tf.shape(targets)[0], 1], START), targets[:, :-1]], axis=1)
        outputs = model({"source": batch["inputs"], "previous": previous}, training=training)
        return (
            outputs
            if training
            else outputs | {"written": model.write(batch["inputs"], config.beam)}
        )

    def loss(targets, outputs):
        return _label_loss("cross_entropy", config.label_smoothing, targets, outputs["logits"])

    def token_accuracy(targets, outputs):
        return tf.cast(
            tf.argmax(outputs["logits"], axis=-1, output_type=tf.int32) == targets, tf.float32
        )

    def without_end(ids):
        return tf.where(ids == END, PADDING, ids)

    def sequence_errors(targets, outputs, weight):
        counts = tf.reduce_max(weight, axis=1)
        return counts * tf.cast(edits(targets, outputs) > 0, tf.float32), counts

    def token_errors(targets, outputs, weight):
        counts = tf.reduce_max(weight, axis=1)
        lengths = tf.reduce_sum(tf.cast(without_end(targets) != PADDING, tf.float32), axis=1)
        return counts * edits(targets, outputs), counts * lengths

    def edits(targets, outputs):
        return metrics.edit_distance(without_end(outputs["written"]), without_end(targets))

    def task_metrics(training: bool):
        found = {"token_accuracy": mean_of(token_accuracy, "token_accuracy")}
        if not training:
            found["sequence_error_rate"] = Ratio(sequence_errors, "sequence_error_rate")
            found["token_error_rate"] = Ratio(token_errors, "token_error_rate")
        return found

    def predict(model, inputs):
        return {"tokens": model.write(inputs, config.beam)}

    return Task(loss, task_metrics, predict, call, inputs=("previous", "source"))


def _units_of(spec: Spec) -> Callable[[tf.Tensor], tf.Tensor]:
    """Takes scaled targets, and outputs like them, back to the units of the data."""

    def unscaled(values):
        for step in spec.target_units:
            values = values * tf.constant(step.scale) + tf.constant(step.offset)
            values = values if step.log_plus is None else tf.exp(values) - step.log_plus
        return values

    return unscaled


def regression(config: model_config.RegressionTask, spec: Spec) -> Task:
    """Numbers [B, ...]: the loss is the mean over an example's own; metrics are in the units of the data.

    `skill`: 1 - mean squared error / that of persistence, which says that nothing changes; above 0 is better than that.
    """
    if spec.target_dtype.startswith("int") or None in spec.target_shape:
        raise ConfigError(
            f"task: regression: expected numbers as targets, got {spec.target_dtype} of shape {spec.target_shape}"
        )
    size, unscaled = math.prod(spec.target_shape), _units_of(spec)
    if config.persistence is not None and (
        len(spec.input_shape) != 2 or config.persistence >= spec.input_shape[1]
    ):
        expected = f"expected series [steps, columns] with a column {config.persistence}"
        raise ConfigError(f"task.persistence: {expected}, got inputs of shape {spec.input_shape}")
    losses = {"mse": tf.square, "mae": tf.abs, "huber": _huber(config.delta)}

    def flat(values):
        return tf.reshape(values, [-1, size])

    def call(model, batch, training):
        outputs = {"values": model(batch["inputs"], training=training)}
        if config.persistence is not None:
            outputs["persistence"] = tf.repeat(
                batch["inputs"][:, -1:, config.persistence], size, axis=1
            )
        return outputs

    def loss(targets, outputs):
        return tf.reduce_mean(losses[config.loss](flat(outputs["values"]) - flat(targets)), axis=1)

    def error_of(name: str, score: Callable):
        def values(targets, outputs):
            shape = tf.shape(targets)
            difference = unscaled(tf.reshape(outputs[name], shape)) - unscaled(targets)
            return tf.reduce_mean(flat(score(difference)), axis=1)

        return values

    def skill(targets, outputs, weight):
        return weight * error_of("values", tf.square)(targets, outputs), weight * error_of(
            "persistence", tf.square
        )(targets, outputs)

    def task_metrics(training: bool):
        found = {
            "rmse": mean_of(error_of("values", tf.square), "rmse", tf.sqrt),
            "mae": mean_of(error_of("values", tf.abs), "mae"),
        }
        return (
            found
            if config.persistence is None
            else found | {"skill": Ratio(skill, "skill", lambda ratio: 1.0 - ratio)}
        )

    def predict(model, inputs):
        return {
            "values": unscaled(tf.reshape(model(inputs, training=False), [-1, *spec.target_shape]))
        }

    return Task(loss, task_metrics, predict, call, outputs=([size], spec.target_shape))


def _huber(delta: float) -> Callable:
    """error^2 / 2 up to delta, delta * (|error| - delta / 2) beyond. Huber, Robust estimation of a location parameter, 1964."""

    def huber(error):
        size = tf.abs(error)
        return tf.where(size <= delta, 0.5 * tf.square(error), delta * (size - 0.5 * delta))

    return huber


def reconstruction(config: model_config.ReconstructionTask, spec: Spec) -> Task:
    """Outputs of the targets' shape. `psnr` in dB, and `psnr_gain` over the inputs where these have that shape too."""
    losses = {"mse": tf.square, "mae": tf.abs}
    comparable = spec.input_shape == spec.target_shape

    def call(model, batch, training):
        return {"images": model(batch["inputs"], training=training), "inputs": batch["inputs"]}

    def loss(targets, outputs):
        errors = losses[config.loss](outputs["images"] - targets)
        return tf.reduce_mean(errors, axis=tf.range(1, tf.rank(errors)))

    def psnr(targets, outputs):
        return metrics.psnr(outputs["images"], targets, config.peak)

    def gain(targets, outputs):
        return psnr(targets, outputs) - metrics.psnr(outputs["inputs"], targets, config.peak)

    def task_metrics(training: bool):
        found = {"psnr": mean_of(psnr, "psnr")}
        return found | {"psnr_gain": mean_of(gain, "psnr_gain")} if comparable else found

    def predict(model, inputs):
        return {"images": model(inputs, training=False)}

    return Task(loss, task_metrics, predict, call, outputs=(spec.target_shape,))


def skip_gram(config: model_config.SkipGramTask, spec: Spec) -> Task:
    """Candidates [B, T, C, 1 + negatives] near each token [B, T], the true one first. Mikolov et al., Distributed
    representations of words and phrases, 2013, section 2.2.

    `accuracy`: the true one has the highest score; chance is 1 / (1 + negatives). `neighbors`: share of the nearest
    neighbors of a token, by cosine, that belong to its group of `task.groups`.
    """
    tokens, groups = spec.tokens, [-1] * len(spec.tokens)
    for number, (group, members) in enumerate(config.groups.items()):
        for token in members:
            if token not in tokens:
                raise ConfigError(f"task.groups.{group}: {typed_yaml.unknown_name(token, tokens)}")
            groups[tokens.index(token)] = number
    members = sum(group >= 0 for group in groups)
    if config.groups and config.nearest >= members:
        raise ConfigError(
            f"task.nearest: expected fewer than the {members} tokens in groups, got {config.nearest}"
        )

    def call(model, batch, training):
        scores = model(
            {"tokens": batch["inputs"], "candidates": batch["targets"]}, training=training
        )
        return {"scores": scores, "vectors": tf.convert_to_tensor(model.vectors())}

    def loss(targets, outputs):
        scores = outputs["scores"]
        wanted = tf.one_hot(
            tf.zeros(tf.shape(scores)[:-1], tf.int32), scores.shape[-1], dtype=scores.dtype
        )
        return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(wanted, scores), axis=-1)

    def accuracy(targets, outputs):
        return tf.cast(tf.argmax(outputs["scores"], axis=-1) == 0, tf.float32)

    def neighbors(targets, outputs, weight):
        return metrics.neighbors_in_group(outputs["vectors"], groups, config.nearest), 1.0

    def task_metrics(training: bool):
        found = {"accuracy": mean_of(accuracy, "accuracy")}
        return (
            found
            if training or not config.groups
            else found | {"neighbors": Ratio(neighbors, "neighbors")}
        )

    def predict(model, inputs):
        return {"vectors": tf.gather(model.vectors(), inputs)}

    return Task(loss, task_metrics, predict, call, inputs=("candidates", "tokens"))


TASKS = {
    task.__name__: task
    for task in (
        classification,
        tagging,
        multi_label,
        seq2seq,
        regression,
        reconstruction,
        skip_gram,
    )
}


def build_task(config, spec: Spec) -> Task:
    return TASKS[config.name](config, spec)
