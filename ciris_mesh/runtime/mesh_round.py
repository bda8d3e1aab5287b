"""One reconciled round with one peer: what is under way, and what it came to so far."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from ciris_mesh.protocol.answering import Answering
from ciris_mesh.protocol.handover import Batch
from ciris_mesh.protocol.opening import Opening
from ciris_mesh.protocol.reconcile import Exchange
from ciris_mesh.protocol.reconcile_events import Received, ReconcileInput, Start
from ciris_mesh.protocol.report import (
    RoundReport,
    SessionRole,
    StalenessSignal,
    Tally,
)
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Verdict
from ciris_mesh.runtime.handshake import LinkState
from ciris_mesh.wire.mesh import Digests
from ciris_mesh.wire.mesh_reconcile import IdList, ReconcileMessage, Sketch, Turn
from ciris_mesh.wire.mesh_records import Records

Named = tuple[EnvelopeKind, bytes]


class Stage(Enum):
    """Where a round stands."""

    COMPARING = "comparing"
    DELIVERING = "delivering"
    CLOSING = "closing"  # all is sent; the peer's digests will tell


@dataclass(frozen=True, slots=True)
class Unacked:
    """A batch that was sent.

    Attributes:
        round_id: the round it was sent in, as Taken repeats it.
        planned, message: on a radio, whose air it took and what was sent.
    """

    round_id: int
    named: tuple[Named, ...]
    planned: Batch | None = None
    message: Records | None = None


@dataclass(slots=True)
class MeshRound:
    """A round between two nodes that both reconcile. Touched only on the peer's strand.

    Attributes:
        role: who closes it with a comparison: the side whose sketch was answered.
        kinds: those compared, in wire order.
        differ: those whose digests differed when it began, as far as this side knows.
        generations: of this directory when it began.
        round_id: what Records carry, or the peer was asked to open by; 0 before either.
        outgoing: what is still to be sent, in order.
        went: on a radio, what was sent.
        unacked: batches that were sent and not taken yet.
        unshelved: records that came and stand on no shelf here.
        has_turned: the peer was asked to open, for what is held here besides the view.
        wanted: on a radio, what the peer lacks by the last comparison; None when not all is known.
        withheld: what the peer lacks and was sent a moment ago.
        withdrawn: what the peer offered once and does not any more.
        owed: the peer's closing comparison, to be answered when all is sent.
        is_closed: it came.
        agreed: kinds of which the peer's digest equalled ours at the end.
    """

    state: LinkState
    exchange: Exchange
    role: SessionRole
    kinds: tuple[EnvelopeKind, ...]
    differ: frozenset[EnvelopeKind]
    generations: Mapping[EnvelopeKind, int]
    started_s: float
    stage: Stage = Stage.COMPARING
    round_id: int = 0
    outgoing: deque[Named] = field(default_factory=deque)
    unacked: deque[Unacked] = field(default_factory=deque)
    went: frozenset[Named] = frozenset()
    sent: Counter[EnvelopeKind] = field(default_factory=Counter)
    tallies: dict[EnvelopeKind, Tally] = field(default_factory=dict)
    unshelved: Counter[EnvelopeKind] = field(default_factory=Counter)
    has_turned: bool = False
    wanted: frozenset[Named] | None = None
    withheld: int = 0
    withdrawn: int = 0
    is_partial: bool = False
    owed: Digests | None = None
    is_closed: bool = False
    agreed: frozenset[EnvelopeKind] = frozenset()

    @property
    def to_confirm(self) -> frozenset[EnvelopeKind]:
        """Kinds to compare at the end. On a slow link those of which anything was to be moved: the
        others were equal a moment ago, and saying so again is half of what a comparison costs.
        """
        touched = self.differ | self.sent.keys() | self.tallies.keys()
        return touched if self.state.is_slow and touched else frozenset(self.kinds)

    @property
    def awaits_opening(self) -> bool:
        """The peer was asked to open, and has not."""
        return self.stage is Stage.COMPARING and self.exchange.task is None

    @property
    def in_flight(self) -> frozenset[Named]:
        """What was sent and not taken yet."""
        return frozenset(named for each in self.unacked for named in each.named)

    @property
    def moved(self) -> list[EnvelopeKind]:
        """Kinds of which something went either way, and those that differed."""
        kinds = self.differ | self.sent.keys() | self.tallies.keys()
        return [kind for kind in EnvelopeKind if kind in kinds]

    def admitted(self, kind: EnvelopeKind) -> int:
        """Records of the peer's that are new here."""
        return self.tallies[kind].admitted if kind in self.tallies else 0

    def note_received(self, kind: EnvelopeKind, verdicts: Iterable[Verdict]) -> None:
        """A batch was admitted, or not."""
        outcomes = [verdict.outcome for verdict in verdicts]
        self.tallies[kind] = self.tallies.get(kind, Tally()).plus(outcomes)
        self.unshelved[kind] += sum(not outcome.is_shelved for outcome in outcomes)

    def report(self, kind: EnvelopeKind, staleness: StalenessSignal, missing: int) -> RoundReport:
        """What the round was for one kind."""
        tally = self.tallies.get(kind, Tally())
        return RoundReport(
            kind=kind,
            role=self.role,
            staleness=staleness,
            admitted=tally.admitted,
            held=tally.held,
            deferred=tally.deferred,
            refused=tally.refused,
            missing=missing,
            sent=self.sent[kind],
            confirmed=kind in self.agreed,
        )


def begins_exchange(round_: MeshRound | None, message: ReconcileMessage) -> bool:
    """Is this the first word of an exchange, and not a further one of that under way?"""
    match message:
        case Sketch() | IdList():
            task = round_.exchange.task if round_ is not None else None
            if not isinstance(task, Answering):
                return True
            return (task.round_id, task.salt) != (message.round_id, message.salt)
        case _:
            return isinstance(message, Turn)


def whose(before: Opening | Answering | None, event: ReconcileInput) -> tuple[SessionRole, int]:
    """Whose exchange was resolved, ours or the peer's, and under which number."""
    if isinstance(event, Start):
        return SessionRole.INITIATOR, event.round_id
    if isinstance(event, Received) and isinstance(event.message, IdList):
        return SessionRole.RESPONDER, event.message.round_id
    assert before is not None, "only these two resolve at once"
    role = SessionRole.INITIATOR if isinstance(before, Opening) else SessionRole.RESPONDER
    return role, before.round_id
