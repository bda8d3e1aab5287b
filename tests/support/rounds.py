"""Coordinators without a directory: a bridge of dictionaries, and pipes that carry real frames."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ciris_mesh.directory.base import Served
from ciris_mesh.errors import TransportError
from ciris_mesh.protocol.report import RoundReport, SessionRole
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason, Verdict
from ciris_mesh.runtime.coordinator import ReplicationCoordinator, RoundKey
from ciris_mesh.wire.frame import try_unwrap, wrap
from ciris_mesh.wire.messages import EnvelopeRef, ReplicationMessage

NOW_MS = 1_790_000_000_000


def name_of(envelope: bytes) -> bytes:
    return hashlib.sha256(envelope).digest()


@dataclass
class DictBridge:
    """A `RoundBridge` for one kind, whatever the kind.

    `hidden` ids are offered and not served; `refuses` ids are refused when they come.
    """

    held: dict[bytes, bytes] = field(default_factory=dict)
    hidden: set[bytes] = field(default_factory=set)
    refuses: set[bytes] = field(default_factory=set)
    noted: list[tuple[EnvelopeRef, ...]] = field(default_factory=list)
    never_came: list[bytes] = field(default_factory=list)
    applied_at_ms: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, *envelopes: bytes) -> DictBridge:
        return cls({name_of(envelope): envelope for envelope in envelopes})

    def offer(self, peer: str, kind: EnvelopeKind) -> tuple[EnvelopeRef, ...]:
        return tuple(EnvelopeRef(id_, 0) for id_ in sorted(self.held))

    def lacking(
        self, peer: str, kind: EnvelopeKind, refs: Sequence[EnvelopeRef]
    ) -> Sequence[bytes]:
        return [ref.envelope_hash for ref in reversed(refs) if ref.envelope_hash not in self.held]

    def owing(self, peer: str, kind: EnvelopeKind, refs: Sequence[EnvelopeRef]) -> int:
        return len(self.lacking(peer, kind, refs))

    def note_offer(self, peer: str, kind: EnvelopeKind, refs: Sequence[EnvelopeRef]) -> None:
        self.noted.append(tuple(refs))

    def serve(
        self, peer: str, kind: EnvelopeKind, want: Sequence[bytes], *, budget_bytes: int
    ) -> Served:
        sent: dict[bytes, bytes] = {}
        unserved: list[tuple[bytes, str]] = []
        for id_ in want:
            if id_ not in self.held or id_ in self.hidden:
                unserved.append((id_, "not_held"))
            elif sent and sum(map(len, sent.values())) + len(self.held[id_]) > budget_bytes:
                unserved.append((id_, "over_budget"))
            else:
                sent[id_] = self.held[id_]
        return Served(tuple(sent.values()), tuple(sent), tuple(unserved))

    def id_of(self, peer: str, verdict: Verdict) -> bytes | None:
        return verdict.envelope_id

    def apply(
        self, peer: str, kind: EnvelopeKind, envelopes: Sequence[bytes], *, now_ms: int
    ) -> list[Verdict]:
        self.applied_at_ms.append(now_ms)
        return [self._admit(kind, envelope) for envelope in envelopes]

    def served_nothing(self, peer: str, kind: EnvelopeKind, ids: Sequence[bytes]) -> None:
        self.never_came += ids

    def _admit(self, kind: EnvelopeKind, envelope: bytes) -> Verdict:
        id_ = name_of(envelope)
        if id_ in self.refuses:
            return Verdict(Outcome.REFUSED, Reason.SIGNER_NOT_ALLOWED, kind, id_)
        if id_ in self.held:
            return Verdict(Outcome.DUPLICATE, Reason.NONE, kind, id_)
        self.held[id_] = envelope
        return Verdict(Outcome.ADMITTED, Reason.NONE, kind, id_)


@dataclass
class Side:
    """A coordinator, what it stands on, and the frames it has sent."""

    coordinator: ReplicationCoordinator
    bridge: DictBridge
    sent: deque[bytes] = field(default_factory=deque)
    reports: list[RoundReport] = field(default_factory=list)
    broken: TransportError | None = None

    @classmethod
    def make(
        cls,
        peer: str,
        role: SessionRole,
        *envelopes: bytes,
        kind: EnvelopeKind = EnvelopeKind.KEY,
        registry_peer: bool = False,
    ) -> Side:
        bridge = DictBridge.of(*envelopes)
        side: Side

        def send(message: ReplicationMessage) -> None:
            if side.broken is not None:
                raise side.broken
            side.sent.append(wrap(message))

        coordinator = ReplicationCoordinator(
            RoundKey(peer, kind, role),
            bridge=bridge,
            send=send,
            wall_ms=lambda: NOW_MS,
            registry_peer=registry_peer,
        )
        side = cls(coordinator, bridge)
        return side

    def receive(self, message: ReplicationMessage) -> list[RoundReport]:
        self.coordinator.deliver_inbound(message)
        reports = self.coordinator.drive()
        self.reports += reports
        return reports

    def take(self) -> ReplicationMessage:
        """The oldest message sent, off its frame."""
        return message_of(self.sent.popleft())

    def take_all(self) -> list[ReplicationMessage]:
        return [self.take() for _ in range(len(self.sent))]


def message_of(frame: bytes) -> ReplicationMessage:
    unwrapped = try_unwrap(frame)
    assert unwrapped is not None
    assert isinstance(unwrapped.message, ReplicationMessage)
    return unwrapped.message


def converse(one: Side, two: Side, *, limit: int = 10_000) -> int:
    """Carry frames until both are silent; returns how many."""
    carried = 0
    while one.sent or two.sent:
        for source, target in ((one, two), (two, one)):
            if source.sent:
                target.receive(source.take())
                carried += 1
                assert carried < limit, "the two never stop talking"
    return carried
