"""Real nodes for fault tests: `ciris-mesh run` in processes of their own, over loopback TCP.

The first node of a `Mesh` listens and routes, the others connect to it, so a fault of any other
leaves the network up. Nodes are asked over their control sockets. Whatever a test does to them,
`Mesh.close` ends exactly the processes it started, and every node that ends by SIGTERM must do so
in time, with exit code 0 and without a traceback.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

from ciris_mesh.directory.base import OWN
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.asking import call
from ciris_mesh.runtime.clock import SystemClock
from ciris_mesh.runtime.home import Home
from ciris_mesh.runtime.localnodes import free_port, reticulum_config
from ciris_mesh.runtime.ownself import own_key_record
from ciris_mesh.runtime.peerbook import Peer, PeerBook
from ciris_mesh.runtime.setup import NodeIdentity, new_node, node_identity
from support.records import sample

#: How long anything a test waits for may take. Much is expected within two seconds; the rest is
#: for a machine that runs other tests beside this one.
PATIENCE_S: Final = 240.0
#: What SIGTERM may take. A node gives up after five seconds, which its exit code tells; the rest
#: is what a busy machine takes to end a process.
STOP_S: Final = 60.0
_POLL_S: Final = 0.02

TESTS: Final = Path(__file__).parent.parent
#: What Python is given to run an honest node, one that says what it is told to, and one whose
#: clock is wrong.
HONEST: Final = ("-m", "ciris_mesh")
HOSTILE: Final = ("-m", "support.hostile_node")
PAST: Final = ("-m", "support.past_node")

#: Peers are looked at twice a second instead of twice a minute, and given up after eight seconds
#: of silence: a packet whose answer was lost is repeated after 3.5 s, twice.
IMPATIENT: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {("rounds", "cadence_s"): "0.5", ("rounds", "no_progress_timeout_s"): "8"}
)

Row = dict[str, Any]
AnyMesh = TypeVar("AnyMesh", bound="Mesh")


def becomes_true(condition: Callable[[], object], timeout_s: float) -> bool:
    """Return as soon as the condition is true; False when it is not in time."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)
    return True


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Return as soon as the condition is true; AssertionError saying `what` was not reached."""
    assert becomes_true(condition, timeout_s), f"not within {timeout_s:g} s: {what}"


def own_tracebacks(output: str) -> list[str]:
    """Tracebacks that pass through our code. Reticulum's threads have some of their own.

    rns 1.5.7 puts a Resource together twice when a part comes late once more: the second time its
    file is gone, and its thread ends with a traceback. The frame was taken the first time.
    """
    _, *sections = output.split("Traceback (most recent call last):")
    places = [re.findall(r'^ +File "([^"]+)"', section, re.MULTILINE) for section in sections]
    return [
        section
        for section, files in zip(sections, places, strict=True)
        if not files or not all(re.search(r"/(RNS/\w+|threading)\.py$", file) for file in files)
    ]


@dataclass
class NodeProcess:
    """One node: a home, a Reticulum directory, and a process while it runs.

    Args:
        program: what Python is given before the command's own arguments.
        prefix: what stands before Python: a command that ends by becoming it.
    """

    name: str
    home: Home
    rns: Path
    identity: NodeIdentity = field(repr=False)
    program: Sequence[str] = HONEST
    prefix: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    starts: int = 0

    @property
    def key_id(self) -> str:
        return self.identity.key_id

    @property
    def output(self) -> str:
        """All that the node's processes said so far."""
        path = self._output
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def _output(self) -> Path:
        return self.home.path.with_suffix(".output")

    # -- life --------------------------------------------------------------------------------

    def start(self) -> NodeProcess:
        """Start the process; `wait_ready` says when it is up."""
        assert self.process is None, f"{self.name} runs"
        self.starts += 1
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    *(*self.prefix, sys.executable, *self.program),
                    *self.arguments("run", "--rnsconfig", self.rns),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(),
            )
        return self

    def arguments(self, *words: str | Path) -> list[str]:
        """A command line for this node's home."""
        return ["--config", str(self.home.path), *map(str, words)]

    def wait_ready(self) -> None:
        """Return when the node says that it is ready: it answers a little earlier."""

        def says_so() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, f"{self.name} ended: {self.output}"
            return self.output.count(f"ready {self.key_id}\n") == self.starts

        wait_until(says_so, f"{self.name} is ready")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this node's process alone."""
        assert self.process is not None
        self.process.send_signal(number)

    def freeze(self) -> None:
        """Make it silent: it neither answers nor ends."""
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo `freeze`."""
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a word to anybody, as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE_S)
        self.process = None

    def stop(self, number: signal.Signals = signal.SIGTERM, *, within_s: float = STOP_S) -> None:
        """End it as systemd does, and hold it to what it promises then."""
        assert self.process is not None
        process, self.process = self.process, None
        process.send_signal(number)
        try:
            code = process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(PATIENCE_S)
            raise AssertionError(
                f"{self.name} still ran {within_s} s after {number.name}"
            ) from None
        assert code == 0, f"{self.name} ended with code {code}: {self.output}"
        assert "node.stopping" in self.output, "ended by somebody else's handler"
        assert not own_tracebacks(self.output), self.output

    # -- questions ---------------------------------------------------------------------------

    def call(self, op: str, **arguments: Any) -> Any:
        """Ask the running node."""
        return call(self.home.find_socket({}), op, timeout_s=PATIENCE_S, **arguments)

    def status(self) -> Row:
        """The answer to `status`."""
        status: Row = self.call("status")
        return status

    def peer(self, other: NodeProcess) -> Row:
        """How this node sees the other."""
        rows: list[Row] = self.status()["peers"]
        return next(row for row in rows if row["key_id"] == other.key_id)

    def completed(self, other: NodeProcess) -> int:
        """Rounds with the other that ended well, since start."""
        count: int = self.peer(other)["rounds"].get("completed", 0)
        return count

    def failed(self, other: NodeProcess) -> int:
        """Rounds with the other that ended in any other way, in a node that started once.

        Of two links dialled at once one is given up, which may cost a round. That is no failure,
        and comes when it likes while nodes get to know each other.
        """
        rounds: dict[str, int] = self.peer(other)["rounds"]
        about = f" peer={other.key_id} "
        replaced = sum(
            "reason=link_replaced" in line and about in line for line in self.output.splitlines()
        )
        return sum(rounds.values()) - rounds.get("completed", 0) - replaced

    def drops(self, name: str) -> int:
        """How often something was dropped under that name, since start."""
        count: int = self.status()["drops"].get(name, 0)
        return count

    def outcomes(self) -> dict[tuple[str, str, str], int]:
        """(path, outcome, reason) -> count."""
        rows: list[Row] = self.status()["outcomes"]
        return {(row["path"], row["outcome"], row["reason"]): row["count"] for row in rows}

    def ids(self, kind: EnvelopeKind) -> set[str]:
        """Envelope ids on the federation shelf."""
        return set(self.call("ids", kind=kind.value))

    def all_ids(self) -> dict[EnvelopeKind, set[str]]:
        """The same for every kind."""
        return {kind: self.ids(kind) for kind in EnvelopeKind}

    # -- records -----------------------------------------------------------------------------

    def admit(self, kind: EnvelopeKind, envelope: bytes) -> str:
        """Hand in one own record; returns its id once the node acknowledged it."""
        answer = self.call("admit", kind=kind.value, envelope_hex=envelope.hex())
        assert answer["outcome"] == "admitted", answer
        envelope_id: str = answer["envelope_id"]
        return envelope_id

    def sign(self, n: int, kind: EnvelopeKind = EnvelopeKind.ATTESTATION) -> str:
        """Sign and hand in the n-th sample record."""
        return self.admit(kind, sample(kind, self.identity.key, n))

    def preload(self, kind: EnvelopeKind, count: int, first: int = 0) -> set[str]:
        """Put own records into the store of a node that does not run; returns their ids.

        Args:
            first: number of the first of these sample records.
        """
        assert self.process is None, "only one process may write"
        clock = SystemClock()
        own = own_key_record(self.home, self.identity.key, clock)
        directory = SqliteDirectory(self.home.database)
        try:
            directory.admit(EnvelopeKind.KEY, own, OWN, now_ms=clock.wall_ms())
            envelopes = [sample(kind, self.identity.key, n) for n in range(first, first + count)]
            verdicts = directory.admit_many(kind, envelopes, OWN, now_ms=clock.wall_ms())
        finally:
            directory.close()
        return {verdict.envelope_id.hex() for verdict in verdicts if verdict.envelope_id}


@dataclass
class Mesh:
    """The nodes of one test, each in a directory under `root`."""

    root: Path
    settings: Mapping[tuple[str, str], str]
    port: int = field(default_factory=free_port)
    nodes: list[NodeProcess] = field(default_factory=list)

    def make(self, name: str) -> NodeProcess:
        """A node with fresh keys, without peers, not started."""
        new_node(self.root / name, name, settings=self.settings)
        return self.adopt(name)

    def adopt(self, name: str) -> NodeProcess:
        """The node whose home is in the directory `name`, however it was made."""
        home = Home(self.root / name)
        node = NodeProcess(name, home, self.reticulum(name), node_identity(home))
        self.nodes.append(node)
        return node

    def reticulum(self, name: str) -> Path:
        """A Reticulum directory: the first one of a mesh listens."""
        rns = self.root / f"{name}-reticulum"
        rns.mkdir()
        text = reticulum_config(port=self.port, listens=not self.nodes)
        (rns / "config").write_text(text)
        return rns

    def make_peers(self, *names: str) -> list[NodeProcess]:
        """Nodes that are all each other's peers, not started."""
        nodes = [self.make(name) for name in names]
        for node in nodes:
            for other in nodes:
                if other is not node:
                    befriend(node, other)
        return nodes

    def start(self, *nodes: NodeProcess) -> None:
        """Start these and wait until all are up: the first alone, since the others call it."""
        for group in (nodes[:1], nodes[1:]):
            for node in group:
                node.start()
            for node in group:
                node.wait_ready()

    def close(self) -> None:
        """End what runs, frozen or not, and check that it ends well."""
        running = [node for node in self.nodes if node.process is not None]
        failures: list[str] = []
        for node in running:
            try:
                node.thaw()
                node.stop()
            except AssertionError as error:
                failures.append(str(error))
        assert not failures, "\n".join(failures)


def befriend(node: NodeProcess, other: NodeProcess) -> None:
    """Write `other` into the peer book of a node that does not run."""
    who = other.identity
    PeerBook.load(node.home.peers).add(
        Peer(who.key_id, who.fingerprint, who.address, alias=other.name)
    )


def wait_converged(*nodes: NodeProcess) -> None:
    """Return when every node says its peers agree with it, and all hold the same records."""

    def agree() -> bool:
        return all(node.call("converged")["converged"] for node in nodes)

    wait_until(agree, f"{', '.join(node.name for node in nodes)} converged")
    held = [node.all_ids() for node in nodes]
    assert all(ids == held[0] for ids in held)


def run_cli(
    *arguments: str | Path, program: Sequence[str] = HONEST
) -> subprocess.CompletedProcess[str]:
    """Run `ciris-mesh` to its end."""
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=environment(),
        check=False,
    )


def environment() -> dict[str, str]:
    """Ours, without the user's runtime directory: sockets stay in the homes.

    And with byte code kept, as where the package is installed: commands are not compiled each time.
    """
    gone = ("XDG_RUNTIME_DIR", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if name not in gone}
    return {**kept, "PYTHONPATH": str(TESTS)}


@contextmanager
def mesh(settings: Mapping[tuple[str, str], str] = IMPATIENT) -> Iterator[Mesh]:
    """A mesh in a directory whose path is short enough for sockets."""
    with made_mesh(lambda root: Mesh(root, settings)) as made:
        yield made


@contextmanager
def made_mesh(make: Callable[[Path], AnyMesh]) -> Iterator[AnyMesh]:
    """The same for a mesh of any sort.

    What the nodes said is printed: pytest shows it when the test fails.
    """
    root = Path(tempfile.mkdtemp(prefix="cm-", dir="/tmp"))
    made = make(root)
    try:
        yield made
        made.close()
    finally:
        for node in made.nodes:
            if node.process is not None:
                node.kill()
            print(f"--- {node.name}\n{node.output}", file=sys.stderr)  # noqa: T201
        shutil.rmtree(root)
