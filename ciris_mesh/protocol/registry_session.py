"""One round with a registry node (CIRISEdge), exactly as its own session behaves.

    initiator                          responder
    Summary  ------------------------>
             <------------------------ Summary, Diff
    Diff, Deliver ------------------->
             <------------------------ Deliver

It differs from the mesh flow because the other side cannot change: every Diff and Fetch is served
in any phase, misses are left out in silence, an empty Diff still gets an empty Deliver, and each
side is complete at the first Deliver it receives. Pinned by the golden session traces.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ciris_mesh.errors import LocalProtocolError, UnexpectedMessage
from ciris_mesh.protocol.events import (
    Applied,
    Apply,
    Compare,
    Compared,
    Finish,
    Received,
    Send,
    SendEnvelopes,
    SendSummary,
    Served,
    SessionAction,
    SessionInput,
    Start,
)
from ciris_mesh.protocol.report import (
    BoundedBy,
    InSync,
    RoundReport,
    SessionRole,
    StalenessSignal,
    Tally,
    Unknown,
)
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.messages import Deliver, Diff, Fetch, Summary


@dataclass(frozen=True, slots=True)
class RegistrySession:
    """State of one round with a registry node.

    Attributes:
        summary_sent: our Summary is out; a second one from the peer gets only a Diff.
        wanted: how many ids our last Diff named; None before any Diff.
        complete: a Deliver was applied. Stays until `reset`.
    """

    role: SessionRole
    kind: EnvelopeKind
    summary_sent: bool = False
    wanted: int | None = None
    sent: int = 0
    unserved: int = 0
    complete: bool = False

    def reset(self) -> RegistrySession:
        """Forget the round. Role and kind stay."""
        return RegistrySession(self.role, self.kind)


Step = tuple[RegistrySession, tuple[SessionAction, ...]]


def step_registry(session: RegistrySession, event: SessionInput) -> Step:
    """Advance one round by one input.

    Unlike the mesh flow, Finish leaves the session as it is (`complete`); the caller resets it.

    Raises:
        UnexpectedMessage: the message is of another kind.
        LocalProtocolError: a responder was asked to start a round.
    """
    match event:
        case Start() if session.role is SessionRole.INITIATOR:
            return replace(session, summary_sent=True), (SendSummary(),)
        case Received():
            return _received(session, event)
        case Compared(want=want):
            return replace(session, wanted=len(want)), (Send(Diff(session.kind, want)),)
        case Served(sent=sent, unserved=unserved):
            counted = replace(
                session, sent=session.sent + sent, unserved=session.unserved + unserved
            )
            return counted, ()
        case Applied():
            done = replace(session, complete=True)
            return done, (Finish(_report(session, event)),)
        case _:
            raise LocalProtocolError(f"{session.role.value} was fed {type(event).__name__}")


def _received(session: RegistrySession, event: Received) -> Step:
    message = event.message
    if message.kind is not session.kind:
        raise UnexpectedMessage(got=f"{type(message).__name__} of {message.kind}", phase="any")
    match message:
        case Summary(refs=refs) if session.role is SessionRole.RESPONDER and (
            not session.summary_sent
        ):
            return replace(session, summary_sent=True), (SendSummary(), Compare(refs))
        case Summary(refs=refs):
            return session, (Compare(refs),)
        case Diff(want=want) | Fetch(want=want):
            return session, (SendEnvelopes(want),)
        case Deliver(envelopes=envelopes):
            return session, (Apply(envelopes),)


def _report(session: RegistrySession, done: Applied) -> RoundReport:
    tally = Tally().plus(outcome for _, outcome in done.results)
    arrived = sum(1 for _, outcome in done.results if outcome.is_shelved)
    missing = max(0, session.wanted - arrived) if session.wanted is not None else 0
    return RoundReport(
        kind=session.kind,
        role=session.role,
        staleness=_staleness(session.wanted, missing),
        admitted=tally.admitted,
        held=tally.held,
        deferred=tally.deferred,
        refused=tally.refused,
        missing=missing,
        sent=session.sent,
        unserved=session.unserved,
    )


def _staleness(wanted: int | None, missing: int) -> StalenessSignal:
    if wanted is None:
        return Unknown()
    return BoundedBy(missing) if missing else InSync()
