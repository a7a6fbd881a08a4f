"""Candidates [B, T, C, 1 + negatives] near each token [B, T], the true one first.

Mikolov et al., Distributed representations of words and phrases, 2013, section 2.2. `accuracy`: the
true one has the highest score; chance is 1 / (1 + negatives). `neighbors`: share of the nearest
neighbors of a token, by cosine, that belong to its group of `task.groups`.
"""

import tensorflow as tf

from cli import typed_yaml
from cli.program import ConfigError
from model import Ratio, Task, mean_of
from tasks import metrics


class SkipGram(Task):
    inputs = ("candidates", "tokens")

    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.groups = group_numbers(config.groups, spec.tokens)
        members = sum(group >= 0 for group in self.groups)
        if config.groups and config.nearest >= members:
            expected = f"fewer than the {members} tokens in groups"
            raise ConfigError(f"task.nearest: expected {expected}, got {config.nearest}")

    def call(self, model, batch, training):
        inputs = {"tokens": batch["inputs"], "candidates": batch["targets"]}
        scores = model(inputs, training=training)
        return {"scores": scores, "vectors": tf.convert_to_tensor(model.vectors())}

    def loss(self, targets, outputs):
        scores = outputs["scores"]
        first = tf.zeros(tf.shape(scores)[:-1], tf.int32)
        truth = tf.one_hot(first, scores.shape[-1], dtype=scores.dtype)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(truth, scores)
        return tf.reduce_sum(losses, axis=-1)

    def metrics(self, training):
        metrics = {"accuracy": mean_of(self.accuracy)}
        if self.config.groups and not training:
            metrics["neighbors"] = Ratio(self.neighbors)
        return metrics

    def accuracy(self, targets, outputs):
        best = tf.argmax(outputs["scores"], axis=-1)
        return tf.cast(best == 0, tf.float32)

    def neighbors(self, targets, outputs, weight):
        share = metrics.neighbors_in_group(outputs["vectors"], self.groups, self.config.nearest)
        return share, 1.0

    def predict(self, model, inputs):
        return {"vectors": tf.gather(model.vectors(), inputs)}


def group_numbers(groups, tokens: list[str]) -> list[int]:
    """The number of each token's group, -1 for tokens in none."""
    numbers = [-1] * len(tokens)
    for number, (group, members) in enumerate(groups.items()):
        for token in members:
            if token not in tokens:
                raise ConfigError(f"task.groups.{group}: {typed_yaml.unknown_name(token, tokens)}")
            numbers[tokens.index(token)] = number
    return numbers
