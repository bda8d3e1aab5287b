"""Reading what an emulated channel carried: LoRa frames put together to Reticulum packets. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from ciris_mesh.radio.ether import Heard, Sent

#: Of an RNode's header byte: this packet takes two frames.
_SPLIT: Final = 0x01
#: Where Reticulum's header says what a packet is: two bits of the first byte, and the last byte.
_TYPE: Final = 0x03
_DATA, _ANNOUNCE, _LINK_REQUEST, _PROOF = range(4)
_HEADER_BYTES: Final = 19
_KEEPALIVE: Final = 0xFA
_CONTEXTS: Final = {
    0x00: "data",
    0x01: "part",
    0x02: "resource",
    0x03: "wanted",
    0x09: "request",
    0x0A: "response",
    _KEEPALIVE: "keepalive",
    0xFB: "identify",
    0xFC: "close",
    0xFE: "set-up",
}


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet as it was sent.

    Attributes:
        name: what it is for: "data" for a sealed packet of a link, ours (`rns_seam.send_packet`)
            or Reticulum's; "part" of a sealed frame.
        size_bytes: on air, with the RNode's header of each of its frames.
        content: as Reticulum made it.
    """

    station: int
    name: str
    size_bytes: int
    airtime_s: float
    at_s: float
    content: bytes


def packets(trace: Iterable[Sent | Heard]) -> tuple[Packet, ...]:
    """The packets that were sent, in order. A frame without its other half is left out."""
    return tuple(_joined(each for each in trace if isinstance(each, Sent)))


def needless_parts(trace: Iterable[Sent | Heard]) -> int:
    """Parts that went out again although the other station had heard them whole."""
    halves: dict[int, bytes] = {}
    heard_at_s: dict[bytes, float] = {}
    events = list(trace)
    for each in events:
        if isinstance(each, Heard):
            before = halves.pop(each.station, None)
            if each.frame[0] & _SPLIT and (before is None or before[0] != each.frame[0]):
                halves[each.station] = each.frame
                continue
            whole = each.frame[1:] if before is None else before[1:] + each.frame[1:]
            heard_at_s.setdefault(whole, each.at_s)
    sent = packets(events)
    return sum(
        each.name == "part" and each.at_s > heard_at_s.get(each.content, each.at_s) for each in sent
    )


def _joined(trace: Iterator[Sent]) -> Iterator[Packet]:
    first: dict[int, Sent] = {}
    for sent in trace:
        before = first.pop(sent.station, None)
        if sent.cut:
            continue
        if sent.frame[0] & _SPLIT and before is None:
            first[sent.station] = sent
            continue
        content = sent.frame[1:] if before is None else before.frame[1:] + sent.frame[1:]
        frames = (sent,) if before is None else (before, sent)
        yield Packet(
            sent.station,
            _name(content),
            sum(len(each.frame) for each in frames),
            sum(each.airtime_s for each in frames),
            frames[0].at_s,
            content,
        )


def _name(content: bytes) -> str:
    if len(content) < _HEADER_BYTES:
        return "other"
    kind = content[0] & _TYPE
    if kind == _DATA:
        context, rest = content[_HEADER_BYTES - 1], content[_HEADER_BYTES:]
        if context == _KEEPALIVE and len(rest) > 1:
            return "data"
        return _CONTEXTS.get(context, "other")
    return {_ANNOUNCE: "announce", _LINK_REQUEST: "link request"}.get(kind, "proof")
