"""CIFAR-100, written by hand."""

from loading import load, read, with_byte

REFUSED = [  # (id, files, options, what the message begins with, below the directory)
    ("no file", {}, {}, "/train.bin: no such file; unpack cifar-100-binary.tar.gz"),
    (
        "label",
        {"train.bin": with_byte(bytes(3074 * 3), 3075, 100)},
        {},
        "/train.bin: record 1: targets: expected a class from 0 to 99, got 100",
    ),
    (
        "coarse label",
        {"train.bin": with_byte(bytes(3074 * 3), 3074, 20)},
        {"labels": "coarse"},
        "/train.bin: record 1: targets: expected a class from 0 to 19, got 20",
    ),
]


def example(folder) -> dict:
    for name, label in (("train.bin", 1), ("test.bin", 2)):
        (folder / name).write_bytes(bytes([label, label, *bytes(3072)]) * 5)
    return {}


def planes(*values) -> bytes:
    """Pixels of a record: each plane counts 0, 1, 2 along a row; its value sets it apart."""
    return b"".join(bytes([value]) + bytes(range(1, 32)) + bytes([value]) * 992 for value in values)


def test_cifar100_has_two_labels(tmp_path):
    (tmp_path / "train.bin").write_bytes(
        bytes([3, 99]) + planes(10, 20, 30) + bytes([19, 0]) + planes(1, 2, 3)
    )
    for labels, targets, classes in (("fine", [99, 0], 100), ("coarse", [3, 19], 20)):
        source = load("train", "cifar100", tmp_path, labels=labels)
        found = read(source)
        assert found["targets"].tolist() == targets and len(source.class_names) == classes
        assert found["inputs"][:, 0, 0].tolist() == [[10, 20, 30], [1, 2, 3]]
    (tmp_path / "coarse_label_names.txt").write_text("\n".join(f"kind_{i}" for i in range(20)))
    assert load("train", "cifar100", tmp_path, labels="coarse").class_names[19] == "kind_19"
