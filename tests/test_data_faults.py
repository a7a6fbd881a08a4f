"""Damaged, missing and wrong digit files: one DataError that names the file. Nothing here uses the network."""

import gzip
import hashlib
import io
import shutil
import tracemalloc
import urllib.error
import urllib.request

import numpy as np
import pytest

import data_config
import data_loader
from program import DataError

SAMPLE, MNIST = data_config.MnistSample(name="mnist_sample"), data_config.Mnist(name="mnist")
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"

# Three 2x2 images, written out: magic 0 0 8 (unsigned bytes) 3 (axes), three sizes, twelve bytes.
HEADER = bytes.fromhex("00000803 00000003 00000002 00000002")
IDX = HEADER + bytes(range(12))


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(url, timeout):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """The folder of a small mnist_sample: five images whose pixels count up, labels 0 to 4."""
    monkeypatch.setattr(data_loader, "BUNDLED", tmp_path)
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
    array = data_loader.read_idx(tmp_path / name, 3)
    assert array.tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9], [10, 11]]]


@pytest.mark.parametrize("name", ["x", "x.gz"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an IDX header 00000803 and 3 sizes, got nothing"),
        (IDX[:15], "expected an IDX header 00000803 and 3 sizes"),  # ends within the sizes
        (b"\x00\x00\x08\x01" + IDX[4:], "expected an IDX header 00000803 and 3 sizes, got 00000801"),  # labels for images
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
        data_loader.read_idx(file, 3)
    assert str(caught.value).startswith(f"{file}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("cut", [1, 4, 8, 9, 20])  # within the length, the CRC, and the data
def test_truncated_gzip(tmp_path, cut):
    file = tmp_path / "x.gz"
    file.write_bytes(gzip.compress(IDX)[:-cut])
    with pytest.raises(DataError, match=r"x\.gz: damaged or unreadable: "):
        data_loader.read_idx(file, 3)


def test_every_flipped_byte_of_gzip_is_noticed(tmp_path):
    file = tmp_path / "x.gz"
    packed = gzip.compress(IDX, mtime=0)
    for position in [*range(3), *range(10, len(packed))]:  # all but the header's flags, date and system
        damaged = bytearray(packed)
        damaged[position] ^= 0x55
        file.write_bytes(damaged)
        with pytest.raises(DataError) as caught:
            data_loader.read_idx(file, 3)
        assert str(caught.value).startswith(f"{file}: "), position


@pytest.mark.parametrize("name", ["x", "x.gz"])
def test_what_a_header_claims_is_not_allocated(tmp_path, name):
    content = HEADER[:4] + bytes.fromhex("00000100 00000400 00000400") + bytes(12)  # claims 256 MiB
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="expected 268,435,456 bytes"):
            data_loader.read_idx(tmp_path / name, 3)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_path_that_is_no_file(tmp_path):
    with pytest.raises(DataError, match="absent: no such file"):
        data_loader.read_idx(tmp_path / "absent", 3)
    with pytest.raises(DataError, match="Is a directory"):
        data_loader.read_idx(tmp_path, 3)


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
    put(sample, np.arange(5 * 784).reshape(5, 28, 28) % 251, np.array([0, 1, 2, 4, 3]))  # two labels change places
    assert data_loader.load(SAMPLE, "train", None).fingerprint != source.fingerprint


@pytest.mark.parametrize(
    ("images", "labels", "file", "message"),
    [
        ((5, 28, 28), [0, 9, 3, 10, 255], LABELS, "record 3: expected a label from 0 to 9, got 10"),
        ((5, 28, 28), [0, 1, 2, 3], LABELS, f"expected 5 labels, as many as images in {IMAGES}.gz, got 4"),
        ((0, 28, 28), [], IMAGES, "expected at least one image, got none"),
        ((5, 784), [0, 1, 2, 3, 4], IMAGES, "expected an IDX header 00000803 and 3 sizes, got 00000802"),
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
    with pytest.raises(DataError, match=r"toy: expected features of one length, got {'inputs': 3, 'targets': 2}"):
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
    assert [source.locate(0) for source in sources] == [f"{packed / IMAGES}.gz: record 0", f"{raw / IMAGES}: record 0"]


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
    data_loader._download(URL, folder / "file.gz", sha256 or hashlib.sha256(CONTENT).hexdigest(), beside=["file.gz", "other.gz"])


def serve(monkeypatch, response):
    asked = []
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: asked.append(url) or response)
    return asked


def test_without_network_the_error_says_what_to_put_where(tmp_path):
    folder = tmp_path / "mnist"
    with pytest.raises(DataError) as caught:
        data_loader.load(MNIST, "train", str(folder))
    message = str(caught.value)
    assert message.startswith(f"{folder / IMAGES}.gz: not there, and https://storage.googleapis.com/cvdf-datasets/mnist/{IMAGES}.gz ")
    assert "no route" in message
    assert f"put {IMAGES}.gz, {LABELS}.gz, t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz (gzip or unpacked) into {folder}" in message
    assert "data.dir=" in message
    assert not folder.exists()  # nothing on disk changes when a run is refused


def test_a_download_is_checked_then_named(tmp_path, monkeypatch):
    (tmp_path / "file.gz.part").write_bytes(b"of an interrupted download, longer than the whole file " * 10)
    asked = serve(monkeypatch, io.BytesIO(CONTENT))
    download(tmp_path)
    assert asked == [URL]
    assert [path.name for path in tmp_path.iterdir()] == ["file.gz"]
    assert (tmp_path / "file.gz").read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT + b"x", CONTENT[:-1], b"", b"<html>sign in</html>"], ids=["longer", "cut", "empty", "portal"])
def test_a_download_with_another_checksum_leaves_nothing(tmp_path, monkeypatch, content):
    serve(monkeypatch, io.BytesIO(content))
    with pytest.raises(DataError) as caught:
        download(tmp_path)
    assert f"{URL}: expected SHA-256 {hashlib.sha256(CONTENT).hexdigest()}, got {hashlib.sha256(content).hexdigest()}" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", [ConnectionResetError("reset by peer"), TimeoutError("timed out")], ids=repr)
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
