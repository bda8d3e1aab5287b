"""The ether in real time, with plain hosts on its ports: no Reticulum here."""

from __future__ import annotations

import gc
import os
import random
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ciris_mesh.errors import ConfigError, LifecycleError
from ciris_mesh.radio.hostport import HOST_NOT_READING, UNREAD_BYTES_MAX
from ciris_mesh.radio.kiss import Command, DeviceError, encode
from ciris_mesh.radio.pty_port import Ether
from ciris_mesh.radio.topology import full
from support.radio_hosts import Host, open_pty, open_socket
from support.waiting import wait_until

#: The radio's seconds are hundredths of ours.
SPEED = 100.0
DETECT = encode(Command.DETECT, b"\x73")

Open = Callable[[Path], Host]


@pytest.fixture
def ether(tmp_path: Path) -> Iterator[Ether]:
    """Two nodes, running."""
    with Ether(tmp_path, full(2), randomness=random.Random(1), speed=SPEED) as running:
        yield running


@pytest.fixture
def plug() -> Iterator[Callable[[Host], Host]]:
    hosts: list[Host] = []

    def remember(host: Host) -> Host:
        hosts.append(host)
        return host

    yield remember
    for host in hosts:
        host.close()


def test_a_host_finds_a_device(ether: Ether, plug: Callable[[Host], Host]) -> None:
    for place in ether.ports:
        host = plug(open_pty(place.port))
        host.say(DETECT)
        assert host.expect(Command.DETECT) == b"\x46"


@pytest.mark.parametrize("kind", ["port", "socket"])
def test_a_packet_crosses(ether: Ether, plug: Callable[[Host], Host], kind: str) -> None:
    one, two = [
        plug(open_pty(place.port) if kind == "port" else open_socket(place.socket))
        for place in ether.ports
    ]
    one.set_up()
    two.set_up()
    packet = random.Random(1).randbytes(499)
    one.send(packet)
    assert two.expect(Command.DATA) == packet
    two.send(b"and back")
    assert one.expect(Command.DATA) == b"and back"
    first, second = ether.counters()
    assert (first.frames_sent, first.frames_received) == (2, 1)
    assert (second.bytes_received, second.bytes_sent) == (501, 9)
    assert 1.42 < first.airtime_s < 1.43


def test_statistics_come_once_a_second_of_ours(ether: Ether, plug: Callable[[Host], Host]) -> None:
    host = plug(open_pty(ether.ports[0].port))
    host.set_up()
    host.expect(Command.STAT_CHTM)
    assert ether._lab._devices[0].next_tick_s - ether._now_s() <= SPEED


def test_unplugging_is_noticed_and_replugging_keeps_the_path(
    ether: Ether, plug: Callable[[Host], Host]
) -> None:
    place = ether.ports[1]
    one, two = plug(open_pty(ether.ports[0].port)), plug(open_pty(place.port))
    one.set_up()
    two.set_up()
    ether.unplug(1)
    ether.unplug(1)
    assert two.is_gone()
    assert not place.port.is_symlink()
    assert not place.socket.exists()
    one.send(b"unheard")
    wait_until(lambda: ether.counters()[1].missed == {"off": 1})
    ether.replug(1)
    ether.replug(1)
    again = plug(open_pty(place.port))
    again.say(encode(Command.RADIO_LOCK, b"\x00"))
    assert again.expect(Command.RADIO_LOCK) == b"\x01"  # it lost its settings with its power
    again.set_up()
    one.send(b"heard")
    assert again.expect(Command.DATA) == b"heard"


def test_a_host_that_leaves_and_comes_back_finds_nothing_stale(
    ether: Ether, plug: Callable[[Host], Host]
) -> None:
    one, two = plug(open_pty(ether.ports[0].port)), open_pty(ether.ports[1].port)
    one.set_up()
    two.set_up()
    two.close()
    wait_until(lambda: ether._hosts[1].is_waiting)
    one.send(b"to nobody")
    wait_until(lambda: ether.counters()[1].frames_received == 1)
    again = plug(open_pty(ether.ports[1].port))
    wait_until(lambda: not ether._hosts[1].is_waiting)
    one.send(b"to somebody")
    assert again.expect(Command.DATA) == b"to somebody"


def test_a_host_that_does_not_read_costs_a_bounded_buffer(
    ether: Ether, plug: Callable[[Host], Host]
) -> None:
    host = plug(open_socket(ether.ports[0].socket))
    question = encode(Command.RANDOM, b"\x01") * 800
    os.set_blocking(host.number, False)

    def flood() -> bool:
        with suppress(BlockingIOError):
            os.write(host.number, question)
        return ether.counters()[0].dropped.get(HOST_NOT_READING, 0) > 0

    wait_until(flood)
    assert len(ether._hosts[0]._unread) <= UNREAD_BYTES_MAX


def test_the_next_host_gets_nothing_the_last_one_left_unread(
    ether: Ether, plug: Callable[[Host], Host]
) -> None:
    lazy = plug(open_socket(ether.ports[0].socket))
    os.set_blocking(lazy.number, False)

    def left_unread() -> bool:
        with suppress(BlockingIOError):
            os.write(lazy.number, encode(Command.RANDOM, b"\x01") * 800)
        return len(ether._hosts[0]._unread) > 0

    wait_until(left_unread)
    lazy.close()
    wait_until(lambda: ether._hosts[0]._client is None)
    fresh = plug(open_socket(ether.ports[0].socket))
    fresh.say(DETECT)
    assert fresh.first() == Command.DETECT


def test_one_host_at_a_time(ether: Ether, plug: Callable[[Host], Host]) -> None:
    first = plug(open_socket(ether.ports[0].socket))
    first.say(DETECT)
    first.expect(Command.DETECT)
    second = plug(open_socket(ether.ports[0].socket))
    assert second.is_gone()
    first.say(DETECT)
    assert first.expect(Command.DETECT) == b"\x46"
    first.close()
    wait_until(lambda: ether._hosts[0]._client is None)
    third = plug(open_socket(ether.ports[0].socket))
    third.say(DETECT)
    assert third.expect(Command.DETECT) == b"\x46"


def test_the_reset_button_and_faults_reach_the_host(
    ether: Ether, plug: Callable[[Host], Host]
) -> None:
    host = plug(open_pty(ether.ports[0].port))
    host.set_up()
    ether.fail(0, DeviceError.MEMORY_LOW)
    assert host.expect(Command.ERROR) == b"\x05"
    ether.reset(0)
    assert host.expect(Command.RESET) == b"\xf8"
    host.set_up()


def test_hostile_bytes_are_counted_and_survived(ether: Ether, plug: Callable[[Host], Host]) -> None:
    host = plug(open_pty(ether.ports[0].port))
    host.say(DETECT)
    host.expect(Command.DETECT)
    for seed in range(50):
        host.say(random.Random(seed).randbytes(1000))
    host.say(b"\xc0", DETECT)
    assert host.expect(Command.DETECT) == b"\x46"
    assert sum(ether.counters()[0].dropped.values()) > 50


def test_life(tmp_path: Path) -> None:
    running = Ether(tmp_path / "new", full(3), randomness=random.Random(1))
    with pytest.raises(LifecycleError):
        running.counters()
    running.start()
    running.start()
    assert running.is_running
    assert [each.name for each in threading.enumerate()].count("ciris-ether") == 1
    assert len(list((tmp_path / "new").iterdir())) == 6
    running.stop()
    running.stop()
    assert not running.is_running
    assert list((tmp_path / "new").iterdir()) == []
    assert [each.node for each in running.counters()] == [0, 1, 2]
    with pytest.raises(LifecycleError):
        running.start()


def test_an_ether_never_started_stops_too(tmp_path: Path) -> None:
    Ether(tmp_path, full(1), randomness=random.Random(1)).stop()


def test_stop_wakes_an_idle_thread_and_closes_everything(tmp_path: Path) -> None:
    gc.collect()  # what others left is not closed in between
    before = set(os.listdir("/proc/self/fd"))
    running = Ether(tmp_path, full(2), randomness=random.Random(1))
    running.start()
    host = open_pty(running.ports[0].port)
    client = open_socket(running.ports[1].socket)
    client.say(DETECT)
    client.expect(Command.DETECT)
    running.stop()
    assert host.is_gone()
    assert client.is_gone()
    host.close()
    client.close()
    assert set(os.listdir("/proc/self/fd")) == before


def test_stale_links_of_an_ether_that_was_killed_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "rnode0").symlink_to("/dev/pts/nobody")
    (tmp_path / "rnode0.sock").touch()
    with Ether(tmp_path, full(1), randomness=random.Random(1)) as running:
        host = open_pty(running.ports[0].port)
        host.say(DETECT)
        assert host.expect(Command.DETECT) == b"\x46"
        host.close()


def test_a_place_that_cannot_be_used_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "rnode1").mkdir()
    broken = Ether(tmp_path, full(3), randomness=random.Random(1))
    with pytest.raises(OSError, match="rnode1"):
        broken.start()
    broken.stop()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["rnode1"]


def test_a_long_path_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="shorter path"):
        Ether(tmp_path / ("x" * 100), full(1), randomness=random.Random(1))


@pytest.mark.parametrize("speed", [0.0, -1.0, float("inf"), float("nan")])
def test_time_goes_forward(tmp_path: Path, speed: float) -> None:
    with pytest.raises(ValueError, match="speed"):
        Ether(tmp_path, full(1), randomness=random.Random(1), speed=speed)


def test_a_fault_on_the_thread_is_logged_and_ends_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Ether(tmp_path, full(1), randomness=random.Random(1))

    def broken(_now_s: float) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(running._lab, "run", broken)
    running.start()
    wait_until(lambda: not running.is_running)
    assert "on purpose" in caplog.text
    assert list(tmp_path.iterdir()) == []
    assert running.counters()[0].frames_sent == 0
    running.stop()


def test_a_pty_nobody_has_open_takes_no_bytes(ether: Ether) -> None:
    poller = select.poll()
    assert ether._hosts[0].is_waiting
    ether.reset(0)
    assert len(ether._hosts[0]._unread) == 0
    assert poller.poll(0) == []
