"""What an operator decides about radio, and what sending costs there. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from ciris_mesh.records.kinds import REMOVALS, EnvelopeKind

_DAY_MIN: Final = 24 * 60
_QUIET: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


class KindPolicy(StrEnum):
    """Whether records of a kind are sent by radio."""

    OFF = "off"
    ON = "on"  # to whoever may have them at all
    PEERS = "peers"  # to configured peers only


#: What everybody needs to judge anything goes to everybody; the rest costs air for peers alone.
POLICY: Final[Mapping[EnvelopeKind, KindPolicy]] = MappingProxyType(
    {
        kind: KindPolicy.ON
        if kind in REMOVALS | {EnvelopeKind.KEY, EnvelopeKind.IDENTITY_OCCURRENCE}
        else KindPolicy.PEERS
        for kind in EnvelopeKind
    }
)
#: One peer may have half: a second one never waits for the first to be done.
PEER_SHARE: Final = 0.5
#: At 1 % this is 2.9 s: one packet that says ahead of a removal that it comes. At 10 % it is 29 s,
#: two whole removals at SF8.
REMOVAL_SHARE: Final = 0.1


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From one minute of the day to another, over midnight when the second is smaller."""

    begin_min: int
    end_min: int

    @property
    def length_min(self) -> int:
        """Minutes of each day."""
        return (self.end_min - self.begin_min) % _DAY_MIN

    def left_min(self, minute: int) -> int:
        """Minutes until they end; 0 outside of them."""
        since = (minute - self.begin_min) % _DAY_MIN
        return max(self.length_min - since, 0)

    def __str__(self) -> str:
        times = (f"{at // 60:02}:{at % 60:02}" for at in (self.begin_min, self.end_min))
        return "-".join(times)


def parse_quiet(text: str) -> QuietHours:
    """Read "22:00-06:00".

    Raises:
        ValueError: not so written, or no time at all.
    """
    found = _QUIET.fullmatch(text)
    if found is None:
        raise ValueError(f"{text} are no hours")
    hours = [int(part) for part in found.groups()]
    quiet = QuietHours(60 * hours[0] + hours[1], 60 * hours[2] + hours[3])
    if not quiet.length_min:
        raise ValueError(f"{text} is no time")
    return quiet


@dataclass(frozen=True, slots=True)
class RadioPlan:
    """What the planner keeps to.

    Attributes:
        policy: by kind; all of them.
        quiet: local time in which nothing but removals is sent; None for never.
        peer_share: part of what records may use that one peer may have while there are others.
        removal_share: part that only removals may use.
    """

    policy: Mapping[EnvelopeKind, KindPolicy] = field(default_factory=lambda: POLICY)
    quiet: QuietHours | None = None
    peer_share: float = PEER_SHARE
    removal_share: float = REMOVAL_SHARE

    def allows(self, kind: EnvelopeKind, *, is_peer: bool) -> bool:
        """Whether a record of that kind may go to somebody."""
        policy = self.policy[kind]
        return policy is KindPolicy.ON or (policy is KindPolicy.PEERS and is_peer)

    def quiet_s(self, minute: int | None) -> float:
        """Seconds for which it is quiet from that minute of the day on; None: time not known."""
        if self.quiet is None or minute is None:
            return 0.0
        return 60.0 * self.quiet.left_min(minute)

    @property
    def open_part(self) -> float:
        """Part of the day that is not quiet."""
        return 1.0 if self.quiet is None else 1 - self.quiet.length_min / _DAY_MIN


@dataclass(frozen=True, slots=True)
class Cost:
    """What a transfer takes on one interface, on the sender's side.

    Attributes:
        setup_s: seconds on air of all but the records: link, advertisement, proofs.
        byte_s: seconds on air for each byte of records in full packets.
        frame_s: longest single frame.
    """

    setup_s: float
    byte_s: float
    frame_s: float

    def batch_s(self, size_bytes: int) -> float:
        """Seconds on air of one transfer."""
        return self.setup_s + size_bytes * self.byte_s
