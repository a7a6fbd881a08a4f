"""What spreading a run costs, measured here, and where a network stops scaling, by a model from
what was measured.

    python benchmarks/distribution.py [configs/lenet.yaml] [rounds] [key=value ...]        about 3
    minutes

Measured: the compiled step on one device, on two virtual towers at the same global batch, in four
accumulated parts against
four steps of a quarter; the exchange of the gradient between two processes. Every round runs each
row once; medians of the
rounds and of each round's ratios.

Modelled: with the global batch fixed, R towers that each have such a device to themselves take
    step(R) = step of one device at batch / R  +  2 (R - 1) / R * gradient bytes / bandwidth  +  2
    (R - 1) * latency
the second and third being a ring all-reduce that nothing overlaps. Patarasuk, Yuan, Bandwidth
optimal all-reduce algorithms, 2009.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cli.program import import_tensorflow
from engine.cluster import tf_config
from launch import free_addresses

import_tensorflow()

import numpy as np
import tensorflow as tf

from engine.devices import open_devices
from train_config import Distribute, load_config
from trainer import build_run

SECONDS = 2.0  # of each row in each round
TOWERS = (1, 2, 4, 8, 16, 32)
NETWORKS = {
    "1 Gbit/s": (1e9 / 8, 50e-6),
    "10 Gbit/s": (10e9 / 8, 30e-6),
    "100 Gbit/s": (100e9 / 8, 10e-6),
    "300 GB/s": (300e9, 3e-6),
}


class Row:
    """The compiled step of one configuration on one constant batch, without input."""

    def __init__(self, config_file: str, overrides: list[str], steps: int = 1):
        self.run = build_run(load_config(config_file, overrides))
        batch = next(iter(self.run.batches_from(0)))
        self._batches, self._steps = iter(tf.data.Dataset.from_tensors(batch).repeat()), steps
        self._calls = 1
        self.measure()  # compiles
        self._calls = max(1, round(SECONDS / self.measure() / steps))

    def measure(self) -> float:
        """Seconds for so many steps as count as one."""
        begin = time.perf_counter()
        assert bool(self.run.trainer.run(self._batches, tf.constant(self._calls * self._steps)))
        return (time.perf_counter() - begin) / self._calls


def gradient_bytes(run) -> int:
    return sum(int(np.prod(v.shape)) * 4 for v in run.trainer.model.trainable_variables)


def exchange(size: int) -> float | None:
    """Seconds for the sum of two processes' vectors of so many bytes, on this machine."""
    jobs = {"worker": free_addresses(2)}
    commands = [[sys.executable, __file__, "exchange", str(size)]] * 2
    environments = [
        {**os.environ, "TF_CONFIG": tf_config(jobs, "worker", index)} for index in range(2)
    ]
    pairs = zip(commands, environments, strict=True)
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for command, environment in pairs
    ]
    found = [process.communicate(timeout=300)[0] for process in processes]
    return json.loads(found[0].splitlines()[-1])


def exchange_here(size: int) -> None:
    devices = open_devices(Distribute(strategy="workers"))
    vector = tf.ones([size // 4])

    @tf.function
    def sums(times):
        total = 0.0
        with devices.strategy.scope():
            for _ in tf.range(times):
                (each,) = devices.first_local(
                    devices.sum_over_towers(
                        [devices.strategy.run(lambda offset: vector + offset, args=(total,))]
                    )
                )
                total = each[0] * 1e-9
        return total

    sums(tf.constant(3))
    begin = time.perf_counter()
    sums(tf.constant(30)).numpy()
    print(json.dumps((time.perf_counter() - begin) / 30))


def measured(config_file: str, rounds: int, overrides: list[str]) -> tuple[dict[int, float], int]:
    """Prints the measured table.

    {batch size: seconds a step} of one device, and the bytes of the gradient.
    """
    batch = load_config(config_file, overrides).train.batch_size
    sizes = [batch // towers for towers in TOWERS if batch % towers == 0]
    rows = {
        f"one device, batch {size}": Row(config_file, [*overrides, f"train.batch_size={size}"])
        for size in sizes
    }
    one = f"one device, batch {batch}"
    rows["2 virtual towers"] = Row(
        config_file, [*overrides, "distribute={strategy: towers, virtual_devices: 2}"]
    )
    rows["accumulate 4"] = Row(config_file, [*overrides, "train.accumulate=4"])
    rows["4 steps of a quarter"] = Row(
        config_file, [*overrides, f"train.batch_size={batch // 4}"], steps=4
    )
    times: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name, row in rows.items():
            times[name].append(row.measure())
    run, size = rows[one].run, gradient_bytes(rows[one].run)
    print(
        f"{config_file}: {run.config.model.name}, global batch {batch}, gradient of {size:,} bytes"
    )
    print(f"{os.cpu_count()} CPUs, {rounds} rounds\n")
    print(f"{'measured, ms':<28} {'median':>8} {'min':>8} {'max':>8}   ratio")
    against = {"2 virtual towers": one, "accumulate 4": "4 steps of a quarter"}
    for name, values in times.items():
        base = against.get(name)
        ratio = (
            statistics.median(a / b for a, b in zip(values, times[base], strict=True))
            if base
            else None
        )
        text = f"{ratio:.2f} x {base}" if base else ""
        print(
            f"{name:<28} {statistics.median(values) * 1e3:8.2f} {min(values) * 1e3:8.2f} "
            f"{max(values) * 1e3:8.2f}   {text}",
            flush=True,
        )
    return {each: statistics.median(times[f"one device, batch {each}"]) for each in sizes}, size


def modeled(step: dict[int, float], size: int) -> None:
    """Prints the modeled table.

    Milliseconds a step, and the number of towers at which it is least.
    """
    batch = max(step)
    header = "".join(f"{towers:>9}" for towers in TOWERS if batch // towers in step)
    print(f"\n{'modeled, ms a step; towers':<28}{header}   fastest; at least half of linear up to")
    for name, (bandwidth, latency) in NETWORKS.items():
        found = {}
        for towers in TOWERS:
            if batch // towers in step:
                found[towers] = (
                    step[batch // towers]
                    + 2 * (towers - 1) / towers * size / bandwidth
                    + 2 * (towers - 1) * latency
                )
        fastest = min(found, key=found.get)
        efficient = max(towers for towers in found if found[1] / found[towers] >= towers / 2)
        row = "".join(f"{seconds * 1e3:9.2f}" for seconds in found.values())
        print(f"{name:<28}{row}   {fastest} towers, {found[1] / found[fastest]:.1f} x; {efficient}")
    print(
        f"{'of it the computation':<28}"
        + "".join(
            f"{step[batch // towers] * 1e3:9.2f}" for towers in TOWERS if batch // towers in step
        )
    )


def main(config_file: str, rounds: int, overrides: list[str]) -> None:
    open_devices(Distribute(virtual_devices=2))  # splits the CPU, for the rows that ask for towers
    step, size = measured(config_file, rounds, overrides)
    seconds = exchange(size)
    speed = f"{size:,} bytes through this machine's sockets: {size / seconds / 1e6:,.0f} MB/s"
    print(f"{'sum over 2 processes':<28} {seconds * 1e3:8.2f}   {speed}")
    modeled(step, size)


if __name__ == "__main__":
    if sys.argv[1:2] == ["exchange"]:
        exchange_here(int(sys.argv[2]))
    else:
        files = [word for word in sys.argv[1:] if word.endswith(".yaml")]
        numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
        main(
            *(files or [str(ROOT / "configs/lenet.yaml")])[:1],
            *(numbers or [7])[:1],
            [word for word in sys.argv[1:] if "=" in word],
        )
