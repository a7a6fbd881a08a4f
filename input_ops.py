"""The input pipeline: which examples a step sees, read, treated and batched.

A batch is {"inputs": [B, ...], "targets": [B, ...], "sample_weight": [B] or [B, T], "id": [B]}.
Step s holds the positions s * batch_size + [0, batch_size) of an endless stream; `Mix` says which
data set a position belongs to, engine/order.py which of its examples it is: both are arithmetic, so
any step is reached at once and nothing of the pipeline is saved.

python input_ops.py --config FILE --preview sheet.png [--count 32] [--split train] [key=value ...]
"""

import math
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import train_config
from cli import program
from cli.program import ConfigError, DataError
from train_config import Data, MixedDataset, Order, Spec, TrainConfig

COMMAND = program.Command(
    "input_ops",
    "python input_ops.py --config FILE --preview sheet.png [key=value ...]",
    TrainConfig,
)
COMMAND.path("config", None, "The run's YAML file; see configs/.")
COMMAND.path("preview", None, "The picture to be written: .png or .jpg.")
COMMAND.integer("count", 32, "How many examples.", lower_bound=1, upper_bound=1000)
COMMAND.choice("split", "train", ["train", "valid", "test"], "Which split to show.")


def prepare(command: program.Command):
    for flag in ("config", "preview"):
        if getattr(command, flag) is None:
            raise ConfigError(f"command line: --{flag}: missing; expected a file")
    path = Path(command.preview)
    if path.suffix not in (".png", ".jpg") or not path.parent.is_dir():
        raise ConfigError(
            "command line: --preview: expected a .png or .jpg in a directory that exists, "
            f"got {path}"
        )
    return train_config.load_config(command.config, command.overrides), path


if __name__ == "__main__":  # before TensorFlow is imported: a mistake answers at once
    PREPARED = program.start(COMMAND, prepare)

import numpy as np
import tensorflow as tf

import data_loader
from cli.typed_yaml import show
from engine.contact_sheet import Series, contact_sheet
from engine.damaged import READING_ERRORS, name_example
from engine.order import Groups, shuffled
from engine.stateless import fold, uniform
from preprocess_data import (
    apply_ops,
    cached,
    measured,
    target_units,
    vocabulary,
)

_MOST_SLOTS = 10_000  # of a cycle of a mix
_POSITIONS_AT_ONCE = 8192  # their order is computed in one go: a few hundred small ops, paid once
_EXAMPLES_AT_ONCE = 512  # small batches are read and treated in groups,
_BYTES_AT_ONCE = 1 << 21  # as long as a group stays small,
_STORED_BYTES_AT_ONCE = 1 << 25  # also as it lies in files
_BATCH_OPS_DRAW = 1 << 20  # beyond the numbers from which the operations of a data set draw


# ---- data sets and their mix


@dataclass(frozen=True)
class MixSource:
    """A data set of a mix: its source, the operations on it, its slots in a cycle of positions."""

    name: str
    source: data_loader.Source
    ops: list
    slots: int = 1
    groups: Groups | None = None  # that take turns in training

    def treat(self, features, seeds):
        return apply_ops(features, seeds, self.ops, len(self.source.class_names))

    def features(self, indices, seeds):
        return self.treat(self.source.read(indices), seeds)


class Mix:
    """One split: one data set or several. Ids of examples count on through all of them."""

    def __init__(self, sources: list[MixSource]):
        self.sources = sources
        self.offsets = np.cumsum([0, *(len(source.source) for source in sources)])
        self.set_of_slot, self.rank_of_slot = slot_table([source.slots for source in sources])
        specs = [ElementSpecs.of(source) for source in sources]
        for source, spec in zip(sources[1:], specs[1:], strict=True):
            _check_same(sources[0], specs[0].treated, source, spec.treated)
        self.element_spec = specs[0].treated
        # Sets that are treated alike are put together before, not after: encoded images are a
        # tenth of their pixels.
        same_ops = all(source.ops == sources[0].ops for source in sources)
        self.alike = same_ops and all(spec.raw == specs[0].raw for spec in specs)

    @classmethod
    def of(cls, source: data_loader.Source, ops: list) -> "Mix":
        return cls([MixSource(source.name, source, ops)])

    def __len__(self) -> int:
        return int(self.offsets[-1])

    @property
    def name(self) -> str:
        return " + ".join(source.name for source in self.sources)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.sources[0].source.class_names

    @property
    def fingerprint(self) -> str:
        return " ".join(source.source.fingerprint for source in self.sources)

    @property
    def reports(self) -> list[dict]:
        """What was found in each data set."""
        return [mixed.source.report | {"data": mixed.name} for mixed in self.sources]

    def source_of(self, example: int) -> tuple[MixSource, int]:
        """The data set of an example, by its id, and its index there."""
        number = int(np.searchsorted(self.offsets, example, side="right")) - 1
        return self.sources[number], example - int(self.offsets[number])

    def locate(self, example: int) -> str:
        """The file, line or record of an example, by its id."""
        source, index = self.source_of(example)
        return source.source.locate(index)

    def shares(self, num_examples: int) -> Iterable[str]:
        """One line per data set: what a run over so many examples takes of it."""
        for source in self.sources:
            share = source.slots / len(self.set_of_slot)
            length = len(source.source)
            epochs = num_examples * share / length
            yield f"{source.name}: {share:.2%} of every batch, {epochs:.2f} epochs of {length:,}"

    def ids(self, seed: int, positions: tf.Tensor, blocks: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
        """Positions, int64 of any shape -> (number of the data set, id of the example)."""
        cycle = len(self.set_of_slot)
        slot = positions % cycle
        number = tf.gather(tf.constant(self.set_of_slot, tf.int64), slot)
        rank = tf.gather(tf.constant(self.rank_of_slot, tf.int64), slot)
        ids = tf.zeros_like(positions)
        for i, mixed in enumerate(self.sources):
            source = mixed.source
            own_positions = positions // cycle * mixed.slots + rank
            if mixed.groups:
                index = mixed.groups.shuffled(seed + i, own_positions)
            else:
                per_group = blocks if source.block_length else 0
                block_length = source.block_length
                index = shuffled(seed + i, own_positions, len(source), block_length, per_group)
            ids = tf.where(number == i, index + self.offsets[i], ids)
        return number, ids

    def features(self, number, ids, seeds) -> dict[str, tf.Tensor]:
        """The treated features of examples [n]."""
        if self.alike:
            return self.sources[0].treat(self.raw(number, ids), seeds)
        rows, raw = self._read(number, ids)
        treated = [
            source.treat(features, tf.gather(seeds, row))
            for source, features, row in zip(self.sources, raw, rows, strict=True)
        ]
        return _stitched(rows, treated)

    def raw(self, number, ids) -> dict[str, tf.Tensor]:
        """The features of examples [n] as they are stored; of sets that are treated alike."""
        if len(self.sources) == 1:
            return self.sources[0].source.read(ids)
        return _stitched(*self._read(number, ids))

    def _read(self, number, ids) -> tuple[list, list]:
        """(rows in [0, n), raw features) of each data set."""
        rows = [tf.where(number == i)[:, 0] for i in range(len(self.sources))]
        raw = [
            mixed.source.read(tf.gather(ids, row) - offset)
            for mixed, row, offset in zip(self.sources, rows, self.offsets, strict=False)
        ]
        return rows, raw

    @contextmanager
    def naming_examples(self, ids: Iterable[int] | None = None):
        """Inside `with`, an error of the pipeline names those of `ids` that fail alone."""
        try:
            yield
        except READING_ERRORS as error:
            ids = range(len(self)) if ids is None else ids
            name_example(error, self._features_alone, ids, self.locate)

    def _features_alone(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        starts = tf.constant(self.offsets, tf.int64)
        number = tf.searchsorted(starts, ids, side="right", out_type=tf.int64) - 1
        return self.features(number, ids, fold(0, ids))


def slots(rates: list[float]) -> list[int]:
    """How many positions of each cycle belong to each data set.

    The shortest exact cycle, or the nearest of 10,000.
    """
    total = sum(Fraction(str(rate)) for rate in rates)
    shares = [Fraction(str(rate)) / total for rate in rates]
    cycle = math.lcm(*(share.denominator for share in shares))
    if cycle <= _MOST_SLOTS:
        return [int(share * cycle) for share in shares]
    return _nearest_slots(shares)


def _nearest_slots(shares: list[Fraction]) -> list[int]:
    counts = [max(1, int(share * _MOST_SLOTS)) for share in shares]
    by_loss = sorted(range(len(shares)), key=lambda i: counts[i] - shares[i] * _MOST_SLOTS)
    for i in by_loss[: max(0, _MOST_SLOTS - sum(counts))]:
        counts[i] += 1
    return counts


def slot_table(counts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """(data set, rank within its own) of every slot of a cycle, spread as evenly as can be."""
    table = []
    for number, count in enumerate(counts):
        table += [(Fraction(2 * rank + 1, 2 * count), number, rank) for rank in range(count)]
    table.sort()
    return np.array([number for _, number, _ in table]), np.array([rank for _, _, rank in table])


def _stitched(rows: list, features: list[dict]) -> dict:
    """Features of several data sets, put together in the order of their rows."""
    rows = [tf.cast(row, tf.int32) for row in rows]
    shared = set.intersection(*(set(of_one) for of_one in features))
    return {
        key: tf.dynamic_stitch(rows, _same_length([of_one[key] for of_one in features]))
        for key in sorted(shared)
    }


def _same_length(values: list) -> list:
    """Sequences of several data sets, padded with 0 to the longest."""
    if values[0].shape.rank < 2 or all(value.shape[1] is not None for value in values):
        return values
    longest = tf.reduce_max([tf.shape(value)[1] for value in values])
    rest = [[0, 0]] * (values[0].shape.rank - 2)
    return [tf.pad(v, [[0, 0], [0, longest - tf.shape(v)[1]], *rest]) for v in values]


class ElementSpecs(NamedTuple):
    """{feature: shape without the batch, and type} before and after the operations."""

    raw: dict[str, tf.TensorSpec]
    treated: dict[str, tf.TensorSpec]

    @classmethod
    def of(cls, source: MixSource) -> "ElementSpecs":
        def features(indices, seeds):
            raw = source.source.read(indices)
            return raw, source.treat(dict(raw), seeds)  # from which some take what they use

        signature = (tf.TensorSpec([None], tf.int64), tf.TensorSpec([None], tf.uint64))
        raw, treated = tf.function(features).get_concrete_function(*signature).structured_outputs
        _check_batch(source.name, treated)
        names = treated.keys() & {"inputs", "targets", "sample_weight"}
        return cls(_specs(raw), _specs({name: treated[name] for name in names}))


def _specs(features: dict) -> dict[str, tf.TensorSpec]:
    return {key: tf.TensorSpec(value.shape[1:], value.dtype) for key, value in features.items()}


_CURES = {  # of a feature that is missing after all operations, and of one that is text
    "inputs": ("", "text or encoded images; add `tokenize` or `decode_image`"),
    "targets": (
        "; add the operation `window` or `inputs_as_targets`",
        "text; add {name: tokenize, of: targets}",
    ),
}


def _check_batch(name: str, features: dict) -> None:
    """Raises ConfigError for features that are no inputs and targets of numbers."""
    for key, (if_missing, _) in _CURES.items():
        if key not in features:
            got = ", ".join(sorted(features)) + if_missing
            raise ConfigError(f"data.ops: {name}: expected {key} after all operations, got {got}")
    for feature, op in (("categories", "encode_categories"), ("missing", "fill")):
        if feature in features:
            raise ConfigError(
                f"data.ops: {name}: no operation takes the feature `{feature}`; add `{op}`"
            )
    for key, (_, if_text) in _CURES.items():
        if features[key].dtype == tf.string:
            raise ConfigError(f"data.ops: {name}: expected numbers as {key}, got {if_text}")


def _check_same(first: MixSource, first_spec, other: MixSource, other_spec) -> None:
    """Raises ConfigError for data sets whose examples cannot stand in one batch."""
    for key in sorted(first_spec.keys() | other_spec.keys()):
        if first_spec.get(key) != other_spec.get(key):
            a = _shown(first_spec.get(key))
            b = _shown(other_spec.get(key))
            raise ConfigError(
                f"data: {key}: {first.name} has {a}, {other.name} has {b}; "
                "expected the same: give one of them operations"
            )
    if first.source.class_names != other.source.class_names:
        a, b = (", ".join(mixed.source.class_names[:12]) or "none" for mixed in (first, other))
        raise ConfigError(
            f"data: classes: {first.name} has {a}, {other.name} has {b}; expected the same"
        )
    if vocabulary(first.ops) != vocabulary(other.ops):
        raise ConfigError(
            f"data: vocabulary: {first.name} and {other.name} have different ones; "
            "put `tokenize` into data.ops, for both"
        )


def _shown(spec: tf.TensorSpec | None) -> str:
    return "none" if spec is None else f"{spec.dtype.name} {spec.shape.as_list()}"


def open_mix(data: Data, split: str, training: bool, class_names: Iterable[str] = ()) -> Mix:
    """The data sets of a split with the operations for training or for evaluation.

    `class_names`: those of training, by which labels are numbered; (): each set's own.
    """
    sections = data.datasets(split)
    if data.cache:
        _check_cache(sections)
    blocks = data.order.blocks if training else None
    sources = []
    for section, count in zip(sections, slots([s.rate for s in sections]), strict=True):
        source = data_loader.load(section.dataset, split, section.directory)
        source = data_loader.by_names(source, tuple(class_names))
        if blocks and source.block_length:  # one group is read while another is used
            source = replace(source, read=source.read_in_blocks(2 * blocks))
        first_ops = section.first_ops
        if data.cache and first_ops:
            source, first_ops = cached(replace(source, name=section.name), first_ops), []
        split_ops = section.train_ops if training else section.eval_ops
        ops = [*first_ops, *split_ops, *section.ops]
        groups = _classes_of(source) if training and data.order.balanced else None
        sources.append(MixSource(section.name, source, ops, count, groups))
    _check_order(data.order if training else Order(), sources)
    return Mix(sources)


def _check_cache(sections: list[MixedDataset]) -> None:
    if not any(section.first_ops for section in sections):
        raise ConfigError(
            "data.cache: expected operations in first_ops, whose results are kept, got none"
        )


def _classes_of(source: data_loader.Source) -> Groups:
    return Groups(_labels(source, "data.order.balanced"))


def _labels(source: data_loader.Source, place: str) -> np.ndarray:
    if source.labels is None:
        raise ConfigError(
            f"{place}: expected a set that knows the class of each example, got {source.name}"
        )
    return source.labels


def class_weights(mix: Mix, weights: str | dict[str, float] | None) -> np.ndarray | None:
    """float32 [num_classes] of train.class_weight; classes without a weight have 1.

    "balanced": so that all classes weigh the same and the examples 1 on average; King and Zeng,
    Logistic regression in rare events data, 2001, section 4.
    """
    names = mix.class_names
    if weights is None:
        return None
    if not names:
        raise ConfigError("train.class_weight: expected targets that are classes, got none")
    if weights == "balanced":
        labels = [_labels(mixed.source, "train.class_weight") for mixed in mix.sources]
        counts = np.bincount(np.concatenate(labels), minlength=len(names))
        occurring = np.count_nonzero(counts)
        return np.float32(counts.sum() / (occurring * np.maximum(counts, 1)))
    if unknown := [name for name in weights if name not in names]:
        raise ConfigError(
            f"train.class_weight: no class {unknown[0]!r}; it has {', '.join(names[:12])}"
        )
    return np.array([weights.get(name, 1.0) for name in names], np.float32)


def show_reports(mixes: dict[str, Mix]) -> dict[str, list[dict]]:
    """Says what was found in the data sets of each split, each line once; returns the reports."""
    reports = {split: mix.reports for split, mix in mixes.items()}
    lines = {}
    for split, of_split in reports.items():
        for report in of_split:
            for line in data_loader.report_lines(report):
                lines.setdefault(line, split)
    for line, split in lines.items():
        program.warn(f"data: {split}: {line}")
    return reports


def _check_order(order: Order, sources: list[MixSource]) -> None:
    """Raises ConfigError for data sets that cannot be read in this order."""
    unsized = [mixed.name for mixed in sources if mixed.source.sizes is None]
    if order.bucket and unsized:
        raise ConfigError(
            "data.order.bucket: expected texts or records, whose sizes are known, "
            f"got {', '.join(unsized)}"
        )
    if order.blocks and not any(mixed.source.block_length for mixed in sources):
        names = ", ".join(mixed.name for mixed in sources)
        raise ConfigError(
            f"data.order.blocks: expected a set in shards, such as `records`, got {names}"
        )


def spec_of(mix: Mix) -> Spec:
    """What a network must know of these examples."""
    inputs = mix.element_spec["inputs"]
    targets = mix.element_spec["targets"]
    ops = mix.sources[0].ops
    return Spec(
        input_shape=inputs.shape.as_list(),
        input_dtype=inputs.dtype.name,
        target_shape=targets.shape.as_list(),
        target_dtype=targets.dtype.name,
        num_classes=len(mix.class_names),
        class_names=list(mix.class_names),
        vocabulary="\n".join(vocabulary(ops, "inputs")),
        target_vocabulary="\n".join(vocabulary(ops, "targets")),
        target_units=target_units(ops) if targets.dtype.is_floating else [],
    )


def check_spec(expected: Spec, mix: Mix) -> None:
    """Raises DataError where other data than the network was built for would not fit it."""
    spec = spec_of(mix)
    for field in Spec.model_fields:
        want = getattr(expected, field)
        got = getattr(spec, field)
        if want != got:
            raise DataError(
                f"{mix.name}: {field}: expected {show(want)}, as in training, got {show(got)}"
            )


# ---- training batches


def ids_of_steps(
    mix: Mix, batch_size: int, seed: int, start: int, stop: int, order: Order
) -> tf.data.Dataset:
    """(positions, number of the data set, id), int64 [batch_size] each, of steps [start, stop)."""
    ids = StepIds(mix, batch_size, seed, order)
    if order.bucket:
        return ids.bucketed(start, stop)
    at_once = max(1, _POSITIONS_AT_ONCE // batch_size)
    return tf.data.Dataset.range(start, stop).batch(at_once).map(ids.of).unbatch()


@dataclass(frozen=True)
class StepIds:
    mix: Mix
    batch_size: int
    seed: int
    order: Order

    def of(self, steps: tf.Tensor):
        """Steps [n] -> positions, numbers of the data sets, ids, [n, batch_size] each."""
        columns = tf.range(self.batch_size, dtype=tf.int64)
        positions = steps[:, tf.newaxis] * self.batch_size + columns
        return positions, *self.mix.ids(self.seed, positions, self.order.blocks or 0)

    def bucketed(self, start: int, stop: int) -> tf.data.Dataset:
        """Steps whose examples are of like size, so that a batch needs little padding.

        The examples of each window of `bucket` steps are sorted by size before they are cut into
        batches; the batches of a window come in a shuffled order. A window is a function of the
        seed and its number: any step is reached at once here too. The shares of a mix hold in it.
        """
        bucket = self.order.bucket
        windows = tf.data.Dataset.range(start // bucket, -(-stop // bucket))
        steps = windows.map(self.window, num_parallel_calls=tf.data.AUTOTUNE).unbatch()
        return steps.skip(start % bucket).take(stop - start)

    def window(self, number):
        bucket = self.order.bucket
        sizes = np.concatenate([mixed.source.sizes for mixed in self.mix.sources])
        steps = number * bucket + tf.range(bucket, dtype=tf.int64)
        columns = [tf.reshape(column, [-1]) for column in self.of(steps)]
        by_size = tf.argsort(tf.gather(sizes, columns[-1]), stable=True)
        by_size = tf.reshape(by_size, [bucket, self.batch_size])
        shuffled_batches = tf.argsort(uniform(fold(self.seed, number), tf.range(bucket)))
        rows = tf.gather(by_size, shuffled_batches)
        return tuple(tf.gather(column, rows) for column in columns)


def check_batches(mix: Mix, batch_size: int, batch_ops, num_workers: int) -> None:
    """Raises DataError or ConfigError where there can be no training batches of this size."""
    if len(mix) < batch_size:
        raise DataError(
            f"{mix.name}: expected at least one batch of {batch_size} examples, got {len(mix)}"
        )
    share = batch_size // num_workers
    if batch_ops and share % 2:
        for_each = " for each worker" if num_workers > 1 else ""
        raise ConfigError(
            f"data.batch_ops: {batch_ops[0].name}: expected an even train.batch_size{for_each}, "
            f"got {share}"
        )


def train_batches(
    mix: Mix,
    batch_size: int,
    seed: int,
    start: int = 0,
    stop: int | None = None,
    *,
    order: Order | None = None,
    batch_ops=(),
    share: tuple[int, int] = (0, 1),
    class_weight: np.ndarray | None = None,
) -> tf.data.Dataset:
    """The shuffled batches of steps [start, stop); endless without `stop`.

    `class_weight`: float32 [num_classes], by which examples are weighted, or items of sequences.
    `share`: (number, of how many): only that contiguous share of each batch, as one worker reads.
    """
    worker, num_workers = share
    check_batches(mix, batch_size, batch_ops, num_workers)
    stop = (1 << 62) // batch_size if stop is None else stop
    ids = ids_of_steps(mix, batch_size, seed, start, stop, order or Order())
    if num_workers > 1:
        batch_size //= num_workers
        ids = _rows_of(ids, worker * batch_size, batch_size)
    return _finish(TrainPipeline(mix, batch_size, seed, batch_ops, class_weight).choose(ids))


def _rows_of(ids: tf.data.Dataset, first: int, count: int) -> tf.data.Dataset:
    rows = slice(first, first + count)
    return ids.map(lambda *columns: tuple(column[rows] for column in columns))


@dataclass(frozen=True)
class TrainPipeline:
    """Ids of steps -> batches. Which way is the fastest depends on how large the examples are."""

    mix: Mix
    batch_size: int
    seed: int
    batch_ops: list
    class_weight: np.ndarray | None = None

    def choose(self, ids: tf.data.Dataset) -> tf.data.Dataset:
        specs = self.mix.element_spec.values()
        if any(None in spec.shape.as_list() for spec in specs):
            # Each batch is padded for itself: were it padded with its group, it would depend on
            # the step at which a run began.
            return self.in_groups(ids, 1)
        most = max(1, _EXAMPLES_AT_ONCE // self.batch_size)
        example_bytes = sum(math.prod(spec.shape.as_list()) * spec.dtype.size for spec in specs)
        group = max(1, min(most, _BYTES_AT_ONCE // example_bytes // self.batch_size))
        if group == most or not self.mix.alike:
            return self.in_groups(ids, group)
        return self.read_in_groups(ids, most)

    def in_groups(self, ids: tf.data.Dataset, group: int) -> tf.data.Dataset:
        """Several steps at once: operations cost little more for a group than for a batch."""
        return ids.batch(group).map(self.read_and_treat, tf.data.AUTOTUNE).unbatch()

    def read_and_treat(self, positions, number, ids):
        positions, number, ids = (tf.reshape(c, [-1]) for c in (positions, number, ids))
        seeds = fold(self.seed, positions)
        features = self.mix.features(number, ids, seeds)
        return self.in_steps(self.batch(features, ids, seeds))

    def read_in_groups(self, ids: tf.data.Dataset, most: int) -> tf.data.Dataset:
        """Large examples: read in groups, since a call of Python costs as much for a group as for
        a batch, but treated batch by batch: no pixel is copied into a group and out of it."""
        sources = [mixed.source for mixed in self.mix.sources]
        stored = max(1, *(source.stored_bytes // len(source) for source in sources))
        group = max(1, min(most, _STORED_BYTES_AT_ONCE // stored // self.batch_size))
        raw = ids.batch(group).map(self.read, tf.data.AUTOTUNE).unbatch()
        return raw.map(self.treat, tf.data.AUTOTUNE)

    def read(self, positions, number, ids):
        raw = self.mix.raw(tf.reshape(number, [-1]), tf.reshape(ids, [-1]))
        return positions, ids, self.in_steps(raw)

    def treat(self, positions, ids, raw):
        seeds = fold(self.seed, positions)
        return self.batch(self.mix.sources[0].treat(raw, seeds), ids, seeds)

    def in_steps(self, features: dict) -> dict:
        """[steps * batch, ...] -> [steps, batch, ...], also where only the graph knows lengths."""
        size = self.batch_size
        split = {}
        for key, value in features.items():
            shape = tf.concat([[-1, size], tf.shape(value)[1:]], axis=0)
            split[key] = tf.ensure_shape(tf.reshape(value, shape), [None, size, *value.shape[1:]])
        return split

    def batch(self, features, ids, seeds) -> dict:
        """Features of examples [n], after the operations between the examples of a batch."""
        num_classes = len(self.mix.class_names)
        features = apply_ops(features, seeds, self.batch_ops, num_classes, _BATCH_OPS_DRAW)
        batch = _batch(features, ids, tf.ones_like(ids, tf.float32))
        if self.class_weight is not None:
            batch["sample_weight"] *= _weight_of(batch["targets"], self.class_weight)
        return batch


def _weight_of(targets: tf.Tensor, class_weight: np.ndarray) -> tf.Tensor:
    """Of class indices, int [...], or of probabilities [..., num_classes]: float32 [...]."""
    if targets.dtype.is_integer:
        return tf.gather(class_weight, targets)
    return tf.linalg.matvec(targets, class_weight)


# ---- evaluation batches


class EvalSet(NamedTuple):
    """A data set for evaluation: batches that hold every example once, and how many these are."""

    name: str
    batches: tf.data.Dataset
    num_batches: int

    def first(self, num_batches: int) -> "EvalSet":
        return self._replace(batches=self.batches.take(num_batches)).of_length(num_batches)

    def of_length(self, num_batches: int) -> "EvalSet":
        return self._replace(num_batches=min(num_batches, self.num_batches))

    def endless(self) -> "EvalSet":
        """The same from an iterator that stays, for another takes TensorFlow up to 0.25 s."""
        return self._replace(batches=iter(self.batches.repeat()))


def eval_sets(mix: Mix, batch_size: int, share: tuple[int, int] = (0, 1)) -> list[EvalSet]:
    """Each data set's batches in order; the last one is padded with examples of weight 0.

    `share`: (number, of how many): only that contiguous share of each batch, as one worker reads.
    """
    sets = []
    for mixed, first_id in zip(mix.sources, mix.offsets.tolist(), strict=False):
        pipeline = EvalPipeline(mixed, first_id, batch_size, share)
        num_batches = math.ceil(len(mixed.source) / batch_size)
        batches = tf.data.Dataset.range(num_batches).map(pipeline.batch, tf.data.AUTOTUNE)
        sets.append(EvalSet(mixed.name, _finish(batches), num_batches))
    return sets


@dataclass(frozen=True)
class EvalPipeline:
    mixed: MixSource
    first_id: int
    global_batch: int
    share: tuple[int, int]

    def batch(self, step) -> dict:
        worker, num_workers = self.share
        batch_size = self.global_batch // num_workers
        length = len(self.mixed.source)
        rows = worker * batch_size + tf.range(batch_size, dtype=tf.int64)
        positions = step * self.global_batch + rows
        weight = tf.cast(positions < length, tf.float32)
        indices = tf.minimum(positions, length - 1)
        features = self.mixed.features(indices, fold(0, positions))
        batch = _batch(features, indices + self.first_id, weight)
        return {k: tf.ensure_shape(v, [batch_size, *v.shape[1:]]) for k, v in batch.items()}


def _batch(features, ids, weight) -> dict:
    """`weight` [n] of the examples is spread over the items of sequences; padding weighs 0."""
    if "sample_weight" in features:
        items = features["sample_weight"]
        weight = items * tf.reshape(weight, [-1] + [1] * (items.shape.rank - 1))
    return {
        "inputs": features["inputs"],
        "targets": features["targets"],
        "sample_weight": weight,
        "id": ids,
    }


def _finish(dataset: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    # Whole batches run beside each other, not against the training step.
    options.threading.max_intra_op_parallelism = 1
    return dataset.prefetch(4).with_options(options)


# ---- new examples, for prediction


def open_inputs(inputs, config: TrainConfig, like: str | None = None) -> Mix:
    """Examples without targets, with the operations of evaluation; see LoadedRun.predict.

    Raises DataError for examples that do not fit the network after them.
    """
    spec = config.spec
    ops = inference_ops(config.data, like)
    is_image = len(spec.input_shape) == 3
    if files := _files(inputs, is_image or any(op.any_size for op in ops)):
        source, first_ops = data_loader.source_from_images(files, ops, spec.input_shape)
        ops = [*first_ops, *ops]
    else:
        source = data_loader.source_from(_with_future(_as_floats(inputs, spec), ops, spec))
    mix = Mix.of(_with_targets(source), ops)
    got = mix.element_spec["inputs"]
    expected = tf.TensorSpec(spec.input_shape, spec.input_dtype)
    if not expected.is_compatible_with(got):
        names = ", ".join(op.name for op in ops) or "none"
        raise DataError(
            f"predict: expected inputs of {_shown(expected)} after the operations ({names}), "
            f"got {_shown(got)}; examples are given [n, ...], as the data set holds them"
        )
    return mix


def inference_ops(data: Data, like: str | None = None) -> list:
    """The operations on the inputs of evaluation, none of them random.

    Raises ConfigError where data sets have different ones and `like` does not choose.
    """
    sections = {section.name: section for section in data.datasets("valid")}
    if like is not None and like not in sections:
        raise ConfigError(f"like: expected one of {', '.join(sections)}, got {like!r}")
    chosen = [sections[like]] if like else list(sections.values())
    lists = [[*s.first_ops, *s.eval_ops, *s.ops] for s in chosen]
    if any(ops != lists[0] for ops in lists):
        raise ConfigError(
            f"like: expected one of {', '.join(sections)}, since their operations differ"
        )
    ops = [op for op in lists[0] if not op.random and op.changes != ["targets"]]
    both = {"of": "inputs"}
    return [op.model_copy(update=both) if len(op.changes) == 2 else op for op in ops]


def _files(inputs, takes_images: bool) -> list[Path]:
    """Paths of files; [] of what are texts or arrays."""
    items = [inputs] if isinstance(inputs, str | Path) else inputs
    if not isinstance(items, list | tuple | np.ndarray):
        return []
    if not len(items) or not all(isinstance(item, str | Path) for item in items):
        return []
    return [Path(item) for item in items] if takes_images else []


def _as_floats(inputs, spec: Spec):
    """Whole numbers become floats where the network takes floats: bytes stay bytes."""
    if isinstance(inputs, str):
        return [inputs]
    if isinstance(inputs, dict) and "inputs" in inputs:
        return inputs | {"inputs": _as_floats(inputs["inputs"], spec)}
    try:
        array = np.asarray(inputs)
    except ValueError as error:
        raise DataError(f"predict: expected inputs of one shape: {error}") from None
    is_whole = array.dtype.kind in "iu" and array.dtype != np.uint8
    return array.astype(np.float32) if is_whole and "float" in spec.input_dtype else array


def _with_future(inputs, ops: list, spec: Spec):
    """Series as long as the network sees get rows of 0 in the place of what is to be forecast."""
    horizon = sum(getattr(op, "horizon", 0) for op in ops)
    if not horizon or isinstance(inputs, dict) or inputs.shape[1:2] != (spec.input_shape[0],):
        return inputs
    return np.pad(inputs, [[0, 0], [0, horizon], *[[0, 0]] * (inputs.ndim - 2)])


def _with_targets(source: data_loader.Source) -> data_loader.Source:
    """Zeros, since operations and batches expect some."""

    def read(indices):
        return {"targets": tf.zeros_like(indices), **source.read(indices)}

    return replace(source, read=read)


# ---- preview


def preview(config: TrainConfig, path: Path, count: int, split: str) -> dict:
    """Draws the first `count` examples of a split, after all operations, with their targets."""
    mix = open_mix(measured(config.data), split, training=split == "train")
    count = min(count, len(mix))
    if split == "train":
        order = config.data.order
        batch_ops = config.data.batch_ops
        count = max(2, count - count % 2) if batch_ops else count  # they need pairs
        seed = config.train.seed
        batches = train_batches(mix, count, seed, 0, 1, order=order, batch_ops=batch_ops)
    else:
        batches = eval_sets(mix, count)[0].batches
    with mix.naming_examples():
        batch = {key: value.numpy() for key, value in next(iter(batches)).items()}
    contact_sheet(path, _cells(batch, mix))
    show_reports({split: mix})
    shape = list(batch["inputs"].shape[1:])
    result = {"preview": str(path), "data": mix.name, "split": split}
    return result | {"examples": len(batch["id"]), "inputs": shape}


def _cells(batch: dict, mix: Mix) -> list[tuple]:
    """(what is shown, caption) of each example."""
    spec = spec_of(mix)
    tokens = spec.tokens
    cells = []
    for row, example in enumerate(batch["id"]):
        inputs = batch["inputs"][row]
        shown = _shown_inputs(inputs, batch["targets"][row], tokens, mix)
        caption = _target_text(batch["targets"][row], batch["sample_weight"][row], spec)
        if len(mix.sources) > 1:
            caption = f"{mix.source_of(int(example))[0].name}: {caption}"
        cells.append((shown, caption))
    return cells


def _shown_inputs(inputs, target, tokens: list[str], mix: Mix):
    if tokens:
        return " ".join(tokens[token] for token in inputs if token)
    if inputs.ndim != 2:
        return inputs
    columns = mix.sources[0].source.columns.get("inputs", [])
    is_forecast = np.issubdtype(target.dtype, np.floating) and target.ndim == 1
    return Series(inputs, columns, target if is_forecast else target[:0].ravel())


def _target_text(target, weight, spec: Spec) -> str:
    if tokens := spec.target_tokens:
        return " ".join(tokens[token] for token in target if token)
    names = spec.class_names
    if names and np.issubdtype(target.dtype, np.integer) and target.ndim > 1:  # of pixels
        counts = np.bincount(target[weight > 0], minlength=len(names))
        shares = zip(names, counts / max(1, counts.sum()), strict=True)
        return ", ".join(f"{name} {share:.0%}" for name, share in shares if share)
    if names and np.issubdtype(target.dtype, np.integer):
        items = zip(np.atleast_1d(target), np.atleast_1d(weight), strict=True)
        return " ".join(names[item] for item, counts in items if counts)
    if names and target.shape == (len(names),):  # probabilities
        likely = [place for place in np.argsort(-target)[:3] if target[place] > 0]
        return ", ".join(f"{names[place]} {target[place]:.2f}" for place in likely)
    shown = ", ".join(f"{value:.4g}" for value in target.ravel()[:4])
    return shown + (" ..." if target.size > 4 else "")


if __name__ == "__main__":
    program.run(COMMAND, lambda: preview(*PREPARED, COMMAND.count, COMMAND.split))
