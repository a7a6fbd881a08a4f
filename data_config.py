"""The options of every operation and of every data set: one typed class each, chosen by `name`.

An operation or data set without options may be written as its bare name. To add one: a function of
the same name in a file of ops/, or a file of that name in sources/, and a class here.
"""

import re
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from cli.typed_yaml import (
    Bool,
    ClassNames,
    Float,
    Int,
    PathText,
    Positive,
    Regex,
    Section,
    Share,
    one_of,
    or_name,
)

PADDING, UNKNOWN, START, END = range(4)  # token ids; the last two where sequences have ends


def _rising(value):
    if value[0] > value[1]:
        raise ValueError(f"expected [smallest, largest], got {list(value)}")
    return value


def _as_list(value):
    return [value] if isinstance(value, str) else value


def _encoding(value: str) -> str:
    try:
        "".encode(value)
    except (LookupError, ValueError):
        raise ValueError(
            f"expected an encoding, such as utf-8, cp949 or latin-1, got {value!r}"
        ) from None
    return value


def _time_format(value: str) -> str:
    try:
        datetime.strptime("", value)
    except (ValueError, re.error) as error:
        if "does not match" not in str(error):
            expected = "expected a format such as '%d/%m/%Y %H:%M'"
            raise ValueError(f"{expected}, got {value!r}: {error}") from None
    return value


PositiveFloat = Annotated[Float, Field(gt=0)]
PositiveShare = Annotated[Float, Field(gt=0, le=1)]
Size = tuple[Positive, Positive]
Index = Annotated[Int, Field(ge=0)]
Gray = Annotated[Int, Field(ge=0, le=255)]
Range = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_rising)]
Feature = Annotated[Literal["inputs", "targets"], Field(description="Feature that it changes.")]
Encoding = Annotated[str, AfterValidator(_encoding)]
TimeFormat = Annotated[str, AfterValidator(_time_format)]
Character = Annotated[str, Field(min_length=1, max_length=1)]
Features = Annotated[
    Literal["inputs", "targets", "both"], Field(description="Features that it changes.")
]


class Operation(Section):
    """Options of an operation. The class variables say what those who run it must know of it."""

    random: ClassVar[bool] = False  # draws from seeds, so first_ops may not hold it
    of_images: ClassVar[bool] = False  # takes images of any size, one at a time if they differ
    geometric: ClassVar[bool] = False  # moves pixels, and so a mask and points (ops/features.py)
    makes: ClassVar[str | None] = None  # mask or points: what it makes of targets that move so
    any_size: ClassVar[bool] = False  # gives such images, and runs what follows up to a `size`
    takes_num_classes: ClassVar[bool] = False  # as a keyword argument
    makes_tokens: ClassVar[bool] = False  # gives ids of a vocabulary; `tokens_<name>` lists it
    measured: ClassVar[str | None] = None  # field that is null until `measure_<name>` fills it
    all_examples: ClassVar[bool] = False  # measured on all training examples, not on 20,000

    @property
    def changes(self) -> list[str]:
        of = getattr(self, "of", "inputs")
        return ["inputs", "targets"] if of == "both" else [of]


class Op(Operation):
    """Options of an operation that treats each example by itself."""


class ImageOp(Op):
    of_images = True


# ---- operations: images


class DecodeImage(ImageOp):
    """JPEG, PNG, BMP or GIF (first frame) -> uint8 [height, width, channels], upright by EXIF."""

    name: Literal["decode_image"]
    any_size = True
    channels: Literal[1, 3] = 3
    """Channels: 1 for grayscale, 3 for RGB."""


class DecodeMask(ImageOp):
    """Targets, or `mask`, are a PNG or an array of the class of each pixel: gray or palette."""

    name: Literal["decode_mask"]
    makes = "mask"
    values: list[Gray] | None = None
    """Value of each class in the files; null: the number of the class."""
    ignore: Gray | None = None
    """Value of pixels that do not count, in loss or metrics; null: there are none."""

    @model_validator(mode="after")
    def _one_meaning_a_value(self):
        values = self.values or []
        if len(set(values)) != len(values) or self.ignore in values:
            raise ValueError(f"expected each value once, got {values}, ignore {self.ignore}")
        return self


class TargetsAsPoints(ImageOp):
    """Targets [K, 2] or [K, 3] are points in pixels: x, y and, above 0, whether it is visible."""

    name: Literal["targets_as_points"]
    makes = "points"


class Resize(ImageOp):
    """To an exact size, or a shortest side with the proportions kept; bytes stay bytes, rounded."""

    name: Literal["resize"]
    geometric = True
    exclusive: ClassVar = ("size", "shortest")
    needs_one: ClassVar = True
    size: Size | None = None
    """Height and width, or:"""
    shortest: Positive | None = None
    """Pixels of the shorter side."""
    method: Literal["bilinear", "nearest", "bicubic", "area"] = "bilinear"
    """Interpolation, with anti-aliasing."""


class CenterCrop(ImageOp):
    """Cuts a window out of the middle."""

    name: Literal["center_crop"]
    geometric = True
    size: Size
    """Height and width of the window."""


class PadImage(ImageOp):
    """Pads each image to a size, evenly, with a constant."""

    name: Literal["pad_image"]
    geometric = True
    size: Size
    """Height and width of the result."""
    value: Float = 0.0
    """Value of the border."""


class Grayscale(Op):
    """RGB to one channel of luma: 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601)."""

    name: Literal["grayscale"]


# ---- operations: random changes of images


class RandomCrop(ImageOp):
    """Pads each image with zeros, then cuts a random window."""

    name: Literal["random_crop"]
    random = True
    geometric = True
    size: Size
    """Height and width of the window."""
    padding: Int = Field(0, ge=0)
    """Zeros added on each side first, in pixels."""


class RandomResizedCrop(ImageOp):
    """A random window of random area and proportions, resized.

    Szegedy et al., Going deeper with convolutions, 2015, section 6.
    """

    name: Literal["random_resized_crop"]
    random = True
    geometric = True
    size: Size
    """Height and width of the result."""
    area: Annotated[tuple[PositiveShare, PositiveShare], AfterValidator(_rising)] = (0.08, 1.0)
    """Smallest and largest share of the image's area."""
    aspect: Range = (0.75, 1.3333333333333333)
    """Smallest and largest width / height."""


class RandomShift(Op):
    """Moves each image by up to `pixels` in both directions; what comes into view is 0."""

    name: Literal["random_shift"]
    random = True
    geometric = True
    pixels: Positive
    """Largest shift, in pixels."""


class RandomFlip(Op):
    """Mirrors each image with probability 1/2."""

    name: Literal["random_flip"]
    random = True
    geometric = True
    direction: Literal["horizontal", "vertical"] = "horizontal"
    """Direction: left to right, or upside down."""
    pairs: list[tuple[Index, Index]] | None = None
    """Points that change places in a mirror image, such as both eyes; []: none do."""


class RandomRotate(Op):
    """Turns each image about its center by a random angle; bilinear; what comes into view is 0."""

    name: Literal["random_rotate"]
    random = True
    geometric = True
    degrees: Float = Field(gt=0, le=180)
    """Largest angle in either direction."""


class ColorJitter(Op):
    """Random brightness, contrast and saturation, each a factor in [1 - x, 1 + x], then hue."""

    name: Literal["color_jitter"]
    random = True
    brightness: Share = 0.4
    """Largest change of the factor."""
    contrast: Share = 0.4
    """Largest change of the factor."""
    saturation: Share = 0.4
    """Largest change of the factor."""
    hue: Float = Field(0.0, ge=0, le=0.5)
    """Largest turn, as a share of the circle; needs RGB."""


class RandomErasing(Op):
    """Fills a random rectangle with a constant.

    Zhong et al., Random erasing data augmentation, 2017, section 3.
    """

    name: Literal["random_erasing"]
    random = True
    probability: Share = 0.5
    """Probability that an image is changed."""
    area: Annotated[tuple[Share, Share], AfterValidator(_rising)] = (0.02, 0.33)
    """Smallest and largest share of the image's area."""
    aspect: Range = (0.3, 3.3)
    """Smallest and largest height / width."""
    value: Float = 0.0
    """Value of the rectangle."""


class Cutout(Op):
    """Fills a square, centered anywhere, with a constant.

    DeVries, Taylor, Improved regularization with cutout, 2017, section 3.
    """

    name: Literal["cutout"]
    random = True
    size: Positive
    """Side of the square, in pixels; what falls outside the image is lost."""
    value: Float = 0.0
    """Value of the square."""


class RandAugment(Op):
    """`count` random operations of one strength on bytes.

    Cubuk et al., RandAugment, 2019, section 3.
    """

    name: Literal["rand_augment"]
    random = True
    geometric = True
    count: Positive = 2
    """Operations for each image."""
    magnitude: Float = Field(9.0, ge=0, le=10)
    """Strength; 10 is the strongest."""


class GaussianNoise(Op):
    """Adds normal noise to float inputs."""

    name: Literal["gaussian_noise"]
    random = True
    std: Float = Field(gt=0)
    """Standard deviation, in the inputs' units."""


class SaltNoise(Op):
    """Salt and pepper: sets a share of the values to the lowest or the highest."""

    name: Literal["salt_noise"]
    random = True
    share: Share
    """Share of the values that are changed."""
    low: Float = 0.0
    """Value of pepper."""
    high: Float = 1.0
    """Value of salt."""


# ---- operations: numbers


class Scale(Op):
    """Inputs to float32, divided by `by`: bytes to [0, 1]."""

    name: Literal["scale"]
    by: Float = Field(255.0, gt=0)
    """Divisor."""


class ScaleToOne(Op):
    """Bytes to float32 in [-1, 1]: x / 127.5 - 1."""

    name: Literal["scale_to_one"]


class Imagenet(Op):
    """Bytes [..., 3] to float32: (x / 255 - mean) / std with ImageNet's of each channel."""

    name: Literal["imagenet"]


def _given_together(section, first: str, second: str):
    """Both or neither; neither is measured, on one feature."""
    is_open = getattr(section, first) is None
    if is_open != (getattr(section, second) is None):
        raise ValueError(f"expected both `{first}` and `{second}`, or neither (measured)")
    if is_open and section.of == "both":
        raise ValueError(
            f"of: expected inputs or targets where `{first}` and `{second}` are measured, "
            "got 'both'"
        )
    return section


class Standardize(Op):
    """To float32, (x - mean) / std, per channel of the last axis or for all."""

    name: Literal["standardize"]
    measured = "mean"
    of: Features = "inputs"
    mean: list[Float] | None = None
    """Mean of each channel, or one for all; null: measured in training."""
    std: list[PositiveFloat] | None = None
    """Standard deviation, as the mean."""

    @model_validator(mode="after")
    def _both(self):
        return _given_together(self, "mean", "std")


class MinMax(Op):
    """To float32, (x - low) / (high - low), per channel of the last axis or for all."""

    name: Literal["min_max"]
    measured = "low"
    of: Features = "inputs"
    low: list[Float] | None = None
    """Lowest value of each channel, or one for all; null: measured."""
    high: list[Float] | None = None
    """Highest value, as `low`."""

    @model_validator(mode="after")
    def _both(self):
        pairs = zip(self.low or [], self.high or [], strict=False)
        if any(low >= high for low, high in pairs):
            raise ValueError(
                f"expected every `low` below its `high`, got {self.low} and {self.high}"
            )
        return _given_together(self, "low", "high")


class Log(Op):
    """log(x + plus)."""

    name: Literal["log"]
    plus: Float = Field(1.0, ge=0)
    """Number added first; x + plus must be above 0."""


# ---- operations: tables, series and targets


class Window(Op):
    """Splits series into inputs and targets, which are one column of the last `horizon` steps."""

    name: Literal["window"]
    horizon: Positive = 1
    """Steps to be forecast."""
    column: Int = Field(0, ge=0)
    """Number of the column that is forecast, from 0."""


class Fill(Op):
    """Fills the cells that a table with `missing: keep` lacks; comes before all others."""

    name: Literal["fill"]
    measured = "values"
    all_examples = True
    statistic: Literal["mean", "median", "most_frequent"] = "mean"
    """Statistic of each column in the training examples that fills it."""
    values: list[Float] | None = None
    """Value for each column, or one for all; null: measured."""
    indicator: Bool = False
    """Append a column for each one: 1 where its cell was missing."""


class EncodeCategories(Op):
    """Appends a one-hot vector of each text column to the inputs; of an unknown text, zeros."""

    name: Literal["encode_categories"]
    measured = "categories"
    all_examples = True
    categories: list[list[str]] | None = None
    """Categories of each column; null: those of the training examples."""


class OneHot(Op):
    """Class indices in the targets become one-hot vectors of float32."""

    name: Literal["one_hot"]
    takes_num_classes = True


class InputsAsTargets(Op):
    """Copies the inputs to the targets: what comes after, such as noise, the network must undo."""

    name: Literal["inputs_as_targets"]


class MaskAsTargets(Op):
    """The class of each pixel [height, width]; what is ignored has a weight of 0."""

    name: Literal["mask_as_targets"]
    takes_num_classes = True


class PointsAsTargets(Op):
    """x and y of each point [K, 2], in pixels; points that are not visible have a weight of 0."""

    name: Literal["points_as_targets"]


# ---- operations: texts and sequences


class Lowercase(Op):
    """Text to lower case (Unicode)."""

    name: Literal["lowercase"]
    of: Features = "inputs"


class Tokenize(Op):
    """Text to token ids [length]; 1 is an unknown token, 0 padding to the longest of the batch."""

    name: Literal["tokenize"]
    makes_tokens = True
    measured = "vocabulary"
    all_examples = True
    of: Feature = "inputs"
    level: Literal["words", "characters"] = "words"
    """Tokens: words between blanks, or characters."""
    max_tokens: Int = Field(20_000, ge=3)
    """Largest vocabulary: the most frequent tokens of the training examples."""
    ends: Bool = False
    """Put <end> after each: for what a decoder is to write."""
    vocabulary: str | None = None
    """Tokens, separated by newlines; null: measured on the training examples."""

    @model_validator(mode="after")
    def _room_for_a_token(self):
        if self.ends and self.max_tokens < 5:
            raise ValueError(
                "max_tokens: expected at least 5 with `ends`: "
                f"padding, unknown, start, end and a token; got {self.max_tokens}"
            )
        return self


class Truncate(Op):
    """Cuts sequences longer than `length`."""

    name: Literal["truncate"]
    all_examples = True
    of: Features = "inputs"
    length: Positive
    """Items that are kept."""
    keep: Literal["first", "last"] = "first"
    """Which end is kept."""


class Pad(Op):
    """Pads all sequences with 0 to one length; a longer one is an error: put `truncate` before."""

    name: Literal["pad"]
    of: Features = "inputs"
    length: Positive
    """Length of every sequence."""


class Reverse(Op):
    """Turns each sequence around, its padding staying at the end."""

    name: Literal["reverse"]
    of: Features = "inputs"


class TokenDropout(Op):
    """Replaces random tokens of the inputs by the unknown token, 1."""

    name: Literal["token_dropout"]
    random = True
    rate: Float = Field(gt=0, lt=1)
    """Share of the tokens."""


class SkipGram(Op):
    """Tokens near each token, and random ones, as candidates in the targets, the true one first."""

    name: Literal["skip_gram"]
    random = True
    measured = "frequencies"
    window: Positive = 2
    """Tokens to look at on each side."""
    negatives: Positive = 5
    """Random tokens for each true one, by frequency^0.75."""
    frequencies: list[Annotated[Float, Field(ge=0)]] | None = None
    """Frequency of each token id; null: of the training examples."""


OpConfig = or_name(one_of(Op))


# ---- operations between the examples of a batch


class BatchOp(Operation):
    """Options of an operation between the examples of a batch."""


class Mixup(BatchOp):
    """Blends each example with its neighbor, targets too. Zhang et al., mixup, 2018, section 2."""

    name: Literal["mixup"]
    random = True
    takes_num_classes = True
    alpha: Float = Field(0.2, gt=0)
    """The share is drawn from Beta(alpha, alpha)."""


class Cutmix(BatchOp):
    """Pastes a rectangle of each image's neighbor, targets by area.

    Yun et al., CutMix, 2019, section 3.1.
    """

    name: Literal["cutmix"]
    random = True
    takes_num_classes = True
    alpha: Float = Field(1.0, gt=0)
    """The share of area is drawn from Beta(alpha, alpha)."""


BatchOpConfig = or_name(one_of(BatchOp))


# ---- data sets


class Dataset(Section):
    """Options of every data set; null: those of the section `data`.

    A class below it with a `name` can be chosen in `data`: sources/<name>.py.
    """

    in_python: ClassVar[bool] = False  # examples come with the call, in memory

    classes: ClassNames | None = None
    """Only examples of these classes, numbered in this order; null: all."""
    at_most: dict[str, Positive] = Field({})
    """Largest number of examples of a class, {class: number}; the others are left out."""
    dir: PathText | None = None
    """Directory of the files; null: data.dir."""
    first_ops: list[OpConfig] | None = None
    """Operations before all others; null: those of `data`."""
    train_ops: list[OpConfig] | None = None
    """Operations in training only; null: those of `data`."""
    eval_ops: list[OpConfig] | None = None
    """Operations in evaluation only; null: those of `data`."""
    ops: list[OpConfig] | None = None
    """Operations always; null: those of `data`."""


class Divided(Dataset):
    """A set that may come in one piece, which the hash of each example's name then divides."""

    valid: Share = 0.1
    """Share held out as `valid`, if the data are in one piece."""
    test: Share = 0.1
    """Share held out as `test`, if the data are in one piece."""

    @model_validator(mode="after")
    def _at_most_all(self):
        if self.valid + self.test > 1:
            raise ValueError(f"expected valid + test of at most 1, got {self.valid + self.test}")
        return self


class DividedFile(Divided):
    """A set in one file."""

    file: PathText
    """Path of the file, in `dir` if there is one."""


class TextFile(DividedFile):
    """A set in text files; a byte order mark goes before `encoding`."""

    file: PathText | list[PathText]
    """Path of the file, in `dir` if there is one; or several, or a pattern with *."""
    encoding: Encoding = "utf-8"
    """Encoding of the text, such as cp949, latin-1 or utf-16."""
    header: Bool | None = None
    """Whether the first line has the names of the columns; null: as it looks."""


class TextColumns(TextFile):
    """Text files whose columns have names. A file whose name ends in .parquet is Parquet."""

    names: list[str] | None = None
    """Names of the columns of a file without a header; null: its header's, or c0, c1, ..."""
    delimiter: Character = ","
    """Character between columns of a CSV."""

    @model_validator(mode="after")
    def _names_once(self):
        for name in self.names or []:
            if self.names.count(name) > 1:
                raise ValueError(f"names: expected each column once, got {name!r} twice")
        return self


class NumberColumns(TextColumns):
    """Tables with columns of numbers."""

    decimal: Literal[".", ","] = "."
    """Character before the decimals of a number."""
    thousands: Literal[".", ",", " ", "'"] | None = None
    """Character between groups of three digits; null: none."""
    time_format: TimeFormat | None = None
    """Format of the times, such as '%d/%m/%Y %H:%M'; null: numbers or ISO 8601."""

    @model_validator(mode="after")
    def _two_characters(self):
        if self.decimal == self.thousands:
            raise ValueError(f"expected a `thousands` other than `decimal`, got {self.decimal!r}")
        return self


class MnistSample(Dataset):
    """4,000 train and 1,000 valid digits, bundled: real, 28x28 grayscale, no download."""

    name: Literal["mnist_sample"]


class Mnist(Dataset):
    """MNIST: 60,000 train digits; the 10,000 official test digits as both valid and test."""

    name: Literal["mnist"]


class FashionMnist(Dataset):
    """Fashion-MNIST: 60,000 train images; the 10,000 test images as both valid and test."""

    name: Literal["fashion_mnist"]


class Cifar10(Dataset):
    """CIFAR-10, binary version: 50,000 train images; the 10,000 test images as valid and test."""

    name: Literal["cifar10"]


class Cifar100(Dataset):
    """CIFAR-100, binary version: 50,000 train images; the 10,000 test images as valid and test."""

    name: Literal["cifar100"]
    labels: Literal["fine", "coarse"] = "fine"
    """Kind of labels: 100 or 20 classes."""


class Fake(Dataset):
    """Random inputs, from which the label can be learned; for tests and benchmarks."""

    name: Literal["fake"]
    shape: list[Positive] = Field([28, 28, 1])
    """Shape of one input."""
    num_classes: Int = Field(10, ge=2)
    """Number of classes."""
    size: Positive = 1024
    """Examples in each split."""


class Given(Dataset):
    """Arrays, a tf.data.Dataset or a generator of your own: `train_and_evaluate(..., data=...)`."""

    name: Literal["given"]
    in_python = True


class Shapes(Dataset):
    """Drawn figures on textured ground, with their masks or their points; made, not read."""

    name: Literal["shapes"]
    targets: Literal["masks", "points"]
    """Targets: the class of each pixel, or corners of a triangle in a fixed order."""
    image_size: Int = Field(48, ge=16, le=512)
    """Height and width of the images."""
    size: Positive = 2000
    """Training examples; a quarter of it are validation, and another test."""


class ImageFiles(Divided):
    """A set of image files."""

    damaged: Literal["fail", "skip"] = "fail"
    """skip: look at every image first, leave out the damaged ones, named."""
    max_damaged: Share = 0.001
    """Largest share of the images that may be left out as damaged."""
    max_pixels: Positive = 50_000_000
    """Largest height x width; more is refused from the header."""


class ImageFolder(ImageFiles):
    """Image files, a directory per class: DIR/<class>/..., or DIR/train/<class>/..., ..."""

    name: Literal["image_folder"]
    group: Regex | None = None
    """Regex; files whose path gives the same first group stay in one split."""
    splits: dict[Literal["train", "valid", "test"], str] | None = None
    """Directories of the splits, in `dir`; {}: all are classes; null: by their names."""

    @model_validator(mode="after")
    def _one_to_train_on(self):
        if self.splits and "train" not in self.splits:
            raise ValueError(f"splits: expected `train` among them, got {', '.join(self.splits)}")
        return self


class ImageTable(ImageFiles, TextColumns):
    """Image files whose labels stand in a table of file names: CSV, or JSON lines (.jsonl)."""

    name: Literal["image_table"]
    exclusive: ClassVar = ("group", "group_in_name")
    image: str | None = None
    """Column of the file names, suffix or not; null: the first that names images."""
    images: str | None = None
    """Directory of the images, in `dir`; null: `dir`, or the table's."""
    target: Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)] | None = None
    """Column, or list of columns, to be predicted; null: all others."""
    targets: Literal["classes", "labels", "numbers", "mask", "points"] = "classes"
    """Kind of targets: a class; several labels; numbers; a mask file; x and y of key points."""
    masks: str | None = None
    """Directory of the masks, in `dir`, called as the images are unless `target` names them."""
    class_names: list[str] = Field([])
    """Names of the classes 0, 1, ... of masks."""
    ignore: list[str] = Field([])
    """Columns that are left out."""
    split_column: str | None = None
    """Column that says train, valid or test."""
    group: str | None = None
    """Column: images with the same value in it stay in one split."""
    group_in_name: Regex | None = None
    """Regex; images whose path gives the same first group stay in one split."""

    @model_validator(mode="after")
    def _of_masks(self):
        if (self.targets == "mask") != bool(self.class_names):
            raise ValueError("class_names: expected with `targets: mask`, and only there")
        return self


class Npz(DividedFile):
    """NumPy arrays `x_train`, `y_train`, `x_valid`, ..., or `x` and `y`; .npz, .npy or both.

    `file` may also be a directory of .npy files, or a pattern: archives of the same arrays.
    """

    name: Literal["npz"]
    x: str | None = None
    """Array of inputs, also of `x_train`, ...; null: x, images, data, arr_0 and the like."""
    y: str | None = None
    """Array of targets, or its file (y.npy); null: y, labels, targets, arr_1 and the like."""
    targets: Literal["classes", "numbers"] = "classes"
    """Kind of values in y."""
    class_names: list[str] | None = None
    """Names of the classes, in order; null: the values that occur."""
    sample_weight: str | None = None
    """Array of a weight for each example; null: all weigh 1."""
    images: Bool | None = None
    """Inputs are images [height, width] or with channels first, or (false) are not; null: uint8."""


class Csv(NumberColumns):
    """A table with a header line: columns of numbers, and of text for `encode_categories`."""

    name: Literal["csv"]
    exclusive: ClassVar = ("group", "time", "split_column")
    target: str
    """Column to be predicted."""
    targets: Literal["classes", "numbers"] = "classes"
    """Kind of values in that column."""
    categories: list[str] = Field([])
    """Columns of text; all others hold numbers."""
    sample_weight: str | None = None
    """Column, no input: the weight of each example, 0 or more; null: all weigh 1."""
    ignore: list[str] = Field([])
    """Columns that are left out."""
    group: str | None = None
    """Column, no input: rows with the same value in it stay in one split."""
    time: str | None = None
    """Column, no input: rows are divided in its order, the latest held out."""
    split_column: str | None = None
    """Column, no input: train, valid or test, the split of each row."""
    missing: Literal["fail", "drop", "keep"] = "fail"
    """Policy for empty cells, NA and ? among numbers; drop: such rows, keep: for `fill`."""

    @model_validator(mode="after")
    def _one_role_each(self):
        named = [self.target, *self.categories, *self.ignore]
        for column in named:
            if named.count(column) > 1:
                raise ValueError(f"expected one role for each column, got {column!r} in two")
        return self


class Series(NumberColumns):
    """Sliding windows over the number columns of a CSV, in time; the latest rows are held out.

    A window [window + horizon, columns] belongs to the split of its last `horizon` rows: earlier
    rows are known when those are forecast. None crosses a hole or a repeat in time.
    """

    name: Literal["series"]
    file: PathText | list[PathText] | None = None
    """Path of the file, as of a table; null: bundled sunspots."""
    columns: list[str] | None = None
    """Columns of numbers; null: all but the first, or the only one."""
    time: str | None = None
    """Column of times, which must rise; null: the first, if it holds times and no values."""
    sort: Bool = False
    """Sort the rows by time first."""
    gaps: Literal["break", "join"] = "break"
    """Holes and repeats in time; break: no window crosses one; join: rows follow each other."""
    group: str | None = None
    """Column: rows with the same value in it are a series of their own."""
    missing: Literal["fail", "drop"] = "fail"
    """Policy for empty cells, NA and ?; drop: such a row is a hole."""
    window: Positive = 24
    """Time steps that are seen."""
    horizon: Positive = 1
    """Time steps to be forecast; `window` splits them off."""
    valid: Share = 0.1
    """Share of the rows, before the test's."""
    test: Share = 0.2
    """Share of the rows, the last ones."""


class Text(TextColumns):
    """Texts with a label: TSV lines `label<TAB>text`, or named columns.

    A file whose name ends in .jsonl is JSONL, in .csv CSV, in .parquet Parquet; all others are TSV.
    """

    name: Literal["text"]
    exclusive: ClassVar = ("group", "split_column")
    label: str | None = None
    """Column or key of the labels; null: by a usual name, such as label, or TSV's first column."""
    text: str | None = None
    """Column or key of the texts; null: by a usual name, such as text, or TSV's second column."""
    group: str | None = None
    """Column or key: lines with the same value of it stay in one split."""
    split_column: str | None = None
    """Column or key: train, valid or test, the split of each line."""


class Tagging(TextFile):
    """A tag for each token, in columns (CoNLL); a blank line ends a sentence."""

    name: Literal["tagging"]
    token_column: Int = Field(0, ge=0)
    """Column of the tokens, from 0."""
    tag_column: Int = -1
    """Column of the tags, from 0; -1 is the last."""


class Parallel(TextColumns):
    """Pairs for sequence to sequence: TSV lines `source<TAB>target`, or named columns."""

    name: Literal["parallel"]
    source: str | None = None
    """Column or key of the sources; null: by a usual name, or TSV's first column."""
    target: str | None = None
    """Column or key of the targets; null: by a usual name, or TSV's second column."""


class Cmudict(Divided):
    """The CMU Pronouncing Dictionary, bundled; the hash of the headword divides it."""

    name: Literal["cmudict"]
    task: Literal["syllables", "stress", "g2p"]
    """Targets: syllables of a spelling; stress of phonemes; phonemes of a spelling."""
    variants: Bool = True
    """Every pronunciation of a word; false: the first, so one answer a word."""
    valid: Share = 0.05
    """Share of the headwords held out as `valid`."""
    test: Share = 0.05
    """Share of the headwords held out as `test`."""


class Records(Dataset):
    """What preprocess_data.py has written: TFRecord shards, an index, manifest.json."""

    name: Literal["records"]


class Tfrecord(Divided):
    """TFRecord shards of others, such as `train-00000-of-00004`; indexed once, in a file."""

    name: Literal["tfrecord"]
    files: dict[Literal["train", "valid", "test"], str] | str | None = None
    """Pattern of the files in `dir`, or one a split; null: all shards; splits by their names."""
    inputs: str | None = None
    """Feature of the Examples that becomes the inputs; null: image/encoded, image and the like."""
    targets: str | None = None
    """Feature that becomes the targets; null: image/class/label, label and the like."""
    kind: Literal["classes", "numbers", "text"] = "classes"
    """Kind of targets."""
    class_names: list[str] | str | None = None
    """Names of the classes, or a file with a line for each; null: the values that occur."""
    sample_weight: str | None = None
    """Feature of one number, the weight of the example; null: all weigh 1."""
    shape: list[Positive] | None = None
    """Shape of one input: of uint8, if they are bytes; null: encoded images, texts, vectors."""
    index: str | None = None
    """Directory of the index; null: beside the files."""


class Tfds(Dataset):
    """A set that tensorflow-datasets has prepared in `dir` as array_record."""

    name: Literal["tfds"]
    dataset: str
    """Name of the set, such as mnist or cats_vs_dogs:4.0.1."""
    inputs: str = "image"
    """Feature that becomes the inputs."""
    targets: str = "label"
    """Feature that becomes the targets."""
    kind: Literal["classes", "numbers", "text"] = "classes"
    """Kind of targets: class labels, numbers (one or a vector), or text."""
    splits: dict[Literal["train", "valid", "test"], str] = Field(
        {
            "train": "train",
            "valid": "test",
            "test": "test",
        }
    )
    """Splits of the set, in its words, for each of ours."""
