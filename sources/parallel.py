"""Pairs of texts for sequence to sequence: TSV lines `source<TAB>target`.

    good morning<TAB>guten Morgen

A record: {"inputs": string [], b"good morning"; "targets": string [], b"guten Morgen"}
The same source stays in one split.
"""

from pathlib import Path

from cli.program import DataError
from data_loader import Source, from_arrays
from sources import splits
from sources.text_lines import columns_of, utf8


def load(config, split, directory) -> Source:
    path = Path(directory or "", config.file)
    lines, sources, targets = columns_of(path, _source_and_target)
    kept = splits.by_group(path, split, config, sources)
    features = {"inputs": utf8(sources)[kept], "targets": utf8(targets)[kept]}
    return from_arrays("parallel", features, (), lambda index: f"{path}:{lines[kept[index]]}")


def _source_and_target(place: str, line: str) -> list[str]:
    fields = line.split("\t")
    if len(fields) != 2:
        raise DataError(
            f"{place}: expected a source, a tab and a target, got {len(fields) - 1} tabs"
        )
    return fields
