"""Columns of tables and series by hand."""

import numpy as np
import pytest
from operations import RNG, TARGETS, given_data, op, row, treat

from cli.program import ConfigError
from preprocess_data import measured

EXAMPLES = {  # (options, features)
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
