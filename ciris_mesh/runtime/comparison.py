"""Do two nodes hold the same? One exchange of salted digests answers for all kinds at once.

The digest of a kind's view (what I would offer this peer, plus what it offered that I know) is
collision resistant; eight bytes of it, salted with both hello nonces, go on the wire, so nobody
can prepare records that look equal and every link sees other bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, Protocol

from ciris_mesh.directory.base import SetDigest
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.mesh import Digests, KindDigest

DIGEST_BYTES: Final = 8


class ViewBridge(Protocol):
    """The part of the bridge a comparison needs."""

    def view_digest(self, peer: str, kind: EnvelopeKind) -> SetDigest:
        """Digest of the set this node compares with `peer`."""
        ...


def salted(digest: SetDigest, salt: bytes) -> bytes:
    """The 8 bytes that stand for a set on one link. `salt` is LinkState.salt()."""
    count = digest.count.to_bytes(8, "big")
    return hashlib.blake2b(digest.digest + count + salt, digest_size=DIGEST_BYTES).digest()


def own_digests(
    bridge: ViewBridge,
    peer: str,
    kinds: Iterable[EnvelopeKind],
    salt: bytes,
    *,
    reply: bool,
) -> Digests:
    """This node's side of a comparison, kinds in wire order."""
    entries = []
    for kind in EnvelopeKind:
        if kind in kinds:
            digest = bridge.view_digest(peer, kind)
            entries.append(KindDigest(kind, digest.count, salted(digest, salt)))
    return Digests(tuple(entries), reply)


def split(ours: Digests, theirs: Digests) -> tuple[list[EnvelopeKind], list[EnvelopeKind]]:
    """(kinds that are equal, kinds that differ), of those both sides named."""
    other = {entry.kind: entry for entry in theirs.entries}
    equal: list[EnvelopeKind] = []
    differ: list[EnvelopeKind] = []
    for entry in ours.entries:
        if entry.kind in other:
            (equal if other[entry.kind] == entry else differ).append(entry.kind)
    return equal, differ


def beyond(ours: Digests, theirs: Digests) -> int:
    """How many more records the peer named than we have, of kinds of which it has more."""
    own = {entry.kind: entry.count for entry in ours.entries}
    return sum(max(0, it.count - own[it.kind]) for it in theirs.entries if it.kind in own)
