"""Image files: which of a directory are read, what is left out, and examples made of them.

Nothing is opened before an example is read, unless damaged images are to be left out.
"""

import hashlib
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from cli.program import DataError, warn
from data_loader import Source, in_python
from engine.checkpoint import listed
from engine.damaged import damage_of
from sources.image_headers import ImageHeader, read_header

SUFFIXES = (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png")
_OTHERS = (
    ".arw .avif .cr2 .cr3 .dcm .dng .exr .hdr .heic .heif .j2k .jp2 .jpx .jxl .nef .orf .pbm .pcx "
    ".pgm .pnm .ppm .psd .raf .raw .rw2 .svg .tga .tif .tiff .webp"
)
OTHER_IMAGES = frozenset(_OTHERS.split())
_JUNK = {"__macosx", "@eadir", "lost+found", "$recycle.bin", "system volume information"}
_JUNK |= {"#recycle", "@recycle", "@recently-snapshot", "__pycache__", "thumbs.db", "desktop.ini"}
_ADOBE = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"


class ImageFile(NamedTuple):
    name: str  # below the root
    num_bytes: int
    label: int


@dataclass
class LeftOut:
    """What a directory holds that is not read; `notes` says it."""

    suffixes: Counter = field(default_factory=Counter)
    junk: set[str] = field(default_factory=set)
    others: list[str] = field(default_factory=list)  # a sentence each

    def add(self, other: "LeftOut") -> None:
        self.suffixes += other.suffixes
        self.junk |= other.junk
        self.others += other.others

    def add_junk(self, names: Iterable[str]) -> None:
        self.junk |= {"._*" if name.startswith("._") else name for name in filter(is_junk, names)}

    @property
    def num_images(self) -> int:
        """Images of formats that are not read."""
        return sum(self.suffixes[suffix] for suffix in OTHER_IMAGES)

    @property
    def images(self) -> str:
        return _counted({key: n for key, n in self.suffixes.items() if key in OTHER_IMAGES})

    @property
    def notes(self) -> list[str]:
        others = {key: n for key, n in self.suffixes.items() if key not in OTHER_IMAGES}
        notes = []
        if self.num_images:
            cure = "convert them to JPEG or PNG to use them"
            notes.append(f"{_files(self.num_images)} left out: {self.images}; {cure}")
        if others:
            notes.append(f"{_files(sum(others.values()))} left out, no images: {_counted(others)}")
        if self.junk:
            notes.append(f"left out as junk: {listed(sorted(self.junk))}")
        return notes + self.others


def _counted(counts: dict[str, int]) -> str:
    by_count = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return listed(f"{count:,} {suffix or 'without suffix'}" for suffix, count in by_count)


def _files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"


# ---- what is in a directory


def is_junk(name: str) -> bool:
    """Whether a system, not a person, has made it: hidden, or of a well-known name."""
    return name.startswith(".") or name.lower() in _JUNK


def folders_in(directory: Path, left_out: LeftOut | None = None) -> list[str]:
    """Names of the directories in it, in order, without junk."""
    with os.scandir(directory) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir())
    if left_out:
        left_out.add_junk(names)
    return [in_unicode(name, directory) for name in names if not is_junk(name)]


def images_in(directory: Path) -> int:
    """How many images of any format lie in it, not in a directory of it."""
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries if not entry.is_dir()]
    suffixes = [os.path.splitext(name)[1].lower() for name in names if not is_junk(name)]
    return sum(suffix in SUFFIXES or suffix in OTHER_IMAGES for suffix in suffixes)


def images_below(folder: Path, left_out: LeftOut) -> list[str]:
    """Paths of every image, at any depth, in order; links to directories come last, each once."""
    paths: list[str] = []
    seen: set[str] = set()
    pending = [str(folder)]
    while pending:
        top = pending.pop(0)
        if os.path.realpath(top) in seen:
            continue
        for here, folders, names in os.walk(top):
            seen.add(os.path.realpath(here))
            left_out.add_junk([*folders, *names])
            links = {name for name in folders if os.path.islink(os.path.join(here, name))}
            pending += _followed(here, sorted(links), left_out)
            folders[:] = sorted(
                name
                for name in folders
                if not is_junk(name)
                and name not in links
                and os.path.realpath(os.path.join(here, name)) not in seen
            )
            paths += _images_of(here, names, left_out)
    return paths


def _images_of(here: str, names: list[str], left_out: LeftOut) -> list[str]:
    paths = []
    for name in sorted(names):
        path = os.path.join(here, name)
        suffix = os.path.splitext(name)[1].lower()
        if is_junk(name):
            continue
        if suffix not in SUFFIXES:
            left_out.suffixes[suffix] += 1
        elif os.path.islink(path) and not os.path.exists(path):
            left_out.others.append(f"{path}: left out, a link to nothing")
        else:
            paths.append(path)
    return paths


def _followed(here: str, links: list[str], left_out: LeftOut) -> list[str]:
    """Links to directories, but for those that lead in a circle."""
    followed = []
    inside = os.path.realpath(here)
    for name in links:
        path = os.path.join(here, name)
        target = os.path.realpath(path)
        if os.path.commonpath([inside, target]) == target:
            left_out.others.append(f"{path}: left out, a link to a directory around it")
        elif not is_junk(name):
            followed.append(path)
    return followed


def in_unicode(name: str, root) -> str:
    """The same name, which TensorFlow, YAML and messages can hold."""
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(root / name).decode(errors="backslashreplace")
        raise DataError(f"{shown}: expected a file name in UTF-8; rename it") from None
    return name


def nfc(name: str) -> str:
    """Unicode's form in which equal names are equal."""
    return unicodedata.normalize("NFC", name)


def size_of(path) -> int:
    """Bytes of a file, which must be one: a pipe would be waited for."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(f"{path}: expected an image: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: expected an image, got something that is no file")
    return status.st_size


def groups_in(names: Iterable[str], regex: str) -> list[str]:
    """The first group that a regex finds in each name."""
    groups = []
    for name in names:
        match = re.search(regex, name)
        if match is None or not match.groups():
            raise DataError(
                f"{name}: group: expected the regex {regex!r} "
                f"to find its first group in it, got nothing"
            )
        groups.append(match[1] or "")
    return groups


# ---- reading


_SPECS = {
    "inputs": tf.TensorSpec([], tf.string),
    "orientation": tf.TensorSpec([], tf.int32),
    "image_size": tf.TensorSpec([2], tf.int32),
}


@dataclass(frozen=True)
class ImageReader:
    """{inputs, orientation, image_size} of examples by index; see sources/image_folder.py."""

    root: Path
    names: Sequence[str]
    max_pixels: int

    def locate(self, index: int) -> str:
        return str(self.root / self.names[index])

    def read(self, indices: tf.Tensor) -> dict[str, tf.Tensor]:
        return in_python(self._read_files, indices, _SPECS)

    def _read_files(self, indices):
        inputs = np.empty(len(indices), object)
        orientation = np.empty(len(indices), np.int32)
        image_size = np.empty((len(indices), 2), np.int32)
        for row, index in enumerate(indices.tolist()):
            inputs[row], header = self.read_image(index)
            orientation[row] = header.orientation
            image_size[row] = header.height, header.width
        return inputs, orientation, image_size

    def read_image(self, index: int) -> tuple[bytes, ImageHeader]:
        data = read_file(self.root / self.names[index])
        header = read_header(data, self.locate(index), self.max_pixels)
        if header.is_cmyk:  # inverted, as all viewers take it, unless a later marker says more
            data = data[:2] + _ADOBE + data[2:]
        return data, header


def read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; it was there when the run began") from error


def sound_files(config, reader: ImageReader) -> list[int]:
    """Indices of the files that are to be used: with `damaged: skip`, those that can be decoded.

    The others are named. Raises DataError for too many.
    """
    if config.damaged == "fail":
        return list(range(len(reader.names)))

    def damage(index: int) -> str | None:
        try:
            data, _ = reader.read_image(index)
        except DataError as error:
            return str(error)
        return damage_of(data, reader.locate(index))

    with ThreadPoolExecutor() as pool:
        damages = list(pool.map(damage, range(len(reader.names))))
    skipped = [line for line in damages if line]
    if len(skipped) > config.max_damaged * len(damages):
        raise DataError(
            f"{listed(skipped, '; ')}; "
            f"expected at most {100 * config.max_damaged:g}% damaged images to skip (max_damaged), "
            f"got {len(skipped):,} of {len(damages):,}"
        )
    for line in skipped:
        warn(f"data: skipped: {line}")
    return [index for index, line in enumerate(damages) if not line]


def source_of(
    name: str,
    reader: ImageReader,
    sizes: Sequence[int],
    read_targets: Callable,
    class_names: Sequence[str],
    described: tuple,
    **fields,
) -> Source:
    """A source of these files, whose bytes are `sizes`; `read_targets`: int64 [n] -> [n, ...].

    `described`: what the fingerprint is made of; contents would have to be read for it.
    """

    def read(indices):
        return reader.read(indices) | {"targets": read_targets(indices)}

    return Source(
        name,
        len(reader.names),
        read,
        tuple(class_names),
        hashlib.sha256(repr(described).encode()).hexdigest(),
        reader.locate,
        stored_bytes=sum(sizes),
        **fields,
    )
