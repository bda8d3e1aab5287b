"""Frames that come as Channel messages: a registry node sends so on a link busy with a Resource."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ciris_mesh.transport import rns_seam as seam


class _ChannelFrame(seam.ChannelMessage):  # type: ignore[misc]
    """A frame of a registry node that came as a Channel message."""

    MSGTYPE = 0x0000

    def __init__(self) -> None:
        self.frame = b""

    def pack(self) -> bytes:
        """We send none: our own frames go as Resources."""
        return self.frame

    def unpack(self, raw: bytes) -> None:
        """Reticulum took the header off."""
        self.frame = raw


def open_channel(link: Any, received: Callable[[bytes], None]) -> None:
    """Take Channel messages of type 0 on an established link.

    Without an open channel Reticulum proves none, and a registry node closes the link. To be
    called right when the link is established: before that it has no round trip to go by.
    """
    channel = link.get_channel()
    channel.register_message_type(_ChannelFrame)

    def take(message: _ChannelFrame) -> bool:
        received(message.frame)
        return True

    channel.add_message_handler(take)
