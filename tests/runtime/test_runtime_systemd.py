"""What systemd is told, and when its watchdog is not fed."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ciris_mesh.runtime.systemd import JournalFormatter, Watchdog, notify, watchdog_s
from support.waiting import wait_until


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(240)
        yield made


def test_lines_arrive_at_the_socket_that_is_named(listener: socket.socket) -> None:
    assert notify("READY=1\nSTATUS=fine", {"NOTIFY_SOCKET": listener.getsockname()})
    assert listener.recv(100) == b"READY=1\nSTATUS=fine"


def test_an_abstract_socket_is_written_with_an_at() -> None:
    name = f"ciris-notify-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(f"\0{name}")
        made.settimeout(240)
        assert notify("STOPPING=1", {"NOTIFY_SOCKET": f"@{name}"})
        assert made.recv(100) == b"STOPPING=1"


def test_without_systemd_nothing_is_sent_and_nothing_fails(tmp_path: Path) -> None:
    assert not notify("READY=1", {})
    assert not notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert not notify("READY=1", {"NOTIFY_SOCKET": "x" * 200})


@pytest.mark.parametrize(
    ("env", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "180000000"}, 180.0),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "7"}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_whether_it_watches_this_process(env: dict[str, str], seconds: float | None) -> None:
    assert watchdog_s(env, pid=7) == seconds


def test_it_is_fed_while_the_node_is_well_and_not_otherwise() -> None:
    fed: list[str] = []
    is_well = threading.Event()
    asked = threading.Semaphore(0)

    def look() -> bool:
        asked.release()
        return is_well.is_set()

    dog = Watchdog(look, 0.03, tell=fed.append)
    dog.start()
    for _ in range(3):
        assert asked.acquire(timeout=240)
    assert fed == []
    is_well.set()
    wait_until(lambda: len(fed) >= 3)
    dog.stop()
    assert set(fed) == {"WATCHDOG=1"}


def test_a_look_that_fails_feeds_nothing(caplog: pytest.LogCaptureFixture) -> None:
    asked = threading.Semaphore(0)
    fed: list[str] = []

    def look() -> bool:
        asked.release()
        raise ZeroDivisionError

    dog = Watchdog(look, 0.03, tell=fed.append)
    dog.start()
    for _ in range(2):
        assert asked.acquire(timeout=240)
    dog.stop()
    assert fed == []
    assert "watchdog.failed" in caplog.text


def test_without_a_watchdog_there_is_no_thread() -> None:
    dog = Watchdog(lambda: True, None)
    dog.start()
    dog.stop()
    assert not any(thread.name == "ciris-watchdog" for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("level", "prefix"),
    [
        (logging.CRITICAL, "<2>"),
        (logging.ERROR, "<3>"),
        (logging.WARNING, "<4>"),
        (logging.INFO, "<6>"),
        (logging.DEBUG, "<7>"),
    ],
)
def test_every_line_for_the_journal_has_its_level(level: int, prefix: str) -> None:
    record = logging.LogRecord("ciris", level, "f", 1, "one\ntwo", (), None)
    assert JournalFormatter("%(message)s").format(record) == f"{prefix}one\n{prefix}two"


def test_tracebacks_too() -> None:
    try:
        raise ZeroDivisionError("x")
    except ZeroDivisionError:
        record = logging.LogRecord("ciris", logging.ERROR, "f", 1, "bad", (), sys.exc_info())
    lines = JournalFormatter("%(message)s").format(record).splitlines()
    assert len(lines) > 2
    assert all(line.startswith("<3>") for line in lines)
