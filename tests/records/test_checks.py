"""Which records may stand as federation truth, and what is said about the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.authoring import assemble, author, author_key, draft
from ciris_mesh.records.canonical import compact, jcs
from ciris_mesh.records.checks import (
    Verification,
    outcome_of,
    public_key_in,
    public_key_of,
    verify,
    verify_bytes,
)
from ciris_mesh.records.envelope import encode_base64, parse_envelope
from ciris_mesh.records.hybrid import (
    FederationKey,
    HybridPolicy,
    HybridPublicKey,
    HybridSignature,
)
from ciris_mesh.records.jsontext import parse_json
from ciris_mesh.records.kinds import KINDS, EnvelopeKind, SignatureStyle
from ciris_mesh.records.outcome import Outcome, Reason
from ciris_mesh.records.rows import (
    original_content_hash,
    original_content_hash_v1python,
    persist_row_hash,
)
from ciris_mesh.records.tokens import key_token
from support.golden import vectors
from support.keys import alice, bob, carol, key, lookup, nobody, steward
from support.records import AT_MS, columns, sample

K = EnvelopeKind
ALL = list(K)
MIRRORING = [kind for kind in K if KINDS[kind].envelope_field is not None]
ROW_SIGNING = [kind for kind in K if KINDS[kind].envelope_field is None]
SCRUBBED = [kind for kind in K if KINDS[kind].style is SignatureStyle.SCRUB]
PENDING = HybridPolicy.ALLOW_CLASSICAL_PENDING
Json = dict[str, Any]


def check(kind: EnvelopeKind, raw: bytes, **options: Any) -> Verification:
    return verify_bytes(kind, raw, options.pop("keys", lookup), **options)


def result(kind: EnvelopeKind, raw: bytes, **options: Any) -> tuple[Outcome, Reason]:
    verdict = check(kind, raw, **options).verdict
    return verdict.outcome, verdict.reason


def edited(kind: EnvelopeKind, edit: Callable[[Json, Json], None]) -> bytes:
    wrapper: Any = parse_json(sample(kind, alice()))
    record = wrapper[KINDS[kind].wrapper_field]
    edit(wrapper, record)
    record["persist_row_hash"] = persist_row_hash(kind, record)
    return compact(wrapper)


def classical_only(kind: EnvelopeKind, tier: str = "local") -> bytes:
    given = columns(kind, alice().key_id, 1)
    if kind is K.ATTESTATION:
        given["tier"] = tier
    prepared = draft(kind, given, alice(), at_ms=AT_MS)
    half = HybridSignature(alice().sign(prepared.message).ed25519, None)
    return assemble(prepared, {alice().key_id: half})


# -- the good case -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
def test_authored_records_pass_every_check_in_order(kind: EnvelopeKind) -> None:
    raw = sample(kind, alice(), 1)
    verification = check(kind, raw)
    verdict = verification.verdict
    assert verdict.outcome is Outcome.ADMITTED
    assert verdict.reason is Reason.NONE
    assert verdict.kind is kind
    assert verdict.envelope_id == parse_envelope(kind, raw).envelope_id
    assert verification.signers == (alice().key_id,)
    assert all(it.ok and not it.detail for it in verification.checks)
    expected = ["structure", "one_spelling", "row_hash"]
    expected += ["content_hash"] * (kind in SCRUBBED)
    expected += ["columns_signed"] * (kind in MIRRORING)
    expected += ["key_id"] * (kind is K.KEY)
    expected += ["signer_allowed", "signer_known", "ed25519", "ml_dsa_65"]
    assert [it.name for it in verification.checks] == expected


@pytest.mark.parametrize("kind", ALL)
def test_verify_gives_what_verify_bytes_gives_after_the_text(kind: EnvelopeKind) -> None:
    raw = sample(kind, alice(), 1)
    from_bytes = check(kind, raw)
    from_envelope = verify(parse_envelope(kind, raw), lookup)
    assert from_envelope.verdict == from_bytes.verdict
    assert from_envelope.checks == from_bytes.checks[2:]


# -- malformed -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", Reason.NOT_JSON),
        (b"{}", Reason.WRONG_WRAPPER),
        (b'{"family":{}}', Reason.MISSING_MEMBER),
        (b'{"family":{"family_key_id":1}}', Reason.WRONG_TYPE),
        (b" " * 70_000, Reason.TOO_LARGE),
        (b"[" * 100, Reason.TOO_DEEP),
        (b'{"family":{},"family":{}}', Reason.DUPLICATE_MEMBER),
    ],
)
def test_unreadable_bytes_are_malformed_and_have_no_id(raw: bytes, reason: Reason) -> None:
    verification = check(K.FAMILY, raw)
    assert (verification.verdict.outcome, verification.verdict.reason) == (
        Outcome.MALFORMED,
        reason,
    )
    assert verification.verdict.envelope_id is None
    assert [(it.name, it.ok) for it in verification.checks] == [("structure", False)]


@pytest.mark.parametrize("kind", ALL)
def test_a_second_spelling_is_malformed_but_names_the_record(kind: EnvelopeKind) -> None:
    raw = edited(kind, lambda wrapper, record: record.update(extra="x"))
    verification = check(kind, raw)
    assert verification.verdict.reason is Reason.NOT_ONE_SPELLING
    assert verification.verdict.outcome is Outcome.MALFORMED
    assert "extra" in verification.verdict.detail
    if KINDS[kind].number <= 10:
        same = parse_envelope(kind, sample(kind, alice())).envelope_id
        assert verification.verdict.envelope_id == same
    assert verification.signers == ()


# -- content and columns -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SCRUBBED)
def test_the_content_hash_must_be_that_of_the_envelope(kind: EnvelopeKind) -> None:
    raw = edited(kind, lambda _, record: record.update(original_content_hash="0" * 64))
    assert result(kind, raw) == (Outcome.REFUSED, Reason.CONTENT_HASH_MISMATCH)


def test_the_old_content_hash_would_be_a_second_id_and_is_refused() -> None:
    prepared = draft(
        K.ATTESTATION,
        {**columns(K.ATTESTATION, "x", 1), "attestation_envelope": {"note": "é"}},
        alice(),
        at_ms=AT_MS,
    )
    inner = prepared.record["attestation_envelope"]
    prepared.record["original_content_hash"] = original_content_hash_v1python(inner)
    raw = assemble(prepared, {alice().key_id: alice().sign(prepared.message)})
    assert result(K.ATTESTATION, raw) == (Outcome.REFUSED, Reason.CONTENT_HASH_MISMATCH)


@pytest.mark.parametrize("kind", MIRRORING)
def test_no_column_can_be_changed_beside_the_signature(kind: EnvelopeKind) -> None:
    record = parse_envelope(kind, sample(kind, alice())).record
    changeable = {
        "identity_ref": "mallory",
        "attested_key_id": "mallory",
        "reason": "other",
        "name": "Mallory Inc",
        "role": "org_admin",
        "max_autonomy_tier": "A4",
    }
    names = [name for name in changeable if name in record]
    assert names
    for name in names:
        raw = edited(kind, lambda _, row, name=name: row.update({name: changeable[name]}))  # type: ignore[misc]
        assert result(kind, raw) == (Outcome.REFUSED, Reason.COLUMNS_NOT_SIGNED)


@pytest.mark.parametrize("kind", ROW_SIGNING)
def test_changing_a_row_breaks_the_signature_over_its_hash(kind: EnvelopeKind) -> None:
    time = KINDS[kind].seq_field
    raw = edited(kind, lambda _, record: record.update({time: "2020-01-01T00:00:00Z"}))
    assert result(kind, raw) == (Outcome.REFUSED, Reason.CLASSICAL_SIGNATURE_INVALID)


def test_a_signature_over_one_kind_is_none_over_another() -> None:
    family = columns(K.FAMILY_MEMBERSHIP_REVOCATION, "x", 1)
    prepared = draft(K.FAMILY_MEMBERSHIP_REVOCATION, family, alice(), at_ms=AT_MS)
    other = prepared.message.replace(b"family_membership", b"community_membership")
    assert other != prepared.message
    raw = assemble(prepared, {alice().key_id: alice().sign(other)})
    verdict = result(K.FAMILY_MEMBERSHIP_REVOCATION, raw)
    assert verdict == (Outcome.REFUSED, Reason.CLASSICAL_SIGNATURE_INVALID)


@pytest.mark.parametrize("kind", [it for it in ALL if KINDS[it].number <= 10])
@pytest.mark.parametrize("sent", ["", "0" * 64, "rubbish"])
def test_a_wrong_row_hash_sent_along_is_ignored_and_told(kind: EnvelopeKind, sent: str) -> None:
    wrapper: Any = parse_json(sample(kind, alice()))
    wrapper[KINDS[kind].wrapper_field]["persist_row_hash"] = sent
    verification = check(kind, compact(wrapper))
    assert verification.verdict.outcome is Outcome.ADMITTED
    assert (
        verification.verdict.envelope_id == check(kind, sample(kind, alice())).verdict.envelope_id
    )
    (row_hash,) = (it for it in verification.checks if it.name == "row_hash")
    assert bool(row_hash.detail) == (sent != "")


# -- keys ----------------------------------------------------------------------------------------


def test_a_key_record_needs_nobody_else_to_be_known() -> None:
    raw = author_key(alice(), identity_ref="alice", at_ms=AT_MS)
    verification = check(K.KEY, raw, keys=nobody)
    assert verification.verdict.outcome is Outcome.ADMITTED
    assert public_key_of(parse_envelope(K.KEY, raw)) == alice().public


def test_only_key_records_publish_a_key() -> None:
    assert public_key_of(parse_envelope(K.FAMILY, sample(K.FAMILY, alice()))) is None
    half = edited(K.KEY, lambda _, record: record.pop("pubkey_ml_dsa_65_base64"))
    assert public_key_of(parse_envelope(K.KEY, half)) is None


def test_a_published_key_is_read_alike_with_and_without_the_rest_of_its_record() -> None:
    raw = sample(K.KEY, alice())
    assert public_key_in(raw) == public_key_of(parse_envelope(K.KEY, raw))


@pytest.mark.parametrize("raw", [b"[]", b"{}", b'{"record":5}', b"{"])
def test_what_is_no_key_record_has_no_key(raw: bytes) -> None:
    with pytest.raises(MalformedRecord):
        public_key_in(raw)


def key_record(key_id: str, signer: FederationKey, public: HybridPublicKey | None = None) -> bytes:
    given = {"key_id": key_id, "identity_type": "agent", "identity_ref": "x"}
    if public is not None:
        given["pubkey_ed25519_base64"] = encode_base64(public.ed25519)
        given["pubkey_ml_dsa_65_base64"] = encode_base64(public.mldsa65)
    return author(K.KEY, {**given, "scrub_key_id": key_id}, signer, at_ms=AT_MS)


@pytest.mark.parametrize("taken", ["agent-alice", bob().key_id, "alice", "x" * 200])
def test_an_id_that_is_not_of_these_keys_is_refused(taken: str) -> None:
    expected = (Outcome.REFUSED, Reason.KEY_ID_NOT_SELF_CERTIFYING)
    assert result(K.KEY, key_record(taken, alice())) == expected


def test_a_pin_allows_an_id_of_another_form() -> None:
    raw = key_record("agent-alice", alice())
    pinned = {"agent-alice": alice().public.fingerprint}
    assert result(K.KEY, raw, pinned=pinned) == (Outcome.ADMITTED, Reason.NONE)


@pytest.mark.parametrize("key_id", ["agent-alice", alice().key_id])
def test_a_pin_excludes_every_other_key(key_id: str) -> None:
    raw = key_record(key_id, alice())
    pinned = {key_id: bob().public.fingerprint}
    assert result(K.KEY, raw, pinned=pinned) == (Outcome.REFUSED, Reason.KEY_CONFLICT)


def test_a_key_record_signed_by_another_key_is_refused_under_its_own_name() -> None:
    raw = key_record(bob().key_id, alice(), bob().public)
    assert result(K.KEY, raw) == (Outcome.REFUSED, Reason.CLASSICAL_SIGNATURE_INVALID)


def test_a_key_record_may_be_vouched_for_by_a_known_key() -> None:
    given = {
        "key_id": bob().key_id,
        "pubkey_ed25519_base64": encode_base64(bob().public.ed25519),
        "pubkey_ml_dsa_65_base64": encode_base64(bob().public.mldsa65),
        "identity_type": "agent",
        "identity_ref": "bob",
    }
    raw = author(K.KEY, given, alice(), at_ms=AT_MS)
    assert check(K.KEY, raw).signers == (alice().key_id,)
    assert result(K.KEY, raw, keys=nobody) == (Outcome.DEFERRED, Reason.SIGNER_UNKNOWN)


def test_a_key_record_without_a_post_quantum_key_certifies_nothing() -> None:
    prepared = draft(K.KEY, {"identity_type": "agent", "identity_ref": "x"}, alice(), at_ms=AT_MS)
    inner: Any = prepared.record["registration_envelope"]
    del prepared.record["pubkey_ml_dsa_65_base64"], inner["pubkey_ml_dsa_65_base64"]
    prepared.record["original_content_hash"] = original_content_hash(inner)
    raw = assemble(prepared, {alice().key_id: alice().sign(jcs(inner))})
    assert result(K.KEY, raw) == (Outcome.REFUSED, Reason.KEY_ID_NOT_SELF_CERTIFYING)


# -- signers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [it for it in ALL if it is not K.KEY])
def test_a_record_of_an_unknown_signer_waits_for_the_key(kind: EnvelopeKind) -> None:
    verification = check(kind, sample(kind, alice()), keys=nobody)
    verdict = verification.verdict
    assert (verdict.outcome, verdict.reason) == (Outcome.DEFERRED, Reason.SIGNER_UNKNOWN)
    assert verdict.waits_for == (key_token(alice().key_id),)
    assert verification.checks[-1].name == "signer_known"
    assert verification.signers == ()


def test_a_record_waits_for_all_unknown_signers_at_once() -> None:
    raw = author(
        K.FAMILY,
        columns(K.FAMILY, "x", 1),
        alice(),
        at_ms=AT_MS,
        cosigners=[bob(), key("dave"), key("erin")],
    )
    expected = tuple(key_token(key(name).key_id) for name in ("dave", "erin"))
    assert check(K.FAMILY, raw).verdict.waits_for == expected


@pytest.mark.parametrize("kind", ROW_SIGNING)
@pytest.mark.parametrize("authority", [None, []])
def test_nobody_signed(kind: EnvelopeKind, authority: list[Any] | None) -> None:
    def edit(wrapper: Json, record: Json) -> None:
        del wrapper["authority"]
        if authority is not None:
            wrapper["authority"] = authority

    assert result(kind, edited(kind, edit)) == (Outcome.REFUSED, Reason.SIGNATURE_MISSING)


def test_a_partner_record_needs_a_steward() -> None:
    raw = edited(K.PARTNER_RECORD, lambda wrapper, _: wrapper.update(steward_signatures=[]))
    assert result(K.PARTNER_RECORD, raw) == (Outcome.REFUSED, Reason.SIGNATURE_MISSING)


@pytest.mark.parametrize(
    ("kind", "speaker"),
    [(K.ATTESTATION, "attesting_key_id"), (K.REVOCATION, "revoking_key_id")],
)
def test_nobody_speaks_for_another(kind: EnvelopeKind, speaker: str) -> None:
    given = {**columns(kind, alice().key_id, 1), speaker: bob().key_id}
    raw = author(kind, given, alice(), at_ms=AT_MS)
    assert result(kind, raw) == (Outcome.REFUSED, Reason.SIGNER_NOT_ALLOWED)


@pytest.mark.parametrize("kind", [K.COMMUNITY, K.PARTNER_RECORD])
def test_several_signers_all_count_and_all_must_verify(kind: EnvelopeKind) -> None:
    together = author(
        kind, columns(kind, "x", 1), alice(), at_ms=AT_MS, cosigners=[carol(), bob(), steward()]
    )
    everyone = sorted(it.key_id for it in (alice(), bob(), carol(), steward()))
    assert list(check(kind, together).signers) == everyone

    prepared = draft(kind, columns(kind, "x", 1), alice(), at_ms=AT_MS)
    forged = {
        alice().key_id: alice().sign(prepared.message),
        bob().key_id: carol().sign(prepared.message),
    }
    verification = check(kind, assemble(prepared, forged))
    assert verification.verdict.reason is Reason.CLASSICAL_SIGNATURE_INVALID
    assert verification.verdict.detail == f"ed25519: {bob().key_id}"


def test_a_repeated_signer_is_refused_even_when_spelling_is_not_looked_at() -> None:
    def edit(wrapper: Json, record: Json) -> None:
        wrapper["authority"] = wrapper["authority"] * 2

    envelope = parse_envelope(K.FAMILY, edited(K.FAMILY, edit))
    assert verify(envelope, lookup).verdict.outcome is Outcome.MALFORMED


# -- signature halves ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("policy", HybridPolicy)
def test_federation_records_need_both_halves_whatever_the_policy(
    kind: EnvelopeKind, policy: HybridPolicy
) -> None:
    verification = check(kind, classical_only(kind, tier="federation"), policy=policy)
    verdict = verification.verdict
    assert (verdict.outcome, verdict.reason) == (Outcome.REFUSED, Reason.PQC_SIGNATURE_MISSING)
    assert [(it.name, it.ok) for it in verification.checks[-2:]] == [
        ("ed25519", True),
        ("ml_dsa_65", False),
    ]


def test_a_local_attestation_may_wait_for_its_post_quantum_half() -> None:
    raw = classical_only(K.ATTESTATION)
    verification = check(K.ATTESTATION, raw, policy=PENDING)
    assert verification.verdict.outcome is Outcome.ADMITTED
    assert verification.checks[-1].detail == "pending"
    assert result(K.ATTESTATION, raw) == (Outcome.REFUSED, Reason.PQC_SIGNATURE_MISSING)


def test_a_local_attestation_cannot_be_retold_as_federation() -> None:
    wrapper: Any = parse_json(classical_only(K.ATTESTATION))
    del wrapper["attestation"]["tier"]
    raw = compact(wrapper)
    assert result(K.ATTESTATION, raw, policy=PENDING) == (
        Outcome.REFUSED,
        Reason.COLUMNS_NOT_SIGNED,
    )


@pytest.mark.parametrize("kind", ALL)
def test_an_unbound_post_quantum_half_is_invalid(kind: EnvelopeKind) -> None:
    prepared = draft(kind, columns(kind, alice().key_id, 1), alice(), at_ms=AT_MS)
    other = alice().sign(prepared.message + b"!")
    mixed = HybridSignature(alice().sign(prepared.message).ed25519, other.mldsa65)
    raw = assemble(prepared, {alice().key_id: mixed})
    assert result(kind, raw) == (Outcome.REFUSED, Reason.PQC_SIGNATURE_INVALID)


# -- upstream ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", vectors("records_admitted_by_edge_13.15.0")["records"], ids=lambda it: it["kind"]
)
def test_live_upstream_records_never_reach_the_federation_shelf(case: dict[str, Any]) -> None:
    kind = EnvelopeKind(case["kind"])
    outcome, reason = result(kind, case["envelope_bytes_utf8"].encode())
    assert outcome in (Outcome.REFUSED, Outcome.MALFORMED)
    assert reason in (
        Reason.COLUMNS_NOT_SIGNED,
        Reason.SIGNATURE_MISSING,
        Reason.NOT_ONE_SPELLING,
    )


def test_every_reason_has_an_outcome() -> None:
    assert outcome_of(Reason.NONE) is Outcome.ADMITTED
    assert outcome_of(Reason.SIGNER_UNKNOWN) is Outcome.DEFERRED
    assert outcome_of(Reason.TIME_AHEAD) is Outcome.DEFERRED
    malformed = {it for it in Reason if outcome_of(it) is Outcome.MALFORMED}
    assert Reason.NOT_JSON in malformed
    assert Reason.NOT_ONE_SPELLING in malformed
    assert Reason.POOL_FULL not in malformed
