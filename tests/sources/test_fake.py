"""Random inputs from which the label can be learned."""

import numpy as np
from loading import load, read


def test_fake_examples_share_a_pattern_for_each_class_in_all_splits():
    train, valid = (
        load(split, "fake", shape=[4, 5], num_classes=3, size=300) for split in ("train", "valid")
    )
    assert train.fingerprint != valid.fingerprint and train.class_names == (
        "class 0",
        "class 1",
        "class 2",
    )
    means = []
    for source in (train, valid):
        found = read(source)
        assert found["inputs"].shape == (300, 4, 5) and set(found["targets"]) == {0, 1, 2}
        means.append(
            [found["inputs"][found["targets"] == label].mean(axis=0) for label in range(3)]
        )
    distance = abs(np.array(means[0])[:, np.newaxis] - np.array(means[1])[np.newaxis]).mean((2, 3))
    assert np.diag(distance).max() < 8 < 20 < (distance + 1000 * np.eye(3)).min()
