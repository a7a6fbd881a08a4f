"""Recurrent networks over tokens or numbers: simple, LSTM or GRU; one way or both; one layer or several; one output or one a step.

S. Hochreiter, J. Schmidhuber, Long short-term memory, 1997; K. Cho et al., Learning phrase representations using RNN
encoder-decoder, 2014, section 2.3 (GRU); M. Schuster, K. Paliwal, Bidirectional recurrent neural networks, 1997; G. Lai et al.,
Modeling long- and short-term temporal patterns with deep neural networks, 2018, section 3.5 (autoregressive).
"""

import math

import keras
import numpy as np
from keras import layers

from cli.program import ConfigError, DataError, warn
from model_config import Rnn
from train_config import Spec

_CELLS = {"simple": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}


def build(config: Rnn, spec: Spec) -> keras.Model:
    """Token ids [B, T] or numbers [B, T, ...] -> [B, num_outputs], or with `output: many` [B, T, outputs of a step].

    Padding, token 0, is masked: it changes no state and no output.
    """
    if not spec.vocabulary and (
        len(spec.input_shape) < 2 or None in spec.input_shape
    ):  # padded numbers have no mask
        expected = "expected token ids, or numbers in sequences of one length"
        raise ConfigError(
            f"rnn: {expected}, got inputs of shape {spec.input_shape}; add `tokenize` or `pad`"
        )
    if config.output == "many" and len(spec.target_shape) < 1:
        raise ConfigError(
            f"rnn: output: many: expected a target for every step, got targets of shape {spec.target_shape}"
        )
    inputs = keras.Input(spec.input_shape, dtype=spec.input_dtype, name="inputs")
    if spec.vocabulary:
        x = _embedding(config, len(spec.tokens))(inputs)  # (B, T) -> (B, T, E)
    elif len(spec.input_shape) > 2:
        x = layers.Reshape((spec.input_shape[0], math.prod(spec.input_shape[1:])), name="rows")(
            inputs
        )  # (B, H, W, C) -> (B, H, W * C)
    else:
        x = inputs
    if spec.vocabulary and (config.relative or config.autoregressive):
        raise ConfigError("rnn: relative and autoregressive: expected numbers, got token ids")
    numbers = x
    if config.relative:  # so that levels which training has not shown do not saturate the cells
        x = layers.Subtract(name="relative")(
            [x, layers.Cropping1D((spec.input_shape[0] - 1, 0), name="last_step")(x)]
        )
    for number in range(config.layers):
        if config.dropout and (number or spec.vocabulary):  # not of the inputs' own numbers
            x = layers.Dropout(config.dropout, name=f"dropout_{number}")(x)
        every_step = config.output == "many" or number < config.layers - 1
        recurrent = _CELLS[config.cell](
            config.units, return_sequences=every_step, name=f"layer_{number}"
        )
        if config.bidirectional:
            recurrent = layers.Bidirectional(recurrent, name=f"layer_{number}")
        x = recurrent(
            x
        )  # -> (B, T, units), twice as many both ways; the last of `output: one`: (B, units)
    x = layers.Dropout(config.dropout, name="dropout")(x) if config.dropout else x
    of_a_step = [1, *spec.target_shape[1:]][-1]  # numbers of one step's target
    size = spec.num_outputs if config.output == "one" or spec.num_classes else of_a_step
    outputs = layers.Dense(size, name="logits")(x)
    if config.autoregressive:
        if config.output == "many" or config.autoregressive > spec.input_shape[0]:
            raise ConfigError(
                f"rnn: autoregressive: expected one output, of {config.autoregressive} steps or more"
            )
        last = layers.Cropping1D(
            (spec.input_shape[0] - config.autoregressive, 0), name="last_steps"
        )(numbers)
        linear = layers.Dense(size, name="autoregressive")(
            layers.Flatten(name="flatten")(last)
        )  # (B, N, C) -> (B, outputs)
        outputs = layers.Add(name="sum")([outputs, linear])
    return keras.Model(inputs, outputs, name="rnn")


def _embedding(config: Rnn, num_tokens: int) -> layers.Embedding:
    options = config.embedding
    if options.name == "one_hot":
        return layers.Embedding(
            num_tokens,
            num_tokens,
            keras.initializers.Identity(),
            mask_zero=True,
            trainable=False,
            name="embedding",
        )
    trainable = options.name == "learned" or options.trainable
    return layers.Embedding(
        num_tokens, options.size, mask_zero=True, trainable=trainable, name="embedding"
    )


def initialize(model: keras.Model, config: Rnn, spec: Spec) -> None:
    """Puts the vectors of a GloVe or word2vec text file into the embedding; once, when a run begins."""
    if spec.vocabulary and config.embedding.name == "file":
        embedding = model.get_layer("embedding").embeddings
        embedding.assign(
            read_vectors(config.embedding.path, spec.tokens, keras.ops.convert_to_numpy(embedding))
        )


def read_vectors(path: str, tokens: list[str], vectors: np.ndarray) -> np.ndarray:
    """`vectors` [V, D] with the rows replaced of the tokens that the file has: lines `token x1 ... xD`.

    The first line may be word2vec's, `count D`. Raises DataError with the line for anything else, and where no token is
    there; says how many are not, which keep their random rows.
    """
    vectors, row_of, found = vectors.copy(), {token: row for row, token in enumerate(tokens)}, set()
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                token, *values = line.rstrip().rsplit(
                    " ", vectors.shape[1]
                )  # a token of some files holds blanks itself
                if number == 1 and len(line.split()) == 2 and vectors.shape[1] != 1:
                    continue
                if len(values) != vectors.shape[1]:
                    raise DataError(
                        f"{path}:{number}: expected a token and {vectors.shape[1]} numbers, got {len(line.split()) - 1}"
                    )
                if token in row_of:
                    row = np.array([float(value) for value in values], np.float32)
                    if not np.isfinite(row).all():
                        raise ValueError
                    vectors[row_of[token]] = row
                    found.add(token)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: expected UTF-8 text, got byte {error.object[error.start]:#x}"
        ) from error
    except ValueError as error:
        raise DataError(
            f"{path}:{number}: {token}: expected finite numbers, got {' '.join(values)[:40]!r}"
        ) from error
    own = [token for token in tokens if not (token.startswith("<") and token.endswith(">"))]
    missing = [token for token in own if token not in found]
    if len(missing) == len(own):
        raise DataError(
            f"{path}: expected vectors of the vocabulary, got none of its {len(own):,} tokens"
        )
    if missing:
        warn(
            f"{path}: {len(missing):,} of {len(own):,} tokens have no vector and begin at random: {', '.join(missing[:10])}"
        )
    return vectors
