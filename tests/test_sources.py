"""Every data set: hand-made files of its format, what is read from them, where it says it is, and how it is divided."""

import gzip
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pydantic import TypeAdapter
from small_files import idx

import data_loader
import train_config
from cli.program import DataError
from engine.stateless import fold
from preprocess_data import apply_ops, measured
from sources import texts as text_sets
from sources.source import SPLITS
from train_config import Data


def load(split, name, directory=None, **options):
    config = TypeAdapter(train_config.DatasetConfig).validate_python({"name": name, **options})
    return data_loader.load(config, split, None if directory is None else str(directory))


def read(source, indices=None) -> dict:
    """{feature: array} of some examples or of all."""
    indices = np.arange(len(source)) if indices is None else np.array(indices)
    found = source.read(tf.constant(indices, tf.int64))
    assert all(len(value) == len(indices) for value in found.values())
    return {key: value.numpy() for key, value in found.items()}


def divided(name, directory=None, splits=SPLITS, **options) -> dict:
    """{split: [place of each example]}; asserts that the same call gives the same, that no place is in two splits."""
    sources = {split: load(split, name, directory, **options) for split in splits}
    found = {
        split: [source.locate(i) for i in range(len(source))] for split, source in sources.items()
    }
    again = {split: load(split, name, directory, **options) for split in splits}
    assert [source.fingerprint for source in sources.values()] == [
        source.fingerprint for source in again.values()
    ]
    assert len({source.fingerprint for source in sources.values()}) == len(splits)
    assert found == {
        split: [source.locate(i) for i in range(len(source))] for split, source in again.items()
    }
    everywhere = [place for places in found.values() for place in places]
    assert len(set(everywhere)) == len(everywhere)
    assert len({source.class_names for source in sources.values()}) == 1
    return found


def lines(places) -> list[int]:
    return [int(place.rsplit(":", 1)[1]) for place in places]


# ----------------------------------------------------------------------------------------------------- official digits


@pytest.mark.parametrize(
    ("name", "first_class"), [("mnist", "0"), ("fashion_mnist", "T-shirt/top")]
)
def test_digits_and_clothes_are_read_from_their_directory(tmp_path, name, first_class):
    for prefix, start in (("train", 0), ("t10k", 100)):
        images = start + np.arange(3)[:, np.newaxis, np.newaxis] + np.zeros((3, 28, 28))
        images[:, 0, 27] = 9  # first row, last column
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(idx(np.array([7, 0, 9])))
        )
    for split, start in (
        ("train", 0),
        ("valid", 100),
        ("test", 100),
    ):  # the official test set is both
        source = load(split, name, tmp_path)
        found = read(source, [2, 0])
        assert found["inputs"].shape == (2, 28, 28, 1) and found["inputs"].dtype == np.uint8
        assert (
            found["inputs"][:, 1, 1, 0].tolist() == [start + 2, start]
            and (found["inputs"][:, 0, 27] == 9).all()
        )
        assert found["targets"].tolist() == [9, 7] and source.labels.tolist() == [7, 0, 9]
        assert source.class_names[0] == first_class and len(source.class_names) == 10
    assert source.locate(2) == f"{tmp_path}/t10k-images-idx3-ubyte: record 2"


def test_the_bundled_digits_are_4000_and_1000_of_every_class():
    for split, count in (("train", 4000), ("valid", 1000)):
        source = load(split, "mnist_sample")
        assert len(source) == count and np.bincount(source.labels).min() > 0.08 * count


# ------------------------------------------------------------------------------------------------------------- pixels


def planes(*values) -> bytes:
    """One record's pixels: each plane counts 0, 1, 2 along a row of 32 and is set apart by its value."""
    return b"".join(bytes([value]) + bytes(range(1, 32)) + bytes([value]) * 992 for value in values)


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-bin"])
def test_cifar10_by_hand(tmp_path, inner):
    folder = tmp_path / inner
    folder.mkdir(exist_ok=True)
    for number in range(1, 6):
        (folder / f"data_batch_{number}.bin").write_bytes(
            bytes([number]) + planes(10, 20, 30) + bytes([9]) + planes(number, 50, 60)
        )
    (folder / "test_batch.bin").write_bytes(bytes([2]) + planes(7, 8, 9))
    (folder / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n\n")
    source = load("train", "cifar10", tmp_path)
    found = read(source, [0, 7])
    assert (
        len(source) == 10
        and found["targets"].tolist() == [1, 9]
        and found["inputs"].shape == (2, 32, 32, 3)
    )
    assert found["inputs"][0, 0, 0].tolist() == [10, 20, 30]  # red, green, blue
    assert found["inputs"][0, 0, 5].tolist() == [5, 5, 5]  # along the row
    assert found["inputs"][1, 31, 31].tolist() == [4, 50, 60]
    assert source.locate(7) == f"{folder}/data_batch_4.bin: record 1"
    assert source.class_names == tuple("abcdefghij")
    assert (
        read(load("valid", "cifar10", tmp_path))["targets"].tolist()
        == read(load("test", "cifar10", tmp_path))["targets"].tolist()
        == [2]
    )


def test_cifar100_has_two_labels(tmp_path):
    (tmp_path / "train.bin").write_bytes(
        bytes([3, 99]) + planes(10, 20, 30) + bytes([19, 0]) + planes(1, 2, 3)
    )
    for labels, targets, classes in (("fine", [99, 0], 100), ("coarse", [3, 19], 20)):
        source = load("train", "cifar100", tmp_path, labels=labels)
        found = read(source)
        assert found["targets"].tolist() == targets and len(source.class_names) == classes
        assert found["inputs"][:, 0, 0].tolist() == [[10, 20, 30], [1, 2, 3]]
    (tmp_path / "coarse_label_names.txt").write_text("\n".join(f"kind_{i}" for i in range(20)))
    assert load("train", "cifar100", tmp_path, labels="coarse").class_names[19] == "kind_19"


def test_fake_examples_share_a_pattern_for_each_class_in_all_splits():
    train, valid = (
        load(split, "fake", shape=[4, 5], num_classes=3, size=300) for split in ("train", "valid")
    )
    assert train.fingerprint != valid.fingerprint and train.class_names == (
        "class 0",
        "class 1",
        "class 2",
    )
    means = []
    for source in (train, valid):
        found = read(source)
        assert found["inputs"].shape == (300, 4, 5) and set(found["targets"]) == {0, 1, 2}
        means.append(
            [found["inputs"][found["targets"] == label].mean(axis=0) for label in range(3)]
        )
    distance = abs(np.array(means[0])[:, np.newaxis] - np.array(means[1])[np.newaxis]).mean((2, 3))
    assert np.diag(distance).max() < 8 < 20 < (distance + 1000 * np.eye(3)).min()


# -------------------------------------------------------------------------------------------------------- image folder


def put_image(path, color=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), (color, 0, 0)).save(path)


def test_a_folder_of_images_in_one_piece_is_divided_class_by_class(tmp_path):
    for number in range(40):
        put_image(tmp_path / "cat" / f"{number}.png", number)
        put_image(tmp_path / "dog" / "deep" / "er" / f"{number}.JPG", number)
    for hidden in ("cat/.hidden.png", ".git/x.png", "cat/.thumbs/y.png"):
        put_image(tmp_path / hidden)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    found = divided("image_folder", tmp_path, valid=0.1, test=0.2)
    for split, share in (("train", 28), ("valid", 4), ("test", 8)):
        kinds = [place.removeprefix(f"{tmp_path}/").split("/")[0] for place in found[split]]
        assert kinds.count("cat") == kinds.count("dog") == share and len(kinds) == 2 * share
    assert {str(path) for path in tmp_path.glob("cat/[0-9]*")} <= {
        place for places in found.values() for place in places
    }
    train = load("train", "image_folder", tmp_path, valid=0.1, test=0.2)
    batch = read(train, [3, 40])
    assert (
        train.class_names == ("cat", "dog")
        and batch["targets"].tolist() == [0, 1] == train.labels[[3, 40]].tolist()
    )
    assert batch["image_size"].tolist() == [[4, 6]] * 2 and batch["orientation"].tolist() == [1, 1]
    for row, index in enumerate((3, 40)):
        with open(train.locate(index), "rb") as file:
            assert batch["inputs"][row] == file.read()
    for number in range(40, 60):  # a class that grows does not move the pictures of another
        put_image(tmp_path / "dog" / f"{number}.png", number)
    cats = {
        split: [place for place in places if "/cat/" in place] for split, places in found.items()
    }
    grown = divided("image_folder", tmp_path, valid=0.1, test=0.2)
    assert {
        split: [place for place in places if "/cat/" in place] for split, places in grown.items()
    } == cats


def test_a_folder_of_images_that_is_divided_keeps_its_division(tmp_path):
    for folder, count in (("training", 3), ("val", 2)):
        for number in range(count):
            put_image(tmp_path / folder / "b" / f"{number}.png")
            put_image(tmp_path / folder / "a" / f"{number}.bmp")
    found = divided("image_folder", tmp_path, splits=("train", "valid"))
    assert {split: len(places) for split, places in found.items()} == {"train": 6, "valid": 4}
    assert all(place.startswith(f"{tmp_path}/val/") for place in found["valid"])
    with pytest.raises(DataError, match="no split 'test'; it has train, valid"):
        load("test", "image_folder", tmp_path)
    put_image(tmp_path / "test" / "c" / "0.png")
    with pytest.raises(
        DataError, match="test/c: a class that training does not have; expected one of a, b"
    ):
        load("test", "image_folder", tmp_path)


def test_files_of_one_group_stay_in_one_split(tmp_path):
    for patient in range(60):
        for number in range(3):
            put_image(tmp_path / "ab"[number % 2] / f"patient{patient}-{number}.png")
    found = divided("image_folder", tmp_path, group=r"patient(\d+)-", valid=0.2, test=0.2)
    groups = {
        split: {place.split("patient")[1].split("-")[0] for place in places}
        for split, places in found.items()
    }
    assert sum(map(len, groups.values())) == 60 and all(
        len(found[split]) == 3 * len(groups[split]) for split in SPLITS
    )
    with pytest.raises(DataError, match=r"expected the regex 'x\(\.\)' to find its first group"):
        load("train", "image_folder", tmp_path, group="x(.)")


# -------------------------------------------------------------------------------------------------------------- tables


def test_npz_in_one_piece_is_divided_class_by_class(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(200).reshape(100, 2), y=np.repeat([0, 1], [80, 20]))
    found = divided("npz", tmp_path, file="a.npz", valid=0.1, test=0.1)
    for split, counts in (("train", [64, 16]), ("valid", [8, 2]), ("test", [8, 2])):
        source = load(split, "npz", tmp_path, file="a.npz", valid=0.1, test=0.1)
        batch, rows = read(source), [int(place.rsplit(" ", 1)[1]) for place in found[split]]
        assert np.bincount(batch["targets"]).tolist() == counts
        assert (
            batch["inputs"].tolist() == [[2 * row, 2 * row + 1] for row in rows]
            and batch["inputs"].dtype == np.float32
        )
        assert batch["targets"].tolist() == [int(row >= 80) for row in rows]
    assert source.class_names == ("0", "1") and found["train"][0].startswith(
        f"{tmp_path}/a.npz: row "
    )


def test_npz_that_is_divided_and_holds_numbers(tmp_path):
    arrays = {
        "x_train": np.uint8([[7], [8]]),
        "y_train": [[0.5], [2]],
        "x_test": np.uint8([[9]]),
        "y_test": [[3.0]],
    }
    np.savez(tmp_path / "a.npz", **arrays)
    train = load("train", "npz", tmp_path, file="a.npz", targets="numbers")
    found = read(train)
    assert (
        found["inputs"].tolist() == [[7], [8]] and found["inputs"].dtype == np.uint8
    )  # bytes stay bytes
    assert (
        found["targets"].tolist() == [[0.5], [2]]
        and train.class_names == ()
        and train.locate(1) == f"{tmp_path}/a.npz: row 1"
    )
    assert read(load("test", "npz", tmp_path, file="a.npz", targets="numbers"))[
        "targets"
    ].tolist() == [[3]]
    with pytest.raises(DataError, match="expected the arrays x_valid and y_valid, or x and y"):
        load("valid", "npz", tmp_path, file="a.npz", targets="numbers")
    np.savez(tmp_path / "b.npz", x=np.zeros((4, 3)), y=[[0], [1], [2], [1]])  # a column of classes
    named = load(
        "train", "npz", tmp_path, file="b.npz", valid=0, test=0, class_names=["x", "y", "z"]
    )
    assert named.class_names == ("x", "y", "z") and named.labels.tolist() == [0, 1, 2, 1]


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
        split: np.array(lines(places)) - 2
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
    assert source.class_names == () and lines(source.locate(i) for i in range(2)) == [2, 4]


def test_windows_of_a_series_at_the_borders_of_the_splits(tmp_path):
    """20 rows: 12 to train, 4 to validate, 4 to test on; windows of 3 steps and 2 to be forecast."""
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


# --------------------------------------------------------------------------------------------------------------- texts


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
    assert sorted(line for places in found.values() for line in lines(places)) == list(
        range(1, 201)
    )
    for split, places in found.items():
        source = load(split, "text", tmp_path, file=file)
        batch = read(source)
        expected = [made[line - 1] for line in lines(places)]
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
        split: {(line - 1) % 25 for line in lines(places)} for split, places in found.items()
    }
    assert sum(map(len, authors.values())) == 25 and sum(map(len, found.values())) == 100
    assert load("train", "text", tmp_path, file="t.jsonl").class_names == ("0", "1")


def test_tagged_sentences_of_different_lengths(tmp_path):
    (tmp_path / "t.txt").write_text(
        "-DOCSTART- -X- O\n\nEU NNP B\nrejects VB O\ncall NN O\n\n\nPeter NNP B\n\nA DT O\nB NN C\n"
    )
    options = {"file": "t.txt", "valid": 0, "test": 0}
    source = load("train", "tagging", tmp_path, **options)
    assert source.class_names == ("B", "C", "O") and lines(source.locate(i) for i in range(3)) == [
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
        split: {(line - 1) // 3 % 50 for line in lines(places)} for split, places in found.items()
    }
    assert sum(map(len, numbers.values())) == 50 and sum(map(len, found.values())) == 100


def test_pairs_of_texts(tmp_path):
    put_lines(tmp_path / "t.tsv", [f"quelle {i % 50}\tziel {i}" for i in range(100)])
    found = divided("parallel", tmp_path, file="t.tsv", valid=0.2, test=0.2)
    for split, places in found.items():
        batch = read(load(split, "parallel", tmp_path, file="t.tsv", valid=0.2, test=0.2))
        assert [text.decode() for text in batch["inputs"]] == [
            f"quelle {(line - 1) % 50}" for line in lines(places)
        ]
        assert [text.decode() for text in batch["targets"]] == [
            f"ziel {line - 1}" for line in lines(places)
        ]
    sources = {
        split: {(line - 1) % 50 for line in lines(places)} for split, places in found.items()
    }
    assert sum(map(len, sources.values())) == 50 and sum(map(len, found.values())) == 100


# ------------------------------------------------------------------------------------------------ pronouncing dictionary


def test_the_bundled_dictionary_is_divided_by_headword():
    """135,166 entries; `record` is a noun, a verb and more: all variants in one split."""
    heads, counts = {}, {}
    for split in SPLITS:
        batch = read(load(split, "cmudict", task="g2p"))
        heads[split], counts[split] = set(batch["inputs"]), len(batch["inputs"])
        assert not any(b"(" in head for head in heads[split])
    assert sum(counts.values()) == 135_166 and sum(map(len, heads.values())) == len(
        set.union(*heads.values())
    )
    np.testing.assert_allclose(
        [counts["valid"] / 135_166, counts["test"] / 135_166], 0.05, atol=0.004
    )


@pytest.fixture
def dictionary(tmp_path, monkeypatch):
    monkeypatch.setattr(text_sets, "BUNDLED", tmp_path)
    (tmp_path / "cmudict").mkdir()
    text = "aalborg AO1 L B AO0 R G # place, danish\naalborg(2) AA1 L B AO0 R G\nabstract AE0 B S T R AE1 K T\nhm HH M\n"
    (tmp_path / "cmudict" / "cmudict.dict.gz").write_bytes(gzip.compress(text.encode()))


@pytest.mark.parametrize(
    ("task", "inputs", "targets", "classes"),
    [
        ("syllables", ["aalborg", "aalborg", "abstract", "hm"], [2, 2, 2, 0], ("0", "1", "2")),
        ("g2p", ["aalborg", "aalborg", "abstract", "hm"], ["AO L B AO R G", "AA L B AO R G", "AE B S T R AE K T", "HH M"], ()),
        ("stress", ["AO L B AO R G", "AA L B AO R G", "AE B S T R AE K T", "HH M"], ["200100", "200100", "10000200", "00"],
         ("-", "0", "1", "2")),
    ],
)  # fmt: skip
def test_the_dictionary_by_hand(dictionary, task, inputs, targets, classes):
    source = load("train", "cmudict", task=task, valid=0, test=0)
    found = read(source)
    assert [text.decode() for text in found["inputs"]] == inputs and source.class_names == classes
    assert lines(source.locate(i) for i in range(4)) == [1, 2, 3, 4]
    if task == "stress":
        assert ["".join(map(str, row)) for row in found["targets"]] == [
            row.ljust(8, "0") for row in targets
        ]
        assert found["sample_weight"].sum(axis=1).tolist() == [6, 6, 8, 2]
    else:
        assert [
            target.decode() if task == "g2p" else target for target in found["targets"]
        ] == targets


def test_the_first_pronunciation_alone(dictionary):
    source = load("train", "cmudict", task="g2p", variants=False, valid=0, test=0)
    assert [text.decode() for text in read(source)["targets"]] == [
        "AO L B AO R G",
        "AE B S T R AE K T",
        "HH M",
    ]
    assert lines(source.locate(i) for i in range(3)) == [1, 3, 4]


# ------------------------------------------------------------------------------------------------- tensorflow-datasets


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A set of tensorflow-datasets: 12 pictures to train on, whose pixels, label, number and text tell which they are; 3 to test."""
    tfds = pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("array_record")
    folder, features = tmp_path_factory.mktemp("tfds"), tfds.features
    described = {
        "image": features.Image(shape=(4, 5, 3)),
        "label": features.ClassLabel(names=["a", "b", "c"]),
        "text": features.Text(),
    }

    def examples(numbers):
        for i in numbers:
            yield (
                i,
                {
                    "image": np.full((4, 5, 3), i, np.uint8),
                    "label": i % 3,
                    "text": f"nümber {i}",
                    "number": i + 0.5,
                },
            )

    tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny", version="1.0.0", features=features.FeaturesDict(described | {"number": np.float32}), file_format="array_record",
        split_datasets={"train": examples(range(12)), "test": examples(range(100, 103))}, data_dir=str(folder),
    )  # fmt: skip
    return folder


def test_a_set_of_tensorflow_datasets(prepared):
    train, valid, test = (load(split, "tfds", prepared, dataset="tiny") for split in SPLITS)
    assert [len(train), len(valid), len(test)] == [12, 3, 3] and train.class_names == (
        "a",
        "b",
        "c",
    )
    assert (
        train.fingerprint != valid.fingerprint == test.fingerprint
    )  # the official test set is both
    assert (
        train.locate(4) == "tiny/1.0.0 train: example 4"
        and valid.locate(2) == "tiny/1.0.0 test: example 2"
    )
    for source, numbers in ((train, range(12)), (valid, range(100, 103))):
        found = read(source)
        stored = [
            int(tf.io.decode_image(image)[3, 4, 2]) for image in found["inputs"]
        ]  # still encoded
        assert sorted(stored) == list(numbers) and found["targets"].tolist() == [
            i % 3 for i in stored
        ]
    again = read(train, [5, 5, 0])
    assert (
        again["inputs"][0] == again["inputs"][1] == read(train)["inputs"][5] != again["inputs"][2]
    )


def test_features_of_tensorflow_datasets_by_name_and_its_splits_in_its_words(prepared):
    options = {"dataset": "tiny:1.0.0", "splits": {"train": "train[:75%]", "valid": "train[75%:]"}}
    for inputs, of in (
        ("number", lambda value: int(value - 0.5)),
        ("text", lambda value: int(value.decode().removeprefix("nümber "))),
    ):
        sources = [
            load(split, "tfds", prepared, inputs=inputs, **options) for split in ("train", "valid")
        ]
        assert sources[0].fingerprint != sources[1].fingerprint and [
            len(source) for source in sources
        ] == [9, 3]
        found = [
            tf.function(source.read)(tf.range(len(source), dtype=tf.int64)) for source in sources
        ]
        values = [of(value) for batch in found for value in batch["inputs"].numpy()]
        assert (
            sorted(values) == list(range(12))
            and [i % 3 for i in values]
            == np.concatenate([batch["targets"] for batch in found]).tolist()
        )
    with pytest.raises(DataError, match=r"tiny:1\.0\.0: no split 'test'; it has train, valid"):
        load("test", "tfds", prepared, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "nothing"}, "nothing: Dataset nothing not found"),
        ({"inputs": "x"}, "tiny: no feature 'x'; it has"),
        ({"targets": "number"}, "tiny: targets: expected class labels, got 'number'"),
        ({"splits": {"train": "no"}}, "tiny: Unknown split 'no'"),
    ],
)
def test_what_tensorflow_datasets_do_not_have(prepared, options, message):
    with pytest.raises(DataError, match=message):
        load("train", "tfds", prepared, **{"dataset": "tiny", **options})
