"""Runs operations as the pipeline does, on features made by hand; shared by tests/ops."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import data_config
import data_loader
from cli.typed_yaml import name_of, named_classes
from engine.stateless import fold
from preprocess_data import apply_ops
from train_config import Data


def op(name, **options):
    """The options of an operation; the test is skipped where a fork has taken it away."""
    classes = named_classes(data_config.Op) + named_classes(data_config.BatchOp)
    found = {name_of(cls): cls for cls in classes}
    if name not in found:
        pytest.skip(f"no operation {name!r}")
    return found[name](name=name, **options)


def row(name, **options) -> dict:
    """An operation before it is checked: what runs at import names no class of data_config.py."""
    return {"name": name, **options}


def listed(rows) -> list:
    return [op(**options) for options in rows]


def compiled(ops, features):
    """The operations as the pipeline runs them, in a graph for batches of any size."""
    signature = {
        key: tf.TensorSpec([None, *value.shape[1:]], tf.constant(value).dtype)
        for key, value in features.items()
    }
    function = tf.function(
        lambda features, seeds: apply_ops(features, seeds, ops, num_classes=3), autograph=False
    )
    return function.get_concrete_function(signature, tf.TensorSpec([None], tf.uint64))


def treat(ops, features, seeds=None, function=None):
    """{feature: array} after the operations, example i drawing from seed i."""
    features = {key: tf.constant(value) for key, value in features.items()}
    seeds = fold(0, tf.range(len(features["inputs"]))) if seeds is None else seeds
    found = (
        function(features, seeds) if function else apply_ops(features, seeds, ops, num_classes=3)
    )
    return {key: value.numpy() for key, value in found.items()}


def run(name, inputs, **options):
    """The inputs after one operation."""
    return treat([op(name, **options)], {"inputs": inputs})["inputs"]


def check_alike_in_any_batch(ops, features):
    """In the graph, all examples together and one at a time; and at once."""
    function, seeds = compiled(ops, features), fold(0, tf.range(4))
    longer = any(config.makes_tokens for config in ops)
    whole, at_once = treat(ops, features, seeds, function), treat(ops, features, seeds)
    assert whole.keys() == at_once.keys()
    for key, value in whole.items():
        check_same(at_once[key], value)
        assert function.structured_outputs[key].shape.is_compatible_with(value.shape)
    for i in range(4):
        single = {key: value[i : i + 1] for key, value in features.items()}
        alone = treat(ops, single, seeds[i : i + 1], function)
        assert alone.keys() == whole.keys()
        for key, value in alone.items():
            # A batch is padded to its longest sequence.
            inside = tuple(slice(size) for size in value.shape[1:])
            assert whole[key].shape[1:] == value.shape[1:] or longer
            check_same(whole[key][(slice(i, i + 1), *inside)], value)
            assert longer is False or np.count_nonzero(whole[key][i]) == np.count_nonzero(value)
    return whole


def check_same(a, b):
    """To the bit, but for float32.

    Vector instructions, which a graph and a large batch use, may round the last bits otherwise.
    """
    if a.dtype == np.float32:
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6, strict=True)
    else:
        np.testing.assert_array_equal(a, b, strict=True)


def check_keeps_bytes(name, examples):
    """An operation takes the brightness of white from the type.

    Float32 up to 255 in between would be lost on those after.
    """
    ops, features = example_of(name, examples)
    assert treat(ops, features)["inputs"].dtype == np.uint8


def example_of(name, examples) -> tuple[list, dict]:
    options, features, *following = examples[name]
    return [op(name, **options), *listed(following)], features


def given_data(monkeypatch, ops, class_names=(), **splits) -> Data:
    """The section `data` of a run on these arrays: {split: {feature: array}}."""
    sources = {
        split: data_loader.from_arrays("given", features, class_names)
        for split, features in splits.items()
    }
    monkeypatch.setattr(data_loader, "load", lambda config, split, directory: sources[split])
    return Data.model_validate({"train": "tiny_numbers", "ops": ops})


def texts(*values: str) -> np.ndarray:
    return np.array([value.encode() for value in values], object)


# ---- images


def encoded(picture, kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(file, kind, **options)
    return file.getvalue()


def picture_files(pictures) -> dict:
    """The features of encoded images for [(array, kind of file, options, orientation)]."""
    files = [encoded(array, kind, **options) for array, kind, options, _ in pictures]
    return {
        "inputs": np.array(files, object),
        "orientation": np.array([orientation for *_, orientation in pictures], np.int32),
        "image_size": np.array([array.shape[:2] for array, *_ in pictures], np.int32),
    }


RNG = np.random.default_rng(0)
IMAGES = np.arange(4 * 6 * 5 * 2, dtype=np.uint8).reshape(4, 6, 5, 2)  # no two pixels alike
RGB = RNG.integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
NOISY = [
    RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
    for height, width in ((23, 31), (40, 20), (24, 24), (33, 17))
]
TARGETS = {"targets": np.array([0, 1, 2, 1])}
BYTES = {"inputs": RGB, **TARGETS}
FLOATS = {"inputs": (RGB / 255).astype(np.float32), **TARGETS}
FILES = picture_files(
    [
        (NOISY[0], "JPEG", {}, 1),
        (NOISY[1], "PNG", {}, 1),
        (NOISY[2], "JPEG", {}, 6),
        (NOISY[3], "JPEG", {}, 1),
    ]
)


def sides(changed) -> np.ndarray:
    """[n, 2]: height and width of the rectangle of True in each image.

    Fails where it is no rectangle.
    """
    found = np.stack([changed.any(2).sum(1), changed.any(1).sum(1)], axis=1)
    np.testing.assert_array_equal(changed.sum((1, 2)), found.prod(axis=1))
    return found
