"""The processes of one run, as the environment variable TF_CONFIG describes them to each.

    {"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}

Jobs are `worker`, and for parameter servers also `chief` (one, which drives the others) and `ps`.
Nothing here imports TensorFlow.
"""

import json
import os
import re
import socket
from dataclasses import dataclass

from cli.program import ConfigError
from train_config import TrainConfig, indivisible

_JOBS = ("chief", "worker", "ps")


@dataclass(frozen=True)
class Cluster:
    jobs: dict[str, list[str]]  # {"worker": ["host:port", ...], ...}
    job: str  # of this process
    index: int

    @property
    def has_servers(self) -> bool:
        return "ps" in self.jobs

    @property
    def name(self) -> str:
        return f"{self.job} {self.index}"

    def peers(self) -> list[tuple[str, str]]:
        """(name, address) of every process of the cluster but this one."""
        return [
            (f"{job} {index}", address)
            for job, addresses in self.jobs.items()
            for index, address in enumerate(addresses)
            if (job, index) != (self.job, self.index)
        ]


def read_cluster(text: str | None = None) -> Cluster | None:
    """The cluster of TF_CONFIG, or of `text`; None where it is not set or has no cluster.

    Raises ConfigError for anything malformed.
    """
    text = os.environ.get("TF_CONFIG", "") if text is None else text
    if not text.strip():
        return None
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"TF_CONFIG: expected JSON, got {text[:60]!r}: {error}") from None
    if not isinstance(config, dict):
        raise ConfigError(
            f"TF_CONFIG: expected an object with `cluster` and `task`, got {text[:60]!r}"
        )
    jobs = config.get("cluster")
    task = config.get("task")
    if not jobs:
        return None
    if problem := _problem_of_jobs(jobs) or _problem_of_task(task, jobs):
        raise ConfigError(f"TF_CONFIG: {problem}")
    return Cluster(jobs, task["type"], task["index"])


def _problem_of_jobs(jobs) -> str | None:
    """What is wrong with {job: addresses}."""
    lists = jobs.values() if isinstance(jobs, dict) else [None]
    if not all(isinstance(addresses, list) and addresses for addresses in lists):
        return "cluster: expected lists of addresses by job, such as {'worker': ['host:2222']}"
    if unknown := {*jobs} - {*_JOBS}:
        return f"cluster: {min(unknown)}: unknown job; expected {', '.join(_JOBS)}"
    addresses = [address for addresses in lists for address in addresses]
    for address in addresses:
        if not _is_address(address):
            return f"cluster: expected host:port, got {address!r:.80}; ports are 1 to 65535"
        if addresses.count(address) > 1:
            return f"cluster: {address}: expected every address once"
    if len(jobs.get("chief", [])) > 1:
        return f"cluster: chief: expected one, got {len(jobs['chief'])}"
    if "ps" in jobs and len(jobs) < len(_JOBS):
        return "cluster: expected a chief and workers beside the parameter servers"
    if "ps" not in jobs and list(jobs) != ["worker"]:
        others = "`chief`, `worker` and `ps`"
        return f"cluster: expected `worker` alone, whose number 0 is the chief, or {others}"
    return None


def _is_address(address) -> bool:
    match = re.fullmatch(r"\S+:([0-9]{1,5})", address) if isinstance(address, str) else None
    return match is not None and 1 <= int(match[1]) <= 65535


def _problem_of_task(task, jobs: dict[str, list[str]]) -> str | None:
    """What is wrong with {"type": job, "index": number}."""
    task = task if isinstance(task, dict) else {}
    job = task.get("type")
    index = task.get("index")
    if not isinstance(job, str) or job not in jobs:
        return f"task.type: expected one of {', '.join(jobs)}, got {job!r}"
    last = len(jobs[job]) - 1
    if type(index) is not int or not 0 <= index <= last:
        return f"task.index: expected 0 to {last} for {job}, got {index!r}"
    return None


def check_cluster(config: TrainConfig, cluster: Cluster | None) -> None:
    """Raises ConfigError where a configuration does not fit the processes of TF_CONFIG."""
    strategy = config.distribute.strategy
    if strategy in ("one", "towers") or (strategy == "auto" and cluster is None):
        return
    if problem := _problem_of_cluster(config, cluster):
        raise ConfigError(problem)


def _problem_of_cluster(config: TrainConfig, cluster: Cluster | None) -> str | None:
    strategy = config.distribute.strategy
    if cluster is None:
        cure = "launch.py sets it for processes on one machine"
        return f"distribute.strategy: {strategy}: TF_CONFIG is not set; {cure}"
    expected = {"workers": "worker", "parameter_server": "chief, worker, ps"}.get(strategy)
    if expected and cluster.has_servers != (strategy == "parameter_server"):
        jobs = f"expected {expected} in TF_CONFIG, got {', '.join(cluster.jobs)}"
        return f"distribute.strategy: {strategy}: {jobs}"
    if config.distribute.virtual_devices:
        expected = "expected none with the processes of TF_CONFIG"
        return f"distribute.virtual_devices: {expected}: each takes its GPUs or its CPU"
    if cluster.has_servers and config.train.non_finite.name == "rollback":
        expected = "expected raise or skip with parameter servers, whose steps have no order"
        return f"train.non_finite: rollback: {expected}"
    workers = 1 if cluster.has_servers else len(cluster.jobs["worker"])
    return indivisible(config.train, workers * (config.distribute.towers or 1))


def tf_config(jobs: dict[str, list[str]], job: str, index: int) -> str:
    """The value of TF_CONFIG for one process."""
    return json.dumps({"cluster": jobs, "task": {"type": job, "index": index}})


# What a gRPC server says first to whoever connects: a frame of HTTP/2 that sets nothing.
GREETING = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SECONDS = 1.0


def is_greeting(address: str) -> bool:
    """Whether a process of a run answers at host:port: one that waits, or TensorFlow's server.

    Something else that listens there, and perhaps says nothing, is none.
    """
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=_SECONDS) as connection:
            return connection.recv(len(GREETING))[3:4] == GREETING[3:4]
    except (OSError, ValueError):
        return False


def is_listening(address: str) -> bool:
    """Whether something answers at host:port within a second."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_SECONDS).close()
    except (OSError, ValueError):
        return False
    return True
