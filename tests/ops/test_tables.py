"""Columns of tables and series by hand."""

import numpy as np
import pytest
from operations import RNG, TARGETS, given_data, op, row, treat

from cli.program import ConfigError, DataError
from preprocess_data import measured

GAPS = {  # a table with `missing: keep`
    "inputs": np.float32([[1, 0], [0, 4], [3, 6], [3, 0]]),
    "missing": np.float32([[0, 1], [1, 0], [0, 0], [0, 1]]),
    **TARGETS,
}
EXAMPLES = {  # (options, features)
    "fill": ({"values": [2.5, -1], "indicator": True}, GAPS),
    "window": (
        {"horizon": 2, "column": 1},
        {"inputs": RNG.normal(size=(4, 6, 2)).astype(np.float32)},
    ),
    "encode_categories": (
        {"categories": [["a", "b"], ["x", "y"]]},
        {
            "inputs": np.eye(4, dtype=np.float32),
            "categories": np.array([["a", "x"], ["b", "y"], ["a", "?"], ["?", "x"]], object),
            **TARGETS,
        },
    ),
}


def test_window_splits_off_the_steps_to_be_forecast():
    series = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    split = treat([op("window", horizon=2, column=1)], {"inputs": series})
    assert split["inputs"].tolist() == series[:, :2].tolist()
    assert split["targets"].tolist() == [[7, 10], [19, 22]]
    for options in ({"horizon": 4}, {"column": 3}):
        with pytest.raises(ConfigError, match="window: expected series"):
            treat([op("window", **options)], {"inputs": series})


def test_encode_categories_makes_an_unseen_category_all_zeros():
    inputs = {
        "inputs": np.float32([[5], [6]]),
        "categories": np.array([["b", "x"], ["new", "x"]], object),
    }
    found = treat([op("encode_categories", categories=[["a", "b"], ["x"]])], inputs)
    assert found["inputs"].tolist() == [[5, 0, 1, 1], [6, 0, 0, 1]] and "categories" not in found


def test_encode_categories_measures_those_of_the_training_rows(monkeypatch):
    kinds = {
        split: np.array([[text.encode()] for text in values], object)
        for split, values in (("train", "abababab"), ("valid", ["late"]))
    }
    splits = {
        split: {"inputs": np.zeros((len(values), 0), np.float32), "categories": values}
        for split, values in kinds.items()
    }
    data = measured(given_data(monkeypatch, [row("encode_categories")], **splits))
    assert data.ops[0].categories == [["a", "b"]]
    assert treat(data.ops, splits["valid"])["inputs"].tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("options", "values"),
    [
        ({}, [7 / 3, 5]),
        ({"statistic": "median"}, [3, 5]),
        ({"statistic": "most_frequent"}, [3, 4]),  # the smallest of 4 and 6
        ({"values": [0]}, [0, 0]),
    ],
)
def test_fill_puts_a_value_of_the_training_rows_into_gaps(monkeypatch, options, values):
    data = measured(given_data(monkeypatch, [row("fill", **options)], train=GAPS))
    found = treat(data.ops, GAPS)
    first, second = np.float32(values)
    assert found["inputs"].tolist() == [[1, second], [first, 4], [3, 6], [3, second]]
    assert "missing" not in found


def test_fill_says_what_was_missing():
    found = treat([op("fill", values=[2, 5], indicator=True)], GAPS)
    assert found["inputs"].tolist() == [[1, 5, 0, 1], [2, 4, 1, 0], [3, 6, 0, 0], [3, 5, 0, 1]]


def test_fill_comes_first_and_needs_gaps_and_values(monkeypatch):
    with pytest.raises(ConfigError, match="standardize: expected no missing values; put `fill`"):
        treat([op("standardize", mean=[0], std=[1])], GAPS)
    with pytest.raises(ConfigError, match="fill: values: expected 1 or 2, one per column, got 3"):
        treat([op("fill", values=[1, 2, 3])], GAPS)
    full = {key: value for key, value in GAPS.items() if key != "missing"}
    with pytest.raises(ConfigError, match="fill: expected a table with `missing: keep`"):
        treat([op("fill", values=[1])], full)
    empty = GAPS | {"missing": np.float32([[0, 1]] * 4)}
    with pytest.raises(DataError, match="fill: column 1, from 0, has no value in the training"):
        measured(given_data(monkeypatch, [row("fill")], train=empty))
