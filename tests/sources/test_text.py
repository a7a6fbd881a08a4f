"""Labeled texts, as TSV, CSV and JSONL."""

import json
import unicodedata

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
FILMS = [
    (f"film {i} was {'good' if i % 2 else 'bad'}", "pos" if i % 2 else "neg") for i in range(20)
]
TSV = "".join(f"{label}\t{text}\n" for text, label in FILMS)
SWAPPED = "".join(f"{text}\t{label}\n" for text, label in FILMS)
CSV = "".join(f'"{text}",{label}\n' for text, label in FILMS)
REFUSED += [
    (
        "texts as labels",
        {"t.txt": SWAPPED.encode()},
        TEXT,
        "/t.txt: 20 different targets in 20 examples ('film 0 was bad', 'film 1 was good', "
        "'film 10 was bad', ...): expected classes: is the label first, the text second? else "
        "`names: [text, label]` or `label: COLUMN`",
    ),
    (
        "names that are not known",
        {"t.txt": f"mood\tplot\n{TSV}".encode()},
        TEXT,
        "/t.txt:1: expected a label, got 'mood', which no other line has; `header: true` if it is "
        "a name of columns, else `header: false`",
    ),
    (
        "columns that are not known",
        {"t.csv": f"plot,mood,x\n{CSV}".replace("neg", "neg,1").replace("pos", "pos,1").encode()},
        TEXT | {"file": "t.csv"},
        "/t.csv:1: expected one column of the labels, got plot, mood, x; `label: COLUMN`",
    ),
    (
        "a column that is not there",
        {"t.csv": b"text,label\na,b\n"},
        TEXT | {"file": "t.csv", "label": "mood"},
        "/t.csv:1: no column 'mood'; it has text, label",
    ),
    (
        "too few columns",
        {"t.txt": b"id\tlabel\ttext\n1\ta\tb\n2\tb\n"},
        TEXT,
        "/t.txt:3: expected 3 columns, id, label, text, got 2",
    ),
    (
        "a group without names",
        {"t.txt": b"a\tone\n"},
        TEXT | {"group": "author"},
        "/t.txt: group: expected columns with names, or a .jsonl file",
    ),
    (
        "another encoding",
        {"t.txt": "나쁨\t영화가 나빴다\n".encode("cp949")},
        TEXT,
        "/t.txt:1: expected UTF-8 text, got byte 0xb3 at 0; encoding: cp949 or gb18030?",
    ),
]
READ = [  # (id, file, content, options, notes): always FILMS
    ("without names", "t.tsv", TSV, {}, ()),
    ("a header", "t.tsv", "label\ttext\n" + TSV, {}, ()),
    (
        "a header in another order",
        "t.tsv",
        "sentence\tlabel\n" + SWAPPED,
        {},
        ("texts from the column 'sentence'",),
    ),
    ("blank lines", "t.tsv", "\n" + TSV + "\n  \n\n", {}, ()),
    ("names for a file without", "t.tsv", SWAPPED, {"names": ["text", "label"]}, ()),
    (
        "named columns",
        "t.tsv",
        "plot\tmood\n" + SWAPPED,
        {"label": "mood", "text": "plot"},
        (),
    ),
    (
        "CSV by its names",
        "t.csv",
        "review,sentiment\n" + CSV,
        {},
        ("labels from the column 'sentiment'", "texts from the column 'review'"),
    ),
    (
        "CSV without names",
        "t.csv",
        CSV,
        {"names": ["text", "label"]},
        ("no header: columns text, label",),
    ),
    (
        "keys",
        "t.jsonl",
        "".join(json.dumps({"plot": text, "mood": label}) + "\n" for text, label in FILMS) + "\n",
        {"label": "mood", "text": "plot"},
        (),
    ),
    (
        "usual keys",
        "t.jsonl",
        "".join(json.dumps({"review": text, "label": label}) + "\n" for text, label in FILMS),
        {},
        ("texts from the key 'review'",),
    ),
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
        "tsv with names": seed(
            "text", "x.tsv", b"sentence\tlabel\n" + tsv, is_text=True, file="x.tsv", **UNDIVIDED
        ),
        "tsv in UTF-16": seed(
            "text",
            "x.tsv",
            tsv.decode().encode("utf-16-le"),
            is_text=True,
            **{"file": "x.tsv", "encoding": "utf-16-le", **UNDIVIDED},
        ),
        "texts in csv": seed(
            "text",
            "x.csv",
            b'review;mood;part\n"a; b ""c""";x;train\nd;y;test\n' + b"e;x;val\n" * 5,
            is_text=True,
            file="x.csv",
            label="mood",
            delimiter=";",
            split_column="part",
        ),
        "jsonl with keys": seed(
            "text",
            "x.jsonl",
            jsonl.replace(b"label", b"mood"),
            is_text=True,
            **{"file": "*.jsonl", "label": "mood", **UNDIVIDED},
        ),
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


# ---- texts beyond all measure

LONG = 1 << 20
REFUSED += [
    (name, {"t.jsonl": content + b"\n"}, {"file": "t.jsonl"} | UNDIVIDED, f"/t.jsonl:1: {message}")
    for name, content, message in [
        (
            "long number",
            b'{"label": ' + b"9" * LONG + b', "text": "x"}',
            'expected one JSON object, got \'{"label": 999',
        ),
        (
            "depth",
            b'{"label": 1, "text": ' + b"[" * LONG,
            "expected one JSON object, got ",
        ),
        (
            "code",
            json.dumps({"py/object": "os.system", "text": "x"}).encode(),
            "expected a JSON object with the key 'label'",
        ),
    ]
]


@pytest.mark.parametrize(
    ("file", "content", "options", "notes"),
    [pytest.param(*case, id=case_id) for case_id, *case in READ],
)
def test_columns_of_texts(tmp_path, file, content, options, notes):
    fill(tmp_path, {file: content.encode()})
    source = load("train", "text", tmp_path, **TEXT | {"file": file} | options)
    batch = read(source)
    texts = [text.decode() for text in batch["inputs"]]
    labels = [source.class_names[label] for label in batch["targets"]]
    assert list(zip(texts, labels, strict=True)) == FILMS
    assert source.notes == notes


def test_a_label_that_stands_alone_may_be_a_label(tmp_path):
    fill(tmp_path, {"t.txt": f"mood\tplot\n{TSV}".encode()})
    named = load("train", "text", tmp_path, **TEXT, header=True)
    assert named.class_names == ("neg", "pos")
    assert named.notes == ("labels from the column 'mood'", "texts from the column 'plot'")
    unnamed = load("train", "text", tmp_path, **TEXT, header=False)
    assert unnamed.class_names == ("mood", "neg", "pos")


def test_texts_are_in_one_form_of_unicode(tmp_path):
    """So an accent is one character, and the same text typed otherwise stays in its split."""
    forms = [unicodedata.normalize(form, "né") for form in ("NFC", "NFD")]
    lines = [f"{form} \tcafé {i}\n" for form in forms for i in range(20)]
    fill(tmp_path, {"t.txt": "".join(lines).encode()})
    options = {"file": "t.txt", "test": 0.3}
    sources = {split: load(split, "text", tmp_path, **options) for split in ("train", "test")}
    for source in sources.values():
        assert source.class_names == ("né",)
        texts = [text.decode() for text in read(source)["inputs"]]
        assert all(texts.count(text) == 2 for text in texts)


def test_encodings_and_splits_of_texts(tmp_path):
    rows = "".join(f"글 {i},{'xy'[i % 2]},{('train', 'valid', 'test')[i % 3]}\n" for i in range(9))
    fill(tmp_path, {"t.csv": f"본문,분류,부분\n{rows}".encode("cp949")})
    options = {"file": "t.csv", "encoding": "cp949", "text": "본문", "label": "분류"}
    source = load("test", "text", tmp_path, **options, split_column="부분")
    assert [text.decode() for text in read(source)["inputs"]] == ["글 2", "글 5", "글 8"]
    assert source.class_names == ("x", "y")


def test_several_files_of_texts(tmp_path):
    lines = TSV.splitlines(keepends=True)
    files = {"a.tsv": lines[:9], "b.tsv": lines[9:]}
    fill(tmp_path, {name: "".join(part).encode() for name, part in files.items()})
    source = load("train", "text", tmp_path, **TEXT | {"file": "*.tsv"})
    assert len(source) == 20
    assert source.notes == ("2 files put together: a.tsv 9, b.tsv 11",)
    assert source.locate(19) == f"{tmp_path}/b.tsv:11"
