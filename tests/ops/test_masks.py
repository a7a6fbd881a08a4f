"""Masks of every kind of PNG, by hand; what is no mask is one line."""

import numpy as np
import pytest
import tensorflow as tf
from operations import compiled, encoded, op, treat
from PIL import Image

from cli.program import ConfigError

MASK = np.uint8([[0, 1, 2, 3], [3, 2, 1, 0], [0, 0, 1, 1]])
IMAGES = np.zeros((1, 3, 4, 3), np.uint8)
EXAMPLES = {  # (options, features)
    "decode_mask": (
        {},
        {
            "inputs": np.repeat(IMAGES, 4, 0),
            "targets": np.array([encoded(MASK % kinds, "PNG") for kinds in (1, 2, 3, 4)], object),
        },
    )
}


def palette(mask, **options) -> bytes:
    """Colors that say nothing of the classes."""
    picture = Image.fromarray(mask)
    picture.putpalette([200, 0, 0, 5, 5, 5, 0, 0, 9, 70, 80, 90])
    assert picture.mode == "P"
    return encoded(picture, "PNG", **options)


def decoded(targets, **options):
    features = {"inputs": IMAGES, "targets": targets}
    return treat([op("decode_mask", **options)], features)["mask"][0, ..., 0]


def files(*values: bytes):
    return np.array(values, object)


@pytest.mark.parametrize(
    ("targets", "options", "expected"),
    [
        (files(encoded(MASK, "PNG")), {}, MASK),
        (files(palette(MASK, bits=8)), {}, MASK),
        (files(palette(MASK, bits=2)), {}, MASK),
        (files(palette(MASK, bits=4, transparency=1)), {}, MASK),
        (files(encoded(Image.fromarray(MASK > 1), "PNG")), {}, MASK > 1),  # 1 bit
        (files(encoded(np.repeat(MASK[..., np.newaxis], 3, 2), "PNG")), {}, MASK),
        (files(encoded(255 * (MASK > 1).astype(np.uint8), "PNG")), {"values": [0, 255]}, MASK > 1),
        (files(encoded(MASK, "PNG")), {"ignore": 3}, np.where(MASK == 3, 255, MASK)),
        (
            files(encoded(MASK, "PNG")),
            {"values": [1, 2, 3], "ignore": 0},
            np.where(MASK, MASK.astype(int) - 1, 255),
        ),
        (MASK[np.newaxis].astype(np.int64), {}, MASK),
        (MASK[np.newaxis, ..., np.newaxis], {}, MASK),
    ],
    ids=[
        "gray",
        "palette",
        "2bits",
        "transparent",
        "1bit",
        "rgb",
        "values",
        "ignore",
        "both",
        "array",
        "channel",
    ],
)
def test_masks_hold_the_classes_as_stored(targets, options, expected):
    np.testing.assert_array_equal(decoded(targets, **options), expected)


COLORS = np.random.default_rng(0).integers(0, 9, (3, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("file", "options", "message"),
    [
        (encoded(MASK, "JPEG"), {}, "decode_mask: expected a PNG of gray or of a palette"),
        (b"", {}, "decode_mask: expected a PNG of gray or of a palette"),
        (encoded(MASK.astype(np.uint16), "PNG"), {}, "of at most 8 bits"),
        (encoded(COLORS, "PNG"), {}, "decode_mask: expected gray or a palette, got colors"),
        (encoded(MASK.T, "PNG"), {}, "decode_mask: expected a mask as large as its picture"),
        (encoded(MASK + 252, "PNG"), {}, "decode_mask: expected classes below 255"),
        (encoded(MASK, "PNG"), {"values": [0, 1, 2]}, "expected one of the values [0, 1, 2]"),
    ],
    ids=["jpeg", "empty", "16bits", "colors", "size", "255", "unknown"],
)
def test_what_is_no_mask_is_refused_where_it_is_read(file, options, message):
    ops, features = [op("decode_mask", **options)], {"inputs": IMAGES, "targets": files(file)}
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        treat(ops, features, function=compiled(ops, features))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "targets", [np.zeros((1, 3, 4), np.float32), np.zeros((1, 3), np.int64)], ids=["float", "row"]
)
def test_targets_that_cannot_be_masks_are_one_line(targets):
    with pytest.raises(ConfigError, match=r"^data.ops: decode_mask: expected "):
        decoded(targets)
