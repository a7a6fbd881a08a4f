"""What preprocess_data.py has written: TFRecord shards, an index, manifest.json.

A record: what the operations made, as described in the manifest; of photos, say,
    {"inputs": string [], a JPEG; "targets": int64 []; "orientation": int32 []; ...}
Sequences come padded to the longest of the batch.
"""

from dataclasses import replace

import numpy as np

import data_config
import data_loader
from cli.program import DataError
from data_loader import Source, check_classes
from engine.record_files import Records, is_prepared
from sources.examples import ExampleReader
from sources.shard_files import shards_in


def load(config, split, directory) -> Source:
    if directory is None:
        raise DataError("records: no directory; expected data.dir=DIR, or `dir` beside its name")
    if not is_prepared(directory) and shards_in(directory):
        return _of_others(split, directory)
    stored = Records(directory, split)
    features = stored.manifest["features"]
    class_names = tuple(stored.manifest["class_names"])
    if "inputs" not in features:
        raise DataError(f"{directory}: expected a feature `inputs`, got {', '.join(features)}")
    labels = stored.index["label"].astype(np.int64)
    if not class_names or labels.min() < 0:
        labels = None
    else:
        check_classes(labels, len(class_names), stored.locate)
    reader = ExampleReader(features, len(class_names), stored.locate)
    sizes = stored.index["length"].astype(np.int64)
    return Source(
        "records",
        len(stored),
        reader.read_by(stored.read),
        class_names,
        stored.fingerprint,
        stored.locate,
        labels,
        sizes,
        stored_bytes=int(sizes.sum()),
        block_length=stored.block_length,
        read_in_blocks=lambda blocks: reader.read_by(stored.read_in_blocks(blocks)),
    )


def _of_others(split: str, directory: str) -> Source:
    """Shards without a manifest, by the usual names of features."""
    config = data_config.Tfrecord(name="tfrecord")
    source = data_loader.load(config, split, directory)
    found = " and ".join(name for names in source.columns.values() for name in names)
    return replace(source, notes=(f"no manifest.json: read as `tfrecord`, {found}", *source.notes))
