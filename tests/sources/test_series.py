"""Windows over a table in time."""

import numpy as np
from loading import UNDIVIDED, load, read, seed

from data_loader import SPLITS
from preprocess_data import measured
from train_config import Data

SERIES = {"file": "s.csv", "window": 2, "valid": 0, "test": 0}
REFUSED = [  # (id, files, options, what the message begins with, below the directory)
    ("no file", {}, SERIES, "/s.csv: No such file or directory"),
    (
        "too few rows",
        {"s.csv": b"t,v\n1,1\n2,2\n"},
        SERIES,
        "/s.csv: train: expected at least 3 rows for one window, got 2",
    ),
    (
        "NaN",
        {"s.csv": b"t,v\n1,1\n2,NaN\n3,3\n4,4\n"},
        SERIES,
        "/s.csv:3: v: expected a finite number, got 'NaN'",
    ),
    (
        "ragged",
        {"s.csv": b"t,v\n1,1\n2,2,2\n"},
        SERIES,
        "/s.csv:3: expected 2 cells, as in the first line, got 3",
    ),
    (
        "missing column",
        {"s.csv": b"t,v\n1,1\n"},
        SERIES | {"columns": ["w"]},
        "/s.csv:1: no column 'w'; it has t, v",
    ),
    (
        "no UTF-8 in s.csv",
        {"s.csv": b"t,v\ncaf\xe9\n"},
        SERIES,
        "/s.csv:2: expected UTF-8 text, got byte 0xe9 at 3",
    ),
]


def seeds() -> dict:
    table = b"t,v,w\n" + b"1,2,3\n" * 9
    options = {"file": "x.csv", "window": 3, **UNDIVIDED}
    return {"series": seed("series", "x.csv", table, is_text=True, **options)}


def test_windows_of_a_series_at_the_borders_of_the_splits(tmp_path):
    """20 rows: 12 to train, 4 to validate, 4 to test on; windows of 3 steps, 2 to forecast."""
    (tmp_path / "s.csv").write_text("t,a,b\n" + "".join(f"{i},{i},{100 + i}\n" for i in range(20)))
    options = {"file": "s.csv", "window": 3, "horizon": 2, "valid": 0.2, "test": 0.2}
    sources = {split: load(split, "series", tmp_path, **options) for split in SPLITS}
    columns = {split: read(source)["inputs"][..., 0] for split, source in sources.items()}
    assert columns["train"].tolist() == [[i, i + 1, i + 2, i + 3, i + 4] for i in range(8)]
    assert columns["valid"].tolist() == [
        [9, 10, 11, 12, 13],
        [10, 11, 12, 13, 14],
        [11, 12, 13, 14, 15],
    ]
    assert columns["test"].tolist() == [
        [13, 14, 15, 16, 17],
        [14, 15, 16, 17, 18],
        [15, 16, 17, 18, 19],
    ]
    targets = {split: set(rows[:, 3:].ravel()) for split, rows in columns.items()}
    assert max(targets["train"]) < min(targets["valid"]) and max(targets["valid"]) < min(
        targets["test"]
    )
    assert (
        sources["valid"].locate(0) == f"{tmp_path}/s.csv:11"
    )  # where the window begins: row 9, below the names
    assert read(sources["train"], [2])["inputs"][0].tolist() == [[i, 100 + i] for i in range(2, 7)]
    data = Data.model_validate(
        {"train": {"name": "series", **options, "dir": str(tmp_path)}, "ops": ["min_max", "window"]}
    )
    assert measured(data).ops[0].low == [0, 100] and measured(data).ops[0].high == [
        11,
        111,
    ]  # of the training rows alone
    only_b = load("train", "series", tmp_path, **options, columns=["b"])
    assert read(only_b, [0])["inputs"].tolist() == [[[100], [101], [102], [103], [104]]]


def test_the_bundled_sunspots():
    source = load("train", "series")
    assert read(source, [0])["inputs"][0, :2].tolist() == [[58], [np.float32(62.6)]] and read(
        source, [0]
    )["inputs"].shape == (1, 25, 1)
    assert source.locate(0).endswith("data/sunspots_monthly.csv:2")


# ---- texts beyond all measure

REFUSED += [
    (
        "long number",
        {"s.csv": b"t,v\n1," + b"9" * 100_000 + b"\n"},
        SERIES | {"window": 1},
        "/s.csv:2: v: expected a finite number, got '9999",
    ),
]
