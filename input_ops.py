"""The input pipeline: which examples a step sees, read, treated and batched as {inputs, targets, sample_weight, id}.

The order of the data is arithmetic. Step s holds positions s * batch_size + [0, batch_size); position p is example
permutation(seed, epoch)[k] with epoch, k = divmod(p, length). So any step is reached at once, nothing of the pipeline
needs saving, and the order does not depend on threads, towers or restarts.
"""

import math

import tensorflow as tf

import data_loader
from data_config import Spec
from preprocess_data import apply_ops, fold
from program import DataError
from train_config import Data

_ROUNDS = 6
_POSITIONS_AT_ONCE = 8192  # the order is computed for many steps in one go: a few hundred small ops, paid once
_EXAMPLES_AT_ONCE = 512  # small batches are read and treated in groups


def permutation(seed, epoch, k, length: int) -> tf.Tensor:
    """The k-th element of the epoch's permutation of [0, length): int64 tensors of one shape -> int64.

    A keyed bijection at O(1) an element: a Feistel network over pairs (left, right) in [0, side)^2 with
    side = ceil(sqrt(length)), addition modulo `side`, and splitmix64 as the round function; a value beyond `length` is
    sent through again (cycle walking). Black, Rogaway, Ciphers with arbitrary finite domains, CT-RSA 2002, sections 3, 5.
    """
    side = tf.constant(math.isqrt(length - 1) + 1, tf.uint64)
    length = tf.constant(length, tf.uint64)
    keys = [fold(fold(seed, epoch), number) for number in range(_ROUNDS)]

    def through(x):
        left, right = x // side, x % side
        for key in keys:
            left, right = right, (left + fold(key, right) % side) % side
        return left * side + right

    x = through(tf.cast(k, tf.uint64))
    (x,) = tf.while_loop(lambda x: tf.reduce_any(x >= length), lambda x: [tf.where(x >= length, through(x), x)], [x], parallel_iterations=1)
    return tf.cast(x, tf.int64)


def order(seed: int, positions: tf.Tensor, length: int) -> tf.Tensor:
    """Positions in the endless stream of shuffled epochs -> indices of examples; int64 [n]."""
    return permutation(tf.constant(seed, tf.int64), positions // length, positions % length, length)


def train_batches(source: data_loader.Source, ops: list, batch_size: int, seed: int, start: int = 0, stop: int | None = None):
    """A tf.data.Dataset of the shuffled batches of steps [start, stop); endless without `stop`."""
    if len(source) < batch_size:
        raise DataError(f"{source.name}: expected at least one batch of {batch_size} examples, got {len(source)}")
    stop = (1 << 62) // batch_size if stop is None else stop

    def indices_of(steps):
        positions = steps[:, tf.newaxis] * batch_size + tf.range(batch_size, dtype=tf.int64)  # (steps,) -> (steps, batch)
        return positions, order(seed, positions, len(source))

    def batches_of(positions, indices):
        """Several steps at once: reading and operations cost little more for a group than for one small batch."""
        positions, indices = tf.reshape(positions, [-1]), tf.reshape(indices, [-1])
        batch = _batch(source, ops, indices, fold(seed, positions), tf.ones_like(indices, tf.float32))
        return {key: tf.reshape(value, [-1, batch_size, *value.shape[1:]]) for key, value in batch.items()}

    steps = tf.data.Dataset.range(start, stop)
    order_of_steps = steps.batch(max(1, _POSITIONS_AT_ONCE // batch_size)).map(indices_of).unbatch()
    group = max(1, _EXAMPLES_AT_ONCE // batch_size)
    return _finish(order_of_steps.batch(group).map(batches_of, num_parallel_calls=tf.data.AUTOTUNE).unbatch())


def eval_batches(source: data_loader.Source, ops: list, batch_size: int):
    """(dataset, number of batches): every example once, in the source's order; the last batch padded with weight 0."""
    length = len(source)

    def batch(step):
        positions = step * batch_size + tf.range(batch_size, dtype=tf.int64)
        sample_weight = tf.cast(positions < length, tf.float32)
        return _batch(source, ops, tf.minimum(positions, length - 1), fold(0, positions), sample_weight)

    num_batches = math.ceil(length / batch_size)
    return _finish(tf.data.Dataset.range(num_batches).map(batch, num_parallel_calls=tf.data.AUTOTUNE)), num_batches


def _batch(source, ops, indices, seeds, sample_weight):
    features = apply_ops(source.read(indices), seeds, ops, len(source.class_names))
    return {"inputs": features["inputs"], "targets": features["targets"], "sample_weight": sample_weight, "id": indices}


def _finish(dataset: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    options.threading.max_intra_op_parallelism = 1  # whole batches run beside each other, not against the training step
    return dataset.prefetch(4).with_options(options)


def open_source(data: Data, split: str) -> data_loader.Source:
    return data_loader.load(data.dataset(split), split, data.dir)


def spec_of(batches: tf.data.Dataset, source: data_loader.Source) -> Spec:
    """What a network must know of these batches."""
    inputs, targets = batches.element_spec["inputs"], batches.element_spec["targets"]
    return Spec(
        input_shape=inputs.shape[1:].as_list(),
        input_dtype=inputs.dtype.name,
        target_shape=targets.shape[1:].as_list(),
        target_dtype=targets.dtype.name,
        num_classes=len(source.class_names),
        class_names=list(source.class_names),
    )


def check_spec(expected: Spec, batches: tf.data.Dataset, source: data_loader.Source) -> None:
    """Raises DataError where other data than the network was built for would not fit it."""
    found = spec_of(batches, source)
    for field in Spec.model_fields:
        want, got = getattr(expected, field), getattr(found, field)
        if want != got:
            raise DataError(f"{source.name}: {field}: expected {want}, as in training, got {got}")
