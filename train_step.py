"""The training step, compiled: the only place that makes gradients.

Everything is a sum over items until one division by the weight of the whole batch: over the items of a part, over the parts of
a tower (`train.accumulate`), over the towers of all processes. Then one clip, one update. So what is computed does not
depend on how a batch is spread, but for rounding; batch statistics are of all towers, but of each accumulated part.
"""

from contextlib import contextmanager

import keras
import tensorflow as tf

from cli.program import ConfigError
from engine.devices import Devices, slice_of
from engine.optimizer import build_multipliers, build_optimizer, build_schedule
from engine.stateless import fold
from engine.variables import layers_of, named_variables, without_keras_sum
from engine.weights import freeze
from model import Task, build_model, build_task, cast_floats
from tasks.metrics import Sums
from train_config import Clock, Train, TrainConfig

_LOSS_SCALE = (
    2.0**10
)  # of float16 at first; doubled after so many finite steps, halved after one that is not
_STEPS_TO_GROW = 2000


class TrainStep:
    """Many steps a call. A step whose loss or gradient is not finite leaves weights, averages and slots as they were."""

    def __init__(
        self,
        model: keras.Model,
        task: Task,
        optimizer,
        schedule,
        train: Train,
        clip_norm=None,
        multipliers=(),
        devices=None,
    ):
        """`multipliers`: (variable, factor of its updates); an optimizer has none, and Adam's updates do not scale with gradients."""
        self.model, self.task, self.optimizer, self.schedule, self.train = (
            model,
            task,
            optimizer,
            schedule,
            train,
        )
        self.clip_norm, self.multipliers = clip_norm, multipliers
        without_keras_sum(optimizer)
        self.devices: Devices = devices or Devices(tf.distribute.get_strategy())
        self.float_type = (
            tf.float64 if train.precision == "float64" else tf.float32
        )  # of what is added up
        self._dropout_states = [
            v for v in model.variables if v.path.endswith("seed_generator_state")
        ]
        self._statistics = [
            v for v in model.non_trainable_variables if not v.path.endswith("seed_generator_state")
        ]
        with self.devices.strategy.scope():
            self.metrics = Sums(
                {"loss": keras.metrics.Mean(name="loss"), **task.metrics(training=True)}
            )
            schedule.factor = self.rate_factor = tf.Variable(
                1.0, trainable=False
            )  # follows from how often a run was rolled back
            self.step = keras.Variable(0, trainable=False, dtype="int64", name="step")
            self.state = {"step": self.step}
            if train.non_finite.name == "skip":
                self.state["skipped"] = keras.Variable(
                    0, trainable=False, dtype="int64", name="skipped"
                )
            if train.precision == "float16":
                self.state["loss_scale"] = keras.Variable(
                    _LOSS_SCALE, trainable=False, name="loss_scale"
                )
                self.state["finite_steps"] = keras.Variable(
                    0, trainable=False, dtype="int64", name="finite_steps"
                )
            averaged = [v for v in model.variables if train.ema and "float" in v.dtype]
            self.averages = {
                v.path: (keras.Variable(tf.convert_to_tensor(v), trainable=False, dtype=v.dtype), v)
                for v in averaged
            }
        self.input_wait = tf.Variable(
            0.0, trainable=False, dtype=tf.float64
        )  # seconds; a reading, not state
        self._forward_backward = (
            tf.function(self._gradients, jit_compile=True)
            if _is_compiled(model, train.jit)
            else self._gradients
        )
        self.run = tf.function(self._run, reduce_retracing=True)
        self.run_one = tf.function(self._run_one, reduce_retracing=True)
        self.inspect = tf.function(self._inspect, reduce_retracing=True)
        self.read_metrics = tf.function(self._read_metrics)

    def variables(self) -> dict[str, keras.Variable]:
        """Everything that a step changes, by name."""
        averages = {path: average for path, (average, _) in self.averages.items()}
        ours = {"trainer": self.state, "metrics": self.metrics.totals, "ema": averages}
        named = named_variables(model=self.model.variables, optimizer=self.optimizer.variables)
        return named | {
            f"{group}/{name}": variable
            for group, variables in ours.items()
            for name, variable in variables.items()
        }

    # ------------------------------------------------------------------------------------------------- compiled calls

    def _run(self, iterator, num_steps):
        """Up to `num_steps` steps; returns whether all were finite or skipped. The next batch is fetched while a step computes."""
        with self.devices.strategy.scope():
            done, goes_on, batch = 0, True, self.devices.split_to_towers(self._first_of(iterator))
            while done < num_steps and goes_on:
                done += 1
                following = (
                    self.devices.split_to_towers(next(iterator)) if done < num_steps else batch
                )
                goes_on, *_ = self._one_step(batch)
                with tf.control_dependencies([goes_on]):
                    step_end = tf.timestamp()
                with tf.control_dependencies(
                    [step_end, *self.devices.first_local([following["id"]])]
                ):
                    self.input_wait.assign_add(tf.timestamp() - step_end)
                batch = following
        return goes_on

    def run_on_workers(self, iterator, num_steps: int) -> bool:
        """Steps on the workers of parameter servers, in no order; each batch is computed once, also where a worker is lost.

        The batches are made here: so they are those of every other strategy, whatever the data set.
        """
        coordinator = self.devices.coordinator
        found = [
            coordinator.schedule(self.run_one, args=(next(iterator),)) for _ in range(num_steps)
        ]
        coordinator.join()
        return all(bool(each.fetch()) for each in found)

    def _run_one(self, batch):
        return self._one_step(batch)[0]

    def _inspect(self, iterator):
        """One step: whether to go on, whether it was finite, the batch, the gradients as applied. Other steps do not pay for these."""
        with self.devices.strategy.scope():
            batch = self._first_of(iterator)
            goes_on, finite, gradients, scale = self._one_step(self.devices.split_to_towers(batch))
            return (
                goes_on,
                finite,
                batch,
                [gradient * scale for gradient in self.devices.first_local(gradients)],
            )

    def forward(self, batch) -> tf.Tensor:
        """The unreduced loss of a batch, uncompiled and changing nothing, so that each layer can be looked at; each tower has all of it."""

        def whole(batch):
            self._seed_dropout(0)
            return self.task.loss(
                batch["targets"], self.task.call(self.model, batch, training=True)
            )

        before = [tf.identity(variable) for variable in self._statistics]
        with self.devices.strategy.scope():
            (loss,) = self.devices.first_local(
                [self.devices.strategy.run(whole, args=(cast_floats(batch, self.float_type),))]
            )
        for variable, value in zip(self._statistics, before, strict=True):
            variable.assign(value)
        return loss

    def _first_of(self, iterator):
        """The first batch of a call, which nothing computes beside: all of the time is waiting."""
        begin = tf.timestamp()
        with tf.control_dependencies([begin]):
            batch = next(iterator)
        with tf.control_dependencies([batch["id"]]):
            self.input_wait.assign_add(tf.timestamp() - begin)
        return batch

    def _read_metrics(self):
        """The means since the last reading, and the learning rate of the last step; starts them again."""
        with self.devices.strategy.scope():
            readings = self.metrics.results() | {"learning_rate": self.schedule(self.step - 1)}
            readings |= {
                name: tf.cast(self.state[name], tf.float32)
                for name in ("skipped", "loss_scale")
                if name in self.state
            }
            self.metrics.reset()
            return readings

    # ------------------------------------------------------------------------------------------------------- one step

    def _one_step(self, batch):
        """(whether to go on, whether it was finite, gradient sums on each tower, their factor) of a batch that is dealt to the towers."""
        before = [tf.identity(variable) for variable in self._statistics]
        sums = self.devices.sum_over_towers(self._sums_over_parts(batch))
        number = len(self.model.trainable_variables)
        gradients, (weight, total, *contributions) = (
            sums[:number],
            self.devices.first_local(sums[number:]),
        )
        # Sums become means and are clipped in one multiplication: by 1/weight, and by clip_norm/norm where that is less.
        norm = tf.linalg.global_norm(self.devices.first_local(gradients))
        scale = 1.0 / tf.maximum(weight, 1e-12)
        if self.clip_norm is not None:
            scale = tf.where(
                tf.math.is_finite(norm), tf.minimum(scale, self.clip_norm / norm), scale
            )
        finite = tf.math.is_finite(norm) & tf.math.is_finite(total)
        if finite:
            self._update(gradients, scale)
            self.metrics.add(contributions)
        else:
            for variable, value in zip(self._statistics, before, strict=True):
                variable.assign(value)
        return self._goes_on(finite), finite, gradients, scale

    def _sums_over_parts(self, batch) -> list:
        """Each tower's sums over its share of the batch, taken in `train.accumulate` parts, one after the other."""
        run, parts = self.devices.strategy.run, self.train.accumulate
        if parts == 1:
            return run(self._sums, args=(batch, 0))
        sums = run(self._zeros)
        for part in tf.range(
            parts
        ):  # not inside strategy.run, where towers could not exchange batch statistics from a loop
            sums = run(self._added, args=(sums, batch, part))
        return sums

    def _added(self, sums, batch, part):
        share = {key: slice_of(value, part, self.train.accumulate) for key, value in batch.items()}
        return [a + b for a, b in zip(sums, self._sums(share, part), strict=True)]

    def _zeros(self):
        shapes = (
            [v.shape for v in self.model.trainable_variables]
            + [(), ()]
            + [v.shape for v in self.metrics.totals.values()]
        )
        return [tf.zeros(shape, self.float_type) for shape in shapes]

    def _sums(self, batch, part) -> list:
        """Of one part on one tower: [gradient of each variable, weight, loss, contributions to metrics]."""
        tower = tf.distribute.get_replica_context().replica_id_in_sync_group
        self._seed_dropout(tower * self.train.accumulate + part)
        gradients, weight, total, loss, outputs = self._forward_backward(
            batch, tf.convert_to_tensor(self.state.get("loss_scale", 1.0))
        )
        loss, outputs = cast_floats((loss, outputs), tf.float32)
        contributions = self.metrics.of(loss, batch["targets"], outputs, batch["sample_weight"])
        return [
            *gradients,
            weight,
            total,
            *(tf.cast(each, self.float_type) for each in contributions),
        ]

    def _gradients(self, batch, loss_scale):
        batch = cast_floats(batch, self.float_type)
        loss_scale = tf.cast(loss_scale, self.float_type)
        variables, sample_weight = self.model.trainable_variables, batch["sample_weight"]
        weight = tf.reduce_sum(sample_weight)
        with tf.GradientTape() as tape:
            outputs = cast_floats(self.task.call(self.model, batch, training=True), self.float_type)
            loss = self.task.loss(batch["targets"], outputs)  # the shape of sample_weight
            # Regularizers count once per step: times the weight that the division takes out again.
            penalty = tf.add_n(
                [
                    tf.zeros([], self.float_type),
                    *(tf.cast(each, self.float_type) for each in self.model.losses),
                ]
            )
            total = tf.reduce_sum(loss * sample_weight) + weight * penalty
            scaled = total * loss_scale  # so that small gradients are not 0 in float16
        gradients = tape.gradient(scaled, variables)
        missing = [
            v.path for v, gradient in zip(variables, gradients, strict=True) if gradient is None
        ]
        if missing:
            raise ConfigError(
                f"{self.model.name}: no gradient reaches {', '.join(missing)}; expected every trainable variable in the loss"
            )
        gradients = [
            tf.cast(tf.convert_to_tensor(gradient), self.float_type) / loss_scale
            for gradient in gradients
        ]
        return gradients, weight, total, loss, outputs

    def _seed_dropout(self, part) -> None:
        """Random layers draw from (seed, step, layer, part of the batch): a resumed run draws what the uninterrupted one would have."""
        for layer, state in enumerate(self._dropout_states):
            bits = fold(fold(self.train.seed, self.step), part * len(self._dropout_states) + layer)
            halves = tf.stack(
                [
                    bits & tf.constant(0xFFFFFFFF, tf.uint64),
                    tf.bitwise.right_shift(bits, tf.constant(32, tf.uint64)),
                ]
            )
            state.assign(tf.cast(halves, state.dtype))

    def _update(self, gradients, scale) -> None:
        before = [tf.identity(variable) for variable, _ in self.multipliers]
        self.devices.strategy.run(self._apply, args=(gradients, scale))
        for (variable, factor), old in zip(self.multipliers, before, strict=True):
            variable.assign(old + factor * (variable - old))
        for average, variable in self.averages.values():
            average.assign(
                average + (1.0 - tf.cast(self._decay(), average.dtype)) * (variable - average)
            )

    def _apply(self, gradients, scale) -> None:
        self.optimizer.apply(
            [gradient * scale for gradient in gradients], self.model.trainable_variables
        )

    def _decay(self):
        """Of the averages: less in the first steps, which would otherwise remember the random weights for long."""
        step = tf.cast(self.step, tf.float32)
        return tf.minimum(self.train.ema, (1.0 + step) / (10.0 + step))

    def _goes_on(self, finite):
        """Counts the step unless it ends the run: a step that is not finite is left out where float16 or train.non_finite allow it."""
        goes_on = finite
        if "loss_scale" in self.state:
            loss_scale, finite_steps = self.state["loss_scale"], self.state["finite_steps"]
            goes_on |= tf.convert_to_tensor(loss_scale) > 1.0
            grows = finite & (tf.convert_to_tensor(finite_steps) + 1 >= _STEPS_TO_GROW)
            factor = tf.where(finite, tf.where(grows, 2.0, 1.0), 0.5)
            loss_scale.assign(tf.maximum(loss_scale * factor, 1.0))
            finite_steps.assign(tf.where(finite & ~grows, finite_steps + 1, 0))
        if "skipped" in self.state:
            skips = ~goes_on & (
                tf.convert_to_tensor(self.state["skipped"]) < self.train.non_finite.at_most
            )
            self.state["skipped"].assign_add(tf.cast(skips, tf.int64))
            goes_on |= skips
        self.step.value.assign_add(tf.cast(goes_on, tf.int64))
        if len(self.state) > 1:  # the learning rate is of the step, taken or left out
            self.optimizer.iterations.assign_add(
                tf.cast(goes_on & ~finite, self.optimizer.iterations.dtype)
            )
        return goes_on

    def skip_to(self, step: int) -> None:
        """Counts up to `step` without computing."""
        self.optimizer.iterations.assign(step)
        self.step.assign(step)

    # ------------------------------------------------------------------------------------------------------- averages

    def begin_averages(self) -> None:
        """Lets the averages begin with the weights as they are."""
        for average, variable in self.averages.values():
            average.assign(tf.convert_to_tensor(variable))

    @contextmanager
    def averaged(self):
        """Inside `with` the network has the averaged weights, where there are any; afterwards its own, bit for bit."""
        kept = [variable.numpy() for _, variable in self.averages.values()]
        for average, variable in self.averages.values():
            variable.assign(tf.convert_to_tensor(average))
        try:
            yield
        finally:
            for (_, variable), value in zip(self.averages.values(), kept, strict=True):
                variable.assign(value)


def build_train_step(config: TrainConfig, examples: int, devices: Devices) -> TrainStep:
    """The step of a resolved configuration (with its spec), for a training set of so many examples."""
    clock = Clock(config.train.batch_size, examples)
    model = build_model(
        config.model, config.spec, config.train.seed, config.train.precision, devices.strategy
    )
    task = build_task(config.task, config.spec)
    if config.freeze:
        freeze(model, config.freeze)
    schedule = build_schedule(config.optimizer, clock, clock.total_steps(config.train))
    with devices.strategy.scope():
        optimizer = build_optimizer(config.optimizer, schedule, model)
    multipliers = ()
    if config.optimizer.multipliers:
        multipliers = build_multipliers(config.optimizer, model)
    return TrainStep(
        model,
        task,
        optimizer,
        schedule,
        config.train,
        config.optimizer.clip_norm,
        multipliers,
        devices,
    )


def _is_compiled(model: keras.Model, jit: str) -> bool:
    """Whether XLA compiles the network: it has no cuDNN cells, and compiles anew for every length."""
    on_gpus = bool(tf.config.list_logical_devices("GPU"))
    synchronized = any(getattr(layer, "synchronized", False) for layer in layers_of(model))
    if jit == "on" and synchronized and not on_gpus:
        raise ConfigError(
            "train.jit: on: expected auto or off for batch normalization over several CPU towers, whose exchange XLA lacks"
        )
    if jit != "auto":
        return jit == "on"
    cells = any(
        isinstance(layer, (keras.layers.LSTM, keras.layers.GRU)) for layer in layers_of(model)
    )
    any_length = any(None in tensor.shape[1:] for tensor in model.inputs)
    return on_gpus and not cells and not any_length
