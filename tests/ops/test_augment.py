"""Random changes of images: what may come out, and how often."""

import numpy as np
import pytest
from operations import BYTES, FLOATS, IMAGES, RGB, check_keeps_bytes, run, sides

from cli.program import ConfigError

EXAMPLES = {  # (options, features)
    "random_crop": ({"size": (5, 5), "padding": 1}, BYTES),
    "random_resized_crop": ({"size": (4, 4)}, BYTES),
    "random_shift": ({"pixels": 1}, BYTES),
    "random_flip": ({}, BYTES),
    "random_rotate": ({"degrees": 40}, BYTES),
    "color_jitter": ({"hue": 0.3}, BYTES),
    "random_erasing": ({}, BYTES),
    "cutout": ({"size": 3}, BYTES),
    "gaussian_noise": ({"std": 1.0}, FLOATS),
    "salt_noise": ({"share": 0.3}, BYTES),
}


@pytest.mark.parametrize("name", sorted(EXAMPLES.keys() - {"gaussian_noise"}))
def test_operations_of_images_keep_bytes(name):
    check_keeps_bytes(name, EXAMPLES)


def test_crops_by_hand():
    image = np.arange(20, dtype=np.uint8).reshape(1, 4, 5, 1)
    with pytest.raises(ConfigError, match="random_crop: size: expected at"):
        run("random_crop", image, size=(5, 5))
    np.testing.assert_array_equal(
        run("random_resized_crop", image, size=(4, 5), area=(1, 1), aspect=(5 / 4, 5 / 4)), image
    )
    one_row = image[:, :1].astype(np.float32)
    assert np.isfinite(run("random_resized_crop", one_row, size=(2, 2))).all()


def test_random_resized_crop_takes_shares_of_the_area():
    """Of a picture of coordinates.

    How far apart the corners of the result are says how large the window was.
    """
    y, x = np.mgrid[:64, :64].astype(np.float32)
    pictures = np.stack([y, x], -1)[np.newaxis].repeat(1000, 0)
    found = run("random_resized_crop", pictures, size=(8, 8), area=(0.1, 0.5), aspect=(0.5, 2))
    height, width = (found[:, -1, -1] - found[:, 0, 0] + 1).T
    assert (np.diff(found[..., 0], axis=1) > 0).all() and (
        np.diff(found[..., 1], axis=2) > 0
    ).all()  # no pixel from outside
    assert (
        0.09 < (height * width / 4096).min() < 0.13 and 0.45 < (height * width / 4096).max() < 0.52
    )
    assert 0.45 < (width / height).min() < 0.6 and 1.7 < (width / height).max() < 2.2


def test_random_shift_moves_each_image_by_a_whole_vector():
    shifted = run("random_shift", np.repeat(IMAGES[1:2], 300, 0), pixels=2)
    padded, seen = np.pad(IMAGES[1], [(2, 2), (2, 2), (0, 0)]), set()
    for image in shifted:
        matches = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if np.array_equal(padded[y : y + 6, x : x + 5], image)
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 25  # every shift from (-2, -2) to (2, 2)


def test_random_crop_cuts_windows_of_the_size():
    for image, crop in zip(IMAGES, run("random_crop", IMAGES, size=(3, 4)), strict=True):
        assert any(
            np.array_equal(image[y : y + 3, x : x + 4], crop) for y in range(4) for x in range(2)
        )


@pytest.mark.parametrize(("direction", "axis"), [("horizontal", 1), ("vertical", 0)])
def test_random_flip_mirrors_about_half(direction, axis):
    flipped = run("random_flip", np.repeat(IMAGES[:1], 400, 0), direction=direction)
    kinds = [
        0
        if np.array_equal(image, IMAGES[0])
        else 1
        if np.array_equal(image, np.flip(IMAGES[0], axis))
        else 2
        for image in flipped
    ]
    assert set(kinds) == {0, 1}
    assert 140 < sum(kinds) < 260  # 6 standard deviations


def test_random_rotate_turns_about_the_center():
    """The center stays; the angle stays in its range and fills it."""
    images = np.zeros((200, 9, 9, 1), np.float32)
    images[:, 4, 4] = 1.0  # the center
    images[:, 4, 8] = 1.0  # to its right
    turned = run("random_rotate", images, degrees=30)[..., 0]
    np.testing.assert_allclose(turned[:, 4, 4], 1.0, atol=1e-5)
    y, x = np.mgrid[:9, :9] - 4
    outer = turned * (np.hypot(y, x) > 2)
    angles = np.degrees(np.arctan2((outer * y).sum((1, 2)), (outer * x).sum((1, 2))))
    assert -33 < angles.min() < -20 and 20 < angles.max() < 33


NOTHING = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}


def test_color_jitter_of_nothing_changes_nothing_and_each_factor_does_one_thing():
    np.testing.assert_array_equal(run("color_jitter", RGB, **NOTHING), RGB)
    even = np.full((200, 2, 2, 3), 0.5, np.float32)
    lit = run("color_jitter", even, **NOTHING | {"brightness": 0.4})
    assert (
        np.ptp(lit, axis=(1, 2, 3)).max() == 0
        and 0.3 <= lit.min() < 0.32
        and 0.68 < lit.max() <= 0.7
    )
    np.testing.assert_allclose(
        run("color_jitter", even, **NOTHING | {"contrast": 1, "saturation": 1}), even, atol=1e-6
    )  # nothing to stretch
    pictures = np.repeat(RGB[:1] / np.float32(255), 200, 0)
    gray = (pictures @ np.float32([0.299, 0.587, 0.114]))[..., np.newaxis]
    muted = run("color_jitter", pictures * 0.5, **NOTHING | {"saturation": 0.4})
    ratio = ((muted - gray * 0.5) / (pictures * 0.5 - gray * 0.5)).reshape(200, -1)
    kept = (
        muted.reshape(200, -1).min(axis=1) > 0
    )  # where nothing was clipped, all pixels moved by one factor
    assert kept.sum() > 20 and np.ptp(ratio[kept], axis=1).max() < 1e-2 and ratio.min() < 0.7
    turned = run("color_jitter", pictures, **NOTHING | {"hue": 0.5})
    for extreme in (np.max, np.min):  # brightness and saturation stay
        np.testing.assert_allclose(extreme(turned, axis=-1), extreme(pictures, axis=-1), atol=1e-5)
    assert abs(turned - pictures).max() > 0.5
    wild = run("color_jitter", pictures, brightness=1, contrast=1, saturation=1, hue=0.5)
    assert wild.min() >= 0 and wild.max() <= 1


def test_cutout_covers_a_square_which_the_edge_may_cut():
    covered = run("cutout", np.full((400, 12, 12, 1), 5, np.uint8), size=4, value=9)[..., 0] == 9
    height, width = sides(covered).T
    assert set(height) == set(width) == {2, 3, 4}  # the center is always inside
    np.testing.assert_allclose([(height == 4).mean(), (width == 4).mean()], 9 / 12, atol=0.1)
    assert covered.any(axis=0).all()


def test_random_erasing_covers_shares_of_some_images():
    images = np.full((600, 40, 40, 1), 5, np.uint8)
    found = sides(
        run("random_erasing", images, probability=0.25, area=(0.1, 0.3), aspect=(0.5, 2), value=0)[
            ..., 0
        ]
        == 0
    )
    assert abs((found[:, 0] > 0).mean() - 0.25) < 0.09  # 5 standard errors
    height, width = found[found[:, 0] > 0].T
    assert (
        0.09 < (height * width / 1600).min() < 0.13 and 0.27 < (height * width / 1600).max() < 0.31
    )
    assert 0.45 < (height / width).min() < 0.65 and 1.6 < (height / width).max() < 2.2


def test_noise_has_the_moments_that_are_asked_for():
    noise = run("gaussian_noise", np.full((50, 400), 3, np.float32), std=0.5)
    assert abs(noise.mean() - 3) < 0.02 and abs(noise.std() - 0.5) < 0.02  # 4 to 8 standard errors
    assert abs(np.corrcoef(noise)[np.triu_indices(50, 1)]).max() < 0.25  # each example its own
    values, counts = np.unique(
        run("salt_noise", np.full((50, 400), 9, np.uint8), share=0.4, low=0, high=255),
        return_counts=True,
    )
    assert values.tolist() == [0, 9, 255]
    np.testing.assert_allclose(counts / 20_000, [0.2, 0.6, 0.2], atol=0.02)
