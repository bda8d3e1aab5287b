"""A removal's classical half: what may go ahead of the record on a slow link, and what it proves.

The whole record takes ten seconds of air at SF8, and 3.3 kB of it are post-quantum signatures.
Without them a removal fits one packet. Its Ed25519 half is verified as admission would; a record it
is not, and it stands on no shelf.
"""

from __future__ import annotations

from typing import Final

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.canonical import jcs
from ciris_mesh.records.checks import KeyLookup, verify_classical
from ciris_mesh.records.envelope import (
    AUTHORITY_MEMBER,
    Envelope,
    one_spelling_problem,
    parse_envelope,
)
from ciris_mesh.records.jsontext import JsonValue, parse_json
from ciris_mesh.records.kinds import KINDS, REMOVALS, EnvelopeKind, SignatureStyle
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.rows import ROW_HASH_FIELD

_SCRUB_PQC: Final = "scrub_signature_pqc"
_AUTHORITY_PQC: Final = "mldsa65_signature_base64"


def first_half(kind: EnvelopeKind, raw: bytes) -> bytes:
    """The envelope of a removal without its post-quantum halves.

    Raises:
        MalformedRecord: no removal, or not signed as one.
    """
    wrapper = parse_json(raw)
    record = wrapper.get(KINDS[kind].wrapper_field) if isinstance(wrapper, dict) else None
    if kind not in REMOVALS or not isinstance(wrapper, dict) or not isinstance(record, dict):
        raise MalformedRecord(Reason.WRONG_WRAPPER, "no removal")
    if KINDS[kind].style is SignatureStyle.SCRUB:
        record = {name: value for name, value in record.items() if name != _SCRUB_PQC}
        bare = jcs({**wrapper, KINDS[kind].wrapper_field: record | {ROW_HASH_FIELD: ""}})
        row_hash = parse_envelope(kind, bare).row_hash.hex()  # as the coder predicts it
        return jcs({**wrapper, KINDS[kind].wrapper_field: record | {ROW_HASH_FIELD: row_hash}})
    claims = wrapper.get(AUTHORITY_MEMBER)
    if not isinstance(claims, list):
        raise MalformedRecord(Reason.MISSING_MEMBER, AUTHORITY_MEMBER)
    halves: list[JsonValue] = [
        {name: value for name, value in claim.items() if name != _AUTHORITY_PQC}
        for claim in claims
        if isinstance(claim, dict)
    ]
    return jcs({**wrapper, AUTHORITY_MEMBER: halves})


def read_first_half(kind: EnvelopeKind, raw: bytes, keys: KeyLookup) -> tuple[Envelope, Reason]:
    """Read what a peer sent ahead, and why it does not stand; Reason.NONE when it does.

    Args:
        keys: must return verified keys only.

    Raises:
        MalformedRecord: it cannot be read.
    """
    envelope = parse_envelope(kind, raw)
    if kind not in REMOVALS:
        return envelope, Reason.VALUE_NOT_ALLOWED
    if one_spelling_problem(envelope) is not None:
        return envelope, Reason.NOT_ONE_SPELLING
    return envelope, verify_classical(envelope, keys).verdict.reason
