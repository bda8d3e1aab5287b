"""What two nodes of ours compare: records under names that cover who signed them."""

from __future__ import annotations

from ciris_mesh.directory.base import ReplicationDirectory
from ciris_mesh.records.cosigning import copy_id
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind


def copy_of(kind: EnvelopeKind, raw: bytes) -> bytes:
    """The copy id of these bytes."""
    envelope = parse_envelope(kind, raw)
    return copy_id(kind, envelope.envelope_id, envelope.signers)


def copies_held(directory: ReplicationDirectory, kind: EnvelopeKind) -> frozenset[bytes]:
    """Of every federation-shelf row, counted anew from bytes: nothing that is kept is believed."""
    rows = (directory.get(kind, ref.envelope_hash) for ref in directory.holdings(kind))
    return frozenset(copy_of(kind, row.envelope) for row in rows if row is not None)
