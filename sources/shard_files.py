"""Which files of a directory are TFRecord shards, and of which split, by their names."""

import glob
import os
import re

import tensorflow as tf

from cli.program import DataError

_SHARD = re.compile(r".*(\.(tfrecords?|tfrec|records?)\b.*|-\d+-of-\d+)", re.IGNORECASE)
_NO_SHARD = (".npz", ".unpacked", ".part", ".json", ".txt", ".index", ".md", ".csv", ".idx")
_SPLITS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}


def shards_in(directory: str) -> list[str]:
    """Paths of shards in a directory and in those below it, in order."""
    paths = _glob(directory, "*") + _glob(directory, "*/*")
    return [path for path in paths if _is_shard(path)]


def shards_of(directory: str, files) -> tuple[dict[str, list[str]], list[str]]:
    """({split: paths}, notes); "" where the set is in one piece. Raises DataError for none."""
    if isinstance(files, dict):
        return {split: _matching(directory, pattern) for split, pattern in files.items()}, []
    paths = _matching(directory, files) if files else shards_in(directory)
    if not paths:
        raise DataError(
            f"{directory or '.'}: expected TFRecord shards, such as train-00000-of-00004 or "
            "x.tfrecord, got none; name them, files: PATTERN"
        )
    shards: dict[str, list[str]] = {}
    for path in paths:
        shards.setdefault(_split_of(path, directory or "."), []).append(path)
    left_out = shards.pop("", []) if len(shards) > 1 else []
    note = f"{len(left_out)} shards of no split left out: {', '.join(left_out[:10])}"
    return shards, [note] if left_out else []


def _matching(directory: str, pattern: str) -> list[str]:
    paths = _glob(directory, pattern)
    if not paths:
        raise DataError(
            f"{os.path.join(directory, pattern)}: expected files of this pattern, got none"
        )
    return paths


def _glob(directory: str, pattern: str) -> list[str]:
    """Files, in order; directories are left out."""
    if "://" in directory:
        paths = tf.io.gfile.glob(f"{directory}/{pattern}")
        return sorted(path for path in paths if not tf.io.gfile.isdir(path))
    paths = glob.glob(os.path.join(glob.escape(directory), pattern))
    return sorted(path for path in paths if os.path.isfile(path))


def _is_shard(path: str) -> bool:
    name = os.path.basename(path)
    return bool(_SHARD.fullmatch(name)) and not name.endswith(_NO_SHARD) and name[0] not in "._"


def _split_of(path: str, directory: str) -> str:
    """The one whose name is a word of the file's name, or else of its directory's."""
    for part in reversed(os.path.relpath(path, directory).split(os.sep)):
        words = re.findall("[a-z]+", part.lower())
        splits = {_SPLITS[word] for word in words if word in _SPLITS}
        if len(splits) > 1:
            raise DataError(
                f"{path}: expected the name of one split in it, got {', '.join(sorted(splits))}; "
                "name the files, files: {train: PATTERN, valid: PATTERN}"
            )
        if splits:
            return splits.pop()
    return ""
