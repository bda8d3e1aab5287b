"""May this record stand as federation truth? Pure: the keys come in as a lookup.

The checks run in a fixed order, cheap ones first, and stop at the first that fails:

    structure, one_spelling          only when starting from bytes
    row_hash                         never fails; says when the hash sent along was wrong
    content_hash, columns_signed     the signed envelope is this record, all of it
    key_id, signer_allowed           who this is and whether they may say this
    signer_known                     else the record waits for the key
    ed25519, ml_dsa_65               every signer, both halves
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.envelope import (
    Envelope,
    claims_problem,
    decode_base64,
    one_spelling_problem,
    parse_envelope,
)
from ciris_mesh.records.frozen import guarded_by_types
from ciris_mesh.records.hybrid import (
    HybridPolicy,
    HybridPublicKey,
    HybridSignature,
    is_self_certifying,
    verify_hybrid,
)
from ciris_mesh.records.jsontext import parse_json
from ciris_mesh.records.kinds import KINDS, EnvelopeKind, KindSpec, SignatureStyle
from ciris_mesh.records.outcome import Outcome, Reason, Verdict
from ciris_mesh.records.rows import ROW_HASH_FIELD
from ciris_mesh.records.signing import mirror_problem, signed_message
from ciris_mesh.records.tokens import key_token

#: Key id -> the verified key behind it, or None.
KeyLookup: TypeAlias = Callable[[str], HybridPublicKey | None]

#: `verify_hybrid`, or what knows the answer already.
SignatureCheck: TypeAlias = Callable[
    [HybridPublicKey, bytes, HybridSignature, HybridPolicy], Reason
]

#: Columns that name who speaks; they must name the signer, or anyone could speak for anyone.
_SPEAKER_COLUMNS: Final[Mapping[EnvelopeKind, str]] = {
    EnvelopeKind.ATTESTATION: "attesting_key_id",
    EnvelopeKind.REVOCATION: "revoking_key_id",
}

#: Python looks a member of an enum up by a long way; `Reason.NONE` alone is false.
_ADMITTED: Final = Outcome.ADMITTED
_REQUIRE_HYBRID: Final = HybridPolicy.REQUIRE_HYBRID
_KEY: Final = EnvelopeKind.KEY

_MALFORMED: Final = frozenset(
    {
        Reason.TOO_LARGE,
        Reason.NOT_JSON,
        Reason.DUPLICATE_MEMBER,
        Reason.TOO_DEEP,
        Reason.WRONG_WRAPPER,
        Reason.UNKNOWN_MEMBER,
        Reason.MISSING_MEMBER,
        Reason.WRONG_TYPE,
        Reason.VALUE_NOT_ALLOWED,
        Reason.NOT_ONE_SPELLING,
    }
)
_DEFERRED: Final = frozenset(
    {
        Reason.SIGNER_UNKNOWN,
        Reason.TIME_AHEAD,
        Reason.FIRST_CONTACT,
        Reason.KEY_UNKNOWN,
        Reason.NOT_ROOTED,
        Reason.DELEGATE_TYPE_NOT_ALLOWED,
        Reason.REFERENCE_UNKNOWN,
        Reason.REFERENCE_NOT_ENTITLED,
        Reason.OCCURRENCE_NOT_VOUCHED,
        Reason.FOUNDERS_NOT_ENOUGH,
        Reason.REMOVAL_NOT_VOUCHED,
        Reason.NOT_DELEGATED,
        Reason.ROSTER_UNKNOWN,
        Reason.CONSENSUS_NOT_REACHED,
        Reason.LOCATION_UNPROVEN,
        Reason.ORGANIZATION_UNKNOWN,
        Reason.NOT_ORG_ADMIN,
    }
)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `name` is stable; `detail` is for people."""

    name: str
    ok: bool
    detail: str = ""


class _Finding(NamedTuple):
    """A check's result; a reason other than NONE ends the verification."""

    name: str
    reason: Reason = Reason.NONE
    detail: str = ""
    waits_for: tuple[str, ...] = ()


@guarded_by_types
@dataclass(frozen=True, slots=True)
class Verification:
    """The verdict, what led to it in order, and whose signatures were verified.

    `signers` is empty unless the verdict is ADMITTED.
    """

    verdict: Verdict
    findings: tuple[_Finding, ...]
    signers: tuple[str, ...]

    @property
    def checks(self) -> tuple[Check, ...]:
        """What was looked at, in order. Written out for who reads it; admission does not."""
        return tuple(
            Check(one.name, one.reason is Reason.NONE, one.detail) for one in self.findings
        )


@dataclass(slots=True)
class _Question:
    """What is asked, and what answering it has found so far."""

    envelope: Envelope
    keys: KeyLookup
    policy: HybridPolicy
    pinned: Mapping[str, bytes]
    proven: Collection[str]
    check: SignatureCheck | None
    known_message: bytes | None
    signer_keys: dict[str, HybridPublicKey] = field(default_factory=dict)

    def message(self) -> bytes:
        """What the signatures are taken over; of kinds 1 to 3 the content hash is too."""
        if self.known_message is None:
            envelope = self.envelope
            self.known_message = signed_message(envelope.kind, envelope.record, envelope.row_hash)
        return self.known_message


def outcome_of(reason: Reason) -> Outcome:
    """The outcome a reason leads to: its group in `Reason`."""
    if not reason:
        return _ADMITTED
    if reason in _MALFORMED:
        return Outcome.MALFORMED
    return Outcome.DEFERRED if reason in _DEFERRED else Outcome.REFUSED


def verify(
    envelope: Envelope,
    keys: KeyLookup,
    *,
    policy: HybridPolicy = HybridPolicy.REQUIRE_HYBRID,
    pinned: Mapping[str, bytes] | None = None,
    proven: Collection[str] = (),
    check: SignatureCheck | None = None,
    message: bytes | None = None,
) -> Verification:
    """Judge a parsed envelope. Spelling is not looked at: see `one_spelling_problem`.

    Args:
        keys: must return verified keys only.
        policy: ALLOW_CLASSICAL_PENDING applies to attestations of tier `local` alone; everything
            else needs both halves whatever is asked for.
        pinned: key id -> 32-byte fingerprint, for ids that don't certify themselves.
        proven: signers whose signatures in this very envelope were verified before, as strictly.
        check: used for `verify_hybrid`, whose answers it gives.
        message: `signed_message` of the envelope, from whoever has it.

    Returns:
        ADMITTED, REFUSED, DEFERRED (with `waits_for`) or MALFORMED. Never raises.
    """
    effective = policy if envelope.tier_local else _REQUIRE_HYBRID
    question = _Question(envelope, keys, effective, pinned or {}, proven, check, message)
    return _conclude(envelope.kind, envelope, _findings(question))


def verify_bytes(
    kind: EnvelopeKind,
    raw: bytes,
    keys: KeyLookup,
    *,
    policy: HybridPolicy = HybridPolicy.REQUIRE_HYBRID,
    pinned: Mapping[str, bytes] | None = None,
) -> Verification:
    """Parse, check the spelling, verify. Arguments and result as `verify`."""
    try:
        envelope = parse_envelope(kind, raw)
    except MalformedRecord as error:
        finding = _Finding("structure", Reason(error.reason), error.detail)
        return _conclude(kind, None, [finding])
    passed = [_Finding("structure")]
    problem = one_spelling_problem(envelope)
    if problem is not None:
        finding = _Finding("one_spelling", Reason.NOT_ONE_SPELLING, problem)
        return _conclude(kind, envelope, [*passed, finding])
    passed.append(_Finding("one_spelling"))
    result = verify(envelope, keys, policy=policy, pinned=pinned)
    return Verification(result.verdict, (*passed, *result.findings), result.signers)


def verify_classical(envelope: Envelope, keys: KeyLookup) -> Verification:
    """Judge an envelope that carries no post-quantum half: everything else, as strictly.

    What stands by this is no record of the federation shelf; see `preview`. Arguments and result
    as `verify`.
    """
    if any(claim.signature.mldsa65 is not None for claim in envelope.claims):
        finding = _Finding("first_half", Reason.NOT_ONE_SPELLING, "it carries a whole signature")
        return _conclude(envelope.kind, envelope, [finding])
    policy = HybridPolicy.ALLOW_CLASSICAL_PENDING
    question = _Question(envelope, keys, policy, {}, (), None, None)
    return _conclude(envelope.kind, envelope, _findings(question))


def public_key_of(envelope: Envelope) -> HybridPublicKey | None:
    """The key a `key` record publishes; None for other kinds and without an ML-DSA-65 half.

    Unverified: ask `verify` before trusting it.
    """
    return envelope.public


def public_key_in(raw: bytes) -> HybridPublicKey | None:
    """As `public_key_of`, of the bytes of a `key` record that was admitted: nothing else is read.

    Raises:
        MalformedRecord: it is no such record.
    """
    wrapper = parse_json(raw)
    record = wrapper.get(KINDS[EnvelopeKind.KEY].wrapper_field) if isinstance(wrapper, dict) else 0
    if not isinstance(record, dict):
        raise MalformedRecord(Reason.WRONG_WRAPPER, "no key record")
    ed25519 = record.get("pubkey_ed25519_base64")
    mldsa65 = record.get("pubkey_ml_dsa_65_base64")
    if not isinstance(ed25519, str) or not isinstance(mldsa65, str):
        return None
    return HybridPublicKey(decode_base64(ed25519), decode_base64(mldsa65))


def _conclude(
    kind: EnvelopeKind, envelope: Envelope | None, findings: Sequence[_Finding]
) -> Verification:
    last = findings[-1]
    failed = bool(last.reason)
    verdict = Verdict(
        outcome_of(last.reason),
        last.reason,
        kind,
        envelope.envelope_id if envelope is not None else None,
        f"{last.name}: {last.detail}" if failed and last.detail else "",
        last.waits_for,
    )
    signers = envelope.signers if envelope is not None and not failed else ()
    return Verification(verdict, tuple(findings), signers)


def _findings(question: _Question) -> list[_Finding]:
    """What was looked at, up to what failed."""
    found = []
    for look in _CHECKS[question.envelope.kind]:
        finding = look(question)
        found.append(finding)
        if finding.reason:
            return found
    return [*found, *_signatures(question)]


def _row_hash(question: _Question) -> _Finding:
    envelope = question.envelope
    sent = envelope.record.get(ROW_HASH_FIELD)
    if sent in (None, "", envelope.row_hash.hex()):
        return _FINE["row_hash"]
    return _Finding("row_hash", detail="the hash sent along is wrong and ignored")


def _content_hash(question: _Question) -> _Finding:
    # JCS alone. Rows older than persist 4.15.0 used V1Python, but this column is not signed, so
    # taking either would give one signed content two ids.
    envelope = question.envelope
    try:
        computed = hashlib.sha256(question.message()).hexdigest()
    except MalformedRecord as error:
        return _Finding("content_hash", Reason(error.reason), error.detail)
    if envelope.record["original_content_hash"] != computed:
        return _Finding("content_hash", Reason.CONTENT_HASH_MISMATCH, f"computed {computed}")
    return _FINE["content_hash"]


def _columns_signed(question: _Question) -> _Finding:
    envelope = question.envelope
    problem = mirror_problem(envelope.kind, envelope.record, envelope.row)
    if problem is not None:
        return _Finding("columns_signed", Reason.COLUMNS_NOT_SIGNED, problem)
    return _FINE["columns_signed"]


def _key_id(question: _Question) -> _Finding:
    public = question.envelope.public
    key_id = str(question.envelope.record["key_id"])
    if public is None:
        return _Finding(
            "key_id", Reason.KEY_ID_NOT_SELF_CERTIFYING, "there is no ML-DSA-65 public key"
        )
    pinned = question.pinned.get(key_id)
    if pinned is not None:
        if pinned != public.fingerprint:
            return _Finding("key_id", Reason.KEY_CONFLICT, "another key is pinned for this id")
        return _Finding("key_id", detail="pinned")
    if not is_self_certifying(key_id, public):
        return _Finding(
            "key_id",
            Reason.KEY_ID_NOT_SELF_CERTIFYING,
            "the id is not that of these keys, and nothing is pinned for it",
        )
    return _FINE["key_id"]


def _signer_allowed(question: _Question) -> _Finding:
    envelope = question.envelope
    if not envelope.claims:
        return _Finding("signer_allowed", Reason.SIGNATURE_MISSING, "nobody signed this")
    problem = claims_problem(envelope)
    if problem is not None:
        return _Finding("signer_allowed", Reason.NOT_ONE_SPELLING, problem)
    speaker = _SPEAKER_COLUMNS.get(envelope.kind)
    if speaker is not None and envelope.record[speaker] != envelope.claims[0].key_id:
        return _Finding("signer_allowed", Reason.SIGNER_NOT_ALLOWED, f"{speaker} did not sign")
    return _FINE["signer_allowed"]


def _signer_known(question: _Question) -> _Finding:
    missing = []
    for name in question.envelope.signers:
        public = _signer_key(question, name)
        if public is None:
            missing.append(name)
        else:
            question.signer_keys[name] = public
    if missing:
        tokens = tuple(map(key_token, missing))
        return _Finding("signer_known", Reason.SIGNER_UNKNOWN, ", ".join(missing), tokens)
    return _FINE["signer_known"]


def _signer_key(question: _Question, key_id: str) -> HybridPublicKey | None:
    envelope = question.envelope
    if envelope.kind is _KEY and key_id == envelope.record["key_id"]:
        return envelope.public
    return question.keys(key_id)


def _signatures(question: _Question) -> list[_Finding]:
    try:
        message = question.message()
    except MalformedRecord as error:
        return [_Finding("ed25519", Reason(error.reason), error.detail)]
    check = question.check or verify_hybrid
    is_pending = False
    for claim in question.envelope.claims:
        if claim.key_id in question.proven:
            continue
        public = question.signer_keys[claim.key_id]
        reason = check(public, message, claim.signature, question.policy)
        if reason:
            if reason is Reason.CLASSICAL_SIGNATURE_INVALID:
                return [_Finding("ed25519", reason, claim.key_id)]
            return [_FINE["ed25519"], _Finding("ml_dsa_65", reason, claim.key_id)]
        is_pending |= claim.signature.mldsa65 is None
    if is_pending:
        return [_FINE["ed25519"], _Finding("ml_dsa_65", detail="pending")]
    return [_FINE["ed25519"], _FINE["ml_dsa_65"]]


_Look = Callable[[_Question], _Finding]


def _checks_of(spec: KindSpec) -> tuple[_Look, ...]:
    looks: list[_Look] = [_row_hash]
    if spec.style is SignatureStyle.SCRUB:
        looks.append(_content_hash)
    if spec.envelope_field is not None:
        looks.append(_columns_signed)
    if spec.kind is EnvelopeKind.KEY:
        looks.append(_key_id)
    return (*looks, _signer_allowed, _signer_known)


#: What is looked at before the signatures, in this order.
_CHECKS: Final = {kind: _checks_of(spec) for kind, spec in KINDS.items()}

_FINE: Final = {
    name: _Finding(name)
    for name in (
        "row_hash",
        "content_hash",
        "columns_signed",
        "key_id",
        "signer_allowed",
        "signer_known",
        "ed25519",
        "ml_dsa_65",
    )
}
