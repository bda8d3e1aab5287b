"""The four CRPL messages. Values only: how they become bytes is `codec` and `frame`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from ciris_mesh.errors import LocalProtocolError
from ciris_mesh.records.kinds import EnvelopeKind

ENVELOPE_ID_BYTES: Final = 32
SEQ_MAX: Final = 2**64 - 1


def _check_ids(ids: tuple[bytes, ...]) -> None:
    for envelope_id in ids:
        if len(envelope_id) != ENVELOPE_ID_BYTES:
            raise LocalProtocolError(f"an envelope id has {len(envelope_id)} bytes, not 32")


@dataclass(frozen=True, slots=True, order=True)
class EnvelopeRef:
    """Names one signed envelope without carrying it.

    Attributes:
        envelope_hash: the envelope id, exactly 32 bytes.
        seq: 0 .. 2**64 - 1, Unix milliseconds of the kind's own time. A hint for ordering only:
            the directory decides what wins.

    Raises:
        LocalProtocolError: a field is out of range. The codec turns this into
            DecodeError when the bytes came from a peer.
    """

    envelope_hash: bytes
    seq: int

    def __post_init__(self) -> None:
        _check_ids((self.envelope_hash,))
        if not 0 <= self.seq <= SEQ_MAX:
            raise LocalProtocolError(f"seq {self.seq} outside 0 .. 2**64 - 1")


@dataclass(frozen=True, slots=True)
class Summary:
    """ "Here is what I offer you." Opens a round, or answers the one that did."""

    kind: EnvelopeKind
    refs: tuple[EnvelopeRef, ...]


@dataclass(frozen=True, slots=True)
class Diff:
    """ "I lack these." An empty `want` says: I hold all you offered.

    Raises:
        LocalProtocolError: an id is not 32 bytes.
    """

    kind: EnvelopeKind
    want: tuple[bytes, ...]

    def __post_init__(self) -> None:
        _check_ids(self.want)


@dataclass(frozen=True, slots=True)
class Fetch:
    """ "Send me these", outside a round.

    Raises:
        LocalProtocolError: an id is not 32 bytes.
    """

    kind: EnvelopeKind
    want: tuple[bytes, ...]

    def __post_init__(self) -> None:
        _check_ids(self.want)


@dataclass(frozen=True, slots=True)
class Deliver:
    """Envelopes, verbatim as they were stored."""

    kind: EnvelopeKind
    envelopes: tuple[bytes, ...]


ReplicationMessage: TypeAlias = Summary | Diff | Fetch | Deliver
