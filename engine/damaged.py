"""Which example is damaged, and why: one line, with the file, line or record."""

import itertools
import re
from collections.abc import Callable, Iterable
from contextlib import contextmanager

import tensorflow as tf

from cli.program import DataError

# What reading and treating examples raises; the last: TensorFlow quotes bytes that are no text.
READING_ERRORS = (
    tf.errors.InvalidArgumentError,
    tf.errors.UnknownError,
    tf.errors.InternalError,
    tf.errors.DataLossError,
    UnicodeDecodeError,
)
_IDS_AT_ONCE = 64
_NAMES_OF_NODES = re.compile(
    r"\{\{.*?\}\}|\[\[.*|\[Op:.*|Error in user-defined function passed to .*? with iterator: \S+"
)


@contextmanager
def naming_examples(features: Callable, ids: Iterable[int], locate: Callable):
    """Inside `with`, an error of the pipeline becomes a DataError that names the example."""
    try:
        yield
    except READING_ERRORS as error:
        name_example(error, features, ids, locate)


def name_example(error: Exception, features: Callable, ids: Iterable[int], locate: Callable):
    """Raises a DataError that names the first of `ids` for which `features` fails alone.

    `features` takes int64 [n]; `locate(id)` says where an example is stored. Where none of them
    fails, the error is raised as it is.
    """
    reason = first_failure(error, features, ids, locate)
    if reason is None:
        raise error
    raise DataError(reason) from error


def first_failure(
    error: Exception, features: Callable, ids: Iterable[int], locate: Callable
) -> str | None:
    """What is wrong with the first of `ids` for which `features` fails alone; None: with none."""
    if "DataError: " in str(error):  # raised by a function of ours inside the graph
        return reason_of(error, "")
    # Compiled once: the damaged example may be the last of many.
    compiled = tf.function(features, input_signature=[tf.TensorSpec([None], tf.int64)])

    def failure(some: list[int]) -> str | None:
        try:
            compiled(tf.constant(some, tf.int64))
        except (tf.errors.OpError, UnicodeDecodeError) as problem:
            return reason_of(problem, locate(some[0]))
        return None

    ids = map(int, ids)  # there may be many, and the damaged one among the first
    while some := list(itertools.islice(ids, _IDS_AT_ONCE)):
        if failure(some):
            failures = (failure([example]) for example in some)
            return next(filter(None, failures), None)
    return None


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
        tf.io.decode_image(data, expand_animations=False)
    except (tf.errors.InvalidArgumentError, tf.errors.UnknownError) as error:
        return reason_of(error, item)
    return None
