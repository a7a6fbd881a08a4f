"""What preprocess_data.py has written: TFRecord shards, an index, manifest.json.

A record: what the operations made, as described in the manifest; of photos, say,
    {"inputs": string [], a JPEG; "targets": int64 []; "orientation": int32 []; ...}
Sequences come padded to the longest of the batch.
"""

import math

import numpy as np
import tensorflow as tf

from cli.program import DataError
from data_loader import Source, check_classes, check_finite
from engine.record_files import Records

_NUMBERS = {"float32": tf.float32, "int64": tf.int64, "int32": tf.int64}  # as an Example holds them


def load(config, split, directory) -> Source:
    if directory is None:
        raise DataError("records: no directory; expected data.dir=DIR, or `dir` beside its name")
    stored = Records(directory, split)
    features = stored.manifest["features"]
    class_names = tuple(stored.manifest["class_names"])
    if "inputs" not in features:
        raise DataError(f"{directory}: expected a feature `inputs`, got {', '.join(features)}")
    labels = stored.index["label"].astype(np.int64)
    if not class_names or labels.min() < 0:
        labels = None
    else:
        check_classes(labels, len(class_names), stored.locate)
    reader = _Reader(features, len(class_names), stored.locate)
    sizes = stored.index["length"].astype(np.int64)
    return Source(
        "records",
        len(stored),
        reader.read_by(stored.read),
        class_names,
        stored.fingerprint,
        stored.locate,
        labels,
        sizes,
        stored_bytes=int(sizes.sum()),
        block_length=stored.block_length,
        read_in_blocks=lambda blocks: reader.read_by(stored.read_in_blocks(blocks)),
    )


class _Reader:
    """Makes features of serialized tf.train.Examples, in the graph."""

    def __init__(self, features: dict[str, dict], num_classes: int, locate):
        self.features = features
        self.num_classes = num_classes
        self.locate = locate
        self.layout = {key: _layout_of(feature) for key, feature in features.items()}
        self.checked = [key for key in features if self.layout[key].dtype == tf.float32]
        if num_classes and "targets" in features and self.layout["targets"].dtype == tf.int64:
            self.checked.append("targets")

    def read_by(self, read_records):
        def read(indices):
            serialized = tf.numpy_function(read_records, [indices], tf.string, stateful=False)
            batch = tf.io.parse_example(tf.ensure_shape(serialized, [None]), self.layout)
            batch = {
                key: value.to_tensor() if isinstance(value, tf.RaggedTensor) else value
                for key, value in batch.items()
            }
            if self.checked:
                # Stateful, or TensorFlow would leave out a check whose result nobody uses.
                values = [indices, *(batch[key] for key in self.checked)]
                check = tf.numpy_function(self.check, values, tf.int64, stateful=True)
                with tf.control_dependencies([check]):
                    batch = {key: tf.identity(value) for key, value in batch.items()}
            return {key: _decoded(value, self.features[key]) for key, value in batch.items()}

        return read

    def check(self, indices: np.ndarray, *values: np.ndarray) -> np.ndarray:
        """Looks at what the format cannot promise: finite numbers, and classes in their range."""

        def locate(row: int) -> str:
            return self.locate(int(indices[row]))

        for key, array in zip(self.checked, values, strict=True):
            if array.dtype == np.float32:
                check_finite(key, array, locate)
            else:
                check_classes(array, self.num_classes, locate)
        return indices


def _layout_of(feature: dict):
    dtype = feature["dtype"]
    shape = feature["shape"]
    if dtype in _NUMBERS and shape == [-1]:
        return tf.io.RaggedFeature(_NUMBERS[dtype])
    return tf.io.FixedLenFeature([] if dtype == "uint8" else shape, _NUMBERS.get(dtype, tf.string))


def _decoded(value: tf.Tensor, feature: dict) -> tf.Tensor:
    if feature["dtype"] == "uint8":
        shape = feature["shape"]
        pixels = tf.io.decode_raw(value, tf.uint8)
        return tf.reshape(tf.ensure_shape(pixels, [None, math.prod(shape)]), [-1, *shape])
    return tf.cast(value, tf.int32) if feature["dtype"] == "int32" else value
