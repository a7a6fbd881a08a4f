"""What the examples of a pair take of each other."""

import numpy as np
import pytest
import tensorflow as tf
from operations import op, sides

from cli.program import ConfigError
from engine.stateless import fold
from preprocess_data import apply_ops

MIXED = {  # 8 examples
    "inputs": np.random.default_rng(0).random((8, 6, 6, 3), np.float32),
    "targets": np.arange(8) % 3,
}
EXAMPLES = {"mixup": ({}, MIXED), "cutmix": ({}, MIXED)}  # (options, features)


def mix(name, inputs, seeds=None, num_classes=4, targets=None, **options):
    seeds = fold(0, tf.range(len(inputs))) if seeds is None else seeds
    targets = tf.range(len(inputs)) % num_classes if targets is None else tf.constant(targets)
    features = {"inputs": tf.constant(inputs), "targets": targets}
    ops = [op(name, **options)]
    found = tf.function(lambda *given: apply_ops(*given, ops, num_classes))(features, seeds)
    return found["inputs"].numpy(), found["targets"].numpy()


FLAT = np.arange(8, dtype=np.float32).reshape(8, 1, 1, 1) * np.ones(
    (1, 10, 10, 1), np.float32
)  # image i holds i everywhere


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_pair_shares_inputs_and_targets_in_the_same_proportion(name):
    """Of images that are 0, 1, 2...

    Everywhere, the mean tells the share of the neighbor, which is 2 i + 1 for 2 i and back.
    """
    inputs, targets = mix(name, FLAT, alpha=1.0, num_classes=8)
    neighbor = np.arange(8) ^ 1
    share = (inputs.mean((1, 2, 3)) - np.arange(8)) / (neighbor - np.arange(8))
    expected = (1 - share)[:, np.newaxis] * np.eye(8) + share[:, np.newaxis] * np.eye(8)[neighbor]
    np.testing.assert_allclose(targets, expected, atol=1e-5)
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    assert np.ptp(share) > 0.2 and share.min() >= 0 and share.max() <= 1


def test_mixup_blends_and_cutmix_pastes():
    blended, _ = mix("mixup", FLAT, alpha=1.0)
    assert np.ptp(blended, axis=(1, 2, 3)).max() < 1e-6
    np.testing.assert_allclose(
        blended[::2] + blended[1::2], FLAT[::2] + FLAT[1::2], atol=1e-5
    )  # one share for both of a pair
    pasted, _ = mix("cutmix", np.tile(FLAT, (50, 1, 1, 1)).astype(np.uint8), alpha=1.0)
    sides((pasted != np.tile(FLAT, (50, 1, 1, 1)))[..., 0])
    assert pasted.dtype == np.uint8 and set(np.unique(pasted)) == set(range(8))


def test_shares_of_mixup_are_of_the_beta_distribution():
    """Beta(alpha, alpha) has the mean 1/2 and the variance 1 / (4 (2 alpha + 1)).

    Small alphas keep to one of the two.
    """
    shares = {
        alpha: mix("mixup", np.tile(np.float32([[0], [1]]), (1000, 1)), alpha=alpha)[0][1::2, 0]
        for alpha in (0.2, 4.0)
    }
    for alpha, share in shares.items():
        assert abs(share.mean() - 0.5) < 0.05
        np.testing.assert_allclose(share.var(), 1 / (4 * (2 * alpha + 1)), rtol=0.15)


def test_mixup_and_cutmix_soft_targets_are_mixed_as_they_are_and_what_cannot_be_mixed_is_refused():
    _, targets = mix("mixup", FLAT[:2], alpha=1.0, targets=np.float32([[0.9, 0.1], [0.5, 0.5]]))
    np.testing.assert_allclose(targets.sum(axis=0), [1.4, 0.6], atol=1e-6)
    with pytest.raises(ConfigError, match="mixup: expected float inputs, got uint8"):
        mix("mixup", FLAT.astype(np.uint8))
    with pytest.raises(ConfigError, match="cutmix: expected one class for each example"):
        mix("cutmix", FLAT, targets=np.zeros((8, 3), np.int64))
