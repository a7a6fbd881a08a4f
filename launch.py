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

_TRAINER = Path(__file__).resolve().parent / "trainer.py"
_RESTARTS = 10  # of workers beside parameter servers, which train without them meanwhile
# Seconds for the others to end by themselves once one has ended, and again once they are asked to.
_GRACE = 20.0
_PAUSE = 0.05


def prepare(command: program.Command) -> dict[str, int]:
    """How many processes of each job."""
    if bool(command.ps) != command.chief:
        raise ConfigError(
            "command line: --ps and --chief: expected both (parameter servers) "
            "or neither (workers alone)"
        )
    if not command.ps:
        return {"worker": command.workers}
    return {"chief": 1, "ps": command.ps, "worker": command.workers}


def free_addresses(number: int) -> list[str]:
    """localhost:port, that many, none of them in use now."""
    servers = [socket.create_server(("localhost", 0)) for _ in range(number)]
    addresses = [f"localhost:{server.getsockname()[1]}" for server in servers]
    for server in servers:
        server.close()
    return addresses


class Task:
    """One process of the cluster; its lines come out with its name before them."""

    def __init__(self, jobs: dict[str, list[str]], job: str, index: int, words: list[str]):
        self.job = job
        self.name = f"{job} {index}"
        self.result = ""  # the last line of stdout
        self._command = [sys.executable, str(_TRAINER), *words]
        self._environment = {**os.environ, "TF_CONFIG": tf_config(jobs, job, index)}
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._command,
            env=self._environment,
            start_new_session=True,  # so that Ctrl-C reaches it once: from here
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._readers = [
            threading.Thread(target=self._forward, args=(stream,), daemon=True)
            for stream in (self.process.stdout, self.process.stderr)
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
    for signal_number in (number, signal.SIGKILL):
        for task in tasks:
            if task.process.poll() is None:
                task.process.send_signal(signal_number)
        _wait_for_end(tasks)


def _wait_for_end(tasks: list[Task]) -> None:
    """Returns when all have ended, or after the grace."""
    deadline = time.monotonic() + _GRACE
    while any(task.process.poll() is None for task in tasks) and time.monotonic() < deadline:
        time.sleep(_PAUSE)


def main(counts: dict[str, int], words: list[str]) -> dict:
    """Runs `counts` processes of each job with the words of the trainer; the chief's result."""
    places = [(job, index) for job, count in counts.items() for index in range(count)]
    addresses = iter(free_addresses(len(places)))
    jobs = {job: [next(addresses) for _ in range(count)] for job, count in counts.items()}
    elsewhere = {
        job: [f"{job.upper()}_{index}:2222" for index in range(count)]
        for job, count in counts.items()
    }
    signals = program.StopSignals()
    with signals:
        for job, index in places:
            program.warn(
                f"{job} {index} on a machine of its own: "
                f"TF_CONFIG='{tf_config(elsewhere, job, index)}'"
            )
        tasks = [Task(jobs, job, index, words) for job, index in places]
        try:
            return wait(tasks, signals)
        finally:
            end(tasks, signal.SIGKILL)


def wait(tasks: list[Task], signals: program.StopSignals) -> dict:
    """Until all have ended; the chief's result.

    One that fails ends all, and its exit code becomes this program's.
    """
    chief = tasks[0]
    has_own_chief = chief.job == "chief"
    restarts = _RESTARTS if has_own_chief else 0
    while chief.process.poll() is None and not signals.number:
        lost = [task for task in tasks if task.process.poll() not in (None, 0)]
        if lost and not (restarts and all(task.job == "worker" for task in lost)):
            break
        for task in lost:  # the chief goes on with the others, and with this one when it is back
            program.warn(f"launch: {task.name} ended with {task.process.returncode}: started again")
            task.start()
        if lost:
            restarts -= 1
        time.sleep(_PAUSE)
    if signals.number:
        end(tasks, signals.number)
    _wait_for_end(tasks)  # the others notice by themselves that one has gone
    late = [task for task in tasks if task.process.poll() is None]
    end(tasks)
    for task in tasks:
        task.wait_for_output()
    codes = {task.name: task.process.returncode for task in tasks}
    for task in late:
        if codes[task.name] == 128 + signal.SIGTERM:  # while it started: ours, not its own
            codes[task.name] = -signal.SIGTERM
    # A chief alone decides: a worker that has come back may still be starting, and would wait for
    # it in vain.
    deciding = [chief] if has_own_chief else tasks
    if any(task.process.returncode for task in deciding):
        raise _failure(codes)
    return json.loads(chief.result)


def _failure(codes: dict[str, int]) -> program.Failure:
    """What went wrong first, not what others made of it.

    An exit code of its own comes before `stopped`, and `stopped` before a signal.
    """
    ended = ", ".join(
        f"{name} with {code}" if code >= 0 else f"{name} by {signal.Signals(-code).name}"
        for name, code in codes.items()
    )
    own = [code for code in codes.values() if code > 0 and code != Stopped.exit_code]
    if not own:
        return Stopped(f"{ended}; start it again to go on from the last checkpoint")
    failure = program.Failure(ended)
    failure.exit_code = own[0]
    return failure


if __name__ == "__main__":
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    words, sys.argv = sys.argv[cut + 1 :], sys.argv[:cut]  # the trainer's own come after --
    COUNTS = program.start(COMMAND, prepare, tensorflow=False)
    program.run(COMMAND, lambda: main(COUNTS, words))
