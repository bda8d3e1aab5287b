"""Dialling: a known path and a known key first, then a link, each with a deadline of our own.

    dial --path known--------------------------> link requested --established--> identify --> up
      |                                            ^      |
      +--> queue of path requests --asked--> path heard   +--> 15 s: "timeout"
              (one a second)            |
                                        +--> 8 s: "no_path"

Reticulum would broadcast a link request without a path and wait 774 s for it, so there is none
without a path. Path requests are flooded through the network; hence one a second in all, and for
one destination not again for 45 s.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.transport import rns_seam as seam
from ciris_mesh.transport.base import Address, DialFailed
from ciris_mesh.transport.limits import OUTBOUND_LINKS_MAX
from ciris_mesh.transport.reasons import DialReason, DownReason
from ciris_mesh.transport.rns_host import Host, at_border
from ciris_mesh.transport.rns_media import has_radio, link_way

#: Between two path requests, whoever they are for: transport nodes drop bursts.
PATH_REQUEST_SPACING_S: Final = 1.0

#: An answer comes within two seconds over TCP bridges and SF8 cells; longer when a radio must
#: first get the channel.
PATH_DEADLINE_S: Final = 8.0
PATH_DEADLINE_RADIO_S: Final = 20.0

#: No second request for the same destination within this time.
PATH_REPEAT_S: Final = 45.0

#: Destinations whose last request is remembered; at one a second, 45 s need no more than 45.
PATH_REQUESTS_REMEMBERED: Final = 64

#: A link that is not up by then failed. Reticulum's own estimate counts when it is longer (slow
#: first hops), up to a bound: it takes 128 hops for a path it lost.
LINK_DEADLINE_S: Final = 15.0
LINK_DEADLINE_MAX_S: Final = 120.0


#: Names after "ciris" of the destinations to look for, best first; paths are asked for to the last.
Names = Callable[[EnvelopeKind | None], tuple[tuple[str, ...], ...]]


class Dialled(seam.LinkEvents, Protocol):
    """A link that is being dialled, as far as the dialer sees it. Lock held in all it calls."""

    rns: seam.Link
    inbound: bool
    is_up: bool
    is_down: bool

    @property
    def address(self) -> Address | None:
        """The other end."""
        ...

    def bring_up(self, medium: str, interface: str = "") -> None:
        """It may carry frames."""
        ...

    def go_down(self, reason: DownReason) -> None:
        """It may not, or no more."""
        ...


@dataclass(eq=False, slots=True)
class Dial:
    """One dial under way.

    Attributes:
        deadline: of the present step; None while it waits for its turn.
        link: set once the link request is made.
    """

    address: Address
    kind: EnvelopeKind | None
    deadline: float | None = None
    behind_radio: bool = False
    asked: bool = False
    opening: bool = False
    link: Dialled | None = None


class DialOwner(Protocol):
    """What the dialer needs of the transport."""

    def handle_request(self, sequence: int, body: object, link_id: bytes) -> int | None:
        """Take a frame that came as a request."""
        ...

    def add_link(self, rns: seam.Link, address: Address) -> Dialled:
        """Make and remember the link we asked for. Lock held."""
        ...

    def count_outbound(self) -> int:
        """Links to others, without dials under way. Lock held."""
        ...

    def identify(self, link: Dialled) -> None:
        """Tell the other end who we are."""
        ...


class Dialer:
    """All dials of one transport. Methods run with the host's lock held unless they say not.

    Args:
        names: of the destinations to link to.
        failed: told of each dial that came to nothing; without it, DialFailed is reported.
        opened: told of each link right when it is set up; no lock held.
    """

    def __init__(
        self,
        host: Host,
        owner: DialOwner,
        own_address: Address,
        *,
        names: Names | None = None,
        failed: Callable[[Address, DialReason], None] | None = None,
        opened: Callable[[Dialled], None] = lambda _link: None,
    ) -> None:
        self._host = host
        self._owner = owner
        self._own_address = own_address
        self._names = names or _mesh_names
        self._report = failed or self._dial_failed
        self._opened = opened
        self._dials: dict[Address, Dial] = {}
        self._asking: deque[Dial] = deque()  # as many as there are dials
        self._asked_at: dict[Address, float] = {}
        self._last_asked = float("-inf")

    def dial(self, address: Address, kind: EnvelopeKind | None) -> None:
        """Begin, or join the dial to that address."""
        if address in self._dials:
            return
        dial = self._dials[address] = Dial(address, kind)
        if self._host.stopping:
            self._fail(dial, DialReason.STOPPED)
        elif address == self._own_address:
            self._fail(dial, DialReason.NO_PATH)
        elif len(self._dials) + self._owner.count_outbound() > OUTBOUND_LINKS_MAX:
            self._fail(dial, DialReason.TOO_MANY_LINKS)
        else:
            self._host.submit(lambda: self._begin(dial))

    def is_busy(self) -> bool:
        """A dial is under way."""
        return bool(self._dials)

    def stop(self) -> None:
        """Fail what is under way."""
        for dial in list(self._dials.values()):
            self._fail(dial, DialReason.STOPPED)

    def tick(self, now: float) -> None:
        """Ask for the next path, and look at the deadlines. Takes the lock itself."""
        with self._host.lock:
            waiting = [dial for dial in self._dials.values() if dial.asked and not dial.opening]
        ready = [dial for dial in waiting if self._target(dial) is not None]
        with self._host.lock:
            for dial in ready:
                self._open_soon(dial)
            self._ask_next(now)
            for dial in list(self._dials.values()):
                if dial.deadline is not None and now > dial.deadline:
                    late = DialReason.TIMEOUT if dial.opening else DialReason.NO_PATH
                    self._fail(dial, late)

    def link_gone(self, link: Dialled) -> bool:
        """A link went down; True when it was one being dialled, which is reported here."""
        dial = self._dials.get(link.address) if link.address is not None else None
        if dial is None or dial.link is not link:
            return False
        self._fail(dial, DialReason.TIMEOUT)
        return True

    def _fail(self, dial: Dial, reason: DialReason) -> None:
        if self._dials.get(dial.address) is not dial:
            return
        del self._dials[dial.address]
        self._report(dial.address, reason)
        if dial.link is not None:
            dial.link.go_down(DownReason.TIMEOUT)

    def _dial_failed(self, address: Address, reason: DialReason) -> None:
        self._host.pump.put(DialFailed(address, reason))

    def _ask_next(self, now: float) -> None:
        while self._asking and now - self._last_asked >= PATH_REQUEST_SPACING_S:
            dial = self._asking.popleft()
            if self._dials.get(dial.address) is not dial:
                continue
            self._last_asked = now
            self._remember(dial.address, now)
            dial.asked = True
            dial.deadline = now + (PATH_DEADLINE_RADIO_S if dial.behind_radio else PATH_DEADLINE_S)
            self._request_path(seam.destination_hash(dial.address, self._names(None)[-1]))
            return

    def _request_path(self, destination: bytes) -> None:
        self._host.submit(lambda: seam.request_path(destination))

    def _remember(self, address: Address, now: float) -> None:
        self._asked_at.pop(address, None)
        self._asked_at[address] = now
        while len(self._asked_at) > PATH_REQUESTS_REMEMBERED:
            del self._asked_at[next(iter(self._asked_at))]

    def _open_soon(self, dial: Dial) -> None:
        if self._dials.get(dial.address) is dial and not dial.opening:
            dial.opening = True
            dial.deadline = time.monotonic() + LINK_DEADLINE_S
            self._host.submit(lambda: self._open(dial))

    # Worker threads, no lock held.

    def _begin(self, dial: Dial) -> None:
        known = self._target(dial) is not None
        dial.behind_radio = not known and has_radio()
        now = time.monotonic()
        with self._host.lock:
            if known:
                self._open_soon(dial)
            elif now - self._asked_at.get(dial.address, float("-inf")) < PATH_REPEAT_S:
                self._fail(dial, DialReason.NO_PATH)
            else:
                self._asking.append(dial)
        self._host.wake()

    def _open(self, dial: Dial) -> None:
        target = self._target(dial)
        if target is None:
            with self._host.lock:
                self._fail(dial, DialReason.NO_PATH)
            return
        aspects, identity = target
        rns = seam.open_link(
            identity,
            aspects,
            handler=self._owner.handle_request,
            established=at_border(lambda link: self._established(dial, link)),
            closed=lambda _link: None,  # replaced at once by `attach`
        )
        link = self._adopt(dial, rns)
        if rns.status == seam.LINK_CLOSED:
            link.closed(seam.LINK_TIMEOUT)
        with self._host.lock:
            if self._dials.get(dial.address) is not dial and not link.is_up:
                link.go_down(DownReason.TIMEOUT)
            estimate_s = min(rns.establishment_timeout, LINK_DEADLINE_MAX_S)
            dial.deadline = time.monotonic() + max(LINK_DEADLINE_S, estimate_s)
        self._host.wake()

    def _adopt(self, dial: Dial, rns: seam.Link) -> Dialled:
        """The link of a dial, made by whoever comes first: the opener or Reticulum's thread."""
        with self._host.lock:
            if dial.link is not None:
                return dial.link
            link = dial.link = self._owner.add_link(rns, dial.address)
        seam.attach(rns, link)
        return link

    def _established(self, dial: Dial, rns: seam.Link) -> None:
        """A thread of Reticulum's."""
        link = self._adopt(dial, rns)
        self._opened(link)
        self._host.submit(lambda: self._finish(dial, link))

    def _finish(self, dial: Dial, link: Dialled) -> None:
        """Identify before LinkUp, so that no frame can come before it."""
        self._owner.identify(link)
        seam.read_widely(link.rns)
        way = link_way(link.rns, dial.address)
        with self._host.lock:
            if self._dials.get(dial.address) is dial and not link.is_down:
                del self._dials[dial.address]
                link.bring_up(*way)

    def _target(self, dial: Dial) -> tuple[tuple[str, ...], seam.Identity] | None:
        """The destination to link to: path and key known; the kind's own before the node's."""
        candidates = self._names(dial.kind)
        node = seam.destination_hash(dial.address, candidates[-1])
        for aspects in candidates:
            destination = seam.destination_hash(dial.address, aspects)
            if seam.has_path(destination):
                identity = seam.recall(destination) or seam.recall(node)
                if identity is not None:
                    return aspects, identity
        return None


def _mesh_names(kind: EnvelopeKind | None) -> tuple[tuple[str, ...], ...]:
    own = () if kind is None else (kind_aspects(kind),)
    return (*own, seam.MESH_ASPECTS)


def kind_aspects(kind: EnvelopeKind) -> tuple[str, ...]:
    """The name of a kind's own destination after "ciris"."""
    return ("replication", kind.value)
