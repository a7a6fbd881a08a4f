"""The pronouncing dictionary, bundled and by hand."""

import gzip

import numpy as np
import pytest
from loading import line_numbers, load, read

from data_loader import SPLITS
from sources import cmudict


def example(folder) -> dict:
    return {"task": "stress"}


def test_the_bundled_dictionary_is_divided_by_headword():
    """135,166 entries; `record` is a noun, a verb and more: all variants in one split."""
    heads, counts = {}, {}
    for split in SPLITS:
        batch = read(load(split, "cmudict", task="g2p"))
        heads[split], counts[split] = set(batch["inputs"]), len(batch["inputs"])
        assert not any(b"(" in head for head in heads[split])
    assert sum(counts.values()) == 135_166 and sum(map(len, heads.values())) == len(
        set.union(*heads.values())
    )
    np.testing.assert_allclose(
        [counts["valid"] / 135_166, counts["test"] / 135_166], 0.05, atol=0.004
    )


@pytest.fixture
def dictionary(tmp_path, monkeypatch):
    monkeypatch.setattr(cmudict, "BUNDLED", tmp_path)
    (tmp_path / "cmudict").mkdir()
    text = (
        "aalborg AO1 L B AO0 R G # place, danish\n"
        "aalborg(2) AA1 L B AO0 R G\n"
        "abstract AE0 B S T R AE1 K T\n"
        "hm HH M\n"
    )
    (tmp_path / "cmudict" / "cmudict.dict.gz").write_bytes(gzip.compress(text.encode()))


@pytest.mark.parametrize(
    ("task", "inputs", "targets", "classes"),
    [
        ("syllables", ["aalborg", "aalborg", "abstract", "hm"], [2, 2, 2, 0], ("0", "1", "2")),
        (
            "g2p",
            ["aalborg", "aalborg", "abstract", "hm"],
            ["AO L B AO R G", "AA L B AO R G", "AE B S T R AE K T", "HH M"],
            (),
        ),
        (
            "stress",
            ["AO L B AO R G", "AA L B AO R G", "AE B S T R AE K T", "HH M"],
            ["200100", "200100", "10000200", "00"],
            ("-", "0", "1", "2"),
        ),
    ],
)
def test_the_dictionary_by_hand(dictionary, task, inputs, targets, classes):
    source = load("train", "cmudict", task=task, valid=0, test=0)
    found = read(source)
    assert [text.decode() for text in found["inputs"]] == inputs and source.class_names == classes
    assert line_numbers(source.locate(i) for i in range(4)) == [1, 2, 3, 4]
    if task == "stress":
        assert ["".join(map(str, row)) for row in found["targets"]] == [
            row.ljust(8, "0") for row in targets
        ]
        assert found["sample_weight"].sum(axis=1).tolist() == [6, 6, 8, 2]
    else:
        assert [
            target.decode() if task == "g2p" else target for target in found["targets"]
        ] == targets


def test_the_first_pronunciation_alone(dictionary):
    source = load("train", "cmudict", task="g2p", variants=False, valid=0, test=0)
    assert [text.decode() for text in read(source)["targets"]] == [
        "AO L B AO R G",
        "AE B S T R AE K T",
        "HH M",
    ]
    assert line_numbers(source.locate(i) for i in range(3)) == [1, 3, 4]
