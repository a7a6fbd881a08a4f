"""The writer of records.

What stands in the manifest, what is refused, what a damaged example does to it.
"""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from cli.program import BusyError, ConfigError, DataError
from data_loader import Source, from_arrays
from engine import checkpoint, shards
from engine import record_files as records

CLASSES = ("cat", "dog", "owl")


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (8 + seed % 7, 9, 3), dtype=np.uint8)
    return tf.io.encode_png(pixels).numpy()


def pictures(seeds) -> Source:
    """Encoded images; the class is the seed modulo 3."""
    features = {
        "inputs": np.array([png(seed) for seed in seeds], object),
        "targets": np.array([seed % 3 for seed in seeds]),
        "orientation": np.ones(len(seeds), np.int32),
    }
    return from_arrays("pictures", features, CLASSES, lambda index: f"pictures/{seeds[index]}.png")


def with_inputs(source: Source, changed: dict[int, bytes]) -> Source:
    """The same files under their names, some with other bytes."""

    def read(indices):
        features = source.read(indices)
        pairs = zip(indices.numpy(), features["inputs"].numpy(), strict=True)
        inputs = [changed.get(index, data) for index, data in pairs]
        return features | {"inputs": tf.constant(np.array(inputs, object))}

    return replace(source, read=read)


def write(out, splits, per_shard=8, compress=False) -> dict:
    fingerprints = {split: source.fingerprint for split, source in splits.items()}
    plan = {"source": {"per_shard": per_shard}, "fingerprints": fingerprints}

    def treat(source, indices):
        return source.read(indices)

    job = shards.Job(splits, treat, plan, per_shard, compress, workers=2)
    return shards.report(out, shards.write(out, job))


def digests(folder) -> dict:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


@pytest.fixture(scope="module")
def photos():
    """61 pictures, two of them the same."""
    return pictures([*range(60), 2])


def test_the_manifest_tells_counts_shards_and_duplicates(photos, tmp_path, capsys):
    result = write(tmp_path / "out", {"train": photos})
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    train = manifest["splits"]["train"]
    assert train["classes"] == {"cat": 20, "dog": 20, "owl": 21}
    assert result["duplicates"] == {"within": 1, "across": 0}
    assert sorted(manifest["duplicates"]["first"][0]) == ["pictures/2.png"] * 2
    report = capsys.readouterr().err
    assert "1 examples are twice in one split" in report
    assert "largest class owl 21, smallest cat 20 (1.1 x)" in report
    assert [shard["examples"] for shard in train["shards"]] == [8] * 7 + [5]
    assert manifest["features"] == {
        "inputs": {"dtype": "string", "shape": []},
        "targets": {"dtype": "int64", "shape": []},
        "orientation": {"dtype": "int32", "shape": []},
    }
    for shard in train["shards"]:
        data = (tmp_path / "out" / shard["file"]).read_bytes()
        assert shard["sha256"] == hashlib.sha256(data).hexdigest() and shard["bytes"] == len(data)


@pytest.mark.parametrize("compress", [False, True])
def test_every_record_is_an_example_in_the_written_order(photos, tmp_path, compress):
    write(tmp_path / "out", {"train": photos}, compress=compress)
    stored = records.Records(tmp_path / "out", "train")
    raw = {key: value.numpy() for key, value in photos.read(tf.range(61)).items()}
    order = shards.written_order(61)
    assert sorted(order) == list(range(61)) and order.tolist() != list(range(61))
    for index, data in zip(order, stored.read(np.arange(61)), strict=True):
        features = tf.train.Example.FromString(data).features.feature
        assert features["inputs"].bytes_list.value == [raw["inputs"][index]]
        assert features["targets"].int64_list.value == [raw["targets"][index]]
    assert shards.check(tmp_path / "out") == 61


def test_an_image_is_decoded_once(photos, tmp_path, monkeypatch):
    decoded, decode = [], tf.io.decode_image
    monkeypatch.setattr(
        tf.io,
        "decode_image",
        lambda data, **options: decoded.append(data) or decode(data, **options),
    )
    write(tmp_path / "out", {"train": photos})
    assert len(decoded) == 61


def test_sequences_are_stored_without_the_padding_of_their_batch(tmp_path):
    features = {
        "inputs": np.array([b"a b", b"c"], object),
        "targets": np.array([[1, 0, 9], [2, 9, 9]]),
        "sample_weight": np.array([[1, 1, 0], [1, 0, 0]], np.float32),
    }
    write(tmp_path / "out", {"train": from_arrays("tags", features)})
    stored = records.Records(tmp_path / "out", "train")
    examples = map(tf.train.Example.FromString, stored.read(np.arange(2)))
    targets = sorted(list(e.features.feature["targets"].int64_list.value) for e in examples)
    assert targets == [[1, 0], [2]]


def test_leaks_across_splits_are_reported(tmp_path, capsys):
    result = write(tmp_path / "out", {"train": pictures(range(8)), "valid": pictures(range(4))})
    assert result["duplicates"] == {"within": 0, "across": 4}
    assert "4 examples are in two splits" in capsys.readouterr().err


def test_a_second_writer_and_another_plan_are_refused(photos, tmp_path):
    out, splits = tmp_path / "out", {"train": photos}
    with checkpoint.lock(tmp_path / "out.part"), pytest.raises(BusyError, match="another --out"):
        write(out, splits)
    write(out, splits)
    before = digests(out)
    write(out, splits)  # again: nothing to do
    with pytest.raises(ConfigError, match="was written from other data or options"):
        write(out, splits, per_shard=9)
    with pytest.raises(ConfigError, match="was written from other data or options"):
        write(out, {"train": pictures(range(61))})  # a set is not taken for another
    (tmp_path / "mine").mkdir()
    with pytest.raises(ConfigError, match="expected no such directory yet"):
        write(tmp_path / "mine", splits)
    assert digests(out) == before


def test_damaged_images_are_all_named_and_nothing_is_finished(photos, tmp_path):
    source = with_inputs(photos, {0: b"", 1: png(1)[:30]})
    with pytest.raises(DataError, match="2 of 61 examples cannot be read") as caught:
        write(tmp_path / "out", {"train": source})
    assert "pictures/0.png: " in str(caught.value) and "pictures/1.png: " in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_example_that_cannot_be_treated_is_named(photos, tmp_path):
    def read(indices):
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(indices != 7), ["no"])]):
            return {key: tf.identity(value) for key, value in photos.read(indices).items()}

    with pytest.raises(DataError, match=r"^1 of 61 examples cannot be read: pictures/7\.png: .*no"):
        write(tmp_path / "out", {"train": replace(photos, read=read)})


def test_a_file_mended_under_its_name_and_size_is_read_again(photos, tmp_path):
    sound = png(0)
    damaged = with_inputs(photos, {0: sound[:40] + bytes(len(sound) - 40)})
    with pytest.raises(DataError, match="1 of 61 examples cannot be read"):
        write(tmp_path / "out", {"train": damaged})
    kept = {path.name for path in tmp_path.glob("out.part/*.done")}
    assert len(kept) == 7  # all shards but that of the damaged file
    assert write(tmp_path / "out", {"train": photos})["examples"] == {"train": 61}
    write(tmp_path / "once", {"train": photos})
    without = {"manifest.json"}  # which holds the command
    found, expected = digests(tmp_path / "out"), digests(tmp_path / "once")
    assert found.keys() == expected.keys()
    assert all(found[name] == expected[name] for name in found.keys() - without)
