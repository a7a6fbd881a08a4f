"""Random numbers and permutations that are functions of (seed, number) alone.

So they are the same on any number of threads, towers and restarts.
"""

import math

import tensorflow as tf

_GOLDEN = 0x9E3779B97F4A7C15
_ROUNDS = 6  # of a permutation


def mix64(x: tf.Tensor) -> tf.Tensor:
    """splitmix64: uint64 -> uint64, one to one, every bit of the input moves half of the output.

    Steele, Lea, Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
    x += tf.constant(_GOLDEN, tf.uint64)
    x = (x ^ tf.bitwise.right_shift(x, tf.constant(30, tf.uint64))) * tf.constant(
        0xBF58476D1CE4E5B9, tf.uint64
    )
    x = (x ^ tf.bitwise.right_shift(x, tf.constant(27, tf.uint64))) * tf.constant(
        0x94D049BB133111EB, tf.uint64
    )
    return x ^ tf.bitwise.right_shift(x, tf.constant(31, tf.uint64))


# Traced dozens of times a run, and there is nothing in it to convert.
@tf.autograph.experimental.do_not_convert
def fold(seeds, data) -> tf.Tensor:
    """A new independent seed, uint64, from a seed and a number of any integer type.

    Shapes broadcast.
    """
    return mix64(mix64(tf.cast(seeds, tf.uint64)) ^ tf.cast(data, tf.uint64))


def uniform(seeds: tf.Tensor, draw, low: float = 0.0, high: float = 1.0) -> tf.Tensor:
    """float32 in [low, high), one per seed and draw, whose shapes broadcast.

    Different draws of one seed are independent.
    """
    bits = tf.bitwise.right_shift(
        fold(seeds, draw), tf.constant(40, tf.uint64)
    )  # 24 bits: what float32 holds exactly
    return low + (high - low) * tf.cast(bits, tf.float32) * 2.0**-24


def integers(seeds: tf.Tensor, draw: int, count) -> tf.Tensor:
    """int32 [n] in [0, count), one per seed; `count` is an int or int32, a scalar or [n]."""
    return tf.cast(tf.math.floormod(fold(seeds, draw), tf.cast(count, tf.uint64)), tf.int32)


def philox(seeds: tf.Tensor) -> tf.Tensor:
    """uint64 [...] -> int32 [..., 2]: a seed for tf.random.stateless_* with alg="philox"."""
    low = tf.bitwise.bitwise_and(seeds, tf.constant(0x7FFFFFFF, tf.uint64))
    high = tf.bitwise.right_shift(seeds, tf.constant(33, tf.uint64))
    return tf.stack([tf.cast(low, tf.int32), tf.cast(high, tf.int32)], axis=-1)


@tf.autograph.experimental.do_not_convert  # as fold
def permutation(seed, epoch, k, length: int) -> tf.Tensor:
    """The k-th of the epoch's permutation of [0, length): int64 tensors of one shape -> int64.

    A keyed bijection at O(1) an element: a Feistel network over pairs (left, right) in
    [0, side)^2 with side = ceil(sqrt(length)), addition modulo `side`, and splitmix64 as the round
    function; a value beyond `length` is sent through again (cycle walking). Black, Rogaway,
    Ciphers with arbitrary finite domains, CT-RSA 2002, sections 3, 5.
    """
    side = tf.constant(math.isqrt(length - 1) + 1, tf.uint64)
    length = tf.constant(length, tf.uint64)
    # All rounds' keys at once, and the half of fold(key, right) that is of the key alone: tracing
    # it takes half as long so.
    keys = tf.unstack(mix64(fold(fold(seed, epoch)[..., tf.newaxis], tf.range(_ROUNDS))), axis=-1)

    def through(x):
        left, right = x // side, x % side
        for key in keys:
            left, right = right, (left + mix64(key ^ right) % side) % side
        return left * side + right

    (x,) = tf.while_loop(
        lambda x: tf.reduce_any(x >= length),
        lambda x: [tf.where(x >= length, through(x), x)],
        [through(tf.cast(k, tf.uint64))],
        parallel_iterations=1,
    )
    return tf.cast(x, tf.int64)
