"""LeNet-5 against the numbers of its paper."""

from networks import check_refuses_other_shapes, network, spec_of

from model import build_model

OTHERS = [{"activation": "tanh", "dropout": 0.5, "l2": 1e-3}]


def test_lenet_has_the_papers_layers():
    """By hand: C1 6*(25+1), C3 16*(6*25+1), C5 120*(16*25+1), F6 84*(120+1), output 10*(84+1)."""
    model = build_model(network("lenet"), spec_of([28, 28, 1]))
    counts = {layer.name: layer.count_params() for layer in model.layers if layer.count_params()}
    assert counts == {"c1": 156, "c3": 2416, "c5": 48120, "f6": 10164, "logits": 850}
    assert model.get_layer("s4").output.shape == (None, 5, 5, 16)


def test_images_that_lenet_cannot_take_are_refused_in_one_line():
    check_refuses_other_shapes(network("lenet"))
