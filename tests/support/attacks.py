"""What attackers send: forged bytes for every kind, and records that stand but may not be said."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from ciris_mesh.records.authoring import Draft, assemble, draft
from ciris_mesh.records.canonical import jcs
from ciris_mesh.records.envelope import Envelope, encode_base64, parse_envelope
from ciris_mesh.records.hybrid import HybridSignature
from ciris_mesh.records.jsontext import JsonValue
from ciris_mesh.records.kinds import KINDS, EnvelopeKind, SignatureStyle
from ciris_mesh.records.rows import original_content_hash
from ciris_mesh.records.signing import signed_message
from support.federation import CELL
from support.forge import Wrapper, edited, no_pqc
from support.keys import alice, key
from support.records import AT_MS, columns, sample
from support.rulebook import K, Record, key_columns, key_id, key_record, made, really_signed

ALL = tuple(EnvelopeKind)
#: Kinds whose signed envelope mirrors the columns.
MIRRORED = tuple(kind for kind in ALL if KINDS[kind].envelope_field is not None)
#: Kinds whose signatures cover the row hash.
HASHED = tuple(kind for kind in ALL if kind not in MIRRORED)

_Sign = Callable[[bytes], HybridSignature]


def signed(envelope: Envelope) -> Record:
    """With signatures that stand. The same bytes each time."""
    return envelope.kind, _signed(envelope.kind, envelope.raw)


@cache
def _signed(kind: EnvelopeKind, raw: bytes) -> bytes:
    return really_signed(parse_envelope(kind, raw))


def _of(kind: EnvelopeKind, n: int = 0) -> Draft:
    return draft(kind, columns(kind, alice().key_id, n), alice(), at_ms=AT_MS)


def _forged(kinds: tuple[EnvelopeKind, ...], sign: Callable[[EnvelopeKind], _Sign]) -> list[Record]:
    """The first sample of each kind, signed some other way."""
    made_so_far = []
    for kind in kinds:
        prepared = _of(kind)
        signatures = {alice().key_id: sign(kind)(prepared.message)}
        made_so_far.append((kind, assemble(prepared, signatures)))
    return made_so_far


def intact(kinds: tuple[EnvelopeKind, ...] = ALL) -> list[Record]:
    """What the forgeries are forged from."""
    return [(kind, sample(kind, alice())) for kind in kinds]


# -- signatures ------------------------------------------------------------------------------------


def zero_signatures() -> list[Record]:
    return _forged(ALL, lambda kind: lambda message: HybridSignature(bytes(64), bytes(3309)))


def zero_second_halves() -> list[Record]:
    return _forged(ALL, lambda kind: lambda m: replace(alice().sign(m), mldsa65=bytes(3309)))


def no_signatures() -> list[Record]:
    """Only where signatures stand in a list: elsewhere one is always there."""

    def emptied(kind: EnvelopeKind) -> bytes:
        def change(wrapper: Wrapper) -> None:
            is_listed = KINDS[kind].style is SignatureStyle.AUTHORITY
            wrapper["authority" if is_listed else "steward_signatures"] = []

        return edited(kind, sample(kind, alice()), change)

    return [(kind, emptied(kind)) for kind in (*HASHED, K.PARTNER_RECORD)]


def swapped_signatures() -> list[Record]:
    """Of two records by the same hand each has the signature of the other."""
    return [
        (kind, assemble(_of(kind, one), {alice().key_id: alice().sign(_of(kind, other).message)}))
        for kind in ALL
        for one, other in ((0, 1), (1, 0))
    ]


def mixed_halves() -> list[Record]:
    """The Ed25519 half is the record's own, the ML-DSA half that of another."""
    return _forged(
        ALL,
        lambda kind: (
            lambda m: replace(alice().sign(m), mldsa65=alice().sign(_of(kind, 1).message).mldsa65)
        ),
    )


def unbound_halves() -> list[Record]:
    """The ML-DSA half signs the message alone, so it would fit any Ed25519 half."""

    def unbound(message: bytes) -> HybridSignature:
        post_quantum = alice()._mldsa65.sign(message)
        return HybridSignature(alice().sign(message).ed25519, post_quantum)

    return _forged(ALL, lambda kind: unbound)


def stripped_halves() -> list[Record]:
    return _forged(ALL, lambda kind: lambda message: no_pqc(alice().sign(message)))


def another_kinds_signatures() -> list[Record]:
    """The same row, signed as if it were of another kind."""

    def as_other(kind: EnvelopeKind) -> _Sign:
        other = HASHED[HASHED.index(kind) - 1]
        prepared = _of(kind)
        row_hash = bytes.fromhex(_row_hash(kind))
        message = signed_message(other, prepared.record, row_hash)
        return lambda _: alice().sign(message)

    return _forged(HASHED, as_other)


def _row_hash(kind: EnvelopeKind) -> str:
    return parse_envelope(kind, sample(kind, alice())).row_hash.hex()


def another_records_envelope() -> list[Record]:
    """Columns of one record over the signed envelope, hash and signature of another."""
    return [
        (kind, _transplanted(kind, parse_envelope(kind, sample(kind, alice(), 1)).record))
        for kind in MIRRORED
    ]


def another_kinds_envelope() -> list[Record]:
    """The same with the envelope of a record of another kind."""
    made_so_far = []
    for kind in MIRRORED:
        other = MIRRORED[MIRRORED.index(kind) - 1]
        inner = _of(other).record[KINDS[other].envelope_field or ""]
        made_so_far.append((kind, _with_envelope(kind, inner)))
    return made_so_far


def _transplanted(kind: EnvelopeKind, donor: dict[str, JsonValue]) -> bytes:
    return _with_envelope(kind, donor[KINDS[kind].envelope_field or ""])


def _with_envelope(kind: EnvelopeKind, inner: JsonValue) -> bytes:
    prepared = _of(kind)
    record = {**prepared.record, KINDS[kind].envelope_field or "": inner}
    if KINDS[kind].style is SignatureStyle.SCRUB:
        record["original_content_hash"] = original_content_hash(inner)
    forged = Draft(kind, record, jcs(inner))
    return assemble(forged, {alice().key_id: alice().sign(forged.message)})


# -- columns ---------------------------------------------------------------------------------------

#: A column of each kind that decides something, and another value it may have.
ALTERED: dict[EnvelopeKind, tuple[str, Any]] = {
    K.KEY: ("identity_type", "steward"),
    K.ATTESTATION: ("weight", 0.75),
    K.REVOCATION: ("effective_at", "2020-01-01T00:00:00Z"),
    K.IDENTITY_OCCURRENCE: ("device_class", "server"),
    K.FAMILY: ("consensus_protocol", "unanimous"),
    K.COMMUNITY: ("consensus_protocol", "unanimous"),
    K.IDENTITY_OCCURRENCE_REVOCATION: ("effective_at", "2020-01-01T00:00:00Z"),
    K.FAMILY_MEMBERSHIP_REVOCATION: ("effective_at", "2020-01-01T00:00:00Z"),
    K.COMMUNITY_MEMBERSHIP_REVOCATION: ("reason", "none"),
    K.LOCATION_PROOF: ("cell_id", "872830829ffffff"),
    K.ORGANIZATION: ("status", "suspended"),
    K.ORG_MEMBERSHIP: ("role", "org_admin"),
    K.PARTNER_RECORD: ("deployment_limit", 5000),
}


def altered_columns(kinds: tuple[EnvelopeKind, ...]) -> list[Record]:
    return [(kind, altered(kind, *ALTERED[kind])) for kind in kinds]


def altered(kind: EnvelopeKind, column: str, value: Any) -> bytes:
    """The first sample with a column changed, and every hash that is not signed put right."""

    def change(wrapper: Wrapper) -> None:
        record = wrapper[KINDS[kind].wrapper_field]
        assert record.get(column) != value
        record[column] = value

    return edited(kind, sample(kind, alice()), change)


def another_content_hash() -> list[Record]:
    scrubbed = (K.KEY, K.ATTESTATION, K.REVOCATION)
    return [(kind, altered(kind, "original_content_hash", "0" * 64)) for kind in scrubbed]


# -- who it claims to be by ------------------------------------------------------------------------


def stolen_key_id() -> list[Record]:
    """mallory's keys under alice's id, vouched for by mallory, and by those keys themselves."""
    columns_ = key_columns("mallory") | {"key_id": key_id("alice")}
    vouched = made(K.KEY, columns_, "mallory")
    prepared = draft(
        K.KEY, columns_ | {"scrub_key_id": key_id("alice")}, key("mallory"), at_ms=AT_MS
    )
    return [
        signed(vouched),
        (K.KEY, assemble(prepared, {key_id("alice"): key("mallory").sign(prepared.message)})),
    ]


def by_another_hand() -> list[Record]:
    """mallory signs what says alice signed it."""
    return [
        (kind, assemble(_of(kind), {alice().key_id: key("mallory").sign(_of(kind).message)}))
        for kind in ALL
    ]


def in_anothers_name() -> list[Record]:
    """mallory signs as mallory what says that alice says it."""
    return [
        signed(
            made(kind, {**columns(kind, key_id("alice"), 1), column: key_id("alice")}, "mallory")
        )
        for kind, column in (
            (K.ATTESTATION, "attesting_key_id"),
            (K.REVOCATION, "revoking_key_id"),
        )
    ]


def operation_in_anothers_name() -> list[Record]:
    """An organization says who speaks in the column that names its signer."""
    prepared = draft(
        K.ORGANIZATION,
        columns(K.ORGANIZATION, "x", 1) | {"attesting_key_id": key_id("chief")},
        key("mallory"),
        at_ms=AT_MS,
    )
    signature = key("mallory").sign(prepared.message)
    return [(K.ORGANIZATION, assemble(prepared, {key_id("chief"): signature}))]


# -- records that stand ----------------------------------------------------------------------------


def keys(*names: str) -> list[Record]:
    """Self-signed key records."""
    return [signed(_key(name)) for name in names]


@cache
def _key(name: str) -> Envelope:
    return key_record(name)


@cache
def chain(links: int) -> tuple[Envelope, ...]:
    """A chain of so many keys from the root down to mallory, each vouching as a steward."""
    names = ["root", *(f"link{n}" for n in range(links - 2)), "mallory"]
    below = [key_record(name, "steward,witness", by=by) for by, name in itertools.pairwise(names)]
    return key_record("root", "steward"), *below


@cache
def circle() -> tuple[Envelope, ...]:
    """Two who call each other stewards."""
    return (
        key_record("mallory", "steward,witness", by="erin", ref="circle"),
        key_record("erin", "steward,witness", by="mallory", ref="circle"),
    )


@cache
def score(by: str, dimension: str, at_ms: int = AT_MS) -> Envelope:
    """`by` scores alice."""
    given = {
        "attested_key_id": key_id("alice"),
        "attestation_type": "scores",
        "attestation_envelope": {"dimension": dimension, "score": 1},
    }
    return made(K.ATTESTATION, given, by, at_ms=at_ms)


@cache
def grant(by: str, to: str, org_id: str = "acme") -> Envelope:
    """`by` makes `to` an admin."""
    given = {"user_id": key_id(to), "org_id": org_id, "role": "org_admin", "status": "active"}
    return made(K.ORG_MEMBERSHIP, given, by)


@cache
def organization(by: str, name: str = "Acme", at_ms: int = AT_MS, org_id: str = "acme") -> Envelope:
    """What `by` says of an organization."""
    given = {"org_id": org_id, "name": name, "org_type": "internal", "status": "active"}
    return made(K.ORGANIZATION, given, by, at_ms=at_ms)


def partner(*by: str, revision: int = 1, **inner: Any) -> Envelope:
    """A partner record; `inner` goes into the signed envelope."""
    given = columns(K.PARTNER_RECORD, "x", 1) | {"signed_envelope": inner, "revision": revision}
    return made(K.PARTNER_RECORD, given, *by)


def revocation(of: str, by: str, effective_at: str, at_ms: int = AT_MS) -> Envelope:
    """`by` revokes `of`."""
    given = {"revoked_key_id": key_id(of), "effective_at": effective_at, "reason": "lost"}
    return made(K.REVOCATION, given, by, at_ms=at_ms)


def location(by: str, subject: str, cell: str = CELL, resolution: int = 7) -> Envelope:
    """`by` says where `subject` is."""
    given = {"subject_key_id": key_id(subject), "cell_id": cell, "cell_resolution": resolution}
    return made(K.LOCATION_PROOF, given, by)


def unsorted_signers() -> list[Record]:
    """The signers of a record, and the roles of a key, out of order."""

    def turned(wrapper: Wrapper) -> None:
        wrapper["steward_signatures"].reverse()

    kind, raw = signed(partner("alice", "bob"))
    return [(kind, edited(kind, raw, turned)), (K.KEY, altered(K.KEY, "roles", ["b", "a"]))]


def nested(levels: int) -> bytes:
    """A key record whose free part is nested so deep; closed as it should be."""
    before, after = sample(K.KEY, alice()).split(b'"registration_envelope":{', 1)
    return before + b'"registration_envelope":{"a":' + b"[" * levels + b"]" * levels + b"," + after


def every_column(kind: EnvelopeKind) -> Iterator[tuple[str, bytes]]:
    """The first sample once for each of its columns, with another value of the same type."""
    for column, value in _plain(kind).items():
        if column != "persist_row_hash":
            yield column, altered(kind, column, _other(value))


def _plain(kind: EnvelopeKind) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(sample(kind, alice()))[KINDS[kind].wrapper_field]
    return record


def _other(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str() if value.endswith("Z") and value[:4].isdecimal():
            return f"2019{value[4:]}"
        case str() if value and set(value) <= set("0123456789abcdef"):
            return ("1" if value[0] != "1" else "2") + value[1:]
        case str() if len(value) > 40:  # keys and signatures
            return encode_base64(bytes(_size_of(value)))
        case str():
            return f"{value}x"
        case list():
            return [*value, "zz"] if not value or isinstance(value[0], str) else value[1:]
        case dict():
            return value | {"zz": 1}
        case _:
            raise AssertionError(value)


def _size_of(text: str) -> int:
    return len(text) * 3 // 4 - text.count("=")


def partly_signed(kind: EnvelopeKind, raw: bytes, kept: tuple[str, ...], threshold: int) -> bytes:
    """A partner record with the signatures of some, and another threshold beside it."""

    def change(wrapper: Wrapper) -> None:
        ids = set(map(key_id, kept))
        listed = wrapper["steward_signatures"]
        wrapper["steward_signatures"] = [it for it in listed if it["member_id"] in ids]
        wrapper["threshold"] = threshold

    return edited(kind, raw, change)
