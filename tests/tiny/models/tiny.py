"""The network of the tests of the machinery: dense, normalization if asked, dropout, dense."""

import keras
from keras import layers


def build(config, spec) -> keras.Model:
    """Numbers [B, D] -> logits [B, num_outputs]."""
    l2 = keras.regularizers.L2(config.l2) if config.l2 else None
    inputs = keras.Input(spec.input_shape, name="inputs")
    x = layers.Flatten(name="flatten")(inputs)
    if config.units:
        x = layers.Dense(config.units, "relu", kernel_regularizer=l2, name="hidden")(x)
    if config.batch_norm:
        x = layers.BatchNormalization(name="norm")(x)
    if config.dropout:
        x = layers.Dropout(config.dropout, name="dropout")(x)
    logits = layers.Dense(spec.num_outputs, kernel_regularizer=l2, name="logits")(x)
    return keras.Model(inputs, logits, name="tiny")
