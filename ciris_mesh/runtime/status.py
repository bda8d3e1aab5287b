"""What a running node says about itself. These dataclasses *are* the JSON of the read commands.

Schema 1. A member may be added; none may change meaning or go away without a new number.
"""

from __future__ import annotations

from dataclasses import dataclass

STATUS_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class KindFreshness:
    """How well this node and one peer agree on one kind.

    Attributes:
        staleness: "in_sync", "bounded" or "unknown".
        missing: records known to be missing here, 0 when in sync; None when unknown.
        confirmed_s: seconds since the peer last confirmed; None when it never did.
        fresh: the confirmation is younger than tau_partial.
    """

    kind: str
    staleness: str
    missing: int | None
    confirmed_s: float | None
    fresh: bool


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One peer, as this node sees it now.

    Attributes:
        address: 32 hex digits, the peer's RNS identity hash.
        state: "connected", "dialing", "unreachable" or "idle".
        medium: "tcp", "serial", "radio", "loopback" or "unknown".
        reason: why the last dial or round failed; empty when it did not.
        last_heard_s: seconds since a frame or announce of the peer; None when never.
        rounds: finished rounds by outcome since start.
        lacks: what this node speaks and the peer's last hello did not state; empty without a link.
        skew_days: how far its clock's day is ahead of this node's; None when not known.
    """

    key_id: str
    alias: str
    address: str
    state: str
    medium: str
    reason: str
    last_heard_s: float | None
    fresh: bool
    missing: int | None
    rounds: dict[str, int]
    kinds: tuple[KindFreshness, ...]
    lacks: tuple[str, ...] = ()
    skew_days: int | None = None


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How often something came to the same end, since start."""

    outcome: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class RegistryStatus:
    """One public registry node, as this node sees it now.

    Attributes:
        address: 32 hex digits; empty while no attested announce of it was heard.
        state: "connected", "known" or "not heard".
        reason: why the last announce, dial or round failed; empty when it did not.
        basis: "row" or "bytes": what its ids are of; `basis_by` how that is known: "assumed",
            "configured", "announced" or "seen".
        basis_changes: how often its ids turned out to be of the other.
        rounds: finished rounds by outcome since start.
        bridged: records it delivered that only stand on the bridged shelf, by what they lack.
        refused: those that stand nowhere here, by why.
    """

    key_id: str
    address: str
    state: str
    reason: str
    last_heard_s: float | None
    basis: str
    basis_by: str
    basis_changes: int
    rounds: dict[str, int]
    bridged: tuple[ReasonCount, ...] = ()
    refused: tuple[ReasonCount, ...] = ()


@dataclass(frozen=True, slots=True)
class KindCounts:
    """Rows of one kind by shelf."""

    kind: str
    federation: int
    bridged: int
    local: int


@dataclass(frozen=True, slots=True)
class OutcomeCount:
    """How often `admit` answered so, since start."""

    path: str
    outcome: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class InterfaceStatus:
    """One Reticulum interface.

    Attributes:
        silent_s: seconds since anything came in on it, by what this node saw; None when unknown.
    """

    name: str
    medium: str
    online: bool
    bitrate_bps: int | None
    rx_bytes: int
    tx_bytes: int
    silent_s: float | None = None


@dataclass(frozen=True, slots=True)
class CandidateStatus:
    """A node heard or met that is not a peer here."""

    address: str
    key_id: str
    hops: int | None
    last_heard_s: float


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The whole answer to `status --json`.

    Attributes:
        health: one sentence per problem, each saying what to do; empty when healthy.
        drops: stable reason -> count of everything this node dropped or turned away.
        clock_source: who vouches for the clock: "ntp", "rtc", "held", "assumed"; empty for nobody.
        written_bytes: what this process gave to disks since it started; None when not counted.
    """

    schema: int
    version: str
    key_id: str
    address: str
    fingerprint: str
    uptime_s: float
    clock: str
    health: tuple[str, ...]
    peers: tuple[PeerStatus, ...]
    candidates: tuple[CandidateStatus, ...]
    kinds: tuple[KindCounts, ...]
    deferred: int
    first_contact: int
    refused_remembered: int
    outcomes: tuple[OutcomeCount, ...]
    interfaces: tuple[InterfaceStatus, ...]
    drops: dict[str, int]
    rss_bytes: int
    clock_source: str = ""
    written_bytes: int | None = None
    registries: tuple[RegistryStatus, ...] = ()
