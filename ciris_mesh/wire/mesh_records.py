"""The messages of 0x81 frames that carry records: a round and one transcoded batch, and "go on".

`[tag, bin]` as the messages of reconciliation: a msgpack array of a number and one packed byte
string, here the round in two bytes and the batch. The batch is not opened here; who receives it
gives it to `transcode.decode_batch`, whose refusals have names of their own. Whoever took a batch
of a reconciled round says so, and the next may come: no peer can be sent more than it works off.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import msgpack  # type: ignore[import-untyped]

from ciris_mesh.errors import DecodeError, LocalProtocolError
from ciris_mesh.wire.transcode import LIMITS

#: Capability bit of a Hello: "I understand tag 16 and table 1 of the transcoder".
CAPABILITY_RECORDS: Final = 1 << 1

TAG: Final = 16
TAKEN_TAG: Final = 17
ROUND_MAX: Final = 2**16 - 1
#: A round and the largest batch.
PACKED_BYTES_MAX: Final = 2 + LIMITS.coded_bytes
#: Around it: an array, a tag, a bin with a length of four bytes.
BODY_BYTES_MAX: Final = PACKED_BYTES_MAX + 7

_ROUND: Final = struct.Struct(">H")
#: An array of two, the tag, a byte string of two: fixed, so it is not left to msgpack.
_TAKEN_HEAD: Final = bytes((0x92, TAKEN_TAG, 0xC4, _ROUND.size))


@dataclass(frozen=True, slots=True)
class Records:
    """Some of the records the peer lacks.

    Attributes:
        round_id: the round they belong to, 0 .. 65535.
        batch: as `transcode.encode_batch` writes it, 1 byte or more; not read here.

    Raises:
        LocalProtocolError: a field is out of range; DecodeError when it came from a peer.
    """

    round_id: int
    batch: bytes

    def __post_init__(self) -> None:
        if type(self.round_id) is not int or not 0 <= self.round_id <= ROUND_MAX:
            raise LocalProtocolError("round_id is not 0 .. 65535")
        if not isinstance(self.batch, bytes) or not 1 <= len(self.batch) <= LIMITS.coded_bytes:
            raise LocalProtocolError(f"batch is not 1 .. {LIMITS.coded_bytes} bytes")


@dataclass(frozen=True, slots=True)
class Taken:
    """ "I took a batch of this round: send the next." For each, in the order they came.

    Raises:
        LocalProtocolError: `round_id` is not 0 .. 65535; DecodeError when it came from a peer.
    """

    round_id: int

    def __post_init__(self) -> None:
        if type(self.round_id) is not int or not 0 <= self.round_id <= ROUND_MAX:
            raise LocalProtocolError("round_id is not 0 .. 65535")


def pack(message: Records) -> tuple[int, bytes]:
    """The tag and the packed bytes. Total."""
    return TAG, _ROUND.pack(message.round_id) + message.batch


def unpack(packed: bytes) -> Records:
    """The message of some packed bytes.

    Raises:
        LocalProtocolError: too short or too long.
    """
    if len(packed) < _ROUND.size:
        raise LocalProtocolError(f"{len(packed)} bytes are no round")
    return Records(_ROUND.unpack_from(packed)[0], packed[_ROUND.size :])


def encode(message: Records) -> bytes:
    """The body of a frame. Total."""
    body: bytes = msgpack.packb(list(pack(message)), use_bin_type=True)
    return body


def decode(body: bytes) -> Records:
    """Parse untrusted bytes.

    Raises:
        DecodeError: too long, no msgpack, another tag, another shape, or not the one spelling
            `encode` writes. No other exception escapes.
    """
    if len(body) > BODY_BYTES_MAX:
        raise DecodeError(f"body of {len(body)} bytes exceeds {BODY_BYTES_MAX}")
    try:
        value = msgpack.unpackb(
            body,
            use_list=False,
            max_str_len=0,
            max_bin_len=PACKED_BYTES_MAX,
            max_array_len=2,
            max_map_len=0,
            max_ext_len=0,
        )
        message = _load(value)
    except LocalProtocolError as exc:
        raise DecodeError(f"value out of range: {exc}") from exc
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as exc:
        raise DecodeError(f"malformed message: {exc}") from exc
    if encode(message) != body:
        raise DecodeError("not the one spelling of this message")
    return message


def _load(value: object) -> Records:
    match value:
        case (int(tag), bytes(packed)) if tag == TAG:
            return unpack(packed)
    raise ValueError("not a tag and a byte string")


def encode_taken(message: Taken) -> bytes:
    """The body of a frame, six bytes. Total."""
    return _TAKEN_HEAD + _ROUND.pack(message.round_id)


def decode_taken(body: bytes) -> Taken:
    """Parse untrusted bytes.

    Raises:
        DecodeError: not what `encode_taken` writes.
    """
    if len(body) != len(_TAKEN_HEAD) + _ROUND.size or not body.startswith(_TAKEN_HEAD):
        raise DecodeError("not the one spelling of Taken")
    return Taken(_ROUND.unpack(body[len(_TAKEN_HEAD) :])[0])
