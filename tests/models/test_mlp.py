"""The multi-layer perceptron: sizes by hand."""

from networks import network, spec_of

from model import build_model

OTHERS = [{"hidden": [], "l2": 1e-3}, {"hidden": [32, 32], "dropout": 0.5}]


def test_mlp_counts_by_hand():
    """512 * (784 + 1), 512 * (512 + 1), 10 * (512 + 1); with no hidden layer softmax regression."""
    images = spec_of([28, 28, 1])
    assert build_model(network("mlp"), images).count_params() == 401_920 + 262_656 + 5_130
    assert build_model(network("mlp", hidden=[]), images).count_params() == 7_850
