"""Operations: an example is treated alike in any batch; numbers worked out by hand; what is measured, and on what."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps
from pydantic import ValidationError

import data_config
import data_loader
from cli import typed_yaml
from cli.program import ConfigError
from engine.stateless import fold, uniform
from ops import images as image_ops
from ops.images import BATCH_OPS, IMAGE_OPS
from ops.sequences import target_units
from preprocess_data import OPS, apply_ops, measured
from train_config import Data

CLASSES = {
    section.model_fields["name"].annotation.__args__[0]: section
    for union in (data_config.OpConfig, data_config.BatchOpConfig)
    for section in typed_yaml.members(union)
}


def op(name, **options):
    return CLASSES[name](name=name, **options)


def compiled(ops, features):
    """The operations as the pipeline runs them, in a graph for batches of any size."""
    signature = {
        key: tf.TensorSpec([None, *value.shape[1:]], tf.constant(value).dtype)
        for key, value in features.items()
    }
    function = tf.function(
        lambda features, seeds: apply_ops(features, seeds, ops, num_classes=3), autograph=False
    )
    return function.get_concrete_function(signature, tf.TensorSpec([None], tf.uint64))


def treat(ops, features, seeds=None, function=None):
    """{feature: array} after the operations, example i drawing from seed i."""
    features = {key: tf.constant(value) for key, value in features.items()}
    seeds = fold(0, tf.range(len(features["inputs"]))) if seeds is None else seeds
    found = (
        function(features, seeds) if function else apply_ops(features, seeds, ops, num_classes=3)
    )
    return {key: value.numpy() for key, value in found.items()}


def run(name, inputs, **options):
    """The inputs after one operation."""
    return treat([op(name, **options)], {"inputs": inputs})["inputs"]


def encoded(picture, kind: str, **options) -> bytes:
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(
        file, kind, **options
    )
    return file.getvalue()


def picture_files(pictures) -> dict:
    """The features of `image_folder` for [(array, kind of file, options, orientation)]."""
    return {
        "inputs": np.array(
            [encoded(array, kind, **options) for array, kind, options, _ in pictures], object
        ),
        "orientation": np.array([orientation for *_, orientation in pictures], np.int32),
        "image_size": np.array([array.shape[:2] for array, *_ in pictures], np.int32),
    }


RNG = np.random.default_rng(0)
IMAGES = np.arange(4 * 6 * 5 * 2, dtype=np.uint8).reshape(4, 6, 5, 2)  # no two pixels alike
RGB = RNG.integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
NOISY = [
    RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
    for height, width in ((23, 31), (40, 20), (24, 24), (33, 17))
]

# ------------------------------------------------------------------------------------------------------- every operation

TARGETS = {"targets": np.array([0, 1, 2, 1])}
BYTES, FLOATS = {"inputs": RGB, **TARGETS}, {"inputs": (RGB / 255).astype(np.float32), **TARGETS}
TEXTS = {"inputs": np.array(["a b", "The cat", "x", "Ä b c a"], object)}
IDS = {
    "inputs": np.array([[4, 5, 6, 0], [7, 0, 0, 0], [1, 2, 3, 4], [5, 6, 0, 0]], np.int32),
    **TARGETS,
}
SERIES = {"inputs": RNG.normal(size=(4, 6, 2)).astype(np.float32)}
TABLE = {
    "inputs": np.eye(4, dtype=np.float32),
    "categories": np.array([["a", "x"], ["b", "y"], ["a", "?"], ["?", "x"]], object),
    **TARGETS,
}
FILES = picture_files(
    [
        (NOISY[0], "JPEG", {}, 1),
        (NOISY[1], "PNG", {}, 1),
        (NOISY[2], "JPEG", {}, 6),
        (NOISY[3], "JPEG", {}, 1),
    ]
)

EXAMPLES = {  # (options, features) for every operation
    "decode_image": ({}, FILES), "resize": ({"size": (4, 7)}, BYTES), "center_crop": ({"size": (3, 2)}, BYTES),
    "random_crop": ({"size": (5, 5), "padding": 1}, BYTES), "random_resized_crop": ({"size": (4, 4)}, BYTES),
    "pad_image": ({"size": (8, 8), "value": 7}, BYTES), "random_shift": ({"pixels": 1}, BYTES), "random_flip": ({}, BYTES),
    "random_rotate": ({"degrees": 40}, BYTES), "grayscale": ({}, BYTES), "color_jitter": ({"hue": 0.3}, BYTES),
    "random_erasing": ({}, BYTES), "cutout": ({"size": 3}, BYTES), "rand_augment": ({}, BYTES), "gaussian_noise": ({"std": 1.0}, FLOATS),
    "salt_noise": ({"share": 0.3}, BYTES), "scale": ({}, BYTES), "scale_to_one": ({}, BYTES), "imagenet": ({}, BYTES),
    "standardize": ({"mean": [0.1], "std": [2.0]}, BYTES), "min_max": ({"low": [3.0], "high": [9.0]}, BYTES), "log": ({}, BYTES),
    "window": ({"horizon": 2, "column": 1}, SERIES), "encode_categories": ({"categories": [["a", "b"], ["x", "y"]]}, TABLE),
    "one_hot": ({}, BYTES), "inputs_as_targets": ({}, FLOATS), "lowercase": ({}, TEXTS),
    "tokenize": ({"vocabulary": "a\nb", "ends": True}, TEXTS), "truncate": ({"length": 2, "keep": "last"}, IDS),
    "pad": ({"length": 6}, IDS), "reverse": ({}, IDS), "token_dropout": ({"rate": 0.5}, IDS),
    "skip_gram": ({"window": 1, "negatives": 3, "frequencies": [0.0, 0.0, 1.0, 2.0, 3.0, 4.0]}, IDS),
}  # fmt: skip


def example_of(name):
    assert name in EXAMPLES, (
        f"give the operation {name!r} an entry in EXAMPLES: its options and inputs that it takes"
    )
    options, features = EXAMPLES[name]
    return [
        op(name, **options),
        *([op("resize", size=(5, 6))] if name == "decode_image" else []),
    ], features


def check_alike_in_any_batch(ops, features):
    """In the graph, all examples together and one at a time; and at once."""
    function, seeds, longer = (
        compiled(ops, features),
        fold(0, tf.range(4)),
        any(config.name == "tokenize" for config in ops),
    )
    whole, at_once = treat(ops, features, seeds, function), treat(ops, features, seeds)
    assert whole.keys() == at_once.keys()
    for key, value in whole.items():
        check_same(at_once[key], value)
        assert function.structured_outputs[key].shape.is_compatible_with(value.shape)
    for i in range(4):
        alone = treat(
            ops,
            {key: value[i : i + 1] for key, value in features.items()},
            seeds[i : i + 1],
            function,
        )
        assert alone.keys() == whole.keys()
        for key, value in alone.items():
            inside = tuple(
                slice(size) for size in value.shape[1:]
            )  # a batch is padded to its longest sequence
            assert whole[key].shape[1:] == value.shape[1:] or longer
            check_same(whole[key][(slice(i, i + 1), *inside)], value)
            assert longer is False or np.count_nonzero(whole[key][i]) == np.count_nonzero(value)
    return whole


def check_same(a, b):
    """To the bit, but for float32: vector instructions, which a graph and a large batch use, may round the last bits otherwise."""
    if a.dtype == np.float32:
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6, strict=True)
    else:
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("name", sorted(OPS))
def test_operations_treat_an_example_alike_in_any_batch(name):
    """What an example becomes depends on its own seed, not on its neighbors: so threads and towers cannot change it."""
    check_alike_in_any_batch(*example_of(name))


@pytest.mark.parametrize("name", sorted(IMAGE_OPS.keys() - {"gaussian_noise"}))
def test_operations_of_images_keep_bytes(name):
    """An operation takes the brightness of white from the type: float32 up to 255 in between would be lost on those after."""
    ops, features = example_of(name)
    assert treat(ops, features)["inputs"].dtype == np.uint8


def test_every_random_operation_says_so_and_only_those_draw():
    """`random` decides what may stand in first_ops and what is left out of measuring."""
    for name in OPS:
        ops, features = example_of(name)
        first, others = (
            treat(ops, features),
            (treat(ops, features, fold(seed, tf.range(4))) for seed in (1, 2)),
        )
        assert (
            any(not np.array_equal(first[key], other[key]) for other in others for key in first)
            == ops[0].random
        ), name


# -------------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("name", "options", "inputs", "expected"),
    [
        ("scale", {}, np.uint8([[0, 51, 255]]), [[0, 0.2, 1]]),
        ("scale", {"by": 4.0}, np.int64([[2, -1]]), [[0.5, -0.25]]),
        ("scale_to_one", {}, np.uint8([[0, 51, 255]]), [[-1, -0.6, 1]]),
        (
            "imagenet",
            {},
            np.uint8([[0, 51, 255]]),
            [[-0.485 / 0.229, (0.2 - 0.456) / 0.224, 0.594 / 0.225]],
        ),
        ("standardize", {"mean": [1, 2], "std": [2, 4]}, np.float32([[3, 10]]), [[1, 2]]),
        ("standardize", {"mean": [1], "std": [2]}, np.float32([[3, 11]]), [[1, 5]]),
        ("min_max", {"low": [0, 10], "high": [4, 20]}, np.float32([[3, 25]]), [[0.75, 1.5]]),
        ("log", {}, np.float32([[0, np.e - 1]]), [[0, 1]]),
        ("log", {"plus": 0}, np.float32([[1, 100]]), [[0, np.log(100)]]),
        (
            "grayscale",
            {},
            np.uint8([[[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]]]),
            [[[[76], [150], [29], [9]]]],
        ),
        ("grayscale", {}, np.float32([[[[1, 0.5, 0.25]]]]), [[[[0.299 + 0.2935 + 0.0285]]]]),
        ("lowercase", {}, np.array(["ÄRGER Ñ ŁẞŐ x1", ""], object), ["ärger ñ łßő x1", ""]),
    ],
)
def test_numbers_by_hand(name, options, inputs, expected):
    found = run(name, inputs, **options)
    if found.dtype == object:
        assert [text.decode() for text in found] == expected
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_targets_by_hand():
    assert (
        treat([op("one_hot")], {"inputs": np.zeros(3), "targets": np.array([0, 2, 1])})[
            "targets"
        ].tolist()
        == np.eye(3)[[0, 2, 1]].tolist()
    )
    both = treat(
        [op("standardize", of="both", mean=[1], std=[2])],
        {"inputs": np.float32([[3], [5]]), "targets": np.float32([1, 0])},
    )
    assert both["inputs"].tolist() == [[1], [2]] and both["targets"].tolist() == [0, -0.5]
    noisy = treat(
        [op("inputs_as_targets"), op("gaussian_noise", std=1.0)],
        {"inputs": np.zeros((2, 5), np.float32)},
    )
    assert not noisy["targets"].any() and noisy["inputs"].all()


def test_window_splits_off_the_steps_to_be_forecast():
    series = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    split = treat([op("window", horizon=2, column=1)], {"inputs": series})
    assert split["inputs"].tolist() == series[:, :2].tolist()
    assert split["targets"].tolist() == [[7, 10], [19, 22]]
    for options in ({"horizon": 4}, {"column": 3}):
        with pytest.raises(ConfigError, match="window: expected series"):
            treat([op("window", **options)], {"inputs": series})


def test_an_unseen_category_is_all_zeros():
    inputs = {
        "inputs": np.float32([[5], [6]]),
        "categories": np.array([["b", "x"], ["new", "x"]], object),
    }
    found = treat([op("encode_categories", categories=[["a", "b"], ["x"]])], inputs)
    assert found["inputs"].tolist() == [[5, 0, 1, 1], [6, 0, 0, 1]] and "categories" not in found


def test_noise_has_the_moments_that_are_asked_for():
    noise = run("gaussian_noise", np.full((50, 400), 3, np.float32), std=0.5)
    assert abs(noise.mean() - 3) < 0.02 and abs(noise.std() - 0.5) < 0.02  # 4 to 8 standard errors
    assert abs(np.corrcoef(noise)[np.triu_indices(50, 1)]).max() < 0.25  # each example its own
    values, counts = np.unique(
        run("salt_noise", np.full((50, 400), 9, np.uint8), share=0.4, low=0, high=255),
        return_counts=True,
    )
    assert values.tolist() == [0, 9, 255]
    np.testing.assert_allclose(counts / 20_000, [0.2, 0.6, 0.2], atol=0.02)


def test_uniform_fills_its_range():
    values = uniform(fold(0, tf.range(20_000)), 0, -1.0, 3.0).numpy()
    assert values.min() >= -1 and values.max() < 3
    assert abs(values.mean() - 1) < 0.05 and abs(values.var() - 16 / 12) < 0.05


# ------------------------------------------------------------------------------------------------------------ sequences


@pytest.mark.parametrize(
    ("options", "texts", "expected"),
    [
        ({"vocabulary": "a\nb"}, ["b  a zebra", "a", ""], [[3, 2, 1], [2, 0, 0], [0, 0, 0]]),
        ({"vocabulary": "ä\nb", "level": "characters"}, ["äb", " b"], [[2, 3], [1, 3]]),
        ({"vocabulary": "a\nb", "ends": True}, ["b x", ""], [[5, 1, 3], [3, 0, 0]]),
    ],
)
def test_tokenize_by_hand(options, texts, expected):
    found = treat(
        [op("tokenize", of="targets", **options)],
        {"inputs": np.zeros(len(texts)), "targets": np.array(texts, object)},
    )
    assert found["targets"].tolist() == expected and found["targets"].dtype == np.int32
    assert found["sample_weight"].tolist() == [
        [float(token != 0) for token in row] for row in expected
    ]


TAGGED = {  # lengths 4 and 2, the class 0 among the tags
    "inputs": np.array([[5, 6, 7, 8], [9, 4, 0, 0]], np.int32),
    "targets": np.array([[0, 1, 2, 0], [0, 0, 0, 0]]),
    "sample_weight": np.array([[1, 1, 1, 1], [1, 1, 0, 0]], np.float32),
}
PAIRS = {  # inputs of lengths 4 and 1, targets of 2 and 3
    "inputs": np.array([[5, 6, 7, 8], [9, 0, 0, 0]], np.int32),
    "targets": np.array([[5, 6, 0], [7, 8, 9]], np.int32),
    "sample_weight": np.array([[1, 1, 0], [1, 1, 1]], np.float32),
}


@pytest.mark.parametrize(
    ("features", "config", "inputs", "targets", "weight"),
    [
        (TAGGED, op("truncate", length=3, of="both"), [[5, 6, 7], [9, 4, 0]], [[0, 1, 2], [0, 0, 0]], [[1, 1, 1], [1, 1, 0]]),
        (TAGGED, op("truncate", length=3, of="both", keep="last"), [[6, 7, 8], [9, 4, 0]], [[1, 2, 0], [0, 0, 0]], [[1, 1, 1], [1, 1, 0]]),
        (TAGGED, op("reverse", of="both"), [[8, 7, 6, 5], [4, 9, 0, 0]], [[0, 2, 1, 0], [0, 0, 0, 0]], TAGGED["sample_weight"]),
        (TAGGED, op("pad", length=5, of="both"), [[5, 6, 7, 8, 0], [9, 4, 0, 0, 0]], [[0, 1, 2, 0, 0], [0] * 5],
         [[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]]),
        (PAIRS, op("truncate", length=2, of="both", keep="last"), [[7, 8], [9, 0]], [[5, 6], [8, 9]], [[1, 1], [1, 1]]),
        (PAIRS, op("truncate", length=1, of="targets", keep="last"), PAIRS["inputs"], [[6], [9]], [[1], [1]]),
        (PAIRS, op("reverse", of="both"), [[8, 7, 6, 5], [9, 0, 0, 0]], [[6, 5, 0], [9, 8, 7]], PAIRS["sample_weight"]),
        (PAIRS, op("reverse"), [[8, 7, 6, 5], [9, 0, 0, 0]], PAIRS["targets"], PAIRS["sample_weight"]),
    ],
)  # fmt: skip
def test_sequences_are_cut_padded_and_turned_each_by_its_own_length(
    features, config, inputs, targets, weight
):
    found = treat([config], features)
    for key, expected in (("inputs", inputs), ("targets", targets), ("sample_weight", weight)):
        np.testing.assert_array_equal(found[key], expected)


def test_too_long_a_sequence_to_pad_is_an_error():
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="longer than 3: put `truncate` before"
    ):
        run("pad", TAGGED["inputs"], length=3)
    with pytest.raises(
        ConfigError, match="pad: length: expected at least 4, as long as the inputs, got 3"
    ):
        compiled([op("pad", length=3)], TAGGED)


def test_token_dropout_spares_padding_and_drops_the_rate():
    ids = np.where(np.arange(100) < 80, 7, 0).astype(np.int32)[np.newaxis].repeat(200, 0)
    found = run("token_dropout", ids, rate=0.25)
    assert set(np.unique(found[:, :80])) == {1, 7} and not found[:, 80:].any()
    assert abs((found[:, :80] == 1).mean() - 0.25) < 0.02  # 6 standard errors
    assert len({row.tobytes() for row in found}) == 200


# ------------------------------------------------------------------------------------------------------------- decoding


def test_photographs_are_upright_as_exif_says(tmp_path):
    corners = np.zeros((32, 48, 3), np.uint8)
    corners[:16, :24], corners[:16, 24:], corners[16:, :24] = (
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
    )  # asymmetric
    (tmp_path / "a").mkdir()
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        (tmp_path / "a" / f"{orientation}.jpg").write_bytes(
            encoded(corners, "JPEG", exif=exif, quality=95)
        )
    source = data_loader.load(
        data_config.ImageFolder(name="image_folder", valid=0, test=0), "train", str(tmp_path)
    )
    features = {
        key: value.numpy() for key, value in source.read(tf.range(8, dtype=tf.int64)).items()
    }
    assert features["orientation"].tolist() == list(range(1, 9))
    found = treat([op("decode_image"), op("center_crop", size=(32, 32))], features)[
        "inputs"
    ].astype(int)
    for orientation, picture in enumerate(found, 1):
        upright = ImageOps.exif_transpose(Image.open(tmp_path / "a" / f"{orientation}.jpg"))
        left, top = (upright.width - 32) // 2, (upright.height - 32) // 2
        assert (
            abs(picture - np.asarray(upright.crop((left, top, left + 32, top + 32)))).max() <= 10
        )  # decoders differ a little
    assert min(abs(found[i] - found[j]).max() for i in range(8) for j in range(i)) > 200


STRIPES = np.repeat(
    np.uint8([[[255, 0, 0]], [[0, 255, 0]], [[0, 0, 255]], [[255, 255, 255]], [[40, 40, 40]]]),
    4,
    axis=1,
)
KINDS = {
    "PNG": ("RGB", "P", "L", "LA", "RGBA", "1"), "BMP": ("RGB", "RGBA", "L"), "GIF": ("RGB", "L"), "JPEG": ("L",),
}  # fmt: skip


@pytest.mark.parametrize("channels", [3, 1])
def test_files_of_every_kind_become_gray_or_rgb(channels):
    """Transparency is left out; gray is luma."""
    files, expected = {}, []
    for kind, mode in [(kind, mode) for kind, modes in KINDS.items() for mode in modes]:
        picture = Image.fromarray(STRIPES).convert(mode, dither=Image.Dither.NONE)
        if mode in ("RGBA", "LA"):
            picture.putalpha(100)
        files[kind, mode] = encoded(picture, kind)
        expected.append(
            np.asarray(picture.convert("RGB").convert("RGB" if channels == 3 else "L")).reshape(
                5, 4, channels
            )
        )
    features = {"inputs": np.array(list(files.values()), object)}
    found = treat(
        [op("decode_image", channels=channels), op("center_crop", size=(5, 4))], features
    )["inputs"].astype(int)
    worst = dict(zip(files, abs(found - expected).max((1, 2, 3)).tolist(), strict=True))
    assert worst.pop(("JPEG", "L")) <= 2 and max(worst.values()) <= (channels == 1), (
        worst
    )  # a half of luma goes either way


DECODED = [
    [op("center_crop", size=(11, 14))],
    [op("random_crop", size=(16, 15))],
    [op("random_crop", size=(30, 30), padding=8)],
    [op("random_resized_crop", size=(20, 12)), op("center_crop", size=(7, 7))],
    [op("resize", shortest=16), op("center_crop", size=(15, 15))],
    [op("resize", size=(8, 8), method="nearest")],
    [op("pad_image", size=(40, 40), value=200)],
]


@pytest.mark.parametrize("ops", DECODED, ids=lambda ops: "-".join(config.name for config in ops))
def test_files_of_different_sizes_are_alike_in_any_batch(ops):
    """Also where a batch of plain JPEGs, and one JPEG alone, take another way than JPEGs among other files."""
    whole = check_alike_in_any_batch([op("decode_image"), *ops], FILES)
    assert whole["inputs"].shape == (4, *ops[-1].size, 3) and whole["inputs"].dtype == np.uint8


@pytest.mark.parametrize(("channels", "subsampling"), [(3, 0), (3, 1), (3, 2), (1, 2)])
@pytest.mark.parametrize("ops", [DECODED[0], DECODED[1], DECODED[3]], ids=lambda ops: ops[0].name)
def test_decoding_a_window_of_a_jpeg_gives_what_the_whole_gives(ops, channels, subsampling):
    """The colors of a JPEG are mostly stored for every second pixel: a window has to begin beside it."""
    features = picture_files([(NOISY[0], "JPEG", {"subsampling": subsampling}, 1)] * 40)
    partial = treat([op("decode_image", channels=channels), *ops], features)["inputs"]
    without_size = {
        key: value for key, value in features.items() if key != "image_size"
    }  # so the whole is decoded
    np.testing.assert_array_equal(
        partial, treat([op("decode_image", channels=channels), *ops], without_size)["inputs"]
    )
    if ops == DECODED[0]:
        decoded = tf.io.decode_jpeg(features["inputs"][0], channels=channels).numpy()
        np.testing.assert_array_equal(partial[0], decoded[6:17, 8:22])
    else:
        assert len({window.tobytes() for window in partial}) > 20


@pytest.mark.parametrize(
    "ops", [[], [op("resize", shortest=8)], [op("random_flip"), op("resize", size=(4, 4))]], ids=len
)
def test_files_need_one_size(ops):
    with pytest.raises(
        ConfigError,
        match="files may differ in size: expected `resize` with a size, a crop or `pad_image` after it",
    ):
        treat([op("decode_image"), *ops], FILES)


# ------------------------------------------------------------------------------------------------------- size and place


@pytest.mark.parametrize(
    ("options", "inputs", "expected"),
    [
        ({"size": (1, 1)}, [[0, 10], [20, 31]], [[15]]),  # 15.25: bytes are rounded
        ({"size": (1, 2), "method": "area"}, [[0, 10], [20, 31]], [[10, 20]]),  # 20.5 to even
        (
            {"size": (4, 2), "method": "nearest"},
            [[0, 10], [20, 31]],
            [[0, 10], [0, 10], [20, 31], [20, 31]],
        ),
        ({"size": (1, 4)}, [[0, 100]], [[0, 25, 75, 100]]),
        ({"shortest": 2}, [[7] * 3], [[7] * 6] * 2),
        ({"shortest": 1}, [[7] * 2] * 5, [[7]] * 2),  # 2.5 to even
    ],
)
def test_resize_by_hand(options, inputs, expected):
    for dtype, tolerance in ((np.uint8, 0), (np.float32, 0.5)):
        found = run("resize", np.array(inputs, dtype)[np.newaxis, ..., np.newaxis], **options)
        assert found.dtype == dtype
        np.testing.assert_allclose(found[0, ..., 0], expected, atol=tolerance)


def test_windows_and_borders_by_hand():
    image = np.arange(20, dtype=np.uint8).reshape(1, 4, 5, 1)
    np.testing.assert_array_equal(
        run("center_crop", image, size=(2, 2))[0, ..., 0], [[6, 7], [11, 12]]
    )
    padded = run("pad_image", image[:, :1, :2], size=(2, 5), value=9)[0, ..., 0]
    np.testing.assert_array_equal(padded, [[9, 0, 1, 9, 9], [9, 9, 9, 9, 9]])
    for name, size in (("center_crop", (5, 5)), ("pad_image", (3, 5)), ("random_crop", (5, 5))):
        with pytest.raises(ConfigError, match=f"{name}: size: expected at"):
            run(name, image, size=size)
    np.testing.assert_array_equal(
        run("random_resized_crop", image, size=(4, 5), area=(1, 1), aspect=(5 / 4, 5 / 4)), image
    )
    assert np.isfinite(
        run("random_resized_crop", image[:, :1].astype(np.float32), size=(2, 2))
    ).all()  # one row


def test_random_resized_crop_takes_shares_of_the_area():
    """Of a picture of coordinates: how far apart the corners of the result are says how large the window was."""
    y, x = np.mgrid[:64, :64].astype(np.float32)
    pictures = np.stack([y, x], -1)[np.newaxis].repeat(1000, 0)
    found = run("random_resized_crop", pictures, size=(8, 8), area=(0.1, 0.5), aspect=(0.5, 2))
    height, width = (found[:, -1, -1] - found[:, 0, 0] + 1).T
    assert (np.diff(found[..., 0], axis=1) > 0).all() and (
        np.diff(found[..., 1], axis=2) > 0
    ).all()  # no pixel from outside
    assert (
        0.09 < (height * width / 4096).min() < 0.13 and 0.45 < (height * width / 4096).max() < 0.52
    )
    assert 0.45 < (width / height).min() < 0.6 and 1.7 < (width / height).max() < 2.2


def test_random_shift_moves_each_image_by_a_whole_vector():
    shifted = run("random_shift", np.repeat(IMAGES[1:2], 300, 0), pixels=2)
    padded, seen = np.pad(IMAGES[1], [(2, 2), (2, 2), (0, 0)]), set()
    for image in shifted:
        matches = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if np.array_equal(padded[y : y + 6, x : x + 5], image)
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 25  # every shift from (-2, -2) to (2, 2)


def test_random_crop_cuts_windows_of_the_size():
    for image, crop in zip(IMAGES, run("random_crop", IMAGES, size=(3, 4)), strict=True):
        assert any(
            np.array_equal(image[y : y + 3, x : x + 4], crop) for y in range(4) for x in range(2)
        )


@pytest.mark.parametrize(("direction", "axis"), [("horizontal", 1), ("vertical", 0)])
def test_random_flip_mirrors_about_half(direction, axis):
    flipped = run("random_flip", np.repeat(IMAGES[:1], 400, 0), direction=direction)
    kinds = [
        0
        if np.array_equal(image, IMAGES[0])
        else 1
        if np.array_equal(image, np.flip(IMAGES[0], axis))
        else 2
        for image in flipped
    ]
    assert set(kinds) == {0, 1}
    assert 140 < sum(kinds) < 260  # 6 standard deviations


def test_random_rotate_turns_about_the_center():
    """The center stays; the angle stays in its range and fills it."""
    images = np.zeros((200, 9, 9, 1), np.float32)
    images[:, 4, 4] = 1.0  # the center
    images[:, 4, 8] = 1.0  # to its right
    turned = run("random_rotate", images, degrees=30)[..., 0]
    np.testing.assert_allclose(turned[:, 4, 4], 1.0, atol=1e-5)
    y, x = np.mgrid[:9, :9] - 4
    outer = turned * (np.hypot(y, x) > 2)
    angles = np.degrees(np.arctan2((outer * y).sum((1, 2)), (outer * x).sum((1, 2))))
    assert -33 < angles.min() < -20 and 20 < angles.max() < 33


# ---------------------------------------------------------------------------------------------------- colors, rectangles

NOTHING = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}


def test_color_jitter_of_nothing_changes_nothing_and_each_factor_does_one_thing():
    np.testing.assert_array_equal(run("color_jitter", RGB, **NOTHING), RGB)
    even = np.full((200, 2, 2, 3), 0.5, np.float32)
    lit = run("color_jitter", even, **NOTHING | {"brightness": 0.4})
    assert (
        np.ptp(lit, axis=(1, 2, 3)).max() == 0
        and 0.3 <= lit.min() < 0.32
        and 0.68 < lit.max() <= 0.7
    )
    np.testing.assert_allclose(
        run("color_jitter", even, **NOTHING | {"contrast": 1, "saturation": 1}), even, atol=1e-6
    )  # nothing to stretch
    pictures = np.repeat(RGB[:1] / np.float32(255), 200, 0)
    gray = (pictures @ np.float32([0.299, 0.587, 0.114]))[..., np.newaxis]
    muted = run("color_jitter", pictures * 0.5, **NOTHING | {"saturation": 0.4})
    ratio = ((muted - gray * 0.5) / (pictures * 0.5 - gray * 0.5)).reshape(200, -1)
    kept = (
        muted.reshape(200, -1).min(axis=1) > 0
    )  # where nothing was clipped, all pixels moved by one factor
    assert kept.sum() > 20 and np.ptp(ratio[kept], axis=1).max() < 1e-2 and ratio.min() < 0.7
    turned = run("color_jitter", pictures, **NOTHING | {"hue": 0.5})
    for extreme in (np.max, np.min):  # brightness and saturation stay
        np.testing.assert_allclose(extreme(turned, axis=-1), extreme(pictures, axis=-1), atol=1e-5)
    assert abs(turned - pictures).max() > 0.5
    wild = run("color_jitter", pictures, brightness=1, contrast=1, saturation=1, hue=0.5)
    assert wild.min() >= 0 and wild.max() <= 1


def sides(changed) -> np.ndarray:
    """[n, 2]: height and width of the rectangle of True in each image; fails where it is no rectangle."""
    found = np.stack([changed.any(2).sum(1), changed.any(1).sum(1)], axis=1)
    np.testing.assert_array_equal(changed.sum((1, 2)), found.prod(axis=1))
    return found


def test_cutout_covers_a_square_which_the_edge_may_cut():
    covered = run("cutout", np.full((400, 12, 12, 1), 5, np.uint8), size=4, value=9)[..., 0] == 9
    height, width = sides(covered).T
    assert set(height) == set(width) == {2, 3, 4}  # the center is always inside
    np.testing.assert_allclose([(height == 4).mean(), (width == 4).mean()], 9 / 12, atol=0.1)
    assert covered.any(axis=0).all()


def test_random_erasing_covers_shares_of_some_images():
    images = np.full((600, 40, 40, 1), 5, np.uint8)
    found = sides(
        run("random_erasing", images, probability=0.25, area=(0.1, 0.3), aspect=(0.5, 2), value=0)[
            ..., 0
        ]
        == 0
    )
    assert abs((found[:, 0] > 0).mean() - 0.25) < 0.09  # 5 standard errors
    height, width = found[found[:, 0] > 0].T
    assert (
        0.09 < (height * width / 1600).min() < 0.13 and 0.27 < (height * width / 1600).max() < 0.31
    )
    assert 0.45 < (height / width).min() < 0.65 and 1.6 < (height / width).max() < 2.2


def test_equalized_and_auto_contrast_by_hand():
    def of(function, values):
        return (
            function(tf.constant(values, tf.float32)[tf.newaxis, tf.newaxis, :, tf.newaxis])
            .numpy()
            .ravel()
            .tolist()
        )

    assert of(image_ops._equalized, [0, 0, 1, 3]) == [
        0,
        0,
        128,
        255,
    ]  # ranks 2, 3, 4 of 4: 0, 127.5 to even, 255
    assert of(image_ops._equalized, [9, 9]) == [9, 9]
    assert of(image_ops._auto_contrast, [50, 60, 100]) == [0, 51, 255]
    assert of(image_ops._auto_contrast, [50, 50]) == [50, 50]


def test_rand_augment_of_no_strength_changes_nothing_and_of_full_strength_does():
    """Every byte once is a picture that equalizing and stretching the contrast leave alone."""
    picture = np.random.default_rng(1).permutation(256).astype(np.uint8).reshape(1, 16, 16, 1)
    pictures = np.concatenate([picture, picture[:, ::-1], 255 - picture], axis=-1).repeat(60, 0)
    np.testing.assert_array_equal(run("rand_augment", pictures, magnitude=0, count=3), pictures)
    strong = run("rand_augment", pictures, magnitude=10, count=1)
    assert len({image.tobytes() for image in strong}) >= 15  # 14 operations, most with two signs
    assert strong.shape == pictures.shape and strong.dtype == np.uint8
    assert (
        6 < (strong != pictures).any(axis=(1, 2, 3)).sum() < 57
    )  # 3 of 14 leave this picture alone


# --------------------------------------------------------------------------------------------- between examples of a batch


def mix(name, inputs, seeds=None, num_classes=4, targets=None, **options):
    seeds = fold(0, tf.range(len(inputs))) if seeds is None else seeds
    features = {
        "inputs": tf.constant(inputs),
        "targets": tf.range(len(inputs)) % num_classes if targets is None else tf.constant(targets),
    }
    config = op(name, **options)
    found = tf.function(
        lambda features, seeds: BATCH_OPS[name](features, seeds, config, num_classes=num_classes)
    )(features, seeds)
    return found["inputs"].numpy(), found["targets"].numpy()


FLAT = np.arange(8, dtype=np.float32).reshape(8, 1, 1, 1) * np.ones(
    (1, 10, 10, 1), np.float32
)  # image i holds i everywhere


@pytest.mark.parametrize("name", sorted(BATCH_OPS))
def test_a_pair_shares_inputs_and_targets_in_the_same_proportion(name):
    """Of images that are 0, 1, 2... everywhere, the mean tells the share of the neighbor, which is 2 i + 1 for 2 i and back."""
    inputs, targets = mix(name, FLAT, alpha=1.0, num_classes=8)
    neighbor = np.arange(8) ^ 1
    share = (inputs.mean((1, 2, 3)) - np.arange(8)) / (neighbor - np.arange(8))
    expected = (1 - share)[:, np.newaxis] * np.eye(8) + share[:, np.newaxis] * np.eye(8)[neighbor]
    np.testing.assert_allclose(targets, expected, atol=1e-5)
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    assert np.ptp(share) > 0.2 and share.min() >= 0 and share.max() <= 1


@pytest.mark.parametrize("name", sorted(BATCH_OPS))
def test_an_even_part_of_a_batch_is_mixed_as_in_the_whole(name):
    seeds, images = fold(3, tf.range(8)), np.random.default_rng(0).random((8, 6, 6, 3), np.float32)
    whole, halves = (
        mix(name, images, seeds),
        [mix(name, images[part], seeds[part]) for part in (slice(0, 4), slice(4, 8))],
    )
    for place in (0, 1):
        np.testing.assert_array_equal(
            whole[place], np.concatenate([half[place] for half in halves])
        )


def test_skip_gram_takes_true_neighbors_and_random_tokens_by_frequency():
    """Window 1 over 4 5 6 and padding: (none, 5), (4, 6), (5, none). Negatives by frequency^0.75: 16^0.75 = 8 against 1^0.75."""
    ids = np.int32([[4, 5, 6, 0]])
    found = treat(
        [op("skip_gram", window=1, negatives=2, frequencies=[0, 0, 0, 0, 16, 1, 0])],
        {"inputs": ids},
    )
    assert found["targets"].shape == (1, 4, 2, 3) and found["targets"].dtype == np.int32
    assert found["targets"][0, :3, :, 0].tolist() == [[0, 5], [4, 6], [5, 0]]
    assert found["sample_weight"].tolist() == [[[0, 1], [1, 1], [1, 0], [0, 0]]]
    many = treat(
        [op("skip_gram", window=1, negatives=5, frequencies=[0, 0, 0, 0, 16, 1, 0])],
        {"inputs": np.repeat(ids, 900, axis=0)},
    )
    drawn = (
        np.bincount(many["targets"][..., 1:].ravel(), minlength=7) / many["targets"][..., 1:].size
    )
    np.testing.assert_allclose(drawn[4:6], [8 / 9, 1 / 9], atol=0.01)
    assert drawn[[0, 1, 2, 3, 6]].sum() == 0


@pytest.mark.parametrize(
    ("ops", "back"),
    [
        ([op("standardize", of="targets", mean=[1.0, 2.0], std=[10.0, 20.0])], lambda x: x * [10, 20] + [1, 2]),
        ([op("min_max", of="targets", low=[-1.0], high=[3.0])], lambda x: x * 4 - 1),
        ([op("log", plus=3.0), op("standardize", mean=[2.0], std=[0.5]), op("window", horizon=2)], lambda x: np.exp(x * 0.5 + 2) - 3),
        ([op("standardize", mean=[7.0, 2.0], std=[9.0, 0.5]), op("window", horizon=2, column=1)], lambda x: x * 0.5 + 2),
        ([op("scale"), op("inputs_as_targets"), op("scale", by=2.0)], lambda x: x * 255),
        ([op("standardize", mean=[7.0], std=[9.0])], lambda x: x),  # of the inputs: no matter for the targets
    ],
    ids=["of targets", "range", "logarithm", "column", "copied", "inputs only"],
)  # fmt: skip
def test_what_takes_targets_back_to_their_units(ops, back):
    values = np.float64([[0.25, -1.5], [0.0, 3.0]])
    found = values
    for step in target_units(ops):
        found = found * step.scale + step.offset
        found = found if step.log_plus is None else np.exp(found) - step.log_plus
    np.testing.assert_allclose(found, back(values))


def test_mixup_blends_and_cutmix_pastes():
    blended, _ = mix("mixup", FLAT, alpha=1.0)
    assert np.ptp(blended, axis=(1, 2, 3)).max() < 1e-6
    np.testing.assert_allclose(
        blended[::2] + blended[1::2], FLAT[::2] + FLAT[1::2], atol=1e-5
    )  # one share for both of a pair
    pasted, _ = mix("cutmix", np.tile(FLAT, (50, 1, 1, 1)).astype(np.uint8), alpha=1.0)
    sides((pasted != np.tile(FLAT, (50, 1, 1, 1)))[..., 0])
    assert pasted.dtype == np.uint8 and set(np.unique(pasted)) == set(range(8))


def test_shares_are_of_the_beta_distribution():
    """Beta(alpha, alpha) has the mean 1/2 and the variance 1 / (4 (2 alpha + 1)); small alphas keep to one of the two."""
    shares = {
        alpha: mix("mixup", np.tile(np.float32([[0], [1]]), (1000, 1)), alpha=alpha)[0][1::2, 0]
        for alpha in (0.2, 4.0)
    }
    for alpha, share in shares.items():
        assert abs(share.mean() - 0.5) < 0.05
        np.testing.assert_allclose(share.var(), 1 / (4 * (2 * alpha + 1)), rtol=0.15)


def test_soft_targets_are_mixed_as_they_are_and_what_cannot_be_mixed_is_refused():
    _, targets = mix("mixup", FLAT[:2], alpha=1.0, targets=np.float32([[0.9, 0.1], [0.5, 0.5]]))
    np.testing.assert_allclose(targets.sum(axis=0), [1.4, 0.6], atol=1e-6)
    with pytest.raises(ConfigError, match="mixup: expected float inputs, got uint8"):
        mix("mixup", FLAT.astype(np.uint8))
    with pytest.raises(ConfigError, match="cutmix: expected one class for each example"):
        mix("cutmix", FLAT, targets=np.zeros((8, 3), np.int64))


# ------------------------------------------------------------------------------------------------- measured on training


def data_of(ops, **dataset) -> Data:
    return Data.model_validate({"train": dataset, "ops": ops})


def test_statistics_are_of_the_training_examples_after_the_operations_before(tmp_path):
    train, outlier = np.array([[0, 10], [2, 10], [4, 10], [6, 10]]), np.full((2, 2), 1e9)
    for held_out in (train[:2], outlier):  # what is held out changes nothing
        np.savez(
            tmp_path / "a.npz",
            x_train=train,
            y_train=[0, 1, 0, 1],
            x_valid=held_out,
            y_valid=[0, 1],
        )
        data = measured(
            data_of(
                [{"name": "scale", "by": 2}, "standardize", "min_max"],
                name="npz",
                file=str(tmp_path / "a.npz"),
            )
        )
        _, standardize, min_max = data.ops
        np.testing.assert_allclose(standardize.mean, [1.5, 5])
        np.testing.assert_allclose(
            standardize.std, [np.sqrt(5) / 2, 1]
        )  # a constant column stays finite
        np.testing.assert_allclose(min_max.low, [-1.5 / (np.sqrt(5) / 2), 0], rtol=1e-6)
        np.testing.assert_allclose(min_max.high, [1.5 / (np.sqrt(5) / 2), 1], rtol=1e-6)
        normal = treat(data.ops, {"inputs": train.astype(np.float32)})["inputs"]
        np.testing.assert_allclose(normal, np.stack([np.arange(4) / 3, np.zeros(4)], 1), atol=1e-6)


def test_statistics_of_many_batches_are_those_of_all_at_once(tmp_path):
    values = (
        np.random.default_rng(0).normal(1e3, 1, (1000, 3)).astype(np.float32)
    )  # far from 0: sums of squares would lose the digits
    np.savez(tmp_path / "a.npz", x_train=values, y_train=np.arange(1000) % 2)
    (config,) = measured(data_of(["standardize"], name="npz", file=str(tmp_path / "a.npz"))).ops
    np.testing.assert_allclose(config.mean, values.astype(float).mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(config.std, values.astype(float).std(axis=0), rtol=1e-9)


def test_categories_are_those_of_the_training_rows(tmp_path):
    rows = "".join(f"{day},{'ba'[day % 2] if day < 9 else 'late'},{day % 2}\n" for day in range(10))
    (tmp_path / "t.csv").write_text("day,kind,y\n" + rows)
    dataset = {
        "name": "csv",
        "file": str(tmp_path / "t.csv"),
        "target": "y",
        "categories": ["kind"],
        "time": "day",
        "valid": 0.1,
        "test": 0,
    }
    data = measured(data_of(["encode_categories"], **dataset))
    assert data.ops[0].categories == [["a", "b"]]
    valid = data_loader.load(data.train, "valid", None).read(tf.constant([0], tf.int64))
    assert treat(data.ops, {key: value.numpy() for key, value in valid.items()})[
        "inputs"
    ].tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["b", "a", "c", "é"]),  # by count, then by alphabet
        ({"max_tokens": 4}, ["b", "a"]),  # padding and unknown are two of the four
        ({"max_tokens": 5, "ends": True}, ["b"]),
        ({"level": "characters", "max_tokens": 5}, [" ", "b", "a"]),
    ],
)
def test_the_vocabulary_holds_the_most_frequent_tokens(tmp_path, options, expected):
    (tmp_path / "t.tsv").write_text("x\tb a\ny\tb c a\nx\té b\n")
    data = data_of(
        [{"name": "tokenize", **options}],
        name="text",
        file=str(tmp_path / "t.tsv"),
        valid=0,
        test=0,
    )
    assert measured(data).ops[0].vocabulary.split("\n") == expected


def test_the_vocabulary_is_of_the_training_texts_alone(tmp_path):
    (tmp_path / "t.tsv").write_text("".join(f"x\tword{i}\n" for i in range(200)))
    data = measured(data_of(["tokenize"], name="text", file=str(tmp_path / "t.tsv")))
    train, valid = (data_loader.load(data.train, split, None) for split in ("train", "valid"))
    known = {
        text.decode() for text in train.read(tf.range(len(train), dtype=tf.int64))["inputs"].numpy()
    }
    assert set(data.ops[0].vocabulary.split("\n")) == known and len(known) == len(train) < 200
    ids = treat(
        data.ops, {"inputs": valid.read(tf.range(len(valid), dtype=tf.int64))["inputs"].numpy()}
    )["inputs"]
    assert (ids == 1).all()


def test_a_vocabulary_without_room_for_a_token_is_refused():
    with pytest.raises(ValidationError, match="expected at least 5 with `ends`"):
        op("tokenize", ends=True, max_tokens=4)
