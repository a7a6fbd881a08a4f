"""A backbone of keras.applications with a new head. Yosinski et al., How transferable are features in deep neural networks?, 2014.

To train the head alone: `freeze: ["^(?!logits/)"]`.
"""

import contextlib
import importlib
import os
import re
import sys
import warnings
from pathlib import Path

import h5py
import keras
from keras import layers

from cli.program import CheckpointError, ConfigError, ResourceError
from model_config import Pretrained
from models import blocks
from train_config import Spec

SMALLEST = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}  # pixels; all others: 32
_MOST_PACKED = 2000  # times that an array may be larger than what is stored of it: compression reaches about 1,000
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colors, between 0 and 1


def build(config: Pretrained, spec: Spec) -> keras.Model:
    """Images [B, H, W, 1 or 3] -> logits [B, num_outputs].

    Images are bytes, or between 0 and 1 as the operation `scale` makes them; what the backbone was trained to see (its
    own scaling, order of channels, mean) is made of them here, so that no other operation is needed. A gray channel is
    taken three times.
    """
    smallest = SMALLEST.get(config.backbone, 32)
    blocks.check_images(spec, 1 if config.size else smallest, f"pretrained: {config.backbone}")
    if (config.size or smallest) < smallest:
        raise ConfigError(
            f"model.size: expected at least {smallest} for {config.backbone}, got {config.size}"
        )
    if spec.input_shape[-1] not in (1, 3):
        raise ConfigError(
            f"pretrained: expected images with 1 or 3 channels, got {spec.input_shape}"
        )
    images = keras.Input(spec.input_shape, dtype=spec.input_dtype, name="images")
    x = layers.Rescaling(1.0 if spec.input_dtype == "uint8" else 255.0, name="bytes")(
        images
    )  # -> 0 to 255
    if config.size:
        # The layer Resizing would switch all that follows to training where a caller does not say which is meant.
        x = keras.ops.image.resize(
            x, (config.size, config.size), antialias=True
        )  # -> (B, size, size, C)
    if spec.input_shape[-1] == 1:
        x = layers.Concatenate(name="rgb")([x, x, x])  # -> (B, H, W, 3)
    x = _backbone(config, x.shape[1:], weights=None)(_as_trained(x, config.backbone))  # -> (B, C)
    x = layers.Dropout(config.dropout, name="dropout")(x) if config.dropout else x
    return keras.Model(images, layers.Dense(spec.num_outputs, name="logits")(x), name="pretrained")


def initialize(model: keras.Model, config: Pretrained, spec: Spec) -> None:
    """Gives the backbone its weights, if the configuration names any; the head keeps those of the seed.

    Raises CheckpointError for a file that is not of this backbone, ResourceError where ImageNet's cannot be fetched.
    """
    backbone = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    if config.weights == "imagenet":
        with contextlib.redirect_stdout(
            sys.stderr
        ):  # Keras' progress bar; stdout is for the result
            backbone.set_weights(_imagenet(config, backbone.input_shape[1:]).get_weights())
    elif config.weights:
        _read_file(backbone, Path(config.weights), config.backbone)


def _backbone(config: Pretrained, shape, weights: str | None) -> keras.Model:
    function = getattr(keras.applications, config.backbone)
    return function(
        include_top=False, weights=weights, input_shape=tuple(shape), pooling=config.pooling
    )


def _as_trained(x, backbone: str):
    """RGB from 0 to 255 -> what the backbone's authors fed it; nothing for those that begin with it themselves."""
    if re.fullmatch("EfficientNetB[0-7]", backbone):
        # Its authors divided by the variance, Keras' layer divides by the deviation. Keras mends that inside the backbone,
        # but only for weights="imagenet"; here it is done before, so that one network stands for every origin of weights.
        roots = [std**0.5 for std in STD]
        offsets = [
            255.0 * mean * (1.0 - 1.0 / root) for mean, root in zip(MEAN, roots, strict=True)
        ]
        return layers.Rescaling([1.0 / root for root in roots], offsets, name="as_trained")(x)
    module = importlib.import_module(getattr(keras.applications, backbone).__module__)
    return module.preprocess_input(x)


def _read_file(backbone: keras.Model, path: Path, name: str) -> None:
    if not path.is_file():
        raise CheckpointError(f"model.weights: {path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            file.visititems(
                _check_array
            )  # Keras looks at shapes only when it has unpacked everything
        with warnings.catch_warnings(
            action="error", category=UserWarning
        ):  # Keras only warns of layers that a file does not have
            backbone.load_weights(path)
    except (
        ValueError,
        KeyError,
        OSError,
        UserWarning,
    ) as error:  # not HDF5, links out of the file, other layers, other shapes
        reason = str(error).strip('"').splitlines()[0]
        raise CheckpointError(
            f"model.weights: {path}: expected the weights of a {name} without its top: {reason}"
        ) from error


def _check_array(name: str, found: h5py.Group | h5py.Dataset) -> None:
    if isinstance(found, h5py.Dataset):
        if found.external or found.is_virtual:
            raise ValueError(f"{name}: expected data in this file, got an array in another")
        if found.nbytes > _MOST_PACKED * found.id.get_storage_size():
            raise ValueError(
                f"{name}: expected {found.nbytes:,} bytes, got {found.id.get_storage_size():,}"
            )


def _imagenet(config: Pretrained, shape) -> keras.Model:
    try:
        return _backbone(config, shape, weights="imagenet")
    except Exception as error:  # of no class of its own
        told = re.search(r"URL fetch failure on (\S+): \S+ -- (.*)", str(error))
        if not told:
            raise
        folder = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"
    raise ResourceError(
        f"model.weights: cannot download {told[1]}: {told[2]}; put it into {folder}, or set model.weights to its path"
    )
