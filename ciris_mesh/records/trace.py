"""Complete traces: signed by both halves, or not taken.

The signed bytes depend on `trace_schema_version`:

    2.7.0           nine outer members; of each component, four
    2.7.9  3.0.0    the same, `agent_id_hash` in each component, `deployment_profile` when present
    2.7.legacy      the components with empty values left out at every depth, and `trace_level`

as JCS from major version 3 on, else as V1Python. `task_id` is null when absent; times are signed
as they were written. What a version does not sign (a cohort always, the very ids in the legacy
form) is not to be believed: `TraceVerification.signed_members` says what is.

Ed25519 is verified with the directory's key. ML-DSA-65 is verified with the key the trace brings,
which must be the directory's too: a key nobody vouches for proves nothing. Source:
records-and-protocol.md, section 3.8; where it is silent, the stricter reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from hmac import compare_digest
from typing import Final

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records import timestamps
from ciris_mesh.records.canonical import jcs, v1python
from ciris_mesh.records.checks import KeyLookup
from ciris_mesh.records.envelope import decode_base64, encode_base64
from ciris_mesh.records.hybrid import HybridPublicKey, HybridSignature, verify_hybrid
from ciris_mesh.records.jsontext import JsonValue, parse_json
from ciris_mesh.records.kinds import (
    ED25519_SIGNATURE_BYTES,
    MLDSA65_PUBLIC_BYTES,
    MLDSA65_SIGNATURE_BYTES,
)
from ciris_mesh.records.outcome import Reason

#: A trace holds prompts and answers of one thought; an eighth of the largest frame.
TRACE_BYTES_MAX: Final = 1024 * 1024
#: Steps of one thought are about a dozen.
COMPONENTS_MAX: Final = 256
#: Component data nests a handful deep.
TRACE_DEPTH_MAX: Final = 32

LEGACY_VERSION: Final = "2.7.legacy"
_FIVE_MEMBER_VERSIONS: Final = frozenset({"2.7.9", "3.0.0"})
TRACE_VERSIONS: Final = frozenset({"2.7.0", LEGACY_VERSION}) | _FIVE_MEMBER_VERSIONS

_TEXTS: Final = (
    "trace_id",
    "thought_id",
    "agent_id_hash",
    "trace_level",
    "trace_schema_version",
    "signature_key_id",
)
_TIMES: Final = ("started_at", "completed_at")
_OUTER: Final = (
    "trace_id",
    "thought_id",
    "task_id",
    "agent_id_hash",
    "started_at",
    "completed_at",
    "trace_level",
    "trace_schema_version",
    "components",
)
_COMPONENT: Final = ("component_type", "data", "event_type", "timestamp")
_AGENT: Final = "agent_id_hash"
_PROFILE: Final = "deployment_profile"

_Members = dict[str, JsonValue]


class TraceReason(StrEnum):
    """Why a trace is not taken; NONE when it is."""

    NONE = ""
    MALFORMED = "trace_malformed"
    SCHEMA_UNKNOWN = "trace_schema_unknown"
    SIGNATURE_MALFORMED = "trace_signature_malformed"
    CLASSICAL_SIGNATURE_MISSING = "trace_classical_signature_missing"
    PQC_SIGNATURE_MISSING = "trace_pqc_signature_missing"
    PQC_KEY_MISSING = "trace_pqc_key_missing"
    PQC_KEY_NOT_BOUND = "trace_pqc_key_not_bound"
    SIGNER_UNKNOWN = "trace_signer_unknown"
    CLASSICAL_SIGNATURE_INVALID = "trace_classical_signature_invalid"
    PQC_SIGNATURE_INVALID = "trace_pqc_signature_invalid"


@dataclass(frozen=True, slots=True)
class TraceVerification:
    """The answer. `signed_members` are the outer members that may be believed, sorted."""

    reason: TraceReason
    detail: str = ""
    signer: str = ""
    signed_members: tuple[str, ...] = ()


class _Refused(Exception):
    def __init__(self, reason: TraceReason, detail: str = "") -> None:
        super().__init__(reason)
        self.verification = TraceVerification(reason, detail)


def verify_trace(raw: bytes, keys: KeyLookup) -> TraceVerification:
    """Judge one complete trace as received. Never raises for what is in it."""
    try:
        trace = _parsed(raw)
        message = canonical_trace_bytes(trace)
        signature, pqc_key = _signatures(trace)
        return _verified(trace, message, signature, pqc_key, keys)
    except _Refused as refused:
        return refused.verification
    except MalformedRecord as error:
        return TraceVerification(TraceReason.MALFORMED, str(error))


def canonical_trace_bytes(trace: _Members) -> bytes:
    """What a trace's signer signed. The members must be of their types.

    Raises:
        MalformedRecord: `value_not_allowed` for an unknown schema version, or for a number that
            JCS cannot write.
    """
    version = str(trace.get("trace_schema_version"))
    if version not in TRACE_VERSIONS:
        raise MalformedRecord(Reason.VALUE_NOT_ALLOWED, "unknown trace schema version")
    payload = signed_payload(trace)
    return jcs(payload) if int(version.partition(".")[0]) >= 3 else v1python(payload)


def signed_payload(trace: _Members) -> _Members:
    """The part of a trace that its version signs."""
    version = trace["trace_schema_version"]
    components = trace["components"]
    rows = components if isinstance(components, list) else []
    if version == LEGACY_VERSION:
        return {
            "components": [_without_empties(row) for row in rows],
            "trace_level": trace["trace_level"],
        }
    payload = {name: trace.get(name) for name in _OUTER}
    names = (*_COMPONENT, _AGENT) if version in _FIVE_MEMBER_VERSIONS else _COMPONENT
    payload["components"] = [
        {name: row.get(name) for name in names} for row in rows if isinstance(row, dict)
    ]
    if version in _FIVE_MEMBER_VERSIONS and trace.get(_PROFILE) is not None:
        payload[_PROFILE] = trace[_PROFILE]
    return payload


def _verified(
    trace: _Members,
    message: bytes,
    signature: HybridSignature,
    pqc_key: bytes,
    keys: KeyLookup,
) -> TraceVerification:
    signer = str(trace["signature_key_id"])
    public = keys(signer)
    if public is None:
        return TraceVerification(TraceReason.SIGNER_UNKNOWN, signer)
    if not compare_digest(public.mldsa65, pqc_key):
        return TraceVerification(TraceReason.PQC_KEY_NOT_BOUND, signer)
    match verify_hybrid(HybridPublicKey(public.ed25519, pqc_key), message, signature):
        case Reason.NONE:
            signed = tuple(sorted(signed_payload(trace)))
            return TraceVerification(TraceReason.NONE, "", signer, signed)
        case Reason.CLASSICAL_SIGNATURE_INVALID:
            return TraceVerification(TraceReason.CLASSICAL_SIGNATURE_INVALID, signer)
        case _:
            return TraceVerification(TraceReason.PQC_SIGNATURE_INVALID, signer)


def _parsed(raw: bytes) -> _Members:
    if len(raw) > TRACE_BYTES_MAX:
        raise _Refused(TraceReason.MALFORMED, f"over {TRACE_BYTES_MAX} bytes")
    trace = parse_json(raw, depth_max=TRACE_DEPTH_MAX)
    if not isinstance(trace, dict):
        raise _Refused(TraceReason.MALFORMED, "no object")
    for problem in _problems(trace):
        raise _Refused(TraceReason.MALFORMED, problem)
    if trace["trace_schema_version"] not in TRACE_VERSIONS:
        raise _Refused(TraceReason.SCHEMA_UNKNOWN, str(trace["trace_schema_version"])[:40])
    for problem in _agent_problems(trace):
        raise _Refused(TraceReason.MALFORMED, problem)
    return trace


def _problems(trace: _Members) -> Iterator[str]:
    for name in _TEXTS:
        if not isinstance(trace.get(name), str) or not trace[name]:
            yield f"{name} is no text"
    for name in ("task_id", "cohort_scope", "cohort_target_id", "pqc_key_id"):
        if not isinstance(trace.get(name), str | None):
            yield f"{name} is no text"
    for name in _TIMES:
        if not _is_time(trace.get(name)):
            yield f"{name} is no time"
    components = trace.get("components")
    if not isinstance(components, list) or len(components) > COMPONENTS_MAX:
        yield f"components are no list of at most {COMPONENTS_MAX}"
        return
    for component in components:
        yield from _component_problems(component)


def _component_problems(component: JsonValue) -> Iterator[str]:
    if not isinstance(component, dict):
        yield "a component is no object"
        return
    for name in ("component_type", "event_type"):
        if not isinstance(component.get(name), str):
            yield f"{name} of a component is no text"
    if not isinstance(component.get("data"), dict):
        yield "data of a component is no object"
    if not _is_time(component.get("timestamp")):
        yield "timestamp of a component is no time"


def _agent_problems(trace: _Members) -> Iterator[str]:
    components = trace["components"]
    if trace["trace_schema_version"] in _FIVE_MEMBER_VERSIONS and isinstance(components, list):
        for component in components:
            if isinstance(component, dict) and component.get(_AGENT) != trace[_AGENT]:
                yield "a component belongs to another agent than its trace"


def _signatures(trace: _Members) -> tuple[HybridSignature, bytes]:
    ed25519 = _decoded(
        trace, "signature", ED25519_SIGNATURE_BYTES, TraceReason.CLASSICAL_SIGNATURE_MISSING
    )
    mldsa65 = _decoded(
        trace, "signature_ml_dsa_65", MLDSA65_SIGNATURE_BYTES, TraceReason.PQC_SIGNATURE_MISSING
    )
    pqc_key = _decoded(trace, "pubkey_ml_dsa_65", MLDSA65_PUBLIC_BYTES, TraceReason.PQC_KEY_MISSING)
    if trace.get("pqc_key_id", None) not in (None, trace["signature_key_id"]):
        raise _Refused(TraceReason.PQC_KEY_NOT_BOUND, "pqc_key_id names another signer")
    return HybridSignature(ed25519, mldsa65), pqc_key


def _decoded(trace: _Members, name: str, size_bytes: int, missing: TraceReason) -> bytes:
    text = trace.get(name)
    if text is None or text == "":
        raise _Refused(missing, name)
    data = decode_any_base64(text) if isinstance(text, str) else None
    if data is None or len(data) != size_bytes:
        raise _Refused(TraceReason.SIGNATURE_MALFORMED, f"{name} is not {size_bytes} bytes")
    return data


def decode_any_base64(text: str) -> bytes | None:
    """Decode either alphabet, padded or not; None for mixed alphabets and anything else."""
    if ("-" in text or "_" in text) and ("+" in text or "/" in text):
        return None
    body = text.rstrip("=")
    padded = body + "=" * (-len(body) % 4)
    if text not in (body, padded):
        return None
    standard = padded.replace("-", "+").replace("_", "/")
    try:
        data = decode_base64(standard)
    except ValueError:
        return None
    return data if encode_base64(data) == standard else None


def _is_time(value: JsonValue) -> bool:
    try:
        return isinstance(value, str) and bool(timestamps.normalize(value))
    except ValueError:
        return False


def _without_empties(value: JsonValue) -> JsonValue:
    match value:
        case dict():
            kept = {name: _without_empties(item) for name, item in value.items()}
            return {name: item for name, item in kept.items() if not _is_empty(item)}
        case list():
            return [item for item in map(_without_empties, value) if not _is_empty(item)]
        case _:
            return value


def _is_empty(value: JsonValue) -> bool:
    return value is None or value == "" or value == [] or value == {}
