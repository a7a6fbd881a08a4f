"""The processes of one run, as the environment variable TF_CONFIG describes them to each.

    TF_CONFIG='{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'

Jobs are `worker`, and for parameter servers also `chief` (one, which drives the others) and `ps`. Nothing here imports TensorFlow.
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
        everyone = [
            (f"{job} {index}", address)
            for job, addresses in self.jobs.items()
            for index, address in enumerate(addresses)
        ]
        return [(name, address) for name, address in everyone if name != self.name]


def read_cluster(text: str | None = None) -> Cluster | None:
    """The cluster of TF_CONFIG; None where it is not set or has no cluster. Raises ConfigError for anything malformed."""
    text = os.environ.get("TF_CONFIG", "") if text is None else text
    if not text.strip():
        return None
    try:
        config = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"TF_CONFIG: expected JSON, got {text[:60]!r}: {error}") from None
    if not isinstance(config, dict):
        raise ConfigError(
            f"TF_CONFIG: expected an object with `cluster` and `task`, got {text[:60]!r}"
        )
    if not config.get("cluster"):
        return None
    jobs, task = config["cluster"], config.get("task")
    if not isinstance(jobs, dict) or not all(
        isinstance(addresses, list) and addresses for addresses in jobs.values()
    ):
        raise ConfigError(
            "TF_CONFIG: cluster: expected lists of addresses by job, such as {'worker': ['host1:2222', 'host2:2222']}"
        )
    if unknown := [job for job in jobs if job not in _JOBS]:
        raise ConfigError(
            f"TF_CONFIG: cluster: {unknown[0]}: unknown job; expected {', '.join(_JOBS)}"
        )
    addresses = [address for each in jobs.values() for address in each]
    for address in addresses:
        if not isinstance(address, str) or not re.fullmatch(r"\S+:\d+", address):
            raise ConfigError(f"TF_CONFIG: cluster: expected host:port, got {address!r}")
    if doubles := [address for address in addresses if addresses.count(address) > 1]:
        raise ConfigError(f"TF_CONFIG: cluster: {doubles[0]}: expected every address once")
    if not isinstance(task, dict) or task.get("type") not in jobs:
        got = task.get("type") if isinstance(task, dict) else task
        raise ConfigError(f"TF_CONFIG: task.type: expected one of {', '.join(jobs)}, got {got!r}")
    job, index = task["type"], task.get("index")
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(jobs[job]):
        raise ConfigError(
            f"TF_CONFIG: task.index: expected 0 to {len(jobs[job]) - 1} for {job}, got {index!r}"
        )
    if len(jobs.get("chief", [])) > 1:
        raise ConfigError(f"TF_CONFIG: cluster: chief: expected one, got {len(jobs['chief'])}")
    if "ps" in jobs and ("chief" not in jobs or "worker" not in jobs):
        raise ConfigError(
            "TF_CONFIG: cluster: expected a chief and workers beside the parameter servers"
        )
    if "ps" not in jobs and list(jobs) != ["worker"]:
        raise ConfigError(
            "TF_CONFIG: cluster: expected `worker` alone, whose number 0 is the chief, or `chief`, `worker` and `ps`"
        )
    return Cluster(jobs, job, index)


def check_cluster(config: TrainConfig, cluster: Cluster | None) -> None:
    """Raises ConfigError where a configuration does not fit the processes of TF_CONFIG."""
    distribute = config.distribute
    strategy = distribute.strategy
    if strategy in ("workers", "parameter_server"):
        if cluster is None:
            raise ConfigError(
                f"distribute.strategy: {strategy}: TF_CONFIG is not set; launch.py sets it for processes on one machine"
            )
        if cluster.has_servers != (strategy == "parameter_server"):
            expected = "chief, worker, ps" if strategy == "parameter_server" else "worker"
            raise ConfigError(
                f"distribute.strategy: {strategy}: expected {expected} in TF_CONFIG, got {', '.join(cluster.jobs)}"
            )
    if cluster and strategy not in ("one", "towers"):
        if distribute.virtual_devices:
            raise ConfigError(
                "distribute.virtual_devices: expected none with the processes of TF_CONFIG: each takes its GPUs or its CPU"
            )
        if cluster.has_servers and config.train.non_finite.name == "rollback":
            raise ConfigError(
                "train.non_finite: rollback: expected raise or skip with parameter servers, whose steps have no order"
            )
        workers = 1 if cluster.has_servers else len(cluster.jobs["worker"])
        if problem := indivisible(config.train, workers * (distribute.towers or 1)):
            raise ConfigError(problem)


def tf_config(jobs: dict[str, list[str]], job: str, index: int) -> str:
    """The value of TF_CONFIG for one process."""
    return json.dumps({"cluster": jobs, "task": {"type": job, "index": index}})


def is_listening(address: str, seconds: float = 1.0) -> bool:
    """Whether something answers at host:port."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=seconds).close()
    except OSError:
        return False
    return True
