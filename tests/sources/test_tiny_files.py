"""The data set in files of the tests of the machinery, which stands in tests/tiny/sources."""

from loading import load, read, refused
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
