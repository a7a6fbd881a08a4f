"""Backbones of keras.applications.

What they see, where their weights come from, what is refused.
"""

import shutil

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import (
    IMAGENET,
    check_count,
    check_refuses_other_shapes,
    network,
    shapes_only,
    spec_of,
)

import model_config
from cli.program import CheckpointError, ConfigError
from model import build_model, initialize
from models import pretrained

SMALL = {"size": 32}
SLOW_PRECISIONS = True


def backbone_of(model):
    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


def mobile(**options):
    return network("pretrained", **{"backbone": "MobileNet"} | options)


BACKBONES = model_config.BACKBONES.split()


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """A MobileNet without top, as Keras saves it, all of whose numbers differ from those of any new
    one.
    """
    backbone = keras.applications.MobileNet(
        include_top=False, weights=None, input_shape=(32, 32, 3)
    )
    rng = np.random.default_rng(0)
    backbone.set_weights([rng.random(w.shape, np.float32) for w in backbone.get_weights()])
    path = tmp_path_factory.mktemp("weights") / "mobile.weights.h5"
    backbone.save_weights(path)
    return path, backbone.get_weights()


def test_backbones_are_those_of_keras():
    functions = {name for name in dir(keras.applications) if name[0].isupper()}
    assert set(BACKBONES) == functions


@pytest.mark.parametrize("backbone", BACKBONES)
def test_smallest_images_are_those_of_keras(backbone):
    smallest = pretrained.SMALLEST.get(backbone, 32)
    with pytest.raises(ValueError, match=f"at least {smallest}x{smallest}"):
        getattr(keras.applications, backbone)(
            include_top=False, weights=None, input_shape=(smallest - 1, smallest, 3)
        )
    with pytest.raises(ConfigError, match=f"at least {smallest}x{smallest}"):
        build_model(mobile(backbone=backbone), spec_of([smallest - 1, smallest, 3]))


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_builds(backbone):
    model = shapes_only(mobile(backbone=backbone, size=96), [28, 28, 1], 10)
    assert model.output_shape == (None, 10)
    paths = [variable.path for variable in model.variables]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        ("MobileNetV2", [0 / 127.5 - 1, 51 / 127.5 - 1, 255 / 127.5 - 1]),  # between -1 and 1
        ("VGG16", [255 - 103.939, 51 - 116.779, 0 - 123.68]),  # blue, green, red, less their means
        ("DenseNet121", [(0 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (1 - 0.406) / 0.225]),
        ("MobileNetV3Small", [0, 51, 255]),  # it begins with its own
    ],
)
def test_backbones_see_what_they_were_trained_on(backbone, expected):
    x = tf.constant([0.0, 51.0, 255.0], shape=(1, 1, 1, 3))
    np.testing.assert_allclose(np.ravel(pretrained._as_trained(x, backbone)), expected, rtol=1e-5)


def test_efficientnet_is_normalized_as_by_its_authors():
    """What Keras' Normalization (mean, deviation) makes of it is once more divided by the root of
    the deviation.
    """
    x = tf.constant([0.0, 51.0, 255.0], shape=(1, 1, 1, 3))
    seen = (np.ravel(pretrained._as_trained(x, "EfficientNetB0")) / 255 - [0.485, 0.456, 0.406]) / [
        0.229,
        0.224,
        0.225,
    ]
    expected = [(0 - 0.485) / 0.229**1.5, (0.2 - 0.456) / 0.224**1.5, (1 - 0.406) / 0.225**1.5]
    np.testing.assert_allclose(seen, expected, rtol=1e-5)


def begun(config, spec):
    """The network as a run begins with it."""
    model = build_model(config, spec)
    initialize(model, config, spec)
    return model


def test_bytes_and_gray_are_the_same_picture(weights_file):
    config = mobile(weights=str(weights_file[0]))
    byte = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), np.uint8)
    expected = begun(config, spec_of([32, 32, 1]))(byte.astype(np.float32) / 255)
    assert np.std(expected) > 0
    color = begun(config, spec_of([32, 32, 3], dtype="uint8"))
    np.testing.assert_allclose(color(byte.repeat(3, axis=3)), expected, rtol=1e-4)


def test_weights_from_a_file_are_the_backbones_once_a_run_begins(weights_file):
    path, saved = weights_file
    config, spec = mobile(weights=str(path)), spec_of([32, 32, 3])
    before, after = build_model(config, spec), begun(config, spec)
    for got, want in zip(backbone_of(after).get_weights(), saved, strict=True):
        np.testing.assert_array_equal(got, want)
    assert not np.array_equal(
        backbone_of(before).get_weights()[0], saved[0]
    )  # evaluation needs no file
    assert [v.path for v in before.variables] == [v.path for v in after.variables]
    np.testing.assert_array_equal(
        before.get_layer("logits").kernel, after.get_layer("logits").kernel
    )


def test_damaged_and_foreign_weights_are_refused_in_one_line(weights_file, tmp_path):
    path, _ = weights_file
    spec = spec_of([32, 32, 3])
    model = build_model(mobile(), spec)
    (tmp_path / "text.weights.h5").write_text("no weights")
    (tmp_path / "half.weights.h5").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (tmp_path / "folder.weights.h5").mkdir()
    with h5py.File(tmp_path / "empty.weights.h5", "w"):
        pass
    for name in ("link.weights.h5", "link.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file["layers"] = h5py.ExternalLink(str(path), "/layers")
            file["model_weights"] = h5py.ExternalLink(str(path), "/layers")
    keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3)).save_weights(
        tmp_path / "other.weights.h5"
    )
    with h5py.File(shutil.copy(path, tmp_path / "lacking.weights.h5"), "a") as file:
        del file["layers"][next(name for name in file["layers"] if file["layers"][name]["vars"])]
    files = sorted([*tmp_path.iterdir(), tmp_path / "absent.weights.h5"])
    assert len(files) == 9
    for file in files:
        with pytest.raises(CheckpointError, match=rf"^model\.weights: {file}: ") as caught:
            initialize(model, mobile(weights=str(file)), spec)
        assert "\n" not in str(caught.value)


def test_imagenet_without_a_network_names_the_file_and_where_to_put_it(program, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(
        "model: {name: pretrained, weights: imagenet, size: 32}\ntask: {name: classification}\n"
        "data: {train: mnist_sample, valid: mnist_sample, ops: [scale]}\ntrain: {steps: 1}\n"
    )
    nowhere = {
        "https_proxy": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "KERAS_HOME": str(tmp_path / "keras"),
    }
    done = program("trainer.py", "--config", config, "--run_dir", tmp_path / "run", env=nowhere)
    assert (done.returncode, done.stdout) == (6, ""), done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("trainer: error: model.weights: cannot download https://")
    assert "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5" in last
    assert str(tmp_path / "keras" / "models") in last
    assert "Traceback" not in done.stderr


def test_pretrained_has_the_weights_of_keras():
    source = "keras.applications.ResNet50, whose convolutions have biases"
    check_count(network("pretrained", backbone="ResNet50"), IMAGENET, 25_583_592, source)


def test_images_that_pretrained_cannot_take_are_refused_in_one_line():
    check_refuses_other_shapes(network("pretrained"))


def small() -> keras.Model:
    inputs = keras.Input([2])
    return keras.Model(inputs, keras.layers.Dense(3, name="x", use_bias=False)(inputs))


def test_weights_of_a_backbone_are_looked_at_before_keras_unpacks_them(tmp_path):
    """Keras compares shapes when it has unpacked everything.

    4 TiB here, of which nothing is stored.
    """
    path, secret = tmp_path / "data" / "a.weights.h5", tmp_path / "secret"
    path.parent.mkdir()
    secret.write_bytes(bytes(4))
    small().save_weights(path)
    hostile = {
        "expected 4,398,046,511,104 bytes, got 0": {
            "shape": [1 << 40],
            "chunks": (1 << 20,),
            "compression": "gzip",
        },
        "expected data in this file, got an array in another": {
            "shape": [1],
            "external": [(str(secret), 0, 4)],
        },
    }
    for message, options in hostile.items():
        with h5py.File(path, "a") as file:
            del file["layers/dense/vars/0"]
            file.create_dataset("layers/dense/vars/0", dtype="f4", **options)
        with pytest.raises(CheckpointError) as caught:
            pretrained._read_file(small(), path, "small")
        assert str(caught.value).startswith(f"model.weights: {path}: ") and str(
            caught.value
        ).endswith(message)
