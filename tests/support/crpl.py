"""The golden CRPL frames, and messages as those files spell them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.messages import Deliver, Diff, EnvelopeRef, Fetch, ReplicationMessage, Summary

VECTORS = Path(__file__).parent.parent / "vectors"
EDGE_163 = "crpl_frames_edge_1.6.3.json"
EDGE_371 = "crpl_frames_edge_3.7.1.json"
CAPTURE = "crpl_wire_capture_edge_13.15.0.json"


@cache
def load(file: str) -> Any:
    return json.loads((VECTORS / file).read_bytes())


def message(spelled: dict[str, Any]) -> ReplicationMessage:
    """Build the message a vector describes, without our codec."""
    kind = EnvelopeKind(spelled["kind"])
    match spelled["type"]:
        case "summary":
            refs = tuple(
                EnvelopeRef(bytes(ref["envelope_hash"]), ref["seq"]) for ref in spelled["refs"]
            )
            return Summary(kind, refs)
        case "diff":
            return Diff(kind, tuple(map(bytes, spelled["want"])))
        case "fetch":
            return Fetch(kind, tuple(map(bytes, spelled["want"])))
        case "deliver":
            return Deliver(kind, tuple(map(bytes, spelled["envelopes"])))
        case other:
            raise AssertionError(f"a vector of unknown type {other}")
