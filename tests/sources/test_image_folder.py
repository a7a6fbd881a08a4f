"""Folders of image files: divided, read, and refused or skipped where an image is damaged."""

import functools
import os
import resource
import struct
import zlib

import numpy as np
import pytest
import small_files as files
import tensorflow as tf
from loading import (
    UNDIVIDED,
    Fault,
    Seed,
    decode_ops,
    divided,
    failures_of_examples,
    fill,
    load,
    one_pass,
    read,
    refused,
    with_byte,
)
from operations import encoded
from PIL import Image
from places import TINY
from pydantic import ValidationError

from cli.program import DataError
from data_loader import SPLITS
from preprocess_data import apply_ops

PNG, JPEG = files.png(), files.jpeg()
SHAPES = "expected 1 to 50,000,000 pixels (max_pixels), got 50000x50000"
FRAME = JPEG.index(b"\xff\xc0")
TWO_CHANNELS = JPEG[: FRAME + 9] + b"\2" + JPEG[FRAME + 10 :]
INDEXED = encoded(Image.new("P", (6, 4)), "BMP")
FRAMES = [np.full((2, 2), 1), np.full((2, 2), 3)]
BOMBS = {"png": PNG, "jpg": JPEG, "gif": files.gif(FRAMES), "bmp": files.bmp()}
REFUSED = [  # (id, files, options, what the message begins with, below the directory)
    ("no directory", None, {}, ": no such directory; expected one directory of images per class"),
    ("empty directory", {}, {}, ": expected one directory of images per class, got none"),
    (
        "no images",
        {"a/x.txt": b"?"},
        UNDIVIDED,
        ": expected image files (.bmp, .gif, .jfif, .jpe, .jpeg, .jpg, .png) in it, got none",
    ),
    (
        "a class that training lacks",
        {"train/a/1.png": PNG, "valid/a/1.png": PNG, "valid/b/1.png": PNG},
        {"split": "valid"},
        "/valid/b: a class that training does not have; expected one of a",
    ),
]


def example(folder) -> dict:
    for number in range(30):
        put_image(folder / "ab"[number % 2] / f"{number}.png", number)
    return {}


def seeds() -> dict[str, Seed]:
    noisy = np.random.default_rng(0).integers(0, 4, (9, 11))

    @functools.cache
    def decoder():
        ops = decode_ops()
        return tf.function(lambda features: apply_ops(features, tf.zeros([1], tf.uint64), ops, 1))

    def seed(kind, data, wrapped=bytes):
        def read_image(folder):
            decoder()(images(folder).read(tf.constant([0], tf.int64)))

        name = f"a/x.{kind}"
        return Seed(
            data, lambda folder, broken: fill(folder, {name: wrapped(broken)}) / name, read_image
        )

    return {
        "png": seed("png", PNG),
        "png with sound chunks": seed("png", PNG, with_sound_chunks),
        "jpg": seed("jpg", files.jpeg(40, 30)),
        "exif.jpg": seed("jpg", files.jpeg(exif=files.exif(6))),
        "gif": seed("gif", files.gif([noisy, noisy[::-1]])),
        "bmp": seed("bmp", files.bmp()),
        "bmp with a palette": seed("bmp", INDEXED),
        "cmyk.jpg": seed("jpg", encoded(Image.new("CMYK", (24, 16), (9, 99, 0, 50)), "JPEG")),
    }


def with_sound_chunks(data: bytes) -> bytes:
    """A PNG whose checksums are right again, so that its decoder looks further."""
    found, at = data[:8], 8
    while (
        at + 12 <= len(data)
        and (length := int.from_bytes(data[at : at + 4])) <= len(data) - at - 12
    ):
        body = data[at + 4 : at + 8 + length]
        found += struct.pack(">I", length) + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return found + data[at:]


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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_read(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    photograph = encoded(Image.new("RGB", (48, 32)), "JPEG", exif=exif)
    source = images(fill(tmp_path / "data", {"a/photograph.jpg": photograph}))
    assert read(source)["orientation"].tolist() == [orientation]


@pytest.mark.parametrize("marker", [True, False], ids=["Adobe", "no marker"])
def test_cmyk_is_inverted_with_and_without_the_marker_of_adobe(tmp_path, marker):
    """No ink but cyan 51: R = 255 - 51 = 204; as browsers show both."""
    data = encoded(Image.new("CMYK", (8, 8), (51, 0, 0, 0)), "JPEG", quality=100)
    at = data.index(b"\xff\xee")
    length = int.from_bytes(data[at + 2 : at + 4])
    assert data[at + 4 : at + 9] == b"Adobe"
    source = images(
        fill(
            tmp_path / "data", {"a/1.jpg": data if marker else data[:at] + data[at + 2 + length :]}
        )
    )
    features = apply_ops(source.read(np.array([0])), np.zeros(1, np.uint64), decode_ops(), 1)
    assert abs(features["inputs"].numpy().astype(int) - [204, 255, 255]).max() <= 2


# ---- what is a split, a class, an image; what is left out


def layout(folder, *places: str):
    """An image for each place below the folder, which are sound by their names alone."""
    return fill(folder / "set", dict.fromkeys(places, PNG))


def two_classes(*splits: str) -> list[str]:
    return [f"{split}/{name}/{n}.png" for split in splits for name in "ab" for n in range(4)]


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (["Training", "Testing"], ["train", "test"]),
        (["TRAIN", "VAL"], ["train", "valid"]),
        (["seg_train", "seg_test"], ["train", "test"]),
        (["train_images", "validation_set", "holdout"], ["train", "valid", "test"]),
        (["Train Data", "dev", "Hold-Out"], ["train", "valid", "test"]),
        (["train2017", "val2017"], ["train", "valid"]),
        (["train"], ["train"]),
    ],
)
def test_names_of_splits(tmp_path, folders, splits):
    folder = layout(tmp_path, *two_classes(*folders))
    for name, split in zip(folders, splits, strict=True):
        source = load(split, "image_folder", folder, valid=0)
        assert source.class_names == ("a", "b")
        assert {source.locate(index).split("/")[-3] for index in range(len(source))} == {name}


@pytest.mark.parametrize(
    ("places", "class_names"),
    [
        (["bus/1.png", "train/1.png"], ("bus", "train")),
        (["test_tube/1.png", "train_station/1.png"], ("test_tube", "train_station")),
        (["cat/a/1.png", "cat/b/1.png", "dog/1.png"], ("cat", "dog")),
        (["new/1.png", "e\u0301/1.png", "\u00e9/2.png"], ("new", "\u00e9")),
        ([*two_classes("train", "test"), "sample/1.png", "test_flat/1.png"], ("a", "b")),
    ],
)
def test_what_is_a_class(tmp_path, places, class_names):
    source = images(layout(tmp_path, *places))
    assert source.class_names == class_names


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (
            ["photos/a/1.png", "photos/b/1.png"],
            ": expected one directory of images per class, got only 'photos', which holds "
            "directories of images: a, b; one level deeper? data.dir={}/photos",
        ),
        (
            ["x/y/z/a/1.png", "x/y/z/b/1.png"],
            ": expected one directory of images per class, got only 'x', which holds "
            "directories of images: a, b; one level deeper? data.dir={}/x/y/z",
        ),
        (
            [
                f"seg_{split}/seg_{split}/{name}/1.png"
                for split in ("train", "test")
                for name in "ab"
            ],
            "/seg_train: expected one directory of images per class, got only 'seg_train', which "
            "holds directories of images: a, b; one level deeper? "
            "splits: {{train: seg_train/seg_train, test: seg_test/seg_test}}",
        ),
        (
            two_classes("val", "test"),
            ": 'test' (test), 'val' (valid) look like splits: expected one for training, valid or "
            "test beside it; say which, such as splits: {{valid: val, test: test}}, "
            "or splits: {{}} if all are classes",
        ),
        (
            [*two_classes("train", "seg_test"), "other/1.png"],
            ": 'seg_test' (test), 'train' (train) look like splits, 'other' like none: expected "
            "one for training, valid or test beside it; say which, such as "
            "splits: {{train: train, test: seg_test}}, or splits: {{}} if all are classes",
        ),
        (
            ["positive/1.png", "negative/1.png", "test/1.png"],
            ": 'test' (test) look like splits, 'negative', 'positive' like none: expected one for "
            "training, valid or test beside it; say which, such as splits: {{test: test}}, "
            "or splits: {{}} if all are classes",
        ),
        (
            ["train/1.png", "test/1.png"],
            ": expected directories of classes in test, train, got images; "
            "labels in a table? `image_table`; if these are classes, splits: {{}}",
        ),
        (
            ["1.png", "2.webp"],
            ": expected one directory of images per class, got 2 images without one; "
            "labels in a table? `image_table`",
        ),
        (
            ["a/1.png", "b/1.webp", "b/2.tif", "b/3.webp"],
            "/b: a class of which no image can be read (2 .webp, 1 .tif): expected "
            ".bmp, .gif, .jfif, .jpe, .jpeg, .jpg, .png; convert them",
        ),
    ],
)
def test_a_layout_that_is_refused_with_its_cure(tmp_path, places, message):
    folder = layout(tmp_path, *places)
    got = refused(lambda: images(folder), folder)
    assert got == f"{folder}{message.format(folder)}"


def test_the_splits_may_be_said(tmp_path):
    folder = layout(tmp_path, *two_classes("fold 1", "deep/fold 2", "train", "test"))
    said = {"train": "fold 1", "test": "deep/fold 2"}
    for split in said:
        source = images(folder, split=split, splits=said, valid=0)
        assert len(source) == 8 and f"/{said[split]}/" in source.locate(0)
    assert images(folder, splits={}).class_names == ("deep", "fold 1", "test", "train")
    refused(lambda: images(folder, splits={"train": "x"}), f"{folder}/x: no such directory")
    with pytest.raises(ValidationError, match="splits: expected `train` among them, got test"):
        files.dataset("image_folder", splits={"test": "x"})


def test_train_and_test_only(tmp_path):
    folder = layout(tmp_path, *two_classes("train", "test"))
    sources = {split: load(split, "image_folder", folder, valid=0.25) for split in SPLITS}
    assert {split: len(source) for split, source in sources.items()} == {
        "train": 6,
        "valid": 2,
        "test": 8,
    }
    assert sources["valid"].notes == ("no split 'valid': 25% of 'train' held out for it, by hash",)
    assert sources["test"].notes == ()


def test_what_is_left_out_is_said(tmp_path):
    folder = layout(
        tmp_path,
        *("Cat/1.png", "cat/1.jfif", "cat/2.JPE", "dog/1.png", "dog/.hidden.png", "dog/._1.png"),
        *("__MACOSX/cat/._1.png", "@eaDir/1.png", "lost+found/1.png", "dog/@eaDir/1.png"),
        *("dog/1.webp", "dog/2.WEBP", "dog/1.tif", "dog/Thumbs.db", "dog/a.txt", "docs/a.md"),
        *("dog/b", "1.png"),
    )
    (folder / "empty/inner").mkdir(parents=True)
    (folder / "dog/broken").symlink_to("nowhere")
    (folder / "dog/broken.png").symlink_to("nowhere")
    (folder / "dog/around").symlink_to(folder)
    source = images(folder)
    assert source.class_names == ("Cat", "cat", "dog")
    assert [source.locate(index) for index in range(len(source))] == [
        f"{folder}/{name}" for name in ("Cat/1.png", "cat/1.jfif", "cat/2.JPE", "dog/1.png")
    ]
    assert source.notes == (
        "3 files left out: 2 .webp, 1 .tif; convert them to JPEG or PNG to use them",
        "4 files left out, no images: 2 without suffix, 1 .md, 1 .txt",
        "left out as junk: ._*, .hidden.png, @eaDir, Thumbs.db, __MACOSX, lost+found",
        f"{folder}/dog/around: left out, a link to a directory around it",
        f"{folder}/dog/broken.png: left out, a link to nothing",
        "directories without images left out: docs, empty",
        "images beside the directories of classes left out: 1",
        "classes that differ by letter case only: Cat, cat",
    )


def test_links_to_directories_are_followed_once(tmp_path):
    folder = layout(tmp_path, "a/1.png", "b/1.png")
    fill(tmp_path / "away", {"2.png": PNG, "deep/3.png": PNG})
    (folder / "a/away").symlink_to(tmp_path / "away")
    (folder / "a/twice").symlink_to(tmp_path / "away/deep")
    (tmp_path / "away/back").symlink_to(folder / "a")
    (folder / "c").symlink_to(folder / "b")
    source = images(folder)
    places = [source.locate(index).removeprefix(f"{folder}/") for index in range(len(source))]
    assert places == ["a/1.png", "a/away/2.png", "a/away/deep/3.png", "b/1.png", "c/1.png"]


# ---- what shows when an example is read


def test_all_damaged_images_are_listed_at_once(tmp_path):
    content = {f"a/{n:02}.png": b"" if n in (3, 7) else PNG for n in range(99)}
    folder = fill(tmp_path / "data", content | {"a/50.png": PNG[:-100]})
    message = refused(lambda: one_pass(images(folder), decode_ops()), "3 damaged of 99 looked at: ")
    empty = "expected an image, got an empty file"
    assert message.startswith(
        f"3 damaged of 99 looked at: {folder}/a/03.png: {empty}; {folder}/a/07.png: {empty}; "
        f"{folder}/a/50.png: Invalid PNG data"
    )


def folder_of_images(tmp_path, **broken):
    """Four sound images of two classes, some replaced by `broken`: {stem_suffix: bytes}."""
    content = {f"{'ab'[number % 2]}/{number}.png": PNG for number in range(4)}
    return fill(
        tmp_path / "data",
        content | {f"a/{name.replace('_', '.')}": data for name, data in broken.items()},
    )


def images(folder, split="train", **options):
    return load(split, "image_folder", folder, **(UNDIVIDED | options))


BROKEN_IMAGES = [
    ("zero bytes", "jpg", b"", "expected an image, got an empty file"),
    ("zero bytes", "png", b"", "expected an image, got an empty file"),
    (
        "no image",
        "jpg",
        b"<html></html>",
        "expected JPEG, PNG, BMP or GIF, got a file that begins with 3c68746d",
    ),
    ("cut in its header", "jpg", JPEG[:20], "the image ends too early, after 20 bytes"),
    ("cut in its header", "png", PNG[:20], "the image ends too early, after 20 bytes"),
    ("cut", "jpg", JPEG[:-100], "jpeg::Uncompress failed. Invalid JPEG data or crop window."),
    ("cut", "png", PNG[:-100], "Invalid PNG data"),
    ("cut", "gif", files.gif(FRAMES)[:60], "the image ends too early, after 60 bytes"),
    (
        "cut",
        "bmp",
        files.bmp()[:-100],
        "Input size should match (header_size + row_size * abs_height)",
    ),
    ("flipped", "png", with_byte(PNG, 80, PNG[80] ^ 255), "Invalid PNG data"),
    (
        "no frame",
        "jpg",
        JPEG[:2] + b"\xff\xd9",
        "expected a JPEG with a frame header before its data, got a damaged one",
    ),
    (
        "two channels",
        "jpg",
        TWO_CHANNELS,
        "expected a gray, RGB or CMYK image, got a JPEG of 2 channels; convert it",
    ),
    (
        "RLE",
        "bmp",
        with_byte(INDEXED, 30, 1),
        "expected a BMP of 1, 4, 8, 24 or 32 bits that is not compressed, "
        "got 8 bits, RLE; convert it",
    ),
    (
        "OS/2",
        "bmp",
        with_byte(INDEXED, 14, 12),
        "expected a BMP of 1, 4, 8, 24 or 32 bits that is not compressed, "
        "got one of OS/2; convert it",
    ),
    ("cut palette", "bmp", INDEXED[:-1], f"the image ends too early, after {len(INDEXED) - 1}"),
    *(("bomb", kind, files.claims(data, 50_000, 50_000), SHAPES) for kind, data in BOMBS.items()),
    (
        "no pixels",
        "png",
        files.claims(PNG, 0, 2),
        "expected 1 to 50,000,000 pixels (max_pixels), got 2x0",
    ),
    (
        "bomb in a frame",
        "gif",
        files.gif([FRAMES[0], np.zeros((40, 50))], (2, 2)).replace(
            b"\x32\0\x28\0", b"\xff\xff\xff\xff"
        ),
        "expected 1 to 50,000,000 pixels (max_pixels), got 65535x65535",
    ),
    (
        "bomb behind a marker without length",
        "jpg",
        JPEG[:2] + b"\xff\x01" + files.claims(JPEG, 50_000, 50_000)[2:],
        "expected a JPEG with a frame header before its data, got a damaged one",
    ),
]


@pytest.fixture(scope="module")
def messages_of_broken_images(tmp_path_factory):
    """What the pipeline says of each; no header makes it allocate what it claims."""
    content = {
        f"a/{place:02}.{kind}": data for place, (_, kind, data, _) in enumerate(BROKEN_IMAGES)
    }
    folder = fill(tmp_path_factory.mktemp("broken") / "data", content)
    source = images(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    messages = failures_of_examples(source, decode_ops())
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512 << 10
    )  # KiB; a bomb of 50,000 x 50,000 has 7 GiB
    return messages


@pytest.mark.parametrize(
    "place", range(len(BROKEN_IMAGES)), ids=[f"{name} {kind}" for name, kind, _, _ in BROKEN_IMAGES]
)
def test_a_broken_image_is_named(messages_of_broken_images, place):
    message = messages_of_broken_images[place]
    assert message.startswith(BROKEN_IMAGES[place][3])
    assert len(message.splitlines()) == 1


def test_of_an_animation_the_first_frame_is_used(tmp_path):
    source = images(
        fill(tmp_path / "data", {"a/1.gif": files.gif(FRAMES), "b/2.bmp": files.bmp(2, 2)})
    )
    features = apply_ops(source.read(np.array([0])), np.zeros(1, np.uint64), decode_ops(), 2)
    assert np.unique(features["inputs"].numpy().reshape(-1, 3), axis=0).tolist() == [
        [255, 0, 0]
    ]  # red; the second frame is blue


def test_an_image_removed_while_training_is_named(tmp_path):
    folder = folder_of_images(tmp_path)
    source = images(folder)
    assert one_pass(source, decode_ops(), training=True) == 1
    (folder / "a/2.png").unlink()
    message = refused(
        lambda: one_pass(source, decode_ops(), batch_size=4, training=True),
        f"{folder}/a/2.png: No such file",
    )
    assert message.endswith("it was there when the run began")


def test_the_bound_of_damaged_images_may_be_set(tmp_path):
    content = {f"a/{number}.png": PNG[:50] if number < 2 else PNG for number in range(20)}
    folder = fill(tmp_path / "data", content)
    source = images(folder, damaged="skip", max_damaged=0.1)
    assert len(source) == 18 and source.notes == ("2 damaged images left out",)
    message = refused(lambda: images(folder, damaged="skip", max_damaged=0.05), folder)
    assert message.endswith(
        "; expected at most 5% damaged images to skip (max_damaged), got 2 of 20"
    )


@pytest.mark.parametrize(
    ("broken", "of", "refuses"), [(1, 1000, False), (2, 1000, True), (1, 999, True), (0, 5, False)]
)
def test_damaged_images_are_skipped_up_to_a_bound(tmp_path, capsys, broken, of, refuses):
    content = {f"a/{number:04}.png": PNG[:50] if number < broken else PNG for number in range(of)}
    folder = fill(tmp_path / "data", content)
    if refuses:
        message = refused(lambda: images(folder, damaged="skip"), f"{folder}/a/0000.png: ")
        assert message.endswith(
            f"expected at most 0.1% damaged images to skip (max_damaged), got {broken} of {of:,}"
        )
        return
    source = images(folder, damaged="skip")
    assert len(source) == of - broken
    assert [
        line.startswith(f"data: skipped: {folder}/a/0000.png: ")
        for line in capsys.readouterr().err.splitlines()
    ] == [True] * broken
    assert not broken or source.locate(0) == f"{folder}/a/0001.png"


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"pipe.png"], ids=["no UTF-8", "pipe"])
def test_a_directory_entry_that_cannot_be_an_image(tmp_path, name):
    folder = folder_of_images(tmp_path)
    path = os.fsencode(folder) + b"/a/" + name
    if name == b"pipe.png":
        os.mkfifo(path)
    else:
        with open(path, "wb") as file:
            file.write(PNG)
    refused(
        lambda: one_pass(images(folder), decode_ops()),
        f"{folder}/a/{name.decode(errors='backslashreplace')}: expected ",
    )


def test_a_set_smaller_than_one_batch(tmp_path):
    source = images(folder_of_images(tmp_path))
    assert one_pass(source, decode_ops(), batch_size=16) == 1  # evaluation pads
    refused(
        lambda: one_pass(source, decode_ops(), 5, training=True),
        "image_folder: expected at least one batch of 5 examples, got 4",
    )


@pytest.mark.parametrize(
    "where",
    ["train", *(pytest.param(where, marks=pytest.mark.slow) for where in ("valid", "measured"))],
)
def test_a_program_ends_with_one_line_and_code_3(tmp_path, program, where):
    folder = fill(
        tmp_path / "data",
        {
            f"{split}/{c}/{n}.png": PNG
            for split in ("train", "valid")
            for c in "ab"
            for n in range(4)
        },
    )
    broken = folder / ("valid" if where == "valid" else "train") / "b/2.png"
    broken.write_bytes(PNG[:-100])
    ops = "{name: decode_image, channels: 1}, {name: resize, size: [28, 28]}, " + (
        "standardize" if where == "measured" else "scale"
    )
    done = program(
        "trainer.py",
        "--config",
        TINY,
        "--run_dir",
        tmp_path / "run",
        "data.train=image_folder",
        "data.valid=null",
        f"data.dir={folder}",
        "data.train_ops=[]",
        f"data.ops=[{ops}]",
        "train.batch_size=8",
        "train.epochs=2",
        "summary.tensorboard=false",
        env={"TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    last = done.stderr.splitlines()[-1]
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert last.startswith(f"trainer: error: {broken}: Invalid PNG data"), done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("run/checkpoints/step-*"))


# ---- what the trainer says, see ../test_faults.py

OPS = "[{name: decode_image, channels: 1}, {name: resize, size: [8, 8]}, tiny_scale]"
RUN = f"data={{train: image_folder, valid: null, dir: set, ops: {OPS}}}"


def write_folder(folder, third: bytes = PNG):
    """Two classes of 8 images in each split; the `third` image of training is replaced."""
    names = [f"{label}/{number}.png" for label in "ab" for number in range(8)]
    sound = {f"{split}/{name}": PNG for split in ("train", "valid") for name in names}
    fill(folder, sound | {"train/a/3.png": third})


SOUND_RUNS = [("sound", write_folder, RUN)]
FAULTS = [
    Fault(
        "directory empty",
        lambda folder: folder.mkdir(),
        RUN,
        "set: expected one directory of images per class, got none",
    ),
    Fault(
        "too many to be skipped",
        lambda folder: write_folder(folder, b"none"),
        RUN.replace("train: image_folder", "train: {name: image_folder, damaged: skip}"),
        "got 1 of 16",
    ),
    *(
        Fault(
            fault,
            lambda folder, third=third: write_folder(folder, third),
            RUN,
            f"set/train/a/3.png: {message}",
            while_reading=True,
        )
        for fault, third, message in [
            ("corrupt image", PNG[:-40], ""),
            ("zero bytes", b"", ""),
            ("image bomb", files.claims(PNG, 50_000, 50_000), SHAPES),
        ]
    ),
]
