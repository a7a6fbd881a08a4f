"""Pairs of texts."""

import json

import pytest
from loading import UNDIVIDED, divided, line_numbers, load, read, seed

PAIRS = {"file": "t.tsv"} | UNDIVIDED
REFUSED = [  # (id, files, options, what the message begins with, below the directory)
    ("no file", {}, PAIRS, "/t.tsv: No such file or directory"),
    ("empty", {"t.tsv": b""}, PAIRS, "/t.tsv: expected at least one line, got none"),
    (
        "line without tab",
        {"t.tsv": b"a\tb\nc\n"},
        PAIRS,
        "/t.tsv:2: expected a source, a tab and a target, got 0 tabs",
    ),
    (
        "empty side",
        {"t.tsv": b"a\tb\nc\t\n"},
        PAIRS,
        "/t.tsv:2: expected text in every field, got an empty one",
    ),
    (
        "no UTF-8 in t.tsv",
        {"t.tsv": b"a\tb\ncaf\xe9\n"},
        PAIRS,
        "/t.tsv:2: expected UTF-8 text, got byte 0xe9 at 3",
    ),
    (
        "names of languages",
        {"t.tsv": b"en\tde\na\tb\n"},
        PAIRS,
        "/t.tsv:1: expected a pair of texts, got two languages ['en', 'de']; `header: true` if",
    ),
    (
        "a third column",
        {"t.tsv": b"a\tb\tCC-BY\n"},
        PAIRS,
        "/t.tsv:1: expected a source, a tab and a target, got 2 tabs; `names: [source, target",
    ),
]
GIVEN = [  # (id, file, content, options): always a -> b, c -> d
    ("blank lines", "t.tsv", "a\tb\n\nc\td\n\n", {}),
    ("a header", "t.tsv", "source\ttarget\na\tb\nc\td\n", {}),
    ("a header that is said", "t.tsv", "en\tde\na\tb\nc\td\n", {"header": True}),
    ("names", "t.tsv", "b\ta\tX\nd\tc\tX\n", {"names": ["target", "source", "license"]}),
    ("CSV", "t.csv", "id,en,de\n1,a,b\n2,c,d\n", {"source": "en", "target": "de"}),
    (
        "JSONL",
        "t.jsonl",
        "".join(json.dumps({"src": x, "tgt": y}) + "\n" for x, y in ("ab", "cd")),
        {},
    ),
]


def example(folder) -> dict:
    (folder / "t.tsv").write_text("".join(f"source {i}\ttarget {i}\n" for i in range(60)))
    return {"file": "t.tsv"}


def seeds() -> dict:
    tsv = "".join(f"label{n % 2}\ttext number {n} \u00fc\n" for n in range(8)).encode()
    named = b"id,en,de\n" + b'1,"a, b",c\n2,d,e\n' * 3
    options = {"file": "x.csv", "source": "en", "target": "de", **UNDIVIDED}
    return {
        "pairs": seed("parallel", "x.tsv", tsv, is_text=True, file="x.tsv", **UNDIVIDED),
        "pairs in csv": seed("parallel", "x.csv", named, is_text=True, **options),
    }


def test_pairs_of_texts(tmp_path):
    pairs = "".join(f"quelle {i % 50}\tziel {i}\n" for i in range(100))
    (tmp_path / "t.tsv").write_text(pairs)
    found = divided("parallel", tmp_path, file="t.tsv", valid=0.2, test=0.2)
    for split, places in found.items():
        batch = read(load(split, "parallel", tmp_path, file="t.tsv", valid=0.2, test=0.2))
        assert [text.decode() for text in batch["inputs"]] == [
            f"quelle {(line - 1) % 50}" for line in line_numbers(places)
        ]
        assert [text.decode() for text in batch["targets"]] == [
            f"ziel {line - 1}" for line in line_numbers(places)
        ]
    sources = {
        split: {(line - 1) % 50 for line in line_numbers(places)} for split, places in found.items()
    }
    assert sum(map(len, sources.values())) == 50 and sum(map(len, found.values())) == 100


@pytest.mark.parametrize(
    ("file", "content", "options"), [pytest.param(*case, id=case_id) for case_id, *case in GIVEN]
)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_columns_of_pairs(tmp_path, file, content, options, encoding):
    (tmp_path / file).write_bytes(content.encode(encoding))
    batch = read(load("train", "parallel", tmp_path, **PAIRS | {"file": file} | options))
    assert batch["inputs"].tolist() == [b"a", b"c"]
    assert batch["targets"].tolist() == [b"b", b"d"]
