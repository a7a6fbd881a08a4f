"""Pictures with a table of file names and labels: every kind of target, by hand."""

import json

import numpy as np
import pytest
import small_files as files
from loading import UNDIVIDED, divided, fill, load, read, refused, seed
from pydantic import ValidationError

from data_loader import SPLITS

NAME = "image_table"
PNG, JPEG = files.png(), files.jpeg()
FOUR = {f"images/{number}.jpg": JPEG for number in range(4)}


def table(*lines: str) -> bytes:
    return "\n".join([*lines, ""]).encode()


def example(folder) -> dict:
    fill(folder, {f"images/{number:02}.png": files.png(4 + number, 5) for number in range(30)})
    rows = [f"{number:02},{'ab'[number % 2]},{number / 2}" for number in range(30)]
    (folder / "labels.csv").write_bytes(table("id,kind,age", *rows))
    return {"file": "labels.csv", "target": "kind"}


def seeds() -> dict:
    beside = {f"images/{name}": PNG for name in ("1.png", "2.png", "3.png")}
    data = table("id,label,x", '1,a,"1.5"', "2,b,2", "3,b,3")
    lines = [{"id": str(n), "label": label} for n, label in ((1, "a"), (2, "b"), (3, "b"))]
    options = {"is_text": True, "beside": beside, **UNDIVIDED}
    return {
        "image table csv": seed(NAME, "t.csv", data, file="t.csv", target="label", **options),
        "image table jsonl": seed(
            NAME, "t.jsonl", table(*map(json.dumps, lines)), file="t.jsonl", **options
        ),
    }


CSV = {"file": "t.csv", **UNDIVIDED}
REFUSED = [  # (id, files, options, what the message begins with, below the directory)
    ("no table", FOUR, CSV, "/t.csv: "),
    ("no images", {"t.csv": table("id,y", "0,a")}, CSV, ": expected image files ("),
    (
        "missing images",
        FOUR | {"t.csv": table("id,y", "0,a", *(f"{number},b" for number in range(3, 20)))},
        CSV,
        "/t.csv: 16 of 18 images of column 'id' are not in ",
    ),
    (
        "one image twice",
        FOUR | {"t.csv": table("id,y", "0,a", "1,b", "0.jpg,b")},
        CSV,
        "/t.csv:4: id: expected one row an image, got images/0.jpg in ",
    ),
    (
        "a name of two images",
        FOUR | {"b/1.jpg": JPEG, "t.csv": table("id,y", "0,a", "1,b")},
        CSV,
        "/t.csv:3: id: '1' may be any of b/1.jpg, images/1.jpg; say more, "
        "or their directory: `images`",
    ),
    (
        "numbers as classes",
        {f"{number}.jpg": JPEG for number in range(30)}
        | {"t.csv": table("id,y", *(f"{number},{number}.5" for number in range(30)))},
        CSV,
        "/t.csv: 30 different targets in 30 examples ('0.5', '1.5', '10.5', ...): "
        "expected classes; numbers? `targets: numbers`",
    ),
    (
        "an empty label",
        FOUR | {"t.csv": table("id,y", "0,a", "1,")},
        CSV,
        "/t.csv:3: y: expected the name of a class, got an empty cell",
    ),
    (
        "two classes of one image",
        FOUR | {"t.csv": table("id,a,b", "0,1,0", "1,1,1")},
        CSV,
        "/t.csv:3: expected 1 in one of the columns a, b, got it in 2; several? `targets: labels`",
    ),
    (
        "text among 0 and 1",
        FOUR | {"t.csv": table("id,a,b", "0,1,0", "1,1,maybe")},
        CSV | {"targets": "labels"},
        "/t.csv:3: b: expected 0 or 1, got 'maybe'; see the option `target`",
    ),
    (
        "points with y first",
        FOUR | {"t.csv": table("id,y1,x1", "0,1,2")},
        CSV | {"targets": "points"},
        "/t.csv: expected columns x, y, x, y, ... of points, such as x1, y1, got y1, x1; "
        "give `target` in this order",
    ),
    (
        "a mask that is missing",
        FOUR | {"m/0.png": PNG, "t.csv": table("id", "0", "1")},
        CSV | {"targets": "mask", "masks": "m", "images": "images", "class_names": ["no", "yes"]},
        "/m: expected one mask called as each image, got none or several for 1 of 2: 1.jpg",
    ),
    (
        "a split of another name",
        FOUR | {"t.csv": table("id,y,s", "0,a,train", "1,b,fold 2")},
        CSV | {"target": "y", "split_column": "s"},
        "/t.csv:3: s: expected train, valid or test, got 'fold 2'",
    ),
]


@pytest.mark.parametrize(
    ("text", "options", "class_names", "targets"),
    [
        (["id,y", "0,b", "1,a", "2,b", "3,b"], {}, ("a", "b"), [1, 0, 1, 1]),
        (["id,a,b", "0,0,1", "1,1,0", "2,0,1", "3,0,1.0"], {}, ("a", "b"), [1, 0, 1, 1]),
        (["y,f", "b,images/0.jpg", "a,1", "b,./2.jpg"], {"target": "y"}, ("a", "b"), [1, 0, 1]),
        (["f,y", r"images\1.jpg,b", "/old/images/0.jpg,a"], {}, ("a", "b"), [1, 0]),
        (
            ["id,y", "0,red hat|car", "1,", "2,car"],
            {"targets": "labels"},
            (),
            [[1, 1], [0, 0], [1, 0]],
        ),
        (["id,y", "0,sea sun", "1,sun"], {"targets": "labels"}, (), [[1, 1], [0, 1]]),
        (["id,y,z", "0,1,0", "1,1,1"], {"targets": "labels"}, (), [[1, 0], [1, 1]]),
        (["id,y", "0,1.5", "1,-2"], {"targets": "numbers"}, (), [1.5, -2]),
        (["id,w,h", "0,1.5,2", "1,-2,0"], {"targets": "numbers"}, (), [[1.5, 2], [-2, 0]]),
        (
            ["id,eye_x,eye_y,x2,y2", "0,1.5,2,3,4", "1,,,7,8"],
            {"targets": "points"},
            (),
            [[[1.5, 2, 1], [3, 4, 1]], [[0, 0, 0], [7, 8, 1]]],
        ),
    ],
)
def test_every_kind_of_target_by_hand(tmp_path, text, options, class_names, targets):
    folder = fill(tmp_path / "set", FOUR | {"t.csv": table(*text)})
    if "/old/images/0.jpg" in text[2]:
        options = options | {"images": "images"}
    source = load("train", NAME, folder, **CSV, **options)
    found = read(source)["targets"]
    assert source.class_names == class_names
    assert found.tolist() == targets
    assert found.dtype == (np.int64 if class_names else np.float32)
    assert (source.labels is None) == (not class_names)


def test_what_is_said_of_a_table(tmp_path):
    text = table("id,y,u", "0,sea|sun,1", "1,sun,2")
    folder = fill(tmp_path, FOUR | {"t.csv": text, "a.webp": b"", "notes.txt": b""})
    source = load("train", NAME, folder, **CSV, targets="labels", target="y")
    assert source.columns == {"targets": ["sea", "sun"]}
    assert source.notes == (
        "1 file left out: 1 .webp; convert them to JPEG or PNG to use them",
        "2 files left out, no images: 1 .csv, 1 .txt",
        "images without a row left out: 2",
        "file names: column 'id'",
        "labels of 'y' separated by '|'",
    )


def test_json_lines(tmp_path):
    lines = [{"file": "0.jpg", "tags": ["a b", "c"], "n": 1}, {"file": "1", "tags": [], "n": 2.5}]
    folder = fill(tmp_path, FOUR | {"t.jsonl": table(*map(json.dumps, lines))})
    options = {"file": "t.jsonl", **UNDIVIDED}
    labels = load("train", NAME, folder, **options, targets="labels", target="tags")
    assert read(labels)["targets"].tolist() == [[1, 1], [0, 0]]
    numbers = load("train", NAME, folder, **options, targets="numbers", target="n")
    assert read(numbers)["targets"].tolist() == [1, 2.5]


def test_masks_stay_encoded(tmp_path):
    masks = {f"masks/{number}.png": files.png(number + 1, 2) for number in range(4)}
    named = table("id,m", "2,0.png", "1,3.png")
    folder = fill(tmp_path, FOUR | masks | {"t.csv": named})
    options = CSV | {"targets": "mask", "masks": "masks", "images": "images"}
    options["class_names"] = ["sky", "sea"]
    source = load("train", NAME, folder, **options, ignore=["m"])
    assert read(source)["targets"].tolist() == [masks["masks/2.png"], masks["masks/1.png"]]
    source = load("train", NAME, folder, **options, target="m")
    assert read(source)["targets"].tolist() == [masks["masks/0.png"], masks["masks/3.png"]]
    assert source.class_names == ("sky", "sea") and source.labels is None
    (folder / "masks/3.png").write_bytes(b"")
    refused(lambda: read(source), f"{folder}/masks/3.png: expected an image, got an empty")


def test_a_table_is_divided_by_the_names_of_the_files(tmp_path):
    options = example(tmp_path) | {"valid": 0.2, "test": 0.2}
    found = divided(NAME, tmp_path, **options)
    assert {split: len(places) for split, places in found.items()} == {
        "train": 18,
        "valid": 6,
        "test": 6,
    }
    lines = (tmp_path / "labels.csv").read_text().splitlines()
    (tmp_path / "labels.csv").write_text("\n".join([lines[0], *sorted(lines[1:], reverse=True)]))
    again = divided(NAME, tmp_path, **options)
    assert {split: set(places) for split, places in again.items()} == {
        split: set(places) for split, places in found.items()
    }
    grouped = divided(NAME, tmp_path, **options, group_in_name=r"(\d)\.png")
    digits = [{place[-5] for place in grouped[split]} for split in SPLITS]
    assert sum(map(len, digits)) == 10


def test_a_column_says_the_split(tmp_path):
    rows = ["0,a,train", "1,b,Train", "2,a,TEST", "3,b,train"]
    folder = fill(tmp_path, FOUR | {"t.csv": table("id,y,part", *rows)})
    options = {"file": "t.csv", "target": "y", "split_column": "part"}
    whole = {"valid": 0.0, **options}
    assert read(load("train", NAME, folder, **whole))["targets"].tolist() == [0, 1, 1]
    assert load("test", NAME, folder, **whole).locate(0) == f"{folder}/images/2.jpg"
    held_out = load("valid", NAME, folder, valid=0.5, **options)
    assert "no split 'valid': 50% of 'train' held out for it, by hash" in held_out.notes


def test_options_that_do_not_fit():
    for options in ({"targets": "mask"}, {"class_names": ["a", "b"]}):
        with pytest.raises(ValidationError, match="class_names: expected with `targets: mask`"):
            files.dataset(NAME, file="t.csv", **options)
