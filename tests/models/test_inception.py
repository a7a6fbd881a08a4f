"""The small Inception-v2: sizes by hand."""

from networks import (
    DIGITS,
    check_block,
    check_count,
    check_grids,
    check_refuses_other_shapes,
    network,
)

from models import inception

SMALL = {"width": 0.125, "modules": 1}
SLOW_PRECISIONS = True


def test_grid_reduction():
    within = {
        "reduction_double1_relu": (9, 8, 96),
        "reduction_double2_relu": (9, 8, 96),
        "reduction_double3_relu": (5, 4, 32),
        "reduction_single1_relu": (9, 8, 96),
        "reduction_single2_relu": (5, 4, 128),
        "reduction_pool1_relu": (5, 4, 96),
    }
    check_block(inception.grid_reduction, {}, (5, 4, 256), within)


def test_inception_by_hand():
    """Stem; in each of two stages a reduction of c channels, 288 c + 9 * 96 * (96 + 32 + 128) + 2 *
    544,
    and two modules of c channels, 224 c + 9 * (64*96 + 64*96 + 96*96) + 2 * 512; logits.
    """

    def reduction(c):
        return 288 * c + 9 * 96 * (96 + 32 + 128) + 2 * 544

    def module(c):
        return 224 * c + 9 * (64 * 96 + 64 * 96 + 96 * 96) + 2 * 512

    stem, logits = 9 * 64 + 2 * 64 + 9 * 64 * 96 + 2 * 96, 288 * 10 + 10
    stages = reduction(96) + module(256) + module(288) + reduction(288) + module(256) + module(288)
    assert stem + stages + logits == 1_636_170
    check_count(network("inception"), DIGITS, 1_636_170, "by hand")


def test_inception_has_the_papers_grids():
    shapes = {
        "stem2_relu": (56, 56, 96),
        "module1_2_concat": (28, 28, 288),
        "module2_2_concat": (14, 14, 288),
    }
    check_grids(network("inception"), shapes)


def test_images_that_inception_cannot_take_are_refused_in_one_line():
    check_refuses_other_shapes(network("inception"))
