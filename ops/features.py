"""What operations expect of a feature: gives it, or says in one line what to put before.

Some targets lie in the picture and move with it. Until the last operation they are features of
their own, by whose names every geometric operation knows them:

    mask    uint8 [n, height, width, 1]: the class of each pixel, IGNORED where it does not count
    points  float32 [n, K, 3]: x and y in pixels, whole numbers at their centers, and 1 if visible

A source gives them, or `decode_mask` and `targets_as_points` make them of its targets;
`mask_as_targets` and `points_as_targets` make targets of them. A geometric operation says what it
does as a `Placement` (ops/pixels.py), drawn from the same seeds, and `moved` does so to both: the
nearest pixel of a mask, IGNORED where nothing was; a point that leaves the picture is not visible.
"""

import functools

import tensorflow as tf

from cli.program import ConfigError
from ops.pixels import Placement, placed, placed_points, size_of

IGNORED = 255  # in a mask


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


def geometric(placement_of):
    """Decorator: operation(images, seeds, config) -> images, as one that moves the targets too.

    `placement_of(config, height, width, seeds)` is its `Placement`.
    """

    def decorator(operation):
        @functools.wraps(operation)
        def on_features(features, seeds, config):
            inputs = images(features, config)
            changed = features | {"inputs": operation(inputs, seeds, config)}
            if not moving(features):
                return changed
            placement = placement_of(config, *size_of(inputs), seeds)
            return moved(changed, placement, config, inputs)

        return on_features

    return decorator


def moving(features) -> set[str]:
    """Names of the targets that lie in the picture."""
    return features.keys() & {"mask", "points"}


def moved(features, placement: Placement, config, before):
    """Mask and points moved as the inputs were, which were `before`."""
    features = dict(features)
    if "mask" in features:
        mask = features["mask"]
        check_mask(mask, before, config)
        mask = placed(mask, placement, "NEAREST", float(IGNORED))
        features["mask"] = tf.ensure_shape(mask, [None, *features["inputs"].shape[1:3], 1])
    if "points" in features:
        features["points"] = placed_points(features["points"], placement)
    return features


def check_mask(mask, images, config) -> None:
    """Raises ConfigError for a mask of another size than its picture."""
    if mask.dtype != tf.uint8 or mask.shape.rank != 4:
        raise ConfigError(
            f"{config.name}: expected a mask of bytes [height, width, 1], "
            f"got {_type_of(mask)}; put `decode_mask` before"
        )
    if not mask.shape[1:3].is_compatible_with(images.shape[1:3]):
        raise ConfigError(
            f"{config.name}: expected a mask of its picture's size, "
            f"{images.shape[1]}x{images.shape[2]}, got {mask.shape[1]}x{mask.shape[2]}"
        )


on_numbers = _on(numbers)
on_floats = _on(floats)
on_images = _on(images)
on_colors = _on(colors)
on_token_ids = _on(token_ids)
