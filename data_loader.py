"""Where raw examples come from: `load(config, split, directory)` returns a `Source`, examples by index.

To add a data set: a function `(config, split, directory) -> Source` with the name of its class in `data_config.py`, in a
module here, listed in DATASETS. `from_arrays` makes a source of NumPy arrays.
"""

import importlib
from pathlib import Path

from cli.program import DataError
from sources import images, prepared, tables, texts
from sources.source import SPLITS, NoSplit, Source, from_arrays, of_classes

_FUNCTIONS = (
    images.mnist_sample, images.mnist, images.fashion_mnist, images.cifar10, images.cifar100, images.image_folder, images.fake,
    tables.npz, tables.csv, tables.series, texts.text, texts.tagging, texts.parallel, texts.cmudict, prepared.records, prepared.tfds,
)  # fmt: skip
DATASETS = {function.__name__: function for function in _FUNCTIONS}

__all__ = ["DATASETS", "SPLITS", "NoSplit", "Source", "from_arrays", "load"]


def load(config, split: str, directory: str | None) -> Source:
    """The examples of one split. Raises DataError, naming the file, for whatever is missing or damaged."""
    load = DATASETS.get(config.name) or importlib.import_module(f"sources.{config.name}").load
    source = load(
        config, split, directory if directory is None or "://" in directory else Path(directory)
    )
    if config.classes is not None:
        source = of_classes(source, config.classes)
    if not len(source):
        raise DataError(f"{source.name}: expected at least one example in {split}, got none")
    return source
