"""Recurrent networks over tokens or numbers: simple, LSTM or GRU; one output, or one a step.

S. Hochreiter, J. Schmidhuber, Long short-term memory, 1997; K. Cho et al., Learning phrase
representations using RNN encoder-decoder, 2014, section 2.3 (GRU); M. Schuster, K. Paliwal,
Bidirectional recurrent neural networks, 1997; G. Lai et al., Modeling long- and short-term temporal
patterns with deep neural networks, 2018, section 3.5 (autoregressive).
"""

import math

import keras
import numpy as np
from keras import layers

from cli.program import ConfigError, DataError, warn
from engine.safe_files import lines_of
from model_config import Rnn
from models.blocks import dropout
from train_config import Spec

_CELLS = {"simple": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}


def build(config: Rnn, spec: Spec) -> keras.Model:
    """Token ids [B, T] or numbers [B, T, ...] -> [B, num_outputs]; `output: many`: [B, T, outputs].

    Padding, token 0, is masked: it changes no state and no output.
    """
    _check(config, spec)
    steps, *sizes = spec.input_shape
    inputs = x = keras.Input(spec.input_shape, dtype=spec.input_dtype, name="inputs")
    if spec.vocabulary:
        embedding = _embedding(config.embedding, len(spec.tokens))
        x = embedding(x)  # (B, T) -> (B, T, E)
    elif len(sizes) > 1:
        row = math.prod(sizes)
        x = layers.Reshape((steps, row), name="rows")(x)  # -> (B, H, W * C)
    numbers = x
    if config.relative:  # so that levels which training has not shown do not saturate the cells
        last_step = layers.Cropping1D((steps - 1, 0), name="last_step")(x)
        x = layers.Subtract(name="relative")([x, last_step])
    x = _recurrent_layers(x, config, spec)
    size = spec.num_outputs
    if config.output == "many" and not spec.num_classes:
        size = [1, *spec.target_shape[1:]][-1]  # numbers of one step's target
    outputs = layers.Dense(size, name="logits")(x)
    if config.autoregressive:
        unused = steps - config.autoregressive
        x = layers.Cropping1D((unused, 0), name="last_steps")(numbers)  # -> (B, N, C)
        x = layers.Flatten(name="flatten")(x)
        x = layers.Dense(size, name="autoregressive")(x)  # -> (B, outputs)
        outputs = layers.Add(name="sum")([outputs, x])
    return keras.Model(inputs, outputs, name="rnn")


def _check(config, spec):
    shape = spec.input_shape
    last = config.autoregressive
    many = config.output == "many"
    if not spec.vocabulary and (len(shape) < 2 or None in shape):  # padded numbers have no mask
        raise ConfigError(
            "rnn: expected token ids, or numbers in sequences of one length, "
            f"got inputs of shape {shape}; add `tokenize` or `pad`"
        )
    if many and not spec.target_shape:
        raise ConfigError(
            "rnn: output: many: expected a target for every step, got targets of shape []"
        )
    if spec.vocabulary and (config.relative or last):
        raise ConfigError("rnn: relative and autoregressive: expected numbers, got token ids")
    if last and (many or last > shape[0]):
        raise ConfigError(f"rnn: autoregressive: expected one output, of {last} steps or more")


def _recurrent_layers(x, config, spec):
    """(B, T, .) -> (B, T, units), twice as many both ways; with `output: one` (B, units)."""
    for number in range(config.layers):
        name = f"layer_{number}"
        if number or spec.vocabulary:  # not of the inputs' own numbers
            x = dropout(x, config.dropout, f"dropout_{number}")
        last = number == config.layers - 1
        layer = _CELLS[config.cell](
            config.units,
            return_sequences=config.output == "many" or not last,
            name=name,
        )
        if config.bidirectional:
            layer = layers.Bidirectional(layer, name=name)
        x = layer(x)
    return dropout(x, config.dropout)


def _embedding(config, num_tokens):
    one_hot = config.name == "one_hot"
    return layers.Embedding(
        num_tokens,
        num_tokens if one_hot else config.size,
        keras.initializers.Identity() if one_hot else "uniform",
        mask_zero=True,
        trainable=config.name == "learned" or (config.name == "file" and config.trainable),
        name="embedding",
    )


# ---- vectors from a file


def initialize(model: keras.Model, config: Rnn, spec: Spec) -> None:
    """Puts the vectors of a GloVe or word2vec text file into the embedding."""
    if spec.vocabulary and config.embedding.name == "file":
        embedding = model.get_layer("embedding").embeddings
        random = keras.ops.convert_to_numpy(embedding)
        embedding.assign(read_vectors(config.embedding.path, spec.tokens, random))


def read_vectors(path: str, tokens: list[str], vectors: np.ndarray) -> np.ndarray:
    """`vectors` [V, D] with the rows replaced of the tokens that the file has: `token x1 ... xD`.

    The first line may be word2vec's, `count D`. Raises DataError with the line for anything else,
    and where no token is there; says how many are not, which keep their random rows.
    """
    vectors = vectors.copy()
    size = vectors.shape[1]
    row_of = {token: row for row, token in enumerate(tokens)}
    read = set()
    for number, line in lines_of(path):
        token, *numbers = line.rstrip().rsplit(" ", size)  # some tokens hold blanks themselves
        count = len(line.split())
        if number == 1 and count == 2 and size != 1:
            continue
        place = f"{path}:{number}"
        if len(numbers) != size:
            raise DataError(f"{place}: expected a token and {size} numbers, got {count - 1}")
        if token in row_of:
            vectors[row_of[token]] = _vector(f"{place}: {token}", numbers)
            read.add(token)
    words = [token for token in tokens if not (token.startswith("<") and token.endswith(">"))]
    missing = [word for word in words if word not in read]
    count = len(words)
    if len(missing) == count:
        raise DataError(
            f"{path}: expected vectors of the vocabulary, got none of its {count:,} tokens"
        )
    if missing:
        warn(
            f"{path}: {len(missing):,} of {count:,} tokens have no vector "
            f"and begin at random: {', '.join(missing[:10])}"
        )
    return vectors


def _vector(place, numbers):
    try:
        vector = np.array([float(number) for number in numbers], np.float32)
    except ValueError:
        vector = np.nan
    if not np.isfinite(vector).all():
        got = " ".join(numbers)[:40]
        raise DataError(f"{place}: expected finite numbers, got {got!r}")
    return vector
