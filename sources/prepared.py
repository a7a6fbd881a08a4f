"""Data that were prepared beforehand: our records, and sets of tensorflow-datasets."""

from pathlib import Path

import numpy as np
import tensorflow as tf

import data_config
from cli.program import ConfigError, DataError
from engine.record_files import Records
from sources.source import Source, check_classes, check_finite, in_python


def records(config: data_config.Records, split: str, directory: Path | str | None) -> Source:
    if directory is None:
        raise DataError("records: no directory; expected data.dir=DIR, or `dir` beside its name")
    stored = Records(directory, split)
    described, class_names = stored.manifest["features"], tuple(stored.manifest["class_names"])
    numbers = {
        "float32": tf.float32,
        "int64": tf.int64,
        "int32": tf.int64,
    }  # what an Example holds beside bytes
    layout, floats = {}, []
    for key, feature in described.items():
        floats += [key] if feature["dtype"] == "float32" else []
        if feature["dtype"] in numbers and feature["shape"] == [-1]:
            layout[key] = tf.io.RaggedFeature(numbers[feature["dtype"]])
        elif feature["dtype"] in numbers:
            layout[key] = tf.io.FixedLenFeature(feature["shape"], numbers[feature["dtype"]])
        else:
            layout[key] = tf.io.FixedLenFeature(
                feature["shape"] if feature["dtype"] == "string" else [], tf.string
            )
    if "inputs" not in layout:
        raise DataError(f"{directory}: expected a feature `inputs`, got {', '.join(layout)}")
    labels = stored.index["label"].astype(np.int64)
    if has_labels := bool(class_names) and labels.min() >= 0:
        check_classes(labels, len(class_names), stored.locate)

    def check_values(indices, *values):
        for key, array in zip([*floats, "targets"], values, strict=False):
            if key == "targets":
                check_classes(array, len(class_names), lambda at: stored.locate(int(indices[at])))
            else:
                check_finite(key, array, lambda at: stored.locate(int(indices[at])))
        return indices

    def read_by(read_records):
        def read(indices):
            serialized = tf.ensure_shape(
                tf.numpy_function(read_records, [indices], tf.string, stateful=False), [None]
            )
            features = tf.io.parse_example(serialized, layout)
            features = {
                key: value.to_tensor() if isinstance(value, tf.RaggedTensor) else value
                for key, value in features.items()
            }
            checked = [features[key] for key in floats]
            if class_names and "targets" in features and features["targets"].dtype.is_integer:
                checked.append(features["targets"])
            if checked:  # what the format cannot promise is looked at as it is read
                # Said to be stateful, or TensorFlow would leave out a check whose result nobody uses.
                with tf.control_dependencies(
                    [tf.numpy_function(check_values, [indices, *checked], tf.int64, stateful=True)]
                ):
                    features = {key: tf.identity(value) for key, value in features.items()}
            for key, feature in described.items():
                if feature["dtype"] == "uint8":
                    decoded = tf.ensure_shape(
                        tf.io.decode_raw(features[key], tf.uint8),
                        [None, int(np.prod(feature["shape"]))],
                    )
                    features[key] = tf.reshape(decoded, [-1, *feature["shape"]])
                elif feature["dtype"] == "int32":
                    features[key] = tf.cast(features[key], tf.int32)
            return features

        return read

    return Source(
        "records", len(stored), read_by(stored.read), class_names, stored.fingerprint, stored.locate, labels if has_labels else None,
        (sizes := stored.index["length"].astype(np.int64)), int(sizes.sum()), stored.block_length,
        lambda blocks: read_by(stored.read_in_blocks(blocks)),
    )  # fmt: skip


def tfds(config: data_config.Tfds, split: str, directory: Path | None) -> Source:
    """Through its random-access data source, images still encoded."""
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ConfigError(f"data: tfds: {error}; expected `pip install -e '.[tfds]'`") from error
    if split not in config.splits:
        raise DataError(f"{config.dataset}: no split {split!r}; it has {', '.join(config.splits)}")
    try:
        builder = tensorflow_datasets.builder(
            config.dataset, data_dir=str(directory) if directory else None
        )
        features = builder.info.features
        for key in (config.inputs, config.targets):
            if key not in features:
                raise DataError(
                    f"{config.dataset}: no feature {key!r}; it has {', '.join(features)}"
                )
        if not isinstance(features[config.targets], tensorflow_datasets.features.ClassLabel):
            raise DataError(
                f"{config.dataset}: targets: expected class labels, got {config.targets!r}: {features[config.targets]}"
            )
        encoded = isinstance(features[config.inputs], tensorflow_datasets.features.Image)
        decoders = {config.inputs: tensorflow_datasets.decode.SkipDecoding()} if encoded else None
        stored = builder.as_data_source(split=config.splits[split], decoders=decoders)
        length = len(stored)
    except (
        tensorflow_datasets.core.DatasetNotFoundError,
        ValueError,
        NotImplementedError,
        OSError,
    ) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"{config.dataset}: {reason}; expected a set prepared as array_record in {directory or 'its default directory'}"
        ) from error
    feature = features[config.inputs]
    specs = {
        "inputs": tf.TensorSpec([], tf.string)
        if encoded
        else tf.TensorSpec(feature.shape, tf.as_dtype(feature.np_dtype)),
        "targets": tf.TensorSpec([], tf.int64),
    }

    def read_examples(indices):
        found = stored.__getitems__(indices.tolist())
        inputs = [example[config.inputs] for example in found]
        targets = np.array([example[config.targets] for example in found], np.int64)
        return np.array(inputs, specs["inputs"].dtype.as_numpy_dtype), targets

    names, place = (
        tuple(features[config.targets].names),
        f"{builder.info.full_name} {config.splits[split]}",
    )
    return Source(
        config.dataset, length, lambda indices: in_python(read_examples, indices, specs), names,
        f"{place} {config.inputs} {config.targets} {length}", lambda index: f"{place}: example {index}",
    )  # fmt: skip
