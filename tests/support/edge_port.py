"""An `EdgePort` whose other side is a model in the same process."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable

from ciris_mesh.errors import PeerUnreachable
from ciris_mesh.records.hybrid import FederationKey
from ciris_mesh.transport.base import Address, EdgeEvent, EdgeFrame, EdgeHeard
from ciris_mesh.wire.edge_announce import attest, encode_attestation
from support.edge_model import EdgeModel, decode


class ModelPort:
    """Carries frames to a model and its answers back at once.

    Args:
        key: the registry's federation key.
    """

    def __init__(self, key: FederationKey, model: EdgeModel) -> None:
        self.key = key
        self.model = model
        self.rns_key = hashlib.sha512(key.key_id.encode()).digest()
        self.address = Address(hashlib.sha256(self.rns_key).digest()[:16])
        self.handle: Callable[[EdgeEvent], None]
        self.permitted: frozenset[Address] = frozenset()
        self.announced: list[bytes] = []
        self.hung_up: list[Address] = []
        self.sent: Counter[str] = Counter()
        self.is_silent = False
        self.moved_s: float | None = None

    def permit(self, addresses: frozenset[Address]) -> None:
        self.permitted = addresses

    def announce(self, app_data: bytes) -> None:
        self.announced.append(app_data)

    def send(self, address: Address, frame: bytes) -> None:
        if address not in self.permitted:
            raise PeerUnreachable("not permitted")
        message = decode(frame)
        self.sent[message["type"]] += 1
        self.sent["wanted"] += len(message.get("want", ()))
        if not self.is_silent:
            for answer in self.model.receive(frame):
                self.say(answer)

    def hang_up(self, address: Address) -> None:
        self.hung_up.append(address)

    def progress_s(self, address: Address) -> float | None:
        return self.moved_s

    def is_linked(self, address: Address) -> bool:
        return address in self.permitted

    # What a test does.

    def say(self, frame: bytes) -> None:
        """A frame of the registry arrives."""
        self.moved_s = time.monotonic()
        self.handle(EdgeFrame(self.address, frame))

    def attest(self, epoch: int = 1) -> None:
        """Its announce is heard."""
        data = encode_attestation(attest(self.key, self.rns_key, epoch))
        self.handle(EdgeHeard(self.address, self.rns_key, data, 1))
