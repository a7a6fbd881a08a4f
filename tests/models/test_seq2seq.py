"""Sequence to sequence: attention and decoding do what their papers say."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from networks import IDS as CYCLES
from networks import TEXT, check_trains, example_of, network, spec_of

from cli.program import ConfigError
from model import build_model

SMALL = {"embedding": 8, "encoder": {"units": 8}, "decoder": {"units": 16}}
OTHERS = [{"attention": kind, **SMALL} for kind in ("none", "luong_general", "bahdanau")]
SLOW_PRECISIONS = True
EXAMPLE = {
    "spec": TEXT,
    "task": {"name": "seq2seq"},
    "batch": {"inputs": CYCLES, "targets": CYCLES, "sample_weight": np.ones([32, 6], np.float32)},
}
IDS = np.random.default_rng(0).integers(2, 12, [16, 7], np.int32) * (
    np.arange(7) < np.arange(16)[:, np.newaxis] % 6 + 2
)
ONE = spec_of([None], 3, "int32", vocabulary="<pad>\n<unknown>\n" + "\n".join("abcdefghij"))
BOTH = spec_of(
    [None],
    0,
    "int32",
    target_shape=[None],
    target_dtype="int32",
    vocabulary=ONE.vocabulary,
    target_vocabulary="<pad>\n<unknown>\n<start>\n<end>\nA\nB\nC",
)


@pytest.mark.parametrize(
    ("options", "precision"),
    [
        pytest.param(
            options,
            precision,
            marks=[pytest.mark.slow]
            * (options["attention"] != "bahdanau" or precision != "bfloat16"),
            id=f"{options['attention']}-{precision}",
        )
        for options in OTHERS
        for precision in ("bfloat16", "float64")
    ],
)
def test_every_attention_trains_and_is_scored_in_other_precisions(options, precision):
    config = network("seq2seq", **options)
    check_trains(config, precision, *example_of(config))


def translator(attention="luong_dot", seed=0, **options):
    sizes = {
        "embedding": 5,
        "encoder": {"units": 4, "layers": 2},
        "decoder": {"units": 8, "layers": 2},
    }
    return build_model(network("seq2seq", attention=attention, **sizes | options), BOTH, seed=seed)


SOURCES, PREVIOUS = IDS[:4], np.int32([[2, 4, 5], [2, 5, 3], [2, 6, 6], [2, 4, 4]])
each_attention = pytest.mark.parametrize(
    "attention", ["none", "luong_dot", "luong_general", "luong_concat", "bahdanau"]
)


@each_attention
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_attention_is_a_distribution_over_what_is_there(attention, cell):
    """Rows sum to 1, padding gets 0, and so more padding changes nothing but the last bits of a
    longer sum.
    """
    model = translator(attention, cell=cell)
    found = model({"source": SOURCES, "previous": PREVIOUS})
    assert found["logits"].shape == (4, 3, 7) and found["attention"].shape == (4, 3, 7)
    if attention == "none":
        assert not np.any(found["attention"])
    else:
        np.testing.assert_allclose(np.sum(found["attention"], axis=2), np.ones([4, 3]), rtol=1e-6)
        padding = np.broadcast_to((SOURCES == 0)[:, np.newaxis], [4, 3, 7])
        assert (
            np.max(np.array(found["attention"])[padding])
            < 1e-6
            < np.min(np.array(found["attention"])[~padding])
        )
    longer = model({"source": np.pad(SOURCES, [[0, 0], [0, 3]]), "previous": PREVIOUS})
    np.testing.assert_allclose(longer["logits"], found["logits"], atol=1e-6)


@each_attention
def test_a_decoder_sees_only_what_came_before(attention):
    model = translator(attention)
    first = model({"source": SOURCES, "previous": PREVIOUS})["logits"].numpy()
    changed = PREVIOUS.copy()
    changed[:, 2] = 5 - (changed[:, 2] == 5)
    second = model({"source": SOURCES, "previous": changed})["logits"].numpy()
    np.testing.assert_array_equal(first[:, :2], second[:, :2])
    assert not np.allclose(first[:, 2], second[:, 2])


@each_attention
def test_dropout_reaches_every_layer_in_training_alone(attention):
    """Also within the loop of Bahdanau's decoder, from where gradients come back."""
    model = translator(attention, dropout=0.5)
    inputs = {"source": SOURCES, "previous": PREVIOUS}

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(inputs, training=True)["logits"] ** 2)
        return loss, [
            tf.convert_to_tensor(each) for each in tape.gradient(loss, model.trainable_variables)
        ]

    (first, found), (second, _) = gradients(), gradients()
    assert float(first) != float(second)
    assert all(np.isfinite(each).all() and np.any(each) for each in found)
    np.testing.assert_array_equal(model(inputs)["logits"], model(inputs)["logits"])
    state, x = [tf.ones([4, 8])] * 2, tf.ones([4, 1, 5 + 8 * (attention == "bahdanau")])
    outputs = [
        model.decoder.recur(x, state, training=True)[0].numpy() for _ in range(4)
    ]  # two layers, dropout between them
    assert any(not np.array_equal(outputs[0], other) for other in outputs[1:])


def likely(model, sequences) -> np.ndarray:
    """Log probability over length^0.6 of each of some sequences of one length for the first source,
    by teacher forcing.
    """
    tokens = np.array(sequences, np.int32)
    previous = np.concatenate([np.full([len(tokens), 1], 2, np.int32), tokens[:, :-1]], axis=1)
    logits = model({"source": np.repeat(SOURCES[:1], len(tokens), axis=0), "previous": previous})[
        "logits"
    ]
    chosen = tf.gather(tf.nn.log_softmax(logits), tokens, batch_dims=2).numpy()
    return chosen.sum(axis=1) / tokens.shape[1] ** 0.6


@each_attention
def test_greedy_writing_takes_the_most_likely_token_each_time(attention):
    model = translator(attention, seed=3)
    written = model.write(SOURCES).numpy()
    previous = np.concatenate([np.full([4, 1], 2), written[:, :-1]], axis=1)
    logits = model({"source": SOURCES, "previous": np.int32(previous)})["logits"].numpy()
    logits[:, :, [0, 2]] = -np.inf  # neither padding nor another start
    going_on = np.cumsum(previous == 3, axis=1) == 0  # after its end a sequence is only padded
    np.testing.assert_array_equal(written, np.where(going_on, logits.argmax(axis=2), 0))


@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_the_most_likely_sequence_of_all(seed):
    """Ends are made likely, so that the best of all sequences of up to four tokens is the best of
    all.
    """
    model = translator("luong_general", seed=seed)
    model.decoder.logits.bias.assign([0, 0, 0, 1.0, 0.5, 0.2, 0])
    written = model.write(SOURCES[:1], beam=200).numpy()[0]
    found = tuple(written[: list(written).index(3) + 1])
    every = [
        [(*tokens, 3) for tokens in itertools.product((1, 4, 5, 6), repeat=length)]
        for length in range(4)
    ]
    best, sequence = max(
        (score, sequence)
        for some in every
        for score, sequence in zip(likely(model, some), some, strict=True)
    )
    assert likely(model, [found])[0] >= best - 1e-5
    assert len(found) > 4 or found == sequence
    assert not np.any(written[len(found) :])


def test_each_source_of_a_batch_is_written_for_itself():
    model = translator(seed=5)
    together = model.write(SOURCES, beam=3).numpy()
    for row, source in enumerate(SOURCES):
        alone = model.write(source[np.newaxis], beam=3).numpy()[0]
        shorter = min(len(alone), together.shape[1])
        np.testing.assert_array_equal(together[row, :shorter], alone[:shorter])


def test_what_seq2seq_refuses():
    with pytest.raises(
        ConfigError,
        match="luong_dot expected as many of both, got 8 units of the encoder and 9 of the decoder",
    ):
        translator(decoder={"units": 9})
    with pytest.raises(ConfigError, match="expected token ids as inputs and as targets"):
        build_model(network("seq2seq"), ONE)
