"""metrics.jsonl and TensorBoard's files, also after a run was killed and goes on."""

import errno
import json
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from engine.log import MetricsLog, TensorBoard


def readings(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_was_logged_after_the_checkpoint_comes_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, 0)
    for step in (10, 20, 30):
        log.write(step, "train", {"loss": 1 / 3})
    log.close()
    with open(path, "a") as file:
        file.write('{"step": 35, "split": "tra')  # torn by a kill
    log = MetricsLog(path, 20)
    log.write(30, "valid", {"loss": 0.5, "confusion_matrix": [[1, 2]]})
    log.flush()
    log.close()
    assert readings(path) == [
        {"step": 10, "split": "train", "loss": 1 / 3},
        {"step": 20, "split": "train", "loss": 1 / 3},
        {"step": 30, "split": "valid", "loss": 0.5, "confusion_matrix": [[1, 2]]},
    ]


def test_a_full_disk_is_named_with_its_file(tmp_path, monkeypatch):
    log = MetricsLog(tmp_path / "metrics.jsonl", 0)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError) as caught:
        log.write(1, "train", {})
    assert caught.value.filename == str(tmp_path / "metrics.jsonl")


def test_a_write_in_pieces_is_whole(tmp_path, monkeypatch):
    log, write = MetricsLog(tmp_path / "metrics.jsonl", 0), os.write
    monkeypatch.setattr(os, "write", lambda number, line: write(number, line[:3]))
    log.write(1, "train", {"loss": 0.25})
    assert readings(tmp_path / "metrics.jsonl") == [{"step": 1, "split": "train", "loss": 0.25}]


def events(directory) -> list:
    files = sorted(directory.glob("*tfevents*"), key=lambda file: file.stat().st_mtime_ns)
    return [event for file in files for event in tf.compat.v1.train.summary_iterator(str(file))]


def tags(directory) -> list[tuple[int, str]]:
    return [(event.step, value.tag) for event in events(directory) for value in event.summary.value]


def test_every_kind_of_summary_arrives(tmp_path):
    board = TensorBoard(tmp_path, 0)
    board.scalars(5, "train", {"loss": 0.5})
    board.scalars(6, "train", {"loss": 0.25})
    board.scalars(5, "valid", {"loss": 0.75, "accuracy": 1.0})
    board.texts({"config": "model: tiny"})
    inputs = keras.Input([3])
    board.graph(keras.Model(inputs, keras.layers.Dense(2)(inputs)))
    board.histograms(7, {"weights/a": np.arange(4.0)})
    board.images(8, tf.reshape(tf.range(32.0), [2, 4, 4, 1]), 2)
    board.images(9, tf.zeros([2, 6]), 2)  # no image
    board.flush()
    assert tags(tmp_path / "valid") == [(5, "loss"), (5, "accuracy")]
    found = tags(tmp_path / "train")
    expected = {(5, "loss"), (6, "loss"), (0, "config"), (7, "weights/a"), (8, "inputs")}
    assert expected <= set(found) and 9 not in dict(found)
    assert any(event.graph_def for event in events(tmp_path / "train"))


def test_a_run_that_goes_on_hides_what_was_written_after(tmp_path):
    board = TensorBoard(tmp_path, 0)
    board.scalars(5, "train", {"loss": 0.5})
    board.flush()
    TensorBoard(tmp_path, 3)
    starts = [event.step for event in events(tmp_path / "train") if event.session_log.status]
    assert starts == [4]


def test_off_means_no_files(tmp_path):
    board = TensorBoard(tmp_path / "tensorboard", 0, enabled=False)
    board.scalars(5, "train", {"loss": 0.5})
    board.texts({"config": "text"})
    board.flush()
    assert not (tmp_path / "tensorboard").exists()


def test_a_write_that_fails_is_said_once_and_the_run_goes_on(tmp_path, capsys):
    (tmp_path / "tensorboard").write_text("a file where the directory would be")
    board = TensorBoard(tmp_path / "tensorboard", 0)
    for step in range(3):
        board.scalars(step, "train", {"loss": 0.5})
        board.histograms(step, {"weights/a": np.arange(4.0)})
        board.flush()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {tmp_path}/tensorboard: cannot write TensorBoard files, ")
