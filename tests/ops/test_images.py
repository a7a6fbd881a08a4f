"""Decoding, size and color: numbers worked out by hand, and what Pillow gives."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from operations import (
    BYTES,
    FILES,
    NOISY,
    check_alike_in_any_batch,
    check_keeps_bytes,
    encoded,
    listed,
    op,
    picture_files,
    row,
    run,
    treat,
)
from PIL import Image, ImageOps

from cli.program import ConfigError

EXAMPLES = {  # (options, features, what has to follow)
    "decode_image": ({}, FILES, row("resize", size=(5, 6))),
    "resize": ({"size": (4, 7)}, BYTES),
    "center_crop": ({"size": (3, 2)}, BYTES),
    "pad_image": ({"size": (8, 8), "value": 7}, BYTES),
    "grayscale": ({}, BYTES),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_operations_of_images_keep_bytes(name):
    check_keeps_bytes(name, EXAMPLES)


@pytest.mark.parametrize("name", ["decode_image"])
def test_photographs_are_upright_as_exif_says(name):
    corners = np.zeros((32, 48, 3), np.uint8)
    corners[:16, :24] = (255, 0, 0)
    corners[:16, 24:] = (0, 255, 0)
    corners[16:, :24] = (0, 0, 255)  # asymmetric
    pictures = []
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        pictures.append((corners, "JPEG", {"exif": exif, "quality": 95}, orientation))
    features = picture_files(pictures)
    ops = [op(name), op("center_crop", size=(32, 32))]
    found = treat(ops, features)["inputs"].astype(int)
    for file, picture in zip(features["inputs"], found, strict=True):
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(file)))
        left, top = (upright.width - 32) // 2, (upright.height - 32) // 2
        cropped = np.asarray(upright.crop((left, top, left + 32, top + 32)))
        assert abs(picture - cropped).max() <= 10  # decoders differ a little
    assert min(abs(found[i] - found[j]).max() for i in range(8) for j in range(i)) > 200


STRIPES = np.repeat(
    np.uint8([[[255, 0, 0]], [[0, 255, 0]], [[0, 0, 255]], [[255, 255, 255]], [[40, 40, 40]]]),
    4,
    axis=1,
)


KINDS = {
    "PNG": ("RGB", "P", "L", "LA", "RGBA", "1"),
    "BMP": ("RGB", "RGBA", "L", "P", "1"),
    "GIF": ("RGB", "L"),
    "JPEG": ("L",),
}


@pytest.mark.parametrize("channels", [3, 1])
def test_files_of_every_kind_become_gray_or_rgb(channels):
    """Transparency is left out; gray is luma."""
    files, expected = {}, []
    for kind, mode in [(kind, mode) for kind, modes in KINDS.items() for mode in modes]:
        picture = Image.fromarray(STRIPES).convert(mode, dither=Image.Dither.NONE)
        if mode in ("RGBA", "LA"):
            picture.putalpha(100)
        files[kind, mode] = encoded(picture, kind)
        picture = Image.open(io.BytesIO(files[kind, mode])).convert("RGB")
        expected.append(
            np.asarray(picture.convert("RGB" if channels == 3 else "L")).reshape(5, 4, channels)
        )
    features = {"inputs": np.array(list(files.values()), object)}
    found = treat(
        [op("decode_image", channels=channels), op("center_crop", size=(5, 4))], features
    )["inputs"].astype(int)
    worst = dict(zip(files, abs(found - expected).max((1, 2, 3)).tolist(), strict=True))
    of_jpegs = [worst.pop(kind) for kind in list(worst) if kind[0] == "JPEG"]
    assert max(of_jpegs) <= 3, of_jpegs
    assert max(worst.values()) <= (channels == 1), worst  # a half of luma goes either way


def decoded(data: bytes, size, channels: int = 3) -> list:
    ops = [op("decode_image", channels=channels), op("center_crop", size=size)]
    return treat(ops, {"inputs": np.array([data], object)})["inputs"][0].tolist()


@pytest.mark.parametrize("kind", ["gray", "gray and alpha", "RGB"])
def test_16_bits_become_8_of_the_same_brightness(kind):
    """The upper byte: 30000 // 256 = 117; white stays white."""
    values = np.uint16([0, 255, 256, 30000, 65535])
    channels = {"gray": 1, "gray and alpha": 2, "RGB": 3}[kind]
    stacked = np.stack([values] * channels, axis=-1)[np.newaxis]
    data = tf.io.encode_png(stacked).numpy()
    expected = [[[value] * 3 for value in (0, 0, 1, 117, 255)]]
    assert data[24] == 16 and decoded(data, (1, 5)) == expected


def indexed_bmp(bits: int, rows: list[bytes], colors: list[tuple], from_top: bool = False) -> bytes:
    """A BMP of 3 pixels a row; `rows` as they lie in the file, 4 bytes each."""
    palette = b"".join(bytes([blue, green, red, 0]) for red, green, blue in colors)
    begin = 54 + len(palette)
    height = -len(rows) if from_top else len(rows)
    header = struct.pack("<IIiiHHIIiiII", begin, 40, 3, height, 1, bits, 0, 0, 0, 0, len(colors), 0)
    return b"BM" + bytes(8) + header + palette + b"".join(rows)


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.mark.parametrize("from_top", [False, True])
@pytest.mark.parametrize(
    ("bits", "rows", "colors", "expected"),
    [
        (1, [b"\xa0", b"\x40"], [RED, GREEN], [[RED, GREEN, RED], [GREEN, RED, GREEN]]),
        (
            4,
            [b"\x01\x20", b"\x21\x00"],
            [RED, GREEN, BLUE],
            [[BLUE, GREEN, RED], [RED, GREEN, BLUE]],
        ),
        (8, [b"\2\2\1", b"\0\1\1"], [RED, GREEN, BLUE], [[RED, GREEN, GREEN], [BLUE, BLUE, GREEN]]),
    ],
)
def test_the_palette_of_a_bmp_by_hand(bits, rows, colors, expected, from_top):
    """The last row comes first in the file, unless the height is negative."""
    data = indexed_bmp(bits, [row.ljust(4, b"\0") for row in rows], colors, from_top)
    expected = expected[::-1] if from_top else expected
    assert decoded(data, (2, 3)) == [[list(color) for color in row] for row in expected]
    lumas = {RED: 76, GREEN: 150, BLUE: 29}
    assert decoded(data, (2, 3), 1) == [[[lumas[color]] for color in row] for row in expected]


DECODED = [
    [row("center_crop", size=(11, 14))],
    [row("random_crop", size=(16, 15))],
    [row("random_crop", size=(30, 30), padding=8)],
    [row("random_resized_crop", size=(20, 12)), row("center_crop", size=(7, 7))],
    [row("resize", shortest=16), row("center_crop", size=(15, 15))],
    [row("resize", size=(8, 8), method="nearest")],
    [row("pad_image", size=(40, 40), value=200)],
]


@pytest.mark.parametrize(
    "ops", DECODED, ids=lambda ops: "-".join(options["name"] for options in ops)
)
def test_files_of_different_sizes_are_alike_in_any_batch(ops):
    """Also where a batch of plain JPEGs, and one JPEG alone, take another way than JPEGs among
    other files.
    """
    whole = check_alike_in_any_batch([op("decode_image"), *listed(ops)], FILES)
    assert whole["inputs"].shape == (4, *ops[-1]["size"], 3) and whole["inputs"].dtype == np.uint8


@pytest.mark.parametrize(("channels", "subsampling"), [(3, 0), (3, 1), (3, 2), (1, 2)])
@pytest.mark.parametrize(
    "ops", [DECODED[0], DECODED[1], DECODED[3]], ids=lambda ops: ops[0]["name"]
)
def test_decoding_a_window_of_a_jpeg_gives_what_the_whole_gives(ops, channels, subsampling):
    """The colors of a JPEG are mostly stored for every second pixel.

    A window has to begin beside it.
    """
    decode = [op("decode_image", channels=channels), *listed(ops)]
    features = picture_files([(NOISY[0], "JPEG", {"subsampling": subsampling}, 1)] * 40)
    partial = treat(decode, features)["inputs"]
    without_size = {
        key: value for key, value in features.items() if key != "image_size"
    }  # so the whole is decoded
    np.testing.assert_array_equal(partial, treat(decode, without_size)["inputs"])
    if ops == DECODED[0]:
        decoded = tf.io.decode_jpeg(features["inputs"][0], channels=channels).numpy()
        np.testing.assert_array_equal(partial[0], decoded[6:17, 8:22])
    else:
        assert len({window.tobytes() for window in partial}) > 20


@pytest.mark.parametrize("channels", [3, 1])
def test_a_window_of_a_cmyk_jpeg(channels):
    """C, M, Y, K = 51, 102, 0, 128: R = (255 - 51) * 127 / 255 = 101.6, G = 76.2, B = 127."""
    picture = Image.new("CMYK", (16, 16), (51, 102, 0, 128))
    features = picture_files([(np.zeros((16, 16), np.uint8), "PNG", {}, 1)] * 3)
    features["inputs"] = np.array([encoded(picture, "JPEG", quality=100)] * 3, object)
    ops = [op("decode_image", channels=channels), op("random_crop", size=(4, 5))]
    found = treat(ops, features)["inputs"]
    expected = [102, 76, 127] if channels == 3 else [0.299 * 102 + 0.587 * 76 + 0.114 * 127]
    assert abs(found - np.array(expected)).max() <= 2


@pytest.mark.parametrize(
    "ops",
    [[], [row("resize", shortest=8)], [row("random_flip"), row("resize", size=(4, 4))]],
    ids=lambda ops: "-".join(options["name"] for options in ops) or "none",
)
def test_files_need_one_size(ops):
    with pytest.raises(
        ConfigError,
        match="files may differ in size: "
        "expected `resize` with a size, a crop or `pad_image` after it",
    ):
        treat([op("decode_image"), *listed(ops)], FILES)


@pytest.mark.parametrize(
    ("name", "inputs", "expected"),
    [
        (
            "grayscale",
            np.uint8([[[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]]]),
            [[[[76], [150], [29], [9]]]],
        ),
        ("grayscale", np.float32([[[[1, 0.5, 0.25]]]]), [[[[0.299 + 0.2935 + 0.0285]]]]),
    ],
)
def test_luma_by_hand(name, inputs, expected):
    np.testing.assert_allclose(run(name, inputs), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "inputs", "expected"),
    [
        ({"size": (1, 1)}, [[0, 10], [20, 31]], [[15]]),  # 15.25: bytes are rounded
        ({"size": (1, 2), "method": "area"}, [[0, 10], [20, 31]], [[10, 20]]),  # 20.5 to even
        (
            {"size": (4, 2), "method": "nearest"},
            [[0, 10], [20, 31]],
            [[0, 10], [0, 10], [20, 31], [20, 31]],
        ),
        ({"size": (1, 4)}, [[0, 100]], [[0, 25, 75, 100]]),
        ({"shortest": 2}, [[7] * 3], [[7] * 6] * 2),
        ({"shortest": 1}, [[7] * 2] * 5, [[7]] * 2),  # 2.5 to even
    ],
)
def test_resize_by_hand(options, inputs, expected):
    for dtype, tolerance in ((np.uint8, 0), (np.float32, 0.5)):
        found = run("resize", np.array(inputs, dtype)[np.newaxis, ..., np.newaxis], **options)
        assert found.dtype == dtype
        np.testing.assert_allclose(found[0, ..., 0], expected, atol=tolerance)


def test_windows_and_borders_by_hand():
    image = np.arange(20, dtype=np.uint8).reshape(1, 4, 5, 1)
    window = run("center_crop", image, size=(2, 2))[0, ..., 0]
    np.testing.assert_array_equal(window, [[6, 7], [11, 12]])
    padded = run("pad_image", image[:, :1, :2], size=(2, 5), value=9)[0, ..., 0]
    np.testing.assert_array_equal(padded, [[9, 0, 1, 9, 9], [9, 9, 9, 9, 9]])
    for name, size in (("center_crop", (5, 5)), ("pad_image", (3, 5))):
        with pytest.raises(ConfigError, match=f"{name}: size: expected at"):
            run(name, image, size=size)
