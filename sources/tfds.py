"""A set that tensorflow-datasets has prepared as array_record; needs `pip install -e '.[tfds]'`.

A record: {"inputs": string [], an image still encoded, or the feature as it is stored;
           "targets": int64 [], a class}
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
    try:
        builder = tensorflow_datasets.builder(name, data_dir=directory)
        features = builder.info.features
        _check(config, features, tensorflow_datasets.features.ClassLabel)
        is_image = isinstance(features[config.inputs], tensorflow_datasets.features.Image)
        decoders = {config.inputs: tensorflow_datasets.decode.SkipDecoding()} if is_image else None
        stored = builder.as_data_source(split=splits[split], decoders=decoders)
        length = len(stored)
    except (
        tensorflow_datasets.core.DatasetNotFoundError,
        ValueError,
        NotImplementedError,
        OSError,
    ) as error:
        raise DataError(
            f"{name}: {str(error).strip().splitlines()[0]}; expected a set prepared "
            f"as array_record in {directory or 'its default directory'}"
        ) from error
    feature = features[config.inputs]
    inputs = tf.TensorSpec(feature.shape, tf.as_dtype(feature.np_dtype))
    if is_image:
        inputs = tf.TensorSpec([], tf.string)
    specs = {"inputs": inputs, "targets": tf.TensorSpec([], tf.int64)}

    def read_examples(indices):
        examples = stored.__getitems__(indices.tolist())
        inputs_of_batch = [example[config.inputs] for example in examples]
        targets = [example[config.targets] for example in examples]
        return np.array(inputs_of_batch, inputs.dtype.as_numpy_dtype), np.array(targets, np.int64)

    place = f"{builder.info.full_name} {splits[split]}"
    return Source(
        name,
        length,
        lambda indices: in_python(read_examples, indices, specs),
        tuple(features[config.targets].names),
        f"{place} {config.inputs} {config.targets} {length}",
        lambda index: f"{place}: example {index}",
    )


def _check(config, features, label_class: type) -> None:
    for key in (config.inputs, config.targets):
        if key not in features:
            raise DataError(f"{config.dataset}: no feature {key!r}; it has {', '.join(features)}")
    if not isinstance(features[config.targets], label_class):
        raise DataError(
            f"{config.dataset}: targets: expected class labels, "
            f"got {config.targets!r}: {features[config.targets]}"
        )
