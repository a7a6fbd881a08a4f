"""A tag for each token, in columns (CoNLL): a blank line ends a sentence.

    the DT
    cat NN

A record: {"inputs": string [], b"the cat";
           "targets": int64 [longest of the batch], the tags' places in order, then 0;
           "sample_weight": float32 [longest of the batch], 1 for each token, then 0}
"""

from pathlib import Path

from cli.program import DataError
from data_loader import Source
from engine.safe_files import lines_of
from sources import splits, tagged_tokens


def load(config, split, directory) -> Source:
    path = Path(directory or "", config.file)
    sentences = _read_sentences(path, config)
    kept = splits.by_group(path, split, config, [tokens for _, tokens, _ in sentences])
    class_names = sorted({tag for _, _, tags in sentences for tag in tags})
    return tagged_tokens.from_sentences(
        "tagging",
        [sentences[index][1:] for index in kept],
        class_names,
        lambda index: f"{path}:{sentences[kept[index]][0]}",
    )


def _read_sentences(path, config) -> list[tuple[int, str, list[str]]]:
    """[(first line, tokens joined by blanks, tags)]"""
    sentences = []
    tokens = []
    tags = []
    first_line = 1
    for line, content in [*lines_of(path), (0, "")]:
        if content.strip() and not content.startswith("-DOCSTART-"):
            token, tag = _token_and_tag(f"{path}:{line}", content, config)
            tokens.append(token)
            tags.append(tag)
            continue
        if tokens:
            sentences.append((first_line, " ".join(tokens), tags))
        tokens = []
        tags = []
        first_line = line + 1
    if not sentences:
        raise DataError(f"{path}: expected at least one sentence, got none")
    return sentences


def _token_and_tag(place, content, config) -> tuple[str, str]:
    cells = content.split("\t") if "\t" in content else content.split()
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
