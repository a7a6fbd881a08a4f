"""The door to the data sets: how one is found, and what arrays in memory must be like."""

import sys
import types

import numpy as np
import pytest
from loading import load

import data_loader
import sources
from cli.program import ConfigError, DataError


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file; expected a function `load`"), ("", "expected a function `load`")],
    ids=["no file", "no function"],
)
def test_a_data_set_without_file_or_function(monkeypatch, tmp_path, content, message):
    monkeypatch.setattr(sources, "__path__", [str(tmp_path)])
    monkeypatch.setitem(sys.modules, "sources.tiny_numbers", None)  # so that it is as before after
    monkeypatch.delitem(sys.modules, "sources.tiny_numbers")
    if content is not None:
        (tmp_path / "tiny_numbers.py").write_text(content)
    with pytest.raises(ConfigError) as caught:
        load("train", "tiny_numbers")
    assert str(caught.value).startswith(f"sources/tiny_numbers.py: {message} for 'tiny_numbers'")
    assert len(str(caught.value).splitlines()) == 1


def test_a_source_without_examples(monkeypatch):
    empty = types.SimpleNamespace(name="sources.tiny_numbers")
    features = {"inputs": np.zeros((0, 2)), "targets": np.zeros(0, np.int64)}
    empty.load = lambda config, split, directory: data_loader.from_arrays("none", features, ["a"])
    monkeypatch.setitem(sys.modules, "sources.tiny_numbers", empty)
    monkeypatch.setattr(data_loader, "look_up", lambda *_: empty.load)
    with pytest.raises(DataError, match="none: expected at least one example in valid, got none"):
        load("valid", "tiny_numbers")


def test_features_of_different_lengths():
    with pytest.raises(
        DataError, match=r"toy: expected features of one length, got {'inputs': 3, 'targets': 2}"
    ):
        data_loader.from_arrays("toy", {"inputs": np.zeros(3), "targets": np.zeros(2)}, ["a"])
