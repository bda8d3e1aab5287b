"""How much an answer can be missing: what peers confirmed, and how long ago.

A node never knows that it has everything. It knows that a peer, some seconds ago, had nothing of a
kind that it lacks itself. Measured against `tau_partial`: 300 s on TCP, hours on radio. Source:
records-and-protocol.md, section 4.2.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from ciris_mesh.records.kinds import EnvelopeKind


class FreshnessWord(StrEnum):
    """FRESH: every kind that was read is; PARTIAL: some are; STALE: none; ALONE: nobody to ask."""

    FRESH = "fresh"
    PARTIAL = "partial"
    STALE = "stale"
    ALONE = "alone"


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What one peer confirmed of one kind.

    Attributes:
        age_s: seconds since its last confirmation that nothing is missing; None for never.
        missing: how many records it had since that are not here; None when that is not known.
    """

    peer: str
    kind: EnvelopeKind
    age_s: float | None
    missing: int | None


@dataclass(frozen=True, slots=True)
class Freshness:
    """Beside every answer.

    Attributes:
        peers: how many peers were asked.
        tau_partial_s: the age at which a confirmation goes stale.
        age_s: of the kind confirmed longest ago; None when one of them never was.
        behind: kinds the answer is read from that no peer confirmed in time.
    """

    word: FreshnessWord
    peers: int
    tau_partial_s: float
    age_s: float | None
    behind: tuple[str, ...]


def freshness(
    kinds: Collection[EnvelopeKind], confirmed: Iterable[Confirmed], tau_partial_s: float
) -> Freshness:
    """Judge what peers confirmed of `kinds`. Of several peers the freshest counts, per kind.

    A peer that is known to have more than is here confirms nothing, however lately it was asked.
    """
    known = tuple(confirmed)
    peers = len({it.peer for it in known})
    ages = {kind: _age_s(kind, known) for kind in EnvelopeKind if kind in kinds}
    behind = tuple(kind for kind, age_s in ages.items() if age_s is None or age_s >= tau_partial_s)
    if not peers:
        word = FreshnessWord.ALONE
    elif not behind:
        word = FreshnessWord.FRESH
    else:
        word = FreshnessWord.STALE if len(behind) == len(ages) else FreshnessWord.PARTIAL
    told = [age_s for age_s in ages.values() if age_s is not None]
    oldest_s = max(told, default=None) if len(told) == len(ages) else None
    return Freshness(word, peers, tau_partial_s, oldest_s, tuple(kind.value for kind in behind))


def _age_s(kind: EnvelopeKind, known: Iterable[Confirmed]) -> float | None:
    ages = (it.age_s for it in known if it.kind is kind and it.missing == 0)
    return min((age_s for age_s in ages if age_s is not None), default=None)
