"""Names: what each kind of record is found by when a question is asked."""

from __future__ import annotations

import pytest

from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.names import (
    ALL_REVOCATIONS,
    DAY_MAX,
    end_name,
    last_day,
    name,
    names_of,
    reference_of,
)
from ciris_mesh.records.tokens import tokens_of
from support.answers import grant, revocation, score, taking
from support.federation import federation
from support.keys import alice
from support.records import columns, sample
from support.rulebook import key_id, key_record

K = EnvelopeKind
SCORE = score("alice", "bob")
ME = alice().key_id


@pytest.mark.parametrize(
    ("kind", "word", "column"),
    [
        (K.IDENTITY_OCCURRENCE, "occurrences", "identity_key_id"),
        (K.IDENTITY_OCCURRENCE_REVOCATION, "occurrences", "identity_key_id"),
        (K.FAMILY, "family", "family_key_id"),
        (K.FAMILY_MEMBERSHIP_REVOCATION, "family", "family_key_id"),
        (K.COMMUNITY, "community", "community_key_id"),
        (K.COMMUNITY_MEMBERSHIP_REVOCATION, "community", "community_key_id"),
        (K.LOCATION_PROOF, "location", "subject_key_id"),
        (K.ORGANIZATION, "organization", "org_id"),
        (K.PARTNER_RECORD, "license", "license_id"),
    ],
)
def test_most_kinds_have_one_name(kind: EnvelopeKind, word: str, column: str) -> None:
    envelope = parse_envelope(kind, sample(kind, alice(), 3))
    assert names_of(envelope)[0] == f"{word}={envelope.record[column]}"
    assert all(one.startswith("ends=") for one in names_of(envelope)[1:])
    assert envelope.record[column] == columns(kind, ME, 3)[column]


def test_what_ends_is_found_by_the_day_and_days_sort_as_text() -> None:
    (first, _), last = names_of(key_record("bob", by="alice")), end_name(K.KEY, DAY_MAX)
    ending = parse_envelope(K.PARTNER_RECORD, sample(K.PARTNER_RECORD, alice()))
    assert last_day(ending) == 22_075, "2030-06-10"
    assert names_of(ending)[-1] == end_name(K.PARTNER_RECORD, 22_075)
    assert last_day(key_record("bob")) is None
    assert not first.startswith("ends=")
    assert end_name(K.KEY, 9) < end_name(K.KEY, 10) < end_name(K.KEY, 22_075) < last


def test_a_key_is_found_by_itself_and_by_who_vouched_for_it() -> None:
    bob = key_id("bob")
    assert names_of(key_record("bob", by="alice")) == (f"key={bob}", f"vouch={bob}|{ME}")


def test_a_revocation_is_found_by_the_key_by_both_and_among_all() -> None:
    bob = key_id("bob")
    found = names_of(revocation("alice", "bob"))
    both = f"revoked={bob}|{ME}"
    assert found == (f"revoked={bob}", both, ALL_REVOCATIONS, f"revocations={ME}")


def test_an_attestation_is_found_by_its_id_its_subjects_and_what_it_refers_to() -> None:
    bob, erin = key_id("bob"), key_id("erin")
    id_ = SCORE.record["attestation_id"]
    assert names_of(SCORE) == (f"attestation={id_}", f"about={bob}", f"about={bob}|{ME}")
    listed = score("alice", "bob", subject_key_ids=sorted([bob, erin]))
    both = f"about={bob}|{ME}", f"about={erin}|{ME}"
    assert names_of(listed)[1:] == (f"about={bob}", f"about={erin}", *both), "each once"
    taker = taking("bob", "withdraws", SCORE, 5, 2)
    assert names_of(taker)[-1] == f"reference={id_}"
    assert (reference_of(taker), reference_of(SCORE)) == (id_, "")


def test_a_membership_is_found_by_both_and_grants_of_org_admin_by_their_organization() -> None:
    bob = key_id("bob")
    both = f"membership=acme|{bob}"
    assert names_of(grant("alice", "bob", 0, "viewer")) == (both,)
    assert names_of(grant("alice", "bob", 0)) == (both, "admins=acme")


def test_names_are_no_tokens_and_no_value_can_be_two() -> None:
    everything = federation()
    names = {one for it in everything for one in names_of(it)}
    assert names.isdisjoint(one for it in everything for one in tokens_of(it))
    assert name("revoked", "a|b") != name("revoked", "a", "b")
    assert name("revoked", "a\\", "b") != name("revoked", "a", "\\b")


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_every_kind_is_found_by_something(kind: EnvelopeKind) -> None:
    assert names_of(parse_envelope(kind, sample(kind, alice())))
