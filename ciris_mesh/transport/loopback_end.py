"""One side of a loopback link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ciris_mesh.transport.base import LinkId

if TYPE_CHECKING:
    from ciris_mesh.transport.loopback import LoopbackTransport


@dataclass(eq=False, slots=True)
class End:
    """One side of a link. Guarded by the network's lock.

    Attributes:
        coming: frames sent by the other side and not yet delivered here, and their bytes.
        ends: the other side closes once they are.
        last_due: when the latest event for this end is due; the next is never due earlier.
    """

    owner: LoopbackTransport
    link: LinkId
    inbound: bool
    remote: LoopbackTransport
    peer: End | None = None
    is_open: bool = True
    frames_lost: bool = False
    ends: bool = False
    coming: int = 0
    coming_bytes: int = 0
    received: int = 0
    last_due: float = 0.0
    progress_s: float = 0.0
