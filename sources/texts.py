"""Texts: labeled, tagged, in pairs, and the pronouncing dictionary. All of them stay text until `tokenize`."""

import functools
import gzip
import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

import data_config
from cli.program import DataError
from sources.source import BUNDLED, Source, chosen, divide, from_arrays, lines_of, path_of, strings


def text(config: data_config.Text, split: str, directory: Path | None) -> Source:
    path = path_of(directory, config.file)
    read_line = _json_line if path.suffix == ".jsonl" else _tsv_line
    if config.group and path.suffix != ".jsonl":
        raise DataError(f"{path}: group: expected a .jsonl file, whose lines have keys")
    found = [
        (line, *read_line(path, line, content, config.group)) for line, content in lines_of(path)
    ]
    if not found:
        raise DataError(f"{path}: expected at least one line, got none")
    lines, labels, texts, groups = zip(*found, strict=True)
    class_names = sorted(set(labels))
    number_of = {name: number for number, name in enumerate(class_names)}
    targets = np.array([number_of[label] for label in labels], np.int64)
    # The text itself decides, so that the same text twice cannot be trained on and tested on.
    splits = divide(
        list(texts), config.valid, config.test, groups=groups if config.group else texts
    )
    kept = chosen(str(path), splits, split)
    features = {"inputs": strings(texts[index] for index in kept), "targets": targets[kept]}
    return from_arrays("text", features, class_names, lambda index: f"{path}:{lines[kept[index]]}")


def _tsv_line(path: Path, line: int, content: str, _group) -> tuple[str, str, str]:
    label, tab, content = content.partition("\t")
    if not tab:
        raise DataError(f"{path}:{line}: expected a label, a tab and a text, got no tab")
    return *_not_empty(path, line, label, content), ""


def _json_line(path: Path, line: int, content: str, group: str | None) -> tuple[str, str, str]:
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:{line}: expected one JSON object, got {content[:40]!r}") from error
    wanted = ["label", "text", *([group] if group else [])]
    missing = [key for key in wanted if not isinstance(record, dict) or key not in record]
    if missing:
        raise DataError(
            f"{path}:{line}: expected a JSON object with the key {missing[0]!r}, got {content[:40]!r}"
        )
    if not isinstance(record["text"], str) or isinstance(
        record["label"], dict | list | float | type(None)
    ):
        raise DataError(
            f"{path}:{line}: expected a text and a label that is text or a whole number, got {content[:40]!r}"
        )
    for key in wanted:
        try:
            str(record[key]).encode()
        except UnicodeEncodeError:  # "\ud800" in JSON: half a character
            raise DataError(
                f"{path}:{line}: {key}: expected whole Unicode characters, got half a surrogate pair"
            ) from None
    return *_not_empty(path, line, str(record["label"]), record["text"]), str(
        record[group]
    ) if group else ""


def _not_empty(path: Path, line: int, *fields: str) -> tuple[str, ...]:
    if not all(field.strip() for field in fields):
        raise DataError(f"{path}:{line}: expected text in every field, got an empty one")
    return fields


def tagging(config: data_config.Tagging, split: str, directory: Path | None) -> Source:
    path = path_of(directory, config.file)
    sentences, tokens, tags, first = [], [], [], 1
    for line, content in [*lines_of(path), (0, "")]:
        if not content.strip() or content.startswith("-DOCSTART-"):
            if tokens:
                sentences.append((first, " ".join(tokens), tags))
            tokens, tags, first = [], [], line + 1
            continue
        cells = content.split("\t") if "\t" in content else content.split()
        there = -len(cells) <= config.tag_column < len(cells) and config.token_column < len(cells)
        if (
            not there or config.tag_column % len(cells) == config.token_column
        ):  # a token is not its own tag
            raise DataError(
                f"{path}:{line}: expected a token in column {config.token_column}, a tag in {config.tag_column}, got {len(cells)} columns"
            )
        token, tag = cells[config.token_column].strip(), cells[config.tag_column].strip()
        if not token or not tag or len(token.split()) > 1:
            raise DataError(
                f"{path}:{line}: expected one token without blanks and its tag, got {content[:40]!r}"
            )
        tokens.append(token)
        tags.append(tag)
    if not sentences:
        raise DataError(f"{path}: expected at least one sentence, got none")
    splits = divide(
        [words for _, words, _ in sentences],
        config.valid,
        config.test,
        groups=[words for _, words, _ in sentences],
    )
    kept = chosen(str(path), splits, split)
    class_names = sorted({tag for _, _, tags in sentences for tag in tags})
    return _tagged(
        "tagging",
        [sentences[index][1:] for index in kept],
        class_names,
        lambda index: f"{path}:{sentences[kept[index]][0]}",
    )


def _tagged(
    name: str, sentences: list[tuple[str, list[str]]], class_names: list[str], locate
) -> Source:
    """Tokens joined by blanks, and their tags as classes [longest], padding having sample_weight 0."""
    longest = max(len(tags) for _, tags in sentences)
    targets, weights = (
        np.zeros((len(sentences), longest), np.int64),
        np.zeros((len(sentences), longest), np.float32),
    )
    number_of = {tag: number for number, tag in enumerate(class_names)}
    for row, (_, tags) in enumerate(sentences):
        targets[row, : len(tags)] = [number_of[tag] for tag in tags]
        weights[row, : len(tags)] = 1.0
    features = {
        "inputs": strings(words for words, _ in sentences),
        "targets": targets,
        "sample_weight": weights,
    }
    source = from_arrays(name, features, class_names, locate)

    def read(indices):
        """As long as the longest sentence of the batch, which is how long `tokenize` makes the inputs."""
        batch = source.read(indices)
        length = tf.cast(tf.reduce_max(tf.reduce_sum(batch["sample_weight"], axis=1)), tf.int32)
        return batch | {key: batch[key][:, :length] for key in ("targets", "sample_weight")}

    return replace(source, read=read)


def parallel(config: data_config.Parallel, split: str, directory: Path | None) -> Source:
    path = path_of(directory, config.file)
    pairs = []
    for line, content in lines_of(path):
        fields = content.split("\t")
        if len(fields) != 2:
            raise DataError(
                f"{path}:{line}: expected a source, a tab and a target, got {len(fields) - 1} tabs"
            )
        pairs.append((line, *_not_empty(path, line, *fields)))
    if not pairs:
        raise DataError(f"{path}: expected at least one line, got none")
    sources = [source for _, source, _ in pairs]
    kept = chosen(str(path), divide(sources, config.valid, config.test, groups=sources), split)
    return _paired(
        "parallel",
        [pairs[index][1:] for index in kept],
        lambda index: f"{path}:{pairs[kept[index]][0]}",
    )


def _paired(name: str, pairs: list[tuple[str, str]], locate) -> Source:
    return from_arrays(
        name,
        {"inputs": strings(a for a, _ in pairs), "targets": strings(b for _, b in pairs)},
        (),
        locate,
    )


# ------------------------------------------------------------------------------------------ pronouncing dictionary


def cmudict(config: data_config.Cmudict, split: str, directory: Path | None) -> Source:
    """The CMU Pronouncing Dictionary: `word P1 P2 ...`, a stress digit on every vowel, `word(2)` a variant."""
    path = BUNDLED / "cmudict" / "cmudict.dict.gz"
    entries = _read_cmudict(path)
    if not config.variants:
        entries = list({entry[1]: entry for entry in reversed(entries)}.values())[::-1]
    heads = [head for _, head, _ in entries]
    kept = [
        entries[index]
        for index in chosen(
            str(path), divide(heads, config.valid, config.test, groups=heads), split
        )
    ]

    def locate(index: int) -> str:
        return f"{path}:{kept[index][0]}"

    if config.task == "g2p":
        return _paired(
            "cmudict", [(head, " ".join(_plain(phonemes))) for _, head, phonemes in kept], locate
        )
    if config.task == "stress":
        sentences = [
            (" ".join(_plain(phonemes)), [_stress(phoneme) for phoneme in phonemes])
            for _, _, phonemes in kept
        ]
        return _tagged("cmudict", sentences, ["-", "0", "1", "2"], locate)
    most = max(_syllables(phonemes) for _, _, phonemes in entries)
    targets = np.array([_syllables(phonemes) for _, _, phonemes in kept], np.int64)
    class_names = [str(number) for number in range(most + 1)]
    return from_arrays(
        "cmudict",
        {"inputs": strings(head for _, head, _ in kept), "targets": targets},
        class_names,
        locate,
    )


def _plain(phonemes: list[str]) -> list[str]:
    return [phoneme.rstrip("012") for phoneme in phonemes]


def _syllables(phonemes: list[str]) -> int:
    """Vowels carry a stress digit; a syllable has one vowel."""
    return sum(phoneme[-1].isdigit() for phoneme in phonemes)


def _stress(phoneme: str) -> str:
    return phoneme[-1] if phoneme[-1].isdigit() else "-"


@functools.cache  # a run loads its training split twice and the others once, and 135,000 lines take half a second
def _read_cmudict(path: Path) -> list[tuple[int, str, list[str]]]:
    """[(line, headword without its variant number, phonemes)]."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: damaged or unreadable: {error}") from error
    entries = []
    for number, line in enumerate(lines, 1):
        head, *phonemes = line.partition("#")[0].split()
        if not phonemes:
            raise DataError(f"{path}:{number}: expected a word and its phonemes, got {line[:40]!r}")
        entries.append((number, head.partition("(")[0], phonemes))
    return entries
