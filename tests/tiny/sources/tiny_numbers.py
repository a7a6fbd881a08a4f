"""The data set of the tests of the machinery: rows of numbers, or small images, of some classes."""

import numpy as np

from data_loader import NoSplit, Source, from_arrays


def load(config, split: str, directory) -> Source:
    """Rows of float32 around the center of their class, or of uint8 around 128."""
    if split == "test":
        raise NoSplit("tiny_numbers: no split 'test'; it has train, valid")
    random = np.random.default_rng(["train", "valid"].index(split))
    size = config.size if split == "train" else max(1, config.size // 3)
    targets = np.arange(size) % config.num_classes
    centers = np.random.default_rng(7).normal(size=(config.num_classes, *config.shape))
    noise = random.normal(scale=0.5, size=(size, *config.shape))
    inputs = (centers[targets] + noise).astype(np.float32)
    if config.as_bytes:
        inputs = np.clip(128 + 30 * inputs, 0, 255).astype(np.uint8)
    names = [f"class {number}" for number in range(config.num_classes)]
    return from_arrays("tiny_numbers", {"inputs": inputs, "targets": targets}, names)
