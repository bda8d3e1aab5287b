"""Frames that wait for a worker, and what is done about the next while one is worked off.

A peer that has much to bring sends the next batch before it hears of the last. It is unpacked and
read early, so that helpers check its signatures while this thread judges what came before. Nothing
is said or counted for it: its turn comes, and what is wrong with it is found again then.
"""

from __future__ import annotations

from dataclasses import dataclass

from ciris_mesh.directory.base import Source
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
        records, delivers: of a batch that was unpacked before its turn.
        spent_s: how long that took, so that a batch of no use is paid for whole.
    """

    state: LinkState
    raw: bytes
    records: Records | None = None
    delivers: tuple[Deliver, ...] = ()
    spent_s: float = 0.0

    def read_ahead(self, parts: Parts, peer: Peer) -> None:
        """Unpack a batch of this peer's and begin to check it, if it is one."""
        if self.records is not None or peer.link is not self.state:
            return
        begun_s = peer.waste.work_s()
        try:
            unwrapped = try_unwrap(self.raw)
            if unwrapped is not None and isinstance(unwrapped.message, Records):
                self.delivers = tuple(delivers_of(unwrapped.message))
                self.records = unwrapped.message
        except (RemoteProtocolError, BatchRefused):
            pass  # it is unpacked again in its turn, and refused then
        source, now_ms = Source("peer", peer.config.key_id), parts.wall_ms()
        for deliver in self.delivers:
            if deliver.kind in self.state.kinds & peer.config.kinds and peer.config.direction.takes:
                parts.directory.foresight.read(deliver.kind, deliver.envelopes, source, now_ms)
        self.spent_s = peer.waste.work_s() - begun_s

    def forget(self, parts: Parts) -> None:
        """Its turn is over, whatever became of it."""
        for deliver in self.delivers:
            parts.directory.foresight.forget(deliver.envelopes)
