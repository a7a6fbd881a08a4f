"""A sequence from another one: error rates of what is written, teacher forcing."""

import math

import numpy as np
import pytest
import tensorflow as tf
from networks import task
from scoring import TOKENS, about, scores

from cli.program import ConfigError

X, Y, Z, END = 4, 5, 6, 3
EXAMPLE = {
    "spec": TOKENS,
    "targets": np.int32([[X, Y, Z, END], [X, END, 0, 0], [X, Y, END, 0], [Z, END, 0, 0]]),
    "outputs": {
        "logits": np.random.default_rng(0).normal(size=(4, 4, 7)).astype(np.float32),
        "edits": np.float32([1, 0, 2, 3]),
    },
    "misfit": (7, "expected a network that takes previous and source; flat takes one tensor"),
}


class Writer:
    """A network that gives these logits and writes these tokens."""

    def __init__(self, logits, written):
        self.logits, self.written = logits, written

    def __call__(self, inputs, training):
        return {"logits": self.logits}

    def write(self, source, beam):
        return self.written


def test_error_rates_of_written_sequences_by_hand():
    """X Y Z written as X Z: one deletion; X as X: right; X Y as Y Y Y: two edits; the last sequence
    weighs nothing.

    Two of three sequences are wrong; 1 + 0 + 2 edits over 3 + 1 + 2 tokens. Ends and padding are no
    tokens.
    """
    seq2seq, targets = task("seq2seq", TOKENS), EXAMPLE["targets"]
    written = tf.constant(
        [[X, Z, END, 0, 0], [X, END, 0, 0, 0], [Y, Y, Y, END, 0], [X, X, X, X, X]]
    )
    logits = 9.0 * tf.one_hot([[X, Y, Y, END], [X, END, 0, 0], [X, Y, END, 0], [X, X, 0, 0]], 7)
    weights = np.float32(targets != 0) * np.float32([[1], [1], [1], [0]])
    batch = {"inputs": targets, "targets": tf.constant(targets)}
    outputs = seq2seq.call(Writer(logits, written), batch, training=False)
    assert scores(seq2seq, targets, outputs, weights) == about(
        token_accuracy=8 / 9, sequence_error_rate=2 / 3, token_error_rate=0.5
    )
    assert set(seq2seq.metrics(training=True)) == {"token_accuracy"}
    assert set(seq2seq.call(Writer(logits, None), batch, training=True)) == {"logits"}


def test_a_decoder_begins_with_the_start_token_and_is_told_the_truth():
    seen = {}

    def network(inputs, training):
        seen.update(inputs)
        return {"logits": tf.zeros([1, 3, 7])}

    seq2seq = task("seq2seq", TOKENS, label_smoothing=0.7)
    batch = {"inputs": tf.constant([[2]]), "targets": tf.constant([[4, 5, 3]])}
    outputs = seq2seq.call(network, batch, True)
    assert seen["previous"].numpy().tolist() == [[2, 4, 5]]
    # smoothed target: 0.1 each, and 0.3 more
    logits = tf.math.log(tf.constant([[[0.1, 0.1, 0.1, 0.1, 0.4, 0.1, 0.1]]]))
    found = seq2seq.loss(tf.constant([[4]]), {"logits": logits})
    np.testing.assert_allclose(found, [[-(0.4 * math.log(0.4) + 0.6 * math.log(0.1))]], rtol=1e-5)
    assert outputs["logits"].shape == (1, 3, 7)
    without_ends = TOKENS.model_copy(update={"target_vocabulary": "<pad>\n<unknown>\nX"})
    with pytest.raises(ConfigError, match="expected targets with ends"):
        task("seq2seq", without_ends)
