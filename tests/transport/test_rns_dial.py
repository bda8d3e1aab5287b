"""Dialling without a network: what is asked, how often, and how each dial ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.transport import rns_seam as seam
from ciris_mesh.transport.base import Address, DialFailed, LinkId, LinkUp
from ciris_mesh.transport.limits import OUTBOUND_LINKS_MAX
from ciris_mesh.transport.reasons import DownReason
from ciris_mesh.transport.rns_dial import (
    LINK_DEADLINE_S,
    PATH_DEADLINE_RADIO_S,
    PATH_DEADLINE_S,
    PATH_REPEAT_S,
    PATH_REQUEST_SPACING_S,
    Dialer,
    Dialled,
    kind_aspects,
)
from ciris_mesh.transport.rns_link import MeshLink
from support.fake_rns import Clock, FakeHost, FakeLink, clock

__all__ = ["clock"]

OWN = Address(b"o" * 16)


def address(number: int) -> Address:
    return Address(number.to_bytes(16, "big"))


@dataclass
class Network:
    """What Reticulum knows and was asked for."""

    paths: set[bytes] = field(default_factory=set)
    asked: list[bytes] = field(default_factory=list)
    opened: list[tuple[str, ...]] = field(default_factory=list)
    links: list[FakeLink] = field(default_factory=list)
    established: list[Callable[[FakeLink], None]] = field(default_factory=list)

    def knows(self, peer: Address, aspects: tuple[str, ...] = seam.MESH_ASPECTS) -> None:
        self.paths.add(seam.destination_hash(peer, aspects))


class Owner:
    """The transport, as far as the dialer sees it; also `rns_link.LinkOwner`."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.dialer = Dialer(host, self, OWN)
        self.links: list[MeshLink] = []
        self.introduced: list[Dialled] = []
        self.outbound = 0

    def handle_request(self, sequence: int, body: object, link_id: bytes) -> int | None:
        raise AssertionError("nobody sends in these tests")

    def add_link(self, rns: seam.Link, peer: Address) -> MeshLink:
        link = MeshLink(self.host, LinkId(len(self.links) + 1), rns, address=peer, owner=self)
        self.links.append(link)
        return link

    def count_outbound(self) -> int:
        return self.outbound

    def identify(self, link: Dialled) -> None:
        self.introduced.append(link)

    def link_gone(self, link: MeshLink, reason: DownReason) -> None:
        self.dialer.link_gone(link)

    def link_identified(self, link: MeshLink) -> None:
        raise AssertionError("these links are ours")


@dataclass
class Bench:
    host: FakeHost
    owner: Owner
    network: Network
    clock: Clock

    def dial(self, peer: Address, kind: EnvelopeKind | None = None) -> None:
        with self.host.lock:
            self.owner.dialer.dial(peer, kind)
        self.host.run()

    def tick(self, after_s: float = 0.0) -> None:
        self.clock.now += after_s
        self.owner.dialer.tick(self.clock.now)
        self.host.run()

    def establish(self, number: int = -1) -> None:
        self.network.established[number](self.network.links[number])
        self.host.run()

    def failures(self) -> list[tuple[Address, str]]:
        reported = self.host.take_reported()
        assert all(isinstance(each, DialFailed) for each in reported), reported
        return [
            (each.address, str(each.reason)) for each in reported if isinstance(each, DialFailed)
        ]


@pytest.fixture
def bench(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Bench:
    network = Network()
    host = FakeHost()

    def open_link(
        _identity: object,
        aspects: tuple[str, ...],
        *,
        established: Callable[[FakeLink], None],
        **_others: object,
    ) -> FakeLink:
        network.opened.append(aspects)
        network.established.append(established)
        network.links.append(FakeLink(link_id=bytes([len(network.links)]) * 16))
        return network.links[-1]

    monkeypatch.setattr(seam, "has_path", lambda destination: destination in network.paths)
    monkeypatch.setattr(seam, "recall", lambda _destination: object())
    monkeypatch.setattr(seam, "request_path", network.asked.append)
    monkeypatch.setattr(seam, "open_link", open_link)
    monkeypatch.setattr(seam, "attach", lambda _link, _events: None)
    monkeypatch.setattr("ciris_mesh.transport.rns_dial.has_radio", lambda: False)
    return Bench(host, Owner(host), network, clock)


def test_a_known_path_leads_straight_to_a_link(bench: Bench) -> None:
    bench.network.knows(address(1))
    bench.dial(address(1))
    assert (bench.network.opened, bench.network.asked) == ([seam.MESH_ASPECTS], [])
    assert bench.host.reported == []
    bench.establish()
    assert bench.owner.introduced == bench.owner.links
    assert bench.host.reported == [LinkUp(LinkId(1), False, address(1), "unknown")]
    assert not bench.owner.dialer.is_busy()


def test_without_a_path_one_is_asked_for_first(bench: Bench) -> None:
    bench.dial(address(1))
    assert bench.network.asked == []
    bench.tick()
    assert bench.network.asked == [seam.destination_hash(address(1), seam.MESH_ASPECTS)]
    assert bench.network.opened == [], "never a link without a path"
    bench.network.knows(address(1))
    bench.tick(0.5)
    assert bench.network.opened == [seam.MESH_ASPECTS]


def test_a_path_without_a_key_is_not_enough(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seam, "recall", lambda _destination: None)
    bench.network.knows(address(1))
    bench.dial(address(1))
    bench.tick()
    assert (len(bench.network.asked), bench.network.opened) == (1, [])


@pytest.mark.parametrize(
    ("radio", "deadline_s"), [(False, PATH_DEADLINE_S), (True, PATH_DEADLINE_RADIO_S)]
)
def test_a_path_nobody_knows_ends_the_dial(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, radio: bool, deadline_s: float
) -> None:
    monkeypatch.setattr("ciris_mesh.transport.rns_dial.has_radio", lambda: radio)
    bench.dial(address(1))
    bench.tick()
    bench.tick(deadline_s - 0.1)
    assert bench.failures() == []
    bench.tick(0.2)
    assert bench.failures() == [(address(1), "no_path")]


def test_the_same_path_is_not_asked_for_again_soon(bench: Bench) -> None:
    bench.dial(address(1))
    bench.tick()
    bench.tick(PATH_DEADLINE_S + 0.1)
    bench.failures()
    bench.dial(address(1))
    assert bench.failures() == [(address(1), "no_path")]
    bench.tick(PATH_REPEAT_S)
    bench.dial(address(1))
    bench.tick()
    assert len(bench.network.asked) == 2


def test_path_requests_go_out_one_a_second(bench: Bench) -> None:
    for number in range(5):
        bench.dial(address(number))
    for asked in range(1, 6):
        bench.tick()
        bench.tick(PATH_REQUEST_SPACING_S / 2)
        assert len(bench.network.asked) == asked
        bench.tick(PATH_REQUEST_SPACING_S / 2 + 0.01)
    assert len(set(bench.network.asked)) == 5


def test_a_link_that_does_not_come_up_ends_the_dial(bench: Bench) -> None:
    bench.network.knows(address(1))
    bench.dial(address(1))
    bench.network.links[0].establishment_timeout = 774.0
    bench.tick(LINK_DEADLINE_S)
    assert bench.failures() == []
    bench.tick(10.0)  # Reticulum's estimate was 18 s
    assert bench.failures() == [(address(1), "timeout")]
    assert bench.network.links[0].torn_down == 1
    bench.establish()
    assert bench.host.reported == [], "it came too late"


def test_a_link_reticulum_gives_up_on_ends_the_dial(bench: Bench) -> None:
    bench.network.knows(address(1))
    bench.dial(address(1))
    bench.owner.links[0].closed(seam.LINK_TIMEOUT)
    bench.host.run()
    assert bench.failures() == [(address(1), "timeout")]
    bench.tick(1_000)
    assert bench.failures() == []


def test_dials_to_one_address_are_one_dial(bench: Bench) -> None:
    bench.network.knows(address(1))
    for _ in range(3):
        bench.dial(address(1))
    assert len(bench.network.opened) == 1
    bench.establish()
    assert len(bench.host.reported) == 1
    bench.dial(address(1))
    assert len(bench.network.opened) == 2


@pytest.mark.parametrize("known", [True, False])
def test_a_kinds_own_destination_is_used_when_its_path_is_known(bench: Bench, known: bool) -> None:
    bench.network.knows(address(1))
    if known:
        bench.network.knows(address(1), kind_aspects(EnvelopeKind.KEY))
    bench.dial(address(1), EnvelopeKind.KEY)
    expected = ("replication", "key") if known else seam.MESH_ASPECTS
    assert bench.network.opened == [expected]


def test_a_kind_alone_is_enough(bench: Bench) -> None:
    bench.network.knows(address(1), kind_aspects(EnvelopeKind.KEY))
    bench.dial(address(1), EnvelopeKind.KEY)
    assert bench.network.opened == [("replication", "key")]


def test_too_many_links_are_not_dialled(bench: Bench) -> None:
    bench.owner.outbound = OUTBOUND_LINKS_MAX
    bench.dial(address(1))
    assert bench.failures() == [(address(1), "too_many_links")]
    bench.owner.outbound -= 1
    bench.network.knows(address(2))
    bench.dial(address(2))
    assert len(bench.network.opened) == 1


def test_one_does_not_dial_oneself(bench: Bench) -> None:
    bench.dial(OWN)
    assert bench.failures() == [(OWN, "no_path")]


def test_stopping_ends_every_dial(bench: Bench) -> None:
    bench.network.knows(address(1))
    bench.dial(address(1))
    bench.dial(address(2))
    with bench.host.lock:
        bench.host.stopping = True
        bench.owner.dialer.stop()
    bench.host.run()
    assert sorted(bench.failures()) == [(address(1), "stopped"), (address(2), "stopped")]
    assert bench.network.links[0].torn_down == 1
    bench.establish()
    bench.dial(address(3))
    assert bench.failures() == [(address(3), "stopped")]


def test_a_link_that_was_up_before_the_opener_knew_it_is_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reticulum may report a link from its own thread before `open_link` returned."""
    made = FakeLink()

    def open_link(
        *_args: object, established: Callable[[FakeLink], None], **_others: object
    ) -> FakeLink:
        established(made)
        return made

    monkeypatch.setattr(seam, "open_link", open_link)
    bench.network.knows(address(1))
    bench.dial(address(1))
    assert len(bench.owner.links) == 1
    assert bench.host.reported == [LinkUp(LinkId(1), False, address(1), "unknown")]
