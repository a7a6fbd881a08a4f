"""Random inputs of any shape, from which the label can be learned; for tests and benchmarks.

A record: {"inputs": uint8 [*shape], half a fixed pattern of the class, half noise;
           "targets": int64 [], in [0, num_classes)}
"""

import numpy as np

from data_loader import SPLITS, Source, from_arrays


def load(config, split, directory) -> Source:
    patterns = np.random.default_rng(0).integers(0, 128, (config.num_classes, *config.shape))
    random = np.random.default_rng(1 + SPLITS.index(split))
    labels = random.integers(0, config.num_classes, config.size)
    noise = random.integers(0, 128, (config.size, *config.shape))
    inputs = (patterns[labels] + noise).astype(np.uint8)
    class_names = [f"class {number}" for number in range(config.num_classes)]
    return from_arrays("fake", {"inputs": inputs, "targets": labels}, class_names)
