"""What a running node says about itself. These dataclasses *are* the JSON of the read commands.

Schema 1. A member may be added; none may change meaning or go away without a new number.
"""

from __future__ import annotations

from dataclasses import dataclass

from ciris_mesh.runtime.reach import MediumReach

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
        link_class: of the interface of its link, as InterfaceStatus has it; empty without a link.
        reason: why the last dial or round failed; empty when it did not.
        last_heard_s: seconds since a frame or announce of the peer; None when never.
        rounds: finished rounds by outcome since start.
        reach: evidence of the last day, a row for each medium; empty means unknown.
        direction: "both", "send" or "receive", seen from this node.
        note: what people here wrote down of it; like the alias it is no attestation.
        bootstrap: it is not removed by accident.
        blackholed: Reticulum on this machine ignores it.
        lacks: what this node speaks and the peer's last hello did not state; empty without a link.
        skew_days: how far its clock's day is ahead of this node's; None when not known.
        takes_nothing: it said on its last link that it takes no records of this node.
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
    reach: tuple[MediumReach, ...] = ()
    direction: str = "both"
    note: str = ""
    bootstrap: bool = False
    blackholed: bool = False
    lacks: tuple[str, ...] = ()
    skew_days: int | None = None
    link_class: str = ""
    takes_nothing: bool = False


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
        declined: how often it asked again for a record it was given: it does not keep those.
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
    declined: int = 0


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
        link_class: how to reckon with it: "tcp", "radio fast", "radio slow", "serial", "local" (to
            programs of this machine), or the medium where there is no more to say.
        mode: what it is to a transport node, in Reticulum's words; empty when not known.
    """

    name: str
    medium: str
    online: bool
    bitrate_bps: int | None
    rx_bytes: int
    tx_bytes: int
    silent_s: float | None = None
    link_class: str = ""
    mode: str = ""


@dataclass(frozen=True, slots=True)
class TransferStatus:
    """One transfer of many packets that is under way.

    Attributes:
        peer: alias or key id; the address of somebody who is no peer.
        direction: "in" or "out".
        done_bytes, total_bytes: of the frame; compressed it may be less that travels.
        rate_bytes_s: since it began.
        left_s: at that rate; None when nothing moved yet.
    """

    peer: str
    direction: str
    done_bytes: int
    total_bytes: int
    rate_bytes_s: float
    left_s: float | None


@dataclass(frozen=True, slots=True)
class CandidateStatus:
    """A node heard or met that is not a peer here.

    Attributes:
        key_id: verified by a binding shown on a link; empty when it showed none yet.
        fingerprint: 64 hex digits, of that key.
        hops: of its last announce; None when it was never heard by one.
        last_heard_s: seconds since its last announce or link; None when it was only called.
        claimed: 16 hex digits of the fingerprint its announce claims; proves nothing.
        reason: why it could not be asked who it is; empty when it could, or was not.
        blackholed: Reticulum on this machine ignores it.
    """

    address: str
    key_id: str
    hops: int | None
    last_heard_s: float | None
    fingerprint: str = ""
    claimed: str = ""
    reason: str = ""
    blackholed: bool = False


@dataclass(frozen=True, slots=True)
class StrangersStatus:
    """The whole answer to `peers --candidates --json`.

    Attributes:
        allowed, ignored: the lists of who may knock and who may not.
        blackholed: addresses that Reticulum on this machine ignores.
    """

    candidates: tuple[CandidateStatus, ...]
    allowed: tuple[str, ...]
    ignored: tuple[str, ...]
    blackholed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PendingRemoval:
    """A removal of which only the first half is here; `resolve` takes its subject for suspect.

    Attributes:
        about, removed: the key, identity or group, and who is removed from it.
        by: who signed it.
        record: the envelope id of the record that is to come.
        peer: who announced it.
    """

    kind: str
    about: str
    removed: str
    by: tuple[str, ...]
    record: str
    peer: str


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The whole answer to `status --json`.

    Attributes:
        health: one sentence per problem, each saying what to do; empty when healthy.
        drops: stable reason -> count of everything this node dropped or turned away.
        clock_source: who vouches for the clock: "ntp", "rtc", "held", "assumed"; empty for nobody.
        pending_removals: announced by radio neighbours and not here yet, the oldest first.
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
    pending_removals: tuple[PendingRemoval, ...] = ()
    transfers: tuple[TransferStatus, ...] = ()
    registries: tuple[RegistryStatus, ...] = ()
