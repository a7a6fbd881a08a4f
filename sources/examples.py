"""Features of serialized tf.train.Examples, in the graph; sequences padded to the longest."""

import math

import numpy as np
import tensorflow as tf

from data_loader import check_classes, check_finite

_NUMBERS = {"float32": tf.float32, "int64": tf.int64, "int32": tf.int64}  # as an Example holds them


class ExampleReader:
    """`features`: {feature: {"dtype", "shape", "key": its name in the Example, if another}}."""

    def __init__(self, features: dict[str, dict], num_classes: int, locate):
        self.features = features
        self.num_classes = num_classes
        self.locate = locate
        self.keys = {name: feature.get("key", name) for name, feature in features.items()}
        self.layout = {self.keys[name]: _layout_of(features[name]) for name in features}
        dtypes = {name: self.layout[self.keys[name]].dtype for name in features}
        self.checked = [name for name in features if dtypes[name] == tf.float32]
        if num_classes and dtypes.get("targets") == tf.int64:
            self.checked.append("targets")

    def read_by(self, read_records):
        def read(indices):
            serialized = tf.numpy_function(read_records, [indices], tf.string, stateful=False)
            parsed = tf.io.parse_example(tf.ensure_shape(serialized, [None]), self.layout)
            batch = {name: _padded(parsed[key]) for name, key in self.keys.items()}
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


def _padded(value):
    return value.to_tensor() if isinstance(value, tf.RaggedTensor) else value


def _decoded(value: tf.Tensor, feature: dict) -> tf.Tensor:
    if feature["dtype"] == "uint8":
        shape = feature["shape"]
        pixels = tf.io.decode_raw(value, tf.uint8)
        return tf.reshape(tf.ensure_shape(pixels, [None, math.prod(shape)]), [-1, *shape])
    return tf.cast(value, tf.int32) if feature["dtype"] == "int32" else value
