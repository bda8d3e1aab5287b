"""What a round came to, as a value: tests, screens and embedding programs get these, not logs.

By radio a round lasts for minutes; what becomes of each batch in it is told as well, to screens.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from ciris_mesh.errors import LifecycleError
from ciris_mesh.protocol.report import RoundReport, SessionRole
from ciris_mesh.records.kinds import EnvelopeKind

logger = logging.getLogger(__name__)

#: Events kept for `status -m` and the control socket; older ones are only in the log.
RECENT_EVENTS_MAX: Final = 512


class RoundOutcome(StrEnum):
    """How a round ended."""

    COMPLETED = "completed"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundEvent:
    """One finished round, as this node saw it.

    Attributes:
        elapsed_s: monotonic seconds from the round's first message to this event.
        report: present exactly when outcome is COMPLETED.
        reason: short, stable cause when it is not, e.g. "no_progress", "link_down", "no_path".
    """

    peer: str
    kind: EnvelopeKind
    role: SessionRole
    outcome: RoundOutcome
    elapsed_s: float
    report: RoundReport | None = None
    reason: str = ""

    def fields(self) -> dict[str, str | int]:
        """Flat view with stable keys: logs, screens and `--json` show exactly these."""
        fields: dict[str, str | int] = {
            "peer": self.peer,
            "kind": self.kind.value,
            "role": self.role.value,
            "outcome": self.outcome.value,
            "elapsed_ms": round(self.elapsed_s * 1000),
        }
        if self.report is not None:
            fields |= {
                "admitted": self.report.admitted,
                "held": self.report.held,
                "deferred": self.report.deferred,
                "refused": self.report.refused,
                "missing": self.report.missing,
                "sent": self.report.sent,
            }
        if self.reason:
            fields["reason"] = self.reason
        return fields


class BatchOutcome(StrEnum):
    """What became of records handed to a radio together."""

    SENT = "sent"
    TAKEN = "taken"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEvent:
    """Records went out by radio, or it is known what became of them.

    Attributes:
        over: name of the interface.
        airtime_s: what they were reserved.
    """

    peer: str
    over: str
    outcome: BatchOutcome
    records: int
    airtime_s: float

    def fields(self) -> dict[str, str | int]:
        """Flat view as of a round's event; "event" tells them apart."""
        return {
            "event": "batch",
            "peer": self.peer,
            "over": self.over,
            "outcome": self.outcome.value,
            "records": self.records,
            "airtime_ms": round(self.airtime_s * 1000),
        }


AnyEvent: TypeAlias = RoundEvent | BatchEvent
EventSink: TypeAlias = Callable[[RoundEvent], None]


def log_sink(event: RoundEvent) -> None:
    """Write one line: `round.completed peer=alice-... kind=key admitted=3 missing=0`.

    A completed round that changed nothing is said at DEBUG: an idle node's log stays short.
    """
    report = event.report
    if event.outcome is not RoundOutcome.COMPLETED:
        level = logging.WARNING
    elif report is not None and (report.admitted or report.sent or report.refused):
        level = logging.INFO
    else:
        level = logging.DEBUG
    pairs = " ".join(f"{key}={value}" for key, value in event.fields().items())
    logger.log(level, "round.%s %s", event.outcome, pairs)


class EventHub:
    """Passes each event to every sink; a sink that fails or is closed does not stop the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the fields below; never held while a sink runs
        self._sinks: list[EventSink] = []
        self._recent: deque[tuple[int, AnyEvent]] = deque(maxlen=RECENT_EVENTS_MAX)
        self._count = 0
        self._by_peer: dict[str, Counter[str]] = {}

    def subscribe(self, sink: EventSink) -> Callable[[], None]:
        """Add a sink; the function returned takes it away again."""
        with self._lock:
            self._sinks.append(sink)

        def unsubscribe() -> None:
            with self._lock:
                if sink in self._sinks:
                    self._sinks.remove(sink)

        return unsubscribe

    def publish(self, event: RoundEvent) -> None:
        """Hand `event` to every sink, on the calling thread."""
        with self._lock:
            self._count += 1
            self._recent.append((self._count, event))
            self._by_peer.setdefault(event.peer, Counter())[event.outcome.value] += 1
            sinks = tuple(self._sinks)
        for sink in sinks:
            try:
                sink(event)
            except LifecycleError:
                logger.debug("event.sink_closed")
            except Exception:
                logger.exception("event.sink_failed")

    def show(self, event: BatchEvent) -> None:
        """Keep it for screens; sinks get what rounds come to, and nothing else."""
        with self._lock:
            self._count += 1
            self._recent.append((self._count, event))

    def recent(self, after: int = 0) -> list[tuple[int, AnyEvent]]:
        """(number, event) of those numbered above `after`, oldest first."""
        with self._lock:
            return [(number, event) for number, event in self._recent if number > after]

    def outcomes(self, peer: str) -> dict[str, int]:
        """Rounds with `peer` by outcome since start."""
        with self._lock:
            return dict(self._by_peer.get(peer, Counter()))

    def forget(self, peer: str) -> None:
        """Drop the counters of a peer that is no longer one."""
        with self._lock:
            self._by_peer.pop(peer, None)
