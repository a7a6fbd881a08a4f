"""Directories of a set of images that are its splits: by what they are called and what they hold.

A directory of a split holds directories of images; one that holds images is a class. Where a name
says train and another like it valid or test, they are splits; where names and contents disagree,
the set is refused: the option `splits` says it.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from cli.program import DataError
from engine.checkpoint import listed
from sources.image_files import OTHER_IMAGES, SUFFIXES, folders_in, is_junk

_WORDS = {
    "train": "train training trainset traindata trn",
    "valid": "valid val validation validate validset valset dev development devset eval evaluation",
    "test": "test testing testset testdata tst holdout",
}
_SPLIT_OF = {word: split for split, words in _WORDS.items() for word in words.split()}
_SAYS_NOTHING = {"set", "data", "dataset", "split", "files", "images", "image", "imgs", "img"}
_SAYS_NOTHING |= {"pictures", "pics", "photos"}


class Named(NamedTuple):
    """What the name of a directory says."""

    split: str
    others: tuple[str, ...]  # words beside: seg_test has (seg,), test_images none


def named_split(name: str) -> Named | None:
    """None for a name of no split, or of several."""
    name = re.sub(r"(?i)(hold|held)[-_ ]?out", "holdout", name)
    found = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_]+", name)
    words = [word.lower() for word in found]
    splits = {_SPLIT_OF[word] for word in words if word in _SPLIT_OF}
    if len(splits) != 1:
        return None
    others = [word for word in words if word not in _SPLIT_OF and word not in _SAYS_NOTHING]
    return Named(splits.pop(), tuple(others))


@dataclass
class Roots:
    """Where the splits lie; `of_split` is empty for a set in one piece."""

    directory: Path
    of_split: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def train(self) -> Path:
        return self.of_split.get("train", self.directory)


def find_roots(directory: Path, given: dict[str, str] | None) -> Roots:
    """Raises DataError for names that may be splits or classes."""
    if given is not None:
        roots = {split: directory / place for split, place in given.items()}
        for root in roots.values():
            if not root.is_dir():
                raise DataError(f"{root}: no such directory; see the option `splits`")
        return Roots(directory, roots)
    folders = [name for name in folders_in(directory) if holds_images(directory / name)]
    named = {name: says for name in folders if (says := named_split(name))}
    alike = [
        {name: says.split for name, says in named.items() if says.others == others}
        for others in {says.others for says in named.values()}
    ]
    divisions = [group for group in alike if "train" in group.values() and len(group) > 1]
    if divisions:
        return _divided(directory, folders, divisions)
    plain = {name: says.split for name, says in named.items() if not says.others}
    nested = [name for name in named if is_nested(directory / name)]
    held_out = [name for name in nested if named[name].split != "train"]
    are_mixed = 0 < len(held_out) < len(nested)  # such as train and seg_test
    if are_mixed or set(plain.values()) - {"train"}:
        raise _ambiguous(directory, folders, {name: named[name].split for name in named})
    if not plain:
        return Roots(directory)
    (train,) = plain
    if len(folders) == 1 or train in nested:
        return _divided(directory, folders, [plain])
    return Roots(directory, {}, [f"{train}: taken for a class, because images lie in it"])


def _divided(directory: Path, folders: list[str], divisions: list[dict[str, str]]) -> Roots:
    """The splits that one group of names says."""
    division = {name: split for group in divisions for name, split in group.items()}
    nested = [name for name in division if is_nested(directory / name)]
    places = {division[name]: directory / name for name in nested}
    is_clear = len(set(division.values())) == len(division)
    others = [name for name in folders if name not in division]
    is_alone = len(division) == 1 and bool(others)
    if not is_clear or is_alone or "train" not in places:
        raise _ambiguous(directory, folders, division)
    notes = []
    if flat := [name for name in division if name not in nested]:
        notes.append(f"left out, no directories of classes in it: {listed(flat)}")
    if others:
        notes.append(f"directories beside the splits left out: {listed(others)}")
    return Roots(directory, {split: places[split] for split in _WORDS if split in places}, notes)


def _ambiguous(directory: Path, folders: list[str], division: dict[str, str]) -> DataError:
    others = [name for name in folders if name not in division]
    if not any(is_nested(directory / name) for name in division) and not others:
        return DataError(
            f"{directory}: expected directories of classes in {listed(division)}, got images; "
            "labels in a table? `image_table`; if these are classes, splits: {}"
        )
    say = listed(f"{name!r} ({split})" for name, split in division.items())
    beside = f", {listed(map(repr, others), most=5)} like none" if others else ""
    places = {split: name for name, split in reversed(division.items())}
    return DataError(
        f"{directory}: {say} look like splits{beside}: expected one for training, valid or test "
        f"beside it; say which, such as splits: {shown(places)}, or splits: {{}} if all are classes"
    )


def shown(places: dict[str, str]) -> str:
    """As it is written in YAML."""
    ordered = [f"{split}: {places.get(split, '...')}" for split in _WORDS if split in places]
    return "{" + ", ".join(ordered) + "}"


# ---- what a directory holds


def holds_images(folder: Path) -> bool:
    """At any depth."""
    return _has_images(folder) or bool(nested_in(folder))


def is_nested(folder: Path) -> bool:
    """Whether it holds directories of images, and no image."""
    return not _has_images(folder) and bool(nested_in(folder))


def nested_in(folder: Path) -> list[str]:
    """Names of the directories in it that hold images, at any depth; links are not followed."""
    return [
        name
        for name in folders_in(folder)
        if any(any(map(_is_image, names)) for names in _walk(folder / name))
    ]


def _walk(folder: Path):
    for _, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_junk(name)]
        yield names


def _has_images(folder: Path) -> bool:
    """Whether an image lies in it, not in a directory of it."""
    with os.scandir(folder) as entries:
        return any(_is_image(entry.name) and not entry.is_dir() for entry in entries)


def _is_image(name: str) -> bool:
    suffix = os.path.splitext(name)[1].lower()
    return (suffix in SUFFIXES or suffix in OTHER_IMAGES) and not is_junk(name)
