"""The keyed permutation and the slots of a mix: what must hold of every length, seed and rate."""

from collections import Counter
from fractions import Fraction

import numpy as np
import tensorflow as tf
from generated import examples
from hypothesis import example, given
from hypothesis import strategies as st

from engine import order, stateless
from input_ops import slot_table, slots

seeds = st.integers(0, (1 << 62) - 1) | st.integers(0, 3)
lengths = st.integers(1, 40) | st.integers(1, 3000)


def permuted(seed: int, epoch: int, k, length: int) -> list[int]:
    k = tf.constant(k, tf.int64)
    return (
        stateless.permutation(
            tf.constant(seed, tf.int64), tf.fill(k.shape, tf.constant(epoch, tf.int64)), k, length
        )
        .numpy()
        .tolist()
    )


@examples(60)
@given(lengths, seeds, st.integers(0, 1 << 40))
@example(1, 0, 0)
def test_permutation_is_a_bijection_of_any_length(length, seed, epoch):
    assert sorted(permuted(seed, epoch, range(length), length)) == list(range(length))


@examples(30)
@given(st.integers(1 << 20, 1 << 60), seeds, st.integers(0, 1 << 40), st.data())
def test_permutation_of_a_huge_set_is_one_to_one_where_it_is_looked_at(length, seed, epoch, drawn):
    k = drawn.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=200, unique=True))
    found = permuted(seed, epoch, k, length)
    assert len(set(found)) == len(k) and all(0 <= each < length for each in found)
    assert [permuted(seed, epoch, [each], length)[0] for each in k[:3]] == found[:3]


def test_a_permutation_that_is_none_is_noticed(monkeypatch):
    """The control: over a square that is too small for the set, values collide."""
    monkeypatch.setattr(stateless.math, "isqrt", lambda value: 8)  # a square of 81 for 100 examples
    assert sorted(permuted(0, 0, range(100), 100)) != list(range(100))


@examples(60)
@given(lengths, seeds, st.integers(0, 7), st.integers(0, 12), st.integers(0, 1000), st.data())
def test_shuffled_epochs_hold_every_example_once_however_positions_are_batched(
    length, seed, blocks, block_length, epoch, drawn
):
    blocks = blocks * bool(block_length)
    positions = np.arange(epoch * length, (epoch + 2) * length)
    found = order.shuffled(seed, tf.constant(positions), length, block_length, blocks).numpy()
    for each in (found[:length], found[length:]):
        assert sorted(each.tolist()) == list(range(length))
    cuts = sorted(drawn.draw(st.lists(st.integers(0, 2 * length), max_size=3)))
    parts = [
        order.shuffled(seed, tf.constant(part), length, block_length, blocks).numpy()
        for part in np.split(positions, cuts)
    ]
    assert np.concatenate(parts).tolist() == found.tolist()
    if 0 < block_length * blocks < length:  # a group holds whole blocks
        for start in range(0, length - block_length * blocks + 1, block_length * blocks):
            blocks_of_group = Counter(
                (found[start : start + block_length * blocks] // block_length).tolist()
            )
            assert (
                set(blocks_of_group.values()) == {block_length} and len(blocks_of_group) == blocks
            )


# ---- mix

rates = st.lists(
    st.floats(1e-12, 1e12) | st.integers(1, 12).map(float) | st.floats(0.01, 1.0),
    min_size=1,
    max_size=6,
)


@examples(60)
@given(rates)
@example([5e-324, 1.7e308])
@example([1.0, 1e-9, 1e-9, 1e-9])
def test_slots_are_shares_of_a_cycle(given_rates):
    counts, total = slots(given_rates), sum(Fraction(str(rate)) for rate in given_rates)
    assert len(counts) == len(given_rates) and min(counts) >= 1
    raised = sum(
        Fraction(str(rate)) / total < Fraction(1, 10_000) for rate in given_rates
    )  # these get one slot all the same
    assert sum(counts) <= 10_000 + raised
    for count, rate in zip(counts, given_rates, strict=True):
        assert abs(Fraction(count, sum(counts)) - Fraction(str(rate)) / total) < Fraction(
            1 + raised, 10_000
        )


@examples(60)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6))
@example([1, 9999])
def test_slots_of_a_cycle_are_spread_evenly(counts):
    number, rank = slot_table(counts)
    assert np.bincount(number, minlength=len(counts)).tolist() == counts
    taken = np.cumsum(
        number[:, np.newaxis] == np.arange(len(counts)), axis=0
    )  # (slots, sets), after each slot
    assert (rank == taken[np.arange(len(number)), number] - 1).all()  # the how-manieth of its set
    share = np.array(counts) / sum(counts)
    expected = np.arange(1, len(number) + 1)[:, np.newaxis] * share
    assert (np.abs(taken - expected) <= 0.5 + share * len(counts) / 2 + 1e-9).all()
    one_after_the_other = np.repeat(
        np.arange(len(counts)), counts
    )  # the control: the same counts, not spread
    apart = np.cumsum(one_after_the_other[:, np.newaxis] == np.arange(len(counts)), axis=0)
    if counts[0] > 2 * len(counts) and len(counts) > 1:
        assert (np.abs(apart - expected) > 0.5 + share * len(counts) / 2 + 1e-9).any()
