"""RandAugment: single operations by hand, and both ends of its strength."""

import numpy as np
import pytest
import tensorflow as tf
from operations import BYTES, check_keeps_bytes, run

from ops import rand_augment

EXAMPLES = {"rand_augment": ({}, BYTES)}  # (options, features)


@pytest.mark.parametrize("name", EXAMPLES)
def test_operations_of_images_keep_bytes(name):
    check_keeps_bytes(name, EXAMPLES)


def test_equalized_and_auto_contrast_by_hand():
    def of(function, values):
        return (
            function(tf.constant(values, tf.float32)[tf.newaxis, tf.newaxis, :, tf.newaxis])
            .numpy()
            .ravel()
            .tolist()
        )

    assert of(rand_augment._equalized, [0, 0, 1, 3]) == [
        0,
        0,
        128,
        255,
    ]  # ranks 2, 3, 4 of 4: 0, 127.5 to even, 255
    assert of(rand_augment._equalized, [9, 9]) == [9, 9]
    assert of(rand_augment._auto_contrast, [50, 60, 100]) == [0, 51, 255]
    assert of(rand_augment._auto_contrast, [50, 50]) == [50, 50]


def test_rand_augment_of_no_strength_changes_nothing_and_of_full_strength_does():
    """Every byte once is a picture that equalizing and stretching the contrast leave alone."""
    picture = np.random.default_rng(1).permutation(256).astype(np.uint8).reshape(1, 16, 16, 1)
    pictures = np.concatenate([picture, picture[:, ::-1], 255 - picture], axis=-1).repeat(60, 0)
    np.testing.assert_array_equal(run("rand_augment", pictures, magnitude=0, count=3), pictures)
    strong = run("rand_augment", pictures, magnitude=10, count=1)
    assert len({image.tobytes() for image in strong}) >= 15  # 14 operations, most with two signs
    assert strong.shape == pictures.shape and strong.dtype == np.uint8
    assert (
        6 < (strong != pictures).any(axis=(1, 2, 3)).sum() < 57
    )  # 3 of 14 leave this picture alone
