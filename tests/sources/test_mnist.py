"""The official digits."""

import gzip
import shutil

import numpy as np
import pytest
import small_files as files
from loading import load, read

from cli.program import DataError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def example(folder) -> dict:
    for prefix, start in (("train", 0), ("t10k", 7)):
        images = (start + np.arange(5 * 784).reshape(5, 28, 28)) % 251
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(files.idx(images))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(files.idx(np.arange(5)))
    return {}


@pytest.fixture
def packed(tmp_path):
    """A directory of five training images whose pixels count up, labels 0 to 4."""
    example(tmp_path)
    for path in tmp_path.iterdir():
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    for path in tmp_path.glob("t10k*"):
        path.unlink()
    return tmp_path


def test_digits_are_read_from_their_directory(tmp_path):
    for prefix, start in (("train", 0), ("t10k", 100)):
        images = start + np.arange(3)[:, np.newaxis, np.newaxis] + np.zeros((3, 28, 28))
        images[:, 0, 27] = 9  # first row, last column
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(files.idx(images))
        (tmp_path / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(files.idx(np.array([7, 0, 9])))
        )
    for split, start in (
        ("train", 0),
        ("valid", 100),
        ("test", 100),
    ):  # the official test set is both
        source = load(split, "mnist", tmp_path)
        found = read(source, [2, 0])
        assert found["inputs"].shape == (2, 28, 28, 1) and found["inputs"].dtype == np.uint8
        assert (
            found["inputs"][:, 1, 1, 0].tolist() == [start + 2, start]
            and (found["inputs"][:, 0, 27] == 9).all()
        )
        assert found["targets"].tolist() == [9, 7] and source.labels.tolist() == [7, 0, 9]
        assert source.class_names[0] == "0" and len(source.class_names) == 10
    assert source.locate(2) == f"{tmp_path}/t10k-images-idx3-ubyte: record 2"


def test_mnist_is_the_same_from_gzip_and_unpacked(packed, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in (IMAGES, LABELS):
        (raw / name).write_bytes(gzip.decompress((packed / f"{name}.gz").read_bytes()))
    sources = [load("train", "mnist", folder) for folder in (packed, raw)]
    assert sources[0].fingerprint == sources[1].fingerprint
    for one, other in zip(*map(read, sources), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [source.locate(0) for source in sources] == [
        f"{packed / IMAGES}.gz: record 0",
        f"{raw / IMAGES}: record 0",
    ]


def test_valid_and_test_of_mnist_are_the_same_official_digits(packed):
    for name in (IMAGES, LABELS):
        shutil.move(packed / f"{name}.gz", packed / f"{name.replace('train', 't10k')}.gz")
    valid, test = (load(split, "mnist", packed) for split in ("valid", "test"))
    assert valid.fingerprint == test.fingerprint
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        load("train", "mnist", packed)


def test_without_network_the_error_says_what_to_put_where(tmp_path):
    folder = tmp_path / "mnist"
    with pytest.raises(DataError) as caught:
        load("train", "mnist", folder)
    message = str(caught.value)
    assert message.startswith(
        f"{folder / IMAGES}.gz: not there, and "
        f"https://storage.googleapis.com/cvdf-datasets/mnist/{IMAGES}.gz "
    )
    assert "no route" in message
    assert (
        f"put {IMAGES}.gz, {LABELS}.gz, t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz "
        f"(gzip or unpacked) into {folder}" in message
    )
    assert "data.dir=" in message
    assert not folder.exists()  # nothing on disk changes when a run is refused
