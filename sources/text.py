"""Texts with a label: lines of a TSV or JSONL file.

    positive<TAB>a warm, funny film                     reviews.tsv
    {"label": "positive", "text": "a warm, funny film"}   reviews.jsonl

A record: {"inputs": string [], b"a warm, funny film"; "targets": int64 [], the place of its label}
Texts stay text until `tokenize`.
"""

import json
from functools import partial
from pathlib import Path

from cli.program import DataError
from data_loader import Source, from_arrays
from sources import splits
from sources.labels import numbered
from sources.text_lines import columns_of, utf8


def load(config, split, directory) -> Source:
    path = Path(directory or "", config.file)
    is_json = path.suffix == ".jsonl"
    if config.group and not is_json:
        raise DataError(f"{path}: group: expected a .jsonl file, whose lines have keys")
    fields_of = partial(_json_fields, group=config.group) if is_json else _tsv_fields
    lines, labels, texts, groups = columns_of(path, fields_of)
    class_names, targets = numbered(labels, path, ": is the label first, the text second?")
    kept = splits.by_group(path, split, config, groups)
    features = {"inputs": utf8(texts[index] for index in kept), "targets": targets[kept]}
    return from_arrays("text", features, class_names, lambda index: f"{path}:{lines[kept[index]]}")


def _tsv_fields(place: str, line: str) -> tuple[str, str, str]:
    """(label, text, group). The text is its own group: twice the same one stays in one split."""
    label, tab, text = line.partition("\t")
    if not tab:
        raise DataError(f"{place}: expected a label, a tab and a text, got no tab")
    return label, text, text


def _json_fields(place: str, line: str, group: str | None) -> tuple[str, str, str]:
    got = f"got {line[:40]!r}"
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: expected one JSON object, {got}") from error
    keys = ["label", "text", group or "text"]
    for key in keys:
        if not isinstance(record, dict) or key not in record:
            raise DataError(f"{place}: expected a JSON object with the key {key!r}, {got}")
    if not isinstance(record["label"], str | int) or not isinstance(record["text"], str):
        raise DataError(
            f"{place}: expected a text and a label that is text or a whole number, {got}"
        )
    for key in keys:
        try:
            str(record[key]).encode()
        except UnicodeEncodeError:  # "\ud800" in JSON
            raise DataError(
                f"{place}: {key}: expected whole Unicode characters, got half a surrogate pair"
            ) from None
    return tuple(str(record[key]) for key in keys)
