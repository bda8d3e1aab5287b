"""`CRPL`, a version byte, a body: which codec a frame belongs to.

Three answers to bytes from a peer are kept apart: not ours at all (None), ours in a version nobody
here speaks (UnknownVersion), ours and broken (DecodeError). Bytes without the magic are never
parsed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from ciris_mesh.errors import DecodeError, LocalProtocolError, UnknownVersion
from ciris_mesh.records.kinds import KINDS
from ciris_mesh.wire import codec, mesh
from ciris_mesh.wire.mesh import MeshMessage
from ciris_mesh.wire.messages import Deliver, Diff, Fetch, ReplicationMessage, Summary

AnyMessage: TypeAlias = ReplicationMessage | MeshMessage

MAGIC: Final = b"CRPL"
HEADER_BYTES: Final = len(MAGIC) + 1

#: Upstream's limit for one frame; longer ones are refused before anything reads them.
FRAME_BYTES_MAX: Final = HEADER_BYTES + codec.BODY_BYTES_MAX

VERSION_1: Final = 0x01
VERSION_2: Final = 0x02
VERSION_MESH: Final = 0x81

#: 0x01 and 0x02 carry the same JSON: the byte does not gate the kind, upstream decodes either.
_JSON_VERSIONS: Final = frozenset({VERSION_1, VERSION_2})
_VERSIONS: Final = _JSON_VERSIONS | {VERSION_MESH}


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """A frame that was understood. `version` is 0x01, 0x02 or 0x81."""

    version: int
    message: AnyMessage


def wrap(message: AnyMessage) -> bytes:
    """Frame a message in the version its type and kind call for.

    Mesh messages go as 0x81; the three operational kinds as 0x02; the ten others as 0x01.
    """
    if isinstance(message, Summary | Diff | Fetch | Deliver):
        return wrap_at_version(message, KINDS[message.kind].frame_version)
    return wrap_at_version(message, VERSION_MESH)


def wrap_at_version(message: AnyMessage, version: int) -> bytes:
    """Frame a message in a version of the caller's choice.

    Raises:
        LocalProtocolError: that version does not carry such messages.
    """
    head = MAGIC + bytes((version & 0xFF,))
    if isinstance(message, Summary | Diff | Fetch | Deliver):
        if version in _JSON_VERSIONS:
            return head + codec.encode(message)
    elif version == VERSION_MESH:
        return head + mesh.encode(message)
    raise LocalProtocolError(f"version {version:#04x} does not carry {type(message).__name__}")


def try_unwrap(frame: bytes) -> Unwrapped | None:
    """Read a frame from a peer; None when it does not start with the magic.

    Raises:
        DecodeError: over 8 MiB, no version byte, or a body that is no message.
        UnknownVersion: a version this build does not speak.
    """
    if not frame.startswith(MAGIC):
        return None
    if len(frame) > FRAME_BYTES_MAX:
        raise DecodeError(f"frame of {len(frame)} bytes exceeds {FRAME_BYTES_MAX}")
    if len(frame) < HEADER_BYTES:
        raise DecodeError("the version byte is missing")
    version = frame[len(MAGIC)]
    if version not in _VERSIONS:
        raise UnknownVersion(version)
    body = frame[HEADER_BYTES:]
    if version == VERSION_MESH:
        return Unwrapped(version, mesh.decode(body))
    return Unwrapped(version, codec.decode(body))
