"""TFRecords of others: found, indexed once, read by index; every wrong one refused."""

import gzip
import os
import tempfile
import zlib

import numpy as np
import pytest
import small_files as files
import tensorflow as tf
from loading import (
    UNDIVIDED,
    Seed,
    decode_ops,
    divided,
    fill,
    load,
    one_pass,
    read,
    refused,
    with_byte,
)

from data_loader import NoSplit
from engine import record_index

OPTIONS = {"inputs": "x", "targets": "y"}
SHARD = "train-00000-of-00001"


def shard(serialized: list[bytes]) -> bytes:
    """Standard framing, whose checksums are those of TensorFlow."""
    with tempfile.NamedTemporaryFile() as file:
        with tf.io.TFRecordWriter(file.name) as writer:
            for data in serialized:
                writer.write(data)
        return file.read()


def pairs(x, y) -> list[bytes]:
    return [files.example(x=a, y=b) for a, b in zip(x, y, strict=True)]


def images(numbers) -> list[bytes]:
    """As TF Model Garden, slim and tfds write them."""
    return [
        files.example(**{"image/encoded": files.png() + b"%d" % i, "image/class/label": 1 + i % 2})
        for i in numbers
    ]


NUMBERS = np.arange(24)
SOUND = pairs(NUMBERS[:, None] + [0.25, 0.5], NUMBERS % 3)
LENGTH = len(shard(SOUND[:1]))  # of every record


def example(folder) -> dict:
    fill(folder, {SHARD: shard(SOUND), "validation-00000-of-00001": shard(SOUND[:9])})
    return OPTIONS


def _refused(name, serialized, message, **options):
    content = serialized if isinstance(serialized, bytes) else shard(serialized)
    return (name, {SHARD: content}, OPTIONS | options, f"/{SHARD}: {message}")


REFUSED = [
    ("nothing", {"a.txt": b""}, OPTIONS, ": expected TFRecord shards, such as train-00000-of-"),
    ("pattern", {SHARD: b""}, {"files": "x*"}, "/x*: expected files of this pattern, got none"),
    (
        "two splits in a name",
        {"train-test-00000-of-00001": shard(SOUND)},
        OPTIONS,
        "/train-test-00000-of-00001: expected the name of one split in it, got test, train; name",
    ),
    _refused(
        "features",
        SOUND,
        "no feature 'image/encoded'; it has x (float), y (int64); name them, "
        "{name: tfrecord, inputs: NAME, targets: NAME}",
        inputs="image/encoded",
    ),
    _refused("no records", b"", "no feature 'x'; it has no records"),
    _refused(
        "which is not certain",
        [files.example(image=b"a", text=b"b", label=1)],
        "expected a feature for inputs and one for targets; it has image (bytes), label (int64), "
        "text (bytes); name them",
        inputs=None,
        targets=None,
    ),
    _refused(
        "text file",
        b"label,text\n1,hello\n",
        "record 0 at byte 0: damaged: the checksum of its length is wrong; is it a TFRecord file?",
    ),
    _refused("no Example", [b"\xff\xff"], "record 0: expected a tf.train.Example"),
    _refused("no Example later", [*SOUND, b"\xff\xff"], "record 24: expected a tf.train.Example"),
    _refused("lacking", [*SOUND, files.example(y=1)], "record 24: no value of the feature 'x'"),
    _refused(
        "another type",
        [*SOUND, files.example(x=[1.0, 2.0], y=b"cat")],
        "record 24: y: expected int64_list, got bytes_list",
    ),
    _refused(
        "uneven labels",
        pairs(NUMBERS * 1.0, [[1] * (1 + i % 2) for i in NUMBERS]),
        "record 1: y: expected as many labels as in the first record, 1, got 2 (12 such records)",
    ),
    (
        "several labels",
        {SHARD: shard(pairs(NUMBERS * 1.0, [[1, 1]] * 24))},
        OPTIONS,
        ": y: expected a class for each example or one-hot rows, got 24 rows with several ones or "
        "none (row 0); several labels an example? `kind: numbers`",
    ),
    (
        "prices",
        {SHARD: shard(pairs(NUMBERS * 1.0, NUMBERS * 100))},
        OPTIONS,
        ": y: 24 different targets in 24 examples ('0', '100', '200', ...): expected classes; "
        "numbers? `kind: numbers`",
    ),
    _refused(
        "uneven numbers",
        pairs(NUMBERS * 1.0, [[1] * (1 + i % 2) for i in NUMBERS]),
        "record 1: y: expected 1 values, got 2 (12 such records)",
        kind="numbers",
    ),
    _refused(
        "text as numbers",
        pairs(NUMBERS * 1.0, [b"a"] * 24),
        "record 0: y: expected numbers, got bytes; see `kind`",
        kind="numbers",
    ),
    _refused(
        "shape",
        SOUND,
        "record 0: x: expected 6 values, got 2 (24 such records)",
        shape=[2, 3],
    ),
    _refused(
        "names",
        SOUND,
        "record 2: targets: expected a class from 0 to 1, got 2 (8 such examples); "
        "`class_names` has 2 names, the labels 3 values: 0, 1, 2",
        class_names=["a", "b"],
    ),
    _refused("gzip", gzip.compress(shard(SOUND))[:9], "record 0: damaged: expected TFRecords in"),
    _refused(
        "damaged data",
        with_byte(shard(SOUND), 5 * LENGTH + 20, 0xAA),
        f"record 5 at byte {5 * LENGTH}: damaged: the checksum of its data is wrong",
    ),
    _refused(
        "damaged length",
        with_byte(shard(SOUND), 5 * LENGTH + 1, 0xAA),
        f"record 5 at byte {5 * LENGTH}: damaged: the checksum of its length is wrong",
    ),
    _refused(
        "cut short",
        shard(SOUND)[:-3],
        f"record 23 at byte {23 * LENGTH}: damaged: cut short",
    ),
]


def seeds() -> dict[str, Seed]:
    def of(data):
        def write(folder, broken):
            return fill(folder, {SHARD: broken}) / SHARD

        return Seed(
            data, write, lambda folder: one_pass(load("train", "tfrecord", folder, **OPTIONS))
        )

    return {"tfrecord": of(shard(SOUND)), "tfrecord in gzip": of(gzip.compress(shard(SOUND)))}


# ---- what is found


@pytest.mark.parametrize("name", ["tfrecord", "records"])
def test_images_of_others_need_no_option(tmp_path, name):
    fill(tmp_path, {"train-00000-of-00002": shard(images(range(8)))})
    fill(tmp_path, {"train-00001-of-00002": shard(images(range(8, 12)))})
    fill(tmp_path, {"validation-00000-of-00001": shard(images(range(6)))})
    train, valid = (load(split, name, tmp_path) for split in ("train", "valid"))
    assert [len(train), len(valid)] == [12, 6]
    assert train.class_names == valid.class_names == ("1", "2")  # as they number them, from 1
    assert train.notes[-1] == ("image/class/label: 2 classes, the values that occur: 1, 2")
    found = read(train, [11, 0, 8])
    assert [data[-2:] for data in found["inputs"]] == [b"11", b"\x820", b"\x828"]
    assert found["targets"].tolist() == [1, 0, 0]
    assert train.locate(8).startswith(f"{tmp_path}/train-00001-of-00002: record 0 at byte 0")
    assert one_pass(train, decode_ops(), training=True) == 3
    with pytest.raises(NoSplit, match="no split 'test'; it has train, valid"):
        load("test", name, tmp_path)


FILES = [  # (files, option, {split: their examples})
    ("mnist-train.tfrecord-00000-of-00001 mnist-test.tfrecord-00000-of-00001", None, "train test"),
    ("Training/a.tfrec Validation/a.tfrec Testing/a.tfrec", None, "train valid test"),
    ("flowers_train_0.tfrecords flowers_val_0.tfrecords", None, "train valid"),
    ("a.x b.x", {"train": "a*", "test": "b*"}, "train test"),
    ("train.tfrecord extra.tfrecord", None, "train"),
]


@pytest.mark.parametrize(("names", "option", "splits"), FILES)
def test_shards_by_their_names(tmp_path, names, option, splits):
    content = {name: shard(SOUND[: 9 + i]) for i, name in enumerate(names.split())}
    fill(tmp_path, content)
    for i, split in enumerate(splits.split()):
        source = load(split, "tfrecord", tmp_path, files=option, valid=0, **OPTIONS)
        assert len(source) == 9 + i or "left out: " in source.notes[0]


def test_a_set_in_one_piece_is_divided_and_a_train_set_too(tmp_path):
    fill(tmp_path, {"a.tfrecord": shard(SOUND * 2), "b.tfrecord": shard(SOUND)})
    found = divided("tfrecord", tmp_path, **OPTIONS)
    assert {split: len(found[split]) for split in found} == {"train": 57, "valid": 9, "test": 6}
    train = load("train", "tfrecord", tmp_path, **OPTIONS)
    at = found["train"].index(f"{tmp_path}/b.tfrecord: record 3 at byte {3 * LENGTH}")
    assert read(train, [at])["inputs"].tolist() == [[3.25, 3.5]]
    assert read(train)["targets"].tolist() == train.labels.tolist()
    other = tmp_path / "other"
    fill(other, {"train.tfrecord": shard(SOUND * 2)})
    valid = load("valid", "tfrecord", other, **OPTIONS)
    assert valid.notes == ("no split 'valid': 10% of 'train' held out for it, by hash",)


VALUES = [  # (inputs, targets, options, first example's, class names)
    ([b"abcdef"] * 24, NUMBERS % 2, {"shape": [2, 3]}, [[97, 98, 99], [100, 101, 102]], 0, "0 1"),
    (NUMBERS[:, None] + [7, 8], NUMBERS % 2 + 5, {}, [7, 8], 0, "5 6"),
    (NUMBERS[:, None] + [7.5, 8], np.eye(2, dtype=int)[NUMBERS % 2], {}, [7.5, 8], 0, "0 1"),
    (NUMBERS[:, None] + [7.5, 8], NUMBERS % 2 * 1.0, {}, [7.5, 8], 0, "0 1"),
    (NUMBERS[:, None] + [7.5, 8], NUMBERS % 2, {"class_names": ["a", "b"]}, [7.5, 8], 0, "a b"),
    ([b"text"] * 24, [b"p", b"q"] * 12, {}, b"text", 0, "p q"),
    ([b"text"] * 24, [b"p", b"q"] * 12, {"kind": "text"}, b"text", b"p", ""),
    ([[1] * (1 + i % 3) for i in NUMBERS], NUMBERS % 2, {}, [1, 0, 0], 0, "0 1"),  # padded
    ([b"text"] * 24, NUMBERS + 4, {"kind": "numbers"}, b"text", 4.0, ""),
    ([b"text"] * 24, NUMBERS[:, None] + [4.5, 5], {"kind": "numbers"}, b"text", [4.5, 5], ""),
]


@pytest.mark.parametrize(("inputs", "targets", "options", "first", "target", "names"), VALUES)
def test_types_are_those_of_the_records(tmp_path, inputs, targets, options, first, target, names):
    fill(tmp_path, {"a.tfrecord": shard(pairs(inputs, targets))})
    source = load("train", "tfrecord", tmp_path, **OPTIONS, **options, **UNDIVIDED)
    found = read(source)
    assert source.class_names == tuple(names.split())
    assert np.asarray(found["inputs"][0]).tolist() == first
    assert np.asarray(found["targets"][0]).tolist() == target
    assert found["targets"].dtype != np.int64 or names


@pytest.mark.parametrize("names", [("image", "label"), ("x", "y"), ("text", "label")])
def test_features_of_usual_names(tmp_path, names):
    data = [files.example(**dict(zip(names, (b"a", i % 2), strict=True))) for i in range(9)]
    fill(tmp_path, {"a.tfrecord": shard(data)})
    source = load("train", "tfrecord", tmp_path, **UNDIVIDED)
    assert source.columns == {"inputs": [names[0]], "targets": [names[1]]}


def test_names_of_classes_in_a_file(tmp_path):
    fill(tmp_path, {"a.tfrecord": shard(SOUND), "labels.txt": b"null\neins\nzwei\n"})
    options = OPTIONS | UNDIVIDED | {"class_names": "labels.txt"}
    assert load("train", "tfrecord", tmp_path, **options).class_names == ("null", "eins", "zwei")


def test_weights_of_examples(tmp_path):
    data = [files.example(x=[1.0], y=i % 2, w=i / 2) for i in range(9)]
    fill(tmp_path, {"a.tfrecord": shard(data)})
    options = OPTIONS | UNDIVIDED | {"sample_weight": "w"}
    source = load("train", "tfrecord", tmp_path, **options)
    assert read(source, [3, 0])["sample_weight"].tolist() == [1.5, 0]
    fill(tmp_path, {"a.tfrecord": shard([*data, files.example(x=[1.0], y=0, w=-1.0)])})
    refused(
        lambda: load("train", "tfrecord", tmp_path, **options),
        f"{tmp_path}/a.tfrecord: record 9: w: expected a weight of 0 or more, got -1.0",
    )


# ---- the index


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, bytes], ids=["gzip", "zlib", "no"])
def test_it_is_made_once_and_again_when_a_file_changes(tmp_path, monkeypatch, pack):
    folder, index = tmp_path / "set", tmp_path / "index"
    fill(folder, {"a.tfrecord": pack(shard(SOUND))})
    scans = []
    scan = record_index._scan
    monkeypatch.setattr(record_index, "_scan", lambda *of: scans.append(of) or scan(*of))
    options = OPTIONS | UNDIVIDED | {"index": str(index)}
    sources = [load("train", "tfrecord", folder, **options) for _ in range(3)]
    assert len(scans) == 1
    assert len({source.fingerprint for source in sources}) == 1
    assert read(sources[2], [23])["inputs"].tolist() == [[23.25, 23.5]]
    assert os.listdir(folder) == ["a.tfrecord"]
    fill(folder, {"a.tfrecord": pack(shard(SOUND[:9]))})
    assert len(load("train", "tfrecord", folder, **options)) == 9
    assert len(scans) == 2
    (stored,) = index.glob("*.npz")
    stored.write_bytes(with_byte(stored.read_bytes(), 300, 0xAA))  # damaged: made again
    assert len(load("train", "tfrecord", folder, **options)) == 9
    assert len(scans) == 3


def test_a_record_that_changes_under_its_index_is_noticed(tmp_path):
    fill(tmp_path, {"a.tfrecord": shard(SOUND)})
    source = load("train", "tfrecord", tmp_path, **OPTIONS, **UNDIVIDED)
    fill(tmp_path, {"a.tfrecord": with_byte(shard(SOUND), 5 * LENGTH + 20, 0xAA)})
    refused(
        lambda: one_pass(source),
        f"{tmp_path}/a.tfrecord: record 5 at byte {5 * LENGTH}: damaged: its checksum is not",
    )


def test_an_index_that_cannot_be_written_names_the_option(tmp_path):
    fill(tmp_path, {"a.tfrecord": shard(SOUND), "no_directory": b""})
    options = OPTIONS | {"index": str(tmp_path / "no_directory" / "x")}
    message = refused(lambda: load("train", "tfrecord", tmp_path, **options), tmp_path)
    assert message.endswith("expected a directory for it, index: DIR")


def test_all_damaged_files_are_counted(tmp_path):
    cut = shard(SOUND)[:-1]
    fill(tmp_path, {"a.tfrecord": cut, "b.tfrecord": cut, "c.tfrecord": shard(SOUND)})
    message = refused(lambda: load("train", "tfrecord", tmp_path, **OPTIONS), tmp_path)
    assert "; 2 such files: " in message
    assert "b.tfrecord: record 23" in message
