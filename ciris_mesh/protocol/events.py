"""What goes into a session and what comes out. Both flows, mesh and registry, share these.

The runtime performs each action in order and feeds the answer back as the input named beside it:

    SendSummary     -> (none)       send a Summary of what this peer may be offered
    Compare         -> Compared     which of these refs are neither held nor known?
    Send            -> (none)       put one message on the link
    SendEnvelopes   -> Served       look up, pack to the budget, send one Deliver
    Apply           -> Applied      admit these envelopes
    NotServed       -> (none)       the peer offered these ids and did not deliver them
    Finish          -> (none)       the round is over; the session is already reset
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ciris_mesh.protocol.limits import DIFFS_AHEAD
from ciris_mesh.protocol.report import RoundReport
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.wire.messages import Diff, EnvelopeRef, ReplicationMessage


@dataclass(frozen=True, slots=True)
class Start:
    """Open a round. For initiators."""


@dataclass(frozen=True, slots=True)
class Received:
    """The peer sent this."""

    message: ReplicationMessage


@dataclass(frozen=True, slots=True)
class Compared:
    """Answer to Compare.

    Attributes:
        want: ids to ask for, in the order to ask.
        owed: further ids offered that are on no shelf here and not asked for now: they wait in a
            pool, or for a back-off to end. They keep this side from calling itself in sync.
        ahead: Diffs that may be out at once.
    """

    want: tuple[bytes, ...]
    owed: int = 0
    ahead: int = DIFFS_AHEAD


@dataclass(frozen=True, slots=True)
class Served:
    """Answer to SendEnvelopes: how many went out, and how many could not be served."""

    sent: int
    unserved: int


@dataclass(frozen=True, slots=True)
class Applied:
    """Answer to Apply: one (id as the peer names it, outcome) per envelope; None: unreadable."""

    results: tuple[tuple[bytes | None, Outcome], ...]


SessionInput: TypeAlias = Start | Received | Compared | Served | Applied


@dataclass(frozen=True, slots=True)
class SendSummary:
    """Send a Summary of this node's offer to the peer."""


@dataclass(frozen=True, slots=True)
class Compare:
    """Find out which of the peer's refs are lacking here."""

    refs: tuple[EnvelopeRef, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """Send this message as it is."""

    message: Diff


@dataclass(frozen=True, slots=True)
class SendEnvelopes:
    """Answer a Diff or Fetch with one Deliver.

    `in_round` is False when the answer must not be counted (a Fetch outside a round).
    """

    want: tuple[bytes, ...]
    in_round: bool = True


@dataclass(frozen=True, slots=True)
class Apply:
    """Admit these envelopes. `in_round` as above: False for an unasked Deliver."""

    envelopes: tuple[bytes, ...]
    in_round: bool = True


@dataclass(frozen=True, slots=True)
class NotServed:
    """Remember, with a back-off, that the peer did not deliver what it offered."""

    ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """The round ended well."""

    report: RoundReport


SessionAction: TypeAlias = SendSummary | Compare | Send | SendEnvelopes | Apply | NotServed | Finish
