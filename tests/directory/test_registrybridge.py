"""Rounds with registry nodes: whose ids, which bytes, and no question twice."""

from __future__ import annotations

import hashlib

import pytest

from ciris_mesh.directory import registrybridge
from ciris_mesh.directory.admission import BRIDGEABLE
from ciris_mesh.directory.base import Shelf, Source
from ciris_mesh.directory.bridge import FederationDirectoryReplicationBridge
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.registrybridge import (
    ASKED_S,
    WANT_MAX,
    IdBasis,
    RegistryBridge,
)
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.meshmembers import for_registries
from ciris_mesh.records.outcome import Outcome, Reason
from ciris_mesh.wire.messages import EnvelopeRef
from support.edge_model import decode
from support.golden import vectors
from support.keys import alice, bob
from support.records import AT_MS, sample

K = EnvelopeKind
EU = "registry-eu"
#: After all that was captured.
LATER_MS = AT_MS + 1_000 * 86_400_000


class World:
    """One directory and its bridge to a registry node."""

    def __init__(self, directory: DirectoryCore) -> None:
        self.now_s = 1_000.0
        self.directory = directory
        trusted = frozenset({alice().key_id})
        mesh = FederationDirectoryReplicationBridge(
            directory, lambda: trusted, clock=lambda: self.now_s
        )
        self.bridge = RegistryBridge(directory, mesh, clock=lambda: self.now_s)

    def hold(self, kind: EnvelopeKind, *raws: bytes) -> list[bytes]:
        verdicts = self.directory.admit_many(kind, raws, Source("import"), now_ms=AT_MS)
        return [verdict.envelope_id for verdict in verdicts if verdict.envelope_id is not None]

    def asks(self, kind: EnvelopeKind, *ids: bytes) -> list[bytes]:
        return self.bridge.lacking(EU, kind, [EnvelopeRef(one, 0) for one in ids])

    def gives(self, kind: EnvelopeKind, *raws: bytes) -> list[tuple[Outcome, Reason]]:
        verdicts = self.bridge.apply(EU, kind, raws, now_ms=AT_MS)
        return [(verdict.outcome, verdict.reason) for verdict in verdicts]

    def later(self, seconds: float = ASKED_S + 1) -> None:
        self.now_s += seconds


@pytest.fixture
def world(directory: DirectoryCore) -> World:
    made = World(directory)
    made.hold(K.KEY, sample(K.KEY, alice()))
    return made


def theirs(kind: EnvelopeKind, raw: bytes) -> bytes:
    """A record as a registry node has it, and its id from 14.1 on."""
    return hashlib.sha256(for_registries(kind, raw)).digest()


def ours(kind: EnvelopeKind, raw: bytes) -> bytes:
    return parse_envelope(kind, raw).envelope_id


# --- sending --------------------------------------------------------------------------------------


@pytest.mark.parametrize("basis", list(IdBasis))
def test_what_is_offered_is_served_under_that_id_and_without_our_members(
    world: World, basis: IdBasis
) -> None:
    raw = sample(K.LOCATION_PROOF, alice(), 3)
    (held,) = world.hold(K.LOCATION_PROOF, raw)
    world.bridge.assume(EU, basis, "configured")
    (ref,) = world.bridge.offer(EU, K.LOCATION_PROOF)
    named = held if basis is IdBasis.ROW else theirs(K.LOCATION_PROOF, raw)
    assert ref.envelope_hash == named
    served = world.bridge.serve(EU, K.LOCATION_PROOF, [named, b"?" * 32], budget_bytes=9_999_999)
    assert served.envelopes == (for_registries(K.LOCATION_PROOF, raw),)
    assert [reason for _, reason in served.unserved] == ["not_held"]


def test_a_revocation_goes_by_its_row_hash_whatever_the_basis(world: World) -> None:
    raw = sample(K.REVOCATION, alice(), 1)
    (held,) = world.hold(K.REVOCATION, raw)
    world.bridge.assume(EU, IdBasis.BYTES, "configured")
    assert [ref.envelope_hash for ref in world.bridge.offer(EU, K.REVOCATION)] == [held]


def test_what_is_bridged_is_neither_offered_nor_served(world: World) -> None:
    raw = for_registries(K.FAMILY, sample(K.FAMILY, bob()))
    world.gives(K.FAMILY, raw)
    assert world.directory.get(K.FAMILY, ours(K.FAMILY, raw)) is not None
    assert world.bridge.offer(EU, K.FAMILY) == ()
    served = world.bridge.serve(EU, K.FAMILY, [ours(K.FAMILY, raw)], budget_bytes=1 << 20)
    assert served.envelopes == ()


def test_more_than_a_summary_names_goes_page_by_page(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registrybridge, "SUMMARY_REFS_MAX", 2)
    held = world.hold(K.REVOCATION, *(sample(K.REVOCATION, alice(), n) for n in range(5)))
    pages = [world.bridge.offer(EU, K.REVOCATION) for _ in range(4)]
    assert [len(page) for page in pages] == [2, 2, 1, 2]
    assert {ref.envelope_hash for page in pages[:3] for ref in page} == set(held)
    assert pages[3] == pages[0]


# --- receiving ------------------------------------------------------------------------------------


@pytest.mark.parametrize("basis", list(IdBasis))
def test_a_row_that_is_bridged_is_not_asked_for_again(world: World, basis: IdBasis) -> None:
    raw = for_registries(K.COMMUNITY, sample(K.COMMUNITY, bob()))
    named = ours(K.COMMUNITY, raw) if basis is IdBasis.ROW else theirs(K.COMMUNITY, raw)
    world.bridge.assume(EU, basis, "configured")
    assert world.asks(K.COMMUNITY, named) == [named]
    assert world.gives(K.COMMUNITY, raw) == [(Outcome.ADMITTED, Reason.SIGNATURE_MISSING)]
    row = world.directory.get(K.COMMUNITY, ours(K.COMMUNITY, raw))
    assert row is not None
    assert row.shelf is Shelf.BRIDGED
    for _ in range(3):
        world.later()
        assert world.asks(K.COMMUNITY, named) == []


def test_what_was_refused_is_not_asked_for_again(world: World) -> None:
    raw = sample(K.REVOCATION, alice(), 1).replace(b'"reason":"lost"', b'"reason":"lies"')
    named = ours(K.REVOCATION, raw)
    assert world.asks(K.REVOCATION, named) == [named]
    ((outcome, _),) = world.gives(K.REVOCATION, raw)
    assert outcome is Outcome.REFUSED
    world.later()
    assert world.asks(K.REVOCATION, named) == []


def test_bytes_that_are_no_record_are_refused_under_the_id_asked_for(world: World) -> None:
    named = b"n" * 32
    assert world.asks(K.KEY, named) == [named]
    ((outcome, _),) = world.gives(K.KEY, b"{")
    assert outcome is Outcome.MALFORMED
    world.later()
    assert world.asks(K.KEY, named) == []


def test_a_row_it_names_by_another_text_is_known_by_its_name_afterwards(world: World) -> None:
    """Upstream rebuilds keys; the id of what it sends need not be the one it offers."""
    named, raw = b"n" * 32, sample(K.KEY, bob())
    assert world.asks(K.KEY, named) == [named]
    world.gives(K.KEY, raw)
    world.later()
    assert world.asks(K.KEY, named) == []


def test_what_is_asked_for_is_not_asked_for_again_before_an_answer(world: World) -> None:
    assert world.asks(K.KEY, b"1" * 32) == [b"1" * 32]
    assert world.asks(K.KEY, b"1" * 32, b"2" * 32) == [b"2" * 32]
    world.later()
    assert set(world.asks(K.KEY, b"1" * 32, b"2" * 32)) == {b"1" * 32, b"2" * 32}


def test_an_empty_answer_makes_it_wait(world: World) -> None:
    named = b"n" * 32
    world.asks(K.KEY, named)
    world.gives(K.KEY)
    world.later(1)
    assert world.asks(K.KEY, named) == []
    world.later(120)
    assert world.asks(K.KEY, named) == [named]


def test_a_push_in_between_is_no_answer(world: World) -> None:
    """A Deliver nobody asked for leaves what was asked for outstanding."""
    named = [b"1" * 32, b"2" * 32]
    world.asks(K.REVOCATION, *named)
    world.gives(K.REVOCATION, sample(K.REVOCATION, alice(), 1))
    assert world.asks(K.REVOCATION, *named) == [], "still in flight"
    world.later()
    assert set(world.asks(K.REVOCATION, *named)) == set(named)


def test_one_diff_names_no_more_than_one_answer_can_hold(world: World) -> None:
    ids = [n.to_bytes(32, "big") for n in range(WANT_MAX + 5)]
    assert len(world.asks(K.KEY, *ids)) == WANT_MAX
    assert world.bridge.left(EU, K.KEY) == 5
    assert len(world.asks(K.KEY, *ids)) == 5
    assert world.bridge.left(EU, K.KEY) == 0


def test_bytes_seen_before_are_not_judged_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    raws = [
        for_registries(K.FAMILY, sample(K.FAMILY, bob())),
        sample(K.FAMILY, alice(), 9).replace(b"founder_only", b"quorum:3/2"),
    ]
    first = world.gives(K.FAMILY, *raws)
    judged: list[object] = []
    whole = world.directory.admit_many

    def count(kind: EnvelopeKind, envelopes: list[bytes], *args: object, **more: object) -> object:
        judged.extend(envelopes)
        return whole(kind, envelopes, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(world.directory, "admit_many", count)
    for _ in range(3):
        again = world.gives(K.FAMILY, *raws)
    assert judged == []
    assert [outcome for outcome, _ in first] != [outcome for outcome, _ in again]
    assert again[0][0] is Outcome.DUPLICATE
    assert again[1] == first[1]


# --- which basis ----------------------------------------------------------------------------------


def test_a_wrong_basis_is_found_out_by_what_comes(world: World) -> None:
    raw = for_registries(K.FAMILY, sample(K.FAMILY, bob()))
    world.bridge.assume(EU, IdBasis.ROW, "configured")
    named = theirs(K.FAMILY, raw)
    assert world.asks(K.FAMILY, named) == [named]
    world.gives(K.FAMILY, raw)
    assert world.bridge.basis(EU) == (IdBasis.BYTES, "seen", 1)
    world.later()
    assert world.asks(K.FAMILY, named) == [], "the row is known by both names"
    other = for_registries(K.FAMILY, sample(K.FAMILY, bob(), 2))
    row = ours(K.FAMILY, other)
    assert world.asks(K.FAMILY, row) == [row]
    world.gives(K.FAMILY, other)
    assert world.bridge.basis(EU) == (IdBasis.ROW, "seen", 2)


def test_an_announcement_counts_only_while_nothing_better_is_known(world: World) -> None:
    assert world.bridge.basis(EU) == (IdBasis.ROW, "assumed", 0)
    world.bridge.assume(EU, IdBasis.BYTES, "announced")
    assert world.bridge.basis(EU) == (IdBasis.BYTES, "announced", 0)
    world.bridge.assume(EU, IdBasis.ROW, "configured")
    world.bridge.assume(EU, IdBasis.BYTES, "announced")
    assert world.bridge.basis(EU) == (IdBasis.ROW, "configured", 0)


def test_a_revocation_says_nothing_about_the_basis(world: World) -> None:
    raw = sample(K.REVOCATION, alice(), 4)
    world.bridge.assume(EU, IdBasis.BYTES, "configured")
    world.asks(K.REVOCATION, ours(K.REVOCATION, raw))
    world.gives(K.REVOCATION, raw)
    assert world.bridge.basis(EU) == (IdBasis.BYTES, "configured", 0)


def test_what_is_remembered_of_one_node_is_bounded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registrybridge, "SEEN_MAX", 2)
    monkeypatch.setattr(registrybridge, "ALIASES_MAX", 2)
    monkeypatch.setattr(registrybridge, "NAMES_MAX", 2)
    world.bridge.assume(EU, IdBasis.BYTES, "configured")
    world.hold(K.FAMILY, *(sample(K.FAMILY, alice(), n) for n in range(5)))
    assert len(world.bridge.offer(EU, K.FAMILY)) == 5
    world.gives(K.FAMILY, *(for_registries(K.FAMILY, sample(K.FAMILY, bob(), n)) for n in range(5)))
    memory = world.bridge._peers[EU]
    assert (len(memory.seen), len(memory.aliases)) == (2, 2)
    assert (len(world.bridge._names), len(world.bridge._named)) == (2, 2)
    world.bridge.forget(EU)
    assert world.bridge.basis(EU) == (IdBasis.ROW, "assumed", 0)


# --- what a live node sent ------------------------------------------------------------------------

DELIVERED = {
    bytes(envelope): frame["kind"]
    for session in vectors("crpl_wire_capture_edge_13.15.0")["sessions"]
    for frame in session["distinct_frames"]
    if frame["type"] == "deliver"
    for envelope in decode(bytes.fromhex(frame["frame_hex"]))["envelopes"]
}


@pytest.mark.parametrize(("raw", "kind"), DELIVERED.items(), ids=list(DELIVERED.values()))
def test_every_record_of_a_live_13_15_0_is_bridged_and_says_why(
    directory: DirectoryCore, raw: bytes, kind: str
) -> None:
    world = World(directory)
    (verdict,) = world.bridge.apply(EU, K(kind), [raw], now_ms=LATER_MS)
    assert verdict.outcome is Outcome.ADMITTED
    assert verdict.reason in BRIDGEABLE
    assert verdict.envelope_id is not None
    row = directory.get(K(kind), verdict.envelope_id)
    assert row is not None
    assert row.shelf is Shelf.BRIDGED
    lacking = directory.lacks(K(kind), verdict.envelope_id, now_ms=LATER_MS)
    assert lacking is not None
    assert (lacking.reason, lacking.detail) == (verdict.reason, verdict.detail)


def test_only_a_bridged_row_lacks_something(world: World) -> None:
    (held,) = world.hold(K.FAMILY, sample(K.FAMILY, alice()))
    assert world.directory.lacks(K.FAMILY, held, now_ms=AT_MS) is None
    assert world.directory.lacks(K.FAMILY, b"?" * 32, now_ms=AT_MS) is None


# --- what it does not keep ------------------------------------------------------------------------


def offered_and_served(world: World, one: bytes) -> tuple[bool, bool]:
    """Is a revocation offered, and what does a Diff for it bring?"""
    refs = world.bridge.offer(EU, K.REVOCATION)
    served = world.bridge.serve(EU, K.REVOCATION, [one], budget_bytes=1 << 20)
    return one in {ref.envelope_hash for ref in refs}, bool(served.envelopes)


def test_what_it_was_given_and_asks_for_again_is_not_served_every_round(world: World) -> None:
    (held,) = world.hold(K.REVOCATION, sample(K.REVOCATION, alice(), 1))
    given_at = []
    for second in range(0, 600, 30):  # it refuses the row, and asks with every round
        is_offered, is_served = offered_and_served(world, held)
        assert is_offered is is_served
        if is_served:
            given_at.append(second)
        world.later(30)
    assert given_at == [0, 60, 180, 420]  # ever more seldom
    assert world.bridge.declined(EU) == 3


def test_what_is_withheld_so_says_why_and_nothing_else_waits_for_it(world: World) -> None:
    first, second = world.hold(K.REVOCATION, *(sample(K.REVOCATION, alice(), n) for n in (1, 2)))
    assert offered_and_served(world, first) == (True, True)
    served = world.bridge.serve(EU, K.REVOCATION, [first, second], budget_bytes=1 << 20)
    assert served.sent_ids == (second,)
    assert served.unserved == ((first, "given_before"),)
    other = world.bridge.serve("registry-us", K.REVOCATION, [first], budget_bytes=1 << 20)
    assert other.sent_ids == (first,)
    assert world.bridge.declined(EU) == 0


@pytest.mark.parametrize("how", ["new epoch", "other ids"])
def test_it_is_forgotten_when_the_registry_starts_anew_or_is_another_version(
    world: World, how: str
) -> None:
    (held,) = world.hold(K.REVOCATION, sample(K.REVOCATION, alice(), 1))
    assert offered_and_served(world, held) == (True, True)
    assert offered_and_served(world, held) == (False, False)
    if how == "new epoch":
        world.bridge.begin_anew(EU)
    else:
        world.bridge.assume(EU, IdBasis.BYTES, "announced")
    assert offered_and_served(world, held) == (True, True)


def test_of_more_rows_than_are_remembered_the_oldest_are_given_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registrybridge, "GIVEN_MAX", 1)
    first, second = world.hold(K.REVOCATION, *(sample(K.REVOCATION, alice(), n) for n in (1, 2)))
    world.bridge.serve(EU, K.REVOCATION, [first, second], budget_bytes=1 << 20)
    assert offered_and_served(world, first) == (True, True)
