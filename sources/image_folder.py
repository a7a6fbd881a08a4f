"""Image files, a directory per class; divided already, or in one piece.

    DIR/train/cat/1.jpg   DIR/valid/dog/2.png           DIR/cat/1.jpg   DIR/dog/puppies/2.png

A record: {"inputs": string [], the file, still encoded, for `decode_image`;
           "targets": int64 [], the place of its directory in order;
           "orientation": int32 [], EXIF, 1 to 8; "image_size": int32 [2], height and width in it}
"""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf

from cli.program import DataError
from data_loader import Source
from engine.checkpoint import listed
from sources import image_files, splits
from sources.image_files import SUFFIXES, ImageFile, ImageReader, LeftOut, nfc
from sources.image_split_folders import Roots, find_roots, is_nested, nested_in, shown


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
    roots = find_roots(directory, config.splits)
    stored = splits.stored_split(directory, split, config, list(roots.of_split))
    root = roots.of_split.get(stored.split, directory)
    left_out = LeftOut(others=[*roots.notes, *stored.notes])
    folders = _class_folders(roots, root, left_out)
    class_names = list(folders)
    if root != roots.train:
        class_names = list(_class_folders(roots, roots.train, LeftOut()))
        _check_known(folders, class_names, root)
    files = _files_of(folders, class_names, root, left_out)
    if not files:
        raise DataError(f"{root}: expected image files ({', '.join(SUFFIXES)}) in it, got none")
    if stored.shares:
        files = [files[index] for index in _indices(split, config, stored.shares, root, files)]
    reader = ImageReader(root, [file.name for file in files], config.max_pixels)
    sound = image_files.sound_files(config, reader)
    if len(sound) < len(files):
        left_out.others.append(f"{len(files) - len(sound):,} damaged images left out")
        files = [files[index] for index in sound]
        reader = ImageReader(root, [file.name for file in files], config.max_pixels)
    labels = np.array([file.label for file in files], np.int64)
    return image_files.source_of(
        "image_folder",
        reader,
        [file.num_bytes for file in files],
        lambda indices: tf.gather(labels, indices),
        class_names,
        (class_names, list(map(tuple, files))),
        labels=labels,
        notes=tuple(left_out.notes),
    )


def _indices(split, config, shares, root, files: list[ImageFile]) -> np.ndarray:
    names = [file.name for file in files]
    if config.group:
        return splits.by_group(root, split, shares, image_files.groups_in(names, config.group))
    return splits.by_key(root, split, shares, names, [file.label for file in files])


# ---- classes


def _class_folders(roots: Roots, root: Path, left_out: LeftOut) -> dict[str, list[str]]:
    """{class: paths of its images}, in order, of the directories that hold any.

    Raises DataError where there is no class, where they lie deeper, and for a class whose images
    are all of formats that are not read.
    """
    names = image_files.folders_in(root, left_out)
    loose = image_files.images_in(root)
    if not names:
        got = f"{loose:,} images without one; labels in a table? `image_table`" if loose else "none"
        raise DataError(f"{root}: expected one directory of images per class, got {got}")
    paths: dict[str, list[str]] = {}
    empty = []
    for name in names:
        in_class = LeftOut()
        images = image_files.images_below(root / name, in_class)
        if images:
            if nfc(name) in paths:
                left_out.others.append(f"two directories are one class: {nfc(name)}")
            paths[nfc(name)] = paths.get(nfc(name), []) + images
        elif in_class.num_images:
            raise DataError(
                f"{root / name}: a class of which no image can be read ({in_class.images}): "
                f"expected {', '.join(SUFFIXES)}; convert them"
            )
        else:
            empty.append(name)
        left_out.add(in_class)
    if empty and paths:
        left_out.others.append(f"directories without images left out: {listed(empty)}")
    if len(paths) == 1:
        _check_depth(roots, root, next(name for name in names if nfc(name) in paths))
    if loose:
        left_out.others.append(f"images beside the directories of classes left out: {loose:,}")
    left_out.others += _notes_on(paths, root)
    return {name: paths[name] for name in sorted(paths)}


def _check_depth(roots: Roots, root: Path, only: str) -> None:
    """Raises DataError where the only directory holds directories of images, and no image."""
    deeper = root / only
    inner = nested_in(deeper)
    while len(inner) == 1:
        deeper /= inner[0]
        inner = nested_in(deeper)
    if len(inner) < 2:
        return
    cure = f"data.dir={deeper}"
    if roots.of_split:
        below = deeper.relative_to(root)
        places = {
            split: str(folder.relative_to(roots.directory) / _deeper(folder, below))
            for split, folder in roots.of_split.items()
        }
        cure = f"splits: {shown(places)}"
    raise DataError(
        f"{root}: expected one directory of images per class, got only {only!r}, which holds "
        f"directories of images: {listed(inner, most=5)}; one level deeper? {cure}"
    )


def _deeper(folder: Path, below: Path) -> Path:
    """What stands for `below` in another split, where each directory holds only one."""
    found = Path()
    for _ in below.parts:
        inner = nested_in(folder / found)
        found /= inner[0] if len(inner) == 1 else ""
    return found


def _notes_on(paths: dict[str, list[str]], root: Path) -> list[str]:
    """Classes that may be meant for one, or for none."""
    notes = []
    by_lower = Counter(name.casefold() for name in paths)
    if alike := [name for name in paths if by_lower[name.casefold()] > 1]:
        notes.append(f"classes that differ by letter case only: {listed(sorted(alike))}")
    names = list(paths)[:12]
    folders = [root / name for name in names if (root / name).is_dir()]
    if len(folders) < 2 or not all(map(is_nested, folders)):
        return notes
    inner = [set(nested_in(folder)) for folder in folders]
    if len(inner[0]) > 1 and all(each == inner[0] for each in inner):
        notes.append(
            f"classes are {listed(names, most=3)}, each of which holds directories called "
            f"{listed(sorted(inner[0]), most=3)}"
        )
    return notes


def _check_known(folders: Iterable[str], class_names: list[str], root: Path) -> None:
    for name in folders:
        if name not in class_names:
            raise DataError(
                f"{root / name}: a class that training does not have; "
                f"expected one of {', '.join(class_names[:12])}"
            )


def _files_of(folders: dict, class_names: list[str], root: Path, left_out) -> list[ImageFile]:
    files = []
    for label, class_name in enumerate(class_names):
        for path in folders.get(class_name, []):
            name = image_files.in_unicode(os.path.relpath(path, root), root)
            files.append(ImageFile(name, image_files.size_of(path), label))
    return files
