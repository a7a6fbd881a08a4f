"""A set that tensorflow-datasets has prepared as array_record; needs `pip install -e '.[tfds]'`.

A record: {"inputs": string [], an image still encoded, or the feature as it is stored;
           "targets": int64 [], a class; or float32 [...], with `kind: numbers`; or string []}
"""

import numpy as np
import tensorflow as tf

from cli.program import ConfigError, DataError
from data_loader import NoSplit, Source, in_python


def load(config, split, directory) -> Source:
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ConfigError(f"data: tfds: {error}; expected `pip install -e '.[tfds]'`") from error
    name = config.dataset
    splits = config.splits
    if split not in splits:
        raise NoSplit(f"{name}: no split {split!r}; it has {', '.join(splits)}")
    builder, stored = _opened(tensorflow_datasets, config, splits[split], directory)
    length = len(stored)
    features = builder.info.features
    feature = features[config.inputs]
    inputs = tf.TensorSpec(feature.shape, tf.as_dtype(feature.np_dtype))
    if isinstance(feature, tensorflow_datasets.features.Image):
        inputs = tf.TensorSpec([], tf.string)
    targets = _targets_spec(config.kind, features[config.targets])
    specs = {"inputs": inputs, "targets": targets}

    def read_examples(indices):
        examples = stored.__getitems__(indices.tolist())
        columns = [
            [example[key] for example in examples] for key in (config.inputs, config.targets)
        ]
        return tuple(
            np.array(values, spec.dtype.as_numpy_dtype)
            for values, spec in zip(columns, specs.values(), strict=True)
        )

    place = f"{builder.info.full_name} {splits[split]}"
    class_names = features[config.targets].names if config.kind == "classes" else ()
    return Source(
        name,
        length,
        lambda indices: in_python(read_examples, indices, specs),
        tuple(class_names),
        f"{place} {config.inputs} {config.targets} {length}",
        lambda index: f"{place}: example {index}",
    )


def _opened(tensorflow_datasets, config, split: str, directory):
    """(builder, examples by index), images still encoded. Raises DataError for what is missing."""
    try:
        builder = tensorflow_datasets.builder(config.dataset, data_dir=directory)
        features = builder.info.features
        _check(config, features, tensorflow_datasets.features)
        is_image = isinstance(features[config.inputs], tensorflow_datasets.features.Image)
        decoders = {config.inputs: tensorflow_datasets.decode.SkipDecoding()} if is_image else None
        stored = builder.as_data_source(split=split, decoders=decoders)
        len(stored)  # looks at the files
        return builder, stored
    except (
        tensorflow_datasets.core.DatasetNotFoundError,
        ValueError,
        NotImplementedError,
        OSError,
    ) as error:
        raise DataError(
            f"{config.dataset}: {str(error).strip().splitlines()[0]}; expected a set prepared "
            f"as array_record in {directory or 'its default directory'}"
        ) from error


def _targets_spec(kind: str, feature) -> tf.TensorSpec:
    if kind == "classes":
        return tf.TensorSpec([], tf.int64)
    return tf.TensorSpec(feature.shape, tf.string if kind == "text" else tf.float32)


def _check(config, features, types) -> None:
    """`types`: the module of the classes of features."""
    for key in (config.inputs, config.targets):
        if key not in features:
            raise DataError(f"{config.dataset}: no feature {key!r}; it has {', '.join(features)}")
    targets = features[config.targets]
    is_text = isinstance(targets, types.Text)
    is_class = isinstance(targets, types.ClassLabel)
    numpy_dtype = np.dtype(targets.np_dtype) if hasattr(targets, "np_dtype") else np.dtype(object)
    is_number = numpy_dtype.kind in "biuf" and None not in targets.shape
    fits = {"classes": is_class, "numbers": is_number and not is_class, "text": is_text}
    if not fits[config.kind]:
        other = next((kind for kind, is_kind in fits.items() if is_kind), None)
        cure = f"; expected `kind: {other}`" if other else ""
        expected = "class labels" if config.kind == "classes" else config.kind
        raise DataError(
            f"{config.dataset}: targets: expected {expected}, "
            f"got {config.targets!r}: {targets}{cure}"
        )
