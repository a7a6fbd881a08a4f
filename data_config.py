"""The options of every data set and of every operation on its examples: one typed class each, chosen by `name`.

A data set or operation without options may be written as its bare name. To add one: a function of the same name in
`data_loader.py` or `preprocess_data.py`, and a class here.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from typed_yaml import Float, Int, Section, one_of, or_name

Positive = Annotated[Int, Field(ge=1)]


# -------------------------------------------------------------------------------------------------------- data sets


class MnistSample(Section):
    """4,000 train and 1,000 valid digits in data/mnist_sample: real, 28x28 grey, no download."""

    name: Literal["mnist_sample"]


class Mnist(Section):
    """MNIST: 60,000 train digits; the 10,000 official test digits as both valid and test."""

    name: Literal["mnist"]


class Fake(Section):
    """Random inputs of a given shape, and labels that can be learnt from them; for tests and benchmarks."""

    name: Literal["fake"]
    shape: list[Positive] = Field([28, 28, 1], description="Shape of one input.")
    num_classes: Int = Field(10, ge=2, description="Number of classes.")
    size: Positive = Field(1024, description="Examples in each split.")


DatasetConfig = or_name(one_of(MnistSample, Mnist, Fake))


# ------------------------------------------------------------------------------------------------------- operations


class Scale(Section):
    """Inputs to float32, divided by `by`: bytes to [0, 1]."""

    name: Literal["scale"]
    by: Float = Field(255.0, gt=0, description="Divisor.")


class Standardise(Section):
    """Inputs to float32, (x - mean) / std, per channel of the last axis or for all."""

    name: Literal["standardise"]
    mean: list[Float] = Field(description="Mean of each channel, or one for all.")
    std: list[Annotated[Float, Field(gt=0)]] = Field(description="Standard deviation of each channel, or one for all.")


class RandomShift(Section):
    """Moves each image by up to `pixels` in both directions; what comes into view is 0."""

    name: Literal["random_shift"]
    pixels: Positive = Field(description="Largest shift, in pixels.")


class RandomCrop(Section):
    """Pads each image with zeros, then cuts a random window."""

    name: Literal["random_crop"]
    size: tuple[Positive, Positive] = Field(description="Height and width of the window.")
    padding: Int = Field(0, ge=0, description="Zeros added on each side first, in pixels.")


class RandomFlip(Section):
    """Mirrors each image with probability 1/2."""

    name: Literal["random_flip"]
    direction: Literal["horizontal", "vertical"] = Field("horizontal", description="left-right or upside down.")


class RandomRotate(Section):
    """Turns each image about its centre by a random angle; bilinear; what comes into view is 0."""

    name: Literal["random_rotate"]
    degrees: Float = Field(gt=0, le=180, description="Largest angle in either direction.")


class OneHot(Section):
    """Class indices in the targets become one-hot vectors of float32."""

    name: Literal["one_hot"]


OpConfig = or_name(one_of(Scale, Standardise, RandomShift, RandomCrop, RandomFlip, RandomRotate, OneHot))


# ------------------------------------------------------------------------------------- what flows from data to model


class Spec(Section):
    """What a network must know of the data. Comes from the data set and is kept, resolved, with the run."""

    input_shape: list[Int | None] = Field(description="Shape of one input after all operations; null: any length.")
    input_dtype: str = Field(description="Type of the inputs.")
    target_shape: list[Int | None] = Field(description="Shape of one target; [] for a class index.")
    target_dtype: str = Field(description="Type of the targets.")
    num_classes: Int = Field(ge=1, description="Number of classes.")
    class_names: list[str] = Field(description="Name of each class, in the order of the logits.")

    @model_validator(mode="after")
    def _one_name_per_class(self):
        if len(self.class_names) != self.num_classes:
            raise ValueError(f"expected {self.num_classes} class names, got {len(self.class_names)}")
        return self
