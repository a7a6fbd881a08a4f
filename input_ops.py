"""The input pipeline: which examples a step sees, read, treated and batched as {inputs, targets, sample_weight, id}.

Step s holds positions s * batch_size + [0, batch_size); `order.py` says which example of which data set a position is.

python input_ops.py --config FILE --preview sheet.png [--count 32] [--split train] [key=value ...]
"""

import math
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import train_config
from cli import program
from cli.program import ConfigError, DataError

COMMAND = program.Command(
    "input_ops",
    "python input_ops.py --config FILE --preview sheet.png [key=value ...]",
    train_config.TrainConfig,
)
COMMAND.string("config", None, "The run's YAML file; see configs/.")
COMMAND.string("preview", None, "The picture to be written: .png or .jpg.")
COMMAND.integer("count", 32, "How many examples.", lower_bound=1, upper_bound=1000)
COMMAND.choice(
    "split",
    "train",
    ["train", "valid", "test"],
    "Which split, treated as in training or as in evaluation.",
)


def prepare(command: program.Command):
    for flag in ("config", "preview"):
        if getattr(command, flag) is None:
            raise ConfigError(f"command line: --{flag}: missing; expected a file")
    path = Path(command.preview)
    if path.suffix not in (".png", ".jpg") or not path.parent.is_dir():
        raise ConfigError(
            f"command line: --preview: expected a .png or .jpg in a directory that exists, got {path}"
        )
    return train_config.load_config(command.config, command.overrides), path


if __name__ == "__main__":  # before TensorFlow is imported: a mistake answers at once
    PREPARED = program.start(COMMAND, prepare)

import numpy as np
import tensorflow as tf

import data_loader
from cli.typed_yaml import show
from engine.devices import GONE
from engine.order import shuffled, slot_table, slots
from engine.stateless import fold, uniform
from engine.summary import contact_sheet
from ops.sequences import target_units
from preprocess_data import (
    BATCH_OPS,
    READING_ERRORS,
    apply_ops,
    cached,
    first_failure,
    measured,
    vocabulary,
)
from train_config import Data, Spec

_POSITIONS_AT_ONCE = (
    8192  # the order is computed for many steps in one go: a few hundred small ops, paid once
)
_EXAMPLES_AT_ONCE = 512  # small batches are read and treated in groups,
_BYTES_AT_ONCE = 1 << 21  # as long as a group stays small,
_STORED_BYTES_AT_ONCE = 1 << 25  # also as it lies in files
_BATCH_OPS_DRAW = 1 << 20  # beyond the numbers from which the operations of a data set draw


# -------------------------------------------------------------------------------------------------------------- mix


@dataclass(frozen=True)
class Part:
    """A data set of a mix: its source, the operations on it, and its slots in each cycle of positions."""

    name: str
    source: data_loader.Source
    ops: list
    slots: int = 1

    def treat(self, features, seeds):
        return apply_ops(features, seeds, self.ops, len(self.source.class_names))


class Mix:
    """What one split consists of: one data set or several. The id of an example counts on through all of them."""

    def __init__(self, parts: list[Part]):
        self.parts = parts
        self.offsets = np.cumsum([0, *(len(part.source) for part in parts)])
        self.set_of_slot, self.rank_of_slot = slot_table([part.slots for part in parts])
        specs, raw = zip(*map(_element_spec, parts), strict=True)
        for part, spec in zip(parts[1:], specs[1:], strict=True):
            _check_same(parts[0], specs[0], part, spec)
        self.element_spec = specs[0]
        # Sets that are treated alike are put together before, not after: encoded images are a tenth of the pixels.
        self.alike = all(part.ops == parts[0].ops for part in parts) and all(
            each == raw[0] for each in raw
        )

    @classmethod
    def of(cls, source: data_loader.Source, ops: list) -> "Mix":
        return cls([Part(source.name, source, ops)])

    def __len__(self) -> int:
        return int(self.offsets[-1])

    @property
    def name(self) -> str:
        return " + ".join(part.name for part in self.parts)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.parts[0].source.class_names

    @property
    def fingerprint(self) -> str:
        return " ".join(part.source.fingerprint for part in self.parts)

    def part_of(self, example: int) -> tuple[Part, int]:
        """The data set of an example, by its id, and its index there."""
        number = int(np.searchsorted(self.offsets, example, side="right")) - 1
        return self.parts[number], example - int(self.offsets[number])

    def locate(self, example: int) -> str:
        """The file, line or record of an example, by its id."""
        part, index = self.part_of(example)
        return part.source.locate(index)

    def shares(self, examples: int) -> list[str]:
        """One line per data set: what a run over so many examples takes of it."""
        cycle = sum(part.slots for part in self.parts)
        lines = []
        for part in self.parts:
            share, length = part.slots / cycle, len(part.source)
            lines.append(
                f"{part.name}: {share:.2%} of every batch, {examples * share / length:.2f} epochs of {length:,}"
            )
        return lines

    def ids(self, seed: int, positions: tf.Tensor, blocks: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
        """Positions, int64 of any shape -> (number of the data set, id of the example), of that shape."""
        cycle, slot = positions // len(self.set_of_slot), positions % len(self.set_of_slot)
        number = tf.gather(tf.constant(self.set_of_slot, tf.int64), slot)
        ids = tf.zeros_like(positions)
        for i, part in enumerate(self.parts):
            inside = cycle * part.slots + tf.gather(tf.constant(self.rank_of_slot, tf.int64), slot)
            index = shuffled(
                seed + i,
                inside,
                len(part.source),
                part.source.block_length,
                blocks * bool(part.source.block_length),
            )
            ids = tf.where(number == i, index + self.offsets[i], ids)
        return number, ids

    def features(self, number, ids, seeds) -> dict[str, tf.Tensor]:
        """The treated features of examples [n]."""
        if self.alike:
            return self.parts[0].treat(self.raw(number, ids), seeds)
        places, raw = self._read(number, ids)
        treated = [
            part.treat(each, tf.gather(seeds, place))
            for part, each, place in zip(self.parts, raw, places, strict=True)
        ]
        return _stitched(places, treated)

    def raw(self, number, ids) -> dict[str, tf.Tensor]:
        """The features of examples [n] as they are stored; of sets that are treated alike."""
        return (
            self.parts[0].source.read(ids)
            if len(self.parts) == 1
            else _stitched(*self._read(number, ids))
        )

    def _read(self, number, ids) -> tuple[list, list]:
        """(places in [0, n), raw features) of each data set."""
        places = [tf.where(number == i)[:, 0] for i in range(len(self.parts))]
        each = zip(self.parts, places, self.offsets, strict=False)
        return places, [
            part.source.read(tf.gather(ids, place) - offset) for part, place, offset in each
        ]


def _stitched(places: list, features: list[dict]) -> dict:
    places = [tf.cast(place, tf.int32) for place in places]
    shared = features[0].keys() & set.intersection(*(set(each) for each in features))
    return {
        key: tf.dynamic_stitch(places, _same_length([each[key] for each in features]))
        for key in sorted(shared)
    }


def _same_length(values: list) -> list:
    """Sequences of the sets of a mix, padded with 0 to the longest."""
    if values[0].shape.rank < 2 or all(value.shape[1] is not None for value in values):
        return values
    longest = tf.reduce_max([tf.shape(value)[1] for value in values])
    return [
        tf.pad(v, [[0, 0], [0, longest - tf.shape(v)[1]]] + [[0, 0]] * (v.shape.rank - 2))
        for v in values
    ]


def _element_spec(part: Part) -> tuple[dict[str, tf.TensorSpec], dict[str, tf.TensorSpec]]:
    """{feature: shape without the batch and type} of what the operations give, and of what the source gives."""
    raw = {}

    def features(indices, seeds):
        raw.update(part.source.read(indices))
        return part.treat(dict(raw), seeds)

    signature = (tf.TensorSpec([None], tf.int64), tf.TensorSpec([None], tf.uint64))
    found = tf.function(features).get_concrete_function(*signature).structured_outputs
    for key in ("inputs", "targets"):
        if key not in found:
            cure = "; add the operation `window` or `inputs_as_targets`" if key == "targets" else ""
            raise ConfigError(
                f"data.ops: {part.name}: expected {key} after all operations, got {', '.join(sorted(found))}{cure}"
            )
    if found["inputs"].dtype == tf.string:
        raise ConfigError(
            f"data.ops: {part.name}: expected numbers as inputs, got text or encoded images; add `tokenize` or `decode_image`"
        )
    if found["targets"].dtype == tf.string:
        raise ConfigError(
            f"data.ops: {part.name}: expected numbers as targets, got text; add {{name: tokenize, of: targets}}"
        )
    found = {
        key: value for key, value in found.items() if key in ("inputs", "targets", "sample_weight")
    }
    return tuple(
        {key: tf.TensorSpec(value.shape[1:], value.dtype) for key, value in each.items()}
        for each in (found, raw)
    )


def _check_same(first: Part, first_spec, other: Part, other_spec) -> None:
    for key in sorted(first_spec.keys() | other_spec.keys()):
        a, b = first_spec.get(key), other_spec.get(key)
        if a != b:
            raise ConfigError(
                f"data: {key}: {first.name} has {_shown(a)}, {other.name} has {_shown(b)}; expected the same: give one of them operations"
            )
    if first.source.class_names != other.source.class_names:
        a, b = (", ".join(part.source.class_names[:12]) or "none" for part in (first, other))
        raise ConfigError(
            f"data: classes: {first.name} has {a}, {other.name} has {b}; expected the same"
        )
    if vocabulary(first.ops) != vocabulary(other.ops):
        raise ConfigError(
            f"data: vocabulary: {first.name} and {other.name} have different ones; put `tokenize` into data.ops, for both"
        )


def _shown(spec) -> str:
    return "none" if spec is None else f"{spec.dtype.name} {spec.shape.as_list()}"


def open_mix(data: Data, split: str, training: bool) -> Mix:
    """The data sets of a split with the operations for training or for evaluation."""
    parts, described = [], data.datasets(split)
    if data.cache and not any(part.first_ops for part in described):
        raise ConfigError(
            "data.cache: expected operations in first_ops, whose results are kept, got none"
        )
    blocks = data.order.blocks if training else None
    for part, count in zip(described, slots([part.rate for part in described]), strict=True):
        source = data_loader.load(part.dataset, split, part.directory)
        if blocks and source.block_length:
            source = replace(
                source, read=source.read_in_blocks(2 * blocks)
            )  # one group is read while another is used
        first, rest = part.first_ops, [*(part.train_ops if training else part.eval_ops), *part.ops]
        if data.cache and first:
            source, first = cached(replace(source, name=part.name), first), []
        parts.append(Part(part.name, source, [*first, *rest], count))
    if training and data.order.bucket and any(part.source.sizes is None for part in parts):
        names = ", ".join(part.name for part in parts if part.source.sizes is None)
        raise ConfigError(
            f"data.order.bucket: expected texts or records, whose sizes are known, got {names}"
        )
    if blocks and not any(part.source.block_length for part in parts):
        raise ConfigError(
            f"data.order.blocks: expected a set in shards, such as `records`, got {', '.join(part.name for part in parts)}"
        )
    return Mix(parts)


def order_of(data: Data) -> dict[str, int]:
    """How training examples are ordered, as `ids_of_steps` takes it."""
    return {"blocks": data.order.blocks or 0, "bucket": data.order.bucket or 0}


def spec_of(mix: Mix) -> Spec:
    """What a network must know of these examples."""
    inputs, targets, ops = mix.element_spec["inputs"], mix.element_spec["targets"], mix.parts[0].ops
    return Spec(
        input_shape=inputs.shape.as_list(),
        input_dtype=inputs.dtype.name,
        target_shape=targets.shape.as_list(),
        target_dtype=targets.dtype.name,
        num_classes=len(mix.class_names),
        class_names=list(mix.class_names),
        vocabulary="\n".join(vocabulary(ops, "inputs")),
        target_vocabulary="\n".join(vocabulary(ops, "targets")),
        target_units=target_units(ops),
    )


def check_spec(expected: Spec, mix: Mix) -> None:
    """Raises DataError where other data than the network was built for would not fit it."""
    found = spec_of(mix)
    for field in Spec.model_fields:
        want, got = getattr(expected, field), getattr(found, field)
        if want != got:
            raise DataError(
                f"{mix.name}: {field}: expected {show(want)}, as in training, got {show(got)}"
            )


# ---------------------------------------------------------------------------------------------------------- batches


def ids_of_steps(
    mix: Mix, batch_size: int, seed: int, start: int, stop: int, blocks: int = 0, bucket: int = 0
) -> tf.data.Dataset:
    """(positions, number of the data set, id of the example), int64 [batch_size] each, of steps [start, stop).

    With `bucket`, the examples of each window of so many steps are put in the order of their sizes before they are cut into
    batches, so that a batch needs little padding; the batches of a window come in a shuffled order. A window is a function
    of the seed and its number: any step is reached at once here too. In a mix the shares then hold in each window.
    """

    def ids_of(steps):
        positions = steps[:, tf.newaxis] * batch_size + tf.range(
            batch_size, dtype=tf.int64
        )  # (steps,) -> (steps, batch)
        return positions, *mix.ids(seed, positions, blocks)

    if not bucket:
        steps = tf.data.Dataset.range(start, stop)
        return steps.batch(max(1, _POSITIONS_AT_ONCE // batch_size)).map(ids_of).unbatch()
    sizes = np.concatenate([part.source.sizes for part in mix.parts])

    def window(number):
        positions, of_set, ids = (
            tf.reshape(part, [-1])
            for part in ids_of(number * bucket + tf.range(bucket, dtype=tf.int64))
        )
        by_size = tf.reshape(tf.argsort(tf.gather(sizes, ids), stable=True), [bucket, batch_size])
        places = tf.gather(by_size, tf.argsort(uniform(fold(seed, number), tf.range(bucket))))
        return tuple(tf.gather(part, places) for part in (positions, of_set, ids))

    windows = tf.data.Dataset.range(start // bucket, -(-stop // bucket)).map(
        window, num_parallel_calls=tf.data.AUTOTUNE
    )
    return windows.unbatch().skip(start % bucket).take(stop - start)


def check_batches(mix: Mix, batch_size: int, batch_ops=(), parts: int = 1) -> None:
    """Raises DataError or ConfigError where there can be no training batches of this size, read in so many parts."""
    if len(mix) < batch_size:
        raise DataError(
            f"{mix.name}: expected at least one batch of {batch_size} examples, got {len(mix)}"
        )
    if batch_ops and (own := batch_size // parts) % 2:
        each = " for each worker" if parts > 1 else ""
        raise ConfigError(
            f"data.batch_ops: {batch_ops[0].name}: expected an even train.batch_size{each}, got {own}"
        )


def train_batches(
    mix: Mix,
    batch_size: int,
    seed: int,
    start: int = 0,
    stop: int | None = None,
    batch_ops=(),
    blocks: int = 0,
    bucket: int = 0,
    part: tuple[int, int] = (0, 1),
):
    """A tf.data.Dataset of the shuffled batches of steps [start, stop); endless without `stop`.

    `part`: (number, parts): only that contiguous part of each batch is read, as one of several processes does.
    """
    check_batches(mix, batch_size, batch_ops, part[1])
    stop = (1 << 62) // batch_size if stop is None else stop
    ids = ids_of_steps(mix, batch_size, seed, start, stop, blocks, bucket)
    if part[1] > 1:
        batch_size //= part[1]
        own = slice(part[0] * batch_size, (part[0] + 1) * batch_size)
        ids = ids.map(lambda *columns: tuple(column[own] for column in columns))

    def treated(positions, ids, features_of):
        seeds = fold(seed, positions)
        features = features_of(seeds)
        for draw, config in enumerate(batch_ops, _BATCH_OPS_DRAW):
            features = BATCH_OPS[config.name](
                features, fold(seeds, draw), config, num_classes=len(mix.class_names)
            )
        return _batch(features, ids, tf.ones_like(ids, tf.float32))

    def read_and_treat(positions, number, ids):
        """Several steps at once: operations cost little more for a group than for one small batch."""
        positions, number, ids = (tf.reshape(part, [-1]) for part in (positions, number, ids))
        batch = treated(positions, ids, lambda seeds: mix.features(number, ids, seeds))
        return {key: _in_steps(value, batch_size) for key, value in batch.items()}

    def read(positions, number, ids):
        """Several steps at once: a call of Python costs as much for a group as for one batch."""
        raw = mix.raw(*(tf.reshape(part, [-1]) for part in (number, ids)))
        return positions, ids, {key: _in_steps(value, batch_size) for key, value in raw.items()}

    def treat(positions, ids, raw):
        return treated(positions, ids, lambda seeds: mix.parts[0].treat(raw, seeds))

    auto = tf.data.AUTOTUNE
    if any(None in spec.shape.as_list() for spec in mix.element_spec.values()):
        # Each batch is padded for itself: were it padded with its group, it would depend on the step a run began with.
        return _finish(ids.batch(1).map(read_and_treat, num_parallel_calls=auto).unbatch())
    most = max(1, _EXAMPLES_AT_ONCE // batch_size)
    group = max(1, min(most, _BYTES_AT_ONCE // _bytes_of(mix) // batch_size))
    if group == most or not mix.alike:
        return _finish(ids.batch(group).map(read_and_treat, num_parallel_calls=auto).unbatch())
    # Large examples: read in groups, but treated batch by batch, so that no pixel is copied into a group and out of it.
    stored = max(part.source.stored_bytes // len(part.source) for part in mix.parts)
    at_once = max(1, min(most, _STORED_BYTES_AT_ONCE // max(1, stored) // batch_size))
    return _finish(
        ids.batch(at_once)
        .map(read, num_parallel_calls=auto)
        .unbatch()
        .map(treat, num_parallel_calls=auto)
    )


def eval_sets(
    mix: Mix, batch_size: int, part: tuple[int, int] = (0, 1)
) -> list[tuple[str, tf.data.Dataset, int]]:
    """[(name, batches, their number)] of each data set: every example once, in order; the last batch padded with weight 0.

    `part`: (number, parts): only that contiguous part of each batch, as one of several processes reads it.
    """
    return [
        (each.name, *_eval_batches(each, batch_size, int(offset), *part))
        for each, offset in zip(mix.parts, mix.offsets, strict=False)
    ]


def _eval_batches(part: Part, global_batch: int, offset: int, number: int, parts: int):
    length, batch_size = len(part.source), global_batch // parts

    def batch(step):
        positions = step * global_batch + number * batch_size + tf.range(batch_size, dtype=tf.int64)
        weight = tf.cast(positions < length, tf.float32)
        indices = tf.minimum(positions, length - 1)
        features = part.treat(part.source.read(indices), fold(0, positions))
        return _only(
            {
                key: _in_steps(value, batch_size)
                for key, value in _batch(features, indices + offset, weight).items()
            }
        )

    num_batches = math.ceil(length / global_batch)
    return _finish(
        tf.data.Dataset.range(num_batches).map(batch, num_parallel_calls=tf.data.AUTOTUNE)
    ), num_batches


def _batch(features, ids, weight):
    """`weight` [n] of the examples, spread over the items of sequences, whose padding weighs nothing."""
    if "sample_weight" in features:
        items = features["sample_weight"]
        weight = items * tf.reshape(weight, [-1] + [1] * (items.shape.rank - 1))
    return {
        "inputs": features["inputs"],
        "targets": features["targets"],
        "sample_weight": weight,
        "id": ids,
    }


def _in_steps(value: tf.Tensor, batch_size: int) -> tf.Tensor:
    """[steps * batch, ...] -> [steps, batch, ...], also where only the graph knows the length of the sequences."""
    split = tf.reshape(value, tf.concat([[-1, batch_size], tf.shape(value)[1:]], axis=0))
    return tf.ensure_shape(split, [None, batch_size, *value.shape[1:]])


def _only(batches: dict) -> dict:
    """{key: [1, batch, ...]} -> {key: [batch, ...]}."""
    return {key: tf.squeeze(value, 0) for key, value in batches.items()}


def _bytes_of(mix: Mix) -> int:
    """Of one treated example."""
    return sum(
        math.prod(spec.shape.as_list()) * spec.dtype.size for spec in mix.element_spec.values()
    )


def _finish(dataset: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    options.threading.max_intra_op_parallelism = (
        1  # whole batches run beside each other, not against the training step
    )
    return dataset.prefetch(4).with_options(options)


# ---------------------------------------------------------------------------------------------------------- preview


def preview(config: train_config.TrainConfig, path: Path, count: int, split: str) -> dict:
    """Draws the first `count` examples of a split, after everything that is done to them, with their targets."""
    mix = open_mix(measured(config.data), split, training=split == "train")
    count = min(count, len(mix))
    if split == "train":
        count = max(2, count - count % 2) if config.data.batch_ops else count  # they need pairs
        batches = train_batches(
            mix, count, config.train.seed, 0, 1, config.data.batch_ops, **order_of(config.data)
        )
    else:
        batches = eval_sets(mix, count)[0][1]
    with naming_examples(mix, lambda: range(len(mix))):
        batch = {key: value.numpy() for key, value in next(iter(batches)).items()}
    inputs, spec = batch["inputs"], spec_of(mix)
    words, cells = spec.tokens, []
    for number, example in enumerate(batch["id"]):
        shown = (
            " ".join(words[token] for token in inputs[number] if token) if words else inputs[number]
        )
        name = mix.part_of(int(example))[0].name
        target = _target_text(batch["targets"][number], batch["sample_weight"][number], spec)
        cells.append((shown, f"{name}: {target}" if len(mix.parts) > 1 else target))
    contact_sheet(path, cells)
    return {
        "preview": str(path),
        "data": mix.name,
        "split": split,
        "examples": len(cells),
        "inputs": list(inputs.shape[1:]),
    }


def _target_text(target, weight, spec: Spec) -> str:
    if words := spec.target_tokens:
        return " ".join(words[token] for token in target if token)
    if spec.num_classes and np.issubdtype(target.dtype, np.integer):
        return " ".join(
            spec.class_names[item]
            for item, used in zip(np.atleast_1d(target), np.atleast_1d(weight), strict=True)
            if used
        )
    if spec.num_classes and target.shape == (spec.num_classes,):  # soft
        return ", ".join(
            f"{spec.class_names[place]} {target[place]:.2f}"
            for place in np.argsort(-target)[:3]
            if target[place] > 0
        )
    return ", ".join(f"{value:.4g}" for value in target.ravel()[:4]) + (
        " ..." if target.size > 4 else ""
    )


# ------------------------------------------------------------------------------------------------- damaged examples


@contextmanager
def naming_examples(mix: Mix, ids):
    """Turns an error of the pipeline into a DataError that names the example: the first of `ids()` that fails alone."""
    try:
        yield
    except GONE:  # another process, not an example
        raise
    except READING_ERRORS as error:

        def features(some):
            number = (
                tf.searchsorted(
                    tf.constant(mix.offsets, tf.int64), some, side="right", out_type=tf.int64
                )
                - 1
            )
            return mix.features(number, some, fold(0, some))

        if reason := first_failure(error, features, ids(), mix.locate):
            raise DataError(reason) from error
        raise


if __name__ == "__main__":
    program.run(COMMAND, lambda: preview(*PREPARED, COMMAND.count, COMMAND.split))
