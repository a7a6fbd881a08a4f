"""Texts with a label: lines of a TSV, CSV or JSONL file, or rows of Parquet.

    positive<TAB>a warm, funny film                     reviews.tsv
    {"label": "positive", "text": "a warm, funny film"}   reviews.jsonl
    review,sentiment                                    reviews.csv, by the names of its columns
    "a warm, funny film",positive

A record: {"inputs": string [], b"a warm, funny film"; "targets": int64 [], the place of its label}
Texts stay text until `tokenize`.
"""

from collections import Counter

import numpy as np

from cli.program import DataError
from data_loader import Source, from_arrays
from sources import splits, tables
from sources.cells import notes_of_names
from sources.labels import numbered
from sources.text_lines import Field, Layout, TextRows, read, utf8

_FEW = 10  # lines, in which a label may stand alone by chance
_LABELS = "label labels class category sentiment target y polarity intent"
_TEXTS = "text texts sentence review content comment message tweet utterance document"


def load(config, split, directory) -> Source:
    label = Field("label", tuple(_LABELS.split()), may_be_number=True)
    text = Field("text", tuple(_TEXTS.split()))
    rows = read(
        config, directory, Layout((label, text), _label_and_text, ("group", "split_column"))
    )
    labels = [label.strip() for label in rows.columns["label"]]
    cure = ": is the label first, the text second? else `names: [text, label]` or `label: COLUMN`"
    _check_first(rows, labels, config)
    class_names, targets = numbered(labels, rows.path, cure)
    texts = rows.columns["text"]
    kept, notes = _rows_of(split, config, rows)
    features = {"inputs": utf8(texts[index] for index in kept), "targets": targets[kept]}
    return from_arrays(
        "text",
        features,
        class_names,
        lambda index: rows.places[kept[index]],
        notes=[*rows.notes, *notes_of_names("classes", class_names), *notes],
    )


def _label_and_text(place: str, line: str) -> tuple[str, str]:
    label, tab, text = line.partition("\t")
    if not tab:
        raise DataError(
            f"{place}: expected a label, a tab and a text, got no tab; "
            "the name of a CSV file ends in .csv, of JSON lines in .jsonl"
        )
    return label, text


def _check_first(rows: TextRows, labels: list[str], config) -> None:
    """Raises DataError where the first line may be the names of the columns."""
    counts = Counter(labels)
    is_alone = counts[labels[0]] == 1 and list(counts.values()).count(1) == 1
    if config.header is None and rows.is_positional and is_alone and len(labels) >= _FEW:
        raise DataError(
            f"{rows.places[0]}: expected a label, got {labels[0][:40]!r}, which no other line has; "
            "`header: true` if it is a name of columns, else `header: false`"
        )


def _rows_of(split, config, rows: TextRows) -> tuple[np.ndarray, list[str]]:
    """The text is its own group: twice the same one stays in one split."""
    groups = rows.columns.get("group", rows.columns["text"])
    if not config.split_column:
        return splits.by_group(rows.path, split, config, groups), []
    of_split = tables.rows_of_split(rows.columns["split_column"], rows.places, config, split)
    if of_split.shares is None:
        return of_split.rows, of_split.notes
    groups = [groups[row] for row in of_split.rows]
    kept = splits.by_group(rows.path, split, of_split.shares, groups)
    return of_split.rows[kept], of_split.notes
