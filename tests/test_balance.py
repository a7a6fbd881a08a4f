"""Classes of unequal size: their weights in the loss, and taking turns in the order."""

import json

import numpy as np
import pytest
from places import TINY

import data_loader
import input_ops
from cli.program import ConfigError
from input_ops import Mix, MixSource, class_weights
from train_config import Order, load_config

NAMES = ["rare", "usual", "absent"]
LABELS = np.array([1] * 50 + [0] + [1] * 49)  # 1 : 99


def source(labels=LABELS, names=NAMES) -> data_loader.Source:
    features = {"inputs": np.arange(len(labels), dtype=np.float32), "targets": labels}
    return data_loader.from_arrays("rows", features, names)


def test_balanced_weights_are_worked_out_by_hand():
    """100 examples of two classes: 50 each by weight, 1 on average."""
    found = class_weights(Mix.of(source(), []), "balanced")
    np.testing.assert_allclose(found[:2], [50.0, 50 / 99], rtol=1e-6)
    np.testing.assert_allclose(found[LABELS].mean(), 1.0, rtol=1e-6)
    named = class_weights(Mix.of(source(), []), {"rare": 39.0})
    assert named.tolist() == [39.0, 1.0, 1.0]
    assert class_weights(Mix.of(source(), []), None) is None


@pytest.mark.parametrize(
    ("made", "weights", "message"),
    [
        (source(), {"rar": 2.0}, "train.class_weight: no class 'rar'; it has rare, usual, absent"),
        (source(names=[]), "balanced", "train.class_weight: expected targets that are classes"),
    ],
    ids=["unknown class", "no classes"],
)
def test_weights_that_fit_nothing(made, weights, message):
    with pytest.raises(ConfigError, match=message):
        class_weights(Mix.of(made, []), weights)


@pytest.mark.parametrize("op", [None, "probabilities"])
def test_weights_go_through_sample_weight(op):
    """Of indices, and of probabilities as `mixup` makes them: their mean."""
    features = {"inputs": np.zeros((4, 2)), "targets": np.array([0, 1, 1, 0])}
    expected = {0: 3.0, 1: 1.0}
    if op:
        features["targets"] = np.float32([[1, 0], [0, 1], [0.5, 0.5], [1, 0]])
        expected = {0: 3.0, 1: 1.0, 2: 2.0, 3: 3.0}
    mix = Mix.of(data_loader.from_arrays("rows", features, ["a", "b"]), [])
    batches = input_ops.train_batches(mix, 4, 0, class_weight=np.float32([3, 1]))
    batch = next(iter(batches))
    for number, weight in zip(batch["id"].numpy(), batch["sample_weight"].numpy(), strict=True):
        label = number if op else int(features["targets"][number])
        assert weight == expected[label]


def balanced_ids(steps, batch_size=10, start=0) -> np.ndarray:
    config = load_config(TINY, ["data.order={balanced: true}"]).data
    mix = Mix([MixSource("rows", source(), [], 1, input_ops._classes_of(source()))])
    rows = input_ops.ids_of_steps(mix, batch_size, 3, start, start + steps, config.order)
    return np.array([ids for _, _, ids in rows.as_numpy_iterator()])


def test_every_batch_holds_the_same_share_of_each_class():
    """1 : 99 in the set, 5 : 5 in each batch; the many come once before any comes again."""
    ids = balanced_ids(40)
    assert (LABELS[ids] == 0).sum(axis=1).tolist() == [5] * 40
    usual = ids[LABELS[ids] == 1]
    assert len(set(usual[:99])) == 99 and len(set(usual[99:198])) == 99
    assert usual[:99].tolist() != usual[99:198].tolist()
    plain = input_ops.ids_of_steps(Mix.of(source(), []), 10, 3, 0, 10, Order())
    shares = [(LABELS[ids] == 0).sum() for _, _, ids in plain.as_numpy_iterator()]
    assert sorted(shares) == [0] * 9 + [1]  # the control: as they are stored


def test_a_balanced_order_begins_at_any_step():
    np.testing.assert_array_equal(balanced_ids(40)[17:], balanced_ids(23, start=17))


@pytest.mark.parametrize("other", ["bucket: 4", "blocks: 2"])
def test_one_order_at_a_time(other):
    with pytest.raises(ConfigError, match=r"balanced: expected neither `blocks` nor `bucket`"):
        load_config(TINY, [f"data.order={{balanced: true, {other}}}"])


def test_a_set_that_does_not_know_its_classes_is_not_balanced():
    unknown = data_loader.from_arrays("rows", {"inputs": np.zeros(3), "targets": np.zeros(3)})
    with pytest.raises(ConfigError, match=r"data.order.balanced: expected a set that knows"):
        input_ops._classes_of(unknown)


def test_what_was_found_is_said_and_kept(program, tmp_path):
    """Counts of each split on the screen, in data.json and as a value of the source."""
    done = program("trainer.py", "--config", TINY, "train.epochs=1", f"--run_dir={tmp_path / 'r'}")
    found = json.loads((tmp_path / "r/data.json").read_text())
    assert [(split, report["examples"]) for split, (report,) in found.items()] == [
        ("train", 96),
        ("valid", 32),
    ]
    assert found["train"][0]["smallest"] == {"class 0": 32}
    assert "data: train: tiny_numbers: 96 examples of 3 classes" in done.stderr
    assert Order().balanced is False


def test_the_report_of_a_source():
    columns = {"inputs": ["a"], "targets": ["y"]}
    made = data_loader.from_arrays(
        "rows",
        {"inputs": np.zeros(3), "targets": np.array([1, 1, 0])},
        ["u", "v"],
        columns=columns,
        notes=["1 row left out"],
    )
    assert data_loader.report_lines(made.report) == [
        "rows: 3 examples of 2 classes, smallest 'u' 1, largest 'v' 2; inputs: a; targets: y",
        "rows: 1 row left out",
    ]
