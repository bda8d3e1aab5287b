"""Announces at start and once per interval: rarely, because announces are airtime.

Reticulum repeats no announce of a node's own. One that was sent while the router on the way was
still starting, or in the same moment as somebody whom we don't hear, is lost, and a peer behind
that router has no path to us. So while a peer was never met, the next announce comes earlier.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import Final

from ciris_mesh.directory.base import SetDigest
from ciris_mesh.errors import MeshError
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.comparison import salted
from ciris_mesh.runtime.node import Node
from ciris_mesh.wire.announce import AnnounceData, encode_announce

logger = logging.getLogger(__name__)

#: After the one before, while a peer was never met: as soon as a radio may (an hour), and a little
#: later by chance, since what collided would otherwise collide again.
AGAIN_S: Final = 3_610.0
AGAIN_SPREAD_S: Final = 360.0

#: Earlier announces in all, until a node ends: who was not met by then is away, and the air is
#: everybody's. For a peer that is added later there is `ciris-mesh announce`.
AGAIN_MAX: Final = 3


class Announcer:
    """Owns the thread "ciris-announcer" from start() to stop().

    Args:
        announce: does it once; what it returns is not looked at.
        interval_s: seconds between announces; 6 hours by default in the configuration.
        lacks_peer: is there a peer that was never met?
    """

    def __init__(
        self,
        announce: Callable[[], object],
        *,
        interval_s: float,
        lacks_peer: Callable[[], bool] = lambda: False,
    ) -> None:
        self._announce = announce
        self._interval_s = interval_s
        self._lacks_peer = lacks_peer
        self._again_left = AGAIN_MAX
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ciris-announcer", daemon=True)

    def start(self) -> None:
        """Announce now, and again every interval."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread. Idempotent."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._announce()
            except MeshError as error:
                logger.warning("announce.failed error=%s", error)
            except Exception:
                logger.exception("announce.failed")
            self._wait()

    def _wait(self) -> None:
        """Until the next is due, or the end."""
        left_s = self._interval_s
        while self._again_left and not self._stopping.is_set():
            again_s = AGAIN_S + random.random() * AGAIN_SPREAD_S
            if again_s >= left_s:
                break
            self._stopping.wait(again_s)
            left_s -= again_s
            if self._is_lacking():
                self._again_left -= 1
                return
        self._stopping.wait(left_s)

    def _is_lacking(self) -> bool:
        try:
            return self._lacks_peer()
        except Exception:
            logger.exception("announce.failed")
            return False


def announce_node(node: Node) -> bool:
    """Announce `ciris.mesh`, and say whether radios are left out.

    Raises MeshError when the transport does.
    """
    return node.runtime.transport.announce(encode_announce(announce_data(node)))


def lacks_peer(node: Node) -> bool:
    """Is there a peer that was neither reached nor came by itself since this node started?"""
    return any(not peer.reach.was_reached() for peer in node.runtime.peers.all())


def announce_data(node: Node) -> AnnounceData:
    """What this node says of itself to everybody."""
    digests = [node.directory.digest(kind) for kind in EnvelopeKind]
    whole = b"".join(digest.digest for digest in digests)
    count = sum(digest.count for digest in digests)
    return AnnounceData(
        capabilities=node.capabilities,
        fingerprint=node.fingerprint[:8],
        view_digest=salted(SetDigest(count, whole), b""),
        count=count,
    )
