"""Drawn figures: masks and points are where the figures are."""

import numpy as np
import pytest
from loading import load, read


def example(folder) -> dict:
    return {"targets": "masks", "size": 8, "image_size": 16}


def test_every_class_is_drawn_and_splits_differ():
    train, valid = (load(split, "shapes", targets="masks", size=80) for split in ("train", "valid"))
    assert (len(train), len(valid)) == (80, 20)
    assert train.fingerprint != valid.fingerprint
    features = read(train)
    assert features["inputs"].shape == (80, 48, 48, 3) and features["mask"].shape == (80, 48, 48, 1)
    shares = np.bincount(features["mask"].ravel(), minlength=4) / features["mask"].size
    assert len(shares) == 4 and 0.5 < shares[0] < 0.85 and shares.min() > 0.02


def test_points_are_corners_of_the_triangle():
    """Tip above the others, right corner to the right of the left one; hidden ones are marked."""
    points = read(load("train", "shapes", targets="points", size=200))["points"]
    tip, right, left = points.transpose(1, 0, 2)
    assert (tip[:, 1] < np.minimum(right[:, 1], left[:, 1])).all() and (
        right[:, 0] > left[:, 0]
    ).all()
    base = np.linalg.norm(right[:, :2] - left[:, :2], axis=1)
    sides = [np.linalg.norm(tip[:, :2] - corner[:, :2], axis=1) for corner in (left, right)]
    np.testing.assert_allclose(sides, np.array([base, base]) * 1.5811, rtol=1e-3)
    visible = points[..., 2] > 0
    assert 0.6 < visible.mean() < 0.95
    inside = (points[..., :2] > -0.5).all(-1) & (points[..., :2] < 47.5).all(-1)
    assert not (visible & ~inside).any() and (inside & ~visible).any()


@pytest.mark.parametrize("targets", ["masks", "points"])
def test_other_sizes_are_drawn_too(targets):
    assert read(load("test", "shapes", targets=targets, size=4, image_size=16))["inputs"].shape == (
        1,
        16,
        16,
        3,
    )
