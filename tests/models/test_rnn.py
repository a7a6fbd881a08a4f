"""Recurrent networks: padding changes nothing, and vectors come from files."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from networks import (
    build_step,
    evaluator,
    network,
    restore_all,
    spec_of,
    task,
    write_and_zero,
)

from cli.program import ConfigError, DataError
from engine.variables import named_variables
from model import build_model, initialize
from train_config import Adam

IDS = np.random.default_rng(0).integers(2, 12, [16, 7], np.int32) * (
    np.arange(7) < np.arange(16)[:, np.newaxis] % 6 + 2
)
ONE = spec_of([None], 3, "int32", vocabulary="<pad>\n<unknown>\n" + "\n".join("abcdefghij"))
MANY = ONE.model_copy(update={"target_shape": [None]})
SERIES = spec_of([6, 1], 0, target_shape=[1], target_dtype="float32")


def rnn(**options):
    return network("rnn", units=8, embedding={"name": "learned", "size": 5}, **options)


GRID = [
    rnn(cell=cell, bidirectional=both, layers=layers, output=output, dropout=0.1)
    for cell, both, layers, output in itertools.product(
        ["simple", "lstm", "gru"], [False, True], [1, 2], ["one", "many"]
    )
]


# Every pair of options: each cell in two ways that differ in all the rest.
QUICK = {
    "simple-one-1-one",
    "simple-both-2-many",
    "lstm-one-2-many",
    "lstm-both-1-one",
    "gru-both-1-many",
    "gru-one-2-one",
}


def name_of(config):
    return (
        f"{config.cell}-{'both' if config.bidirectional else 'one'}-{config.layers}-{config.output}"
    )


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(
            config, id=name_of(config), marks=[pytest.mark.slow] * (name_of(config) not in QUICK)
        )
        for config in GRID
    ],
)
def test_every_recurrent_network_trains_saves_restores_and_evaluates(config, tmp_path):
    """How often a token stands in a sequence, or which token it is.

    Both can be learned from 16 examples. And padding is nothing.
    """
    many = config.output == "many"
    spec = MANY if many else ONE
    scored = task("tagging" if many else "classification", spec)
    targets = IDS % 3 if many else (IDS != 0).sum(axis=1) % 3
    weight = np.float32(IDS != 0) if many else np.ones(16, np.float32)
    batch = {
        "inputs": IDS,
        "targets": np.int64(targets),
        "sample_weight": weight,
        "id": np.arange(16),
    }
    batches = tf.data.Dataset.from_tensors(batch).repeat()
    model = build_model(config, spec)
    step = build_step(model, scored, Adam(name="adam", learning_rate=0.03), 40, batch_size=16)
    evaluate = evaluator(model, scored)
    before = evaluate(batches)
    assert bool(step.run(iter(batches), tf.constant(40)))
    after = evaluate(batches)
    assert after["loss"] < 0.6 * before["loss"] and after["accuracy"] > before["accuracy"]

    outputs, variables = model(IDS).numpy(), named_variables(model=model.variables)
    write_and_zero(tmp_path, variables)
    assert evaluate(batches) != after
    restore_all(tmp_path, variables, "model")
    assert evaluate(batches) == after
    np.testing.assert_array_equal(model(IDS), outputs)

    longer = model(np.pad(IDS, [[0, 0], [0, 4]])).numpy()  # bit for bit
    np.testing.assert_array_equal(
        (longer[:, :7] if many else longer)[weight > 0], outputs[weight > 0]
    )
    unmasked = model(
        np.where(IDS == 0, 1, IDS)
    ).numpy()  # the control: other tokens there do change something
    assert not np.array_equal(unmasked, outputs)


def test_rows_of_images_and_an_autoregressive_part():
    """The sum of a recurrent and a linear part.

    With the logits' kernel at 0, it is the linear one.
    """
    images = ONE.model_copy(
        update={"input_shape": [28, 28, 1], "input_dtype": "float32", "vocabulary": ""}
    )
    assert build_model(rnn(), images).get_layer("rows").output.shape == (None, 28, 28)
    model = build_model(rnn(autoregressive=2), SERIES)
    model.get_layer("logits").kernel.assign(np.zeros([8, 1]))
    model.get_layer("autoregressive").kernel.assign([[10.0], [1.0]])
    values = np.float32([[[9], [9], [9], [9], [3], [4]]])
    np.testing.assert_allclose(model(values), [[34.0]])
    for relative in (True, False):  # to see every step less the last is to see no level
        model = build_model(rnn(relative=relative), SERIES)
        assert np.allclose(model(values), model(values + 100), atol=1e-5) is relative


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (
            ONE.model_copy(update={"vocabulary": "", "input_dtype": "float32", "input_shape": [4]}),
            {},
            "expected token ids, or numbers in sequences",
        ),
        (ONE, {"output": "many"}, "output: many: expected a target for every step"),
        (
            ONE,
            {"autoregressive": 3},
            "relative and autoregressive: expected numbers, got token ids",
        ),
        (ONE, {"relative": True}, "relative and autoregressive: expected numbers, got token ids"),
        (SERIES, {"autoregressive": 7}, "autoregressive: expected one output, of 7 steps or more"),
        (
            SERIES.model_copy(update={"input_shape": [None, 1]}),
            {},
            "expected token ids, or numbers in sequences of one length",
        ),
    ],
)
def test_what_rnn_refuses(spec, options, message):
    with pytest.raises(ConfigError, match=message):
        build_model(rnn(**options), spec)


# ---- vectors


def with_vectors(tmp_path, text, size=2, trainable=False):
    (tmp_path / "vectors.txt").write_text(text)
    section = {
        "name": "file",
        "path": str(tmp_path / "vectors.txt"),
        "size": size,
        "trainable": trainable,
    }
    config = network("rnn", embedding=section)
    model = build_model(config, ONE)
    fresh = model.get_layer("embedding").embeddings.numpy()
    initialize(model, config, ONE)
    return fresh, model.get_layer("embedding")


@pytest.mark.parametrize("header", ["", "3 2\n"], ids=["glove", "word2vec"])
def test_vectors_from_a_file(tmp_path, header, capsys):
    fresh, embedding = with_vectors(tmp_path, header + "a 1 2\nzebra 7 7\nc -3 4e-1\n")
    found = embedding.embeddings.numpy()
    np.testing.assert_allclose(found[[2, 4]], [[1, 2], [-3, 0.4]])
    others = [0, 1, 3, *range(5, 12)]
    np.testing.assert_array_equal(found[others], fresh[others])
    assert (
        not embedding.trainable
        and "8 of 10 tokens have no vector and begin at random: b, d" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1 2 3\nb 1 2\nc 1", ":3: expected a token and 2 numbers, got 1"),
        ("a 1 x\n", ":1: a: expected finite numbers, got '1 x'"),
        ("a 1 nan\n", ":1: a: expected finite numbers, got '1 nan'"),
        ("zebra 1 2\n", "expected vectors of the vocabulary, got none of its 10 tokens"),
    ],
)
def test_vectors_that_are_none(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        with_vectors(tmp_path, text)


def test_one_hot_tokens_are_frozen():
    model = build_model(network("rnn", embedding={"name": "one_hot"}), ONE)
    assert "embedding/embeddings" not in [v.path for v in model.trainable_variables]
    np.testing.assert_array_equal(model.get_layer("embedding").embeddings, np.eye(12))
