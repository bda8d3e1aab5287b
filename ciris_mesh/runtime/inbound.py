"""A frame that came by HTTP: whose it is, and what becomes of it.

The credential says whose, never anything in the frame: a registry of the configuration, or nobody.
Nobody may bring first-contact keys and their occurrences, as on a link that nobody owns. The same
limits, the same flow, the same `admit` as for frames over Reticulum.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ciris_mesh.directory.base import UNATTRIBUTED
from ciris_mesh.errors import RemoteProtocolError
from ciris_mesh.records.kinds import BOOTSTRAP_KINDS
from ciris_mesh.runtime.httpcredentials import Credentials
from ciris_mesh.runtime.runtime import ReplicationRuntime
from ciris_mesh.transport.limits import FIRST_CONTACT_FRAME_BYTES_MAX, FRAME_BYTES_MAX
from ciris_mesh.wire.frame import try_unwrap
from ciris_mesh.wire.messages import Deliver

#: Envelopes looked at of a Deliver by nobody; as on links.
STRANGERS_ENVELOPES_MAX: Final = 4
#: Frames by nobody at a time, and a minute: each may cost two signature checks and a write.
STRANGERS_AT_ONCE_MAX: Final = 2
STRANGERS_PER_MINUTE_MAX: Final = 30


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen. Without `cert` it is plain HTTP: behind a proxy, or on this machine.

    Attributes:
        client_ca: authorities whose client certificates are looked at; None asks for none.
    """

    host: str = "127.0.0.1"
    port: int = 0
    cert: Path | None = None
    cert_key: Path | None = None
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Sender:
    """Who posts. `key_id` is None for nobody; `reason` says why a credential was turned away."""

    key_id: str | None
    reason: str = ""

    @property
    def bytes_max(self) -> int:
        """How long its frame may be."""
        return FRAME_BYTES_MAX if self.key_id is not None else FIRST_CONTACT_FRAME_BYTES_MAX


class HttpInbound:
    """Takes frames for one runtime. Thread-safe."""

    def __init__(self, runtime: ReplicationRuntime, credentials: Credentials) -> None:
        self._runtime = runtime
        self._credentials = credentials
        self._lock = threading.Lock()  # guards the three fields below
        self._strangers = 0
        self._minute = 0
        self._in_minute = 0

    def sender(self, *, token: str | None, certificate: bytes | None) -> Sender:
        """Whose these credentials are. What is nobody's is turned away, not ignored."""
        if certificate is not None:
            key_id = self._credentials.by_certificate(certificate)
        elif token is not None:
            key_id = self._credentials.by_token(token)
        else:
            return Sender(None)
        registries = self._runtime.registries
        if key_id is None or registries is None or key_id not in registries.peers:
            self.refuse("http_credential")
            return Sender(None, "http_credential")
        return Sender(key_id)

    def refuse(self, reason: str) -> None:
        """Count a frame that was turned away."""
        self._runtime.drops.count(reason)

    def take(self, sender: Sender, frame: bytes) -> str:
        """Take a whole frame. May block on the store. Returns "" or why it was not taken."""
        if sender.key_id is None:
            return self._take_strangers(frame)
        registries = self._runtime.registries
        assert registries is not None, "the sender was found among them"
        return registries.take(sender.key_id, frame)

    def _take_strangers(self, frame: bytes) -> str:
        if not self._begin():
            self.refuse("http_strangers")
            return "http_strangers"
        try:
            return self._meet(frame)
        finally:
            with self._lock:
                self._strangers -= 1

    def _begin(self) -> bool:
        minute = int(self._runtime.clock() // 60)
        with self._lock:
            if minute != self._minute:
                self._minute, self._in_minute = minute, 0
            is_full = self._strangers >= STRANGERS_AT_ONCE_MAX
            if is_full or self._in_minute >= STRANGERS_PER_MINUTE_MAX:
                return False
            self._strangers += 1
            self._in_minute += 1
            return True

    def _meet(self, frame: bytes) -> str:
        try:
            unwrapped = try_unwrap(frame)
        except RemoteProtocolError:
            unwrapped = None
        message = unwrapped.message if unwrapped is not None else None
        if not isinstance(message, Deliver) or message.kind not in BOOTSTRAP_KINDS:
            self.refuse("frame_unattributed")
            return "frame_unattributed"
        for envelope in message.envelopes[:STRANGERS_ENVELOPES_MAX]:
            self._runtime.directory.admit(
                message.kind, envelope, UNATTRIBUTED, now_ms=self._runtime.wall_ms()
            )
        return ""
