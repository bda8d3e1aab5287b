"""How large what two nodes say to each other is: real messages of the real protocol, measured.

An exchange is played once for each number of differences and remembered; the ids are made up, the
frames are those that would be sent.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Final

from ciris_mesh.errors import LifecycleError
from ciris_mesh.protocol.reconcile import Exchange, step
from ciris_mesh.protocol.reconcile_events import (
    Load,
    Loaded,
    Received,
    ReconcileInput,
    Resolved,
    Send,
    Start,
)
from ciris_mesh.protocol.shortid import Item, item
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.frame import try_unwrap, wrap
from ciris_mesh.wire.mesh import Digests, KindDigest
from ciris_mesh.wire.mesh_reconcile import ReconcileMessage
from ciris_mesh.wire.mesh_records import Taken

#: Records that both have already, which the sketch has to tell differences from.
COMMON: Final = 2_000
#: Beyond, a round of Summaries or several rounds would be taken; no row here needs it.
DIFFERENCES_MAX: Final = 512
#: A frame that fits one packet goes in a link packet, and its answer in another.
_PACKET_BYTES: Final = 67 + 99
_KIND: Final = EnvelopeKind.ATTESTATION
_NONCES: Final = bytes(range(16))


@dataclass
class _Side:
    items: Sequence[Item]
    exchange: Exchange = field(default_factory=lambda: Exchange(_NONCES))
    outbox: deque[bytes] = field(default_factory=deque)
    result: Resolved | None = None

    def feed(self, event: ReconcileInput) -> None:
        waiting = deque([event])
        while waiting:
            self.exchange, actions = step(self.exchange, waiting.popleft())
            for action in actions:
                match action:
                    case Send(message=message):
                        self.outbox.append(wrap(message))
                    case Load():
                        waiting.append(Loaded(self.items))
                    case Resolved():
                        self.result = action
                    case _:
                        raise LifecycleError(f"a simulated exchange took another way: {action}")


@cache
def comparison_bytes() -> int:
    """Both sides' digests of all kinds, in link packets."""
    entries = tuple(KindDigest(kind, COMMON, bytes(8)) for kind in EnvelopeKind)
    return sum(len(wrap(Digests(entries, reply=reply))) + _PACKET_BYTES for reply in (False, True))


@lru_cache(maxsize=4_096)
def exchange_bytes(lacking_here: int, lacking_there: int) -> int:
    """What it takes to find out which records two nodes lack, both ways.

    Args:
        lacking_here, lacking_there: how many of them, `DIFFERENCES_MAX` in all at most.
    """
    assert lacking_here + lacking_there <= DIFFERENCES_MAX, "more is compared in several rounds"
    rng = random.Random(f"{lacking_here} {lacking_there}")
    made = [item(_KIND, rng.randbytes(32)) for _ in range(COMMON + lacking_here + lacking_there)]
    common, theirs = made[:COMMON], made[COMMON : COMMON + lacking_here]
    one, two = _Side([*common, *made[COMMON + lacking_here :]]), _Side([*common, *theirs])
    one.feed(Start(1, rng.randbytes(4), len(one.items), len(two.items)))
    size_bytes = 0
    while one.outbox or two.outbox:
        source, target = (one, two) if one.outbox else (two, one)
        frame = source.outbox.popleft()
        size_bytes += len(frame) + _PACKET_BYTES
        unwrapped = try_unwrap(frame)
        assert unwrapped is not None
        assert isinstance(unwrapped.message, ReconcileMessage)
        target.feed(Received(unwrapped.message))
    assert one.result is not None, "it ends with a result"
    return size_bytes


@cache
def taken_bytes() -> int:
    """The word that a batch was worked off."""
    return len(wrap(Taken(1))) + _PACKET_BYTES
