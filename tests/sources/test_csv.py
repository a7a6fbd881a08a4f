"""Tables: divided by class, group and time, read, refused."""

import datetime
import importlib.util
import io

import numpy as np
import pytest
from loading import UNDIVIDED, Fault, divided, fill, line_numbers, load, read, refused, seed
from pydantic import ValidationError

import input_ops
from cli.program import ConfigError, DataError
from data_loader import SPLITS
from train_config import Data

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
    (
        "ten of many bad cells",
        {"t.csv": b"a,y\n" + b"one,u\n" * 12},
        PREDICTS,
        "/t.csv:2: a: expected a finite number, got 'one'; text? `categories: [a]` or "
        "`ignore: [a]`; 12 such cells: lines 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...",
    ),
    (
        "ragged rows at once",
        {"t.csv": TABLE + b"7,8\n9\n"},
        PREDICTS,
        "/t.csv:5: expected 3 cells, as in the first line, got 2; 2 such rows: lines 5, 6",
    ),
    (
        "missing values and their cure",
        {"t.csv": TABLE + b"?,NA,x\n"},
        PREDICTS,
        "/t.csv:5: a: expected a finite number, got '?'; `missing: drop` leaves such rows out, "
        "`missing: keep` with the operation `fill` fills them; 2 such cells: line 5",
    ),
    (
        "a class that is missing",
        {"t.csv": TABLE + b"7,8,\n"},
        PREDICTS | {"missing": "keep"},
        "/t.csv:5: y: expected the name of a class, got an empty cell, in line 5; `missing: drop`",
    ),
    (
        "a target that is missing",
        {"t.csv": b"a,y\n1,2\n3,\n"},
        PREDICTS | {"missing": "keep", "targets": "numbers"},
        "/t.csv:3: y: expected a target, got none; line 3; `missing: drop`",
    ),
    (
        "a missing value in each row",
        {"t.csv": b"a,y\nNA,u\n?,u\n"},
        PREDICTS | {"missing": "drop"},
        "/t.csv: expected at least one row without missing values, got none",
    ),
    (
        "no inputs",
        {"t.csv": b"c,y\nk,u\n"},
        PREDICTS | {"ignore": ["c"]},
        "/t.csv: expected at least one column of inputs, got none beside y, c; name columns of "
        "text in `categories`",
    ),
    (
        "no header",
        {"t.csv": b"1,2,u\n3,4,v\n"},
        PREDICTS,
        "/t.csv:1: expected a line with the names of the columns, got '1' among them; "
        "without such a line `header: false` (c0, c1, ...) or `names: [...]`",
    ),
    (
        "another delimiter",
        {"t.csv": b"a;y\n1;u\n"},
        PREDICTS,
        "/t.csv:1: no column 'y'; it has a;y; `delimiter: \";\"`?",
    ),
    (
        "a decimal comma",
        {"t.csv": b"a;y\n1,5;u\n"},
        PREDICTS | {"delimiter": ";"},
        "/t.csv:2: a: expected a finite number, got '1,5'; `decimal: \",\"`?",
    ),
    (
        "points that are no decimals",
        {"t.csv": b"a;y\n1.5;u\n"},
        PREDICTS | {"delimiter": ";", "decimal": ",", "thousands": "."},
        "/t.csv:2: a: expected a finite number, got '1.5'; `decimal: \".\"`?",
    ),
    (
        "thousands",
        {"t.csv": b'a,y\n"1,234,567.8",u\n'},
        PREDICTS,
        "/t.csv:2: a: expected a finite number, got '1,234,567.8'; `thousands: \",\"`?",
    ),
    (
        "identifiers that float32 does not tell apart",
        {"t.csv": b"code,y\n9912345600,u\n9912345601,v\n"},
        PREDICTS,
        "/t.csv:3: code: expected numbers that float32 tells apart, but 9912345601 is 9912345600 "
        "in float32, as another is; an identifier? `ignore: [code]`",
    ),
    (
        "prices as classes",
        {"t.csv": b"a,y\n" + b"".join(b"1,%d.5\n" % i for i in range(30))},
        PREDICTS,
        "/t.csv: 30 different targets in 30 examples ('0.5', '1.5', '10.5', ...): expected classes"
        "; numbers? `targets: numbers`",
    ),
    (
        "no file of a pattern",
        {"t.csv": TABLE},
        PREDICTS | {"file": "u*.csv"},
        "/u*.csv: expected a file of this pattern, got none",
    ),
    (
        "files of different columns",
        {"t1.csv": b"a,y\n1,u\n", "t2.csv": b"b,y\n1,u\n"},
        PREDICTS | {"file": "t*.csv"},
        "/t2.csv: expected the columns of t1.csv, a, y; got b, y",
    ),
    (
        "another split",
        {"t.csv": b"a,s,y\n1,train,u\n2,later,v\n"},
        PREDICTS | {"split_column": "s"},
        "/t.csv:3: s: expected train, valid or test, got 'later'",
    ),
    (
        "zones and none",
        {"t.csv": b"a,t,y\n1,2024-01-01T00:00Z,u\n1,2024-01-02T00:00,u\n"},
        PREDICTS | {"time": "t"},
        "/t.csv:3: t: expected a zone in every time, or in none",
    ),
]
KOREAN = "".join(f"{i}.5,{'좋음' if i % 2 else '나쁨'}\n" for i in range(4))
ENCODED = [  # (encoding, text, guess)
    ("cp949", "가격,y\n" + KOREAN, "cp949 or gb18030"),
    ("shift_jis", "値段,y\n1.5,よい\n2,わるい\n", "shift_jis"),
    ("gb18030", "价格,y\n1.5,这个质量很好\n2,那个质量坏\n", "gb18030"),
    ("cp1251", "цена,y\n1.5,плохо\n2,хорошо\n", "cp1251"),
    ("latin-1", "größe,y\n1.5,Café noir\n2,thé au\n", "cp1252"),
    ("utf-16-le", "가격,y\n" + KOREAN, "utf-16-le"),
]
READ = [  # (id, content, options, inputs, class names, notes)
    ("byte order mark", b"\xef\xbb\xbfa,y\n1,u\n", {}, [[1]], ["u"], []),
    (
        "UTF-16 by its mark",
        "a\t가\n1.5\t나\n".encode("utf-16"),
        {"delimiter": "\t", "target": "가"},
        [[1.5]],
        ["나"],
        [],
    ),
    (
        "decimal comma",
        b"a;b;y\n1,5;-2;u\n",
        {"delimiter": ";", "decimal": ","},
        [[1.5, -2]],
        ["u"],
        [],
    ),
    (
        "thousands",
        b"a;y\n1.234.567,5;u\n12;u\n",
        {"delimiter": ";", "decimal": ",", "thousands": "."},
        [[1234567.5], [12]],
        ["u"],
        [],
    ),
    ("blanks", b" a , y \n 1 , u\n2,u \n", {}, [[1], [2]], ["u"], []),
    (
        "missing, dropped",
        b"a,b,y\n1,2,u\nNA,2,u\n3,,v\n4,5,\n6,7,v\n",
        {"missing": "drop"},
        [[1, 2], [6, 7]],
        ["u", "v"],
        ["3 rows left out: missing values: lines 3, 4, 5"],
    ),
    (
        "missing, kept",
        b"a,b,y\n1,2,u\nN/A,2,u\n-3,-,v\n",
        {"missing": "keep"},
        [[1, 2], [0, 2], [-3, 0]],
        ["u", "v"],
        ["2 missing values: a 1, b 1"],
    ),
    (
        "rows of nothing",
        b"a,y\n1,u\n,\n\n2,v\n,\n",
        {},
        [[1], [2]],
        ["u", "v"],
        ["2 empty rows left out: lines 3, 6"],
    ),
    (
        "row numbers without a name",
        b",a,y\n0,1.5,u\n7,2.5,u\n",
        {},
        [[1.5], [2.5]],
        ["u"],
        ["column 1 left out: '' numbers the rows"],
    ),
    (
        "row numbers of pandas, a last delimiter",
        b"Unnamed: 0,a,y,\n0,1.5,u,\n1,2.5,u,\n",
        {},
        [[1.5], [2.5]],
        ["u"],
        [
            "column 4 left out: it has no name and no values",
            "column 1 left out: 'Unnamed: 0' numbers the rows",
        ],
    ),
    (
        "an index that counts",
        b"index,a,y\n1,1.5,u\n0,2.5,u\n",
        {},
        [[1.5], [2.5]],
        ["u"],
        ["column 1 left out: 'index' numbers the rows"],
    ),
    ("a delimiter that ends each row", b"a,y\n1,u,\n2,u,\n", {}, [[1], [2]], ["u"], []),
    ("the delimiter as Excel says it", b"sep=,\na,y\n1,u\n", {}, [[1]], ["u"], []),
    (
        "no group",
        b"a,g,y\n1,,u\n2,,u\n",
        {"group": "g"},
        [[1], [2]],
        ["u"],
        ["g: 2 rows without a group stay together"],
    ),
    ("an index that does not", b"index,y\n1,u\n5,u\n", {}, [[1], [5]], ["u"], []),
    (
        "whole numbers that are rounded",
        b"people,y\n331002651,u\n5000,u\n",
        {},
        [[331002656], [5000]],
        ["u"],
        ["people: 1 whole numbers are rounded: 331002651 is 331002656 in float32"],
    ),
    ("large whole numbers of float32", b"a,y\n33554432,u\n", {}, [[33554432]], ["u"], []),
    (
        "no header",
        b"1,2,u\n3,4,v\n",
        {"header": False, "target": "c2"},
        [[1, 2], [3, 4]],
        ["u", "v"],
        ["no header: columns c0, c1, c2"],
    ),
    (
        "names for a file without",
        b"1,2,u\n",
        {"names": ["a", "b", "y"], "ignore": ["a"]},
        [[2]],
        ["u"],
        ["no header: columns a, b, y"],
    ),
    ("names that it has", b"a,y\n1,u\n", {"names": ["a", "y"]}, [[1]], ["u"], []),
    (
        "names for other names",
        b"A,B\n1,u\n",
        {"names": ["a", "y"], "header": True},
        [[1]],
        ["u"],
        [],
    ),
    ("numbers as names", b"2023,2024\n1,2\n", {"target": "2024"}, [[1]], ["2"], []),
    (
        "classes that are nearly the same",
        b"a,y\n1,Yes\n2,yes\n3,1\n4,1.0\n",
        {},
        [[1], [2], [3], [4]],
        ["1", "1.0", "Yes", "yes"],
        ["y: classes that are nearly the same: '1' and '1.0'; 'Yes' and 'yes'"],
    ),
    (
        "an empty category",
        b"a,c,y\n1,k,u\n2,,u\n",
        {"categories": ["c"]},
        [[1], [2]],
        ["u"],
        ["c: 1 empty cells are a category of their own"],
    ),
    (
        "an identifier",
        b"id,y\n" + b"".join(b"%d,u\n" % (3 * i) for i in range(20)),
        {},
        [[3 * i] for i in range(20)],
        ["u"],
        ["id: an input with another whole number in each row; an identifier? `ignore: [id]`"],
    ),
]


def example(folder) -> dict:
    (folder / "t.csv").write_text("id;age;kind;person;day;y\n" + ROWS)
    options = {"delimiter": ";", "categories": ["kind", "person"], "ignore": ["id"]}
    return options | {"file": "t.csv", "target": "y"}


def seeds() -> dict:
    table = b'a,b,c,y\n1,2,"one, two",u\n' + b"3.5,-4e2,three,v\n" * 6
    options = {"file": "x.csv", "target": "y", "categories": ["c"], **UNDIVIDED}
    european = "größe;y\n1.234,5;süß\n7,25;ä\n".encode("cp1252") + b"8;u\n" * 6
    by_time = b"a,t,s,y\n" + b"1,2024-01-02T03:04Z,x,0.5\n" * 3 + b",2024-01-05T00:00Z,x,3\n"
    seeds = {
        "csv": seed("csv", "x.csv", table, is_text=True, **options),
        "csv in cp1252": seed(
            "csv",
            "x.csv",
            european,
            is_text=True,
            file="*.csv",
            target="y",
            encoding="cp1252",
            delimiter=";",
            **{"decimal": ",", "thousands": ".", **UNDIVIDED},
        ),
        "csv in UTF-16": seed(
            "csv", "x.csv", table.decode().encode("utf-16"), is_text=True, **options
        ),
        "csv in time": seed(
            "csv",
            "x.csv",
            by_time,
            is_text=True,
            file="x.csv",
            target="y",
            targets="numbers",
            time="t",
            **{"ignore": ["s"], "missing": "keep", **UNDIVIDED},
        ),
        "csv in splits": seed(
            "csv",
            "x.csv",
            b"a,s,y\n" + b"1,train,u\n2,test,v\n3,val,u\n" * 4,
            is_text=True,
            file="x.csv",
            target="y",
            split_column="s",
            missing="drop",
        ),
    }
    if importlib.util.find_spec("pyarrow"):
        columns = {"a": [1.5, None, 3.0], "k": ["x", None, "y"], "y": [0, 1, 0]}
        options = {"file": "x.parquet", "target": "y", "categories": ["k"], "missing": "keep"}
        options |= UNDIVIDED
        seeds["parquet"] = seed("csv", "x.parquet", parquet(columns), **options)
    return seeds


def parquet(columns: dict) -> bytes:
    import pyarrow
    import pyarrow.parquet

    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


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


@pytest.mark.parametrize(
    ("content", "options", "inputs", "class_names", "notes"),
    [pytest.param(*case, id=case_id) for case_id, *case in READ],
)
def test_what_is_read_and_what_is_said(tmp_path, content, options, inputs, class_names, notes):
    folder = fill(tmp_path, {"t.csv": content})
    source = load("train", "csv", folder, **PREDICTS | options)
    assert read(source)["inputs"].tolist() == inputs
    assert list(source.class_names) == class_names
    assert list(source.notes) == notes


@pytest.mark.parametrize(("encoding", "text", "guess"), ENCODED)
def test_encodings_are_read_and_guessed(tmp_path, encoding, text, guess):
    folder = fill(tmp_path, {"t.csv": text.encode(encoding)})
    message = refused(lambda: load("train", "csv", folder, **PREDICTS), folder / "t.csv")
    assert message.endswith(f"; encoding: {guess}?")
    source = load("train", "csv", folder, **PREDICTS, encoding=encoding)
    assert read(source)["inputs"][-2:, 0].tolist() in ([2.5, 3.5], [1.5, 2])
    labels = {line.split(",")[1] for line in text.splitlines()[1:]}
    assert set(source.class_names) == labels


SHOWN = {
    "%Y-%m-%d": "2023-07-30",
    "%d/%m/%Y": "30/07/2023",
    "%m/%d/%Y": "07/30/2023",
    "%Y년 %m월 %d일": "2023년 07월 30일",
    "%d %b %Y": "30 Jul 2023",
    "%d.%m.%Y %H:%M": "30.07.2023 00:00",
}


@pytest.mark.parametrize("shape", SHOWN)
def test_times_are_never_sorted_as_text(tmp_path, shape):
    """60 rows, shuffled, nine days apart: the latest twelve are the test."""
    days = [datetime.datetime(2023, 7, 3) + datetime.timedelta(days=9 * i) for i in range(60)]
    rows = [f"{day.strftime(shape)},{i},u\n" for i, day in enumerate(days)]
    (tmp_path / "t.csv").write_text("day,a,y\n" + "".join(rows[i * 7 % 60] for i in range(60)))
    options = PREDICTS | {"time": "day", "test": 0.2}
    if shape != "%Y-%m-%d":
        message = refused(lambda: load("test", "csv", tmp_path, **options), f"{tmp_path}/t.csv:2")
        assert message.endswith(f"; `time_format: '{shape}'`?")
        options["time_format"] = shape
    late = read(load("test", "csv", tmp_path, **options))["inputs"]
    assert late.ravel().tolist() == list(range(48, 60))


def test_a_column_says_which_split_a_row_is_in(tmp_path):
    rows = [f"{i}.5,{('Train', 'test', 'dev')[i % 3]},u\n" for i in range(9)]
    (tmp_path / "t.csv").write_text("a,s,y\n" + "".join(rows))
    options = {"file": "t.csv", "target": "y", "split_column": "s"}
    inputs = {split: read(load(split, "csv", tmp_path, **options))["inputs"] for split in SPLITS}
    assert {split: values.ravel().tolist() for split, values in inputs.items()} == {
        "train": [0.5, 3.5, 6.5],
        "valid": [2.5, 5.5, 8.5],
        "test": [1.5, 4.5, 7.5],
    }
    (tmp_path / "t.csv").write_text("a,s,y\n" + "".join(rows).replace("dev", "train") * 4)
    sources = {split: load(split, "csv", tmp_path, **options) for split in SPLITS}
    assert [len(source) for source in sources.values()] == [22, 2, 12]  # 10 % of 24
    assert "no split 'valid': 10% of 'train' held out for it, by hash" in sources["valid"].notes


def test_several_files_are_one_table(tmp_path):
    files = {f"{name}/t.csv": b"a,y\n" + b"%d.5,u\n" % i * 20 for i, name in enumerate("ab")}
    options = {"file": "*/t.csv", "target": "y"}
    places = divided("csv", fill(tmp_path, files), **options)
    assert sum(map(len, places.values())) == 40
    source = load("train", "csv", tmp_path, **options)
    assert set(read(source)["inputs"].ravel()) == {0.5, 1.5}
    assert source.notes == ("2 files put together: t.csv 20, t.csv 20",)
    listed = load("train", "csv", tmp_path, **options | {"file": ["a/t.csv", "b/t.csv"]})
    assert listed.fingerprint == source.fingerprint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": "cp9999"}, "expected an encoding, such as utf-8"),
        ({"encoding": "base64"}, "expected an encoding"),
        ({"time_format": "%Q"}, "expected a format such as"),
        ({"decimal": ",", "thousands": ","}, "expected a `thousands` other than `decimal`"),
        ({"names": ["a", "a"]}, "expected each column once"),
        ({"categories": ["y"]}, "expected one role for each column, got 'y' in two"),
        ({"group": "a", "split_column": "b"}, "expected at most one of"),
    ],
)
def test_options_are_checked_before_a_file_is_read(options, message):
    with pytest.raises((ValidationError, ConfigError), match=message):
        load("train", "csv", None, **PREDICTS | options)


@pytest.mark.parametrize(
    ("options", "feature", "op"),
    [({"categories": ["c"]}, "categories", "encode_categories"), ({}, "missing", "fill")],
)
def test_a_feature_that_no_operation_takes_is_refused(tmp_path, options, feature, op):
    (tmp_path / "t.csv").write_text("a,c,y\n1,2,u\n3,4,u\n")
    options = PREDICTS | {"name": "csv", "dir": str(tmp_path)} | options
    options |= {"missing": "keep"} if feature == "missing" else {}
    data = Data.model_validate({"train": options})
    expected = f"csv: no operation takes the feature `{feature}`; add `{op}`"
    with pytest.raises(ConfigError, match=expected):
        input_ops.open_mix(data, "train", training=True)


def test_parquet_is_read_as_a_table(tmp_path):
    pytest.importorskip("pyarrow")
    columns = {"a": [1.5, None, 3.0], "k": ["x", None, "y"], "y": [0, 1, 0]}
    fill(tmp_path, {"t.parquet": parquet(columns), "damaged.parquet": b"PAR1"})
    options = PREDICTS | {"file": "t.parquet", "categories": ["k"]}
    source = load("train", "csv", tmp_path, **options, missing="keep")
    batch = read(source)
    assert batch["inputs"].tolist() == [[1.5], [0], [3]]
    assert batch["missing"].tolist() == [[0], [1], [0]]
    assert batch["categories"].tolist() == [[b"x"], [b""], [b"y"]]
    assert source.class_names == ("0", "1")
    place = f"{tmp_path}/t.parquet: row 2: a: expected a finite number, got ''"
    refused(lambda: load("train", "csv", tmp_path, **options), place)
    damaged = options | {"file": "damaged.parquet"}
    start = f"{tmp_path}/damaged.parquet: damaged Parquet: "
    refused(lambda: load("train", "csv", tmp_path, **damaged), start)


def test_parquet_without_its_reader_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    message = refused(
        lambda: load("train", "csv", tmp_path, file="t.parquet", target="y"),
        f"{tmp_path}/t.parquet: ",
    )
    assert message.endswith("expected `pip install -e '.[parquet]'`")


def test_a_column_of_weights(tmp_path):
    """No input; 0 or more, not all 0."""
    (tmp_path / "t.csv").write_text(
        "a,w,y\n" + "".join(f"{i},{i % 3}.5,{'uv'[i % 2]}\n" for i in range(12))
    )
    source = load(
        "train", "csv", tmp_path, file="t.csv", target="y", sample_weight="w", valid=0, test=0
    )
    found = read(source)
    assert found["inputs"].shape == (12, 1)
    assert found["sample_weight"].tolist() == [row % 3 + 0.5 for row in found["inputs"][:, 0]]
    (tmp_path / "t.csv").write_text("a,w,y\n1,1,u\n2,-1,v\n")
    with pytest.raises(DataError, match=r"t.csv:3: w: expected a weight of 0 or more, got -1"):
        load("train", "csv", tmp_path, file="t.csv", target="y", sample_weight="w", valid=0, test=0)
