"""Gives every Python that has this folder on its PYTHONPATH a network, data sets and operations.

Python imports a module of this name by itself as it starts, so the programs under test are run as
they stand; the tests of the machinery need no network, no data set and no operation that a fork may
delete.
"""

import sys
from pathlib import Path
from typing import ClassVar, Literal

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from pydantic import Field

import models
import ops
import sources
import tasks
from cli.typed_yaml import Bool, Float, Int
from data_config import Dataset, Op
from model_config import LabelTask, Network

for room in (models, ops, sources, tasks):
    room.__path__.append(str(HERE / room.__name__))


class Tiny(Network):
    """One or two dense layers, with what a step has to be exact with."""

    name: Literal["tiny"]
    units: Int = Field(8, ge=0, description="Units of the hidden layer; 0: there is none.")
    dropout: Float = Field(
        0.0, ge=0, lt=1, description="Share of hidden units dropped in training."
    )
    batch_norm: Bool = Field(False, description="Batch normalization after the hidden layer.")
    l2: Float = Field(0.0, ge=0, description="L2 penalty on the kernels.")


class TinyScale(Op):
    """Inputs to float32, times a factor."""

    name: Literal["tiny_scale"]
    factor: Float = Field(2.0, description="Factor of the inputs.")


class TinyNoise(Op):
    """Adds uniform noise to the inputs, another one to each example."""

    name: Literal["tiny_noise"]
    random: ClassVar[bool] = True
    scale: Float = Field(0.5, gt=0, description="Largest noise, in either direction.")


class TinyClip(Op):
    """Inputs of any type, none above a bound."""

    name: Literal["tiny_clip"]
    high: Float = Field(description="Largest input there may be; it has to be given.")


class TinyNumbers(Dataset):
    """Rows of numbers around the center of their class."""

    name: Literal["tiny_numbers"]
    size: Int = Field(96, ge=1, description="Training examples; a third as many for validation.")
    num_classes: Int = Field(3, ge=2, description="Number of classes.")
    shape: list[Int] = Field([6], description="Shape of one input; three axes are an image.")
    as_bytes: Bool = Field(False, description="Inputs of uint8, as images come.")


class TinyFiles(Dataset):
    """A small text file for each example, read when it is asked for."""

    name: Literal["tiny_files"]


class TinyLabels(LabelTask):
    """One label for each item, of examples or of sequences."""

    name: Literal["tiny_labels"]
