"""The order of the data, and the batches: invariants and numbers worked out by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf
from tiny.sitecustomize import TinyNoise, TinyNumbers, TinyScale

import data_loader
import input_ops
from cli.program import DataError
from engine import stateless
from engine.stateless import mix64
from input_ops import Mix


def permutation(seed: int, epoch: int, length: int) -> np.ndarray:
    positions = tf.range(length, dtype=tf.int64)
    compiled = tf.function(
        lambda k: stateless.permutation(
            tf.constant(seed, tf.int64), tf.fill([length], tf.constant(epoch, tf.int64)), k, length
        )
    )
    return compiled(positions).numpy()


# ---- order


def test_mix64_is_splitmix64():
    """The published first outputs of splitmix64 seeded with 0 and with 1234567."""
    state = tf.constant([0, 1234567], tf.uint64)
    assert mix64(state).numpy().tolist() == [0xE220A8397B1DCDAF, 6457827717110365317]


@pytest.mark.parametrize("length", [1, 2, 3, 5, 10, 16, 17, 100, 1000, 4096, 5003])
def test_permutation_is_a_bijection(length):
    for seed, epoch in ((0, 0), (0, 1), (12345, 0)):
        assert sorted(permutation(seed, epoch, length)) == list(range(length))


def test_permutation_golden_values():
    """These decide which examples a run sees: with others no run that exists could go on."""
    assert permutation(0, 0, 10).tolist() == [4, 7, 2, 5, 1, 6, 0, 3, 9, 8]
    assert permutation(1, 2, 4000)[:6].tolist() == [2399, 25, 1516, 3737, 2002, 2785]


@pytest.mark.parametrize("length", [1_000, 5_000, 60_000, 1_281_167])
def test_permutation_is_random(length):
    """Correlations of orders, as z values.

    |z| < 4 but for one good shuffle in 16,000; a weak one is in the hundreds.
    """
    first, next_epoch, other_seed = (
        permutation(0, 0, length),
        permutation(0, 1, length),
        permutation(1, 0, length),
    )
    pairs = {"epoch": (first, next_epoch), "seed": (first, other_seed), **pairs_within(first)}
    assert {name: z for name, pair in pairs.items() if (z := z_value(*pair)) >= 4} == {}


def pairs_within(shuffled):
    """A shuffle against no shuffle, its neighbors, and those one row of the Feistel square away."""
    row = math.isqrt(len(shuffled) - 1) + 1
    return {
        "identity": (shuffled, np.arange(len(shuffled))),
        "neighbor": (shuffled[1:], shuffled[:-1]),
        "row": (shuffled[row:], shuffled[:-row]),
    }


def z_value(a, b) -> float:
    return abs(np.corrcoef(a, b)[0, 1]) * math.sqrt(len(a) - 1)


@pytest.mark.parametrize("rounds", [1, 2])
def test_the_z_table_notices_a_weak_shuffle(monkeypatch, rounds):
    monkeypatch.setattr(stateless, "_ROUNDS", rounds)
    weak = {
        **pairs_within(permutation(0, 0, 5_000)),
        "epoch": (permutation(0, 0, 5_000), permutation(0, 1, 5_000)),
    }
    assert max(z_value(*pair) for pair in weak.values()) > 10


def indices_of_steps(length: int, batch_size: int, seed: int, start: int, stop: int) -> list:
    """Example indices of each step, from the real pipeline."""
    source = data_loader.from_arrays(
        "numbers", {"inputs": np.arange(length), "targets": np.arange(length)}
    )
    return [
        batch["id"].numpy().tolist()
        for batch in input_ops.train_batches(Mix.of(source, []), batch_size, seed, start, stop)
    ]


def test_every_epoch_sees_every_example_once():
    """Batches run on over the end of an epoch: 7 steps of 10 are 2 epochs of 35."""
    stream = [i for step in indices_of_steps(35, 10, 3, 0, 7) for i in step]
    assert sorted(stream[:35]) == sorted(stream[35:]) == list(range(35))
    assert stream[:35] != stream[35:]


@pytest.mark.parametrize("start", [1, 7, 63, 1000])
def test_any_step_is_the_same_wherever_the_pipeline_starts(start):
    from_zero = indices_of_steps(1000, 16, 5, 0, start + 3)[-3:]
    assert indices_of_steps(1000, 16, 5, start, start + 3) == from_zero
    assert indices_of_steps(1000, 16, 5, start + 1, start + 4) != from_zero


def test_a_far_step_is_reached_at_once():
    far = 1_000_000_000
    (indices,) = indices_of_steps(1000, 16, 5, far, far + 1)
    epoch, k = divmod(far * 16, 1000)
    assert indices == permutation(5, epoch, 1000)[k : k + 16].tolist()


# ---- batches


def load(split: str, **options) -> data_loader.Source:
    return data_loader.load(TinyNumbers(name="tiny_numbers", **options), split, None)


def test_augmented_batches_are_the_same_from_any_start_and_differ_between_epochs():
    source = load("train", size=64)
    ops = [TinyScale(name="tiny_scale"), TinyNoise(name="tiny_noise")]

    def batches(start, stop):
        return [
            batch["inputs"].numpy()
            for batch in input_ops.train_batches(Mix.of(source, ops), 16, 0, start, stop)
        ]

    whole = batches(0, 8)
    np.testing.assert_array_equal(np.stack(batches(5, 8)), np.stack(whole[5:]))

    def image_of(batches_, ids, example):
        return np.concatenate(batches_)[ids.index(example)]

    ids = [
        i
        for batch in input_ops.train_batches(Mix.of(source, ops), 16, 0, 0, 8)
        for i in batch["id"].numpy().tolist()
    ]
    changed = [
        not np.array_equal(image_of(whole[:4], ids[:64], i), image_of(whole[4:], ids[64:], i))
        for i in range(64)
    ]
    assert sum(changed) == 64


def test_evaluation_batches_hold_every_example_once_and_pad_with_weight_zero():
    source = load("valid", size=30, shape=[2])
    ((_, dataset, number),) = input_ops.eval_sets(Mix.of(source, []), 4)
    batches = list(dataset)
    assert number == len(batches) == 3
    weights = np.concatenate([batch["sample_weight"] for batch in batches])
    ids = np.concatenate([batch["id"] for batch in batches])
    assert weights.tolist() == [1] * 10 + [0] * 2
    assert ids[weights == 1].tolist() == list(range(10))


def test_too_small_a_set_is_refused():
    source = load("train", size=10, shape=[2])
    with pytest.raises(DataError, match="at least one batch of 11 examples, got 10"):
        input_ops.train_batches(Mix.of(source, []), 11, 0)
