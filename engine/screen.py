"""The terminal: a live line or plain lines, tables, where the time went. All of it on stderr."""

import math
import time
from collections import defaultdict
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from engine.variables import size_of


class _Console(Console):
    """rich ends the program when the reader of its output goes away; here the run goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Screen:
    """The live line on a terminal, plain lines elsewhere; the table at the end."""

    def __init__(self, total_steps: int, step: int, quiet: bool = False):
        self._console = _Console(stderr=True, quiet=quiet)
        self._total = total_steps
        self._numbers = ""
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
            text = f"{self._numbers}  {self._pace}"
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
