"""Texts with a label: lines of a TSV or JSONL file.

    positive<TAB>a warm, funny film                     reviews.tsv
    {"label": "positive", "text": "a warm, funny film"}   reviews.jsonl

A record: {"inputs": string [], b"a warm, funny film"; "targets": int64 [], the place of its label}
Texts stay text until `tokenize`.
"""

import json
from pathlib import Path

from cli.program import DataError
from data_loader import Source, from_arrays
from sources import splits
from sources.text_lines import lines_of, numbered, require_text, utf8


def load(config, split, directory) -> Source:
    path = Path(directory or "", config.file)
    is_json = path.suffix == ".jsonl"
    if config.group and not is_json:
        raise DataError(f"{path}: group: expected a .jsonl file, whose lines have keys")
    records = []
    for line, content in lines_of(path):
        if is_json:
            fields = _json_fields(path, line, content, config.group)
        else:
            fields = _tsv_fields(path, line, content)
        require_text(path, line, *fields[:2])
        records.append((line, *fields))
    if not records:
        raise DataError(f"{path}: expected at least one line, got none")
    lines, labels, texts, groups = zip(*records, strict=True)
    class_names, targets = numbered(labels)
    kept = splits.by_group(path, split, config, groups)
    features = {"inputs": utf8(texts[index] for index in kept), "targets": targets[kept]}
    return from_arrays("text", features, class_names, lambda index: f"{path}:{lines[kept[index]]}")


def _tsv_fields(path, line, content) -> tuple[str, str, str]:
    """(label, text, group). The text is its own group: twice the same one stays in one split."""
    label, tab, text = content.partition("\t")
    if not tab:
        raise DataError(f"{path}:{line}: expected a label, a tab and a text, got no tab")
    return label, text, text


def _json_fields(path, line, content, group: str | None) -> tuple[str, str, str]:
    place, got = f"{path}:{line}", f"got {content[:40]!r}"
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: expected one JSON object, {got}") from error
    keys = ["label", "text", group or "text"]
    for key in keys:
        if not isinstance(record, dict) or key not in record:
            raise DataError(f"{place}: expected a JSON object with the key {key!r}, {got}")
    is_label = isinstance(record["label"], str | int)
    if not is_label or not isinstance(record["text"], str):
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
    label, text, group_value = (str(record[key]) for key in keys)
    return label, text, group_value
