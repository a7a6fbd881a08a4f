"""What headers of image files say, and that they alone refuse what must not be decoded."""

import tracemalloc

import numpy as np
import pytest
import small_files as files
from loading import refused

from sources.image_headers import read_header

FRAMES = [np.full((2, 2), 1), np.full((2, 2), 3)]
BOMBS = {"png": files.png(), "jpg": files.jpeg(), "gif": files.gif(FRAMES), "bmp": files.bmp()}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_header_alone_refuses_a_bomb(kind):
    tracemalloc.start()
    try:
        refused(
            lambda: read_header(files.claims(BOMBS[kind], 50_000, 50_000), "x", 50_000_000),
            "x: expected 1 to",
        )
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
