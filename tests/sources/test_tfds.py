"""Sets of tensorflow-datasets."""

import numpy as np
import pytest
import tensorflow as tf
from loading import load, read

from cli.program import DataError
from data_loader import SPLITS


def example(folder) -> dict:
    tfds = pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("array_record")
    features = {
        "image": tfds.features.Image(shape=(4, 5, 3)),
        "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
    }
    image = np.zeros((4, 5, 3), np.uint8)
    tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny",
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        file_format="array_record",
        split_datasets={
            "train": [(i, {"image": image + i, "label": i % 3}) for i in range(12)],
            "test": [(i, {"image": image + i, "label": i % 3}) for i in range(3)],
        },
        data_dir=str(folder),
    )
    return {"dataset": "tiny"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """12 pictures to train on, whose pixels, label, number and text tell which; 3 to test."""
    tfds = pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("array_record")
    folder, features = tmp_path_factory.mktemp("tfds"), tfds.features
    described = {
        "image": features.Image(shape=(4, 5, 3)),
        "label": features.ClassLabel(names=["a", "b", "c"]),
        "text": features.Text(),
    }

    def examples(numbers):
        for i in numbers:
            yield (
                i,
                {
                    "image": np.full((4, 5, 3), i, np.uint8),
                    "label": i % 3,
                    "text": f"nümber {i}",
                    "number": i + 0.5,
                    "point": [i, -i],
                },
            )

    tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny",
        version="1.0.0",
        features=features.FeaturesDict(
            described | {"number": np.float32, "point": features.Tensor(shape=(2,), dtype=np.int32)}
        ),
        file_format="array_record",
        split_datasets={"train": examples(range(12)), "test": examples(range(100, 103))},
        data_dir=str(folder),
    )
    return folder


def test_a_set_of_tensorflow_datasets(prepared):
    train, valid, test = (load(split, "tfds", prepared, dataset="tiny") for split in SPLITS)
    assert [len(train), len(valid), len(test)] == [12, 3, 3] and train.class_names == (
        "a",
        "b",
        "c",
    )
    assert (
        train.fingerprint != valid.fingerprint == test.fingerprint
    )  # the official test set is both
    assert (
        train.locate(4) == "tiny/1.0.0 train: example 4"
        and valid.locate(2) == "tiny/1.0.0 test: example 2"
    )
    for source, numbers in ((train, range(12)), (valid, range(100, 103))):
        found = read(source)
        stored = [
            int(tf.io.decode_image(image)[3, 4, 2]) for image in found["inputs"]
        ]  # still encoded
        assert sorted(stored) == list(numbers) and found["targets"].tolist() == [
            i % 3 for i in stored
        ]
    again = read(train, [5, 5, 0])
    assert (
        again["inputs"][0] == again["inputs"][1] == read(train)["inputs"][5] != again["inputs"][2]
    )


def test_features_of_tensorflow_datasets_by_name_and_its_splits_in_its_words(prepared):
    options = {"dataset": "tiny:1.0.0", "splits": {"train": "train[:75%]", "valid": "train[75%:]"}}
    for inputs, of in (
        ("number", lambda value: int(value - 0.5)),
        ("text", lambda value: int(value.decode().removeprefix("nümber "))),
    ):
        sources = [
            load(split, "tfds", prepared, inputs=inputs, **options) for split in ("train", "valid")
        ]
        assert sources[0].fingerprint != sources[1].fingerprint and [
            len(source) for source in sources
        ] == [9, 3]
        found = [
            tf.function(source.read)(tf.range(len(source), dtype=tf.int64)) for source in sources
        ]
        values = [of(value) for batch in found for value in batch["inputs"].numpy()]
        assert (
            sorted(values) == list(range(12))
            and [i % 3 for i in values]
            == np.concatenate([batch["targets"] for batch in found]).tolist()
        )
    with pytest.raises(DataError, match=r"tiny:1\.0\.0: no split 'test'; it has train, valid"):
        load("test", "tfds", prepared, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "nothing"}, "nothing: Dataset nothing not found"),
        ({"inputs": "x"}, "tiny: no feature 'x'; it has"),
        ({"targets": "number"}, "tiny: targets: expected class labels, got 'number'.*: numbers`"),
        ({"targets": "text"}, "tiny: targets: expected class labels, got 'text'.*`kind: text`"),
        ({"kind": "numbers"}, "tiny: targets: expected numbers, got 'label'.*`kind: classes`"),
        ({"splits": {"train": "no"}}, "tiny: Unknown split 'no'"),
    ],
)
def test_what_tensorflow_datasets_do_not_have(prepared, options, message):
    with pytest.raises(DataError, match=message):
        load("train", "tfds", prepared, **{"dataset": "tiny", **options})


@pytest.mark.parametrize(
    ("targets", "kind", "of_example_4"),
    [
        ("number", "numbers", 4.5),
        ("point", "numbers", [4, -4]),
        ("text", "text", "nümber 4".encode()),
    ],
)
def test_targets_that_are_no_classes(prepared, targets, kind, of_example_4):
    source = load("train", "tfds", prepared, dataset="tiny", targets=targets, kind=kind)
    found = read(source)
    pixels = [int(tf.io.decode_image(image)[0, 0, 0]) for image in found["inputs"]]
    value = found["targets"][pixels.index(4)]
    assert source.class_names == ()
    assert np.array_equal(value, of_example_4)
    assert kind == "text" or found["targets"].dtype == np.float32
