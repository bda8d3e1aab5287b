"""The ways into a node that a record can take, each through what really stands there.

apply     the bridge, as a round with a peer uses it
deliver   a frame off the wire: codec, registry, coordinator, bridge
import    `ciris-mesh import` of a bundle, into the store of a node that does not run
admit     the control socket of a running node, as the signing commands use it
"""

from __future__ import annotations

import io
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ciris_mesh.directory.base import OWN, ReplicationDirectory, Shelf
from ciris_mesh.directory.bridge import FederationDirectoryReplicationBridge
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.errors import ControlError, DecodeError
from ciris_mesh.protocol.report import SessionRole
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.runtime.asking import call
from ciris_mesh.runtime.budget import RadioBudget
from ciris_mesh.runtime.bundle import write_bundle
from ciris_mesh.runtime.clock import SystemClock
from ciris_mesh.runtime.config import load_config
from ciris_mesh.runtime.coordinator import ReplicationCoordinator, RoundKey
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.operations import Operations
from ciris_mesh.runtime.peerbook import PeerBook
from ciris_mesh.runtime.registry import ReplicationRegistry, Routed
from ciris_mesh.runtime.setup import node_identity
from ciris_mesh.transport.loopback import LoopbackNetwork, LoopbackTransport
from ciris_mesh.wire.frame import try_unwrap, wrap
from ciris_mesh.wire.messages import Deliver, ReplicationMessage
from support.cli import answering, shell
from support.federation import TRUST
from support.records import AT_MS
from support.rulebook import Record

#: What became of each record: (outcome, reason). A door that does not look at a record at all
#: says so by another first word: "frame", "damage" or "request".
Said = Counter[tuple[str, str]]
Counts = Mapping[tuple[EnvelopeKind, Shelf], int]

HUB = "hub"
NOW_MS = AT_MS + 600_000


class Door(ABC):
    """One way in. `before` is held; `close` once."""

    #: The label its verdicts are counted under.
    path: str

    @abstractmethod
    def send(self, records: Sequence[Record]) -> Said:
        """Offer records and learn what became of them."""

    @abstractmethod
    def look(self, at: Callable[[ReplicationDirectory], Any]) -> Any:
        """Look at the directory behind the door."""

    def counts(self) -> Counts:
        """Rows on every shelf."""
        found: Counts = self.look(lambda directory: directory.counts())
        return found

    def counted(self) -> Said | None:
        """What the directory counted under this door's path; None when it is not at hand."""
        counts: Mapping[tuple[str, str, str], int] = self.look(
            lambda directory: directory.outcome_counts()
        )
        return Counter({said[1:]: n for said, n in counts.items() if said[0] == self.path})

    def close(self) -> None:  # noqa: B027 (some leave nothing open)
        """Shut it."""


def _hold(directory: ReplicationDirectory, before: Iterable[Record]) -> None:
    for kind, raw in before:
        verdict = directory.admit(kind, raw, OWN, now_ms=NOW_MS)
        assert verdict.outcome is Outcome.ADMITTED, verdict


class ApplyDoor(Door):
    """The bridge."""

    path = "peer"

    def __init__(self, folder: Path, before: Sequence[Record], trust: Trust = TRUST) -> None:
        self.directory = MemoryDirectory(trust=trust)
        self.bridge = FederationDirectoryReplicationBridge(self.directory, frozenset)
        _hold(self.directory, before)

    def send(self, records: Sequence[Record]) -> Said:
        said: Said = Counter()
        for kind, raw in records:
            (verdict,) = self.bridge.apply(HUB, kind, [raw], now_ms=NOW_MS)
            said[verdict.outcome.value, verdict.reason.value] += 1
        return said

    def look(self, at: Callable[[ReplicationDirectory], Any]) -> Any:
        return at(self.directory)

    def close(self) -> None:
        self.directory.close()


class DeliverDoor(ApplyDoor):
    """Frames, as a peer sends them; nobody asked for them."""

    def send(self, records: Sequence[Record]) -> Said:
        before = self.counted()
        said: Said = Counter()
        for kind, raw in records:
            try:
                self.arrive(wrap(Deliver(kind, (raw,))))
            except DecodeError:
                said["frame", "DecodeError"] += 1
        after = self.counted()
        assert before is not None
        assert after is not None
        return said + (after - before)

    def arrive(self, frame: bytes) -> None:
        """One frame off the wire. Raises DecodeError as the link would see it."""
        unwrapped = try_unwrap(frame)
        assert unwrapped is not None
        assert isinstance(unwrapped.message, ReplicationMessage)
        registry = ReplicationRegistry(self._responder)
        routed = registry.route(HUB, unwrapped.message)
        assert isinstance(routed, Routed)
        coordinator = registry.lookup(routed.key)
        assert coordinator is not None
        assert coordinator.drive() == []

    def _responder(self, peer: str, kind: EnvelopeKind) -> ReplicationCoordinator:
        key = RoundKey(peer, kind, SessionRole.RESPONDER)
        return ReplicationCoordinator(
            key, bridge=self.bridge, send=lambda message: None, wall_ms=lambda: NOW_MS
        )


class ImportDoor(Door):
    """A bundle, read by the command."""

    path = "import"

    def __init__(self, folder: Path, before: Sequence[Record], trust: Trust = TRUST) -> None:
        self.shell = shell(folder / "home", "keeper")
        self.shell.home.config.write_text(trust_section(trust))
        self._trust = trust
        self._file = folder / "x.bundle"
        self.look(lambda directory: _hold(directory, before))

    def send(self, records: Sequence[Record]) -> Said:
        sink = io.BytesIO()
        write_bundle(sink, iter(records), lambda *_: None)
        return self.send_bytes(sink.getvalue())

    def send_bytes(self, bundle: bytes) -> Said:
        """A bundle as it stands."""
        self._file.write_bytes(bundle)
        result = self.shell.run("import", str(self._file), "--json")
        told = json.loads(result.stdout)
        said: Said = Counter(
            {(row["outcome"], row["reason"]): row["count"] for row in told["outcomes"]}
        )
        said.update(("damage", row["reason"]) for row in told["damage"])
        is_bad = {outcome for outcome, _ in said} & {"refused", "malformed", "damage"}
        assert result.exit_code == bool(is_bad), result.output
        return said

    def look(self, at: Callable[[ReplicationDirectory], Any]) -> Any:
        directory = SqliteDirectory(self.shell.home.database, trust=self._trust)
        try:
            return at(directory)
        finally:
            directory.close()

    def counted(self) -> Said | None:
        return None  # the command's own counters end with it; its report is what `send` returns


class AdmitDoor(Door):
    """The control socket."""

    path = "own"

    def __init__(self, folder: Path, before: Sequence[Record], trust: Trust = TRUST) -> None:
        self.home = shell(folder / "home", "keeper").home
        self.directory = SqliteDirectory(self.home.database, trust=trust)
        _hold(self.directory, before)
        self._at_start: Said = Counter()
        clock = SystemClock()
        transport = LoopbackTransport(LoopbackNetwork(), "keeper")
        node = Node(node_identity(self.home).key, transport, directory=self.directory)
        book = PeerBook.load(self.home.peers)
        budget = RadioBudget(load_config(self.home.config).radio)
        operations = Operations(node, book, clock, clock.monotonic_s(), budget, trust)
        self._open = ExitStack()
        self._open.callback(self.directory.close)
        self._open.enter_context(node)
        self._open.enter_context(answering(self.home, operations.table()))
        self._at_start = self.counted() or Counter()

    def send(self, records: Sequence[Record]) -> Said:
        said: Said = Counter()
        for kind, raw in records:
            try:
                told = self.ask("admit", kind=kind.value, envelope_hex=raw.hex())
            except ControlError as error:
                said["request", type(error).__name__] += 1
            else:
                said[told["outcome"], told["reason"]] += 1
        return said

    def ask(self, operation: str, **arguments: Any) -> Any:
        """Ask as a command does."""
        return call(self.home.find_socket(), operation, **arguments)

    def look(self, at: Callable[[ReplicationDirectory], Any]) -> Any:
        return at(self.directory)

    def counted(self) -> Said | None:
        now = super().counted()
        assert now is not None
        return now - self._at_start

    def close(self) -> None:
        self._open.close()


DOORS: Mapping[str, type[ApplyDoor | ImportDoor | AdmitDoor]] = {
    "apply": ApplyDoor,
    "deliver": DeliverDoor,
    "import": ImportDoor,
    "admit": AdmitDoor,
}


def trust_section(trust: Trust) -> str:
    """The configuration that says what `trust` says."""
    roots = (f"{key_id} {fingerprint.hex()}" for key_id, fingerprint in trust.roots.items())
    lines = {
        "roots": roots,
        "root_stewards": sorted(trust.root_stewards),
        "partner_stewards": sorted(trust.partner_stewards),
        "partner_threshold": [str(trust.partner_threshold)],
        "hardware_types": sorted(trust.hardware_types),
    }
    settings = "".join(f"{name} = {', '.join(words)}\n" for name, words in lines.items())
    return f"[trust]\n{settings}"


def said(*reasons: Reason, outcome: Outcome | None = None) -> Said:
    """One verdict for each reason; the outcome follows from it, unless told."""
    from ciris_mesh.records.checks import outcome_of

    return Counter(((outcome or outcome_of(it)).value, it.value) for it in reasons)
