"""A registry with many peers: does each get everything, and what does that take?

Registry and peers are what `ciris-mesh run` starts, a process each, over Reticulum on loopback TCP.
Peers know the registry alone; each begins with records of its own and is done when it holds
everybody's. They are started a few at a time and begin at once, so what counts is what was still
to come when the last one ran. The registry's records are in PostgreSQL; several registry processes
share one database, and the peers are dealt out among them.
"""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ciris_mesh.bench.cluster import Cluster
from ciris_mesh.bench.report import Report, Row, median, row
from ciris_mesh.directory.base import OWN
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.errors import OperatorError
from ciris_mesh.records.authoring import author
from ciris_mesh.records.hybrid import FederationKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.clock import clock_of
from ciris_mesh.runtime.config import example_config, load_config
from ciris_mesh.runtime.files import write_atomic
from ciris_mesh.runtime.localnodes import (
    LocalNode,
    free_port,
    reticulum_config,
    start_nodes,
    stop_nodes,
)
from ciris_mesh.runtime.ownself import own_key_record
from ciris_mesh.runtime.peerbook import PeerBook
from ciris_mesh.runtime.setup import new_node, node_identity
from ciris_mesh.runtime.trusting import trust_of

PEERS: Final = 50
RECORDS_EACH: Final = 40

#: What a small server gives one process.
MEMORY_LIMIT_MB: Final = 400.0
#: The last peer may take so many times as long as the middle one, or it was starved.
STARVED: Final = 3.0
#: Two processes must bring so many times what one does, where they have cores of their own.
GAIN: Final = 1.5
#: Cores that are idle for less of the time are what all wait for.
IDLE: Final = 0.2
#: A core for each of two registries and the database, and as many for the peers.
CORES_TO_GAIN: Final = 8

#: Processes started at once: more only wait for each other.
_STARTED_AT_ONCE: Final = 4
#: A hundred times what a record to a peer should take.
_TIMEOUT_S_PER_DELIVERY: Final = 0.05
_TIMEOUT_S: Final = 300.0
_POLL_S: Final = 0.25
_CADENCE_S: Final = "2"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run showed.

    Attributes:
        done_s: for each peer, when it held everything, in seconds after all had started.
        delivered: records the peers lacked then. Who starts first has much of it before the last.
        idle: the part of all cores' time that nobody used, of whatever runs on this machine.
        peak_mb: the most memory any registry process had.
        cpu_s: of all registry processes together, from the same instant on.
        busiest_s: of the one that took most of it.
        peers_s: of all peers together.
        rows: in the database at the end.
        doubles: rows with the same kind and id as another.
    """

    done_s: tuple[float, ...]
    delivered: int
    idle: float
    peak_mb: float
    cpu_s: float
    busiest_s: float
    peers_s: float
    rows: int
    doubles: int


def run(
    root: Path, *, peers: int, records: int, registries: int, url: str | None, tell: Tell
) -> Report:
    """Measure one registry process, and with `registries` > 1 that many on one database as well.

    Args:
        root: an empty directory with a path short enough for sockets.
        records: each peer begins with.
        url: of an empty PostgreSQL database; None: one in a server made for this.
        tell: gets a line about what is being done.

    Raises:
        OperatorError: no server, a node could not be started, or records did not arrive.
    """
    rows: list[Row] = []
    outcomes: list[Outcome] = []
    counts = (1, registries) if registries > 1 and url is None else (registries,)
    for count in dict.fromkeys(counts):
        with _database(url) as database:
            folder = root / str(count)
            folder.mkdir(mode=0o700)
            outcome = _measure(folder, peers, records, count, database, tell)
        outcomes.append(outcome)
        rows += _rows(outcome, count, peers, records)
    if len(outcomes) == 2:
        rows += _gain(outcomes, registries, tell)
    return Report("registry", tuple(rows))


@contextmanager
def _database(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    with Cluster({"fsync": "on"}) as cluster:
        yield cluster.create()


def _measure(
    root: Path, peers: int, records: int, registries: int, url: str, tell: Tell
) -> Outcome:
    tell(f"making {registries} registry and {peers} peers with {records} records each")
    hubs, leaves = _make_nodes(root, peers, registries, url)
    for leaf in leaves:
        _fill(leaf, records)
    expected = peers * records + registries  # and the registries' own key records
    try:
        tell("starting them")
        for hub in hubs:
            start_nodes([hub])
        for first in range(0, peers, _STARTED_AT_ONCE):
            start_nodes(leaves[first : first + _STARTED_AT_ONCE])
        tell(f"replicating until everybody holds {expected} records")
        delivered = sum(expected - _held(leaf) for leaf in leaves)
        before_s = {node.name: _cpu_s(node) for node in [*hubs, *leaves]}
        idle_s, start_s = _idle_s(), time.monotonic()
        timeout_s = _TIMEOUT_S + _TIMEOUT_S_PER_DELIVERY * peers * expected
        done_s = _until_all_hold(leaves, expected, timeout_s)
        hubs_s, leaves_s = (
            [_cpu_s(node) - before_s[node.name] for node in nodes] for nodes in (hubs, leaves)
        )
        idle = (_idle_s() - idle_s) / (time.monotonic() - start_s) / (os.cpu_count() or 1)
        peak_mb = max(map(_peak_mb, hubs))
    finally:
        stop_nodes([*leaves, *hubs])
    rows, doubles = _count_rows(url)
    if rows != expected:
        raise OperatorError(f"the database holds {rows} rows and not {expected}")
    return Outcome(
        done_s,
        delivered,
        idle,
        peak_mb,
        sum(hubs_s),
        max(hubs_s),
        sum(leaves_s),
        rows=rows,
        doubles=doubles,
    )


def _make_nodes(
    root: Path, peers: int, registries: int, url: str
) -> tuple[list[LocalNode], list[LocalNode]]:
    ports = [free_port() for _ in range(registries)]
    hubs = [_make_node(root, f"registry-{n}", port, listens=True) for n, port in enumerate(ports)]
    leaves = [
        _make_node(root, f"peer-{n}", ports[n % registries], listens=False) for n in range(peers)
    ]
    everybody = [*hubs, *leaves]
    settings = {
        ("node", "clock"): "assume-trusted",  # nothing signed here leaves the directory
        ("rounds", "cadence_s"): _CADENCE_S,
        ("trust", "pinned"): ", ".join(
            f"{node.identity.key_id} {node.identity.fingerprint.hex()}" for node in everybody
        ),
    }
    for node in leaves:
        write_atomic(node.home.config, example_config(settings).encode())
    settings |= {("store", "url"): url, ("store", "shared"): "yes"}
    for node in hubs:
        write_atomic(node.home.config, example_config(settings).encode())
    for n, leaf in enumerate(leaves):
        hub = hubs[n % registries]
        PeerBook.load(leaf.home.peers).add(hub.as_peer())
        PeerBook.load(hub.home.peers).add(leaf.as_peer())
    return hubs, leaves


def _make_node(root: Path, name: str, port: int, *, listens: bool) -> LocalNode:
    rns_config_dir = root / f"{name}-rns"
    rns_config_dir.mkdir(mode=0o700)
    (rns_config_dir / "config").write_text(reticulum_config(port=port, listens=listens))
    home = new_node(root / name, name)
    return LocalNode(name, home, rns_config_dir, node_identity(home))


def _fill(node: LocalNode, records: int) -> None:
    clock, key = clock_of(node.home), node.identity.key
    trust = trust_of(load_config(node.home.config).trust)
    made = [(EnvelopeKind.KEY, own_key_record(node.home, key, clock))]
    made += [
        (EnvelopeKind.ATTESTATION, _score(key, number, clock.wall_ms()))
        for number in range(1, records)
    ]
    directory = SqliteDirectory(node.home.database, trust=trust)
    try:
        for kind, envelope in made:
            verdict = directory.admit(kind, envelope, OWN, now_ms=clock.wall_ms())
            if not verdict.outcome.is_change:
                raise OperatorError(f"a record made here is {verdict.outcome}: {verdict.reason}")
    finally:
        directory.close()


def _score(key: FederationKey, number: int, at_ms: int) -> bytes:
    """What a node says of itself; no two are alike."""
    columns = {
        "attestation_id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{key.key_id}-{number}")),
        "attesting_key_id": key.key_id,
        "attested_key_id": key.key_id,
        "attestation_type": "scores",
        "weight": 1.0,
        "attestation_envelope": {"dimension": "identity:continuity:v1", "score": number / 1024},
    }
    return author(EnvelopeKind.ATTESTATION, columns, key, at_ms=at_ms)


def _until_all_hold(
    leaves: Sequence[LocalNode], expected: int, timeout_s: float
) -> tuple[float, ...]:
    """When each held everything, in seconds from now. Seen in their files: nobody is asked."""
    start_s = time.monotonic()
    done_s: dict[str, float] = {}
    while len(done_s) < len(leaves):
        elapsed_s = time.monotonic() - start_s
        for leaf in leaves:
            if leaf.name not in done_s and _held(leaf) >= expected:
                done_s[leaf.name] = max(elapsed_s, _POLL_S)  # at the first look: nobody saw when
        if elapsed_s > timeout_s:
            missing = {leaf.name: expected - _held(leaf) for leaf in leaves}
            late = [f"{name} lacks {n}" for name, n in missing.items() if n > 0]
            raise OperatorError(f"after {timeout_s:g} s {', '.join(late[:5])}")
        time.sleep(_POLL_S)
    return tuple(done_s.values())


def _held(node: LocalNode) -> int:
    uri = f"{node.home.database.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        found = connection.execute("SELECT count(*) FROM record WHERE shelf = 2").fetchone()
    return int(found[0])


def _count_rows(url: str) -> tuple[int, int]:
    from ciris_mesh.directory.pg_connect import connect

    with connect(url) as connection:
        found = connection.execute(
            "SELECT count(*), count(*) - count(DISTINCT (kind, envelope_id)) "
            "FROM ciris_mesh.record WHERE shelf = 2"
        ).fetchone()
    assert found is not None, "a count is always an answer"
    return int(found[0]), int(found[1])


def _cpu_s(node: LocalNode) -> float:
    """Processor time of a node's process, all threads."""
    assert node.process is not None, "it runs"
    fields = Path(f"/proc/{node.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _idle_s() -> float:
    """Time in which the cores of this machine had nothing to do, summed over them."""
    fields = Path("/proc/stat").read_text().split(maxsplit=6)
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def _peak_mb(node: LocalNode) -> float:
    """The most memory a node's process had."""
    assert node.process is not None, "it runs"
    for line in Path(f"/proc/{node.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OperatorError("this system does not say how much memory a process has")


def _rows(outcome: Outcome, registries: int, peers: int, records: int) -> list[Row]:
    who = "1 registry" if registries == 1 else f"{registries} registries"
    last_s = max(outcome.done_s)
    per_s = outcome.delivered / last_s
    return [
        row(f"{who}: all {peers} peers hold all, s", last_s, floor=1.0, limit=None),
        row(
            f"{who}: last peer beside the middle one, s",
            last_s,
            floor=max(median(outcome.done_s), _POLL_S),
            limit=STARVED,
        ),
        row(f"{who}: records delivered a second", per_s, floor=1.0, limit=None),
        row(f"{who}: memory, MB", outcome.peak_mb, floor=MEMORY_LIMIT_MB, limit=1.0),
        row(f"{who}: processor time, s", outcome.cpu_s, floor=last_s, limit=None),
        row(f"{who}: processor time of the peers, s", outcome.peers_s, floor=last_s, limit=None),
        row(
            f"{who}: ms of the busiest one a record",
            1000 * outcome.busiest_s / max(1, outcome.delivered),
            floor=1.0,
            limit=None,
        ),
        row(f"{who}: rows twice in the database", outcome.doubles, floor=1.0, limit=0.0),
    ]


def _gain(outcomes: Sequence[Outcome], registries: int, tell: Tell) -> list[Row]:
    """How much more was delivered a second, held to a limit where it can be; and what is possible.

    A registry can't bring more than its processor time allows, whoever has the cores now: so what
    the busiest one took for a record is shown beside what a single one takes.
    """
    one, more = outcomes
    one_per_s, more_per_s = (max(1, it.delivered) / max(it.done_s) for it in outcomes)
    one_ms, more_ms = (
        1000 * max(it.busiest_s, 1 / os.sysconf("SC_CLK_TCK")) / max(1, it.delivered)
        for it in outcomes
    )
    cores = len(os.sched_getaffinity(0))
    limit = 1 / GAIN if cores >= CORES_TO_GAIN else None
    if limit is None:
        tell(_why_no_limit(one, more, registries, cores))
        tell(
            f"for a record the busiest of {registries} took {more_ms / one_ms:.0%} of the "
            f"processor time that one alone takes: with cores of their own they can bring "
            f"{one_ms / more_ms:.1f} times as much"
        )
    return [
        row(
            f"records a second of 1 registry beside {registries}",
            one_per_s,
            floor=more_per_s,
            limit=limit,
        ),
        row(
            f"{registries} registries: ms of the busiest one a record beside 1",
            more_ms,
            floor=one_ms,
            limit=None,
        ),
    ]


def _why_no_limit(one: Outcome, more: Outcome, registries: int, cores: int) -> str:
    """What kept several registries from bringing more, by what was measured and no more."""
    shown = f"what {registries} registries gain is held to nothing below {CORES_TO_GAIN} cores: "
    idle = max(one.idle, more.idle)
    if idle > IDLE:
        return f"{shown}{cores} cores were idle for up to {idle:.0%} of the time"
    one_s, more_s = max(one.done_s), max(more.done_s)
    return (
        f"{shown}all {cores} were busy, with peers ({one.peers_s / one_s:.2f} cores beside one "
        f"registry, {more.peers_s / more_s:.2f} beside {registries}), registries "
        f"({one.cpu_s / one_s:.2f} and {more.cpu_s / more_s:.2f}), the database and whatever else "
        f"runs here"
    )
