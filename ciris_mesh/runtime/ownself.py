"""What a node says of itself and keeps: its key record, made once, and its binding, made yearly."""

from __future__ import annotations

import logging
from pathlib import Path

from ciris_mesh.errors import DecodeError, KeyFileError, MalformedRecord
from ciris_mesh.records.authoring import author_key
from ciris_mesh.records.binding import Binding, sign_binding
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.hybrid import FederationKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.clock import Clock, ensure_signing_allowed, signing_allowed
from ciris_mesh.runtime.files import write_atomic
from ciris_mesh.runtime.home import Home

logger = logging.getLogger(__name__)

#: How long a binding is good for: a year, so that a node that comes back after a winter without a
#: clock is still believed.
BINDING_LIFE_S = 366 * 86_400

#: A stored binding is used again until this little of its life is left.
BINDING_RENEWAL_S = 30 * 86_400


def make_binding(
    key: FederationKey, rns_public_key: bytes, now_ms: int, *, replaces: Binding | None = None
) -> Binding:
    """Sign that `key` speaks through this RNS identity.

    The epoch is the time of signing, but above that of the binding it replaces whatever the clock
    says: peers take a lower one for a rollback.
    """
    epoch = now_ms if replaces is None else max(now_ms, replaces.epoch + 1)
    return sign_binding(key, rns_public_key, epoch, now_ms // 1000 + BINDING_LIFE_S)


def own_key_record(home: Home, key: FederationKey, clock: Clock) -> bytes:
    """The node's signed key record: made once, then the same bytes for ever.

    Raises:
        ClockUntrusted: it has to be made now, and the clock may not date it.
        KeyFileError: the file on disk cannot be read.
    """
    path = home.storage / "own-key-record"
    stored = _read(path)
    if stored is not None and _is_key_record_of(key, stored):
        return stored
    ensure_signing_allowed(clock)
    envelope = author_key(key, identity_ref=key.key_id, at_ms=clock.wall_ms())
    write_atomic(path, envelope)
    return envelope


def own_binding(home: Home, key: FederationKey, rns_public_key: bytes, clock: Clock) -> Binding:
    """The node's binding: signed once a year, so that peers need not fetch it at every start.

    Raises:
        ClockUntrusted: none is stored for these two keys, and the clock may not date one.
        KeyFileError: the file on disk cannot be read.
    """
    path = home.storage / "own-binding"
    stored = _stored_binding(path)
    if stored is not None and stored.key_id != key.key_id:
        stored = None
    if stored is not None and stored.rns_public_key == rns_public_key:
        is_old = stored.expiry_s - clock.wall_ms() // 1000 < BINDING_RENEWAL_S
        if not is_old or not signing_allowed(clock):
            return stored
    ensure_signing_allowed(clock)
    binding = make_binding(key, rns_public_key, clock.wall_ms(), replaces=stored)
    write_atomic(path, binding.encode())
    return binding


def _is_key_record_of(key: FederationKey, envelope: bytes) -> bool:
    try:
        return parse_envelope(EnvelopeKind.KEY, envelope).signers == (key.key_id,)
    except MalformedRecord:
        return False


def _stored_binding(path: Path) -> Binding | None:
    data = _read(path)
    try:
        return Binding.decode(data) if data is not None else None
    except DecodeError:
        logger.warning("binding.damaged file=%s (a new one is signed)", path)
        return None


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror}") from error
