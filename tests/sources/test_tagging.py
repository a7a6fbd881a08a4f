"""Tagged tokens, in columns."""

import pytest
import tensorflow as tf
from loading import UNDIVIDED, divided, line_numbers, load, read, seed

from engine.stateless import fold
from preprocess_data import apply_ops, measured
from train_config import Data

TEXT = {"file": "t.txt"} | UNDIVIDED
REFUSED = [  # (id, files, options, what the message begins with, below the directory)
    ("no file", {}, TEXT, "/t.txt: No such file or directory"),
    (
        "empty",
        {"t.txt": b"\n \n-DOCSTART- O\n"},
        TEXT,
        "/t.txt: expected at least one sentence, got none",
    ),
    (
        "line without tag",
        {"t.txt": b"a X\nb\n"},
        TEXT | {"tag_column": 1},
        "/t.txt:2: expected a token in column 0, a tag in 1, got 1",
    ),
    (
        "blank in token",
        {"t.txt": b"a b\tX\n"},
        TEXT,
        "/t.txt:1: expected one token without blanks and its tag",
    ),
    (
        "no UTF-8 in t.txt",
        {"t.txt": b"a X\ncaf\xe9\n"},
        TEXT,
        "/t.txt:2: expected UTF-8 text, got byte 0xe9 at 3",
    ),
    (
        "words as tags",
        {"t.txt": b"".join(b"X word%d\n" % i for i in range(20))},
        TEXT,
        "/t.txt: 20 different targets in 20 examples ('word0', 'word1', 'word10', ...): expected "
        "classes: is `tag_column` the column of the tags?",
    ),
]
SAID = [  # (id, content, options, notes): always two sentences, "the cat" and "a"
    ("plain", "the DT\ncat NN\n\na DT\n", {}, ()),
    (
        "a header",
        "word tag\n\nthe DT\ncat NN\n\na DT\n",
        {},
        ("line 1 left out: the names word tag",),
    ),
    (
        "another header",
        "Wort Art\nthe DT\ncat NN\n\na DT\n",
        {"header": True},
        ("line 1 left out: the names Wort Art",),
    ),
    (
        "comments",
        "# sent_id = 1\n# text = the cat\nthe DT\ncat NN\n\na DT\n",
        {},
        ("2 comments left out: lines 1, 2",),
    ),
]


def example(folder) -> dict:
    sentences = (f"word{i} X\n" + "end Y\n" * (i % 3) + "\n" for i in range(60))
    (folder / "t.txt").write_text("".join(sentences))
    return {"file": "t.txt"}


def seeds() -> dict:
    conll = b"-DOCSTART- O\n\nthe DT\ncat NN\n\na DT\ndog NN\nbarks VB\n"
    options = {"file": "x.txt", **UNDIVIDED}
    named = "token\ttag\n# text = né\nné\tDT\n\ncat\tNN\n".encode("latin-1")
    return {
        "conll": seed("tagging", "x.txt", conll, is_text=True, **options),
        "conll with names": seed(
            "tagging", "x.txt", named, is_text=True, encoding="latin-1", **options
        ),
    }


def test_tagged_sentences_of_different_lengths(tmp_path):
    (tmp_path / "t.txt").write_text(
        "-DOCSTART- -X- O\n\nEU NNP B\nrejects VB O\ncall NN O\n\n\nPeter NNP B\n\nA DT O\nB NN C\n"
    )
    options = {"file": "t.txt", "valid": 0, "test": 0}
    source = load("train", "tagging", tmp_path, **options)
    assert source.class_names == ("B", "C", "O") and line_numbers(
        source.locate(i) for i in range(3)
    ) == [
        3,
        8,
        10,
    ]
    found = read(source)
    assert found["inputs"].tolist() == [b"EU rejects call", b"Peter", b"A B"]
    assert found["targets"].tolist() == [[0, 2, 2], [0, 0, 0], [2, 1, 0]]
    assert found["sample_weight"].tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
    assert read(source, [1, 2])["targets"].tolist() == [
        [0, 0],
        [2, 1],
    ]  # as long as the longest of the batch
    data = Data.model_validate(
        {"train": {"name": "tagging", "dir": str(tmp_path), **options}, "ops": ["tokenize"]}
    )
    tokens = apply_ops(
        source.read(tf.constant([1, 2], tf.int64)), fold(0, tf.range(2)), measured(data).ops, 3
    )
    assert tokens["inputs"].shape == tokens["targets"].shape == (2, 2)
    parts = load("train", "tagging", tmp_path, **options, token_column=1, tag_column=0)
    assert read(parts, [0])["inputs"].tolist() == [b"NNP VB NN"] and "rejects" in parts.class_names


def test_the_same_sentence_twice_stays_in_one_split(tmp_path):
    (tmp_path / "t.txt").write_text("".join(f"word{i % 50} X\nend Y\n\n" for i in range(100)))
    found = divided("tagging", tmp_path, file="t.txt", valid=0.2, test=0.2)
    numbers = {
        split: {(line - 1) // 3 % 50 for line in line_numbers(places)}
        for split, places in found.items()
    }
    assert sum(map(len, numbers.values())) == 50 and sum(map(len, found.values())) == 100


# ---- texts beyond all measure

REFUSED += [
    (
        "line without end",
        {"t.txt": b"a" * (1 << 20)},
        TEXT,
        "/t.txt:1: expected a token in column 0, a tag in -1, got 1 columns",
    ),
]


@pytest.mark.parametrize(
    ("content", "options", "notes"), [pytest.param(*case, id=case_id) for case_id, *case in SAID]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_what_is_left_out_is_said(tmp_path, content, options, notes, encoding):
    (tmp_path / "t.txt").write_bytes(content.encode(encoding))
    source = load("train", "tagging", tmp_path, **TEXT | options)
    assert read(source)["inputs"].tolist() == [b"the cat", b"a"]
    assert source.class_names == ("DT", "NN")
    assert source.notes == notes


def test_several_files_of_sentences(tmp_path):
    for name, token in (("a", "x"), ("b", "y")):
        (tmp_path / f"{name}.txt").write_text(f"{token} A\n\n{token} B\n")
    source = load("train", "tagging", tmp_path, **TEXT | {"file": ["a.txt", "b.txt"]})
    assert read(source)["inputs"].tolist() == [b"x", b"x", b"y", b"y"]
    assert source.locate(3) == f"{tmp_path}/b.txt:3"
    assert source.notes == ("2 files put together: a.txt 2, b.txt 2",)
