"""The hyper-parameters of every network: one typed class each, chosen by `model.name`.

To add a network: one file in `models/` whose `build(config, spec)` returns a keras.Model, one class here, one YAML.
"""

from typing import Annotated, Literal

from pydantic import Field

from typed_yaml import Float, Int, Section, one_of

Rate = Annotated[Float, Field(ge=0, lt=1)]
Width = Annotated[Int, Field(ge=1)]


class Lenet(Section):
    """LeNet-5, models/lenet.py."""

    name: Literal["lenet"]
    activation: Literal["relu", "tanh"] = Field("relu", description="After every layer but the last.")
    dropout: Rate = Field(0.0, description="Share of F6's units dropped in training.")
    l2: Float = Field(0.0, ge=0, description="L2 penalty on the dense kernels: l2 * sum(w^2) is added to the loss.")


class Mlp(Section):
    """Fully connected layers, models/mlp.py."""

    name: Literal["mlp"]
    hidden: list[Width] = Field([512, 512], description="Units of each hidden layer; []: softmax regression.")
    activation: Literal["relu", "tanh"] = Field("relu", description="After every hidden layer.")
    dropout: Rate = Field(0.0, description="Share of units dropped after every hidden layer in training.")
    l2: Float = Field(0.0, ge=0, description="L2 penalty on the kernels: l2 * sum(w^2) is added to the loss.")


ModelConfig = one_of(Lenet, Mlp)
