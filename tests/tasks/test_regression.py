"""Numbers: losses by hand, metrics in the units of the data and against persistence."""

import math

import numpy as np
import pytest
import tensorflow as tf
from networks import task
from scoring import LABELS, NUMBERS, about, flat, identity, scores

from cli.program import ConfigError
from train_config import Undo

EXAMPLE = {
    "spec": NUMBERS,
    "targets": np.random.default_rng(1).normal(size=(4, 2)).astype(np.float32),
    "outputs": {"values": np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)},
    "misfit": (3, "expected a network with outputs of shape [2]"),
}


@pytest.mark.parametrize("shape", [[], [1], [2], [2, 1]])
def test_numbers_may_come_in_a_row_or_in_the_targets_shape(shape):
    spec = NUMBERS.model_copy(update={"target_shape": shape})
    task("regression", spec).check_fits(flat(math.prod(shape)))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("mse", [(9 + 0.25) / 2]),
        ("mae", [(3 + 0.5) / 2]),
        ("huber", [(2 * (3 - 1) + 0.125) / 2]),
    ],
)
def test_losses_of_regression_by_hand(loss, expected):
    regression = task("regression", NUMBERS, loss=loss, delta=2.0)
    found = regression.loss(tf.constant([[1.0, 2.0]]), {"values": tf.constant([[4.0, 2.5]])})
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_metrics_of_regression_are_in_units_and_against_persistence():
    """Scaled by (x - 10) / 5.

    Errors in units: 5 and 10, then 0 and 0; persistence is off by 10 and 20, then 5 and 5.
    """
    spec = NUMBERS.model_copy(update={"target_units": [Undo(scale=[5.0], offset=[10.0])]})
    regression = task("regression", spec, persistence=0)
    inputs = np.float32([[0, 0, 0, 1], [0, 0, 0, 2], [7, 7, 7, 7]])[..., np.newaxis]
    targets = np.float32([[3.0, -3.0], [1.0, 1.0], [0.0, 0.0]])
    model = identity([[4.0, -1.0], [1.0, 1.0], [9.0, 9.0]])
    outputs = regression.call(model, {"inputs": tf.constant(inputs)}, False)
    found = scores(regression, targets, outputs, [1.0, 1.0, 0.0])
    mse, persistence = (25 + 100) / 2 / 2, ((100 + 400) / 2 + (25 + 25) / 2) / 2
    assert found == about(rmse=math.sqrt(mse), mae=3.75, skill=1 - mse / persistence)
    predicted = regression.predict(identity([[1.0, 0.0]]), None)["values"]
    np.testing.assert_allclose(predicted, [[15.0, 10.0]])


def test_a_logarithm_of_the_targets_is_undone():
    """log(x + 1) scaled by 2: 2 * ln(x + 1); 5 in units against 3."""
    undo = Undo(scale=[0.5], offset=[0.0], log_plus=1.0)
    spec = NUMBERS.model_copy(update={"target_shape": [], "target_units": [undo]})
    regression = task("regression", spec)
    model = identity(np.float32([[2 * math.log(6)]]))
    outputs = regression.call(model, {"inputs": None}, True)
    found = scores(regression, np.float32([2 * math.log(4)]), outputs, [1.0])
    assert found == about(rmse=2.0, mae=2.0)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (LABELS, {}, "expected numbers as targets, got int64"),
        (
            NUMBERS,
            {"persistence": 1},
            "task.persistence: expected series \\[steps, columns\\] with a column 1",
        ),
    ],
)
def test_what_regression_refuses(spec, options, message):
    with pytest.raises(ConfigError, match=message):
        task("regression", spec, **options)
