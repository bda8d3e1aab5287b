"""Partnerships: two halves of seven members that name each other."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import LocalProtocolError, MalformedRecord
from ciris_mesh.records.authoring import author
from ciris_mesh.records.canonical import jcs
from ciris_mesh.records.envelope import Envelope, parse_envelope
from ciris_mesh.records.hybrid import FederationKey, HybridSignature
from ciris_mesh.records.jsontext import JsonNumber, JsonValue
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.merge import SKEW_MS_MAX
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.partnership import (
    PARTNERSHIP_MEMBERS,
    PartnershipHalf,
    PartnershipReason,
    PartnershipSide,
    half_of,
    match_halves,
    parse_half,
    partnership_members,
    verify_partnership,
)
from ciris_mesh.records.timestamps import ceg
from support.forge import no_pqc, wrong_classical, wrong_pqc
from support.keys import alice, bob, carol, lookup, nobody
from support.records import AT_MS, sample

P = PartnershipReason
GRANT, ACCEPT = PartnershipSide.GRANT, PartnershipSide.ACCEPT
PAIR = "5f0c1f2e-pair"


def members(side: PartnershipSide, **changes: JsonValue) -> dict[str, JsonValue]:
    signer, partner = (alice(), bob()) if side is GRANT else (bob(), alice())
    made = partnership_members(side, signer.key_id, partner.key_id, PAIR, AT_MS)
    return {**made, **changes}


def half(side: PartnershipSide, **changes: JsonValue) -> PartnershipHalf:
    return parse_half(members(side, **changes))


def refusal(value: JsonValue) -> str:
    with pytest.raises(MalformedRecord) as caught:
        parse_half(value)
    return caught.value.reason


# -- the seven members ---------------------------------------------------------------------------


@pytest.mark.parametrize("side", list(PartnershipSide))
def test_a_half_has_seven_members(side: PartnershipSide) -> None:
    made = members(side)
    assert set(made) == PARTNERSHIP_MEMBERS
    assert len(PARTNERSHIP_MEMBERS) == 7
    read = parse_half(made)
    assert (read.side, read.pair_id, read.signed_at_ms) == (side, PAIR, AT_MS)
    assert {read.signer, read.partner} == {alice().key_id, bob().key_id}


def test_the_signed_bytes_are_those_of_the_members() -> None:
    made = members(GRANT)
    assert half(GRANT).message == jcs(made)
    assert json.loads(half(GRANT).message) == {
        "attestation_type": "scores",
        "attesting_key_id": alice().key_id,
        "bilateral_pair_id": PAIR,
        "dimension": "consent:partnership_grant:v1",
        "score": 1,
        "signed_at": ceg(AT_MS),
        "subject_key_ids": [bob().key_id],
    }


@pytest.mark.parametrize("name", sorted(PARTNERSHIP_MEMBERS))
def test_none_may_be_missing(name: str) -> None:
    made = members(GRANT)
    del made[name]
    assert refusal(made) == Reason.MISSING_MEMBER


@pytest.mark.parametrize("name", ["valid_until", "expires_at", "note", "record_kind", "weight"])
@pytest.mark.parametrize("value", [None, "2030-01-01T00:00:00.000Z"])
def test_none_may_be_added(name: str, value: str | None) -> None:
    assert refusal(members(GRANT, **{name: value})) == Reason.UNKNOWN_MEMBER


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attestation_type", "delegates_to"),
        ("attestation_type", None),
        ("attesting_key_id", ""),
        ("attesting_key_id", None),
        ("bilateral_pair_id", ""),
        ("bilateral_pair_id", JsonNumber("1")),
        ("bilateral_pair_id", "x" * 129),
        ("dimension", "consent:partnership_grant"),
        ("dimension", "consent:partnership_grant:v2"),
        ("dimension", "consent:partnership_revoke:v1"),
        ("dimension", None),
        ("score", JsonNumber("0")),
        ("score", JsonNumber("-1")),
        ("score", JsonNumber("1e-400")),
        ("score", JsonNumber("1e999")),
        ("score", "1"),
        ("score", True),
        ("signed_at", "2026-06-10T12:00:00Z"),
        ("signed_at", "2026-06-10T12:00:00.123456Z"),
        ("signed_at", "2026-06-10T12:00:00.000+00:00"),
        ("signed_at", "2026-06-31T12:00:00.000Z"),
        ("signed_at", "soon"),
        ("signed_at", JsonNumber("1")),
        ("subject_key_ids", []),
        ("subject_key_ids", [""]),
        ("subject_key_ids", [None]),
        ("subject_key_ids", ["a", "b"]),
        ("subject_key_ids", "a"),
        ("subject_key_ids", None),
    ],
)
def test_every_member_has_its_values(name: str, value: JsonValue) -> None:
    assert refusal(members(GRANT, **{name: value})) in (Reason.WRONG_TYPE, Reason.VALUE_NOT_ALLOWED)


@pytest.mark.parametrize("token", ["1", "0.5", "1e2"])
def test_any_score_above_nothing_affirms(token: str) -> None:
    assert half(GRANT, score=JsonNumber(token)).side is GRANT


def test_nobody_partners_with_themselves() -> None:
    own: list[JsonValue] = [alice().key_id]
    assert refusal(members(GRANT, subject_key_ids=own)) == Reason.VALUE_NOT_ALLOWED
    with pytest.raises(MalformedRecord):
        partnership_members(GRANT, "a", "a", PAIR, AT_MS)


def test_the_longest_pair_id() -> None:
    assert half(GRANT, bilateral_pair_id="x" * 128).pair_id == "x" * 128


@pytest.mark.parametrize("value", [None, [], "x", {}])
def test_what_is_no_half(value: Any) -> None:
    assert refusal(value) in (Reason.WRONG_TYPE, Reason.MISSING_MEMBER)


# -- two halves ----------------------------------------------------------------------------------


def test_halves_that_name_each_other_match() -> None:
    assert match_halves(half(GRANT), half(ACCEPT)) is P.NONE


def test_two_grants_are_no_partnership_and_the_order_matters() -> None:
    assert match_halves(half(GRANT), half(GRANT)) is P.WRONG_SIDES
    assert match_halves(half(ACCEPT), half(ACCEPT)) is P.WRONG_SIDES
    assert match_halves(half(ACCEPT), half(GRANT)) is P.WRONG_SIDES


def test_the_pair_id_is_one() -> None:
    other = half(ACCEPT, bilateral_pair_id=PAIR.upper())
    assert match_halves(half(GRANT), other) is P.PAIR_ID_DIFFERS


@pytest.mark.parametrize(
    "changes", [{"attesting_key_id": "carol"}, {"subject_key_ids": ["carol"]}], ids=str
)
def test_each_names_the_other(changes: dict[str, Any]) -> None:
    assert match_halves(half(GRANT), half(ACCEPT, **changes)) is P.PARTIES_DIFFER
    assert match_halves(half(GRANT, **changes), half(ACCEPT)) is P.PARTIES_DIFFER


@pytest.mark.parametrize(
    ("offset_ms", "expected"),
    [
        (-SKEW_MS_MAX - 1, P.ACCEPTED_TOO_EARLY),
        (-SKEW_MS_MAX, P.NONE),
        (0, P.NONE),
        (10**10, P.NONE),
    ],
)
def test_acceptance_follows_the_grant(offset_ms: int, expected: PartnershipReason) -> None:
    accept = half(ACCEPT, signed_at=ceg(AT_MS + offset_ms))
    assert match_halves(half(GRANT), accept) is expected


# -- signatures ----------------------------------------------------------------------------------

Signed = tuple[PartnershipHalf, HybridSignature]


def signed(side: PartnershipSide, signer: FederationKey | None = None) -> Signed:
    made = half(side)
    signer = signer or (alice() if side is GRANT else bob())
    return made, signer.sign(made.message)


def test_both_parties_sign_with_both_halves() -> None:
    assert verify_partnership(signed(GRANT), signed(ACCEPT), lookup) is P.NONE


@pytest.mark.parametrize("spoil", [wrong_classical, wrong_pqc, no_pqc])
@pytest.mark.parametrize("at", [0, 1])
def test_a_missing_or_wrong_half_is_no_signature(spoil: Any, at: int) -> None:
    halves = [signed(GRANT), signed(ACCEPT)]
    halves[at] = (halves[at][0], spoil(halves[at][1]))
    assert verify_partnership(halves[0], halves[1], lookup) is P.SIGNATURE_INVALID


def test_one_party_cannot_sign_for_the_other() -> None:
    assert verify_partnership(signed(GRANT), signed(ACCEPT, alice()), lookup) is P.SIGNATURE_INVALID
    assert verify_partnership(signed(GRANT, bob()), signed(ACCEPT), lookup) is P.SIGNATURE_INVALID


def test_a_party_nobody_knows() -> None:
    assert verify_partnership(signed(GRANT), signed(ACCEPT), nobody) is P.SIGNER_UNKNOWN


def test_halves_that_do_not_match_are_not_verified() -> None:
    other = replace(half(ACCEPT), pair_id="other")
    pair = (other, signed(ACCEPT)[1])
    assert verify_partnership(signed(GRANT), pair, nobody) is P.PAIR_ID_DIFFERS


@given(st.sampled_from(sorted(PARTNERSHIP_MEMBERS - {"score"})))
def test_every_member_is_signed(name: str) -> None:
    assert half(GRANT).message != jcs(members(GRANT, **{name: "other"}))


# -- as attestations -----------------------------------------------------------------------------


def attestation(side: PartnershipSide, **columns: Any) -> Envelope:
    signer, partner = (alice(), bob()) if side is GRANT else (bob(), alice())
    inner = {
        "dimension": side.value,
        "score": 1,
        "bilateral_pair_id": PAIR,
        "signed_at": ceg(AT_MS),
    }
    given_columns = {
        "attested_key_id": partner.key_id,
        "attestation_type": "scores",
        "subject_key_ids": [partner.key_id],
        "attestation_envelope": inner,
        **columns,
    }
    raw = author(EnvelopeKind.ATTESTATION, given_columns, signer, at_ms=AT_MS)
    return parse_envelope(EnvelopeKind.ATTESTATION, raw)


def test_a_partnership_travels_as_two_attestations() -> None:
    grant, accept = attestation(GRANT), attestation(ACCEPT)
    pairs = [(half_of(it), it.claims[0].signature) for it in (grant, accept)]
    assert verify_partnership(pairs[0], pairs[1], lookup) is P.NONE


@pytest.mark.parametrize(
    "columns",
    [
        {"expires_at": "2030-01-01T00:00:00Z"},
        {"attested_key_id": "carol"},
        {"subject_key_ids": ["a", "b"]},
        {"subject_key_ids": []},
        {"attestation_type": "delegates_to"},
        {"attestation_envelope": {"dimension": GRANT.value, "score": 1}},
        {"attestation_envelope": {"dimension": "other", "score": 1}},
    ],
    ids=str,
)
def test_other_attestations_are_none(columns: dict[str, Any]) -> None:
    with pytest.raises(MalformedRecord):
        half_of(attestation(GRANT, **columns))


def test_members_beside_the_mirrored_ones_are_refused() -> None:
    inner = {
        "dimension": GRANT.value,
        "score": 1,
        "bilateral_pair_id": PAIR,
        "signed_at": ceg(AT_MS),
    }
    assert half_of(attestation(GRANT, attestation_envelope=inner)).pair_id == PAIR
    for name in ("note", "valid_until"):
        with pytest.raises(MalformedRecord):
            half_of(attestation(GRANT, attestation_envelope={**inner, name: None}))


def test_a_column_may_carry_what_the_seven_do_not() -> None:
    assert half_of(attestation(GRANT, weight=0.5, cohort_scope="self")).side is GRANT


def test_columns_that_are_not_signed_make_it_none() -> None:
    wrapper = json.loads(attestation(GRANT).raw)
    wrapper["attestation"]["attested_key_id"] = carol().key_id
    raw = json.dumps(wrapper).encode()
    with pytest.raises(MalformedRecord) as caught:
        half_of(parse_envelope(EnvelopeKind.ATTESTATION, raw))
    assert caught.value.reason == Reason.COLUMNS_NOT_SIGNED


def test_another_kind_is_the_callers_mistake() -> None:
    raw = sample(EnvelopeKind.FAMILY, alice())
    with pytest.raises(LocalProtocolError):
        half_of(parse_envelope(EnvelopeKind.FAMILY, raw))
