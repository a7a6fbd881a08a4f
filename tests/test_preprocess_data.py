"""The door of operations; raw data -> records: kept through a kill, read back the same."""

import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from operations import op
from PIL import Image
from places import ROOT
from pydantic import TypeAdapter

import data_config
import data_loader
import input_ops
import ops
import preprocess_data
import train_config
from cli import typed_yaml
from cli.program import BusyError, ConfigError, DataError
from engine import record_files as records
from engine.shards import written_order
from engine.stateless import fold
from preprocess_data import apply_ops, find
from train_config import Data, DatasetConfig

TINY = os.environ | {"PYTHONPATH": str(ROOT / "tests/tiny")}  # with the data set tiny_numbers
NAMES = [typed_yaml.name_of(cls) for cls in typed_yaml.named_classes(data_config.Dataset)]


def dataset(name: str, **options):
    """The options of a data set; the test is skipped where a fork has taken it away."""
    if name not in NAMES:
        pytest.skip(f"no data set {name!r}")
    return TypeAdapter(DatasetConfig).validate_python({"name": name, **options})


def load_records(split: str, directory):
    return data_loader.load(dataset("records"), split, str(directory))


# ---- operations by name


@pytest.fixture
def room(tmp_path, monkeypatch):
    """Writes a file that stands in ops/ for the time of a test."""
    monkeypatch.setattr(ops, "__path__", [*ops.__path__, str(tmp_path)])
    preprocess_data._functions.cache_clear()
    names = []

    def add(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        names.append(name)

    yield add
    preprocess_data._functions.cache_clear()
    for name in names:
        sys.modules.pop(f"ops.{name}", None)


class Mine:
    """As a class below `Op` would be."""

    name, random, any_size, takes_num_classes = "mine", True, False, False
    measured, all_examples, makes_tokens, changes = "mean", False, False, ["inputs"]
    mean = makes = None
    geometric = False


MINE = """
def mine(features, seeds, config):
    return features | {"inputs": features["inputs"] + 1, "seeds": seeds}

def measure_mine(config, batches):
    return sum(len(batch["inputs"]) for batch in batches)
"""


def test_a_file_in_ops_is_all_that_an_operation_needs(room):
    room("my_own", MINE)
    seeds = fold(0, tf.range(3))
    found = apply_ops({"inputs": tf.zeros([3])}, seeds, [Mine(), Mine()], 2, first_draw=5)
    assert found["inputs"].numpy().tolist() == [2, 2, 2]
    np.testing.assert_array_equal(found["seeds"], fold(seeds, 6))  # draws of its own
    assert find("measure_mine").__module__ == "ops.my_own" and find("undo_mine") is None


def test_no_function_and_two_of_one_name_are_one_line(room):
    with pytest.raises(
        ConfigError, match=r"^ops/: expected a function `mine` .* for Mine of data_c"
    ):
        apply_ops({"inputs": tf.zeros([3])}, fold(0, tf.range(3)), [Mine()], 2)
    preprocess_data._functions.cache_clear()
    room("a", MINE)
    room("b", MINE)
    with pytest.raises(ConfigError, match=r"^ops\.a and ops\.b: expected one function `mine`"):
        find("mine")
    room("c", "from ops.a import mine as imported")  # which is not its own
    assert find("imported") is None


@pytest.mark.parametrize(("length", "count"), [(50, 50), (25_000, 20_000)])
def test_large_sets_are_measured_on_a_part_spread_evenly(room, monkeypatch, length, count):
    room("my_own", MINE)
    source = data_loader.from_arrays("given", {"inputs": np.arange(length)})
    monkeypatch.setattr(data_loader, "load", lambda *_: source)
    data = Data.model_validate({"train": "tiny_numbers"}).model_copy(update={"ops": [Mine()]})
    parts = data.datasets("train")
    assert preprocess_data._measured_list("ops", parts) == [count]
    monkeypatch.setattr(Mine, "all_examples", True)
    assert preprocess_data._measured_list("ops", parts) == [length]


def test_what_no_training_set_measures_is_refused(room):
    room("my_own", MINE)
    data = Data.model_validate({"train": "tiny_numbers"}).model_copy(update={"train_ops": [Mine()]})
    with pytest.raises(ConfigError, match=r"^data\.train: tiny_numbers: mine: nothing to measure"):
        preprocess_data.measured(data)


def test_free_memory_where_the_system_does_not_tell_it(monkeypatch):
    free = preprocess_data._free_memory()
    names = {key: value for key, value in os.sysconf_names.items() if key != "SC_AVPHYS_PAGES"}
    monkeypatch.setattr(os, "sysconf_names", names)
    assert 0 < free <= preprocess_data._free_memory()


# ---- raw data -> records


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """60 small pictures in three classes, two of them the same."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number in range(60):
        kind = ("cat", "dog", "owl")[number % 3]
        (folder / kind).mkdir(exist_ok=True)
        pixels = rng.integers(0, 255, (20 + number % 7, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(
            folder / kind / f"{number:02}.{('png', 'jpg', 'bmp')[number % 3]}"
        )
    (folder / "owl" / "copy.bmp").write_bytes((folder / "owl" / "02.bmp").read_bytes())
    return folder


def write(config, out, per_shard=8, compress=False):
    return preprocess_data.write(config, out, per_shard, compress, workers=2)


def digests(folder) -> dict:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


def folder_of(photos, **options):
    return dataset("image_folder", dir=str(photos), **options)


def everything(source) -> dict:
    """Every example by the bytes of its inputs."""
    batch = {
        key: value.numpy()
        for key, value in source.read(tf.range(len(source), dtype=tf.int64)).items()
    }
    return {
        inputs: int(target)
        for inputs, target in zip(batch["inputs"], batch["targets"], strict=True)
    }


@pytest.mark.parametrize("compress", [False, True])
def test_records_give_back_what_the_raw_files_give(photos, tmp_path, compress):
    result = write(folder_of(photos), tmp_path / "out", compress=compress)
    assert sum(result["examples"].values()) == 61
    for split in ("train", "valid", "test"):
        raw = data_loader.load(folder_of(photos), split, str(photos))
        packed = load_records(split, tmp_path / "out")
        assert (
            everything(raw) == everything(packed)
            and len(raw) == len(packed) == result["examples"][split]
        )
        assert raw.class_names == packed.class_names == ("cat", "dog", "owl")
        assert sorted(raw.labels) == sorted(packed.labels)
    for path in (tmp_path / "out").glob("*.tfrecord"):  # readable by any TensorFlow program
        for record in tf.data.TFRecordDataset(str(path)):
            data = tf.io.decode_compressed(record, "ZLIB") if compress else record
            example = tf.train.Example.FromString(data.numpy())
            assert set(example.features.feature) == {
                "inputs",
                "targets",
                "orientation",
                "image_size",
            }


@pytest.mark.parametrize(
    ("name", "options", "files"),
    [
        (
            "csv",
            {"file": "t.csv", "target": "y", "categories": ["c"]},
            {"t.csv": "a,c,y\n" + "".join(f"{i}.5,k{i % 2},{i % 3}\n" for i in range(30))},
        ),
        (
            "text",
            {"file": "t.tsv"},
            {"t.tsv": "".join(f"{'ab'[i % 2]}\twörd {i} x\n" for i in range(30))},
        ),
        (
            "tagging",
            {"file": "t.txt"},
            {
                "t.txt": "".join(
                    "".join(f"w{j} {'XY'[j % 2]}\n" for j in range(1 + i % 4)) + "\n"
                    for i in range(30)
                )
            },
        ),
        ("series", {}, {}),
        ("fake", {"size": 20, "shape": [4, 4, 3]}, {}),
    ],
)
def test_every_kind_of_source_survives_the_round_trip(tmp_path, name, options, files):
    for file, content in files.items():
        (tmp_path / file).write_text(content)
    config = dataset(name, dir=str(tmp_path), **options)
    write(config, tmp_path / "out", per_shard=7)
    raw, packed = (
        data_loader.load(config, "train", str(folder))
        for config, folder in ((config, tmp_path), (dataset("records"), tmp_path / "out"))
    )
    features = [
        {
            key: value.numpy()
            for key, value in source.read(tf.range(len(source), dtype=tf.int64)).items()
        }
        for source in (raw, packed)
    ]
    order = written_order(len(raw))
    assert features[0].keys() == features[1].keys()
    for key in features[0]:
        np.testing.assert_array_equal(features[0][key][order], features[1][key], err_msg=key)
        assert features[0][key].dtype == features[1][key].dtype, key


def test_first_ops_are_done_once_and_for_all(photos, tmp_path):
    ops = [{"name": "decode_image"}, {"name": "resize", "size": [12, 10]}]
    write(folder_of(photos, first_ops=ops), tmp_path / "out")
    source = load_records("train", tmp_path / "out")
    inputs = source.read(tf.constant([3, 0], tf.int64))["inputs"]
    assert inputs.shape == (2, 12, 10, 3) and inputs.dtype == tf.uint8


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path):
    """A real process, killed twice at any moment once some shards are there."""
    command = [
        sys.executable,
        str(ROOT / "preprocess_data.py"),
        "--source",
        "tiny_numbers",
        "--per_shard",
        "16",
        "--workers",
        "1",
        "size=9000",
    ]
    out = tmp_path / "out"
    for shards in (3, 60):
        process = subprocess.Popen(
            [*command, "--out", "out"], cwd=tmp_path, env=TINY, stderr=subprocess.PIPE
        )
        while process.poll() is None and len(list(tmp_path.glob("out.part/*.done"))) < shards:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not out.exists() and (tmp_path / "out.part").is_dir()
        with pytest.raises(DataError, match=r"out: not finished: .*out\.part is there"):
            records.read_manifest(out)
    kept = {
        path.name: path.stat().st_mtime_ns
        for path in tmp_path.glob("out.part/*.tfrecord")
        if path.with_name(path.name + ".done").exists()
    }
    done = subprocess.run(
        [*command, "--out", "out"], cwd=tmp_path, env=TINY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert {
        name: (out / name).stat().st_mtime_ns for name in kept
    } == kept  # none was written twice
    assert not (tmp_path / "out.part").exists()
    (tmp_path / "once").mkdir()
    whole = subprocess.run(
        [*command, "--out", "out"], cwd=tmp_path / "once", env=TINY, capture_output=True, text=True
    )
    assert whole.returncode == 0
    assert digests(out) == digests(tmp_path / "once/out")
    checked = subprocess.run(
        [sys.executable, str(ROOT / "preprocess_data.py"), "--check", str(out)],
        capture_output=True,
        text=True,
    )
    assert json.loads(checked.stdout) == {"checked": str(out), "examples": 12000}


def test_a_second_writer_and_another_plan_are_refused(photos, tmp_path):
    from engine import checkpoint

    with checkpoint.lock(tmp_path / "out.part"), pytest.raises(BusyError, match="another --out"):
        write(folder_of(photos), tmp_path / "out")
    write(folder_of(photos), tmp_path / "out")
    before = digests(tmp_path / "out")
    write(folder_of(photos), tmp_path / "out")  # again: nothing to do
    with pytest.raises(ConfigError, match="was written from other data or options"):
        write(folder_of(photos), tmp_path / "out", per_shard=9)
    (tmp_path / "mine").mkdir()
    with pytest.raises(ConfigError, match="expected no such directory yet"):
        write(folder_of(photos), tmp_path / "mine")
    assert digests(tmp_path / "out") == before


def test_damaged_images_are_all_named_and_nothing_is_finished(photos, tmp_path):
    for path in photos.rglob("*.*"):
        (tmp_path / "raw" / path.parent.name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / path.parent.name / path.name).write_bytes(path.read_bytes())
    (tmp_path / "raw/cat/00.png").write_bytes(b"")
    (tmp_path / "raw/dog/01.jpg").write_bytes((photos / "dog/01.jpg").read_bytes()[:300])
    with pytest.raises(DataError, match="2 of 61 examples cannot be read") as caught:
        write(folder_of(tmp_path / "raw"), tmp_path / "out")
    assert "cat/00.png: expected an image, got an empty file" in str(
        caught.value
    ) and "dog/01.jpg" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_directory_with_a_scheme_is_read_through_gfile(photos, tmp_path):
    write(folder_of(photos), tmp_path / "out")
    local, remote = (
        data_loader.load(dataset("records"), "train", place)
        for place in (str(tmp_path / "out"), f"file://{tmp_path}/out")
    )
    assert everything(local) == everything(remote)
    assert local.fingerprint == remote.fingerprint


def test_reading_by_shards_gives_the_same_and_reads_each_shard_once_a_group(
    photos, tmp_path, monkeypatch
):
    write(folder_of(photos, valid=0, test=0), tmp_path / "out", per_shard=8)
    source = load_records("train", tmp_path / "out")
    indices = tf.constant([60, 0, 33, 7, 8, 59], tf.int64)
    assert source.block_length == 8
    by_shards = source.read_in_blocks(4)
    for key, value in source.read(indices).items():
        np.testing.assert_array_equal(by_shards(indices)[key], value, err_msg=key)
    reads, read = [], records.File.read
    monkeypatch.setattr(
        records.File,
        "read",
        lambda self, length=-1, offset=0: (reads.append(length), read(self, length, offset))[1],
    )
    mix = input_ops.Mix.of(
        data_loader.Source(**{**vars(source), "read": source.read_in_blocks(4)}),
        [
            op("decode_image"),
            op("resize", size=(8, 8)),
        ],
    )
    ids = [
        i
        for batch in input_ops.train_batches(mix, 8, 0, 0, 7, order=train_config.Order(blocks=2))
        for i in batch["id"].numpy().tolist()
    ]
    assert len(set(ids)) == 56 and set(reads) == {-1} and len(reads) == 8  # whole shards, once each


def test_a_set_is_not_taken_for_written_when_its_files_have_changed(photos, tmp_path):
    copy = copied(photos, tmp_path)
    write(folder_of(copy), tmp_path / "out")
    (copy / "cat/00.png").write_bytes((copy / "cat/03.png").read_bytes())
    with pytest.raises(ConfigError, match="was written from other data or options"):
        write(folder_of(copy), tmp_path / "out")


def test_a_file_mended_under_its_name_and_size_is_read_again(photos, tmp_path):
    copy = copied(photos, tmp_path)
    sound = (copy / "cat/00.png").read_bytes()
    (copy / "cat/00.png").write_bytes(sound[:40] + bytes(len(sound) - 40))
    with pytest.raises(DataError, match="1 of 61 examples cannot be read"):
        write(folder_of(copy), tmp_path / "out")
    (copy / "cat/00.png").write_bytes(sound)
    assert sum(write(folder_of(copy), tmp_path / "out")["examples"].values()) == 61


def copied(photos, tmp_path):
    return shutil.copytree(photos, tmp_path / "copy")


def test_a_full_disk_ends_with_6_and_goes_on_afterwards(tmp_path):
    """The limit on the size of a file stands for the disk; the records of a shard are above it."""
    command = [
        sys.executable,
        str(ROOT / "preprocess_data.py"),
        "--source",
        "tiny_numbers",
        "--out",
        str(tmp_path / "out"),
        "size=9000",
        "--per_shard",
        "9000",
    ]

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(command, env=TINY, capture_output=True, text=True, preexec_fn=limited)
    last = done.stderr.splitlines()[-1]
    shard = r"(train|valid)-00000-of-00001\.tfrecord\.tmp"  # written side by side
    shard = rf"preprocess_data: error: {tmp_path}/out\.part/{shard}: "
    assert done.returncode == 6 and re.match(shard, last), done.stderr
    assert (
        "Traceback" not in done.stderr and "memory" not in last and not (tmp_path / "out").exists()
    )
    assert subprocess.run(command, env=TINY, capture_output=True).returncode == 0


def test_first_ops_may_measure(tmp_path):
    write(dataset("series", first_ops=["standardize"]), tmp_path / "out", per_shard=1000)
    values = (
        load_records("train", tmp_path / "out")
        .read(tf.range(2000, dtype=tf.int64))["inputs"]
        .numpy()
    )
    assert abs(values.mean()) < 0.2 and abs(values.std() - 1) < 0.2


def test_first_ops_keep_no_vocabulary_and_are_not_random(tmp_path, program):
    def refused(name):
        words = [
            "--source",
            "tiny_numbers",
            "--out",
            tmp_path / "no",
            f"first_ops=[{op(name).name}]",
        ]
        done = program(ROOT / "preprocess_data.py", *words)
        assert not (tmp_path / "no").exists()
        return done

    done = refused("tokenize")
    assert (
        done.returncode == 2 and "tokenize: expected in the configuration of a run" in done.stderr
    )
    done = refused("random_flip")
    assert (
        done.returncode == 2
        and "first_ops: expected nothing random, got 'random_flip'" in done.stderr
    )
