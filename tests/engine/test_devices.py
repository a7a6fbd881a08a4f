"""What devices there are, and what processes tell each other."""

import re
import threading

import numpy as np
import pytest
import tensorflow as tf
from places import HANG, TINY

from cli.program import ResourceError
from engine.devices import Devices, open_devices, open_towers, slice_of
from train_config import Distribute


class Exchange:
    """The workers of a run as threads; what each gives is added up, as between processes."""

    def __init__(self, workers: int):
        self.barrier, self.values = threading.Barrier(workers, timeout=HANG), [None] * workers
        self.exchanges = 0

    def run(self, monkeypatch, call) -> list:
        """What `call(devices)` returns in each worker."""

        def sum_over_workers(devices, values):
            self.values[devices.worker] = values
            self.barrier.wait()
            total = sum(self.values)
            self.exchanges += devices.is_chief
            self.barrier.wait()
            return total

        def work(worker):
            try:
                results[worker] = call(Devices(strategy, worker, len(self.values)))
            except BaseException:
                self.barrier.abort()
                raise

        monkeypatch.setattr(Devices, "_sum_over_workers", sum_over_workers)
        results, strategy = [None] * len(self.values), tf.distribute.get_strategy()
        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(results))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


def test_every_worker_gets_the_texts_of_all(monkeypatch):
    texts = ["short", "", "with umlauts: \u00e4\u00f6\u00fc, and longer"]
    gathered = Exchange(3).run(monkeypatch, lambda own: own.gather_texts(texts[own.worker]))
    assert gathered == [texts] * 3


def test_a_signal_to_one_stops_all_and_seconds_are_means(monkeypatch):
    exchange, stops = Exchange(3), [None, 15, None]
    agreed = exchange.run(
        monkeypatch, lambda own: own.agree_on_stop(stops[own.worker], 0.1 * own.worker)
    )
    assert agreed == [(15, pytest.approx(0.1))] * 3 and exchange.exchanges == 1
    agreed = Exchange(2).run(monkeypatch, lambda own: own.agree_on_stop(None, 0.5))
    assert agreed == [(None, 0.5)] * 2


@pytest.mark.parametrize(("conditions", "expected"), [([0, 0], False), ([None, True], True)])
def test_what_is_true_in_one_is_true_in_all(conditions, expected, monkeypatch):
    found = Exchange(2).run(monkeypatch, lambda own: own.any_true(conditions[own.worker]))
    assert found == [expected] * 2


def test_the_arrays_of_the_chief_come_bit_for_bit(monkeypatch):
    chief = [np.float32([[1.5, np.nan]]), np.int64(-7), np.float16([1, 2, 3]), np.array([True])]
    others = [np.zeros_like(array) for array in chief]
    received = Exchange(3).run(
        monkeypatch, lambda own: own.from_chief(chief if own.is_chief else others)
    )
    for arrays in received:
        for array, expected in zip(arrays, chief, strict=True):
            assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
            assert array.tobytes() == expected.tobytes()


def test_one_process_exchanges_nothing():
    devices = Devices(tf.distribute.get_strategy())
    assert devices.gather_texts("own") == ["own"]
    assert devices.agree_on_stop(2, 0.5) == (2, 0.5)
    assert devices.any_true([1]) and not devices.any_true(None)
    assert devices.from_chief([np.arange(3)])[0].tolist() == [0, 1, 2]


def test_slices_are_contiguous_and_make_the_batch():
    batch = tf.reshape(tf.range(12), [6, 2])
    slices = [slice_of(batch, number, 3) for number in range(3)]
    assert all(part.shape == [2, 2] for part in slices)
    np.testing.assert_array_equal(tf.concat(slices, 0), batch)


def test_more_devices_than_there_are_is_an_error(program, tmp_path):
    with pytest.raises(
        ResourceError,
        match=re.escape(
            "distribute.towers: expected at most 4, as there are 4 virtual devices, got 8"
        ),
    ):
        open_devices(Distribute(strategy="towers", towers=8, virtual_devices=4))
    with pytest.raises(
        ResourceError,
        match=re.escape(
            "expected at most 1, as there are 1 device (no GPU, one CPU), got 4; distribute.virtual"
        ),
    ):
        open_devices(Distribute(strategy="towers", towers=4))
    words = ["--config", TINY, "--run_dir", tmp_path / "run", "distribute.towers=4"]
    done = program("trainer.py", *words)
    assert (done.returncode, done.stdout) == (6, "") and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("towers", "expected"), [(2, 2), (8, 4), (None, 4), (3, 3)])
def test_evaluation_takes_the_towers_that_are_here(towers, expected):
    """A run of eight is scored on the four that are here; of six examples a batch, on three."""
    distribute = Distribute(strategy="towers", towers=towers, virtual_devices=4)
    assert open_towers(distribute, 6 if expected == 3 else 8).towers == expected
    assert open_towers(Distribute(strategy="workers"), 8).towers == 1
