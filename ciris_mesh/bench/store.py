"""A store of a million rows beside one of ten thousand: does the size of it cost anything?"""

from __future__ import annotations

import multiprocessing
import resource
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from ciris_mesh.bench.filler import SIGNER, filled_store
from ciris_mesh.bench.insync import RoundCost, in_sync_cost
from ciris_mesh.bench.pool import all_cores
from ciris_mesh.bench.records import Plan, Record, made_records
from ciris_mesh.bench.report import Report, median, row
from ciris_mesh.directory.base import Source
from ciris_mesh.directory.bridge import FederationDirectoryReplicationBridge
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.errors import OperatorError
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.runtime.clock import SystemClock

ROWS: Final = 1_000_000
SMALL_ROWS: Final = 10_000

#: CPU a side may spend on a comparison of 13 kinds: at one a minute, 0.1 per mille of a Pi.
ROUND_CPU_MS: Final = 5.0
#: An index of a million rows is one level deeper than one of ten thousand.
GROWTH_MAX: Final = 1.5
#: A node on a Pi with 512 MB of memory.
RSS_MB: Final = 150.0

#: Times that comparing is measured, the two stores in turn.
_GOES: Final = 3
#: Records admitted one by one to each store.
_ADMITTED: Final = 200
_IMPORT: Final = Source("import")
_Out = TypeVar("_Out")


def run(root: Path, *, records: int, seed: int, tell: Callable[[str], None]) -> Report:
    """Measure.

    Args:
        root: an empty directory; needs about 500 bytes for each record, twice.
        records: rows of the large store; the small one has a hundredth, or ten thousand.
        tell: gets a line about what is being done.

    Raises:
        OperatorError: something did not work that must work before it can be measured.
    """
    few = min(SMALL_ROWS, records)
    small, large = root / "small.db", root / "large.db"
    for path, rows in ((small, few), (large, records)):
        tell(f"filling a store with {rows} rows")
        _apart(filled_store, path, rows, seed)
    rss_mb = _apart(_rss_mb, large)
    tell("comparing two nodes that hold the same")
    costs = _in_turn([(path, _copy(path)) for path in (small, large)])
    tell(f"admitting {_ADMITTED} records to each")
    with all_cores() as pool:
        made = list(made_records(pool, Plan(_ADMITTED, seed)))
    small_ms, large_ms = _apart(_admit_ms, small, large, made)
    here, there = f"{few:,} rows", f"{records:,} rows"
    sql, cpu = "SQL statements of a round in sync", "CPU of a round in sync, ms a side"
    return Report(
        "store",
        (
            row(f"{sql}, {here}", costs[0].statements, floor=1, limit=0),
            row(f"{cpu}, {here}", costs[0].cpu_ms, floor=ROUND_CPU_MS, limit=1),
            row(f"{sql}, {there}", costs[1].statements, floor=1, limit=0),
            row(f"{cpu}, {there}", costs[1].cpu_ms, floor=costs[0].cpu_ms, limit=GROWTH_MAX),
            row(f"admit, ms, {there}", large_ms, floor=small_ms, limit=GROWTH_MAX),
            row(f"memory, MB, {there}", rss_mb, floor=RSS_MB, limit=1),
        ),
    )


def _in_turn(pairs: Sequence[tuple[Path, Path]]) -> list[RoundCost]:
    """The cheapest of several goes for each: what else the machine does can only add to one."""
    goes = [[_apart(in_sync_cost, *pair) for pair in pairs] for _ in range(_GOES)]
    return [
        RoundCost(min(each.cpu_ms for each in of_one), max(each.statements for each in of_one))
        for of_one in zip(*goes, strict=True)
    ]


def _apart(function: Callable[..., _Out], *arguments: Any) -> _Out:
    """Call in a process of its own, so that neither memory nor threads are shared."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def _copy(path: Path) -> Path:
    """The other node's store. What is closed is complete in its one file."""
    copy = path.with_suffix(".copy.db")
    shutil.copyfile(path, copy)
    return copy


def _rss_mb(path: Path) -> float:
    """Peak memory of a process that opened the store and told its view of every kind."""
    directory = SqliteDirectory(path)
    bridge = FederationDirectoryReplicationBridge(directory, lambda: frozenset({SIGNER}))
    for kind in EnvelopeKind:
        bridge.view_digest("peer", kind)
    directory.close()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def _admit_ms(small: Path, large: Path, made: Sequence[Record]) -> tuple[float, float]:
    """Median milliseconds of an admit, in turn here and there: what disturbs, disturbs both."""
    now_ms = SystemClock().wall_ms()
    stores = SqliteDirectory(small), SqliteDirectory(large)
    times: tuple[list[float], list[float]] = [], []
    try:
        for kind, envelope in made:
            for store, spent in zip(stores, times, strict=True):
                start_s = time.perf_counter()
                verdict = store.admit(kind, envelope, _IMPORT, now_ms=now_ms)
                spent.append((time.perf_counter() - start_s) * 1000)
                if verdict.outcome is not Outcome.ADMITTED:
                    raise OperatorError(f"a record made here is {verdict.outcome} here")
    finally:
        for store in stores:
            store.close()
    return median(times[0]), median(times[1])
