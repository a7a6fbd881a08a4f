"""Skip-gram: scores are products of the vectors of two tables."""

import numpy as np
import pytest
from networks import IDS, TEXT, network, spec_of

from cli.program import ConfigError
from model import build_model

EXAMPLE = {
    "spec": TEXT.model_copy(update={"target_shape": [None, 2, 3]}),
    "task": {"name": "skip_gram"},
    "batch": {
        "inputs": IDS,
        "targets": np.stack([[IDS, IDS - 1, IDS - 2]] * 2).transpose(2, 3, 0, 1),
        "sample_weight": np.ones([32, 6, 2], np.float32),
    },
}


def test_skip_gram_scores_by_hand():
    """Token 4 is (1, 2); candidates 5 and 6 are (3, 4) and (0, -1).

    11 and -2. Layers keep their names.
    """
    model = build_model(network("skip_gram", size=2), EXAMPLE["spec"])
    assert [v.path for v in model.variables] == ["centre/embeddings", "context/embeddings"]
    centers, contexts = np.zeros([2, 12, 2], np.float32)
    centers[4], contexts[5], contexts[6] = (1, 2), (3, 4), (0, -1)
    for variable, value in zip(model.variables, (centers, contexts), strict=True):
        variable.assign(value)
    candidates = np.int32([[[[5, 6, 7], [6, 5, 4]]]])
    scores = model({"tokens": np.int32([[4]]), "candidates": candidates})
    np.testing.assert_array_equal(scores, [[[[11, -2, 0], [-2, 11, 0]]]])
    np.testing.assert_array_equal(model.vectors(), centers)


def test_skip_gram_needs_candidates():
    expected = "^skip_gram: expected tokens and candidates near each, got targets of shape "
    for spec in TEXT, spec_of([None, 1], target_shape=[None, 2, 3]):
        with pytest.raises(ConfigError, match=expected):
            build_model(network("skip_gram"), spec)
