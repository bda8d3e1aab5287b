"""What the operator's desk needs of a message service: a queue in, messages out, a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

#: Messages that wait to be read; a flood loses its newest, and is counted.
INBOX_MAX: Final = 64
#: Nobody asks anything in more; the rest is not kept.
TEXT_BYTES_MAX: Final = 1024
ADDRESS_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Message:
    """One message whose signature was right.

    Attributes:
        sender: 16 bytes, where to answer.
        public_key: 64 bytes, the sender's Reticulum identity.
        sent_s: when its sender says it was sent, Unix seconds.
        fields: what it carries beside text, unchecked.
    """

    sender: bytes
    public_key: bytes
    text: str
    sent_s: float
    fields: Mapping[object, object] = field(default_factory=dict)


#: Called once for each message given to `send`, on a thread of the service: True when delivered.
Delivered = Callable[[bool], None]


class Mailbox(Protocol):
    """Thread-safe."""

    @property
    def address(self) -> bytes:
        """16 bytes; what people write to."""
        ...

    @property
    def public_key(self) -> bytes:
        """64 bytes, as a QR code carries them beside the address."""
        ...

    def take(self, timeout_s: float) -> Message | None:
        """The next message; None when none came in time."""
        ...

    def send(
        self,
        to: bytes,
        public_key: bytes,
        text: str,
        *,
        fields: Mapping[int, object] | None = None,
        done: Delivered | None = None,
    ) -> None:
        """Send, directly or by the propagation node. Does not wait."""
        ...

    def announce(self) -> None:
        """Let others learn the address."""
        ...

    def stop(self) -> None:
        """Take no more messages, and keep what must be kept. Idempotent."""
        ...
