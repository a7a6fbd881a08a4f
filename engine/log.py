"""What a run tells people: on the terminal, in metrics.jsonl, in TensorBoard; its time."""

import json
import math
import os
import sys
import textwrap
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf
from pydantic import BaseModel, Field
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from cli import files
from cli.program import CheckpointError, shown, warn, write_whole
from engine.variables import size_of
from train_config import Clock, Summary


class Log:
    """What a run tells people while it trains: on the screen, in metrics.jsonl, in TensorBoard.

    Workers other than the first say nothing (`writes` is false), but look into the same steps.
    """

    def __init__(self, run_dir: Path, step: int, summary: Summary, screen, watch, writes: bool):
        self.screen = screen
        self.watch = watch
        self._metrics = MetricsLog(run_dir / "metrics.jsonl", step) if writes else None
        enabled = summary.tensorboard and writes
        self._tensorboard = TensorBoard(run_dir / "tensorboard", step, enabled)
        self._images = summary.tensorboard and summary.images
        self._histograms = summary.tensorboard and summary.histograms
        sections = filter(None, (self._images, self._histograms))
        self.looks = [section.every for section in sections]  # when a step is looked into

    def begin(self, model, config: str, graph: bool) -> None:
        """The network and the configuration, before the first step."""
        if self._metrics is None:
            return
        with self.watch("logging"):
            table = self.screen.variables({v.path: v for v in model.weights})
            self._tensorboard.texts({"config": config, "variables": table})
            if graph:
                self._tensorboard.graph(model)

    def write(self, step: int, split: str, readings: dict[str, float]) -> None:
        if self._metrics is None:
            return
        with self.watch("logging"):
            # JSON has no NaN: nothing was there to be measured.
            readings = {name: None if v != v else v for name, v in readings.items()}
            self._metrics.write(step, split, readings)
            # Not a confusion matrix.
            scalars = {name: v for name, v in readings.items() if isinstance(v, float)}
            self._tensorboard.scalars(step, split, scalars)
            self.screen.readings(step, split, scalars)

    def look(self, step: int, clock: Clock, model, look) -> None:
        """What summaries show of a step that was looked into."""
        with self.watch("logging"):
            if self._histograms and clock.is_due(step, self._histograms.every):
                variables = model.trainable_variables
                values = {f"weights/{v.path}": v for v in variables}
                for variable, gradient in zip(variables, look.gradients, strict=True):
                    values[f"gradients/{variable.path}"] = gradient
                self._tensorboard.histograms(step, values)
            if self._images and clock.is_due(step, self._images.every):
                self._tensorboard.images(step, look.batch["inputs"], self._images.count)

    def flush(self) -> None:
        if self._metrics is not None:
            self._metrics.flush()
            self._tensorboard.flush()

    def close(self) -> None:
        if self._metrics is not None:
            self._metrics.close()


# ---- files


class MetricsLog:
    """metrics.jsonl: a line per reading, `{"step": 50, "split": "train", "loss": ...}`."""

    def __init__(self, path: Path, step: int):
        """Drops what a killed run logged beyond `step`, its last checkpoint: it comes again."""
        write_whole(path, _lines_up_to(step, path) if path.exists() else "")
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)

    def write(self, step: int, split: str, values: dict[str, float]) -> None:
        """At once and unbuffered: others can follow, and a full disk shows here.

        Raises OSError with the path.
        """
        line = json.dumps({"step": step, "split": split, **values})
        data = f"{line}\n".encode()
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            error.filename = str(self._path)
            raise

    def flush(self) -> None:
        """To the disk: a checkpoint must not outlive the readings that came before it."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class _Reading(BaseModel, strict=True, extra="allow"):
    step: int = Field(ge=0)
    split: str


def _lines_up_to(step: int, path: Path) -> str:
    """Damaged lines are left out, wherever they stand, with one warning."""
    kept = []
    damage = []
    for number, line in _lines(path):
        try:
            reading = files.parse_json(line, _Reading, f"{path}:{number}")
        except CheckpointError as error:
            damage.append(str(error))
            continue
        if reading.step <= step:
            kept.append(line.decode().rstrip() + "\n")
    if damage:
        warn(f"warning: {damage[0]}; left out {len(damage)} damaged lines, kept {len(kept)}")
    return "".join(kept)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number from 1, bytes) of each line; of one without end, its beginning."""
    with files.naming(path), files.open_regular(path) as file:
        number = 0
        while line := file.readline(files.MOST_BYTES):
            number += 1
            yield number, line
            while line and not line.endswith(b"\n"):
                line = file.readline(files.MOST_BYTES)


class TensorBoard:
    """Event files of one run, a sub-directory per split, on one step axis.

    The first write that fails is the last: it is warned of, and the run goes on without.
    """

    def __init__(self, directory: Path, step: int, enabled=True):
        self._directory = directory
        self._enabled = enabled
        self._writers = {}
        for path in (directory, *directory.glob("*")):
            if path.is_symlink():
                self._go_on_without(f"expected no link, got {path.name}")
        # Compiled, by split: a tenth of the time of calls one by one.
        self._write_scalars = defaultdict(lambda: tf.function(_write_scalars))
        if self._enabled and step:
            for split in directory.glob("*/"):
                self._forget_after(split, step)

    def _forget_after(self, directory: Path, step: int) -> None:
        """Tells TensorBoard to drop the points that a killed process wrote after `step`."""
        restart = SessionLog(status=SessionLog.START)
        with self._failing_softly():
            writer = EventFileWriter(str(directory))
            writer.add_event(Event(step=step + 1, wall_time=time.time(), session_log=restart))
            writer.close()

    @contextmanager
    def _failing_softly(self):
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            self._go_on_without(str(error).partition("\n")[0])

    def _go_on_without(self, reason: str) -> None:
        if self._enabled:
            warn(
                f"warning: {self._directory}: cannot write TensorBoard files, "
                f"going on without: {reason}"
            )
        self._enabled = False

    def _write(self, split: str, write: Callable, *arguments) -> None:
        """Calls a function of tf.summary with the writer of a split."""
        if not self._enabled:
            return
        with self._failing_softly():
            if split not in self._writers:
                self._writers[split] = tf.summary.create_file_writer(str(self._directory / split))
            with self._writers[split].as_default():
                write(*arguments)

    def scalars(self, step: int, split: str, values: dict[str, float]) -> None:
        tensors = tf.nest.map_structure(tf.constant, values)
        self._write(split, self._write_scalars[split], tf.constant(step, tf.int64), tensors)

    def texts(self, texts: dict[str, str]) -> None:
        for name, text in texts.items():
            code = textwrap.indent(text, "    ")
            self._write("train", tf.summary.text, name, code, 0)

    def graph(self, model) -> None:
        """The network's forward graph."""
        self._write("train", _write_graph, model)

    def histograms(self, step: int, values: dict) -> None:
        for name, value in values.items():
            self._write("train", tf.summary.histogram, name, value, step)

    def images(self, step: int, inputs, count: int) -> None:
        """Inputs [B, H, W, 1 or 3 or 4], stretched from their own minimum to their own maximum."""
        if inputs.shape.rank == 4 and inputs.shape[-1] in (1, 3, 4):
            self._write("train", _write_images, step, inputs, count)

    def flush(self) -> None:
        for writer in self._writers.values():
            with self._failing_softly():
                writer.flush()


def _write_scalars(step, values):
    for name, value in values.items():
        tf.summary.scalar(name, value, step)


def _write_graph(model):
    signature = tf.nest.map_structure(
        lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), model.input
    )
    forward = tf.function(lambda inputs: model(inputs, training=False))
    tf.summary.graph(forward.get_concrete_function(signature).graph)


def _write_images(step, inputs, count):
    images = tf.cast(inputs[:count], tf.float32)
    low = tf.reduce_min(images)
    high = tf.reduce_max(images)
    stretched = (images - low) / tf.maximum(high - low, 1e-12)
    tf.summary.image("inputs", stretched, step, max_outputs=count)


# ---- the terminal; all of it on stderr


class _Console(Console):
    """rich ends the program when the reader of its output goes away; here the run goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class NotebookLine:
    """One output of a cell, whose text changes."""

    def __init__(self, display):
        self._display = display
        self._handle = None

    @classmethod
    def in_notebook(cls) -> "NotebookLine | None":
        """None outside of a notebook, which has IPython imported by itself."""
        ipython = sys.modules.get("IPython")
        shell = ipython.get_ipython() if ipython else None
        is_notebook = shell is not None and hasattr(shell, "kernel")
        return cls(ipython.display.display) if is_notebook else None

    def show(self, text: str) -> None:
        data = {"text/plain": text}
        if self._handle is None:
            self._handle = self._display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


class Screen:
    """The live line on a terminal or in a notebook, plain lines elsewhere; the table at the end."""

    def __init__(self, total_steps: int, step: int, quiet: bool = False):
        # Not rich's way in notebooks, which makes an output of every line.
        self._console = _Console(stderr=True, quiet=quiet, force_jupyter=False)
        self._total = total_steps
        self._numbers = ""
        self._pace = ""
        self._notebook = None if quiet else NotebookLine.in_notebook()
        self._live = bool(self._notebook) or (self._console.is_terminal and not quiet)
        self._bar = Progress(
            TextColumn("step {task.completed}/{task.total}"),
            BarColumn(bar_width=20),
            TextColumn("{task.description}"),
            console=self._console,
            auto_refresh=False,
            transient=True,
        )
        self._task = self._bar.add_task("compiling", total=total_steps, completed=step)

    def __enter__(self):
        if self._live and not self._notebook:
            with self._quietly():
                self._bar.start()
        return self

    def __exit__(self, *_):
        if self._live and not self._notebook:
            with self._quietly():
                self._bar.stop()

    @contextmanager
    def _quietly(self):
        """A reader of stderr that went away must not stop a run."""
        try:
            yield
        except OSError:
            self._live = False

    def line(self, text: str) -> None:
        text = "\n".join(map(shown, text.split("\n")))
        with self._quietly():
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def progress(self, step: int, examples_per_second: float, seconds_left: float) -> None:
        minutes, seconds = divmod(int(seconds_left), 60)
        self._pace = f"{examples_per_second:,.0f} examples/s  ETA {minutes}:{seconds:02}"
        if self._live:
            self._move_bar(step)

    def _move_bar(self, step: int) -> None:
        text = shown(f"{self._numbers}  {self._pace}")
        if self._notebook:
            self._notebook.show(f"step {step}/{self._total}  {text}")
            return
        with self._quietly():
            self._bar.update(self._task, completed=step, description=text, refresh=True)

    def readings(self, step: int, split: str, values: dict[str, float]) -> None:
        """Training readings move the live line; validation stays on the screen."""
        names = [name for name in values if name != "examples_per_second"]
        text = "  ".join(f"{name} {values[name]:.4g}" for name in names)
        if split != "train":
            self.line(f"step {step}/{self._total}  {split}: {text}")
            return
        self._numbers = text
        if not self._live:
            self.line(f"step {step}/{self._total}  {text}  {self._pace}")

    def variables(self, variables: dict) -> str:
        """Prints the table of {path: variable}; returns it as text."""
        width = max(map(len, variables))
        total = 0
        text = ""
        for path, variable in variables.items():
            count = math.prod(variable.shape)
            total += count
            shape = "x".join(map(str, variable.shape)) or "scalar"
            trained = "" if variable.trainable else ", not trained"
            text += f"{path:<{width}}  {shape:>14}  {count:>12,}  {variable.dtype}{trained}\n"
        size = size_of(variables.values())
        text += f"{'total':<{width}}  {'':>14}  {total:>12,}  {size:,} bytes"
        self.line(text)
        return text

    def shares(self, seconds: dict[str, float]) -> None:
        """Prints where the time went."""
        total = max(sum(seconds.values()), 1e-9)
        table = Table("time", "seconds", "share", title_justify="left")
        for name, value in seconds.items():
            table.add_row(name, f"{value:.1f}", f"{value / total:.1%}")
        with self._quietly():
            self._console.print(table)


class Stopwatch:
    """Adds up seconds by name."""

    def __init__(self):
        self.seconds = defaultdict(float)
        self._begin = time.perf_counter()

    @contextmanager
    def __call__(self, name: str):
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - begin

    def move(self, name: str, other: str, seconds: float) -> None:
        """Counts `seconds` of `name` as those of `other`."""
        self.seconds[name] -= seconds
        self.seconds[other] = seconds

    def shares(self) -> dict[str, float]:
        """Seconds by name, with all others since the beginning as `other`."""
        total = time.perf_counter() - self._begin
        return self.seconds | {"other": max(0.0, total - sum(self.seconds.values()))}


class Pace:
    """Seconds per step, smoothed, and how many steps make a compiled call of about half a second.

    Between two calls a run looks at signals and the screen.
    """

    SECONDS_PER_CALL = 0.5

    def __init__(self):
        self.seconds = 0.0  # per step, of the last call
        self.seconds_per_step = self.SECONDS_PER_CALL  # the first call is one step: it compiles
        self._calls = 0

    @property
    def steps_per_call(self) -> int:
        return max(1, int(self.SECONDS_PER_CALL / self.seconds_per_step))

    @contextmanager
    def timing(self, num_steps: int):
        begin = time.perf_counter()
        yield
        self.seconds = (time.perf_counter() - begin) / num_steps

    def update(self, seconds: float) -> None:
        """Takes the seconds per step of the last call."""
        self._calls += 1
        share = 0.3 if self._calls > 2 else 1.0  # without the compilation
        self.seconds_per_step += (seconds - self.seconds_per_step) * share

    def left(self, steps: int) -> float:
        return steps * self.seconds_per_step
