"""Image files, a directory per class; divided already, or in one piece.

    DIR/train/cat/1.jpg   DIR/valid/dog/2.png           DIR/cat/1.jpg   DIR/dog/puppies/2.png

A record: {"inputs": string [], the file, still encoded, for `decode_image`;
           "targets": int64 [], the place of its directory in order;
           "orientation": int32 [], EXIF, 1 to 8; "image_size": int32 [2], height and width in it}
"""

import hashlib
import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from cli.program import DataError, warn
from data_loader import NoSplit, Source, in_python
from engine.damaged import damage_of
from sources import splits
from sources.image_headers import ImageHeader, read_header

_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
_FOLDERS = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation"),
    "test": ("test", "testing"),
}
_MAX_SKIPPED = 0.001  # share of the images


class ImageFile(NamedTuple):
    name: str  # below the root
    num_bytes: int
    label: int


def load(config, split, directory) -> Source:
    if directory is None:
        raise DataError(
            "image_folder: no directory; expected data.dir=DIR, or `dir` beside its name"
        )
    directory = Path(directory)
    if not directory.is_dir():
        raise DataError(
            f"{directory}: no such directory; expected one directory of images per class"
        )
    roots = _roots(directory)
    if split not in roots:
        raise NoSplit(f"{directory}: no split {split!r}; it has {', '.join(roots)}")
    root = roots[split]
    class_names = _classes_in(roots["train"])
    for name in _classes_in(root):
        if name not in class_names:
            raise DataError(
                f"{root / name}: a class that training does not have; "
                f"expected one of {', '.join(class_names[:12])}"
            )
    files = []
    for label, name in enumerate(class_names):
        files += _images_in(root, name, label)
    if not files:
        raise DataError(f"{root}: expected image files ({', '.join(_SUFFIXES)}) in it, got none")
    if root == directory:
        files = [files[index] for index in _indices(split, config, root, files)]
    if config.damaged == "skip":
        files = _without_damaged(root, files, config.max_pixels)
    return _source(root, files, class_names, config.max_pixels)


def _roots(directory: Path) -> dict[str, Path]:
    """{split: its directory}; the directory itself for every split if there is none to train on."""
    roots = {}
    for split, names in _FOLDERS.items():
        for name in reversed(names):
            if (directory / name).is_dir():
                roots[split] = directory / name
    return roots if "train" in roots else dict.fromkeys(_FOLDERS, directory)


def _indices(split, config, root, files: list[ImageFile]) -> np.ndarray:
    names = [file.name for file in files]
    if not config.group:
        return splits.by_key(root, split, config, names, [file.label for file in files])
    groups = []
    for name in names:
        match = re.search(config.group, name)
        if match is None or not match.groups():
            raise DataError(
                f"{name}: group: expected the regex {config.group!r} "
                f"to find its first group in it, got nothing"
            )
        groups.append(match[1] or "")
    return splits.by_group(root, split, config, groups)


def _source(root, files: list[ImageFile], class_names: list[str], max_pixels: int) -> Source:
    labels = np.array([file.label for file in files], np.int64)
    specs = {
        "inputs": tf.TensorSpec([], tf.string),
        "orientation": tf.TensorSpec([], tf.int32),
        "image_size": tf.TensorSpec([2], tf.int32),
    }

    def read_files(indices):
        inputs = np.empty(len(indices), object)
        orientation = np.empty(len(indices), np.int32)
        image_size = np.empty((len(indices), 2), np.int32)
        for row, index in enumerate(indices.tolist()):
            inputs[row], header = _read_image(root / files[index].name, max_pixels)
            orientation[row] = header.orientation
            image_size[row] = header.height, header.width
        return inputs, orientation, image_size

    def read(indices):
        return in_python(read_files, indices, specs) | {"targets": tf.gather(labels, indices)}

    # Of names and sizes, because contents would have to be read.
    digest = hashlib.sha256(repr((class_names, list(map(tuple, files)))).encode())
    return Source(
        "image_folder",
        len(files),
        read,
        tuple(class_names),
        digest.hexdigest(),
        lambda index: str(root / files[index].name),
        labels,
        stored_bytes=sum(file.num_bytes for file in files),
    )


# ---- what is in a directory


def _classes_in(root) -> list[str]:
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    names = [_unicode(name, root) for name in names if not name.startswith(".")]
    if not names:
        raise DataError(f"{root}: expected one directory of images per class, got none")
    return names


def _images_in(root, class_name, label: int) -> list[ImageFile]:
    """Every image of a class, at any depth, in order; nothing is opened."""
    images = []
    for folder, folders, names in os.walk(root / class_name):
        folders[:] = sorted(inner for inner in folders if not inner.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(_SUFFIXES) and not name.startswith("."):
                path = os.path.join(folder, name)
                below_root = _unicode(os.path.relpath(path, root), root)
                images.append(ImageFile(below_root, _size_of(path), label))
    return images


def _unicode(name, root) -> str:
    """The same name, which TensorFlow, YAML and messages can hold."""
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(root / name).decode(errors="backslashreplace")
        raise DataError(f"{shown}: expected a file name in UTF-8; rename it") from None
    return name


def _size_of(path) -> int:
    """Bytes of a file, which must be one: a pipe would be waited for."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(f"{path}: expected an image: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: expected an image, got something that is no file")
    return status.st_size


# ---- reading


def _read_image(path, max_pixels: int) -> tuple[bytes, ImageHeader]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; it was there when the run began") from error
    return data, read_header(data, str(path), max_pixels)


def _without_damaged(root, files: list[ImageFile], max_pixels: int) -> list[ImageFile]:
    """The files that can be decoded; the others are named. Raises DataError for too many."""

    def damage(file: ImageFile) -> str | None:
        try:
            data, _ = _read_image(root / file.name, max_pixels)
        except DataError as error:
            return str(error)
        return damage_of(data, str(root / file.name))

    with ThreadPoolExecutor() as pool:
        damages = list(pool.map(damage, files))
    skipped = [line for line in damages if line]
    if len(skipped) > _MAX_SKIPPED * len(files):
        raise DataError(
            f"{skipped[0]}; expected at most {_MAX_SKIPPED:.1%} damaged images to skip, "
            f"got {len(skipped):,} of {len(files):,}"
        )
    for line in skipped:
        warn(f"data: skipped: {line}")
    return [file for file, line in zip(files, damages, strict=True) if not line]
