"""Frames that wait for a worker, and what is done about the next while one is worked off.

A peer that has much to bring sends the next batch before it hears of the last. It is unpacked and
read early, so that helpers check its signatures while this thread judges what came before. Nothing
is said or counted for it: its turn comes, and what is wrong with it is found again then.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from ciris_mesh.directory.base import Source
from ciris_mesh.directory.foresight import Place
from ciris_mesh.errors import BatchRefused, RemoteProtocolError
from ciris_mesh.runtime.handshake import LinkState
from ciris_mesh.runtime.parts import Parts
from ciris_mesh.runtime.peers import Peer
from ciris_mesh.runtime.recoding import delivers_of
from ciris_mesh.wire.frame import try_unwrap
from ciris_mesh.wire.mesh_records import Records
from ciris_mesh.wire.messages import Deliver


@dataclass(slots=True, eq=False)
class Arrived:
    """A frame. Touched on its strand alone.

    Attributes:
        strand: whose tasks come in its order; where its link's frames went when it came.
        records, delivers: of a batch that was unpacked before its turn.
        place: where it is read ahead; given back when its turn is over, or it will not get one.
        spent_s: how long that took, so that a batch of no use is paid for whole.
    """

    state: LinkState
    strand: Hashable
    raw: bytes
    records: Records | None = None
    delivers: tuple[Deliver, ...] = ()
    place: Place | None = None
    spent_s: float = 0.0

    def read_ahead(self, parts: Parts, peer: Peer) -> float:
        """Unpack a batch of this peer's and begin to check it, if it is one and there is room.

        Returns:
            Processor seconds it took just now.
        """
        takes = peer.config.direction.takes
        if self.place is not None or peer.link is not self.state or not takes:
            return 0.0
        self.place = parts.directory.foresight.place(Source("peer", peer.config.key_id))
        if self.place is None:
            return 0.0
        begun_s = peer.waste.work_s()
        try:
            self._unpack()
            self._read(parts, peer, self.place)
        finally:
            self.spent_s = peer.waste.work_s() - begun_s
        return self.spent_s

    def forget(self, parts: Parts) -> None:
        """Its turn is over, or it will not get one. Idempotent."""
        if self.place is not None:
            parts.directory.foresight.give_back(self.place)

    def _unpack(self) -> None:
        try:
            unwrapped = try_unwrap(self.raw)
            if unwrapped is not None and isinstance(unwrapped.message, Records):
                self.delivers = tuple(delivers_of(unwrapped.message))
                self.records = unwrapped.message
        except (RemoteProtocolError, BatchRefused):
            pass  # it is unpacked again in its turn, and refused then

    def _read(self, parts: Parts, peer: Peer, place: Place) -> None:
        now_ms = parts.wall_ms()
        for deliver in self.delivers:
            kind = deliver.kind
            is_served = kind in self.state.kinds & peer.config.kinds
            if is_served and parts.bridge.is_worth_taking(peer.config.key_id, kind):
                parts.directory.foresight.read(place, kind, deliver.envelopes, now_ms)
