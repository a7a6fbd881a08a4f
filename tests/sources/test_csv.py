"""Tables: divided by class, group and time, read, refused."""

import numpy as np
from loading import UNDIVIDED, Fault, divided, fill, line_numbers, load, read, seed

from data_loader import SPLITS

PREDICTS = {"file": "t.csv", "target": "y"} | UNDIVIDED
TABLE = b"a,b,y\n1,2,x\n3,4,x\n5,6,z\n"
REFUSED = [  # (id, files, options, what the message begins with, below the directory)
    ("no file", {}, PREDICTS, "/t.csv: No such file or directory"),
    (
        "empty",
        {"t.csv": b""},
        PREDICTS,
        "/t.csv:1: expected a line with the names of the columns, got nothing",
    ),
    (
        "no rows",
        {"t.csv": b"a,y\n\n"},
        PREDICTS,
        "/t.csv: expected at least one row below the names, got none",
    ),
    (
        "NaN",
        {"t.csv": TABLE + b"7,nan,x\n"},
        PREDICTS,
        "/t.csv:5: b: expected a finite number, got 'nan'",
    ),
    (
        "inf",
        {"t.csv": TABLE + b"7,1e39,x\n"},
        PREDICTS,
        "/t.csv:5: b: expected a finite number, got '1e39'",
    ),
    (
        "inf as target",
        {"t.csv": b"a,y\n1,inf\n"},
        PREDICTS | {"targets": "numbers"},
        "/t.csv:2: y: expected a finite number, got 'inf'",
    ),
    (
        "ragged",
        {"t.csv": TABLE + b"7,8\n"},
        PREDICTS,
        "/t.csv:5: expected 3 cells, as in the first line, got 2",
    ),
    (
        "text for a number",
        {"t.csv": TABLE + b"7,eight,x\n"},
        PREDICTS,
        "/t.csv:5: b: expected a finite number, got 'eight'",
    ),
    (
        "missing value",
        {"t.csv": TABLE + b"7,,x\n"},
        PREDICTS,
        "/t.csv:5: b: expected a finite number, got ''",
    ),
    (
        "missing column",
        {"t.csv": TABLE},
        PREDICTS | {"target": "z"},
        "/t.csv:1: no column 'z'; it has a, b, y",
    ),
    (
        "column twice",
        {"t.csv": b"a,a,y\n1,2,x\n"},
        PREDICTS,
        "/t.csv:1: expected a name for each column, got 'a' twice",
    ),
    ("quote after text", {"t.csv": TABLE + b'7,"8"9,x\n'}, PREDICTS, "/t.csv:5: damaged CSV: "),
    (
        "open quote",
        {"t.csv": TABLE + b'7,"8,x\n9,9,x\n'},
        PREDICTS,
        "/t.csv:6: damaged CSV: unexpected end of data",
    ),
    (
        "no UTF-8 in t.csv",
        {"t.csv": b"a,y\ncaf\xe9\n"},
        PREDICTS,
        "/t.csv:2: expected UTF-8 text, got byte 0xe9 at 3",
    ),
]


def example(folder) -> dict:
    (folder / "t.csv").write_text("id;age;kind;person;day;y\n" + ROWS)
    options = {"delimiter": ";", "categories": ["kind", "person"], "ignore": ["id"]}
    return options | {"file": "t.csv", "target": "y"}


def seeds() -> dict:
    table = b'a,b,c,y\n1,2,"one, two",u\n' + b"3.5,-4e2,three,v\n" * 6
    options = {"file": "x.csv", "target": "y", "categories": ["c"], **UNDIVIDED}
    return {"csv": seed("csv", "x.csv", table, is_text=True, **options)}


ROWS = "".join(
    f"n{i};{i}.5;{'uv'[i % 2]};p{i % 30};{7 * i % 90};{'no' if i % 3 else 'yes'}\n"
    for i in range(90)
)


def table_of(path, ignore, **options):
    """({split: line of each row, counted from 0 below the names}, {split: features})"""
    (path / "t.csv").write_text("id;age;kind;person;day;y\n" + ROWS)
    options |= {
        "file": "t.csv",
        "target": "y",
        "delimiter": ";",
        "categories": ["kind"],
        "ignore": ["id", *ignore],
        "valid": 0.1,
        "test": 0.2,
    }
    rows = {
        split: np.array(line_numbers(places)) - 2
        for split, places in divided("csv", path, **options).items()
    }
    assert sorted(np.concatenate(list(rows.values()))) == list(range(90))
    return rows, {split: read(load(split, "csv", path, **options)) for split in SPLITS}


def test_a_table_is_divided_class_by_class(tmp_path):
    rows, found = table_of(tmp_path, ["person"])
    for split, counts in (("train", [42, 21]), ("valid", [6, 3]), ("test", [12, 6])):
        batch = found[split]
        assert np.bincount(batch["targets"]).tolist() == counts  # no, yes
        assert (
            batch["inputs"].tolist() == [[i + 0.5, 7 * i % 90] for i in rows[split]]
            and batch["inputs"].dtype == np.float32
        )
        assert batch["categories"].tolist() == [[b"v" if i % 2 else b"u"] for i in rows[split]]
        assert batch["targets"].tolist() == [int(i % 3 == 0) for i in rows[split]]


def test_a_table_is_divided_by_group(tmp_path):
    rows, found = table_of(tmp_path, ["day"], group="person")
    persons = {split: set(numbers % 30) for split, numbers in rows.items()}
    assert sum(map(len, persons.values())) == 30 and all(persons.values())
    assert found["train"]["inputs"].shape[1] == 1  # the group is no input


def test_a_table_is_divided_by_time(tmp_path):
    """Days are numbers and not text, where 10 comes before 9; rows of one split are in order."""
    rows, _ = table_of(tmp_path, ["person"], time="day")
    days = np.concatenate([7 * rows[split] % 90 for split in ("train", "valid", "test")])
    assert days.tolist() == list(range(90)) and {split: len(rows[split]) for split in SPLITS} == {
        "train": 63,
        "valid": 9,
        "test": 18,
    }
    (tmp_path / "d.csv").write_text("x,when,y\n1,2026-01-09,0\n2,2025-12-31,0\n3,2026-11-01,1\n")
    options = {
        "file": "d.csv",
        "target": "y",
        "targets": "numbers",
        "time": "when",
        "valid": 0,
        "test": 0.34,
    }
    assert read(load("train", "csv", tmp_path, **options))["inputs"].ravel().tolist() == [2, 1]
    assert read(load("test", "csv", tmp_path, **options))["targets"].tolist() == [1.0]


def test_quoted_cells_and_numbers_as_targets(tmp_path):
    (tmp_path / "t.csv").write_text('a,"b, c",y\n1,"x ""y"", z",0.25\n\n2,w,-3e2\n')
    source = load(
        "train",
        "csv",
        tmp_path,
        file="t.csv",
        target="y",
        targets="numbers",
        categories=["b, c"],
        valid=0,
        test=0,
    )
    found = read(source)
    assert found["categories"].tolist() == [[b'x "y", z'], [b"w"]] and found[
        "targets"
    ].tolist() == [0.25, -300]
    assert source.class_names == () and line_numbers(source.locate(i) for i in range(2)) == [2, 4]


# ---- texts beyond all measure

LONG = 1 << 20
REFUSED += [
    (
        "long field",
        {"t.csv": b"a,y\n" + b"1" * LONG + b",x\n"},
        PREDICTS,
        "/t.csv:2: damaged CSV: field larger than field limit",
    ),
    (
        "long number",
        {"t.csv": b"a,y\n" + b"9" * 100_000 + b",x\n"},
        PREDICTS,
        "/t.csv:2: a: expected a finite number, got '9999",
    ),
    (
        "exponent",
        {"t.csv": b"a,y\n1e999999999,x\n"},
        PREDICTS,
        "/t.csv:2: a: expected a finite number, got '1e999999999'",
    ),
    (
        "long name of a column",
        {"t.csv": b"a" * LONG + b",y\n1,x\n"},
        PREDICTS,
        "/t.csv:1: damaged CSV: field larger than field limit",
    ),
]


# ---- what the trainer says, see ../test_faults.py

RUN = (
    "data={train: {name: csv, file: t.csv, target: y, valid: 0.3, test: 0}, valid: null, dir: set}"
)


def write_table(folder, last: bytes = b""):
    """80 sound rows and the `last`."""
    fill(folder, {"t.csv": b"a,y\n" + b"1,u\n2,v\n" * 40 + last})


SOUND_RUNS = [("sound", write_table, RUN)]
FAULTS = [
    Fault(
        "smaller than a batch",
        write_table,
        RUN.replace("0.3", "0.95"),
        "expected at least one batch of 8 examples",
    ),
    Fault(
        "ragged row",
        lambda folder: write_table(folder, b"1\n"),
        RUN,
        "set/t.csv:82: expected 2 cells, as in the first line, got 1",
    ),
    Fault(
        "text in a number column",
        lambda folder: write_table(folder, b"one,u\n"),
        RUN,
        "set/t.csv:82: a: expected a finite number, got 'one'",
    ),
    Fault(
        "invalid UTF-8",
        lambda folder: write_table(folder, b"1,caf\xe9\n"),
        RUN,
        "set/t.csv:82: expected UTF-8 text, got byte 0xe9",
    ),
]
