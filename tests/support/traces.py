"""Complete traces, signed and spoiled."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from ciris_mesh.records.hybrid import FederationKey, HybridSignature
from ciris_mesh.records.jsontext import parse_json
from ciris_mesh.records.trace import canonical_trace_bytes
from support.keys import alice

Trace = dict[str, Any]
VERSIONS = ("2.7.0", "2.7.9", "2.7.legacy", "3.0.0")


def standard(data: bytes) -> str:
    return base64.b64encode(data).decode()


def url_safe(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unsigned_trace(version: str) -> Trace:
    """A trace of two steps; the second has data that is partly empty, and a float."""
    components = [
        {
            "component_type": "observation",
            "data": {"text": "gr\u00fc\u00df \U0001f600", "n": 1, "none": None, "empty": {"a": []}},
            "event_type": "THOUGHT_START",
            "timestamp": "2026-06-10T12:00:00.123456+00:00",
            "agent_id_hash": "deadbeef",
        },
        {
            "component_type": "action",
            "data": {"score": 0.5, "list": ["", [], {}, "x"], "no": False, "zero": 0},
            "event_type": "ACTION_RESULT",
            "timestamp": "2026-06-10T12:00:01+00:00",
            "agent_id_hash": "deadbeef",
        },
    ]
    return {
        "trace_id": "trace-1",
        "thought_id": "thought-1",
        "agent_id_hash": "deadbeef",
        "started_at": "2026-06-10T12:00:00.123456+00:00",
        "completed_at": "2026-06-10T12:00:01+00:00",
        "trace_level": "generic",
        "trace_schema_version": version,
        "components": components,
        "cohort_scope": "federation",
    }


def message_of(trace: Trace | bytes) -> bytes:
    """The bytes this trace's signer signs."""
    parsed = parse_json(trace if isinstance(trace, bytes) else raw_trace(trace))
    assert isinstance(parsed, dict)
    return canonical_trace_bytes(parsed)


def signed_trace(
    trace: Trace,
    signer: FederationKey | None = None,
    *,
    spoil: Callable[[HybridSignature], HybridSignature] = lambda it: it,
    spell: Callable[[bytes], str] = standard,
) -> Trace:
    """`trace` with both signatures and the post-quantum key in it."""
    signer = signer or alice()
    signature = spoil(signer.sign(message_of(trace)))
    members = {
        **trace,
        "signature": spell(signature.ed25519),
        "signature_key_id": signer.key_id,
        "pubkey_ml_dsa_65": spell(signer.public.mldsa65),
        "pqc_key_id": signer.key_id,
    }
    if signature.mldsa65 is not None:
        members["signature_ml_dsa_65"] = spell(signature.mldsa65)
    return members


def raw_trace(trace: Trace) -> bytes:
    return json.dumps(trace).encode()
