"""Twenty steps of a small run, spread over devices in one of many ways; tests/test_distribution.py
compares what comes out.

As a program, one of several processes: TF_CONFIG=... python tests/spread.py OUT.npz NETWORK
PRECISION
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from places import tiny_labels

import input_ops
import train_config
from data_loader import from_arrays
from engine.devices import open_devices
from engine.optimizer import build_optimizer, build_schedule
from model import build_task, synchronize
from train_config import Clock, Distribute, Spec, Train
from trainer import Trainer

STEPS, BATCH, EXAMPLES = 20, 16, 48
RANDOM = np.random.default_rng(7)
IMAGES = RANDOM.random([EXAMPLES, 28, 28, 1], np.float32)
LABELS = RANDOM.integers(0, 4, EXAMPLES)
LENGTHS = RANDOM.integers(1, 9, EXAMPLES)
TOKENS = np.where(
    np.arange(8) < LENGTHS[:, np.newaxis], RANDOM.integers(4, 12, [EXAMPLES, 8]), 0
).astype(np.int32)
SHAPE = {
    "input_dtype": "float32",
    "target_shape": [],
    "target_dtype": "int64",
    "num_classes": 4,
    "class_names": list("abcd"),
}
OF_IMAGES = Spec(input_shape=[28, 28, 1], **SHAPE)
VOCABULARY = "\n".join(["<pad>", "<unknown>", "<start>", "<end>", *"abcdefgh"])
OF_TOKENS = Spec(
    input_shape=[8], vocabulary=VOCABULARY, **SHAPE | {"input_dtype": "int32", "target_shape": [8]}
)


POLICIES = {"bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def built(make, train, strategy, **options) -> keras.Model:
    """The network of `make`, its weights and names the same at every call, on all towers."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)
    keras.config.set_dtype_policy(POLICIES.get(train.precision, train.precision))
    with strategy.scope():
        model = make(**options)
    keras.config.set_dtype_policy("float32")
    synchronize(model, strategy)
    return model


def convolutions(dropout: float = 0.0) -> keras.Model:
    """Three convolutions and two dense layers, with a penalty."""
    l2 = keras.regularizers.L2(1e-3)
    images = keras.Input([28, 28, 1])
    x = layers.Conv2D(6, 5, padding="same", activation="relu", name="c1")(images)
    x = layers.AveragePooling2D(2, name="s2")(x)
    x = layers.Conv2D(16, 5, activation="relu", name="c3")(x)
    x = layers.AveragePooling2D(2, name="s4")(x)
    x = layers.Conv2D(120, 5, activation="relu", name="c5")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(84, "relu", kernel_regularizer=l2, name="f6")(x)
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    logits = layers.Dense(4, kernel_regularizer=l2, name="logits")(x)
    return keras.Model(images, logits, name="convolutions")


def normalized() -> keras.Model:
    """Two convolutions, each with batch normalization."""
    images = x = keras.Input([28, 28, 1])
    for name in ("one", "two"):
        x = layers.Conv2D(4, 3, 4, padding="same", use_bias=False, name=f"{name}_conv")(x)
        x = layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_bn")(x))
    l2 = keras.regularizers.L2(1e-3)
    x = layers.Dense(4, kernel_regularizer=l2, name="logits")(layers.Flatten()(x))
    return keras.Model(images, x, name="batch_norm")


def recurrent() -> keras.Model:
    """A recurrent network over sequences of 1 to 8 tokens, one label for each."""
    tokens = keras.Input([8], dtype="int32")
    x = layers.Embedding(12, 6, mask_zero=True, name="embedding")(tokens)
    x = layers.GRU(8, return_sequences=True, name="layer_0")(x)
    return keras.Model(tokens, layers.Dense(4, name="logits")(x), name="masked")


def plain(train, strategy):
    return built(convolutions, train, strategy)


def weighted(train, strategy):
    return plain(train, strategy)


def batch_norm(train, strategy):
    return built(normalized, train, strategy)


def masked(train, strategy):
    return built(recurrent, train, strategy)


def dropout(train, strategy):
    return built(convolutions, train, strategy, dropout=0.5)


NETWORKS = {network.__name__: network for network in (plain, weighted, batch_norm, masked, dropout)}


def batches_of(network: str, devices):
    """This process's part of each batch.

    Of every four examples of the first half one counts, of the others all.
    """
    if network == "masked":
        arrays = {
            "inputs": TOKENS,
            "targets": (TOKENS + np.roll(TOKENS, 1, 1)) % 4,
            "sample_weight": (TOKENS > 0).astype(np.float32),
        }
    else:
        arrays = {"inputs": IMAGES, "targets": LABELS}
    mix = input_ops.Mix.of(from_arrays("spread", arrays, list("abcd")), [])

    def counted(batch):
        counts = tf.cast((batch["id"] >= EXAMPLES // 2) | (batch["id"] % 4 == 0), tf.float32)
        weight = batch["sample_weight"]
        return batch | {
            "sample_weight": weight * tf.reshape(counts, [-1] + [1] * (weight.shape.rank - 1))
        }

    class_weight = np.float32([3.0, 1.0, 0.5, 0.25]) if network == "weighted" else None
    batches = input_ops.train_batches(
        mix, BATCH, seed=5, share=devices.share, class_weight=class_weight
    )
    return batches.map(counted)


def build_step(network: str, devices, cls=Trainer, **options) -> Trainer:
    train = Train(steps=STEPS, batch_size=BATCH, **options)
    model = NETWORKS[network](train, devices.strategy)
    task = tiny_labels()
    settings = train_config.Adam(name="adam", learning_rate=2e-3)
    schedule = build_schedule(settings, Clock(BATCH, EXAMPLES), STEPS)
    with devices.strategy.scope():
        optimizer = build_optimizer(settings, schedule, model)
    spec = OF_TOKENS if network == "masked" else OF_IMAGES
    return cls(
        model, build_task(task, spec), optimizer, schedule, train, clip_norm=0.5, devices=devices
    )


def outcome(network: str, devices, cls=Trainer, **options) -> dict[str, np.ndarray]:
    """{variable: value} after all steps.

    `ids` [steps, examples] that this process has seen; `reading/...`.
    """
    step = build_step(network, devices, cls, **options)
    batches = batches_of(network, devices)
    assert step.run(iter(batches), tf.constant(STEPS))
    found = {
        name: tf.convert_to_tensor(variable).numpy()
        for name, variable in step.variables().items()
        if "seed" not in name
    }
    found["ids"] = np.array([batch["id"].numpy() for batch in batches.take(STEPS)])
    return found | {f"reading/{name}": value.numpy() for name, value in step.read_metrics().items()}


if __name__ == "__main__":
    out, *what = sys.argv[1:]
    devices = open_devices(Distribute(strategy="workers", wait=100))
    results = {}
    for each in what:
        network, precision = each.split("-")
        results |= {
            f"{each}/{name}": value
            for name, value in outcome(network, devices, precision=precision).items()
        }
    np.savez(out, **results)
