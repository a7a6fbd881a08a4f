"""Images: digits and other small official sets as arrays, and folders of image files."""

import gzip
import hashlib
import http.client
import os
import re
import stat
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

import data_config
from cli.program import DataError, warn
from engine.damaged import damage_of
from sources.source import (
    BUNDLED,
    SPLITS,
    NoSplit,
    Source,
    chosen,
    divide,
    from_arrays,
    in_python,
    lines_of,
)

MAX_ARRAY_BYTES = 1 << 32


# ------------------------------------------------------------------------------------------------------------ digits

_MNIST_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_MNIST_SHA256 = {  # of the four official files, as published
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
_FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_FASHION_MD5 = {  # as published; it guards against damage, not against malice
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}


def mnist_sample(config: data_config.MnistSample, split: str, directory: Path | None) -> Source:
    prefix = _file_of("mnist_sample", split, {"train": "train", "valid": "t10k"})
    return _idx_images(
        "mnist_sample",
        *(BUNDLED / "mnist_sample" / f"{prefix}-{part}.gz" for part in _IDX_PARTS),
        _DIGITS,
    )


def mnist(config: data_config.Mnist, split: str, directory: Path | None) -> Source:
    """Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits, 1998."""
    return _official_idx("mnist", split, directory, _MNIST_URL, _MNIST_SHA256, _DIGITS)


def fashion_mnist(config: data_config.FashionMnist, split: str, directory: Path | None) -> Source:
    """H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST, 2017; the file names are MNIST's, so it needs a directory of its own."""
    return _official_idx("fashion_mnist", split, directory, _FASHION_URL, _FASHION_MD5, _CLOTHES)


def _official_idx(
    name: str,
    split: str,
    directory: Path | None,
    url: str,
    digests: dict[str, str],
    class_names: list[str],
) -> Source:
    prefix = _file_of(name, split, {"train": "train", "valid": "t10k", "test": "t10k"})
    directory = directory or BUNDLED / name
    paths = []
    for part in _IDX_PARTS:
        raw = directory / f"{prefix}-{part}"
        packed = directory / f"{prefix}-{part}.gz"
        if not raw.exists() and not packed.exists():
            _download(url + packed.name, packed, digests[packed.name], beside=list(digests))
        paths.append(raw if raw.exists() else packed)
    return _idx_images(name, *paths, class_names)


_DIGITS = [str(digit) for digit in range(10)]
_CLOTHES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
_IDX_PARTS = ("images-idx3-ubyte", "labels-idx1-ubyte")


def _file_of(name: str, split: str, files: dict[str, str]) -> str:
    if split not in files:
        raise NoSplit(f"{name}: no split {split!r}; it has {', '.join(files)}")
    return files[split]


def _idx_images(name: str, images_path: Path, labels_path: Path, class_names: list[str]) -> Source:
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path}: expected {len(images)} labels, as many as images in {images_path.name}, got {len(labels)}"
        )
    if not images.size:
        raise DataError(f"{images_path}: expected at least one image, got none")
    if labels.max() >= len(class_names):
        record = int(np.argmax(labels >= len(class_names)))
        raise DataError(
            f"{labels_path}: record {record}: expected a label from 0 to {len(class_names) - 1}, got {labels[record]}"
        )
    features = {"inputs": images[..., np.newaxis], "targets": labels.astype(np.int64)}
    return from_arrays(name, features, class_names, str(images_path))


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """An IDX file of unsigned bytes (the format of MNIST), gzip or raw -> uint8 array with `ndim` axes.

    Raises DataError for a wrong header, a wrong size or damaged compression, before it allocates what the header claims.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            header = file.read(4 + 4 * ndim)
            magic = bytes([0, 0, 8, ndim])
            if len(header) < 4 + 4 * ndim or header[:4] != magic:
                raise DataError(
                    f"{path}: expected an IDX header {magic.hex()} and {ndim} sizes, got {header[:4].hex() or 'nothing'}"
                )
            shape = np.frombuffer(header, ">u4", offset=4).tolist()
            size = int(np.prod(shape, dtype=object))
            if size > MAX_ARRAY_BYTES:
                raise DataError(
                    f"{path}: expected at most {MAX_ARRAY_BYTES:,} bytes, got a header for {shape} = {size:,}"
                )
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


def _download(url: str, path: Path, expected: str, beside: list[str]) -> None:
    """Fetches one file: to `<path>.part`, checked, then renamed, so that a file with its own name is always whole."""
    by_hand = f"put {', '.join(beside)} (gzip or unpacked) into {path.parent} by hand, or name their directory with data.dir=DIR"
    part = path.with_name(path.name + ".part")
    algorithm = {32: "MD5", 64: "SHA-256"}[len(expected)]
    try:
        with urllib.request.urlopen(url, timeout=20) as response:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(part, "wb") as file:
                digest = hashlib.new(algorithm.replace("-", "").lower())
                while block := response.read(1 << 20):
                    digest.update(block)
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        TimeoutError,
        ConnectionError,
    ) as error:
        reason = getattr(error, "reason", error)
        raise DataError(
            f"{path}: not there, and {url} cannot be reached ({reason}); {by_hand}"
        ) from error
    if digest.hexdigest() != expected:
        part.unlink()
        raise DataError(
            f"{url}: expected {algorithm} {expected}, got {digest.hexdigest()}; the file was removed; {by_hand}"
        )
    os.replace(part, path)


# ------------------------------------------------------------------------------------------------------------- CIFAR

_CIFAR10_NAMES = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]


def cifar10(config: data_config.Cifar10, split: str, directory: Path | None) -> Source:
    """A. Krizhevsky, Learning multiple layers of features from tiny images, 2009; the binary version, unpacked."""
    files = (
        [f"data_batch_{number}.bin" for number in range(1, 6)]
        if split == "train"
        else ["test_batch.bin"]
    )
    names = _class_names(
        _cifar_directory("cifar10", directory, files[0]) / "batches.meta.txt", _CIFAR10_NAMES
    )
    return _cifar("cifar10", directory, files, names, label_bytes=1, label_at=0)


def cifar100(config: data_config.Cifar100, split: str, directory: Path | None) -> Source:
    """The same, 100 fine classes in 20 coarse ones."""
    files, fine = ["train.bin" if split == "train" else "test.bin"], config.labels == "fine"
    count = 100 if fine else 20
    names = _class_names(
        _cifar_directory("cifar100", directory, files[0]) / f"{config.labels}_label_names.txt",
        list(map(str, range(count))),
    )
    return _cifar("cifar100", directory, files, names, label_bytes=2, label_at=1 if fine else 0)


def _cifar_directory(name: str, directory: Path | None, file: str) -> Path:
    """The directory itself, or the one that unpacking the official archive makes in it."""
    directory = directory or BUNDLED / name
    inner = {"cifar10": "cifar-10-batches-bin", "cifar100": "cifar-100-binary"}[name]
    found = next(
        (place for place in (directory, directory / inner) if (place / file).is_file()), None
    )
    if found is None:
        archive = {"cifar10": "cifar-10-binary.tar.gz", "cifar100": "cifar-100-binary.tar.gz"}[name]
        raise DataError(
            f"{directory / file}: no such file; unpack {archive} from https://www.cs.toronto.edu/~kriz/cifar.html, data.dir=DIR"
        )
    return found


def _class_names(path: Path, default: list[str]) -> list[str]:
    """The names beside the images, if they are there."""
    names = (
        [name for _, line in lines_of(path) for name in line.split()] if path.is_file() else default
    )
    return names if len(names) == len(default) else default


def _cifar(
    name: str,
    directory: Path | None,
    files: list[str],
    class_names: list[str],
    label_bytes: int,
    label_at: int,
) -> Source:
    """Records of label bytes and 3,072 pixels: all red, then all green, then all blue."""
    row = label_bytes + 3072
    images, labels, paths = [], [], []
    for file in files:
        path = _cifar_directory(name, directory, file) / file
        size = path.stat().st_size
        if size % row or not size:
            raise DataError(f"{path}: expected a multiple of {row} bytes, got {size:,}")
        records = np.fromfile(path, np.uint8).reshape(-1, row)
        bad = records[:, label_at] >= len(class_names)
        if bad.any():
            record = int(bad.argmax())
            raise DataError(
                f"{path}: record {record}: expected a label from 0 to {len(class_names) - 1}, got {records[record, label_at]}"
            )
        images.append(records[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels.append(records[:, label_at].astype(np.int64))
        paths.append(path)
    starts = np.cumsum([0, *map(len, images)])

    def locate(index: int) -> str:
        file = int(np.searchsorted(starts, index, side="right")) - 1
        return f"{paths[file]}: record {index - int(starts[file])}"

    return from_arrays(
        name,
        {"inputs": np.concatenate(images), "targets": np.concatenate(labels)},
        class_names,
        locate,
    )


# ------------------------------------------------------------------------------------------------------ image files


@dataclass(frozen=True)
class ImageHeader:
    width: int
    height: int
    orientation: int = 1  # EXIF


def read_header(data: bytes, name: str, max_pixels: int) -> ImageHeader:
    """What the first bytes of an image file say. Raises DataError for what must not, or cannot, be decoded."""
    if not data:
        raise DataError(f"{name}: expected an image, got an empty file")
    try:
        if data[:2] == b"\xff\xd8":
            header = _jpeg_header(data, name)
        elif data[:8] == b"\x89PNG\r\n\x1a\n":
            width, height, depth = (
                int.from_bytes(data[16:20]),
                int.from_bytes(data[20:24]),
                data[24],
            )
            if depth == 16:
                raise DataError(f"{name}: expected 8 bits a channel, got a PNG of 16; convert it")
            header = ImageHeader(width, height)
        elif data[:6] in (b"GIF87a", b"GIF89a"):
            header = _gif_header(data)
        elif data[:2] == b"BM":
            sides = (int.from_bytes(data[at : at + 4], "little", signed=True) for at in (18, 22))
            bits, pixels_at = (
                int.from_bytes(data[28:30], "little"),
                int.from_bytes(data[10:14], "little"),
            )
            gray = bytes(part for value in range(256) for part in (value, value, value, 0))
            if bits not in (24, 32) and not (
                bits == 8 and data[pixels_at - 1024 : pixels_at] == gray
            ):  # colors would be read as gray
                raise DataError(
                    f"{name}: expected a BMP of 24 or 32 bits, or of 256 grays, got {bits} bits with a palette; convert it"
                )
            header = ImageHeader(*map(abs, sides))
        else:
            raise DataError(
                f"{name}: expected JPEG, PNG, BMP or GIF, got a file that begins with {data[:4].hex()}"
            )
    except IndexError:
        raise DataError(f"{name}: the image ends too early, after {len(data)} bytes") from None
    if not 0 < header.width * header.height <= max_pixels:
        raise DataError(
            f"{name}: expected 1 to {max_pixels:,} pixels (max_pixels), got {header.width}x{header.height}"
        )
    return header


def _jpeg_header(data: bytes, name: str) -> ImageHeader:
    """Goes from marker to marker up to the frame header (ITU-T T.81, B.2)."""
    at, orientation = 2, 1
    while True:
        while data[at] == 0xFF and data[at + 1] == 0xFF:  # fill bytes
            at += 1
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if (
            data[at] != 0xFF or marker < 0x02 or 0xD0 <= marker <= 0xDA or length < 2
        ):  # those have no length, or come later
            raise DataError(
                f"{name}: expected a JPEG with a frame header before its data, got a damaged one"
            )
        if marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            orientation = _exif_orientation(data[at + 10 : at + 2 + length])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            precision, height, width = (
                data[at + 4],
                int.from_bytes(data[at + 5 : at + 7]),
                int.from_bytes(data[at + 7 : at + 9]),
            )
            components = data[at + 9]
            if precision != 8:
                raise DataError(
                    f"{name}: expected 8 bits a channel, got a JPEG of {precision}; convert it"
                )
            if components not in (1, 3):
                raise DataError(
                    f"{name}: expected a gray or RGB image, got a JPEG of {components} channels (CMYK); convert it"
                )
            return ImageHeader(width, height, orientation)
        at += 2 + length


def _gif_header(data: bytes) -> ImageHeader:
    """As large as the screen and the largest frame, which need not agree; all frames are unpacked (GIF89a, sections 18, 20)."""
    width, height = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    at = 13 + _gif_colors(data[10])
    while at < len(data) and data[at] in b"!,":
        at += 2
        if data[at - 2] == ord(","):
            frame = data[at + 3 : at + 7]
            width, height = (
                max(width, int.from_bytes(frame[:2], "little")),
                max(height, int.from_bytes(frame[2:], "little")),
            )
            at += 9 + _gif_colors(data[at + 7])
        while data[at]:  # blocks, each with its length before it
            at += 1 + data[at]
        at += 1
    return ImageHeader(width, height)


def _gif_colors(flags: int) -> int:
    """Bytes of a table of colors."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _exif_orientation(tiff: bytes) -> int:
    """Tag 0x0112 of the first directory; 1, upright, for anything that is not as it should be."""
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None:
        return 1
    directory = int.from_bytes(tiff[4:8], order)
    for entry in range(min(int.from_bytes(tiff[directory : directory + 2], order), 200)):
        at = directory + 2 + 12 * entry
        if int.from_bytes(tiff[at : at + 2], order) == 0x0112:
            value = int.from_bytes(tiff[at + 8 : at + 10], order)
            return value if 1 <= value <= 8 else 1
    return 1


_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif"}
_FOLDERS = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation"),
    "test": ("test", "testing"),
}
MOST_SKIPPED = 0.001


def image_folder(config: data_config.ImageFolder, split: str, directory: Path | None) -> Source:
    if directory is None:
        raise DataError(
            "image_folder: no directory; expected data.dir=DIR, or `dir` beside its name"
        )
    if not directory.is_dir():
        raise DataError(
            f"{directory}: no such directory; expected one directory of images per class"
        )
    folders = {
        key: next((directory / name for name in names if (directory / name).is_dir()), None)
        for key, names in _FOLDERS.items()
    }
    divided = folders["train"] is not None
    root = folders[split] if divided else directory
    if root is None:
        raise NoSplit(
            f"{directory}: no split {split!r}; it has {', '.join(key for key, folder in folders.items() if folder)}"
        )
    class_names = _classes_in(folders["train"] if divided else directory)
    if unknown := sorted(set(_classes_in(root)) - set(class_names)):
        raise DataError(
            f"{root / unknown[0]}: a class that training does not have; expected one of {', '.join(class_names[:12])}"
        )
    files = [
        (file, size, label)
        for label, name in enumerate(class_names)
        for file, size in _images_in(root, name)
    ]
    if not files:
        raise DataError(
            f"{root}: expected image files ({', '.join(sorted(_SUFFIXES))}) in it, got none"
        )
    if not divided:
        groups = [_group_of(config.group, file) for file, _, _ in files] if config.group else ()
        splits = divide(
            [file for file, _, _ in files],
            config.valid,
            config.test,
            [label for _, _, label in files],
            groups,
        )
        files = [files[index] for index in chosen(str(directory), splits, split)]
    if config.damaged == "skip":
        files = _without_damaged(root, files, config.max_pixels)
    names, labels = (
        [file for file, _, _ in files],
        np.array([label for _, _, label in files], np.int64),
    )
    digest = hashlib.sha256(
        repr((class_names, files)).encode()
    )  # names and sizes: contents would have to be read

    def read_files(indices):
        data = np.empty(len(indices), object)
        orientation, size = np.ones(len(indices), np.int32), np.empty((len(indices), 2), np.int32)
        for place, index in enumerate(indices.tolist()):
            data[place], header = _read_image(root / names[index], config.max_pixels)
            orientation[place], size[place] = header.orientation, (header.height, header.width)
        return data, orientation, size

    specs = {
        "inputs": tf.TensorSpec([], tf.string),
        "orientation": tf.TensorSpec([], tf.int32),
        "image_size": tf.TensorSpec([2], tf.int32),
    }

    def read(indices):
        return in_python(read_files, indices, specs) | {"targets": tf.gather(labels, indices)}

    return Source(
        "image_folder", len(files), read, tuple(class_names), digest.hexdigest(), lambda index: str(root / names[index]), labels,
        stored_bytes=sum(size for _, size, _ in files),
    )  # fmt: skip


def _classes_in(root: Path) -> list[str]:
    names = sorted(
        entry.name
        for entry in os.scandir(root)
        if entry.is_dir() and not entry.name.startswith(".")
    )
    if not names:
        raise DataError(f"{root}: expected one directory of images per class, got none")
    return [_unicode(name, root) for name in names]


def _images_in(root: Path, name: str) -> list[tuple[str, int]]:
    """(path below `root`, bytes) of every image of a class, at any depth, in order; nothing is opened."""
    found = []
    for folder, folders, files in os.walk(root / name):
        folders[:] = sorted(inner for inner in folders if not inner.startswith("."))
        for file in sorted(files):
            if os.path.splitext(file)[1].lower() in _SUFFIXES and not file.startswith("."):
                path = os.path.join(folder, file)
                found.append((_unicode(os.path.relpath(path, root), root), _size_of(path)))
    return found


def _unicode(name: str, root: Path) -> str:
    """The same name, which TensorFlow, YAML and messages can hold."""
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(root / name).decode(errors="backslashreplace")
        raise DataError(f"{shown}: expected a file name in UTF-8; rename it") from None
    return name


def _size_of(path: str) -> int:
    """Of a file, which must be one: a pipe would be waited for."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(f"{path}: expected an image: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: expected an image, got something that is no file")
    return status.st_size


def _group_of(pattern: str, file: str) -> str:
    match = re.search(pattern, file)
    if match is None or not match.groups():
        raise DataError(
            f"{file}: group: expected the regex {pattern!r} to find its first group in it, got nothing"
        )
    return match[1] or ""


def _read_image(path: Path, max_pixels: int) -> tuple[bytes, ImageHeader]:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; it was there when the run began") from error
    return data, read_header(data, str(path), max_pixels)


def _without_damaged(root: Path, files: list, max_pixels: int) -> list:
    """The files that can be decoded; the others are named. Raises DataError for more than MOST_SKIPPED of them."""

    def damage(file) -> str | None:
        try:
            data, _ = _read_image(root / file[0], max_pixels)
        except DataError as error:
            return str(error)
        return damage_of(data, str(root / file[0]))

    with ThreadPoolExecutor() as pool:
        reasons = list(pool.map(damage, files))
    found = [reason for reason in reasons if reason]
    if len(found) > MOST_SKIPPED * len(files):
        raise DataError(
            f"{found[0]}; expected at most {MOST_SKIPPED:.1%} damaged images to skip, got {len(found):,} of {len(files):,}"
        )
    for reason in found:
        warn(f"data: skipped: {reason}")
    return [file for file, reason in zip(files, reasons, strict=True) if not reason]


# -------------------------------------------------------------------------------------------------------------- fake


def fake(config: data_config.Fake, split: str, directory: Path | None) -> Source:
    """Half a fixed random pattern per class, half noise: uint8 inputs from which the label can be learned."""
    patterns = np.random.default_rng(0).integers(0, 128, (config.num_classes, *config.shape))
    noise = np.random.default_rng(1 + SPLITS.index(split))
    labels = noise.integers(0, config.num_classes, config.size)
    inputs = (patterns[labels] + noise.integers(0, 128, (config.size, *config.shape))).astype(
        np.uint8
    )
    return from_arrays(
        "fake",
        {"inputs": inputs, "targets": labels},
        [f"class {i}" for i in range(config.num_classes)],
    )
