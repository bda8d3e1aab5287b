"""What a program that embeds a runtime holds on to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.events import EventSink
from ciris_mesh.runtime.peers import Peer

if TYPE_CHECKING:
    from ciris_mesh.runtime.runtime import ReplicationRuntime


class ReplicationHandle:
    """What a program that embeds a runtime holds on to. Thread-safe."""

    def __init__(self, runtime: ReplicationRuntime) -> None:
        self._runtime = runtime

    def subscribe(self, sink: EventSink) -> Callable[[], None]:
        """Get every RoundEvent; the function returned ends it."""
        return self._runtime.events.subscribe(sink)

    def sync(self, key_id: str | None = None) -> int:
        """Compare with one peer, or all, now. Returns how many comparisons were queued."""
        peers = self._runtime.peers
        targets = [peer.config.key_id for peer in peers.all()]
        if key_id is not None:
            targets = [target for target in targets if target == key_id]
        for target in targets:
            peer = peers.get(target)
            if peer is not None:
                peer.next_check_s = 0.0  # now, on a radio as well, when there is air
            self._runtime.scheduler.trigger(target)
        return len(targets)

    def is_fresh(self, kind: EnvelopeKind) -> bool:
        """True when some peer confirmed `kind` within tau_partial and nothing is missing."""
        return self._runtime.board.is_fresh(kind)

    def waiting_for(self, within_s: float | None = None) -> list[str]:
        """Why this node is not converged with all its peers, one phrase each; [] when it is.

        Args:
            within_s: agreement must have been confirmed in the last so many seconds.
        """
        reasons: list[str] = []
        for peer in self._runtime.peers.all():
            name = peer.config.alias or peer.config.key_id
            if peer.link is None and not peer.rests:
                reasons.append(f"{name}: not connected ({peer.reason or peer.state})")
                continue
            kinds = self._runtime.kinds & peer.config.kinds & peer.kinds
            behind = [
                kind.value
                for kind in EnvelopeKind
                if kind in kinds and not self._agrees(peer, kind, within_s)
            ]
            if behind:
                reasons.append(f"{name}: not compared equal yet: {', '.join(behind)}")
        return reasons

    def _agrees(self, peer: Peer, kind: EnvelopeKind, within_s: float | None) -> bool:
        if peer.agreed.get(kind) != self._runtime.directory.generation(kind):
            return False
        age_s = self._runtime.board.age_s(peer.config.key_id, kind)
        return within_s is None or (age_s is not None and age_s <= within_s)

    def shutdown(self, timeout_s: float = 5.0) -> None:
        """End the runtime. Idempotent."""
        self._runtime.shutdown(timeout_s)
