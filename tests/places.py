"""Where the project and its configurations lie."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
TINY = ROOT / "tests" / "tiny" / "tiny.yaml"
