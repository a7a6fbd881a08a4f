"""Training: the loop, what ends it, and the program.

python trainer.py --config configs/lenet.yaml [--run_dir DIR] [--print_config] [--debug fdr|overfit|profile] [key=value ...]
python trainer.py --verify RUN                              every checkpoint of a run, byte by byte
python trainer.py --replay RUN/blowup/STEP [key=value ...]  a step that was not finite, once more
"""

import contextlib
import json
import signal
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import train_config
from cli import program
from cli.program import ConfigError, NumericsError, ResourceError, Stopped, StopSignals
from engine import checkpoint
from engine.cluster import check_cluster, read_cluster

COMMAND = program.Command(
    "trainer",
    "python trainer.py --config FILE [--run_dir DIR] [key=value ...]",
    train_config.TrainConfig,
)
COMMAND.string("config", None, "The run's YAML file; see configs/.")
COMMAND.string("run_dir", None, "Where the run lives; runs/<config name> if absent.")
COMMAND.boolean(
    "print_config", False, "Print every field, its value and where the value came from."
)
COMMAND.boolean(
    "allow_changed_data",
    False,
    "Go on although the training data are not those with which the run began.",
)
COMMAND.string("verify", None, "Check every checkpoint of this run directory.")
COMMAND.string(
    "replay",
    None,
    "Repeat the step that was not finite: RUN/blowup/step-...; ends with 5 if it is so again.",
)
COMMAND.choice(
    "debug",
    None,
    ["fdr", "overfit", "profile"],
    "One batch of everything; learn one batch; where the time goes.",
)


def prepare(command: program.Command):
    if command.verify is not None:
        return json.dumps(checkpoint.verify_all(checkpoint.run_of(command.verify)))
    if command.replay is not None:
        kept = Path(command.replay)
        run_dir = checkpoint.run_of(kept.parent.parent)
        return train_config.load_config(run_dir / "config.yaml", command.overrides), kept
    if command.config is None:
        raise ConfigError(
            "command line: --config: missing; expected a file such as configs/lenet.yaml"
        )
    overrides = train_config.DEBUG.get(command.debug, []) + command.overrides
    if command.print_config:
        return train_config.describe_config(command.config, overrides)
    suffix = f"-{command.debug}" if command.debug else ""
    run_dir = Path(command.run_dir or f"runs/{train_config.run_name(command.config)}{suffix}")
    config, cluster = train_config.load_config(command.config, overrides), read_cluster()
    check_cluster(config, cluster)
    if command.debug and cluster:
        raise ConfigError("command line: --debug: expected one machine, got a cluster in TF_CONFIG")
    return config, run_dir


if __name__ == "__main__":  # before TensorFlow is imported: a mistake answers at once
    CONFIG, RUN_DIR = program.start(COMMAND, prepare)

import shlex
import sys
import tempfile
import time

import tensorflow as tf

import blackbox
import input_ops
from engine import devices as distribution
from engine.devices import Devices, open_devices
from engine.summary import MetricsLog, Screen, Stopwatch, TensorBoard
from engine.weights import size_of, write_variables
from run import Progress, Run, build_run, lower_rate, restore, resume, take_from_chief
from train_config import TrainConfig

SECONDS_PER_CALL = 0.5  # of compiled steps between two looks at signals and the screen


def train_and_evaluate(
    config: TrainConfig,
    run_dir: Path,
    *,
    debug: str | None = None,
    on_eval=None,
    allow_changed_data: bool = False,
) -> dict:
    """Trains to the end, going on from the newest checkpoint of `run_dir` if there is one; returns what is printed.

    `on_eval(step, metrics)` is called after each full validation; a true answer ends the run there.
    Raises Stopped after a signal, with everything saved; the same call then goes on.
    """
    watch, begin = Stopwatch(), time.perf_counter()
    devices = open_devices(config.distribute)  # before anything else of TensorFlow
    with (
        checkpoint.lock(run_dir) if devices.is_chief else contextlib.nullcontext(),
        naming_failures(config, devices),
    ):
        with watch("start-up"):
            run = build_run(config, debug, devices)
            progress = resume(run, run_dir, allow_changed_data)
            step = int(tf.convert_to_tensor(run.train_step.step))
        if progress.finished:
            program.warn(f"{run_dir}: already at step {step} of {run.total_steps}: nothing to do")
        else:
            with (
                StopSignals() as signals,
                Screen(run.total_steps, step, quiet=not devices.is_chief) as screen,
            ):
                step = loop(run, run_dir, progress, step, on_eval, signals, screen, watch)
            seconds = time.perf_counter() - begin
            watch.seconds["other"] = max(0.0, seconds - sum(watch.seconds.values()))
            screen.shares(watch.seconds)
        result = {
            "run_dir": str(run_dir),
            "step": step,
            "steps": run.total_steps,
            "examples": step * config.train.batch_size,
        }
        best = [{config.checkpoint.best.metric: value, "step": at} for value, at in progress.best]
        return result | {"valid": progress.valid} | ({"best": best} if best else {})


@contextmanager
def naming_failures(config: TrainConfig, devices: Devices):
    """What TensorFlow raises where memory ends, or where another process of the run has gone: exit with 75, start all of them again."""
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        parts = config.train.batch_size // (devices.towers * config.train.accumulate)
        reason = (str(error).splitlines() or ["no more for Python"])[0][:200]
        cure = "try a smaller train.batch_size or a larger train.accumulate"
        raise ResourceError(
            f"out of memory, with {parts} examples at a time on each of {devices.towers} towers; {cure} ({reason})"
        ) from error
    except distribution.GONE as error:
        if devices.workers == 1 and devices.coordinator is None:
            raise
        reason = str(error).splitlines()[0][:200]
        message = "another process of this run has gone; start all of them again to go on from the last checkpoint"
        raise Stopped(f"{message} ({reason}): {shlex.join(sys.argv)}") from error


def loop(
    run: Run,
    run_dir: Path,
    progress: Progress,
    step: int,
    on_eval,
    signals,
    screen: Screen,
    watch: Stopwatch,
) -> int:
    """The training loop, from `step` to the end; returns the last step."""
    config, clock, total, train_step, evaluate = (
        run.config,
        run.clock,
        run.total_steps,
        run.train_step,
        run.evaluator,
    )
    devices, writes = run.devices, run.devices.is_chief  # the others compute, and keep nothing
    validation, stepwise, summary, log_every = (
        config.validation,
        config.validation.stepwise,
        config.summary,
        config.train.log_every,
    )
    stepwise_every = stepwise and stepwise.every
    images_every = summary.images.every if summary.tensorboard and summary.images else None
    histograms_every = (
        summary.histograms.every if summary.tensorboard and summary.histograms else None
    )
    variables, checkpoints = train_step.variables(), run_dir / "checkpoints"
    size = size_of(variables.values())
    metrics_log = MetricsLog(run_dir / "metrics.jsonl", step) if writes else None
    tensorboard = TensorBoard(run_dir / "tensorboard", step, summary.tensorboard and writes)

    def log(split: str, readings: dict[str, float]) -> None:
        if not writes:
            return
        with watch("logging"):
            metrics_log.write(step, split, readings)
            scalars = {
                name: value for name, value in readings.items() if isinstance(value, float)
            }  # not a confusion matrix
            tensorboard.scalars(step, split, scalars)
            screen.readings(step, split, scalars)

    def save() -> None:
        with watch("saving"):
            metrics_log.flush()
            tensorboard.flush()
            state = {"step": step, "data": run.mix.fingerprint, "progress": asdict(progress)}
            checkpoint.commit(
                checkpoints, step, lambda path: write_variables(path, variables), state, size
            )
            last = list(checkpoint.steps_in(checkpoints))[-config.checkpoint.keep :]
            checkpoint.keep_only(checkpoints, {*last, *(at for _, at in progress.best)})

    if step:
        screen.line(f"{run_dir}: going on from step {step} of {total}")
    elif writes:
        with watch("logging"):
            table = screen.variables({v.path: v for v in train_step.model.weights})
            tensorboard.texts({"config": (run_dir / "config.yaml").read_text(), "variables": table})
            if (
                devices.towers == 1 and devices.coordinator is None
            ):  # else its variables are in several places
                tensorboard.graph(train_step.model)
    for line in run.mix.shares(total * clock.batch_size) if len(run.mix.parts) > 1 else ():
        screen.line(f"data: {line}")
    with watch("validating"):  # a broken evaluation costs seconds here, not an epoch
        evaluate.whole(
            [(name, valid, min(2, number)) for name, valid, number in run.valid], run.valid_mix
        )
    if writes and not step and config.train.non_finite.name == "rollback":
        save()  # the first place to go back to
    batches = iter(run.batches_from(step))
    # Iterators that stay, for making one takes TensorFlow up to a quarter of a second; with four batches ahead, as for training.
    valid = [(name, iter(each.repeat()), number) for name, each, number in run.valid]
    if stepwise:
        valid_batches = iter(
            run.valid_from(clock.times_due(step, stepwise_every) * stepwise.batches)
        )

    seconds_per_step, calls = SECONDS_PER_CALL, 0  # the first call is one step: it compiles
    while not progress.finished:
        # Steps, in one compiled call, up to whatever is due first; a step that summaries look into is a call of its own.
        inspect_at = min(
            clock.next_due(step, every) or total + 1 for every in (images_every, histograms_every)
        )
        cadences = (log_every, stepwise_every, validation.every, config.checkpoint.every)
        ends = [
            total,
            max(step + 1, inspect_at - 1),
            step + max(1, int(SECONDS_PER_CALL / seconds_per_step)),
        ]
        num_steps = min(ends + [clock.next_due(step, every) or total for every in cadences]) - step
        call_begin = time.perf_counter()
        with (
            watch("training"),
            input_ops.naming_examples(
                run.mix, lambda step=step, ahead=num_steps: upcoming(run, step, ahead)
            ),
        ):
            if inspect_at == step + 1:
                goes_on, _, batch, gradients = train_step.inspect(batches)
            elif devices.coordinator:
                goes_on = train_step.run_on_workers(batches, num_steps)
            else:
                goes_on = train_step.run(batches, tf.constant(num_steps))
            goes_on = bool(goes_on)  # waits for the call to end
        if rolled_back := not goes_on:
            num_steps = (
                roll_back(run, run_dir, progress) - step
            )  # raises NumericsError where that is not asked for
            batches = iter(run.batches_from(step + num_steps))
        step, calls = step + num_steps, calls + 1
        progress.finished, is_best = step == total, False
        call_seconds = (time.perf_counter() - call_begin) / num_steps
        stop, call_seconds = devices.agree(signals.number, call_seconds)
        seconds_per_step += (call_seconds - seconds_per_step) * (
            0.3 if calls > 2 else 1.0
        )  # smooth, without the compilation
        screen.progress(
            step, clock.batch_size / seconds_per_step, (total - step) * seconds_per_step
        )

        if clock.is_due(step, histograms_every) and not rolled_back:
            with watch("logging"):
                weights = {f"weights/{v.path}": v for v in train_step.model.trainable_variables}
                named = zip(train_step.model.trainable_variables, gradients, strict=True)
                tensorboard.histograms(
                    step, weights | {f"gradients/{v.path}": gradient for v, gradient in named}
                )
        if clock.is_due(step, images_every) and not rolled_back:
            with watch("logging"):
                tensorboard.images(step, batch["inputs"], summary.images.count)
        if (clock.is_due(step, log_every) or progress.finished) and not rolled_back:
            with watch("logging"):
                readings = {name: float(value) for name, value in train_step.read_metrics().items()}
            log("train", readings | {"examples_per_second": clock.batch_size / seconds_per_step})
        if clock.is_due(step, stepwise_every):
            naming = input_ops.naming_examples(run.valid_mix, lambda: range(len(run.valid_mix)))
            with watch("validating"), naming, scored_weights(run):
                metrics = evaluate(valid_batches, stepwise.batches)
            log("valid_batches", metrics)
        if clock.is_due(step, validation.every) or progress.finished:
            with watch("validating"), scored_weights(run):
                metrics = evaluate.whole(valid, run.valid_mix)
            log("valid", metrics)
            is_best = progress.update(config, step, metrics)
            if on_eval:
                progress.finished |= (
                    devices.agree(1 if on_eval(step, metrics) else None, 0.0)[0] is not None
                )
        if writes and (
            clock.is_due(step, config.checkpoint.every)
            or is_best
            or rolled_back
            or progress.finished
            or stop
        ):
            save()
        if stop and not progress.finished:
            name = signal.Signals(stop).name
            raise Stopped(
                f"{name}: saved {run_dir} at step {step} of {total}; run the same command again to go on: {shlex.join(sys.argv)}"
            )

    if writes:
        metrics_log.close()
    waited = float(train_step.input_wait.numpy())
    watch.seconds |= {"training": watch.seconds["training"] - waited, "waiting for input": waited}
    return step


def scored_weights(run: Run):
    """Inside `with` the network has the weights that are to be scored."""
    return run.train_step.averaged() if run.config.validation.ema else contextlib.nullcontext()


def upcoming(run: Run, step: int, num_steps: int):
    """Ids of the examples that the pipeline may have been treating when a call from `step` on failed."""
    train, ahead = (
        run.config.train,
        512,
    )  # the pipeline treats small batches in groups of up to 512 examples
    order = input_ops.order_of(run.config.data)
    for _, _, ids in input_ops.ids_of_steps(
        run.mix, train.batch_size, train.seed, step, step + num_steps + ahead, **order
    ):
        yield from ids.numpy()


def roll_back(run: Run, run_dir: Path, progress: Progress) -> int:
    """After a step that was not finite: goes back to the last checkpoint, and on to the step after that one.

    Returns that step. Raises NumericsError where train.non_finite does not ask for it (any more). All processes alike.
    """
    failure, step = (
        blown_up(run, run_dir, progress),
        int(tf.convert_to_tensor(run.train_step.step)) + 1,
    )
    policy = run.config.train.non_finite
    if policy.name != "rollback" or progress.rollbacks == policy.at_most:
        raise failure
    if run.devices.is_chief:
        path = checkpoint.newest(run_dir / "checkpoints", quarantine=True)
        program.warn(f"warning: {failure}")
        restore(run, path)
    take_from_chief(run)
    back = int(tf.convert_to_tensor(run.train_step.step))
    progress.rollbacks += 1
    lower_rate(run, progress)
    run.train_step.skip_to(step)
    if run.devices.is_chief:
        rate = f"the learning rate times {policy.factor**progress.rollbacks:g}"
        program.warn(
            f"warning: rollback {progress.rollbacks} of {policy.at_most}: weights of step {back}, on from step {step}, {rate}"
        )
    return step


def blown_up(run: Run, run_dir: Path, progress: Progress) -> NumericsError:
    """Repeats the step that was not finite (it changed nothing), and keeps it: which examples, which layer or variable."""
    train_step, step = run.train_step, int(tf.convert_to_tensor(run.train_step.step))
    _, _, _, gradients = train_step.inspect(iter(run.batches_from(step)))
    batch = next(iter(run.batches_from(step, part=(0, 1))))
    finding = blackbox.find(train_step, batch, gradients)
    ids = batch["id"].numpy().tolist()
    names = {
        "examples": len(run.mix),
        "data": run.mix.name,
        "places": [run.mix.locate(number) for number in ids],
    }
    more = names | {
        "rate_factor": float(train_step.rate_factor.numpy()),
        "learning_rate": float(train_step.schedule(step)),
    }
    kept = ""
    if run.devices.is_chief:
        try:
            kept = blackbox.record(run_dir, step + 1, train_step, batch, gradients, finding, more)
            kept = f"; kept: python trainer.py --replay {kept}"
        except (OSError, ResourceError) as error:  # the numbers are what went wrong
            program.warn(f"warning: the step could not be kept: {error}")
    before = ""
    if skipped := int(tf.convert_to_tensor(train_step.state.get("skipped", 0))):
        before = f"; {skipped} steps were left out before"
    elif progress.rollbacks:
        before = f"; after {progress.rollbacks} rollbacks"
    return NumericsError(
        f"step {step + 1}: loss or gradient is NaN or infinite, first in {finding}; "
        f"examples {', '.join(map(str, ids[:8]))}{', ...' if len(ids) > 8 else ''} of {run.mix.name}: the first is {names['places'][0]}; "
        f"expected finite numbers: check the data, or try a lower optimizer.learning_rate or an optimizer.clip_norm{before}{kept}"
    )


# ---------------------------------------------------------------------------------------------------- debug presets


def debug_fdr(config: TrainConfig) -> dict:
    """One batch of everything: train, look, validate, save, restore; in a directory that is removed again."""
    with tempfile.TemporaryDirectory() as directory:
        result = train_and_evaluate(config, Path(directory), debug="fdr")
        again = train_and_evaluate(config, Path(directory), debug="fdr")
        program.warn("fdr: one batch trained, validated, saved and restored")
        return result | {"run_dir": None, "restored_step": again["step"]}


def debug_overfit(config: TrainConfig) -> dict:
    """Trains on one batch until its loss is under 5 % of the first reading, and says whether that was reached."""
    losses = []

    def is_learned(_step, metrics):
        losses.append(metrics["loss"])
        return losses[-1] < 0.05 * losses[0]

    with tempfile.TemporaryDirectory() as directory:
        result = train_and_evaluate(config, Path(directory), debug="overfit", on_eval=is_learned)
    learned = losses[-1] < 0.05 * losses[0]
    program.warn(
        f"overfit: {'learned' if learned else 'NOT learned'}: loss {losses[0]:.3g} -> {losses[-1]:.3g} in {result['step']} steps"
    )
    return result | {"run_dir": None, "learned": learned}


def debug_profile(config: TrainConfig, run_dir: Path) -> dict:
    """Traces 50 steps for TensorBoard's profiler, and times the pipeline, the step, and both together."""
    run, times = build_run(config), {}
    step, batches = run.train_step, iter(run.batches_from(0))
    constant = iter(tf.data.Dataset.from_tensors(next(batches)).cache().repeat())
    drain = tf.function(lambda: next(batches)["id"])

    def steps_from(iterator):
        return lambda: step.run(iterator, tf.constant(50))

    rows = {
        "together": steps_from(batches),
        "step alone": steps_from(constant),
        "input alone": lambda: [drain() for _ in range(50)],
    }
    for name, work in rows.items():
        work()  # compiles
        begin = time.perf_counter()
        work()
        times[name] = round((time.perf_counter() - begin) / 50 * 1e3, 3)
        program.warn(f"profile: {name}: {times[name]:.2f} ms per step")
    trace = run_dir / "tensorboard"
    tf.profiler.experimental.start(str(trace))
    steps_from(batches)()
    tf.profiler.experimental.stop()
    program.warn(
        f"profile: trace of 50 steps in {trace}; see it with `pip install tensorboard-plugin-profile && tensorboard --logdir {trace}`"
    )
    return {"run_dir": str(run_dir), "ms_per_step": times}


def main(
    config: TrainConfig, run_dir: Path, debug: str | None = None, allow_changed_data: bool = False
) -> dict:
    cluster = read_cluster()
    if (
        cluster
        and cluster.has_servers
        and cluster.job != "chief"
        and config.distribute.strategy not in ("one", "towers")
    ):
        return distribution.serve(cluster, config.distribute.wait)
    if debug == "fdr":
        return debug_fdr(config)
    if debug == "overfit":
        return debug_overfit(config)
    if debug == "profile":
        return debug_profile(config, run_dir)
    return train_and_evaluate(config, run_dir, allow_changed_data=allow_changed_data)


if __name__ == "__main__":
    if COMMAND.replay:
        program.run(COMMAND, lambda: blackbox.replay(RUN_DIR, CONFIG))
    program.run(COMMAND, lambda: main(CONFIG, RUN_DIR, COMMAND.debug, COMMAND.allow_changed_data))
