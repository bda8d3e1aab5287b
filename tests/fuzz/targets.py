"""What is fuzzed: each target takes any bytes and returns, or there is a bug.

A decoder may refuse with its own exception and nothing else. What it takes must be what its encoder
would have said, so a target also holds the round trip.
"""

from __future__ import annotations

from collections.abc import Callable

from fuzz import link_targets as links

from ciris_mesh.errors import DecodeError
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire import codec, mesh, mesh_records
from ciris_mesh.wire.transcode import decode_batch, encode_batch, mixed_batch
from support.transcode import deflated, hold

Target = Callable[[bytes], None]


def batch(data: bytes) -> None:
    """A transcoded batch as a peer sends it."""
    hold(data)


def streams(data: bytes) -> None:
    """The same behind deflate, where mutations reach: u16 length of the low part, low, raw."""
    split = 2 + int.from_bytes(data[:2])
    batch(b"\x01" + deflated(data[2:split]) + data[split:])


def verbatim(data: bytes) -> None:
    """Envelopes of any bytes through the encoders."""
    items = tuple((kind, data[skip:]) for skip, kind in enumerate(tuple(EnvelopeKind)[:3]))
    assert decode_batch(encode_batch(items)) == decode_batch(mixed_batch(items)) == items


def json_frame(data: bytes) -> None:
    """The body of a 0x01 or 0x02 frame. Many spellings are taken; one is written."""
    try:
        message = codec.decode(data)
    except DecodeError:
        return
    assert codec.decode(codec.encode(message)) == message


def mesh_frame(data: bytes) -> None:
    """The body of an 0x81 frame: one spelling."""
    try:
        message = mesh.decode(data)
    except DecodeError:
        return
    assert mesh.encode(message) == data


def records_frame(data: bytes) -> None:
    """The body of an 0x81 frame that carries records, batch and all."""
    try:
        message = mesh_records.decode(data)
    except DecodeError:
        return
    assert mesh_records.encode(message) == data
    batch(message.batch)


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        *(batch, streams, verbatim, json_frame, mesh_frame, records_frame),
        *(links.whole_frame, links.announce, links.edge_announce, links.numbers, links.exchange),
        *(links.paced_link, links.sealed_link, links.radio_device, links.radio_host),
    )
}
