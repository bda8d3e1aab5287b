"""Nodes on this machine meet each other and nobody else's Reticulum."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from configobj import ConfigObj

from ciris_mesh.errors import OperatorError
from ciris_mesh.runtime.localnodes import LocalNode, free_port, reticulum_config, stop_nodes
from ciris_mesh.runtime.setup import new_node, node_identity
from support.node_processes import own_tracebacks


def local_node(path: Path) -> LocalNode:
    home = new_node(path / "a", "alice")
    return LocalNode("alice", home, path / "reticulum", node_identity(home))


@pytest.mark.parametrize("listens", [True, False])
def test_the_reticulum_configuration_shares_nothing(*, listens: bool) -> None:
    config = ConfigObj(reticulum_config(port=4711, listens=listens).splitlines())
    assert config["reticulum"].as_bool("share_instance") is False
    assert config["reticulum"].as_bool("enable_transport") is listens
    demo = config["interfaces"]["Demo"]
    assert demo["listen_ip" if listens else "target_host"] == "127.0.0.1"
    assert demo["listen_port" if listens else "target_port"] == "4711"


def test_a_free_port_can_be_listened_on() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))


def test_a_node_that_ends_says_why(tmp_path: Path) -> None:
    node = local_node(tmp_path)
    node.home.config.write_text("[trust]\npinned = nonsense\n")
    node.start()
    assert node.process is not None
    node.process.wait(240)
    with pytest.raises(OperatorError, match=r"alice ended with code 1: .*pinned"):
        node.is_ready()
    stop_nodes([node])


def test_a_signal_behind_the_fork_loses_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    def interrupted(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        process: subprocess.Popen[bytes] = start(*arguments, **options)
        os.kill(os.getpid(), signal.SIGUSR1)
        return process

    start = subprocess.Popen
    node = local_node(tmp_path)
    before = signal.signal(signal.SIGUSR1, interrupt)
    monkeypatch.setattr(subprocess, "Popen", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            node.start()
    finally:
        signal.signal(signal.SIGUSR1, before)
    stop_nodes([node])
    assert node.process is not None
    assert node.process.poll() is not None


def test_a_signal_before_the_fork_leaves_no_process_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(threading.Thread):
        def start(self) -> None:
            late.append(super().start)
            raise KeyboardInterrupt

    late: list[Callable[[], None]] = []
    node = local_node(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(threading, "Thread", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            node.start()
    stop_nodes([node])
    (begin,) = late
    before = set(threading.enumerate())
    begin()
    for thread in set(threading.enumerate()) - before:
        thread.join()
    assert node.process is None


def test_ending_what_never_started_does_nothing(tmp_path: Path) -> None:
    node = local_node(tmp_path)
    stop_nodes([node, node])
    assert node.as_peer().key_id == node.identity.key_id


def test_a_traceback_of_reticulums_own_is_told_from_one_of_ours() -> None:
    """What tests with real nodes hold against a node that ends."""
    begin = "Traceback (most recent call last):\n"
    theirs = f'{begin}  File "/x/threading.py", line 1\n  File "/y/RNS/Resource.py", line 2\nX\n'
    ours = f'{begin}  File "/y/RNS/Link.py", line 1\n  File "/z/ciris_mesh/node.py", line 2\nX\n'
    assert own_tracebacks(f"fine\n{theirs}node.stopping\n") == []
    assert len(own_tracebacks(f"{theirs}{ours}")) == 1
    assert len(own_tracebacks(f"{begin}KeyError\n")) == 1
    assert own_tracebacks("all is well") == []
