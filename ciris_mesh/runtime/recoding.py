"""Between Delivers, as sessions know them, and the Records of 0x81 frames.

A Deliver spells each byte in up to four characters; a Records carries the same envelopes in one
transcoded batch. Only what travels differs: sessions give and take Delivers either way.

Coding costs time on both sides and saves a third of the bytes. On a slow link every byte is dear;
on a fast one it is the other way round, so records travel there as they are, their base64 as bytes
where the peer can read that.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from ciris_mesh.errors import BatchRefused
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.mesh import CAPABILITY_MIXED
from ciris_mesh.wire.mesh_records import Records
from ciris_mesh.wire.messages import Deliver
from ciris_mesh.wire.transcode import (
    BatchReason,
    decode_batch,
    encode_batch,
    mixed_batch,
    plain_batch,
)

#: Rounds of Summaries have no number.
NO_ROUND: Final = 0


def batch_of(
    items: Sequence[tuple[EnvelopeKind, bytes]], *, is_slow: bool, capabilities: int = 0
) -> bytes:
    """Code envelopes for a link.

    Args:
        capabilities: what both ends of it state in their hellos.

    Raises:
        LocalProtocolError: more than one batch holds.
    """
    if is_slow:
        return encode_batch(items)
    return mixed_batch(items) if capabilities & CAPABILITY_MIXED else plain_batch(items)


def records_of(deliver: Deliver, *, is_slow: bool, capabilities: int = 0) -> Records | None:
    """The same as a Records; None when there is nothing in it, for a batch cannot name a kind.

    Args:
        capabilities: as of `batch_of`.

    Raises:
        LocalProtocolError: more than one batch holds. What a coordinator serves never is.
    """
    if not deliver.envelopes:
        return None
    items = [(deliver.kind, envelope) for envelope in deliver.envelopes]
    return Records(NO_ROUND, batch_of(items, is_slow=is_slow, capabilities=capabilities))


def key_record_of(offered: bytes) -> bytes:
    """The key record of a BindingOffer: as it is, or as a batch with nothing else in it.

    Raises:
        BatchRefused: a batch that can't be read, or holds something else.
    """
    if offered.startswith(b"{"):
        return offered
    items = decode_batch(offered)
    if [kind for kind, _ in items] != [EnvelopeKind.KEY]:
        raise BatchRefused(BatchReason.TRUNCATED, "not one key record")
    return items[0][1]


def delivers_of(message: Records) -> list[Deliver]:
    """What sessions get: a Deliver for each run of records of one kind. Takes up to 0.1 s.

    Raises:
        BatchRefused: it cannot be read, or nothing is in it.
    """
    items = decode_batch(message.batch)
    if not items:
        raise BatchRefused(BatchReason.TRUNCATED, "no record in it")
    return [
        Deliver(kind, tuple(envelope for _, envelope in run))
        for kind, run in groupby(items, key=lambda item: item[0])
    ]
