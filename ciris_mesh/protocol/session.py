"""One anti-entropy round with a mesh peer for one kind, as a pure state machine.

No clock, thread, socket or database: `step` maps (session, input) to (next session, actions).

    initiator                          responder
    Summary  ------------------------>
             <------------------------ Summary, Diff(want)
    Deliver, Diff(want) ------------->
             <------------------------ Deliver
        ... each side asks with Diff until nothing is left ...
    Diff()   ------------------------>
             <------------------------ Diff()

The empty Diff is the confirmation: "I hold or know all you offered and could serve". A round is
complete when both sides have said so. After the Summaries the flow is symmetric, so two nodes that
open the same round at the same moment take each other's Summary as the answer and share one round.

    IDLE -> AWAIT_SUMMARY -> COMPARING -> EXCHANGE -> IDLE        (responder skips AWAIT_SUMMARY)

Two Diffs are out at once where air is no matter, and another goes out when a Deliver arrives, not
when it has been applied: the transfer of batches overlaps the verification of those before. Answers
come in the order of the Diffs, as all on a link does.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from ciris_mesh.errors import LocalProtocolError, ProtocolError, UnexpectedMessage
from ciris_mesh.protocol.events import (
    Applied,
    Apply,
    Compare,
    Compared,
    Finish,
    NotServed,
    Received,
    Send,
    SendEnvelopes,
    SendSummary,
    Served,
    SessionAction,
    SessionInput,
    Start,
)
from ciris_mesh.protocol.limits import (
    DIFF_ASKED_MAX,
    DIFF_WANT_MAX,
    DIFFS_PER_ROUND_MAX,
)
from ciris_mesh.protocol.report import (
    BoundedBy,
    InSync,
    RoundReport,
    SessionRole,
    StalenessSignal,
    Tally,
)
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.messages import Deliver, Diff, Fetch, Summary


class Phase(Enum):
    """Where a round stands; see the diagram above."""

    IDLE = "idle"
    AWAIT_SUMMARY = "await_summary"
    COMPARING = "comparing"
    EXCHANGE = "exchange"


@dataclass(frozen=True, slots=True)
class Session:
    """State of one round. Immutable: a failed step leaves the old value intact.

    Attributes:
        asked: ids lacking here when the Summaries were compared.
        wanted: those of `asked` that no Diff names yet, or only one whose answer had no room.
        named: what the Diffs name whose answers are still out, in order.
        delivered: ids that came, whatever `admit` said of them.
        shelved: those of them that stand on a shelf here now.
        owed: ids offered, not asked for, and on no shelf here; see `Compared`.
        ahead: Diffs that may be out at once.
        applying: Delivers handed to `admit` whose answer is still out.
        diffs: Diffs the peer sent in this round.
        confirmed_here: our empty Diff is out.
        confirmed_there: the peer's empty Diff came.
    """

    role: SessionRole
    kind: EnvelopeKind
    phase: Phase = Phase.IDLE
    asked: frozenset[bytes] = frozenset()
    wanted: tuple[bytes, ...] = ()
    named: tuple[tuple[bytes, ...], ...] = ()
    delivered: frozenset[bytes] = frozenset()
    shelved: frozenset[bytes] = frozenset()
    owed: int = 0
    ahead: int = 1
    tally: Tally = field(default_factory=Tally)
    applying: int = 0
    diffs: int = 0
    sent: int = 0
    unserved: int = 0
    confirmed_here: bool = False
    confirmed_there: bool = False

    def reset(self) -> Session:
        """Forget the round (timeout, link loss, restart). Role and kind stay."""
        return Session(self.role, self.kind)


Step = tuple[Session, tuple[SessionAction, ...]]


def step(session: Session, event: SessionInput) -> Step:
    """Advance one round by one input.

    Returns:
        The next session and the actions to perform, in order. After Finish the session is IDLE.

    Raises:
        UnexpectedMessage: the peer sent what this phase, role or kind does not allow. `session`
            is unchanged; the caller resets it and drops the link, so no stale message of this
            round can be taken for an answer in the next.
        LocalProtocolError: the runtime fed an answer nobody asked for: our bug.
    """
    if isinstance(event, Received):
        return _received(session, event)
    match session.phase, event:
        case Phase.IDLE, Start() if session.role is SessionRole.INITIATOR:
            return replace(session, phase=Phase.AWAIT_SUMMARY), (SendSummary(),)
        case Phase.COMPARING, Compared(want=want, owed=owed, ahead=ahead):
            return _compared(replace(session, owed=owed, ahead=ahead), want)
        case Phase.EXCHANGE, Served(sent=sent, unserved=unserved):
            served = replace(
                session, sent=session.sent + sent, unserved=session.unserved + unserved
            )
            return served, ()
        case Phase.EXCHANGE, Applied() if session.applying:
            return _applied(session, event)
        case _:
            raise LocalProtocolError(
                f"runtime fed {type(event).__name__} in phase {session.phase.value}"
            )


def _received(session: Session, event: Received) -> Step:
    message = event.message
    if message.kind is not session.kind:
        raise _unexpected(session, event)
    match session.phase, message:
        case _, Fetch(want=want):  # outside the round: answered in any phase
            return session, (SendEnvelopes(want, in_round=False),)
        case Phase.IDLE, Deliver(envelopes=envelopes):  # a push: welcome, but no round
            return session, (Apply(envelopes, in_round=False),)
        case Phase.IDLE, Summary(refs=refs) if session.role is SessionRole.RESPONDER:
            return replace(session, phase=Phase.COMPARING), (SendSummary(), Compare(refs))
        case Phase.AWAIT_SUMMARY, Summary(refs=refs):
            return replace(session, phase=Phase.COMPARING), (Compare(refs),)
        case Phase.EXCHANGE, Diff(want=want):
            return _asked(session, event, want)
        case Phase.EXCHANGE, Deliver(envelopes=envelopes) if session.named:
            return _delivered(session, envelopes)
        case _:
            raise _unexpected(session, event)


def _compared(session: Session, want: tuple[bytes, ...]) -> Step:
    """Ask for what is lacking; lacking nothing, the empty Diff confirms at once."""
    exchange = replace(session, phase=Phase.EXCHANGE, asked=frozenset(want), wanted=want)
    if not want:
        return _confirm(exchange)
    return _ask_more(exchange)


def _ask_more(session: Session) -> Step:
    """Have as many Diffs out as may be, as far as there is something to ask for.

    Each names no more than one answer can need: the rest is named when its turn comes.
    """
    wanted, named = session.wanted, session.named
    diffs = []
    while wanted and len(named) < session.ahead:
        ids, wanted = wanted[:DIFF_ASKED_MAX], wanted[DIFF_ASKED_MAX:]
        named = (*named, ids)
        diffs.append(Send(Diff(session.kind, ids)))
    return replace(session, wanted=wanted, named=named), tuple(diffs)


def _asked(session: Session, event: Received, want: tuple[bytes, ...]) -> Step:
    """Serve a Diff; an empty one is the peer's confirmation, and its last."""
    too_many = session.diffs >= DIFFS_PER_ROUND_MAX or len(want) > DIFF_WANT_MAX
    if session.confirmed_there or too_many:
        raise _unexpected(session, event)
    if want:
        return replace(session, diffs=session.diffs + 1), (SendEnvelopes(want),)
    return _finish_if_done(replace(session, confirmed_there=True))


def _delivered(session: Session, envelopes: tuple[bytes, ...]) -> Step:
    """Take a batch. Envelopes come in the order asked for, so the rest is what follows them.

    A peer that skips some only makes us ask for a few twice. One that sends none has none left.
    """
    ids, named = session.named[0], session.named[1:]
    if not envelopes:
        return _conclude_if_quiet(replace(session, wanted=(), named=named))
    rest = ids[len(envelopes) :]
    taken, diffs = _ask_more(
        replace(
            session,
            wanted=rest + session.wanted,
            named=named,
            applying=session.applying + 1,
        )
    )
    return taken, (*diffs, Apply(envelopes))


def _applied(session: Session, done: Applied) -> Step:
    came = {envelope_id: outcome for envelope_id, outcome in done.results if envelope_id}
    applied = replace(
        session,
        applying=session.applying - 1,
        delivered=session.delivered | came.keys(),
        shelved=session.shelved | {id_ for id_, outcome in came.items() if outcome.is_shelved},
        tally=session.tally.plus(outcome for _, outcome in done.results),
    )
    return _conclude_if_quiet(applied)


def _conclude_if_quiet(session: Session) -> Step:
    """When nothing is under way any more: say so, and name what was offered but never came."""
    if session.wanted or session.named or session.applying:
        return session, ()
    never_came = tuple(sorted(session.asked - session.delivered))
    confirmed, actions = _confirm(session)
    return confirmed, (NotServed(never_came), *actions) if never_came else actions


def _confirm(session: Session) -> Step:
    done, actions = _finish_if_done(replace(session, confirmed_here=True))
    return done, (Send(Diff(session.kind, ())), *actions)


def _finish_if_done(session: Session) -> Step:
    if not (session.confirmed_here and session.confirmed_there):
        return session, ()
    return session.reset(), (Finish(_report(session)),)


def _report(session: Session) -> RoundReport:
    missing = len(session.asked - session.shelved) + session.owed
    staleness: StalenessSignal = BoundedBy(missing) if missing else InSync()
    tally = session.tally
    return RoundReport(
        kind=session.kind,
        role=session.role,
        staleness=staleness,
        admitted=tally.admitted,
        held=tally.held,
        deferred=tally.deferred,
        refused=tally.refused,
        missing=missing,
        sent=session.sent,
        unserved=session.unserved,
        confirmed=session.unserved == 0,
    )


def _unexpected(session: Session, event: Received) -> ProtocolError:
    return UnexpectedMessage(got=type(event.message).__name__, phase=session.phase.value)
