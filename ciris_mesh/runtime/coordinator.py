"""The hands of one session: takes messages in, performs the session's actions, reports the round.

There is one coordinator per (peer, kind, role). `deliver_inbound` may be called from any thread;
everything else runs on the peer's strand, so a coordinator needs no lock of its own.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ciris_mesh.directory.base import Served as ServedBatch
from ciris_mesh.errors import BackPressure, MeshError
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
    DELIVER_BUDGET_BYTES,
    DELIVER_ENVELOPES_MAX,
    DIFFS_AHEAD,
    INBOUND_QUEUE_MESSAGES,
)
from ciris_mesh.protocol.registry_session import RegistrySession, step_registry
from ciris_mesh.protocol.report import RoundReport, SessionRole
from ciris_mesh.protocol.session import Phase, Session, step
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Verdict
from ciris_mesh.wire.messages import Deliver, EnvelopeRef, ReplicationMessage, Summary


class RoundBridge(Protocol):
    """The part of the bridge a round needs. See FederationDirectoryReplicationBridge."""

    def offer(self, peer: str, kind: EnvelopeKind) -> tuple[EnvelopeRef, ...]:
        """What this peer may be offered."""
        ...

    def lacking(
        self, peer: str, kind: EnvelopeKind, refs: Sequence[EnvelopeRef]
    ) -> Sequence[bytes]:
        """Ids worth asking this peer for, each once: in the reverse of the order offered."""
        ...

    def owing(self, peer: str, kind: EnvelopeKind, refs: Sequence[EnvelopeRef]) -> int:
        """How many of these are on no shelf here, refused ones aside."""
        ...

    def note_offer(self, peer: str, kind: EnvelopeKind, refs: Sequence[EnvelopeRef]) -> None:
        """Remember what the peer offered."""
        ...

    def serve(
        self, peer: str, kind: EnvelopeKind, want: Sequence[bytes], *, budget_bytes: int
    ) -> ServedBatch:
        """Envelopes for a Diff or Fetch."""
        ...

    def apply(
        self, peer: str, kind: EnvelopeKind, envelopes: Sequence[bytes], *, now_ms: int
    ) -> list[Verdict]:
        """Admit what the peer delivered."""
        ...

    def id_of(self, peer: str, verdict: Verdict) -> bytes | None:
        """What the peer calls the record that this was said of."""
        ...

    def served_nothing(self, peer: str, kind: EnvelopeKind, ids: Sequence[bytes]) -> None:
        """The peer offered these and did not deliver them."""
        ...


@dataclass(frozen=True, slots=True)
class RoundKey:
    """Names a coordinator."""

    peer: str
    kind: EnvelopeKind
    role: SessionRole


class ReplicationCoordinator:
    """Drives one session.

    Args:
        send: puts a message on the peer's link; raises TransportError or BackPressure.
        wall_ms: Unix milliseconds, for admission.
        room: bytes of envelopes that may go out in one Deliver, in a round or outside; 0 for none.
        registry_peer: speak the registry nodes' flow instead of the mesh flow.
    """

    def __init__(
        self,
        key: RoundKey,
        *,
        bridge: RoundBridge,
        send: Callable[[ReplicationMessage], None],
        wall_ms: Callable[[], int],
        room: Callable[[bool], int] = lambda _in_round: DELIVER_BUDGET_BYTES,
        registry_peer: bool = False,
    ) -> None:
        self.key = key
        self._bridge = bridge
        self._send = send
        self._wall_ms = wall_ms
        self._room = room
        self._inbound: queue.Queue[ReplicationMessage] = queue.Queue(INBOUND_QUEUE_MESSAGES)
        self._session: Session | RegistrySession = (
            RegistrySession(key.role, key.kind) if registry_peer else Session(key.role, key.kind)
        )
        self._started = False

    @property
    def is_active(self) -> bool:
        """True between a round's first message and its end."""
        if isinstance(self._session, RegistrySession):
            return self._started
        return self._session.phase is not Phase.IDLE

    @property
    def awaits_summary(self) -> bool:
        """True when the next Summary from the peer answers ours."""
        if isinstance(self._session, RegistrySession):
            return self._started and self._session.wanted is None
        return self._session.phase is Phase.AWAIT_SUMMARY

    def deliver_inbound(self, message: ReplicationMessage) -> None:
        """Queue a message for `drive`. Any thread.

        Raises:
            BackPressure: INBOUND_QUEUE_MESSAGES wait already; the message is dropped.
        """
        try:
            self._inbound.put_nowait(message)
        except queue.Full:
            raise BackPressure(
                f"{self.key.kind} from {self.key.peer}: {INBOUND_QUEUE_MESSAGES} messages wait"
            ) from None

    def recv_inbound(self) -> ReplicationMessage | None:
        """Take the oldest waiting message; None when there is none."""
        try:
            return self._inbound.get_nowait()
        except queue.Empty:
            return None

    def start_round(self) -> list[RoundReport]:
        """Open a round: sends the Summary.

        Raises:
            LocalProtocolError: a responder, or a round is under way.
            TransportError, BackPressure: the Summary could not be sent; reset afterwards.
        """
        self._started = True
        return self._feed(Start())

    def drive(self) -> list[RoundReport]:
        """Work off the queue. Returns the rounds that finished, usually none or one.

        Raises:
            UnexpectedMessage: the peer broke the flow. Reset, and drop the link.
            TransportError, BackPressure: an answer could not be sent. Reset.
        """
        reports: list[RoundReport] = []
        while (message := self.recv_inbound()) is not None:
            self._started = self._started or isinstance(message, Summary)
            reports += self._feed(Received(message))
        return reports

    def reset(self) -> None:
        """Forget the round and what is queued. Every exit but success ends here."""
        self._session = self._session.reset()
        self._started = False
        while self.recv_inbound() is not None:
            pass

    def _feed(self, first: SessionInput) -> list[RoundReport]:
        reports: list[RoundReport] = []
        pending = deque([first])
        while pending:
            actions = deque(self._advance(pending.popleft()))
            while actions:
                action = actions.popleft()
                if isinstance(action, Finish):
                    reports.append(action.report)
                    self._end_round()
                elif (answer := self._perform_or_keep(action, actions)) is not None:
                    pending.append(answer)
        return reports

    def _perform_or_keep(
        self, action: SessionAction, following: Iterable[SessionAction]
    ) -> SessionInput | None:
        """What came is taken in even when the next cannot be asked for: on a radio it was dear."""
        try:
            return self._perform(action)
        except MeshError:
            for kept in following:
                if isinstance(kept, Apply):
                    self._perform(kept)
            raise

    def _advance(self, event: SessionInput) -> tuple[SessionAction, ...]:
        actions: tuple[SessionAction, ...]
        if isinstance(self._session, RegistrySession):
            self._session, actions = step_registry(self._session, event)
        else:
            self._session, actions = step(self._session, event)
        return actions

    def _end_round(self) -> None:
        self._session = self._session.reset()
        self._started = False

    def _perform(self, action: SessionAction) -> SessionInput | None:
        peer, kind = self.key.peer, self.key.kind
        match action:
            case SendSummary():
                self._send(Summary(kind, self._bridge.offer(peer, kind)))
            case Compare(refs=refs):
                self._bridge.note_offer(peer, kind, refs)
                want = tuple(self._bridge.lacking(peer, kind, refs))
                if isinstance(self._session, RegistrySession):
                    want = want[::-1]  # in the order offered, as their own sessions ask
                owing = self._bridge.owing(peer, kind, refs)
                # Where air is paid for, asking ahead would be paid for before anything came.
                in_round = True
                is_paid = self._room(in_round) < DELIVER_BUDGET_BYTES
                return Compared(want, max(0, owing - len(want)), 1 if is_paid else DIFFS_AHEAD)
            case Send(message=message):
                self._send(message)
            case SendEnvelopes(want=want, in_round=in_round):
                return self._serve(want, in_round=in_round)
            case Apply(envelopes=envelopes, in_round=in_round):
                verdicts = self._bridge.apply(peer, kind, envelopes, now_ms=self._wall_ms())
                if in_round:
                    named = ((self._bridge.id_of(peer, it), it.outcome) for it in verdicts)
                    return Applied(tuple(named))
            case NotServed(ids=ids):
                self._bridge.served_nothing(peer, kind, ids)
            case Finish():
                raise AssertionError("Finish is handled by _feed")
        return None

    def _serve(self, want: Sequence[bytes], *, in_round: bool) -> Served | None:
        peer, kind = self.key.peer, self.key.kind
        if isinstance(self._session, Session):
            want = want[:DELIVER_ENVELOPES_MAX]  # the rest is asked for again, as over the budget
        room = self._room(in_round)
        batch = self._bridge.serve(peer, kind, want if room else (), budget_bytes=room)
        self._send(Deliver(kind, tuple(batch.envelopes)))
        withheld = sum(1 for _, reason in batch.unserved if reason != "over_budget")
        return Served(len(batch.envelopes), withheld) if in_round else None
