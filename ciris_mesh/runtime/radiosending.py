"""Records of a reconciled round on a radio: the planner says which go, to whom, and when.

    a comparison shows what the peer lacks  ->  plan     it waits in the planner
    the round goes on                       ->  send     what the planner hands over, at most 15 s,
                                                         and removals that wait are announced
    Taken, or the end of the link           ->  arrived, lost

A round ends when nothing more may go now; what is owed waits for its air, and for another round. A
removal that comes meanwhile ends it, too: the next comparison puts it before all that waits.
"""

from __future__ import annotations

from ciris_mesh.protocol.handover import Batch
from ciris_mesh.protocol.outqueue import Item
from ciris_mesh.records.kinds import REMOVALS, EnvelopeKind
from ciris_mesh.runtime import previewing
from ciris_mesh.runtime.events import BatchEvent, BatchOutcome
from ciris_mesh.runtime.handshake import LinkState
from ciris_mesh.runtime.mesh_round import MeshRound, Named, Unacked
from ciris_mesh.runtime.parts import Parts
from ciris_mesh.runtime.peers import Peer
from ciris_mesh.runtime.recoding import batch_of
from ciris_mesh.wire.mesh_records import Records


class RadioSending:
    """Does nothing for links that are no radio, and nothing at all without a budget."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def covers(self, state: LinkState) -> str:
        """The radio a link goes over; empty when it is none."""
        return "" if self._parts.air is None else self._parts.air.covers(state)

    def has_batch(self, peer: Peer) -> bool:
        """Whether a batch waits to be sent to a peer."""
        return self._parts.air is not None and self._parts.air.has_batch(peer.config.key_id)

    def plan(self, peer: Peer, round_: MeshRound) -> None:
        """Give the planner what is to be sent; the round itself sends nothing of it."""
        if self._parts.air is None or not self.covers(round_.state):
            return
        found = (self._item(peer.config.key_id, *named) for named in round_.outgoing)
        items = [item for item in found if item is not None]
        round_.outgoing.clear()
        round_.withheld += len(items)  # so nobody wonders why digests still differ
        is_all = not round_.is_partial
        round_.wanted = frozenset(item.name for item in items) if is_all else None
        self._parts.air.plan(peer.config.key_id, items, is_all=is_all)

    def agreed(self, peer: Peer) -> None:
        """The peer's digests equal ours: nothing is owed to it, what was chosen for it included."""
        if self._parts.air is not None:
            for batch in self._parts.air.take(peer.config.key_id):
                self._parts.air.finish(batch, delivered=None)
            self._parts.air.plan(peer.config.key_id, (), is_all=True)

    def fail(self, peer: Peer) -> None:
        """What was chosen for the peer can't be sent in this round."""
        if self._parts.air is not None:
            self._parts.air.fail(peer.config.key_id)

    def penalize(self, peer: Peer, reason: str) -> None:
        """Hostile input costs the peer half of its share of the air; an hour gives it back."""
        if self._parts.air is not None:
            self._parts.air.penalize(peer.config.key_id, reason)

    def send(self, peer: Peer, round_: MeshRound) -> None:
        """Send what the planner hands over to this peer now."""
        air, key_id = self._parts.air, peer.config.key_id
        assert air is not None
        while True:
            if not self._removals_came(round_):
                air.pump(self.covers(round_.state))
            batches = air.take(key_id)
            if not batches:
                waiting = (round_.wanted or frozenset()) - round_.went
                previewing.send_ahead(self._parts, peer, round_.state, waiting)
                return
            for batch in batches:
                self._send(peer, round_, batch)

    def arrived(self, sent: Unacked) -> None:
        """The peer took a batch."""
        if sent.planned is not None:
            self._end(sent, delivered=True)

    def lost(self, round_: MeshRound, wait_s: float | None = None) -> None:
        """Batches under way have come to nothing, as far as anybody knows."""
        for sent in round_.unacked:
            self._end(sent, delivered=False, wait_s=wait_s)
        round_.unacked.clear()

    def _end(self, sent: Unacked, *, delivered: bool, wait_s: float | None = None) -> None:
        if sent.planned is not None and self._parts.air is not None:
            self._show(sent, BatchOutcome.TAKEN if delivered else BatchOutcome.LOST)
            names = None if delivered else ()
            message = sent.message
            self._parts.air.finish(sent.planned, delivered=names, message=message, wait_s=wait_s)

    def _send(self, peer: Peer, round_: MeshRound, batch: Batch) -> None:
        """Send a batch as it was chosen; what it has by now, or may not have, is not."""
        bridge, key_id = self._parts.bridge, peer.config.key_id
        found: list[tuple[Named, bytes]] = []
        wanted = round_.wanted
        for item in (each for each in batch.items if wanted is None or each.name in wanted):
            served = bridge.serve(key_id, item.kind, [item.envelope_id], budget_bytes=1)
            found += [(item.name, envelope) for envelope in served.envelopes]
        if not found:
            assert self._parts.air is not None
            self._parts.air.finish(batch, delivered=None)
            return
        coded = batch_of([(kind, envelope) for (kind, _), envelope in found], is_slow=True)
        message = Records(round_.round_id, coded)
        named = tuple(name for name, _ in found)
        sent = Unacked(round_.round_id, named, batch, message)
        round_.unacked.append(sent)
        self._show(sent, BatchOutcome.SENT)
        round_.sent.update(kind for kind, _ in named)
        round_.went |= frozenset(named)
        self._parts.try_say(round_.state, message, is_paid=True)

    def _show(self, sent: Unacked, outcome: BatchOutcome) -> None:
        batch = sent.planned
        if batch is not None:
            self._parts.events.show(
                BatchEvent(
                    peer=batch.peer,
                    over=batch.interface,
                    outcome=outcome,
                    records=len(sent.named),
                    airtime_s=batch.airtime_s,
                )
            )

    def _item(self, key_id: str, kind: EnvelopeKind, envelope_id: bytes) -> Item | None:
        """A record as the planner sees it: the size it has when it is coded alone, and its time."""
        row = self._parts.bridge.naming.row(key_id, kind, envelope_id)
        if row is None:
            return None
        size_bytes = len(batch_of([(kind, row.envelope)], is_slow=True))
        return Item(kind, envelope_id, size_bytes, row.seq)

    def _removals_came(self, round_: MeshRound) -> bool:
        generation = self._parts.directory.generation
        return any(
            generation(kind) != round_.generations[kind]
            for kind in REMOVALS & round_.generations.keys()
        )
