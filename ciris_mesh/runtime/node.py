"""`Node`: a small facade for programs that embed a mesh node, and what the daemon is built on."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Self

from ciris_mesh.directory.base import ReplicationDirectory, StoredRow
from ciris_mesh.errors import OperatorError
from ciris_mesh.records.authoring import author, author_key
from ciris_mesh.records.binding import Binding
from ciris_mesh.records.hybrid import FederationKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Verdict
from ciris_mesh.runtime.bindings import BindingStore
from ciris_mesh.runtime.events import EventSink
from ciris_mesh.runtime.handle import ReplicationHandle
from ciris_mesh.runtime.handshake import CAPABILITIES, OwnSelf
from ciris_mesh.runtime.ownself import make_binding
from ciris_mesh.runtime.peers import PeerConfig
from ciris_mesh.runtime.runtime import ReplicationRuntime, RuntimeConfig
from ciris_mesh.transport.base import EdgePort, Transport
from ciris_mesh.wire.edge_announce import attest, encode_attestation


class Node:
    """A federation key, a directory, a transport, and the runtime that joins them.

    Args:
        key: this node's federation key; its key record is signed and admitted at start.
        transport: not started yet; the node starts and stops it.
        directory: kept open; in memory when left out.
        key_envelope: the node's key record; when left out, the one the directory holds, or one
            signed now.
        capabilities: what of 0x81 it states in its hellos; see `handshake.CAPABILITIES`.
        binding: says that `key` speaks through the transport's identity; signed anew when left
            out.
        edge: where registry nodes link to; see ReplicationRuntime.

    Two nodes in one process, each with what the other signed:

        >>> network = LoopbackNetwork()
        >>> transports = {key: LoopbackTransport(network, key.key_id) for key in keys}
        >>> alice, bob = (Node(key, transport) for key, transport in transports.items())
        >>> alice.add_peer(PeerConfig(bob.key_id, bob.runtime.transport.address))
        >>> bob.add_peer(PeerConfig(alice.key_id, alice.runtime.transport.address))
        >>> removal = {"revoked_key_id": "lost-laptop", "reason": "lost"}
        >>> with alice, bob:
        ...     verdict = alice.put(EnvelopeKind.REVOCATION, removal)
        ...     alice.wait_converged(timeout_s=20)
        ...     bob.get(EnvelopeKind.REVOCATION, verdict.envelope_id).signers == (alice.key_id,)
        []
        True
    """

    def __init__(
        self,
        key: FederationKey,
        transport: Transport,
        *,
        directory: ReplicationDirectory | None = None,
        kinds: Sequence[EnvelopeKind] = tuple(EnvelopeKind),
        config: RuntimeConfig | None = None,
        bindings: BindingStore | None = None,
        key_envelope: bytes | None = None,
        binding: Binding | None = None,
        capabilities: int = CAPABILITIES,
        clock: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        rng: random.Random | None = None,
        edge: EdgePort | None = None,
    ) -> None:
        self._key = key
        self.capabilities = capabilities
        self._wall_ms = wall_ms
        self._clock = clock
        self.directory = directory if directory is not None else _in_memory()
        now_ms = wall_ms()
        self.key_envelope = (
            key_envelope
            or _held_key_record(self.directory, key.key_id)
            or author_key(key, identity_ref=key.key_id, at_ms=now_ms)
        )
        binding = binding or make_binding(key, transport.public_key, now_ms)
        self._edge, self._epoch = edge, binding.epoch
        self.runtime = ReplicationRuntime(
            directory=self.directory,
            transport=transport,
            own=OwnSelf(
                binding,
                self.key_envelope,
                tuple(kind for kind in EnvelopeKind if kind in kinds),
                capabilities,
            ),
            bindings=bindings,
            config=config,
            clock=clock,
            wall_ms=wall_ms,
            rng=rng,
            edge=edge,
        )
        self.handle = ReplicationHandle(self.runtime)

    @property
    def key_id(self) -> str:
        """This node's key id."""
        return self._key.key_id

    @property
    def fingerprint(self) -> bytes:
        """sha256 of both public keys, 32 bytes, as invites carry it."""
        return self._key.public.fingerprint

    def start(self) -> None:
        """Begin.

        Raises:
            OperatorError: the node's own key record is not accepted by its directory.
        """
        verdict = self.runtime.admit_own(EnvelopeKind.KEY, self.key_envelope)
        if not verdict.outcome.is_held:
            raise OperatorError(
                f"own key record {verdict.outcome}: {verdict.reason} {verdict.detail}; "
                "is the database another node's? restore the right federation.key"
            )
        self.runtime.start()
        if self._edge is not None:
            own = attest(self._key, self.runtime.transport.public_key, self._epoch)
            self._edge.announce(encode_attestation(own))

    def stop(self, timeout_s: float = 5.0) -> None:
        """End replication. The directory stays open. Idempotent."""
        self.runtime.shutdown(timeout_s)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def add_peer(self, config: PeerConfig) -> None:
        """Converge with this peer from now on."""
        self.runtime.register_peer(config)

    def put(self, kind: EnvelopeKind, columns: dict[str, object]) -> Verdict:
        """Sign a record with this node's key and admit it.

        Raises:
            MalformedRecord: the columns are no record of that kind.
        """
        envelope = author(kind, columns, self._key, at_ms=self._wall_ms())
        return self.runtime.admit_own(kind, envelope)

    def get(self, kind: EnvelopeKind, envelope_id: bytes) -> StoredRow | None:
        """One record as held; None when it is not here."""
        return self.directory.get(kind, envelope_id)

    def subscribe(self, sink: EventSink) -> Callable[[], None]:
        """Get every RoundEvent; the function returned ends it."""
        return self.handle.subscribe(sink)

    def is_fresh(self, kind: EnvelopeKind) -> bool:
        """True when some peer confirmed `kind` within tau_partial and nothing is missing."""
        return self.handle.is_fresh(kind)

    def wait_converged(self, timeout_s: float) -> list[str]:
        """Wait until every peer agrees, or the time is over; returns what is still missing."""
        deadline_s = self._clock() + timeout_s
        while (waiting := self.handle.waiting_for()) and self._clock() < deadline_s:
            time.sleep(0.02)
        return waiting


def _held_key_record(directory: ReplicationDirectory, key_id: str) -> bytes | None:
    """This node's own key record, from an earlier run: signing anew would make another record."""
    for envelope_id, signers in directory.signers(EnvelopeKind.KEY).items():
        row = directory.get(EnvelopeKind.KEY, envelope_id) if signers == (key_id,) else None
        if row is not None:
            return row.envelope
    return None


def _in_memory() -> ReplicationDirectory:
    from ciris_mesh.directory.memory import MemoryDirectory  # a daemon has a store on disk

    return MemoryDirectory()
