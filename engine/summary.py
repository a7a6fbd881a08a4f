"""What people look at while and after a run: the console, metrics.jsonl, TensorBoard, environment.json."""

import json
import math
import os
import platform
import re
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from cli.program import warn, write_whole


class MetricsLog:
    """metrics.jsonl: one line per reading, `{"step": 50, "split": "train", "loss": ...}`, values at full precision."""

    def __init__(self, path: Path, step: int):
        """Goes on after `step`: what a killed run logged beyond its last checkpoint will be logged again."""
        kept = []
        if path.exists():
            for line in path.read_text().splitlines():
                try:
                    if json.loads(line)["step"] <= step:
                        kept.append(line + "\n")
                except ValueError:  # the torn last line of a killed process
                    break
        write_whole(path, "".join(kept))
        self._path, self._descriptor = path, os.open(path, os.O_WRONLY | os.O_APPEND)

    def write(self, step: int, split: str, values: dict[str, float]) -> None:
        """At once and unbuffered, so that others can follow, and a full disk shows here. Raises OSError with the path."""
        line = (json.dumps({"step": step, "split": split, **values}) + "\n").encode()
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except OSError as error:
            error.filename = str(self._path)
            raise

    def flush(self) -> None:
        """To the disk itself: a checkpoint must not outlive the readings that came before it."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class TensorBoard:
    """Event files of one run, a sub-directory per split, on one step axis. A write that fails is warned of once."""

    def __init__(self, directory: Path, step: int, enabled: bool = True):
        self._directory, self._enabled = directory, enabled
        self._writers, self._write_scalars = {}, {}  # by split
        if enabled and step and directory.exists():
            for split in [child for child in directory.iterdir() if child.is_dir()]:
                self._forget_after(split, step)

    def _forget_after(self, directory: Path, step: int) -> None:
        """Tells TensorBoard that the run was restarted here, so that it drops the points a killed process wrote later."""
        with self._failing_softly():
            writer = EventFileWriter(str(directory))
            writer.add_event(
                Event(
                    step=step + 1,
                    wall_time=time.time(),
                    session_log=SessionLog(status=SessionLog.START),
                )
            )
            writer.close()

    @contextmanager
    def writing(self, split: str):
        """`with tensorboard.writing("train"):` around tf.summary calls; yields whether there is anything to write to."""
        with self._failing_softly():
            if self._enabled and split not in self._writers:
                self._writers[split] = tf.summary.create_file_writer(str(self._directory / split))
        if not self._enabled:
            yield False
            return
        with self._failing_softly(), self._writers[split].as_default():
            yield True

    @contextmanager
    def _failing_softly(self):
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            self._enabled = False
            warn(
                f"warning: {self._directory}: cannot write TensorBoard files, going on without: {str(error).splitlines()[0]}"
            )

    def scalars(self, step: int, split: str, values: dict[str, float]) -> None:
        with self.writing(split) as on:
            if on:
                if (
                    split not in self._write_scalars
                ):  # compiled, with its writer: a tenth of the time of calls one by one
                    self._write_scalars[split] = tf.function(_write_scalars)
                self._write_scalars[split](
                    tf.constant(step, tf.int64),
                    {name: tf.constant(value) for name, value in values.items()},
                )

    def texts(self, texts: dict[str, str]) -> None:
        with self.writing("train") as on:
            if on:
                for name, text in texts.items():
                    tf.summary.text(
                        name, "\n".join("    " + line for line in text.splitlines()), 0
                    )  # as code

    def graph(self, model) -> None:
        """The network's forward graph."""
        with self.writing("train") as on:
            if on:
                signature = tf.nest.map_structure(
                    lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), model.input
                )
                tf.summary.graph(
                    tf.function(lambda inputs: model(inputs, training=False))
                    .get_concrete_function(signature)
                    .graph
                )

    def histograms(self, step: int, values: dict) -> None:
        with self.writing("train") as on:
            if on:
                for name, value in values.items():
                    tf.summary.histogram(name, value, step)

    def images(self, step: int, inputs, count: int) -> None:
        """Inputs [B, H, W, 1 or 3 or 4] as the model sees them, stretched from their own minimum to their own maximum."""
        if inputs.shape.rank != 4 or inputs.shape[-1] not in (1, 3, 4):
            return
        with self.writing("train") as on:
            if on:
                images = tf.cast(inputs[:count], tf.float32)
                low, high = tf.reduce_min(images), tf.reduce_max(images)
                tf.summary.image(
                    "inputs",
                    (images - low) / tf.maximum(high - low, 1e-12),
                    step,
                    max_outputs=count,
                )

    def flush(self) -> None:
        for writer in self._writers.values():
            with self._failing_softly():
                writer.flush()


def _write_scalars(step, values):
    for name, value in values.items():
        tf.summary.scalar(name, value, step)


class _Console(Console):
    """rich ends the program when the reader of its output goes away; here the run goes on in silence."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Screen:
    """The live line on a terminal, plain lines elsewhere; the table at the end. All of it on stderr."""

    def __init__(self, total_steps: int, step: int, quiet: bool = False):
        self._console = _Console(stderr=True, quiet=quiet)
        self._total, self._numbers = total_steps, ""
        self._pace = ""
        self._live = self._console.is_terminal and not quiet
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
        if self._live:
            self._bar.start()
        return self

    def __exit__(self, *_):
        if self._live:
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
        with self._quietly():
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def progress(self, step: int, examples_per_second: float, seconds_left: float) -> None:
        minutes, seconds = divmod(int(seconds_left), 60)
        self._pace = f"{examples_per_second:,.0f} examples/s  ETA {minutes}:{seconds:02}"
        if self._live:
            with self._quietly():
                self._bar.update(
                    self._task,
                    completed=step,
                    description=f"{self._numbers}  {self._pace}",
                    refresh=True,
                )

    def readings(self, step: int, split: str, values: dict[str, float]) -> None:
        """Training readings move the live line; validation stays on the screen."""
        text = "  ".join(
            f"{name} {value:.4g}" for name, value in values.items() if name != "examples_per_second"
        )
        if split == "train":
            self._numbers = text
            if not self._live:
                self.line(f"step {step}/{self._total}  {text}  {self._pace}")
        else:
            self.line(f"step {step}/{self._total}  {split}: {text}")

    def variables(self, variables: dict) -> str:
        """Prints the table of variables at the start; returns it as text."""
        width = max(map(len, variables))
        lines, total, size = [], 0, 0
        for name, variable in variables.items():
            count = math.prod(variable.shape)
            total, size = total + count, size + count * tf.as_dtype(variable.dtype).size
            shape = "x".join(map(str, variable.shape)) or "scalar"
            lines.append(
                f"{name:<{width}}  {shape:>14}  {count:>12,}  {variable.dtype}{'' if variable.trainable else ', not trained'}"
            )
        text = "\n".join([*lines, f"{'total':<{width}}  {'':>14}  {total:>12,}  {size:,} bytes"])
        self.line(text)
        return text

    def shares(self, seconds: dict[str, float]) -> None:
        """Where the time went."""
        table = Table("time", "seconds", "share", title_justify="left")
        for name, value in seconds.items():
            table.add_row(name, f"{value:.1f}", f"{value / max(sum(seconds.values()), 1e-9):.1%}")
        with self._quietly():
            self._console.print(table)


class Stopwatch:
    """Adds up seconds by name."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str):
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin


_PACKAGES = ("tensorflow", "keras", "numpy", "pydantic", "tensorboard")
# Of the process, that libraries compute by; not what they print, nor where the others are.
_VARIABLES = re.compile(
    r"(?!TF_CPP_|TF_CONFIG)(TF|XLA|OMP|ONEDNN|DNNL|MKL|OPENBLAS|CUDA|NCCL|KERAS)_"
)
# Of environment.json: what changes how numbers are rounded, or which.
_COMPUTES = (
    "python",
    "versions",
    "git",
    "machine",
    "cpu",
    "cpus",
    "threads",
    "devices",
    "variables",
)


def environment(data: str) -> dict:
    """What a reader needs to run the same again: command, versions, code, machine, `data`: the fingerprint of the training set."""

    def git(*words):
        try:
            found = subprocess.run(
                ["git", *words],
                cwd=Path(__file__).parent,
                capture_output=True,
                text=True,
                timeout=10,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return found.stdout.strip() if found.returncode == 0 else None

    return {
        "argv": sys.argv,
        "directory": os.getcwd(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES},
        "git": {"commit": git("rev-parse", "HEAD"), "diff": git("diff", "HEAD")},
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": _cpu(),
        "cpus": len(os.sched_getaffinity(0)),
        "threads": {
            "inside": tf.config.threading.get_intra_op_parallelism_threads(),
            "between": tf.config.threading.get_inter_op_parallelism_threads(),
        },  # 0: as many as there are CPUs
        "variables": {
            name: value for name, value in sorted(os.environ.items()) if _VARIABLES.match(name)
        },
        "data": data,
        "devices": [
            tf.config.experimental.get_device_details(d).get("device_name", d.name)
            for d in tf.config.list_physical_devices()
        ],
    }


def _cpu() -> dict:
    """Model and instruction sets of the first CPU, as Linux tells them; nothing elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            first = file.read().partition("\n\n")[0]
    except OSError:
        return {}
    found = dict(re.findall(r"(?m)^([^\t:]+?)\s*: ?(.*)$", first))
    return {"model": found.get("model name"), "flags": found.get("flags", found.get("Features"))}


def other_environment(before: dict, now: dict) -> list[str]:
    """`what: before -> now` of everything that may round numbers otherwise."""
    rows = {key: (before.get(key), now.get(key)) for key in _COMPUTES}
    for key in ("versions", "git", "cpu", "threads", "variables"):
        old, new = (each if isinstance(each, dict) else {} for each in rows.pop(key))
        rows |= {f"{key}.{name}": (old.get(name), new.get(name)) for name in sorted({*old, *new})}
    shown = [
        (key, *(str(value)[:40] for value in pair))
        for key, pair in rows.items()
        if pair[0] != pair[1]
    ]
    return [
        f"{key}: {old} -> {new}" if old != new and key != "cpu.flags" else f"{key} differ"
        for key, old, new in shown
    ]


# ---------------------------------------------------------------------------------------------------- contact sheet

_CELL, _MARGIN, _LINE = 128, 8, 14  # pixels


def contact_sheet(path: Path, cells: list[tuple]) -> None:
    """Writes a picture of examples in a grid: [(image [H, W, C], series [T, C], numbers, or text; caption)]."""
    cells = [(_as_text(example), caption) for example, caption in cells]
    of_text = isinstance(cells[0][0], str)
    columns, width = (3, 3 * _CELL) if of_text else (min(len(cells), 8), _CELL)
    texts = [
        textwrap.wrap(text, width // 6, max_lines=6, placeholder="...") if of_text else []
        for text, _ in cells
    ]
    captions = [
        textwrap.wrap(caption, width // 6, max_lines=3, placeholder="...") for _, caption in cells
    ]
    inside = _LINE * max(map(len, texts)) if of_text else _CELL
    height = inside + _LINE * max(map(len, captions)) + _MARGIN
    rows = -(-len(cells) // columns)
    sheet = Image.new(
        "RGB", (columns * (width + _MARGIN) + _MARGIN, rows * (height + _MARGIN) + _MARGIN), "white"
    )
    draw = ImageDraw.Draw(sheet)
    if not of_text:
        low, high = (
            min(example.min() for example, _ in cells),
            max(example.max() for example, _ in cells),
        )
    for number, (example, _) in enumerate(cells):
        x, y = (
            _MARGIN + number % columns * (width + _MARGIN),
            _MARGIN + number // columns * (height + _MARGIN),
        )
        if of_text:
            draw.multiline_text((x, y), "\n".join(texts[number]), "black")
        elif example.ndim == 3:
            _paste_image(sheet, (x, y), (example - low) / max(high - low, 1e-12))
        else:
            _plot(draw, (x, y, x + width, y + inside), np.asarray(example, np.float64))
        draw.multiline_text((x, y + inside + 2), "\n".join(captions[number]), "#a00000")
    sheet.save(path)


def _as_text(example):
    """Pictures and series as they are; everything else as words."""
    if (
        isinstance(example, str)
        or example.ndim == 2
        or (example.ndim == 3 and example.shape[2] in (1, 3))
    ):
        return example
    return f"{list(example.shape)}: " + ", ".join(f"{value:.4g}" for value in example.ravel()[:40])


def _paste_image(sheet, corner: tuple[int, int], image) -> None:
    """An image of values in [0, 1], as large as its cell allows; small ones in whole pixels."""
    image = Image.fromarray(
        np.uint8(np.round(255 * np.clip(np.repeat(image, 3 // image.shape[2], axis=2), 0, 1)))
    )
    factor = _CELL / max(image.size)
    factor = int(factor) if factor > 1 else factor
    sheet.paste(
        image.resize(
            [max(1, round(side * factor)) for side in image.size],
            Image.NEAREST if factor >= 1 else Image.BOX,
        ),
        corner,
    )


def _plot(draw, box: tuple[int, int, int, int], series) -> None:
    """Each column of a series as a line, stretched to its own range."""
    left, top, right, bottom = box
    draw.rectangle(box, outline="#c0c0c0")
    for column, color in zip(
        series.T[:4], ("#1f5fa8", "#d07000", "#2f8f2f", "#803090"), strict=False
    ):
        span = max(column.max() - column.min(), 1e-12)
        x = np.linspace(left + 2, right - 2, len(column))
        y = bottom - 2 - (column - column.min()) / span * (bottom - top - 4)
        draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=color, width=2)
