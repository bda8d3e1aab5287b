"""Two sessions joined by a list: performs their actions against plain dictionaries, no threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

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
    SessionInput,
)
from ciris_mesh.protocol.report import RoundReport
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.wire.messages import Deliver, EnvelopeRef, ReplicationMessage, Summary

Step = Callable[[Any, SessionInput], tuple[Any, tuple[Any, ...]]]


@dataclass
class Host:
    """One side: a session and what it stands on.

    `held` maps id to bytes; `hidden` ids are offered and never served; `refuses` ids are refused
    when they come, and remembered so that they are not asked for again.
    """

    session: Any
    step: Step
    kind: EnvelopeKind
    held: dict[bytes, bytes] = field(default_factory=dict)
    seqs: dict[bytes, int] = field(default_factory=dict)
    hidden: set[bytes] = field(default_factory=set)
    refuses: set[bytes] = field(default_factory=set)
    remembered: set[bytes] = field(default_factory=set)
    not_served: list[bytes] = field(default_factory=list)
    outbox: deque[ReplicationMessage] = field(default_factory=deque)
    reports: list[RoundReport] = field(default_factory=list)
    admitted: list[bytes] = field(default_factory=list)
    budget: int = 10**9
    offered: tuple[EnvelopeRef, ...] | None = None
    name_of: Callable[[bytes], bytes] = lambda envelope: envelope.ljust(32, b"\0")[:32]

    def feed(self, event: SessionInput) -> None:
        pending = deque([event])
        while pending:
            self.session, actions = self.step(self.session, pending.popleft())
            for action in actions:
                answer = self._perform(action)
                if answer is not None:
                    pending.append(answer)

    def receive(self, message: ReplicationMessage) -> None:
        self.feed(Received(message))

    def refs(self) -> tuple[EnvelopeRef, ...]:
        """What a Summary names: all that is held, unless `offered` fixes it."""
        if self.offered is not None:
            return self.offered
        return tuple(EnvelopeRef(id_, self.seqs.get(id_, 0)) for id_ in sorted(self.held))

    def _perform(self, action: Any) -> SessionInput | None:
        match action:
            case SendSummary():
                self.outbox.append(Summary(self.kind, self.refs()))
            case Compare(refs=refs):
                known = self.held.keys() | self.remembered
                return Compared(
                    tuple(r.envelope_hash for r in refs if r.envelope_hash not in known)
                )
            case Send(message=message):
                self.outbox.append(message)
            case SendEnvelopes(want=want, in_round=in_round):
                served = self._serve(want)
                return served if in_round else None
            case Apply(envelopes=envelopes, in_round=in_round):
                results = tuple(self._apply(envelope) for envelope in envelopes)
                return Applied(results) if in_round else None
            case NotServed(ids=ids):
                self.not_served += ids
            case Finish(report=report):
                self.reports.append(report)
            case _:
                raise AssertionError(action)
        return None

    def _serve(self, want: tuple[bytes, ...]) -> Served:
        found = [id_ for id_ in want if id_ in self.held and id_ not in self.hidden]
        batch: list[bytes] = []
        size = 0
        for id_ in found:
            if batch and size + len(self.held[id_]) > self.budget:
                break
            batch.append(self.held[id_])
            size += len(self.held[id_])
        self.outbox.append(Deliver(self.kind, tuple(batch)))
        return Served(len(batch), len(want) - len(found))

    def _apply(self, envelope: bytes) -> tuple[bytes | None, Outcome]:
        id_ = self.name_of(envelope)
        if id_ in self.refuses:
            self.remembered.add(id_)
            return id_, Outcome.REFUSED
        if id_ in self.held:
            return id_, Outcome.DUPLICATE
        self.held[id_] = envelope
        self.admitted.append(envelope)
        return id_, Outcome.ADMITTED


def converse(one: Host, two: Host, *, limit: int = 100_000) -> int:
    """Carry messages back and forth until both are silent; returns how many were carried."""
    carried = 0
    while one.outbox or two.outbox:
        for source, target in ((one, two), (two, one)):
            if source.outbox:
                target.receive(source.outbox.popleft())
                carried += 1
                assert carried < limit, "the two never stop talking"
    return carried
