"""Fashion-MNIST, whose files have the names of MNIST's."""

import gzip

import numpy as np
import small_files as files
from loading import load, read


def example(folder) -> dict:
    for prefix, start in (("train", 0), ("t10k", 7)):
        images = (start + np.arange(5 * 784).reshape(5, 28, 28)) % 251
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(files.idx(images))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(files.idx(np.arange(5)))
    return {}


def test_clothes_are_read_from_their_directory(tmp_path):
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
        source = load(split, "fashion_mnist", tmp_path)
        found = read(source, [2, 0])
        assert found["inputs"].shape == (2, 28, 28, 1) and found["inputs"].dtype == np.uint8
        assert (
            found["inputs"][:, 1, 1, 0].tolist() == [start + 2, start]
            and (found["inputs"][:, 0, 27] == 9).all()
        )
        assert found["targets"].tolist() == [9, 7] and source.labels.tolist() == [7, 0, 9]
        assert source.class_names[0] == "T-shirt/top" and len(source.class_names) == 10
    assert source.locate(2) == f"{tmp_path}/t10k-images-idx3-ubyte: record 2"
