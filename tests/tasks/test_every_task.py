"""What every task must do, checked for each class below `TaskConfig`.

A forker's own is tested for free. tests/tasks/test_<name>.py holds EXAMPLE = {"spec": Spec,
"targets": [4, ...], "outputs": what its `call` gives, "misfit": (numbers, message)}: a network of
one tensor that gives so many numbers is refused with this message. It may have "options".
"""

import numpy as np
import pytest
import tensorflow as tf
from networks import load_example, task
from places import ROOT
from scoring import LABELS, flat, scores

import model_config
from cli.program import ConfigError
from cli.typed_yaml import name_of, named_classes
from model import Task, build_task

NAMES = [name_of(cls) for cls in named_classes(model_config.TaskConfig)]
each_task = pytest.mark.parametrize("name", NAMES)


def example_of(name):
    """(task, targets, outputs, weights, misfit); fails in one line where there is no example."""
    example = getattr(load_example("tasks", name), "EXAMPLE", None)
    if example is None:
        expected = "EXAMPLE = {spec, targets, outputs, misfit}, see test_every_task.py"
        pytest.fail(f"tests/tasks/test_{name}.py: add {expected}", pytrace=False)
    built = task(name, example["spec"], **example.get("options", {}))
    outputs = tf.nest.map_structure(tf.constant, example["outputs"])
    targets = tf.constant(example["targets"])
    loss = built.loss(targets, outputs)
    weights = np.ones(loss.shape, np.float32)
    return built, targets, outputs, weights, example["misfit"]


@each_task
def test_a_task_gives_one_loss_an_item(name):
    built, targets, outputs, weights, _ = example_of(name)
    loss = built.loss(targets, outputs)
    assert isinstance(built, Task) and loss.shape == weights.shape
    assert np.isfinite(loss).all() and np.any(loss)


@each_task
def test_metrics_of_a_task_are_fresh_and_measured_in_evaluation_too(name):
    built, targets, outputs, weights, _ = example_of(name)
    first = scores(built, targets, outputs, weights)
    assert first.keys() >= built.metrics(training=True).keys() >= set()
    again = scores(built, targets, outputs, weights)
    for key, value in first.items():
        assert np.isfinite(value).all()
        np.testing.assert_array_equal(value, again[key])


@each_task
def test_what_weighs_nothing_is_not_measured(name):
    """Half of the examples with a weight of 0 give the scores of the others.

    With weight they do not.
    """
    built, targets, outputs, weights, _ = example_of(name)
    rows = len(weights)

    def half(tensor):
        return tensor[: rows // 2]

    expected = scores(built, half(targets), tf.nest.map_structure(half, outputs), half(weights))
    weighted = np.where(
        np.arange(rows).reshape(-1, *[1] * (weights.ndim - 1)) < rows // 2, weights, 0
    )
    found = scores(built, targets, outputs, np.float32(weighted))
    everything = scores(built, targets, outputs, weights)
    assert found == pytest.approx(expected, abs=1e-5)
    assert found != pytest.approx(everything, abs=1e-5)


@each_task
def test_a_network_that_does_not_fit_is_named_before_training(name):
    built, *_, (size, message) = example_of(name)
    with pytest.raises(ConfigError, match=r"^task: expected a network ") as caught:
        built.check_fits(flat(size))
    assert message in str(caught.value)


# ---- what is found by name


def test_a_task_without_its_example_is_one_line():
    expected = r"^tests/tasks/test_mytask.py: add EXAMPLE = {spec, targets, outputs, misfit}, "
    with pytest.raises(pytest.fail.Exception, match=expected):
        example_of("mytask")


class MyTask(model_config.Section):
    name: str = "my_task"


def test_a_task_without_its_file_or_its_class_is_one_line(tmp_path, monkeypatch):
    import tasks

    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    expected = "expected a class `MyTask` for the task 'my_task' of model_config.py"
    with pytest.raises(ConfigError, match=f"^tasks/my_task.py: no such file; {expected}$"):
        build_task(MyTask(), LABELS)
    (tmp_path / "my_task.py").write_text("class Mytask:\n    pass\n")
    with pytest.raises(ConfigError, match=f"^tasks/my_task.py: {expected}$"):
        build_task(MyTask(), LABELS)


def test_every_file_of_the_room_is_a_task():
    files = {file.stem for file in (ROOT / "tasks").glob("*.py")} - {
        "__init__",
        "losses",
        "metrics",
    }
    for name in files - set(NAMES):
        pytest.fail(f"tasks/{name}.py: no class below TaskConfig in model_config.py has this name")
