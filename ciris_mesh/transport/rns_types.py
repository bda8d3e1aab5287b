"""Reticulum's objects as this package sees them: types for what carries none (rns 1.5.7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ciris_mesh.transport.base import Address


class Identity(Protocol):
    """An RNS identity; `hash` is our Address."""

    hash: bytes

    def get_public_key(self) -> bytes:
        """64 bytes: X25519 and Ed25519."""
        ...

    def get_private_key(self) -> bytes:
        """64 bytes of the same order."""
        ...


class Interface(Protocol):
    """A Reticulum interface."""

    name: str
    online: bool
    bitrate: int | None


class Resource(Protocol):
    """A transfer of many packets, either way."""

    status: int
    hash: bytes
    original_hash: bytes
    request_id: bytes | None
    max_decompressed_size: int

    def progress_callback(self, callback: Callable[[Resource], None]) -> None:
        """Be called as parts move."""
        ...

    def cancel(self) -> None:
        """Give up."""
        ...


class Advertisement(Protocol):
    """What the sender of a Resource claims before any of it is taken. All fields are its word.

    t: bytes to transfer; d: bytes of the whole; i, l: number of this segment and of all; h, o:
    hashes of this segment and of the first; x: carries metadata. A peer may put anything there.
    """

    @property
    def t(self) -> object:
        """See above."""
        ...

    @property
    def d(self) -> object:
        """See above."""
        ...

    @property
    def i(self) -> object:
        """See above."""
        ...

    @property
    def l(self) -> object:  # noqa: E743 (Reticulum's name)
        """See above."""
        ...

    @property
    def h(self) -> object:
        """See above."""
        ...

    @property
    def o(self) -> object:
        """See above."""
        ...

    @property
    def x(self) -> object:
        """See above."""
        ...


class Link(Protocol):
    """A Reticulum link."""

    link_id: bytes
    status: int
    initiator: bool
    rtt: float | None
    mdu: int
    mtu: int
    teardown_reason: int
    establishment_timeout: float
    attached_interface: Interface | None
    last_resource_eifr: float | None
    destination: Any

    def identify(self, identity: Identity) -> None:
        """Say who we are; unacknowledged."""
        ...

    def teardown(self) -> None:
        """Close; sends a packet, so it may block on a device."""
        ...


class LinkEvents(Protocol):
    """What a link reports. All come from Reticulum's threads: return at once, call nothing back."""

    def accepts(self, advertisement: Advertisement) -> bool:
        """Decide on an offered Resource."""
        ...

    def resource_started(self, resource: Resource) -> None:
        """An offered Resource, or one that nobody asked us about, begins to arrive."""
        ...

    def resource_concluded(self, resource: Resource) -> None:
        """It arrived, or failed."""
        ...

    def identified(self, address: Address) -> None:
        """The initiator proved its identity."""
        ...

    def closed(self, reason: int) -> None:
        """The link is gone."""
        ...
