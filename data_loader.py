"""Where raw examples come from: `load(config, split, directory)` returns a `Source`, examples by index.

To add a data set: a function here with the name of its class in `data_config.py`, listed in DATASETS at the end.
"""

import gzip
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

import data_config
from program import DataError

BUNDLED = Path(__file__).resolve().parent / "data"  # the sets that come with the project
MAX_ARRAY_BYTES = 1 << 32


@dataclass(frozen=True)
class Source:
    """Examples by index.

    `read` takes int64 [n], every value in [0, length), and returns {feature: [n, ...]} for the whole batch at once; it
    is called inside the input pipeline's graph. The features are `inputs` and `targets`, raw: operations decode and
    scale them. `fingerprint` changes when the data does. `locate(index)` says where an example is stored.
    """

    name: str
    length: int
    read: Callable[[tf.Tensor], dict[str, tf.Tensor]]
    class_names: tuple[str, ...]
    fingerprint: str
    locate: Callable[[int], str]

    def __len__(self) -> int:
        return self.length


def from_arrays(name: str, features: dict[str, np.ndarray], class_names: list[str], files: str = "memory") -> Source:
    """A source over arrays in memory, all of one length: {feature: [length, ...]}."""
    lengths = {key: len(array) for key, array in features.items()}
    if len(set(lengths.values())) != 1:
        raise DataError(f"{name}: expected features of one length, got {lengths}")
    digest = hashlib.sha256()
    for key in sorted(features):
        digest.update(f"{key} {features[key].dtype} {features[key].shape}".encode())
        digest.update(np.ascontiguousarray(features[key]))
    tensors = {key: tf.constant(array) for key, array in features.items()}

    def read(indices):
        return {key: tf.gather(tensor, indices) for key, tensor in tensors.items()}

    length = next(iter(lengths.values()))
    return Source(name, length, read, tuple(class_names), digest.hexdigest(), lambda index: f"{files}: record {index}")


def load(config, split: str, directory: str | None) -> Source:
    """The examples of one split. Raises DataError, naming the file, for whatever is missing or damaged."""
    return DATASETS[config.name](config, split, Path(directory) if directory else None)


# ------------------------------------------------------------------------------------------------------------ digits

_MNIST_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_MNIST_SHA256 = {  # of the four official files, as published
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


def mnist_sample(config: data_config.MnistSample, split: str, _directory: Path | None) -> Source:
    prefix = _file_of("mnist_sample", split, {"train": "train", "valid": "t10k"})
    return _idx_digits("mnist_sample", *(BUNDLED / "mnist_sample" / f"{prefix}-{part}.gz" for part in _IDX_PARTS))


def mnist(config: data_config.Mnist, split: str, directory: Path | None) -> Source:
    """Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits, 1998."""
    prefix = _file_of("mnist", split, {"train": "train", "valid": "t10k", "test": "t10k"})
    directory = directory or BUNDLED / "mnist"
    paths = []
    for part in _IDX_PARTS:
        raw = directory / f"{prefix}-{part}"
        packed = directory / f"{prefix}-{part}.gz"
        if not raw.exists() and not packed.exists():
            _download(_MNIST_URL + packed.name, packed, _MNIST_SHA256[packed.name], beside=list(_MNIST_SHA256))
        paths.append(raw if raw.exists() else packed)
    return _idx_digits("mnist", *paths)


_IDX_PARTS = ("images-idx3-ubyte", "labels-idx1-ubyte")


def _file_of(name: str, split: str, files: dict[str, str]) -> str:
    if split not in files:
        raise DataError(f"{name}: no split {split!r}; it has {', '.join(files)}")
    return files[split]


def _idx_digits(name: str, images_path: Path, labels_path: Path) -> Source:
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(labels):
        raise DataError(f"{labels_path}: expected {len(images)} labels, as many as images in {images_path.name}, got {len(labels)}")
    if not images.size:
        raise DataError(f"{images_path}: expected at least one image, got none")
    if labels.max() > 9:
        record = int(np.argmax(labels > 9))
        raise DataError(f"{labels_path}: record {record}: expected a label from 0 to 9, got {labels[record]}")
    features = {"inputs": images[..., np.newaxis], "targets": labels.astype(np.int64)}
    return from_arrays(name, features, [str(digit) for digit in range(10)], str(images_path))


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """An IDX file of unsigned bytes (the format of MNIST), gzip or raw -> uint8 array with `ndim` axes.

    Raises DataError for a wrong header, a wrong size or damaged compression, before it allocates what the header claims.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            header = file.read(4 + 4 * ndim)
            magic = bytes([0, 0, 8, ndim])
            if len(header) < 4 + 4 * ndim or header[:4] != magic:
                raise DataError(f"{path}: expected an IDX header {magic.hex()} and {ndim} sizes, got {header[:4].hex() or 'nothing'}")
            shape = np.frombuffer(header, ">u4", offset=4).tolist()
            size = int(np.prod(shape, dtype=object))
            if size > MAX_ARRAY_BYTES:
                raise DataError(f"{path}: expected at most {MAX_ARRAY_BYTES:,} bytes, got a header for {shape} = {size:,}")
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


def _download(url: str, path: Path, sha256: str, beside: list[str]) -> None:
    """Fetches one file: to `<path>.part`, checked, then renamed, so that a file with its own name is always whole."""
    by_hand = f"put {', '.join(beside)} (gzip or unpacked) into {path.parent} by hand, or name their directory with data.dir=DIR"
    part = path.with_name(path.name + ".part")
    try:
        with urllib.request.urlopen(url, timeout=20) as response:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(part, "wb") as file:
                digest = hashlib.sha256()
                while block := response.read(1 << 20):
                    digest.update(block)
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise DataError(f"{path}: not there, and {url} cannot be reached ({reason}); {by_hand}") from error
    if digest.hexdigest() != sha256:
        part.unlink()
        raise DataError(f"{url}: expected SHA-256 {sha256}, got {digest.hexdigest()}; the file was removed; {by_hand}")
    os.replace(part, path)


# -------------------------------------------------------------------------------------------------------------- fake


def fake(config: data_config.Fake, split: str, _directory: Path | None) -> Source:
    """Half a fixed random pattern per class, half noise: uint8 inputs from which the label can be learnt."""
    patterns = np.random.default_rng(0).integers(0, 128, (config.num_classes, *config.shape))
    noise = np.random.default_rng(1 + ["train", "valid", "test"].index(split))
    labels = noise.integers(0, config.num_classes, config.size)
    inputs = (patterns[labels] + noise.integers(0, 128, (config.size, *config.shape))).astype(np.uint8)
    return from_arrays("fake", {"inputs": inputs, "targets": labels}, [f"class {i}" for i in range(config.num_classes)])


DATASETS = {function.__name__: function for function in (mnist_sample, mnist, fake)}
