"""Which RNS identity speaks for which pinned registry node, from its attested announce.

    announce of ciris.edge --> attestation --pinned? key as pinned? signed? epoch?--> address
                                    |
                                    +--> named and counted

A registry node has no binding of ours: its announce carries an Ed25519 attestation, and the key
that must have signed it is pinned in the configuration. What was verified is kept over a restart,
because its epoch may only go up; a node is then known before it announces again. It counts only
under the key that attested it: who is pinned with a new key starts anew.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ciris_mesh.errors import DecodeError
from ciris_mesh.runtime.files import UNALTERED, TooLarge, UnsafeMode, read_bounded, write_atomic
from ciris_mesh.transport.base import ADDRESS_BYTES, Address, EdgeHeard
from ciris_mesh.wire.edge_announce import EdgeAttestation, decode_attestation

logger = logging.getLogger(__name__)

#: The file: an entry is below 500 bytes, and registries are configured by hand.
FILE_BYTES_MAX: Final = 1 << 20
_SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class EdgeBinding:
    """Where a registry node was last proved to be.

    Attributes:
        epoch: only goes up, as long as the key stays.
        ed25519: the key that attested it; empty in a file of before it was kept, and then nobody's:
            the next announce gives the address again.
    """

    address: Address
    epoch: int
    ed25519: bytes


@dataclass(frozen=True, slots=True)
class Judged:
    """What an announce came to: `reason` is "" when it is that of a pinned registry node.

    Attributes:
        key_id: whose it claims to be; "" when it cannot be read.
    """

    reason: str
    key_id: str = ""
    attestation: EdgeAttestation | None = None


class EdgeBindings:
    """Verified bindings of registry nodes. Thread-safe.

    Args:
        pinned: key id -> the 32 bytes of its Ed25519 key, from the configuration.
        path: where they are kept; None for in memory only.
    """

    def __init__(self, pinned: Mapping[str, bytes], path: Path | None = None) -> None:
        self._pinned = dict(pinned)
        self._path = path
        self._lock = threading.Lock()  # guards the table and the pins
        self._known = {
            key_id: found
            for key_id, found in _load(path).items()
            if found.ed25519 == self._pinned.get(key_id)
        }

    def pin(self, key_id: str, ed25519: bytes) -> None:
        """Verify announces of this one as well. Where this key was last is known if it was kept."""
        with self._lock:
            self._pinned[key_id] = ed25519
            kept = _load(self._path).get(key_id)
            if kept is not None and kept.ed25519 == ed25519 and not self._taken(key_id, kept):
                self._known.setdefault(key_id, kept)

    def unpin(self, key_id: str) -> None:
        """Believe no announce of this one any more, and forget where it was: its key may be lost.

        With the file not written the row stays, of use to nobody but the same key.
        """
        with self._lock:
            self._pinned.pop(key_id, None)
            if self._known.pop(key_id, None) is not None:
                self._write(self._known)

    def address(self, key_id: str) -> Address | None:
        """Where this registry node is; None when it was never verified."""
        with self._lock:
            found = self._known.get(key_id)
            return found.address if found is not None else None

    def addresses(self) -> dict[Address, str]:
        """Every verified address, and whose it is."""
        with self._lock:
            return {found.address: key_id for key_id, found in self._known.items()}

    def judge(self, heard: EdgeHeard) -> Judged:
        """Verify an announce; when it holds, remember where the node is.

        Reasons: edge_unreadable, edge_unpinned, edge_other_key, edge_signature_invalid,
        edge_rolled_back (an epoch below the last), edge_epoch_reused (the last epoch again, from
        another identity), edge_address_taken (another registry's identity).
        """
        try:
            attestation = decode_attestation(heard.app_data)
        except DecodeError:
            return Judged("edge_unreadable")
        key_id = attestation.key_id
        with self._lock:
            pinned = self._pinned.get(key_id)
        if pinned is None:
            return Judged("edge_unpinned", key_id)
        if attestation.ed25519 != pinned:
            return Judged("edge_other_key", key_id)
        if not attestation.is_signed(pinned, heard.public_key):
            return Judged("edge_signature_invalid", key_id)
        new = EdgeBinding(heard.address, attestation.epoch, pinned)
        return Judged(self._take(key_id, new), key_id, attestation)

    def _take(self, key_id: str, new: EdgeBinding) -> str:
        with self._lock:
            if self._pinned.get(key_id) != new.ed25519:  # unpinned while it was verified
                return "edge_unpinned"
            known = self._known.get(key_id)
            if known is not None and new.epoch < known.epoch:
                return "edge_rolled_back"
            if known is not None and new.epoch == known.epoch and new.address != known.address:
                return "edge_epoch_reused"
            if self._taken(key_id, new):
                return "edge_address_taken"
            if known != new:
                self._write({**self._known, key_id: new})  # first: a crash must not forget
                self._known[key_id] = new
            return ""

    def _taken(self, key_id: str, binding: EdgeBinding) -> bool:
        """Say whether its address is another registry's."""
        others = (found for other, found in self._known.items() if other != key_id)
        return any(found.address == binding.address for found in others)

    def _write(self, known: Mapping[str, EdgeBinding]) -> None:
        if self._path is None:
            return
        rows = {
            key_id: {
                "address": found.address.hex(),
                "epoch": found.epoch,
                "ed25519": found.ed25519.hex(),
            }
            for key_id, found in sorted(known.items())
        }
        try:
            write_atomic(self._path, json.dumps({"schema": _SCHEMA, "known": rows}).encode())
        except OSError as error:
            logger.warning("registry.not_kept error=%s (it is heard again)", error)


def _load(path: Path | None) -> dict[str, EdgeBinding]:
    if path is None:
        return {}
    try:
        rows = json.loads(read_bounded(path, bytes_max=FILE_BYTES_MAX, guard=UNALTERED))
        return {str(key_id): _binding(row) for key_id, row in rows["known"].items()}
    except FileNotFoundError:
        return {}
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
        TooLarge,
        UnsafeMode,
    ) as error:
        logger.warning("registry.damaged file=%s error=%s (they are heard again)", path, error)
        return {}


def _binding(row: Mapping[str, object]) -> EdgeBinding:
    address, epoch = bytes.fromhex(str(row["address"])), row["epoch"]
    if len(address) != ADDRESS_BYTES or type(epoch) is not int:
        raise ValueError("no binding")
    ed25519 = bytes.fromhex(str(row.get("ed25519", "")))
    return EdgeBinding(Address(address), epoch, ed25519)
