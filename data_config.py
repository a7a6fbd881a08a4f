"""The options of every operation and of every data set: one typed class each, chosen by `name`.

An operation or data set without options may be written as its bare name. To add one: a function of the same name in
`image_ops.py`, `sequence_ops.py` or `data_loader/`, and a class here.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from cli.typed_yaml import Bool, Float, Int, Positive, Regex, Section, Share, one_of, or_name

PADDING, UNKNOWN, START, END = range(4)  # token ids; the last two where sequences have ends

Size = tuple[Positive, Positive]
Range = tuple[Annotated[Float, Field(gt=0)], Annotated[Float, Field(gt=0)]]
Of = Literal["inputs", "targets", "both"]


class Op(Section):
    random: ClassVar[bool] = (
        False  # draws from seeds: may not stand where every reading must give the same
    )
    of_images: ClassVar[bool] = False  # takes images of any size, one at a time if they differ


class ImageOp(Op):
    of_images: ClassVar[bool] = True


# ------------------------------------------------------------------------------------------- operations: images


class DecodeImage(ImageOp):
    """JPEG, PNG, BMP or GIF (first frame) -> uint8 [height, width, channels], upright as EXIF says."""

    name: Literal["decode_image"]
    channels: Literal[1, 3] = Field(3, description="1: grayscale, 3: RGB.")


class Resize(ImageOp):
    """To an exact size, or a shortest side with the proportions kept; bytes stay bytes, rounded."""

    name: Literal["resize"]
    exclusive: ClassVar = ("size", "shortest")
    needs_one: ClassVar = True
    size: Size | None = Field(None, description="Height and width, or:")
    shortest: Positive | None = Field(None, description="Pixels of the shorter side.")
    method: Literal["bilinear", "nearest", "bicubic", "area"] = Field(
        "bilinear", description="Interpolation, with anti-aliasing."
    )


class CenterCrop(ImageOp):
    """Cuts a window out of the middle."""

    name: Literal["center_crop"]
    size: Size = Field(description="Height and width of the window.")


class RandomCrop(ImageOp):
    """Pads each image with zeros, then cuts a random window."""

    name: Literal["random_crop"]
    random: ClassVar[bool] = True
    size: Size = Field(description="Height and width of the window.")
    padding: Int = Field(0, ge=0, description="Zeros added on each side first, in pixels.")


class RandomResizedCrop(ImageOp):
    """A random window of random area and proportions, resized. Szegedy et al., Going deeper with convolutions, 2015, section 6."""

    name: Literal["random_resized_crop"]
    random: ClassVar[bool] = True
    size: Size = Field(description="Height and width of the result.")
    area: Range = Field((0.08, 1.0), description="Smallest and largest share of the image's area.")
    aspect: Range = Field(
        (0.75, 1.3333333333333333), description="Smallest and largest width / height."
    )

    @model_validator(mode="after")
    def _in_order(self):
        for key in ("area", "aspect"):
            low, high = getattr(self, key)
            if low > high or (key == "area" and high > 1):
                raise ValueError(
                    f"{key}: expected [smallest, largest]{' up to 1' * (key == 'area')}, got [{low}, {high}]"
                )
        return self


class PadImage(ImageOp):
    """Pads each image to a size, evenly, with a constant."""

    name: Literal["pad_image"]
    size: Size = Field(description="Height and width of the result.")
    value: Float = Field(0.0, description="What the border holds.")


class RandomShift(Op):
    """Moves each image by up to `pixels` in both directions; what comes into view is 0."""

    name: Literal["random_shift"]
    random: ClassVar[bool] = True
    pixels: Positive = Field(description="Largest shift, in pixels.")


class RandomFlip(Op):
    """Mirrors each image with probability 1/2."""

    name: Literal["random_flip"]
    random: ClassVar[bool] = True
    direction: Literal["horizontal", "vertical"] = Field(
        "horizontal", description="left-right or upside down."
    )


class RandomRotate(Op):
    """Turns each image about its center by a random angle; bilinear; what comes into view is 0."""

    name: Literal["random_rotate"]
    random: ClassVar[bool] = True
    degrees: Float = Field(gt=0, le=180, description="Largest angle in either direction.")


class Grayscale(Op):
    """RGB to one channel of luma: 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601)."""

    name: Literal["grayscale"]


class ColorJitter(Op):
    """Random brightness, contrast and saturation, each a factor in [1 - x, 1 + x], then a random turn of hue."""

    name: Literal["color_jitter"]
    random: ClassVar[bool] = True
    brightness: Share = Field(0.4, description="Largest change of the factor.")
    contrast: Share = Field(0.4, description="Largest change of the factor.")
    saturation: Share = Field(0.4, description="Largest change of the factor.")
    hue: Float = Field(
        0.0, ge=0, le=0.5, description="Largest turn, as a share of the circle; needs RGB."
    )


class RandomErasing(Op):
    """Fills a random rectangle with a constant. Zhong et al., Random erasing data augmentation, 2017, section 3."""

    name: Literal["random_erasing"]
    random: ClassVar[bool] = True
    probability: Share = Field(0.5, description="Of an image to be changed.")
    area: tuple[Share, Share] = Field(
        (0.02, 0.33), description="Smallest and largest share of the image's area."
    )
    aspect: Range = Field((0.3, 3.3), description="Smallest and largest height / width.")
    value: Float = Field(0.0, description="What the rectangle holds.")

    @model_validator(mode="after")
    def _in_order(self):
        for key in ("area", "aspect"):
            low, high = getattr(self, key)
            if low > high:
                raise ValueError(f"{key}: expected [smallest, largest], got [{low}, {high}]")
        return self


class Cutout(Op):
    """Fills a square, centerd anywhere, with a constant. DeVries, Taylor, Improved regularization with cutout, 2017, section 3."""

    name: Literal["cutout"]
    random: ClassVar[bool] = True
    size: Positive = Field(
        description="Side of the square, in pixels; what falls outside the image is lost."
    )
    value: Float = Field(0.0, description="What the square holds.")


class RandAugment(Op):
    """`count` random operations of one strength on bytes. Cubuk et al., RandAugment, 2019, section 3."""

    name: Literal["rand_augment"]
    random: ClassVar[bool] = True
    count: Positive = Field(2, description="Operations for each image.")
    magnitude: Float = Field(9.0, ge=0, le=10, description="Strength; 10 is the strongest.")


class GaussianNoise(Op):
    """Adds normal noise to float inputs."""

    name: Literal["gaussian_noise"]
    random: ClassVar[bool] = True
    std: Float = Field(gt=0, description="Standard deviation, in the inputs' units.")


class SaltNoise(Op):
    """Salt and pepper: sets a share of the values to the lowest or the highest."""

    name: Literal["salt_noise"]
    random: ClassVar[bool] = True
    share: Share = Field(description="Of the values that are changed.")
    low: Float = Field(0.0, description="Pepper.")
    high: Float = Field(1.0, description="Salt.")


# ------------------------------------------------------------------------------------------ operations: numbers


class Scale(Op):
    """Inputs to float32, divided by `by`: bytes to [0, 1]."""

    name: Literal["scale"]
    by: Float = Field(255.0, gt=0, description="Divisor.")


class ScaleToOne(Op):
    """Bytes to float32 in [-1, 1]: x / 127.5 - 1."""

    name: Literal["scale_to_one"]


class Imagenet(Op):
    """Bytes [.., 3] to float32: (x / 255 - mean) / std with ImageNet's mean and standard deviation of each channel."""

    name: Literal["imagenet"]


def _given_together(section, first: str, second: str):
    """Both or neither; neither is measured, on one feature."""
    one, other = getattr(section, first), getattr(section, second)
    if (one is None) != (other is None):
        raise ValueError(f"expected both `{first}` and `{second}`, or neither (measured)")
    if one is None and section.of == "both":
        raise ValueError(
            f"of: expected inputs or targets where `{first}` and `{second}` are measured, got 'both'"
        )
    return section


class Standardize(Op):
    """To float32, (x - mean) / std, per channel of the last axis or for all."""

    name: Literal["standardize"]
    of: Of = Field("inputs", description="Which feature.")
    mean: list[Float] | None = Field(
        None,
        description="Mean of each channel, or one for all; null: measured on the training examples.",
    )
    std: list[Annotated[Float, Field(gt=0)]] | None = Field(
        None, description="Standard deviation, as the mean."
    )

    @model_validator(mode="after")
    def _both(self):
        return _given_together(self, "mean", "std")


class MinMax(Op):
    """To float32, (x - low) / (high - low), per channel of the last axis or for all."""

    name: Literal["min_max"]
    of: Of = Field("inputs", description="Which feature.")
    low: list[Float] | None = Field(
        None, description="Lowest value of each channel, or one for all; null: measured."
    )
    high: list[Float] | None = Field(None, description="Highest value, as `low`.")

    @model_validator(mode="after")
    def _both(self):
        if (
            self.low is not None
            and self.high is not None
            and any(a >= b for a, b in zip(self.low, self.high, strict=False))
        ):
            raise ValueError(
                f"expected every `low` below its `high`, got {self.low} and {self.high}"
            )
        return _given_together(self, "low", "high")


class Log(Op):
    """log(x + plus)."""

    name: Literal["log"]
    plus: Float = Field(1.0, ge=0, description="Added first; x + plus must be above 0.")


class Window(Op):
    """Splits each series [steps, columns] into inputs, all but the last `horizon` steps, and targets, one column of those."""

    name: Literal["window"]
    horizon: Positive = Field(1, description="Steps to be forecast.")
    column: Int = Field(0, ge=0, description="Which column is forecast.")


class EncodeCategories(Op):
    """Appends a one-hot vector for each text column to the inputs; what training did not show is all zeros."""

    name: Literal["encode_categories"]
    categories: list[list[str]] | None = Field(
        None, description="Categories of each column; null: those of the training examples."
    )


class OneHot(Op):
    """Class indices in the targets become one-hot vectors of float32."""

    name: Literal["one_hot"]


class InputsAsTargets(Op):
    """Copies the inputs to the targets: what comes after, such as noise, must be undone by the network."""

    name: Literal["inputs_as_targets"]


# ---------------------------------------------------------------------------------------- operations: sequences


class Lowercase(Op):
    """Text to lower case (Unicode)."""

    name: Literal["lowercase"]
    of: Of = Field("inputs", description="Which feature.")


class Tokenize(Op):
    """Text to token ids [length], padded with 0 to the longest of the batch; 1 stands for what the vocabulary lacks."""

    name: Literal["tokenize"]
    of: Literal["inputs", "targets"] = Field("inputs", description="Which feature.")
    level: Literal["words", "characters"] = Field(
        "words", description="Words between blanks, or characters."
    )
    max_tokens: Int = Field(
        20_000,
        ge=3,
        description="Largest vocabulary: the most frequent tokens of the training examples.",
    )
    ends: Bool = Field(False, description="Put <end> after each: for what a decoder is to write.")
    vocabulary: str | None = Field(
        None,
        description="The tokens, separated by newlines; null: measured on the training examples.",
    )

    @model_validator(mode="after")
    def _room_for_a_token(self):
        if self.ends and self.max_tokens < 5:
            raise ValueError(
                f"max_tokens: expected at least 5 with `ends`: padding, unknown, start, end and a token; got {self.max_tokens}"
            )
        return self


class Truncate(Op):
    """Cuts sequences longer than `length`."""

    name: Literal["truncate"]
    of: Of = Field("inputs", description="Which feature.")
    length: Positive = Field(description="Items that are kept.")
    keep: Literal["first", "last"] = Field("first", description="Which end is kept.")


class Pad(Op):
    """Pads all sequences with 0 to one length; a longer one is an error: put `truncate` before."""

    name: Literal["pad"]
    of: Of = Field("inputs", description="Which feature.")
    length: Positive = Field(description="Length of every sequence.")


class Reverse(Op):
    """Turns each sequence around, its padding staying at the end."""

    name: Literal["reverse"]
    of: Of = Field("inputs", description="Which feature.")


class TokenDropout(Op):
    """Replaces random tokens of the inputs by the unknown token, 1."""

    name: Literal["token_dropout"]
    random: ClassVar[bool] = True
    rate: Float = Field(gt=0, lt=1, description="Share of the tokens.")


class SkipGram(Op):
    """Tokens near each token, and random ones, as candidates in the targets: [T, 2 * window, 1 + negatives], the true one first."""

    name: Literal["skip_gram"]
    random: ClassVar[bool] = True
    window: Positive = Field(2, description="How far to look on each side, in tokens.")
    negatives: Positive = Field(
        5, description="Random tokens for each true one, by frequency^0.75."
    )
    frequencies: list[Annotated[Float, Field(ge=0)]] | None = Field(
        None, description="Of each token id; null: of the training examples."
    )


OpConfig = or_name(one_of(Op))


# ----------------------------------------------------------------------------------- operations on whole batches


class BatchOp(Section):
    """Options of an operation between the examples of a batch."""


class Mixup(BatchOp):
    """Blends each example with its neighbor, targets too. Zhang et al., mixup, 2018, section 2."""

    name: Literal["mixup"]
    random: ClassVar[bool] = True
    alpha: Float = Field(0.2, gt=0, description="The share is drawn from Beta(alpha, alpha).")


class Cutmix(BatchOp):
    """Pastes a rectangle of each image's neighbor, targets by area. Yun et al., CutMix, 2019, section 3.1."""

    name: Literal["cutmix"]
    random: ClassVar[bool] = True
    alpha: Float = Field(
        1.0, gt=0, description="The share of area is drawn from Beta(alpha, alpha)."
    )


BatchOpConfig = or_name(one_of(BatchOp))


# -------------------------------------------------------------------------------------------------------- data sets


class Dataset(Section):
    """What every data set may say of itself; null: what the section `data` says."""

    classes: list[str] | None = Field(
        None,
        min_length=2,
        description="Only examples of these classes, numbered in this order; null: all.",
    )
    dir: str | None = Field(None, description="Its directory; null: data.dir.")
    first_ops: list[OpConfig] | None = Field(
        None, description="Its own operations; null: those of `data`."
    )
    train_ops: list[OpConfig] | None = Field(
        None, description="Its own operations; null: those of `data`."
    )
    eval_ops: list[OpConfig] | None = Field(
        None, description="Its own operations; null: those of `data`."
    )
    ops: list[OpConfig] | None = Field(
        None, description="Its own operations; null: those of `data`."
    )

    @field_validator("classes")
    @classmethod
    def _each_class_once(cls, value):
        if value is not None and len(set(value)) != len(value):
            twice = next(name for name in value if value.count(name) > 1)
            raise ValueError(f"expected each class once, got {twice!r} twice")
        return value


class Divided(Dataset):
    """A set that may come in one piece, which is then divided by hash: what an example's name says decides, not its neighbors."""

    valid: Share = Field(
        0.1, description="Share held out as the split `valid`, if the data are not divided already."
    )
    test: Share = Field(
        0.1, description="Share held out as the split `test`, if the data are not divided already."
    )

    @model_validator(mode="after")
    def _something_left(self):
        if self.valid + self.test >= 1:
            raise ValueError(
                f"expected valid + test below 1, so that something is left to train on, got {self.valid + self.test}"
            )
        return self


class MnistSample(Dataset):
    """4,000 train and 1,000 valid digits in data/mnist_sample: real, 28x28 grayscale, no download."""

    name: Literal["mnist_sample"]


class Mnist(Dataset):
    """MNIST: 60,000 train digits; the 10,000 official test digits as both valid and test."""

    name: Literal["mnist"]


class FashionMnist(Dataset):
    """Fashion-MNIST: 60,000 train images; the 10,000 official test images as both valid and test."""

    name: Literal["fashion_mnist"]


class Cifar10(Dataset):
    """CIFAR-10, binary version: 50,000 train images; the 10,000 test images as both valid and test."""

    name: Literal["cifar10"]


class Cifar100(Dataset):
    """CIFAR-100, binary version: 50,000 train images; the 10,000 test images as both valid and test."""

    name: Literal["cifar100"]
    labels: Literal["fine", "coarse"] = Field("fine", description="100 classes or 20.")


class Fake(Dataset):
    """Random inputs of a given shape, and labels that can be learned from them; for tests and benchmarks."""

    name: Literal["fake"]
    shape: list[Positive] = Field([28, 28, 1], description="Shape of one input.")
    num_classes: Int = Field(10, ge=2, description="Number of classes.")
    size: Positive = Field(1024, description="Examples in each split.")


class ImageFolder(Divided):
    """Image files, a directory per class: DIR/<class>/..., or DIR/train/<class>/..., DIR/valid/..., DIR/test/..."""

    name: Literal["image_folder"]
    group: Regex | None = Field(
        None,
        description="Files whose path gives the same first group of this regex stay in one split.",
    )
    damaged: Literal["fail", "skip"] = Field(
        "fail", description="skip: look at every image first, leave out up to 0.1 %, named."
    )
    max_pixels: Positive = Field(
        50_000_000, description="Largest height x width; more is refused from the header."
    )


class Npz(Divided):
    """A NumPy archive: arrays `x_train`, `y_train`, ... (also `x_valid`, `x_test`), or `x` and `y` to be divided."""

    name: Literal["npz"]
    file: str = Field(description="Path, in `dir` if there is one.")
    targets: Literal["classes", "numbers"] = Field("classes", description="What y holds.")
    class_names: list[str] | None = Field(None, description="null: the numbers 0, 1, ...")


class Csv(Divided):
    """A table with a header line. Inputs: the number columns; text columns for `encode_categories`."""

    name: Literal["csv"]
    exclusive: ClassVar = ("group", "time")
    file: str = Field(description="Path, in `dir` if there is one.")
    target: str = Field(description="The column to be predicted.")
    targets: Literal["classes", "numbers"] = Field("classes", description="What it holds.")
    categories: list[str] = Field([], description="Columns of text; all others hold numbers.")
    ignore: list[str] = Field([], description="Columns that are left out.")
    group: str | None = Field(
        None,
        description="Rows with the same value in this column stay in one split; it is no input.",
    )
    time: str | None = Field(
        None,
        description="Rows are divided in the order of this column, the latest held out; it is no input.",
    )
    delimiter: str = Field(",", min_length=1, max_length=1, description="Between columns.")


class Series(Divided):
    """Sliding windows over the number columns of a CSV, in time: [window + horizon, columns]; the latest rows are held out.

    A window belongs to the split of its last `horizon` rows: earlier rows are known when those are forecast.
    """

    name: Literal["series"]
    file: str | None = Field(
        None,
        description="Path, in `dir` if there is one; null: the bundled monthly sunspot numbers.",
    )
    columns: list[str] | None = Field(
        None, description="Columns of numbers; null: all but the first."
    )
    window: Positive = Field(24, description="Steps that are seen.")
    horizon: Positive = Field(1, description="Steps to be forecast; `window` splits them off.")
    valid: Share = Field(0.1, description="Share of the rows, before the test's.")
    test: Share = Field(0.2, description="Share of the rows, the last ones.")


class Text(Divided):
    """Texts with a label: TSV lines `label<TAB>text`, or JSONL lines with the keys `label` and `text`."""

    name: Literal["text"]
    file: str = Field(description="Path, in `dir` if there is one; .jsonl is JSONL, all else TSV.")
    group: str | None = Field(
        None, description="JSONL: lines with the same value of this key stay in one split."
    )


class Tagging(Divided):
    """A tag for each token, in columns (CoNLL): a line holds a token and, in another column, its tag; a blank line ends a sentence."""

    name: Literal["tagging"]
    file: str = Field(description="Path, in `dir` if there is one.")
    token_column: Int = Field(0, ge=0, description="Counted from 0.")
    tag_column: Int = Field(-1, description="Counted from 0; -1 is the last.")


class Parallel(Divided):
    """Pairs for sequence to sequence: TSV lines `source<TAB>target`."""

    name: Literal["parallel"]
    file: str = Field(description="Path, in `dir` if there is one.")


class Cmudict(Divided):
    """The CMU Pronouncing Dictionary, bundled; the hash of the headword divides it, so that variants stay together."""

    name: Literal["cmudict"]
    task: Literal["syllables", "stress", "g2p"] = Field(
        description="spelling -> number of syllables; phonemes -> stress of each; spelling -> phonemes."
    )
    variants: Bool = Field(
        True,
        description="Every pronunciation of a word; false: the first alone, so that no spelling has two answers.",
    )
    valid: Share = Field(0.05, description="Share of the headwords held out as the split `valid`.")
    test: Share = Field(0.05, description="Share of the headwords held out as the split `test`.")


class Records(Dataset):
    """What preprocess_data.py has written: TFRecord shards, an index, manifest.json."""

    name: Literal["records"]


class Tfds(Dataset):
    """A set that tensorflow-datasets has prepared in `dir` as array_record; needs `pip install -e '.[tfds]'`."""

    name: Literal["tfds"]
    dataset: str = Field(description="Its name there, such as mnist or cats_vs_dogs:4.0.1.")
    inputs: str = Field("image", description="The feature that becomes the inputs.")
    targets: str = Field("label", description="The feature that becomes the targets: class labels.")
    splits: dict[Literal["train", "valid", "test"], str] = Field(
        {"train": "train", "valid": "test", "test": "test"}, description="Our splits, in its words."
    )
