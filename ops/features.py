"""What operations expect of a feature: gives it, or says in one line what to put before."""

import functools

import tensorflow as tf

from cli.program import ConfigError


def numbers(features, config, name="inputs"):
    """Any numbers -> float32."""
    values = features[name]
    _refuse_missing(features, config)
    if values.dtype == tf.string:
        raise ConfigError(
            f"{config.name}: expected numbers, got text or encoded images; "
            "put `decode_image` or `tokenize` before"
        )
    return tf.cast(values, tf.float32)


def _refuse_missing(features, config):
    if "missing" in features:
        raise ConfigError(f"{config.name}: expected no missing values; put `fill` before")


def floats(features, config):
    inputs = features["inputs"]
    _refuse_missing(features, config)
    if not inputs.dtype.is_floating:
        raise ConfigError(
            f"{config.name}: expected float inputs, got {inputs.dtype.name}; put `scale` before"
        )
    return inputs


def images(features, config):
    """Inputs [n, height, width, channels]."""
    inputs = features["inputs"]
    if inputs.shape.rank != 4:
        cure = "; put `decode_image` before" if inputs.dtype == tf.string else ""
        raise ConfigError(
            f"{config.name}: expected images [height, width, channels], "
            f"got inputs of shape {inputs.shape[1:]}{cure}"
        )
    return inputs


def colors(features, config):
    """Images of 1 or 3 channels."""
    inputs = images(features, config)
    channels = inputs.shape[3]
    if channels not in (1, 3):
        raise ConfigError(f"{config.name}: expected 1 or 3 channels, got {channels}")
    return inputs


def texts(features, config, name: str):
    """string [n]."""
    values = features[name]
    if values.dtype != tf.string or values.shape.rank != 1:
        raise ConfigError(f"{config.name}: expected texts, got {_type_of(values)}")
    return values


def sequences(features, config, name="inputs"):
    """Numbers or token ids [n, length, ...]."""
    values = features[name]
    if values.shape.rank < 2 or values.dtype == tf.string:
        raise ConfigError(
            f"{config.name}: expected sequences, got {_type_of(values)}; put `tokenize` before"
        )
    return values


def token_ids(features, config):
    """Integers [n, length]."""
    ids = sequences(features, config)
    if not ids.dtype.is_integer:
        raise ConfigError(
            f"{config.name}: expected token ids, got {ids.dtype.name}; put `tokenize` before"
        )
    return ids


def _type_of(values) -> str:
    return f"{values.dtype.name} of shape {values.shape[1:]}"


# ---- operations that change nothing but the inputs


def _on(expected):
    """Decorator: operation(inputs as expected, seeds, config) -> inputs, as one on features."""

    def decorator(operation):
        @functools.wraps(operation)
        def on_features(features, seeds, config):
            inputs = operation(expected(features, config), seeds, config)
            return features | {"inputs": inputs}

        return on_features

    return decorator


on_numbers = _on(numbers)
on_floats = _on(floats)
on_images = _on(images)
on_colors = _on(colors)
on_token_ids = _on(token_ids)
