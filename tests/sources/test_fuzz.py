"""2,000 broken files of every format by the real loaders: read, or refused in a line that names it.

The formats are what the test files beside this one give as `seeds() -> {format: loading.Seed}`. A
case is its format and its number: `pytest tests/sources/test_fuzz.py -k csv-17 -n 0 -m ""` makes
the same bytes again. Nothing may hang, take much memory, or end with another exception.
"""

import functools
import resource
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from loading import Seed, examples_of

from cli.program import Failure
from engine.damaged import reason_of

HERE = Path(__file__).parent
CASES, QUICK = 2000, 300
TEXT_CUES = [
    b"\xff",
    b'"',
    b"\t",
    b"\n",
    b"\r",
    b"\0",
    b",",
    b"nan",
    b"1e999",
    b"-1",
    b"9" * 400,
    b"\\ud800",
    b"{",
    b"\xef\xbb\xbf",
    b"[" * 999,
]
LARGE_NUMBERS = [
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\xff\xff",
    b"\0\0\0\0",
    b"\x80\0\0\0",
]


def all_seeds() -> dict[str, Seed]:
    names = [path.stem.removeprefix("test_") for path in sorted(HERE.glob("test_*.py"))]
    seeds = {}
    for name in names:
        if name not in ("fuzz", "every_source"):
            test_file = examples_of(name)
            seeds |= test_file.seeds() if hasattr(test_file, "seeds") else {}
    return seeds


SEEDS = all_seeds()
NUMBERED = [(kind, number) for number in range(-(-CASES // len(SEEDS))) for kind in SEEDS][:CASES]


def broken(data: bytes, rng: np.random.Generator, is_text: bool) -> bytes:
    """One to three breaks.

    Cut, flip bits, delete, insert, double, or write a large number (in texts, put in a cue).
    """
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        near_begin = rng.random() >= 0.6  # where headers are
        at = int(rng.integers(0, (min(64, len(data)) if near_begin else len(data)) + 1))
        length = int(rng.integers(1, 17))
        change = rng.integers(0, 6)
        if change == 0:
            del data[at:]
        elif change == 1:
            for place in rng.integers(0, len(data), length) if data else ():
                data[place] ^= 1 << int(rng.integers(0, 8))
        elif change == 2:
            del data[at : at + length]
        elif change == 3:
            data[at:at] = rng.bytes(length)
        elif change == 4:
            data[at:at] = data[at : at + 8 * length]
        elif is_text:
            data[at:at] = TEXT_CUES[rng.integers(0, len(TEXT_CUES))]
        else:
            number = LARGE_NUMBERS[rng.integers(0, len(LARGE_NUMBERS))]
            data[at : at + len(number)] = number
    return bytes(data)


def peak_memory() -> int:
    """KiB of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@functools.cache  # what is compiled is compiled here
def read_sound(kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        SEEDS[kind].write(Path(folder), SEEDS[kind].data)
        SEEDS[kind].read(Path(folder))


@pytest.fixture(scope="module")
def memory_before():
    return peak_memory()


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        pytest.param(kind, number, id=f"{kind}-{number}", marks=[pytest.mark.slow] * (at >= QUICK))
        for at, (kind, number) in enumerate(NUMBERED)
    ],
)
def test_a_broken_file_is_read_or_refused(tmp_path, memory_before, kind, number):
    read_sound(kind)
    seed, rng = SEEDS[kind], np.random.default_rng([zlib.crc32(kind.encode()), number])
    path = seed.write(tmp_path, broken(seed.data, rng, seed.is_text))
    begin, message = time.process_time(), None
    try:
        seed.read(tmp_path)
    except Failure as failure:
        message = str(failure)
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        # As input_ops.naming_examples does; the last: TensorFlow quotes a record that is no text.
        message = reason_of(error, str(path))
    assert time.process_time() - begin < 5  # of CPU time, whatever else the machine does
    if message is not None:
        assert str(path) in message
        assert len(message.splitlines()) == 1
    assert peak_memory() - memory_before < 1 << 20


@pytest.mark.parametrize("kind", SEEDS)
def test_the_sound_file_is_read(kind):
    read_sound(kind)
