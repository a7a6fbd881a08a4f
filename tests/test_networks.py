"""Convolutional blocks by hand, and networks against the numbers of their papers."""

import importlib
import math
import shutil
import typing

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

import model_config
from cli.program import CheckpointError, ConfigError
from model import build_model, initialize
from model_config import Inception, Mobilenet, Pretrained, Resnet, Squeezenet, Vgg, Xception
from models import blocks, pretrained, xception
from train_config import Spec


def spec_of(shape, num_classes=10, dtype="float32"):
    names = [str(i) for i in range(num_classes)]
    return Spec(
        input_shape=shape,
        input_dtype=dtype,
        target_shape=[],
        target_dtype="int64",
        num_classes=num_classes,
        class_names=names,
    )


# ------------------------------------------------------------------------------------------------------------- blocks

# Of images of 9x8 pixels and 8 channels: block, its arguments, shape of its output, shapes of outputs within.
BLOCKS = [
    (
        blocks.conv_bn,
        {"filters": 12, "strides": 2},
        (5, 4, 12),
        {"conv_conv": (5, 4, 12), "conv_bn": (5, 4, 12)},
    ),
    (blocks.conv_bn, {"filters": 12, "act": "prelu"}, (9, 8, 12), {"conv_bn": (9, 8, 12)}),
    (blocks.depthwise_bn, {"dilation": 2}, (9, 8, 8), {"depthwise_conv": (9, 8, 8)}),
    (
        blocks.separable_conv,
        {"filters": 12, "strides": 2},
        (5, 4, 12),
        {"separable_depthwise_relu": (5, 4, 8)},
    ),
    (blocks.linear_bottleneck, {"filters": 4}, (9, 8, 4), {"linear_conv": (9, 8, 4)}),
    (
        blocks.inverted_bottleneck,
        {"filters": 8},
        (9, 8, 8),
        {"inverted_expand_relu6": (9, 8, 48), "inverted_project_bn": (9, 8, 8)},
    ),
    (
        blocks.inverted_bottleneck,
        {"filters": 8, "expansion": 1},
        (9, 8, 8),
        {"inverted_depthwise_relu6": (9, 8, 8)},
    ),
    (
        blocks.inverted_bottleneck,
        {"filters": 12, "strides": 2},
        (5, 4, 12),
        {
            "inverted_depthwise_relu6": (5, 4, 48),
            "inverted_shortcut_pool": (5, 4, 8),
            "inverted_shortcut_bn": (5, 4, 12),
        },
    ),
    (
        blocks.residual_block,
        {"filters": 12, "strides": 2},
        (5, 4, 12),
        {"residual_a_relu": (5, 4, 12), "residual_shortcut_bn": (5, 4, 12)},
    ),
    (
        blocks.residual_bottleneck,
        {"filters": 8},
        (9, 8, 8),
        {"bottleneck_reduce_relu": (9, 8, 4), "bottleneck_add": (9, 8, 8)},
    ),
    (
        blocks.residual_bottleneck,
        {"filters": 32, "strides": 2, "reduction": 4},
        (5, 4, 32),
        {
            "bottleneck_reduce_relu": (9, 8, 8),
            "bottleneck_conv_relu": (5, 4, 8),
            "bottleneck_expand_bn": (5, 4, 32),
        },
    ),
    (
        blocks.grid_reduction,
        {},
        (5, 4, 256),
        {
            "reduction_double1_relu": (9, 8, 96),
            "reduction_double2_relu": (9, 8, 96),
            "reduction_double3_relu": (5, 4, 32),
            "reduction_single1_relu": (9, 8, 96),
            "reduction_single2_relu": (5, 4, 128),
            "reduction_pool1_relu": (5, 4, 96),
        },
    ),
    (
        blocks.fire,
        {"squeeze": 4, "expand": 6},
        (9, 8, 12),
        {"fire_squeeze": (9, 8, 4), "fire_expand1": (9, 8, 6), "fire_expand3": (9, 8, 6)},
    ),
    (blocks.upsample_nearest, {"filters": 4}, (18, 16, 4), {"up_nearest": (18, 16, 8)}),
    (
        blocks.upsample_transposed,
        {"filters": 4, "factor": 3},
        (27, 24, 4),
        {"up_conv": (27, 24, 4)},
    ),
    (blocks.global_average, {}, (8,), {}),
]


@pytest.mark.parametrize(
    ("block", "arguments", "shape", "within"), BLOCKS, ids=lambda v: getattr(v, "__name__", None)
)
def test_block(block, arguments, shape, within):
    """Shape, any batch size, named outputs within, and a gradient at every variable."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    inputs = keras.Input((9, 8, 8))
    model = keras.Model(inputs, block(inputs, **arguments))
    assert model.output_shape == (None, *shape)
    assert {name: model.get_layer(name).output.shape for name in within} == {
        name: (None, *at) for name, at in within.items()
    }
    x = np.random.default_rng(0).normal(size=(5, 9, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(model(x)[:2], model(x[:2]), atol=1e-5)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(
            model(x, training=True) ** 3
        )  # of the cube: batch normalization keeps sums and squares as they are
    gradients = tape.gradient(loss, model.trainable_variables)
    assert [
        v.path
        for v, g in zip(model.trainable_variables, gradients, strict=True)
        if g is None or not np.any(g)
    ] == []


def test_activations_by_hand():
    """The slope of PReLU begins at 0.25 and is one a channel, the same in all places."""
    x = tf.reshape(tf.constant([-4.0, 3.0, 8.0]), (1, 1, 3, 1))
    outputs = {
        kind: blocks.activation(x, kind, kind).numpy().ravel().tolist()
        for kind in ("relu", "relu6", "prelu")
    }
    assert outputs == {"relu": [0, 3, 8], "relu6": [0, 3, 6], "prelu": [-1, 3, 8]}
    inputs = keras.Input((9, 8, 5))
    assert keras.Model(inputs, blocks.activation(inputs, "prelu", "act")).get_layer(
        "act"
    ).alpha.shape == (1, 1, 5)


def test_a_shortcut_of_zeros_has_no_weights_and_takes_every_other_pixel():
    """With kernels of 0 only the shortcut is left: channels 2 to 9 of 12 are the input's 8."""
    inputs = keras.Input((9, 8, 8))
    model = keras.Model(inputs, blocks.residual_block(inputs, 12, 2, "zeros"))
    assert (
        model.count_params() == 9 * 8 * 12 + 9 * 12 * 12 + 2 * 4 * 12
    )  # two convolutions, two batch normalizations
    for variable in model.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    x = np.random.default_rng(0).random((2, 9, 8, 8), np.float32)
    expected = np.zeros((2, 5, 4, 12), np.float32)
    expected[..., 2:10] = x[:, ::2, ::2]
    np.testing.assert_array_equal(model(x), expected)


def test_an_identity_shortcut_only_where_shapes_stay():
    inputs = keras.Input((9, 8, 8))
    kinds = {"same": (8, 1), "strided": (8, 2), "wider": (12, 1)}
    models = {
        kind: keras.Model(inputs, blocks.inverted_bottleneck(inputs, *at, shortcut="identity"))
        for kind, at in kinds.items()
    }
    added = {
        kind: [
            layer.name for layer in model.layers if "add" in layer.name or "shortcut" in layer.name
        ]
        for kind, model in models.items()
    }
    assert added == {"same": ["inverted_add"], "strided": [], "wider": []}


def test_upsampling_by_hand():
    """Nearest repeats pixels. Transposed: away from the border each pixel is in 2 x 2 windows, wherever it lies."""
    x = np.arange(12, dtype=np.float32).reshape(1, 3, 4, 1)
    inputs = keras.Input((3, 4, 1))
    nearest = keras.Model(inputs, blocks.upsample_nearest(inputs, 1)).get_layer("up_nearest").output
    np.testing.assert_array_equal(
        keras.Model(inputs, nearest)(x), x.repeat(2, axis=1).repeat(2, axis=2)
    )
    transposed = keras.Model(
        inputs,
        keras.Model(inputs, blocks.upsample_transposed(inputs, 1)).get_layer("up_conv").output,
    )
    transposed.get_layer("up_conv").kernel.assign(tf.ones((4, 4, 1, 1)))
    np.testing.assert_array_equal(
        transposed(np.ones_like(x))[0, 1:-1, 1:-1, 0], np.full((4, 6), 4.0)
    )


def test_scaled_widths_are_multiples_of_8_and_not_below_90_percent():
    """MobileNetV2's stem at width 0.75: 24. 24 * 0.5 = 12, a tie: 16. 16 * 0.6 = 9.6: 8 would be 83 %."""
    assert [
        blocks.scaled(*at) for at in [(32, 0.75), (24, 0.5), (16, 0.6), (64, 0.01), (728, 1.0)]
    ] == [24, 16, 16, 8, 728]


# ----------------------------------------------------------------------------------------------------------- networks

IMAGENET, CIFAR, DIGITS = ([224, 224, 3], 1000), ([32, 32, 3], 10), ([28, 28, 1], 10)
COUNTS = [  # network, images and classes, trainable weights, where the number stands
    (
        Vgg(name="vgg", depth=16),
        IMAGENET,
        138_357_544,
        "keras.applications.VGG16; the paper's table 2: 138 million",
    ),
    (Vgg(name="vgg", depth=13), IMAGENET, 14_710_464 + 3 * 4_224 + 513_000, "see test_hand_counts"),
    (
        Squeezenet(name="squeezenet"),
        IMAGENET,
        1_248_424,
        "torchvision's squeezenet1_0; the paper's table 1: 1,248,424",
    ),
    (
        Squeezenet(name="squeezenet", bypass=True),
        IMAGENET,
        1_248_424,
        "section 6 of the paper: simple bypass adds none",
    ),
    (Resnet(name="resnet", depth=18), IMAGENET, 11_689_512, "torchvision's resnet18"),
    (Resnet(name="resnet", depth=34), IMAGENET, 21_797_672, "torchvision's resnet34"),
    (Resnet(name="resnet", depth=50), IMAGENET, 25_557_032, "torchvision's resnet50"),
    (Resnet(name="resnet", depth=101), IMAGENET, 44_549_160, "torchvision's resnet101"),
    (Resnet(name="resnet", depth=152), IMAGENET, 60_192_808, "torchvision's resnet152"),
    (Resnet(name="resnet", depth=20), CIFAR, 0.27e6, "the paper's table 6"),
    (Resnet(name="resnet", depth=32), CIFAR, 0.46e6, "the paper's table 6"),
    (Resnet(name="resnet", depth=44), CIFAR, 0.66e6, "the paper's table 6"),
    (Resnet(name="resnet", depth=56), CIFAR, 0.85e6, "the paper's table 6"),
    (
        Resnet(name="resnet", depth=110),
        CIFAR,
        1.73e6,
        "the paper's table 6, which says 1.7 million",
    ),
    (Inception(name="inception"), DIGITS, 1_636_170, "see test_hand_counts"),
    (
        Mobilenet(name="mobilenet"),
        IMAGENET,
        3_504_872,
        "keras.applications.MobileNetV2, torchvision; the paper's table 4: 3.4 million",
    ),
    (
        Xception(name="xception", aligned=False),
        ([299, 299, 3], 1000),
        22_855_952,
        "the paper's table 3",
    ),
    (Xception(name="xception"), ([299, 299, 3], 1000), 26.97e6, "timm's xception41"),
    (Xception(name="xception", middle=16), ([299, 299, 3], 1000), 39.92e6, "timm's xception65"),
    (
        Pretrained(name="pretrained", backbone="ResNet50"),
        IMAGENET,
        25_583_592,
        "keras.applications.ResNet50, whose convolutions have biases",
    ),
]


def shapes_only(config, shape, num_classes):
    """The network without numbers in its variables: what has 138 million of them is built at once."""
    keras.utils.clear_session()
    with keras.StatelessScope(initialize_variables=False):
        return importlib.import_module(f"models.{config.name}").build(
            config, spec_of(shape, num_classes)
        )


def trainable_weights(model):
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


@pytest.mark.parametrize(
    ("config", "data", "expected", "source"), COUNTS, ids=lambda v: getattr(v, "name", None)
)
def test_parameter_count_of_the_paper(config, data, expected, source):
    count = trainable_weights(shapes_only(config, *data))
    if isinstance(expected, float):  # published in millions with two digits after the point
        count = round(count / 1e4) * 1e4
    assert count == expected, source


def test_hand_counts():
    """VGG: convolutions 9 * (3*64 + 64*64 + 64*128 + 128*128 + 128*256 + 2*256*256 + 256*512 + 5*512*512); two numbers of
    batch normalization and a slope for each of 2*64 + 2*128 + 3*256 + 6*512 channels; scores 512 * 1000 + 1000.

    Inception: stem; in each of two stages a reduction of c channels, 288 c + 9 * 96 * (96 + 32 + 128) + 2 * 544, and two
    modules of c channels, 224 c + 9 * (64*96 + 64*96 + 96*96) + 2 * 512; logits.
    """
    vgg = 9 * (
        3 * 64
        + 64 * 64
        + 64 * 128
        + 128 * 128
        + 128 * 256
        + 2 * 256 * 256
        + 256 * 512
        + 5 * 512 * 512
    )
    assert vgg + 3 * 4_224 + 513_000 == next(
        expected for config, _, expected, _ in COUNTS if config.name == "vgg" and config.depth == 13
    )

    def reduction(c):
        return 288 * c + 9 * 96 * (96 + 32 + 128) + 2 * 544

    def module(c):
        return 224 * c + 9 * (64 * 96 + 64 * 96 + 96 * 96) + 2 * 512

    stem, logits = 9 * 64 + 2 * 64 + 9 * 64 * 96 + 2 * 96, 288 * 10 + 10
    stages = reduction(96) + module(256) + module(288) + reduction(288) + module(256) + module(288)
    assert stem + stages + logits == next(
        expected for config, _, expected, _ in COUNTS if config.name == "inception"
    )


@pytest.mark.parametrize(
    ("config", "shapes"),
    [
        (Vgg(name="vgg", depth=16), {"pool5": (7, 7, 512), "fc6": (4096,)}),
        (
            Squeezenet(name="squeezenet"),
            {"pool1": (55, 55, 96), "pool4": (27, 27, 256), "pool8": (13, 13, 512)},
        ),
        (
            Resnet(name="resnet", depth=50),
            {"stage2_3_relu": (56, 56, 256), "stage5_3_relu": (7, 7, 2048)},
        ),
        (
            Mobilenet(name="mobilenet"),
            {
                "stage5_3_add": (14, 14, 96),
                "stage7_1_project_bn": (7, 7, 320),
                "last_bn": (7, 7, 1280),
            },
        ),
        (
            Mobilenet(name="mobilenet", resolution=0.5, width=0.5),
            {"stage7_1_project_bn": (4, 4, 160), "last_bn": (4, 4, 1280)},
        ),
        (Mobilenet(name="mobilenet", depth=2.0), {"stage3_6_add": (28, 28, 32)}),
        (
            Inception(name="inception"),
            {
                "stem2_relu": (56, 56, 96),
                "module1_2_concat": (28, 28, 288),
                "module2_2_concat": (14, 14, 288),
            },
        ),
        (
            Xception(name="xception"),
            {"entry3_add": (14, 14, 728), "exit2_3_pointwise_relu": (7, 7, 2048)},
        ),
        (
            Xception(name="xception", output_stride=16),
            {"exit1_add": (14, 14, 1024), "exit2_3_pointwise_relu": (14, 14, 2048)},
        ),
        (
            Xception(name="xception", output_stride=8, aligned=False),
            {"entry3_add": (28, 28, 728), "exit2_2_relu": (28, 28, 2048)},
        ),
    ],
    ids=lambda v: getattr(v, "name", None),
)
def test_grids_of_the_papers_at_224_pixels(config, shapes):
    model = shapes_only(config, *IMAGENET)
    assert {name: model.get_layer(name).output.shape[1:] for name in shapes} == shapes


@pytest.mark.parametrize(
    "config",
    [
        Squeezenet(name="squeezenet", width=0.25),
        Squeezenet(name="squeezenet", width=0.25, bypass=True),
    ],
)
def test_bypass_adds_the_input_of_every_second_fire_module(config):
    model = build_model(config, spec_of([28, 28, 1]))
    added = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Add)]
    assert added == (
        ["fire3_bypass", "fire5_bypass", "fire7_bypass", "fire9_bypass"] if config.bypass else []
    )


def test_dilations_see_what_strides_saw():
    """Strides on grids of 2n + 1 pixels sample places 0, 2, 4, ...: there the finer features must be the coarser ones."""
    features = {}
    for output_stride in (32, 16, 8):
        config = Xception(name="xception", width=0.02, middle=1, output_stride=output_stride)
        model = build_model(config, spec_of([129, 129, 3]), seed=1)
        features[output_stride] = keras.Model(
            model.inputs, model.get_layer("exit2_3_pointwise_relu").output
        )
    x = np.random.default_rng(0).random((1, 129, 129, 3), np.float32)
    coarse, middle, fine = (features[output_stride](x).numpy() for output_stride in (32, 16, 8))
    assert (coarse.shape[1], middle.shape[1], fine.shape[1]) == (5, 9, 17)
    assert coarse.std() > 1e-3
    np.testing.assert_allclose(middle[:, ::2, ::2], coarse, atol=1e-5)
    np.testing.assert_allclose(fine[:, ::4, ::4], coarse, atol=1e-5)


def test_strides_and_dilations_by_hand():
    assert xception.strides_and_dilations([2, 2, 2, 1], 2) == [(2, 1), (1, 1), (1, 2), (1, 4)]
    assert xception.strides_and_dilations([2, 2, 2, 1], 32) == [(2, 1), (2, 1), (2, 1), (1, 1)]


@pytest.mark.parametrize(
    "shape", [[15, 16, 3], [28, 28], [28, 28, 1, 1], [None, None, 3], [28, 28, None], []], ids=str
)
@pytest.mark.parametrize(
    "name", ["vgg", "squeezenet", "resnet", "inception", "mobilenet", "xception", "pretrained"]
)
def test_images_that_a_network_cannot_take_are_refused_in_one_line(name, shape):
    config = getattr(model_config, name.capitalize())(name=name)
    with pytest.raises(
        ConfigError,
        match=rf"^{name}.*: expected images of one size, at least \d+x\d+ pixels, and a channel axis, got .*$",
    ):
        build_model(config, spec_of(shape))


# --------------------------------------------------------------------------------------------------------- pretrained


def backbone_of(model):
    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


def mobile(**fields):
    return Pretrained(name="pretrained", **{"backbone": "MobileNet"} | fields)


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """A MobileNet without top, as Keras saves it, all of whose numbers differ from those of any new one."""
    backbone = keras.applications.MobileNet(
        include_top=False, weights=None, input_shape=(32, 32, 3)
    )
    rng = np.random.default_rng(0)
    backbone.set_weights([rng.random(w.shape, np.float32) for w in backbone.get_weights()])
    path = tmp_path_factory.mktemp("weights") / "mobile.weights.h5"
    backbone.save_weights(path)
    return path, backbone.get_weights()


def test_backbones_are_those_of_keras():
    functions = {name for name in dir(keras.applications) if name[0].isupper()}
    assert set(typing.get_args(model_config.Backbone)) == functions


@pytest.mark.parametrize("backbone", typing.get_args(model_config.Backbone))
def test_smallest_images_are_those_of_keras(backbone):
    smallest = pretrained.SMALLEST.get(backbone, 32)
    with pytest.raises(ValueError, match=f"at least {smallest}x{smallest}"):
        getattr(keras.applications, backbone)(
            include_top=False, weights=None, input_shape=(smallest - 1, smallest, 3)
        )
    with pytest.raises(ConfigError, match=f"at least {smallest}x{smallest}"):
        build_model(mobile(backbone=backbone), spec_of([smallest - 1, smallest, 3]))


@pytest.mark.slow
@pytest.mark.parametrize("backbone", typing.get_args(model_config.Backbone))
def test_every_backbone_builds(backbone):
    model = shapes_only(mobile(backbone=backbone, size=96), [28, 28, 1], 10)
    assert model.output_shape == (None, 10)
    paths = [variable.path for variable in model.variables]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        ("MobileNetV2", [0 / 127.5 - 1, 51 / 127.5 - 1, 255 / 127.5 - 1]),  # between -1 and 1
        ("VGG16", [255 - 103.939, 51 - 116.779, 0 - 123.68]),  # blue, green, red, less their means
        ("DenseNet121", [(0 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (1 - 0.406) / 0.225]),
        ("MobileNetV3Small", [0, 51, 255]),  # it begins with its own
    ],
)
def test_backbones_see_what_they_were_trained_on(backbone, expected):
    x = tf.constant([0.0, 51.0, 255.0], shape=(1, 1, 1, 3))
    np.testing.assert_allclose(np.ravel(pretrained._as_trained(x, backbone)), expected, rtol=1e-5)


def test_efficientnet_is_normalized_as_by_its_authors():
    """What Keras' Normalization (mean, deviation) makes of it is once more divided by the root of the deviation."""
    x = tf.constant([0.0, 51.0, 255.0], shape=(1, 1, 1, 3))
    seen = (np.ravel(pretrained._as_trained(x, "EfficientNetB0")) / 255 - [0.485, 0.456, 0.406]) / [
        0.229,
        0.224,
        0.225,
    ]
    expected = [(0 - 0.485) / 0.229**1.5, (0.2 - 0.456) / 0.224**1.5, (1 - 0.406) / 0.225**1.5]
    np.testing.assert_allclose(seen, expected, rtol=1e-5)


def begun(config, spec):
    """The network as a run begins with it."""
    model = build_model(config, spec)
    initialize(model, config, spec)
    return model


def test_bytes_and_gray_are_the_same_picture(weights_file):
    config = mobile(weights=str(weights_file[0]))
    byte = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), np.uint8)
    expected = begun(config, spec_of([32, 32, 1]))(byte.astype(np.float32) / 255)
    assert np.std(expected) > 0
    color = begun(config, spec_of([32, 32, 3], dtype="uint8"))
    np.testing.assert_allclose(color(byte.repeat(3, axis=3)), expected, rtol=1e-4)


def test_weights_from_a_file_are_the_backbones_once_a_run_begins(weights_file):
    path, saved = weights_file
    config, spec = mobile(weights=str(path)), spec_of([32, 32, 3])
    before, after = build_model(config, spec), begun(config, spec)
    for got, want in zip(backbone_of(after).get_weights(), saved, strict=True):
        np.testing.assert_array_equal(got, want)
    assert not np.array_equal(
        backbone_of(before).get_weights()[0], saved[0]
    )  # evaluation needs no file
    assert [v.path for v in before.variables] == [v.path for v in after.variables]
    np.testing.assert_array_equal(
        before.get_layer("logits").kernel, after.get_layer("logits").kernel
    )


def test_damaged_and_foreign_weights_are_refused_in_one_line(weights_file, tmp_path):
    path, _ = weights_file
    spec = spec_of([32, 32, 3])
    model = build_model(mobile(), spec)
    (tmp_path / "text.weights.h5").write_text("no weights")
    (tmp_path / "half.weights.h5").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (tmp_path / "folder.weights.h5").mkdir()
    with h5py.File(tmp_path / "empty.weights.h5", "w"):
        pass
    for name in ("link.weights.h5", "link.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file["layers"] = h5py.ExternalLink(str(path), "/layers")
            file["model_weights"] = h5py.ExternalLink(str(path), "/layers")
    keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3)).save_weights(
        tmp_path / "other.weights.h5"
    )
    with h5py.File(shutil.copy(path, tmp_path / "lacking.weights.h5"), "a") as file:
        del file["layers"][next(name for name in file["layers"] if file["layers"][name]["vars"])]
    files = sorted([*tmp_path.iterdir(), tmp_path / "absent.weights.h5"])
    assert len(files) == 9
    for file in files:
        with pytest.raises(CheckpointError, match=rf"^model\.weights: {file}: ") as caught:
            initialize(model, mobile(weights=str(file)), spec)
        assert "\n" not in str(caught.value)


def test_imagenet_without_a_network_names_the_file_and_where_to_put_it(program, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(
        "model: {name: pretrained, weights: imagenet, size: 32}\ntask: {name: classification}\n"
        "data: {train: mnist_sample, valid: mnist_sample, ops: [scale]}\ntrain: {steps: 1}\n"
    )
    nowhere = {
        "https_proxy": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "KERAS_HOME": str(tmp_path / "keras"),
    }
    done = program("trainer.py", "--config", config, "--run_dir", tmp_path / "run", env=nowhere)
    assert (done.returncode, done.stdout) == (6, ""), done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("trainer: error: model.weights: cannot download https://")
    assert "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5" in last
    assert str(tmp_path / "keras" / "models") in last
    assert "Traceback" not in done.stderr
