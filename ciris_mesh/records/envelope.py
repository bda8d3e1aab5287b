"""From received bytes to one readable record, and the rule that a record has one spelling.

Two strictnesses, apart on purpose. `parse_envelope` asks: are these bytes a record of this kind?
`one_spelling_problem` asks: is it written the one way the federation shelf takes? Without the
second, the same signed content could travel under many ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records import base64text, timestamps
from ciris_mesh.records.frozen import guarded_by_types
from ciris_mesh.records.hybrid import HybridPublicKey, HybridSignature
from ciris_mesh.records.jsontext import JsonNumber, JsonValue, parse_json
from ciris_mesh.records.kinds import (
    ED25519_SIGNATURE_BYTES,
    KINDS,
    MLDSA65_SIGNATURE_BYTES,
    EnvelopeKind,
    Field,
    FieldType,
    KindSpec,
    Presence,
    SignatureStyle,
)
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.rows import (
    ROW_HASH_FIELD,
    envelope_id,
    hash_of,
    is_wrapper_named,
    printed,
    typed_row,
)
from ciris_mesh.records.spelling import (
    columns_problem,
    difference,
    is_canonical_base64,
    is_sorted_set,
)

#: A signed record is about 10 kB (a key: two 4.4 kB halves of base64). 64 KiB leaves room for
#: fourteen signers, and a Deliver of 512 KiB always carries at least eight records.
ENVELOPE_BYTES_MAX: Final = 64 * 1024

#: Quorums are counted in tens at most; also bounds the signature checks one envelope can cost.
SIGNERS_MAX: Final = 16

#: How many an envelope has room for: each takes 4,574 bytes (4,412 of base64 for ML-DSA-65, 88 for
#: Ed25519, 74 of names and quotes) and its key id of about 25, so 14 leave 1 kB for the record.
SIGNERS_FIT: Final = 14

AUTHORITY_MEMBER: Final = "authority"
STEWARD_SIGNATURES_MEMBER: Final = "steward_signatures"
THRESHOLD_MEMBER: Final = "threshold"

#: Coding a key record for the wire asks for its keys four times. Enough for the records that a few
#: threads look at at once; 2 MB if each fills a whole envelope.
_BASE64_REMEMBERED: Final = 16

_INTEGER_MAX: Final = 2**64 - 1
_INTEGER: Final = re.compile(r"0|[1-9][0-9]{0,19}")
_HEX32: Final = re.compile(r"[0-9a-f]{64}")

#: Python looks a member of an enum up by a long way: a thousand instructions each time.
_OPTIONAL: Final = Presence.OPTIONAL
_REQUIRED: Final = Presence.REQUIRED
_AUTHORITY: Final = SignatureStyle.AUTHORITY
_STEWARDS: Final = SignatureStyle.STEWARDS
_KEY: Final = EnvelopeKind.KEY
_ATTESTATION: Final = EnvelopeKind.ATTESTATION

_Column = tuple[str, Field, Presence, bool, Callable[[JsonValue], bool] | None]

_CLASSICAL: Final = "ed25519_signature_base64"
_POST_QUANTUM: Final = "mldsa65_signature_base64"

#: The columns of the signer and of both halves, of kinds with their signature in the record.
_INSIDE: Final[dict[SignatureStyle, tuple[str, str, str]]] = {
    SignatureStyle.SCRUB: (
        "scrub_key_id",
        "scrub_signature_classical",
        "scrub_signature_pqc",
    ),
    SignatureStyle.OPERATIONAL: ("attesting_key_id", _CLASSICAL, _POST_QUANTUM),
}
_SIGNED_INSIDE: Final = {
    kind: _INSIDE[spec.style] for kind, spec in KINDS.items() if spec.style in _INSIDE
}


@guarded_by_types
@dataclass(frozen=True, slots=True)
class Claim:
    """One signature and who it claims to be by. Unverified."""

    key_id: str
    signature: HybridSignature


@guarded_by_types
@dataclass(frozen=True, slots=True)
class Envelope:
    """One record as received, readable but unverified.

    Attributes:
        raw: the exact bytes; what is stored and sent on.
        row: the record as a typed row prints it; see `rows.as_persisted`.
        row_hash: 32 bytes, recomputed; the envelope id of kinds 1 to 10.
        seq: Unix milliseconds of the kind's own time, 0 for times before 1970.
        subject: names what the row is about; parts are joined by `|`, escaped with a backslash.
        claims: the signatures found, in their order on the wire.
        tier_local: an attestation that says of itself it must not leave this node.
        public: the key a `key` record publishes, when it has both halves. Unverified as well. Found
            when the bytes are read: `replace` takes it along.
        signers: the key ids that claim to have signed.
    """

    kind: EnvelopeKind
    raw: bytes = field(repr=False)
    wrapper: dict[str, JsonValue] = field(repr=False)
    record: dict[str, JsonValue] = field(repr=False)
    row: dict[str, JsonValue] = field(repr=False)
    envelope_id: bytes
    row_hash: bytes
    seq: int
    subject: str
    claims: tuple[Claim, ...] = field(repr=False)
    tier_local: bool
    public: HybridPublicKey | None = field(default=None, repr=False, compare=False)
    signers: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "signers", tuple([claim.key_id for claim in self.claims]))


def parse_envelope(kind: EnvelopeKind, raw: bytes) -> Envelope:
    """Read one envelope: JSON, wrapper, members present and of their types.

    Raises:
        MalformedRecord: with the first thing found wrong.
    """
    if len(raw) > ENVELOPE_BYTES_MAX:
        raise MalformedRecord(
            Reason.TOO_LARGE, f"{len(raw)} bytes exceed the limit of {ENVELOPE_BYTES_MAX}"
        )
    spec = KINDS[kind]
    wrapper = parse_json(raw)
    record = wrapper.get(spec.wrapper_field) if isinstance(wrapper, dict) else None
    if not isinstance(wrapper, dict) or not isinstance(record, dict):
        raise MalformedRecord(Reason.WRONG_WRAPPER, f'expected {{"{spec.wrapper_field}": {{...}}}}')
    decoded = _check_columns(kind, record)
    claims = _claims(spec, wrapper, record, decoded)
    typed = typed_row(kind, record)
    row_hash = hash_of(typed)
    return Envelope(
        kind=kind,
        raw=raw,
        wrapper=wrapper,
        record=record,
        row=printed(kind, typed),
        envelope_id=envelope_id(kind, wrapper) if is_wrapper_named(kind) else row_hash,
        row_hash=row_hash,
        seq=max(0, timestamps.to_unix_ms(_text(record, spec.seq_field))),
        subject=_subject(spec, record),
        claims=claims,
        tier_local=kind is _ATTESTATION and record.get("tier") == "local",
        public=_public_key(decoded) if kind is _KEY else None,
    )


def one_spelling_problem(envelope: Envelope) -> str | None:
    """What keeps this envelope off the federation shelf, in one line; None when nothing does.

    Source: design.md, "One signed content, one id".
    """
    spec = KINDS[envelope.kind]
    return (
        _wrapper_problem(spec, envelope)
        or _row_problem(spec, envelope)
        or columns_problem(spec, envelope.record)
    )


def claims_problem(envelope: Envelope) -> str | None:
    """What is wrong with the list of signers: order, repetition, number; None when nothing is."""
    signers = envelope.signers
    if len(signers) > SIGNERS_MAX:
        return f"{len(signers)} signers exceed the limit of {SIGNERS_MAX}"
    if not is_sorted_set(signers):
        return "signers must be sorted by key id, each once"
    return None


@lru_cache(maxsize=_BASE64_REMEMBERED)
def decode_base64(text: str) -> bytes:
    """Decode RFC 4648 section 4 text.

    Raises:
        ValueError: another alphabet, missing padding or stray characters. Unused bits that are
            not zero pass; `one_spelling_problem` refuses those.
    """
    return base64text.decoded(text)


def encode_base64(data: bytes) -> str:
    """Encode as RFC 4648 section 4 text, padded."""
    return base64text.letters_of(data).decode("ascii")


def piped(values: Sequence[str]) -> str:
    """The values joined by `|`, and any `|` or backslash in them escaped with a backslash."""
    text = "|".join(values)
    if "\\" not in text and text.count("|") == len(values) - 1:
        return text
    return "|".join([it.replace("\\", "\\\\").replace("|", "\\|") for it in values])


def _check_columns(kind: EnvelopeKind, record: dict[str, JsonValue]) -> dict[str, bytes]:
    """What is in the columns of base64."""
    decoded = {}
    for name, column, presence, is_text, is_of_type in _COLUMNS[kind]:
        value = record.get(name)
        if is_text and isinstance(value, str):
            continue
        if value is None and (presence is _OPTIONAL or name not in record):
            if presence is _REQUIRED:
                raise MalformedRecord(Reason.MISSING_MEMBER, name)
            continue
        if is_of_type is None:
            decoded[name] = _decoded(column, value)
        elif not is_of_type(value):
            raise MalformedRecord(Reason.WRONG_TYPE, f"{name} is no {column.type.value}")
        if column.allowed is not None and value not in column.allowed:
            raise MalformedRecord(Reason.VALUE_NOT_ALLOWED, f"{name} is none of its values")
    return decoded


def _decoded(column: Field, value: JsonValue) -> bytes:
    try:
        data = base64text.decoded(value) if isinstance(value, str) else None
    except ValueError:
        data = None
    if data is None:
        raise MalformedRecord(Reason.WRONG_TYPE, f"{column.name} is no {column.type.value}")
    if column.length_bytes is not None and len(data) != column.length_bytes:
        detail = f"{column.name} has {len(data)} bytes, not {column.length_bytes}"
        raise MalformedRecord(Reason.VALUE_NOT_ALLOWED, detail)
    return data


def _is_string(value: JsonValue) -> bool:
    return isinstance(value, str)


def _is_time(value: JsonValue) -> bool:
    try:
        return isinstance(value, str) and bool(timestamps.normalize(value))
    except ValueError:
        return False


def _is_integer(value: JsonValue, *, largest: int = _INTEGER_MAX) -> bool:
    if not isinstance(value, JsonNumber) or _INTEGER.fullmatch(value.token) is None:
        return False
    return int(value.token) <= largest


def _is_float(value: JsonValue) -> bool:
    return isinstance(value, JsonNumber) and float("-inf") < float(value.token) < float("inf")


def _is_member(value: JsonValue) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("key_id"), str)
        and _is_time(value.get("joined_at"))
        and isinstance(value.get("role"), str | None)
    )


_IS_OF_TYPE: Final[dict[FieldType, Callable[[JsonValue], bool] | None]] = {
    FieldType.STRING: _is_string,
    FieldType.TIMESTAMP: _is_time,
    FieldType.HEX32: lambda value: isinstance(value, str) and bool(_HEX32.fullmatch(value)),
    FieldType.BASE64: None,  # see `_decoded`
    FieldType.INTEGER: _is_integer,
    FieldType.FLOAT: _is_float,
    FieldType.BOOLEAN: lambda value: isinstance(value, bool),
    FieldType.STRING_LIST: lambda value: (
        isinstance(value, list) and all(isinstance(item, str) for item in value)
    ),
    FieldType.BYTE_LIST: lambda value: (
        isinstance(value, list) and all(_is_integer(item, largest=255) for item in value)
    ),
    FieldType.MEMBERS: lambda value: isinstance(value, list) and all(map(_is_member, value)),
    FieldType.OBJECT: lambda value: isinstance(value, dict),
    FieldType.ANY: lambda value: True,
}

#: What is asked of each column: its name, its row of the kinds table, when it is there, whether any
#: text will do, and what is asked of its value's type.
_COLUMNS: Final[dict[EnvelopeKind, tuple[_Column, ...]]] = {
    kind: tuple(
        (
            column.name,
            column,
            column.presence,
            column.type is FieldType.STRING and column.allowed is None,
            _IS_OF_TYPE[column.type],
        )
        for column in spec.fields
    )
    for kind, spec in KINDS.items()
}


def _text(members: dict[str, JsonValue], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise MalformedRecord(Reason.WRONG_TYPE, f"{name} is no string")
    return value


def _subject(spec: KindSpec, record: dict[str, JsonValue]) -> str:
    return piped([_text(record, name) for name in spec.primary_key])


def _claims(
    spec: KindSpec,
    wrapper: dict[str, JsonValue],
    record: dict[str, JsonValue],
    decoded: dict[str, bytes],
) -> tuple[Claim, ...]:
    inside = _SIGNED_INSIDE.get(spec.kind)
    if inside is not None:
        signer, classical, post_quantum = inside
        signature = HybridSignature(decoded[classical], decoded.get(post_quantum))
        return (Claim(_text(record, signer), signature),)
    if spec.style is _AUTHORITY:
        return _listed_claims(wrapper, AUTHORITY_MEMBER, "key_id")
    if not _is_integer(wrapper.get(THRESHOLD_MEMBER)):
        raise MalformedRecord(Reason.WRONG_TYPE, f"{THRESHOLD_MEMBER} is no integer")
    if STEWARD_SIGNATURES_MEMBER not in wrapper:
        raise MalformedRecord(Reason.MISSING_MEMBER, STEWARD_SIGNATURES_MEMBER)
    return _listed_claims(wrapper, STEWARD_SIGNATURES_MEMBER, "member_id")


def _listed_claims(wrapper: dict[str, JsonValue], member: str, id_member: str) -> tuple[Claim, ...]:
    entries = wrapper.get(member, [])
    if not isinstance(entries, list):
        raise MalformedRecord(Reason.WRONG_TYPE, f"{member} is no list")
    claims = []
    for entry in entries:
        if not isinstance(entry, dict):
            raise MalformedRecord(Reason.WRONG_TYPE, f"an entry of {member} is no object")
        claims.append(_claim(entry, id_member))
    return tuple(claims)


def _claim(entry: dict[str, JsonValue], signer: str) -> Claim:
    mldsa65 = None
    if entry.get(_POST_QUANTUM) is not None:
        mldsa65 = _signature(entry, _POST_QUANTUM, MLDSA65_SIGNATURE_BYTES)
    ed25519 = _signature(entry, _CLASSICAL, ED25519_SIGNATURE_BYTES)
    return Claim(_text(entry, signer), HybridSignature(ed25519, mldsa65))


def _public_key(decoded: dict[str, bytes]) -> HybridPublicKey | None:
    mldsa65 = decoded.get("pubkey_ml_dsa_65_base64")
    return (
        HybridPublicKey(decoded["pubkey_ed25519_base64"], mldsa65) if mldsa65 is not None else None
    )


def _signature(members: dict[str, JsonValue], name: str, size_bytes: int) -> bytes:
    try:
        signature = base64text.decoded(_text(members, name))
    except ValueError:
        raise MalformedRecord(Reason.WRONG_TYPE, f"{name} is no base64") from None
    if len(signature) != size_bytes:
        raise MalformedRecord(
            Reason.VALUE_NOT_ALLOWED, f"{name} has {len(signature)} bytes, not {size_bytes}"
        )
    return signature


def _wrapper_problem(spec: KindSpec, envelope: Envelope) -> str | None:
    wrapper, known = envelope.wrapper, _WRAPPER_MEMBERS[spec.kind]
    if not wrapper.keys() <= known:
        return f"unknown wrapper member {next(it for it in wrapper if it not in known)!r}"
    problem = claims_problem(envelope)
    if problem is None and spec.style is _AUTHORITY:
        return _entries_problem(AUTHORITY_MEMBER, "key_id", wrapper.get(AUTHORITY_MEMBER))
    if problem is None and spec.style is _STEWARDS:
        entries = wrapper[STEWARD_SIGNATURES_MEMBER]
        problem = _entries_problem(STEWARD_SIGNATURES_MEMBER, "member_id", entries)
        return problem or _threshold_problem(envelope)
    return problem


def _entries_problem(member: str, signer: str, entries: JsonValue) -> str | None:
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or not entry.keys() <= {signer, _CLASSICAL, _POST_QUANTUM}:
            return f"unknown member in an entry of {member}"
        for name in (_CLASSICAL, _POST_QUANTUM):
            value = entry.get(name, "")
            if not isinstance(value, str) or not is_canonical_base64(value):
                return f"{name} is not canonical base64"
    return None


def _threshold_problem(envelope: Envelope) -> str | None:
    # Unsigned yet inside the id: bounded, or one record could come under endless ids.
    threshold = envelope.wrapper[THRESHOLD_MEMBER]
    reachable = [JsonNumber(str(n + 1)) for n in range(len(envelope.claims))]
    if reachable and threshold not in reachable:
        return f"{THRESHOLD_MEMBER} must lie between 1 and the number of signatures"
    return None


def _row_problem(spec: KindSpec, envelope: Envelope) -> str | None:
    record, row = envelope.record, envelope.row
    if record != row:  # mostly equal, which is quickly seen
        problem = difference(spec, record, row)
        if problem is not None:
            return problem
    # Where the id covers the whole wrapper it covers the hash sent along, so that must be right.
    if is_wrapper_named(envelope.kind) and record.get(ROW_HASH_FIELD) != envelope.row_hash.hex():
        return f"{ROW_HASH_FIELD} is not this row's hash"
    return None


_SIGNATURES_BESIDE: Final[dict[SignatureStyle, tuple[str, ...]]] = {
    SignatureStyle.SCRUB: (),
    SignatureStyle.OPERATIONAL: (),
    SignatureStyle.AUTHORITY: (AUTHORITY_MEMBER,),
    SignatureStyle.STEWARDS: (STEWARD_SIGNATURES_MEMBER, THRESHOLD_MEMBER),
}
_WRAPPER_MEMBERS: Final[dict[EnvelopeKind, frozenset[str]]] = {
    kind: frozenset({spec.wrapper_field, *_SIGNATURES_BESIDE[spec.style]})
    for kind, spec in KINDS.items()
}
