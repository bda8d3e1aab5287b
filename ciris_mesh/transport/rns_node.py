"""A node on Reticulum: `base.Transport` over real links.

Reticulum is one per process and must be created on the main thread, where it takes over SIGINT
and SIGTERM with handlers that end the process without cleaning up. Whoever owns the process
installs its own handlers *after* `start_reticulum`, and calls `shutdown_reticulum` as the very
last thing it does. A program that already runs Reticulum just starts the transport.

With `share_instance = Yes` in Reticulum's configuration, a running rnsd is joined. Reticulum
itself would write a default configuration where there is none; here that is an error instead,
because another program's configuration is not ours to make.

    destinations --> MeshLink (rns_link) <-- Dialer (rns_dial)      Announcer (rns_announce)
                         |
                     EventPump --> the runtime's sink
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ciris_mesh.errors import LifecycleError, LinkGone, PayloadTooLarge
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.transport import carriers
from ciris_mesh.transport import rns_seam as seam
from ciris_mesh.transport.base import (
    Address,
    EventHandler,
    LinkId,
    TransportStats,
)
from ciris_mesh.transport.identity import load_or_create_identity
from ciris_mesh.transport.limits import (
    APP_DATA_BYTES_MAX,
    INBOUND_LINKS_MAX,
    INBOUND_LINKS_PER_IDENTITY_MAX,
)
from ciris_mesh.transport.medium import is_local
from ciris_mesh.transport.reasons import DownReason, DropReason
from ciris_mesh.transport.rns_announce import Announcer
from ciris_mesh.transport.rns_config import (
    check_ports,
    configured_interfaces,
    find_reticulum_config,
)
from ciris_mesh.transport.rns_dial import Dialer, Dialled
from ciris_mesh.transport.rns_givenup import take_back
from ciris_mesh.transport.rns_host import Host, at_border
from ciris_mesh.transport.rns_link import MeshLink
from ciris_mesh.transport.rns_media import (
    blackholed,
    has_radio,
    interface_rows,
    link_way,
    reticulum_stats,
    transfer_rows,
)
from ciris_mesh.transport.rns_seam_control import serve_requests
from ciris_mesh.transport.threads import Ticker

if TYPE_CHECKING:
    from ciris_mesh.transport.rns_edge import RnsEdge

rns_log = logging.getLogger("ciris_mesh.rns")

_LEVELS: Final = (
    ("[Critical]", logging.CRITICAL),
    ("[Error]", logging.ERROR),
    ("[Warning]", logging.WARNING),
    ("[Notice]", logging.INFO),
    ("[Info]", logging.INFO),
)
#: The level stands behind a time stamp, if there is one.
_LEVEL_END: Final = 40

#: (name of a request, its body, who asks) -> the answer.
Answer = Callable[[str, object, bytes], bytes | None]

#: How often deadlines are looked at while something has one, and otherwise.
TICK_BUSY_S: Final = 0.1
TICK_IDLE_S: Final = 1.0


def start_reticulum(config_dir: Path | None, *, loglevel: int | None = None) -> None:
    """Start this process's Reticulum, or join the rnsd its configuration names.

    Takes over SIGINT and SIGTERM: install your own handlers afterwards. What Reticulum logs goes
    to the Python logger "ciris_mesh.rns". Does nothing when Reticulum runs already.

    Args:
        loglevel: 0 (critical) .. 7 (extreme); None leaves it to the configuration.

    Raises:
        ConfigError: no configuration, an unreadable one, or a port that is in use.
        LifecycleError: not on the main thread.
    """
    if seam.is_running():
        return
    if threading.current_thread() is not threading.main_thread():
        raise LifecycleError("Reticulum must be started on the main thread")
    directory = find_reticulum_config(config_dir)
    check_ports(directory)
    seam.start_reticulum(str(directory), loglevel=loglevel, log=_log_line)


def _log_line(line: str) -> None:
    """Pass a line Reticulum logs on, at the level it names."""
    for name, level in _LEVELS:
        if name in line[:_LEVEL_END]:
            rns_log.log(level, line)
            return
    rns_log.debug(line)


def shutdown_reticulum() -> None:
    """Let Reticulum save its tables and close its interfaces; afterwards stdout is gone."""
    if seam.is_running():
        seam.exit_reticulum()


class RnsTransport:
    """Implements `base.Transport`.

    Args:
        config_dir: Reticulum's; None for where Reticulum itself looks.
        identity_path: this node's RNS identity, made when missing.
        kinds: kinds served, each at a destination of its own.
        announce_kinds: names of the interfaces on which those destinations are announced too.
        loglevel: see `start_reticulum`.
        edge: also be there for registry nodes, at `ciris.edge`.

    Raises:
        KeyFileError: the identity file cannot be used.
    """

    def __init__(
        self,
        config_dir: Path | None,
        identity_path: Path,
        *,
        announce_kinds: Collection[str] = (),
        kinds: frozenset[EnvelopeKind] = frozenset(EnvelopeKind),
        loglevel: int | None = None,
        edge: bool = False,
    ) -> None:
        self._config_dir = config_dir
        self._loglevel = loglevel
        self._kinds = kinds
        self._identity = load_or_create_identity(identity_path)
        self._address = Address(self._identity.hash)
        self._host = Host()
        self._links: dict[LinkId, MeshLink] = {}
        self._by_rns_id: dict[bytes, MeshLink] = {}
        self._link_ids = itertools.count(1)
        self._dialer = Dialer(self._host, self, self._address)
        self._announcer = Announcer(self._host, self._address, frozenset(announce_kinds))
        self.edge = self._make_edge() if edge else None
        self._ticker = Ticker(self._tick)
        self._host.on_wake(self._ticker.wake)
        self._configured: tuple[str, ...] = ()
        self._operators: frozenset[Address] = frozenset()
        self._operator_paths: Mapping[bytes, frozenset[str]] = {}
        self._answer: Answer | None = None
        self._started = False
        self._closed = False

    def _make_edge(self) -> RnsEdge:
        from ciris_mesh.transport.rns_edge import RnsEdge  # only gateways need it: 700 kB

        return RnsEdge(self._host, self._identity)

    @property
    def address(self) -> Address:
        """This node's own address."""
        return self._address

    @property
    def public_key(self) -> bytes:
        """This node's 64-byte RNS public key."""
        return self._identity.get_public_key()

    def listen(self) -> None:
        """Hear announces from now on, which are reported once started. Idempotent.

        Before Reticulum is started: a hub says who it is as soon as it is called, and does not
        repeat that for hours.
        """
        for each in (self._announcer, self.edge):
            if each is not None:
                seam.listen_for_announces(each)

    def start(self, handler: EventHandler) -> None:
        """Start Reticulum when this process has none (then: main thread only) and listen.

        Raises:
            ConfigError: see `start_reticulum`.
            LifecycleError: started before.
        """
        if self._started:
            raise LifecycleError("this transport was started before")
        self.listen()
        if not seam.is_running():
            start_reticulum(self._config_dir, loglevel=self._loglevel)
            if not seam.is_shared_client():
                self._configured = configured_interfaces(find_reticulum_config(self._config_dir))
        self._started = True
        self._host.pump.start(handler)
        self._host.pool.start()
        self._announcer.open(
            self._identity, self._kinds, self.handle_request, at_border(self._inbound_link)
        )
        if self._answer is not None:
            serve_requests(self._announcer.mesh, self._answer, self._operator_paths)
        if self.edge is not None:
            self.edge.open()
        self._ticker.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Close every link, report it, and end every thread. Idempotent.

        Raises:
            ShutdownTimeout: a thread did not end in time, say because a device takes no bytes.
        """
        if not self._started:
            for each in filter(None, (self._announcer, self.edge)):
                seam.stop_listening(each)  # Reticulum, which did not start, keeps who listens
            return
        deadline = time.monotonic() + timeout_s
        with self._host.lock:
            self._host.stopping = True
            self._dialer.stop()
            for link in list(self._links.values()):
                link.go_down(DownReason.STOPPED)
            if self.edge is not None:
                self.edge.stop()
        if not self._closed:
            self._closed = True
            self._announcer.close()
            if self.edge is not None:
                self.edge.close()
        self._ticker.stop(deadline)
        self._host.pool.stop(deadline)
        self._host.pump.stop(deadline)

    def dial(self, address: Address, kind: EnvelopeKind | None = None) -> None:
        """Ask for a link; the answer is LinkUp or DialFailed."""
        with self._host.lock:
            self._dialer.dial(address, kind)

    def send(self, link: LinkId, frame: bytes) -> None:
        """Queue one frame.

        Raises:
            BackPressure: the link's bounded queue is full.
            PayloadTooLarge: over the frame limit.
            LinkGone: the link is down or was never up.
        """
        with self._host.lock:
            found = self._links.get(link)
            if found is None:
                raise LinkGone(f"link {link} is down")
            found.send(frame)

    def hang_up(self, link: LinkId) -> None:
        """Close a link; unknown ones are ignored."""
        with self._host.lock:
            found = self._links.get(link)
            if found is not None and found.is_up:
                found.go_down(DownReason.CLOSED)

    def finish(self, link: LinkId) -> None:
        """Close a link once all that was sent on it has arrived; unknown ones are ignored."""
        with self._host.lock:
            found = self._links.get(link)
            if found is not None and found.is_up:
                found.finish()

    def serve_operators(self, ask: Answer, operators: Mapping[bytes, frozenset[str]]) -> None:
        """Answer these identities' requests of these names. Before `start`.

        Args:
            ask: (name, body, identity hash) -> the answer's bytes, on a thread of Reticulum's.
        """
        self._operators = frozenset(map(Address, operators))
        self._answer = ask
        self._operator_paths = operators

    def permit(self, addresses: frozenset[Address]) -> None:
        """Replace the set of identities that may send frames up to the full limit."""
        with self._host.lock:
            self._host.permitted = addresses

    def announce(self, app_data: bytes) -> bool:
        """Announce this node now, and its kinds one a second where configured.

        Returns whether radios are left out, which hear it once an hour at most.

        Raises:
            PayloadTooLarge: over 32 bytes.
        """
        if len(app_data) > APP_DATA_BYTES_MAX:
            raise PayloadTooLarge(len(app_data), APP_DATA_BYTES_MAX)
        leaves_radios_out = False
        radio_behind = self._started and seam.is_shared_client() and has_radio()
        with self._host.lock:
            if self._started and not self._host.stopping:
                leaves_radios_out = self._announcer.announce(app_data, radio_behind=radio_behind)
        self._host.wake()
        return leaves_radios_out

    def progress_s(self, link: LinkId) -> float | None:
        """Monotonic time at which bytes last moved on `link`; None when unknown."""
        with self._host.lock:
            found = self._links.get(link)
            return found.progress_s if found else None

    def patience_s(self, link: LinkId) -> float:
        """Seconds for which nothing may move on a healthy link."""
        with self._host.lock:
            found = self._links.get(link)
            return found.paced.patience_s if found is not None and found.is_paced else 0.0

    def stats(self) -> TransportStats:
        """A snapshot. `interfaces` holds Reticulum's own counters, all programs' traffic on it."""
        rns = reticulum_stats() if self._started else {}
        with self._host.lock:
            dropped = dict(self._host.dropped())
            up = [(link.rns, link.address) for link in self._links.values() if link.is_up]
            links = len(up)
            links += self.edge.count_links() if self.edge is not None else 0
            rx_bytes, tx_bytes = self._host.rx_bytes, self._host.tx_bytes
        if rns.get("rxqdd"):
            dropped[DropReason.RNS_INBOUND] = int(rns["rxqdd"])
        rows = interface_rows(rns, self._configured)
        ignored = blackholed() if self._started else frozenset()
        moving = transfer_rows(up)
        return TransportStats(rx_bytes, tx_bytes, links, rows, dropped, moving, ignored)

    # What links, dialer and Reticulum's callbacks ask of the transport.

    def handle_request(self, sequence: int, body: object, link_id: bytes) -> int | None:
        """Take a frame that came as a request. A thread of Reticulum's for each."""
        with self._host.lock:
            link = self._by_rns_id.get(link_id)
            if link is None:
                # A link whose set-up has not been reported to us yet, or one just closed.
                self._host.drop(DropReason.LINK_NOT_READY)
                return None if self._host.stopping else carriers.ANSWER_BUSY
        return link.take_request(sequence, body)

    def add_link(self, rns: seam.Link, address: Address | None) -> MeshLink:
        """Remember a link. Lock held."""
        link = MeshLink(self._host, LinkId(next(self._link_ids)), rns, address=address, owner=self)
        seam.hear_packets(rns, link.paced.packet, link.paced.part)
        self._links[link.id] = link
        self._by_rns_id[rns.link_id] = link
        return link

    def count_outbound(self) -> int:
        """Links to others that are up. Lock held."""
        return sum(link.is_up and not link.inbound for link in self._links.values())

    def identify(self, link: Dialled) -> None:
        """Tell the other end who we are, if we dialled it. Sends a packet."""
        if not link.inbound:
            link.rns.identify(self._identity)

    def link_gone(self, link: MeshLink, reason: DownReason) -> None:
        """Forget a link. Lock held."""
        self._links.pop(link.id, None)
        self._by_rns_id.pop(link.rns.link_id, None)
        self._dialer.link_gone(link)

    def link_identified(self, link: MeshLink) -> None:
        """Keep one identity from holding many links: the one longest silent goes. Lock held.

        An operator's link carries requests, which Reticulum answers; it is no link of the mesh.
        """
        if link.address in self._operators - self._host.permitted:
            link.go_down(DownReason.HANDED_OVER)
            return
        theirs = [
            each
            for each in self._links.values()
            if each.inbound and each.is_up and each.address == link.address
        ]
        if len(theirs) > INBOUND_LINKS_PER_IDENTITY_MAX:
            self._host.drop(DropReason.TOO_MANY_LINKS)
            oldest = min(theirs, key=lambda each: each.progress_s)
            oldest.go_down(DownReason.TOO_MANY_LINKS)

    def _inbound_link(self, rns: seam.Link) -> None:
        """Somebody set up a link to us. Reticulum's inbound thread."""
        with self._host.lock:
            if rns.link_id in self._by_rns_id:
                return  # the end of its set-up came twice
            if self._host.stopping or not self._make_room():
                self._host.submit(rns.teardown)
                return
            link = self.add_link(rns, None)
        seam.attach(rns, link)
        seam.read_widely(rns)
        if is_local(type(rns.attached_interface).__name__):
            way = "unknown", ""  # nobody said yet who it is, so there is no path to ask about
        else:
            way = link_way(rns, None)
        with self._host.lock:
            link.bring_up(*way)
        seam.tell_identity(rns, link)
        self._host.wake()

    def _make_room(self) -> bool:
        """Say whether one more link may come to us. Lock held.

        When all places are taken, a stranger's goes: one whose end nobody knows before one with an
        identity, and the oldest of those. First come would be first served for ever, and cheap.
        """
        inbound = [link for link in self._links.values() if link.inbound]
        if len(inbound) < INBOUND_LINKS_MAX:
            return True
        self._host.drop(DropReason.TOO_MANY_LINKS)
        strangers = [link for link in inbound if link.address not in self._host.permitted]
        if not strangers:
            return False
        oldest = min(strangers, key=lambda link: (link.address is not None, link.born_s))
        oldest.go_down(DownReason.TOO_MANY_LINKS)
        return True

    def _tick(self, now: float) -> float:
        take_back()
        self._dialer.tick(now)
        self._announcer.tick(now)
        is_edge_busy = self.edge is not None and self.edge.tick(now)
        with self._host.lock:
            for link in list(self._links.values()):
                link.tick(now)
            busy = is_edge_busy or self._dialer.is_busy() or self._announcer.is_busy()
            busy = busy or any(link.is_busy() for link in self._links.values())
        return TICK_BUSY_S if busy else TICK_IDLE_S
