"""Sentences whose tokens have a tag each, as arrays."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import tensorflow as tf

from data_loader import Source, from_arrays
from sources.text_lines import utf8


def from_sentences(
    name: str,
    sentences: list[tuple[str, list[str]]],
    class_names: list[str],
    locate: Callable[[int], str],
) -> Source:
    """Of (tokens joined by blanks, tags); padding of the tags has sample_weight 0."""
    shape = len(sentences), max(len(tags) for _, tags in sentences)
    targets = np.zeros(shape, np.int64)
    sample_weight = np.zeros(shape, np.float32)
    for row, (_, tags) in enumerate(sentences):
        targets[row, : len(tags)] = [class_names.index(tag) for tag in tags]
        sample_weight[row, : len(tags)] = 1.0
    features = {
        "inputs": utf8(tokens for tokens, _ in sentences),
        "targets": targets,
        "sample_weight": sample_weight,
    }
    source = from_arrays(name, features, class_names, locate)

    def read(indices):
        """As long as the longest sentence of the batch, as `tokenize` makes the inputs."""
        batch = source.read(indices)
        length = tf.cast(tf.reduce_max(tf.reduce_sum(batch["sample_weight"], axis=1)), tf.int32)
        return batch | {key: batch[key][:, :length] for key in ("targets", "sample_weight")}

    return replace(source, read=read)
