"""The order of the data, which is arithmetic: position -> example.

A position is the place of an example in the endless stream of a data set. Position p of a set of
`length` examples is example permutation(seed, epoch)[k] with epoch, k = divmod(p, length). So any
step is reached at once, nothing of the pipeline needs saving, and the order does not depend on
threads, towers or restarts.
"""

import hashlib

import numpy as np
import tensorflow as tf

from engine.stateless import fold, permutation


def shuffled(
    seed: int, positions: tf.Tensor, length: int, block_length: int, blocks: int
) -> tf.Tensor:
    """Positions in the endless stream of shuffled epochs -> indices of examples; int64 [n].

    With `blocks`, examples lie in blocks of `block_length` (the last may be shorter): blocks are
    shuffled, then the examples within each group of `blocks` of them. A shorter block stays in the
    last group, which keeps this arithmetic.
    """
    seed, epoch, k = tf.constant(seed, tf.int64), positions // length, positions % length
    if not blocks or length <= block_length * blocks:
        return permutation(seed, epoch, k, length)
    whole_blocks = length // block_length
    group_length = block_length * blocks
    group = k // group_length
    whole_groups = length // group_length
    last_length = length % group_length
    group_seed = tf.cast(fold(fold(seed, epoch), group), tf.int64)
    within = permutation(group_seed, epoch, k % group_length, group_length)
    if last_length:
        in_last = permutation(group_seed, epoch, k % group_length % last_length, last_length)
        within = tf.where(group < whole_groups, within, in_last)
    rank = group * blocks + within // block_length  # of the block in the shuffled order
    block = permutation(seed, epoch, tf.minimum(rank, whole_blocks - 1), whole_blocks)
    return tf.where(rank < whole_blocks, block, rank) * block_length + within % block_length


class Groups:
    """Examples in groups, such as the classes of a set, for an order that balances them."""

    def __init__(self, labels: np.ndarray):
        """`labels`: int64 [length], the group of each example. Groups without examples are none."""
        _, self.lengths = np.unique(labels, return_counts=True)
        self.starts = np.cumsum([0, *self.lengths[:-1]])
        self.members = np.argsort(labels, kind="stable")

    def shuffled(self, seed: int, positions: tf.Tensor) -> tf.Tensor:
        """Positions in the endless stream -> indices of examples, the groups taking turns; int64.

        So any run of positions holds each group as often as any other, give or take one, and any
        step is reached at once, as in `shuffled`.
        """
        number = len(self.lengths)
        group = positions % number
        rank = positions // number  # within the stream of the group
        length = tf.gather(self.lengths, group)
        group_seed = tf.cast(fold(seed, group), tf.int64)
        place = permutation(group_seed, rank // length, rank % length, length)
        return tf.gather(self.members, tf.gather(self.starts, group) + place)


def position_of(key: str) -> float:
    """A fraction in [0, 1] that depends on the key alone."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=7).digest()) / 2.0**56
