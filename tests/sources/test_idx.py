"""One IDX file: read, or refused in one line that names it."""

import gzip
import tracemalloc

import hostile
import numpy as np
import pytest
import small_files as files
from loading import Seed, fill

from cli.program import DataError
from sources.idx import read_idx

# Three 2x2 images, written out: magic 0 0 8 (unsigned bytes) 3 (axes), three sizes, twelve bytes.
HEADER = bytes.fromhex("00000803 00000003 00000002 00000002")
IDX = HEADER + bytes(range(12))


def seeds() -> dict[str, Seed]:
    sound = files.idx(np.random.default_rng(0).integers(0, 256, (4, 5, 6)))

    def seed(name, data, wrapped=bytes):
        return Seed(
            data,
            lambda folder, broken: fill(folder, {name: wrapped(broken)}) / name,
            lambda folder: read_idx(folder / name, 3),
        )

    return {
        "idx": seed("x", sound),
        "idx.gz": seed("x.gz", gzip.compress(sound, mtime=0)),
        "idx in gz": seed("x.gz", sound, lambda data: gzip.compress(data, mtime=0)),
    }


@pytest.mark.parametrize("name", ["x", "x.gz"])
def test_a_whole_file_is_read(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(IDX) if name.endswith("gz") else IDX)
    array = read_idx(tmp_path / name, 3)
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
            "expected at most 4,294,967,296 bytes, "
            "got a header for [4294967295, 4294967295, 4294967295]",
        ),
    ],
    ids=["empty", "short header", "magic", "dtype", "truncated", "trailing", "huge"],
)
def test_a_damaged_file_is_named(tmp_path, name, content, message):
    file = tmp_path / name
    file.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(DataError) as caught:
        read_idx(file, 3)
    assert str(caught.value).startswith(f"{file}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("cut", [1, 4, 8, 9, 20])  # within the length, the CRC, and the data
def test_truncated_gzip(tmp_path, cut):
    file = tmp_path / "x.gz"
    file.write_bytes(gzip.compress(IDX)[:-cut])
    with pytest.raises(DataError, match=r"x\.gz: damaged or unreadable: "):
        read_idx(file, 3)


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
            read_idx(file, 3)
        assert str(caught.value).startswith(f"{file}: "), position


@pytest.mark.parametrize("name", ["x", "x.gz"])
def test_what_a_header_claims_is_not_allocated(tmp_path, name):
    content = HEADER[:4] + bytes.fromhex("00000100 00000400 00000400") + bytes(12)  # claims 256 MiB
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="expected 268,435,456 bytes"):
            read_idx(tmp_path / name, 3)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_path_that_is_no_file(tmp_path):
    with pytest.raises(DataError, match="absent: no such file"):
        read_idx(tmp_path / "absent", 3)
    with pytest.raises(DataError, match="Is a directory"):
        read_idx(tmp_path, 3)


def test_a_gzip_bomb_is_not_unpacked_beyond_what_its_header_says(tmp_path):
    """64 KiB in a file stand for 64 MiB of zeros behind a header of three images of 2x2."""
    path = tmp_path / "data" / "x.gz"
    path.parent.mkdir()
    data = files.idx(np.zeros((3, 2, 2))) + bytes(hostile.SIZE)
    path.write_bytes(gzip.compress(data, mtime=0))
    assert path.stat().st_size < 100_000
    message = hostile.refused(lambda path: read_idx(path, 3), path)
    assert "expected 12 bytes of data for [3, 2, 2], got more" in message
