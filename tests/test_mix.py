"""Several data sets in one stream, shuffling by shards, caches: which examples, in which shares."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from places import TINY
from tiny.sitecustomize import TinyNoise, TinyNumbers, TinyScale

import data_loader
import input_ops
import train_config
from cli.program import ConfigError, DataError
from cli.typed_yaml import name_of, named_classes
from data_config import BatchOp
from data_loader import from_arrays
from input_ops import Mix, MixSource
from preprocess_data import cached
from train_config import load_config


def numbers(name: str, length: int, first: int = 0, block_length: int = 0):
    values = np.arange(first, first + length)
    features = {"inputs": values.astype(np.float32)[:, np.newaxis], "targets": values}
    source = from_arrays(name, features, (), f"{name}: record {{}}".format)
    return data_loader.Source(**{**vars(source), "block_length": block_length})


SCALE, NOISE = TinyScale(name="tiny_scale"), TinyNoise(name="tiny_noise")


def load(**options):
    """64 small images of float32."""
    options = {"size": 64, "shape": [8, 8, 1]} | options
    return data_loader.load(TinyNumbers(name="tiny_numbers", **options), "train", None)


def stream(mix, batch_size=10, seed=0, start=0, stop=4, **options):
    return [
        {key: value.numpy() for key, value in batch.items()}
        for batch in input_ops.train_batches(mix, batch_size, seed, start, stop, **options)
    ]


# ---- shares


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([1.0], [1]),
        ([0.7, 0.3], [7, 3]),
        ([2, 2], [1, 1]),
        ([0.1, 0.2, 0.3], [1, 2, 3]),
        ([1e-9, 1], [1, 9999]),
        ([1 / 3, 2 / 3], [1, 2]),
    ],
)
def test_rates_become_whole_slots(rates, expected):
    assert input_ops.slots(rates) == expected


def test_shares_are_exact_and_even_in_every_batch():
    mix = Mix(
        [
            MixSource("a", numbers("a", 50), [], 7),
            MixSource("b", numbers("b", 20), [], 2),
            MixSource("c", numbers("c", 31), [], 1),
        ]
    )
    ids = np.array([batch["id"] for batch in stream(mix, stop=40)])
    which = np.searchsorted(mix.offsets, ids, side="right") - 1
    for batch in which:
        assert np.bincount(batch, minlength=3).tolist() == [7, 2, 1]
    thirds = np.array(
        [np.bincount(which.ravel()[at : at + 5], minlength=3) for at in range(0, 400, 5)]
    )
    assert thirds[:, 0].min() >= 3 and thirds[:, 1].max() <= 2  # not all of one set first
    for number, length in enumerate((50, 20, 31)):  # each set in whole epochs of its own
        seen = ids.ravel()[which.ravel() == number] - mix.offsets[number]
        assert sorted(seen[:length].tolist()) == list(range(length))
    assert mix.locate(51) == "b: record 1"
    assert next(iter(mix.shares(400))) == "a: 70.00% of every batch, 5.60 epochs of 50"


@pytest.mark.parametrize("start", [1, 7, 1000, 1_000_000_000])
def test_any_step_of_a_mix_is_the_same_wherever_the_pipeline_starts(start):
    mix = Mix([MixSource("a", numbers("a", 50), [], 7), MixSource("b", numbers("b", 20), [], 3)])
    near = stream(mix, start=start - 1, stop=start + 2)[1:]
    for a, b in zip(stream(mix, start=start, stop=start + 2), near, strict=True):
        assert {key: value.tolist() for key, value in a.items()} == {
            key: value.tolist() for key, value in b.items()
        }
    positions = tf.range(start * 10, start * 10 + 10, dtype=tf.int64)
    assert mix.ids(0, positions)[1].numpy().tolist() == near[0]["id"].tolist()


@pytest.mark.parametrize("towers", [2, 4])
def test_towers_see_the_parts_of_the_same_batch(towers):
    """Operations depend on an example's position alone: a slice of ids, a slice of the batch."""
    ops, source = [NOISE, SCALE], load()
    mix = Mix(
        [
            MixSource("a", source, ops, 3),
            MixSource("b", source, [*ops, TinyNoise(name="tiny_noise", scale=0.1)], 1),
        ]
    )
    (whole,) = stream(mix, batch_size=16, start=5, stop=6)
    positions = tf.range(5 * 16, 6 * 16, dtype=tf.int64)
    for tower in range(towers):
        own = positions[tower * 16 // towers : (tower + 1) * 16 // towers]
        number, ids = mix.ids(0, own)
        features = mix.features(number, ids, input_ops.fold(0, own))
        np.testing.assert_array_equal(features["inputs"], np.split(whole["inputs"], towers)[tower])
        np.testing.assert_array_equal(ids, np.split(whole["id"], towers)[tower])


@pytest.mark.parametrize("threads", [1, 8])
def test_the_number_of_pipeline_threads_changes_nothing(threads):
    source = load()
    mix = Mix(
        [
            MixSource("a", source, [NOISE], 3),
            MixSource("b", source, [TinyNoise(name="tiny_noise", scale=0.1)], 1),
        ]
    )
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    for batch, expected in zip(
        input_ops.train_batches(mix, 16, 0, 0, 40).with_options(options),
        stream(mix, 16, stop=40),
        strict=True,
    ):
        np.testing.assert_array_equal(batch["inputs"], expected["inputs"])


def test_sets_that_are_treated_alike_are_put_together_before_and_give_the_same():
    source, ops = load(), [NOISE, SCALE]
    alike = Mix([MixSource("a", source, ops, 3), MixSource("b", source, ops, 1)])
    # Another operation to `==`, the same to float32:
    same_but_apart = [NOISE, TinyScale(name="tiny_scale", factor=2.00000001)]
    apart = Mix([MixSource("a", source, ops, 3), MixSource("b", source, same_but_apart, 1)])
    for a, b in zip(stream(alike, 16), stream(apart, 16), strict=True):
        np.testing.assert_array_equal(a["inputs"], b["inputs"])


def test_sets_that_do_not_fit_together_are_both_named():
    one = numbers("one", 20)
    wide = from_arrays("wide", {"inputs": np.zeros((20, 3), np.float32), "targets": np.arange(20)})
    with pytest.raises(
        ConfigError,
        match=r"inputs: one has float32 \[1\], wide has float32 \[3\]; expected the same",
    ):
        Mix([MixSource("one", one, []), MixSource("wide", wide, [])])
    cats, dogs = (
        from_arrays(
            name, {"inputs": np.zeros((4, 1), np.float32), "targets": np.arange(4) % 2}, [name, "x"]
        )
        for name in ("cat", "dog")
    )
    with pytest.raises(
        ConfigError, match="classes: cat has cat, x, dog has dog, x; expected the same"
    ):
        Mix([MixSource("cat", cats, []), MixSource("dog", dogs, [])])


def test_evaluation_of_a_mix_counts_every_example_of_every_set_once():
    mix = Mix([MixSource("a", numbers("a", 7), []), MixSource("b", numbers("b", 5), [])])
    seen = []
    for name, batches, number in input_ops.eval_sets(mix, 4):
        assert (name, number) in (("a", 2), ("b", 2))
        for batch in batches:
            seen += batch["id"].numpy()[batch["sample_weight"].numpy() == 1].tolist()
    assert seen == list(range(12))


# ---- shuffling by shards


@pytest.mark.parametrize(
    ("length", "block", "blocks"),
    [(100, 10, 2), (103, 10, 3), (97, 10, 4), (40, 10, 9), (1000, 7, 5)],
)
def test_blocks_hold_every_example_once_and_come_in_groups(length, block, blocks):
    mix = Mix.of(numbers("n", length, block_length=block), [])
    epochs = [
        mix.ids(3, tf.range(epoch * length, (epoch + 1) * length, dtype=tf.int64), blocks)[
            1
        ].numpy()
        for epoch in (0, 1)
    ]
    for indices in epochs:
        assert sorted(indices.tolist()) == list(range(length))
    assert (epochs[0] != epochs[1]).mean() > 0.8
    if length <= block * blocks:
        return
    group = block * blocks
    for at in range(
        0, length - group + 1, group
    ):  # a group reads `blocks` shards, whole ones, in mixed order
        members = epochs[0][at : at + group]
        assert len(set(members // block)) == blocks
        assert (np.diff(members) == 1).mean() < 0.5
    order_of_blocks = epochs[0][::group] // block
    assert len(set(order_of_blocks.tolist())) == len(order_of_blocks)


def test_a_far_step_by_shards_is_reached_at_once():
    mix = Mix.of(numbers("n", 1003, block_length=10), [])
    (far,) = stream(
        mix, start=1_000_000_000, stop=1_000_000_001, order=train_config.Order(blocks=4)
    )
    assert (
        stream(mix, start=999_999_999, stop=1_000_000_001, order=train_config.Order(blocks=4))[1][
            "id"
        ].tolist()
        == far["id"].tolist()
    )


# ---- like sizes


def texts(length: int):
    """Rows of 1 to 29 ones, padded to the longest of a batch, as operations on texts do."""
    lengths = np.random.default_rng(0).integers(1, 30, length)
    arrays = {"inputs": np.arange(30) < lengths[:, np.newaxis], "targets": np.arange(length)}
    source = from_arrays("texts", {key: array.astype(np.int64) for key, array in arrays.items()})

    def read(indices):
        features = source.read(indices)
        longest = tf.reduce_max(tf.reduce_sum(features["inputs"], axis=1))
        return features | {"inputs": features["inputs"][:, :longest]}

    return Mix.of(replace(source, read=read, sizes=lengths), []), lengths


def test_batches_of_like_size_are_windows_of_the_same_examples():
    mix, lengths = texts(330)
    plain, sorted_ = (
        [
            batch["id"]
            for batch in stream(mix, stop=33, order=train_config.Order(bucket=bucket or None))
        ]
        for bucket in (0, 11)
    )
    for window in range(0, 33, 11):  # the same examples, otherwise dealt out
        assert sorted(np.concatenate(plain[window : window + 11])) == sorted(
            np.concatenate(sorted_[window : window + 11])
        )
    spread = [np.mean([np.ptp(lengths[ids]) for ids in batches]) for batches in (plain, sorted_)]
    assert spread[1] < 0.2 * spread[0]
    longest = [lengths[ids].max() for ids in sorted_[:11]]
    assert longest != sorted(longest) and longest != sorted(
        longest, reverse=True
    )  # batches of a window come in mixed order
    orders = {
        tuple(np.argsort([lengths[ids].max() for ids in sorted_[at : at + 11]]))
        for at in (0, 11, 22)
    }
    assert len(orders) == 3  # another one in each window


def test_a_run_that_goes_on_sees_the_same_batches_padded_alike():
    """To the bit and to the length.

    Were a batch padded with its neighbors, it would depend on where a run began.
    """
    mix, _ = texts(200)
    for bucket in (0, 7):
        whole = stream(mix, batch_size=4, stop=23, order=train_config.Order(bucket=bucket or None))
        for start in (1, 6, 7, 20):
            for a, b in zip(
                whole[start:],
                stream(
                    mix,
                    batch_size=4,
                    start=start,
                    stop=23,
                    order=train_config.Order(bucket=bucket or None),
                ),
                strict=True,
            ):
                for key in a:
                    np.testing.assert_array_equal(a[key], b[key], strict=True)
        assert all(
            (batch["inputs"] != 0).any(axis=0).all() for batch in whole
        )  # no longer than its longest


def test_sizes_must_be_known_to_sort_by_them():
    config = load_config(TINY, ["data.order.bucket=10"])
    problem = "expected texts or records, whose sizes are known, got tiny_numbers"
    with pytest.raises(ConfigError, match=rf"data.order.bucket: {problem}"):
        input_ops.open_mix(config.data, "train", training=True)


# ---- operations between the examples


@pytest.mark.parametrize("cls", named_classes(BatchOp), ids=name_of)
def test_operations_between_examples_do_not_depend_on_the_start_and_need_an_even_batch(cls):
    op, mix = cls(name=name_of(cls)), Mix.of(load(num_classes=10), [SCALE])
    whole, later = stream(mix, 16, batch_ops=[op]), stream(mix, 16, start=2, batch_ops=[op])
    np.testing.assert_array_equal(whole[2]["inputs"], later[0]["inputs"])
    assert whole[0]["targets"].shape == (16, 10)
    np.testing.assert_allclose(whole[0]["targets"].sum(axis=1), 1.0, rtol=1e-6)
    plain = stream(mix, 16)[0]["inputs"]
    assert not np.array_equal(plain, whole[0]["inputs"])
    with pytest.raises(ConfigError, match=r"even train\.batch_size, got 15"):
        input_ops.train_batches(mix, 15, 0, batch_ops=[op])


# ---- caches


@pytest.mark.parametrize("free_share", [0.5, 0.0], ids=["in memory", "on disk"])
def test_a_cache_changes_nothing_but_how_often_operations_run(monkeypatch, capsys, free_share):
    import preprocess_data

    monkeypatch.setattr(preprocess_data, "_SHARE_OF_MEMORY", free_share)
    source = load()
    kept = cached(source, [SCALE])
    plain, fast = stream(Mix.of(source, [SCALE]), 16), stream(Mix.of(kept, []), 16)
    for a, b in zip(plain, fast, strict=True):
        np.testing.assert_array_equal(a["inputs"], b["inputs"])
        np.testing.assert_array_equal(a["targets"], b["targets"])
    assert ("in memory" if free_share else "on disk") in capsys.readouterr().err
    assert stream(Mix.of(kept, [NOISE]), 16)[0]["inputs"].shape == (16, 8, 8, 1)


def test_a_cache_by_configuration_keeps_what_first_ops_give(capsys):
    overrides = ["data={train: {name: tiny_numbers, size: 40}, ops: [tiny_scale], cache: true}"]
    with pytest.raises(ConfigError, match=r"data\.cache: expected operations in first_ops"):
        input_ops.open_mix(load_config(TINY, overrides).data, "train", training=True)
    overrides.append("data.first_ops=[{name: tiny_scale, factor: 0.3}]")
    kept, plain = (
        input_ops.open_mix(load_config(TINY, [*overrides, *more]).data, "train", training=True)
        for more in ([], ["data.cache=false"])
    )
    assert [op.name for op in kept.sources[0].ops] == ["tiny_scale"]
    assert "cache: 40 examples of tiny_numbers" in capsys.readouterr().err
    np.testing.assert_array_equal(stream(kept)[1]["inputs"], stream(plain)[1]["inputs"])


# ---- configuration


def test_a_mix_in_the_configuration_is_opened_with_the_operations_of_each_set():
    small = "{name: tiny_numbers, size: 40, num_classes: 4, first_ops: [tiny_scale]}"
    overrides = [
        f"data.sources={{small: {small}}}",
        "data.train={tiny_numbers: 3, small: 1}",
        "data.valid=small",
        "data.ops=[tiny_noise]",
    ]
    config = load_config(TINY, overrides).data
    parts = config.datasets("train")
    assert [(part.name, part.rate, [op.name for op in part.first_ops]) for part in parts] == [
        ("tiny_numbers", 3, []),
        ("small", 1, ["tiny_scale"]),
    ]
    with pytest.raises(ConfigError, match="classes: tiny_numbers has class 0, class 1"):
        input_ops.open_mix(config, "train", training=True)
    valid = input_ops.open_mix(config, "valid", training=False)
    assert valid.element_spec["inputs"].shape == [6] and len(valid) == 13
    assert [op.name for op in valid.sources[0].ops] == ["tiny_scale", "tiny_noise"]


def test_a_damaged_example_is_named_by_trying_the_candidates():
    """An operation that fails on one example: nothing but the example's own id tells which."""
    source = numbers("n", 20)

    def read(indices):
        values = source.read(indices)
        with tf.control_dependencies(
            [tf.debugging.Assert(tf.reduce_all(values["targets"] != 13), ["unlucky"])]
        ):
            return {key: tf.identity(value) for key, value in values.items()}

    mix = Mix.of(data_loader.Source(**{**vars(source), "read": read}), [])
    with (
        pytest.raises(DataError, match=r"^n: record 13: .*unlucky"),
        mix.naming_examples(range(20)),
    ):
        stream(mix)
