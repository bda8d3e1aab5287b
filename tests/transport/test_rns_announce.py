"""Announcing and hearing announces, without a network."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.transport import rns_seam as seam
from ciris_mesh.transport.base import Address, NodeHeard
from ciris_mesh.transport.limits import ANNOUNCES_WAITING_MAX, HALF_OPEN_LINKS_MAX
from ciris_mesh.transport.rns_announce import (
    ANNOUNCE_SPACING_S,
    HEARD_ADDRESSES_MAX,
    HEARD_SPACING_S,
    RADIO_SPACING_S,
    Announcer,
)
from ciris_mesh.transport.rns_halfopen import HALF_OPEN_S, HALF_OPEN_THREADS_MAX
from support.fake_rns import Clock, FakeHost, FakeLink, clock

__all__ = ["clock"]

HALF_OPEN = 1
OWN = Address(b"o" * 16)


class TCPClientInterface:
    """Named as Reticulum names its own: the name tells the medium."""

    def __init__(self, *, online: bool = True) -> None:
        self.name, self.bitrate, self.online = "hub", 10_000_000, online


class RNodeInterface(TCPClientInterface):
    """A radio."""


@dataclass
class Destination:
    aspects: tuple[str, ...]
    said: list[tuple[tuple[str, ...], dict[str, Any]]]
    links: list[FakeLink] = field(default_factory=list)

    def announce(self, **options: Any) -> None:
        self.said.append((self.aspects, options))

    def incoming_link_request(self, _data: bytes, _packet: object) -> None:
        self.links.append(FakeLink(initiator=False, status=HALF_OPEN))

    def set_link_established_callback(self, callback: object) -> None:
        pass


@dataclass
class Bench:
    host: FakeHost
    announcer: Announcer
    clock: Clock
    interfaces: list[Any]
    said: list[tuple[tuple[str, ...], dict[str, Any]]]

    def announce(self, app_data: bytes, *, radio_behind: bool = False) -> bool:
        with self.host.lock:
            left_out = self.announcer.announce(app_data, radio_behind=radio_behind)
        self.host.run()
        return left_out

    def tick(self, after_s: float = 0.0) -> None:
        self.clock.now += after_s
        self.announcer.tick(self.clock.now)
        self.host.run()

    def hear(self, number: int, app_data: bytes | None = b"\x01") -> None:
        identity = SimpleNamespace(
            hash=number.to_bytes(16, "big"), get_public_key=lambda: bytes(64)
        )
        self.announcer.received_announce(b"d" * 16, identity, app_data)

    def heard(self) -> list[int]:
        reported = self.host.take_reported()
        return [
            int.from_bytes(each.address, "big") for each in reported if isinstance(each, NodeHeard)
        ]

    def dropped(self) -> dict[str, int]:
        with self.host.lock:
            return {str(name): count for name, count in self.host.dropped().items()}


@pytest.fixture
def kinds_on() -> frozenset[str]:
    """Interfaces the kinds are announced on."""
    return frozenset()


@pytest.fixture
def bench(clock: Clock, monkeypatch: pytest.MonkeyPatch, kinds_on: frozenset[str]) -> Bench:
    said: list[tuple[tuple[str, ...], dict[str, Any]]] = []
    interfaces: list[Any] = [TCPClientInterface()]
    monkeypatch.setattr(
        seam, "create_destination", lambda _identity, aspects, handler: Destination(aspects, said)
    )
    monkeypatch.setattr(seam, "interfaces", lambda: list(interfaces))
    monkeypatch.setattr(seam, "listen_for_announces", lambda _handler: None)
    monkeypatch.setattr(seam, "hops_to", lambda _destination: 2)
    host = FakeHost()
    announcer = Announcer(host, OWN, kinds_on)
    kinds = frozenset({EnvelopeKind.KEY, EnvelopeKind.FAMILY})
    identity: Any = object()
    announcer.open(identity, kinds, lambda *_args: None, None)
    return Bench(host, announcer, clock, interfaces, said)


MESH, KEY, FAMILY = ("mesh",), ("replication", "key"), ("replication", "family")


def test_the_node_is_announced_at_once_and_alone(bench: Bench) -> None:
    bench.announce(b"\x01\x02")
    assert bench.said == [(MESH, {"app_data": b"\x01\x02"})]
    bench.tick(1_000)
    assert len(bench.said) == 1
    assert not bench.announcer.is_busy()


ON_HUB = pytest.mark.parametrize("kinds_on", [frozenset({"hub"})])


@ON_HUB
def test_kinds_follow_one_a_second(bench: Bench) -> None:
    bench.announce(b"")
    assert [aspects for aspects, _ in bench.said] == [MESH]
    bench.tick(ANNOUNCE_SPACING_S - 0.1)
    assert len(bench.said) == 1
    bench.tick(0.2)
    bench.tick()
    assert [aspects for aspects, _ in bench.said] == [MESH, KEY]
    bench.tick(ANNOUNCE_SPACING_S)
    assert [aspects for aspects, _ in bench.said] == [MESH, KEY, FAMILY]


@ON_HUB
def test_kinds_are_announced_where_configured_and_never_on_radio(bench: Bench) -> None:
    (hub,) = bench.interfaces
    other, radio, away = TCPClientInterface(), RNodeInterface(), TCPClientInterface(online=False)
    other.name = "lan"
    spawned = TCPClientInterface()
    spawned.name, vars(spawned)["parent_interface"] = "Client on hub", hub
    bench.interfaces += [other, radio, away, spawned]
    bench.announce(b"")
    for _ in range(6):  # the new interfaces are told of the node first
        bench.tick(ANNOUNCE_SPACING_S + 0.1)
    told = [options.get("attached_interface") for aspects, options in bench.said if aspects == KEY]
    assert told == [hub, spawned]


@ON_HUB
def test_announcing_again_does_not_pile_up(bench: Bench) -> None:
    for _ in range(5):
        bench.announce(b"")
    bench.said.clear()
    for _ in range(20):
        bench.tick(ANNOUNCE_SPACING_S + 0.1)
    assert [aspects for aspects, _ in bench.said] == [KEY, FAMILY]


def test_a_radio_is_told_once_an_hour_however_often_somebody_asks(bench: Bench) -> None:
    (hub,) = bench.interfaces
    bench.interfaces.append(RNodeInterface())
    assert not bench.announce(b"\x01")
    assert bench.said == [(MESH, {"app_data": b"\x01"})], "everywhere"
    bench.said.clear()
    for _ in range(3):
        assert bench.announce(b"\x02")
        bench.tick(ANNOUNCE_SPACING_S + 0.1)
    assert bench.said == [(MESH, {"app_data": b"\x02", "attached_interface": hub})] * 3
    bench.clock.now += RADIO_SPACING_S
    assert not bench.announce(b"\x03")
    assert bench.said[-1] == (MESH, {"app_data": b"\x03"})


def test_a_radio_of_another_program_is_spared_as_well(bench: Bench) -> None:
    assert not bench.announce(b"", radio_behind=True)
    assert bench.announce(b"", radio_behind=True)
    bench.tick(ANNOUNCE_SPACING_S + 0.1)
    assert len(bench.said) == 1


def test_an_interface_that_comes_up_is_told_of_this_node(bench: Bench) -> None:
    bench.announce(b"\x07")
    bench.said.clear()
    newcomer = TCPClientInterface()
    bench.interfaces.append(newcomer)
    bench.tick(ANNOUNCE_SPACING_S + 0.1)
    assert bench.said == [(MESH, {"app_data": b"\x07", "attached_interface": newcomer})]
    bench.tick(100)
    assert len(bench.said) == 1


def test_one_that_was_down_is_told_when_it_is_back(bench: Bench) -> None:
    bench.announce(b"\x07")
    bench.said.clear()
    bench.interfaces[0].online = False
    bench.tick(5)
    bench.interfaces[0].online = True
    bench.tick(5)
    assert len(bench.said) == 1


def test_one_made_anew_in_its_place_is_told(bench: Bench) -> None:
    """Python gives the number by which an object is known to the next one when it is gone."""
    bench.announce(b"\x07")
    for _ in range(5):
        bench.said.clear()
        bench.interfaces.clear()
        bench.interfaces.append(TCPClientInterface())
        bench.tick(ANNOUNCE_SPACING_S + 0.1)
        assert len(bench.said) == 1


def test_newcomers_are_told_one_a_second(bench: Bench) -> None:
    bench.announce(b"")
    bench.said.clear()
    bench.interfaces.extend(TCPClientInterface() for _ in range(3))
    bench.tick(ANNOUNCE_SPACING_S + 0.1)
    bench.tick()
    assert len(bench.said) == 1
    bench.tick(ANNOUNCE_SPACING_S + 0.1)
    bench.tick(ANNOUNCE_SPACING_S + 0.1)
    assert len(bench.said) == 3


def test_a_radio_that_comes_up_gets_no_announce_by_itself(bench: Bench) -> None:
    bench.announce(b"")
    bench.said.clear()
    bench.interfaces.append(RNodeInterface())
    bench.tick(100)
    assert bench.said == []


def test_before_the_first_announce_nobody_is_told_anything(bench: Bench) -> None:
    bench.interfaces.append(TCPClientInterface())
    bench.tick(100)
    bench.tick(100)
    assert bench.said == []


def test_an_announce_is_passed_on_with_what_it_said(bench: Bench) -> None:
    bench.hear(1, b"\x01\x02")
    address = Address((1).to_bytes(16, "big"))
    assert bench.host.reported == [NodeHeard(address, bytes(64), b"\x01\x02", 2)]


def test_an_announce_without_data_is_one_with_empty_data(bench: Bench) -> None:
    bench.hear(1, None)
    assert bench.heard() == [1]


def test_ones_own_announce_is_not_heard(bench: Bench) -> None:
    bench.hear(int.from_bytes(OWN, "big"))
    assert (bench.heard(), bench.dropped()) == ([], {})


def test_one_address_is_heard_at_most_every_few_seconds(bench: Bench) -> None:
    bench.hear(1)
    bench.hear(1)
    bench.hear(2)
    assert bench.heard() == [1, 2]
    assert bench.dropped() == {"announce_flood": 1}
    bench.clock.now += HEARD_SPACING_S
    bench.hear(1)
    assert bench.heard() == [1]


def test_announces_nobody_takes_are_dropped_and_counted(bench: Bench) -> None:
    for number in range(ANNOUNCES_WAITING_MAX + 5):
        bench.hear(number)
    assert len(bench.heard()) == ANNOUNCES_WAITING_MAX
    assert bench.dropped() == {"announce_flood": 5}
    bench.host.take_all()
    bench.hear(9_999)
    assert bench.heard() == [9_999]


def test_data_larger_than_ours_is_not_passed_on(bench: Bench) -> None:
    bench.hear(1, bytes(33))
    assert (bench.heard(), bench.dropped()) == ([], {"announce_unreadable": 1})


def test_the_table_of_addresses_is_bounded(bench: Bench) -> None:
    for number in range(HEARD_ADDRESSES_MAX + 1):
        bench.hear(number)
        bench.host.take_all()
    bench.host.take_reported()
    bench.hear(0)  # the oldest was forgotten, so it counts as new
    bench.hear(HEARD_ADDRESSES_MAX)
    assert bench.heard() == [0]


def test_link_requests_end_where_there_is_no_place_for_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seam, "abandon", lambda link: setattr(link, "status", seam.LINK_CLOSED))
    destinations = [bench.announcer._mesh, *bench.announcer._kinds]
    for number in range(1_000):
        destinations[number % 3].incoming_link_request(b"", None)
    assert sum(len(each.links) for each in destinations) == HALF_OPEN_THREADS_MAX
    half_open = sum(seam.is_half_open(link) for each in destinations for link in each.links)
    assert half_open == HALF_OPEN_LINKS_MAX
    bench.tick(HALF_OPEN_S + 0.1)
    assert not any(seam.is_half_open(link) for each in destinations for link in each.links)
