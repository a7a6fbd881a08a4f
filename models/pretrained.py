"""A backbone of keras.applications with a new head.

Yosinski et al., How transferable are features in deep neural networks?, 2014. To train the head
alone: `freeze: ["^(?!logits/)"]`.
"""

import contextlib
import importlib
import os
import re
import sys
import warnings
from pathlib import Path

import keras
from keras import layers

from cli.program import CheckpointError, ConfigError, ResourceError
from engine.safe_files import read_h5
from model_config import Pretrained
from models.blocks import dropout
from train_config import Spec

SMALLEST = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}  # pixels; others: 32
MEAN = (0.485, 0.456, 0.406)  # of ImageNet's colors, between 0 and 1
STD = (0.229, 0.224, 0.225)


def build(config: Pretrained, spec: Spec) -> keras.Model:
    """Images [B, H, W, 1 or 3] -> logits [B, num_outputs].

    Images are bytes, or between 0 and 1 as the operation `scale` makes them; what the backbone was
    trained to see (its own scaling, order of channels, mean) is made of them here, so that no other
    operation is needed. A gray channel is taken three times.
    """
    backbone = config.backbone
    size = config.size
    smallest = SMALLEST.get(backbone, 32)
    shape = spec.image_shape(1 if size else smallest, f"pretrained: {backbone}")
    if size and size < smallest:
        raise ConfigError(f"model.size: expected at least {smallest} for {backbone}, got {size}")
    if shape[-1] not in (1, 3):
        raise ConfigError(f"pretrained: expected images with 1 or 3 channels, got {shape}")
    images = keras.Input(shape, dtype=spec.input_dtype, name="images")
    factor = 1.0 if spec.input_dtype == "uint8" else 255.0
    x = layers.Rescaling(factor, name="bytes")(images)  # -> 0 to 255
    if size:
        # The layer Resizing would switch all that follows to training if a caller says nothing.
        x = keras.ops.image.resize(x, (size, size), antialias=True)  # -> (B, size, size, C)
    if shape[-1] == 1:
        x = layers.Concatenate(name="rgb")([x, x, x])  # -> (B, H, W, 3)
    features = _backbone(config, x.shape[1:], weights=None)
    x = features(_as_trained(x, backbone))  # -> (B, C)
    x = dropout(x, config.dropout)
    logits = layers.Dense(spec.num_outputs, name="logits")(x)
    return keras.Model(images, logits, name="pretrained")


def initialize(model: keras.Model, config: Pretrained, spec: Spec) -> None:
    """Gives the backbone the weights that the configuration names; the head keeps its random ones.

    Raises CheckpointError for a file of another backbone, ResourceError where ImageNet's cannot be
    fetched.
    """
    backbone = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    if config.weights == "imagenet":
        # stdout is for the result, not for Keras' progress bar
        with contextlib.redirect_stdout(sys.stderr):
            trained = _imagenet(config, backbone.input_shape[1:])
        backbone.set_weights(trained.get_weights())
    elif config.weights:
        _read_file(backbone, Path(config.weights), config.backbone)


def _backbone(config, shape, weights):
    application = getattr(keras.applications, config.backbone)
    return application(
        include_top=False,
        weights=weights,
        input_shape=tuple(shape),
        pooling=config.pooling,
    )


def _as_trained(x, backbone):
    """RGB from 0 to 255 -> what the backbone was trained on, unless it begins with that itself."""
    if re.fullmatch("EfficientNetB[0-7]", backbone):
        # Its authors divided by the variance, Keras' layer divides by the deviation. Keras mends
        # that in the backbone, but only for weights="imagenet"; here it is done before, so that
        # one network stands for every origin of weights.
        scales = [1.0 / std**0.5 for std in STD]
        offsets = [255.0 * mean * (1.0 - scale) for mean, scale in zip(MEAN, scales, strict=True)]
        return layers.Rescaling(scales, offsets, name="as_trained")(x)
    module = importlib.import_module(getattr(keras.applications, backbone).__module__)
    return module.preprocess_input(x)


def _read_file(backbone, path, name):
    def failure(message):
        return CheckpointError(f"model.weights: {message}")

    read_h5(path, failure)  # Keras looks at shapes when it has unpacked everything
    try:
        # Keras only warns of layers that a file does not have.
        with warnings.catch_warnings(action="error", category=UserWarning):
            backbone.load_weights(path)
    except (ValueError, KeyError, UserWarning) as error:  # other layers, or of other shapes
        reason = str(error).strip('"').splitlines()[0]
        raise failure(
            f"{path}: expected the weights of a {name} without its top: {reason}"
        ) from error


def _imagenet(config, shape):
    try:
        return _backbone(config, shape, weights="imagenet")
    except Exception as error:  # of no class of its own
        failure = re.search(r"URL fetch failure on (\S+): \S+ -- (.*)", str(error))
        if not failure:
            raise
    url, reason = failure.groups()
    folder = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"
    raise ResourceError(
        f"model.weights: cannot download {url}: {reason}; "
        f"put it into {folder}, or set model.weights to its path"
    )
