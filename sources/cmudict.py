"""The CMU Pronouncing Dictionary, bundled: 135,166 words and their phonemes, for three tasks.

    abstract AE0 B S T R AE1 K T        a stress digit on every vowel
    abstract(2) AE1 B S T R AE2 K T     a variant; the hash of the headword divides the set

A record, by `task`: {"inputs": string [], "targets": ...} with
    syllables   b"abstract" -> int64 [], 2
    g2p         b"abstract" -> string [], b"AE B S T R AE K T"
    stress      b"AE B S T R AE K T" -> int64 [longest of the batch] of - 0 1 2, and sample_weight
"""

import functools
import gzip
import zlib
from typing import NamedTuple

import numpy as np

from cli.program import DataError
from data_loader import BUNDLED, Source, from_arrays
from sources import splits, tagged_tokens
from sources.text_lines import utf8


class Entry(NamedTuple):
    line: int
    word: str  # without the number of a variant
    phonemes: list[str]

    @property
    def plain(self) -> str:
        """Phonemes without stress, joined by blanks."""
        return " ".join(phoneme.rstrip("012") for phoneme in self.phonemes)

    @property
    def stress(self) -> list[str]:
        """The digit of each vowel, - for each consonant."""
        return [phoneme[-1] if phoneme[-1].isdigit() else "-" for phoneme in self.phonemes]

    @property
    def num_syllables(self) -> int:
        """One for each vowel."""
        return sum(digit != "-" for digit in self.stress)


def load(config, split, directory) -> Source:
    path = BUNDLED / "cmudict" / "cmudict.dict.gz"
    entries = _read(path)
    if not config.variants:
        entries = list({entry.word: entry for entry in reversed(entries)}.values())[::-1]
    kept = splits.by_group(path, split, config, [entry.word for entry in entries])
    chosen = [entries[index] for index in kept]

    def locate(index: int) -> str:
        return f"{path}:{chosen[index].line}"

    if config.task == "stress":
        sentences = [(entry.plain, entry.stress) for entry in chosen]
        return tagged_tokens.from_sentences("cmudict", sentences, ["-", "0", "1", "2"], locate)
    class_names = ()
    if config.task == "g2p":
        targets = utf8(entry.plain for entry in chosen)
    else:
        targets = np.array([entry.num_syllables for entry in chosen], np.int64)
        max_syllables = max(entry.num_syllables for entry in entries)
        class_names = map(str, range(max_syllables + 1))
    features = {"inputs": utf8(entry.word for entry in chosen), "targets": targets}
    return from_arrays("cmudict", features, class_names, locate)


@functools.cache  # a run loads its training split twice, and 135,000 lines take half a second
def _read(path) -> list[Entry]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: damaged or unreadable: {error}") from error
    entries = []
    for number, line in enumerate(lines, 1):
        word, *phonemes = line.partition("#")[0].split()
        if not phonemes:
            raise DataError(f"{path}:{number}: expected a word and its phonemes, got {line[:40]!r}")
        entries.append(Entry(number, word.partition("(")[0], phonemes))
    return entries
