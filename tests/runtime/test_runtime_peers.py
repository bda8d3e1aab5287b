"""The table of peers, by key id and by address, and the nodes that are none."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime import peers
from ciris_mesh.runtime.handshake import LinkState
from ciris_mesh.runtime.peers import FRUITLESS_SHIFT_MAX, Candidate, Peer, PeerConfig, PeerTable
from ciris_mesh.transport.base import Address, LinkId

KIND = EnvelopeKind.KEY


def address(n: int) -> Address:
    return Address(bytes([n]) * 16)


def config(name: str = "bob", n: int = 1) -> PeerConfig:
    return PeerConfig(name, address(n))


def candidate(n: int, key_id: str = "", hops: int | None = None, heard_s: float = 0.0) -> Candidate:
    return Candidate(address(n), key_id, hops, heard_s)


@pytest.fixture
def table() -> PeerTable:
    return PeerTable()


def test_a_peer_is_found_by_key_id_and_by_address(table: PeerTable) -> None:
    peer = table.put(config())
    assert table.get("bob") is table.at(address(1)) is peer
    assert table.get(None) is table.at(None) is table.get("eve") is table.at(address(9)) is None
    assert table.key_ids() == {"bob"}
    assert table.addresses() == {address(1)}


def test_putting_a_known_peer_changes_its_configuration_and_keeps_its_state(
    table: PeerTable,
) -> None:
    peer = table.put(config())
    peer.heard_s = 5.0
    again = table.put(replace(config(n=2), alias="Bob"))
    assert again is peer
    assert (peer.config.alias, peer.heard_s) == ("Bob", 5.0)
    assert table.at(address(1)) is None
    assert table.at(address(2)) is peer
    assert table.addresses() == {address(2)}


def test_peers_are_listed_in_order_of_key_id(table: PeerTable) -> None:
    for n, name in enumerate(("carol", "alice", "bob")):
        table.put(config(name, n))
    assert [peer.config.key_id for peer in table.all()] == ["alice", "bob", "carol"]


def test_a_removed_peer_is_gone_from_both_tables(table: PeerTable) -> None:
    peer = table.put(config())
    assert table.remove("bob") is peer
    assert table.remove("bob") is None
    assert table.at(address(1)) is None
    assert table.all() == []


def test_candidates_are_bounded_and_the_oldest_goes_first(
    table: PeerTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "CANDIDATES_MAX", 3)
    for n in range(5):
        table.note_candidate(candidate(n))
    table.note_candidate(candidate(2, heard_s=9.0))
    assert [found.address[0] for found in table.candidates()] == [3, 4, 2]


def test_what_is_known_of_a_candidate_is_not_lost_by_hearing_less(table: PeerTable) -> None:
    table.note_candidate(candidate(1, hops=3, heard_s=1.0))
    table.note_candidate(candidate(1, "eve", heard_s=2.0))
    table.note_candidate(candidate(1, heard_s=3.0, hops=2))
    assert list(table.candidates()) == [candidate(1, "eve", 2, 3.0)]
    table.note_candidate(candidate(1, "eve", heard_s=4.0))
    assert list(table.candidates()) == [candidate(1, "eve", 2, 4.0)]


def test_a_candidate_that_becomes_a_peer_is_none_any_more(table: PeerTable) -> None:
    table.note_candidate(candidate(1))
    table.put(config())
    assert list(table.candidates()) == []


def peer_at(checks: int = 0) -> Peer:
    peer = PeerTable().put(config())
    peer.checks = checks
    return peer


def test_state_in_one_word() -> None:
    peer = peer_at()
    assert peer.state == "idle"
    peer.reason = "no_path"
    assert peer.state == "unreachable"
    peer.dialing = True
    assert peer.state == "dialing"
    peer.link = LinkState(LinkId(1), False, bytes(8))
    assert peer.state == "connected"


def test_a_kind_that_never_comes_to_agree_is_tried_ever_more_seldom() -> None:
    peer = peer_at()
    tried: list[int] = []
    for peer.checks in range(1, 1001):
        if peer.worth_a_round(KIND, 7):
            tried.append(peer.checks)
            peer.note_round(KIND, moved=False, generation=7)
    assert tried[:6] == [1, 2, 4, 8, 16, 32]
    longest = 1 << FRUITLESS_SHIFT_MAX
    assert {later - earlier for earlier, later in pairwise(tried[7:])} == {longest}
    assert len(tried) > 15


def test_what_ends_the_row_of_fruitless_rounds() -> None:
    def tired() -> Peer:
        peer = peer_at(checks=3)
        for _ in range(5):
            peer.note_round(KIND, moved=False, generation=7)
        assert not peer.worth_a_round(KIND, 7)
        return peer

    assert tired().worth_a_round(KIND, 8), "something new is here"
    assert tired().worth_a_round(EnvelopeKind.FAMILY, 7)
    peer = tired()
    peer.note_round(KIND, moved=True, generation=7)
    assert peer.worth_a_round(KIND, 7)
    peer = tired()
    peer.checks = 2
    peer.note_round(KIND, moved=False, generation=8)
    assert peer.worth_a_round(KIND, 8), "the first fruitless one with what is here now"
