"""Is the node doing its work? For a watchdog, which starts it again when not.

A peer that is away is no fault of this node. What is: timers or workers that stand still, and a
peer with a link on which nothing moves and nothing is compared any more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ciris_mesh.errors import LifecycleError

if TYPE_CHECKING:
    from ciris_mesh.runtime.peers import Peer
    from ciris_mesh.runtime.runtime import ReplicationRuntime

#: A timer and a free worker take milliseconds; a batch of signatures on a slow board a second.
BEAT_S: Final = 10.0
#: A peer is compared with each cadence. So many missed, on a link that is up and still, is no bad
#: luck: a stalled round is given up, and a silent link hung up, well before.
CADENCES_MISSED: Final = 10
STILL_MIN_S: Final = 300.0


class Pulse:
    """Remembers when each peer was last compared with. Used from one thread.

    Args:
        beats: runs a function through the timer and the workers, as everything of a round does.
    """

    def __init__(
        self,
        *,
        beats: Callable[[Callable[[], None]], None],
        peers: Callable[[], list[Peer]],
        progress_s: Callable[[Peer], float | None],
        clock: Callable[[], float],
        cadence_s: float,
        beat_s: float = BEAT_S,
    ) -> None:
        self._beats = beats
        self._peers = peers
        self._progress_s = progress_s
        self._clock = clock
        self._still_s = max(STILL_MIN_S, CADENCES_MISSED * cadence_s)
        self._beat_s = beat_s
        self._seen: dict[str, tuple[int, float]] = {}

    def is_well(self) -> bool:
        """True when timers and workers run, and every linked peer is compared with or heard."""
        done = threading.Event()
        try:
            self._beats(done.set)
        except LifecycleError:  # stopping, or no room: asked again soon
            return False
        return done.wait(self._beat_s) and not self.stuck()

    def stuck(self) -> tuple[str, ...]:
        """Key ids of peers with a link that is up while nothing is compared and nothing moves."""
        now_s, seen, found = self._clock(), dict[str, tuple[int, float]](), list[str]()
        for peer in self._peers():
            key_id, link = peer.config.key_id, peer.link
            checks, since_s = self._seen.get(key_id, (peer.checks, now_s))
            if checks != peer.checks or link is None or peer.radio:
                since_s = now_s  # by radio a look in an hour may be all there is air for
            seen[key_id] = (peer.checks, since_s)
            moved_s = self._progress_s(peer) if link is not None else None
            if now_s - max(since_s, moved_s or since_s) > self._still_s:
                found.append(key_id)
        self._seen = seen
        return tuple(found)


def pulse_of(runtime: ReplicationRuntime) -> Pulse:
    """The pulse of a runtime."""

    def progress_s(peer: Peer) -> float | None:
        link = peer.link
        return None if link is None else runtime.transport.progress_s(link.link)

    return Pulse(
        beats=runtime.beat,
        peers=lambda: list(runtime.peers.all()),
        progress_s=progress_s,
        clock=runtime.clock,
        cadence_s=runtime.config.rounds.cadence_s,
    )
