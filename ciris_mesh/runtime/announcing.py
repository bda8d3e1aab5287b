"""Announces at start and once per interval: rarely, because announces are airtime."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ciris_mesh.directory.base import SetDigest
from ciris_mesh.errors import MeshError
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.comparison import salted
from ciris_mesh.runtime.node import Node
from ciris_mesh.wire.announce import AnnounceData, encode_announce

logger = logging.getLogger(__name__)


class Announcer:
    """Owns the thread "ciris-announcer" from start() to stop().

    Args:
        announce: does it once; what it returns is not looked at.
        interval_s: seconds between announces; 6 hours by default in the configuration.
    """

    def __init__(self, announce: Callable[[], object], *, interval_s: float) -> None:
        self._announce = announce
        self._interval_s = interval_s
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
            self._stopping.wait(self._interval_s)


def announce_node(node: Node) -> bool:
    """Announce `ciris.mesh`, and say whether radios are left out.

    Raises MeshError when the transport does.
    """
    return node.runtime.transport.announce(encode_announce(announce_data(node)))


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
