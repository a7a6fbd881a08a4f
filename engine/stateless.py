"""Random numbers and permutations that are functions of (seed, number) alone.

So they are the same on any number of threads, towers and restarts.
"""

import math

import tensorflow as tf

_ROUNDS = 6  # of a permutation


def _uint64(number) -> tf.Tensor:
    return tf.constant(number, tf.uint64)


def _shifted(x: tf.Tensor, bits: int) -> tf.Tensor:
    return tf.bitwise.right_shift(x, _uint64(bits))


def mix64(x: tf.Tensor) -> tf.Tensor:
    """splitmix64: uint64 -> uint64, one to one; each bit of the input moves half of the output.

    Steele, Lea, Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
    x += _uint64(0x9E3779B97F4A7C15)
    x = (x ^ _shifted(x, 30)) * _uint64(0xBF58476D1CE4E5B9)
    x = (x ^ _shifted(x, 27)) * _uint64(0x94D049BB133111EB)
    return x ^ _shifted(x, 31)


# AutoGraph has nothing to convert in it, and would look through it dozens of times a run.
@tf.autograph.experimental.do_not_convert
def fold(seeds, data) -> tf.Tensor:
    """A new independent uint64 seed from a seed and a number, of any integer types; broadcasts."""
    return mix64(mix64(tf.cast(seeds, tf.uint64)) ^ tf.cast(data, tf.uint64))


def uniform(seeds: tf.Tensor, draw, low: float = 0.0, high: float = 1.0) -> tf.Tensor:
    """float32 in [low, high), one per seed and draw, whose shapes broadcast.

    Different draws of one seed are independent.
    """
    bits = _shifted(fold(seeds, draw), 40)  # 24 bits: what float32 holds exactly
    return low + (high - low) * tf.cast(bits, tf.float32) * 2.0**-24


def integers(seeds: tf.Tensor, draw: int, count) -> tf.Tensor:
    """int32 [n] in [0, count), one per seed; `count` is an int or int32, a scalar or [n]."""
    return tf.cast(tf.math.floormod(fold(seeds, draw), tf.cast(count, tf.uint64)), tf.int32)


def philox(seeds: tf.Tensor) -> tf.Tensor:
    """uint64 [...] -> int32 [..., 2]: a seed for tf.random.stateless_* with alg="philox"."""
    low = tf.bitwise.bitwise_and(seeds, _uint64(0x7FFFFFFF))
    high = _shifted(seeds, 33)
    return tf.stack([tf.cast(low, tf.int32), tf.cast(high, tf.int32)], axis=-1)


def _side(length) -> tf.Tensor:
    """ceil(sqrt(length)) as uint64; exact, of a tensor below 2^52."""
    if isinstance(length, int):
        return _uint64(math.isqrt(length - 1) + 1)
    return tf.cast(tf.math.ceil(tf.sqrt(tf.cast(length, tf.float64))), tf.uint64)


@tf.autograph.experimental.do_not_convert  # as fold
def permutation(seed, epoch, k, length) -> tf.Tensor:
    """The k-th of the epoch's permutation of [0, length): int64 tensors of one shape -> int64.

    `length` is a number, or int64 of the same shape: a permutation of its own for each.

    A keyed bijection at O(1) an element: a Feistel network over pairs (left, right) in
    [0, side)^2 with side = ceil(sqrt(length)), addition modulo `side`, and splitmix64 as the round
    function; a value beyond `length` is sent through again (cycle walking). Black, Rogaway,
    Ciphers with arbitrary finite domains, CT-RSA 2002, sections 3, 5.
    """
    side = _side(length)
    length = tf.cast(length, tf.uint64)
    # All rounds' keys at once, and the half of fold(key, right) that is of the key alone: tracing
    # it takes half as long so.
    keys = tf.unstack(mix64(fold(fold(seed, epoch)[..., tf.newaxis], tf.range(_ROUNDS))), axis=-1)

    def through(x):
        left = x // side
        right = x % side
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
