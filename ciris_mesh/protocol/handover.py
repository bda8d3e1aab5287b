"""What the planner says, and how long what it is to carry takes. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ciris_mesh.protocol.outqueue import Item
from ciris_mesh.protocol.radioplan import Cost
from ciris_mesh.records.kinds import EnvelopeKind

#: A removal waits for this much at most: one hybrid record at SF8 and its link. A record that
#: takes longer goes alone.
HANDED_S_MAX: Final = 15.0
#: A full exchange that takes longer is better carried: a stick in a pocket takes a day at most.
JOIN_HOURS_MAX: Final = 24.0


#: A record as the transcoder writes it is its signatures and little else; a key has its public half
#: besides. Rounded up: `bench transcode` has 3.4 and 5.4 kB.
CODED_BYTES: Final = 3_500
CODED_KEY_BYTES: Final = 5_500


class Offered(StrEnum):
    """What became of an offer. All but the first two are counted and leave nothing behind here."""

    QUEUED = "queued"
    ALREADY_QUEUED = "already_queued"
    QUEUE_FULL = "queue_full"  # owed all the same: offer it again later
    KIND_NOT_ON_RADIO = "kind_not_on_radio"  # the operator's policy
    UNKNOWN_PEER = "unknown_peer"


class HoldReason(StrEnum):
    """Why nothing is handed over now."""

    NOTHING_TO_SEND = "nothing_to_send"
    QUIET_HOURS = "quiet_hours"
    SHARE_USED = "share_used"  # of every peer that is owed something
    BACKING_OFF = "backing_off"  # the last transfers to them failed
    HANDED_ENOUGH = "handed_enough"  # finish a batch first
    OVER_BUDGET = "over_budget"
    FRAME_TOO_LONG = "frame_too_long"
    TOO_MANY_OPEN = "too_many_open"
    UNKNOWN_INTERFACE = "unknown_interface"


@dataclass(frozen=True, slots=True)
class Batch:
    """What to hand over now, in one transfer. Say `finish` when it is over.

    Attributes:
        airtime_s: reserved for it.
    """

    number: int
    interface: str
    peer: str
    items: tuple[Item, ...]
    airtime_s: float


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing now. `wait_s`: look again then, or when something changes; may be infinite."""

    reason: HoldReason
    wait_s: float


@dataclass(frozen=True, slots=True)
class Owed:
    """What one peer lacks of one kind.

    Attributes:
        never_fits: records of these that no hour of its interface has room for.
    """

    peer: str
    kind: EnvelopeKind
    records: int
    size_bytes: int
    never_fits: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """What one interface is to carry.

    Attributes:
        airtime_s: for all that is owed over it and fits.
        hours: at the present duty, quiet hours included; infinity when nothing may be sent.
    """

    interface: str
    records: int
    size_bytes: int
    airtime_s: float
    hours: float


@dataclass(frozen=True, slots=True)
class JoinEstimate:
    """A full exchange between two nodes, by radio.

    Attributes:
        airtime_s: of both sides.
        hours: until the slower side has sent its part; infinity when it may send nothing.
        use_bundle: `export` here and `import` there, and the other way round, is faster.
    """

    airtime_s: float
    hours: float
    use_bundle: bool


def airtime_of(size_bytes: int, cost: Cost) -> float:
    """Seconds on air for so many bytes in batches of HANDED_S_MAX."""
    batch_bytes = max((HANDED_S_MAX - cost.setup_s) / cost.byte_s, 1.0)
    return cost.setup_s * math.ceil(size_bytes / batch_bytes) + size_bytes * cost.byte_s


def hours_for(airtime_s: float, hour_s: float) -> float:
    """Hours it takes to send so long when each hour holds `hour_s`."""
    if not airtime_s:
        return 0.0
    return airtime_s / hour_s if hour_s > 0 else math.inf


def join_estimate(
    sent_bytes: int, received_bytes: int, cost: Cost, *, hour_s: float
) -> JoinEstimate:
    """Estimate what it takes to bring two nodes to the same records by radio.

    Args:
        sent_bytes, received_bytes: coded size of what each side lacks.
        hour_s: seconds of each hour that either side may use for it.
    """
    sides = [airtime_of(size_bytes, cost) for size_bytes in (sent_bytes, received_bytes)]
    hours = hours_for(max(sides), hour_s)
    return JoinEstimate(sum(sides), hours, hours > JOIN_HOURS_MAX)


def lacked_bytes(counts: Mapping[EnvelopeKind, int], others: Mapping[EnvelopeKind, int]) -> int:
    """Coded size of what one side lacks, at least, by how many of each kind the other has more."""
    return sum(
        max(others[kind] - count, 0)
        * (CODED_KEY_BYTES if kind is EnvelopeKind.KEY else CODED_BYTES)
        for kind, count in counts.items()
        if kind in others
    )
