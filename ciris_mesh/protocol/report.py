"""What a round came to, and how far behind a peer this node knows itself to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome


class SessionRole(Enum):
    """Who opened the round."""

    INITIATOR = "initiator"
    RESPONDER = "responder"


@dataclass(frozen=True, slots=True)
class InSync:
    """Everything the peer offered is held or known here."""

    def __str__(self) -> str:
        return "InSync"


@dataclass(frozen=True, slots=True)
class BoundedBy:
    """`missing` records the peer offered are not here."""

    missing: int

    def __str__(self) -> str:
        return f"BoundedBy {{ missing: {self.missing} }}"


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nothing was compared, so nothing can be said."""

    def __str__(self) -> str:
        return "Unknown"


StalenessSignal: TypeAlias = InSync | BoundedBy | Unknown


@dataclass(frozen=True, slots=True)
class Tally:
    """How the envelopes received in a round were answered by `admit`."""

    counts: Counter[Outcome] = field(default_factory=Counter)

    def plus(self, outcomes: Iterable[Outcome]) -> Tally:
        """Return a new tally with `outcomes` added."""
        return Tally(self.counts + Counter(outcomes))

    @property
    def admitted(self) -> int:
        """Records that are new on a shelf here."""
        return sum(count for outcome, count in self.counts.items() if outcome.is_change)

    @property
    def held(self) -> int:
        """Records that were here already."""
        return self.counts[Outcome.DUPLICATE]

    @property
    def deferred(self) -> int:
        """Records that wait here for something they need."""
        return self.counts[Outcome.DEFERRED]

    @property
    def refused(self) -> int:
        """Records turned away for good, malformed ones included."""
        return self.counts[Outcome.REFUSED] + self.counts[Outcome.MALFORMED]


@dataclass(frozen=True, slots=True)
class RoundReport:
    """One finished round.

    Attributes:
        missing: records asked for that are still neither held nor known.
        sent: envelopes handed to the peer.
        unserved: envelopes offered but not found or withheld when asked for.
        confirmed: the peer itself said it holds all that was offered and could be served.
    """

    kind: EnvelopeKind
    role: SessionRole
    staleness: StalenessSignal
    admitted: int = 0
    held: int = 0
    deferred: int = 0
    refused: int = 0
    missing: int = 0
    sent: int = 0
    unserved: int = 0
    confirmed: bool = False
