"""IDX files, the format of MNIST: a header, then unsigned bytes."""

import gzip
import math
from pathlib import Path

import numpy as np

from cli.program import DataError
from data_loader import Source, check_classes, from_arrays

PARTS = ("images-idx3-ubyte", "labels-idx1-ubyte")
DIGITS = list("0123456789")
_MAX_BYTES = 1 << 32


def labeled_images(name: str, images_path: Path, labels_path: Path, class_names: list) -> Source:
    """Images uint8 [n, height, width, 1] and their classes, of two IDX files."""
    images = read_idx(images_path, 3)
    labels = read_idx(labels_path, 1)
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path}: expected {len(images)} labels, as many as images in {images_path.name}"
            f", got {len(labels)}"
        )
    if not images.size:
        raise DataError(f"{images_path}: expected at least one image, got none")
    check_classes(labels, len(class_names), lambda index: f"{labels_path}: record {index}")
    features = {"inputs": images[..., np.newaxis], "targets": labels.astype(np.int64)}
    return from_arrays(name, features, class_names, str(images_path))


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """A file of unsigned bytes, gzip or raw -> uint8 array with `ndim` axes.

    Raises DataError for a wrong header, a wrong size or damaged compression, before it allocates
    what the header claims.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            shape = _shape_in(file.read(4 + 4 * ndim), ndim, path)
            size = math.prod(shape)
            data = bytearray()  # in blocks: a header must not decide how much is allocated
            while len(data) <= size and (block := file.read(min(1 << 20, size + 1 - len(data)))):
                data += block
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, EOFError, gzip.zlib.error) as error:
        raise DataError(f"{path}: damaged or unreadable: {error}") from error
    if len(data) != size:
        got = "more" if len(data) > size else f"{len(data):,}"
        raise DataError(f"{path}: expected {size:,} bytes of data for {shape}, got {got}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _shape_in(header: bytes, ndim: int, path) -> list[int]:
    magic = bytes([0, 0, 8, ndim])  # unsigned bytes, number of axes
    if len(header) < 4 + 4 * ndim or header[:4] != magic:
        raise DataError(
            f"{path}: expected an IDX header {magic.hex()} and {ndim} sizes, "
            f"got {header[:4].hex() or 'nothing'}"
        )
    shape = np.frombuffer(header, ">u4", offset=4).tolist()
    if math.prod(shape) > _MAX_BYTES:
        raise DataError(
            f"{path}: expected at most {_MAX_BYTES:,} bytes, "
            f"got a header for {shape} = {math.prod(shape):,}"
        )
    return shape
