"""TF_CONFIG: what is malformed and what does not fit the configuration is one line."""

import json
import re
import socket
import threading

import pytest
from places import TINY

from cli.program import ConfigError
from engine.cluster import (
    GREETING,
    Cluster,
    check_cluster,
    is_greeting,
    is_listening,
    read_cluster,
    tf_config,
)
from train_config import load_config

WORKERS = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}


ALL = {
    "cluster": {"chief": ["a:1"], "ps": ["b:2"], "worker": ["c:3"]},
    "task": {"type": "chief", "index": 0},
}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "TF_CONFIG: expected JSON, got '{'"),
        ("[]", "TF_CONFIG: expected an object with `cluster` and `task`"),
        (json.dumps({"cluster": {"worker": "a:1"}}), "cluster: expected lists of addresses"),
        (json.dumps({"cluster": {"worker": []}}), "cluster: expected lists of addresses"),
        (
            json.dumps({"cluster": {"wroker": ["a:1"]}}),
            "cluster: wroker: unknown job; expected chief, worker, ps",
        ),
        (json.dumps({"cluster": {"worker": ["a"]}}), "cluster: expected host:port, got 'a'"),
        ("[" * 100_000, "TF_CONFIG: expected JSON"),
        (json.dumps({"cluster": {"worker": ["a:65536"]}}), "ports are 1 to 65535"),
        (
            json.dumps(WORKERS | {"task": {"type": [], "index": 0}}),
            "task.type: expected one of worker, got []",
        ),
        (
            json.dumps({"cluster": {"worker": ["a:1", "a:1"]}}),
            "cluster: a:1: expected every address once",
        ),
        (
            json.dumps({"cluster": {"worker": ["a:1"]}}),
            "task.type: expected one of worker, got None",
        ),
        (
            json.dumps(WORKERS | {"task": {"type": "ps", "index": 0}}),
            "task.type: expected one of worker, got 'ps'",
        ),
        (
            json.dumps(WORKERS | {"task": {"type": "worker", "index": 2}}),
            "task.index: expected 0 to 1 for worker, got 2",
        ),
        (
            json.dumps(WORKERS | {"task": {"type": "worker", "index": "0"}}),
            "task.index: expected 0 to 1 for worker, got '0'",
        ),
        (
            json.dumps(
                {"cluster": {"ps": ["a:1"], "worker": ["b:1"]}, "task": {"type": "ps", "index": 0}}
            ),
            "expected a chief and workers",
        ),
        (
            json.dumps(
                {
                    "cluster": {"chief": ["a:1"], "worker": ["b:1"]},
                    "task": {"type": "chief", "index": 0},
                }
            ),
            "expected `worker` alone",
        ),
    ],
)
def test_a_malformed_cluster_is_one_line(text, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_cluster(text)


@pytest.mark.parametrize("text", ["", " ", "{}", '{"task": {"type": "worker", "index": 0}}'])
def test_no_cluster(text):
    assert read_cluster(text) is None


@pytest.mark.parametrize(
    ("overrides", "cluster", "message"),
    [
        (
            ["train.batch_size=130", "distribute={strategy: towers, towers: 4}"],
            None,
            "4 (4 towers), got 130; nearest: 128 or 132",
        ),
        (
            ["train.batch_size=3", "train.accumulate=4"],
            None,
            "multiple of 4 (1 towers x train.accumulate 4), got 3; nearest: 4",
        ),
        (
            ["train.batch_size=127"],
            WORKERS,
            "multiple of 2 (2 towers), got 127; nearest: 126 or 128",
        ),
        (
            ["distribute.strategy=workers"],
            None,
            "distribute.strategy: workers: TF_CONFIG is not set",
        ),
        (
            ["distribute.strategy=parameter_server"],
            WORKERS,
            "parameter_server: expected chief, worker, ps in TF_CONFIG, got worker",
        ),
        (
            ["distribute.strategy=workers"],
            ALL,
            "workers: expected worker in TF_CONFIG, got chief, ps, worker",
        ),
        (
            ["distribute.virtual_devices=2"],
            WORKERS,
            "distribute.virtual_devices: expected none with the processes of TF_CONFIG",
        ),
        (["distribute={strategy: one, towers: 2}"], None, "strategy `one` is one device"),
        (
            ["distribute={strategy: workers, virtual_devices: 2}"],
            None,
            "expected no `virtual_devices` beside it",
        ),
        (["distribute.strategy=mirrored"], None, "unknown name 'mirrored'"),
    ],
)
def test_what_does_not_fit_is_one_line(overrides, cluster, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_cluster(
            load_config(TINY, overrides),
            cluster and read_cluster(json.dumps(cluster)),
        )


def test_a_cluster_is_read_as_it_was_written():
    jobs = {"chief": ["a:1"], "ps": ["b:2"], "worker": ["c:3", "d:4"]}
    cluster = read_cluster(tf_config(jobs, "worker", 1))
    assert cluster == Cluster(jobs, "worker", 1)
    assert (cluster.name, cluster.has_servers) == ("worker 1", True)
    assert cluster.peers() == [("chief 0", "a:1"), ("ps 0", "b:2"), ("worker 0", "c:3")]


@pytest.mark.parametrize("strategy", ["workers", "parameter_server"])
def test_a_strategy_of_processes_without_any_is_refused_at_once(program, tmp_path, strategy):
    words = ["--config", TINY, "--run_dir", tmp_path / "run", f"distribute.strategy={strategy}"]
    done = program("trainer.py", *words, env={"TF_CONFIG": ""})
    assert (done.returncode, done.stdout) == (2, "")
    assert f"distribute.strategy: {strategy}: TF_CONFIG is not set; launch.py" in done.stderr
    assert not (tmp_path / "run").exists()


def test_who_listens_is_seen_and_who_does_not_is_not():
    with socket.create_server(("localhost", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
        assert is_listening(address)
    assert not is_listening(address)


def test_a_service_that_says_nothing_or_something_else_is_no_worker():
    with socket.create_server(("localhost", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
        assert is_listening(address) and not is_greeting(address)  # nobody accepts
    for words, expected in ((GREETING, True), (b"SSH-2.0-x\r\n", False), (b"", False)):
        with socket.create_server(("localhost", 0)) as server:

            def answer(server=server, words=words):
                with server.accept()[0] as connection:
                    connection.sendall(words)

            thread = threading.Thread(target=answer)
            thread.start()
            assert is_greeting(f"localhost:{server.getsockname()[1]}") is expected
            thread.join()
