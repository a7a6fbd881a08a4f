"""Sequence to sequence: an encoder, a decoder, and attention between them.

I. Sutskever et al., Sequence to sequence learning with neural networks, 2014 (no attention); D. Bahdanau et al., Neural machine
translation by jointly learning to align and translate, 2015, section 3; M.-T. Luong et al., Effective approaches to
attention-based neural machine translation, 2015, sections 3 and 3.1.
"""

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
    """{source [B, S], previous [B, T]} token ids -> {logits [B, T, V], attention [B, T, S]}; see `Translator.write` too."""
    if not spec.vocabulary or not spec.target_vocabulary:
        raise ConfigError(
            "seq2seq: expected token ids as inputs and as targets; add `tokenize` for both"
        )
    if config.attention == "luong_dot" and config.encoder_outputs != config.decoder.units:
        both = f"{config.encoder_outputs} units of the encoder and {config.decoder.units} of the decoder"
        raise ConfigError(
            f"seq2seq: attention: luong_dot expected as many of both, got {both}; or luong_general"
        )
    return Translator(config, len(spec.tokens), len(spec.target_tokens))


class Translator(keras.Model):
    """The network with teacher forcing; `write` lets it go on by itself."""

    def __init__(self, config: Seq2seq, source_tokens: int, target_tokens: int):
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
        self.encoder, self.decoder = encoder, decoder

    def write(self, source, beam: int = 1) -> tf.Tensor:
        """The most likely tokens for each source [B, S], by search over `beam` sequences: int32 [B, up to 2 S + 10], padded.

        One step of all sequences at a time, compiled; it ends when all have ended. Scores are log probabilities over
        length^0.6, Wu et al., Google's neural machine translation system, 2016, section 7.
        """
        memory, state = self.encoder(source, training=False)
        rows, most = tf.shape(source)[0], 2 * tf.shape(source)[1] + 10
        source, memory, *state = (
            tf.repeat(each, beam, axis=0) for each in (source, memory, *state)
        )  # (B, ...) -> (B * beam, ...)
        only_first = tf.concat(
            [tf.zeros([rows, 1]), tf.fill([rows, beam - 1], _NEVER)], axis=1
        )  # the others begin as copies of it
        written = tf.TensorArray(
            tf.int32, size=0, dynamic_size=True, clear_after_read=False, element_shape=[None]
        )
        parents = tf.TensorArray(
            tf.int32, size=0, dynamic_size=True, clear_after_read=False, element_shape=[None]
        )

        def step(at, token, state, scores, lengths, ended, written, parents):
            logits, _, state = self.decoder(
                token[:, tf.newaxis], memory, source, state, training=False
            )
            logs = tf.nn.log_softmax(tf.cast(logits[:, 0], tf.float32))  # (B * beam, V)
            size = logs.shape[-1]
            forbidden = tf.reduce_max(tf.one_hot([PADDING, START], size), axis=0) * _NEVER
            stay = tf.where(
                tf.range(size) == PADDING, 0.0, _NEVER
            )  # a sequence that has ended is only padded
            logs = tf.where(ended[:, tf.newaxis], stay, logs + forbidden)
            total = tf.reshape(scores, [-1, 1]) + logs
            new_lengths = tf.repeat(
                (lengths + tf.cast(~ended, tf.float32))[:, tf.newaxis], size, axis=1
            )
            ranked = tf.reshape(total / new_lengths**0.6, [rows, beam * size])
            places = tf.math.top_k(ranked, beam).indices  # (B, beam)
            flat = tf.reshape(places + tf.range(rows)[:, tf.newaxis] * beam * size, [-1])
            parent, token = flat // size, flat % size
            scores = tf.reshape(tf.gather(tf.reshape(total, [-1]), flat), [rows, beam])
            lengths = tf.gather(tf.reshape(new_lengths, [-1]), flat)
            state = [tf.gather(each, parent) for each in state]
            ended = tf.gather(ended, parent) | (token == END)
            return (
                at + 1,
                token,
                state,
                scores,
                lengths,
                ended,
                written.write(at, token),
                parents.write(at, parent),
            )

        everyone = tf.fill([rows * beam], START)
        begin = (
            0,
            everyone,
            state,
            only_first,
            tf.zeros([rows * beam]),
            everyone != START,
            written,
            parents,
        )
        any_size = tf.nest.map_structure(
            lambda each: tf.TensorShape([None] * each.shape.rank), begin[1:-2]
        )
        invariants = (tf.TensorShape([]), *any_size, tf.TensorShape(None), tf.TensorShape(None))
        steps, *_, written, parents = tf.while_loop(
            lambda at, *loop: (at < most) & ~tf.reduce_all(loop[4]), step, begin, invariants
        )

        def back(at, place, tokens):
            return (
                at - 1,
                tf.gather(parents.read(at), place),
                tokens.write(at, tf.gather(written.read(at), place)),
            )

        tokens = tf.TensorArray(tf.int32, size=steps, element_shape=[None])
        best = tf.range(rows) * beam  # top_k puts the best first
        *_, tokens = tf.while_loop(lambda at, *_: at >= 0, back, (steps - 1, best, tokens))
        return tf.transpose(tokens.stack())


def _recurrent(cell: str, units: int, name: str):
    return _CELLS[cell](units, return_sequences=True, return_state=True, name=name)


class Encoder(layers.Layer):
    """Source [B, S] -> what the decoder may attend to [B, S, M], and the decoder's first state, a list of [B, units]."""

    def __init__(self, config: Seq2seq, num_tokens: int, name: str):
        super().__init__(name=name)
        options = config.encoder
        self.embedding = layers.Embedding(num_tokens, config.embedding, name="embedding")
        self.dropout = layers.Dropout(config.dropout, name="dropout")
        self.recurrent = [
            _recurrent(config.cell, options.units, f"layer_{number}")
            for number in range(options.layers)
        ]
        if options.bidirectional:
            self.recurrent = [
                layers.Bidirectional(layer, name=layer.name) for layer in self.recurrent
            ]
        states = config.decoder.layers * (2 if config.cell == "lstm" else 1)
        self.bridge = [
            layers.Dense(config.decoder.units, "tanh", name=f"bridge_{number}")
            for number in range(states)
        ]

    def build(self, source_shape):
        """Nothing to make: the layers inside are built by their first call."""

    def call(self, source, training=False):
        mask = source != PADDING
        x = self.embedding(source)
        for layer in self.recurrent:
            x = self.dropout(x, training=training)
            x, *state = layer(x, mask=mask, training=training)
        last = tf.concat(state, axis=-1)  # both directions' of the last layer
        return x, [bridge(last) for bridge in self.bridge]


class Decoder(layers.Layer):
    """previous [B, T], memory [B, S, M], source [B, S], state -> logits [B, T, V], attention [B, T, S], state.

    luong_*: the recurrence runs first, then every step attends. bahdanau: each step attends with the state before it, and
    what it found goes into the recurrence.
    """

    def __init__(self, config: Seq2seq, num_tokens: int, name: str):
        super().__init__(name=name)
        units, self.kind = config.decoder.units, config.attention
        self.embedding = layers.Embedding(num_tokens, config.embedding, name="embedding")
        self.dropout = layers.Dropout(config.dropout, name="dropout")
        self.recurrent = [
            _recurrent(config.cell, units, f"layer_{number}")
            for number in range(config.decoder.layers)
        ]
        self.states_per_layer = 2 if config.cell == "lstm" else 1
        if self.kind == "luong_general":
            self.query = layers.Dense(config.encoder_outputs, use_bias=False, name="query")
        elif self.kind in ("luong_concat", "bahdanau"):
            self.query = layers.Dense(units, name="query")
            self.key = layers.Dense(units, use_bias=False, name="key")
        additive = self.kind in ("luong_concat", "bahdanau")
        self.attention = (
            layers.AdditiveAttention(name="attention")
            if additive
            else layers.Attention(name="attention")
        )
        self.combine = layers.Dense(units, "tanh", name="combine")
        self.logits = layers.Dense(num_tokens, name="logits")

    def build(self, previous_shape, memory_shape, source_shape, state_shape):
        """Nothing to make: the layers inside are built by their first call."""

    def call(self, previous, memory, source, state, training=False):
        x = self.dropout(self.embedding(previous), training=training)  # (B, T) -> (B, T, E)
        mask, keys = source != PADDING, self.keys_of(memory)
        if self.kind == "bahdanau":
            x, context, weights, state = self.attend_and_recur(
                x, memory, keys, mask, state, training
            )
        else:
            x, state = self.recur(x, state, training)
            context, weights = self.attend(x, memory, keys, mask)
        x = x if context is None else tf.concat([context, x], axis=-1)
        x = self.dropout(self.combine(x), training=training)
        return self.logits(x), weights, state

    def recur(self, x, state, training):
        """x [B, T, E] through all layers; the state is a flat list, layer by layer."""
        after = []
        for number, layer in enumerate(self.recurrent):
            x = self.dropout(x, training=training) if number else x
            own = state[number * self.states_per_layer : (number + 1) * self.states_per_layer]
            x, *new = layer(x, initial_state=own, training=training)
            after += new
        return x, after

    def keys_of(self, memory):
        return self.key(memory) if self.kind in ("luong_concat", "bahdanau") else memory

    def attend(self, x, memory, keys, mask):
        """Queries [B, T, units] -> what each found in the memory [B, T, M] and where it looked [B, T, S]."""
        if self.kind == "none":
            return None, tf.zeros([tf.shape(x)[0], tf.shape(x)[1], tf.shape(mask)[1]], x.dtype)
        query = x if self.kind == "luong_dot" else self.query(x)
        return self.attention(
            [query, memory, keys], mask=[None, mask], return_attention_scores=True
        )

    def attend_and_recur(self, x, memory, keys, mask, state, training):
        """Step by step, since what a step finds goes into its own recurrence."""
        steps = tf.shape(x)[1]
        outputs = [tf.TensorArray(x.dtype, size=steps) for _ in range(3)]

        def step(at, state, outputs):
            context, weights = self.attend(
                state[0][:, tf.newaxis], memory, keys, mask
            )  # (B, 1, M), (B, 1, S)
            found = tf.concat([x[:, at : at + 1], context], axis=-1)
            y, state = self.recur(found, state, training)
            values = (y[:, 0], context[:, 0], weights[:, 0])
            return (
                at + 1,
                state,
                [output.write(at, value) for output, value in zip(outputs, values, strict=True)],
            )

        _, state, outputs = tf.while_loop(lambda at, *_: at < steps, step, (0, state, outputs))
        y, context, weights = (
            tf.transpose(output.stack(), [1, 0, 2]) for output in outputs
        )  # (T, B, ...) -> (B, T, ...)
        return y, context, weights, state
