"""What is read of a run: metrics.jsonl and TensorBoard's files."""

import json
import os
import textwrap
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from cli.program import warn, write_whole
from train_config import Clock, Summary


class MetricsLog:
    """metrics.jsonl: a line per reading, `{"step": 50, "split": "train", "loss": ...}`."""

    def __init__(self, path: Path, step: int):
        """Drops what a killed run logged beyond `step`, its last checkpoint: it comes again."""
        kept = ""
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                if json.loads(line)["step"] <= step:
                    kept += f"{line}\n"
            except ValueError:  # the torn last line of a killed process
                break
        write_whole(path, kept)
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


class TensorBoard:
    """Event files of one run, a sub-directory per split, on one step axis.

    The first write that fails is the last: it is warned of, and the run goes on without.
    """

    def __init__(self, directory: Path, step: int, enabled=True):
        self._directory = directory
        self._enabled = enabled
        self._writers = {}
        # Compiled, by split: a tenth of the time of calls one by one.
        self._write_scalars = defaultdict(lambda: tf.function(_write_scalars))
        if enabled and step:
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
            self._enabled = False
            reason, *_ = str(error).splitlines()
            warn(
                f"warning: {self._directory}: cannot write TensorBoard files, "
                f"going on without: {reason}"
            )

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
