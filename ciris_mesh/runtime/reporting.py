"""Puts together what `status` shows: reads the parts of a node, changes nothing."""

from __future__ import annotations

import resource
from collections.abc import Iterable
from pathlib import Path

from ciris_mesh import __version__
from ciris_mesh.directory.base import ReplicationDirectory, Shelf
from ciris_mesh.errors import StoreUnreachable
from ciris_mesh.protocol.limits import SUMMARY_REFS_MAX
from ciris_mesh.protocol.report import BoundedBy, InSync, StalenessSignal
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.ailing import peer_problems
from ciris_mesh.runtime.budget import join_advice
from ciris_mesh.runtime.door import ALLOWED, IGNORED
from ciris_mesh.runtime.handshake import WIRE_VERSIONS
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.peers import Peer
from ciris_mesh.runtime.registryreport import registry_health, registry_rows
from ciris_mesh.runtime.status import (
    STATUS_SCHEMA,
    CandidateStatus,
    InterfaceStatus,
    KindCounts,
    KindFreshness,
    NodeStatus,
    OutcomeCount,
    PeerStatus,
    PendingRemoval,
    StrangersStatus,
    TransferStatus,
)
from ciris_mesh.transport.base import Address, InterfaceRow, TransferRow, TransportStats
from ciris_mesh.transport.medium import link_class
from ciris_mesh.wire.mesh import CAPABILITY_MIXED, CAPABILITY_PREVIEWS
from ciris_mesh.wire.mesh_reconcile import CAPABILITY_RECONCILE
from ciris_mesh.wire.mesh_records import CAPABILITY_RECORDS

#: Bits of the hello, as people call what they stand for.
_CAPABILITY_NAMES = {
    CAPABILITY_RECORDS: "coded records",
    CAPABILITY_RECONCILE: "sketches",
    CAPABILITY_PREVIEWS: "previews",
    CAPABILITY_MIXED: "mixed records",
}
_DAY_MS = 86_400_000


def node_status(node: Node, *, uptime_s: float, clock: str, clock_source: str = "") -> NodeStatus:
    """The answer to `status`.

    Args:
        clock: "trusted" or why it is not.
        clock_source: who vouches for it, as `Clock.source` says.
    """
    runtime, directory = node.runtime, node.directory
    stats = runtime.transport.stats()
    pools = directory.pools()
    counts = _counts(directory)
    runtime.hearing.look(stats.interfaces)
    peers = tuple(peer_status(node, each, stats) for each in runtime.peers.all())
    registries = registry_rows(runtime)
    return NodeStatus(
        schema=STATUS_SCHEMA,
        version=__version__,
        key_id=node.key_id,
        address=runtime.transport.address.hex(),
        fingerprint=node.fingerprint.hex(),
        uptime_s=round(uptime_s, 1),
        clock=clock,
        health=(
            *directory.troubles(),
            *_health(peers, stats, clock),
            *_long_joins(node),
            *_truncated(node, counts),
            *registry_health(registries),
        ),
        peers=peers,
        candidates=_candidates(node, stats.blackholed),
        kinds=_kind_counts(counts),
        deferred=pools.deferred,
        first_contact=pools.first_contact,
        refused_remembered=pools.refused,
        outcomes=tuple(
            OutcomeCount(path, outcome, reason, count)
            for (path, outcome, reason), count in sorted(directory.outcome_counts().items())
        ),
        interfaces=tuple(
            InterfaceStatus(
                row.name,
                row.medium,
                row.online,
                row.bitrate_bps,
                row.rx_bytes,
                row.tx_bytes,
                runtime.hearing.silent_s(row.name),
                link_class(row.name, row.medium, row.bitrate_bps),
                row.mode,
            )
            for row in stats.interfaces
        ),
        drops={**stats.dropped, **runtime.drops.snapshot(), **_withheld(node)},
        rss_bytes=rss_bytes(),
        registries=registries,
        clock_source=clock_source,
        written_bytes=written_bytes(),
        pending_removals=_pending_removals(node),
        transfers=tuple(_transfer(node, row) for row in stats.transfers),
    )


def _counts(directory: ReplicationDirectory) -> dict[tuple[EnvelopeKind, Shelf], int]:
    """What is held; nothing while a database's server is away, as `health` then says."""
    try:
        return directory.counts()
    except StoreUnreachable:
        return {}


def strangers_status(node: Node) -> StrangersStatus:
    """The answer to `peers --candidates`."""
    door, blackholed = node.runtime.config.door, node.runtime.transport.stats().blackholed
    return StrangersStatus(
        candidates=_candidates(node, blackholed),
        allowed=door.names(ALLOWED),
        ignored=door.names(IGNORED),
        blackholed=tuple(sorted(address.hex() for address in blackholed)),
    )


def _candidates(node: Node, blackholed: frozenset[Address]) -> tuple[CandidateStatus, ...]:
    now_s = node.runtime.clock()
    return tuple(
        CandidateStatus(
            address=candidate.address.hex(),
            key_id=candidate.key_id,
            hops=candidate.hops,
            last_heard_s=None if (at_s := candidate.heard_s) is None else round(now_s - at_s, 1),
            fingerprint=_fingerprint(node, candidate.key_id),
            claimed=candidate.claimed.hex(),
            reason=candidate.reason,
            blackholed=candidate.address in blackholed,
        )
        for candidate in node.runtime.peers.candidates()
    )


def _fingerprint(node: Node, key_id: str) -> str:
    public = node.directory.public_key(key_id) if key_id else None
    return "" if public is None else public.fingerprint.hex()


def peer_status(node: Node, peer: Peer, stats: TransportStats | None = None) -> PeerStatus:
    """One line of `peers`; without `stats` a radio counts as slow and nobody as blackholed."""
    runtime, key_id = node.runtime, peer.config.key_id
    kinds = tuple(
        _freshness(node, key_id, kind)
        for kind in EnvelopeKind
        if kind in runtime.kinds & peer.config.kinds & _served_by(peer)
    )
    missing = [kind.missing for kind in kinds if kind.missing is not None]
    heard_s = peer.heard_s
    return PeerStatus(
        key_id=key_id,
        alias=peer.config.alias,
        address=peer.config.address.hex(),
        state=peer.state,
        medium=_medium(peer),
        reason=peer.reason,
        last_heard_s=None if heard_s is None else round(runtime.clock() - heard_s, 1),
        fresh=_is_reached(peer) and bool(kinds) and all(kind.fresh for kind in kinds),
        missing=sum(missing) if missing else None,
        rounds=runtime.events.outcomes(key_id),
        kinds=kinds,
        reach=peer.reach.rows(runtime.clock()),
        direction=peer.config.direction.value,
        note=peer.config.note,
        bootstrap=peer.config.bootstrap,
        blackholed=stats is not None and peer.config.address in stats.blackholed,
        lacks=_lacks(node, peer),
        skew_days=_skew_days(node, peer),
        link_class=_link_class(peer, () if stats is None else stats.interfaces),
        takes_nothing=peer.takes_nothing,
    )


def _link_class(peer: Peer, rows: Iterable[InterfaceRow]) -> str:
    """Of the interface its link goes over; behind an rnsd that may not be known."""
    if peer.link is None:
        return ""
    name, medium = peer.link.interface, peer.link.medium
    bitrate_bps = next((row.bitrate_bps for row in rows if row.name == name), None)
    return link_class(name, medium, bitrate_bps)


def _transfer(node: Node, row: TransferRow) -> TransferStatus:
    peer = node.runtime.peers.at(row.address)
    named = (peer.config.alias or peer.config.key_id) if peer is not None else ""
    rate = row.done_bytes / row.elapsed_s if row.elapsed_s > 0 else 0.0
    return TransferStatus(
        peer=named or (row.address.hex() if row.address is not None else "?"),
        direction="in" if row.inbound else "out",
        done_bytes=row.done_bytes,
        total_bytes=row.total_bytes,
        rate_bytes_s=round(rate, 1),
        left_s=round((row.total_bytes - row.done_bytes) / rate, 1) if rate else None,
    )


def _lacks(node: Node, peer: Peer) -> tuple[str, ...]:
    """Versions and abilities of this node that the peer's hello did not state."""
    hello = peer.link.hello if peer.link is not None else None
    if hello is None:
        return ()
    versions = [f"frames {version:#04x}" for version in WIRE_VERSIONS]
    said = {f"frames {version:#04x}" for version in hello.wire_versions}
    bits = [name for bit, name in _CAPABILITY_NAMES.items() if node.capabilities & bit]
    has = {name for bit, name in _CAPABILITY_NAMES.items() if hello.capabilities & bit}
    return tuple(name for name in (*versions, *bits) if name not in said | has)


def _skew_days(node: Node, peer: Peer) -> int | None:
    hello = peer.link.hello if peer.link is not None else None
    return None if hello is None else hello.day - node.runtime.wall_ms() // _DAY_MS


def _is_reached(peer: Peer) -> bool:
    """There is a link; or, by radio, where links last for one exchange, the last ended well."""
    return peer.link is not None or peer.rests


def _medium(peer: Peer) -> str:
    if peer.link is not None:
        return peer.link.medium
    return "radio" if peer.rests and peer.radio else "unknown"


def _served_by(peer: Peer) -> frozenset[EnvelopeKind]:
    """What the peer said it serves; while it cannot be reached, nobody knows."""
    if peer.link is not None:
        return peer.link.kinds
    return peer.kinds if peer.rests else frozenset(EnvelopeKind)


def _freshness(node: Node, key_id: str, kind: EnvelopeKind) -> KindFreshness:
    board = node.runtime.board
    signal = board.standing(key_id, kind).signal
    age_s = board.age_s(key_id, kind)
    return KindFreshness(
        kind=kind.value,
        staleness=_word(signal),
        missing=_missing(signal),
        confirmed_s=None if age_s is None else round(age_s, 1),
        fresh=board.is_peer_fresh(key_id, kind),
    )


def _missing(signal: StalenessSignal) -> int | None:
    if isinstance(signal, InSync):
        return 0
    return signal.missing if isinstance(signal, BoundedBy) else None


def _word(signal: StalenessSignal) -> str:
    if isinstance(signal, InSync):
        return "in_sync"
    return "bounded" if isinstance(signal, BoundedBy) else "unknown"


def _kind_counts(counts: dict[tuple[EnvelopeKind, Shelf], int]) -> tuple[KindCounts, ...]:
    return tuple(
        KindCounts(
            kind.value,
            counts.get((kind, Shelf.FEDERATION), 0),
            counts.get((kind, Shelf.BRIDGED), 0),
            counts.get((kind, Shelf.LOCAL), 0),
        )
        for kind in EnvelopeKind
    )


def _truncated(node: Node, counts: dict[tuple[EnvelopeKind, Shelf], int]) -> tuple[str, ...]:
    """Kinds of which a Summary can't name all: the older rows reach nobody who lacks them."""
    said: list[str] = []
    for kind in EnvelopeKind:
        if counts.get((kind, Shelf.FEDERATION), 0) <= SUMMARY_REFS_MAX:
            continue  # an offer reads every row of its kind, and `status` is asked often
        left_out = max(
            (
                node.runtime.bridge.truncated(key_id, kind)
                for key_id in node.runtime.peers.key_ids()
            ),
            default=0,
        )
        if left_out:
            said.append(
                f"{kind}: {left_out} records are beyond the {SUMMARY_REFS_MAX:,} a Summary can "
                "name and are offered to nobody; carry them with export and import"
            )
    return tuple(said)


def _long_joins(node: Node) -> tuple[str, ...]:
    """Peers that it takes days to bring up to date by radio."""
    budget, peers = node.runtime.budget, node.runtime.peers.all()
    if budget is None:
        return ()
    aliases = {peer.config.key_id: peer.config.alias for peer in peers}
    return tuple(map(join_advice, budget.long_joins(aliases)))


def _pending_removals(node: Node) -> tuple[PendingRemoval, ...]:
    return tuple(
        PendingRemoval(
            one.half.kind.value, one.about, one.removed, one.half.signers, one.record, one.peer
        )
        for one in node.runtime.previews.pending()
    )


def _withheld(node: Node) -> dict[str, int]:
    """What peers asked for or offered and did not get, by reason: never silent either."""
    return {
        "_".join(filter(None, (what, reason))): count
        for (what, reason), count in node.runtime.bridge.counts().items()
        if what in ("withheld", "unserved", "not_asked")
    }


def _health(peers: tuple[PeerStatus, ...], stats: TransportStats, clock: str) -> tuple[str, ...]:
    problems: list[str] = []
    if clock != "trusted":
        problems.append(f"clock: {clock}")
    problems += [
        f"interface {row.name} is down; records wait until it is back"
        for row in stats.interfaces
        if not row.online
    ]
    return (*problems, *peer_problems(peers))


def written_bytes() -> int | None:
    """What this process gave to disks since it started, as the kernel counts; None without that."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def rss_bytes() -> int:
    """Resident memory of this process."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * resource.getpagesize()
