"""What two peers do on a link: compare all kinds in one exchange, then repair those that differ.

Runs on the peers' strands. Comparing is cheap and happens every cadence; a round happens only when
digests differ, and something new here is compared with the others at once. Two nodes that both
reconcile have one round for all kinds (`reconciling`); with others each kind that differs takes
one of Summaries.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from ciris_mesh.errors import MeshError, NoAir, TransportError
from ciris_mesh.protocol.report import BoundedBy, InSync, RoundReport
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.runtime.comparison import beyond, own_digests, split
from ciris_mesh.runtime.coordinator import ReplicationCoordinator
from ciris_mesh.runtime.events import RoundOutcome
from ciris_mesh.runtime.handshake import LinkState, reconciles
from ciris_mesh.runtime.parting import part_if_done
from ciris_mesh.runtime.parts import HUSH_S_MAX, Parts
from ciris_mesh.runtime.peers import Peer
from ciris_mesh.runtime.radiocheck import cadence_s, may_check
from ciris_mesh.runtime.recoding import records_of
from ciris_mesh.runtime.reconciling import Reconciling
from ciris_mesh.runtime.registry import NoCoordinatorRegistered, NotAReplicationFrame, Routed
from ciris_mesh.runtime.scheduler import ReplicationScheduler
from ciris_mesh.runtime.vouching import VouchedRows
from ciris_mesh.wire.frame import AnyMessage
from ciris_mesh.wire.mesh import Digests
from ciris_mesh.wire.mesh_reconcile import ReconcileMessage
from ciris_mesh.wire.mesh_records import CAPABILITY_RECORDS, Records, Taken
from ciris_mesh.wire.messages import Deliver, ReplicationMessage

ALL_KINDS: Final = frozenset(EnvelopeKind)

logger = logging.getLogger(__name__)

#: News is told after this plus a random part of SPREAD_JITTER_S: records written together travel
#: together, and a node's peers don't all answer in the same instant.
SPREAD_DELAY_S: Final = 0.1
SPREAD_JITTER_S: Final = 0.4

#: Two nodes that start together would dial each other at once, and one link be thrown away. The
#: one with the larger address lets the other go first by this much; both add a random second.
DIAL_YIELD_S: Final = 2.0


class Exchange:
    """Comparisons and rounds with every peer. Built and owned by ReplicationRuntime."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._vouched = VouchedRows(parts, parts.bridge.vouches, self.tell)
        self.scheduler: ReplicationScheduler  # set by `join`: the two call each other
        self.rounds: Reconciling

    def join(self, scheduler: ReplicationScheduler) -> None:
        """Get to know the scheduler. Once, before anything else."""
        self.scheduler = scheduler
        timeout_s = scheduler.config.no_progress_timeout_s
        self.rounds = Reconciling(self._parts, self, no_progress_timeout_s=timeout_s)

    def tell(self, key_id: str, message: ReplicationMessage) -> None:
        """Put one message of a round on the peer's link, in the best form both ends know.

        Raises:
            TransportError, BackPressure: it can't go out, or there is no link.
        """
        peer = self._parts.peers.get(key_id)
        if peer is None or peer.link is None:
            raise TransportError(f"no link to {key_id}")
        link = peer.link
        carried: AnyMessage = message
        if isinstance(message, Deliver) and link.capabilities & CAPABILITY_RECORDS:
            slow, knows = link.is_slow, link.capabilities
            carried = records_of(message, is_slow=slow, capabilities=knows) or message
        try:
            self._parts.say(link, carried)
        except NoAir as error:
            self._parts.no_air(link, error)
            raise

    def give_up(self, key_id: str, reason: str) -> None:
        """A round broke or stalled: close the link, so that its frames reach no later round."""
        peer = self._parts.peers.get(key_id)
        if peer is not None:
            self._parts.drop_link(peer, reason)

    def dial_soon(self, peer: Peer, delay_s: float = 0.0) -> None:
        """Dial a peer without a link shortly, unless it dials us first."""
        yields = self._parts.transport.address > peer.config.address
        delay_s += self._parts.rng.random() + (DIAL_YIELD_S if yields else 0.0)
        self.scheduler.trigger(peer.config.key_id, delay_s)

    def check(self, key_id: str) -> None:
        """Compare with one peer, or dial it first. Called by the scheduler on its strand."""
        peer = self._parts.peers.get(key_id)
        if peer is None:
            return
        if peer.link is not None and peer.round is not None:
            return  # it ends with a comparison, and with another if there is news
        if may_check(self._parts, peer, self.scheduler):
            self.check_now(peer)

    def check_now(self, peer: Peer) -> None:
        """As `check`, when its time has come and there is air."""
        if peer.link is None and peer.greeting is not None and peer.greeting.inbound:
            return  # the peer dialled: it compares as soon as it knows who this is
        peer.spreading = False
        if peer.link is None:
            if not peer.dialing:
                peer.dialing = True
                first = next((kind for kind in EnvelopeKind if kind in peer.config.kinds), None)
                self._parts.transport.dial(peer.config.address, first)
            return
        if not peer.check_out:
            self.say_check(peer, peer.link)

    def say_check(
        self, peer: Peer, state: LinkState, kinds: frozenset[EnvelopeKind] = ALL_KINDS
    ) -> None:
        """Compare with one peer on this link. None is out."""
        peer.checks += 1
        peer.check_out = peer.checks
        self._parts.try_say(state, self._own_digests(peer, state, kinds, reply=False))
        self._expect_answer(peer, state, peer.checks)

    def _expect_answer(self, peer: Peer, state: LinkState, number: int) -> None:
        """A comparison nobody answers is a dead link, however alive it looks."""

        def give_up() -> None:
            self._parts.drops.count("check_unanswered", peer.config.key_id)
            self._parts.drop_link(peer, "no_answer")

        self._parts.when_still(
            state.link,
            self.scheduler.config.no_progress_timeout_s,
            queue=lambda task: self._parts.submit(peer.config.key_id, task),
            is_over=lambda: peer.link is not state or peer.check_out != number,
            then=give_up,
        )

    def _own_digests(
        self, peer: Peer, state: LinkState, kinds: frozenset[EnvelopeKind], *, reply: bool
    ) -> Digests:
        kinds &= state.kinds & peer.config.kinds
        return own_digests(self._parts.bridge, peer.config.key_id, kinds, state.salt(), reply=reply)

    def compared(self, state: LinkState, theirs: Digests) -> None:
        """The peer's digests came: answer them, or take what differs through a round."""
        peer = self._parts.peers.get(state.key_id)
        if peer is None:
            self._parts.drops.count("digests_unattributed")
            return
        if peer.link is not state:
            self._on_other_link(state, "digests_on_spare_link")
            return
        if theirs.reply and not peer.check_out:
            self._parts.drops.count("digests_unasked")
            return
        if theirs.reply:
            self._answered(peer, state, theirs)
            self.part_if_done(peer)
        elif not self.rounds.keeps_waiting(peer, theirs):
            try:
                if self._parts.air is not None and peer.round is None:
                    self._parts.air.lets_answer(state)
                self.answer(peer, state, theirs)
                self.part_if_done(peer)
            except NoAir as error:
                self._parts.no_air(state, error)

    def answer(self, peer: Peer, state: LinkState, theirs: Digests) -> None:
        """The peer compares with us: say what we have."""
        ours, equal, differ = self._split(peer, state, theirs)
        state.is_theirs_to_open = bool(differ)
        self._parts.try_say(state, ours)
        self.scheduler.postpone(peer.config.key_id)
        later_s = self._parts.clock() + cadence_s(self._parts, peer.radio or "")
        peer.next_check_s = max(peer.next_check_s, later_s)
        self.rounds.answered(peer, equal, differ)
        self._ask_vouched(peer, state)

    def _answered(self, peer: Peer, state: LinkState, theirs: Digests) -> None:
        generations = {kind: self._parts.directory.generation(kind) for kind in EnvelopeKind}
        _, equal, differ = self._split(peer, state, theirs)
        peer.check_out, state.is_theirs_to_open = 0, False
        if reconciles(state):
            self.rounds.compared(peer, state, equal, differ)
        else:
            worth = [kind for kind in differ if peer.worth_a_round(kind, generations[kind])]
            self.scheduler.run(peer.config.key_id, worth)
        self._ask_vouched(peer, state)

    def _ask_vouched(self, peer: Peer, state: LinkState) -> None:
        """By Summaries a Deliver answers a Diff: none may come for another reason meanwhile."""
        by_summaries = state.is_theirs_to_open or self.scheduler.is_busy(peer.config.key_id)
        if reconciles(state) or not by_summaries:
            self._vouched.ask(peer, state)

    def part_if_done(self, peer: Peer) -> None:
        """On a radio: was this all there is to say on the link?"""
        part_if_done(self._parts, peer, self.scheduler)

    def fall_back(self, peer: Peer, kinds: Sequence[EnvelopeKind]) -> None:
        """Reconciling came to nothing: take these kinds through rounds of Summaries."""
        self.scheduler.run(peer.config.key_id, kinds)

    def _split(
        self, peer: Peer, state: LinkState, theirs: Digests
    ) -> tuple[Digests, list[EnvelopeKind], list[EnvelopeKind]]:
        """Our own side, the kinds that are equal, and those that differ."""
        # Read before the digests: what is admitted meanwhile has not been agreed on.
        generations = {kind: self._parts.directory.generation(kind) for kind in EnvelopeKind}
        named = frozenset(entry.kind for entry in theirs.entries)
        ours = self._own_digests(peer, state, named, reply=not theirs.reply)
        equal, differ = split(ours, theirs)
        state.theirs, state.differ = theirs, frozenset(differ)
        state.beyond = beyond(ours, theirs)
        if self._parts.air is not None:
            self._parts.air.compared(state, ours, theirs)
        state.compared = tuple(sorted(equal + differ, key=_wire_order))
        for kind in equal:
            self._agree(peer, kind, generations[kind])
        return ours, equal, differ

    def _agree(self, peer: Peer, kind: EnvelopeKind, generation: int) -> None:
        peer.failures = 0
        self._parts.bridge.note_agreed(peer.config.key_id, kind)
        peer.fruitless.pop(kind, None)
        waiting = self._parts.bridge.waiting(peer.config.key_id, kind)
        signal = BoundedBy(waiting) if waiting else InSync()
        self._parts.board.post(peer.config.key_id, kind, signal)
        peer.agreed[kind] = generation  # last: whoever waits for it looks at the board next

    def took(
        self, peer: Peer, state: LinkState, message: Records, delivers: Sequence[Deliver]
    ) -> bool:
        """Take a batch of records from an attributed peer. True when it was of use."""
        if peer.link is not state:
            self._on_other_link(state, "frame_on_spare_link")
            return False
        if message.round_id and reconciles(state):
            is_of_use = self.rounds.took(peer, state, message, delivers)
            self.part_if_done(peer)
            return is_of_use
        came = [self.received(peer, state, deliver) for deliver in delivers]
        return any(came)

    def reconciled(self, peer: Peer, state: LinkState, message: ReconcileMessage | Taken) -> None:
        """Take a message of a reconciled round from an attributed peer."""
        if peer.link is not state:
            self._on_other_link(state, "frame_on_spare_link")
        elif not reconciles(state):
            self._parts.drops.count("reconcile_not_stated")
        elif isinstance(message, Taken):
            self.rounds.taken(peer, message)
            self.part_if_done(peer)
        else:
            self.rounds.received(peer, state, message)
            self.part_if_done(peer)

    def abort(self, peer: Peer, reason: str) -> None:
        """The peer's link is gone, and every round with it."""
        self.rounds.abort(peer, RoundOutcome.ERROR, reason)
        self.scheduler.abort_peer(peer.config.key_id, reason)
        if self._parts.air is not None:
            self._parts.air.fail(peer.config.key_id)

    def send_batches(self, key_id: str) -> None:
        """The planner chose records for a peer: send them in the round there is, or open one."""
        peer, air = self._parts.peers.get(key_id), self._parts.air
        if air is None or not air.has_batch(key_id):
            return
        if peer is None:
            air.forget(key_id)
        elif peer.link is not None and peer.round is not None:
            self.rounds.go_on(peer)
        elif not peer.check_out and not peer.dialing:
            self.check(key_id)

    def hushed(self, peer: Peer, state: LinkState, wait_s: float) -> None:
        """The peer has no air for so long: nothing it would have to answer is sent until then."""
        if self._parts.air is None or not self._parts.air.covers(state):
            self._parts.drops.count("no_air_unasked")  # that can't be where air is no matter
            return
        self._parts.drops.count("peer_no_air")
        wait_s = min(wait_s, HUSH_S_MAX)
        peer.hushed_until_s = self._parts.clock() + wait_s
        self.rounds.abort(peer, RoundOutcome.ERROR, "peer_no_air", wait_s=wait_s)
        self._parts.air.fail(peer.config.key_id, wait_s)
        self._parts.drop_link(peer, "peer_no_air")
        if peer.link is not state:
            self._parts.transport.hang_up(state.link)

    def received(self, peer: Peer, state: LinkState, message: ReplicationMessage) -> bool:
        """Take one message of a round from an attributed peer. True when it brought something."""
        if peer.link is not state:
            self._on_other_link(state, "frame_on_spare_link")
        elif message.kind not in state.kinds & peer.config.kinds:
            self._parts.drops.count("kind_not_served", message.kind)
        elif isinstance(message, Deliver) and message.envelopes and not peer.config.direction.takes:
            self._parts.drops.count("record_not_taken", message.kind)
        elif isinstance(message, Deliver) and self._is_fetched(peer, state, message):
            return self._took_vouched(peer, state, message)
        else:
            return self._route(peer, message)
        return False

    def _is_fetched(self, peer: Peer, state: LinkState, deliver: Deliver) -> bool:
        """Was this asked for outside of rounds? While one is under way it may belong to that."""
        return deliver.kind in state.fetching and not self.scheduler.is_busy(peer.config.key_id)

    def _took_vouched(self, peer: Peer, state: LinkState, deliver: Deliver) -> bool:
        before = self._parts.directory.generation(deliver.kind)
        try:
            is_of_use = self._vouched.took(peer, state, deliver)
        except MeshError as error:
            self._parts.drops.count(f"round_{type(error).__name__.lower()}", str(error))
            is_of_use = False
        if self._parts.directory.generation(deliver.kind) != before:
            self.spread(exclude=peer.config.key_id)
        self.part_if_done(peer)
        return is_of_use

    def _on_other_link(self, state: LinkState, reason: str) -> None:
        """Whoever dialled the link in use compares on it, so a replaced one may fall silent."""
        if not state.replaced:
            self._parts.drops.count(reason)

    def _route(self, peer: Peer, message: ReplicationMessage) -> bool:
        outcome = self._parts.registry.route(peer.config.key_id, message)
        match outcome:
            case Routed(key=key):
                coordinator = self._parts.registry.lookup(key)
                return coordinator is not None and self._drive(peer, coordinator)
            case NoCoordinatorRegistered(kind=kind):
                self._parts.drops.count("no_coordinator", kind)
                return False
            case NotAReplicationFrame():
                raise AssertionError("a decoded message is a replication message")

    def _drive(self, peer: Peer, coordinator: ReplicationCoordinator) -> bool:
        """Work off what came. True when something of it is new on the federation shelf."""
        before = self._parts.directory.generation(coordinator.key.kind)
        try:
            reports = coordinator.drive()
        except MeshError as error:
            self._parts.drops.count(f"round_{type(error).__name__.lower()}", str(error))
            self.scheduler.failed(coordinator, error)
            return self._is_news(peer, coordinator, before)
        for report in reports:
            self._note(peer, report)
        is_news = self._is_news(peer, coordinator, before)
        self.scheduler.drove(coordinator, reports)
        news = peer.moved or peer.spreading  # a check that was due in the middle was skipped
        if news and not self.scheduler.is_busy(peer.config.key_id):
            peer.moved = False
            self.check(peer.config.key_id)
        self.part_if_done(peer)
        return is_news

    def _is_news(self, peer: Peer, coordinator: ReplicationCoordinator, before: int) -> bool:
        """Did the shelf change since? Then the others hear of it."""
        is_news = self._parts.directory.generation(coordinator.key.kind) != before
        if is_news:
            self.spread(exclude=peer.config.key_id)
        return is_news

    def _note(self, peer: Peer, report: RoundReport) -> None:
        self._parts.board.post(peer.config.key_id, report.kind, report.staleness)
        # What was sent or deferred has not moved until it is admitted: a peer that can take
        # nothing would otherwise be sent the same again at once, for ever.
        moved = report.admitted > 0
        peer.moved = peer.moved or moved
        peer.note_round(
            report.kind, moved=moved, generation=self._parts.directory.generation(report.kind)
        )

    def spread(self, exclude: str = "") -> None:
        """Something new is here: compare with the other peers soon, not at their cadence."""
        for peer in self._parts.peers.all():
            if peer.config.key_id != exclude and not peer.spreading:
                peer.spreading = True
                self.scheduler.trigger(
                    peer.config.key_id, SPREAD_DELAY_S + SPREAD_JITTER_S * self._parts.rng.random()
                )


def _wire_order(kind: EnvelopeKind) -> int:
    return KINDS[kind].number
