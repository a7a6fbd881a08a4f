"""Which examples a step sees: what must hold of every mix, seed and cut."""

import numpy as np
import pytest
import tensorflow as tf
from generated import examples
from hypothesis import example, given
from hypothesis import strategies as st
from places import TINY

import data_loader
import input_ops
from data_loader import from_arrays
from input_ops import Mix, MixSource
from train_config import Order, load_config

seeds = st.integers(0, (1 << 62) - 1) | st.integers(0, 3)


def numbers(name: str, length: int, first: int, block_length: int):
    values = np.arange(first, first + length)
    source = from_arrays(
        name, {"inputs": values.astype(np.float32)[:, np.newaxis], "targets": values}, (), name
    )
    return data_loader.Source(**{**vars(source), "block_length": block_length})


def mix_of(*parts):
    """(length, slots, length of a block) of each data set."""
    return Mix(
        [
            MixSource(str(i), numbers(str(i), length, 0, block), [], count)
            for i, (length, count, block) in enumerate(parts)
        ]
    )


MIXES = [
    mix_of((50, 7, 8), (20, 2, 0), (31, 1, 0)),
    mix_of((9, 1, 2), (1, 3, 0)),
    mix_of((64, 1, 10)),
]


@examples(3)
@given(
    st.sampled_from(MIXES),
    seeds,
    st.sampled_from([0, 3]),
    st.integers(1, 40),
    st.integers(0, 1000),
    st.integers(0, 9),
    st.integers(0, 9),
)
@example(MIXES[0], (1 << 62) - 1, 0, 10, 0, 4, 3)
def test_ids_of_steps_do_not_depend_on_where_they_are_cut(
    mix, seed, blocks, batch_size, start, before, after
):
    def ids(begin):
        order = Order(blocks=blocks or None)
        dataset = input_ops.ids_of_steps(
            mix, batch_size, seed, begin, start + before + after, order
        )
        return [tuple(column.tolist() for column in row) for row in dataset.as_numpy_iterator()]

    whole = ids(start)
    assert ids(start + before) == whole[before:]
    positions = np.arange(start * batch_size, (start + before + after) * batch_size).reshape(
        -1, batch_size
    )
    columns = (
        positions,
        *(column.numpy() for column in mix.ids(seed, tf.constant(positions), blocks)),
    )
    assert whole == list(zip(*(column.tolist() for column in columns), strict=True))


@examples(40)
@given(st.sampled_from(MIXES), seeds, st.sampled_from([0, 3]), st.integers(0, 1000))
def test_every_example_of_a_mix_comes_once_in_each_epoch_of_its_set(mix, seed, blocks, epoch):
    cycle = sum(part.slots for part in mix.sources)
    for number, part in enumerate(mix.sources):
        length = len(part.source)
        cycles = range(
            epoch * length // part.slots, -(-(epoch + 1) * length // part.slots)
        )  # those that hold this epoch of this set
        positions = tf.range(cycles.start * cycle, cycles.stop * cycle, dtype=tf.int64)
        of_set, ids = (column.numpy() for column in mix.ids(seed, positions, blocks))
        inside = ids[of_set == number] - mix.offsets[number]
        skipped = epoch * length - cycles.start * part.slots
        assert sorted(inside[skipped : skipped + length].tolist()) == list(range(length))


@pytest.mark.parametrize(
    "override",
    ["data.eval_ops=[tiny_scale]", "data.train={name: tiny_numbers, eval_ops: [tiny_scale]}"],
    ids=["of data", "of a data set"],
)
def test_operations_of_evaluation_are_not_those_of_training(override):
    config = load_config(TINY, [override, "data.ops=[{name: tiny_scale, factor: 9}]"]).data

    def factors(split: str, training: bool) -> list[float]:
        mix = input_ops.open_mix(config, split, training)
        return [op.factor for part in mix.sources for op in part.ops]

    assert factors("valid", training=False) == [2, 9]
    assert factors("train", training=True) == [9]
