"""Links inside one process: the guarantees of `base.py` without Reticulum.

A `LoopbackNetwork` is the medium; each `LoopbackTransport` is one node on it. For tests,
examples and simulations with threads; nothing here leaves the process.

    a.send(link, frame) --> b's agenda (a heap by due time) --> thread "ciris-loopback-b" --> sink

One lock, the network's, guards every table of every transport on it: operations are a few
dictionary steps, and one lock cannot be taken in two orders. Sinks are called without it.

Faults, for tests: `cut`/`heal` (dials fail, links go down), `hold`/`release` (silence: nothing
arrives, nothing is lost), `drop_links`, and a seeded delay and loss given at construction.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ciris_mesh.errors import (
    BackPressure,
    LifecycleError,
    LinkGone,
    PayloadTooLarge,
    ShutdownTimeout,
)
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.transport.admittance import refusal
from ciris_mesh.transport.agenda import Agenda, Due
from ciris_mesh.transport.base import (
    ADDRESS_BYTES,
    Address,
    DialFailed,
    EventHandler,
    FrameReceived,
    InterfaceRow,
    LinkDown,
    LinkId,
    LinkIdentified,
    LinkUp,
    LoraRow,
    NodeHeard,
    TransportEvent,
    TransportStats,
)
from ciris_mesh.transport.limits import (
    ANNOUNCES_WAITING_MAX,
    APP_DATA_BYTES_MAX,
    FRAME_BYTES_MAX,
    INBOUND_LINKS_MAX,
    INBOUND_LINKS_PER_IDENTITY_MAX,
    OUTBOUND_LINKS_MAX,
    SEND_QUEUE_BYTES_MAX,
    SEND_QUEUE_FRAMES_MAX,
)
from ciris_mesh.transport.loopback_end import End
from ciris_mesh.transport.reasons import DialReason, DownReason, DropReason

#: What a network that says it is a radio is called, and what it says it is set to.
RADIO_NAME: Final = "loopback-radio"
RADIO_SETTINGS: Final = LoraRow(868_300_000, 125_000, 8, 5)


class LoopbackNetwork:
    """The medium that loopback transports share.

    Args:
        seed: of the delay and the loss; the same seed and calls give the same draws.
        delay_s: every event arrives after a time drawn from this range.
        loss: probability that a sent frame is lost; its link then goes down "stalled", as a
            carrier that cannot deliver must do.
        medium: what links call themselves; tests of radio behaviour say "radio".
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        delay_s: tuple[float, float] = (0.0, 0.0),
        loss: float = 0.0,
        medium: str = "loopback",
    ) -> None:
        self.medium = medium
        self._lock = threading.Lock()  # guards this network and every transport on it
        self._rng = random.Random(seed)
        self._delay_s = delay_s
        self._loss = loss
        self._tickets = itertools.count()
        self._nodes: dict[Address, LoopbackTransport] = {}
        self._cuts: set[frozenset[Address]] = set()
        self._held: dict[frozenset[Address], list[Due[End]]] = {}

    def cut(self, a: Address, b: Address) -> None:
        """Part two nodes: their links go down "timeout", and new dials find no path."""
        with self._lock:
            self._cuts.add(frozenset((a, b)))
            self._break_between(a, b)

    def heal(self, a: Address, b: Address) -> None:
        """Undo `cut`."""
        with self._lock:
            self._cuts.discard(frozenset((a, b)))

    def drop_links(self, a: Address, b: Address) -> None:
        """Break the links between two nodes once; they may dial again."""
        with self._lock:
            self._break_between(a, b)

    def hold(self, a: Address, b: Address) -> None:
        """Make two nodes silent to each other.

        Links stay up and what is sent on them waits for `release`; dials end in "timeout".
        """
        with self._lock:
            self._held.setdefault(frozenset((a, b)), [])

    def release(self, a: Address, b: Address) -> None:
        """Let what was held arrive, in order, and everything after it."""
        with self._lock:
            for due in self._held.pop(frozenset((a, b)), []):
                assert due.about is not None
                due.about.owner._agenda.put(due)

    def set_loss(self, loss: float) -> None:
        """Change the probability that a frame is lost."""
        with self._lock:
            self._loss = loss

    # Everything below runs with the lock held, called by the transports.

    def _join(self, node: LoopbackTransport) -> None:
        if node.address in self._nodes:
            raise LifecycleError(f"address {node.address.hex()} is on this network already")
        self._nodes[node.address] = node

    def _leave(self, node: LoopbackTransport) -> None:
        if self._nodes.get(node.address) is node:
            del self._nodes[node.address]

    def _reach(self, a: Address, b: Address) -> LoopbackTransport | None:
        if a == b or frozenset((a, b)) in self._cuts:
            return None
        return self._nodes.get(b)

    def _others(self, node: LoopbackTransport) -> list[LoopbackTransport]:
        reach = (self._reach(node.address, address) for address in self._nodes)
        return [other for other in reach if other is not None and not self._silent(node, other)]

    def _silent(self, node: LoopbackTransport, other: LoopbackTransport) -> bool:
        return frozenset((node.address, other.address)) in self._held

    def _schedule(self, owner: LoopbackTransport, event: TransportEvent, end: End | None) -> None:
        assert self._lock.locked()
        at = time.monotonic() + self._rng.uniform(*self._delay_s)
        if end is not None:
            end.last_due = at = max(at, end.last_due)
        due = Due(at, next(self._tickets), event, end)
        held = None
        if end is not None:
            held = self._held.get(frozenset((owner.address, end.remote.address)))
        if held is None:
            owner._agenda.put(due)
        else:
            held.append(due)

    def _loses(self) -> bool:
        return self._loss > 0 and self._rng.random() < self._loss

    def _break_between(self, a: Address, b: Address) -> None:
        node = self._nodes.get(a)
        for end in list(node._ends.values()) if node else []:
            if end.remote.address == b:
                self._break(end, DownReason.TIMEOUT, DownReason.TIMEOUT)

    def _break(self, end: End, here: DownReason, there: DownReason) -> None:
        """Take a link down on both sides; frames under way are lost."""
        assert self._lock.locked()
        if not end.is_open:
            return
        assert end.peer is not None
        for side, reason in ((end, here), (end.peer, there)):
            side.is_open = False
            side.frames_lost = True
            self._unhold(side)
            self._schedule_now(side, LinkDown(side.link, reason))

    def _end_if_idle(self, end: End) -> None:
        if end.ends and not end.coming:
            self._break(end, DownReason.PEER_CLOSED, DownReason.CLOSED)

    def _unhold(self, end: End) -> None:
        """An end going down gets what was held for it first: a LinkUp must not come after."""
        for pair, held in self._held.items():
            mine = [due for due in held if due.about is end]
            if mine:
                self._held[pair] = [due for due in held if due.about is not end]
            for due in mine:
                end.owner._agenda.put(due)

    def _schedule_now(self, end: End, event: TransportEvent) -> None:
        end.last_due = at = max(time.monotonic(), end.last_due)
        end.owner._agenda.put(Due(at, next(self._tickets), event, end))


class LoopbackTransport:
    """One node on a `LoopbackNetwork`. Implements `base.Transport`.

    Owns one thread, "ciris-loopback-<name>", from start() to stop().

    Args:
        name: tells nodes apart; the public key and the address are derived from it.
        public_key: 64 bytes, to use a given key instead.
    """

    def __init__(
        self, network: LoopbackNetwork, name: str, *, public_key: bytes | None = None
    ) -> None:
        self._network = network
        self._lock = network._lock
        self._public_key = public_key or hashlib.sha512(b"loopback:" + name.encode()).digest()
        digest = hashlib.sha256(self._public_key).digest()
        self._address = Address(digest[:ADDRESS_BYTES])
        self._agenda: Agenda[End] = Agenda(self._lock)
        self._thread = threading.Thread(
            target=self._run, name=f"ciris-loopback-{name}", daemon=True
        )
        self._handler: EventHandler | None = None
        self._stopping = False
        self._link_ids = itertools.count(1)
        self._ends: dict[LinkId, End] = {}
        self._dialing: set[Address] = set()
        self._permitted: frozenset[Address] = frozenset()
        self._announces_waiting = 0
        self._rx_bytes = 0
        self._tx_bytes = 0
        self._dropped: Counter[str] = Counter()

    @property
    def address(self) -> Address:
        """This node's own address."""
        return self._address

    @property
    def public_key(self) -> bytes:
        """64 bytes whose hash the address is, as with Reticulum."""
        return self._public_key

    def start(self, handler: EventHandler) -> None:
        """Join the network.

        Raises:
            LifecycleError: started before, or the address is taken.
        """
        with self._lock:
            if self._handler is not None:
                raise LifecycleError("this transport was started before")
            self._network._join(self)
            self._handler = handler
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Close every link, report it, and end the thread. Idempotent.

        Raises:
            ShutdownTimeout: the sink did not return in time.
        """
        assert threading.current_thread() is not self._thread, "stop() from its own sink"
        with self._lock:
            if self._handler is None:
                return
            self._stopping = True
            self._network._leave(self)
            for end in list(self._ends.values()):
                self._network._break(end, DownReason.STOPPED, DownReason.PEER_CLOSED)
            self._agenda.finish()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise ShutdownTimeout(self._thread.name, timeout_s)

    def dial(self, address: Address, kind: EnvelopeKind | None = None) -> None:
        """Ask for a link; a dial while one to the same address is under way joins it."""
        with self._lock:
            if address in self._dialing:
                return
            self._dialing.add(address)
            if not self._runs():
                self._fail_dial(address, DialReason.STOPPED)
                return
            if sum(not end.inbound for end in self._ends.values()) >= OUTBOUND_LINKS_MAX:
                self._fail_dial(address, DialReason.TOO_MANY_LINKS)
                return
            remote = self._network._reach(self._address, address)
            if remote is None:
                self._fail_dial(address, DialReason.NO_PATH)
            elif self._network._silent(self, remote) or remote._turns_away(self._address):
                self._fail_dial(address, DialReason.TIMEOUT)
            else:
                self._connect(remote)

    def send(self, link: LinkId, frame: bytes) -> None:
        """Queue one frame for the other side.

        Raises:
            BackPressure: the other side has not taken what was sent before.
            PayloadTooLarge: over the frame limit.
            LinkGone: the link is down or was never up.
        """
        if len(frame) > FRAME_BYTES_MAX:
            raise PayloadTooLarge(len(frame), FRAME_BYTES_MAX)
        with self._lock:
            end = self._ends.get(link)
            if end is None or not end.is_open:
                raise LinkGone(f"link {link} is down")
            assert end.peer is not None
            self._check_room(end.peer, len(frame))
            end.progress_s = time.monotonic()
            self._tx_bytes += len(frame)
            if self._network._loses():
                self._network._break(end, DownReason.STALLED, DownReason.STALLED)
                return
            end.peer.coming += 1
            end.peer.coming_bytes += len(frame)
            event = FrameReceived(end.peer.link, frame)
            self._network._schedule(end.peer.owner, event, end.peer)

    def hang_up(self, link: LinkId) -> None:
        """Close a link; unknown ones are ignored."""
        with self._lock:
            end = self._ends.get(link)
            if end is not None:
                self._network._break(end, DownReason.CLOSED, DownReason.PEER_CLOSED)

    def finish(self, link: LinkId) -> None:
        """Close a link once all that was sent on it has arrived."""
        with self._lock:
            end = self._ends.get(link)
            if end is not None and end.peer is not None:
                end.peer.ends = True
                self._network._end_if_idle(end.peer)

    def permit(self, addresses: frozenset[Address]) -> None:
        """Replace the set of identities that may send frames up to the full limit."""
        with self._lock:
            self._permitted = addresses

    def announce(self, app_data: bytes) -> bool:
        """Make every reachable node hear this one. Leaves none out.

        Raises:
            PayloadTooLarge: over 32 bytes.
        """
        if len(app_data) > APP_DATA_BYTES_MAX:
            raise PayloadTooLarge(len(app_data), APP_DATA_BYTES_MAX)
        with self._lock:
            if self._runs():
                heard = NodeHeard(self._address, self._public_key, app_data, hops=1)
                for other in self._network._others(self):
                    other._hear(heard)
        return False

    def progress_s(self, link: LinkId) -> float | None:
        """Monotonic time at which a frame last moved on `link`; None when unknown."""
        with self._lock:
            end = self._ends.get(link)
            return end.progress_s if end else None

    def patience_s(self, link: LinkId) -> float:
        """0: a loopback takes no time."""
        return 0.0

    def stats(self) -> TransportStats:
        """A snapshot of the counters."""
        with self._lock:
            links = sum(end.is_open for end in self._ends.values())
            rx, tx, medium = self._rx_bytes, self._tx_bytes, self._network.medium
            row = InterfaceRow(RADIO_NAME, medium, self._runs(), None, rx, tx, RADIO_SETTINGS)
            rows = () if medium == "loopback" else (row,)
            return TransportStats(rx, tx, links, rows, dict(self._dropped))

    # Everything below but _run runs with the lock held.

    def _runs(self) -> bool:
        return self._handler is not None and not self._stopping

    def _check_room(self, other: End, size_bytes: int) -> None:
        if other.coming >= SEND_QUEUE_FRAMES_MAX:
            raise BackPressure(f"{other.coming} frames wait on link {other.link}")
        if other.coming and other.coming_bytes + size_bytes > SEND_QUEUE_BYTES_MAX:
            raise BackPressure(f"{other.coming_bytes} bytes wait on link {other.link}")

    def _turns_away(self, caller: Address) -> bool:
        """Say whether there is no room for one more link; make room among strangers' links, and
        among the caller's own."""
        inbound = [end for end in self._ends.values() if end.inbound and end.is_open]
        if len(inbound) >= INBOUND_LINKS_MAX:
            self._dropped[DropReason.TOO_MANY_LINKS] += 1
            strangers = [end for end in inbound if end.remote.address not in self._permitted]
            if not strangers:
                return True
            # The first is the oldest; here everybody has an identity.
            self._network._break(strangers[0], DownReason.TOO_MANY_LINKS, DownReason.PEER_CLOSED)
        theirs = [end for end in inbound if end.is_open and end.remote.address == caller]
        if len(theirs) >= INBOUND_LINKS_PER_IDENTITY_MAX:
            self._dropped[DropReason.TOO_MANY_LINKS] += 1
            oldest = min(theirs, key=lambda end: end.progress_s)
            self._network._break(oldest, DownReason.TOO_MANY_LINKS, DownReason.PEER_CLOSED)
        return False

    def _fail_dial(self, address: Address, reason: DialReason) -> None:
        self._network._schedule(self, DialFailed(address, reason), None)

    def _connect(self, remote: LoopbackTransport) -> None:
        mine = self._add_end(remote, inbound=False)
        theirs = remote._add_end(self, inbound=True)
        mine.peer, theirs.peer = theirs, mine
        schedule, medium = self._network._schedule, self._network.medium
        is_slow = medium != "loopback"
        up = LinkUp(theirs.link, True, None, medium, is_slow, RADIO_NAME if is_slow else "loopback")  # noqa: FBT003
        schedule(self, replace(up, link=mine.link, inbound=False, address=remote.address), mine)
        schedule(remote, up, theirs)
        schedule(remote, LinkIdentified(theirs.link, self._address), theirs)

    def _add_end(self, remote: LoopbackTransport, *, inbound: bool) -> End:
        end = End(self, LinkId(next(self._link_ids)), inbound, remote)
        end.progress_s = time.monotonic()
        self._ends[end.link] = end
        return end

    def _hear(self, heard: NodeHeard) -> None:
        if self._announces_waiting >= ANNOUNCES_WAITING_MAX:
            self._dropped[DropReason.ANNOUNCE_FLOOD] += 1
            return
        self._announces_waiting += 1
        self._network._schedule(self, heard, None)

    def _admit(self, due: Due[End]) -> bool:
        """Account for an event about to be reported; False when it must not be."""
        match due.event:
            case FrameReceived(frame=frame):
                return self._admit_frame(due.about, frame)
            case LinkUp(address=address) if address is not None:
                self._dialing.discard(address)
            case DialFailed(address=address):
                self._dialing.discard(address)
            case LinkDown(link=link):
                self._ends.pop(link, None)
            case NodeHeard():
                self._announces_waiting -= 1
            case _:
                pass
        return True

    def _admit_frame(self, end: End | None, frame: bytes) -> bool:
        assert end is not None
        end.coming -= 1
        end.coming_bytes -= len(frame)
        if end.frames_lost:
            return False
        sender = end.remote.address
        refused = refusal(sender, len(frame), frames_before=end.received, permitted=self._permitted)
        if refused is not None:
            self._dropped[refused] += 1
            self._network._break(end, DownReason.FLOODED, DownReason.REFUSED)
            return False
        end.received += 1
        end.progress_s = time.monotonic()
        self._rx_bytes += len(frame)
        self._network._end_if_idle(end)
        return True

    def _run(self) -> None:
        assert self._handler is not None
        deliver: Callable[[TransportEvent], None] = self._handler
        while True:
            with self._lock:
                due = self._agenda.next()
                if due is None:
                    return
                reported = self._admit(due)
            if reported:
                deliver(due.event)
