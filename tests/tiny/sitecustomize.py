"""Gives every Python that has this folder on its PYTHONPATH the tiny network and the tiny data set.

Python imports a module of this name by itself as it starts, so the programs under test are run as
they stand; the tests of the machinery need no network and no data set that a fork may delete.
"""

import sys
from pathlib import Path
from typing import Literal

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from pydantic import Field

import models
import sources
from cli.typed_yaml import Float, Int
from data_config import Dataset
from model_config import Network

models.__path__.append(str(HERE / "models"))
sources.__path__.append(str(HERE / "sources"))


class Tiny(Network):
    """Two dense layers, with what a step has to be exact with."""

    name: Literal["tiny"]
    units: Int = Field(8, ge=1, description="Units of the hidden layer.")
    dropout: Float = Field(
        0.0, ge=0, lt=1, description="Share of hidden units dropped in training."
    )
    batch_norm: bool = Field(False, description="Batch normalization after the hidden layer.")
    l2: Float = Field(0.0, ge=0, description="L2 penalty on the kernels.")


class TinyNumbers(Dataset):
    """Rows of 6 numbers around the center of their class."""

    name: Literal["tiny_numbers"]
    size: Int = Field(96, ge=1, description="Training examples; a third as many for validation.")
    num_classes: Int = Field(3, ge=2, description="Number of classes.")
