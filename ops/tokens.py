"""Texts, string [n], as token ids, int32 [n, length], and what is done to sequences of these.

Sequences are padded at their end: token id 0 is padding, 1 an unknown token; with `ends`, 3 ends a
sequence and 2 is kept for the decoder, which begins with it. `sample_weight` of sequences in the
targets, float32 [n, length], is 0 at padding and is treated as they are.
"""

import functools
from collections import Counter

import numpy as np
import tensorflow as tf

from cli.program import ConfigError, DataError, warn
from data_config import END, PADDING, UNKNOWN
from engine.stateless import uniform
from ops import features as expected
from ops.features import on_token_ids

# ---- texts


def lowercase(features, seeds, config):
    for name in config.changes:
        texts = expected.texts(features, config, name)
        features = features | {name: tf.strings.lower(texts, encoding="utf-8")}
    return features


def tokenize(features, seeds, config):
    tokens = _split(features, config)
    table = _table(config.vocabulary, _first_id(config))
    ids = tokens.with_flat_values(table.lookup(tokens.flat_values))
    if config.ends:
        ends = tf.fill([tokens.nrows(), 1], tf.constant(END, tf.int64))
        ids = tf.concat([ids, ends], axis=1)
    features = features | {config.of: tf.cast(ids.to_tensor(PADDING), tf.int32)}  # (n, longest)
    if config.of == "targets":
        features["sample_weight"] = tf.cast(features["targets"] != PADDING, tf.float32)
    return features


def _split(features, config):
    texts = expected.texts(features, config, config.of)
    if config.level == "words":
        return tf.strings.split(texts)
    return tf.strings.unicode_split(texts, "UTF-8")


@functools.cache  # a table lives as long as someone holds it, and the graph does not
def _table(vocabulary: str, first_id: int) -> tf.lookup.StaticHashTable:
    tokens = vocabulary.split("\n")
    ids = np.arange(first_id, first_id + len(tokens), dtype=np.int64)
    with tf.init_scope():
        return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(tokens, ids), UNKNOWN)


def _first_id(config) -> int:
    """Id of the vocabulary's first token."""
    return END + 1 if config.ends else UNKNOWN + 1


def tokens_tokenize(config):
    special = ["<pad>", "<unknown>", "<start>", "<end>"][: _first_id(config)]
    return special + config.vocabulary.split("\n")


def measure_tokenize(config, batches):
    counts = Counter()
    for batch in batches:
        counts.update(_split(batch, config).flat_values.numpy().tolist())
    counts.pop(b"\n", None)
    if not counts:
        raise DataError("tokenize: expected at least one token in the training examples, got none")
    ranked = sorted(counts, key=lambda token: (-counts[token], token))
    tokens = [token.decode() for token in ranked[: config.max_tokens - _first_id(config)]]
    return config.model_copy(update={"vocabulary": "\n".join(tokens)})


# ---- length and order


def _changed(features, config, change):
    """change(value, lengths) of each sequence that is meant, weights of the targets with them."""
    names = config.changes
    if "targets" in names and "sample_weight" in features:
        names = [*names, "sample_weight"]
    changed = {}
    for name in names:
        values = expected.sequences(features, config, name)
        changed[name] = change(values, _lengths(features, name))
    return features | changed


def _lengths(features, name: str):
    """int32 [n] without padding, if weights or token ids show it; the targets' class 0 is none."""
    values = features[name]
    if name in ("targets", "sample_weight") and "sample_weight" in features:
        return tf.cast(tf.reduce_sum(features["sample_weight"], axis=1), tf.int32)
    if values.dtype == tf.int32 and values.shape.rank == 2:  # what `tokenize` gives
        return tf.reduce_sum(tf.cast(values != PADDING, tf.int32), axis=1)
    batch_size, length = tf.unstack(tf.shape(values)[:2])
    return tf.fill([batch_size], length)


def _reversed(values, lengths):
    return tf.reverse_sequence(values, lengths, seq_axis=1)


def truncate(features, seeds, config):
    def first_or_last(values, lengths):
        if config.keep == "first":
            return values[:, : config.length]
        backwards = _reversed(values, lengths)[:, : config.length]
        return _reversed(backwards, tf.minimum(lengths, config.length))

    return _changed(features, config, first_or_last)


def measure_truncate(config, batches):
    """Measures nothing, but says how many sequences are cut."""
    cut = total = 0
    for batch in batches:
        for name in config.changes:
            expected.sequences(batch, config, name)
        lengths = np.max([_lengths(batch, name) for name in config.changes], axis=0)
        cut += int((lengths > config.length).sum())
        total += len(lengths)
    if cut:
        warn(
            f"data: truncate: {cut:,} of {total:,} training sequences "
            f"are longer than {config.length} and are cut"
        )
    return config


def pad(features, seeds, config):
    def padded(values, lengths):
        batch_size, length, *others = values.shape
        if tf.inside_function() and length is not None and length > config.length:
            raise ConfigError(
                f"pad: length: expected at least {length}, as long as the {config.of}, "
                f"got {config.length}"
            )
        missing = config.length - tf.shape(values)[1]
        problem = f"pad: a sequence is longer than {config.length}: put `truncate` before"
        with tf.control_dependencies([tf.debugging.Assert(missing >= 0, [problem])]):
            values = tf.pad(values, [[0, 0], [0, missing], *([0, 0] for _ in others)])
            return tf.ensure_shape(values, [batch_size, config.length, *others])

    return _changed(features, config, padded)


def reverse(features, seeds, config):
    return _changed(features, config, _reversed)


# ---- random tokens


@on_token_ids
def token_dropout(ids, seeds, config):
    places = tf.range(tf.shape(ids)[1], dtype=tf.int64)
    drawn = uniform(seeds[:, tf.newaxis], places[tf.newaxis])  # (n, length)
    is_dropped = (drawn < config.rate) & (ids != PADDING)
    return tf.where(is_dropped, tf.cast(UNKNOWN, ids.dtype), ids)


def skip_gram(features, seeds, config):
    """Targets [n, T, 2 * window, 1 + negatives]; a true token may be drawn as a negative as well.

    Mikolov et al., Distributed representations of words and phrases, 2013, section 2.2.
    """
    ids = expected.token_ids(features, config)
    length = tf.shape(ids)[1]
    reach = config.window
    padded = tf.pad(ids, [[0, 0], [reach, reach]])
    starts = [start for start in range(2 * reach + 1) if start != reach]
    near = tf.stack([padded[:, start : start + length] for start in starts], axis=2)
    # A draw depends on the token's place, not on how long the batch is.
    draws = tf.range(length * len(starts) * config.negatives, dtype=tf.int64)
    quantiles = uniform(seeds[:, tf.newaxis], draws[tf.newaxis])
    chances = np.cumsum(np.array(config.frequencies) ** 0.75)
    chances = tf.constant(chances / chances[-1], tf.float32)
    random = tf.searchsorted(chances, tf.reshape(quantiles, [-1]), "right")
    random = tf.minimum(random, len(config.frequencies) - 1)  # float32 may round the last up to 1
    random = tf.reshape(random, [-1, length, len(starts), config.negatives])
    random = tf.cast(random, ids.dtype)
    targets = tf.concat([near[..., tf.newaxis], random], axis=-1)
    is_true = (ids != PADDING)[:, :, tf.newaxis] & (near != PADDING)
    return features | {"targets": targets, "sample_weight": tf.cast(is_true, tf.float32)}


def measure_skip_gram(config, batches):
    counts = np.zeros(1, np.int64)
    for batch in batches:
        ids = expected.sequences(batch, config).numpy()
        of_batch = np.bincount(ids[ids != PADDING])
        counts = np.pad(counts, (0, max(0, len(of_batch) - len(counts))))
        counts[: len(of_batch)] += of_batch
    frequencies = counts / max(1, counts.sum())
    return config.model_copy(update={"frequencies": frequencies.tolist()})
