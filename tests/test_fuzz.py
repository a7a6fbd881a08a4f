"""2,000 broken files of every format through the real loaders: read, or refused in one line that names the file.

A case is its format and its number: `pytest "tests/test_fuzz.py::test_a_broken_file_is_read_or_refused[png-17]" -n 0 -m ""`
makes the same bytes again. Nothing may hang, take much memory, or end with an exception of another type.
"""

import gzip
import io
import json
import resource
import struct
import time
import zipfile
import zlib

import numpy as np
import pytest
import small_files as files
import tensorflow as tf

import data_loader
from cli.program import Failure
from engine.damaged import reason_of
from preprocess_data import apply_ops
from sources.images import read_idx

WHOLE = {"valid": 0, "test": 0}
TEXT_CUES = [
    b"\xff",
    b'"',
    b"\t",
    b"\n",
    b"\r",
    b"\0",
    b",",
    b"nan",
    b"1e999",
    b"-1",
    b"9" * 400,
    b"\\ud800",
    b"{",
    b"\xef\xbb\xbf",
    b"[" * 999,
]


# -------------------------------------------------------------------------------------------------------- breaking


def broken(data: bytes, rng: np.random.Generator, text: bool) -> bytes:
    """One to three of: cut, bits flipped, bytes deleted, inserted, doubled, a number made large (or, in texts, a cue put in)."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at = int(
            rng.integers(0, len(data) + 1)
            if rng.random() < 0.6
            else rng.integers(0, min(64, len(data)) + 1)
        )  # headers, often
        length = int(rng.integers(1, 17))
        change = rng.integers(0, 6)
        if change == 0:
            del data[at:]
        elif change == 1:
            for place in rng.integers(0, len(data), length) if data else ():
                data[place] ^= 1 << int(rng.integers(0, 8))
        elif change == 2:
            del data[at : at + length]
        elif change == 3:
            data[at:at] = rng.bytes(length)
        elif change == 4:
            data[at:at] = data[at : at + 8 * length]
        elif text:
            data[at:at] = TEXT_CUES[rng.integers(0, len(TEXT_CUES))]
        else:
            number = [
                b"\xff\xff\xff\xff",
                b"\x7f\xff\xff\xff",
                b"\xff\xff\xff\x7f",
                b"\xff\xff",
                b"\0\0\0\0",
                b"\x80\0\0\0",
            ][rng.integers(0, 6)]
            data[at : at + len(number)] = number
    return bytes(data)


def with_sound_chunks(data: bytes) -> bytes:
    """A PNG whose checksums are right again, so that its decoder looks further."""
    found, at = data[:8], 8
    while (
        at + 12 <= len(data)
        and (length := int.from_bytes(data[at : at + 4])) <= len(data) - at - 12
    ):
        body = data[at + 4 : at + 8 + length]
        found += struct.pack(">I", length) + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return found + data[at:]


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


# ------------------------------------------------------------------------------------------------- formats, sound

RNG = np.random.default_rng(0)
CUBE = RNG.integers(0, 256, (4, 5, 6))
X, Y = RNG.normal(size=(9, 3)).astype(np.float32), np.arange(9) % 3
CSV = b'a,b,c,y\n1,2,"one, two",u\n' + b"3.5,-4e2,three,v\n" * 6
JSONL = b"".join(
    json.dumps({"label": n % 2, "text": f"line {n} \u00e9", "group": str(n)}).encode() + b"\n"
    for n in range(8)
)
TSV = "".join(f"label{n % 2}\ttext number {n} \u00fc\n" for n in range(8)).encode()
CONLL = b"-DOCSTART- O\n\nthe DT\ncat NN\n\na DT\ndog NN\nbarks VB\n"
CIFAR = RNG.integers(0, 10, 3073 * 3, dtype=np.uint8).tobytes()
NOISY = RNG.integers(0, 4, (9, 11))
IMAGES = {
    "png": files.png(), "jpg": files.jpeg(40, 30), "exif.jpg": files.jpeg(exif=files.exif(6)),
    "gif": files.gif([NOISY, NOISY[::-1]]), "bmp": files.bmp(),
}  # fmt: skip

# format: (name of the file, its sound bytes, its data set with options)
LOADED = {
    "csv": ("x.csv", CSV, {"name": "csv", "file": "x.csv", "target": "y", "categories": ["c"]}),
    "series": (
        "x.csv",
        b"t,v,w\n" + b"1,2,3\n" * 9,
        {"name": "series", "file": "x.csv", "window": 3},
    ),
    "jsonl": ("x.jsonl", JSONL, {"name": "text", "file": "x.jsonl", "group": "group"}),
    "tsv": ("x.tsv", TSV, {"name": "text", "file": "x.tsv"}),
    "pairs": ("x.tsv", TSV, {"name": "parallel", "file": "x.tsv"}),
    "conll": ("x.txt", CONLL, {"name": "tagging", "file": "x.txt"}),
    "npz": ("x.npz", files.npz(x=X, y=Y), {"name": "npz", "file": "x.npz"}),
    "npy in npz": ("x.npz", npy(X), {"name": "npz", "file": "x.npz"}),
    "labels in npz": ("x.npz", npy(Y), {"name": "npz", "file": "x.npz"}),
    "cifar": ("data_batch_2.bin", CIFAR, {"name": "cifar10"}),
    "cifar names": ("batches.meta.txt", "\n".join("abcdefghij").encode(), {"name": "cifar10"}),
}
RECORDS = {
    "shard": "train-00001-of-00002.tfrecord",
    "index": "train.index",
    "manifest": "manifest.json",
    "example": "train-00001-of-00002.tfrecord",
}
FORMATS = ["idx", "idx.gz", "idx in gz", *IMAGES, *LOADED, *RECORDS]
TEXTS = {"csv", "series", "jsonl", "tsv", "pairs", "conll", "cifar names", "manifest"}
CASES = [(kind, number) for number in range(-(-2000 // len(FORMATS))) for kind in FORMATS][:2000]
QUICK = 300


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A directory, the images' source and its compiled reading, which are made once for all cases."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "images" / "a").mkdir(parents=True)
    for kind, data in IMAGES.items():
        (folder / "images" / "a" / f"x.{kind}").write_bytes(data)
    source = data_loader.load(
        files.dataset("image_folder", **WHOLE), "train", str(folder / "images")
    )
    place = {source.locate(index): index for index in range(len(source))}

    @tf.function(input_signature=[tf.TensorSpec([1], tf.int64)])
    def decode(indices):
        return apply_ops(source.read(indices), tf.zeros([1], tf.uint64), files.DECODE, 1)

    return folder, place, decode, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def read_all(folder, options: dict) -> None:
    source = data_loader.load(
        files.dataset(**({} if options["name"] in ("records", "cifar10") else WHOLE), **options),
        "train",
        str(folder),
    )
    source.read(np.arange(min(len(source), 64)))


def prepared_case(workplace, kind: str, rng) -> tuple:
    """(file that must be named, call that reads the broken file)."""
    folder, place, decode, _ = workplace
    if kind in IMAGES:
        path, data = folder / "images" / "a" / f"x.{kind}", broken(IMAGES[kind], rng, False)
        path.write_bytes(with_sound_chunks(data) if kind == "png" and rng.random() < 0.7 else data)
        return path, lambda: decode(tf.constant([place[str(path)]], tf.int64))
    if kind.startswith("idx"):
        path = folder / ("x" if kind == "idx" else "x.gz")
        inner = files.idx(CUBE)
        data = {"idx": inner, "idx.gz": gzip.compress(inner, mtime=0), "idx in gz": inner}[kind]
        data = broken(data, rng, False)
        path.write_bytes(gzip.compress(data, mtime=0) if kind == "idx in gz" else data)
        return path, lambda: read_idx(path, 3)
    if kind in LOADED:
        name, data, options = LOADED[kind]
        data = broken(data, rng, kind in TEXTS)
        if "in npz" in kind:
            data = zipped(
                {"x.npy": data, "y.npy": npy(Y)}
                if kind == "npy in npz"
                else {"x.npy": npy(X), "y.npy": data}
            )
        for number in range(1, 6):
            (folder / f"data_batch_{number}.bin").write_bytes(CIFAR)
        (folder / "batches.meta.txt").unlink(missing_ok=True)
        (folder / name).write_bytes(data)
        return folder / name, lambda: read_all(folder, options)
    target = folder / f"set {rng.integers(1 << 40)}"
    examples = files.number_records()
    if kind == "example":  # broken within sound checksums
        examples[5] = broken(examples[5], rng, False)
    files.write_records(target, examples)
    path = target / RECORDS[kind]
    if kind != "example":
        path.write_bytes(broken(path.read_bytes(), rng, kind in TEXTS))
    named = target if kind == "manifest" else path  # a wrong manifest may also show in another file
    return named, lambda: read_all(target, {"name": "records"})


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        pytest.param(
            kind, number, id=f"{kind}-{number}", marks=[pytest.mark.slow] * (place >= QUICK)
        )
        for place, (kind, number) in enumerate(CASES)
    ],
)
def test_a_broken_file_is_read_or_refused(workplace, kind, number):
    path, read = prepared_case(
        workplace, kind, np.random.default_rng([zlib.crc32(kind.encode()), number])
    )
    begin, message = time.perf_counter(), None
    try:
        read()
    except Failure as failure:
        message = str(failure)
    except (
        tf.errors.OpError,
        UnicodeDecodeError,
    ) as error:  # the last: TensorFlow quotes a record that is no text
        message = reason_of(
            error, str(path)
        )  # as input_ops.naming_examples does, which test_data_faults.py tests
    seconds = time.perf_counter() - begin
    if message is not None:
        assert str(path) in message
        assert len(message.splitlines()) == 1
    assert seconds < 5 or (kind in IMAGES and not number)  # where the reading is compiled
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - workplace[3] < 1 << 20  # KiB
