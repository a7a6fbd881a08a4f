"""Skip-gram with negative sampling: two vectors for each token, whose products say which are near.

T. Mikolov et al., Distributed representations of words and phrases and their compositionality,
2013, section 2.2.
"""

import keras
from keras import layers, ops

from cli.program import ConfigError
from model_config import SkipGram
from train_config import Spec


def build(config: SkipGram, spec: Spec) -> keras.Model:
    """Ids {tokens [B, T], candidates [B, T, C, 1 + negatives]} -> scores, as many as candidates."""
    if not spec.vocabulary or len(spec.target_shape) != 3:
        raise ConfigError(
            "skip_gram: expected tokens and candidates near each, "
            f"got targets of shape {spec.target_shape}; add `skip_gram`"
        )
    return Vectors(len(spec.tokens), config.size, spec.target_shape)


class Vectors(keras.Model):
    """The network; `vectors()` is what is wanted of it."""

    def __init__(self, num_tokens, size, target_shape):
        tokens = keras.Input([None], dtype="int32", name="tokens")
        candidates = keras.Input(target_shape, dtype="int32", name="candidates")
        # Not "center": checkpoints go by the names of layers, and there are some with this one.
        center = layers.Embedding(num_tokens, size, name="centre")
        context = layers.Embedding(num_tokens, size, name="context")
        a = center(tokens)  # (B, T) -> (B, T, D)
        b = context(candidates)  # (B, T, C, 1 + negatives) -> (B, T, C, 1 + negatives, D)
        scores = ops.einsum("btd,btcnd->btcn", a, b)
        inputs = {"tokens": tokens, "candidates": candidates}
        super().__init__(inputs, scores, name="skip_gram")
        self.center = center

    def vectors(self):
        """[V, D], a row for each token id."""
        return self.center.embeddings
