"""Whose signatures around one record are kept, asked of the rules without a store."""

from __future__ import annotations

import pytest

from ciris_mesh.directory.base import Shelf, StoredRow
from ciris_mesh.directory.joining import Joining, Sifted
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.records.tokens import delegation_token, key_token
from support.records import AT_MS
from support.rulebook import K, countersigned, key_id, made
from support.rulebook import Shelf as Facts

CROWD = tuple(f"a{n:02d}" for n in range(13))
DELEGATES = ("bob", "carol")


def located(*by: str) -> Envelope:
    """Where alice is, told by these."""
    given = {"subject_key_id": key_id("alice"), "cell_id": "872830828ffffff", "cell_resolution": 7}
    return countersigned(made(K.LOCATION_PROOF, given, "alice"), *by, alone=True)


def stored(envelope: Envelope) -> StoredRow:
    return StoredRow(
        kind=envelope.kind,
        envelope_id=envelope.envelope_id,
        shelf=Shelf.FEDERATION,
        seq=envelope.seq,
        subject=envelope.subject,
        signers=envelope.signers,
        envelope=envelope.raw,
        admitted_at_ms=AT_MS,
    )


@pytest.fixture
def joining() -> Joining:
    """bob and carol may act for alice; what bob signs is passed on."""
    facts = Facts()
    facts.know("alice", *DELEGATES, *CROWD)
    for name in DELEGATES:
        act = {
            "attested_key_id": key_id(name),
            "attestation_type": "delegates_to",
            "attestation_envelope": {"delegated_scope": ["agency:act_on_behalf"]},
        }
        facts.add(made(K.ATTESTATION, act, "alice"))
    return Joining(facts, Trust(), lambda name: name == key_id("bob"))


def test_the_signers_of_a_copy_are_sifted(joining: Joining) -> None:
    everybody = located("alice", "bob", "carol", "mallory")
    known = [key_id(name) for name in ("alice", "carol", "mallory")]
    later = delegation_token(key_id("alice"), key_id("mallory"))
    assert joining.sift(everybody, known) == Sifted(
        frozenset({key_id("alice"), key_id("carol")}), (key_token(key_id("bob")), later)
    )
    found = joining.sift(everybody, known, have=[key_id("alice"), key_id("bob")])
    assert found == Sifted(frozenset({key_id("carol")}), (later,))
    found = joining.sift(everybody, known, have=[key_id("mallory")])
    assert found.waits_for == (key_token(key_id("bob")),), "nobody else could come to count"
    assert joining.sift(located("alice"), known).waits_for == ()


def test_ours_takes_on_who_was_sifted(joining: Joining) -> None:
    ours = stored(located("alice"))
    union = joining.union(ours, located("bob"))
    assert union is not None
    assert union.signers == located("alice", "bob").signers
    assert union.envelope == located("alice", "bob").raw
    assert joining.union(union, located("alice")) is None


def test_who_came_in_before_there_were_rules_makes_room(joining: Joining) -> None:
    """Their ids are the smallest, and still those who count are kept."""
    ours = stored(located("alice", *CROWD))
    union = joining.union(ours, located("bob", "carol"))
    assert union is not None
    assert {key_id("alice"), key_id("bob"), key_id("carol")} < set(union.signers)
    assert len(union.signers) == 14
