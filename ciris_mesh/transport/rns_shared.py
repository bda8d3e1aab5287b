"""Whose Reticulum runs on this machine, and would it let this user in? Without loading Reticulum.

An rnsd shares its interfaces on an abstract socket, and answers programs that know its key on a
second one: by default the hash of the private key in its own configuration directory. A program
of another user, or with another directory, is let on to the network and refused there ("digest
sent was rejected"), so that nothing it asks about interfaces or paths is answered.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from pathlib import Path
from typing import Any, Final

from ciris_mesh.transport.serialports import program_of, user_name

_DEFAULT_NAME: Final = "default"
_YES: Final = ("yes", "true", "on", "1")
#: A local program answers at once; a wedged one is not waited for.
_PATIENCE_S: Final = 1
_KEY_BYTES: Final = 64


class Rpc(StrEnum):
    """What came of knocking."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"  # the key is another one
    SILENT = "silent"  # the socket is there and nobody answers


#: An empty map, as rns 1.5.7 packs its calls.
_NO_QUESTION: Final = b"\x80"


@dataclass(frozen=True, slots=True)
class SharedInstance:
    """The Reticulum a program with this configuration would join.

    Attributes:
        name: of the instance, as configured.
        pid: 0 when the kernel does not say.
    """

    name: str
    pid: int
    uid: int
    user: str
    program: str
    rpc: Rpc


def shared_instance(config_dir: Path, config: Mapping[str, Any]) -> SharedInstance | None:
    """Look for the one a program would join; None when it would start its own.

    Args:
        config: Reticulum's configuration in `config_dir`, as ConfigObj reads it.
    """
    section = config.get("reticulum", {})
    if str(section.get("share_instance", "yes")).lower() not in _YES:
        return None
    name = str(section.get("instance_name", _DEFAULT_NAME))
    owner = _owner(f"\0rns/{name}")
    if owner is None:
        return None
    pid, uid = owner
    key = _rpc_key(config_dir, str(section.get("rpc_key", "")))
    rpc = _knock(f"\0rns/{name}/rpc", key)
    return SharedInstance(name, pid, uid, user_name(uid), program_of(pid), rpc)


def _owner(address: str) -> tuple[int, int] | None:
    """(pid, uid) of who listens there; None when nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PATIENCE_S)
        try:
            probe.connect(address)
        except OSError:
            return None
        credentials = struct.Struct("iII")
        raw = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
        pid, uid, _ = credentials.unpack(raw)
        return pid, uid


def _rpc_key(config_dir: Path, configured: str) -> bytes:
    """The key a program with this configuration shows."""
    with contextlib.suppress(ValueError):
        if configured:
            return bytes.fromhex(configured)
    with contextlib.suppress(OSError):
        secret = (config_dir / "storage" / "transport_identity").read_bytes()
        if len(secret) == _KEY_BYTES:
            return hashlib.sha256(secret).digest()
    return bytes(32)  # a program would make a new identity: as strange to the other as this


def _knock(address: str, key: bytes) -> Rpc:
    """Go through the handshake of `multiprocessing.connection`, and ask nothing.

    In so many words: who only hangs up is an error in the other program's log.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.settimeout(_PATIENCE_S)
            probe.connect(address)
            probe.settimeout(None)
            # The library reads the descriptor itself, so the kernel has to keep the deadline.
            deadline = struct.pack("ll", _PATIENCE_S, 0)
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                probe.setsockopt(socket.SOL_SOCKET, option, deadline)
            connection = Connection(probe.detach())
        except OSError:
            return Rpc.SILENT
    try:
        answer_challenge(connection, key)
        deliver_challenge(connection, key)
        connection.send_bytes(_NO_QUESTION)
    except multiprocessing.AuthenticationError:
        return Rpc.REJECTED
    except (OSError, EOFError):
        return Rpc.SILENT
    finally:
        connection.close()
    return Rpc.ACCEPTED
