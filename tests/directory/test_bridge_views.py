"""What a reconciled round asks the bridge: the ids of a view, what to send, what to forget."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ciris_mesh.directory import peermemory
from ciris_mesh.directory.base import Source
from ciris_mesh.directory.bridge import FederationDirectoryReplicationBridge
from ciris_mesh.directory.buckets import digest_of
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.peermemory import UNSERVED_FIRST_S
from ciris_mesh.records.kinds import EnvelopeKind
from support import forge
from support.keys import alice, bob
from support.records import AT_MS, sample

K = EnvelopeKind
HUB, RELAY = "hub", "relay"


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class World:
    """A directory that holds alice's and bob's keys and passes on what alice signed."""

    def __init__(self, directory: DirectoryCore) -> None:
        self.directory = directory
        self.trusted = frozenset({alice().key_id})
        self.clock = Clock()
        self.restart()
        for one in (alice(), bob()):
            directory.admit(K.KEY, sample(K.KEY, one), Source("import"), now_ms=AT_MS)

    def restart(self) -> None:
        self.bridge = FederationDirectoryReplicationBridge(
            self.directory, lambda: self.trusted, clock=self.clock
        )

    def comes(self, *raws: bytes, peer: str = HUB, kind: EnvelopeKind = K.FAMILY) -> list[bytes]:
        verdicts = self.bridge.apply(peer, kind, raws, now_ms=AT_MS)
        return [one for it in verdicts if (one := self.bridge.id_of(peer, it)) is not None]

    def view(self, peer: str = HUB, kind: EnvelopeKind = K.FAMILY) -> frozenset[bytes]:
        ids = self.bridge.view_ids(peer, kind)
        assert self.bridge.view_digest(peer, kind) == digest_of(ids)
        return ids


@pytest.fixture
def world(directory: DirectoryCore) -> World:
    return World(directory)


def test_what_a_peer_delivers_is_in_its_view_though_no_summary_named_it(world: World) -> None:
    ours, theirs = world.comes(sample(K.FAMILY, alice()), sample(K.FAMILY, bob()))
    assert world.view() == {ours, theirs}
    assert world.view(RELAY) == {ours}, "what is not passed on is compared with who offered it"


def test_what_is_refused_or_waits_is_in_the_view_as_well(world: World) -> None:
    broken = forge.signed(K.FAMILY, bob(), spoil=forge.wrong_pqc)
    early = sample(K.FAMILY, bob(), 1, AT_MS + 3_600_000)
    assert world.view() == frozenset()
    ids = world.comes(broken, early)
    assert world.view() == set(ids)


def test_a_delivery_beyond_the_room_for_notes_is_no_harm(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peermemory, "NOTED_IDS_MAX", 8)
    world.comes(*(sample(K.FAMILY, bob(), n) for n in range(4)))
    assert len(world.view()) == 1, "an eighth of what all peers may take"


def test_notes_of_what_is_passed_on_take_no_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peermemory, "NOTED_IDS_MAX", 16)
    for n in range(4):
        world.comes(sample(K.FAMILY, alice(), n))
        world.view()
    (theirs,) = world.comes(sample(K.FAMILY, bob()))
    assert theirs in world.view()


def test_what_goes_out_is_passed_on_oldest_first_and_only_what_is_lacked(world: World) -> None:
    ids = world.comes(*(sample(K.FAMILY, alice(), n, AT_MS + n) for n in (2, 0, 1)))
    (theirs,) = world.comes(sample(K.FAMILY, bob()))
    oldest_first = [ids[1], ids[2], ids[0]]
    assert world.bridge.to_send(RELAY, K.FAMILY, None) == (oldest_first, 0)
    assert world.bridge.to_send(RELAY, K.FAMILY, {ids[0], ids[1], theirs}) == (
        [ids[1], ids[0]], 0,
    )  # fmt: skip
    assert world.bridge.to_send(RELAY, K.FAMILY, set()) == ([], 0)


def test_what_a_peer_took_waits_until_the_digests_are_equal_or_time_has_passed(
    world: World,
) -> None:
    one, two = world.comes(sample(K.FAMILY, alice(), 1), sample(K.FAMILY, alice(), 2))
    world.bridge.note_taken(RELAY, K.FAMILY, [one])
    assert world.bridge.to_send(RELAY, K.FAMILY, {one, two}) == ([two], 1)
    assert world.bridge.to_send(HUB, K.FAMILY, {one})[0] == [one], "each peer by itself"
    world.clock.now_s = UNSERVED_FIRST_S
    assert world.bridge.to_send(RELAY, K.FAMILY, {one})[0] == [one]
    world.bridge.note_taken(RELAY, K.FAMILY, [one])
    world.clock.now_s += UNSERVED_FIRST_S * 1.5
    assert world.bridge.to_send(RELAY, K.FAMILY, {one}) == ([], 1), "longer each time"
    world.bridge.note_agreed(RELAY, K.FAMILY)
    assert world.bridge.to_send(RELAY, K.FAMILY, {one})[0] == [one]


def test_what_a_peer_withdrew_is_forgotten_and_what_we_offer_is_not(world: World) -> None:
    ours, theirs = world.comes(sample(K.FAMILY, alice()), sample(K.FAMILY, bob()))
    world.view()
    assert world.bridge.no_longer_offered(HUB, K.FAMILY, {ours, theirs}) == 1
    assert world.view() == {ours}
    assert world.bridge.no_longer_offered(HUB, K.FAMILY, {theirs}) == 0


def test_after_a_start_what_is_held_and_not_passed_on_is_spare_until_it_is_met(
    world: World,
) -> None:
    ours, theirs = world.comes(sample(K.FAMILY, alice()), sample(K.FAMILY, bob()))
    assert world.bridge.spare_ids(HUB, K.FAMILY, at_most=9) == frozenset()
    assert world.bridge.spare_ids(RELAY, K.FAMILY, at_most=9) == {theirs}
    world.restart()
    assert world.view() == {ours}
    assert world.bridge.spare_ids(HUB, K.FAMILY, at_most=9) == {theirs}
    world.bridge.note_met(HUB, K.FAMILY, [theirs])
    assert world.view() == {ours, theirs}
    assert world.bridge.spare_ids(HUB, K.FAMILY, at_most=9) == frozenset()


def test_a_kind_is_not_worth_taking_while_too_much_of_it_was_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peermemory, "IDS_PER_PEER_MAX", 2)
    assert world.bridge.is_worth_taking(HUB, K.FAMILY)
    world.comes(*(forge.signed(K.FAMILY, bob(), n=n, spoil=forge.wrong_pqc) for n in range(3)))
    assert not world.bridge.is_worth_taking(HUB, K.FAMILY)
    assert world.bridge.is_worth_taking(HUB, K.KEY)
    assert world.bridge.is_worth_taking(RELAY, K.FAMILY)


def test_so_much_besides_that_nobody_looks(world: World) -> None:
    world.comes(sample(K.FAMILY, bob(), 1), sample(K.FAMILY, bob(), 2))
    world.restart()
    assert len(world.bridge.spare_ids(HUB, K.FAMILY, at_most=2)) == 2
    assert world.bridge.spare_ids(HUB, K.FAMILY, at_most=1) == frozenset()


def test_a_peer_that_takes_and_takes_and_keeps_nothing_waits_for_all_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than is remembered: what was forgotten must not go out with every round."""
    monkeypatch.setattr(peermemory, "IDS_PER_PEER_MAX", 2)
    ids = set(world.comes(*(sample(K.FAMILY, alice(), n, AT_MS + n) for n in range(4))))
    sent_s: list[float] = []
    for tick in range(100):
        world.clock.now_s = 10.0 * tick
        due, waiting = world.bridge.to_send(RELAY, K.FAMILY, ids)
        assert len(due) + waiting == 4
        if due:
            sent_s.append(world.clock.now_s)
            world.bridge.note_taken(RELAY, K.FAMILY, due)
    waits_s = [later - earlier for earlier, later in pairwise(sent_s)]
    assert waits_s == sorted(waits_s)
    assert waits_s[-1] >= 4 * UNSERVED_FIRST_S
    world.bridge.note_agreed(RELAY, K.FAMILY)
    assert len(world.bridge.to_send(RELAY, K.FAMILY, ids)[0]) == 4, "as if nothing had been"


def test_a_peer_that_keeps_what_it_takes_gets_all_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peermemory, "IDS_PER_PEER_MAX", 2)
    lacks = set(world.comes(*(sample(K.FAMILY, alice(), n, AT_MS + n) for n in range(6))))
    while lacks:
        due, waiting = world.bridge.to_send(RELAY, K.FAMILY, lacks)
        assert not waiting
        world.bridge.note_taken(RELAY, K.FAMILY, due[:3])
        lacks -= set(due[:3])


def test_a_peer_is_given_what_it_is_offered_twice_an_hour_and_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peermemory, "GIVEN_MIN", 0)
    ids = world.comes(*(sample(K.FAMILY, alice(), n) for n in range(3)))
    serve = world.bridge.serve
    for _ in range(2):
        assert len(serve(RELAY, K.FAMILY, ids, budget_bytes=10**6).sent_ids) == 3
    with monkeypatch.context() as patch:  # and nothing is read to say so
        patch.setattr(world.bridge.naming, "_rows", lambda *_: pytest.fail("rows were read"))
        again = serve(RELAY, K.FAMILY, ids, budget_bytes=10**6)
    assert (again.sent_ids, {reason for _, reason in again.unserved}) == ((), {"too_often"})
    assert world.bridge.to_send(RELAY, K.FAMILY, set(ids)) == ([], 3)
    assert len(serve(HUB, K.FAMILY, ids, budget_bytes=10**6).sent_ids) == 3, "each by itself"
    world.clock.now_s = peermemory.GIVEN_S / 2 - 1
    assert not serve(RELAY, K.FAMILY, ids, budget_bytes=10**6).sent_ids, "not one by one either"
    world.clock.now_s = peermemory.GIVEN_S / 2 + 1
    assert len(serve(RELAY, K.FAMILY, ids, budget_bytes=10**6).sent_ids) == 3


def test_news_is_given_whatever_was_given_before(world: World) -> None:
    for n in range(40):
        ids = world.comes(*(sample(K.FAMILY, alice(), 10 * n + m) for m in range(10)))
        served = world.bridge.serve(RELAY, K.FAMILY, ids, budget_bytes=10**7)
        assert len(served.sent_ids) == 10
