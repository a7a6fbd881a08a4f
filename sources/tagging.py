"""A tag for each token, in columns (CoNLL): a blank line ends a sentence.

    the DT
    cat NN

A record: {"inputs": string [], b"the cat";
           "targets": int64 [longest of the batch], the tags' places in order, then 0;
           "sample_weight": float32 [longest of the batch], 1 for each token, then 0}
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from cli.program import DataError
from data_loader import Source
from sources import splits, tables, tagged_tokens
from sources.cells import notes_of_names
from sources.labels import numbered
from sources.text_lines import normalized_lines

_TOKEN_NAMES = ("token", "tokens", "word", "words", "form", "text")
_TAG_NAMES = ("tag", "tags", "ner", "ner_tag", "pos", "pos_tag", "label", "labels", "upos")
_COMMENT = re.compile(r"# ?\w+( \w+)* = .*|# ?newdoc|# ?newpar")  # of CoNLL-U


class Sentence(NamedTuple):
    place: str  # of its first line
    tokens: str  # joined by blanks
    tags: list[str]


def load(config, split, directory) -> Source:
    paths = tables.paths_of(config, directory)
    files = [_read_sentences(path, config) for path in paths]
    sentences = [sentence for found, _ in files for sentence in found]
    notes = [note for _, found in files for note in found]
    kept = splits.by_group(paths[0], split, config, [sentence.tokens for sentence in sentences])
    tags = [tag for sentence in sentences for tag in sentence.tags]
    class_names, _ = numbered(tags, paths[0], ": is `tag_column` the column of the tags?")
    source = tagged_tokens.from_sentences(
        "tagging",
        [sentences[index][1:] for index in kept],
        class_names,
        lambda index: sentences[kept[index]].place,
    )
    counts = [len(found) for found, _ in files]
    notes += [*tables.note_of_files(paths, counts), *notes_of_names("tags", class_names)]
    return replace(source, notes=tuple(notes))


def _read_sentences(path: Path, config) -> tuple[list[Sentence], list[str]]:
    """(sentences, notes)"""
    lines, notes = _lines_of_tokens(path, config)
    sentences = []
    tokens = []
    tags = []
    first_line = 1
    for line, content in [*lines, (0, "")]:
        if content.strip() and not content.startswith("-DOCSTART-"):
            first_line = first_line if tokens else line
            token, tag = _token_and_tag(f"{path}:{line}", content, config)
            tokens.append(token)
            tags.append(tag)
            continue
        if tokens:
            sentences.append(Sentence(f"{path}:{first_line}", " ".join(tokens), tags))
        tokens = []
        tags = []
    if not sentences:
        raise DataError(f"{path}: expected at least one sentence, got none")
    return sentences, notes


def _lines_of_tokens(path: Path, config) -> tuple[list[tuple[int, str]], list[str]]:
    """(lines without header and comments, notes)"""
    lines = list(normalized_lines(path, config.encoding))
    notes = []
    filled = [at for at, (_, content) in enumerate(lines) if content.strip()]
    if filled and _is_header(lines[filled[0]][1], config):
        number, content = lines.pop(filled[0])
        notes.append(f"line {number} left out: the names {' '.join(content.split())}")
    comments = [number for number, content in lines if _COMMENT.fullmatch(content)]
    if comments:
        lines = [(number, text) for number, text in lines if not _COMMENT.fullmatch(text)]
        notes.append(f"{len(comments):,} comments left out: {tables.listed(comments)}")
    return lines, notes


def _is_header(content: str, config) -> bool:
    if config.header is not None:
        return config.header
    cells = _cells(content)
    columns = (config.token_column, config.tag_column)
    if not all(-len(cells) <= at < len(cells) for at in columns):
        return False
    token, tag = (cells[at].strip().lower() for at in columns)
    return token in _TOKEN_NAMES and tag in _TAG_NAMES


def _cells(content: str) -> list[str]:
    return content.split("\t") if "\t" in content else content.split()


def _token_and_tag(place, content, config) -> tuple[str, str]:
    cells = _cells(content)
    token_at = config.token_column
    tag_at = config.tag_column
    exist = token_at < len(cells) and -len(cells) <= tag_at < len(cells)
    if not exist or tag_at % len(cells) == token_at:  # a token is not its own tag
        raise DataError(
            f"{place}: expected a token in column {token_at}, a tag in {tag_at}, "
            f"got {len(cells)} columns"
        )
    token = cells[token_at].strip()
    tag = cells[tag_at].strip()
    if not token or not tag or len(token.split()) > 1:
        raise DataError(
            f"{place}: expected one token without blanks and its tag, got {content[:40]!r}"
        )
    return token, tag
