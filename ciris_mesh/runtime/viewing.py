"""The bridge's sets as a reconciled round takes them: items to compare, batches to send."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ciris_mesh.directory.bridge import FederationDirectoryReplicationBridge
from ciris_mesh.directory.buckets import BUCKET_COUNT, bucket_digest, bucket_of
from ciris_mesh.directory.offers import OFFER_REFS_MAX
from ciris_mesh.protocol.limits import (
    DELIVER_BUDGET_BYTES,
    DELIVER_ENVELOPES_MAX,
    SLOW_BATCH_BYTES,
)
from ciris_mesh.protocol.reconcile_events import Bucket
from ciris_mesh.protocol.shortid import Item, item
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.mesh_round import MeshRound

#: Of one kind, what is held and not passed on that an exchange looks at: as much as a full offer,
#: 10 MB and a second of salting on a small board.
SPARE_MAX: Final = OFFER_REFS_MAX


def items_of(
    bridge: FederationDirectoryReplicationBridge,
    peer: str,
    kinds: Sequence[EnvelopeKind],
    buckets: tuple[int, ...] | None,
    *,
    at_most: int,
) -> list[Item] | None:
    """What is compared with `peer`; of these buckets alone, if any are named.

    Buckets are counted through all `kinds`, 256 for each, which both sides name in wire order.

    Returns:
        None when there are more than `at_most`; of all buckets, that is known without a look.
    """
    counts = (bridge.view_digest(peer, kind).count for kind in kinds)
    if buckets is None and sum(counts) > at_most:
        return None
    chosen = None if buckets is None else frozenset(buckets)
    items: list[Item] = []
    for index, kind in enumerate(kinds):
        first = index * BUCKET_COUNT
        items += [
            item(kind, one)
            for one in bridge.view_ids(peer, kind)
            if chosen is None or first + bucket_of(one) in chosen
        ]
    return items if len(items) <= at_most else None


def spare_of(
    bridge: FederationDirectoryReplicationBridge,
    peer: str,
    round_: MeshRound,
    buckets: tuple[int, ...] | None,
) -> list[Item]:
    """What is held besides, of the kinds that differ; see `protocol.reconcile_events.Loaded`.

    Of a kind of which more than `SPARE_MAX` are held besides, none: `peer` may then send some that
    are here, and they are noted one by one.
    """
    chosen = None if buckets is None else frozenset(buckets)
    return [
        item(kind, one)
        for index, kind in enumerate(round_.kinds)
        if kind in round_.state.differ
        for one in bridge.spare_ids(peer, kind, at_most=SPARE_MAX)
        if chosen is None or index * BUCKET_COUNT + bucket_of(one) in chosen
    ]


def buckets_of(
    bridge: FederationDirectoryReplicationBridge, peer: str, kinds: Sequence[EnvelopeKind]
) -> list[Bucket]:
    """Count and digest of every bucket of what is compared with `peer`."""
    buckets: list[Bucket] = []
    for kind in kinds:
        groups: list[list[bytes]] = [[] for _ in range(BUCKET_COUNT)]
        for one in bridge.view_ids(peer, kind):
            groups[bucket_of(one)].append(one)
        buckets += [Bucket(each.count, each.digest) for each in map(bucket_digest, groups)]
    return buckets


def next_batch(
    bridge: FederationDirectoryReplicationBridge, peer: str, round_: MeshRound
) -> list[tuple[EnvelopeKind, bytes, bytes]]:
    """Take off `round_.outgoing` what one batch holds: kind, id and envelope of each record.

    Empty when nothing of it may be sent any more.
    """
    left = SLOW_BATCH_BYTES if round_.state.is_slow else DELIVER_BUDGET_BYTES
    batch: list[tuple[EnvelopeKind, bytes, bytes]] = []
    while round_.outgoing and left > 0 and len(batch) < DELIVER_ENVELOPES_MAX:
        kind = round_.outgoing[0][0]
        run: list[bytes] = []
        while round_.outgoing and round_.outgoing[0][0] is kind:
            if len(batch) + len(run) == DELIVER_ENVELOPES_MAX:
                break
            run.append(round_.outgoing.popleft()[1])
        served = bridge.serve(peer, kind, run, budget_bytes=left)
        batch += [
            (kind, one, envelope)
            for one, envelope in zip(served.sent_ids, served.envelopes, strict=True)
        ]
        left -= sum(map(len, served.envelopes))
        later = [one for one, reason in served.unserved if reason == "over_budget"]
        if later:
            round_.outgoing.extendleft((kind, one) for one in reversed(later))
            break
    return batch
