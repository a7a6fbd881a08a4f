"""Windows over a table in time."""

import datetime

import numpy as np
import pytest
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
    (
        "falling times",
        {"s.csv": b"t,v\n1,1\n3,2\n2,3\n4,4\n5,5\n6,6\n7,7\n"},
        SERIES,
        "/s.csv:4: t: expected times that rise, got '2' after '3', and 0 more falls; "
        "`sort: true` sorts; are there several series? `group: COLUMN`",
    ),
    (
        "semicolons",
        {"s.csv": b"t;v\n1;1\n2;2\n"},
        SERIES,
        "/s.csv:1: expected columns, got 't;v'; `delimiter: \";\"`?",
    ),
    (
        "no header",
        {"s.csv": b"1,1.5\n2,2.5\n"},
        SERIES,
        "/s.csv:1: expected a line with the names of the columns, got '1' among them; without",
    ),
    (
        "no header below dates",
        {"s.csv": b"2024-01-01,1.5\n2024-01-02,2.5\n"},
        SERIES,
        "/s.csv:1: expected a line with the names of the columns, got '1.5' among them; without",
    ),
    (
        "times as text",
        {"s.csv": b"t,v\n31/01/2024,1\n01/02/2024,2\n"},
        SERIES,
        "/s.csv:2: t: expected a time, a number or ISO 8601 (2024-01-31), got '31/01/2024'; "
        "`time_format: '%d/%m/%Y'`?",
    ),
    (
        "one time that is none",
        {"s.csv": b"t,v\n2024-01-01,1\nsoon,2\n"},
        SERIES,
        "/s.csv:3: t: expected a time, a number or ISO 8601 (2024-01-31), got 'soon'; see",
    ),
    (
        "no time in the first row",
        {"s.csv": b"t,v\n,1\n2,2\n3,3\n"},
        SERIES,
        "/s.csv:2: t: expected a time, a number or ISO 8601 (2024-01-31), got ''; see",
    ),
    (
        "several series",
        {"s.csv": b"t,v\n1,1\n1,2\n2,3\n2,4\n3,5\n3,6\n"},
        SERIES,
        "/s.csv: train: expected at least 3 rows for one window, got 6, cut by holes and repeats "
        "in time; `gaps: join` or `group: COLUMN`?",
    ),
    (
        "no regular step",
        {"s.csv": b"t,v\n0,1\n1,1\n10,2\n100,3\n1000,4\n"},
        SERIES,
        "/s.csv: expected a regular step in time, but only 0% of the steps are alike; `gaps: join`",
    ),
    (
        "a missing value",
        {"s.csv": b"t,v\n1,1\n2,\n3,3\n"},
        SERIES,
        "/s.csv:3: v: expected a finite number, got ''; `missing: drop` leaves such rows out",
    ),
    (
        "text among the numbers",
        {"s.csv": b"t,shop,v\n1,A,1\n2,A,2\n"},
        SERIES,
        "/s.csv:2: shop: expected a finite number, got 'A'; `columns: [...]` names the numbers",
    ),
]


def days(*numbers: int) -> list[str]:
    return [str(datetime.date(2024, 1, 1) + datetime.timedelta(days=n)) for n in numbers]


def series(times, header: str = "t,v") -> bytes:
    """Values 0, 1, 2, ... at these times."""
    rows = "".join(f"{time},{value}\n" for value, time in enumerate(times))
    return f"{header}\n{rows}".encode()


WEEKDAYS = [n for n in range(14) if n % 7 < 5]  # 2024-01-01 is a Monday
HOLE = "t: 1 holes in time, no window crosses one, `gaps: join` does; the first before "
STAND = ": rows follow each other as they stand"
WINDOWS = [  # (id, content, options, first value of each window of 3 steps, notes)
    ("numbers", series([1, 2, 3, 4]), {}, [0, 1], []),
    ("tenths", series(["0.1", "0.2", "0.3", "0.4", "0.5"]), {}, [0, 1, 2], []),
    ("days", series(days(0, 1, 2, 3)), {}, [0, 1], []),
    ("weekdays", series(days(*WEEKDAYS)), {}, list(range(8)), []),
    ("months", series(["2024-01", "2024-02", "2024-03", "2024-04"]), {}, [0, 1], []),
    (
        "ends of months, and a hole",
        series([f"2024-{end}" for end in ("01-31", "02-29", "03-31", "05-31", "06-30", "07-31")]),
        {},
        [0, 3],
        [HOLE + "2024-05-31 (PATH:5)"],
    ),
    ("years", series(["1999-01-01", "2000-01-01", "2001-01-01", "2002-01-01"]), {}, [0, 1], []),
    (
        "hours across a change of the clock",
        series(["2024-03-31T00:30+01:00", "2024-03-31T01:30+01:00", "2024-03-31T03:30+02:00"]),
        {},
        [0],
        [],
    ),
    (
        "dates as whole numbers",
        series(["20240130", "20240131", "20240201", "20240202"]),
        {},
        [0, 1],
        ["t: 20240130 and so on read as dates"],
    ),
    (
        "a format",
        series(["30/01/2024", "31/01/2024", "01/02/2024"]),
        {"time_format": "%d/%m/%Y"},
        [0],
        [],
    ),
    ("hole", series(days(0, 1, 2, 5, 6, 7, 8)), {}, [0, 3, 4], [HOLE + "2024-01-06 (PATH:5)"]),
    (
        "joined hole",
        series(days(0, 1, 2, 5, 6)),
        {"gaps": "join"},
        [0, 1, 2],
        ["t: 1 holes in time, joined; the first before 2024-01-06 (PATH:5)"],
    ),
    (
        "repeat",
        series(days(0, 1, 2, 2, 3, 4)),
        {},
        [0, 3],
        [HOLE.replace("holes", "repeats") + "2024-01-03 (PATH:5)"],
    ),
    (
        "newest first",
        series(days(4, 3, 2, 1, 0)),
        {"sort": True},
        [4, 3, 2],
        ["rows sorted by t"],
    ),
    (
        "two series",
        b"t,v,k\n1,0,a\n1,10,b\n2,1,a\n2,11,b\n3,2,a\n3,12,b\n4,3,a\n",
        {"group": "k"},
        [0, 1, 10],
        ["2 series, one for each k"],
    ),
    (
        "a series without a window",
        b"t,v,k\n1,0,a\n2,1,a\n3,2,a\n1,10,b\n",
        {"group": "k"},
        [0],
        ["2 series, one for each k", "1 of 2 series too short for a window"],
    ),
    (
        "a row is dropped",
        b"t,v\n1,0\n2,NA\n3,2\n4,3\n5,4\n",
        {"missing": "drop"},
        [2],
        [HOLE + "3 (PATH:4)", "1 rows left out: missing values: line 3"],
    ),
    (
        "a row is dropped where there are no times",
        b"v\n0\n1\n2\n?\n4\n5\n6\n",
        {"missing": "drop"},
        [0, 4],
        ["no column of times" + STAND, "1 rows left out: missing values: line 5"],
    ),
    ("one column", b"v\n0\n1\n2\n3\n", {}, [0, 1], ["no column of times" + STAND]),
    (
        "values before the one that is named",
        b"a,v\n5,0\n2,1\n9,2\n4,3\n",
        {"columns": ["v"]},
        [0, 1],
        ["'a' left out: it holds no rising times" + STAND],
    ),
    (
        "semicolons and commas",
        b"t;v\n1;0,0\n2;1,0\n3;2,0\n",
        {"delimiter": ";", "decimal": ","},
        [0],
        [],
    ),
    ("no header", b"1,0\n2,1\n3,2\n", {"header": False}, [0], ["no header: columns c0, c1"]),
    ("times elsewhere", b"v,t\n0,1\n1,2\n2,3\n", {"time": "t"}, [0], []),
]


def seeds() -> dict:
    table = b"t,v,w\n" + b"".join(b"%d,2,3\n" % i for i in range(9))
    options = {"file": "x.csv", "window": 3, **UNDIVIDED}
    dated = "".join(f"{day};{i},5;k{i % 2}\n" for i, day in enumerate(days(*range(12))))
    return {
        "series": seed("series", "x.csv", table, is_text=True, **options),
        "series in time": seed(
            "series",
            "x.csv",
            f"t;v;k\n{dated}".encode(),
            is_text=True,
            **options | {"window": 2, "delimiter": ";", "decimal": ",", "group": "k"},
            missing="drop",
            sort=True,
        ),
    }


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


@pytest.mark.parametrize(
    ("content", "options", "begins", "notes"),
    [pytest.param(*case, id=case_id) for case_id, *case in WINDOWS],
)
def test_windows_cross_nothing(tmp_path, content, options, begins, notes):
    path = tmp_path / "s.csv"
    path.write_bytes(content)
    source = load("train", "series", tmp_path, **SERIES | options)
    windows = read(source)["inputs"][:, :, 0]
    step = -1 if options.get("sort") else 1
    assert windows.tolist() == [[begin, begin + step, begin + 2 * step] for begin in begins]
    assert [note.replace(str(path), "PATH") for note in source.notes] == notes


def test_the_latest_rows_of_each_series_are_held_out(tmp_path):
    rows = [f"{t},{k}{t},{k}\n" for t in range(10) for k in "12"]
    (tmp_path / "s.csv").write_text("t,v,k\n" + "".join(rows))
    options = {"file": "s.csv", "group": "k", "window": 1, "valid": 0, "test": 0.2}
    test = load("test", "series", tmp_path, **options)
    assert read(test)["inputs"][:, :, 0].tolist() == [[17, 18], [18, 19], [27, 28], [28, 29]]
    assert test.locate(0) == f"{tmp_path}/s.csv:16"  # 17 is the 15th row


def test_files_without_times_are_apart(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text("v\n" + f"{'ab'.index(name)}\n" * 4)
    options = SERIES | {"file": "*.csv"}
    windows = read(load("train", "series", tmp_path, **options))["inputs"][:, :, 0]
    assert windows.tolist() == [[0, 0, 0], [0, 0, 0], [1, 1, 1], [1, 1, 1]]
