"""Fuzz targets of what is said on links and to radios: packets, parts, exchanges, announces, KISS.

Where a target takes several words, each is led by the length of it, two bytes of which the top bits
say what kind it is: so mutations move whole words, too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from ciris_mesh.errors import (
    DecodeError,
    ReconcileRefused,
    UnexpectedMessage,
    UnknownVersion,
)
from ciris_mesh.protocol.sizing import Limits
from ciris_mesh.radio.airtime import LoraSettings
from ciris_mesh.radio.device import Device
from ciris_mesh.radio.host import HostSide, RadioSetup
from ciris_mesh.transport import carriers
from ciris_mesh.transport.paced import PARTS_MAX, Paced, Part, Speed, read_part
from ciris_mesh.transport.sealing import LinkSeal
from ciris_mesh.wire import bitpack, mesh
from ciris_mesh.wire.announce import decode_announce, encode_announce
from ciris_mesh.wire.edge_announce import decode_attestation, encode_attestation
from ciris_mesh.wire.frame import try_unwrap, wrap_at_version
from ciris_mesh.wire.mesh_reconcile import ReconcileMessage
from support.reconciling import Side, made

SPEED = Speed(window=8, ack_delay_s=0.5, wait_s=5.0, byte_s=0.003)
SF8 = LoraSettings(868_100_000, 125_000, 8, 5)
ITEMS = made("fuzz", 40)
#: Steps of decoding that one exchange may take here; the real limit takes seconds.
EFFORT_STEPS = 200_000
#: Of one list: what no message exceeds is tested elsewhere, and takes no time here.
VALUES_MAX = 3_000


def words(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind 0..3, content) one after the other."""
    while len(data) >= 2:
        head = int.from_bytes(data[:2], "big")
        size = 2 + (head & 0x3FFF)
        yield head >> 14, data[2:size]
        data = data[size:]


def paced_link(data: bytes) -> None:
    """Packets (0, 1) and parts (2, 3) that another end says while we send it something."""
    paced, now_s = Paced(), 0.0
    paced.begin_parts(bytes(range(256)) * 16, carriers.PART_BYTES)
    for kind, content in words(data):
        now_s += 1.0
        part = read_part(content) if kind >= 2 else None
        if part is not None:
            _part(paced, part, now_s)
        elif kind < 2 and (heard := paced.hear(content, now_s)) is not None:
            for at in range(len(heard.frames)):
                if paced.is_new(heard.sequence + at):
                    paced.took(now_s, SPEED)
        _emit(paced, now_s)


def _part(paced: Paced, part: Part, now_s: float) -> None:
    assert paced.number_of(part.sequence) % 256 == part.sequence
    paced.acknowledged_by(part)
    if not paced.is_new(part.sequence):
        return
    sealed = paced.gather(part, now_s)
    if sealed is None:
        assert 0 < paced.gathered_count <= PARTS_MAX
    elif sealed[0] & 1:
        paced.took(now_s, SPEED)
    else:
        paced.spoiled(now_s)


def _emit(paced: Paced, now_s: float) -> None:
    """What goes out in answer is bounded, and fits the packets there are."""
    for emitted in range(4):
        emission = paced.emit(now_s, SPEED)
        if emission is None:
            break
        assert emitted < 3, "one word is answered with a few"
        assert len(emission.packet) <= carriers.PACKED_BYTES_MAX
        assert len(emission.parts) <= SPEED.window
    paced.tick(now_s)


def sealed_link(data: bytes) -> None:
    """Bytes from whomever, at an end that has just opened one packet and one frame."""
    one, two = (LinkSeal(bytes(64), is_initiator=is_one) for is_one in (True, False))
    assert two.open_packet(one.seal_packet(data)) == data
    assert two.open_frame(1, one.seal_frame(1, data)) == data
    assert two.open_packet(data) is None
    assert two.open_frame(1, data) is None
    number = int.from_bytes(data[:8], "big")
    part = two.untag(number, data)
    assert part is None or one.tag(number, part) == data
    content = carriers.unpack(data, 1_000_000)
    assert content is None or carriers.unpack(carriers.pack(content), 1_000_000) == content


def whole_frame(data: bytes) -> None:
    """A frame as links bring it, magic and version byte included."""
    try:
        unwrapped = try_unwrap(data)
    except (DecodeError, UnknownVersion):
        return
    if unwrapped is not None:
        again = try_unwrap(wrap_at_version(unwrapped.message, unwrapped.version))
        assert again == unwrapped


def announce(data: bytes) -> None:
    """What `ciris.mesh` announces: one spelling."""
    try:
        said = decode_announce(data)
    except DecodeError:
        return
    assert encode_announce(said) == data


def edge_announce(data: bytes) -> None:
    """What registry nodes announce: one spelling."""
    try:
        said = decode_attestation(data)
    except DecodeError:
        return
    assert encode_attestation(said) == data
    assert not said.is_signed(bytes(32), bytes(64))


def numbers(data: bytes) -> None:
    """Rice-coded lists: u32 size of the universe less one, then the list; and packed numbers."""
    universe, packed = 1 + int.from_bytes(data[:4], "big"), data[4:]
    pairs = (
        (bitpack.unpack_sorted, bitpack.pack_sorted),
        (bitpack.unpack_distinct, bitpack.pack_distinct),
    )
    for unpack, pack in pairs:
        try:
            values = unpack(packed, universe, count_max=VALUES_MAX)
        except DecodeError:
            continue
        assert pack(values, universe) == packed
    for width in (24, 28, 32):
        try:
            fixed = bitpack.unpack_fixed(packed, width)
        except DecodeError:
            continue
        assert bitpack.pack_fixed(fixed, width) == packed


def exchange(data: bytes) -> None:
    """Bodies of 0x81 messages that a peer says in a reconciliation; kind 3: we open one before."""
    side = Side(ITEMS, Limits(symbols_max=64, effort_steps=EFFORT_STEPS))
    for kind, content in words(data):
        try:
            message = mesh.decode(content)
        except DecodeError:
            continue
        if kind == 3 and side.exchange.task is None:
            side.open(len(ITEMS))
        if isinstance(message, ReconcileMessage):
            try:
                side.receive(message)
            except (UnexpectedMessage, ReconcileRefused):
                side.exchange = side.exchange.reset()
        while side.outbox:
            side.take()


def radio_device(data: bytes) -> None:
    """What a host says to an emulated RNode (0, 1), and frames that it hears (2, 3)."""
    device, now_s = Device(random.Random(0)), 0.0
    for kind, content in words(data):
        now_s += 1.0
        if kind < 2:
            device.from_host(content, now_s)
        else:
            device.hear(content, -80.0, 5.0)
        device.tick(now_s)
        if device.wants_channel(now_s):
            assert all(0 < len(frame) <= 255 for frame in device.take_burst())
            device.burst_over(now_s)


def radio_host(data: bytes) -> None:
    """What a device says to `VirtualRNodeInterface`, in pieces."""
    host = HostSide(RadioSetup(SF8, 14))
    host.hello()
    for _, content in words(data):
        host.feed(content)
    host.feed(data)
