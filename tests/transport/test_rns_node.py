"""Who holds the places for inbound links when there are more callers than places."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
import RNS

from ciris_mesh.transport import rns_seam as seam
from ciris_mesh.transport.base import Address, LinkDown, LinkIdentified, LinkUp
from ciris_mesh.transport.limits import INBOUND_LINKS_MAX
from ciris_mesh.transport.rns_link import MeshLink
from ciris_mesh.transport.rns_node import RnsTransport
from support.fake_rns import Clock, FakeHost, FakeLink, clock

__all__ = ["clock"]


def address(number: int) -> Address:
    return Address(number.to_bytes(16, "big"))


@dataclass
class Bench:
    host: FakeHost
    transport: RnsTransport
    clock: Clock
    calls: list[FakeLink] = field(default_factory=list)

    def call(self, who: Address | None = None) -> FakeLink:
        """Somebody sets up a link, and says who it is."""
        self.clock.now += 0.01
        rns = FakeLink(initiator=False, link_id=len(self.calls).to_bytes(16, "big"))
        self.calls.append(rns)
        self.transport._inbound_link(rns)
        link = self.link(rns)
        if who is not None and link is not None:
            link.identified(who)
        self.host.run()
        return rns

    def link(self, rns: FakeLink) -> MeshLink | None:
        return self.transport._by_rns_id.get(rns.link_id)

    def up(self) -> set[FakeLink]:
        return {rns for rns in self.calls if self.link(rns) is not None}

    def fill(self, *callers: Address | None) -> list[FakeLink]:
        """Calls of these, then of others with an identity each, until all places are taken."""
        begun = [self.call(who) for who in callers]
        left = INBOUND_LINKS_MAX - len(begun)
        return begun + [self.call(address(1_000 + number)) for number in range(left)]

    def dropped(self) -> dict[str, int]:
        return {str(name): count for name, count in self.transport.stats().dropped.items()}


@pytest.fixture
def bench(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    host = FakeHost()
    monkeypatch.setattr("ciris_mesh.transport.rns_node.Host", lambda: host)
    monkeypatch.setattr(seam, "attach", lambda _link, _events: None)
    transport = RnsTransport(None, tmp_path / "identity")
    return Bench(host, transport, clock)


def test_who_said_who_it_is_before_the_link_was_set_up_is_known(bench: Bench) -> None:
    """Where the end of its set-up was lost, and came again after the proof of its identity."""
    rns = FakeLink(initiator=False, remote_identity=SimpleNamespace(hash=address(7)))
    bench.transport._inbound_link(rns)
    up, identified = bench.host.take_reported()
    assert isinstance(up, LinkUp)
    assert identified == LinkIdentified(up.link, address(7))


@pytest.mark.parametrize("edge", [False, True])
def test_it_listens_before_reticulum_runs_and_once(tmp_path: Path, *, edge: bool) -> None:
    handlers = RNS.Transport.announce_handlers
    before = list(handlers)
    transport = RnsTransport(None, tmp_path / "identity", edge=edge)
    try:
        transport.listen()
        transport.listen()
        names = [each.aspect_filter for each in handlers if each not in before]
        assert names == ["ciris.mesh", "ciris.edge"][: 1 + edge]
    finally:
        handlers[:] = before


def test_as_many_links_as_there_are_places(bench: Bench) -> None:
    bench.fill()
    assert len(bench.up()) == INBOUND_LINKS_MAX
    assert bench.dropped() == {}


def test_a_newcomer_takes_the_place_of_the_oldest_nobody_knows(bench: Bench) -> None:
    begun = bench.fill(address(1), None, address(2), None)
    newcomer = bench.call()
    assert bench.up() == {*begun, newcomer} - {begun[1]}
    assert begun[1].torn_down == 1
    assert bench.dropped() == {"too_many_links": 1}
    downs = [each for each in bench.host.reported if isinstance(each, LinkDown)]
    assert [str(each.reason) for each in downs] == ["too_many_links"]


def test_then_of_the_oldest_that_is_no_peers(bench: Bench) -> None:
    bench.transport.permit(frozenset({address(1)}))
    begun = bench.fill(address(1), address(2))
    newcomer = bench.call()
    assert bench.up() == {*begun, newcomer} - {begun[1]}


def test_a_flood_of_callers_never_takes_a_peers_place(bench: Bench) -> None:
    peers = [address(number) for number in range(1, 11)]
    bench.transport.permit(frozenset(peers))
    held = [bench.call(peer) for peer in peers]
    for number in range(3 * INBOUND_LINKS_MAX):
        bench.call(address(5_000 + number) if number % 2 else None)
        assert len(bench.up()) <= INBOUND_LINKS_MAX
    assert set(held) <= bench.up()
    late = bench.call(address(1))
    assert late in bench.up(), "a peer gets in although strangers fill every place"


def test_where_every_place_is_a_peers_a_newcomer_finds_none(bench: Bench) -> None:
    peers = [address(number) for number in range(INBOUND_LINKS_MAX)]
    bench.transport.permit(frozenset(peers))
    begun = [bench.call(peer) for peer in peers]
    bench.host.take_reported()
    newcomer = bench.call()
    assert bench.up() == set(begun)
    assert newcomer.torn_down == 1
    assert bench.host.reported == [], "nobody heard of it"
    assert bench.dropped() == {"too_many_links": 1}


def test_links_we_dialled_take_no_place_and_are_not_put_out(bench: Bench) -> None:
    mine = FakeLink(initiator=True, link_id=b"m" * 16)
    with bench.host.lock:
        dialled = bench.transport.add_link(mine, address(9_999))
        dialled.bring_up("tcp")
    begun = bench.fill()
    assert bench.dropped() == {}
    bench.call()
    assert not dialled.is_down
    assert bench.link(begun[0]) is None


def test_who_is_put_out_may_call_again(bench: Bench) -> None:
    begun = bench.fill(None)
    bench.call(address(7))
    assert bench.link(begun[0]) is None
    bench.host.take_reported()
    again = bench.call()
    assert again in bench.up()
    assert any(isinstance(each, LinkUp) for each in bench.host.reported)


def test_when_stopping_nobody_gets_in(bench: Bench) -> None:
    bench.host.stopping = True
    rns = bench.call()
    assert (bench.up(), rns.torn_down) == (set(), 1)
