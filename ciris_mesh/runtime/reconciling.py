"""Rounds between nodes that both reconcile: find out what differs, send it, compare again.

    opener                              answerer
    Digests  ----------------------------->
             <----------------------------- Digests, reply: some kinds differ
    Sketch   ----------------------------->
             <----------------------------- Wants            (or more; see protocol.reconcile)
    Records  <----------------------------> Records          each answered with Taken
    Digests  ----------------------------->
             <----------------------------- Digests, reply, after its last Records

All kinds are in one round. A record in the answerer's view that never makes it into the opener's
does not go round in circles: what a peer took and still lacks waits before it is sent again, what
this node once noted and the peer has no more is forgotten, and a kind that moves nothing is tried
ever more seldom. When digests differ and nothing explains it, a second exchange has another salt;
after that the kinds that differ go through rounds of Summaries.

Everything runs on the peers' strands; who calls is `exchange`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from ciris_mesh.errors import MeshError, ReconcileRefused, RemoteProtocolError
from ciris_mesh.protocol.answering import Answering
from ciris_mesh.protocol.reconcile import Exchange, step
from ciris_mesh.protocol.reconcile_events import (
    Failure,
    FallBack,
    GaveUp,
    Ignored,
    Load,
    LoadBuckets,
    Loaded,
    LoadedBuckets,
    Passed,
    Received,
    ReconcileAction,
    ReconcileInput,
    Resolved,
    Send,
    Start,
    TakeTurn,
)
from ciris_mesh.protocol.report import SessionRole
from ciris_mesh.protocol.shortid import id_of, kind_of
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.runtime import previewing
from ciris_mesh.runtime.allowance import OPENING_COST_S
from ciris_mesh.runtime.events import RoundOutcome
from ciris_mesh.runtime.handshake import LinkState
from ciris_mesh.runtime.mesh_events import publish
from ciris_mesh.runtime.mesh_round import MeshRound, Stage, Unacked, begins_exchange, whose
from ciris_mesh.runtime.parts import Parts
from ciris_mesh.runtime.peers import Peer
from ciris_mesh.runtime.radiosending import RadioSending
from ciris_mesh.runtime.recoding import batch_of
from ciris_mesh.runtime.roundhost import Host
from ciris_mesh.runtime.viewing import buckets_of, items_of, next_batch, spare_of
from ciris_mesh.wire.mesh import Digests
from ciris_mesh.wire.mesh_reconcile import SALT_BYTES, Failed, ReconcileMessage, Turn
from ciris_mesh.wire.mesh_records import ROUND_MAX, Records, Taken
from ciris_mesh.wire.messages import Deliver

#: Batches under way: one is worked off, one read ahead, two travel, since one often came too late.
BATCHES_MAX: Final = 4

#: Summaries of 1,000 records are eight minutes of LoRa: once a day, if reconciling fails.
SLOW_FALL_BACK_S: Final = 86_400.0


class Reconciling:
    """The reconciled rounds of one node, at most one a peer."""

    def __init__(self, parts: Parts, host: Host, *, no_progress_timeout_s: float) -> None:
        self._parts = parts
        self._host = host
        self._no_progress_timeout_s = no_progress_timeout_s
        self._radio = RadioSending(parts)

    # -- comparisons -------------------------------------------------------------------------

    def compared(
        self,
        peer: Peer,
        state: LinkState,
        equal: Sequence[EnvelopeKind],
        differ: Sequence[EnvelopeKind],
    ) -> None:
        """Our comparison was answered: close the round, or begin one."""
        round_ = peer.round
        if round_ is None:
            self._begin_if_worth(peer, state, differ)
        elif round_.stage is Stage.CLOSING:
            self._judge(peer, round_, equal, differ)
        else:  # it was asked before the round; what differs, the round will settle
            self._go_on(peer, round_)

    def keeps_waiting(self, peer: Peer, theirs: Digests) -> bool:
        """The peer compares: True when it will be answered by and by, after the last record."""
        round_ = peer.round
        if round_ is None or round_.stage is not Stage.DELIVERING:
            return False
        if round_.role is SessionRole.INITIATOR:
            return False
        round_.is_closed = True
        waits = round_.outgoing or (round_.unacked and self._radio.covers(round_.state))
        round_.owed = theirs if waits else None
        return round_.owed is not None

    def answered(
        self, peer: Peer, equal: Sequence[EnvelopeKind], differ: Sequence[EnvelopeKind]
    ) -> None:
        """The peer's comparison was answered, and this is what it showed."""
        round_ = peer.round
        if not differ:
            self._radio.agreed(peer)
        if round_ is not None and round_.stage is Stage.CLOSING and peer.check_out:
            peer.check_out = 0  # it sent for longer than we did: its question is an answer
            self._judge(peer, round_, equal, differ)
            return
        if round_ is None or not round_.is_closed:
            return
        round_.agreed = frozenset(equal)
        admitted = any(round_.admitted(kind) for kind in round_.tallies)
        if differ and (round_.sent or admitted):  # it has not all of it yet, or may now send more
            peer.moved = True
        self._go_on(peer, round_)

    # -- messages ----------------------------------------------------------------------------

    def received(self, peer: Peer, state: LinkState, message: ReconcileMessage) -> None:
        """Take a message that finds out what differs."""
        begins = begins_exchange(peer.round, message)
        if begins and not self._may_open(peer, state, message):
            self._parts.try_say(state, Failed(message.round_id))
            return
        if begins and peer.round is None:
            self._begin(peer, state, SessionRole.RESPONDER, frozenset())
        round_ = peer.round
        if round_ is None:
            self._parts.drops.count("reconcile_nothing_open")
            return
        if isinstance(message, Failed) and (
            message.round_id == round_.round_id or round_.awaits_opening
        ):  # we had found something, and it was wrong; or the peer will not open
            self._finish(peer, round_)
            return
        if begins and round_.stage is not Stage.COMPARING:  # it began anew; so do we
            round_.stage, round_.is_closed, round_.owed = Stage.COMPARING, False, None
            round_.outgoing.clear()
        with peer.allowance.working():
            self._feed(peer, round_, Received(message))

    def took(
        self, peer: Peer, state: LinkState, message: Records, delivers: Sequence[Deliver]
    ) -> bool:
        """Admit a batch, and ask for the next. True when anything of it was of use here."""
        round_ = peer.round
        if round_ is None:  # the peer knew what to send without asking: we had nothing
            peer.allowance.spend(OPENING_COST_S)
            round_ = self._begin(peer, state, SessionRole.RESPONDER, frozenset())
            round_.stage = Stage.DELIVERING
        is_new = is_of_use = False
        for deliver in delivers:
            before = self._parts.directory.generation(deliver.kind)
            is_of_use = self._admit(peer, state, round_, deliver) or is_of_use
            is_new = is_new or self._parts.directory.generation(deliver.kind) != before
        self._parts.try_say(state, Taken(message.round_id))
        if is_new:
            self._host.spread(exclude=peer.config.key_id)
        return is_of_use

    def taken(self, peer: Peer, message: Taken) -> None:
        """The peer worked off a batch."""
        round_ = peer.round
        if round_ is None or not round_.unacked or round_.unacked[0].round_id != message.round_id:
            self._parts.drops.count("taken_unasked")
            return
        batch = round_.unacked.popleft()
        self._radio.arrived(batch)
        for kind in {kind for kind, _ in batch.named}:
            ids = [envelope_id for each, envelope_id in batch.named if each is kind]
            self._parts.bridge.note_taken(peer.config.key_id, kind, ids)
        self._go_on(peer, round_)

    def abort(
        self, peer: Peer, outcome: RoundOutcome, reason: str, *, wait_s: float | None = None
    ) -> None:
        """The round is over, badly, for whatever reason. Nothing of it stays.

        Args:
            wait_s: the peer said for how long it has no air.
        """
        round_, peer.round = peer.round, None
        if round_ is not None:
            self._radio.lost(round_, wait_s)
            for kind in round_.moved:
                publish(self._parts, peer, round_, kind, outcome, reason=reason)

    # -- beginning ---------------------------------------------------------------------------

    def _begin_if_worth(self, peer: Peer, state: LinkState, differ: Sequence[EnvelopeKind]) -> None:
        generation = self._parts.directory.generation
        if not differ:
            self._radio.agreed(peer)
        has_batch = self._radio.has_batch(peer)
        if has_batch or any(peer.worth_a_round(kind, generation(kind)) for kind in differ):
            self._open(peer, state, differ, attempt=1)

    def _open(
        self, peer: Peer, state: LinkState, differ: Sequence[EnvelopeKind], *, attempt: int
    ) -> None:
        round_ = self._begin(peer, state, SessionRole.INITIATOR, frozenset(differ))
        start = self._start(peer, round_, attempt=attempt)
        if attempt > 1 or not self._lets_open(peer, round_, start):
            self._feed(peer, round_, start)

    def _lets_open(self, peer: Peer, round_: MeshRound, start: Start) -> bool:
        """Only who answers can say "I have that, don't send it". Once a round: it is to begin."""
        spare = spare_of(self._parts.bridge, peer.config.key_id, round_, None)
        if round_.has_turned or not spare:
            return False
        round_.has_turned = True
        self._perform(peer, round_, Send(Turn(start.round_id)))
        return True

    def _may_open(self, peer: Peer, state: LinkState, message: ReconcileMessage) -> bool:
        """May the peer open an exchange now? If not, why is counted."""
        if not state.compared:
            self._parts.drops.count("reconcile_not_compared")
        elif not peer.allowance.is_open():
            self._parts.drops.count("reconcile_too_often", type(message).__name__)
        else:
            peer.allowance.spend(OPENING_COST_S)
            return True
        return False

    def _begin(
        self, peer: Peer, state: LinkState, role: SessionRole, differ: frozenset[EnvelopeKind]
    ) -> MeshRound:
        kinds = state.compared or tuple(kind for kind in EnvelopeKind if kind in state.kinds)
        generations = {kind: self._parts.directory.generation(kind) for kind in kinds}
        now_s = self._parts.clock()
        exchange = Exchange(state.salt(), self._parts.limits)
        round_ = MeshRound(state, exchange, role, kinds, differ, generations, now_s)
        peer.round = round_
        if not state.is_slow:
            self._parts.directory.foresight.expect(state.beyond)
        self._parts.when_still(
            state.link,
            self._no_progress_timeout_s,
            queue=lambda task: self._parts.submit(peer.config.key_id, task),
            is_over=lambda: peer.round is not round_,
            then=lambda: self._give_up(peer, RoundOutcome.TIMED_OUT, "no_progress"),
        )
        return round_

    def _start(
        self, peer: Peer, round_: MeshRound, *, attempt: int = 1, asked: bool = False
    ) -> Start:
        rng, key_id = self._parts.rng, peer.config.key_id
        view_digest = self._parts.bridge.view_digest
        return Start(
            rng.randrange(1, ROUND_MAX),  # never 0, nor with a second attempt
            rng.randbytes(SALT_BYTES),
            own_count=sum(view_digest(key_id, kind).count for kind in round_.kinds),
            their_count=round_.state.their_count,
            asked=asked,
            attempt=attempt,
        )

    # -- the exchange ------------------------------------------------------------------------

    def _feed(self, peer: Peer, round_: MeshRound, first: ReconcileInput) -> None:
        """Step the exchange and do what it says; whatever breaks ends round and link."""
        try:
            pending = deque([first])
            while pending and peer.round is round_:
                event, before = pending.popleft(), round_.exchange.task
                round_.exchange, actions = step(round_.exchange, event)
                for action in actions:
                    if isinstance(action, Resolved | FallBack):
                        round_.role, round_.round_id = whose(before, event)
                    answer = self._perform(peer, round_, action)
                    if answer is not None:
                        pending.append(answer)
        except MeshError as error:
            remote = isinstance(error, RemoteProtocolError)
            reason = error.reason if isinstance(error, ReconcileRefused) else "unexpected_message"
            outcome = RoundOutcome.REFUSED if remote else RoundOutcome.ERROR
            self._parts.drops.count(f"reconcile_{reason}", str(error))
            if isinstance(error, ReconcileRefused):
                self._radio.penalize(peer, "sketch")
            self._give_up(peer, outcome, reason)

    def _perform(
        self, peer: Peer, round_: MeshRound, action: ReconcileAction
    ) -> ReconcileInput | None:
        match action:
            case Send(message=message):
                if isinstance(message, Turn):
                    round_.round_id = message.round_id  # a peer that won't says so by it
                self._parts.try_say(round_.state, message)
            case Load(buckets=buckets, at_most=at_most):
                bridge, key_id = self._parts.bridge, peer.config.key_id
                items = items_of(bridge, key_id, round_.kinds, buckets, at_most=at_most)
                answers = isinstance(round_.exchange.task, Answering)
                return Loaded(items, spare_of(bridge, key_id, round_, buckets) if answers else ())
            case LoadBuckets():
                bridge = self._parts.bridge
                return LoadedBuckets(buckets_of(bridge, peer.config.key_id, round_.kinds))
            case TakeTurn():
                start = self._start(peer, round_, asked=True)
                return None if self._lets_open(peer, round_, start) else start
            case Resolved():
                self._deliver(peer, round_, action)
            case FallBack() | GaveUp():
                self._came_to_nothing(peer, round_, action)
            case Ignored(reason=reason):
                if reason is not Passed.OURS_GOES_FIRST:  # both opened: nobody's fault
                    self._parts.drops.count(f"reconcile_{reason}")
        return None

    def _came_to_nothing(self, peer: Peer, round_: MeshRound, action: FallBack | GaveUp) -> None:
        """By whatever chance. Who answered leaves it to the peer to try again or to fall back."""
        self._parts.drops.count(f"reconcile_{action.reason}")
        if action.reason is Failure.WRONG_RESULT:  # else the peer knows
            self._parts.try_say(round_.state, Failed(round_.round_id))
        self._radio.fail(peer)
        self._finish(peer, round_)
        if isinstance(action, FallBack):
            self._fall_back(peer, round_.state, sorted(round_.differ or round_.kinds))

    # -- sending and receiving ---------------------------------------------------------------

    def _deliver(self, peer: Peer, round_: MeshRound, resolved: Resolved) -> None:
        bridge, key_id = self._parts.bridge, peer.config.key_id
        round_.stage, round_.is_partial = Stage.DELIVERING, resolved.is_partial
        by_kind: dict[EnvelopeKind, set[bytes]] = {}
        for element in resolved.offer:
            by_kind.setdefault(kind_of(element), set()).add(id_of(element))
        for element in resolved.met:
            bridge.note_met(key_id, kind_of(element), (id_of(element),))
        in_flight = round_.in_flight
        for kind in round_.kinds:
            lacking = by_kind.get(kind, set())
            if resolved.everything:
                lacking = set(bridge.view_ids(key_id, kind))
            if lacking:
                round_.withdrawn += bridge.no_longer_offered(key_id, kind, lacking)
                due, withheld = bridge.to_send(key_id, kind, lacking)
                round_.withheld += withheld
                named = ((kind, one) for one in due)
                round_.outgoing.extend(one for one in named if one not in in_flight)
        self._radio.plan(peer, round_)
        self._go_on(peer, round_)

    def go_on(self, peer: Peer) -> None:
        """There may be more to send now."""
        if peer.round is not None:
            self._go_on(peer, peer.round)

    def _go_on(self, peer: Peer, round_: MeshRound) -> None:
        """Send what may be sent now; when that was all, close or be closed."""
        if peer.round is not round_ or round_.stage is not Stage.DELIVERING:
            return
        if self._radio.covers(round_.state):
            self._radio.send(peer, round_)
        while round_.outgoing and len(round_.unacked) < BATCHES_MAX:
            batch = next_batch(self._parts.bridge, peer.config.key_id, round_)
            if batch:
                named = tuple((kind, one) for kind, one, _ in batch)
                round_.unacked.append(Unacked(round_.round_id, named))
                round_.sent.update(kind for kind, _ in named)
                envelopes = [(kind, envelope) for kind, _, envelope in batch]
                slow, knows = round_.state.is_slow, round_.state.capabilities
                coded = batch_of(envelopes, is_slow=slow, capabilities=knows)
                self._parts.try_say(round_.state, Records(round_.round_id, coded))
        if not round_.outgoing:
            self._all_sent(peer, round_)

    def _all_sent(self, peer: Peer, round_: MeshRound) -> None:
        if round_.role is SessionRole.INITIATOR:
            if round_.unacked and self._radio.covers(round_.state):
                return  # more may be handed over then
            if not peer.check_out:  # else the answer to that one comes first
                round_.stage = Stage.CLOSING
                self._host.say_check(peer, round_.state, round_.to_confirm)
        elif round_.owed is not None and round_.sent and self._radio.covers(round_.state):
            if not round_.unacked:
                self._close_instead(peer, round_)
        elif round_.owed is not None:
            owed, round_.owed = round_.owed, None
            self._host.answer(peer, round_.state, owed)
        elif round_.is_closed and not round_.unacked:
            self._finish(peer, round_)

    def _close_instead(self, peer: Peer, round_: MeshRound) -> None:
        """The peer compared before all this was sent; asked anew, the answer tells both sides."""
        round_.owed, round_.role, round_.stage = None, SessionRole.INITIATOR, Stage.CLOSING
        self._host.say_check(peer, round_.state, round_.to_confirm)

    def _admit(self, peer: Peer, state: LinkState, round_: MeshRound, deliver: Deliver) -> bool:
        """True when something of it is new here, on a shelf or waiting for one."""
        kind, key_id, bridge = deliver.kind, peer.config.key_id, self._parts.bridge
        if kind not in state.kinds & peer.config.kinds:
            self._parts.drops.count("kind_not_served", kind)
            return False
        if not peer.config.direction.takes:  # it does not know the bit that says so
            met = bridge.naming.of_unread(key_id, kind, deliver.envelopes)
            bridge.note_met(key_id, kind, met)  # else it is sent again for ever
            self._parts.drops.count("record_not_taken", kind)
            return False
        if not bridge.is_worth_taking(key_id, kind):
            self._parts.drops.count("kind_refused_too_often", kind)
            return False
        now_ms = self._parts.wall_ms()
        verdicts = bridge.apply(key_id, kind, deliver.envelopes, now_ms=now_ms)
        round_.note_received(kind, verdicts)
        previewing.settle(self._parts, verdicts)
        return any(one.outcome.is_change or one.outcome is Outcome.DEFERRED for one in verdicts)

    # -- ending ------------------------------------------------------------------------------

    def _judge(
        self,
        peer: Peer,
        round_: MeshRound,
        equal: Sequence[EnvelopeKind],
        differ: Sequence[EnvelopeKind],
    ) -> None:
        """All was sent and the peer's digests came: is there more to do, and who explains it?"""
        state, generation = round_.state, self._parts.directory.generation
        round_.agreed = frozenset(equal)
        self._finish(peer, round_)
        for kind in differ:
            now = generation(kind)
            # A radio round may end early, with more to say at once; what was sent is moving.
            moves = round_.admitted(kind) > 0 or bool(round_.sent and self._radio.covers(state))
            peer.note_round(kind, moved=moves, generation=now)
        is_news = any(generation(kind) != round_.generations.get(kind) for kind in differ)
        found = round_.sent or round_.tallies or round_.withheld or round_.withdrawn
        if not differ:
            peer.wondered = ()
            self._radio.agreed(peer)
        elif peer.check_out:
            return  # a check that was due is out, and its answer decides
        elif is_news or round_.is_partial:
            self._open(peer, state, differ, attempt=1)
        elif not found and not self._radio.covers(state):  # there the peer may just lack the air
            self._wonder(peer, state, differ)

    def _wonder(self, peer: Peer, state: LinkState, differ: Sequence[EnvelopeKind]) -> None:
        """Digests differ, and nothing was found that does: chance, news of the peer's, or worse.

        Of kinds that look the same after another attempt, Summaries will tell. Of the others the
        peer had news, and compares itself.
        """
        before, now = peer.wondered, state.theirs_of(differ)
        if not before:
            peer.wondered = now
            self._open(peer, state, differ, attempt=2)
            return
        peer.wondered = ()
        if stuck := [entry.kind for entry in now if entry in before]:
            self._fall_back(peer, state, stuck)

    def _fall_back(self, peer: Peer, state: LinkState, kinds: Sequence[EnvelopeKind]) -> None:
        now_s = self._parts.clock()
        if state.is_slow and now_s < peer.next_fall_back_s:
            self._parts.drops.count("reconcile_fall_back_waits")
            for kind in kinds:  # else every check would try it again, twice
                generation = self._parts.directory.generation(kind)
                peer.note_round(kind, moved=False, generation=generation)
            return
        peer.next_fall_back_s = now_s + SLOW_FALL_BACK_S
        self._parts.drops.count("reconcile_fell_back")
        self._host.fall_back(peer, kinds)

    def _finish(self, peer: Peer, round_: MeshRound) -> None:
        """The round did what it could."""
        peer.round = None
        self._radio.lost(round_)
        for kind in round_.moved:
            publish(self._parts, peer, round_, kind, RoundOutcome.COMPLETED)
        if peer.moved or peer.spreading or self._radio.has_batch(peer):
            peer.moved = False
            self._host.check(peer.config.key_id)

    def _give_up(self, peer: Peer, outcome: RoundOutcome, reason: str) -> None:
        """Nothing said on this link may reach a later round, so the link goes as well."""
        if outcome is RoundOutcome.TIMED_OUT:
            self._parts.drops.count(f"reconcile_{reason}")
        self.abort(peer, outcome, reason)
        self._parts.drop_link(peer, reason)
