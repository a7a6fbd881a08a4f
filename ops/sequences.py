"""Operations on whole batches of numbers, texts and sequences, and what some of them measure on the training examples.

Sequences are padded at their end: token id 0 is padding, 1 an unknown token; with `ends`, 3 ends a
sequence and 2 is kept for the decoder, which begins with it.
See `preprocess_data.py` for what an operation is.
"""

import functools
from collections import Counter
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

import data_config
import train_config
from cli.program import ConfigError, DataError, warn
from data_config import END, PADDING, UNKNOWN
from engine.stateless import uniform


def _of(config) -> list[str]:
    return ["inputs", "targets"] if config.of == "both" else [config.of]


def _change(features, config, change):
    """`features` with change(value, lengths) for each that is meant; `sample_weight` of sequences goes with the targets."""
    names = _of(config)
    if "targets" in names and "sample_weight" in features:
        names = [*names, "sample_weight"]
    values = {name: _sequences(features[name], config.name) for name in names}
    return features | {
        name: change(value, _lengths(features, name)) for name, value in values.items()
    }


# ---------------------------------------------------------------------------------------------------------- numbers


def scale(features, seeds, config: data_config.Scale):
    return features | {"inputs": _numbers(features["inputs"], "scale") / config.by}


def _numbers(values, op: str) -> tf.Tensor:
    if values.dtype == tf.string:
        raise ConfigError(
            f"{op}: expected numbers, got text or encoded images; put `decode_image` or `tokenize` before"
        )
    return tf.cast(values, tf.float32)


def scale_to_one(features, seeds, config: data_config.ScaleToOne):
    return features | {"inputs": _numbers(features["inputs"], "scale_to_one") / 127.5 - 1.0}


_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def imagenet(features, seeds, config: data_config.Imagenet):
    inputs = _numbers(features["inputs"], "imagenet")
    if inputs.shape[-1] != 3:
        raise ConfigError(f"imagenet: expected 3 channels, got inputs of shape {inputs.shape[1:]}")
    return features | {
        "inputs": (inputs / 255.0 - tf.constant(_IMAGENET_MEAN)) / tf.constant(_IMAGENET_STD)
    }


def _per_channel(features, config, first: str, second: str, change):
    def changed(values):
        values = _numbers(values, config.name)
        channels = values.shape[-1] if values.shape.rank > 1 else 1
        for key in (first, second):
            numbers = getattr(config, key)
            if len(numbers) not in (1, channels):
                raise ConfigError(
                    f"{config.name}: {key}: expected 1 or {channels} values, one per channel, got {len(numbers)}"
                )
        a, b = (tf.constant(getattr(config, key)) for key in (first, second))
        return change(values, a, b) if values.shape.rank > 1 else change(values, a[0], b[0])

    return features | {name: changed(features[name]) for name in _of(config)}


def standardize(features, seeds, config: data_config.Standardize):
    return _per_channel(
        features, config, "mean", "std", lambda values, mean, std: (values - mean) / std
    )


def min_max(features, seeds, config: data_config.MinMax):
    return _per_channel(
        features, config, "low", "high", lambda values, low, high: (values - low) / (high - low)
    )


def log(features, seeds, config: data_config.Log):
    return features | {"inputs": tf.math.log(_numbers(features["inputs"], "log") + config.plus)}


def window(features, seeds, config: data_config.Window):
    series = features["inputs"]
    if (
        series.shape.rank != 3
        or config.horizon >= series.shape[1]
        or config.column >= series.shape[2]
    ):
        asked = f"more than {config.horizon} steps and {config.column} columns"
        raise ConfigError(
            f"window: expected series [steps, columns] of {asked}, got inputs of shape {series.shape[1:]}"
        )
    return features | {
        "inputs": series[:, : -config.horizon],
        "targets": series[:, -config.horizon :, config.column],
    }


def encode_categories(features, seeds, config: data_config.EncodeCategories):
    if "categories" not in features:
        raise ConfigError("encode_categories: expected text columns; this data set has none")
    encoded = [_numbers(features["inputs"], "encode_categories")]
    for column, names in enumerate(config.categories):
        equal = features["categories"][:, column, tf.newaxis] == tf.constant(
            names
        )  # (n, 1) == (names,) -> (n, names)
        encoded.append(tf.cast(equal, tf.float32))
    kept = {key: value for key, value in features.items() if key != "categories"}
    return kept | {"inputs": tf.concat(encoded, axis=1)}


def one_hot(features, seeds, config: data_config.OneHot, *, num_classes: int):
    if not features["targets"].dtype.is_integer:
        raise ConfigError(
            f"one_hot: expected class indices in the targets, got {features['targets'].dtype.name}"
        )
    return features | {"targets": tf.one_hot(features["targets"], num_classes)}


def inputs_as_targets(features, seeds, config: data_config.InputsAsTargets):
    return features | {"targets": features["inputs"]}


# -------------------------------------------------------------------------------------------------------- sequences


def lowercase(features, seeds, config: data_config.Lowercase):
    return features | {
        name: tf.strings.lower(_texts(features[name], "lowercase"), encoding="utf-8")
        for name in _of(config)
    }


def _texts(values, op: str) -> tf.Tensor:
    if values.dtype != tf.string or values.shape.rank != 1:
        raise ConfigError(
            f"{op}: expected texts, got {values.dtype.name} of shape {values.shape[1:]}"
        )
    return values


def _tokens(texts, level: str) -> tf.RaggedTensor:
    return tf.strings.split(texts) if level == "words" else tf.strings.unicode_split(texts, "UTF-8")


def first_token(config: data_config.Tokenize) -> int:
    return END + 1 if config.ends else UNKNOWN + 1


def tokens_of(config: data_config.Tokenize) -> list[str]:
    """The token of each id."""
    return ["<pad>", "<unknown>", "<start>", "<end>"][
        : first_token(config)
    ] + config.vocabulary.split("\n")


@functools.cache  # a table lives as long as someone holds it, and the graph does not
def _table(vocabulary: str, first: int) -> tf.lookup.StaticHashTable:
    tokens = vocabulary.split("\n")
    with tf.init_scope():
        ids = tf.lookup.KeyValueTensorInitializer(
            tokens, np.arange(first, first + len(tokens), dtype=np.int64)
        )
        return tf.lookup.StaticHashTable(ids, UNKNOWN)


def tokenize(features, seeds, config: data_config.Tokenize):
    tokens = _tokens(_texts(features[config.of], "tokenize"), config.level)
    ids = tokens.with_flat_values(
        _table(config.vocabulary, first_token(config)).lookup(tokens.flat_values)
    )
    if config.ends:
        ids = tf.concat([ids, tf.fill([tokens.nrows(), 1], tf.constant(END, tf.int64))], axis=1)
    features = features | {config.of: tf.cast(ids.to_tensor(PADDING), tf.int32)}  # (n, longest)
    if config.of == "targets":
        features["sample_weight"] = tf.cast(features["targets"] != PADDING, tf.float32)
    return features


def _sequences(values, op: str) -> tf.Tensor:
    if values.shape.rank < 2 or values.dtype == tf.string:
        raise ConfigError(
            f"{op}: expected sequences, got {values.dtype.name} of shape {values.shape[1:]}; put `tokenize` before"
        )
    return values


def truncate(features, seeds, config: data_config.Truncate):
    def cut(values, lengths):
        if config.keep == "first":
            return values[:, : config.length]
        backwards = tf.reverse_sequence(values, lengths, seq_axis=1)[:, : config.length]
        return tf.reverse_sequence(backwards, tf.minimum(lengths, config.length), seq_axis=1)

    return _change(features, config, cut)


def pad(features, seeds, config: data_config.Pad):
    def padded(values, lengths):
        if tf.inside_function() and values.shape[1] is not None and values.shape[1] > config.length:
            raise ConfigError(
                f"pad: length: expected at least {values.shape[1]}, as long as the {config.of}, got {config.length}"
            )
        missing = config.length - tf.shape(values)[1]
        with tf.control_dependencies(
            [
                tf.debugging.Assert(
                    missing >= 0,
                    [f"pad: a sequence is longer than {config.length}: put `truncate` before"],
                )
            ]
        ):
            around = [[0, 0], [0, missing]] + [[0, 0]] * (values.shape.rank - 2)
            return tf.ensure_shape(
                tf.pad(values, around), [values.shape[0], config.length, *values.shape[2:]]
            )

    return _change(features, config, padded)


def _lengths(features, name: str) -> tf.Tensor:
    """int32 [n]: without the padding, where weights or token ids show it; a class of the targets may be 0."""
    values = features[name]
    if name in ("targets", "sample_weight") and "sample_weight" in features:
        return tf.cast(tf.reduce_sum(features["sample_weight"], axis=1), tf.int32)
    if values.dtype == tf.int32 and values.shape.rank == 2:  # what `tokenize` gives
        return tf.reduce_sum(tf.cast(values != PADDING, tf.int32), axis=1)
    return tf.fill(tf.shape(values)[:1], tf.shape(values)[1])


def reverse(features, seeds, config: data_config.Reverse):
    return _change(
        features, config, lambda values, lengths: tf.reverse_sequence(values, lengths, seq_axis=1)
    )


def token_dropout(features, seeds, config: data_config.TokenDropout):
    ids = _sequences(features["inputs"], "token_dropout")
    if not ids.dtype.is_integer:
        raise ConfigError(f"token_dropout: expected token ids, got {ids.dtype.name}")
    places = tf.range(tf.shape(ids)[1], dtype=tf.int64)
    dropped = (uniform(seeds[:, tf.newaxis], places[tf.newaxis]) < config.rate) & (
        ids != PADDING
    )  # (n, length)
    return features | {"inputs": tf.where(dropped, tf.cast(UNKNOWN, ids.dtype), ids)}


def skip_gram(features, seeds, config: data_config.SkipGram):
    """Mikolov et al., Distributed representations of words and phrases, 2013, section 2.2. A true token may be drawn as well."""
    ids = _sequences(features["inputs"], "skip_gram")
    if not ids.dtype.is_integer:
        raise ConfigError(
            f"skip_gram: expected token ids, got {ids.dtype.name}; put `tokenize` before"
        )
    length, reach = tf.shape(ids)[1], config.window
    padded = tf.pad(ids, [[0, 0], [reach, reach]])
    offsets = [offset for offset in range(-reach, reach + 1) if offset]
    near = tf.stack(
        [padded[:, reach + offset : reach + offset + length] for offset in offsets], axis=2
    )  # (n, T, 2 * window)
    each = (
        len(offsets) * config.negatives
    )  # for one token: a draw depends on its place, not on how long the batch is
    draws = tf.range(length * each, dtype=tf.int64)
    shares = tf.reshape(uniform(seeds[:, tf.newaxis], draws[tf.newaxis]), [-1])
    chances = np.cumsum(np.array(config.frequencies) ** 0.75)
    random = tf.searchsorted(tf.constant(chances / chances[-1], tf.float32), shares, "right")
    random = tf.minimum(random, len(chances) - 1)  # float32 may round the last up to 1
    random = tf.reshape(random, [-1, length, len(offsets), config.negatives])
    true = (ids != PADDING)[:, :, tf.newaxis] & (near != PADDING)
    targets = tf.concat([near[..., tf.newaxis], tf.cast(random, ids.dtype)], axis=-1)
    return features | {"targets": targets, "sample_weight": tf.cast(true, tf.float32)}


_FUNCTIONS = (
    scale, scale_to_one, imagenet, standardize, min_max, log, window, encode_categories, one_hot, inputs_as_targets,
    lowercase, tokenize, truncate, pad, reverse, token_dropout, skip_gram,
)  # fmt: skip
SEQUENCE_OPS = {op.__name__: op for op in _FUNCTIONS}


def target_units(ops: list) -> list[train_config.Undo]:
    """What takes the targets that these operations give back to the units of the data: the last operation first."""
    undo = {"inputs": [], "targets": []}
    for config in ops:
        step = _undo(config)
        for name in _of(config) if hasattr(config, "of") else ["inputs"]:
            undo[name] = [step, *undo[name]] if step else undo[name]
        if config.name == "inputs_as_targets":
            undo["targets"] = undo["inputs"]
        if config.name == "window":
            undo["targets"] = [_of_column(each, config.column) for each in undo["inputs"]]
    return undo["targets"]


def _undo(config) -> train_config.Undo | None:
    match config.name:
        case "standardize":
            return train_config.Undo(scale=config.std, offset=config.mean)
        case "min_max":
            return train_config.Undo(
                scale=np.subtract(config.high, config.low).tolist(), offset=config.low
            )
        case "scale":
            return train_config.Undo(scale=[config.by], offset=[0.0])
        case "scale_to_one":
            return train_config.Undo(scale=[127.5], offset=[127.5])
        case "imagenet":
            scale, offset = (
                [255.0 * value for value in values] for values in (_IMAGENET_STD, _IMAGENET_MEAN)
            )
            return train_config.Undo(scale=scale, offset=offset)
        case "log":
            return train_config.Undo(scale=[1.0], offset=[0.0], log_plus=config.plus)
    return None


def _of_column(step: train_config.Undo, column: int) -> train_config.Undo:
    return step.model_copy(
        update={
            key: values[column : column + 1] or values
            for key, values in (("scale", step.scale), ("offset", step.offset))
        }
    )


# ------------------------------------------------------------------------ what is measured on the training examples

# measure(config, batches) -> config with nothing left open; `batches` yields features as they reach the operation.


def _channels(config, batches: Iterator[dict]) -> Iterator[np.ndarray]:
    """float64 [items, channels] of each batch."""
    for batch in batches:
        values = _numbers(batch[_of(config)[0]], config.name).numpy().astype(np.float64)
        yield values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1)


def _measure_standardize(config, batches):
    count, mean, squares = 0, 0.0, 0.0
    for values in _channels(
        config, batches
    ):  # Chan, Golub, LeVeque, Updating formulae for variances, 1979
        more, own = len(values), values.mean(axis=0)
        shift = own - mean
        squares = (
            squares + ((values - own) ** 2).sum(axis=0) + shift**2 * count * more / (count + more)
        )
        mean = mean + shift * more / (count + more)
        count += more
    std = np.sqrt(squares / count)
    return config.model_copy(
        update={"mean": mean.tolist(), "std": np.where(std > 0, std, 1.0).tolist()}
    )  # a constant stays 0


def _measure_min_max(config, batches):
    low, high = np.inf, -np.inf
    for values in _channels(config, batches):
        low, high = np.minimum(low, values.min(axis=0)), np.maximum(high, values.max(axis=0))
    return config.model_copy(
        update={"low": low.tolist(), "high": np.where(high > low, high, low + 1).tolist()}
    )


def _measure_categories(config, batches):
    columns = None
    for batch in batches:
        if "categories" not in batch:
            raise ConfigError("encode_categories: expected text columns; this data set has none")
        columns = columns or [set() for _ in range(batch["categories"].shape[1])]
        for column, values in zip(columns, batch["categories"].numpy().T, strict=True):
            column.update(value.decode() for value in values)
    return config.model_copy(update={"categories": [sorted(column) for column in columns]})


def _measure_vocabulary(config, batches):
    counts = Counter()
    for batch in batches:
        counts.update(
            _tokens(_texts(batch[config.of], "tokenize"), config.level).flat_values.numpy().tolist()
        )
    counts.pop(b"\n", None)
    if not counts:
        raise DataError("tokenize: expected at least one token in the training examples, got none")
    ranked = sorted(counts, key=lambda token: (-counts[token], token))
    kept = ranked[: config.max_tokens - first_token(config)]
    return config.model_copy(update={"vocabulary": "\n".join(token.decode() for token in kept)})


def _measure_frequencies(config, batches):
    counts = np.zeros(1, np.int64)
    for batch in batches:
        ids = _sequences(batch["inputs"], "skip_gram").numpy()
        more = np.bincount(ids[ids != PADDING])
        counts = np.pad(counts, (0, max(0, len(more) - len(counts))))
        counts[: len(more)] += more
    return config.model_copy(update={"frequencies": (counts / max(1, counts.sum())).tolist()})


def _count_truncated(config, batches):
    longer = total = 0
    for batch in batches:
        for name in _of(config):
            _sequences(batch[name], "truncate")
        lengths = np.max([_lengths(batch, name) for name in _of(config)], axis=0)
        longer, total = longer + int((lengths > config.length).sum()), total + len(lengths)
    if longer:
        warn(
            f"data: truncate: {longer:,} of {total:,} training sequences are longer than {config.length} and are cut"
        )
    return config


MEASURES = {
    "standardize": _measure_standardize, "min_max": _measure_min_max, "encode_categories": _measure_categories,
    "tokenize": _measure_vocabulary, "skip_gram": _measure_frequencies, "truncate": _count_truncated,
}  # fmt: skip
_OPEN = {
    "standardize": "mean",
    "min_max": "low",
    "encode_categories": "categories",
    "tokenize": "vocabulary",
    "skip_gram": "frequencies",
}


def needs_measuring(config) -> bool:
    return config.name in MEASURES and (
        config.name not in _OPEN or getattr(config, _OPEN[config.name]) is None
    )
