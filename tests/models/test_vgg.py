"""VGG against the numbers of its paper."""

import pytest
from networks import (
    IMAGENET,
    check_count,
    check_grids,
    check_refuses_other_shapes,
    network,
)

SMALL = {"width": 0.125}
OTHERS = [{"depth": 16, "width": 0.0625}]
SLOW_PRECISIONS = True


@pytest.mark.parametrize(
    ("depth", "expected", "source"),
    [
        (16, 138_357_544, "keras.applications.VGG16; the paper's table 2: 138 million"),
        (13, 14_710_464 + 3 * 4_224 + 513_000, "see test_vgg_by_hand"),
    ],
)
def test_vgg_has_the_papers_weights(depth, expected, source):
    check_count(network("vgg", depth=depth), IMAGENET, expected, source)


def test_vgg_by_hand():
    """Convolutions 9 * (3*64 + 64*64 + 64*128 + 128*128 + 128*256 + 2*256*256 + 256*512 +
    5*512*512);
    two numbers of batch normalization and a slope for each of 2*64 + 2*128 + 3*256 + 6*512
    channels;
    scores 512 * 1000 + 1000.
    """
    pairs = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256)]
    pairs += [(256, 512), *[(512, 512)] * 5]
    assert sum(9 * a * b for a, b in pairs) == 14_710_464
    assert 2 * 64 + 2 * 128 + 3 * 256 + 6 * 512 == 4_224 and 512 * 1000 + 1000 == 513_000


def test_vgg_has_the_papers_grids():
    check_grids(network("vgg", depth=16), {"pool5": (7, 7, 512), "fc6": (4096,)})


def test_images_that_vgg_cannot_take_are_refused_in_one_line():
    check_refuses_other_shapes(network("vgg"))
