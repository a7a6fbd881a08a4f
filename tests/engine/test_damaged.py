"""Which example is damaged, and why: one line, whatever TensorFlow says."""

import numpy as np
import pytest
import tensorflow as tf

from cli.program import DataError
from engine import damaged
from engine.damaged import READING_ERRORS, all_failures, damage_of, naming_examples, reason_of
from engine.devices import GONE


def fails_at(*bad: int):
    """Features of examples, of which some cannot be treated."""

    def features(ids):
        are_sound = [tf.reduce_all(ids != example) for example in bad]
        with tf.control_dependencies([tf.debugging.Assert(ok, ["unlucky"]) for ok in are_sound]):
            return tf.identity(ids)

    return features


def fails_from(*bad: int):
    def features(ids):
        is_sound = tf.reduce_all((ids < bad[0]) | (ids > bad[-1]))
        with tf.control_dependencies([tf.debugging.Assert(is_sound, ["unlucky"])]):
            return tf.identity(ids)

    return features


def failing(features, ids):
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        features(tf.constant(ids, tf.int64))
    return caught.value


@pytest.mark.parametrize(
    ("bad", "begins"),
    [
        ([171], "file 171: "),
        ([150, 171], "2 damaged of 1,000 looked at: file 150: "),
        (range(3, 903), "900 damaged of 1,000 looked at: file 3: "),
    ],
)
def test_all_that_fail_alone_are_named_the_first_ten(bad, begins):
    features = fails_at(*bad) if len(bad) < 3 else fails_from(*bad)
    with (
        pytest.raises(DataError, match=f"^{begins}.*unlucky") as caught,
        naming_examples(features, range(1000), "file {}".format),
    ):
        features(tf.constant([3, 171, 150], tf.int64))
    assert isinstance(caught.value.__cause__, tf.errors.InvalidArgumentError)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.count("unlucky") == min(len(bad), 10)
    assert message.endswith(" (and 890 more)") is (len(bad) == 900)


def test_the_search_for_others_is_bounded(monkeypatch):
    monkeypatch.setattr(damaged, "_MOST_EXAMPLES", 128)
    error = failing(fails_at(5), [5])
    message = all_failures(error, fails_at(5, 70, 300), range(10**9), str)
    assert message.startswith("2 damaged of 128 looked at: 5: ")
    assert all_failures(error, fails_at(300), range(400), str).startswith("300: ")


def test_an_error_of_none_of_the_examples_stays_as_it_is():
    error = failing(fails_at(5), [5])
    assert all_failures(error, fails_at(), range(100), str) is None
    with (
        pytest.raises(tf.errors.InvalidArgumentError),
        naming_examples(fails_at(), [], str),
    ):
        raise error


@pytest.mark.parametrize("gone", GONE)
def test_a_process_that_is_gone_is_no_damaged_example(gone):
    assert not issubclass(gone, READING_ERRORS)
    with pytest.raises(gone), naming_examples(fails_at(1), [1], str):
        raise gone(None, None, "connection reset")


def test_a_data_error_from_inside_a_graph_keeps_its_own_item():
    def read(ids):
        raise DataError("b.csv: line 7: expected a number, got 'x'")

    @tf.function
    def features(ids):
        return tf.numpy_function(read, [ids], tf.int64)

    with (
        pytest.raises(DataError, match=r"^b\.csv: line 7: expected a number, got 'x'$"),
        naming_examples(features, [1], str),
    ):
        features(tf.constant([1], tf.int64))


def test_one_line_without_names_of_nodes():
    error = tf.errors.InvalidArgumentError(
        None, None, "stack\n{{node a/b}} too long [[{{node c}}]]\n"
    )
    assert reason_of(error, "a.png") == "a.png: too long"
    quoted = UnicodeDecodeError("utf-8", b"no record \xff\n", 10, 11, "invalid start byte")
    assert reason_of(quoted, "a.tfrecord") == r"a.tfrecord: no record \xff"


def test_damage_of_an_image():
    sound = tf.io.encode_png(np.zeros((4, 4, 3), np.uint8)).numpy()
    assert damage_of(sound, "a.png") is None
    assert damage_of(sound[:-20], "a.png").startswith("a.png: ")
    assert damage_of(b"", "b.png").startswith("b.png: ")
