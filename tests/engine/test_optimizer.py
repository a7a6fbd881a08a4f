"""Every optimizer with every field off its default: finite, and not the default's update."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cli.typed_yaml import name_of, named_classes
from engine.optimizer import build_optimizer, build_schedule
from train_config import Clock, Optimizer

# A value off the default for each field that an optimizer takes, and what it needs beside it.
OFF_DEFAULT = {
    "learning_rate": {"learning_rate": 0.01},
    "weight_decay": {"weight_decay": 0.5},
    "momentum": {"momentum": 0.5},
    "nesterov": {"nesterov": True},
    "beta_1": {"beta_1": 0.5},
    "beta_2": {"beta_2": 0.9},
    "epsilon": {"epsilon": 0.1},
    "rho": {"rho": 0.5},
    "centered": {"centered": True},
    "initial_accumulator_value": {"initial_accumulator_value": 1.0},
}
BESIDE = {"nesterov": {"momentum": 0.5}}
OF_THE_STEP = {"name", "schedule", "clip_norm", "no_decay", "multipliers"}  # tested with the step
CASES = [
    (section, field)
    for section in named_classes(Optimizer)
    for field in section.model_fields
    if field not in OF_THE_STEP
]


def weights_after_two_steps(section, **options) -> np.ndarray:
    """Adam's first step does not depend on its decays: two steps, of unlike gradients."""
    config = section(name=name_of(section), **options)
    layer = keras.layers.Dense(2, name="dense")
    model = keras.Sequential([keras.Input((3,)), layer])
    layer.kernel.assign(np.arange(6.0).reshape(3, 2) + 1)
    optimizer = build_optimizer(config, build_schedule(config, Clock(4, 40), 10), model)
    for gradient in (0.5, -2.0):
        gradients = [tf.fill(variable.shape, gradient) for variable in model.trainable_variables]
        optimizer.apply(gradients, model.trainable_variables)
    return layer.kernel.numpy()


@pytest.mark.parametrize(
    ("section", "field"), CASES, ids=lambda case: getattr(case, "__name__", case)
)
def test_every_field_changes_the_update(section, field):
    assert field in OFF_DEFAULT, (
        f"tests/engine/test_optimizer.py: give {field} a value off its default"
    )
    beside = BESIDE.get(field, {})
    default = weights_after_two_steps(section, **beside)
    changed = weights_after_two_steps(section, **beside, **OFF_DEFAULT[field])
    assert np.isfinite(changed).all() and np.isfinite(default).all()
    assert np.abs(changed - default).max() > 1e-6
    again = weights_after_two_steps(section, **beside)  # the control: nothing changed
    assert (again == default).all()
