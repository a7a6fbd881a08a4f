"""What one run is: typed, strict, complete; checked before TensorFlow is imported.

Every section of the YAML is a class here (networks and tasks: `model_config.py`; data sets and
operations: `data_config.py`). Durations count steps (`200`) or passes over the training set
(`"3 epochs"`).
"""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from cli import files, typed_yaml
from cli.program import ConfigError, write_whole
from cli.typed_yaml import (
    Bool,
    Float,
    Int,
    PathText,
    Positive,
    Rate,
    Regex,
    Section,
    Share,
    name_of,
    named_classes,
    one_of,
    show,
)
from data_config import BatchOpConfig, Dataset, OpConfig
from model_config import Network, TaskConfig


def _duration(value):
    if type(value) is int and 0 < value <= typed_yaml.MAX_INT:
        return value
    pattern = r"\s*([0-9]{0,18}\.?[0-9]{1,18})\s*(steps?|epochs?|)\s*"
    match = re.fullmatch(pattern, value) if isinstance(value, str) else None
    count = float(match[1]) if match else 0.0
    number = int(count) if count == int(count) else match[1]
    if count > 0 and match[2].startswith("epoch"):
        return "1 epoch" if count == 1 else f"{number} epochs"
    if count > 0 and number == count:
        return number
    raise ValueError(
        f"expected a number of steps above 0 or text such as '3 epochs', got {show(value)}"
    )


Duration = Annotated[int | str, BeforeValidator(_duration)]
_MOST_NAMES = 1000  # of classes in a YAML file; more have a file of their own

Above0 = Annotated[Float, Field(gt=0)]
Mode = Literal["max", "min"]


# ---- data


def _kind(value) -> str:
    return "mix" if isinstance(value, dict) and "name" not in value else "one"


Rates = dict[str, Above0]
DatasetConfig = one_of(Dataset)
Ops = list[OpConfig]
DatasetOrMix = Annotated[
    Annotated[DatasetConfig, Tag("one")] | Annotated[Rates, Field(min_length=1), Tag("mix")],
    Discriminator(_kind),
]


class Order(Section):
    blocks: Positive | None = None
    """Examples in a group: shards are shuffled, then groups, for long reads; null: all
    examples at once."""
    bucket: Int | None = Field(None, ge=2)
    """Steps in a window, in which batches are made of examples of like size."""
    balanced: Bool = False
    """Classes take turns, so each has the same share of every batch; small ones come again."""

    @model_validator(mode="after")
    def _one_order(self):
        if self.balanced and (self.blocks or self.bucket):
            raise ValueError("balanced: expected neither `blocks` nor `bucket` beside it")
        return self


@dataclass(frozen=True)
class MixedDataset:
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
    sources: dict[str, DatasetConfig] = {}
    """Data sets under names of your own, for `train`, `valid`, `test`."""
    train: DatasetOrMix
    """Training set: a name, a section with a `name`, or a mix {name: rate}."""
    valid: DatasetOrMix | None = None
    """Validation set or sets; null: the `valid` split of data.train."""
    test: DatasetOrMix | None = None
    """For eval.py --split test; null: the `test` split of data.valid."""
    dir: PathText | None = None
    """Directory of data sets that do not come with the project."""
    first_ops: Ops = []
    """Operations on all examples, before any other; none of them random."""
    train_ops: Ops = []
    """Operations on training examples only, before `ops`."""
    eval_ops: Ops = []
    """Operations on validation and test examples only, before `ops`."""
    ops: Ops = []
    """Operations on all examples."""
    batch_ops: list[BatchOpConfig] = []
    """Operations between the training examples of a batch, after all others."""
    order: Order = {}
    """How training examples are shuffled."""
    cache: Bool = False
    """Keep what `first_ops` give: in memory if it fits, else in a temporary file."""

    @field_validator("train", "valid", "test", mode="before")
    @classmethod
    def _by_name(cls, value, info):
        """A bare name stands for the section of `sources`, else for the data set of that name."""
        sources = info.data.get("sources", {})
        if isinstance(value, str):
            _check_name(value, sources)
            return sources.get(value, {"name": value})
        if _kind(value) == "mix":
            for name in value:
                _dataset(name, sources)
        return value

    @model_validator(mode="after")
    def _nothing_random_first(self):
        first_ops = [op for mixed in self.datasets("train") for op in mixed.first_ops]
        for op in [*self.first_ops, *first_ops]:
            if op.random:
                raise ValueError(
                    f"first_ops: expected nothing random, got {op.name!r}; put it into train_ops"
                )
        return self

    def datasets(self, split: Literal["train", "valid", "test"]) -> list[MixedDataset]:
        """The data sets whose `split` is asked for: one, or those of a mix."""
        valid = self.valid or self.train
        choice = {"train": self.train, "valid": valid, "test": self.test or valid}[split]
        if isinstance(choice, Dataset):
            return [self._filled_in(choice.name, 1.0, choice)]
        return [
            self._filled_in(name, rate, _dataset(name, self.sources))
            for name, rate in choice.items()
        ]

    def _filled_in(self, name: str, rate: float, dataset: Dataset) -> MixedDataset:
        ops = {}
        for key in ("first_ops", "train_ops", "eval_ops", "ops"):
            section = self if getattr(dataset, key) is None else dataset
            ops[key] = getattr(section, key)
        return MixedDataset(name, rate, dataset, dataset.dir or self.dir, **ops)


def _check_name(name: str, sources: dict) -> None:
    known = [*sources, *map(name_of, named_classes(Dataset))]
    if name not in known:
        raise ValueError(typed_yaml.unknown_name(name, known))


def _dataset(name: str, sources: dict) -> Dataset:
    """The data set of a bare name in a mix. Raises ValueError for one that needs options."""
    _check_name(name, sources)
    if name in sources:
        return sources[name]
    (section,) = (cls for cls in named_classes(Dataset) if name_of(cls) == name)
    try:
        return section.model_validate({"name": name})
    except ValidationError as error:
        missing = ", ".join(str(detail["loc"][-1]) for detail in error.errors())
        raise ValueError(
            f"{name} needs {missing}: describe it in data.sources under a name of your own"
        ) from None


# ---- optimizer and schedule


FinalRate = Annotated[Share, Field(description="Share of the rate left at the last step.")]


class Schedule(Section):
    of_length: ClassVar[bool] = False  # whether the rate depends on how long the run is

    warmup: Duration | Literal[0] = 0
    """Length of the linear growth from 0; the schedule starts after it."""


class Constant(Schedule):
    """The peak learning rate throughout."""

    name: Literal["constant"] = "constant"


class Exponential(Schedule):
    """Multiplied by `factor` in every period of `every`."""

    name: Literal["exponential"]
    every: Duration
    """Time in which the rate is multiplied by `factor` once."""
    factor: Float = Field(gt=0, le=1)
    """Multiplier of the rate."""
    staircase: Bool = False
    """Multiply in jumps, not smoothly."""


class Cosine(Schedule):
    """Half a period of a cosine, down to `final`."""

    name: Literal["cosine"]
    of_length = True
    final: FinalRate = 0.0


class Polynomial(Schedule):
    """A power of the remaining share of the run, down to `final`."""

    name: Literal["polynomial"]
    of_length = True
    final: FinalRate = 0.0
    power: Above0 = 1.0
    """Exponent; 1 is a straight line."""


class Piecewise(Schedule):
    """Constant between boundaries."""

    name: Literal["piecewise"]
    boundaries: list[Duration] = Field(min_length=1)
    """Times of the changes, rising."""
    factors: list[Annotated[Float, Field(ge=0)]]
    """Multiplier of the rate from each boundary on; as many as boundaries."""

    @model_validator(mode="after")
    def _a_factor_per_boundary(self):
        expected = len(self.boundaries)
        got = len(self.factors)
        if got != expected:
            raise ValueError(f"expected {expected} factors, one per boundary, got {got}")
        return self


Epsilon = Annotated[Above0, Field(description="Term that keeps the denominator above 0.")]
Momentum = Annotated[Rate, Field(description="Share of the last update that is added to the next.")]
WeightDecay = Annotated[
    Float,
    Field(
        ge=0, description="Decoupled decay: each step also takes learning_rate * weight_decay * w."
    ),
]


class Optimizer(Section):
    learning_rate: Above0 = 1e-3
    """Peak learning rate, per step of the global batch."""
    schedule: one_of(Schedule, default="constant") = {}
    """Learning rate over time."""
    clip_norm: Above0 | None = None
    """Largest global norm of the gradient; null: no clipping."""
    weight_decay: WeightDecay = 0.0
    no_decay: list[Regex] = ["bias$", "beta$", "gamma$"]
    """Variables (regex on the path) without decay."""
    multipliers: dict[Regex, Float] = {}
    """Factors on the updates of some variables: {regex on the path: factor}; the first that
    matches counts."""

    @field_validator("multipliers")
    @classmethod
    def _above_0(cls, value):
        for regex, factor in value.items():
            if factor <= 0:
                raise ValueError(
                    f"{regex}: expected a factor above 0, got {factor:g}; "
                    "to keep variables as they are, use `freeze`"
                )
        return value


class Sgd(Optimizer):
    """Stochastic gradient descent."""

    name: Literal["sgd"]
    momentum: Momentum = 0.0
    nesterov: Bool = False
    """Nesterov's momentum."""


class Adam(Optimizer):
    """Kingma and Ba, Adam, 2015."""

    name: Literal["adam"]
    beta_1: Rate = 0.9
    """Decay of the first moment."""
    beta_2: Rate = 0.999
    """Decay of the second moment."""
    epsilon: Epsilon = 1e-7


class AdamW(Adam):
    """Adam whose default has weight decay. Loshchilov and Hutter, Decoupled weight decay, 2019."""

    name: Literal["adamw"]
    weight_decay: WeightDecay = 0.004


class RmsProp(Optimizer):
    """Gradients divided by the root of their second moment."""

    name: Literal["rmsprop"]
    rho: Rate = 0.9
    """Decay of the second moment."""
    momentum: Momentum = 0.0
    epsilon: Epsilon = 1e-7
    centered: Bool = False
    """Divide by the variance, not the second moment."""


class Adagrad(Optimizer):
    """Gradients divided by the root of the sum of their squares. Duchi et al., 2011."""

    name: Literal["adagrad"]
    initial_accumulator_value: Float = Field(0.1, ge=0)
    """Start of the sum of squares."""
    epsilon: Epsilon = 1e-7


# ---- trained weights


class InitFrom(Section):
    """Trained weights that a run begins with."""

    ckpt: PathText = Field(min_length=1)
    """A run (its newest checkpoint), one of its checkpoints, a .weights.h5 or .npz."""
    map: dict[Regex, str] = {}
    """Other names for its variables: {regex: replacement}, one after the other."""
    skip: list[Regex] = []
    """Variables of the network (regex on the path) that begin fresh: a new head."""
    ema: Bool = False
    """Take a run's averaged weights (its train.ema), not the last ones."""

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


# ---- the loop


class NonFinite(Section):
    """What happens after a step whose loss or gradient is NaN or infinite."""


class Raise(NonFinite):
    """End the run, naming the step, the variable and the examples."""

    name: Literal["raise"] = "raise"


class Skip(NonFinite):
    """Leave the step out, as if it had not been, and go on with the next batch."""

    name: Literal["skip"]
    at_most: Positive = 10
    """Steps left out in a run; one more ends it."""


class Rollback(NonFinite):
    """Go back to the last checkpoint, leave out the batches since, go on at a lower learning rate.

    Chowdhery et al., PaLM, 2022, section 5.1, without the lower rate.
    """

    name: Literal["rollback"]
    at_most: Positive = 3
    """Rollbacks in a run; one more ends it."""
    factor: Float = Field(0.5, gt=0, le=1)
    """Multiplier of the learning rate from each rollback on."""


class Train(Section):
    exclusive: ClassVar = ("steps", "epochs")
    needs_one: ClassVar = True

    batch_size: Int = Field(128, ge=1, le=1 << 31)
    """Global batch: examples per step on all devices."""
    steps: Positive | None = None
    """Length of the run in steps, or `epochs`."""
    epochs: Float | None = Field(None, gt=0, le=1e9)
    """Length of the run in passes over the training set."""
    seed: Int = Field(0, ge=0, lt=1 << 62)
    """Seed of the weights, the order, the random operations and dropout."""
    accumulate: Positive = 1
    """Steps of accumulation: equal slices of a batch that each tower computes one after the
    other, to save memory."""
    precision: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    """Type of the computation; with 16 bits the weights stay float32. float64: to tell
    rounding from errors."""
    ema: Float | None = Field(None, gt=0, lt=1)
    """Decay of a moving average of the weights, such as 0.999; see validation.ema."""
    class_weight: Literal["balanced"] | dict[str, Above0] | None = None
    """Weight of each class in the loss, {class: weight}, the others 1; balanced: all classes
    weigh the same."""
    jit: Literal["auto", "on", "off"] = "auto"
    """XLA; auto: on GPUs, but not for LSTM, GRU and sequences of any length."""
    non_finite: one_of(NonFinite, default="raise") = {}
    """What a loss or gradient does that is NaN or infinite."""
    first_batches: Positive | None = None
    """Number of batches to learn again and again, to see if it can; null: all."""
    log_every: Duration = 50
    """How often training metrics are read and logged."""


class Stepwise(Section):
    every: Duration
    """Time between two looks."""
    batches: Positive = 2
    """Number of batches, the next ones each time."""


class Validation(Section):
    every: Duration | None = "1 epoch"
    """Time between two exact scores of the whole set; null: at the end only."""
    first_batches: Positive | None = None
    """Number of batches of each set that are scored; null: all, exactly."""
    stepwise: Stepwise | None = None
    """A quick look at a few validation batches."""
    ema: Bool = True
    """Score the averaged weights of train.ema, if there are any; eval.py too."""


class Best(Section):
    metric: str = "accuracy"
    """A validation metric."""
    mode: Mode = "max"
    """Which end of the metric is better."""
    keep: Positive = 1
    """Number of best checkpoints that are kept."""


class Checkpoint(Section):
    every: Duration | None = "1 epoch"
    """Time between two saves; null: at the end, on a signal, and for the best."""
    keep: Positive = 3
    """Number of last checkpoints that are kept."""
    best: Best | None = None
    """Also keep the best by a validation metric."""


class EarlyStopping(Section):
    metric: str = "loss"
    """A validation metric."""
    mode: Mode = "min"
    """Which end of the metric is better."""
    patience: Positive = 5
    """Full validations without improvement before the run ends."""
    min_delta: Float = Field(0.0, ge=0)
    """Smallest change that is an improvement."""


class Images(Section):
    every: Duration = "5 epochs"
    """Time between two pictures."""
    count: Positive = 16
    """Images of the batch that are shown."""


class Histograms(Section):
    every: Duration = "5 epochs"
    """Time between two histograms."""


class Summary(Section):
    tensorboard: Bool = True
    """Write TensorBoard files."""
    images: Images | None = {}
    """Inputs as the model sees them."""
    histograms: Histograms | None = {}
    """Distributions of weights and gradients."""


class Distribute(Section):
    """How a run is spread over devices; may change from start to start."""

    strategy: Literal["auto", "one", "towers", "workers", "parameter_server"] = "auto"
    """auto: as TF_CONFIG says, where it is set; else all GPUs of this machine; else one device."""
    towers: Positive | None = None
    """Devices of each machine; null: all there are."""
    virtual_devices: Int | None = Field(None, ge=2)
    """Devices to split the CPU into, to try towers without a GPU."""
    wait: Positive = 300
    """Seconds that the processes of TF_CONFIG wait for each other at the start."""

    @model_validator(mode="after")
    def _fits(self):
        if self.strategy == "one" and (self.virtual_devices or self.towers not in (None, 1)):
            raise ValueError(
                "strategy `one` is one device: "
                "expected no `towers` and no `virtual_devices` beside it"
            )
        if self.strategy in ("workers", "parameter_server") and self.virtual_devices:
            raise ValueError(
                f"strategy {self.strategy!r} takes GPUs or one CPU: "
                "expected no `virtual_devices` beside it"
            )
        return self


# ---- what flows from data to model


class Undo(Section):
    """One step from a target as the network sees it back to its own units:

    value * scale + offset, then the logarithm undone.
    """

    scale: list[Float]
    """Factor of each channel, or one for all."""
    offset: list[Float]
    """Addend of each channel, or one for all."""
    log_plus: Float | None = None
    """What was added before the logarithm; null: no logarithm."""


class Spec(Section):
    """What a network must know of the data; comes from the data set, is kept with the run."""

    input_shape: list[Int | None]
    """Shape of one input after all operations; null: any length."""
    input_dtype: str
    """Type of the inputs."""
    target_shape: list[Int | None]
    """Shape of one target; [] for a class index."""
    target_dtype: str
    """Type of the targets."""
    num_classes: Int = Field(ge=0)
    """Number of classes; 0 where targets are no classes."""
    class_names: list[str]
    """Name of each class, in the order of the logits."""
    class_names_file: str | None = None
    """File beside this one that holds them where there are many, a JSON text a line."""
    vocabulary: str = ""
    """Token of each id of the inputs, separated by newlines; empty: no tokens."""
    target_vocabulary: str = ""
    """Token of each id of the targets; empty: no tokens."""
    target_units: list[Undo] = []
    """Steps from scaled targets back to their units, in this order."""

    @model_validator(mode="after")
    def _one_name_per_class(self):
        if not self.class_names_file and len(self.class_names) != self.num_classes:
            raise ValueError(
                f"expected {self.num_classes} class names, got {len(self.class_names)}"
            )
        return self

    def image_shape(self, at_least: int, network: str) -> list[int]:
        """[H, W, C] of images of one size. Raises ConfigError for others, and for smaller."""
        sizes = [size or 0 for size in self.input_shape]
        if len(sizes) != 3 or not sizes[2] or min(sizes[:2]) < at_least:
            raise ConfigError(
                f"{network}: expected images of one size, at least {at_least}x{at_least} pixels, "
                f"and a channel axis, got {self.input_shape}"
            )
        return self.input_shape

    @property
    def tokens(self) -> list[str]:
        return self.vocabulary.split("\n") if self.vocabulary else []

    @property
    def target_tokens(self) -> list[str]:
        return self.target_vocabulary.split("\n") if self.target_vocabulary else []

    @property
    def num_outputs(self) -> int:
        """Numbers that a network gives for a target: a logit for each class or token, or values."""
        if self.target_dtype.startswith("int") or self.num_classes:
            return self.num_classes or len(self.target_tokens)
        return math.prod(size for size in self.target_shape if size is not None)


# ---- one run


class TrainConfig(Section):
    """One run."""

    model: one_of(Network)
    """The network."""
    task: one_of(TaskConfig)
    """How its outputs are scored."""
    data: Data
    """Where examples come from and what is done to them."""
    init_from: InitFrom | None = None
    """Trained weights to begin with; null: random ones."""
    freeze: list[Regex] = []
    """Variables (regex on the path) that are not trained."""
    optimizer: one_of(Optimizer, default="adam") = {}
    """How gradients move the weights."""
    train: Train
    """The loop: batch size, length, seed, precision."""
    validation: Validation = {}
    """Scoring while training."""
    checkpoint: Checkpoint = {}
    """What is saved, and kept."""
    early_stopping: EarlyStopping | None = None
    """End the run when it no longer improves."""
    summary: Summary = {}
    """TensorBoard."""
    distribute: Distribute = {}
    """Devices."""
    spec: Spec | None = None
    """Shapes and classes of the data; written by the run, not by hand."""

    @model_validator(mode="after")
    def _divisible(self):
        is_local = self.distribute.strategy in ("auto", "towers")
        towers = self.distribute.towers or self.distribute.virtual_devices or 1
        if problem := indivisible(self.train, towers if is_local else 1):
            raise ValueError(problem)
        return self

    @property
    def scores_averages(self) -> bool:
        """Whether the averaged weights are scored, not the last ones."""
        return bool(self.train.ema and self.validation.ema)


def indivisible(train: Train, towers: int) -> str | None:
    """What is wrong with a batch that has no equal slice for each of so many towers."""
    slices = towers * train.accumulate
    return _not_a_multiple(train, towers, slices) if train.batch_size % slices else None


def _not_a_multiple(train: Train, towers: int, slices: int) -> str:
    below = train.batch_size // slices * slices
    nearest = f"{below} or {below + slices}" if below else slices
    accumulate = f" x train.accumulate {train.accumulate}" if train.accumulate > 1 else ""
    return (
        f"train.batch_size: expected a multiple of {slices} ({towers} towers{accumulate}), "
        f"got {train.batch_size}; nearest: {nearest}"
    )


# ---- durations into steps


@dataclass(frozen=True)
class Clock:
    """Turns durations into steps. Step s has seen s * batch_size examples, `examples` an epoch."""

    batch_size: int
    examples: int

    def steps(self, duration: int | str | None) -> int:
        """Whole steps in a duration, rounded up; 0 for none.

        40 epochs of 4,000 examples in batches of 128 are 1,250.
        """
        if duration is None:
            return 0
        return math.ceil(self._examples(duration) / self.batch_size)

    def total_steps(self, train: Train) -> int:
        return train.steps or self.steps(f"{train.epochs!r} epochs")

    def is_due(self, step: int, every: int | str | None) -> bool:
        """Whether a period of `every` ends within step `step`: exact for any epoch, no drift."""
        if every is None or step == 0:
            return False
        return self._periods(step, every) > self._periods(step - 1, every)

    def times_due(self, step: int, every: int | str) -> int:
        """How many of the steps up to `step` were due."""
        return min(step, self._periods(step, every))

    def next_due(self, step: int, every: int | str | None) -> int | None:
        """The first step after `step` at which `every` is due."""
        if every is None:
            return None
        examples = (self._periods(step, every) + 1) * self._examples(every)
        return max(step + 1, math.ceil(examples / self.batch_size))

    def steps_to_next(self, step: int, cadences: Iterable[int | str | None], limit: int) -> int:
        """How many steps from `step` on until the first cadence is due: 1 to `limit`.

        The end of the run is a cadence too: its number of steps.
        """
        return min([limit, *(self.next_due(step, every) - step for every in cadences if every)])

    def _periods(self, step: int, every: int | str) -> int:
        return int(step * self.batch_size // self._examples(every))

    def _examples(self, duration: int | str) -> int | Fraction:
        if isinstance(duration, int):
            return duration * self.batch_size
        return Fraction(duration.split()[0]) * self.examples


# ---- reading and writing

DEBUG = {  # presets of `--debug`; each is a run of its own, in a directory of its own
    "fdr": [
        "train.steps=1",
        "train.epochs=null",
        "train.log_every=1",
        "validation.every=1",
        "validation.first_batches=1",
        "validation.stepwise={every: 1, batches: 1}",
        "checkpoint.every=1",
        "early_stopping=null",
        "summary.images={every: 1}",
        "summary.histograms={every: 1}",
    ],
    "overfit": [
        "train.steps=1000",
        "train.epochs=null",
        "train.first_batches=1",
        "data.train_ops=[]",
        "optimizer.schedule={name: constant}",
        "validation={every: 10}",
        "checkpoint={every: null}",
        "early_stopping=null",
        "summary={tensorboard: false, images: null, histograms: null}",
    ],
}


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> TrainConfig:
    """A validated configuration from a YAML file and `key=value` words. Raises ConfigError."""
    config, _, _ = typed_yaml.load(TrainConfig, path, overrides)
    if config.spec and config.spec.class_names_file:
        return _with_class_names(config, Path(path).parent)
    return config


def _with_class_names(config: TrainConfig, directory: Path) -> TrainConfig:
    file = directory / Path(config.spec.class_names_file).name
    values = config.spec.model_dump() | {"class_names_file": None}
    try:
        lines = files.read_bytes(file, ConfigError).decode().splitlines()
        values["class_names"] = list(map(json.loads, lines))
        return config.model_copy(update={"spec": Spec.model_validate(values)})
    except (OSError, ValueError) as error:
        expected = f"expected the names of {config.spec.num_classes:,} classes, one a line"
        raise ConfigError(f"{file}: {expected}: {str(error).splitlines()[0]}") from error


def save_config(config: TrainConfig, path: str | Path) -> None:
    """Writes every field, so that the file means the same after a default has changed."""
    values = config.model_dump(mode="json")
    if config.spec and config.spec.num_classes > _MOST_NAMES:
        lines = [json.dumps(name) + "\n" for name in config.spec.class_names]
        write_whole(Path(path).parent / "class_names.jsonl", "".join(lines))
        values["spec"] |= {"class_names": [], "class_names_file": "class_names.jsonl"}
    text = typed_yaml.to_yaml(values)
    typed_yaml.parse(text, str(path))  # refused now if it could not be read again
    write_whole(path, text)


def describe_config(path: str | Path, overrides: Iterable[str] = ()) -> str:
    """One line per field: key, value, and whether the file, an override or a default gave it."""
    config, lines, overridden = typed_yaml.load(TrainConfig, path, overrides)
    rows = {}
    for key, value in typed_yaml.flatten(config.model_dump(mode="json")):
        is_bare_name = key[-1] == "name" and key not in lines  # it stands for {name: name}
        written = key[:-1] if is_bare_name else key
        origin = f"{path}:{lines[written]}" if written in lines else "default"
        if any(key[: len(path)] == path[: len(key)] for path in overridden):
            origin = "override"
        rows[f"{'.'.join(key)}: {typed_yaml.to_text(value)}"] = origin
    width = min(70, max(map(len, rows)))
    return "\n".join(f"{text:<{width}}  # {origin}" for text, origin in rows.items())


def run_name(path: str | Path) -> str:
    """`configs/lenet.yaml` -> `lenet`."""
    if Path(path).suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{path}: expected a .yaml file{typed_yaml.files_like(Path(path))}")
    return Path(path).stem
