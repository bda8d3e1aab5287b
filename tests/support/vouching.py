"""Vouches for tests: signed in name only with `vouch`, or really, with `vouch_raw`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ciris_mesh.records.authoring import author
from ciris_mesh.records.envelope import Envelope, parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.meshmembers import for_registries
from ciris_mesh.records.vouches import Vouch
from support.keys import key
from support.records import AT_MS, sample
from support.rulebook import K, key_id, made

REGISTRY = "registry-eu"


def vouch_columns(by: str, kind: EnvelopeKind, ids: Iterable[bytes], **more: Any) -> dict[str, Any]:
    """Columns of a vouch by the test key called `by`."""
    return {
        "attested_key_id": key_id(by),
        "attestation_type": "scores",
        "attestation_envelope": Vouch(REGISTRY, kind, tuple(ids)).members(),
        **more,
    }


def vouch(by: str, *rows: Envelope, at_ms: int = AT_MS, **more: Any) -> Envelope:
    """A vouch for these rows, of one kind."""
    ids = [row.envelope_id for row in rows]
    return made(K.ATTESTATION, vouch_columns(by, rows[0].kind, ids, **more), by, at_ms=at_ms)


def vouch_raw(by: str, *rows: Envelope, at_ms: int = AT_MS, **more: Any) -> bytes:
    """The same, really signed."""
    columns = vouch_columns(by, rows[0].kind, [row.envelope_id for row in rows], **more)
    return author(K.ATTESTATION, columns, key(by), at_ms=at_ms)


def bare(kind: EnvelopeKind, by: str, number: int = 0) -> Envelope:
    """A record of kinds 4 to 10 as a registry serves it: nobody's signature is around it."""
    return parse_envelope(kind, for_registries(kind, sample(kind, key(by), number)))
