"""The protocol with nothing around it: two sessions, and two lists that carry what they say.

Look at `perform`: a session asks for one thing at a time, and whoever owns it answers. There is no
thread, clock or socket, so the very same `step` can be simulated, replayed and tested to the last
branch. Records are plain bytes named by their hash here; a real node verifies their signatures.
"""

from __future__ import annotations

from collections import deque
from hashlib import sha256

from ciris_mesh.protocol import events
from ciris_mesh.protocol.report import SessionRole
from ciris_mesh.protocol.session import Session, step
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.wire.messages import Deliver, Diff, EnvelopeRef, Fetch, ReplicationMessage, Summary

KIND = EnvelopeKind.ATTESTATION


class Side:
    """One end of the conversation: a session, the records it is about, and what it has to say."""

    def __init__(self, name: str, role: SessionRole, *records: bytes) -> None:
        self.name = name
        self.session = Session(role, KIND)
        self.records = named(*records)
        self.outbox: deque[ReplicationMessage] = deque()

    def feed(self, event: events.SessionInput) -> None:
        """Take the session one step on; what `perform` answers is fed in turn."""
        self.session, actions = step(self.session, event)
        for action in actions:
            answer = self.perform(action)
            if answer is not None:
                self.feed(answer)

    def perform(self, action: events.SessionAction) -> events.SessionInput | None:
        """Do one thing the session asks for."""
        match action:
            case events.SendSummary():
                self.say(Summary(KIND, tuple(EnvelopeRef(id_, seq=0) for id_ in self.records)))
            case events.Compare(refs=refs):
                offered = [ref.envelope_hash for ref in refs]
                return events.Compared(tuple(id_ for id_ in offered if id_ not in self.records))
            case events.Send(message=message):
                self.say(message)
            case events.SendEnvelopes(want=want):
                self.say(Deliver(KIND, tuple(self.records[id_] for id_ in want)))
                return events.Served(sent=len(want), unserved=0)
            case events.Apply(envelopes=envelopes):
                came = named(*envelopes)
                self.records |= came
                return events.Applied(tuple((id_, Outcome.ADMITTED) for id_ in came))
            case events.Finish(report=report):
                print(f"{self.name} finished: {report.staleness}, admitted={report.admitted}")
            case events.NotServed(ids=ids):
                print(f"{self.name} was promised {len(ids)} records that never came")
        return None

    def say(self, message: ReplicationMessage) -> None:
        """Put a message where the other side finds it."""
        print(f"{self.name} -> {describe(message)}")
        self.outbox.append(message)


def named(*records: bytes) -> dict[bytes, bytes]:
    """Records by id."""
    return {sha256(record).digest(): record for record in records}


def describe(message: ReplicationMessage) -> str:
    """One line for people."""
    match message:
        case Summary(refs=refs):
            return f"Summary: I hold {len(refs)}"
        case Diff(want=()):
            return "Diff: I lack nothing"
        case Diff(want=want) | Fetch(want=want):
            return f"{type(message).__name__}: I lack {len(want)}"
        case Deliver(envelopes=envelopes):
            return f"Deliver: {b', '.join(envelopes).decode()}"


alice = Side("alice", SessionRole.INITIATOR, b"one", b"two", b"three")
bob = Side("bob", SessionRole.RESPONDER, b"three", b"four")

alice.feed(events.Start())
while alice.outbox or bob.outbox:
    for sender, receiver in ((alice, bob), (bob, alice)):
        if sender.outbox:
            receiver.feed(events.Received(sender.outbox.popleft()))

assert alice.records == bob.records, "two sides that finished a round hold the same"
print(f"both hold {len(bob.records)}: {b', '.join(sorted(bob.records.values())).decode()}")
