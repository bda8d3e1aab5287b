"""Offers under terms: what is in them, and that asking again reads nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from ciris_mesh.directory import offers
from ciris_mesh.directory.base import OWN, RowHead, StoredRow
from ciris_mesh.directory.buckets import digest_of
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.offers import Offers
from ciris_mesh.directory.scoping import part_of
from ciris_mesh.records.authoring import author
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.names import name
from ciris_mesh.records.scope import DAYS_KEPT, TRUST, Scope, Terms, communities
from ciris_mesh.records.timestamps import from_unix_ms
from support.keys import alice, bob, carol
from support.records import AT_MS, columns, group_columns, member, sample

K = EnvelopeKind
DAY_MS = 86_400_000
TODAY = AT_MS // DAY_MS
RIVER = group_columns(
    K.COMMUNITY,
    "river",
    {"members": [member(alice().key_id, founder=True), member(bob().key_id)]},
)
SCOPE = communities([str(RIVER["community_key_id"])])
OF_RIVER = Terms(frozenset({SCOPE}), TODAY)


class Shelf:
    """A directory, who is trusted, and every question that reads rows of the store."""

    def __init__(self, directory: DirectoryCore) -> None:
        self.directory = directory
        self.trusted = frozenset(one.key_id for one in (alice(), bob(), carol()))
        self.offers = Offers(directory, lambda: self.trusted)
        self.asked: Counter[str] = Counter()
        for one in (alice(), bob(), carol()):
            self.put(K.KEY, sample(K.KEY, one))

    def put(self, kind: EnvelopeKind, raw: bytes) -> bytes:
        verdict = self.directory.admit(kind, raw, OWN, now_ms=AT_MS)
        assert verdict.outcome.is_held, verdict
        return parse_envelope(kind, raw).envelope_id

    def row(self, kind: EnvelopeKind, envelope_id: bytes) -> StoredRow:
        row = self.directory.get(kind, envelope_id)
        assert row is not None
        return row

    def river(self) -> bytes:
        return self.put(K.COMMUNITY, author(K.COMMUNITY, RIVER, alice(), at_ms=AT_MS))

    def ids(self, kind: EnvelopeKind, terms: Terms) -> frozenset[bytes]:
        return self.offers.of(kind, terms).ids

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        store = self.directory._store
        for method in ("newest", "refs", "heads", "heads_named", "heads_relied", "idle_ids"):
            real = getattr(store, method)

            def counted(*given: Any, method: str = method, real: Any = real, **more: Any) -> Any:
                self.asked[method] += 1
                return real(*given, **more)

            monkeypatch.setattr(store, method, counted)


@pytest.fixture
def shelf(directory: DirectoryCore) -> Shelf:
    return Shelf(directory)


def ending(n: int, days: int) -> bytes:
    """An attestation by alice that ends so many days after today."""
    given = columns(K.ATTESTATION, alice().key_id, n)
    ends = {"expires_at": from_unix_ms(AT_MS + days * DAY_MS)}
    return author(K.ATTESTATION, given | ends, alice(), at_ms=AT_MS)


def test_what_ended_thirty_days_before_the_day_is_in_and_before_that_is_out(shelf: Shelf) -> None:
    kept = shelf.put(K.ATTESTATION, ending(1, -DAYS_KEPT))
    old = shelf.put(K.ATTESTATION, ending(2, -DAYS_KEPT - 1))
    endless = shelf.put(K.ATTESTATION, sample(K.ATTESTATION, alice()))
    assert shelf.ids(K.ATTESTATION, Terms(day=TODAY)) == {kept, endless}
    assert shelf.ids(K.ATTESTATION, Terms(day=TODAY - 1)) == {kept, old, endless}
    assert shelf.ids(K.ATTESTATION, Terms()) == {kept, old, endless}, "without a day nothing is out"
    assert not shelf.offers.holds(Terms(day=TODAY), shelf.row(K.ATTESTATION, old))
    assert shelf.offers.holds(Terms(day=TODAY - 1), shelf.row(K.ATTESTATION, old))


def test_what_a_compared_record_relies_on_stays_however_old(shelf: Shelf) -> None:
    given = {"identity_type": "agent", "identity_ref": "short"}
    ends = {"valid_until": from_unix_ms(AT_MS - 50 * DAY_MS)}
    dave = author(K.KEY, given | ends, carol(), at_ms=AT_MS)
    old = shelf.put(K.KEY, dave)
    assert old not in shelf.ids(K.KEY, Terms(day=TODAY)), "carol's first key record is the other"
    store = shelf.directory._store
    needs = shelf.put(K.FAMILY, sample(K.FAMILY, carol()))
    with store.transaction(durable=False):
        store.rely((K.FAMILY, needs), [(K.KEY, old)])
    shelf.put(K.FAMILY, sample(K.FAMILY, carol(), 1))  # news, so that the offer is made again
    assert old in shelf.ids(K.KEY, Terms(day=TODAY))
    of_trust = Terms(frozenset({TRUST}), TODAY)
    assert K.ATTESTATION not in of_trust.kinds
    with store.transaction(durable=False):
        about = shelf.directory.holdings(K.FAMILY)[0].envelope_hash
        store.rely((K.FAMILY, about), [(K.KEY, old)])
    assert old in shelf.ids(K.KEY, of_trust)


def test_a_community_is_its_rosters_its_members_and_what_concerns_them(shelf: Shelf) -> None:
    river = shelf.river()
    in_, out = (
        [shelf.put(kind, sample(kind, who)) for kind in (K.ATTESTATION, K.IDENTITY_OCCURRENCE)]
        for who in (bob(), carol())
    )
    assert shelf.ids(K.COMMUNITY, OF_RIVER) == {river}
    assert shelf.ids(K.ATTESTATION, OF_RIVER) == {in_[0]}
    assert shelf.ids(K.IDENTITY_OCCURRENCE, OF_RIVER) == {in_[1]}
    assert len(shelf.ids(K.KEY, OF_RIVER)) == 2
    assert shelf.ids(K.FAMILY, OF_RIVER) == frozenset()
    assert not shelf.offers.holds(OF_RIVER, shelf.row(K.ATTESTATION, out[0]))


def test_who_is_trusted_no_more_is_offered_no_more_and_is_held_beside(shelf: Shelf) -> None:
    shelf.river()
    about = shelf.put(K.ATTESTATION, sample(K.ATTESTATION, bob()))
    assert shelf.ids(K.ATTESTATION, OF_RIVER) == {about}
    shelf.trusted = frozenset({alice().key_id})
    offer = shelf.offers.of(K.ATTESTATION, OF_RIVER)
    assert offer.ids == frozenset()
    assert shelf.offers.beside(K.ATTESTATION, OF_RIVER, offer, at_most=9) == {about}
    assert shelf.offers.beside(K.ATTESTATION, OF_RIVER, offer, at_most=0) == frozenset()


def test_of_two_scopes_what_is_in_both_is_offered(shelf: Shelf) -> None:
    shelf.river()
    shelf.put(K.COMMUNITY, sample(K.COMMUNITY, carol()))
    shelf.put(K.ATTESTATION, sample(K.ATTESTATION, bob()))
    both = Terms(frozenset({SCOPE, TRUST}), TODAY)
    assert len(shelf.ids(K.KEY, both)) == 2, "members, of all keys"
    assert shelf.ids(K.ATTESTATION, both) == frozenset(), "no part of trust"
    assert shelf.ids(K.COMMUNITY, both) == frozenset(), "no removal needs its roster"
    other = communities(["nobody-here"])
    assert shelf.ids(K.KEY, Terms(frozenset({SCOPE, other}), TODAY)) == frozenset()


@pytest.mark.parametrize("terms", [Terms(day=TODAY), Terms(frozenset({TRUST}), TODAY), OF_RIVER])
def test_asking_again_reads_nothing(
    shelf: Shelf, terms: Terms, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.river()
    shelf.put(K.ATTESTATION, ending(1, -90))
    first = [shelf.offers.of(kind, terms) for kind in EnvelopeKind]
    shelf.watch(monkeypatch)
    again = [shelf.offers.of(kind, terms) for kind in EnvelopeKind]
    assert all(one is other for one, other in zip(first, again, strict=True))
    assert not shelf.asked


def test_news_makes_a_scope_read_its_own_rows_and_no_table(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.river()
    first = [shelf.offers.of(kind, OF_RIVER) for kind in EnvelopeKind]
    shelf.watch(monkeypatch)
    shelf.put(K.ATTESTATION, sample(K.ATTESTATION, carol()))  # of nobody in it
    again = [shelf.offers.of(kind, OF_RIVER) for kind in EnvelopeKind]
    assert all(one is other for one, other in zip(first, again, strict=True)), "nothing to compare"
    assert not {"newest", "refs", "heads"} & shelf.asked.keys()
    assert shelf.asked["heads_named"] == 1, "all its kinds at once"


def test_offers_and_scopes_that_are_kept_are_bounded(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offers, "OFFERS_MAX", 4)
    monkeypatch.setattr(offers, "PARTS_MAX", 2)
    for n in range(9):
        shelf.ids(K.KEY, Terms(frozenset({communities([f"c-{n}"])}), TODAY))
    assert len(shelf.offers._kept) == 4
    assert len(shelf.offers._parts) == 2


def test_heads_tell_what_rows_do_and_of_the_federation_shelf_alone(shelf: Shelf) -> None:
    river = shelf.river()
    named = shelf.directory.heads_named([name("community", *SCOPE.ids), "community=nobody"])
    row = shelf.directory.get(K.COMMUNITY, river)
    assert row is not None
    assert named == [RowHead(K.COMMUNITY, river, row.seq, row.subject, row.signers, row.introduced)]
    assert shelf.directory.heads(K.COMMUNITY) == named
    relied = shelf.directory.heads_relied(named)
    assert {(head.kind, head.subject) for head in relied} == {
        (K.KEY, alice().key_id),
        (K.KEY, bob().key_id),
    }
    assert shelf.directory.heads_named([]) == shelf.directory.heads_relied([]) == []


def test_a_removal_brings_the_rosters_of_its_group_into_trust(shelf: Shelf) -> None:
    strange = {"family_name": "a|b\\c"}
    given = columns(K.FAMILY, alice().key_id, 3) | strange
    family = group_columns(K.FAMILY, "a", {k: v for k, v in given.items() if k != "family_key_id"})
    roster = shelf.put(K.FAMILY, author(K.FAMILY, family, alice(), at_ms=AT_MS))
    other = shelf.put(K.FAMILY, sample(K.FAMILY, bob()))
    assert not part_of(shelf.directory, TRUST)[K.FAMILY]
    removal = {
        "family_key_id": family["family_key_id"],
        "removed_identity_key_id": alice().key_id,
        "witness_set": [alice().key_id],
    }
    kind = K.FAMILY_MEMBERSHIP_REVOCATION
    shelf.put(kind, author(kind, removal, alice(), at_ms=AT_MS))
    assert set(part_of(shelf.directory, TRUST)[K.FAMILY]) == {roster}
    assert other not in shelf.ids(K.FAMILY, Terms(frozenset({TRUST}), TODAY))


def test_the_scope_of_no_community_anybody_knows_is_empty(shelf: Shelf) -> None:
    part = part_of(shelf.directory, Scope("communities", ("nobody-here",)))
    assert not any(part.values())


@pytest.mark.parametrize("terms", [Terms(), Terms(day=TODAY), OF_RIVER, Terms(frozenset({TRUST}))])
def test_under_copy_ids_the_same_rows_are_offered(shelf: Shelf, terms: Terms) -> None:
    shelf.river()
    long_ago = AT_MS - 90 * DAY_MS
    ended = {"valid_until": from_unix_ms(long_ago + DAY_MS)}
    for one in (alice(), bob()):
        shelf.put(K.LOCATION_PROOF, sample(K.LOCATION_PROOF, one))
        given = columns(K.LOCATION_PROOF, one.key_id, 1, long_ago) | ended
        shelf.put(K.LOCATION_PROOF, author(K.LOCATION_PROOF, given, one, at_ms=long_ago))
    shelf.trusted -= {bob().key_id}
    for kind in (K.COMMUNITY, K.LOCATION_PROOF):
        plain, named = (shelf.offers.of(kind, terms, by_copy=one) for one in (False, True))
        assert named.ids == {shelf.row(kind, one).copy_id for one in plain.ids}
        assert named.digest == digest_of(named.ids)
        assert all(shelf.offers.holds(terms, shelf.row(kind, one)) for one in plain.ids)
        beside = shelf.offers.beside(kind, terms, plain, at_most=9)
        names = shelf.offers.beside(kind, terms, named, at_most=9, by_copy=True)
        assert names == {shelf.row(kind, one).copy_id for one in beside}
