"""Several processes of one run on this machine, each with its TF_CONFIG, as on several machines.

python launch.py --workers 2 -- --config configs/lenet.yaml [key=value ...]
python launch.py --workers 2 --ps 1 --chief -- --config configs/lenet.yaml [key=value ...]
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from cli import program
from cli.program import ConfigError, Stopped
from engine.cluster import tf_config

COMMAND = program.Command(
    "launch",
    "python launch.py --workers N [--ps N --chief] -- --config FILE [what trainer.py takes]",
)
COMMAND.integer("workers", 2, "Number of workers.", lower_bound=1)
COMMAND.integer("ps", 0, "Number of parameter servers: asynchronous training.", lower_bound=0)
COMMAND.boolean("chief", False, "A process that drives workers and parameter servers, for --ps.")

_RESTARTS = 10  # of workers beside parameter servers, which train without them meanwhile
# Seconds in which the others may end by themselves once one has, and again once asked to.
_GRACE = 20.0


def prepare(command: program.Command) -> dict[str, int]:
    """How many processes of each job."""
    if bool(command.ps) != command.chief:
        expected = "expected both (parameter servers) or neither (workers alone)"
        raise ConfigError(f"command line: --ps and --chief: {expected}")
    servers = {"chief": 1, "ps": command.ps} if command.ps else {}
    return {**servers, "worker": command.workers}


def free_addresses(number: int) -> list[str]:
    """localhost:port, that many, none of them in use now."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(number)]
    addresses = [f"localhost:{server.getsockname()[1]}" for server in sockets]
    for server in sockets:
        server.close()
    return addresses


class Task:
    """One process of the cluster; its lines come out with its name before them."""

    def __init__(self, jobs: dict[str, list[str]], job: str, index: int, words: list[str]):
        self.job = job
        self.name = f"{job} {index}"
        self.result = ""  # the last line of stdout
        self._command = [sys.executable, Path(__file__).resolve().with_name("trainer.py"), *words]
        self._environment = {**os.environ, "TF_CONFIG": tf_config(jobs, job, index)}
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            errors="replace",  # as text
            start_new_session=True,  # so that Ctrl-C reaches it once: from here
        )
        forward = (self._keep_result, self._forward_stderr)
        self._readers = [threading.Thread(target=target, daemon=True) for target in forward]
        for reader in self._readers:
            reader.start()

    def _keep_result(self) -> None:
        for line in self.process.stdout:
            self.result = line

    def _forward_stderr(self) -> None:
        for line in self.process.stderr:
            program.warn(f"[{self.name}] {line.rstrip()}")

    def wait_for_output(self) -> None:
        for reader in self._readers:
            reader.join(timeout=5)


def end(tasks: list[Task], number: int = signal.SIGTERM) -> None:
    """Asks what still runs to end, and ends it where it does not."""
    for sent in (number, signal.SIGKILL):
        for task in tasks:
            if task.process.poll() is None:
                task.process.send_signal(sent)
        _wait_for_all(tasks)


def _wait_for_all(tasks: list[Task]) -> None:
    """Until all have ended, at most `_GRACE` seconds."""
    deadline = time.monotonic() + _GRACE
    while any(task.process.poll() is None for task in tasks) and time.monotonic() < deadline:
        time.sleep(0.05)


def main(counts: dict[str, int], words: list[str]) -> dict:
    tasks_of_jobs = [(job, index) for job, count in counts.items() for index in range(count)]
    addresses = iter(free_addresses(len(tasks_of_jobs)))
    jobs = {job: [next(addresses) for _ in range(count)] for job, count in counts.items()}
    hosts = {job: [f"{job.upper()}_{i}:2222" for i in range(n)] for job, n in counts.items()}
    with program.StopSignals() as signals:
        for job, index in tasks_of_jobs:
            text = tf_config(hosts, job, index)
            program.warn(f"{job} {index} on a machine of its own: TF_CONFIG='{text}'")
        tasks = [Task(jobs, job, index, words) for job, index in tasks_of_jobs]
        try:
            return wait(tasks, signals)
        finally:
            end(tasks, signal.SIGKILL)


def wait(tasks: list[Task], signals: program.StopSignals) -> dict:
    """Until all have ended; the chief's result. One failure ends all: its exit code is ours."""
    chief = tasks[0]
    drives = chief.job == "chief"
    restarts = _RESTARTS if drives else 0
    while chief.process.poll() is None and not signals.number:
        lost = [task for task in tasks if task.process.poll() not in (None, 0)]
        if restarts and lost and all(task.job == "worker" for task in lost):
            # The chief goes on with the others, and with these when they are back.
            for task in lost:
                code = task.process.returncode
                program.warn(f"launch: {task.name} ended with {code}: started again")
                task.start()
            restarts -= 1
        elif lost:
            break
        time.sleep(0.05)
    if signals.number:
        end(tasks, signals.number)
    _wait_for_all(tasks)  # the others notice by themselves that one has gone
    end(tasks)
    for task in tasks:
        task.wait_for_output()
    codes = {task.name: task.process.returncode for task in tasks}
    # A chief alone decides: a worker that has come back may still be starting, and would wait for
    # it in vain.
    if not (codes[chief.name] if drives else any(codes.values())):
        return json.loads(chief.result)
    raise _failure(codes)


def _failure(codes: dict[str, int]) -> program.Failure:
    """What went wrong first, not what others made of it: a code before `stopped` or a signal."""
    ended = ", ".join(
        f"{name} with {code}" if code >= 0 else f"{name} by {signal.Signals(-code).name}"
        for name, code in codes.items()
    )
    own_codes = [code for code in codes.values() if code > 0 and code != Stopped.exit_code]
    if not own_codes:
        return Stopped(f"{ended}; start it again to go on from the last checkpoint")
    failure = program.Failure(ended)
    failure.exit_code = own_codes[0]
    return failure


if __name__ == "__main__":
    cut = [*sys.argv, "--"].index("--")
    words = sys.argv[cut + 1 :]  # the trainer's own come after --
    sys.argv = sys.argv[:cut]
    COUNTS = program.start(COMMAND, prepare, tensorflow=False)
    program.run(COMMAND, lambda: main(COUNTS, words))
