"""CIFAR-10, written by hand."""

import numpy as np
import pytest
from loading import load, read, seed, with_byte

CIFAR_ROWS = bytes(3073 * 5)


def cifar(**changed) -> dict[str, bytes]:
    """The files of a training split, some of them changed."""
    return {f"data_batch_{number}.bin": CIFAR_ROWS for number in range(1, 6)} | changed


REFUSED = [  # (id, files, options, what the message begins with, below the directory)
    (
        "no file",
        {},
        {},
        "/data_batch_1.bin: no such file; unpack cifar-10-binary.tar.gz from https://",
    ),
    ("no second file", {"data_batch_1.bin": bytes(3073)}, {}, "/data_batch_2.bin: no such file"),
    (
        "zero bytes",
        cifar(**{"data_batch_3.bin": b""}),
        {},
        "/data_batch_3.bin: expected a multiple of 3073 bytes, got 0",
    ),
    (
        "cut",
        cifar(**{"data_batch_3.bin": bytes(3072)}),
        {},
        "/data_batch_3.bin: expected a multiple of 3073 bytes, got 3,072",
    ),
    (
        "label",
        cifar(**{"data_batch_2.bin": with_byte(bytes(CIFAR_ROWS), 3073 * 4, 10)}),
        {},
        "/data_batch_2.bin: record 4: targets: expected a class from 0 to 9, got 10",
    ),
    (
        "class names",
        cifar(**{"batches.meta.txt": b"airplane\n\xff\n"}),
        {},
        "/batches.meta.txt:2: expected UTF-8 text",
    ),
]


def example(folder) -> dict:
    for name, data in cifar(**{"test_batch.bin": CIFAR_ROWS}).items():
        (folder / name).write_bytes(data)
    return {}


def seeds() -> dict:
    rows = np.random.default_rng(0).integers(0, 10, 3073 * 3, dtype=np.uint8).tobytes()
    batches = {f"data_batch_{number}.bin": rows for number in range(1, 6)}
    names = "\n".join("abcdefghij").encode()
    return {
        "cifar": seed("cifar10", "data_batch_2.bin", rows, beside=batches),
        "cifar names": seed("cifar10", "batches.meta.txt", names, beside=batches, is_text=True),
    }


def planes(*values) -> bytes:
    """Pixels of a record: each plane counts 0, 1, 2 along a row; its value sets it apart."""
    return b"".join(bytes([value]) + bytes(range(1, 32)) + bytes([value]) * 992 for value in values)


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-bin"])
def test_cifar10_by_hand(tmp_path, inner):
    folder = tmp_path / inner
    folder.mkdir(exist_ok=True)
    for number in range(1, 6):
        (folder / f"data_batch_{number}.bin").write_bytes(
            bytes([number]) + planes(10, 20, 30) + bytes([9]) + planes(number, 50, 60)
        )
    (folder / "test_batch.bin").write_bytes(bytes([2]) + planes(7, 8, 9))
    (folder / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n\n")
    source = load("train", "cifar10", tmp_path)
    found = read(source, [0, 7])
    assert (
        len(source) == 10
        and found["targets"].tolist() == [1, 9]
        and found["inputs"].shape == (2, 32, 32, 3)
    )
    assert found["inputs"][0, 0, 0].tolist() == [10, 20, 30]  # red, green, blue
    assert found["inputs"][0, 0, 5].tolist() == [5, 5, 5]  # along the row
    assert found["inputs"][1, 31, 31].tolist() == [4, 50, 60]
    assert source.locate(7) == f"{folder}/data_batch_4.bin: record 1"
    assert source.class_names == tuple("abcdefghij")
    assert (
        read(load("valid", "cifar10", tmp_path))["targets"].tolist()
        == read(load("test", "cifar10", tmp_path))["targets"].tolist()
        == [2]
    )
