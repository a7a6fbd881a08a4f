"""The order of the data, which is arithmetic: position -> data set -> position in it -> example.

A position is the place of an example in the endless stream of a run. In a mix it belongs to a data
set, and is a position within that, by a table of at most 10,000 slots; within a set of `length`
examples, position p is example permutation(seed, epoch)[k] with epoch, k = divmod(p, length). So
any step is reached at once, nothing of the pipeline needs saving, and the order does not depend on
threads, towers or restarts.
"""

import hashlib

import tensorflow as tf

from engine.stateless import fold, permutation


def shuffled(
    seed: int, positions: tf.Tensor, length: int, block_length: int = 0, blocks: int = 0
) -> tf.Tensor:
    """Positions in the endless stream of shuffled epochs -> indices of examples; int64 [n].

    With `blocks`, examples lie in blocks of `block_length` (the last may be shorter): blocks are
    shuffled, then the examples within each group of `blocks` of them. A shorter block stays in the
    last group, which keeps this arithmetic.
    """
    seed = tf.constant(seed, tf.int64)
    epoch = positions // length
    k = positions % length
    if not blocks or length <= block_length * blocks:
        return permutation(seed, epoch, k, length)
    whole_blocks = length // block_length
    in_group = block_length * blocks
    group = k // in_group
    last = length // in_group
    rest = length % in_group
    group_seed = tf.cast(fold(fold(seed, epoch), group), tf.int64)
    within = permutation(group_seed, epoch, k % in_group, in_group)
    if rest:
        within_last = permutation(group_seed, epoch, k % in_group % rest, rest)
        within = tf.where(group < last, within, within_last)
    place = group * blocks + within // block_length  # in the shuffled order of blocks
    block = permutation(seed, epoch, tf.minimum(place, whole_blocks - 1), whole_blocks)
    return tf.where(place < whole_blocks, block, place) * block_length + within % block_length


def position_of(key: str) -> float:
    """A fraction in [0, 1] that depends on the key alone."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=7).digest()) / 2.0**56
