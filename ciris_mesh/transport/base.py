"""What the runtime may assume of any transport.

A transport carries whole frames over links between nodes, in order, and reports what happens as
events. It knows addresses (16-byte Reticulum identity hashes), never key ids: who a link belongs
to in the federation is the runtime's to decide, from the hello and its signed binding.

Guarantees, the same for Reticulum and loopback:

* Frames of one link arrive in the order they were sent, each once, or the link goes down.
* Every `dial` ends in exactly one LinkUp or DialFailed, within its own deadline; dials to an
  address that is being dialled already join that one and end with it.
* After LinkDown nothing more is reported for that link; after `stop` returned, nothing at all.
* An inbound link reports no frame before LinkIdentified; one that never identifies goes down.
* The sink is called from transport threads and returns at once (it enqueues).
* Nothing here blocks the caller for longer than handing bytes to a queue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NewType, Protocol, TypeAlias

from ciris_mesh.records.kinds import EnvelopeKind

#: SHA-256 of a node's RNS public key, truncated to 16 bytes: Reticulum's identity hash.
Address = NewType("Address", bytes)
ADDRESS_BYTES: Final = 16

#: Names one link while this process lives. Never reused.
LinkId = NewType("LinkId", int)


@dataclass(frozen=True, slots=True)
class LinkUp:
    """A link is ready to carry frames.

    Attributes:
        address: who is at the other end; None on an inbound link until LinkIdentified.
        medium: "tcp", "serial", "radio", "loopback" or "unknown": what the first hop is.
        is_slow: somewhere on the way, not only on the first hop, bytes are dear.
        interface: `InterfaceRow.name` of the first hop; empty when that is not known.
    """

    link: LinkId
    inbound: bool
    address: Address | None
    medium: str = "unknown"
    is_slow: bool = True
    interface: str = ""


@dataclass(frozen=True, slots=True)
class LinkIdentified:
    """The other end of an inbound link proved which identity it holds."""

    link: LinkId
    address: Address


@dataclass(frozen=True, slots=True)
class FrameReceived:
    """One whole frame, as sent."""

    link: LinkId
    frame: bytes


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The link is gone. `reason` is a value of `reasons.DownReason`."""

    link: LinkId
    reason: str


@dataclass(frozen=True, slots=True)
class DialFailed:
    """No link came up. `reason` is a value of `reasons.DialReason`."""

    address: Address
    reason: str


@dataclass(frozen=True, slots=True)
class NodeHeard:
    """A `ciris.mesh` announce passed validation by Reticulum. `app_data` is unverified."""

    address: Address
    public_key: bytes
    app_data: bytes
    hops: int


@dataclass(frozen=True, slots=True)
class EdgeHeard:
    """A `ciris.edge` announce with app_data passed validation by Reticulum. The rest is a claim.

    Attributes:
        public_key: 64 bytes of the announcing identity, X25519 and Ed25519: they did announce it.
    """

    address: Address
    public_key: bytes
    app_data: bytes
    hops: int


@dataclass(frozen=True, slots=True)
class EdgeFrame:
    """One whole frame from a permitted registry node: on a link it proved to hold `address` on."""

    address: Address
    frame: bytes


@dataclass(frozen=True, slots=True)
class EdgeLost:
    """Frames queued for a registry node were given up. `reason` is a DialReason or DownReason."""

    address: Address
    reason: str


MeshEvent: TypeAlias = LinkUp | LinkIdentified | FrameReceived | LinkDown | DialFailed | NodeHeard
EdgeEvent: TypeAlias = EdgeHeard | EdgeFrame | EdgeLost
TransportEvent: TypeAlias = MeshEvent | EdgeEvent
EventHandler: TypeAlias = Callable[[TransportEvent], None]


@dataclass(frozen=True, slots=True)
class LoraRow:
    """What a LoRa interface is set to, as it says itself: whatever numbers those are."""

    frequency_hz: int
    bandwidth_hz: int
    sf: int
    cr: int


@dataclass(frozen=True, slots=True)
class InterfaceRow:
    """One Reticulum interface as `status` shows it.

    Attributes:
        tx_bytes: of everything sent on it: announces, proofs and forwarding as well.
        lora: None when it is no LoRa radio, or another program's Reticulum holds it.
        airtime_hour: part of the last hour it was on air by its own account; None when it has none.
        mode: what it is to a transport node, in Reticulum's words: "full", "gateway", ...; empty
            when that is not known.
    """

    name: str
    medium: str
    online: bool
    bitrate_bps: int | None
    rx_bytes: int
    tx_bytes: int
    lora: LoraRow | None = None
    airtime_hour: float | None = None
    mode: str = ""


@dataclass(frozen=True, slots=True)
class TransferRow:
    """One transfer of many packets that is under way.

    Attributes:
        address: the other end; None while it did not say.
        inbound: it comes to us.
        done_bytes, total_bytes: as they travel, compressed.
        elapsed_s: since its first part moved.
    """

    address: Address | None
    inbound: bool
    done_bytes: int
    total_bytes: int
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class TransportStats:
    """Counters since start.

    Attributes:
        dropped: a `reasons.DropReason` -> a count: no drop is silent.
        blackholed: identities that Reticulum on this machine hears nothing of, by somebody's word.
    """

    rx_bytes: int
    tx_bytes: int
    links: int
    interfaces: tuple[InterfaceRow, ...]
    dropped: dict[str, int]
    transfers: tuple[TransferRow, ...] = ()
    blackholed: frozenset[Address] = frozenset()


class Transport(Protocol):
    """A carrier of frames. `start` and `stop` once each; all methods are thread-safe."""

    @property
    def address(self) -> Address:
        """This node's own address."""
        ...

    @property
    def public_key(self) -> bytes:
        """This node's 64-byte RNS public key, as the binding names it."""
        ...

    def start(self, handler: EventHandler) -> None:
        """Begin. Events may reach `handler` before this returns."""
        ...

    def stop(self, timeout_s: float = 5.0) -> None:
        """Close every link and end every thread. Idempotent.

        Raises:
            ShutdownTimeout: a thread did not end in time.
        """
        ...

    def dial(self, address: Address, kind: EnvelopeKind | None = None) -> None:
        """Ask for a link to `address`; the answer is LinkUp or DialFailed.

        Args:
            kind: prefer that kind's own destination when a path to it is known.
        """
        ...

    def send(self, link: LinkId, frame: bytes) -> None:
        """Queue one frame.

        Raises:
            BackPressure: the link's bounded queue is full.
            PayloadTooLarge: over the frame limit.
            LinkGone: the link is down or was never up.
        """
        ...

    def hang_up(self, link: LinkId) -> None:
        """Close a link. Unknown links are ignored; LinkDown("closed") follows for known ones."""
        ...

    def finish(self, link: LinkId) -> None:
        """Close a link once all that was sent on it has arrived, at once if it has."""
        ...

    def permit(self, addresses: frozenset[Address]) -> None:
        """Replace the set of identities whose links may carry frames up to the full limit.

        All others may send only what first contact needs.
        """
        ...

    def announce(self, app_data: bytes) -> bool:
        """Announce `ciris.mesh` (and the kinds' destinations where configured) now.

        Returns whether radios are left out, which hear it once an hour at most.

        Raises:
            PayloadTooLarge: `app_data` over 32 bytes.
        """
        ...

    def progress_s(self, link: LinkId) -> float | None:
        """Monotonic time at which bytes last moved on `link`, either way; None when unknown."""
        ...

    def patience_s(self, link: LinkId) -> float:
        """Seconds for which nothing may move on a healthy link; 0 where any limit will do."""
        ...

    def stats(self) -> TransportStats:
        """A snapshot of the counters."""
        ...


class EdgePort(Protocol):
    """The `ciris.edge` destination: frames to and from registry nodes. Thread-safe.

    Registry nodes have no links of their own here: a frame goes to an address by whatever link
    there is, theirs to us before ours to them, and one is made where there is none. Frames may
    arrive in any order; the flow of rounds with registry nodes allows that. What arrives comes
    as EdgeHeard, EdgeFrame and EdgeLost to the handler of the transport this belongs to.
    """

    def permit(self, addresses: frozenset[Address]) -> None:
        """Replace the set of verified registry nodes: nobody else is heard or dialled."""
        ...

    def announce(self, app_data: bytes) -> None:
        """Announce on every interface but radios: now, on each that comes up, every ten minutes.

        Raises:
            PayloadTooLarge: over what an announce can carry.
        """
        ...

    def send(self, address: Address, frame: bytes) -> None:
        """Queue one frame.

        Raises:
            PayloadTooLarge: over `limits.EDGE_SEND_BYTES_MAX`.
            BackPressure: too much waits for this node already.
            PeerUnreachable: it is not permitted, or we are stopping.
        """
        ...

    def hang_up(self, address: Address) -> None:
        """Close all links with it and forget what is queued."""
        ...

    def progress_s(self, address: Address) -> float | None:
        """Monotonic time at which bytes last moved to or from it; None when never."""
        ...

    def is_linked(self, address: Address) -> bool:
        """Say whether there is a link with it now."""
        ...
