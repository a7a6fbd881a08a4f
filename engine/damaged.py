"""Which example is damaged, and why: one line, with the file, line or record."""

import itertools
import re
import time
from collections.abc import Callable, Iterable, Sized
from contextlib import contextmanager

import tensorflow as tf

from cli.program import DataError
from engine import indexed_bmp
from engine.checkpoint import listed

# What reading and treating examples raises; the last: TensorFlow quotes bytes that are no text.
READING_ERRORS = (
    tf.errors.InvalidArgumentError,
    tf.errors.UnknownError,
    tf.errors.InternalError,
    tf.errors.DataLossError,
    UnicodeDecodeError,
)
_IDS_AT_ONCE = 64
_MOST_EXAMPLES = 20_000  # and
_MOST_SECONDS = 60  # of CPU time, to find all that are damaged
_NAMES_OF_NODES = re.compile(
    r"\{\{.*?\}\}|\[\[.*|\[Op:.*|Error in user-defined function passed to .*? with iterator: \S+"
)


@contextmanager
def naming_examples(features: Callable, ids: Iterable[int], locate: Callable):
    """Inside `with`, an error of the pipeline becomes a DataError that names the examples."""
    try:
        yield
    except READING_ERRORS as error:
        name_example(error, features, ids, locate)


def name_example(error: Exception, features: Callable, ids: Iterable[int], locate: Callable):
    """Raises a DataError that names those of `ids` for which `features` fails alone.

    `features` takes int64 [n]; `locate(id)` says where an example is stored. Where none of them
    fails, the error is raised as it is.
    """
    reason = all_failures(error, features, ids, locate)
    if reason is None:
        raise error
    raise DataError(reason) from error


def all_failures(
    error: Exception, features: Callable, ids: Iterable[int], locate: Callable
) -> str | None:
    """What is wrong with those of `ids` for which `features` fails alone; None: with none.

    Once one is found, the search for others ends after so many examples or so much work.
    """
    told = reason_of(error, "") if "DataError: " in str(error) else None  # by a function of ours
    if told and isinstance(ids, Sized) and len(ids) == 1:  # there is no other to look for
        return told
    failures = []
    num_read = 0
    begin = time.process_time()
    for batch in _failures_in_batches(features, ids, locate):
        num_read += len(batch)
        failures += filter(None, batch)
        is_enough = num_read >= _MOST_EXAMPLES or time.process_time() - begin > _MOST_SECONDS
        if failures and is_enough:
            break
    if len(failures) > 1:
        return f"{len(failures):,} damaged of {num_read:,} looked at: {listed(failures, '; ')}"
    return failures[0] if failures else told


def _failures_in_batches(features: Callable, ids: Iterable[int], locate: Callable):
    """Lists of what is wrong with each example, or None: a batch, or one by one where it fails."""
    # Compiled once: the damaged example may be the last of many.
    compiled = tf.function(features, input_signature=[tf.TensorSpec([None], tf.int64)])

    def failure(some: list[int]) -> str | None:
        try:
            compiled(tf.constant(some, tf.int64))
        except (tf.errors.OpError, UnicodeDecodeError) as problem:
            return reason_of(problem, locate(some[0]))
        return None

    seen = set()
    ids = map(int, ids)  # there may be many, and the damaged one among the first
    while some := list(itertools.islice(ids, _IDS_AT_ONCE)):
        some = [example for example in dict.fromkeys(some) if example not in seen]
        seen.update(some)
        if some and failure(some):
            yield from ([failure([example])] for example in some)
        else:
            yield [None] * len(some)


def reason_of(error: Exception, item: str) -> str:
    """One line for an error of TensorFlow while it read or treated `item`.

    A DataError that a Python function raised inside a graph comes out as text, with its own item.
    """
    text = str(error)
    if isinstance(error, DataError):
        return text
    if told := re.search(r"DataError: ([^\n]*)", text):
        return told[1]
    if isinstance(error, UnicodeDecodeError):
        text = error.object.decode(errors="backslashreplace")
    # The last line that says something: before it there may be a stack.
    lines = [line.strip() for line in _NAMES_OF_NODES.sub("", text).splitlines()]
    return f"{item}: {list(filter(None, lines))[-1]}"


def damage_of(data: bytes, item: str) -> str | None:
    """One line on why an encoded image cannot be decoded, or None; decodes it."""
    try:
        if indexed_bmp.is_indexed_bmp(data):
            indexed_bmp.decode(data)
        else:
            tf.io.decode_image(data, expand_animations=False)
    except (tf.errors.InvalidArgumentError, tf.errors.UnknownError) as error:
        return reason_of(error, item)
    return None
