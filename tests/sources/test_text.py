"""Labeled texts, as TSV and JSONL."""

import json

import pytest
from loading import UNDIVIDED, divided, fill, line_numbers, load, read, seed

import input_ops
from preprocess_data import measured
from train_config import Data

TEXT = {"file": "t.txt"} | UNDIVIDED
REFUSED = [  # (id, files, options, what the message begins with, below the directory)
    ("no file", {}, TEXT, "/t.txt: No such file or directory"),
    ("empty", {"t.txt": b""}, TEXT, "/t.txt: expected at least one line, got none"),
    (
        "line without tab",
        {"t.txt": b"a\tone\nb two\n"},
        TEXT,
        "/t.txt:2: expected a label, a tab and a text, got no tab",
    ),
    (
        "empty text",
        {"t.txt": b"a\tone\nb\t \n"},
        TEXT,
        "/t.txt:2: expected text in every field, got an empty one",
    ),
    (
        "no UTF-8 in t.jsonl",
        {"t.jsonl": b'{"label": 0, "text": "x"}\ncaf\xe9\n'},
        {"file": "t.jsonl"} | UNDIVIDED,
        "/t.jsonl:2: expected UTF-8 text, got byte 0xe9 at 3",
    ),
    (
        "no UTF-8 in t.txt",
        {"t.txt": b"a\tone\ncaf\xe9\n"},
        TEXT,
        "/t.txt:2: expected UTF-8 text, got byte 0xe9 at 3",
    ),
]
REFUSED += [
    (
        broken[:30].decode(),
        {"t.jsonl": b'{"label": 0, "text": "sound"}\n' + broken + b"\n"},
        {"file": "t.jsonl"} | UNDIVIDED,
        f"/t.jsonl:2: expected {expected}",
    )
    for broken, expected in [
        (b'{"label": 1, "text": "x"', "one JSON object, got"),
        (b"[1]", "a JSON object with the keys of its fields"),
        (b'{"label": 1}', "a JSON object with the key 'text'"),
        (b'{"label": 1.5, "text": "x"}', "text or a whole number as the label"),
        (b'{"label": 1, "text": 7}', "text as the text"),
        (b"[" * 9**5, "one JSON object, got"),
    ]
]
REFUSED += [
    (
        f"surrogate {key}",
        {"t.jsonl": json.dumps({"label": "a", "text": "b", "group": "c", key: "\ud800"}).encode()},
        {"file": "t.jsonl", "group": "group"} | UNDIVIDED,
        f"/t.jsonl:1: {key}: expected whole Unicode characters, got half a surrogate pair",
    )
    for key in ("text", "label", "group")
]


def example(folder) -> dict:
    (folder / "t.tsv").write_text("".join(f"{'ab'[i % 2]}\ttext {i}\n" for i in range(60)))
    return {"file": "t.tsv"}


def seeds() -> dict:
    records = [
        json.dumps({"label": n % 2, "text": f"line {n} \u00e9", "group": str(n)}) for n in range(8)
    ]
    jsonl = "".join(f"{record}\n" for record in records).encode()
    tsv = "".join(f"label{n % 2}\ttext number {n} \u00fc\n" for n in range(8)).encode()
    options = {"file": "x.jsonl", "group": "group", **UNDIVIDED}
    return {
        "jsonl": seed("text", "x.jsonl", jsonl, is_text=True, **options),
        "tsv": seed("text", "x.tsv", tsv, is_text=True, file="x.tsv", **UNDIVIDED),
    }


def put_lines(path, made) -> None:
    path.write_text("".join(f"{line}\n" for line in made))


@pytest.mark.parametrize("file", ["t.tsv", "t.jsonl"])
def test_labeled_texts(tmp_path, file):
    made = [
        ("ja" if i % 3 else "née", f"text {i}\tmit Tab" if i % 2 else f"wörd {i % 40}")
        for i in range(200)
    ]
    as_json = [json.dumps({"label": label, "text": text, "more": 1}) for label, text in made]
    put_lines(
        tmp_path / file,
        as_json if file.endswith("l") else [f"{label}\t{text}" for label, text in made],
    )
    found, seen = divided("text", tmp_path, file=file), {}
    assert sorted(line for places in found.values() for line in line_numbers(places)) == list(
        range(1, 201)
    )
    for split, places in found.items():
        source = load(split, "text", tmp_path, file=file)
        batch = read(source)
        expected = [made[line - 1] for line in line_numbers(places)]
        assert [text.decode() for text in batch["inputs"]] == [text for _, text in expected]
        assert [source.class_names[target] for target in batch["targets"]] == [
            label for label, _ in expected
        ]
        seen[split] = {text for _, text in expected}
    assert source.class_names == ("ja", "née")
    assert not (
        seen["train"] & seen["valid"]
        or seen["train"] & seen["test"]
        or seen["valid"] & seen["test"]
    )  # the same text twice


def test_labels_of_jsonl_may_be_numbers_and_a_key_may_group(tmp_path):
    put_lines(
        tmp_path / "t.jsonl",
        [json.dumps({"label": i % 2, "text": f"text {i}", "author": i % 25}) for i in range(100)],
    )
    found = divided("text", tmp_path, file="t.jsonl", group="author", valid=0.2, test=0.2)
    authors = {
        split: {(line - 1) % 25 for line in line_numbers(places)} for split, places in found.items()
    }
    assert sum(map(len, authors.values())) == 25 and sum(map(len, found.values())) == 100
    assert load("train", "text", tmp_path, file="t.jsonl").class_names == ("0", "1")


def test_unknown_tokens_and_long_sequences(tmp_path, capsys):
    fill(tmp_path, {"t.txt": b"a\tone two\nb\tone two three\na\ttwo two two two\n"})
    ops = [{"name": "tokenize", "max_tokens": 4}, {"name": "truncate", "length": 3}]
    data = measured(Data(train=TEXT | {"name": "text"}, dir=str(tmp_path), ops=ops))
    assert (
        capsys.readouterr().err
        == "data: truncate: 1 of 3 training sequences are longer than 3 and are cut\n"
    )
    mix = input_ops.open_mix(data, "train", training=True)
    _, batches, _ = input_ops.eval_sets(mix, 3)[0]
    assert next(iter(batches))["inputs"].numpy().tolist() == [
        [3, 2, 0],
        [3, 2, 1],
        [2, 2, 2],
    ]  # 2: two, 3: one, 1: unknown, 0: padding
