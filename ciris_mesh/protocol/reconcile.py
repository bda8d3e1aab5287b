"""Which records do two views not share? One exchange with one peer, as a pure state machine.

`step` maps (exchange, input) to (next exchange, actions); no clock, no randomness, no storage. All
kinds of a view are compared at once. The side that opens sends a sketch, the other reads it:

    opening side                              answering side
    Sketch(24 symbols) ---------------------->   decodes; knows what it must send
                 <--------------------------- Wants(places in your list, check)
    knows what it must send

When that is not enough, and only then:

    too many differences    <- More(histogram)      -> Symbols        one sketch, longer
                                                    -> Sketch(cells)  one for each hash cell
                                                    -> IdList         sets that share little
    some cells too short    <- Extend(cells)        -> Symbols        nothing is sent again
    over 30,000 records     -> Sketch(over buckets) <- Narrow(buckets that differ)
                            <- More()               -> BucketDigests  <- Narrow
    one set much smaller    -> IdList at once, by the smaller side; Turn asks it to open
    anything came to nothing, or to something wrong:  Failed, once a new salt, then 0x01

A sketch is never trusted: `Wants.check` proves that both sides mean the same common records, and
records are admitted by their signatures alone. A lying peer can withhold, or make us ask for what
does not exist; what it can make us compute is bounded by `Limits`.

If both open at the same moment, the larger salt goes first and the other side answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ciris_mesh.errors import LocalProtocolError
from ciris_mesh.protocol import answering, opening
from ciris_mesh.protocol.answering import Answering
from ciris_mesh.protocol.opening import Opening
from ciris_mesh.protocol.reconcile_events import (
    Ignored,
    Loaded,
    LoadedBuckets,
    Passed,
    Received,
    ReconcileAction,
    ReconcileInput,
    Start,
    TakeTurn,
)
from ciris_mesh.protocol.sizing import Limits
from ciris_mesh.wire.mesh_reconcile import IdList, ReconcileMessage, Sketch, Turn


@dataclass(frozen=True, slots=True)
class Exchange:
    """State between two steps. Immutable: a failed step leaves the old value intact.

    Attributes:
        nonces: both hello nonces of the link, in the order both ends agree on; 1 .. 60 bytes.
        task: what is under way, None between exchanges.
    """

    nonces: bytes
    limits: Limits = field(default_factory=Limits)
    task: Opening | Answering | None = None

    def reset(self) -> Exchange:
        """Forget what is under way (timeout, link loss, refusal)."""
        return Exchange(self.nonces, self.limits)

    def _with(self, task: Opening | Answering | None) -> Exchange:
        return Exchange(self.nonces, self.limits, task)


Step = tuple[Exchange, tuple[ReconcileAction, ...]]


def step(exchange: Exchange, event: ReconcileInput) -> Step:
    """Advance by one input.

    Returns:
        The next exchange and the actions to perform, in order. After Resolved, FallBack and
        GaveUp nothing is under way.

    Raises:
        UnexpectedMessage, ReconcileRefused: the peer broke the rules. `exchange` is unchanged; the
            caller resets it, and drops the link or counts a penalty.
        LocalProtocolError: the runtime fed an answer nobody asked for, or a message before the
            answer to Load or LoadBuckets: our bug.
    """
    task = exchange.task
    if isinstance(event, Received):
        return _received(exchange, event.message)
    done: tuple[Opening | Answering | None, tuple[ReconcileAction, ...]]
    match task, event:
        case None, Start():
            done = opening.begin(event, exchange.nonces, exchange.limits)
        case Opening(), Loaded(items=items) if task.is_loading:
            done = opening.loaded(task, items)
        case Opening(), LoadedBuckets(buckets=buckets) if task.is_loading:
            done = opening.loaded_buckets(task, buckets)
        case Answering(), Loaded(items=items, spare=spare) if task.is_loading:
            done = answering.loaded(task, items, spare)
        case Answering(), LoadedBuckets(buckets=buckets) if task.is_loading:
            done = answering.loaded_buckets(task, buckets)
        case _:
            raise LocalProtocolError(f"fed {type(event).__name__} in phase {_phase(task)}")
    return exchange._with(done[0]), done[1]


def _received(exchange: Exchange, message: ReconcileMessage) -> Step:
    task = exchange.task
    if task is not None and task.is_loading:
        raise LocalProtocolError(f"fed {type(message).__name__} in phase {_phase(task)}")
    if task is None or message.round_id != task.round_id or _opens(task, message):
        return _outside(exchange, message)
    if isinstance(task, Opening):
        next_opening, actions = opening.received(task, message)
        return exchange._with(next_opening), actions
    next_answering, actions = answering.received(task, message)
    return exchange._with(next_answering), actions


def _opens(task: Opening | Answering, message: ReconcileMessage) -> bool:
    """The first word of another exchange that happens to have the same round id."""
    match message:
        case Sketch() | IdList():
            return isinstance(task, Opening) or message.salt != task.salt
        case _:
            return isinstance(message, Turn)


def _outside(exchange: Exchange, message: ReconcileMessage) -> Step:
    """A message of no exchange known here: one that opens another, or one that comes late."""
    task = exchange.task
    match message:
        case Sketch() | IdList():
            if isinstance(task, Opening) and task.salt >= message.salt:
                return exchange, (Ignored(Passed.OURS_GOES_FIRST),)
            answer, actions = answering.begin(message, exchange.nonces, exchange.limits)
            return exchange._with(answer), actions
        case Turn() if isinstance(task, Opening):
            return exchange, (Ignored(Passed.OURS_GOES_FIRST),)
        case Turn():  # a peer in the middle of opening does not: it began anew
            return exchange.reset(), (TakeTurn(),)
        case _:
            reason = Passed.NOTHING_OPEN if task is None else Passed.OTHER_ROUND
            return exchange, (Ignored(reason),)


def _phase(task: Opening | Answering | None) -> str:
    if task is None:
        return "idle"
    return f"{type(task).__name__.lower()}_{'loading' if task.is_loading else 'waiting'}"
