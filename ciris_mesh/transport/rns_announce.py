"""Announcing this node, and hearing others.

`ciris.mesh` is announced when the runtime asks, and once more on an interface that came up since
(what was announced while a TCP client was down is lost without an error). The kinds' own
destinations follow, one a second: transport nodes hold bursts back for minutes. On radio only
the runtime decides when: an interface that comes up there gets nothing by itself.

Announces heard are bounded: a queue, and a table of when each address was last passed on.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from typing import Any, Final

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.transport import rns_seam as seam
from ciris_mesh.transport.base import Address, NodeHeard
from ciris_mesh.transport.limits import ANNOUNCES_WAITING_MAX, APP_DATA_BYTES_MAX
from ciris_mesh.transport.medium import medium_of
from ciris_mesh.transport.reasons import DropReason
from ciris_mesh.transport.rns_dial import kind_aspects
from ciris_mesh.transport.rns_halfopen import HalfOpenLinks
from ciris_mesh.transport.rns_host import Host, at_border

#: Between two announces of this node: Reticulum's ingress control holds more than three a second
#: from a new neighbour.
ANNOUNCE_SPACING_S: Final = 1.1

#: Between two announces of this node by radio, whoever asks: each is half a second of everybody's
#: air there (design: never under an hour).
RADIO_SPACING_S: Final = 3600.0

#: Announces of one address passed on at most this often.
HEARD_SPACING_S: Final = 10.0

#: Addresses whose last announce is remembered; anybody can make new ones.
HEARD_ADDRESSES_MAX: Final = 4096

#: Interfaces waiting to be told of this node. A hub with more arrivals than one a second tells
#: the rest with its next announce.
NEWCOMERS_MAX: Final = 256


class Announcer:
    """Own destinations and the announce handler. `tick` and `heard` take the lock themselves.

    Args:
        kinds_on: names of the Reticulum interfaces on which the kinds' destinations are announced.
            Never on radio, whatever is named: thirteen announces are seven seconds of air.
    """

    #: Reticulum passes on announces of this name only.
    aspect_filter = f"{seam.APP_NAME}.{'.'.join(seam.MESH_ASPECTS)}"

    def __init__(
        self, host: Host, own_address: Address, kinds_on: frozenset[str] = frozenset()
    ) -> None:
        self._host = host
        self._own_address = own_address
        self._kinds_on = kinds_on
        self._half_open = HalfOpenLinks(host)
        self._mesh: Any = None
        self._kinds: list[Any] = []
        self._app_data: bytes | None = None
        self._pending: deque[Any] = deque()  # at most one entry per destination
        self._newcomers: deque[seam.Interface] = deque(maxlen=NEWCOMERS_MAX)
        # By id, and kept with it: the id of one that is gone may be another's next.
        self._online: dict[int, seam.Interface] = {}
        self._radio_again_s = float("-inf")
        self._waiting = 0
        self._heard_s: OrderedDict[Address, float] = OrderedDict()

    def open(
        self,
        identity: seam.Identity,
        kinds: frozenset[EnvelopeKind],
        handler: seam.RequestHandler,
        established: Any,
    ) -> None:
        """Listen on `ciris.mesh` and one destination per kind. No lock held."""
        self._mesh = seam.create_destination(identity, seam.MESH_ASPECTS, handler=handler)
        self._kinds = [
            seam.create_destination(identity, kind_aspects(kind), handler=handler)
            for kind in EnvelopeKind
            if kind in kinds
        ]
        for destination in (self._mesh, *self._kinds):
            destination.set_link_established_callback(established)
            seam.guard_link_requests(destination, at_border(self._admits))
        seam.listen_for_announces(self)
        self._online = _online()

    @property
    def mesh(self) -> Any:
        """The destination `ciris.mesh`, once open."""
        return self._mesh

    def close(self) -> None:
        """Stop listening. No lock held."""
        seam.stop_listening(self)
        for destination in (self._mesh, *self._kinds):
            seam.remove_destination(destination)

    def _admits(self) -> bool:
        return self._half_open.admits(self._links(), time.monotonic())

    def _links(self) -> list[seam.Link]:
        """At our destinations, those still being set up included."""
        return [link for each in (self._mesh, *self._kinds) for link in list(each.links)]

    def announce(self, app_data: bytes, *, radio_behind: bool = False) -> bool:
        """Announce now, and say whether radios are left out. Lock held.

        Args:
            radio_behind: the only interface is a program's on this machine, and that has a radio.
        """
        now = time.monotonic()
        self._app_data = app_data
        self._pending.clear()
        if self._kinds_on:
            self._pending.extend(self._kinds)
        self._host.next_announce_s = now + ANNOUNCE_SPACING_S
        others = [each for each in seam.interfaces() if each.online and not _is_radio(each)]
        by_radio = radio_behind or any(map(_is_radio, seam.interfaces()))
        if by_radio and now < self._radio_again_s:
            self._newcomers.extend([] if radio_behind else others)
            return True
        if by_radio:
            self._radio_again_s = now + RADIO_SPACING_S
        mesh = self._mesh
        self._host.submit(lambda: mesh.announce(app_data=app_data))
        return False

    def is_busy(self) -> bool:
        """Announces wait for their second. Lock held."""
        return bool(self._pending or self._newcomers)

    def tick(self, now: float) -> None:
        """Announce what is due, end half-open links. Takes the lock itself."""
        self._half_open.sweep(self._links(), now)
        found = self._find_newcomers()
        with self._host.lock:
            if self._app_data is not None:
                self._newcomers.extend(found)
            if now < self._host.next_announce_s or not (self._pending or self._newcomers):
                return
            self._host.next_announce_s = now + ANNOUNCE_SPACING_S
            if self._newcomers:
                self._greet(self._newcomers.popleft())
            else:
                self._announce_kind(self._pending.popleft())

    def _announce_kind(self, destination: Any) -> None:
        where = [
            each
            for each in seam.interfaces()
            if each.online and seam.configured_name(each) in self._kinds_on and not _is_radio(each)
        ]

        def announce() -> None:
            for interface in where:
                destination.announce(attached_interface=interface)

        self._host.submit(announce)

    def _find_newcomers(self) -> list[seam.Interface]:
        before, self._online = self._online, _online()
        fresh = [each for key, each in self._online.items() if key not in before]
        return [each for each in fresh if not _is_radio(each)]

    def _greet(self, interface: seam.Interface) -> None:
        mesh, app_data = self._mesh, self._app_data
        self._host.submit(lambda: mesh.announce(app_data=app_data, attached_interface=interface))

    def received_announce(
        self, destination_hash: bytes, announced_identity: Any, app_data: bytes | None
    ) -> None:
        """Reticulum heard and checked an announce of `ciris.mesh`. A thread for each."""
        at_border(self._received)(destination_hash, announced_identity, app_data)

    def _received(self, destination: bytes, identity: seam.Identity, app_data: object) -> None:
        address = Address(identity.hash)
        if address == self._own_address:
            return
        heard = NodeHeard(
            address,
            identity.get_public_key(),
            app_data if isinstance(app_data, bytes) else b"",
            seam.hops_to(destination),
        )
        with self._host.lock:
            reason = self._refusal(heard, time.monotonic())
            if reason is not None:
                self._host.drop(reason)
                return
            self._waiting += 1
            self._host.pump.put(heard, then=self._taken)

    def _refusal(self, heard: NodeHeard, now: float) -> DropReason | None:
        if len(heard.app_data) > APP_DATA_BYTES_MAX:
            return DropReason.ANNOUNCE_UNREADABLE
        if now - self._heard_s.get(heard.address, float("-inf")) < HEARD_SPACING_S:
            return DropReason.ANNOUNCE_FLOOD
        if self._waiting >= ANNOUNCES_WAITING_MAX:
            return DropReason.ANNOUNCE_FLOOD
        self._heard_s[heard.address] = now
        self._heard_s.move_to_end(heard.address)
        if len(self._heard_s) > HEARD_ADDRESSES_MAX:
            self._heard_s.popitem(last=False)
        return None

    def _taken(self) -> None:
        with self._host.lock:
            self._waiting -= 1


def _online() -> dict[int, seam.Interface]:
    return {id(each): each for each in seam.interfaces() if each.online}


def _is_radio(interface: seam.Interface) -> bool:
    return medium_of(type(interface).__name__, interface.bitrate) == "radio"
