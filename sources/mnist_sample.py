"""Real digits that come with the project: 4,000 to train on, 1,000 to validate on; no download.

A record: {"inputs": uint8 [28, 28, 1], 0 is paper, 255 is ink; "targets": int64 [], the digit}
"""

from data_loader import BUNDLED, NoSplit, Source
from sources import idx


def load(config, split, directory) -> Source:
    prefixes = {"train": "train", "valid": "t10k"}
    if split not in prefixes:
        raise NoSplit(f"mnist_sample: no split {split!r}; it has train, valid")
    files = [BUNDLED / "mnist_sample" / f"{prefixes[split]}-{part}.gz" for part in idx.PARTS]
    return idx.labeled_images("mnist_sample", *files, idx.DIGITS)
