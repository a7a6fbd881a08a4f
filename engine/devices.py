"""What a run is spread over: one device, the towers of one machine, or several processes; and what these tell each other.

A tower is a device that holds the whole network and computes its part of every batch. Towers are numbered through all
processes; tower r of R has the r-th of R contiguous parts of the global batch.
"""

import contextlib
import functools
import shlex
import signal
import socket
import sys
import time
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from cli.program import ConfigError, ResourceError, Stopped
from engine.cluster import Cluster, is_listening, read_cluster
from engine.variables import layers_of
from train_config import Distribute, Train

GONE = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


@dataclass(frozen=True)
class Devices:
    """The strategy, which worker this process is, and sums over towers."""

    strategy: tf.distribute.Strategy
    worker: int = 0
    workers: int = 1
    coordinator: object = None  # of parameter servers

    @property
    def towers(self) -> int:
        """Of all workers together."""
        return self.strategy.num_replicas_in_sync

    @property
    def local_towers(self) -> int:
        return self.towers // self.workers

    @property
    def share(self) -> tuple[int, int]:
        """(number, of how many): this worker's share of every batch."""
        return self.worker, self.workers

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.worker == 0

    # ------------------------------------------------------------------------------------------------------ in the graph

    def split_to_towers(self, batch: dict) -> dict:
        """This process's part of a batch -> one contiguous part to each of its towers."""
        if self.local_towers == 1:
            return batch

        def own():
            number = (
                tf.distribute.get_replica_context().replica_id_in_sync_group % self.local_towers
            )
            with tf.device(
                "CPU:0"
            ):  # where the pipeline puts it: only the part travels to the tower's device
                part = {
                    key: slice_of(value, number, self.local_towers) for key, value in batch.items()
                }
            return {key: tf.identity(value) for key, value in part.items()}

        return self.strategy.run(own)

    def sum_over_towers(self, values: list) -> list:
        """Each tower's tensors, all of one type -> their sums over all towers, on each tower; one exchange for all of them."""
        if self.towers == 1:
            return values
        flat = tf.nest.flatten(values)
        pairs = [(value, value) for value in flat]
        sums = self.strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, pairs)
        return tf.nest.pack_sequence_as(values, list(sums))

    def first_local(self, values):
        """Of tensors that are the same on each tower: those of the first here."""
        return tf.nest.map_structure(
            lambda value: self.strategy.experimental_local_results(value)[0], values
        )

    # ------------------------------------------------------------------------------------------- between the processes

    def from_chief(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """The chief's arrays, bit for bit; every process gives arrays of the same shapes and types."""
        own = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
        words = np.frombuffer(own + bytes(-len(own) % 8), np.int64)
        buffer, found, begin = (
            self._sum_over_workers(words if self.is_chief else np.zeros_like(words)).tobytes(),
            [],
            0,
        )
        for array in arrays:
            found.append(
                np.frombuffer(buffer[begin : begin + array.nbytes], array.dtype).reshape(
                    array.shape
                )
            )
            begin += array.nbytes
        return found

    def gather_texts(self, text: str) -> list[str]:
        """The text of every worker."""
        own = np.frombuffer(text.encode(), np.uint8).astype(np.int64)
        lengths = self._sum_over_workers(
            np.eye(self.workers, dtype=np.int64)[self.worker] * len(own)
        )
        table = np.zeros([self.workers, lengths.max()], np.int64)
        table[self.worker, : len(own)] = own
        rows = self._sum_over_workers(table)
        return [
            row[:length].astype(np.uint8).tobytes().decode()
            for row, length in zip(rows, lengths, strict=True)
        ]

    def agree(self, stop: int | None, seconds: float) -> tuple[int | None, float]:
        """A signal that any worker got, and the mean of their times: what must not differ between processes."""
        if self.workers == 1:
            return stop, seconds
        table = np.zeros([2, self.workers], np.int64)
        table[:, self.worker] = stop or 0, round(seconds * 1e6)
        stops, micros = self._sum_over_workers(table)
        return next((int(number) for number in stops if number), None), micros.mean() / 1e6

    def any_true(self, value) -> bool:
        return self.agree(1 if value else None, 0.0)[0] is not None

    def _sum_over_workers(self, values: np.ndarray) -> np.ndarray:
        if self.workers == 1:
            return values
        first = self.worker * self.local_towers  # tower 0 here speaks for this process
        each = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(
                values if context.replica_id_in_sync_group in (0, first) else np.zeros_like(values)
            )
        )
        return self.strategy.reduce("SUM", each, axis=None).numpy()


def slice_of(value: tf.Tensor, number, parts: int) -> tf.Tensor:
    """The `number`-th of `parts` contiguous parts of a batch [n, ...]."""
    size = value.shape[0] // parts
    part = tf.slice(
        value,
        [number * size] + [0] * (value.shape.rank - 1),
        [size] + [-1] * (value.shape.rank - 1),
    )
    return tf.ensure_shape(part, [size, *value.shape[1:]])


# --------------------------------------------------------------------------------------------------------- opening


def open_devices(distribute: Distribute) -> Devices:
    """The devices of a run; call it before anything else of TensorFlow.

    Raises ConfigError where the section does not fit TF_CONFIG, ResourceError where a device or a process is not there.
    """
    cluster = read_cluster() if distribute.strategy not in ("one", "towers") else None
    if cluster and cluster.has_servers:
        return _with_servers(cluster, distribute.wait)
    if cluster:
        _use_gpus(distribute.towers)
        _meet(cluster, distribute.wait)
        signal.alarm(
            distribute.wait
        )  # the kernel's, which ends the process where another was lost in the meantime
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        signal.alarm(0)
        return Devices(strategy, cluster.index, len(cluster.jobs["worker"]))
    there = _local_devices(distribute)
    wanted = 1 if distribute.strategy == "one" else distribute.towers or len(there)
    if wanted > len(there):
        kind = (
            "virtual devices"
            if distribute.virtual_devices
            else "GPUs"
            if "GPU" in there[0]
            else "device (no GPU, one CPU)"
        )
        cure = "" if distribute.virtual_devices else "; distribute.virtual_devices splits the CPU"
        raise ResourceError(
            f"distribute.towers: expected at most {len(there)}, as there are {len(there)} {kind}, got {wanted}{cure}"
        )
    return _towers(there[:wanted])


def open_towers(distribute: Distribute, batch_size: int) -> Devices:
    """For an evaluation, whose numbers do not depend on it: as many of a run's towers as are here and divide its batch."""
    there = _local_devices(distribute)
    most = 1 if distribute.strategy == "one" else min(distribute.towers or len(there), len(there))
    return _towers(
        there[: max(number for number in range(1, most + 1) if batch_size % number == 0)]
    )


def _towers(devices: list[str]) -> Devices:
    return Devices(_mirrored(tuple(devices)) if len(devices) > 1 else tf.distribute.get_strategy())


@functools.cache  # a second strategy on the same GPUs would number its exchanges as the first did, and meet them
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    on_cpu = (
        "CPU" in devices[0]
    )  # where all share one memory, and adding up in one place is the least work
    return tf.distribute.MirroredStrategy(
        list(devices), tf.distribute.ReductionToOneDevice() if on_cpu else None
    )


def _local_devices(distribute: Distribute) -> list[str]:
    """Names of the devices of this machine that can be towers: virtual ones, GPUs, or the CPU."""
    if distribute.virtual_devices:
        cpu = tf.config.list_physical_devices("CPU")[0]
        try:
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * distribute.virtual_devices
            )
        except RuntimeError:  # TensorFlow has already begun: what it began with counts
            there = len(tf.config.list_logical_devices("CPU"))
            if there < distribute.virtual_devices:
                raise ConfigError(
                    f"distribute.virtual_devices: expected at most {there} here, got {distribute.virtual_devices}"
                ) from None
        there = [device.name for device in tf.config.list_logical_devices("CPU")][
            : distribute.virtual_devices
        ]
    else:
        there = [device.name for device in tf.config.list_logical_devices("GPU")] or ["CPU:0"]
    return there


def _use_gpus(number: int | None) -> None:
    gpus = tf.config.list_physical_devices("GPU")
    if number and number > max(len(gpus), 1):
        raise ResourceError(
            f"distribute.towers: expected at most {max(len(gpus), 1)}, as this worker has {len(gpus)} GPUs, got {number}"
        )
    if number and gpus:
        tf.config.set_visible_devices(gpus[:number], "GPU")


def _meet(cluster: Cluster, wait: int) -> None:
    """Returns when every worker answers at its address; ResourceError with names where some have not come within `wait` seconds.

    TensorFlow waits for them too, but without end, and holding Python's lock: nobody could say what is missing. Until all
    have met, each listens at the address that TensorFlow takes over then.
    """
    own = cluster.jobs[cluster.job][cluster.index]
    try:
        here = socket.create_server(("", int(own.rpartition(":")[2])))
    except OSError as error:
        raise ResourceError(
            f"TF_CONFIG: {cluster.name}: cannot listen at {own}: {error.strerror}; expected a free port"
        ) from error
    here.settimeout(0.2)
    missing, deadline = cluster.peers(), time.monotonic() + wait
    with here:
        while missing := [
            (name, address) for name, address in missing if not is_listening(address)
        ]:
            if time.monotonic() > deadline:
                names = ", ".join(f"{name} ({address})" for name, address in missing)
                raise ResourceError(
                    f"TF_CONFIG: {cluster.name}: {names} did not come within {wait} s; expected all (distribute.wait)"
                )
            with contextlib.suppress(TimeoutError):
                while True:  # those who look whether this one has come
                    here.accept()[0].close()


# ------------------------------------------------------------------------------------------------ parameter servers


def _with_servers(cluster: Cluster, wait: int) -> Devices:
    """The chief's side: variables on the servers, steps on the workers."""
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(cluster.jobs), rpc_layer="grpc"
    )
    begin = time.monotonic()
    while missing := [
        f"{name} ({address})" for name, address in cluster.peers() if not is_listening(address)
    ]:
        if time.monotonic() - begin > wait:
            raise ResourceError(
                f"TF_CONFIG: chief: {', '.join(missing)} did not come within {wait} s; expected all (distribute.wait)"
            )
        time.sleep(0.5)
    strategy = tf.distribute.ParameterServerStrategy(resolver)
    return Devices(strategy, coordinator=_Coordinator(strategy))


class _Coordinator(tf.distribute.coordinator.ClusterCoordinator):
    """Ends with its process. TensorFlow's own waits, then, for a lock: its thread that waits for a lost worker has it, and keeps it."""

    def __del__(self):
        pass


def serve(cluster: Cluster, wait: int) -> dict:
    """A worker or a parameter server: does what the chief asks until nothing answers at the chief's address any more."""
    tf.distribute.Server(
        tf.train.ClusterSpec(cluster.jobs), cluster.job, cluster.index, protocol="grpc"
    )
    (chief,) = cluster.jobs["chief"]
    begin, met = time.monotonic(), False
    while (there := is_listening(chief)) or not met:
        met |= there
        if not met and time.monotonic() - begin > wait:
            raise ResourceError(
                f"TF_CONFIG: {cluster.name}: chief ({chief}) did not come within {wait} s; expected it (distribute.wait)"
            )
        time.sleep(1.0)
    return {"task": cluster.name, "ended": "the chief has gone"}


def is_compiled(model: keras.Model, jit: str) -> bool:
    """Whether XLA compiles the network: it lacks cuDNN's cells, and compiles for every length."""
    on_gpus = bool(tf.config.list_logical_devices("GPU"))
    layers = layers_of(model)
    synchronized = any(getattr(layer, "synchronized", False) for layer in layers)
    if jit == "on" and synchronized and not on_gpus:
        raise ConfigError(
            "train.jit: on: expected auto or off for batch normalization over several CPU towers, "
            "whose exchange XLA lacks"
        )
    if jit != "auto":
        return jit == "on"
    has_cells = any(isinstance(layer, (keras.layers.LSTM, keras.layers.GRU)) for layer in layers)
    any_length = any(None in tensor.shape[1:] for tensor in model.inputs)
    return on_gpus and not has_cells and not any_length


@contextlib.contextmanager
def naming_failures(train: Train, devices: Devices):
    """Says what TensorFlow raises where memory ends, or where another process has gone."""
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        towers, accumulate = devices.towers, train.accumulate
        share = train.batch_size // (towers * accumulate)
        reason = (str(error).splitlines() or ["no more for Python"])[0][:200]
        raise ResourceError(
            f"out of memory, with {share} examples at a time on each of {towers} towers; "
            f"try a smaller train.batch_size or a larger train.accumulate ({reason})"
        ) from error
    except GONE as error:
        if devices.workers == 1 and devices.coordinator is None:
            raise
        reason = str(error).splitlines()[0][:200]
        raise Stopped(
            "another process of this run has gone; start all of them again to go on from the last "
            f"checkpoint ({reason}): {shlex.join(sys.argv)}"
        ) from error
