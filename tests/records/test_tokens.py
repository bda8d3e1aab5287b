"""Tokens: what a record waits for is exactly what another publishes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.records.envelope import Envelope, parse_envelope
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.records.tokens import (
    delegation_token,
    is_same_token,
    key_token,
    published_by,
    self_key_token,
    steward_token,
    token,
    tokens_of,
    vouched_token,
)
from support.keys import alice
from support.records import columns, sample
from support.rulebook import K, key_id, key_record, made

SILENT = {K.REVOCATION, K.PARTNER_RECORD}
_parts = st.lists(st.text(alphabet="ab|\\:", max_size=4), min_size=2, max_size=2)


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_every_kind_answers_by_its_own_columns_or_not_at_all(kind: EnvelopeKind) -> None:
    envelope = parse_envelope(kind, sample(kind, alice(), 1))
    tokens = [one for one in tokens_of(envelope) if not is_same_token(one)]
    assert len(tokens) == (0 if kind in SILENT else 2 if kind is K.KEY else 1)
    assert all(one.startswith(f"{kind.value}:") for one in tokens[:1])


def test_the_tokens_are_spelled_so() -> None:
    me = alice().key_id
    assert tokens_of(parse_envelope(K.KEY, sample(K.KEY, alice()))) == (
        f"key:{me}",
        f"selfkey:{me}",
    )
    occurrence = parse_envelope(K.IDENTITY_OCCURRENCE, sample(K.IDENTITY_OCCURRENCE, alice()))
    assert tokens_of(occurrence) == (f"identity_occurrence:{me}|{me}",)
    membership = parse_envelope(K.ORG_MEMBERSHIP, sample(K.ORG_MEMBERSHIP, alice(), 1))
    assert tokens_of(membership) == (f"org_membership:org-1-{me}|{me}",)
    assert key_token(me) == token(K.KEY, me)


def test_delegations_answer_to_who_gave_and_who_took_them_too() -> None:
    given = columns(K.ATTESTATION, key_id("bob"), 1) | {"attestation_type": "delegates_to"}
    record = made(K.ATTESTATION, given, "alice")
    own = token(K.ATTESTATION, str(record.record["attestation_id"]))
    assert tokens_of(record) == (own, delegation_token(key_id("alice"), key_id("bob")))
    assert published_by(record) == tokens_of(record)


def test_records_of_a_key_are_found_by_who_signed_them() -> None:
    agent = key_record("bob", by="alice")
    found = vouched_token(key_id("alice")), vouched_token(key_id("alice"), key_id("bob"))
    assert tokens_of(agent) == (key_token(key_id("bob")), *found)
    steward = key_record("bob", "agent,steward", by="alice")
    assert tokens_of(steward)[1:] == (*found, steward_token(key_id("alice")))
    for record in (agent, steward):
        assert published_by(record) == (key_token(key_id("bob")),), "the rest is only found by"
    assert self_key_token(key_id("bob")) in published_by(key_record("bob", "steward"))


def same(record: Envelope) -> str:
    (found,) = filter(is_same_token, tokens_of(record))
    return found


def referring(by: str, type_: str = "withdraws", reference: str = "a-1", n: int = 0) -> Envelope:
    inner = {"references_attestation_id": reference, "n": n}
    given = {"attestation_type": type_, "attestation_envelope": inner, "weight": float(n)}
    return made(K.ATTESTATION, given | {"attested_key_id": key_id("bob")}, by)


@pytest.mark.parametrize("type_", ["withdraws", "supersedes", "recants"])
def test_attestations_about_one_another_say_the_same_by_reference_type_and_attester(
    type_: str,
) -> None:
    record = same(referring("alice", type_))
    assert record == f"same:attestation|a-1|{type_}|{key_id('alice')}"
    assert same(referring("alice", type_, n=1)) == record
    others = [referring("bob", type_), referring("alice", type_, "a-2")]
    others += [referring("alice", other) for other in ("withdraws", "recants") if other != type_]
    assert record not in map(same, others)
    scores = referring("alice", "scores")
    assert not [one for one in tokens_of(scores) if is_same_token(one)]


def test_partner_records_say_the_same_by_licence_revision_and_content() -> None:
    given = columns(K.PARTNER_RECORD, "x", 1)
    record = same(made(K.PARTNER_RECORD, given, "alice"))
    assert record.startswith("same:partner_record|license-1-x|1|")
    assert same(made(K.PARTNER_RECORD, given, "alice", "bob")) == record, "whoever signed"
    for change in ({"license_id": "other"}, {"revision": 2}, {"status": "revoked"}):
        assert same(made(K.PARTNER_RECORD, given | change, "alice")) != record


@given(_parts, _parts)
def test_different_names_never_make_one_token(one: list[str], other: list[str]) -> None:
    same = token(K.ORG_MEMBERSHIP, *one) == token(K.ORG_MEMBERSHIP, *other)
    assert same is (one == other)
    assert token(K.FAMILY, *one) != token(K.COMMUNITY, *one)


def test_no_word_is_two_kinds() -> None:
    words = {"delegation", "vouched", "steward", "selfkey", "rooted", "stewards", "same"}
    assert words.isdisjoint(spec.kind.value for spec in KINDS.values())
