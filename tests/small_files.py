"""Small sound files of every format that the project reads, as bytes; the tests then break them."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import tensorflow as tf
from pydantic import TypeAdapter

import data_config
import input_ops
import train_config
from engine import record_files as records

DECODE = [
    data_config.DecodeImage(name="decode_image", channels=3),
    data_config.Resize(name="resize", size=(4, 4)),
]


def dataset(name: str, **options):
    return TypeAdapter(train_config.DatasetConfig).validate_python({"name": name, **options})


def one_pass(source, ops=(), batch_size: int = 4, training: bool = False) -> int:
    """Every example once (or one epoch of training) through the real pipeline; returns the number of batches."""
    mix = input_ops.Mix.of(source, list(ops))
    with mix.naming_examples():
        if training:
            return sum(
                1
                for _ in input_ops.train_batches(
                    mix, batch_size, seed=0, stop=len(mix) // batch_size
                )
            )
        return sum(1 for _, batches, _ in input_ops.eval_sets(mix, batch_size) for _ in batches)


# ---------------------------------------------------------------------------------------------------------- images


def pixels(height: int = 12, width: int = 10) -> np.ndarray:
    return (np.arange(height * width * 3).reshape(height, width, 3) * 7 % 256).astype(np.uint8)


def png(height: int = 12, width: int = 10, dtype=np.uint8) -> bytes:
    return tf.io.encode_png(pixels(height, width).astype(dtype)).numpy()


def jpeg(height: int = 12, width: int = 10, exif: bytes = b"") -> bytes:
    data = tf.io.encode_jpeg(pixels(height, width)).numpy()
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif if exif else b""
    return data[:2] + segment + data[2:]


def exif(orientation: int) -> bytes:
    """One directory of one entry: tag 0x0112, a short."""
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def gif(frames: list[np.ndarray], screen: tuple[int, int] | None = None) -> bytes:
    """Frames [height, width] of values 0 (black), 1 (red), 2 (green), 3 (blue)."""
    height, width = screen or frames[0].shape
    data = (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0x81, 0, 0)
        + bytes([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    )
    for frame in frames:
        codes = [
            code
            for at in range(0, frame.size, 2)
            for code in (4, *frame.astype(int).ravel()[at : at + 2].tolist())
        ] + [5]  # 4: clear, 5: end
        bits = sum(
            code << 3 * place for place, code in enumerate(codes)
        )  # 3 bits suffice, because the table never grows
        packed = bits.to_bytes(-(-3 * len(codes) // 8), "little")
        blocks = b"".join(
            bytes([len(packed[at : at + 255])]) + packed[at : at + 255]
            for at in range(0, len(packed), 255)
        )
        data += (
            b"!\xf9\x04\0\x0a\0\0\0"
            + b","
            + struct.pack("<HHHHB", 0, 0, *frame.shape[::-1], 0)
            + b"\x02"
            + blocks
            + b"\0"
        )
    return data + b";"


def bmp(height: int = 12, width: int = 10) -> bytes:
    row = width * 3
    rows = b"".join(
        line.tobytes() + bytes(-row % 4) for line in pixels(height, width)[::-1, :, ::-1]
    )
    return (
        b"BM"
        + struct.pack(
            "<IIIIiiHHIIiiII",
            54 + len(rows),
            0,
            54,
            40,
            width,
            height,
            1,
            24,
            0,
            len(rows),
            0,
            0,
            0,
            0,
        )
        + rows
    )


def claims(data: bytes, height: int, width: int) -> bytes:
    """The same image file with another size in its header, and with sound checksums."""
    if data[:2] == b"\xff\xd8":
        at = data.index(b"\xff\xc0") + 5
        return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]
    if data[:2] == b"BM":
        return data[:18] + struct.pack("<ii", width, height) + data[26:]
    if data[:3] == b"GIF":
        return data[:6] + struct.pack("<HH", width, height) + data[10:]
    chunk = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


# --------------------------------------------------------------------------------------------------- arrays, records


def idx(array: np.ndarray) -> bytes:
    return (
        bytes([0, 0, 8, array.ndim])
        + np.array(array.shape, ">u4").tobytes()
        + array.astype(np.uint8).tobytes()
    )


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def example(**features) -> bytes:
    """A serialized tf.train.Example: bytes, whole numbers or floats by the type of each value."""
    found = {}
    for key, value in features.items():
        if isinstance(value, bytes):
            found[key] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        elif np.asarray(value).dtype.kind == "f":
            found[key] = tf.train.Feature(float_list=tf.train.FloatList(value=np.ravel(value)))
        else:
            found[key] = tf.train.Feature(int64_list=tf.train.Int64List(value=np.ravel(value)))
    return tf.train.Example(features=tf.train.Features(feature=found)).SerializeToString()


FEATURES = {
    "inputs": {"dtype": "float32", "shape": [2]},
    "targets": {"dtype": "int64", "shape": []},
}


def number_records(count: int = 7) -> list[bytes]:
    return [example(inputs=[number + 0.25, -1.0], targets=number % 3) for number in range(count)]


def write_records(
    directory: Path,
    serialized: list[bytes],
    features=FEATURES,
    classes=("a", "b", "c"),
    per_shard=4,
    compressed=False,
    labels=None,
) -> dict:
    """A prepared set with one split, `train`; returns its manifest."""
    directory.mkdir()
    shards, entries = [], b""
    count = -(-len(serialized) // per_shard)
    for number in range(count):
        path = directory / records.shard_name("train", number, count)
        part = slice(number * per_shard, (number + 1) * per_shard)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for data in serialized[part]:
                writer.write(zlib.compress(data) if compressed is True else data)
        own = (labels or [-1] * len(serialized))[part]
        entries += records.index_shard(path, own).tobytes()
        shards.append(described(path) | {"examples": len(own)})
    (directory / "train.index").write_bytes(entries)
    manifest = {
        "format": records.FORMAT,
        "compressed": bool(compressed),
        "class_names": list(classes),
        "features": features,
        "splits": {"train": {"shards": shards, "index": described(directory / "train.index")}},
    }
    (directory / records.MANIFEST).write_text(json.dumps(manifest))
    return manifest


def described(path: Path) -> dict:
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": records.sha256_of(path)}
