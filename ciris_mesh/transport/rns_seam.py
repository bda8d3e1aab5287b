"""The module that touches Reticulum's API, which carries no types.

Everything else in this package sees Reticulum through the Protocols and functions here. They add
types and names, no policy (`rns_seam_control` does the same for operators' requests). None of these
functions may be called with one of our locks held: Reticulum may call back from inside them.
Written against rns 1.5.7.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import RNS
from RNS.vendor import umsgpack

from ciris_mesh.transport import carriers
from ciris_mesh.transport.base import Address
from ciris_mesh.transport.rns_early import Early
from ciris_mesh.transport.rns_types import Advertisement as Advertisement
from ciris_mesh.transport.rns_types import Identity as Identity
from ciris_mesh.transport.rns_types import Interface as Interface
from ciris_mesh.transport.rns_types import Link as Link
from ciris_mesh.transport.rns_types import LinkEvents as LinkEvents
from ciris_mesh.transport.rns_types import Resource as Resource

APP_NAME: Final = "ciris"
MESH_ASPECTS: Final = ("mesh",)
EDGE_ASPECTS: Final = ("edge",)

#: Request paths are carried as a 16-byte hash, so the sequence number of a small frame travels in
#: the path at no cost. One frame is under way at a time, so 8 values leave room for a duplicate
#: that is seven frames late.
SEQUENCES: Final = 8

#: Requests of several packets become Resources; see `rns_link.resource_started` for those.
_REQUEST_BYTES_MAX: Final = carriers.REQUEST_BODY_BYTES_MAX + carriers.REQUEST_OVERHEAD_BYTES

LINK_CLOSED: Final[int] = RNS.Link.CLOSED
LINK_TIMEOUT: Final[int] = RNS.Link.TIMEOUT
LINK_CLOSED_BY_INITIATOR: Final[int] = RNS.Link.INITIATOR_CLOSED
LINK_CLOSED_BY_DESTINATION: Final[int] = RNS.Link.DESTINATION_CLOSED
RESOURCE_REJECTED: Final[int] = RNS.Resource.REJECTED

#: A concluded Resource in any other state arrived: a late duplicate part, or a late request for
#: one, sets the state of a complete Resource back to "transferring" while its callback runs.
_NOT_ARRIVED: Final = (RNS.Resource.FAILED, RNS.Resource.CORRUPT, RNS.Resource.REJECTED)

#: What a message of a Channel is made of; see rns_channel.
ChannelMessage: Final = RNS.MessageBase

#: Bytes read from a socket at once: some of Reticulum's largest packets.
READ_BYTES: Final = 64 * 1024

#: A Resource above this size is sent as several, one after the other.
SEGMENT_BYTES_MAX: Final[int] = RNS.Resource.MAX_EFFICIENT_SIZE


#: (sequence, body, link id) -> the answer to send, None for silence.
RequestHandler = Callable[[int, object, bytes], int | None]


def is_running() -> bool:
    """Say whether this process has a Reticulum."""
    return RNS.Reticulum.get_instance() is not None


def is_shared_client() -> bool:
    """Say whether interfaces belong to an rnsd this process is only a client of."""
    return bool(RNS.Reticulum.get_instance().is_connected_to_shared_instance)


def new_identity() -> Identity:
    """Make a fresh identity."""
    identity: Identity = RNS.Identity()
    return identity


def identity_from_bytes(private_key: bytes) -> Identity | None:
    """Load an identity from its 64 private bytes; None when they are no key."""
    identity: Identity | None = RNS.Identity.from_bytes(private_key)
    return identity


def destination_hash(address: Address, aspects: tuple[str, ...]) -> bytes:
    """Name a destination of the identity `address`."""
    digest: bytes = RNS.Destination.hash(address, APP_NAME, *aspects)
    return digest


def has_path(destination: bytes) -> bool:
    """Say whether Reticulum knows where to send for `destination`."""
    return bool(RNS.Transport.has_path(destination))


def request_path(destination: bytes) -> None:
    """Ask the network for a path; sends a packet."""
    RNS.Transport.request_path(destination)


def hops_to(destination: bytes) -> int:
    """Hops to a destination; 128 when unknown."""
    return int(RNS.Transport.hops_to(destination))


def recall(destination: bytes) -> Identity | None:
    """The identity of a destination heard before; None when never heard."""
    identity: Identity | None = RNS.Identity.recall(destination)
    return identity


def next_hop_name(destination: bytes) -> str:
    """The name of the interface packets for `destination` leave by."""
    return str(RNS.Reticulum.get_instance().get_next_hop_if_name(destination))


def interfaces() -> list[Interface]:
    """The interfaces of this process's Reticulum."""
    return list(RNS.Transport.interfaces)


def is_given_up(interface: Any) -> bool:
    """Say whether Reticulum no longer uses an interface that connects again by itself."""
    connects = getattr(interface, "initiator", False) and not getattr(interface, "detached", False)
    return bool(connects) and not (interface.IN or interface.OUT)


def put_into_use(interface: Any) -> None:
    """Let an interface take what comes, and send unless its configuration says that it must not."""
    blocks = RNS.Reticulum.get_instance().config.get("interfaces", {})
    block = blocks.get(interface.name, {})
    interface.OUT = "outgoing" not in block or block.as_bool("outgoing")
    interface.IN = True


def lora_settings(interface: Any) -> tuple[int, int, int, int] | None:
    """Frequency and bandwidth in Hz, spreading factor and coding rate; None when it has none."""
    names = ("frequency", "bandwidth", "sf", "cr")
    values = [value for name in names if isinstance(value := getattr(interface, name, None), int)]
    if len(values) != len(names):
        return None
    frequency_hz, bandwidth_hz, sf, cr = values
    return frequency_hz, bandwidth_hz, sf, cr


def configured_name(interface: Interface) -> str:
    """The name in the configuration; what a listening interface spawns goes by its parent's."""
    parent = getattr(interface, "parent_interface", None)
    return str(getattr(parent or interface, "name", ""))


def interface_stats() -> dict[str, Any]:
    """Reticulum's own counters, of the shared instance when there is one."""
    stats = RNS.Reticulum.get_instance().get_interface_stats()
    return stats if isinstance(stats, dict) else {}


def blackholed() -> list[bytes]:
    """Identity hashes that this machine's Reticulum was told to ignore."""
    found = RNS.Reticulum.get_instance().get_blackholed_identities()
    return list(found) if isinstance(found, dict) else []


def create_destination(
    identity: Identity, aspects: tuple[str, ...], *, handler: RequestHandler
) -> Any:
    """Make one of our own destinations that takes links."""
    destination = RNS.Destination(
        identity, RNS.Destination.IN, RNS.Destination.SINGLE, APP_NAME, *aspects
    )
    _serve(destination, handler)
    return destination


def set_app_data(destination: Any, app_data: bytes) -> None:
    """What Reticulum announces it with by itself, when somebody asks for a path."""
    destination.set_default_app_data(app_data)


def recall_app_data(destination: bytes) -> bytes | None:
    """What a destination announced last; None when that is not known."""
    app_data = RNS.Identity.recall_app_data(destination)
    return app_data if isinstance(app_data, bytes) else None


def remove_destination(destination: Any) -> None:
    """Stop listening on it."""
    destination.accepts_links(accepts=False)
    RNS.Transport.deregister_destination(destination)


def guard_link_requests(destination: Any, admits: Callable[[], bool | None]) -> None:
    """Ask `admits` about each link request that comes to `destination`. Inbound thread."""
    take = destination.incoming_link_request

    def ask_first(data: bytes, packet: object) -> None:
        if admits():
            take(data, packet)

    destination.incoming_link_request = ask_first


def is_half_open(link: Link) -> bool:
    """Say whether a link is still being set up."""
    return link.status in (RNS.Link.PENDING, RNS.Link.HANDSHAKE)


def abandon(link: Any) -> None:
    """End a half-open link as Reticulum itself would later: without a packet to its other end."""
    link.status = RNS.Link.CLOSED
    link.teardown_reason = RNS.Link.TIMEOUT
    link.link_closed()


def open_link(
    identity: Identity,
    aspects: tuple[str, ...],
    *,
    handler: RequestHandler,
    established: Callable[[Link], None],
    closed: Callable[[Link], None],
) -> Link:
    """Send a link request. The other end can send requests too, once the link is up.

    `handle_request` in Reticulum looks at the handlers of the link's destination, which on the
    initiator's side is the OUT destination made here, one per link.
    """
    destination = RNS.Destination(
        identity, RNS.Destination.OUT, RNS.Destination.SINGLE, APP_NAME, *aspects
    )
    _serve(destination, handler)
    link: Link = RNS.Link(destination, established_callback=established, closed_callback=closed)
    return link


def _serve(destination: Any, handler: RequestHandler) -> None:
    # Six parameters: Reticulum counts them.
    def answer(
        sequence: int,
        path: str,
        data: object,
        request_id: bytes,
        link_id: bytes,
        remote_identity: object,
        requested_at: object,
    ) -> int | None:
        return handler(sequence, data, link_id)

    for sequence in range(SEQUENCES):
        destination.register_request_handler(
            _path(sequence),
            response_generator=functools.partial(answer, sequence),
            allow=RNS.Destination.ALLOW_ALL,
            auto_compress=False,
        )
    destination.set_max_request_size(_REQUEST_BYTES_MAX)


def _path(sequence: int) -> str:
    return f"ciris.frame.{sequence}"


def attach(link: Any, events: LinkEvents) -> None:
    """Route what happens on `link` to `events`. Before anything is sent on it."""
    link.early = Early(link, part_request=RNS.Packet.RESOURCE_REQ)
    link.set_resource_callback(events.accepts)
    link.set_resource_started_callback(events.resource_started)
    link.set_resource_concluded_callback(events.resource_concluded)
    link.set_link_closed_callback(lambda gone: events.closed(gone.teardown_reason))
    if not link.initiator:
        link.rtt_packet = lambda _packet: None  # a second end of the set-up: see `repeat_set_up`
        link.set_remote_identified_callback(
            lambda _link, identity: events.identified(Address(identity.hash))
        )
    link.set_resource_strategy(RNS.Link.ACCEPT_APP)


class _WideSocket(socket.socket):
    __slots__ = ()

    def recv(self, size: int, flags: int = 0) -> bytes:
        return super().recv(max(size, READ_BYTES), flags)


def read_widely(link: Link) -> None:
    """Have what `link` arrives by read from its socket in larger pieces, where it has one.

    Reticulum reads 4 kB at a time. Each read gives the interpreter away, and has to wait for it
    again while another thread judges what came before.
    """
    found = getattr(link.attached_interface, "socket", None)
    if type(found) is socket.socket:
        found.__class__ = _WideSocket


def tell_identity(link: Any, events: LinkEvents) -> None:
    """Report the identity that the initiator proved before `attach`, if it did.

    It does where the packet that ends the set-up is lost: Reticulum believes the next one, which
    proves who it is, while nobody listens, and never reports it again.
    """
    proven = link.get_remote_identity()
    if proven is not None:
        events.identified(Address(proven.hash))


def hear_packets(link: Any, packet: Callable[[bytes], None], part: Callable[[bytes], None]) -> None:
    """Route paced packets of `link` to who opens them (`sealing`), and parts of sealed frames.

    Both travel as what Reticulum does not seal by itself, as `send_packet` and `send_part` say.
    Calls nothing, so it may be called with a lock held.

    Args:
        packet, part: called on the inbound thread for each, whoever made it.
    """
    receive = link.receive

    def look_first(arrived: Any) -> None:
        if arrived.packet_type == RNS.Packet.DATA:
            if arrived.context == RNS.Packet.KEEPALIVE and len(arrived.data) > 1:
                packet(arrived.data)
            elif arrived.context == RNS.Packet.RESOURCE and not link.incoming_resources:
                # While a Resource is arriving all of them are its own: one frame is under way at
                # a time.
                part(arrived.data)
        receive(arrived)

    link.receive = look_first


def send_packet(link: Any, sealed: bytes) -> bool:
    """Send one sealed packet; False when no interface took it.

    It goes as a keepalive, of which Reticulum notes that the link lives and no more, unless it is
    the one byte of its own. Like parts those are never taken for duplicates of each other.
    """
    return _send_unsealed(link, sealed, RNS.Packet.KEEPALIVE)


def send_part(link: Any, tagged: bytes) -> bool:
    """Send a part of a sealed frame; False when no interface took it.

    It goes as a part of a Resource. Where none is arriving Reticulum does nothing about it but note
    that the link lives.
    """
    return _send_unsealed(link, tagged, RNS.Packet.RESOURCE)


def _send_unsealed(link: Any, data: bytes, context: int) -> bool:
    return RNS.Packet(link, data, context=context, create_receipt=False).send() is not False


def link_key(link: Any) -> bytes | None:
    """The key that both ends of a link agreed on; None before they did, and once it is closed."""
    key: bytes | None = link.derived_key
    return key


def repeat_set_up(link: Any) -> None:
    """Send the last packet of a link's set-up again: without it the other end waits for it.

    An end that has it takes no notice; see `attach`.
    """
    content = umsgpack.packb(link.rtt)
    RNS.Packet(link, content, context=RNS.Packet.LRRTT, create_receipt=False).send()


def has_arrived(resource: Resource) -> bool:
    """Say of a concluded Resource whether all of it is at the receiving side."""
    return resource.status not in _NOT_ARRIVED


def received_bytes(resource: Any, limit_bytes: int) -> bytes | None:
    """What a concluded Resource brought, up to one byte more than the limit; None when it failed.

    Only while its callback runs: Reticulum closes and removes the file afterwards.
    """
    file = getattr(resource, "data", None)
    if file is None or not has_arrived(resource) or not hasattr(file, "read"):
        return None
    content: bytes = file.read(limit_bytes + 1)
    return content


def is_receiving(link: Any, resource_hash: object) -> bool:
    """Say whether the Resource of that hash is arriving on `link` now."""
    return any(resource.hash == resource_hash for resource in list(link.incoming_resources))


def forget_last_rate(link: Any) -> None:
    """Make the next Resource on `link` judge the rate afresh.

    Reticulum carries the rate of the last one over and then waits about 2 s for the first part,
    which a half-duplex radio link misses, so that it asks for every window twice.
    """
    link.last_resource_eifr = None


def discard_partial(original_hash: bytes) -> None:
    """Remove what Reticulum keeps on disk of a Resource whose last segments never came."""
    with suppress(FileNotFoundError):
        (Path(RNS.Reticulum.resourcepath) / original_hash.hex()).unlink()


def send_request(
    link: Any,
    sequence: int,
    body: bytes,
    *,
    timeout_s: float,
    answered: Callable[[object], None],
    failed: Callable[[], None],
) -> bool:
    """Send one packet that asks for an answer; False when no interface took it."""
    receipt = link.request(
        _path(sequence),
        body,
        response_callback=lambda receipt: answered(receipt.response),
        failed_callback=lambda _receipt: failed(),
        timeout=timeout_s,
        max_response_size=16,  # an answer is one small integer
    )
    if receipt is False:
        return False
    link.early.requested(receipt.request_id)
    return True


def send_resource(
    link: Any,
    data: bytes,
    *,
    compress: bool,
    timeout_s: float,
    progress: Callable[[Resource], None],
    concluded: Callable[[Resource], None],
) -> Resource:
    """Start a transfer. Compresses, encrypts and hashes on the caller's thread first."""
    resource: Resource = RNS.Resource(
        data,
        link,
        auto_compress=compress,
        timeout=timeout_s,
        progress_callback=progress,
        callback=concluded,
    )
    return resource


def listen_for_announces(handler: object) -> None:
    """Register an object with `aspect_filter` and `received_announce`. Idempotent.

    Reticulum need not run yet: from its first packet on it knows who listens.
    """
    if handler not in RNS.Transport.announce_handlers:
        RNS.Transport.register_announce_handler(handler)


def stop_listening(handler: object) -> None:
    """Undo `listen_for_announces`."""
    RNS.Transport.deregister_announce_handler(handler)


def start_reticulum(
    config_dir: str, *, loglevel: int | None, log: Callable[[str], None] | None
) -> None:
    """Create this process's Reticulum. Main thread only; takes over SIGINT and SIGTERM."""
    RNS.Reticulum(configdir=config_dir, loglevel=loglevel, logdest=log)


def exit_reticulum() -> None:
    """Run Reticulum's exit handler. After it stdout and stderr lead nowhere."""
    RNS.Reticulum.exit_handler()
