"""What a reconciled round came to, told to the events and to the board: one event for each kind."""

from __future__ import annotations

from ciris_mesh.protocol.report import BoundedBy, StalenessSignal, Unknown
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.events import RoundEvent, RoundOutcome
from ciris_mesh.runtime.mesh_round import MeshRound
from ciris_mesh.runtime.parts import Parts
from ciris_mesh.runtime.peers import Peer


def publish(
    parts: Parts,
    peer: Peer,
    round_: MeshRound,
    kind: EnvelopeKind,
    outcome: RoundOutcome,
    *,
    reason: str = "",
) -> None:
    """Say how the round ended for one kind."""
    report = None
    if outcome is RoundOutcome.COMPLETED:
        signal, missing = _staleness(parts, peer.config.key_id, round_, kind)
        report = round_.report(kind, signal, missing)
    parts.events.publish(
        RoundEvent(
            peer=peer.config.key_id,
            kind=kind,
            role=round_.role,
            outcome=outcome,
            elapsed_s=parts.clock() - round_.started_s,
            report=report,
            reason=reason,
        )
    )


def _staleness(
    parts: Parts, key_id: str, round_: MeshRound, kind: EnvelopeKind
) -> tuple[StalenessSignal, int]:
    """In sync is what the peer's digest says, never what was sent and received."""
    if kind in round_.agreed:
        signal = parts.board.standing(key_id, kind).signal
        return signal, signal.missing if isinstance(signal, BoundedBy) else 0
    missing = round_.unshelved[kind]
    if not missing:
        return Unknown(), 0
    parts.board.post(key_id, kind, BoundedBy(missing))
    return BoundedBy(missing), missing
