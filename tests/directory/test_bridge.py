"""What is offered, served, asked for and compared; spec 6.1's directory and bridge checklists."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ciris_mesh.directory import bridge as bridge_module
from ciris_mesh.directory import offers, peermemory
from ciris_mesh.directory.base import OWN, Source, StoredRow
from ciris_mesh.directory.bridge import VIEW_REUSE_S, FederationDirectoryReplicationBridge
from ciris_mesh.directory.buckets import digest_of
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.directory.naming import ROWS_AT_ONCE
from ciris_mesh.directory.peermemory import (
    REFUSED_FIRST_S,
    UNSERVED_FIRST_S,
    UNSERVED_LONGEST_S,
)
from ciris_mesh.directory.pools import PoolLimits
from ciris_mesh.directory.quotas import SAME_MAX
from ciris_mesh.records.authoring import author
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.hybrid import FederationKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason
from ciris_mesh.wire.messages import EnvelopeRef
from support import forge
from support.copies import copy_of
from support.keys import alice, bob, carol, key
from support.records import AT_MS, columns, group_columns, member, prerequisites, sample

K = EnvelopeKind
BUDGET = 512 * 1024
HUB, RELAY = "hub", "relay"


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Mesh:
    """One directory, its bridge, whom it trusts and what time it is."""

    def __init__(
        self,
        directory: DirectoryCore,
        *trusted: str,
        unwanted: frozenset[EnvelopeKind] = frozenset(),
    ) -> None:
        self.directory = directory
        self.trusted = frozenset(trusted)
        self.clock = Clock()
        self.bridge = FederationDirectoryReplicationBridge(
            directory, lambda: self.trusted, unwanted=unwanted, clock=self.clock
        )

    def hold(self, kind: EnvelopeKind, *raws: bytes) -> list[bytes]:
        verdicts = self.directory.admit_many(kind, raws, Source("import"), now_ms=AT_MS)
        assert {v.outcome for v in verdicts} <= {Outcome.ADMITTED, Outcome.DUPLICATE}
        return [v.copy_id for v in verdicts if v.copy_id is not None]

    def prepare(self, kind: EnvelopeKind, signer: FederationKey, *numbers: int) -> None:
        """Hold what the samples of these numbers build on."""
        for n in numbers:
            for below, raw in prerequisites(kind, signer, n):
                self.hold(below, raw)

    def offered(self, kind: EnvelopeKind, peer: str = HUB) -> list[bytes]:
        return [ref.envelope_hash for ref in self.bridge.offer(peer, kind)]

    def asks(self, kind: EnvelopeKind, *ids: bytes, peer: str = HUB) -> list[bytes]:
        """What is asked for when these are offered; as in every offer, the newest comes first."""
        newest_first = [EnvelopeRef(one, 0) for one in reversed(ids)]
        return self.bridge.lacking(peer, kind, newest_first)

    def note(self, kind: EnvelopeKind, *ids: bytes, peer: str = HUB) -> None:
        self.bridge.note_offer(peer, kind, [EnvelopeRef(one, 0) for one in ids])


@pytest.fixture
def mesh(directory: DirectoryCore) -> Mesh:
    """Trusts alice; holds her key and bob's."""
    mesh = Mesh(directory, alice().key_id)
    mesh.hold(K.KEY, sample(K.KEY, alice()), sample(K.KEY, bob()))
    return mesh


# -- offering and serving ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_an_empty_cohort_offers_nothing_of_any_kind(
    directory: DirectoryCore, kind: EnvelopeKind
) -> None:
    mesh = Mesh(directory)
    mesh.hold(K.KEY, sample(K.KEY, alice()))
    mesh.prepare(kind, alice(), 0)
    mesh.hold(kind, sample(kind, alice()))
    assert mesh.bridge.offer(HUB, kind) == ()


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_listed_is_served_under_the_same_id_and_nothing_else_is(
    mesh: Mesh, kind: EnvelopeKind
) -> None:
    """List and fetch share one predicate; asking for an id learned elsewhere yields nothing."""
    mesh.prepare(kind, alice(), 1, 2)
    mesh.prepare(kind, bob(), 3)
    ours = mesh.hold(kind, sample(kind, alice(), 1), sample(kind, alice(), 2))
    theirs = mesh.hold(kind, sample(kind, bob(), 3))
    offered = mesh.offered(kind)
    assert set(ours) <= set(offered)
    assert not set(theirs) & set(offered)
    served = mesh.bridge.serve(HUB, kind, [*offered, *theirs], budget_bytes=BUDGET)
    assert [copy_of(kind, raw) for raw in served.envelopes] == offered == list(served.sent_ids)
    assert served.unserved == tuple((one, "not_offered") for one in theirs)
    for one in (*offered, *theirs):
        row = mesh.bridge.naming.row(HUB, kind, one)
        assert row is not None
        assert mesh.bridge.may_serve(HUB, kind, row) is (one in offered)


def test_key_listed_fetched_decoded_and_reapplied(mesh: Mesh) -> None:
    (listed,) = mesh.offered(K.KEY)
    served = mesh.bridge.serve(HUB, K.KEY, [listed], budget_bytes=BUDGET)
    verdicts = mesh.bridge.apply(RELAY, K.KEY, served.envelopes, now_ms=AT_MS)
    assert [v.outcome for v in verdicts] == [Outcome.DUPLICATE]


def test_a_record_listed_once_however_often_it_came(mesh: Mesh) -> None:
    raw = sample(K.FAMILY, alice())
    for _ in range(3):
        mesh.hold(K.FAMILY, raw)
    assert len(mesh.offered(K.FAMILY)) == 1


def test_local_tier_attestation_is_never_listed_nor_fetched(mesh: Mesh) -> None:
    given_local = columns(K.ATTESTATION, alice().key_id, 1) | {"tier": "local"}
    raw = author(K.ATTESTATION, given_local, alice(), at_ms=AT_MS)
    verdict = mesh.directory.admit(K.ATTESTATION, raw, OWN, now_ms=AT_MS)
    assert verdict.outcome is Outcome.ADMITTED
    assert verdict.envelope_id is not None
    assert mesh.offered(K.ATTESTATION) == []
    served = mesh.bridge.serve(HUB, K.ATTESTATION, [verdict.envelope_id], budget_bytes=BUDGET)
    assert served.envelopes == ()


def test_federation_tier_attestation_is_listed(mesh: Mesh) -> None:
    (held,) = mesh.hold(K.ATTESTATION, sample(K.ATTESTATION, alice()))
    assert mesh.offered(K.ATTESTATION) == [held]


def test_a_bridged_row_is_never_listed_nor_fetched(mesh: Mesh) -> None:
    bare = forge.unsigned(K.FAMILY, sample(K.FAMILY, alice()))
    registry = Source("registry", "r")
    verdict = mesh.directory.admit(K.FAMILY, bare, registry, now_ms=AT_MS)
    assert verdict.envelope_id is not None
    assert mesh.offered(K.FAMILY) == []
    served = mesh.bridge.serve(HUB, K.FAMILY, [verdict.envelope_id], budget_bytes=BUDGET)
    assert served.unserved == ((verdict.envelope_id, "not_held"),), "under whatever name"


def cosigned(kind: EnvelopeKind) -> bytes:
    """alice's, with bob's signature beside hers."""
    given = columns(kind, alice().key_id, 1)
    return author(kind, given, alice(), at_ms=AT_MS, cosigners=[bob()])


def test_every_signer_must_be_trusted_where_the_id_names_them(mesh: Mesh) -> None:
    (held,) = mesh.hold(K.PARTNER_RECORD, cosigned(K.PARTNER_RECORD))
    assert mesh.offered(K.PARTNER_RECORD) == []
    mesh.trusted |= {bob().key_id}
    assert mesh.offered(K.PARTNER_RECORD) == [held], "a change of trust takes effect at once"


@pytest.mark.parametrize("has_say", [True, False])
def test_anothers_signature_beside_it_keeps_no_record_from_being_offered(
    mesh: Mesh, has_say: bool
) -> None:
    """bob is not trusted here. Where he founds the family too his signature is kept."""
    founders = [alice(), bob()] if has_say else [alice()]
    given = {"members": [member(one.key_id, founder=True) for one in founders]}
    family = group_columns(K.FAMILY, "family", given)
    (held,) = mesh.hold(K.FAMILY, author(K.FAMILY, family, alice(), at_ms=AT_MS))
    both = author(K.FAMILY, family, alice(), at_ms=AT_MS, cosigners=[bob()])
    (verdict,) = mesh.bridge.apply(RELAY, K.FAMILY, [both], now_ms=AT_MS)
    assert verdict.outcome is (Outcome.UPGRADED if has_say else Outcome.DUPLICATE)
    assert verdict.copy_id == copy_of(K.FAMILY, both)
    assert mesh.offered(K.FAMILY) == [copy_of(K.FAMILY, both) if has_say else held]
    served = mesh.bridge.serve(HUB, K.FAMILY, [held], budget_bytes=BUDGET)
    (sent,) = served.envelopes
    assert [copy_of(K.FAMILY, sent)] == mesh.offered(K.FAMILY), "as signed as it is by now"
    mesh.trusted = frozenset()
    assert mesh.offered(K.FAMILY) == []


def test_a_new_nodes_key_reaches_a_third_node(open_directory: Callable[..., DirectoryCore]) -> None:
    """carol is new; bob peers with her; alice peers with bob."""
    middle = Mesh(open_directory(), bob().key_id, carol().key_id)
    middle.bridge.apply(carol().key_id, K.KEY, [sample(K.KEY, carol())], now_ms=AT_MS)
    third = Mesh(open_directory(), bob().key_id)
    (offered,) = middle.offered(K.KEY, peer=alice().key_id)
    assert third.asks(K.KEY, offered) == [offered]
    served = middle.bridge.serve(alice().key_id, K.KEY, [offered], budget_bytes=BUDGET)
    third.bridge.apply(bob().key_id, K.KEY, served.envelopes, now_ms=AT_MS)
    assert third.directory.public_key(carol().key_id) == carol().public


def test_offers_are_newest_first_and_at_most_the_limit(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    raws = [sample(K.FAMILY, alice(), n, AT_MS - 1000 * n) for n in range(5)]
    ids = mesh.hold(K.FAMILY, *reversed(raws))
    assert mesh.offered(K.FAMILY) == list(reversed(ids))
    monkeypatch.setattr(offers, "OFFER_REFS_MAX", 2)
    mesh.hold(K.FAMILY, sample(K.FAMILY, alice(), 9, AT_MS - 9_000_000))
    assert mesh.offered(K.FAMILY) == list(reversed(ids))[:2]


def test_ones_flood_hides_nobody_elses_records(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    mesh.trusted |= {bob().key_id}
    flood = mesh.hold(K.FAMILY, *(sample(K.FAMILY, bob(), n, AT_MS - n) for n in range(6)))
    old = mesh.hold(
        K.FAMILY, *(sample(K.FAMILY, alice(), n, AT_MS - 1000 * (n + 1)) for n in range(2))
    )
    assert mesh.offered(K.FAMILY) == [*flood, *old]
    assert mesh.bridge.truncated(HUB, K.FAMILY) == 0
    monkeypatch.setattr(offers, "OFFER_REFS_MAX", 5)
    mesh.hold(K.FAMILY, sample(K.FAMILY, bob(), 9, AT_MS - 9_000_000))
    assert mesh.offered(K.FAMILY) == [*flood[:3], *old]
    assert mesh.bridge.truncated(HUB, K.FAMILY) == 4


def test_a_deliver_keeps_its_budget_but_carries_at_least_one(mesh: Mesh) -> None:
    ids = mesh.hold(K.FAMILY, *(sample(K.FAMILY, alice(), n) for n in range(4)))
    size = len(sample(K.FAMILY, alice(), 0))
    served = mesh.bridge.serve(HUB, K.FAMILY, ids, budget_bytes=2 * size + 20)
    assert list(served.sent_ids) == ids[:2]
    assert served.unserved == tuple((one, "over_budget") for one in ids[2:])
    assert len(mesh.bridge.serve(HUB, K.FAMILY, ids, budget_bytes=1).envelopes) == 1
    stranger = bytes(32)
    first = mesh.bridge.serve(HUB, K.FAMILY, [stranger, *ids], budget_bytes=1)
    assert first.sent_ids == (ids[0],), "what is not here does not use up the one"
    assert first.unserved[0] == (stranger, "not_held")


def test_spilled_envelopes_come_with_the_next_asking(mesh: Mesh) -> None:
    want = mesh.hold(K.FAMILY, *(sample(K.FAMILY, alice(), n) for n in range(5)))
    rounds: list[bytes] = []
    while want:
        served = mesh.bridge.serve(HUB, K.FAMILY, want, budget_bytes=9_000)
        rounds += served.sent_ids
        want = [one for one, _ in served.unserved]
    assert len(rounds) == len(set(rounds)) == 5


def test_what_is_withheld_and_served_is_counted(mesh: Mesh) -> None:
    (held,) = mesh.hold(K.FAMILY, sample(K.FAMILY, alice()))
    (other,) = mesh.hold(K.FAMILY, sample(K.FAMILY, bob()))
    mesh.bridge.serve(HUB, K.FAMILY, [held, other, bytes(32), held], budget_bytes=BUDGET)
    assert mesh.bridge.counts() == {
        ("served", ""): 1,
        ("withheld", "not_offered"): 1,
        ("withheld", "not_held"): 1,
    }


# -- asking --------------------------------------------------------------------------------------


def test_the_oldest_is_asked_for_first_and_each_once(mesh: Mesh) -> None:
    (held,) = mesh.hold(K.FAMILY, sample(K.FAMILY, alice()))
    new = [bytes([n]) * 32 for n in (7, 3, 5)]
    assert mesh.asks(K.FAMILY, new[0], held, new[1], new[0], new[2]) == new


def test_holdings_decide_what_is_asked_for_not_the_offer(mesh: Mesh) -> None:
    """A record held but not offered is not asked for again."""
    (held,) = mesh.hold(K.FAMILY, sample(K.FAMILY, bob()))
    assert held not in mesh.offered(K.FAMILY)
    assert mesh.asks(K.FAMILY, held) == []


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_garbage_bytes_are_refused_for_every_kind(mesh: Mesh, kind: EnvelopeKind) -> None:
    before = mesh.directory.counts()
    verdicts = mesh.bridge.apply(HUB, kind, [b"garbage", b"", b"{}"], now_ms=AT_MS)
    assert {v.outcome for v in verdicts} == {Outcome.MALFORMED}
    assert mesh.directory.counts() == before


@pytest.mark.parametrize(
    "kind", [kind for kind in EnvelopeKind if kind.value.endswith(("family", "revocation"))]
)
def test_refused_bytes_stop_the_asking_of_that_peer_only(mesh: Mesh, kind: EnvelopeKind) -> None:
    good = sample(kind, alice(), 8)
    bad = forge.edited(kind, good, lambda wrapper: wrapper.update(note="x"))
    wanted = copy_of(kind, good)
    assert mesh.asks(kind, wanted) == [wanted]
    (verdict,) = mesh.bridge.apply(HUB, kind, [bad], now_ms=AT_MS)
    assert (verdict.outcome, verdict.copy_id) == (Outcome.MALFORMED, wanted)
    assert mesh.asks(kind, wanted) == [], "no permanent re-request"
    assert mesh.asks(kind, wanted, peer=RELAY) == [wanted], "garbage suppresses no record"
    mesh.bridge.apply(RELAY, kind, [good], now_ms=AT_MS)
    assert mesh.asks(kind, wanted, peer=RELAY) == []


def test_a_refusal_is_asked_about_again_much_later_and_then_later_still(mesh: Mesh) -> None:
    bad = forge.signed(K.FAMILY, alice(), spoil=forge.wrong_pqc)
    one = copy_of(K.FAMILY, bad)
    mesh.bridge.apply(HUB, K.FAMILY, [bad], now_ms=AT_MS)
    mesh.clock.now_s = REFUSED_FIRST_S
    assert mesh.asks(K.FAMILY, one) == [one]
    mesh.bridge.apply(HUB, K.FAMILY, [bad], now_ms=AT_MS)
    mesh.clock.now_s += 2 * REFUSED_FIRST_S - 1
    assert mesh.asks(K.FAMILY, one) == []
    mesh.clock.now_s += 1
    assert mesh.asks(K.FAMILY, one) == [one]


def test_what_was_offered_and_not_delivered_waits_a_little(mesh: Mesh) -> None:
    one = bytes(32)
    mesh.bridge.served_nothing(HUB, K.FAMILY, [one])
    assert mesh.asks(K.FAMILY, one) == []
    assert mesh.asks(K.FAMILY, one, peer=RELAY) == [one]
    mesh.clock.now_s = UNSERVED_FIRST_S
    assert mesh.asks(K.FAMILY, one) == [one]
    assert mesh.bridge.counts()["not_asked", "unserved"] == 1


def test_a_deferred_record_is_not_asked_of_the_peer_that_brought_it(mesh: Mesh) -> None:
    """Nothing about waiting bytes is certain, so another peer's copy is still worth having."""
    raw = sample(K.FAMILY, carol())
    one = copy_of(K.FAMILY, raw)
    mesh.bridge.apply(HUB, K.FAMILY, [raw], now_ms=AT_MS)
    assert mesh.asks(K.FAMILY, one) == []
    assert mesh.asks(K.FAMILY, one, peer=RELAY) == [one]
    mesh.bridge.apply(RELAY, K.FAMILY, [raw], now_ms=AT_MS)
    assert mesh.asks(K.FAMILY, one, peer=RELAY) == []
    mesh.hold(K.KEY, sample(K.KEY, carol()))
    for peer in (HUB, RELAY, "third"):
        assert mesh.asks(K.FAMILY, one, peer=peer) == []


def test_a_forged_waiting_copy_does_not_keep_the_real_one_out(mesh: Mesh) -> None:
    """The forger names a signer whose key never comes; kinds 4 to 10 sign beside the record."""
    real = sample(K.FAMILY, alice(), 6)

    def forge_signer(wrapper: forge.Wrapper) -> None:
        wrapper["authority"][0]["key_id"] = "ghost-aaaaaaaaaaaaaaaa"

    forged = forge.edited(K.FAMILY, real, forge_signer)
    one = copy_of(K.FAMILY, real)
    (verdict,) = mesh.bridge.apply(HUB, K.FAMILY, [forged], now_ms=AT_MS)
    assert verdict.outcome is Outcome.DEFERRED
    assert mesh.asks(K.FAMILY, one, peer=RELAY) == [one]
    (verdict,) = mesh.bridge.apply(RELAY, K.FAMILY, [real], now_ms=AT_MS)
    assert verdict.outcome is Outcome.ADMITTED
    assert mesh.offered(K.FAMILY) == [one]


def test_what_found_no_room_is_asked_for_again_after_a_while(
    open_directory: Callable[..., DirectoryCore],
) -> None:
    mesh = Mesh(open_directory(limits=PoolLimits(deferred_per_source=1)), alice().key_id)
    raws = [sample(K.FAMILY, carol(), n) for n in range(2)]
    mesh.bridge.apply(HUB, K.FAMILY, raws, now_ms=AT_MS)
    ids = [copy_of(K.FAMILY, raw) for raw in raws]
    assert mesh.asks(K.FAMILY, *ids) == []
    mesh.clock.now_s = UNSERVED_FIRST_S
    assert mesh.asks(K.FAMILY, *ids) == ids[:1]


@pytest.mark.parametrize("remembered", [2048, 2], ids=["remembered", "too many to remember"])
def test_a_pool_smaller_than_the_offer_is_not_filled_over_and_over(
    open_directory: Callable[..., DirectoryCore],
    monkeypatch: pytest.MonkeyPatch,
    remembered: int,
) -> None:
    """Two nodes; what one cannot keep waiting it asks for again, but ever more seldom."""
    monkeypatch.setattr(peermemory, "IDS_PER_PEER_MAX", remembered)
    full = Mesh(open_directory(), carol().key_id)
    full.hold(K.KEY, sample(K.KEY, carol()))
    full.hold(K.FAMILY, *(sample(K.FAMILY, carol(), n) for n in range(6)))
    small = Mesh(open_directory(limits=PoolLimits(deferred_per_source=2)), carol().key_id)
    refs = full.bridge.offer("small", K.FAMILY)

    def fetch() -> int:
        """Ask and deliver until nothing is asked for, one envelope each time."""
        asked = 0
        while want := small.bridge.lacking("full", K.FAMILY, refs):
            served = full.bridge.serve("small", K.FAMILY, want[:1], budget_bytes=BUDGET)
            small.bridge.apply("full", K.FAMILY, served.envelopes, now_ms=AT_MS)
            asked += 1
            assert asked < 50
        return asked

    assert 4 <= fetch() <= 6
    asked = []
    for _ in range(120):
        assert fetch() == 0, "never twice at the same time"
        small.clock.now_s += UNSERVED_FIRST_S / 2
        asked.append(fetch())
    assert asked[0] == 0 < asked[1]
    assert sum(asked) <= 6 * 7, "in an hour each id once for every doubling from a minute on"
    small.hold(K.KEY, sample(K.KEY, carol()))
    small.clock.now_s += UNSERVED_LONGEST_S
    fetch()
    assert small.directory.digest(K.FAMILY) == full.directory.digest(K.FAMILY)


@pytest.mark.parametrize("limit", [2, 10])
def test_many_refused_ids_are_not_asked_for_in_turns(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(peermemory, "IDS_PER_PEER_MAX", limit)
    bad = [forge.signed(K.FAMILY, alice(), n=n, spoil=forge.wrong_pqc) for n in range(4)]
    mesh.bridge.apply(HUB, K.FAMILY, bad, now_ms=AT_MS)
    ids = [copy_of(K.FAMILY, raw) for raw in bad]
    assert mesh.asks(K.FAMILY, *ids) == []
    new = bytes(32)
    assert mesh.asks(K.FAMILY, new) == ([new] if limit > 4 else [])
    assert mesh.asks(K.FAMILY, new, peer=RELAY) == [new]
    mesh.clock.now_s = REFUSED_FIRST_S
    assert mesh.asks(K.FAMILY, *ids, new) == [*ids, new]


def test_what_was_said_often_enough_is_not_asked_for_again(mesh: Mesh) -> None:
    (about,) = mesh.hold(K.ATTESTATION, sample(K.ATTESTATION, alice()))
    row = mesh.directory.get(K.ATTESTATION, about)
    assert row is not None
    reference = parse_envelope(K.ATTESTATION, row.envelope).record["attestation_id"]
    inner = {"references_attestation_id": reference}
    given = {"attested_key_id": alice().key_id, "attestation_type": "recants"}
    raws = [
        author(
            K.ATTESTATION, given | {"attestation_envelope": inner | {"n": n}}, alice(), at_ms=AT_MS
        )
        for n in range(SAME_MAX + 1)
    ]
    verdicts = mesh.bridge.apply(HUB, K.ATTESTATION, raws, now_ms=AT_MS)
    assert verdicts[-1].reason is Reason.SAID_OFTEN_ENOUGH
    ids = [copy_of(K.ATTESTATION, raw) for raw in raws]
    assert mesh.asks(K.ATTESTATION, *ids) == []
    assert sorted(mesh.offered(K.ATTESTATION)) == sorted([about, *ids[:-1]]), (
        "passed on like others"
    )
    assert mesh.asks(K.ATTESTATION, ids[-1], peer=RELAY) == [ids[-1]]


def test_a_peer_brings_so_many_keys_and_no_more(
    open_directory: Callable[..., DirectoryCore],
) -> None:
    mesh = Mesh(open_directory(limits=PoolLimits(stranger_rows_per_peer=1)))
    raws = [sample(K.KEY, key()) for key in (alice, bob, carol)]
    verdicts = mesh.bridge.apply(carol().key_id, K.KEY, raws, now_ms=AT_MS)
    assert [(v.outcome.value, v.reason.value) for v in verdicts] == [
        ("admitted", ""),
        ("refused", "peer_quota"),
        ("admitted", ""),  # its own
    ]
    one = copy_of(K.KEY, raws[1])
    assert mesh.asks(K.KEY, one, peer=carol().key_id) == []
    assert mesh.asks(K.KEY, one, peer=HUB) == [one]
    (verdict,) = mesh.bridge.apply(HUB, K.KEY, [raws[1]], now_ms=AT_MS)
    assert verdict.outcome is Outcome.ADMITTED
    assert mesh.directory.outcome_counts()["peer", "refused", "peer_quota"] == 1


def test_a_bridged_copy_does_not_keep_the_signed_one_out(mesh: Mesh) -> None:
    signed = sample(K.FAMILY, alice())
    bare = forge.unsigned(K.FAMILY, signed)
    mesh.directory.admit(K.FAMILY, bare, Source("registry", "r"), now_ms=AT_MS)
    one = copy_of(K.FAMILY, signed)
    assert mesh.asks(K.FAMILY, one) == [one]
    (verdict,) = mesh.bridge.apply(HUB, K.FAMILY, [signed], now_ms=AT_MS)
    assert verdict.outcome is Outcome.UPGRADED
    assert mesh.asks(K.FAMILY, one) == []


def test_what_is_remembered_of_peers_is_bounded(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_module, "PEERS_MAX", 2)
    monkeypatch.setattr(peermemory, "IDS_PER_PEER_MAX", 3)
    ids = [bytes([n]) * 32 for n in range(5)]
    mesh.bridge.served_nothing(HUB, K.FAMILY, ids)
    assert mesh.asks(K.FAMILY, *ids) == [], "forgotten ids are not asked for at once"
    assert mesh.bridge.counts()["not_asked", "too_many"] == 1
    assert mesh.asks(K.COMMUNITY, *ids) == ids
    for peer in (RELAY, "third"):
        mesh.bridge.served_nothing(peer, K.FAMILY, ids)
    assert mesh.asks(K.FAMILY, *ids) == ids, "the longest silent peer is forgotten"


# -- comparing -----------------------------------------------------------------------------------


def test_without_an_offer_of_the_peer_the_view_is_ours(mesh: Mesh) -> None:
    mesh.hold(K.FAMILY, sample(K.FAMILY, alice()), sample(K.FAMILY, bob()))
    assert mesh.bridge.view_digest(HUB, K.FAMILY) == digest_of(mesh.offered(K.FAMILY))
    mesh.trusted |= {bob().key_id}
    assert mesh.bridge.view_digest(HUB, K.FAMILY) == mesh.directory.digest(K.FAMILY)


def test_what_the_peer_offers_and_we_know_belongs_to_its_view_alone(mesh: Mesh) -> None:
    (ours,) = mesh.hold(K.FAMILY, sample(K.FAMILY, alice()))
    (held,) = mesh.hold(K.FAMILY, sample(K.FAMILY, bob()))
    mesh.note(K.FAMILY, held, bytes(32))
    assert mesh.bridge.view_digest(HUB, K.FAMILY) == digest_of([ours, held])
    assert mesh.bridge.view_digest(RELAY, K.FAMILY) == digest_of([ours])


@pytest.mark.parametrize("fate", ["admitted", "deferred", "refused"])
def test_the_view_takes_in_what_a_round_brought(mesh: Mesh, fate: str) -> None:
    raw = {
        "admitted": sample(K.FAMILY, bob()),
        "deferred": sample(K.FAMILY, carol()),
        "refused": forge.signed(K.FAMILY, bob(), spoil=forge.wrong_pqc),
    }[fate]
    one = copy_of(K.FAMILY, raw)
    mesh.note(K.FAMILY, one)
    assert mesh.bridge.view_digest(HUB, K.FAMILY) == digest_of([])
    (verdict,) = mesh.bridge.apply(HUB, K.FAMILY, [raw], now_ms=AT_MS)
    assert verdict.outcome.value == fate
    assert mesh.bridge.view_digest(HUB, K.FAMILY) == digest_of([one])


def test_what_did_not_come_is_no_part_of_the_view(mesh: Mesh) -> None:
    mesh.note(K.FAMILY, bytes(32))
    mesh.bridge.served_nothing(HUB, K.FAMILY, [bytes(32)])
    assert mesh.bridge.view_digest(HUB, K.FAMILY) == digest_of([])


def test_a_later_offer_replaces_the_earlier(mesh: Mesh) -> None:
    held = mesh.hold(K.FAMILY, sample(K.FAMILY, bob(), 1), sample(K.FAMILY, bob(), 2))
    mesh.note(K.FAMILY, *held)
    assert mesh.bridge.view_digest(HUB, K.FAMILY) == digest_of(held)
    mesh.note(K.FAMILY, held[0])
    assert mesh.bridge.view_digest(HUB, K.FAMILY) == digest_of(held[:1])


def test_a_lapsed_refusal_is_noticed_by_the_view(mesh: Mesh) -> None:
    bad = forge.signed(K.FAMILY, bob(), spoil=forge.wrong_pqc)
    mesh.note(K.FAMILY, copy_of(K.FAMILY, bad))
    mesh.bridge.apply(HUB, K.FAMILY, [bad], now_ms=AT_MS)
    assert mesh.bridge.view_digest(HUB, K.FAMILY).count == 1
    mesh.clock.now_s = REFUSED_FIRST_S + VIEW_REUSE_S
    assert mesh.bridge.view_digest(HUB, K.FAMILY).count == 0


def test_no_peer_makes_another_ones_offer_forgotten(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its share, and what does not fit in all is the newcomer's loss."""
    monkeypatch.setattr(peermemory, "NOTED_IDS_MAX", 5)
    monkeypatch.setattr(peermemory, "NOTED_SHARES", 2)
    held = mesh.hold(K.FAMILY, *(sample(K.FAMILY, bob(), n) for n in range(4)))
    mesh.note(K.FAMILY, *held)
    assert mesh.bridge.view_digest(HUB, K.FAMILY) == digest_of(held[:2]), "its newest"
    mesh.note(K.FAMILY, *held, peer=RELAY)
    mesh.note(K.FAMILY, *held, peer="third")
    counts = [mesh.bridge.view_digest(peer, K.FAMILY).count for peer in (HUB, RELAY, "third")]
    assert counts == [2, 2, 1]
    mesh.note(K.FAMILY, held[3])
    assert mesh.bridge.view_digest(HUB, K.FAMILY) == digest_of(held[3:]), "its own made room"


class Reads:
    """Counts what the bridge asks of a directory."""

    def __init__(self, directory: DirectoryCore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        for name in ("holdings", "signers", "standing", "get", "digest", "rows"):
            self._wrap(directory, name, monkeypatch)

    def _wrap(self, directory: DirectoryCore, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        method = getattr(directory, name)

        def counted(*arguments: object, **options: object) -> object:
            self.count += 1
            return method(*arguments, **options)

        monkeypatch.setattr(directory, name, counted)


def test_an_unchanged_view_reads_nothing(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    (held,) = mesh.hold(K.FAMILY, sample(K.FAMILY, bob()))
    mesh.note(K.FAMILY, held)
    before = mesh.bridge.view_digest(HUB, K.FAMILY)
    reads = Reads(mesh.directory, monkeypatch)
    mesh.note(K.FAMILY, held)
    assert mesh.bridge.view_digest(HUB, K.FAMILY) == before
    mesh.bridge.offer(HUB, K.FAMILY)
    mesh.bridge.offer(RELAY, K.FAMILY)
    assert reads.count == 0
    mesh.hold(K.FAMILY, sample(K.FAMILY, alice()))
    assert mesh.bridge.view_digest(HUB, K.FAMILY) != before
    assert reads.count > 0


def run_round(ours: Mesh, theirs: Mesh, us: str, them: str, kind: EnvelopeKind) -> None:
    """Both ask for what the other offers, as a round does."""
    for one, other, one_name, other_name in (
        (ours, theirs, us, them),
        (theirs, ours, them, us),
    ):
        refs = other.bridge.offer(one_name, kind)
        one.bridge.note_offer(other_name, kind, refs)
        want = one.bridge.lacking(other_name, kind, refs)
        served = other.bridge.serve(one_name, kind, want, budget_bytes=BUDGET)
        one.bridge.apply(other_name, kind, served.envelopes, now_ms=AT_MS)


_signers = st.lists(st.sampled_from(["alice", "bob", "carol"]), unique=True, max_size=3)
_records = st.lists(
    st.tuples(st.sampled_from(["alice", "bob", "carol"]), st.integers(0, 2)), unique=True
)


@settings(max_examples=40, deadline=None)
@given(trust=st.tuples(_signers, _signers), held=st.tuples(_records, _records), keys=_signers)
def test_after_a_round_both_views_are_equal_and_nothing_is_asked_again(
    trust: tuple[list[str], list[str]],
    held: tuple[list[tuple[str, int]], list[tuple[str, int]]],
    keys: list[str],
) -> None:
    """Whoever trusts whom, and whichever signers' keys only one of the two has."""
    people = {"alice": alice(), "bob": bob(), "carol": carol()}
    one, two = (
        Mesh(MemoryDirectory(), *(people[name].key_id for name in names)) for names in trust
    )
    for mesh, records, known in ((one, held[0], people), (two, held[1], keys)):
        mesh.hold(K.KEY, *(sample(K.KEY, people[name]) for name in known))
        for name, n in records:
            raw = sample(K.FAMILY, people[name], n)
            mesh.directory.admit(K.FAMILY, raw, Source("import"), now_ms=AT_MS)
    run_round(one, two, "one", "two", K.FAMILY)
    assert one.bridge.view_digest("two", K.FAMILY) == two.bridge.view_digest("one", K.FAMILY)
    assert one.bridge.lacking("two", K.FAMILY, two.bridge.offer("one", K.FAMILY)) == []
    assert two.bridge.lacking("one", K.FAMILY, one.bridge.offer("two", K.FAMILY)) == []


# -- many at a time --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [K.KEY, K.ATTESTATION, K.FAMILY])
def test_a_batch_is_read_in_far_fewer_looks_than_it_has_records(
    open_directory: Callable[..., DirectoryCore], kind: EnvelopeKind
) -> None:
    looks: list[int] = []

    class Watched:
        """The directory, and how many records each look at it is for."""

        def __init__(self, directory: DirectoryCore) -> None:
            self._directory = directory

        def __getattr__(self, name: str) -> object:
            return getattr(self._directory, name)

        def get(self, *_: object) -> None:
            pytest.fail("a look for one record")

        def get_many(self, kind: EnvelopeKind, ids: list[bytes]) -> dict[bytes, StoredRow]:
            looks.append(len(ids))
            return self._directory.get_many(kind, ids)

    mesh = Mesh(open_directory(), alice().key_id, *(key(f"n{n}").key_id for n in range(40)))
    mesh.hold(K.KEY, sample(K.KEY, alice()))
    if kind is K.KEY:
        mesh.hold(kind, *(sample(kind, key(f"n{n}")) for n in range(40)))
    else:
        mesh.prepare(kind, alice(), *range(40))
        mesh.hold(kind, *(sample(kind, alice(), n) for n in range(40)))
    mesh.bridge = FederationDirectoryReplicationBridge(
        cast(DirectoryCore, Watched(mesh.directory)), lambda: mesh.trusted
    )
    offered = mesh.offered(kind)
    served = mesh.bridge.serve(HUB, kind, offered, budget_bytes=40 * BUDGET)
    assert list(served.sent_ids) == offered
    assert len(offered) >= 40
    assert len(looks) <= len(offered) / 10, "they are read together"
    assert max(looks) <= ROWS_AT_ONCE, "and not all of them lie in memory at once"


# -- kinds nobody here may admit -------------------------------------------------------------------


def test_what_cannot_be_admitted_is_never_asked_for_and_counts_as_known(
    directory: DirectoryCore,
) -> None:
    mesh = Mesh(directory, unwanted=frozenset({K.ORGANIZATION}))
    ids = [bytes([n]) * 32 for n in range(3)]
    for _ in range(2):
        assert mesh.asks(K.ORGANIZATION, *ids) == []
        mesh.note(K.ORGANIZATION, *ids)
        assert mesh.bridge.view_digest(HUB, K.ORGANIZATION) == digest_of(ids)
        assert mesh.bridge.view_digest(RELAY, K.ORGANIZATION) == digest_of([])
        refs = [EnvelopeRef(one, 0) for one in ids]
        assert mesh.bridge.owing(HUB, K.ORGANIZATION, refs) == 0
    assert mesh.bridge.counts()["not_asked", "unwanted"] == 6
    assert mesh.asks(K.FAMILY, *ids) == ids, "other kinds are"


def test_what_is_held_of_such_a_kind_is_still_offered(directory: DirectoryCore) -> None:
    """It came in under another configuration."""
    mesh = Mesh(directory, alice().key_id, unwanted=frozenset({K.ORGANIZATION}))
    mesh.hold(K.KEY, sample(K.KEY, alice()))
    (ours,) = mesh.hold(K.ORGANIZATION, sample(K.ORGANIZATION, alice()))
    assert mesh.offered(K.ORGANIZATION) == [ours]
    theirs = b"t" * 32
    mesh.note(K.ORGANIZATION, ours, theirs)
    assert mesh.bridge.view_digest(HUB, K.ORGANIZATION) == digest_of([ours, theirs])
