"""Records by number: what must hold of every content, shard size, and of any wrong byte."""

import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import small_files as files
import tensorflow as tf
from generated import examples, one_line
from hypothesis import given
from hypothesis import strategies as st

from cli.program import DataError
from engine import record_files as records

serialized = st.lists(st.binary(max_size=40), min_size=1, max_size=9)


@examples(40)
@given(serialized, st.integers(1, 4), st.booleans(), st.data())
def test_records_are_read_back_by_number_in_any_order(
    examples_of_set, per_shard, compressed, drawn
):
    with tempfile.TemporaryDirectory() as folder:
        manifest = files.write_records(
            Path(folder, "set"), examples_of_set, per_shard=per_shard, compressed=compressed
        )
        stored = records.Records(Path(folder, "set"), "train")
        assert len(stored) == len(examples_of_set)
        wanted = np.array(
            drawn.draw(st.lists(st.integers(0, len(stored) - 1), max_size=12)), np.int64
        )
        for reader in (stored.read, stored.read_in_blocks(1), stored.read_in_blocks(3)):
            assert reader(wanted).tolist() == [examples_of_set[number] for number in wanted]
        for number in range(len(stored)):
            path = Path(
                folder, "set", manifest["splits"]["train"]["shards"][number // per_shard]["file"]
            )
            found = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
            offset = sum(len(each) + 16 for each in found[: number % per_shard])
            assert stored.locate(number) == f"{path}: record {number % per_shard} at byte {offset}"


@examples(60)
@given(serialized, st.integers(1, 4), st.booleans(), st.data())
def test_one_wrong_byte_of_the_index_or_a_shard_is_refused(
    examples_of_set, per_shard, compressed, drawn
):
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder, "set")
        files.write_records(directory, examples_of_set, per_shard=per_shard, compressed=compressed)
        opened = records.Records(directory, "train")  # a run that goes on while its files rot
        path = drawn.draw(
            st.sampled_from(
                sorted(path for path in directory.iterdir() if path.name != records.MANIFEST)
            )
        )
        content = bytearray(path.read_bytes())
        content[drawn.draw(st.integers(0, len(content) - 1))] ^= drawn.draw(st.integers(1, 255))
        path.write_bytes(content)
        if path.name == "train.index":
            with pytest.raises(DataError) as caught:
                records.Records(directory, "train")
            one_line(caught.value, f"{path}: damaged: ")
            return
        refused = 0
        for reader in (opened.read, records.Records(directory, "train").read_in_blocks(2)):
            for number, expected in enumerate(examples_of_set):
                try:
                    assert reader(np.array([number])).tolist() == [expected]
                except DataError as error:
                    one_line(error, f"{opened.locate(number)}: damaged: ")
                    refused += 1
        assert refused == 2  # the one that holds the byte, by each reader


def test_without_checksums_a_wrong_byte_would_be_read(monkeypatch):
    """The control: it is the index's checksum that notices."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder, "set")
        files.write_records(directory, [b"abc"])
        shard = directory / "train-00000-of-00001.tfrecord"
        shard.write_bytes(shard.read_bytes().replace(b"abc", b"abd"))
        entries = np.frombuffer((directory / "train.index").read_bytes(), records.ENTRY).copy()
        entries["crc32"] = records.index_shard(shard, [-1])["crc32"]
        (directory / "train.index").write_bytes(entries.tobytes())
        manifest = json.loads((directory / records.MANIFEST).read_text())
        manifest["splits"]["train"]["index"]["sha256"] = hashlib.sha256(
            entries.tobytes()
        ).hexdigest()
        (directory / records.MANIFEST).write_text(json.dumps(manifest))
        assert records.Records(directory, "train").read(np.array([0])).tolist() == [b"abd"]
