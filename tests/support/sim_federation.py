"""Five nodes of one federation in virtual time, while everybody writes and much goes wrong.

Over `sim_network`: nodes offer what rooted keys say, as a real node does; two of the five keep
their records in SQLite and lose all but the file in a crash. A round opens only where two views
differ, as after the comparison of digests.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ciris_mesh.directory.base import OWN, UNATTRIBUTED, ReplicationDirectory, Shelf, Source
from ciris_mesh.directory.bridge import FederationDirectoryReplicationBridge
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.directory.quotas import is_ours
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.records.cosigning import is_cosigned
from ciris_mesh.records.envelope import Envelope, parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.records.resolve.base import Row
from ciris_mesh.records.resolve.table import Answer, resolve
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.wire.messages import ReplicationMessage
from support.population import MINUTE_MS, MOMENTS_MS, TRUST
from support.records import AT_MS
from support.rulebook import Record, key_id
from support.sim_network import CADENCE_MS, PERFECT, Faults, SimNetwork, SimNode

NAMES = ("node-a", "node-b", "node-c", "node-d", "node-e")
ON_DISK = NAMES[:2]
TAU_S = 300.0
#: A broken link ends the rounds of all thirteen kinds, so worse links than these move nothing.
FIELD = Faults(loss=0.03, duplicate=0.02, delay_ms_max=3)
#: Nobody needs longer after the last trouble: a shorter one was enough for every seed tried.
CALM_CADENCES_MAX = 60
#: Instants asked about: early on, in the middle of things, and after all.
INSTANTS_MS = (MOMENTS_MS[5], 2 * MINUTE_MS + 1, 60 * MINUTE_MS)

Question = tuple[str, str, str]
parsed: Callable[[EnvelopeKind, bytes], Envelope] = lru_cache(maxsize=100_000)(parse_envelope)


class FederationNode(SimNode):
    """A node that passes on what its peers and rooted keys say, and whose store may be a file."""

    def boot(self) -> None:
        super().boot()
        self.directory.favour(lambda: self.trusted)
        self.bridge = FederationDirectoryReplicationBridge(
            self.directory,
            lambda: self.trusted | self.directory.rooted(),
            clock=lambda: self.wall_ms() / 1000,
        )


class Federation(SimNetwork):
    """The five. `close` at the end."""

    def __init__(self, *, seed: int, folder: Path, faults: Faults = FIELD) -> None:
        self._folder = folder
        super().__init__(
            NAMES,
            seed=seed,
            faults=faults,
            kinds=tuple(EnvelopeKind),
            trusted=frozenset(map(key_id, NAMES)),
            epoch_ms=AT_MS,
        )
        for name in NAMES:
            self._at(self.rng.randrange(CADENCE_MS), self._retries(name))

    def close(self) -> None:
        for node in self.nodes.values():
            node.directory.close()

    def author(self, name: str, record: Record) -> None:
        """Somebody at this node signed a record."""
        kind, raw = record
        verdict = self.nodes[name].directory.admit(kind, raw, OWN, now_ms=self.wall_ms())
        assert verdict.outcome is not Outcome.MALFORMED, verdict

    def deliver(self, name: str, record: Record, by: str) -> None:
        """A peer that is no node of this simulation delivers a record."""
        kind, raw = record
        self.nodes[name].bridge.apply(key_id(by), kind, [raw], now_ms=self.wall_ms())

    def wall_ms(self) -> int:
        return self.epoch_ms + self.now_ms

    def crash(self, name: str, for_ms: int) -> None:
        """As of any node; what is not in a file is gone."""
        self.restart(name)
        super().crash(name, for_ms)

    def restart(self, name: str) -> None:
        """Open the node's store anew, where it has one."""
        node = self.nodes[name]
        if name in ON_DISK:
            node.directory.close()
            node.directory = self._directory(name)
            node.boot()

    def _make_node(self, name: str, trusted: frozenset[str]) -> SimNode:
        def send(peer: str, message: ReplicationMessage) -> None:
            self._transmit(name, peer, message)

        return FederationNode(name, self._directory(name), trusted, self.wall_ms, send)

    def _directory(self, name: str) -> DirectoryCore:
        if name in ON_DISK:
            return SqliteDirectory(self._folder / f"{name}.db", trust=TRUST)
        return MemoryDirectory(trust=TRUST)

    def _retries(self, name: str) -> Callable[[], None]:
        def due() -> None:
            self._at(CADENCE_MS, due)
            if self.is_up(name):
                self.nodes[name].directory.retry_due(self.wall_ms())

        return due

    def _open(self, one: str, two: str, kind: EnvelopeKind) -> None:
        """Digests are compared before; of those who cannot hear each other nothing is known."""
        can_compare = self.is_up(two) and frozenset((one, two)) not in self.partitioned
        if not can_compare or not self.agree(one, two, kind):
            super()._open(one, two, kind)

    def agree(self, one: str, two: str, kind: EnvelopeKind) -> bool:
        """Do the two digests of what these compare equal each other?"""
        mine = self.nodes[one].bridge.view_digest(two, kind)
        return mine == self.nodes[two].bridge.view_digest(one, kind)

    def has_settled(self) -> bool:
        """Is nobody in a round, and does every pair agree on every kind?"""
        if any(node.is_active() for node in self.nodes.values()):
            return False
        pairs = itertools.combinations(NAMES, 2)
        return all(self.agree(one, two, kind) for one, two in pairs for kind in EnvelopeKind)


# -- what happens ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Script:
    """What becomes of a set of records in one seed.

    Attributes:
        authored: (node, record): signed there, at any moment.
        told: (node, stranger, record): said to that node alone. Nobody passes it on, so a stranger
            who wants to be heard says it to each.
        attacks: (node, record): bytes that are no valid record.
        cosigned: (node, record): records under whose ids others than all who signed may be known.
            Their authors bring them to every node: what spreads is a copy, not every signature.
    """

    authored: tuple[tuple[str, Record], ...]
    told: tuple[tuple[str, str, Record], ...]
    attacks: tuple[tuple[str, Record], ...]
    cosigned: tuple[tuple[str, Record], ...]


def script(rng: random.Random, records: Sequence[Record]) -> Script:
    """Deal the records out to nodes, in random order."""
    rooted = _rooted(records)
    authored, told, attacks, cosigned = [], [], [], []
    for record in records:
        kind, raw = record
        signers = parsed(kind, raw).signers
        if is_ours(kind, signers, rooted.__contains__):
            authored.append((rng.choice(NAMES), record))
            if is_cosigned(kind) and len(signers) > 1:
                cosigned += [(name, record) for name in NAMES]
        else:
            told += [(name, rng.choice(("mallory", "sybil")), record) for name in NAMES]
        if rng.random() < 0.05:
            attacks.append((rng.choice(NAMES), (kind, spoiled(rng, raw))))
    for each in (authored, told, attacks, cosigned):
        rng.shuffle(each)
    return Script(tuple(authored), tuple(told), tuple(attacks), tuple(cosigned))


def _rooted(records: Iterable[Record]) -> frozenset[str]:
    directory = MemoryDirectory(trust=TRUST)
    keys = [raw for kind, raw in records if kind is EnvelopeKind.KEY]
    directory.admit_many(EnvelopeKind.KEY, keys, OWN, now_ms=AT_MS)
    found = directory.rooted()
    directory.close()
    return found


def spoiled(rng: random.Random, raw: bytes) -> bytes:
    """A record as an attacker would send it: a character changed, cut off, or nothing like it."""
    match rng.randrange(4):
        case 0:
            return raw[: rng.randrange(len(raw))]
        case 1:
            return rng.randbytes(200)
        case _:
            place = rng.randrange(len(raw) // 4, len(raw) - 4)
            other = b"A" if raw[place : place + 1] != b"A" else b"B"
            return raw[:place] + other + raw[place + 1 :]


def live_through(mesh: Federation, said: Script, *, steps: int) -> None:
    """Say everything over so many half cadences, and let things go wrong around it."""
    rng = mesh.rng
    past: list[Record] = []
    for step in range(steps):
        if step % 4 == 1:
            upset(mesh)
        for name, record in said.authored[step::steps]:
            mesh.author(name if mesh.is_up(name) else rng.choice(_up(mesh)), record)
            past.append(record)
        for name, stranger, record in said.told[step::steps]:
            mesh.deliver(name, record, stranger)
        for name, record in said.cosigned[step::steps]:
            mesh.deliver(name, record, "vera")
        for name, attack in said.attacks[step::steps]:
            mesh.deliver(name, attack, "junk")
            mesh.nodes[name].directory.admit(*attack, UNATTRIBUTED, now_ms=mesh.wall_ms())
        for record in rng.sample(past, len(past) // 40):
            mesh.deliver(rng.choice(NAMES), record, "mallory")  # replayed, and often rolled back
        mesh.run_ms(CADENCE_MS // 2)


def _up(mesh: Federation) -> list[str]:
    return [name for name in NAMES if mesh.is_up(name)] or list(NAMES)


def upset(mesh: Federation) -> None:
    """Other partitions than before, and some crashes."""
    rng = mesh.rng
    pairs = [frozenset(pair) for pair in itertools.combinations(NAMES, 2)]
    mesh.partitioned = set(rng.sample(pairs, rng.randrange(len(pairs))))
    for name in NAMES:
        if rng.random() < 0.2:
            mesh.crash(name, for_ms=rng.randrange(2 * CADENCE_MS))


def calm_down(mesh: Federation) -> None:
    """Good links and no more crashes, until all clocks have reached the last date and all agree."""
    mesh.partitioned.clear()
    mesh.faults = PERFECT
    for _ in range(CALM_CADENCES_MAX):
        mesh.run_ms(CADENCE_MS)
        if mesh.now_ms > MOMENTS_MS[-1] and mesh.has_settled():
            return
    raise AssertionError("they do not come to agree")


# -- what is asked ---------------------------------------------------------------------------------


class ParsedRows:
    """Rows out of a directory, each text parsed once for all five nodes."""

    def __init__(self, directory: ReplicationDirectory) -> None:
        self._directory = directory

    def named(self, name: str, *, limit: int, others: int = 0) -> list[Row]:
        """See `records.resolve.base.Rows`."""
        return [
            Row(parsed(row.kind, row.envelope), row.shelf.name.lower())
            for row in self._directory.named_rows(name, limit=limit, others=others)
        ]

    def vouched(self, name: str, vouchers: Collection[str], *, limit: int) -> list[Row]:
        """See `records.resolve.base.Rows`."""
        return [
            Row(parsed(row.kind, row.envelope), row.shelf.name.lower())
            for row in self._directory.vouched_rows(name, vouchers, limit=limit)
        ]

    def signers(self, name: str, *, limit: int) -> list[tuple[str, ...]]:
        """See `records.resolve.base.Rows`."""
        return self._directory.signers_named(name, limit=limit)

    def rooted(self, trust: Trust) -> Collection[str]:
        """See `records.resolve.base.Rows`."""
        return self._directory.rooted()


def ask(directory: ReplicationDirectory, question: Question, after_ms: int) -> Answer:
    """Put a question about an instant, counted from the beginning of the simulation."""
    word, subject, more = question
    at_ns = (AT_MS + after_ms) * 1_000_000
    rows = ParsedRows(directory)
    return resolve(word, subject, rows, TRUST, at_ns, more=more, tau_partial_s=TAU_S)


def answers(
    directory: ReplicationDirectory, asked: Iterable[Question], instants_ms: Iterable[int]
) -> list[Answer]:
    """Put every question about every instant."""
    return [ask(directory, question, after_ms) for after_ms in instants_ms for question in asked]


def newcomer(mesh: Federation, name: str) -> MemoryDirectory:
    """A node that gets all that another holds, in another order, as from a bundle.

    As an import does, it looks again at what fell out of the bounded pools, as long as that helps.
    """
    source = mesh.nodes[name].directory
    made = MemoryDirectory(trust=TRUST)
    before: object = None
    while (counts := made.counts()) != before:
        before = counts
        for kind in reversed(EnvelopeKind):
            rows = (row for _, row in source.rows(kind, limit=100_000))
            raws = sorted(row.envelope for row in rows if row.shelf is Shelf.FEDERATION)
            made.admit_many(kind, raws, Source("import"), now_ms=mesh.wall_ms())
    return made


def held(directory: ReplicationDirectory) -> dict[EnvelopeKind, frozenset[bytes]]:
    """Ids on the federation shelf."""
    return {
        kind: frozenset(ref.envelope_hash for ref in directory.holdings(kind))
        for kind in EnvelopeKind
    }
