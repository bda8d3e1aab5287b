"""From received bytes to one readable record, and the rule that a record has one spelling.

Two strictnesses, apart on purpose. `parse_envelope` asks: are these bytes a record of this kind?
`one_spelling_problem` asks: is it written the one way the federation shelf takes? Without the
second, the same signed content could travel under many ids.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Final

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records import timestamps
from ciris_mesh.records.canonical import jcs_number
from ciris_mesh.records.hybrid import HybridSignature
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

#: A signed record is about 10 kB (a key: two 4.4 kB halves of base64). 64 KiB leaves room for
#: fourteen signers, and a Deliver of 512 KiB always carries at least eight records.
ENVELOPE_BYTES_MAX: Final = 64 * 1024

#: Quorums are counted in tens at most; also bounds the signature checks one envelope can cost.
SIGNERS_MAX: Final = 16

#: Judging a record asks for each of its three or four signatures and keys up to five times. Enough
#: for the records that a few threads judge at once; 2 MB if each fills a whole envelope.
_BASE64_REMEMBERED: Final = 16

#: How many an envelope has room for: each takes 4,574 bytes (4,412 of base64 for ML-DSA-65, 88 for
#: Ed25519, 74 of names and quotes) and its key id of about 25, so 14 leave 1 kB for the record.
SIGNERS_FIT: Final = 14

AUTHORITY_MEMBER: Final = "authority"
STEWARD_SIGNATURES_MEMBER: Final = "steward_signatures"
THRESHOLD_MEMBER: Final = "threshold"

_INTEGER_MAX: Final = 2**64 - 1
_INTEGER: Final = re.compile(r"0|[1-9][0-9]{0,19}")
_SHORT_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,14}")
_HEX32: Final = re.compile(r"[0-9a-f]{64}")

#: Columns of these types have one spelling, by their type or in the row (`_row_problems`).
_ONE_SPELLING: Final = frozenset(
    {FieldType.STRING, FieldType.TIMESTAMP, FieldType.HEX32, FieldType.BOOLEAN, FieldType.FLOAT}
)

_Column = tuple[str, Field, Callable[[JsonValue], bool]]

_CLASSICAL: Final = "ed25519_signature_base64"
_POST_QUANTUM: Final = "mldsa65_signature_base64"
_SCRUB_CLASSICAL: Final = "scrub_signature_classical"
_SCRUB_POST_QUANTUM: Final = "scrub_signature_pqc"


@dataclass(frozen=True, slots=True)
class Claim:
    """One signature and who it claims to be by. Unverified."""

    key_id: str
    signature: HybridSignature


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

    @property
    def signers(self) -> tuple[str, ...]:
        """The key ids that claim to have signed."""
        return tuple([claim.key_id for claim in self.claims])


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
    _check_columns(kind, record)
    claims = _claims(spec, wrapper, record)
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
        tier_local=kind is EnvelopeKind.ATTESTATION and record.get("tier") == "local",
    )


def one_spelling_problem(envelope: Envelope) -> str | None:
    """What keeps this envelope off the federation shelf, in one line; None when nothing does.

    Source: design.md, "One signed content, one id".
    """
    return next(_spelling_problems(envelope), None)


def claims_problem(envelope: Envelope) -> str | None:
    """What is wrong with the list of signers: order, repetition, number; None when nothing is."""
    signers = envelope.signers
    if len(signers) > SIGNERS_MAX:
        return f"{len(signers)} signers exceed the limit of {SIGNERS_MAX}"
    if not _is_sorted_set(list(signers)):
        return "signers must be sorted by key id, each once"
    return None


@lru_cache(maxsize=_BASE64_REMEMBERED)
def decode_base64(text: str) -> bytes:
    """Decode RFC 4648 section 4 text.

    Raises:
        ValueError: another alphabet, missing padding or stray characters. Unused bits that are
            not zero pass; `one_spelling_problem` refuses those.
    """
    try:
        return a2b_base64(text, strict_mode=True)
    except (Base64Error, ValueError):
        raise ValueError("not base64") from None


def encode_base64(data: bytes) -> str:
    """Encode as RFC 4648 section 4 text, padded."""
    return b2a_base64(data, newline=False).decode("ascii")


def _check_columns(kind: EnvelopeKind, record: dict[str, JsonValue]) -> None:
    for name, column, is_of_type in _COLUMNS[kind]:
        value = record.get(name)
        if value is None and (name not in record or column.presence is Presence.OPTIONAL):
            if column.presence is Presence.REQUIRED:
                raise MalformedRecord(Reason.MISSING_MEMBER, name)
            continue
        if not is_of_type(value):
            raise MalformedRecord(Reason.WRONG_TYPE, f"{name} is no {column.type.value}")
        if column.allowed is not None and value not in column.allowed:
            raise MalformedRecord(Reason.VALUE_NOT_ALLOWED, f"{name} is none of its values")
        if column.length_bytes is not None and isinstance(value, str):
            size_bytes = len(decode_base64(value))
            if size_bytes != column.length_bytes:
                raise MalformedRecord(
                    Reason.VALUE_NOT_ALLOWED,
                    f"{name} has {size_bytes} bytes, not {column.length_bytes}",
                )


def _is_string(value: JsonValue) -> bool:
    return isinstance(value, str)


def _is_time(value: JsonValue) -> bool:
    try:
        return isinstance(value, str) and bool(timestamps.normalize(value))
    except ValueError:
        return False


def _is_base64(value: JsonValue) -> bool:
    try:
        return isinstance(value, str) and decode_base64(value) is not None
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


_IS_OF_TYPE: Final[dict[FieldType, Callable[[JsonValue], bool]]] = {
    FieldType.STRING: _is_string,
    FieldType.TIMESTAMP: _is_time,
    FieldType.HEX32: lambda value: isinstance(value, str) and bool(_HEX32.fullmatch(value)),
    FieldType.BASE64: _is_base64,
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

#: What is asked of each column: its name, its row of the kinds table, and of its value's type.
_COLUMNS: Final[dict[EnvelopeKind, tuple[_Column, ...]]] = {
    kind: tuple((column.name, column, _IS_OF_TYPE[column.type]) for column in spec.fields)
    for kind, spec in KINDS.items()
}
_SPELLED_COLUMNS: Final[dict[EnvelopeKind, tuple[_Column, ...]]] = {
    kind: tuple(it for it in columns if it[1].type not in _ONE_SPELLING)
    for kind, columns in _COLUMNS.items()
}


def _text(members: dict[str, JsonValue], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise MalformedRecord(Reason.WRONG_TYPE, f"{name} is no string")
    return value


def _subject(spec: KindSpec, record: dict[str, JsonValue]) -> str:
    parts = (_text(record, name) for name in spec.primary_key)
    return "|".join(part.replace("\\", "\\\\").replace("|", "\\|") for part in parts)


def _claims(
    spec: KindSpec, wrapper: dict[str, JsonValue], record: dict[str, JsonValue]
) -> tuple[Claim, ...]:
    match spec.style:
        case SignatureStyle.SCRUB:
            return (_claim(record, "scrub_key_id", _SCRUB_CLASSICAL, _SCRUB_POST_QUANTUM),)
        case SignatureStyle.OPERATIONAL:
            return (_claim(record, "attesting_key_id", _CLASSICAL, _POST_QUANTUM),)
        case SignatureStyle.AUTHORITY:
            return _listed_claims(wrapper, AUTHORITY_MEMBER, "key_id")
        case SignatureStyle.STEWARDS:
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
        claims.append(_claim(entry, id_member, _CLASSICAL, _POST_QUANTUM))
    return tuple(claims)


def _claim(members: dict[str, JsonValue], signer: str, classical: str, pqc: str) -> Claim:
    mldsa65 = None
    if members.get(pqc) is not None:
        mldsa65 = _signature(members, pqc, MLDSA65_SIGNATURE_BYTES)
    ed25519 = _signature(members, classical, ED25519_SIGNATURE_BYTES)
    return Claim(_text(members, signer), HybridSignature(ed25519, mldsa65))


def _signature(members: dict[str, JsonValue], name: str, size_bytes: int) -> bytes:
    try:
        signature = decode_base64(_text(members, name))
    except ValueError:
        raise MalformedRecord(Reason.WRONG_TYPE, f"{name} is no base64") from None
    if len(signature) != size_bytes:
        raise MalformedRecord(
            Reason.VALUE_NOT_ALLOWED, f"{name} has {len(signature)} bytes, not {size_bytes}"
        )
    return signature


def _spelling_problems(envelope: Envelope) -> Iterator[str]:
    spec = KINDS[envelope.kind]
    yield from _wrapper_problems(spec, envelope)
    yield from _row_problems(spec, envelope)
    for name, column, _ in _SPELLED_COLUMNS[spec.kind]:
        value = envelope.record.get(name)
        if column.type is FieldType.BASE64 and isinstance(value, str):
            if not _is_canonical_base64(value):
                yield f"{name} is not canonical base64"
        elif column.type is FieldType.STRING_LIST and isinstance(value, list):
            if not _is_sorted_set(value):
                yield f"{name} must be sorted, each value once"
        else:
            problem = _number_problem(value, name)
            if problem is not None:
                yield problem


def _wrapper_problems(spec: KindSpec, envelope: Envelope) -> Iterator[str]:
    known = {spec.wrapper_field, *_WRAPPER_MEMBERS[spec.style]}
    for name in envelope.wrapper:
        if name not in known:
            yield f"unknown wrapper member {name!r}"
    problem = claims_problem(envelope)
    if problem is not None:
        yield problem
    for member in (AUTHORITY_MEMBER, STEWARD_SIGNATURES_MEMBER):
        entries = envelope.wrapper.get(member)
        if isinstance(entries, list):
            yield from _entry_problems(member, entries)
    if spec.style is SignatureStyle.STEWARDS:
        # Unsigned yet inside the id: bounded, or one record could come under endless ids.
        threshold = envelope.wrapper[THRESHOLD_MEMBER]
        reachable = [JsonNumber(str(n + 1)) for n in range(len(envelope.claims))]
        if reachable and threshold not in reachable:
            yield f"{THRESHOLD_MEMBER} must lie between 1 and the number of signatures"


def _entry_problems(member: str, entries: list[JsonValue]) -> Iterator[str]:
    signer = "key_id" if member == AUTHORITY_MEMBER else "member_id"
    for entry in entries:
        if not isinstance(entry, dict) or entry.keys() - {signer, _CLASSICAL, _POST_QUANTUM}:
            yield f"unknown member in an entry of {member}"
            continue
        for name in (_CLASSICAL, _POST_QUANTUM):
            value = entry.get(name, "")
            if not isinstance(value, str) or not _is_canonical_base64(value):
                yield f"{name} is not canonical base64"


def _row_problems(spec: KindSpec, envelope: Envelope) -> Iterator[str]:
    record = envelope.record
    row = envelope.row
    for name in record:
        if name not in row:
            known = spec.field(name) is not None
            yield f"{name} must be left out here" if known else f"unknown member {name!r}"
    for name in row:
        if name == ROW_HASH_FIELD:
            continue
        if name not in record:
            yield f"{name} is missing; it is always written"
        elif record[name] != row[name]:
            yield f"{name} is not in its normal spelling"
    # Where the id covers the whole wrapper it covers the hash sent along, so that must be right.
    if is_wrapper_named(envelope.kind) and record.get(ROW_HASH_FIELD) != envelope.row_hash.hex():
        yield f"{ROW_HASH_FIELD} is not this row's hash"


def _number_problem(value: JsonValue, where: str) -> str | None:
    if isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(item, str):
                problem = _number_problem(item, f"{where}.{name}")
                if problem is not None:
                    return problem
    elif isinstance(value, list):
        for item in value:
            problem = _number_problem(item, where)
            if problem is not None:
                return problem
    elif isinstance(value, JsonNumber) and not _is_jcs_number(value):
        return f"{where}: {value.token[:40]} is not how JCS spells that number"
    return None


def _is_jcs_number(number: JsonNumber) -> bool:
    if _SHORT_INTEGER.fullmatch(number.token):
        return True
    try:
        return jcs_number(number) == number.token
    except MalformedRecord:
        return False


def _is_canonical_base64(text: str) -> bool:
    """No unused bits are set: they are in the last four characters, if anywhere.

    That it is base64 at all was seen when it was read, and decoding 4 kB is dear.
    """
    last = text[-4:]
    try:
        return encode_base64(a2b_base64(last, strict_mode=True)) == last
    except ValueError:
        return False


def _is_sorted_set(values: list[JsonValue] | list[str]) -> bool:
    """Ascending by UTF-16 code units, each once (CEG section 0.9.2.1)."""
    if len(values) < 2:
        return True
    units = [value.encode("utf-16-be") for value in values if isinstance(value, str)]
    return all(one < other for one, other in pairwise(units))


_WRAPPER_MEMBERS: Final[dict[SignatureStyle, tuple[str, ...]]] = {
    SignatureStyle.SCRUB: (),
    SignatureStyle.OPERATIONAL: (),
    SignatureStyle.AUTHORITY: (AUTHORITY_MEMBER,),
    SignatureStyle.STEWARDS: (STEWARD_SIGNATURES_MEMBER, THRESHOLD_MEMBER),
}
