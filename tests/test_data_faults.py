"""Damaged, missing and wrong data of every kind: one DataError, one line, that names the file. Nothing here uses the network."""

import gzip
import hashlib
import io
import json
import os
import resource
import shutil
import tracemalloc
import urllib.error
import urllib.request
import zlib

import numpy as np
import pytest
import small_files as files
from small_files import idx

import data_config
import data_loader
import input_ops
from cli.program import DataError
from engine import record_files as records
from preprocess_data import apply_ops, measured
from sources import images as image_sets
from train_config import Data

SAMPLE, MNIST = data_config.MnistSample(name="mnist_sample"), data_config.Mnist(name="mnist")
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"

# Three 2x2 images, written out: magic 0 0 8 (unsigned bytes) 3 (axes), three sizes, twelve bytes.
HEADER = bytes.fromhex("00000803 00000003 00000002 00000002")
IDX = HEADER + bytes(range(12))


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(url, timeout):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """The folder of a small mnist_sample: five images whose pixels count up, labels 0 to 4."""
    monkeypatch.setattr(image_sets, "BUNDLED", tmp_path)
    folder = tmp_path / "mnist_sample"
    folder.mkdir()
    put(folder, np.arange(5 * 784).reshape(5, 28, 28) % 251, np.arange(5))
    return folder


def put(folder, images, labels):
    (folder / f"{IMAGES}.gz").write_bytes(gzip.compress(idx(images)))
    (folder / f"{LABELS}.gz").write_bytes(gzip.compress(idx(labels)))


def rows(source, indices=None):
    batch = source.read(np.arange(len(source)) if indices is None else np.array(indices))
    return batch["inputs"].numpy(), batch["targets"].numpy()


# ------------------------------------------------------------------------------------------------------- one IDX file


@pytest.mark.parametrize("name", ["x", "x.gz"])
def test_a_whole_file_is_read(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(IDX) if name.endswith("gz") else IDX)
    array = image_sets.read_idx(tmp_path / name, 3)
    assert array.tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9], [10, 11]]]


@pytest.mark.parametrize("name", ["x", "x.gz"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an IDX header 00000803 and 3 sizes, got nothing"),
        (IDX[:15], "expected an IDX header 00000803 and 3 sizes"),  # ends within the sizes
        (
            b"\x00\x00\x08\x01" + IDX[4:],
            "expected an IDX header 00000803 and 3 sizes, got 00000801",
        ),  # labels for images
        (b"\x00\x00\x0d\x03" + IDX[4:], "got 00000d03"),  # floats
        (IDX[:-1], "expected 12 bytes of data for [3, 2, 2], got 11"),
        (IDX + b"\x00", "expected 12 bytes of data for [3, 2, 2], got more"),
        (
            HEADER[:4] + b"\xff" * 12 + bytes(12),
            "expected at most 4,294,967,296 bytes, got a header for [4294967295, 4294967295, 4294967295]",
        ),
    ],
    ids=["empty", "short header", "magic", "dtype", "truncated", "trailing", "huge"],
)
def test_a_damaged_file_is_named(tmp_path, name, content, message):
    file = tmp_path / name
    file.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(DataError) as caught:
        image_sets.read_idx(file, 3)
    assert str(caught.value).startswith(f"{file}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("cut", [1, 4, 8, 9, 20])  # within the length, the CRC, and the data
def test_truncated_gzip(tmp_path, cut):
    file = tmp_path / "x.gz"
    file.write_bytes(gzip.compress(IDX)[:-cut])
    with pytest.raises(DataError, match=r"x\.gz: damaged or unreadable: "):
        image_sets.read_idx(file, 3)


def test_every_flipped_byte_of_gzip_is_noticed(tmp_path):
    file = tmp_path / "x.gz"
    packed = gzip.compress(IDX, mtime=0)
    for position in [
        *range(3),
        *range(10, len(packed)),
    ]:  # all but the header's flags, date and system
        damaged = bytearray(packed)
        damaged[position] ^= 0x55
        file.write_bytes(damaged)
        with pytest.raises(DataError) as caught:
            image_sets.read_idx(file, 3)
        assert str(caught.value).startswith(f"{file}: "), position


@pytest.mark.parametrize("name", ["x", "x.gz"])
def test_what_a_header_claims_is_not_allocated(tmp_path, name):
    content = HEADER[:4] + bytes.fromhex("00000100 00000400 00000400") + bytes(12)  # claims 256 MiB
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="expected 268,435,456 bytes"):
            image_sets.read_idx(tmp_path / name, 3)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_path_that_is_no_file(tmp_path):
    with pytest.raises(DataError, match="absent: no such file"):
        image_sets.read_idx(tmp_path / "absent", 3)
    with pytest.raises(DataError, match="Is a directory"):
        image_sets.read_idx(tmp_path, 3)


# --------------------------------------------------------------------------------------------------------- a whole set


def test_the_sample_is_read_in_any_order_and_its_fingerprint_follows_its_bytes(sample):
    source = data_loader.load(SAMPLE, "train", None)
    assert len(source) == 5
    inputs, targets = rows(source, [4, 0, 4])
    assert inputs.shape == (3, 28, 28, 1)
    assert inputs.dtype == np.uint8
    assert inputs[:, 0, 0, 0].tolist() == [4 * 784 % 251, 0, 4 * 784 % 251]
    assert targets.tolist() == [4, 0, 4]
    assert source.locate(3) == f"{sample / IMAGES}.gz: record 3"
    assert data_loader.load(SAMPLE, "train", None).fingerprint == source.fingerprint
    put(
        sample, np.arange(5 * 784).reshape(5, 28, 28) % 251, np.array([0, 1, 2, 4, 3])
    )  # two labels change places
    assert data_loader.load(SAMPLE, "train", None).fingerprint != source.fingerprint


@pytest.mark.parametrize(
    ("images", "labels", "file", "message"),
    [
        ((5, 28, 28), [0, 9, 3, 10, 255], LABELS, "record 3: expected a label from 0 to 9, got 10"),
        (
            (5, 28, 28),
            [0, 1, 2, 3],
            LABELS,
            f"expected 5 labels, as many as images in {IMAGES}.gz, got 4",
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
        data_loader.load(SAMPLE, "train", None)
    assert str(caught.value).startswith(f"{sample / file}.gz: {message}")


@pytest.mark.parametrize("file", [IMAGES, LABELS])
def test_a_missing_file_of_the_sample(sample, file):
    (sample / f"{file}.gz").unlink()
    with pytest.raises(DataError) as caught:
        data_loader.load(SAMPLE, "train", None)
    assert str(caught.value) == f"{sample / file}.gz: no such file"


def test_a_split_that_does_not_exist(sample):
    with pytest.raises(DataError, match="mnist_sample: no split 'test'; it has train, valid"):
        data_loader.load(SAMPLE, "test", None)


def test_features_of_different_lengths():
    with pytest.raises(
        DataError, match=r"toy: expected features of one length, got {'inputs': 3, 'targets': 2}"
    ):
        data_loader.from_arrays("toy", {"inputs": np.zeros(3), "targets": np.zeros(2)}, ["a"])


def test_mnist_is_the_same_from_gzip_and_unpacked(sample, tmp_path):
    packed, raw = sample, tmp_path / "raw"
    raw.mkdir()
    for name in (IMAGES, LABELS):
        (raw / name).write_bytes(gzip.decompress((packed / f"{name}.gz").read_bytes()))
    sources = [data_loader.load(MNIST, "train", str(folder)) for folder in (packed, raw)]
    assert sources[0].fingerprint == sources[1].fingerprint
    for one, other in zip(*map(rows, sources), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [source.locate(0) for source in sources] == [
        f"{packed / IMAGES}.gz: record 0",
        f"{raw / IMAGES}: record 0",
    ]


def test_valid_and_test_of_mnist_are_the_same_official_digits(sample):
    for name in (IMAGES, LABELS):
        shutil.move(sample / f"{name}.gz", sample / f"{name.replace('train', 't10k')}.gz")
    valid, test = (data_loader.load(MNIST, split, str(sample)) for split in ("valid", "test"))
    assert valid.fingerprint == test.fingerprint
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        data_loader.load(MNIST, "train", str(sample))


# --------------------------------------------------------------------------------------------------------- downloading

CONTENT = gzip.compress(IDX)
URL = "https://example.org/file.gz"


def download(folder, sha256=None):
    image_sets._download(
        URL,
        folder / "file.gz",
        sha256 or hashlib.sha256(CONTENT).hexdigest(),
        beside=["file.gz", "other.gz"],
    )


def serve(monkeypatch, response):
    asked = []
    monkeypatch.setattr(
        urllib.request, "urlopen", lambda url, timeout: asked.append(url) or response
    )
    return asked


def test_without_network_the_error_says_what_to_put_where(tmp_path):
    folder = tmp_path / "mnist"
    with pytest.raises(DataError) as caught:
        data_loader.load(MNIST, "train", str(folder))
    message = str(caught.value)
    assert message.startswith(
        f"{folder / IMAGES}.gz: not there, and https://storage.googleapis.com/cvdf-datasets/mnist/{IMAGES}.gz "
    )
    assert "no route" in message
    assert (
        f"put {IMAGES}.gz, {LABELS}.gz, t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz (gzip or unpacked) into {folder}"
        in message
    )
    assert "data.dir=" in message
    assert not folder.exists()  # nothing on disk changes when a run is refused


def test_a_download_is_checked_then_named(tmp_path, monkeypatch):
    (tmp_path / "file.gz.part").write_bytes(
        b"of an interrupted download, longer than the whole file " * 10
    )
    asked = serve(monkeypatch, io.BytesIO(CONTENT))
    download(tmp_path)
    assert asked == [URL]
    assert [path.name for path in tmp_path.iterdir()] == ["file.gz"]
    assert (tmp_path / "file.gz").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "content",
    [CONTENT + b"x", CONTENT[:-1], b"", b"<html>sign in</html>"],
    ids=["longer", "cut", "empty", "portal"],
)
def test_a_download_with_another_checksum_leaves_nothing(tmp_path, monkeypatch, content):
    serve(monkeypatch, io.BytesIO(content))
    with pytest.raises(DataError) as caught:
        download(tmp_path)
    assert (
        f"{URL}: expected SHA-256 {hashlib.sha256(CONTENT).hexdigest()}, got {hashlib.sha256(content).hexdigest()}"
        in str(caught.value)
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "fault", [ConnectionResetError("reset by peer"), TimeoutError("timed out")], ids=repr
)
def test_a_connection_that_breaks_leaves_no_file_of_that_name(tmp_path, monkeypatch, fault):
    class Breaks(io.BytesIO):
        def read(self, size):
            if self.tell():
                raise fault
            return super().read(10)

    serve(monkeypatch, Breaks(CONTENT))
    with pytest.raises(DataError, match=f"{URL} cannot be reached .{fault}"):
        download(tmp_path)
    assert not (tmp_path / "file.gz").exists()
    serve(monkeypatch, io.BytesIO(CONTENT))  # the next start begins again
    download(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file.gz"]


# ----------------------------------------------------------------------------------- every source: what loading notices

SOUND_PNG, SOUND_JPEG = files.png(), files.jpeg()
SHAPES = "expected 1 to 50,000,000 pixels (max_pixels), got 50000x50000"
ALL = {"valid": 0, "test": 0}
CSV, TEXT, PAIRS = ({"file": name} | ALL for name in ("t.csv", "t.txt", "t.tsv"))
PREDICTS = CSV | {"target": "y"}
TABLE = b"a,b,y\n1,2,x\n3,4,x\n5,6,z\n"
SERIES = {"file": "s.csv", "window": 2, "valid": 0, "test": 0}
CIFAR_ROWS = bytearray(3073 * 5)
X, Y = np.arange(12.0).reshape(6, 2), np.array([0, 1, 0, 1, 2, 1])


def with_byte(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


def cifar(**changed) -> dict:
    return {f"data_batch_{number}.bin": bytes(CIFAR_ROWS) for number in range(1, 6)} | changed


def row(name, dataset, content, options, message):
    """`message` begins with the file that it must name, below the directory."""
    return pytest.param(dataset, content, options, message, id=f"{dataset}: {name}")


AT_LOADING = [
    # directory or file missing, or empty
    row("no directory", "image_folder", None, {}, ": no such directory; expected one directory of images per class"),
    row("empty directory", "image_folder", {}, {}, ": expected one directory of images per class, got none"),
    row("no images", "image_folder", {"a/x.txt": b"?"}, ALL, ": expected image files (.bmp, .gif, .jpeg, .jpg, .png) in it, got none"),
    row("no file", "npz", {}, {"file": "x.npz"}, "/x.npz: no such file"),
    row("no file", "csv", {}, PREDICTS, "/t.csv: No such file or directory"),
    row("no file", "series", {}, SERIES, "/s.csv: No such file or directory"),
    row("no file", "text", {}, TEXT, "/t.txt: No such file or directory"),
    row("no file", "tagging", {}, TEXT, "/t.txt: No such file or directory"),
    row("no file", "parallel", {}, PAIRS, "/t.tsv: No such file or directory"),
    row("no file", "cifar10", {}, {}, "/data_batch_1.bin: no such file; unpack cifar-10-binary.tar.gz from https://"),
    row("no second file", "cifar10", {"data_batch_1.bin": bytes(3073)}, {}, "/data_batch_2.bin: no such file"),
    row("no file", "cifar100", {}, {}, "/train.bin: no such file; unpack cifar-100-binary.tar.gz"),
    row("no directory", "records", None, {}, "/manifest.json: no such file; expected what `python preprocess_data.py --out"),
    row("empty", "csv", {"t.csv": b""}, PREDICTS, "/t.csv:1: expected a line with the names of the columns, got nothing"),
    row("no rows", "csv", {"t.csv": b"a,y\n\n"}, PREDICTS, "/t.csv: expected at least one row below the names, got none"),
    row("empty", "text", {"t.txt": b""}, TEXT, "/t.txt: expected at least one line, got none"),
    row("empty", "tagging", {"t.txt": b"\n \n-DOCSTART- O\n"}, TEXT, "/t.txt: expected at least one sentence, got none"),
    row("empty", "parallel", {"t.tsv": b""}, PAIRS, "/t.tsv: expected at least one line, got none"),
    row("zero bytes", "npz", {"x.npz": b""}, {"file": "x.npz"}, "/x.npz: expected a NumPy archive of plain arrays"),
    row("zero bytes", "cifar10", cifar(**{"data_batch_3.bin": b""}), {}, "/data_batch_3.bin: expected a multiple of 3073 bytes, got 0"),
    row("cut", "cifar10", cifar(**{"data_batch_3.bin": bytes(3072)}), {},
        "/data_batch_3.bin: expected a multiple of 3073 bytes, got 3,072"),
    row("too few rows", "series", {"s.csv": b"t,v\n1,1\n2,2\n"}, SERIES, "/s.csv: train: expected at least 3 rows for one window, got 2"),
    row("split is empty", "npz", {"x.npz": files.npz(x=X, y=Y)}, {"file": "x.npz", "valid": 0.95, "test": 0},
        "/x.npz: the split 'train' is empty"),
    # labels
    row("label", "cifar10", cifar(**{"data_batch_2.bin": with_byte(bytes(CIFAR_ROWS), 3073 * 4, 10)}), {},
        "/data_batch_2.bin: record 4: expected a label from 0 to 9, got 10"),
    row("label", "cifar100", {"train.bin": with_byte(bytes(3074 * 3), 3075, 100)}, {},
        "/train.bin: record 1: expected a label from 0 to 99, got 100"),
    row("coarse label", "cifar100", {"train.bin": with_byte(bytes(3074 * 3), 3074, 20)}, {"labels": "coarse"},
        "/train.bin: record 1: expected a label from 0 to 19, got 20"),
    row("class names", "cifar10", cifar(**{"batches.meta.txt": b"airplane\n\xff\n"}), {}, "/batches.meta.txt:2: expected UTF-8 text"),
    row("label", "npz", {"x.npz": files.npz(x=X, y=Y)}, {"file": "x.npz", "class_names": ["p", "q"], **ALL},
        "/x.npz: row 4: targets: expected a class from 0 to 1, got 2"),
    row("label below 0", "npz", {"x.npz": files.npz(x_train=X, y_train=Y - 1)}, {"file": "x.npz"},
        "/x.npz: row 0: targets: expected a class from 0 to 1, got -1"),
    row("label of millions", "npz", {"x.npz": files.npz(x_train=X, y_train=Y * 10**12)}, {"file": "x.npz"},
        "/x.npz: expected at most 1,000,000 classes, got a class 2000000000000"),
    row("a class that training lacks", "image_folder", {"train/a/1.png": SOUND_PNG, "valid/a/1.png": SOUND_PNG, "valid/b/1.png": SOUND_PNG},
        {"split": "valid"}, "/valid/b: a class that training does not have; expected one of a"),
    # numbers that are none
    row("NaN", "npz", {"x.npz": files.npz(x=np.where(X == 5, np.nan, X), y=Y)}, {"file": "x.npz", **ALL},
        "/x.npz: row 2: inputs: expected finite numbers, got nan"),
    row("inf", "npz", {"x.npz": files.npz(x=X, y=np.where(Y == 2, -np.inf, Y))}, {"file": "x.npz", "targets": "numbers", **ALL},
        "/x.npz: row 4: targets: expected finite numbers, got -inf"),
    row("too large for float32", "npz", {"x.npz": files.npz(x=X * 1e300, y=Y)}, {"file": "x.npz", **ALL},
        "/x.npz: row 0: inputs: expected finite numbers, got inf"),
    row("NaN", "csv", {"t.csv": TABLE + b"7,nan,x\n"}, PREDICTS, "/t.csv:5: b: expected a finite number, got 'nan'"),
    row("inf", "csv", {"t.csv": TABLE + b"7,1e39,x\n"}, PREDICTS, "/t.csv:5: b: expected a finite number, got '1e39'"),
    row("inf as target", "csv", {"t.csv": b"a,y\n1,inf\n"}, PREDICTS | {"targets": "numbers"},
        "/t.csv:2: y: expected a finite number, got 'inf'"),
    row("NaN", "series", {"s.csv": b"t,v\n1,1\n2,NaN\n3,3\n4,4\n"}, SERIES, "/s.csv:3: v: expected a finite number, got 'NaN'"),
    # CSV
    row("ragged", "csv", {"t.csv": TABLE + b"7,8\n"}, PREDICTS, "/t.csv:5: expected 3 cells, as in the first line, got 2"),
    row("ragged", "series", {"s.csv": b"t,v\n1,1\n2,2,2\n"}, SERIES, "/s.csv:3: expected 2 cells, as in the first line, got 3"),
    row("text for a number", "csv", {"t.csv": TABLE + b"7,eight,x\n"}, PREDICTS, "/t.csv:5: b: expected a finite number, got 'eight'"),
    row("missing value", "csv", {"t.csv": TABLE + b"7,,x\n"}, PREDICTS, "/t.csv:5: b: expected a finite number, got ''"),
    row("missing column", "csv", {"t.csv": TABLE}, PREDICTS | {"target": "z"}, "/t.csv:1: no column 'z'; it has a, b, y"),
    row("missing column", "series", {"s.csv": b"t,v\n1,1\n"}, SERIES | {"columns": ["w"]}, "/s.csv:1: no column 'w'; it has t, v"),
    row("column twice", "csv", {"t.csv": b"a,a,y\n1,2,x\n"}, PREDICTS, "/t.csv:1: expected a name for each column, got 'a' twice"),
    row("quote after text", "csv", {"t.csv": TABLE + b'7,"8"9,x\n'}, PREDICTS, "/t.csv:5: damaged CSV: "),
    row("open quote", "csv", {"t.csv": TABLE + b'7,"8,x\n9,9,x\n'}, PREDICTS, "/t.csv:6: damaged CSV: unexpected end of data"),
    # texts
    row("line without tab", "text", {"t.txt": b"a\tone\nb two\n"}, TEXT, "/t.txt:2: expected a label, a tab and a text, got no tab"),
    row("empty text", "text", {"t.txt": b"a\tone\nb\t \n"}, TEXT, "/t.txt:2: expected text in every field, got an empty one"),
    row("empty line", "text", {"t.txt": b"a\tone\n\nb\ttwo\n"}, TEXT, "/t.txt:2: expected a label, a tab and a text, got no tab"),
    row("line without tab", "parallel", {"t.tsv": b"a\tb\nc\n"}, PAIRS, "/t.tsv:2: expected a source, a tab and a target, got 0 tabs"),
    row("empty side", "parallel", {"t.tsv": b"a\tb\nc\t\n"}, PAIRS, "/t.tsv:2: expected text in every field, got an empty one"),
    row("line without tag", "tagging", {"t.txt": b"a X\nb\n"}, TEXT | {"tag_column": 1},
        "/t.txt:2: expected a token in column 0, a tag in 1, got 1"),
    row("blank in token", "tagging", {"t.txt": b"a b\tX\n"}, TEXT, "/t.txt:1: expected one token without blanks and its tag"),
]  # fmt: skip
for broken in (
    b'{"label": 1, "text": "x"',
    b"[1]",
    b'{"label": 1}',
    b'{"label": 1.5, "text": "x"}',
    b'{"label": 1, "text": 7}',
    b"[" * 9**5,
):
    what = {
        b"[1]": "a JSON object with the key 'label'",
        b'{"label": 1}': "a JSON object with the key 'text'",
    }.get(broken)
    what = what or (
        "a text and a label that is text" if broken.endswith(b"}") else "one JSON object, got"
    )
    lines = b'{"label": 0, "text": "sound"}\n' + broken + b"\n"
    AT_LOADING.append(
        row(
            broken[:30].decode(),
            "text",
            {"t.jsonl": lines},
            {"file": "t.jsonl"} | ALL,
            f"/t.jsonl:2: expected {what}",
        )
    )
for key in ("text", "label", "group"):
    record = {"label": "a", "text": "b", "group": "c"} | {key: "\ud800"}
    lines = json.dumps(record).encode() + b"\n"
    message = f"/t.jsonl:1: {key}: expected whole Unicode characters, got half a surrogate pair"
    AT_LOADING.append(
        row(
            f"surrogate {key}",
            "text",
            {"t.jsonl": lines},
            {"file": "t.jsonl", "group": "group"} | ALL,
            message,
        )
    )
for kind, name, line, options in [
    ("text", "t.txt", b"a\tone\n", TEXT), ("text", "t.jsonl", b'{"label": 0, "text": "x"}\n', {"file": "t.jsonl"} | ALL),
    ("csv", "t.csv", b"a,y\n", PREDICTS), ("series", "s.csv", b"t,v\n", SERIES),
    ("tagging", "t.txt", b"a X\n", TEXT), ("parallel", "t.tsv", b"a\tb\n", PAIRS),
]:  # fmt: skip
    content = {name: line + b"caf\xe9\n"}
    AT_LOADING.append(
        row(
            f"no UTF-8 in {name}",
            kind,
            content,
            options,
            f"/{name}:2: expected UTF-8 text, got byte 0xe9 at 3",
        )
    )
for name, content, message in [
    ("names", files.npz(a=X, b=Y), "expected the arrays x_train and y_train, or x and y, got a, b"),
    ("no targets", files.npz(x_train=X), "expected the array y_train, got none"),
    ("lengths", files.npz(x=X, y=Y[:5]), "expected x and y of one length, got 6 and 5"),
    ("text", files.npz(x=np.array(["a", "b"]), y=Y[:2]), "x: expected an array of numbers, got <U1 of shape (2,)"),
    ("scalar", files.npz(x=np.float32(1), y=Y), "x: expected an array of numbers, got float32 of shape ()"),
    ("fractions as classes", files.npz(x=X, y=Y + 0.5), "y: expected whole numbers as classes, got float64; or targets: numbers"),
    ("nothing in it", files.npz(), "expected the arrays x_train and y_train, or x and y, got none"),
    ("no examples", files.npz(x_train=X[:0], y_train=Y[:0]), "expected at least one example"),
    ("cut", files.npz(x=X, y=Y)[:-30], "expected a NumPy archive of plain arrays: "),
    ("flipped", with_byte(files.npz(x=X, y=Y), 200, 0xAA), "expected a NumPy archive of plain arrays: Bad CRC-32 for file 'x.npy'"),
]:  # fmt: skip
    AT_LOADING.append(
        row(name, "npz", {"x.npz": content}, {"file": "x.npz"} | ALL, f"/x.npz: {message}")
    )


def fill(folder, content):
    for name, data in (content or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    if content is not None:
        folder.mkdir(exist_ok=True)
    return folder


def everything_below(folder) -> dict:
    return {
        path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))
    }


def refused(call, start) -> str:
    """The text of the DataError that `call` raises: one line that begins with the file."""
    with pytest.raises(DataError) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(str(start)), message
    assert len(message.splitlines()) == 1, message
    return message


@pytest.mark.parametrize(("name", "content", "options", "message"), AT_LOADING)
@pytest.mark.filterwarnings("error")
def test_what_loading_refuses(tmp_path, name, content, options, message):
    folder = fill(tmp_path / "data", content)
    before = everything_below(tmp_path)
    options = dict(options)
    split = options.pop("split", "train")
    refused(
        lambda: data_loader.load(files.dataset(name, **options), split, str(folder)),
        f"{folder}{message}",
    )
    assert everything_below(tmp_path) == before


def test_a_pickle_in_an_npz_is_not_executed(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    np.savez(tmp_path / "x.npz", x=np.array([Hostile()] * 3, object), y=np.array([0, 1, 0]))
    config = files.dataset("npz", file="x.npz", **ALL)
    message = refused(
        lambda: data_loader.load(config, "train", str(tmp_path)),
        f"{tmp_path}/x.npz: expected a NumPy archive of plain arrays",
    )
    assert "allow_pickle=False" in message
    assert not (tmp_path / "executed").exists()
    np.load(tmp_path / "x.npz", allow_pickle=True)["x"]  # the fixture is live
    assert (tmp_path / "executed").exists()


# --------------------------------------------------------------------------------- what shows when an example is read


def folder_of_images(tmp_path, **broken):
    """A data set of four sound images of two classes, of which some are replaced by `broken`: {stem_suffix: bytes}."""
    content = {f"{'ab'[number % 2]}/{number}.png": SOUND_PNG for number in range(4)}
    return fill(
        tmp_path / "data",
        content | {f"a/{name.replace('_', '.')}": data for name, data in broken.items()},
    )


def images(folder, **options):
    return data_loader.load(files.dataset("image_folder", **(ALL | options)), "train", str(folder))


SIXTEEN = files.png(dtype=np.uint16)
CMYK = (
    SOUND_JPEG[: SOUND_JPEG.index(b"\xff\xc0") + 9]
    + b"\4"
    + SOUND_JPEG[SOUND_JPEG.index(b"\xff\xc0") + 10 :]
)
FRAMES = [np.full((2, 2), 1), np.full((2, 2), 3)]
BOMBS = {"png": SOUND_PNG, "jpg": SOUND_JPEG, "gif": files.gif(FRAMES), "bmp": files.bmp()}
BROKEN_IMAGES = [
    ("zero bytes", "jpg", b"", "expected an image, got an empty file"),
    ("zero bytes", "png", b"", "expected an image, got an empty file"),
    ("no image", "jpg", b"<html></html>", "expected JPEG, PNG, BMP or GIF, got a file that begins with 3c68746d"),
    ("cut in its header", "jpg", SOUND_JPEG[:20], "the image ends too early, after 20 bytes"),
    ("cut in its header", "png", SOUND_PNG[:20], "the image ends too early, after 20 bytes"),
    ("cut", "jpg", SOUND_JPEG[:-100], "jpeg::Uncompress failed. Invalid JPEG data or crop window."),
    ("cut", "png", SOUND_PNG[:-100], "Invalid PNG data"),
    ("cut", "gif", files.gif(FRAMES)[:60], "the image ends too early, after 60 bytes"),
    ("cut", "bmp", files.bmp()[:-100], "Input size should match (header_size + row_size * abs_height)"),
    ("flipped", "png", with_byte(SOUND_PNG, 80, SOUND_PNG[80] ^ 255), "Invalid PNG data"),
    ("no frame", "jpg", SOUND_JPEG[:2] + b"\xff\xd9", "expected a JPEG with a frame header before its data, got a damaged one"),
    ("CMYK", "jpg", CMYK, "expected a gray or RGB image, got a JPEG of 4 channels (CMYK); convert it"),
    ("16 bit", "png", SIXTEEN, "expected 8 bits a channel, got a PNG of 16; convert it"),
    *(("bomb", kind, files.claims(data, 50_000, 50_000), SHAPES) for kind, data in BOMBS.items()),
    ("no pixels", "png", files.claims(SOUND_PNG, 0, 2), "expected 1 to 50,000,000 pixels (max_pixels), got 2x0"),
    ("bomb in a frame", "gif", files.gif([FRAMES[0], np.zeros((40, 50))], (2, 2)).replace(b"\x32\0\x28\0", b"\xff\xff\xff\xff"),
     "expected 1 to 50,000,000 pixels (max_pixels), got 65535x65535"),
    ("bomb behind a marker without length", "jpg", SOUND_JPEG[:2] + b"\xff\x01" + files.claims(SOUND_JPEG, 50_000, 50_000)[2:],
     "expected a JPEG with a frame header before its data, got a damaged one"),
]  # fmt: skip


@pytest.fixture(scope="module")
def messages_of_broken_images(tmp_path_factory):
    """What the real pipeline says of each, read one by one; no header makes it allocate what it claims."""
    content = {
        f"a/{place:02}.{kind}": data for place, (_, kind, data, _) in enumerate(BROKEN_IMAGES)
    }
    folder = fill(tmp_path_factory.mktemp("broken") / "data", content)
    source = images(folder)
    mix = input_ops.Mix.of(source, files.DECODE)
    batches, messages = iter(input_ops.eval_sets(mix, 1)[0][1]), []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for place in range(len(source)):
        try:
            with mix.naming_examples([place]):
                next(batches)
            messages.append("read without an error")
        except DataError as error:
            messages.append(str(error).removeprefix(f"{source.locate(place)}: "))
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512 << 10
    )  # KiB; a bomb of 50,000 x 50,000 has 7 GiB
    return messages


@pytest.mark.parametrize(
    "place", range(len(BROKEN_IMAGES)), ids=[f"{name} {kind}" for name, kind, _, _ in BROKEN_IMAGES]
)
def test_a_broken_image_is_named(messages_of_broken_images, place):
    message = messages_of_broken_images[place]
    assert message.startswith(BROKEN_IMAGES[place][3])
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("kind", BOMBS)
def test_a_header_alone_refuses_a_bomb(kind):
    tracemalloc.start()
    try:
        refused(
            lambda: image_sets.read_header(
                files.claims(BOMBS[kind], 50_000, 50_000), "x", 50_000_000
            ),
            "x: expected 1 to",
        )
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_of_an_animation_the_first_frame_is_used(tmp_path):
    source = images(
        fill(tmp_path / "data", {"a/1.gif": files.gif(FRAMES), "b/2.bmp": files.bmp(2, 2)})
    )
    features = apply_ops(source.read(np.array([0])), np.zeros(1, np.uint64), files.DECODE, 2)
    assert np.unique(features["inputs"].numpy().reshape(-1, 3), axis=0).tolist() == [
        [255, 0, 0]
    ]  # red; the second frame is blue


def test_an_image_removed_while_training_is_named(tmp_path):
    folder = folder_of_images(tmp_path)
    source = images(folder)
    assert files.one_pass(source, files.DECODE, training=True) == 1
    (folder / "a/2.png").unlink()
    message = refused(
        lambda: files.one_pass(source, files.DECODE, batch_size=4, training=True),
        f"{folder}/a/2.png: No such file",
    )
    assert message.endswith("it was there when the run began")


@pytest.mark.parametrize(
    ("broken", "of", "refuses"), [(1, 1000, False), (2, 1000, True), (1, 999, True), (0, 5, False)]
)
def test_damaged_images_are_skipped_up_to_a_bound(tmp_path, capsys, broken, of, refuses):
    content = {
        f"a/{number:04}.png": SOUND_PNG[:50] if number < broken else SOUND_PNG
        for number in range(of)
    }
    folder = fill(tmp_path / "data", content)
    if refuses:
        message = refused(lambda: images(folder, damaged="skip"), f"{folder}/a/0000.png: ")
        assert message.endswith(
            f"expected at most 0.1% damaged images to skip, got {broken} of {of:,}"
        )
        return
    source = images(folder, damaged="skip")
    assert len(source) == of - broken
    assert [
        line.startswith(f"data: skipped: {folder}/a/0000.png: ")
        for line in capsys.readouterr().err.splitlines()
    ] == [True] * broken
    assert not broken or source.locate(0) == f"{folder}/a/0001.png"


@pytest.mark.parametrize(
    "name", [b"caf\xe9.png", b"pipe.png", b"link.png"], ids=["no UTF-8", "pipe", "dangling link"]
)
def test_a_directory_entry_that_cannot_be_an_image(tmp_path, name):
    folder = folder_of_images(tmp_path)
    path = os.fsencode(folder) + b"/a/" + name
    if name == b"pipe.png":
        os.mkfifo(path)
    elif name == b"link.png":
        os.symlink("nowhere", path)
    else:
        with open(path, "wb") as file:
            file.write(SOUND_PNG)
    refused(
        lambda: files.one_pass(images(folder), files.DECODE),
        f"{folder}/a/{name.decode(errors='backslashreplace')}: expected ",
    )


def test_a_set_smaller_than_one_batch(tmp_path):
    source = images(folder_of_images(tmp_path))
    assert files.one_pass(source, files.DECODE, batch_size=16) == 1  # evaluation pads
    refused(
        lambda: files.one_pass(source, files.DECODE, 5, training=True),
        "image_folder: expected at least one batch of 5 examples, got 4",
    )


def test_unknown_tokens_and_long_sequences(tmp_path, capsys):
    fill(tmp_path, {"t.txt": b"a\tone two\nb\tone two three\na\ttwo two two two\n"})
    ops = [{"name": "tokenize", "max_tokens": 4}, {"name": "truncate", "length": 3}]
    data = measured(Data(train=TEXT | {"name": "text"}, dir=str(tmp_path), ops=ops))
    assert (
        capsys.readouterr().err
        == "data: truncate: 1 of 3 training sequences are longer than 3 and are cut\n"
    )
    mix = input_ops.open_mix(data, "train", training=True)
    _, batches, _ = input_ops.eval_sets(mix, 3)[0]
    assert next(iter(batches))["inputs"].numpy().tolist() == [
        [3, 2, 0],
        [3, 2, 1],
        [2, 2, 2],
    ]  # 2: two, 3: one, 1: unknown, 0: padding


@pytest.mark.parametrize(
    "where",
    ["train", *(pytest.param(where, marks=pytest.mark.slow) for where in ("valid", "measured"))],
)
def test_a_program_ends_with_one_line_and_code_3(tmp_path, program, where):
    folder = fill(
        tmp_path / "data",
        {
            f"{split}/{c}/{n}.png": SOUND_PNG
            for split in ("train", "valid")
            for c in "ab"
            for n in range(4)
        },
    )
    broken = folder / ("valid" if where == "valid" else "train") / "b/2.png"
    broken.write_bytes(SOUND_PNG[:-100])
    ops = "{name: decode_image, channels: 1}, {name: resize, size: [28, 28]}, " + (
        "standardize" if where == "measured" else "scale"
    )
    done = program(
        "trainer.py", "--config", "configs/lenet.yaml", "--run_dir", tmp_path / "run", "data.train=image_folder", "data.valid=null",
        f"data.dir={folder}", "data.train_ops=[]", f"data.ops=[{ops}]", "train.batch_size=8", "train.epochs=2",
        "summary.tensorboard=false", env={"TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    last = done.stderr.splitlines()[-1]
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert last.startswith(f"trainer: error: {broken}: Invalid PNG data"), done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("run/checkpoints/step-*"))


# ---------------------------------------------------------------------------------------------------- prepared records

RECORDS = files.dataset("records")


def numbers_of(folder):
    return data_loader.load(RECORDS, "train", str(folder))


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
    ("dtype", lambda m: m["features"]["inputs"].update(dtype="object"), "features: inputs: expected a dtype and a shape"),
    ("shape", lambda m: m["features"]["inputs"].update(shape=[-2]), "features: inputs: expected a dtype and a shape"),
    ("huge shape", lambda m: m["features"]["inputs"].update(shape=[1 << 30] * 3), "features: inputs: expected a dtype and a shape"),
    ("no inputs", lambda m: m["features"].pop("inputs"), "expected a feature `inputs`, got targets"),
    ("split", lambda m: m["splits"].pop("train"), "no split 'train'"),
    ("no shards", lambda m: split_of(m).update(shards=[]), "splits: train: expected a list of shards"),
    ("no index", lambda m: split_of(m).pop("index"), "splits: train: expected file, bytes and sha256 of every file"),
    *(
        (f"path {name!r}", lambda m, name=name: split_of(m)["shards"][0].update(file=name),
         "splits: train: expected the name of a file in this directory")
        for name in ("../x", "/etc/passwd", "a/b", "..", "", "x\0y", "\nx")
    ),
    ("path of index", lambda m: split_of(m)["index"].update(file="../x"), "splits: train: expected the name of a file in this directory"),
    ("examples", lambda m: split_of(m)["shards"][0].update(examples=0), "expected a number of examples, got 0"),
    ("uneven", lambda m: [s.update(examples=e) for s, e in zip(split_of(m)["shards"], (3, 4), strict=True)], "the same number of examples"),
    ("more examples", lambda m: split_of(m)["shards"][1].update(examples=4), "expected 8 entries of 20 bytes, got 140 bytes"),
    ("bytes", lambda m: split_of(m)["shards"][1].update(bytes=1), "expected 1 bytes, as in manifest.json, got"),
]  # fmt: skip


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
    assert files.one_pass(numbers_of(folder)) == 2
    assert records.check(folder, lambda _: None) == 7
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
    stored = records.Records(folder, "train")
    for at in range(len(whole)):
        shard.write_bytes(with_byte(whole, at, whole[at] ^ 0x10))
        number = at * 3 // len(whole)  # three records of one length
        expected = f"{shard}: record {number} at byte {number * len(whole) // 3}: damaged: its checksum is not the one in the index"
        for reader in (stored.read, stored.read_in_blocks(1)):
            assert refused(lambda: reader(np.array([4, 5, 6])), shard) == expected  # noqa: B023
        if at % 6 == 0:
            assert refused(lambda: records.check(folder, lambda _: None), shard) == expected
    assert refused(lambda: files.one_pass(numbers_of(folder)), shard).startswith(expected[:40])


WRONG_EXAMPLES = [
    ("missing", files.example(targets=1), "Feature: inputs (data type: float) is required but could not be found"),
    ("dtype", files.example(inputs=[1, 2], targets=1),
     "Key: inputs, Index: 0.  Data types don't match. Data type: int64 but expected type: float"),
    ("shape", files.example(inputs=[1.0, 2.0, 3.0], targets=1),
     "Key: inputs, Index: 0.  Number of float values != expected.  Values size: 3 but output shape: [2]"),
    ("no example", b"\xff\xff\xff", "Could not parse example input"),
    ("NaN", files.example(inputs=[1.0, np.nan], targets=1), "inputs: expected finite numbers, got nan"),
    ("label", files.example(inputs=[1.0, 2.0], targets=3), "targets: expected a class from 0 to 2, got 3"),
    ("label below 0", files.example(inputs=[1.0, 2.0], targets=-1), "targets: expected a class from 0 to 2, got -1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("broken", "message"), [pytest.param(*rest, id=name) for name, *rest in WRONG_EXAMPLES]
)
def test_a_record_that_is_not_as_the_manifest_says(tmp_path, broken, message):
    serialized = files.number_records()
    serialized[5] = broken
    files.write_records(tmp_path / "set", serialized)
    offset = len(serialized[4]) + 16
    place = f"{tmp_path}/set/train-00001-of-00002.tfrecord: record 1 at byte {offset}: "
    assert message in refused(lambda: files.one_pass(numbers_of(tmp_path / "set")), place)


@pytest.mark.parametrize("size", [5, 7, 0, 12])
def test_bytes_of_another_size_than_the_manifest_says(tmp_path, size):
    features = files.FEATURES | {"inputs": {"dtype": "uint8", "shape": [2, 3]}}
    serialized = [
        files.example(inputs=bytes(size if number == 5 else 6), targets=0) for number in range(8)
    ]
    files.write_records(tmp_path / "set", serialized, features)
    place = f"{tmp_path}/set/train-00001-of-00002.tfrecord: record 1 at byte "
    refused(lambda: files.one_pass(numbers_of(tmp_path / "set")), place)


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
        entries = np.frombuffer((folder / "train.index").read_bytes(), records.ENTRY).copy()
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
    place = f"{tmp_path}/set/train-00001-of-00002.tfrecord: record 1 at byte {len(packed[4]) + 16}: damaged: "
    refused(lambda: files.one_pass(numbers_of(tmp_path / "set")), place)
