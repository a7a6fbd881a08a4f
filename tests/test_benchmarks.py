"""The programs of benchmarks/ run; a fork that deletes them deletes this file."""

import subprocess
import sys

from places import ROOT, TINY, WITH_TINY


def test_a_profile_of_steps_leaves_a_trace(tmp_path):
    words = ["benchmarks/profile_steps.py", str(TINY), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=WITH_TINY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.rsplit(None, 4)[0].strip() for line in done.stdout.splitlines()]
    assert rows == ["together", "step alone", "input alone"]
    assert list(tmp_path.rglob("*.xplane.pb"))
