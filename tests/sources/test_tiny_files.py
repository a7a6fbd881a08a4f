"""The data set in files of the tests of the machinery, which stands in tests/tiny/sources."""

from loading import Fault, load, read, refused
from sources.tiny_files import write_files


def example(folder) -> dict:
    write_files(folder, size=6)
    return {}


def test_tiny_files_are_read_when_they_are_asked_for(tmp_path):
    write_files(tmp_path / "set", size=3)
    (tmp_path / "set/train/1.txt").write_text("1 2 3 4 5 6 2")
    source = load("train", "tiny_files", tmp_path / "set")
    features = read(source, [1])
    assert features["inputs"].tolist() == [[1, 2, 3, 4, 5, 6]] and features["targets"] == [2]
    refused(lambda: load("train", "tiny_files", tmp_path / "none"), f"{tmp_path}/none: no such")


# ---- what the trainer says, see ../test_faults.py: the same of every data set in files

RUN = "data={train: tiny_files, valid: null, dir: set}"


def write_damaged(folder, split: str) -> None:
    write_files(folder)
    (folder / split / "3.txt").write_text("1 2 3 none 5 6 0")


SOUND_RUNS = [("sound", write_files, RUN)]
FAULTS = [
    Fault(
        "directory missing",
        lambda _: None,
        RUN,
        "set: no such directory; expected one directory per split",
    ),
    Fault(
        "split missing",
        lambda folder: write_files(folder, splits=["train"]),
        RUN,
        "set/valid: no such directory",
    ),
    Fault(
        "smaller than a batch",
        lambda folder: write_files(folder, size=7),
        RUN,
        "tiny_files: expected at least one batch of 8 examples, got 7",
    ),
    Fault(
        "damaged example",
        lambda folder: write_damaged(folder, "train"),
        RUN,
        "set/train/3.txt: expected seven numbers",
        while_reading=True,
    ),
    Fault(
        "damaged in validation",
        lambda folder: write_damaged(folder, "valid"),
        RUN,
        "set/valid/3.txt: expected seven",
        while_reading=True,
    ),
]
