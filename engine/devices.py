"""What a run is spread over: one device, the towers of one machine, or several processes.

A tower is a device that holds the whole network and computes its slice of every batch. Towers are
numbered through all processes; tower r of R has the r-th of R contiguous slices of the batch.
"""

import contextlib
import functools
import io
import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf

from cli.program import ConfigError, ResourceError, Stopped
from engine.cluster import GREETING, Cluster, is_greeting, is_listening, read_cluster
from engine.variables import layers_of
from train_config import Distribute, Train

# What TensorFlow raises where another process of the run is lost.
GONE = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


@dataclass(frozen=True)
class Devices:
    """The strategy, which worker this process is, and sums over towers."""

    strategy: tf.distribute.Strategy = field(default_factory=tf.distribute.get_strategy)
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

    # ---- in the graph

    def split_to_towers(self, batch: dict) -> dict:
        """This process's slice of a batch -> one contiguous slice to each of its towers."""
        count = self.local_towers
        if count == 1:
            return batch

        def slice_of_tower():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group % count
            with tf.device("CPU:0"):  # where the batch is: only the slice travels to the tower
                slices = {key: slice_of(value, number, count) for key, value in batch.items()}
            return {key: tf.identity(value) for key, value in slices.items()}

        return self.strategy.run(slice_of_tower)

    def sum_over_towers(self, values):
        """Each tower's tensors, all of one type -> their sums, on each tower; in one exchange."""
        if self.towers == 1:
            return values
        pairs = [(value, value) for value in tf.nest.flatten(values)]
        sums = self.strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, pairs)
        return tf.nest.pack_sequence_as(values, list(sums))

    def first_local(self, values):
        """Of tensors that are the same on each tower: those of this process's first."""
        local = self.strategy.experimental_local_results
        return tf.nest.map_structure(lambda value: local(value)[0], values)

    # ---- between the processes

    def from_chief(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """The chief's arrays, bit for bit; each process gives arrays of the same shape and type."""
        content = b"".join(array.tobytes() for array in arrays)
        words = np.frombuffer(content + bytes(-len(content) % 8), np.int64)
        if not self.is_chief:
            words = np.zeros_like(words)
        stream = io.BytesIO(self._sum_over_workers(words).tobytes())
        return [np.frombuffer(stream.read(a.nbytes), a.dtype).reshape(a.shape) for a in arrays]

    def gather_texts(self, text: str) -> list[str]:
        """The text of every worker; none ends in a zero."""
        codes = np.frombuffer(text.encode(), np.uint8)
        longest = self._gather([len(codes)]).max()
        rows = self._gather(np.pad(codes, [0, longest - len(codes)])).astype(np.uint8)
        return [row.tobytes().rstrip(b"\0").decode() for row in rows]

    def agree_on_stop(self, stop: int | None, seconds: float) -> tuple[int | None, float]:
        """A signal that any worker got, and the mean of their seconds: the same in each process."""
        if self.workers > 1:
            return self._gathered_stop(stop, seconds)
        return stop, seconds

    def _gathered_stop(self, stop: int | None, seconds: float) -> tuple[int | None, float]:
        stops, micros = self._gather([stop or 0, round(seconds * 1e6)]).T
        return next(map(int, stops[stops > 0]), None), micros.mean() / 1e6

    def any_true(self, condition) -> bool:
        """Whether the condition is true in any process."""
        return bool(self._gather([bool(condition)]).any())

    def _gather(self, numbers) -> np.ndarray:
        """int64 [n] of each worker -> int64 [workers, n]."""
        table = np.zeros([self.workers, len(numbers)], np.int64)
        table[self.worker] = numbers
        return self._sum_over_workers(table)

    def _sum_over_workers(self, values: np.ndarray) -> np.ndarray:
        if self.workers == 1:
            return values
        speaker = self.worker * self.local_towers  # the first tower here speaks for this process

        def value_of_tower(context):
            speaks = context.replica_id_in_sync_group in (0, speaker)
            return tf.constant(values if speaks else np.zeros_like(values))

        of_towers = self.strategy.experimental_distribute_values_from_function(value_of_tower)
        return self.strategy.reduce("SUM", of_towers, axis=None).numpy()


def slice_of(value: tf.Tensor, number, count: int) -> tf.Tensor:
    """The `number`-th of `count` contiguous slices of a batch [n, ...]."""
    size = value.shape[0] // count
    rank = value.shape.rank
    begin = [number * size] + [0] * (rank - 1)
    sizes = [size] + [-1] * (rank - 1)
    return tf.ensure_shape(tf.slice(value, begin, sizes), [size, *value.shape[1:]])


# ---- opening


def open_devices(distribute: Distribute) -> Devices:
    """The devices of a run; call it before anything else of TensorFlow.

    Raises ConfigError where the section does not fit TF_CONFIG, ResourceError where a device or a
    process is missing.
    """
    if os.environ.get("TF_CONFIG") and distribute.strategy not in ("one", "towers"):
        return _in_cluster(distribute)
    return _on_this_machine(distribute)


def _in_cluster(distribute: Distribute) -> Devices:
    cluster = read_cluster()
    if cluster is None:
        return _on_this_machine(distribute)
    if cluster.has_servers:
        return _with_servers(cluster, distribute.wait)
    _use_gpus(distribute.towers)
    _meet(cluster, distribute.wait)
    try:
        with _bounded(distribute.wait):
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except GONE as error:
        raise _others_gone(error) from error
    return Devices(strategy, cluster.index, len(cluster.jobs["worker"]))


@contextlib.contextmanager
def _bounded(seconds: int):
    """The kernel ends this process if another was lost since they met.

    TensorFlow waits for it without end, and holds Python's lock. Windows has no such alarm.
    """
    alarm = getattr(signal, "alarm", lambda _: None)
    alarm(seconds)
    try:
        yield
    finally:
        alarm(0)


def open_towers(distribute: Distribute, batch_size: int) -> Devices:
    """For evaluation, whose numbers do not depend on it: towers of the run that are here.

    As many as divide the batch.
    """
    names = _local_devices(distribute)
    count = min(distribute.towers or len(names), len(names))
    while batch_size % count:
        count -= 1
    return _towers(names[:count])


def _on_this_machine(distribute: Distribute) -> Devices:
    names = _local_devices(distribute)
    count = distribute.towers or len(names)
    if count > len(names):
        raise _too_few(names, distribute)
    return _towers(names[:count])


def _too_few(names: list[str], distribute: Distribute) -> ResourceError:
    kind = "GPUs" if "GPU" in names[0] else "device (no GPU, one CPU)"
    cure = "; distribute.virtual_devices splits the CPU"
    if distribute.virtual_devices:
        kind = "virtual devices"
        cure = ""
    return ResourceError(
        f"distribute.towers: expected at most {len(names)}, as there are {len(names)} {kind}, "
        f"got {distribute.towers}{cure}"
    )


def _towers(names: list[str]) -> Devices:
    return Devices(_mirrored(tuple(names))) if len(names) > 1 else Devices()


# Cached: a second strategy on the same GPUs would give its exchanges the numbers of the first's.
@functools.cache
def _mirrored(names: tuple[str, ...]) -> tf.distribute.Strategy:
    # CPUs share one memory, where adding up in one place is the least work.
    reduction = tf.distribute.ReductionToOneDevice() if "CPU" in names[0] else None
    return tf.distribute.MirroredStrategy(list(names), reduction)


def _local_devices(distribute: Distribute) -> list[str]:
    """Names of this machine's devices that can be towers: virtual ones, GPUs, or the CPU."""
    if distribute.virtual_devices:
        return _virtual_devices(distribute.virtual_devices)
    names = [device.name for device in tf.config.list_logical_devices("GPU")] or ["CPU:0"]
    return names[:1] if distribute.strategy == "one" else names


def _virtual_devices(count: int) -> list[str]:
    cpu = tf.config.list_physical_devices("CPU")[0]
    with contextlib.suppress(RuntimeError):  # TensorFlow runs already, with the devices it has
        parts = [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(cpu, parts)
    names = [device.name for device in tf.config.list_logical_devices("CPU")]
    if count > len(names):
        raise ConfigError(
            f"distribute.virtual_devices: expected at most {len(names)} here, got {count}"
        )
    return names[:count]


def _use_gpus(count: int | None) -> None:
    gpus = tf.config.list_physical_devices("GPU")
    most = max(len(gpus), 1)
    if count and count > most:
        raise ResourceError(
            f"distribute.towers: expected at most {most}, as this worker has {len(gpus)} GPUs, "
            f"got {count}"
        )
    if count and gpus:
        tf.config.set_visible_devices(gpus[:count], "GPU")


def _meet(cluster: Cluster, wait: int) -> None:
    """Returns when every worker answers at its address.

    TensorFlow waits for them too, but without end, and holding Python's lock: nobody could say what
    is missing. Until all have met, each listens at the address that TensorFlow takes over then.
    """
    address = cluster.jobs[cluster.job][cluster.index]
    try:
        server = socket.create_server(("", int(address.rpartition(":")[2])))
    except OSError as error:
        raise ResourceError(
            f"TF_CONFIG: {cluster.name}: cannot listen at {address}: {error.strerror}; "
            "expected a free port"
        ) from error
    server.settimeout(0.2)

    def accept_probes():
        with contextlib.suppress(OSError):
            while True:  # the other workers look whether this one has come
                with server.accept()[0] as connection:
                    connection.sendall(GREETING)

    with server:
        _wait_for(cluster.peers(), cluster, wait, accept_probes)


def _wait_for(
    peers: list[tuple[str, str]], cluster: Cluster, wait: int, pause: Callable[[], None]
) -> None:
    """Returns when each (name, address) was seen to answer as one; pauses between two looks.

    Raises ResourceError with the names of those that did not within `wait` seconds.
    """
    deadline = time.monotonic() + wait
    while peers := [peer for peer in peers if not is_greeting(peer[1])]:
        if time.monotonic() > deadline:
            names = ", ".join(map(_described, peers))
            raise ResourceError(
                f"TF_CONFIG: {cluster.name}: {names} did not come within {wait} s; "
                "expected all (distribute.wait)"
            )
        pause()


def _described(peer: tuple[str, str]) -> str:
    name, address = peer
    return f"{name} ({address}{', where something else listens' if is_listening(address) else ''})"


def is_compiled(model: keras.Model, jit: str) -> bool:
    """Whether XLA compiles the network: it lacks cuDNN's cells, and compiles for every length."""
    on_gpus = bool(tf.config.list_logical_devices("GPU"))
    layers = layers_of(model)
    if jit == "on" and not on_gpus:
        _check_synchronized_by_none(layers)
    if jit != "auto":
        return jit == "on"
    has_cells = any(isinstance(layer, (keras.layers.LSTM, keras.layers.GRU)) for layer in layers)
    any_length = any(None in tensor.shape[1:] for tensor in model.inputs)
    return on_gpus and not has_cells and not any_length


def _check_synchronized_by_none(layers: list[keras.Layer]) -> None:
    if any(getattr(layer, "synchronized", False) for layer in layers):
        raise ConfigError(
            "train.jit: on: expected auto or off for batch normalization over several CPU towers, "
            "whose exchange XLA lacks"
        )


@contextlib.contextmanager
def naming_failures(train: Train, devices: Devices):
    """Says what TensorFlow raises where memory ends, or where another process has gone."""
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise _out_of_memory(error, train, devices.towers) from error
    except GONE as error:
        if devices.workers == 1 and devices.coordinator is None:
            raise
        raise _others_gone(error) from error


def _out_of_memory(error: Exception, train: Train, towers: int) -> ResourceError:
    share = train.batch_size // (towers * train.accumulate)
    reason = str(error).partition("\n")[0][:200] or "no more for Python"
    return ResourceError(
        f"out of memory, with {share} examples at a time on each of {towers} towers; "
        f"try a smaller train.batch_size or a larger train.accumulate ({reason})"
    )


def _others_gone(error: Exception) -> Stopped:
    return Stopped(
        "another process of this run has gone; start all of them again to go on from the last "
        f"checkpoint ({str(error).splitlines()[0][:200]}): {shlex.join(sys.argv)}"
    )


# ---- parameter servers


def _sleep() -> None:
    time.sleep(1.0)


def _with_servers(cluster: Cluster, wait: int) -> Devices:
    """The chief's side: variables on the servers, steps on the workers."""
    jobs = tf.train.ClusterSpec(cluster.jobs)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(jobs, rpc_layer="grpc")
    _wait_for(cluster.peers(), cluster, wait, _sleep)
    strategy = tf.distribute.ParameterServerStrategy(resolver)
    return Devices(strategy, coordinator=_Coordinator(strategy))


class _Coordinator(tf.distribute.coordinator.ClusterCoordinator):
    """Ends with its process: TensorFlow's own waits for a thread that waits for a lost worker."""

    def __del__(self):
        pass


def serve(cluster: Cluster, wait: int) -> dict:
    """A worker or a parameter server: does what the chief asks, until the chief has gone."""
    jobs = tf.train.ClusterSpec(cluster.jobs)
    tf.distribute.Server(jobs, cluster.job, cluster.index, protocol="grpc")
    (chief,) = cluster.jobs["chief"]
    _wait_for([("chief", chief)], cluster, wait, _sleep)
    while is_listening(chief):
        _sleep()
    return {"task": cluster.name, "ended": "the chief has gone"}
