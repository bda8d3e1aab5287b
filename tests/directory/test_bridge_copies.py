"""One record in copies that differ in who signed: what is asked for, sent and compared."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ciris_mesh.directory.base import Source
from ciris_mesh.directory.bridge import FederationDirectoryReplicationBridge
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.pools import PoolLimits
from ciris_mesh.directory.store import Store
from ciris_mesh.records.authoring import assemble, draft
from ciris_mesh.records.cosigning import COPY_HEAD_BYTES, copy_id
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.wire.messages import EnvelopeRef
from support.copies import copy_of
from support.keys import alice, key
from support.records import AT_MS, group_columns, member, sample

K = EnvelopeKind
F = K.FAMILY
HUB, RELAY, REGISTRY = "hub", "relay", "registry"
BUDGET = 1 << 20


def copies(*parts: str) -> list[bytes]:
    """Copies of one family that alice, bob and carol may found; "ab" is by the first two."""
    names = ("alice", "bob", "carol")
    members = [member(key(name).key_id, founder=True) for name in names]
    roster = draft(F, group_columns(F, "all", {"members": members}), alice(), at_ms=AT_MS)
    signatures = {
        name[0]: (key(name).key_id, key(name).sign(roster.message)) for name in (*names, "dave")
    }
    return [assemble(roster, dict(signatures[one] for one in part)) for part in parts]


def names(*raws: bytes) -> list[bytes]:
    return [copy_of(F, raw) for raw in raws]


class World:
    """A node that passes on what alice says, and knows these keys."""

    def __init__(self, directory: DirectoryCore, *known: str) -> None:
        self.directory = directory
        self.now_s = 0.0
        self.bridge = FederationDirectoryReplicationBridge(
            directory,
            lambda: frozenset({alice().key_id}),
            clock=lambda: self.now_s,
        )
        self.bridge.naming.by_record(REGISTRY)
        for name in known:
            self.admits(K.KEY, sample(K.KEY, key(name)))

    def admits(self, kind: EnvelopeKind, raw: bytes) -> Outcome:
        return self.directory.admit(kind, raw, Source("import"), now_ms=AT_MS).outcome

    def comes(self, raw: bytes, peer: str = HUB) -> Outcome:
        (verdict,) = self.bridge.apply(peer, F, [raw], now_ms=AT_MS)
        return verdict.outcome

    def offers(self, peer: str = HUB) -> list[bytes]:
        return [ref.envelope_hash for ref in self.bridge.offer(peer, F)]

    def asks(self, *ids: bytes, peer: str = HUB) -> list[bytes]:
        refs = [EnvelopeRef(one, 0) for one in reversed(ids)]
        self.bridge.note_offer(peer, F, refs)
        return self.bridge.lacking(peer, F, refs)

    def view(self, peer: str = HUB) -> frozenset[bytes]:
        return self.bridge.view_ids(peer, F)


@pytest.fixture
def world(directory: DirectoryCore) -> World:
    return World(directory, "alice", "bob", "carol")


def test_a_copy_with_another_signer_is_asked_for(world: World) -> None:
    first, both = copies("a", "ab")
    assert world.admits(F, first) is Outcome.ADMITTED
    one, two = names(first, both)
    assert world.offers() == [one]
    assert world.asks(one, two) == [two]
    assert world.bridge.owing(HUB, F, [EnvelopeRef(two, 0)]) == 1
    assert world.comes(both) is Outcome.UPGRADED
    assert world.offers() == [two]
    assert world.asks(two) == []


def test_a_copy_that_brings_nothing_is_asked_of_each_peer_once(world: World) -> None:
    """dave founds nothing: whoever sends that is known to have it, and is not asked again."""
    ours, strange = copies("a", "ad")
    world.admits(F, ours)
    one, two = names(ours, strange)
    assert world.asks(two) == [two]
    assert world.comes(strange) is Outcome.DUPLICATE
    assert world.asks(two) == []
    assert world.bridge.owing(HUB, F, [EnvelopeRef(two, 0)]) == 0
    assert world.view() == {one, two}, "equal to the peer's, which knows ours"
    assert world.bridge.waiting(HUB, F) == 0
    assert world.view(RELAY) == {one}
    assert world.asks(two, peer=RELAY) == [two]


def test_a_copy_that_says_less_is_known_once_it_was_seen(world: World) -> None:
    less, more = copies("a", "ab")
    world.admits(F, more)
    assert world.comes(less) is Outcome.DUPLICATE
    assert world.view() == set(names(less, more))
    assert world.bridge.no_longer_offered(HUB, F, names(less)) == 1
    assert world.view() == set(names(more))


def test_what_our_copy_has_outgrown_is_not_asked_for(world: World) -> None:
    less, more = copies("a", "ab")
    world.admits(F, less)
    assert world.view() == set(names(less)), "as the peer's, by now"
    assert world.comes(more, RELAY) is Outcome.UPGRADED
    assert world.view() == set(names(less, more))
    assert world.asks(*names(less)) == []
    assert world.bridge.to_send(HUB, F, None)[0] == names(more)
    assert world.bridge.no_longer_offered(HUB, F, names(less)) == 1
    assert world.view() == set(names(more)), "the peer has it no longer"


def test_a_signer_who_may_come_to_count_is_waited_for_and_the_copy_known(world: World) -> None:
    founding, later = rosters()
    assert [world.admits(F, raw) for raw in (founding[0], later[0])] == [Outcome.ADMITTED] * 2
    assert world.comes(later[1]) is Outcome.DUPLICATE
    assert world.directory.pools().deferred == 1, "erin may be listed by a roster that comes"
    assert world.asks(*names(later[1])) == []
    assert set(names(later[1])) < world.view()


def rosters() -> tuple[list[bytes], list[bytes]]:
    """A founding roster and a later one; the latter's second copy is signed by erin, too."""
    one = member(alice().key_id, founder=True)
    plain = group_columns(F, "later", {"members": [one]})
    founding = draft(F, plain, alice(), at_ms=AT_MS)
    both = [one, member(key("bob").key_id)]
    given = plain | {"members": both, "founded_at": "2026-05-28T20:26:41Z"}
    later = draft(F, given, alice(), at_ms=AT_MS)
    mine = {alice().key_id: alice().sign(later.message)}
    erin = {key("erin").key_id: key("erin").sign(later.message)}
    first = assemble(founding, {alice().key_id: alice().sign(founding.message)})
    return [first], [assemble(later, mine), assemble(later, mine | erin)]


def test_what_waited_and_made_room_is_asked_for_again_of_whoever_has_it(
    open_directory: Callable[..., DirectoryCore],
) -> None:
    world = World(open_directory(limits=PoolLimits(deferred_per_source=1)), "alice", "bob")
    founding, later = rosters()
    for raw in (founding[0], later[0]):
        world.admits(F, raw)
    for peer in (HUB, RELAY):
        world.comes(later[1], peer)
        assert world.asks(*names(later[1]), peer=peer) == []
    assert world.comes(sample(F, key("carol"))) is Outcome.DEFERRED
    assert world.asks(*names(later[1])) == [], "it did not come to stay a moment ago"
    assert world.asks(*names(later[1]), peer=RELAY) == names(later[1])
    world.now_s = 3_600.0
    assert world.asks(*names(later[1])) == names(later[1])


def test_an_outdated_name_is_served_with_all_who_signed_by_now(world: World) -> None:
    less, more = copies("a", "ab")
    world.admits(F, more)
    for asked in (*names(less, more), parse_envelope(F, more).envelope_id):
        served = world.bridge.serve(HUB, F, [asked], budget_bytes=BUDGET)
        assert (served.envelopes, served.sent_ids) == ((more,), (asked,))


def test_names_that_begin_alike_are_told_apart(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight bytes can be ground: two records may share them, and then only exact names count."""
    less, more = copies("a", "ab")
    for raw in (more, sample(F, alice(), 1)):
        world.admits(F, raw)
    store: Store = world.directory._store
    rows = [
        (row.envelope_id, row.signers)
        for ref in world.directory.holdings(F)
        if (row := world.directory.get(F, ref.envelope_hash)) is not None
    ]
    (mine, signers), (other, _) = sorted(rows, key=lambda it: len(it[1]), reverse=True)
    twin = mine[:COPY_HEAD_BYTES] + other[COPY_HEAD_BYTES:]
    alike = [(mine, signers), (twin, signers)]
    monkeypatch.setattr(store, "alike", lambda _kind, _heads: alike)
    exact = [copy_id(F, one, signers) for one in (mine, twin)]
    found = world.directory.copies(F, [*exact, mine, *names(less)])
    assert [found[one].envelope_id for one in (*exact, mine)] == [mine, twin, mine]
    assert names(less)[0] not in found


def test_registry_nodes_know_envelope_ids_alone(world: World) -> None:
    less, more = copies("a", "ab")
    world.admits(F, less)
    (ref,) = world.bridge.offer(REGISTRY, F)
    assert ref.envelope_hash == parse_envelope(F, less).envelope_id
    (verdict,) = world.bridge.apply(REGISTRY, F, [more], now_ms=AT_MS)
    assert world.bridge.id_of(REGISTRY, verdict) == verdict.envelope_id == ref.envelope_hash
    assert world.offers(REGISTRY) == [ref.envelope_hash], "whoever signed"
    assert world.asks(ref.envelope_hash, peer=REGISTRY) == []
    served = world.bridge.serve(REGISTRY, F, [ref.envelope_hash], budget_bytes=BUDGET)
    assert served.sent_ids == (ref.envelope_hash,)
    assert world.view(REGISTRY) == {ref.envelope_hash}
