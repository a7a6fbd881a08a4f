"""Prepared records: a manifest, an index, shards, and the examples in them."""

import json
import os
import tempfile
import zlib
from pathlib import Path

import hostile
import numpy as np
import pytest
import small_files as files
from loading import Fault, Seed, load, one_pass, refused, with_byte

from engine import record_files

REFUSED = [  # (id, files, options, what the message begins with, below the directory)
    (
        "no directory",
        None,
        {},
        "/manifest.json: no such file; expected what `python preprocess_data.py --out",
    ),
]


def example(folder) -> dict:
    files.write_records(folder / "set", files.number_records(), labels=[0, 1, 2, 0, 1, 2, 0])
    for path in (folder / "set").iterdir():
        path.rename(folder / path.name)
    return {}


def seeds() -> dict[str, Seed]:
    """Files of a set of two shards, and a serialized example within sound checksums."""
    shard = "train-00001-of-00002.tfrecord"
    serialized = files.number_records()
    with tempfile.TemporaryDirectory() as directory:
        files.write_records(Path(directory, "set"), serialized)
        sound = {path.name: path.read_bytes() for path in Path(directory, "set").iterdir()}

    def read(folder):
        numbers_of(folder / "set").read(np.arange(7))

    def of_file(name, is_text=False):
        def write(folder, broken):
            files.write_records(folder / "set", serialized)
            (folder / "set" / name).write_bytes(broken)
            # A wrong manifest may also show in another file.
            return folder / "set" if name == "manifest.json" else folder / "set" / name

        return Seed(sound[name], write, read, is_text)

    def write_example(folder, broken):
        files.write_records(folder / "set", [*serialized[:5], broken, *serialized[6:]])
        return folder / "set" / shard

    return {
        "shard": of_file(shard),
        "index": of_file("train.index"),
        "manifest": of_file("manifest.json", is_text=True),
        "example": Seed(serialized[5], write_example, read),
    }


def numbers_of(folder):
    return load("train", "records", folder)


def change_manifest(folder, change):
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def split_of(manifest):
    return manifest["splits"]["train"]


MANIFESTS = [
    ("format", lambda m: m.update(format=2), "expected a manifest of format 1, got 2"),
    ("no features", lambda m: m.pop("features"), "features: expected a dict, got None"),
    ("class names", lambda m: m.update(class_names=[1]), "class_names: expected text"),
    ("half a character", lambda m: m.update(class_names=["\ud800"]), "damaged: "),
    (
        "dtype",
        lambda m: m["features"]["inputs"].update(dtype="object"),
        "features: inputs: expected a dtype and a shape",
    ),
    (
        "shape",
        lambda m: m["features"]["inputs"].update(shape=[-2]),
        "features: inputs: expected a dtype and a shape",
    ),
    (
        "huge shape",
        lambda m: m["features"]["inputs"].update(shape=[1 << 30] * 3),
        "features: inputs: expected a dtype and a shape",
    ),
    (
        "no inputs",
        lambda m: m["features"].pop("inputs"),
        "expected a feature `inputs`, got targets",
    ),
    ("split", lambda m: m["splits"].pop("train"), "no split 'train'"),
    (
        "no shards",
        lambda m: split_of(m).update(shards=[]),
        "splits: train: expected a list of shards",
    ),
    (
        "no index",
        lambda m: split_of(m).pop("index"),
        "splits: train: expected file, bytes and sha256 of every file",
    ),
    *(
        (
            f"path {name!r}",
            lambda m, name=name: split_of(m)["shards"][0].update(file=name),
            "splits: train: expected the name of a file in this directory",
        )
        for name in ("../x", "/etc/passwd", "a/b", "..", "", "x\0y", "\nx")
    ),
    (
        "path of index",
        lambda m: split_of(m)["index"].update(file="../x"),
        "splits: train: expected the name of a file in this directory",
    ),
    (
        "examples",
        lambda m: split_of(m)["shards"][0].update(examples=0),
        "expected a number of examples, got 0",
    ),
    (
        "uneven",
        lambda m: [
            s.update(examples=e) for s, e in zip(split_of(m)["shards"], (3, 4), strict=True)
        ],
        "the same number of examples",
    ),
    (
        "more examples",
        lambda m: split_of(m)["shards"][1].update(examples=4),
        "expected 8 entries of 20 bytes, got 140 bytes",
    ),
    (
        "bytes",
        lambda m: split_of(m)["shards"][1].update(bytes=1),
        "expected 1 bytes, as in manifest.json, got",
    ),
]


@pytest.mark.parametrize(
    ("change", "message"), [pytest.param(*rest, id=name) for name, *rest in MANIFESTS]
)
def test_a_manifest_that_cannot_be_used(tmp_path, change, message):
    files.write_records(tmp_path / "set", files.number_records())
    change_manifest(tmp_path / "set", change)
    assert message in refused(lambda: numbers_of(tmp_path / "set"), f"{tmp_path}/set")


def test_a_set_that_is_not_finished_or_damaged_as_a_whole(tmp_path):
    folder = tmp_path / "set"
    files.write_records(folder, files.number_records())
    whole = {path: path.read_bytes() for path in folder.iterdir()}
    assert one_pass(numbers_of(folder)) == 2
    assert record_files.check(folder, lambda _: None) == 7
    for name, change, message in [
        ("manifest.json", lambda data: data[:-9], "damaged: "),
        ("manifest.json", lambda data: b"", "damaged: "),
        ("manifest.json", lambda data: b"[]", "expected a manifest of format 1, got []"),
        ("manifest.json", lambda data: b"\xff" + data, "damaged: "),
        (
            "train-00001-of-00002.tfrecord",
            lambda data: data[:-1],
            "expected 180 bytes, as in manifest.json, got 179",
        ),
        (
            "train-00001-of-00002.tfrecord",
            lambda data: data + b"x",
            "expected 180 bytes, as in manifest.json, got 181",
        ),
        ("train.index", lambda data: data[:-1], "expected 140 bytes, as in manifest.json, got 139"),
        *(
            (
                "train.index",
                lambda data, at=at: with_byte(data, at, data[at] ^ 1),
                "damaged: its SHA-256 is not",
            )
            for at in range(140)
        ),
    ]:
        (folder / name).write_bytes(change(whole[folder / name]))
        assert message in refused(lambda: numbers_of(folder), f"{folder / name}: ")
        (folder / name).write_bytes(whole[folder / name])
    for path in whole:
        path.rename(tmp_path / "away")
        refused(lambda: numbers_of(folder), f"{path}: no such file")
        (tmp_path / "away").rename(path)
    folder.rename(tmp_path / "set.part")
    refused(
        lambda: numbers_of(folder),
        f"{folder}: not finished: {folder}.part is there; run the command that writes it again",
    )


def test_every_flipped_byte_of_a_shard_is_noticed(tmp_path):
    folder = tmp_path / "set"
    files.write_records(folder, files.number_records())
    shard = folder / "train-00001-of-00002.tfrecord"
    whole = shard.read_bytes()
    stored = record_files.Records(folder, "train")
    for at in range(len(whole)):
        shard.write_bytes(with_byte(whole, at, whole[at] ^ 0x10))
        number = at * 3 // len(whole)  # three records of one length
        place = f"{shard}: record {number} at byte {number * len(whole) // 3}"
        expected = f"{place}: damaged: its checksum is not the one in the index"
        for reader in (stored.read, stored.read_in_blocks(1)):
            assert refused(lambda: reader(np.array([4, 5, 6])), shard) == expected  # noqa: B023
        if at % 6 == 0:
            assert refused(lambda: record_files.check(folder, lambda _: None), shard) == expected
    assert refused(lambda: one_pass(numbers_of(folder)), shard).startswith(expected[:40])


WRONG_EXAMPLES = [
    (
        "missing",
        files.example(targets=1),
        "Feature: inputs (data type: float) is required but could not be found",
    ),
    (
        "dtype",
        files.example(inputs=[1, 2], targets=1),
        "Key: inputs, Index: 0.  Data types don't match. Data type: int64 but expected type: float",
    ),
    (
        "shape",
        files.example(inputs=[1.0, 2.0, 3.0], targets=1),
        "Key: inputs, Index: 0.  Number of float values != expected.  "
        "Values size: 3 but output shape: [2]",
    ),
    ("no example", b"\xff\xff\xff", "Could not parse example input"),
    (
        "NaN",
        files.example(inputs=[1.0, np.nan], targets=1),
        "inputs: expected finite numbers, got nan",
    ),
    (
        "label",
        files.example(inputs=[1.0, 2.0], targets=3),
        "targets: expected a class from 0 to 2, got 3",
    ),
    (
        "label below 0",
        files.example(inputs=[1.0, 2.0], targets=-1),
        "targets: expected a class from 0 to 2, got -1",
    ),
]


@pytest.mark.parametrize(
    ("broken", "message"), [pytest.param(*rest, id=name) for name, *rest in WRONG_EXAMPLES]
)
def test_a_record_that_is_not_as_the_manifest_says(tmp_path, broken, message):
    serialized = files.number_records()
    serialized[5] = broken
    files.write_records(tmp_path / "set", serialized)
    offset = len(serialized[4]) + 16
    place = f"{tmp_path}/set/train-00001-of-00002.tfrecord: record 1 at byte {offset}: "
    assert message in refused(lambda: one_pass(numbers_of(tmp_path / "set")), place)


@pytest.mark.parametrize("size", [5, 7, 0, 12])
def test_bytes_of_another_size_than_the_manifest_says(tmp_path, size):
    features = files.FEATURES | {"inputs": {"dtype": "uint8", "shape": [2, 3]}}
    serialized = [
        files.example(inputs=bytes(size if number == 5 else 6), targets=0) for number in range(8)
    ]
    files.write_records(tmp_path / "set", serialized, features)
    place = f"{tmp_path}/set/train-00001-of-00002.tfrecord: record 1 at byte "
    refused(lambda: one_pass(numbers_of(tmp_path / "set")), place)


def test_labels_out_of_range_in_the_index(tmp_path):
    files.write_records(tmp_path / "set", files.number_records(), labels=[0, 1, 2, 0, 1, 3, 0])
    message = refused(
        lambda: numbers_of(tmp_path / "set"),
        f"{tmp_path}/set/train-00001-of-00002.tfrecord: record 1 at byte ",
    )
    assert message.endswith("targets: expected a class from 0 to 2, got 3")


def test_an_index_that_points_outside_its_shard(tmp_path):
    folder = tmp_path / "set"
    files.write_records(folder, files.number_records())
    for field, value in [("offset", 1 << 63), ("length", 1 << 31), ("length", 3)]:
        entries = np.frombuffer((folder / "train.index").read_bytes(), record_files.ENTRY).copy()
        entries[field][5] = value
        (folder / "train.index").write_bytes(entries.tobytes())
        change_manifest(
            folder, lambda m: split_of(m)["index"].update(files.described(folder / "train.index"))
        )
        refused(
            lambda: numbers_of(folder),
            f"{folder}/train.index: record 5: expected a place in train-00001-of-00002.tfrecord",
        )


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-5], lambda data: with_byte(data, 0, 1), lambda data: b""]
)
def test_a_compressed_record_that_cannot_be_unpacked(tmp_path, damage):
    packed = [zlib.compress(data) for data in files.number_records()]
    packed[5] = damage(packed[5])
    files.write_records(tmp_path / "set", packed, compressed="already")
    shard = f"{tmp_path}/set/train-00001-of-00002.tfrecord"
    place = f"{shard}: record 1 at byte {len(packed[4]) + 16}: damaged: "
    refused(lambda: one_pass(numbers_of(tmp_path / "set")), place)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret"])
@pytest.mark.parametrize("of", ["shards", "index"])
def test_a_prepared_set_cannot_name_files_elsewhere(tmp_path, name, of):
    folder = tmp_path / "set"
    files.write_records(folder, files.number_records())

    def move(manifest):
        described = split_of(manifest)[of]
        entry = described[0] if of == "shards" else described
        (folder / entry["file"]).rename(tmp_path / "secret")  # sound, and where the manifest says
        entry["file"] = name

    change_manifest(folder, move)
    message = hostile.refused(lambda path: numbers_of(path.parent), folder / "manifest.json")
    assert "expected the name of a file in this directory" in message


# ---- what the trainer says, see ../test_faults.py

RUN = "data={train: records, valid: {name: records, dir: set2}, dir: set}"
SHARD = "train-00001-of-00002.tfrecord"


def write_sets(folder, last: bytes | None = None):
    """64 examples to train on and, beside them, 64 to validate; the `last` of training."""
    beside, sound = folder.with_name("set2"), files.number_records(64)
    files.write_records(folder, sound if last is None else [*sound[:63], last], per_shard=32)
    files.write_records(beside, sound, per_shard=32)
    change_manifest(beside, lambda m: m.update(splits={"valid": split_of(m)}))


def with_file(name, change):
    """What writes sound sets, one file of which is then changed."""

    def write(folder):
        write_sets(folder)
        change(folder / name)

    return write


def flip(at):
    def change(path):
        data = path.read_bytes()
        path.write_bytes(with_byte(data, at, data[at] ^ 4))

    return change


SOUND_RUNS = [("sound", write_sets, RUN)]
FAULTS = [
    Fault(
        "directory missing",
        lambda _: None,
        RUN,
        "set/manifest.json: no such file; expected what "
        "`python preprocess_data.py --out set` writes",
    ),
    Fault("shard missing", with_file(SHARD, Path.unlink), RUN, f"set/{SHARD}: no such file"),
    Fault(
        "shard truncated",
        with_file(SHARD, lambda path: os.truncate(path, 900)),
        RUN,
        f"set/{SHARD}: expected 1,",
    ),
    Fault(
        "bit flip", with_file(SHARD, flip(100)), RUN, f"set/{SHARD}: record ", while_reading=True
    ),
    Fault(
        "index flipped",
        with_file("train.index", flip(3)),
        RUN,
        "set/train.index: damaged: its SHA-256",
    ),
    Fault(
        "interrupted preparation",
        lambda folder: folder.with_name("set.part").mkdir(),
        RUN,
        "set: not finished: set.part is there; run the command",
    ),
    *(
        Fault(
            fault,
            lambda folder, last=last: write_sets(folder, files.example(**last)),
            RUN,
            message,
            while_reading=True,
        )
        for fault, last, message in [
            ("feature missing", {"targets": 1}, "record 31 at byte"),
            ("another dtype", {"inputs": [1, 2], "targets": 1}, "record 31 at byte"),
            ("another shape", {"inputs": [1.0, 2.0, 3.0], "targets": 1}, "record 31 at byte"),
            (
                "label out of range",
                {"inputs": [1.0, 2.0], "targets": 7},
                "expected a class from 0 to 2, got 7",
            ),
            (
                "NaN in inputs",
                {"inputs": [1.0, np.nan], "targets": 1},
                "inputs: expected finite numbers, got nan",
            ),
        ]
    ),
]
