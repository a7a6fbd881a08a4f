"""A sequence of tokens from another one: ids [B, T], an end token last, 0 pads.

The network takes the true tokens before each. Evaluation also lets it write by itself:
`sequence_error_rate` is the share of sequences that are not exactly right, `token_error_rate` the
edit distance over the number of true tokens.
"""

import tensorflow as tf

from cli.program import ConfigError
from data_config import END, PADDING, START
from model import Ratio, Task, mean_of
from tasks import losses, metrics


class Seq2seq(Task):
    inputs = ("previous", "source")

    def __init__(self, config, spec):
        super().__init__(config, spec)
        if spec.target_tokens[START : END + 1] != ["<start>", "<end>"]:
            raise ConfigError(
                "task: seq2seq: expected targets with ends; "
                "add the operation {name: tokenize, of: targets, ends: true}"
            )

    def call(self, model, batch, training):
        source = batch["inputs"]
        targets = batch["targets"]
        start = tf.fill([tf.shape(targets)[0], 1], START)
        previous = tf.concat([start, targets[:, :-1]], axis=1)  # (B, T): teacher forcing
        inputs = {"source": source, "previous": previous}
        outputs = model(inputs, training=training)
        if training:
            return outputs
        written = model.write(source, self.config.beam)
        edits = metrics.edit_distance(without_end(written), without_end(targets))
        return outputs | {"edits": edits}  # (B,)

    def loss(self, targets, outputs):
        return losses.cross_entropy(targets, outputs["logits"], self.config.label_smoothing)

    def metrics(self, training):
        metrics = {"token_accuracy": mean_of(self.token_accuracy)}
        if not training:
            metrics["sequence_error_rate"] = Ratio(self.sequence_errors)
            metrics["token_error_rate"] = Ratio(self.token_errors)
        return metrics

    def token_accuracy(self, targets, outputs):
        return metrics.accuracy(targets, outputs["logits"])

    def sequence_errors(self, targets, outputs, weight):
        sequence_weight = tf.reduce_max(weight, axis=1)
        wrong = tf.cast(outputs["edits"] > 0, tf.float32)
        return sequence_weight * wrong, sequence_weight

    def token_errors(self, targets, outputs, weight):
        sequence_weight = tf.reduce_max(weight, axis=1)
        tokens = tf.cast(without_end(targets) != PADDING, tf.float32)
        lengths = tf.reduce_sum(tokens, axis=1)
        return sequence_weight * outputs["edits"], sequence_weight * lengths

    def predict(self, model, inputs):
        return {"tokens": model.write(inputs, self.config.beam)}


def without_end(ids):
    return tf.where(ids == END, PADDING, ids)
