"""Texts and sequences by hand: ids, lengths, padding, vocabularies."""

import numpy as np
import pytest
import tensorflow as tf
from operations import TARGETS, compiled, given_data, listed, op, row, run, texts, treat
from pydantic import ValidationError

from cli.program import ConfigError
from preprocess_data import measured, vocabulary

TEXTS = {"inputs": np.array(["a b", "The cat", "x", "Ä b c a"], object)}
IDS = {
    "inputs": np.array([[4, 5, 6, 0], [7, 0, 0, 0], [1, 2, 3, 4], [5, 6, 0, 0]], np.int32),
    **TARGETS,
}
EXAMPLES = {  # (options, features)
    "lowercase": ({}, TEXTS),
    "tokenize": ({"vocabulary": "a\nb", "ends": True}, TEXTS),
    "truncate": ({"length": 2, "keep": "last"}, IDS),
    "pad": ({"length": 6}, IDS),
    "reverse": ({}, IDS),
    "token_dropout": ({"rate": 0.5}, IDS),
    "skip_gram": (
        {"window": 1, "negatives": 3, "frequencies": [0.0, 0.0, 1.0, 2.0, 3.0, 4.0]},
        IDS,
    ),
}


def test_lowercase_by_hand():
    found = run("lowercase", np.array(["ÄRGER Ñ ŁẞŐ x1", ""], object))
    assert [text.decode() for text in found] == ["ärger ñ łßő x1", ""]


@pytest.mark.parametrize(
    ("options", "texts", "expected"),
    [
        ({"vocabulary": "a\nb"}, ["b  a zebra", "a", ""], [[3, 2, 1], [2, 0, 0], [0, 0, 0]]),
        ({"vocabulary": "ä\nb", "level": "characters"}, ["äb", " b"], [[2, 3], [1, 3]]),
        ({"vocabulary": "a\nb", "ends": True}, ["b x", ""], [[5, 1, 3], [3, 0, 0]]),
    ],
)
def test_tokenize_by_hand(options, texts, expected):
    found = treat(
        [op("tokenize", of="targets", **options)],
        {"inputs": np.zeros(len(texts)), "targets": np.array(texts, object)},
    )
    assert found["targets"].tolist() == expected and found["targets"].dtype == np.int32
    assert found["sample_weight"].tolist() == [
        [float(token != 0) for token in row] for row in expected
    ]


TAGGED = {  # lengths 4 and 2, the class 0 among the tags
    "inputs": np.array([[5, 6, 7, 8], [9, 4, 0, 0]], np.int32),
    "targets": np.array([[0, 1, 2, 0], [0, 0, 0, 0]]),
    "sample_weight": np.array([[1, 1, 1, 1], [1, 1, 0, 0]], np.float32),
}


PAIRS = {  # inputs of lengths 4 and 1, targets of 2 and 3
    "inputs": np.array([[5, 6, 7, 8], [9, 0, 0, 0]], np.int32),
    "targets": np.array([[5, 6, 0], [7, 8, 9]], np.int32),
    "sample_weight": np.array([[1, 1, 0], [1, 1, 1]], np.float32),
}


@pytest.mark.parametrize(
    ("features", "config", "inputs", "targets", "weight"),
    [
        (
            TAGGED,
            row("truncate", length=3, of="both"),
            [[5, 6, 7], [9, 4, 0]],
            [[0, 1, 2], [0, 0, 0]],
            [[1, 1, 1], [1, 1, 0]],
        ),
        (
            TAGGED,
            row("truncate", length=3, of="both", keep="last"),
            [[6, 7, 8], [9, 4, 0]],
            [[1, 2, 0], [0, 0, 0]],
            [[1, 1, 1], [1, 1, 0]],
        ),
        (
            TAGGED,
            row("reverse", of="both"),
            [[8, 7, 6, 5], [4, 9, 0, 0]],
            [[0, 2, 1, 0], [0, 0, 0, 0]],
            TAGGED["sample_weight"],
        ),
        (
            TAGGED,
            row("pad", length=5, of="both"),
            [[5, 6, 7, 8, 0], [9, 4, 0, 0, 0]],
            [[0, 1, 2, 0, 0], [0] * 5],
            [[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]],
        ),
        (
            PAIRS,
            row("truncate", length=2, of="both", keep="last"),
            [[7, 8], [9, 0]],
            [[5, 6], [8, 9]],
            [[1, 1], [1, 1]],
        ),
        (
            PAIRS,
            row("truncate", length=1, of="targets", keep="last"),
            PAIRS["inputs"],
            [[6], [9]],
            [[1], [1]],
        ),
        (
            PAIRS,
            row("reverse", of="both"),
            [[8, 7, 6, 5], [9, 0, 0, 0]],
            [[6, 5, 0], [9, 8, 7]],
            PAIRS["sample_weight"],
        ),
        (
            PAIRS,
            row("reverse"),
            [[8, 7, 6, 5], [9, 0, 0, 0]],
            PAIRS["targets"],
            PAIRS["sample_weight"],
        ),
    ],
)
def test_sequences_are_cut_padded_and_turned_each_by_its_own_length(
    features, config, inputs, targets, weight
):
    found = treat(listed([config]), features)
    for key, expected in (("inputs", inputs), ("targets", targets), ("sample_weight", weight)):
        np.testing.assert_array_equal(found[key], expected)


def test_too_long_a_sequence_to_pad_is_an_error():
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="longer than 3: put `truncate` before"
    ):
        run("pad", TAGGED["inputs"], length=3)
    with pytest.raises(
        ConfigError, match="pad: length: expected at least 4, as long as the inputs, got 3"
    ):
        compiled([op("pad", length=3)], TAGGED)


def test_token_dropout_spares_padding_and_drops_the_rate():
    ids = np.where(np.arange(100) < 80, 7, 0).astype(np.int32)[np.newaxis].repeat(200, 0)
    found = run("token_dropout", ids, rate=0.25)
    assert set(np.unique(found[:, :80])) == {1, 7} and not found[:, 80:].any()
    assert abs((found[:, :80] == 1).mean() - 0.25) < 0.02  # 6 standard errors
    assert len({row.tobytes() for row in found}) == 200


def test_skip_gram_takes_true_neighbors_and_random_tokens_by_frequency():
    """Window 1 over 4 5 6 and padding.

    (none, 5), (4, 6), (5, none). Negatives by frequency^0.75: 16^0.75 = 8 against 1^0.75.
    """
    ids = np.int32([[4, 5, 6, 0]])
    found = treat(
        [op("skip_gram", window=1, negatives=2, frequencies=[0, 0, 0, 0, 16, 1, 0])],
        {"inputs": ids},
    )
    assert found["targets"].shape == (1, 4, 2, 3) and found["targets"].dtype == np.int32
    assert found["targets"][0, :3, :, 0].tolist() == [[0, 5], [4, 6], [5, 0]]
    assert found["sample_weight"].tolist() == [[[0, 1], [1, 1], [1, 0], [0, 0]]]
    many = treat(
        [op("skip_gram", window=1, negatives=5, frequencies=[0, 0, 0, 0, 16, 1, 0])],
        {"inputs": np.repeat(ids, 900, axis=0)},
    )
    drawn = (
        np.bincount(many["targets"][..., 1:].ravel(), minlength=7) / many["targets"][..., 1:].size
    )
    np.testing.assert_allclose(drawn[4:6], [8 / 9, 1 / 9], atol=0.01)
    assert drawn[[0, 1, 2, 3, 6]].sum() == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["b", "a", "c", "é"]),  # by count, then by alphabet
        ({"max_tokens": 4}, ["b", "a"]),  # padding and unknown are two of the four
        ({"max_tokens": 5, "ends": True}, ["b"]),
        ({"level": "characters", "max_tokens": 5}, [" ", "b", "a"]),
    ],
)
def test_tokenize_measures_the_most_frequent_tokens(monkeypatch, options, expected):
    train = {"inputs": texts("b a", "b c a", "é b")}
    data = given_data(monkeypatch, [row("tokenize", **options)], train=train)
    assert measured(data).ops[0].vocabulary.split("\n") == expected


def test_tokenize_measures_the_training_texts_alone(monkeypatch):
    train, valid = (
        texts(*(f"word{i}" for i in range(160))),
        texts(*(f"word{i}" for i in range(160, 200))),
    )
    data = measured(
        given_data(monkeypatch, [row("tokenize")], train={"inputs": train}, valid={"inputs": valid})
    )
    known = {text.decode() for text in train}
    assert set(data.ops[0].vocabulary.split("\n")) == known and len(known) == len(train) < 200
    assert (treat(data.ops, {"inputs": valid})["inputs"] == 1).all()


def test_the_vocabulary_gives_each_token_its_id():
    config = op("tokenize", vocabulary="a\nb", ends=True)
    tokens = vocabulary([op("lowercase"), config])
    ids = treat([config], {"inputs": texts("b a")})["inputs"][0]
    assert [tokens[number] for number in ids] == ["b", "a", "<end>"]
    assert vocabulary([config], "targets") == []


def test_tokenize_and_a_vocabulary_without_room_for_a_token_is_refused():
    with pytest.raises(ValidationError, match="expected at least 5 with `ends`"):
        op("tokenize", ends=True, max_tokens=4)
