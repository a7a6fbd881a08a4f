"""Examples of one's own: what is taken, what is decided and said, what is refused."""

import numpy as np
import pytest
import tensorflow as tf
from loading import read
from small_files import exif, jpeg, pixels, png

import data_loader
from cli.program import DataError
from data_loader import source_from
from sources import given as module
from train_config import Data

PICTURES = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3, 1)


def example(_folder) -> dict:
    """Given for the rest of this thread."""
    data_loader._GIVEN.set({"train": source_from((np.eye(4), np.array([0, 1, 2, 0])))})
    return {}


def taken(examples, *arguments, **options) -> tuple[dict, tuple, tuple]:
    source = source_from(examples, *arguments, **options)
    features = read(source)
    return features, source.class_names, source.notes


@pytest.mark.parametrize(
    ("inputs", "dtype"),
    [
        (np.ones([2, 3]), np.float32),
        (np.ones([2, 3], np.float16), np.float32),
        (np.ones([2, 3], np.int64), np.int32),
        (np.ones([2, 3], bool), np.float32),
        (PICTURES, np.uint8),
        ([[1.5, 2.5]], np.float32),
        (tf.ones([2, 3]), np.float32),
        (["a", "lé"], object),
        (np.array(["a", "b"], object), object),
    ],
)
def test_types_of_inputs(inputs, dtype):
    features, names, _ = taken(inputs)
    assert features["inputs"].dtype == dtype and names == ()
    assert len(features["inputs"]) == len(inputs)


def test_texts_are_bytes_of_utf_8():
    assert taken(["a", "lé"])[0]["inputs"].tolist() == [b"a", "lé".encode()]


@pytest.mark.parametrize(
    ("targets", "arguments", "expected", "names", "note"),
    [
        ([0, 2, 1], (), [0, 2, 1], ("0", "1", "2"), ""),
        ([[0], [2], [1]], (), [0, 2, 1], ("0", "1", "2"), ""),
        ([3, 7, 3], (), [0, 1, 0], ("3", "7"), "2 classes, the values that occur: 3, 7"),
        ([0, 1, 1], (["no", "yes"],), [0, 1, 1], ("no", "yes"), ""),
        (["b", "a", "b"], (), [1, 0, 1], ("a", "b"), ""),
        (["b", "a", "b"], (["b", "a"],), [0, 1, 0], ("b", "a"), ""),
        (np.eye(3)[[2, 0, 1]], (), [2, 0, 1], ("0", "1", "2"), "one-hot rows taken as 3 classes"),
        ([0.0, 2.0, 1.5], (), [0.0, 2.0, 1.5], (), ""),
        ([True, False, True], (), [1, 0, 1], ("0", "1"), ""),
        ([3, 7, 3], ((), False), [3, 7, 3], (), ""),
        (["b", "a", "b"], ((), False), [b"b", b"a", b"b"], (), ""),
        ([[0.5, 1], [0, 0], [1, 1]], (["x", "y"],), [[0.5, 1], [0, 0], [1, 1]], ("x", "y"), ""),
    ],
)
def test_what_targets_are(targets, arguments, expected, names, note):
    features, found, notes = taken((np.ones([3, 2]), targets), *arguments)
    assert features["targets"].tolist() == expected and found == names
    assert any(note in line for line in notes) if note else not notes


def test_weights_are_a_third():
    features, _, _ = taken((np.ones([3, 2]), [0, 1, 0], [0.5, 1, 0]))
    assert features["sample_weight"].tolist() == [0.5, 1, 0]


def test_what_is_read_keeps_its_order_and_says_its_size():
    dataset = tf.data.Dataset.range(5).map(lambda i: {"inputs": tf.fill([2], i), "targets": i % 2})
    features, names, notes = taken(dataset)
    assert features["inputs"].tolist() == [[i, i] for i in range(5)] and names == ("0", "1")
    assert "read into memory once, 120 bytes: inputs int64 [2], targets int64 [] each" in notes[0]
    again = taken(lambda: ((np.full(2, i), i % 2) for i in range(5)))
    assert again[0]["inputs"].tolist() == features["inputs"].tolist()


def ragged():
    yield np.ones(2), 0
    yield np.ones(3), 1


def renamed():
    yield {"inputs": 1}
    yield {"inputs": 1, "targets": 2}


BATCHES = tf.data.Dataset.from_tensor_slices((np.ones([8, 4, 4, 1]), np.zeros(8, int)))


@pytest.mark.parametrize(
    ("examples", "line"),
    [
        (np.float32(1), "inputs: expected an array of examples"),
        ([[1], [1, 2]], "inputs: expected one array"),
        ([], "expected at least one example"),
        ({"x": [1]}, "expected a feature inputs, got x"),
        (np.array([1j]), "inputs: expected numbers or texts, got complex128"),
        ([1 << 40], "expected whole numbers of 32 bits"),
        ((np.ones([3, 2]), [0, 1]), "expected features of one length"),
        ((np.ones([2, 2]), ["a", ""]), "record 1: targets: expected the name of a class"),
        ((np.ones([1, 2]), [np.nan]), "record 0: targets: expected finite numbers"),
        (iter([]), "expected at least one example, got none"),
        (ragged, r"example 1: inputs: expected shape \[2\], as the first, got \[3\]; pad them"),
        (renamed, "example 1: expected inputs, got inputs, targets"),
        (BATCHES.repeat(), r"the data set has no end; expected one with .take\(examples\)"),
        (BATCHES.batch(2), r"look like batches, .* expected one example each: .unbatch\(\)"),
        (BATCHES.batch(2, drop_remainder=True), "look like batches"),
    ],
)
def test_what_is_refused(examples, line):
    with pytest.raises(DataError, match=line) as raised:
        source_from(examples)
    assert str(raised.value).startswith("given: ") and len(str(raised.value).splitlines()) == 1


def test_names_for_numbers_are_refused():
    with pytest.raises(DataError, match="targets: expected classes, got float32"):
        source_from((np.ones([2, 2]), [0.5, 1.5]), ["a", "b"])


def test_what_does_not_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    with pytest.raises(DataError, match="more than 100 bytes after 2 examples; expected what fits"):
        source_from(lambda: (np.ones(8) for _ in range(99)))


# ---- pictures, for prediction


def decoded(paths, ops, shape):
    from preprocess_data import apply_ops

    source, first = data_loader.source_from_images(paths, ops, shape)
    features = source.read(tf.range(len(source), dtype=tf.int64))
    seeds = tf.zeros([len(source)], tf.uint64)
    return apply_ops(features, seeds, [*first, *ops], 0)["inputs"].numpy()


def test_files_where_the_operations_begin_with_arrays(tmp_path):
    """Of one size: pictures of as many channels as the network has seen; turned ones upright."""
    (tmp_path / "a.png").write_bytes(png())
    np.testing.assert_array_equal(decoded([tmp_path / "a.png"], [], [12, 10, 3]), pixels()[None])
    (tmp_path / "b.jpg").write_bytes(jpeg(10, 12, exif(6)))
    assert decoded([tmp_path / "a.png", tmp_path / "b.jpg"], [], [12, 10, 1]).shape == (
        2,
        12,
        10,
        1,
    )


def test_files_that_are_decoded_as_in_training(tmp_path):
    ops = Data(train="given", ops=["decode_image", {"name": "resize", "size": [4, 5]}]).ops
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "b.png").write_bytes(png(20, 20))
    assert decoded([tmp_path / "a.png", tmp_path / "b.png"], ops, [4, 5, 3]).shape == (2, 4, 5, 3)


@pytest.mark.parametrize(
    ("content", "shape", "line"),
    [
        ({"a.png": png(), "b.png": png(9, 9)}, [12, 10, 3], r"b.png: expected \(12, 10\) pixels"),
        ({"a.png": b""}, [12, 10, 3], "a.png: expected an image, got an empty file"),
        ({"a.png": png()}, [12, 10, 7], "a.png: expected arrays, since the network sees"),
        ({}, [12, 10, 3], "absent.png: expected an image file, got no such file"),
    ],
)
def test_files_that_are_refused(tmp_path, content, shape, line):
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    paths = [tmp_path / name for name in content] or [tmp_path / "absent.png"]
    with pytest.raises(DataError, match=line):
        data_loader.source_from_images(paths, [], shape)
