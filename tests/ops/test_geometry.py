"""The transform of the target is the target of the transform, for every geometric operation.

Each pixel of the pictures here holds its own x and y, so a treated picture says where each of its
pixels came from: there its mask must be the old mask's, and a point must be where its own x and y
are seen.
"""

import numpy as np
import pytest
import tensorflow as tf
from operations import check_alike_in_any_batch, encoded, listed, op, row, treat

import data_config
from cli.program import ConfigError
from cli.typed_yaml import name_of, named_classes
from engine.stateless import fold, integers
from ops.features import IGNORED

CASES = {  # of pictures of 24x20
    "resize": {"size": (31, 16)},
    "center_crop": {"size": (13, 12)},
    "pad_image": {"size": (27, 26)},
    "random_crop": {"size": (22, 16), "padding": 4},
    "random_resized_crop": {"size": (26, 30), "area": (0.2, 1.0)},
    "random_shift": {"pixels": 5},
    "random_flip": {"pairs": []},
    "random_rotate": {"degrees": 90},
    "rand_augment": {"count": 1},
}
CLASSES = {name_of(cls): cls for cls in named_classes(data_config.Op)}
GEOMETRIC = [name for name, cls in CLASSES.items() if cls.geometric]
OF_FILES = [name for name in GEOMETRIC if CLASSES[name].of_images]
SCALE = 8  # bytes a pixel


def picture(height: int, width: int) -> dict:
    """Channels x, y and 1, in eighths of a byte; classes in patches; a point at every pixel."""
    y, x = np.mgrid[:height, :width]
    mask = (x // 4 + 2 * (y // 5)) % 3
    mask[x + y < 6] = IGNORED
    points = np.stack([x, y, x * 0 + 1], axis=-1).reshape(-1, 3)
    inputs = np.stack([x * SCALE, y * SCALE, x * 0 + 255], axis=-1)
    return {
        "inputs": inputs.astype(np.uint8),
        "mask": mask[..., np.newaxis].astype(np.uint8),
        "points": points.astype(np.float32),
    }


def pictures(count: int, dtype=np.uint8) -> dict:
    features = {
        key: np.repeat(value[np.newaxis], count, 0) for key, value in picture(24, 20).items()
    }
    return features | {"inputs": features["inputs"].astype(dtype)}


def check_moved(after: dict, before: dict, tolerance: float) -> tuple:
    """Of one example; returns how many pixels and points could be compared."""
    inputs = after["inputs"].astype(float)
    sources = inputs[..., :2] / SCALE
    seen = inputs[..., 2] > 254.9  # nothing of what came into view
    nearest = np.rint(sources).astype(int)
    certain = seen & (abs(sources - nearest).max(axis=-1) < 0.5 - tolerance)
    mask = after["mask"][..., 0]
    x, y = nearest[certain].T
    np.testing.assert_array_equal(mask[certain], before["mask"][y, x, 0])
    assert (mask[inputs[..., 2] == 0] == IGNORED).all()
    height, width = seen.shape
    old_size = before["mask"].shape[1::-1]
    compared = 0
    for (x, y, visible), expected in zip(after["points"], before["points"], strict=True):
        inside = -0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5
        assert visible == inside
        left, top = int(np.floor(x)), int(np.floor(y))
        around = np.s_[top : top + 2, left : left + 2]
        if min(left, top) < 0 or sources[around].shape[:2] != (2, 2) or not seen[around].all():
            continue
        if (expected[:2] < 2).any() or (expected[:2] > np.subtract(old_size, 3)).any():
            continue  # at an edge, a resized picture repeats it
        right, down = x - left, y - top
        weights = np.outer([1 - down, down], [1 - right, right])[..., np.newaxis]
        found = (sources[around] * weights).sum((0, 1))
        np.testing.assert_allclose(found, expected[:2], atol=tolerance)
        compared += 1
    return certain.sum(), compared


def check_all_moved(after: dict, before: list[dict], tolerance: float) -> None:
    counts = [
        check_moved({key: value[row] for key, value in after.items()}, example, tolerance)
        for row, example in enumerate(before)
    ]
    pixels, points = np.sum(counts, axis=0)
    assert pixels > 30 * len(before) and points > 30 * len(before)


@pytest.mark.parametrize("name", GEOMETRIC)
def test_the_transform_of_the_target_is_the_target_of_the_transform(name):
    assert name in CASES, f"tests/ops/test_geometry.py: add CASES[{name!r}] = its options"
    config = op(name, **CASES[name])
    before = picture(24, 20)
    if name == "rand_augment":  # of bytes, and some change colors
        seeds = fold(0, tf.range(60))
        drawn = integers(fold(fold(seeds, 0), 0), 0, 14).numpy()  # of the first operation
        rows = np.isin(drawn, [3, 10, 11, 12, 13])
        after = treat([config], pictures(60), seeds)
        after = {key: value[rows] for key, value in after.items()}
        assert rows.sum() > 10
        check_all_moved(after, [before] * rows.sum(), tolerance=0.15)
    else:
        after = treat([config], pictures(30, np.float32))
        check_all_moved(after, [before] * 30, tolerance=0.06)


@pytest.mark.parametrize("name", GEOMETRIC)
def test_what_moves_with_a_picture_is_alike_in_any_batch(name):
    features = {key: value[:4] for key, value in pictures(4).items()}
    check_alike_in_any_batch([op(name, **CASES[name])], features)
    alone = {"inputs": features["inputs"]}
    moved = treat([op(name, **CASES[name])], features)["inputs"]
    np.testing.assert_array_equal(treat([op(name, **CASES[name])], alone)["inputs"], moved)


@pytest.mark.parametrize("name", OF_FILES)
def test_targets_move_with_files_of_different_sizes(name):
    examples = [picture(*size) for size in ((24, 20), (22, 24), (26, 25), (25, 21))]
    features = {
        "inputs": np.array([encoded(example["inputs"], "PNG") for example in examples], object),
        "targets": np.array(
            [encoded(example["mask"][..., 0], "PNG") for example in examples], object
        ),
        "points": np.stack([example["points"][:440] for example in examples]),
    }
    ops = [op("decode_image"), op("decode_mask", ignore=IGNORED), op(name, **CASES[name])]
    after = check_alike_in_any_batch(ops, features)
    assert "targets" not in after
    for example in examples:
        example["points"] = example["points"][:440]
    check_all_moved(after, examples, tolerance=0.2)


@pytest.mark.parametrize("name", ["random_flip"])
def test_a_target_that_stays_behind_is_noticed(name):
    features = pictures(8, np.float32)
    after = treat([op(name, pairs=[])], features)
    after = after | {"mask": features["mask"]}
    with pytest.raises(AssertionError):
        check_all_moved(after, [picture(24, 20)] * 8, tolerance=0.06)


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
def test_pairs_of_points_change_places_in_a_mirror(direction):
    """A nose and two eyes, the right one at the left of a picture of 10x10."""
    points = np.float32([[5, 5, 1], [3, 2, 1], [7, 2, 0]])
    features = {
        "inputs": np.zeros((60, 10, 10, 1), np.uint8),
        "points": np.tile(points, (60, 1, 1)),
    }
    found = treat([op("random_flip", direction=direction, pairs=[[1, 2]])], features)["points"]
    mirrored = {
        "horizontal": [[4, 5, 1], [2, 2, 0], [6, 2, 1]],
        "vertical": [[5, 4, 1], [7, 7, 0], [3, 7, 1]],
    }[direction]
    kinds = [example.tolist() for example in found]
    assert all(kind in (points.tolist(), mirrored) for kind in kinds)
    assert 15 < kinds.count(mirrored) < 45


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"random_flip: pairs: expected the pairs .* or \[\] for none$"),
        (
            {"pairs": [[0, 480]]},
            r"random_flip: pairs: expected points from 0 to 479, got \[0, 480\]",
        ),
    ],
)
def test_a_mirror_must_know_its_pairs(options, message):
    with pytest.raises(ConfigError, match=message):
        treat([op("random_flip", **options)], pictures(2))


def test_a_mask_of_another_size_than_its_picture_is_refused():
    features = pictures(2) | {"mask": np.zeros((2, 24, 24, 1), np.uint8)}
    message = r"^data.ops: center_crop: expected a mask of its picture's size, 24x20, got 24x24$"
    with pytest.raises(ConfigError, match=message):
        treat([op("center_crop", size=(4, 4))], features)


def test_targets_are_known_as_such_before_pixels_move():
    files = {"inputs": np.zeros((2, 4, 4, 1), np.uint8), "targets": np.zeros((2, 3, 2))}
    ops = listed([row("random_shift", pixels=1), row("targets_as_points")])
    message = "^data.ops: targets_as_points: expected before random_shift, which moves its pixels$"
    with pytest.raises(ConfigError, match=message):
        treat(ops, files)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
@pytest.mark.parametrize(
    "targets", [np.zeros((2, 4, 4), np.int32), np.zeros((2, 3, 2), np.float32)]
)
def test_targets_that_lie_in_pictures_are_not_mixed(name, targets):
    features = {"inputs": np.zeros((2, 4, 4, 1), np.float32), "targets": targets}
    with pytest.raises(
        ConfigError, match=f"^data.ops: {name}: expected one class for each example"
    ):
        treat([op(name)], features)
