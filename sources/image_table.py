"""Image files whose labels stand in a table of file names (CSV, or JSON lines).

    id,breed,age                     DIR/labels.csv; target: breed
    000bec18,boston_bull,3.5         DIR/train/000bec18.jpg

A record is that of image_folder, but for its targets:
    classes  int64 [], the place of the name in order; or of the one column that holds a 1
    labels   float32 [L], 1 for each label that a cell names, or for each column that holds a 1
    numbers  float32 [], or [K] of several columns
    mask     string [], the image of a class for each pixel, still encoded
    points   float32 [K, 3]: x and y in pixels of the upright image; 1, or 0 for empty cells
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import tensorflow as tf

from cli.program import DataError
from data_loader import Source
from engine.checkpoint import listed
from sources import image_files, splits
from sources.image_files import SUFFIXES, ImageReader, LeftOut, nfc
from sources.image_rows import LIST_SEPARATOR, Rows
from sources.image_split_folders import named_split
from sources.labels import numbered

_SEPARATORS = (LIST_SEPARATOR, "|", ";", ",")
_FEW_LABELS = 20
_YES_AND_NO = {"1": 1, "1.0": 1, "true": 1, "yes": 1, "0": 0, "0.0": 0, "false": 0, "no": 0}


def load(config, split, directory) -> Source:
    table = Rows.of(config, directory)
    special = [config.image, config.split_column, config.group, *config.ignore]
    special = [name for name in special if name is not None]
    table.require([*special, *(config.target or [])])
    root = table.path.parent if directory is None else Path(directory)
    left_out = LeftOut()
    folder = FolderOfImages.of(root / (config.images or ""), left_out)
    image = config.image or folder.best_column(table)
    files = folder.find(table, image)
    unused = len(folder.paths) - len(set(files))
    if unused:
        left_out.others.append(f"images without a row left out: {unused:,}")
    columns = config.target or [name for name in table.names if name not in [image, *special]]
    if not columns and config.targets != "mask":
        raise DataError(f"{table.path}: expected columns of targets beside {image!r}, got none")
    if config.targets == "mask":
        made = _masks(root / (config.masks or ""), config, table, files)
    else:
        made = _TARGETS[config.targets](table, columns)
    shares, stored_notes, rows = _stored(split, config, table)
    left_out.others += [f"file names: column {image!r}", *table.notes, *made.notes, *stored_notes]
    if shares:
        rows = rows[_indices(split, config, table, shares, files, made, rows)]
    return _source(config, folder.root, files, rows, made, left_out)


def _stored(split, config, table) -> tuple:
    """(shares by which rows are divided, or None; notes; the rows that are stored as this split)"""
    if config.split_column is None:
        stored = splits.stored_split(table.path, split, config, [])
        return stored.shares, stored.notes, np.arange(len(table))
    split_of = []
    for place, cell in zip(table.places, table.column(config.split_column), strict=True):
        named = named_split(cell)
        if named is None:
            raise DataError(
                f"{place}: {config.split_column}: expected train, valid or test, got {cell[:40]!r}"
            )
        split_of.append(named.split)
    if "train" not in split_of:
        raise DataError(f"{table.path}: {config.split_column}: expected rows of train, got none")
    kinds = [name for name in ("train", "valid", "test") if name in split_of]
    stored = splits.stored_split(table.path, split, config, kinds)
    rows = np.flatnonzero(np.array(split_of) == stored.split)
    return stored.shares, stored.notes, rows


def _indices(split, config, table, shares, files: list[str], made: "Targets", rows) -> np.ndarray:
    names = [files[row] for row in rows]
    if config.group_in_name:
        groups = image_files.groups_in(names, config.group_in_name)
        return splits.by_group(table.path, split, shares, groups)
    if config.group:
        cells = table.column(config.group)
        return splits.by_group(table.path, split, shares, [cells[row] for row in rows])
    classes = made.values[rows] if made.is_class else ()
    return splits.by_key(table.path, split, shares, names, classes)


def _source(config, root: Path, files, rows, made: "Targets", left_out: LeftOut) -> Source:
    reader = ImageReader(root, [files[row] for row in rows], config.max_pixels)
    sound = image_files.sound_files(config, reader)
    if len(sound) < len(rows):
        left_out.others.append(f"{len(rows) - len(sound):,} damaged images left out")
        rows = rows[sound]
        reader = ImageReader(root, [files[row] for row in rows], config.max_pixels)
    sizes = [image_files.size_of(root / name) for name in reader.names]
    values = made.values[rows]
    return image_files.source_of(
        "image_table",
        reader,
        sizes,
        made.reader_of(values, config.max_pixels),
        made.class_names,
        (made.class_names, list(zip(reader.names, sizes, strict=True)), values.tolist()),
        labels=values if made.is_class else None,
        columns={"targets": made.columns},
        notes=tuple(left_out.notes),
    )


# ---- files


@dataclass
class FolderOfImages:
    """The images below a directory, found by what tables call them."""

    root: Path
    paths: list[str]  # below the root, in order
    by_end: dict[str, set[str]]  # {end of a path, with and without suffix: paths}

    @classmethod
    def of(cls, root: Path, left_out: LeftOut) -> "FolderOfImages":
        if not root.is_dir():
            raise DataError(f"{root}: no such directory; expected the images of the table")
        paths = image_files.images_below(root, left_out)
        paths = [image_files.in_unicode(os.path.relpath(path, root), root) for path in paths]
        if not paths:
            raise DataError(f"{root}: expected image files ({', '.join(SUFFIXES)}) in it, got none")
        by_end = defaultdict(set)
        for path in paths:
            parts = nfc(path).split(os.sep)
            for begin in range(len(parts)):
                end = "/".join(parts[begin:])
                by_end[end].add(path)
                by_end[end[: end.rindex(".")]].add(path)
        return cls(root, paths, dict(by_end))

    def candidates(self, cell: str) -> set[str]:
        """Paths that a cell may mean: itself, without suffix, in directories, or from above."""
        parts = PurePosixPath(nfc(cell.strip()).replace("\\", "/")).parts
        whole = "/".join(parts)
        if whole in self.by_end:
            exact = {path for path in self.by_end[whole] if nfc(path) == whole}
            return exact or self.by_end[whole]
        for at in range(len(parts) - 1, 0, -1):
            if parts[at - 1] == self.root.resolve().name:
                return self.by_end.get("/".join(parts[at:]), set())
        return set()

    def best_column(self, table: Rows) -> str:
        """The first column most of whose first cells are names of images."""
        found = [
            sum(bool(self.candidates(cell)) for cell in table.column(name)[:50])
            for name in table.names
        ]
        return table.names[found.index(max(found))]

    def find(self, table: Rows, column: str) -> list[str]:
        """The path of each row. Raises DataError with all that are missing, or meant twice."""
        found = [self.candidates(cell) for cell in table.column(column)]
        rows = list(zip(table.places, table.column(column), found, strict=True))
        missing = [f"{cell[:80]!r}" for _, cell, paths in rows if not paths]
        if missing:
            raise DataError(
                f"{table.path}: {len(missing):,} of {len(rows):,} images of column {column!r} "
                f"are not in {self.root}: {listed(missing)}; see the options `images` and `image`"
            )
        for place, cell, paths in rows:
            if len(paths) > 1:
                raise DataError(
                    f"{place}: {column}: {cell[:80]!r} may be any of "
                    f"{listed(sorted(paths), most=3)}; say more, or their directory: `images`"
                )
        paths = [next(iter(paths)) for paths in found]
        place_of: dict[str, str] = {}
        for place, path in zip(table.places, paths, strict=True):
            if path in place_of:
                raise DataError(
                    f"{place}: {column}: expected one row an image, "
                    f"got {path} in {place_of[path]} too"
                )
            place_of[path] = place
        return paths


# ---- targets


@dataclass
class Targets:
    """`values` [rows, ...]; of masks, their paths below `masks`."""

    values: np.ndarray
    columns: list[str]
    class_names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_class: bool = False
    masks: Path | None = None

    def reader_of(self, values: np.ndarray, max_pixels: int) -> Callable:
        """int64 [n] -> targets [n, ...] of these examples."""
        if self.masks is None:
            return lambda indices: tf.gather(values, indices)
        masks = ImageReader(self.masks, values.tolist(), max_pixels)
        return lambda indices: masks.read(indices)["inputs"]


def _one_class(table: Rows, columns: list[str]) -> Targets:
    if len(columns) > 1:
        values = _yes_or_no(table, columns)
        for place, row in zip(table.places, values, strict=True):
            if row.sum() != 1:
                raise DataError(
                    f"{place}: expected 1 in one of the columns "
                    f"{listed(columns, most=5)}, got it in {int(row.sum())}; "
                    "several? `targets: labels`"
                )
        return Targets(values.argmax(axis=1), columns, columns, is_class=True)
    cells = table.column(columns[0])
    _check_filled(table, columns[0], cells)
    class_names, values = numbered(cells, table.path, "; numbers? `targets: numbers`")
    return Targets(values, columns, class_names, is_class=True)


def _labels(table: Rows, columns: list[str]) -> Targets:
    if len(columns) > 1:
        return Targets(_yes_or_no(table, columns), columns)
    cells = table.column(columns[0])
    separator = next((mark for mark in _SEPARATORS if any(mark in cell for cell in cells)), None)
    said = {None: "blanks", LIST_SEPARATOR: "the items of lists"}.get(separator, repr(separator))
    label_sets = [
        {nfc(label.strip()) for label in cell.split(separator) if label.strip()} for cell in cells
    ]
    names = sorted(set().union(*label_sets))
    if not names or len(names) > max(_FEW_LABELS, len(cells) // 2):
        raise DataError(
            f"{table.path}: {columns[0]}: expected labels separated by {said}, "
            f"got {len(names):,} different ones in {len(cells):,} rows"
        )
    values = np.array([[name in labels for name in names] for labels in label_sets], np.float32)
    return Targets(values, names, notes=[f"labels of {columns[0]!r} separated by {said}"])


def _numbers(table: Rows, columns: list[str]) -> Targets:
    values = table.numbers(columns)
    return Targets(values[:, 0] if len(columns) == 1 else values, columns)


def _masks(masks: Path, config, table: Rows, files: list[str]) -> Targets:
    """Files that a column names, or that are called as the images are."""
    folder = FolderOfImages.of(masks, LeftOut())
    if config.target:
        found = folder.find(table, config.target[0])
        return Targets(np.array(found), config.target, config.class_names, masks=masks)
    candidates = [folder.candidates(os.path.splitext(name)[0]) for name in files]
    bad = [name for name, paths in zip(files, candidates, strict=True) if len(paths) != 1]
    if bad:
        raise DataError(
            f"{masks}: expected one mask called as each image, "
            f"got none or several for {len(bad):,} of {len(files):,}: {listed(bad)}"
        )
    found = [next(iter(paths)) for paths in candidates]
    return Targets(np.array(found), ["mask"], config.class_names, masks=masks)


def _points(table: Rows, columns: list[str]) -> Targets:
    """x and y of each point in turn."""
    pairs = list(zip(columns[::2], columns[1::2], strict=False))
    for x, y in pairs:
        if len(columns) % 2 or _axis(x, y) != ("x", "y"):
            raise DataError(
                f"{table.path}: expected columns x, y, x, y, ... of points, such as x1, y1, "
                f"got {listed(columns)}; give `target` in this order"
            )
    cells = np.array([table.column(name) for name in columns], object).T
    is_empty = cells == ""
    is_visible = ~is_empty.reshape(len(table), -1, 2).any(axis=2)
    places = table.numbers(columns, empty=0).reshape(len(table), -1, 2)
    places = np.where(is_visible[..., np.newaxis], places, 0)
    values = np.concatenate([places, is_visible[..., np.newaxis]], axis=2).astype(np.float32)
    hidden = int((~is_visible).sum())
    notes = [f"points without a place, weighted 0: {hidden:,}"] if hidden else []
    return Targets(values, [_point_name(x) for x, _ in pairs], notes=notes)


def _axis(*names: str) -> tuple[str, ...]:
    """The letter in which names of columns differ: left_x, left_y -> x, y."""
    first, second = names
    differing = [(a, b) for a, b in zip(first, second, strict=False) if a != b]
    is_axis = len(first) == len(second) and len(differing) == 1
    return tuple(letter.lower() for letter in differing[0]) if is_axis else ()


def _point_name(x: str) -> str:
    return re.sub(r"(?i)(^x_?|_x$|_x(?=_)|x$)", "", x, count=1) or x


def _yes_or_no(table: Rows, columns: list[str]) -> np.ndarray:
    """float32 [rows, columns] of 0 and 1."""
    values = np.empty((len(table), len(columns)), np.float32)
    for at, name in enumerate(columns):
        for row, cell in enumerate(table.column(name)):
            value = _YES_AND_NO.get(cell.strip().lower())
            if value is None:
                raise DataError(
                    f"{table.places[row]}: {name}: expected 0 or 1, got {cell[:40]!r}; "
                    "see the option `target`"
                )
            values[row, at] = value
    return values


def _check_filled(table: Rows, column: str, cells: list[str]) -> None:
    if "" in cells:
        place = table.places[cells.index("")]
        raise DataError(f"{place}: {column}: expected the name of a class, got an empty cell")


_TARGETS = {
    "classes": _one_class,
    "labels": _labels,
    "numbers": _numbers,
    "points": _points,
}
