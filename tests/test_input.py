"""The order of the data, the operations on it, and the batches: invariants and numbers worked out by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf

import data_loader
import input_ops
import typed_yaml
from data_config import Fake, OneHot, OpConfig, RandomCrop, RandomFlip, RandomRotate, RandomShift, Scale, Standardise
from preprocess_data import OPS, apply_ops, fold, mix64, uniform
from program import ConfigError, DataError


def permutation(seed: int, epoch: int, length: int) -> np.ndarray:
    positions = tf.range(length, dtype=tf.int64)
    compiled = tf.function(
        lambda k: input_ops.permutation(tf.constant(seed, tf.int64), tf.fill([length], tf.constant(epoch, tf.int64)), k, length)
    )
    return compiled(positions).numpy()


# ------------------------------------------------------------------------------------------------------------ order


def test_mix64_is_splitmix64():
    """The published first outputs of splitmix64 seeded with 0 and with 1234567."""
    state = tf.constant([0, 1234567], tf.uint64)
    assert mix64(state).numpy().tolist() == [0xE220A8397B1DCDAF, 6457827717110365317]


@pytest.mark.parametrize("length", [1, 2, 3, 5, 10, 16, 17, 100, 1000, 4096, 5003])
def test_permutation_is_a_bijection(length):
    for seed, epoch in ((0, 0), (0, 1), (12345, 0)):
        assert sorted(permutation(seed, epoch, length)) == list(range(length))


def test_permutation_golden_values():
    """These decide which examples a run sees: a change here breaks the resumption of every run that exists."""
    assert permutation(0, 0, 10).tolist() == [4, 7, 2, 5, 1, 6, 0, 3, 9, 8]
    assert permutation(1, 2, 4000)[:6].tolist() == [2399, 25, 1516, 3737, 2002, 2785]


@pytest.mark.parametrize("length", [1_000, 5_000, 60_000, 1_281_167])
def test_permutation_is_random(length):
    """Correlations of orders, as z values: |z| < 4 but for one good shuffle in 16,000; a weak one is in the hundreds."""
    first, next_epoch, other_seed = permutation(0, 0, length), permutation(0, 1, length), permutation(1, 0, length)
    pairs = {"epoch": (first, next_epoch), "seed": (first, other_seed), **pairs_within(first)}
    assert {name: z for name, pair in pairs.items() if (z := z_value(*pair)) >= 4} == {}


def pairs_within(shuffled):
    """A shuffle against no shuffle, against its neighbours, and against those one row of the Feistel square away."""
    row = math.isqrt(len(shuffled) - 1) + 1
    return {
        "identity": (shuffled, np.arange(len(shuffled))),
        "neighbour": (shuffled[1:], shuffled[:-1]),
        "row": (shuffled[row:], shuffled[:-row]),
    }


def z_value(a, b) -> float:
    return abs(np.corrcoef(a, b)[0, 1]) * math.sqrt(len(a) - 1)


@pytest.mark.parametrize("rounds", [1, 2])
def test_the_z_table_notices_a_weak_shuffle(monkeypatch, rounds):
    monkeypatch.setattr(input_ops, "_ROUNDS", rounds)
    weak = {**pairs_within(permutation(0, 0, 5_000)), "epoch": (permutation(0, 0, 5_000), permutation(0, 1, 5_000))}
    assert max(z_value(*pair) for pair in weak.values()) > 10


def indices_of_steps(length: int, batch_size: int, seed: int, start: int, stop: int) -> list:
    """Example indices of each step, from the real pipeline."""
    source = data_loader.from_arrays("numbers", {"inputs": np.arange(length), "targets": np.arange(length)}, ["a"])
    return [batch["id"].numpy().tolist() for batch in input_ops.train_batches(source, [], batch_size, seed, start, stop)]


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


# ------------------------------------------------------------------------------------------------------- operations


IMAGES = np.arange(4 * 6 * 5 * 2, dtype=np.uint8).reshape(4, 6, 5, 2)  # no two pixels alike
SEEDS = fold(0, tf.range(4))


def run_op(config, inputs=IMAGES, seeds=SEEDS, targets=(0, 1, 2, 1)):
    features = {"inputs": tf.constant(inputs), "targets": tf.constant(targets, tf.int64)}
    return apply_ops(features, seeds, [config], num_classes=3)


def test_scale_standardise_and_one_hot_by_hand():
    assert run_op(Scale(name="scale"), np.array([[0, 51, 255]], np.uint8))["inputs"].numpy().tolist() == [[0.0, np.float32(0.2), 1.0]]
    standardised = run_op(Standardise(name="standardise", mean=[1.0, 2.0], std=[2.0, 4.0]), np.array([[3.0, 10.0]], np.float32))
    assert standardised["inputs"].numpy().tolist() == [[1.0, 2.0]]
    assert run_op(OneHot(name="one_hot"))["targets"].numpy().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0]]


def test_random_shift_moves_each_image_by_a_whole_vector():
    seeds = fold(1, tf.range(300))
    shifted = run_op(RandomShift(name="random_shift", pixels=2), np.repeat(IMAGES[1:2], 300, 0), seeds, [0] * 300)["inputs"].numpy()
    seen = set()
    for image in shifted:
        padded = np.pad(IMAGES[1], [(2, 2), (2, 2), (0, 0)])
        matches = [(y, x) for y in range(5) for x in range(5) if np.array_equal(padded[y : y + 6, x : x + 5], image)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 25  # every shift from (-2, -2) to (2, 2)


def test_random_crop_cuts_windows_of_the_size():
    cropped = run_op(RandomCrop(name="random_crop", size=(3, 4)))["inputs"].numpy()
    for image, crop in zip(IMAGES, cropped, strict=True):
        assert any(np.array_equal(image[y : y + 3, x : x + 4], crop) for y in range(4) for x in range(2))
    with pytest.raises(ConfigError, match=r"at most the padded image, 8x7, got 9x4"):
        run_op(RandomCrop(name="random_crop", size=(9, 4), padding=1))


@pytest.mark.parametrize(("direction", "axis"), [("horizontal", 1), ("vertical", 0)])
def test_random_flip_mirrors_about_half(direction, axis):
    seeds = fold(2, tf.range(400))
    flipped = run_op(RandomFlip(name="random_flip", direction=direction), np.repeat(IMAGES[:1], 400, 0), seeds, [0] * 400)["inputs"].numpy()
    kinds = [0 if np.array_equal(image, IMAGES[0]) else 1 if np.array_equal(image, np.flip(IMAGES[0], axis)) else 2 for image in flipped]
    assert set(kinds) == {0, 1}
    assert 140 < sum(kinds) < 260  # 6 standard deviations


def test_random_rotate_turns_about_the_centre():
    """A quarter turn maps pixels to pixels; the centre stays; the angle stays in its range."""
    images = np.zeros((200, 9, 9, 1), np.float32)
    images[:, 4, 4] = 1.0  # the centre
    images[:, 4, 8] = 1.0  # to its right
    turned = run_op(RandomRotate(name="random_rotate", degrees=30), images, fold(3, tf.range(200)), [0] * 200)["inputs"].numpy()[..., 0]
    np.testing.assert_allclose(turned[:, 4, 4], 1.0, atol=1e-5)
    y, x = np.mgrid[:9, :9] - 4
    outer = turned * (np.hypot(y, x) > 2)
    angles = np.degrees(np.arctan2((outer * y).sum((1, 2)), (outer * x).sum((1, 2))))
    assert -33 < angles.min() < -20 and 20 < angles.max() < 33


@pytest.mark.parametrize("name", sorted(OPS))
def test_operations_treat_an_example_alike_in_any_batch(name):
    """What an example becomes depends on its own seed, not on its neighbours: so threads and towers cannot change it."""
    options = {"standardise": {"mean": [0.1], "std": [2.0]}, "random_shift": {"pixels": 1}, "random_crop": {"size": (3, 3)}}
    options["random_rotate"] = {"degrees": 40.0}
    config = next(c for c in OP_CLASSES if c.model_fields["name"].annotation.__args__[0] == name)(name=name, **options.get(name, {}))
    whole = run_op(config)
    for i in range(4):
        alone = run_op(config, IMAGES[i : i + 1], SEEDS[i : i + 1], [[0, 1, 2, 1][i]])
        np.testing.assert_array_equal(whole["inputs"][i], alone["inputs"][0])
        np.testing.assert_array_equal(whole["targets"][i], alone["targets"][0])


OP_CLASSES = typed_yaml.members(OpConfig)


def test_uniform_fills_its_range():
    values = uniform(fold(0, tf.range(20_000)), 0, -1.0, 3.0).numpy()
    assert values.min() >= -1 and values.max() < 3
    assert abs(values.mean() - 1) < 0.05 and abs(values.var() - 16 / 12) < 0.05


# ---------------------------------------------------------------------------------------------------------- batches


def test_augmented_batches_are_the_same_from_any_start_and_differ_between_epochs():
    source = data_loader.load(Fake(name="fake", size=64), "train", None)
    ops = [RandomShift(name="random_shift", pixels=2), Scale(name="scale")]

    def batches(start, stop):
        return [batch["inputs"].numpy() for batch in input_ops.train_batches(source, ops, 16, 0, start, stop)]

    whole = batches(0, 8)
    np.testing.assert_array_equal(np.stack(batches(5, 8)), np.stack(whole[5:]))

    def image_of(batches_, ids, example):
        return np.concatenate(batches_)[ids.index(example)]

    ids = [i for batch in input_ops.train_batches(source, ops, 16, 0, 0, 8) for i in batch["id"].numpy().tolist()]
    changed = [not np.array_equal(image_of(whole[:4], ids[:64], i), image_of(whole[4:], ids[64:], i)) for i in range(64)]
    assert sum(changed) > 48  # 24 of 25 shifts differ


def test_evaluation_batches_hold_every_example_once_and_pad_with_weight_zero():
    source = data_loader.load(Fake(name="fake", size=10, shape=[2]), "valid", None)
    dataset, number = input_ops.eval_batches(source, [], 4)
    batches = list(dataset)
    assert number == len(batches) == 3
    weights = np.concatenate([batch["sample_weight"] for batch in batches])
    ids = np.concatenate([batch["id"] for batch in batches])
    assert weights.tolist() == [1] * 10 + [0] * 2
    assert ids[weights == 1].tolist() == list(range(10))


def test_too_small_a_set_is_refused():
    source = data_loader.load(Fake(name="fake", size=10, shape=[2]), "train", None)
    with pytest.raises(DataError, match="at least one batch of 11 examples, got 10"):
        input_ops.train_batches(source, [], 11, 0)
