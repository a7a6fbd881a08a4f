"""Where a run comes from, as its environment.json tells. Nothing here imports TensorFlow."""

import shlex
from pathlib import Path

from pydantic import BaseModel

from cli import files
from cli.program import CheckpointError

_MOST_STARTS = 100


class Parent(BaseModel):
    """The checkpoint of another run with which a run began."""

    run: str  # its directory
    step: int
    manifest: str  # SHA-256 of the checkpoint's MANIFEST.json
    changed: list[str]  # `key: old -> new` of each field that differs


class Start(BaseModel):
    time: str
    step: int
    argv: list[str]
    changed: list[str] = []  # since the start before


class Lineage(BaseModel):
    parent: Parent | None = None
    starts: list[Start] = []

    def with_start(self, start: Start) -> "Lineage":
        starts = [*self.starts, start][-_MOST_STARTS:]
        return Lineage(parent=self.parent, starts=starts)


class _Environment(BaseModel):
    lineage: Lineage


def read_lineage(run_dir: Path) -> Lineage:
    """Raises CheckpointError for what is no environment.json, or one without a lineage."""
    file = run_dir / "environment.json"
    try:
        return files.read_json(file, _Environment).lineage
    except FileNotFoundError as error:
        raise CheckpointError(f"{file}: no such file") from error


def history(run_dir: Path) -> str:
    """The parent of a run, and a line for each of its starts."""
    lineage = read_lineage(run_dir)
    lines = []
    if parent := lineage.parent:
        lines.append(f"{run_dir}: begun from {parent.run} at step {parent.step}")
        lines += [f"  {line}" for line in parent.changed]
    for start in lineage.starts:
        lines.append(f"{start.time} from step {start.step}: {shlex.join(start.argv)}")
        lines += [f"  {line}" for line in start.changed]
    return "\n".join(lines)
