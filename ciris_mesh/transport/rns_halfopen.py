"""Links that others begin to set up with us and do not finish.

A link request costs its sender one packet, and us a key exchange and a thread. Reticulum waits six
minutes for the rest. Here each gets a fraction of that, and there are only so many at a time:
when all places are taken the oldest goes, because an honest set-up is over within a round trip.

    request --admits--> half-open --set up--> a link (rns_node counts those)
               |            |
               |            +--> too old, or the oldest when one more comes: abandoned
               +--> too many half-open, or abandoned a moment ago: not answered
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from ciris_mesh.transport import rns_seam as seam
from ciris_mesh.transport.limits import HALF_OPEN_LINKS_MAX
from ciris_mesh.transport.reasons import DropReason
from ciris_mesh.transport.rns_host import Host
from ciris_mesh.transport.rns_media import link_medium

#: What follows the request comes within a round trip: 13.5 s over one hop of the slowest LoRa
#: setting, also behind TCP; radio paths of several hops get more.
HALF_OPEN_TCP_S: Final = 30.0
HALF_OPEN_S: Final = 120.0

#: The thread Reticulum runs for a link ends this long after the link, at the latest.
THREAD_LINGERS_S: Final = 5.0

#: Threads of half-open links and of those just abandoned. Thus at most 25 a second are abandoned
#: for newcomers, and one that was let in has five seconds even in a flood.
HALF_OPEN_THREADS_MAX: Final = 2 * HALF_OPEN_LINKS_MAX


class HalfOpenLinks:
    """Since when each is half-open. Methods take the lock themselves."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._since_s: dict[seam.Link, float] = {}
        self._abandoned_s: deque[float] = deque()  # at most HALF_OPEN_THREADS_MAX

    def admits(self, links: Iterable[seam.Link], now: float) -> bool:
        """Say whether one more may begin; makes room for it. Reticulum's inbound thread.

        Args:
            links: all at our destinations, set up or not.
        """
        oldest: list[seam.Link] = []
        with self._host.lock:
            self._look(links, now)
            if len(self._since_s) + len(self._abandoned_s) >= HALF_OPEN_THREADS_MAX:
                self._host.drop(DropReason.TOO_MANY_LINKS)
                return False
            if len(self._since_s) >= HALF_OPEN_LINKS_MAX:
                oldest.append(min(self._since_s, key=self._since_s.__getitem__))
                self._note(oldest, now)
        self._abandon(oldest)
        return True

    def sweep(self, links: Iterable[seam.Link], now: float) -> None:
        """Abandon those that take too long."""
        with self._host.lock:
            self._look(links, now)
            late = [
                link for link, since_s in self._since_s.items() if now - since_s > _wait_s(link)
            ]
            self._note(late, now)
        self._abandon(late)

    def _look(self, links: Iterable[seam.Link], now: float) -> None:
        half_open = [link for link in links if seam.is_half_open(link)]
        self._since_s = {link: self._since_s.get(link, now) for link in half_open}
        while self._abandoned_s and now - self._abandoned_s[0] > THREAD_LINGERS_S:
            self._abandoned_s.popleft()

    def _note(self, links: list[seam.Link], now: float) -> None:
        for link in links:
            del self._since_s[link]
            self._abandoned_s.append(now)
            self._host.drop(DropReason.HALF_OPEN)

    def _abandon(self, links: list[seam.Link]) -> None:
        for link in links:
            seam.abandon(link)


def _wait_s(link: seam.Link) -> float:
    return HALF_OPEN_TCP_S if link_medium(link, None) == "tcp" else HALF_OPEN_S
