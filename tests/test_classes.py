"""Some of the classes of a data set, numbered in the order in which they are named."""

import numpy as np
import pytest
import tensorflow as tf
from places import TINY

import data_loader
import input_ops
from cli.program import ConfigError, DataError
from data_loader import from_arrays, of_classes
from train_config import Spec, load_config, save_config

SEVEN = from_arrays(
    "seven",
    {"inputs": np.arange(7.0), "targets": np.array([2, 0, 1, 2, 3, 1, 2])},
    list("abcd"),
    "file",
)


def test_classes_are_chosen_and_numbered_in_their_order():
    source = of_classes(SEVEN, ["c", "a"])
    assert (len(source), source.class_names, source.labels.tolist()) == (
        4,
        ("c", "a"),
        [0, 1, 0, 0],
    )
    found = source.read(tf.constant([3, 0, 1], tf.int64))
    assert found["inputs"].numpy().tolist() == [6.0, 0.0, 1.0] and found[
        "targets"
    ].numpy().tolist() == [0, 0, 1]
    assert found["targets"].dtype == SEVEN.read(tf.constant([0], tf.int64))["targets"].dtype
    assert source.locate(2) == "file: record 3"
    fingerprints = {
        each.fingerprint
        for each in (SEVEN, source, of_classes(SEVEN, ["a", "c"]), of_classes(SEVEN, ["c", "b"]))
    }
    assert len(fingerprints) == 4


def test_classes_of_stored_examples():
    stored = data_loader.Source(
        **{
            **vars(SEVEN),
            "stored_bytes": 700,
            "block_length": 2,
            "read_in_blocks": lambda number: SEVEN.read,
        }
    )
    source = of_classes(stored, ["c", "a"])
    assert (source.stored_bytes, source.block_length, source.read_in_blocks) == (400, 0, None)


def test_classes_of_texts_keep_their_sizes():
    texts = from_arrays(
        "texts",
        {
            "inputs": np.array([b"aaa", b"b", b"cc", b"dddd"], object),
            "targets": np.array([0, 1, 0, 2]),
        },
        list("xyz"),
    )
    assert texts.sizes.tolist() == [3, 1, 2, 4] and of_classes(
        texts, ["x", "z"]
    ).sizes.tolist() == [3, 2, 4]


def test_classes_that_cannot_be_had_are_named():
    with pytest.raises(DataError, match="seven: classes: no class 'e'; it has a, b, c, d"):
        of_classes(SEVEN, ["a", "e"])
    with pytest.raises(DataError, match="expected a set that knows the class of each example"):
        of_classes(data_loader.Source(**{**vars(SEVEN), "labels": None}), ["a", "b"])
    soft = from_arrays("soft", {"inputs": np.arange(2.0), "targets": np.eye(2)}, list("ab"))
    with pytest.raises(DataError, match="expected a class index as the target"):
        of_classes(data_loader.Source(**{**vars(soft), "labels": np.arange(2)}), ["a", "b"])
    empty = from_arrays(
        "empty", {"inputs": np.arange(2.0), "targets": np.array([0, 1])}, list("abcd")
    )
    assert len(of_classes(empty, ["c", "d"])) == 0


def open_tiny(split: str, classes: str | None = None):
    options = f"data.train={{name: tiny_numbers, num_classes: 10, classes: {classes or 'null'}}}"
    return input_ops.open_mix(load_config(TINY, [options]).data, split, training=False)


@pytest.mark.parametrize("split", ["train", "valid"])
def test_classes_are_chosen_in_every_split(split):
    part = open_tiny(split, "[class 9, class 0]").sources[0].source
    whole = open_tiny(split).sources[0].source
    assert len(part) == (whole.labels == 9).sum() + (whole.labels == 0).sum() > 0
    mine = part.read(tf.range(len(part), dtype=tf.int64))
    chosen = tf.constant(np.flatnonzero((whole.labels == 9) | (whole.labels == 0)))
    np.testing.assert_array_equal(mine["inputs"], whole.read(chosen)["inputs"])
    np.testing.assert_array_equal(mine["targets"], whole.labels[chosen.numpy()] == 0)


def test_other_classes_in_validation_than_in_training_are_refused():
    classes = "[class 1, class 2]"
    spec = input_ops.spec_of(open_tiny("train", classes))
    assert spec.class_names == ["class 1", "class 2"]
    with pytest.raises(DataError, match="num_classes: expected 2, as in training, got 10"):
        input_ops.check_spec(spec, open_tiny("valid"))


# ---- as training numbered them


def test_labels_of_another_set_are_numbered_by_the_names_of_training():
    """`seven` has a b c d; training knew d c b a x."""
    source = data_loader.by_names(SEVEN, ("d", "c", "b", "a", "x"))
    assert source.class_names == ("d", "c", "b", "a", "x")
    assert source.labels.tolist() == [1, 3, 2, 1, 0, 2, 1]
    found = source.read(tf.range(7, dtype=tf.int64))["targets"].numpy().tolist()
    assert found == source.labels.tolist()
    assert source.notes == ("its classes are numbered as in training, without x",)
    assert data_loader.by_names(SEVEN, SEVEN.class_names) is SEVEN


def test_a_class_without_examples_may_be_unknown_to_training_and_another_may_not():
    known = ("a", "b", "c")
    with pytest.raises(DataError, match="seven: d: a class that training does not have; expected"):
        data_loader.by_names(SEVEN, known)
    features = {"inputs": np.arange(3.0), "targets": np.array([2, 0, 1])}
    without = data_loader.from_arrays("three", features, list("abcd"))
    assert data_loader.by_names(without, known).labels.tolist() == [2, 0, 1]


def test_a_class_that_only_another_split_has_is_said():
    source = of_classes(SEVEN, ["c", "nobody", "a"], must_exist=False)
    assert source.labels.tolist() == [0, 2, 0, 0]
    assert source.notes == ("classes: no class 'nobody'; it has a, b, c, d",)


def test_a_hundred_thousand_class_names_have_a_file_of_their_own(tmp_path):
    names = [f"class\n{number}" for number in range(100_000)]
    spec = Spec(
        input_shape=[1],
        input_dtype="float32",
        target_shape=[],
        target_dtype="int64",
        num_classes=len(names),
        class_names=names,
    )
    file = tmp_path / "config.yaml"
    save_config(load_config(TINY).model_copy(update={"spec": spec}), file)
    assert file.stat().st_size < 10_000
    assert load_config(file).spec == spec
    (tmp_path / "class_names.jsonl").write_text('"one"\n')
    with pytest.raises(ConfigError, match=r"class_names.jsonl: expected the names of 100,000"):
        load_config(file)
    (tmp_path / "class_names.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"class_names.jsonl: expected the names of 100,000"):
        load_config(file)


# ---- fewer of a class


def test_at_most_so_many_examples_of_a_class():
    """`seven` has two b and three c; one c goes, the same each time."""
    source = data_loader.at_most(SEVEN, {"c": 2, "b": 5})
    assert np.bincount(source.labels).tolist() == [1, 2, 2, 1]
    assert source.notes == ("1 examples left out by at_most",)
    inputs = source.read(tf.range(6, dtype=tf.int64))["inputs"].numpy()
    assert SEVEN.labels[inputs.astype(int)].tolist() == source.labels.tolist()
    assert [source.locate(row) for row in range(6)] == [f"file: record {n:.0f}" for n in inputs]
    again = data_loader.at_most(SEVEN, {"c": 2})
    assert again.read(tf.range(6, dtype=tf.int64))["inputs"].numpy().tolist() == inputs.tolist()
    assert again.fingerprint != SEVEN.fingerprint


def test_at_most_of_a_class_that_is_not_there():
    with pytest.raises(DataError, match="seven: at_most: no class 'e'; it has a, b, c, d"):
        data_loader.at_most(SEVEN, {"e": 2})
