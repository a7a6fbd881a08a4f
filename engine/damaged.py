"""Which example is damaged, and why."""

import itertools
from collections.abc import Callable, Iterable
from contextlib import contextmanager

import tensorflow as tf

from cli import program
from cli.program import DataError
from engine.devices import GONE

# What reading and treating examples raises; the last where TensorFlow quotes a record that is no text.
READING_ERRORS = (
    tf.errors.InvalidArgumentError, tf.errors.UnknownError, tf.errors.InternalError, tf.errors.DataLossError, UnicodeDecodeError,
)  # fmt: skip


def first_failure(
    error: Exception, features: Callable, ids: Iterable[int], locate: Callable[[int], str]
) -> str | None:
    """One line for an error of the pipeline: the item and what is wrong with the first of `ids` for which `features` fails alone."""
    if "DataError: " in str(error):  # raised by a function of ours inside the graph
        return program.reason_of(error, "")
    treat = tf.function(
        features, input_signature=[tf.TensorSpec([None], tf.int64)]
    )  # once: the damaged one may be the last of many

    def failure(some: list[int]) -> str | None:
        try:
            treat(tf.constant(some, tf.int64))
        except (tf.errors.OpError, UnicodeDecodeError) as found:
            return program.reason_of(found, locate(some[0]))
        return None

    ids = iter(ids)  # there may be many, and the damaged one among the first
    while some := [int(each) for each in itertools.islice(ids, 64)]:
        if failure(some):
            return next((reason for each in some if (reason := failure([each]))), None)
    return None


@contextmanager
def naming_examples(features, ids, locate):
    """Turns an error of the pipeline into a DataError that names the example."""
    try:
        yield
    except GONE:  # another process, not an example
        raise
    except READING_ERRORS as error:
        if reason := first_failure(error, features, ids, locate):
            raise DataError(reason) from error
        raise
