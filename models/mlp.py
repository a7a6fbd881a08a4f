"""A multi-layer perceptron; with no hidden layer, softmax (multinomial logistic) regression."""

import keras
from keras import layers

from model_config import Mlp
from models.blocks import dropout
from train_config import Spec


def build(config: Mlp, spec: Spec) -> keras.Model:
    """Inputs [B, ...] -> logits [B, num_outputs]."""
    l2 = keras.regularizers.L2(config.l2) if config.l2 else None
    inputs = keras.Input(spec.input_shape, name="inputs")
    x = layers.Flatten(name="flatten")(inputs)  # (B, ...) -> (B, D)
    for i, units in enumerate(config.hidden):  # -> (B, units)
        x = layers.Dense(units, config.activation, kernel_regularizer=l2, name=f"hidden_{i}")(x)
        x = dropout(x, config.dropout, f"dropout_{i}")
    logits = layers.Dense(spec.num_outputs, kernel_regularizer=l2, name="logits")(x)
    return keras.Model(inputs, logits, name="mlp")
