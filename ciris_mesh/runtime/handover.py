"""From one federation key to the next: what the old one signs, and how others find it.

The old key signs a record of the new key, so that nodes know it, and an attestation in the
dimension `mesh:handover:v1` about both. That is a statement and no command: a stolen key can sign
it as well. So peers follow only when a person here says so, after comparing words.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from ciris_mesh.directory.base import ReplicationDirectory, Shelf
from ciris_mesh.errors import KeyFileError
from ciris_mesh.records.envelope import Envelope, encode_base64, parse_envelope
from ciris_mesh.records.hybrid import FederationKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.names import name
from ciris_mesh.runtime.files import sync_directory, why, write_atomic
from ciris_mesh.runtime.former import add_former
from ciris_mesh.runtime.home import Home
from ciris_mesh.runtime.keyfiles import (
    FederationSeeds,
    create_key_file,
    read_key_file,
    render_key_file,
)

DIMENSION: Final = "mesh:handover:v1"
#: What a key says of itself: some records a year. What a stolen one signs beyond is not looked at;
#: reading so many takes a second.
_ROWS_MAX: Final = 16_384


@dataclass(frozen=True, slots=True)
class Handover:
    """Whom a key hands over to. `fingerprint`: 32 bytes, of the new key."""

    old: str
    key_id: str
    fingerprint: bytes


def key_columns(new: FederationKey, old: str) -> dict[str, Any]:
    """The columns of the record by which the old key makes the new one known."""
    return {
        "key_id": new.key_id,
        "pubkey_ed25519_base64": encode_base64(new.public.ed25519),
        "pubkey_ml_dsa_65_base64": encode_base64(new.public.mldsa65),
        "identity_type": "agent",
        "identity_ref": old,
    }


def handover_columns(new: str, old: str) -> dict[str, Any]:
    """The columns of the attestation that says who follows whom."""
    return {
        "attested_key_id": new,
        "attestation_type": "scores",
        "subject_key_ids": [old],
        "attestation_envelope": {"dimension": DIMENSION, "score": 1},
    }


def find_handover(directory: ReplicationDirectory, old: str) -> Handover | None:
    """The latest hand-over a key signed, of those whose new key is known here; None for none."""
    found = sorted(_handovers(directory, old), key=lambda one: str(one.record["asserted_at"]))
    for envelope in reversed(found):
        key_id = str(envelope.record["attested_key_id"])
        public = directory.public_key(key_id)
        if public is not None and key_id != old:
            return Handover(old, key_id, public.fingerprint)
    return None


def _handovers(directory: ReplicationDirectory, old: str) -> Iterator[Envelope]:
    for row in islice(directory.all_named_rows(name("about", old, old)), _ROWS_MAX):
        if row.kind is not EnvelopeKind.ATTESTATION or row.shelf is not Shelf.FEDERATION:
            continue
        envelope = parse_envelope(row.kind, row.envelope)
        inner = envelope.record["attestation_envelope"]
        says_so = isinstance(inner, dict) and inner.get("dimension") == DIMENSION
        if says_so and envelope.signers == (old,):
            yield envelope


def next_seeds(home: Home) -> FederationSeeds:
    """The seeds this node hands over to: made once, in `federation.key.next`, mode 0600.

    Raises:
        KeyFileError: it cannot be read or written.
    """
    path = home.path / "federation.key.next"
    if not path.exists():
        create_key_file(path, FederationSeeds.generate(read_key_file(home.federation_key).name))
    return read_key_file(path)


def swap_keys(home: Home) -> None:
    """Let the next key be this node's; the old one stays as `federation.key.old-<n>`.

    Whatever is interrupted is finished by calling this again: the key file is never absent.

    Raises:
        KeyFileError: there is no next key, or the disk said no.
        ConfigError: the former key cannot be noted.
    """
    following = home.path / "federation.key.next"
    old, new = read_key_file(home.federation_key), read_key_file(following)
    add_former(home.former, old.key().key_id)
    kept = next(
        path
        for number in range(1, 1000)
        if not (path := home.path / f"federation.key.old-{number}").exists()
        or path.read_bytes() == render_key_file(old)
    )
    try:
        write_atomic(kept, render_key_file(old))
        os.replace(following, home.federation_key)
        sync_directory(home.path)
    except OSError as error:
        raise KeyFileError(f"cannot hand over in {home.path}: {why(error)}") from None
    if read_key_file(home.federation_key) != new:
        raise KeyFileError(f"{home.federation_key} does not read back as written; check the disk")
