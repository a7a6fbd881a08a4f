"""What one run is: typed, strict, complete; checked before TensorFlow is imported.

Every section of the YAML is a class here (networks: `model_config.py`; data sets and operations: `data_config.py`).
Durations count steps (`200`) or passes over the training set (`"3 epochs"`).
"""

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from cli import typed_yaml
from cli.program import ConfigError, write_whole
from cli.typed_yaml import Bool, Float, Int, Regex, Section, one_of
from data_config import BatchOpConfig, Dataset, OpConfig
from model_config import Network, TaskConfig


def _duration(value):
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= typed_yaml.MAX_INT:
        return value
    match = (
        re.fullmatch(r"\s*([0-9]{0,18}\.?[0-9]{1,18})\s*(steps?|epochs?)?\s*", value)
        if isinstance(value, str)
        else None
    )
    if match and float(match[1]) > 0:
        count, unit = float(match[1]), (match[2] or "steps").rstrip("s")
        if unit == "epoch":
            return (
                "1 epoch"
                if count == 1
                else f"{int(count) if count == int(count) else match[1]} epochs"
            )
        if count == int(count):
            return int(count)
    raise ValueError(
        f"expected a number of steps above 0 or text such as '3 epochs', got {typed_yaml.show(value)}"
    )


Duration = Annotated[int | str, BeforeValidator(_duration)]
Rate = Annotated[Float, Field(ge=0, lt=1)]
Mode = Literal["max", "min"]


Rates = dict[str, Annotated[Float, Field(gt=0)]]
DatasetConfig = one_of(Dataset)
_DATASETS = [typed_yaml.name_of(section) for section in typed_yaml.named_classes(Dataset)]
_Choice = Annotated[
    Annotated[DatasetConfig, Tag("one")] | Annotated[Rates, Field(min_length=1), Tag("mix")],
    Discriminator(
        lambda value: "mix" if isinstance(value, dict) and "name" not in value else "one"
    ),
]


class Order(Section):
    blocks: Int | None = Field(
        None,
        ge=1,
        description="Shuffle shards, then examples in groups of so many: long reads; null: all at once.",
    )
    bucket: Int | None = Field(
        None,
        ge=2,
        description="Batches of examples of like size, sorted within windows of so many steps.",
    )


@dataclass(frozen=True)
class Part:
    """One data set of a mix, with everything that it takes from the section `data` filled in."""

    name: str
    rate: float
    dataset: Dataset
    directory: str | None
    first_ops: list
    train_ops: list
    eval_ops: list
    ops: list


class Data(Section):
    sources: dict[str, DatasetConfig] = Field(
        {}, description="Data sets under names of your own, for `train`, `valid`, `test`."
    )
    train: _Choice = Field(
        description="Training set: a name, a section with a `name`, or a mix {name: rate, name: rate}."
    )
    valid: _Choice | None = Field(
        None, description="Validation set or sets; null: the `valid` split of data.train."
    )
    test: _Choice | None = Field(
        None, description="For eval.py --split test; null: the `test` split of data.valid."
    )
    dir: str | None = Field(
        None, description="Directory of data sets that do not come with the project."
    )
    first_ops: list[OpConfig] = Field(
        [], description="Operations on all examples, before any other; none of them random."
    )
    train_ops: list[OpConfig] = Field(
        [], description="Operations on training examples only, before `ops`."
    )
    eval_ops: list[OpConfig] = Field(
        [], description="Operations on validation and test examples only, before `ops`."
    )
    ops: list[OpConfig] = Field([], description="Operations on all examples.")
    batch_ops: list[BatchOpConfig] = Field(
        [], description="Operations between the training examples of a batch, after all others."
    )
    order: Order = Field(Order(), description="How training examples are shuffled.")
    cache: Bool = Field(
        False,
        description="Keep what `first_ops` give: in memory if it fits, else in a temporary memory-mapped file.",
    )

    @field_validator("train", "valid", "test", mode="before")
    @classmethod
    def _by_name(cls, value, info):
        """A bare name stands for the section of `sources` that has it, else for the data set without options."""
        sources = info.data.get("sources", {})
        names = (
            [value]
            if isinstance(value, str)
            else value
            if isinstance(value, dict) and "name" not in value
            else []
        )
        for name in names:
            if name not in sources and name not in _DATASETS:
                raise ValueError(typed_yaml.unknown_name(name, [*sources, *_DATASETS]))
            if isinstance(value, dict) and name not in sources:
                _alone(name)
        return sources.get(value, {"name": value}) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _nothing_random_first(self):
        for op in [*self.first_ops, *(op for part in self.parts("train") for op in part.first_ops)]:
            if op.random:
                raise ValueError(
                    f"first_ops: expected nothing random, got {op.name!r}; put it into train_ops"
                )
        return self

    def parts(self, split: Literal["train", "valid", "test"]) -> list[Part]:
        """The data sets whose `split` is asked for: one, or those of a mix."""
        choices = {
            "train": [self.train],
            "valid": [self.valid, self.train],
            "test": [self.test, self.valid, self.train],
        }
        choice = next(choice for choice in choices[split] if choice is not None)
        if isinstance(choice, Dataset):
            return [self._part(choice.name, 1.0, choice)]
        return [
            self._part(name, rate, self.sources.get(name) or _alone(name))
            for name, rate in choice.items()
        ]

    def _part(self, name: str, rate: float, dataset: Dataset) -> Part:
        own = {key: getattr(dataset, key) for key in ("first_ops", "train_ops", "eval_ops", "ops")}
        ops = {key: getattr(self, key) if value is None else value for key, value in own.items()}
        return Part(name, rate, dataset, dataset.dir or self.dir, **ops)


def _alone(name: str) -> Dataset:
    """The data set of a bare name in a mix. Raises ValueError for one that needs options."""
    try:
        return TypeAdapter(DatasetConfig).validate_python({"name": name})
    except ValidationError as error:
        missing = ", ".join(str(detail["loc"][-1]) for detail in error.errors())
        raise ValueError(
            f"{name} needs {missing}: describe it in data.sources under a name of your own"
        ) from None


# ------------------------------------------------------------------------------------------------- optimizer, schedule


class Schedule(Section):
    warmup: Duration | Literal[0] = Field(
        0, description="Linear growth of the rate from 0; the schedule starts after it."
    )


class Constant(Schedule):
    name: Literal["constant"] = "constant"


class Exponential(Schedule):
    name: Literal["exponential"]
    every: Duration = Field(description="Time in which the rate is multiplied by `factor` once.")
    factor: Float = Field(gt=0, le=1, description="Multiplier.")
    staircase: Bool = Field(False, description="In jumps, not smoothly.")


class Cosine(Schedule):
    name: Literal["cosine"]
    final: Float = Field(0.0, ge=0, le=1, description="Share of the rate left at the last step.")


class Polynomial(Schedule):
    name: Literal["polynomial"]
    final: Float = Field(0.0, ge=0, le=1, description="Share of the rate left at the last step.")
    power: Float = Field(1.0, gt=0, description="1 is a straight line.")


class Piecewise(Schedule):
    name: Literal["piecewise"]
    boundaries: list[Duration] = Field(min_length=1, description="When the factor changes, rising.")
    factors: list[Annotated[Float, Field(ge=0)]] = Field(
        description="Multiplier of the rate from each boundary on; as many as boundaries."
    )

    @model_validator(mode="after")
    def _as_many(self):
        if len(self.factors) != len(self.boundaries):
            raise ValueError(
                f"expected {len(self.boundaries)} factors, one per boundary, got {len(self.factors)}"
            )
        return self


class Optimizer(Section):
    learning_rate: Float = Field(
        1e-3, gt=0, description="Peak learning rate, per step of the global batch."
    )
    schedule: one_of(Schedule, default="constant") = Field(
        Constant(), description="Learning rate over time."
    )
    clip_norm: Float | None = Field(
        None, gt=0, description="Largest global norm of the gradient; null: no clipping."
    )
    weight_decay: Float = Field(
        0.0,
        ge=0,
        description="Decoupled decay: each step also takes learning_rate * weight_decay * w.",
    )
    no_decay: list[Regex] = Field(
        ["bias$", "beta$", "gamma$"], description="Variables (regex on the path) without decay."
    )
    multipliers: dict[Regex, Float] = Field(
        {},
        description="Of the updates of some variables: {regex on the path: factor}; the first that matches counts.",
    )

    @field_validator("multipliers")
    @classmethod
    def _above_0(cls, value):
        for regex, factor in value.items():
            if factor <= 0:
                raise ValueError(
                    f"{regex}: expected a factor above 0, got {factor:g}; to keep variables as they are, use `freeze`"
                )
        return value


class Sgd(Optimizer):
    name: Literal["sgd"]
    momentum: Float = Field(0.0, ge=0, lt=1, description="Momentum.")
    nesterov: Bool = Field(False, description="Nesterov's momentum.")


class Adam(Optimizer):
    name: Literal["adam"]
    beta_1: Float = Field(0.9, ge=0, lt=1, description="Decay of the first moment.")
    beta_2: Float = Field(0.999, ge=0, lt=1, description="Decay of the second moment.")
    epsilon: Float = Field(1e-7, gt=0, description="Keeps the denominator above 0.")


class AdamW(Adam):
    name: Literal["adamw"]
    weight_decay: Float = Field(
        0.004,
        ge=0,
        description="Decoupled decay: each step also takes learning_rate * weight_decay * w.",
    )


class RmsProp(Optimizer):
    name: Literal["rmsprop"]
    rho: Float = Field(0.9, ge=0, lt=1, description="Decay of the second moment.")
    momentum: Float = Field(0.0, ge=0, lt=1, description="Momentum.")
    epsilon: Float = Field(1e-7, gt=0, description="Keeps the denominator above 0.")
    centered: Bool = Field(False, description="Divide by the variance, not the second moment.")


class Adagrad(Optimizer):
    name: Literal["adagrad"]
    initial_accumulator_value: Float = Field(0.1, ge=0, description="Start of the sum of squares.")
    epsilon: Float = Field(1e-7, gt=0, description="Keeps the denominator above 0.")


# --------------------------------------------------------------------------------------------------- trained weights


class InitFrom(Section):
    """Trained weights that a run begins with; weights.py."""

    ckpt: str = Field(
        min_length=1,
        description="A run (its newest checkpoint), one of its checkpoints, a .weights.h5 or a .npz.",
    )
    map: dict[Regex, str] = Field(
        {}, description="Other names for its variables: {regex: replacement}, one after the other."
    )
    skip: list[Regex] = Field(
        [], description="Variables of the network (regex on the path) that begin fresh: a new head."
    )
    ema: Bool = Field(
        False, description="Take a run's averaged weights (its train.ema), not the last ones."
    )

    @field_validator("map")
    @classmethod
    def _replacements(cls, value):
        for regex, replacement in value.items():
            try:
                re.sub(regex, replacement, "")
            except (re.error, IndexError) as error:
                raise ValueError(
                    f"{regex}: expected a replacement for re.sub, got {replacement!r}: {error}"
                ) from None
        return value


# --------------------------------------------------------------------------------------------------------- the loop


class NonFinite(Section):
    """What happens after a step whose loss or gradient is NaN or infinite."""


class Raise(NonFinite):
    """End the run, naming the step, the variable and the examples."""

    name: Literal["raise"] = "raise"


class Skip(NonFinite):
    """Leave the step out, as if it had not been, and go on with the next batch."""

    name: Literal["skip"]
    at_most: Int = Field(10, ge=1, description="How many steps of a run; one more ends it.")


class Rollback(NonFinite):
    """Go back to the last checkpoint, leave out the batches since then, and go on at a lower learning rate.

    Chowdhery et al., PaLM, 2022, section 5.1, without the lower rate.
    """

    name: Literal["rollback"]
    at_most: Int = Field(3, ge=1, description="How many times in a run; once more ends it.")
    factor: Float = Field(0.5, gt=0, le=1, description="Of the learning rate, from each time on.")


class Train(Section):
    batch_size: Int = Field(
        128,
        ge=1,
        le=1 << 31,
        description="Global batch: examples per step on all devices together.",
    )
    steps: Int | None = Field(None, ge=1, description="Length of the run in steps, or:")
    epochs: Float | None = Field(
        None, gt=0, le=1e9, description="Length of the run in passes over the training set."
    )
    seed: Int = Field(
        0,
        ge=0,
        lt=1 << 62,
        description="Of the weights, the order, the random operations and dropout.",
    )
    accumulate: Int = Field(
        1,
        ge=1,
        description="Parts of a batch that each tower computes one after the other, to save memory.",
    )
    precision: Literal["float32", "bfloat16", "float16", "float64"] = Field(
        "float32",
        description="Of the network; with 16 bits the weights stay float32. float64: to tell rounding from errors.",
    )
    ema: Float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay of a moving average of the weights, such as 0.999; see validation.ema.",
    )
    jit: Literal["auto", "on", "off"] = Field(
        "auto", description="XLA; auto: on GPUs, but not for LSTM, GRU and sequences of any length."
    )
    non_finite: one_of(NonFinite, default="raise") = Field(
        Raise(), description="What a loss or gradient does that is NaN or infinite."
    )
    log_every: Duration = Field(50, description="How often training metrics are read and logged.")

    @model_validator(mode="after")
    def _one_length(self):
        if (self.steps is None) == (self.epochs is None):
            got = "neither" if self.steps is None else "both"
            raise ValueError(
                f"expected exactly one of `steps` and `epochs` (the other absent or null), got {got}"
            )
        return self


class Stepwise(Section):
    every: Duration = Field(description="How often.")
    batches: Int = Field(2, ge=1, description="Number of batches, the next ones each time.")


class Validation(Section):
    every: Duration | None = Field(
        "1 epoch",
        description="How often the whole validation set is scored, exactly; null: at the end only.",
    )
    stepwise: Stepwise | None = Field(None, description="A quick look at a few validation batches.")
    ema: Bool = Field(
        True,
        description="Score the averaged weights of train.ema where there are any, not the last ones; eval.py too.",
    )


class Best(Section):
    metric: str = Field("accuracy", description="A validation metric.")
    mode: Mode = Field("max", description="Which end is better.")
    keep: Int = Field(1, ge=1, description="How many of the best checkpoints are kept.")


class Checkpoint(Section):
    every: Duration | None = Field(
        "1 epoch", description="How often; null: at the end, on a signal, and for the best."
    )
    keep: Int = Field(3, ge=1, description="How many of the last checkpoints are kept.")
    best: Best | None = Field(None, description="Also keep the best by a validation metric.")


class EarlyStopping(Section):
    metric: str = Field("loss", description="A validation metric.")
    mode: Mode = Field("min", description="Which end is better.")
    patience: Int = Field(
        5, ge=1, description="Full validations without improvement before the run ends."
    )
    min_delta: Float = Field(0.0, ge=0, description="What counts as improvement.")


class Images(Section):
    every: Duration = Field("5 epochs", description="How often.")
    count: Int = Field(16, ge=1, description="How many of the batch.")


class Histograms(Section):
    every: Duration = Field("5 epochs", description="How often.")


class Summary(Section):
    tensorboard: Bool = Field(True, description="Write TensorBoard files.")
    images: Images | None = Field(Images(), description="Inputs as the model sees them.")
    histograms: Histograms | None = Field(
        Histograms(), description="Distributions of weights and gradients."
    )


class Distribute(Section):
    """How a run is spread; may change from start to start. distribution.py."""

    strategy: Literal["auto", "one", "towers", "workers", "parameter_server"] = Field(
        "auto",
        description="auto: as TF_CONFIG says, where it is set; else all GPUs of this machine; else one device.",
    )
    towers: Int | None = Field(
        None, ge=1, description="Devices of each machine; null: all there are."
    )
    virtual_devices: Int | None = Field(
        None, ge=2, description="Split the CPU into so many devices, to try towers without a GPU."
    )
    wait: Int = Field(
        300,
        ge=1,
        description="Seconds that the processes of TF_CONFIG wait for each other at the start.",
    )

    @model_validator(mode="after")
    def _fits(self):
        if self.strategy == "one" and (self.virtual_devices or (self.towers or 1) > 1):
            raise ValueError(
                "strategy `one` is one device: expected no `towers` and no `virtual_devices` beside it"
            )
        if self.strategy in ("workers", "parameter_server") and self.virtual_devices:
            raise ValueError(
                f"strategy {self.strategy!r} takes GPUs or one CPU: expected no `virtual_devices` beside it"
            )
        return self


# ------------------------------------------------------------------------------------- what flows from data to model


class Undo(Section):
    """One step from a target as the network sees it back to its own units: value * scale + offset, then the logarithm undone."""

    scale: list[Float] = Field(description="Of each channel, or one for all.")
    offset: list[Float] = Field(description="As `scale`.")
    log_plus: Float | None = Field(
        None, description="What was added before the logarithm; null: no logarithm."
    )


class Spec(Section):
    """What a network must know of the data. Comes from the data set and is kept, resolved, with the run."""

    input_shape: list[Int | None] = Field(
        description="Shape of one input after all operations; null: any length."
    )
    input_dtype: str = Field(description="Type of the inputs.")
    target_shape: list[Int | None] = Field(description="Shape of one target; [] for a class index.")
    target_dtype: str = Field(description="Type of the targets.")
    num_classes: Int = Field(ge=0, description="Number of classes; 0 where targets are no classes.")
    class_names: list[str] = Field(description="Name of each class, in the order of the logits.")
    vocabulary: str = Field(
        "", description="Token of each id of the inputs, separated by newlines; empty: no tokens."
    )
    target_vocabulary: str = Field(
        "", description="Token of each id of the targets; empty: no tokens."
    )
    target_units: list[Undo] = Field(
        [], description="From scaled targets back to their units, in this order."
    )

    @model_validator(mode="after")
    def _one_name_per_class(self):
        if len(self.class_names) != self.num_classes:
            raise ValueError(
                f"expected {self.num_classes} class names, got {len(self.class_names)}"
            )
        return self

    def image_shape(self, at_least: int, network: str) -> list[int]:
        """[H, W, C] of images of one size. Raises ConfigError for other inputs, and for smaller ones."""
        sizes = [size or 0 for size in self.input_shape]
        if len(sizes) != 3 or not sizes[2] or min(sizes[:2]) < at_least:
            expected = f"images of one size, at least {at_least}x{at_least} pixels, and a channel axis"
            raise ConfigError(f"{network}: expected {expected}, got {self.input_shape}")
        return self.input_shape

    @property
    def tokens(self) -> list[str]:
        return self.vocabulary.split("\n") if self.vocabulary else []

    @property
    def target_tokens(self) -> list[str]:
        return self.target_vocabulary.split("\n") if self.target_vocabulary else []

    @property
    def num_outputs(self) -> int:
        """How many numbers a network gives for a target: a logit for each class or token, or the target's own numbers."""
        if self.target_dtype.startswith("int") or self.num_classes:
            return self.num_classes or len(self.target_tokens)
        return math.prod(size for size in self.target_shape if size is not None)


# ---- one run


class TrainConfig(Section):
    """One run."""

    model: one_of(Network) = Field(description="The network.")
    task: one_of(TaskConfig) = Field(description="How its outputs are scored.")
    data: Data = Field(description="Where examples come from and what is done to them.")
    init_from: InitFrom | None = Field(
        None, description="Trained weights to begin with; null: random ones."
    )
    freeze: list[Regex] = Field(
        [], description="Variables (regex on the path) that are not trained."
    )
    optimizer: one_of(Optimizer, default="adam") = Field(
        Adam(name="adam"), description="How gradients move the weights."
    )
    train: Train = Field(description="The loop.")
    validation: Validation = Field(Validation(), description="Scoring while training.")
    checkpoint: Checkpoint = Field(Checkpoint(), description="What is saved, and kept.")
    early_stopping: EarlyStopping | None = Field(
        None, description="End the run when it no longer improves."
    )
    summary: Summary = Field(Summary(), description="TensorBoard.")
    distribute: Distribute = Field(Distribute(), description="Devices.")
    spec: Spec | None = Field(
        None, description="Shapes and classes of the data; written by the run, not by hand."
    )

    @model_validator(mode="after")
    def _divisible(self):
        local = self.distribute.strategy in ("auto", "towers")
        towers = (self.distribute.towers or self.distribute.virtual_devices or 1) if local else 1
        if problem := indivisible(self.train, towers):
            raise ValueError(problem)
        return self


def indivisible(train: Train, towers: int) -> str | None:
    """What is wrong with a batch that has no equal part for each of so many towers."""
    parts = towers * train.accumulate
    if train.batch_size % parts == 0:
        return None
    below = train.batch_size // parts * parts
    nearest = f"{below} or {below + parts}" if below else f"{parts}"
    of = (
        f"{towers} towers"
        if train.accumulate == 1
        else f"{towers} towers x train.accumulate {train.accumulate}"
    )
    return f"train.batch_size: expected a multiple of {parts} ({of}), got {train.batch_size}; nearest: {nearest}"


# ------------------------------------------------------------------------------------------- durations into steps


@dataclass(frozen=True)
class Clock:
    """Turns durations into steps. Step s has seen s * batch_size examples; an epoch is `examples` of them."""

    batch_size: int
    examples: int

    def steps(self, duration: int | str | None) -> int:
        """Whole steps in a duration, rounded up; 0 for none: 40 epochs of 4,000 examples in batches of 128 are 1,250."""
        return 0 if duration is None else math.ceil(self._examples(duration) / self.batch_size)

    def total_steps(self, train: Train) -> int:
        return train.steps or self.steps(f"{train.epochs!r} epochs")

    def is_due(self, step: int, every: int | str | None) -> bool:
        """Whether a period of `every` ends within step `step`: exact however epochs and batches fall, without drift."""
        return (
            step > 0
            and every is not None
            and self._periods(step, every) > self._periods(step - 1, every)
        )

    def times_due(self, step: int, every: int | str) -> int:
        """How many of the steps up to `step` were due."""
        return min(step, self._periods(step, every))

    def next_due(self, step: int, every: int | str | None) -> int | None:
        """The first step after `step` at which `every` is due."""
        if every is None:
            return None
        return max(
            step + 1,
            math.ceil((self._periods(step, every) + 1) * self._examples(every) / self.batch_size),
        )

    def _periods(self, step: int, every: int | str) -> int:
        return int(step * self.batch_size // self._examples(every))

    def _examples(self, duration: int | str) -> int | Fraction:
        if isinstance(duration, int):
            return duration * self.batch_size
        return Fraction(duration.split()[0]) * self.examples


# ------------------------------------------------------------------------------------------------ reading and writing

DEBUG = {  # presets of `--debug`; each is a run of its own, in a directory of its own
    "fdr": ["train.steps=1", "train.epochs=null", "train.log_every=1", "validation.every=1", "validation.stepwise={every: 1, batches: 1}",
            "checkpoint.every=1", "early_stopping=null", "summary.images={every: 1}", "summary.histograms={every: 1}"],
    "overfit": ["train.steps=1000", "train.epochs=null", "data.train_ops=[]", "optimizer.schedule={name: constant}",
                "validation={every: 10}", "checkpoint={every: null}", "early_stopping=null",
                "summary={tensorboard: false, images: null, histograms: null}"],
    "profile": [],
}  # fmt: skip


def _read(path: str | Path, overrides: list[str]):
    data, lines = typed_yaml.read_file(path)
    overridden = typed_yaml.apply_overrides(data, overrides)
    return data, lines, overridden


def load_config(path: str | Path, overrides: list[str] = ()) -> TrainConfig:
    """A validated configuration from a YAML file and `key=value` words. Raises ConfigError, one line."""
    data, lines, overridden = _read(path, list(overrides))
    return typed_yaml.validate(TrainConfig, data, str(path), lines, overridden)


def save_config(config: TrainConfig, path: str | Path) -> None:
    """Writes every field, defaults included, so that the file means the same after a default has changed."""
    text = typed_yaml.to_yaml(config.model_dump(mode="json"))
    typed_yaml.parse(
        text, str(path)
    )  # refused now where it could not be read again: more classes than a configuration holds
    write_whole(path, text)


def describe_config(path: str | Path, overrides: list[str] = ()) -> str:
    """One line per field: key, value, and whether it came from the file, an override or a default."""
    config = load_config(path, overrides)
    _, lines, overridden = _read(path, list(overrides))
    rows = []
    for key, value in typed_yaml.flatten(config.model_dump(mode="json")):
        if any(
            key[: len(written)] == written or written[: len(key)] == key for written in overridden
        ):
            origin = "override"
        else:
            written = (
                key[:-1] if key[-1] == "name" and key not in lines else key
            )  # a bare name stands for {name: name}
            origin = f"{path}:{lines[written]}" if written in lines else "default"
        rows.append((".".join(key) + ": " + typed_yaml.to_text(value), origin))
    width = min(70, max(len(text) for text, _ in rows))
    return "\n".join(f"{text:<{width}}  # {origin}" for text, origin in rows)


_HOW = (
    ("train", "accumulate"),
    ("train", "jit"),
)  # and all of `distribute`: how a run is computed, not what


def computed_otherwise(old: TrainConfig, new: TrainConfig) -> list[str]:
    """`key: old -> new` of what may change from start to start but changes the rounding."""
    keys = [("distribute", name) for name in ("strategy", "towers", "virtual_devices")] + list(_HOW)
    values = [
        (".".join(key), *(getattr(getattr(config, key[0]), key[1]) for config in (old, new)))
        for key in keys
    ]
    return [
        f"{key}: {typed_yaml.to_text(a)} -> {typed_yaml.to_text(b)}"
        for key, a, b in values
        if a != b
    ]


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """`key: old -> new` of every field that differs, apart from what may change in a run: where its data lies, how it is computed."""
    before, after = (dict(typed_yaml.flatten(c.model_dump(mode="json"))) for c in (old, new))
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    keys = [
        key
        for key in changed
        if (key[0], key[-1]) != ("data", "dir") and key[0] != "distribute" and key not in _HOW
    ]
    found = [
        f"{'.'.join(key)}: {typed_yaml.to_text(before.get(key))} -> {typed_yaml.to_text(after.get(key))}"
        for key in keys
    ]
    regexes = [list(config.optimizer.multipliers) for config in (old, new)]
    if regexes[0] != regexes[1] and sorted(regexes[0]) == sorted(
        regexes[1]
    ):  # the first that matches counts
        found.append(
            f"optimizer.multipliers: in the order {', '.join(regexes[0])} -> {', '.join(regexes[1])}"
        )
    return found


def fields_help() -> str:
    """One line per field: key, what it is, default."""
    title = "configuration fields (set them in the YAML, or as key=value; [default] {only for}):"
    return "\n".join([title, *typed_yaml.field_lines(TrainConfig)])


def run_name(path: str | Path) -> str:
    """`configs/lenet.yaml` -> `lenet`."""
    if Path(path).suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{path}: expected a .yaml file")
    return Path(path).stem
