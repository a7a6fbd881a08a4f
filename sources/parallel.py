"""Pairs of texts for sequence to sequence: TSV lines `source<TAB>target`, or named columns.

    good morning<TAB>guten Morgen

A record: {"inputs": string [], b"good morning"; "targets": string [], b"guten Morgen"}
The same source stays in one split.
"""

from cli.program import DataError
from data_loader import Source, from_arrays
from sources import splits
from sources.text_lines import Field, Layout, TextRows, read, utf8

_SOURCE = Field("source", ("src", "input", "question", "prompt", "sentence1", "article"))
_TARGET = Field("target", ("tgt", "trg", "output", "answer", "translation", "sentence2", "summary"))
_LANGUAGES = "ar cs da de el en es fi fr he hi hu id it ja ko nl no pl pt ro ru sv th tr uk vi zh"
_LANGUAGES += " english french german italian japanese korean spanish chinese russian"


def load(config, split, directory) -> Source:
    rows = read(config, directory, Layout((_SOURCE, _TARGET), _source_and_target))
    _check_first(rows, config)
    kept = splits.by_group(rows.path, split, config, rows.columns["source"])
    features = {
        "inputs": utf8(rows.columns["source"])[kept],
        "targets": utf8(rows.columns["target"])[kept],
    }
    return from_arrays(
        "parallel", features, (), lambda index: rows.places[kept[index]], notes=rows.notes
    )


def _source_and_target(place: str, line: str) -> list[str]:
    fields = line.split("\t")
    if len(fields) != 2:
        cure = "; `names: [source, target, ...]`?" if len(fields) > 2 else ""
        raise DataError(
            f"{place}: expected a source, a tab and a target, got {len(fields) - 1} tabs{cure}"
        )
    return fields


def _check_first(rows: TextRows, config) -> None:
    """Raises DataError where the first pair may be the names of two languages."""
    first = [rows.columns[name][0].strip().lower() for name in ("source", "target")]
    if config.header is None and set(first) <= set(_LANGUAGES.split()):
        raise DataError(
            f"{rows.places[0]}: expected a pair of texts, got two languages {first}; "
            "`header: true` if these are names, else `header: false`"
        )
