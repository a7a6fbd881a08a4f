"""Sequence to sequence: an encoder, a decoder, and attention between them.

I. Sutskever et al., Sequence to sequence learning with neural networks, 2014 (no attention);
D. Bahdanau et al., Neural machine translation by jointly learning to align and translate, 2015,
section 3; M.-T. Luong et al., Effective approaches to attention-based neural machine translation,
2015, sections 3 and 3.1.
"""

from typing import NamedTuple

import keras
import tensorflow as tf
from keras import layers

from cli.program import ConfigError
from data_config import END, PADDING, START
from model_config import Seq2seq
from train_config import Spec

_CELLS = {"gru": layers.GRU, "lstm": layers.LSTM}
_NEVER = -1e9  # the log probability of what must not be chosen


def build(config: Seq2seq, spec: Spec) -> keras.Model:
    """{source [B, S], previous [B, T]} token ids -> {logits [B, T, V], attention [B, T, S]}."""
    if not spec.vocabulary or not spec.target_vocabulary:
        raise ConfigError(
            "seq2seq: expected token ids as inputs and as targets; add `tokenize` for both"
        )
    encoder = config.encoder_outputs
    decoder = config.decoder.units
    if config.attention == "luong_dot" and encoder != decoder:
        raise ConfigError(
            f"seq2seq: attention: luong_dot expected as many of both, got {encoder} units of the "
            f"encoder and {decoder} of the decoder; or luong_general"
        )
    return Translator(config, len(spec.tokens), len(spec.target_tokens))


class Translator(keras.Model):
    """The network with teacher forcing; `write` lets it go on by itself."""

    def __init__(self, config, source_tokens, target_tokens):
        encoder = Encoder(config, source_tokens, name="encoder")
        decoder = Decoder(config, target_tokens, name="decoder")
        source = keras.Input([None], dtype="int32", name="source")
        previous = keras.Input([None], dtype="int32", name="previous")
        memory, state = encoder(source)
        logits, attention, _ = decoder(previous, memory, source, state)
        super().__init__(
            {"source": source, "previous": previous},
            {"logits": logits, "attention": attention},
            name="seq2seq",
        )
        self.encoder = encoder
        self.decoder = decoder

    def write(self, source, beam: int = 1) -> tf.Tensor:
        """The most likely tokens for sources [B, S], by beam search: int32 [B, up to 2 S + 10].

        One step of all sequences at a time, compiled; it ends when all have ended. 0 pads.
        """
        num_sources = tf.shape(source)[0]
        max_steps = 2 * tf.shape(source)[1] + 10
        memory, state = self.encoder(source, training=False)
        tensors = (source, memory, *state)
        source, memory, *state = (tf.repeat(tensor, beam, axis=0) for tensor in tensors)

        def go_on(at, beams, *_):
            return (at < max_steps) & ~tf.reduce_all(beams.ended)

        def step(at, beams, written, parents):
            token = beams.token[:, tf.newaxis]
            logits, _, state = self.decoder(token, memory, source, beams.state, training=False)
            beams, parent = best_continuations(beams, logits[:, 0], state, beam)
            written = written.write(at, beams.token)
            parents = parents.write(at, parent)
            return at + 1, beams, written, parents

        beams = first_beams(state, num_sources, beam)
        any_size = tf.nest.map_structure(lambda x: tf.TensorShape([None] * x.shape.rank), beams)
        any_shape = tf.TensorShape(None)
        steps, _, written, parents = tf.while_loop(
            go_on,
            step,
            (0, beams, _growing_array(), _growing_array()),
            (tf.TensorShape([]), any_size, any_shape, any_shape),
        )
        best = tf.range(num_sources) * beam  # top_k puts the best first
        return followed_back(best, steps, written, parents)


def _growing_array():
    return tf.TensorArray(
        tf.int32,
        size=0,
        dynamic_size=True,
        clear_after_read=False,
        element_shape=[None],
    )


# ---- beam search: `beam` sequences of each source, those of the first source first


class Beams(NamedTuple):
    """What one step of the search hands to the next."""

    token: tf.Tensor  # int32 [B * beam], the last one of each sequence
    state: list  # the decoder's, each [B * beam, units]
    scores: tf.Tensor  # float32 [B, beam], log probabilities
    lengths: tf.Tensor  # float32 [B * beam], tokens with the end
    ended: tf.Tensor  # bool [B * beam]


def first_beams(state, num_sources, beam) -> Beams:
    """Start tokens; the first sequence of a source is the only likely one: the others copy it."""
    size = [num_sources * beam]
    token = tf.fill(size, START)
    only = tf.zeros([num_sources, 1])
    copies = tf.fill([num_sources, beam - 1], _NEVER)
    return Beams(
        token,
        state,
        scores=tf.concat([only, copies], axis=1),
        lengths=tf.zeros(size),
        ended=token != START,
    )


def best_continuations(beams, logits, state, beam):
    """The best `beam` sequences of each source after one more token, and the row that each extends.

    Best are the highest log probabilities over length^0.6: Wu et al., Google's neural machine
    translation system, 2016, section 7.
    """
    num_sources = tf.shape(beams.scores)[0]
    num_tokens = logits.shape[-1]
    forbidden = tf.reduce_max(tf.one_hot([PADDING, START], num_tokens), axis=0) * _NEVER
    only_padding = tf.where(tf.range(num_tokens) == PADDING, 0.0, _NEVER)  # after the end
    logs = tf.nn.log_softmax(tf.cast(logits, tf.float32))  # (B * beam, V)
    logs = tf.where(beams.ended[:, tf.newaxis], only_padding, logs + forbidden)
    total = tf.reshape(beams.scores, [-1, 1]) + logs
    lengths = beams.lengths + tf.cast(~beams.ended, tf.float32)
    penalty = tf.repeat(lengths[:, tf.newaxis], num_tokens, axis=1) ** 0.6
    ranked = tf.reshape(total / penalty, [num_sources, beam * num_tokens])
    best = tf.math.top_k(ranked, beam).indices  # (B, beam)
    first = tf.range(num_sources)[:, tf.newaxis] * beam * num_tokens
    best = tf.reshape(best + first, [-1])  # (B * beam), among all B * beam * V
    parent = best // num_tokens
    token = best % num_tokens
    scores = tf.gather(tf.reshape(total, [-1]), best)
    beams = Beams(
        token,
        [tf.gather(tensor, parent) for tensor in state],
        tf.reshape(scores, [num_sources, beam]),
        tf.gather(lengths, parent),
        tf.gather(beams.ended, parent) | (token == END),
    )
    return beams, parent


def followed_back(row, steps, written, parents):
    """The tokens int32 [B, steps] of the sequences that end in the rows [B]."""

    def step(at, row, tokens):
        token = tf.gather(written.read(at), row)
        parent = tf.gather(parents.read(at), row)
        return at - 1, parent, tokens.write(at, token)

    tokens = tf.TensorArray(tf.int32, size=steps, element_shape=[None])
    *_, tokens = tf.while_loop(lambda at, *_: at >= 0, step, (steps - 1, row, tokens))
    return tf.transpose(tokens.stack())


# ---- layers


def _recurrent_layers(cell, units, count):
    return [
        _CELLS[cell](
            units,
            return_sequences=True,
            return_state=True,
            name=f"layer_{number}",
        )
        for number in range(count)
    ]


class Encoder(layers.Layer):
    """Source [B, S] -> memory [B, S, M], and the decoder's first state, a list of [B, units]."""

    def __init__(self, config, num_tokens, name):
        super().__init__(name=name)
        options = config.encoder
        decoder = config.decoder
        self.embedding = layers.Embedding(num_tokens, config.embedding, name="embedding")
        self.dropout = layers.Dropout(config.dropout, name="dropout")
        self.recurrent = _recurrent_layers(config.cell, options.units, options.layers)
        if options.bidirectional:
            # Keras tracks the unwrapped layers too: their random states are in checkpoints.
            self.recurrent = [
                layers.Bidirectional(layer, name=layer.name) for layer in self.recurrent
            ]
        states = decoder.layers * (2 if config.cell == "lstm" else 1)
        self.bridge = [
            layers.Dense(decoder.units, "tanh", name=f"bridge_{number}") for number in range(states)
        ]

    def build(self, source_shape):
        """Nothing to make: the layers inside are built by their first call."""

    def call(self, source, training=False):
        mask = source != PADDING
        x = self.embedding(source)  # (B, S) -> (B, S, E)
        for layer in self.recurrent:
            x = self.dropout(x, training=training)
            x, *state = layer(x, mask=mask, training=training)  # -> (B, S, M)
        last = tf.concat(state, axis=-1)  # both directions' of the last layer
        return x, [bridge(last) for bridge in self.bridge]


class Decoder(layers.Layer):
    """previous [B, T], memory [B, S, M], source [B, S], state -> logits [B, T, V], weights, state.

    Attention weights are [B, T, S]. luong_*: the recurrence runs first, then every step attends.
    bahdanau: each step attends with the state before it; the context goes into the recurrence.
    """

    def __init__(self, config, num_tokens, name):
        super().__init__(name=name)
        units = config.decoder.units
        self.kind = config.attention
        self.embedding = layers.Embedding(num_tokens, config.embedding, name="embedding")
        self.dropout = layers.Dropout(config.dropout, name="dropout")
        self.recurrent = _recurrent_layers(config.cell, units, config.decoder.layers)
        self.additive = self.kind in ("luong_concat", "bahdanau")
        if self.kind == "luong_general":
            self.query = layers.Dense(config.encoder_outputs, use_bias=False, name="query")
        elif self.additive:
            self.query = layers.Dense(units, name="query")
            self.key = layers.Dense(units, use_bias=False, name="key")
        attention = layers.AdditiveAttention if self.additive else layers.Attention
        self.attention = attention(name="attention")
        self.combine = layers.Dense(units, "tanh", name="combine")
        self.logits = layers.Dense(num_tokens, name="logits")

    def build(self, previous_shape, memory_shape, source_shape, state_shape):
        """Nothing to make: the layers inside are built by their first call."""

    def call(self, previous, memory, source, state, training=False):
        x = self.dropout(self.embedding(previous), training=training)  # (B, T) -> (B, T, E)
        mask = source != PADDING
        keys = self.key(memory) if self.additive else memory
        if self.kind == "bahdanau":
            x, context, weights, state = self.attend_and_recur(
                x, state, memory, keys, mask, training
            )
        else:
            x, state = self.recur(x, state, training)  # -> (B, T, units)
            context, weights = self.attend(x, memory, keys, mask)
        if context is not None:
            x = tf.concat([context, x], axis=-1)
        x = self.dropout(self.combine(x), training=training)
        return self.logits(x), weights, state

    def recur(self, x, state, training):
        """x [B, T, E] through all layers; the state is a flat list, layer by layer."""
        new_state = []
        count = len(state) // len(self.recurrent)
        for number, layer in enumerate(self.recurrent):
            if number:
                x = self.dropout(x, training=training)
            first = number * count
            initial = state[first : first + count]
            x, *last = layer(x, initial_state=initial, training=training)
            new_state += last
        return x, new_state

    def attend(self, x, memory, keys, mask):
        """Queries [B, T, units] -> contexts [B, T, M] from the memory, weights [B, T, S]."""
        if self.kind == "none":
            batch, steps, _ = tf.unstack(tf.shape(x))
            return None, tf.zeros([batch, steps, tf.shape(mask)[1]], x.dtype)
        query = x if self.kind == "luong_dot" else self.query(x)
        return self.attention(
            [query, memory, keys],
            mask=[None, mask],
            return_attention_scores=True,
        )

    def attend_and_recur(self, x, state, memory, keys, mask, training):
        """Step by step, since the context of a step goes into its own recurrence."""
        steps = tf.shape(x)[1]
        outputs = [tf.TensorArray(x.dtype, size=steps) for _ in range(3)]

        def step(at, state, outputs):
            query = state[0][:, tf.newaxis]
            context, weights = self.attend(query, memory, keys, mask)  # (B, 1, M), (B, 1, S)
            y = tf.concat([x[:, at : at + 1], context], axis=-1)
            y, state = self.recur(y, state, training)
            values = zip(outputs, (y, context, weights), strict=True)
            outputs = [output.write(at, value[:, 0]) for output, value in values]
            return at + 1, state, outputs

        _, state, outputs = tf.while_loop(lambda at, *_: at < steps, step, (0, state, outputs))
        # (T, B, ...) -> (B, T, ...)
        outputs = [tf.transpose(output.stack(), [1, 0, 2]) for output in outputs]
        return *outputs, state
