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
_GRACE = 20.0  # seconds in which the others may end by themselves once one has, and again once they were asked to


def prepare(command: program.Command) -> dict[str, int]:
    """How many processes of each job."""
    if bool(command.ps) != command.chief:
        expected = "expected both (parameter servers) or neither (workers alone)"
        raise ConfigError(f"command line: --ps and --chief: {expected}")
    if not command.ps:
        return {"worker": command.workers}
    return {"chief": 1, "ps": command.ps, "worker": command.workers}


def free_addresses(number: int) -> list[str]:
    """localhost:port, that many, none of them in use now."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(number)]
    addresses = [f"localhost:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return addresses


class Task:
    """One process of the cluster; its lines come out with its name before them."""

    def __init__(self, jobs: dict[str, list[str]], job: str, index: int, words: list[str]):
        self.job, self.name, self.result = job, f"{job} {index}", ""  # the last line of stdout
        self._command = [
            sys.executable,
            str(Path(__file__).resolve().parent / "trainer.py"),
            *words,
        ]
        self._environment = {**os.environ, "TF_CONFIG": tf_config(jobs, job, index)}
        self.start()

    def start(self) -> None:
        pipes = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "errors": "replace",
        }
        # A session of its own, so that Ctrl-C reaches it once: from here.
        self.process = subprocess.Popen(
            self._command, env=self._environment, start_new_session=True, **pipes
        )
        streams = (self.process.stdout, self.process.stderr)
        self._readers = [
            threading.Thread(target=self._forward, args=(stream,), daemon=True)
            for stream in streams
        ]
        for reader in self._readers:
            reader.start()

    def _forward(self, stream) -> None:
        for line in stream:
            if stream is self.process.stdout:
                self.result = line
            else:
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
        deadline = time.monotonic() + _GRACE
        while any(task.process.poll() is None for task in tasks) and time.monotonic() < deadline:
            time.sleep(0.05)


def main(counts: dict[str, int], words: list[str]) -> dict:
    addresses = iter(free_addresses(sum(counts.values())))
    jobs = {job: [next(addresses) for _ in range(count)] for job, count in counts.items()}
    signals = program.StopSignals()
    with signals:
        elsewhere = {
            job: [f"{job.upper()}_{number}:2222" for number in range(count)]
            for job, count in counts.items()
        }
        for job, count in counts.items():
            for index in range(count):
                program.warn(
                    f"{job} {index} on a machine of its own: TF_CONFIG='{tf_config(elsewhere, job, index)}'"
                )
        tasks = [
            Task(jobs, job, index, words) for job, count in counts.items() for index in range(count)
        ]
        try:
            return wait(tasks, signals)
        finally:
            end(tasks, signal.SIGKILL)


def wait(tasks: list[Task], signals: program.StopSignals) -> dict:
    """Until all have ended; the chief's result. One failure ends all: its exit code is ours."""
    chief, restarts = tasks[0], _RESTARTS if tasks[0].job == "chief" else 0
    while chief.process.poll() is None and not signals.number:
        lost = [task for task in tasks if task.process.poll() not in (None, 0)]
        if restarts and lost and all(task.job == "worker" for task in lost):
            for (
                task
            ) in lost:  # the chief goes on with the others, and with this one when it is back
                program.warn(
                    f"launch: {task.name} ended with {task.process.returncode}: started again"
                )
                task.start()
            restarts -= 1
        elif lost:
            break
        time.sleep(0.05)
    if signals.number:
        end(tasks, signals.number)
    deadline = time.monotonic() + _GRACE  # the others notice by themselves that one has gone
    while any(task.process.poll() is None for task in tasks) and time.monotonic() < deadline:
        time.sleep(0.05)
    end(tasks)
    for task in tasks:
        task.wait_for_output()
    codes = {task.name: task.process.returncode for task in tasks}
    # A chief alone decides: a worker that has come back may still be starting, and would wait for it in vain.
    if not any([codes[chief.name]] if chief.job == "chief" else codes.values()):
        return json.loads(chief.result)
    ended = ", ".join(
        f"{name} with {code}" if code >= 0 else f"{name} by {signal.Signals(-code).name}"
        for name, code in codes.items()
    )
    # What went wrong first and not what others made of it: a code of its own before `stopped`, `stopped` before a signal.
    code = next(
        (code for code in codes.values() if code > 0 and code != Stopped.exit_code),
        Stopped.exit_code,
    )
    failure = (
        Stopped(f"{ended}; start it again to go on from the last checkpoint")
        if code == Stopped.exit_code
        else program.Failure(ended)
    )
    failure.exit_code = code
    raise failure


if __name__ == "__main__":
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    words, sys.argv = sys.argv[cut + 1 :], sys.argv[:cut]  # the trainer's own come after --
    COUNTS = program.start(COMMAND, prepare, tensorflow=False)
    program.run(COMMAND, lambda: main(COUNTS, words))
