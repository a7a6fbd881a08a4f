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
from PIL import Image
from places import TINY

from cli.program import DataError
from data_loader import SPLITS
from preprocess_data import apply_ops

PNG, JPEG = files.png(), files.jpeg()
SHAPES = "expected 1 to 50,000,000 pixels (max_pixels), got 50000x50000"
SIXTEEN = files.png(dtype=np.uint16)
CMYK = JPEG[: JPEG.index(b"\xff\xc0") + 9] + b"\4" + JPEG[JPEG.index(b"\xff\xc0") + 10 :]
FRAMES = [np.full((2, 2), 1), np.full((2, 2), 3)]
BOMBS = {"png": PNG, "jpg": JPEG, "gif": files.gif(FRAMES), "bmp": files.bmp()}
REFUSED = [  # (id, files, options, what the message begins with, below the directory)
    ("no directory", None, {}, ": no such directory; expected one directory of images per class"),
    ("empty directory", {}, {}, ": expected one directory of images per class, got none"),
    (
        "no images",
        {"a/x.txt": b"?"},
        UNDIVIDED,
        ": expected image files (.bmp, .gif, .jpeg, .jpg, .png) in it, got none",
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


# ---- what shows when an example is read


def folder_of_images(tmp_path, **broken):
    """Four sound images of two classes, some replaced by `broken`: {stem_suffix: bytes}."""
    content = {f"{'ab'[number % 2]}/{number}.png": PNG for number in range(4)}
    return fill(
        tmp_path / "data",
        content | {f"a/{name.replace('_', '.')}": data for name, data in broken.items()},
    )


def images(folder, **options):
    return load("train", "image_folder", folder, **(UNDIVIDED | options))


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
        "CMYK",
        "jpg",
        CMYK,
        "expected a gray or RGB image, got a JPEG of 4 channels (CMYK); convert it",
    ),
    ("16 bit", "png", SIXTEEN, "expected 8 bits a channel, got a PNG of 16; convert it"),
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


@pytest.mark.parametrize(
    ("broken", "of", "refuses"), [(1, 1000, False), (2, 1000, True), (1, 999, True), (0, 5, False)]
)
def test_damaged_images_are_skipped_up_to_a_bound(tmp_path, capsys, broken, of, refuses):
    content = {f"a/{number:04}.png": PNG[:50] if number < broken else PNG for number in range(of)}
    folder = fill(tmp_path / "data", content)
    if refuses:
        message = refused(lambda: images(folder, damaged="skip"), f"{folder}/a/0000.png: ")
        assert message.endswith(
            f"expected at most 0.1% damaged images to skip, got {broken} of {of:,}"
        )
        return
    source = images(folder, damaged="skip")
    assert len(source) == of - broken
    assert [
        line.startswith(f"data: skipped: {folder}/a/0000.png: ")
        for line in capsys.readouterr().err.splitlines()
    ] == [True] * broken
    assert not broken or source.locate(0) == f"{folder}/a/0001.png"


@pytest.mark.parametrize(
    "name", [b"caf\xe9.png", b"pipe.png", b"link.png"], ids=["no UTF-8", "pipe", "dangling link"]
)
def test_a_directory_entry_that_cannot_be_an_image(tmp_path, name):
    folder = folder_of_images(tmp_path)
    path = os.fsencode(folder) + b"/a/" + name
    if name == b"pipe.png":
        os.mkfifo(path)
    elif name == b"link.png":
        os.symlink("nowhere", path)
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
            ("16 bits", files.png(dtype=np.uint16), ""),
            ("image bomb", files.claims(PNG, 50_000, 50_000), SHAPES),
        ]
    ),
]
