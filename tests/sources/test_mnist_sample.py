"""The bundled digits."""

import gzip

import numpy as np
import pytest
import small_files as files
from loading import load, read

from cli.program import DataError
from sources import mnist_sample

IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


def put(folder, images, labels):
    (folder / IMAGES).write_bytes(gzip.compress(files.idx(images)))
    (folder / LABELS).write_bytes(gzip.compress(files.idx(labels)))


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """The folder of a small mnist_sample: five images whose pixels count up, labels 0 to 4."""
    monkeypatch.setattr(mnist_sample, "BUNDLED", tmp_path)
    folder = tmp_path / "mnist_sample"
    folder.mkdir()
    put(folder, np.arange(5 * 784).reshape(5, 28, 28) % 251, np.arange(5))
    return folder


def test_the_bundled_digits_are_4000_and_1000_of_every_class():
    for split, count in (("train", 4000), ("valid", 1000)):
        source = load(split, "mnist_sample")
        assert len(source) == count and np.bincount(source.labels).min() > 0.08 * count


def test_the_sample_is_read_in_any_order_and_its_fingerprint_follows_its_bytes(sample):
    source = load("train", "mnist_sample")
    assert len(source) == 5
    features = read(source, [4, 0, 4])
    inputs, targets = features["inputs"], features["targets"]
    assert inputs.shape == (3, 28, 28, 1)
    assert inputs.dtype == np.uint8
    assert inputs[:, 0, 0, 0].tolist() == [4 * 784 % 251, 0, 4 * 784 % 251]
    assert targets.tolist() == [4, 0, 4]
    assert source.locate(3) == f"{sample / IMAGES}: record 3"
    assert load("train", "mnist_sample").fingerprint == source.fingerprint
    put(
        sample, np.arange(5 * 784).reshape(5, 28, 28) % 251, np.array([0, 1, 2, 4, 3])
    )  # two labels change places
    assert load("train", "mnist_sample").fingerprint != source.fingerprint


@pytest.mark.parametrize(
    ("images", "labels", "file", "message"),
    [
        (
            (5, 28, 28),
            [0, 9, 3, 10, 255],
            LABELS,
            "record 3: targets: expected a class from 0 to 9, got 10",
        ),
        (
            (5, 28, 28),
            [0, 1, 2, 3],
            LABELS,
            f"expected 5 labels, as many as images in {IMAGES}, got 4",
        ),
        ((0, 28, 28), [], IMAGES, "expected at least one image, got none"),
        (
            (5, 784),
            [0, 1, 2, 3, 4],
            IMAGES,
            "expected an IDX header 00000803 and 3 sizes, got 00000802",
        ),
        ((5, 0, 28), [0, 1, 2, 3, 4], IMAGES, "expected at least one image"),
    ],
    ids=["label", "count", "none", "axes", "no pixels"],
)
def test_a_set_that_does_not_hold_together(sample, images, labels, file, message):
    put(sample, np.zeros(images), np.array(labels))
    with pytest.raises(DataError) as caught:
        load("train", "mnist_sample")
    assert str(caught.value).startswith(f"{sample / file}: {message}")


@pytest.mark.parametrize("file", [IMAGES, LABELS])
def test_a_missing_file_of_the_sample(sample, file):
    (sample / file).unlink()
    with pytest.raises(DataError) as caught:
        load("train", "mnist_sample")
    assert str(caught.value) == f"{sample / file}: no such file"


def test_a_split_that_does_not_exist(sample):
    with pytest.raises(DataError, match="mnist_sample: no split 'test'; it has train, valid"):
        load("test", "mnist_sample")
