"""A record that several must sign, as the file that goes round among them.

    {
    "proposal": 1,
    "kind": "partner_record",
    "threshold": 2,
    "invited": ["alice-...", "bob-..."],
    "record": {...},
    "signed_bytes_hex": "7b22...",
    "signatures": [{"key_id", "ed25519_signature_base64", "mldsa65_signature_base64"}, ...]
    }

`signed_bytes_hex` is exactly what each signer signs: JCS(signed_envelope) of a partner record, the
domain, kind and row hash of kinds 4 to 10. It follows from `record`; a file in which it does not is
refused, so nobody signs other bytes than those shown. `threshold` and `invited` are the proposer's
word and under no signature: they say when the file is complete, not when a node admits the record.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.authoring import Draft, assemble, measure
from ciris_mesh.records.canonical import compact
from ciris_mesh.records.checks import KeyLookup
from ciris_mesh.records.envelope import SIGNERS_MAX, Claim, decode_base64, encode_base64
from ciris_mesh.records.hybrid import FederationKey, HybridSignature, verify_hybrid
from ciris_mesh.records.jsontext import JsonNumber, JsonValue, from_plain, parse_json
from ciris_mesh.records.kinds import (
    ED25519_SIGNATURE_BYTES,
    KINDS,
    MLDSA65_SIGNATURE_BYTES,
    EnvelopeKind,
    SignatureStyle,
)
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.rows import ROW_HASH_FIELD, as_persisted, persist_row_hash
from ciris_mesh.records.signing import signed_message
from ciris_mesh.records.threshold import Member, verify_threshold_signatures

#: The record and its signed bytes in hex, 64 KiB each at most, and sixteen signatures of 4.6 kB.
FILE_BYTES_MAX: Final = 512 * 1024

#: More people may be asked than can sign; a roster longer than this needs no list.
INVITED_MAX: Final = 64

_VERSION: Final = JsonNumber("1")
_MEMBERS: Final = (
    "proposal",
    "kind",
    "threshold",
    "invited",
    "record",
    "signed_bytes_hex",
    "signatures",
)
_CLASSICAL: Final = "ed25519_signature_base64"
_POST_QUANTUM: Final = "mldsa65_signature_base64"
_STYLES: Final = (SignatureStyle.AUTHORITY, SignatureStyle.STEWARDS)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One record on its way round.

    Attributes:
        threshold: 1 to 16 signatures make it complete.
        invited: key ids asked to sign, sorted; empty: anybody.
        claims: the signatures so far, sorted by key id, each id once. Unverified.
    """

    draft: Draft
    threshold: int
    invited: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()

    @property
    def signers(self) -> tuple[str, ...]:
        """Who claims to have signed."""
        return tuple(claim.key_id for claim in self.claims)


def propose(prepared: Draft, *, threshold: int, invited: Iterable[str] = ()) -> Proposal:
    """A proposal nobody has signed yet.

    Raises:
        MalformedRecord: a kind with one signer, a threshold nobody can reach, or no record could
            come of the draft.
    """
    proposal = Proposal(prepared, threshold, tuple(sorted(set(invited))))
    _check(proposal)
    return proposal


def encode(proposal: Proposal) -> bytes:
    """The file. Members on lines of their own, ASCII except for text inside the record."""
    record = {name: it for name, it in proposal.draft.record.items() if name != ROW_HASH_FIELD}
    values: tuple[JsonValue, ...] = (
        _VERSION,
        proposal.draft.kind.value,
        from_plain(proposal.threshold),
        list(proposal.invited),
        record,
        proposal.draft.message.hex(),
        [_entry(claim) for claim in proposal.claims],
    )
    lines = [
        b'"%s": %s' % (name.encode(), compact(value))
        for name, value in zip(_MEMBERS, values, strict=True)
    ]
    return b"{\n" + b",\n".join(lines) + b"\n}\n"


def decode(data: bytes) -> Proposal:
    """Read a file back, and derive again what its signers sign.

    Raises:
        MalformedRecord: no such file, altered so that its parts do not fit each other, or no
            record could come of it. Signatures are not verified: see `signature_reasons`.
    """
    if len(data) > FILE_BYTES_MAX:
        raise MalformedRecord(Reason.TOO_LARGE, f"a proposal has at most {FILE_BYTES_MAX} bytes")
    members = parse_json(data)
    if not isinstance(members, dict) or set(members) != set(_MEMBERS):
        raise MalformedRecord(Reason.WRONG_WRAPPER, "these are not the members of a proposal")
    if members["proposal"] != _VERSION:
        raise MalformedRecord(Reason.VALUE_NOT_ALLOWED, "another version of the file format")
    proposal = Proposal(
        _draft(members["kind"], members["record"]),
        _threshold(members["threshold"]),
        _invited(members["invited"]),
        _claims(members["signatures"]),
    )
    if members["signed_bytes_hex"] != proposal.draft.message.hex():
        raise MalformedRecord(
            Reason.COLUMNS_NOT_SIGNED, "the bytes to be signed are not those of its record"
        )
    _check(proposal)
    return proposal


def sign(proposal: Proposal, key: FederationKey) -> Proposal:
    """The proposal with one more signature; one by the same key is replaced."""
    claim = Claim(key.key_id, key.sign(proposal.draft.message))
    return _with_claims(proposal, [claim, *proposal.claims])


def merge(proposals: Sequence[Proposal]) -> Proposal:
    """Copies of one proposal as one; of two signatures by the same key the first is kept.

    Raises:
        MalformedRecord: they are not copies of one proposal, or more than 16 have signed.
    """
    first = proposals[0]
    for other in proposals[1:]:
        if replace(other, claims=first.claims) != first:
            raise MalformedRecord(Reason.VALUE_NOT_ALLOWED, "another proposal than the first")
    merged = _with_claims(first, [claim for each in proposals for claim in each.claims])
    _check(merged)
    return merged


def signature_reasons(proposal: Proposal, keys: KeyLookup) -> dict[str, Reason]:
    """Key id -> NONE when that signature stands, else why not.

    `signer_unknown` when the key is not known here, `signer_not_allowed` when it was not asked.
    """
    return {claim.key_id: _reason(proposal, claim, keys) for claim in proposal.claims}


def standing(proposal: Proposal, keys: KeyLookup) -> tuple[str, ...]:
    """Whose signatures stand, sorted. People, not ids: a key under two names counts once."""
    found = [(name, keys(name)) for name in proposal.signers]
    roster = [Member.of(name, public) for name, public in found if public is not None]
    message = proposal.draft.message
    return verify_threshold_signatures(message, roster, proposal.claims, 1).signers


def envelope(proposal: Proposal) -> bytes:
    """The record with all its signatures, as it is admitted."""
    signatures = {claim.key_id: claim.signature for claim in proposal.claims}
    return assemble(proposal.draft, signatures, threshold=proposal.threshold)


def _reason(proposal: Proposal, claim: Claim, keys: KeyLookup) -> Reason:
    if proposal.invited and claim.key_id not in proposal.invited:
        return Reason.SIGNER_NOT_ALLOWED
    public = keys(claim.key_id)
    if public is None:
        return Reason.SIGNER_UNKNOWN
    return verify_hybrid(public, proposal.draft.message, claim.signature)


def _with_claims(proposal: Proposal, claims: Iterable[Claim]) -> Proposal:
    by_id: dict[str, Claim] = {}
    for claim in claims:
        by_id.setdefault(claim.key_id, claim)
    return replace(proposal, claims=tuple(by_id[name] for name in sorted(by_id)))


def _check(proposal: Proposal) -> None:
    invited, threshold = proposal.invited, proposal.threshold
    if KINDS[proposal.draft.kind].style not in _STYLES:
        raise _not_allowed(f"{proposal.draft.kind.value} has exactly one signer")
    if not 1 <= threshold <= SIGNERS_MAX:
        raise _not_allowed(f"the threshold lies between 1 and {SIGNERS_MAX}")
    if invited and threshold > len(invited):
        raise _not_allowed(f"{threshold} signatures are needed and {len(invited)} are asked")
    if len(invited) > INVITED_MAX:
        raise _not_allowed(f"at most {INVITED_MAX} can be asked to sign")
    measure(proposal.draft, proposal.signers or ("nobody",))


def _not_allowed(detail: str) -> MalformedRecord:
    return MalformedRecord(Reason.VALUE_NOT_ALLOWED, detail)


def _draft(kind_text: JsonValue, record: JsonValue) -> Draft:
    known = [kind for kind in EnvelopeKind if kind.value == kind_text]
    if not known:
        raise _not_allowed("it is of no known kind")
    (kind,) = known
    if not isinstance(record, dict):
        raise MalformedRecord(Reason.WRONG_TYPE, "record is no object")
    row = as_persisted(kind, record)
    if row != {**record, ROW_HASH_FIELD: ""}:
        raise MalformedRecord(Reason.NOT_ONE_SPELLING, "its record is not in its normal spelling")
    row_hash = bytes.fromhex(persist_row_hash(kind, row))
    return Draft(kind, row, signed_message(kind, row, row_hash))


def _threshold(value: JsonValue) -> int:
    allowed = {str(number): number for number in range(1, SIGNERS_MAX + 1)}
    number = allowed.get(value.token) if isinstance(value, JsonNumber) else None
    if number is None:
        raise _not_allowed(f"the threshold lies between 1 and {SIGNERS_MAX}")
    return number


def _invited(value: JsonValue) -> tuple[str, ...]:
    names = [name for name in value if isinstance(name, str)] if isinstance(value, list) else []
    if names != value or names != sorted(set(names)):
        raise _not_allowed("invited is no sorted list of key ids, each once")
    return tuple(names)


def _claims(value: JsonValue) -> tuple[Claim, ...]:
    if not isinstance(value, list) or len(value) > SIGNERS_MAX:
        raise MalformedRecord(Reason.WRONG_TYPE, "signatures is no short list")
    claims = tuple(_claim(entry) for entry in value)
    names = [claim.key_id for claim in claims]
    if names != sorted(set(names)):
        raise _not_allowed("its signatures must be sorted by key id, each id once")
    return claims


def _claim(entry: JsonValue) -> Claim:
    if not isinstance(entry, dict) or entry.keys() != {"key_id", _CLASSICAL, _POST_QUANTUM}:
        raise MalformedRecord(Reason.WRONG_TYPE, "an entry of signatures is not complete")
    name = entry["key_id"]
    if not isinstance(name, str):
        raise MalformedRecord(Reason.WRONG_TYPE, "an entry of signatures has no key id")
    ed25519 = _half(entry[_CLASSICAL], ED25519_SIGNATURE_BYTES)
    mldsa65 = _half(entry[_POST_QUANTUM], MLDSA65_SIGNATURE_BYTES)
    return Claim(name, HybridSignature(ed25519, mldsa65))


def _half(text: JsonValue, size_bytes: int) -> bytes:
    try:
        data = decode_base64(text) if isinstance(text, str) else b""
    except ValueError:
        data = b""
    if len(data) != size_bytes or encode_base64(data) != text:
        raise MalformedRecord(Reason.WRONG_TYPE, "half a signature is cut short or altered")
    return data


def _entry(claim: Claim) -> JsonValue:
    signature = claim.signature
    return {
        "key_id": claim.key_id,
        _CLASSICAL: encode_base64(signature.ed25519),
        _POST_QUANTUM: encode_base64(signature.mldsa65 or b""),
    }
