"""`bench registry`: real processes around a real database, and what its rows say of a run."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from ciris_mesh.bench import registry
from ciris_mesh.bench.cluster import Cluster, NoServer, server_programs
from ciris_mesh.bench.registry import CORES_TO_GAIN, GAIN, STARVED, Outcome
from ciris_mesh.cli import bench
from ciris_mesh.cli.commands import cli
from support.postgres import cluster

FAIR = Outcome(
    done_s=(8.0, 9.0, 10.0),
    delivered=200,
    idle=0.1,
    peak_mb=120.0,
    cpu_s=4.0,
    busiest_s=4.0,
    peers_s=9.0,
    rows=121,
    doubles=0,
)


def rows_of(outcome: Outcome) -> dict[str, bool]:
    rows = registry._rows(outcome, 1, peers=3, records=40)
    return {row.quantity.partition(": ")[2]: row.ok for row in rows}


def test_a_fair_run_is_within_its_limits() -> None:
    assert all(rows_of(FAIR).values())


@pytest.mark.parametrize(
    ("outcome", "over"),
    [
        (replace(FAIR, done_s=(1.0, 1.0, STARVED + 0.1)), "last peer beside the middle"),
        (replace(FAIR, peak_mb=400.1), "memory, MB"),
        (replace(FAIR, rows=122, doubles=1), "rows twice in the database"),
    ],
)
def test_what_is_not_as_it_must_be_is_over(outcome: Outcome, over: str) -> None:
    assert next(name for name, ok in rows_of(outcome).items() if not ok).startswith(over)


@pytest.mark.parametrize("cores", [CORES_TO_GAIN, CORES_TO_GAIN - 1])
def test_the_gain_is_held_to_a_limit_where_there_are_cores(
    cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: range(cores))
    said: list[str] = []
    slow, fast = FAIR, replace(FAIR, done_s=(6.0, 6.5, 9.9 / GAIN), busiest_s=2.5)
    gained, busiest = registry._gain([slow, fast], 2, said.append)
    assert (gained.ok, gained.measured, busiest.measured, busiest.floor) == (
        True, 20.0, 12.5, 20.0,
    )  # fmt: skip
    halved = replace(FAIR, done_s=(6.0, 6.5, 5.0), delivered=100)
    assert registry._gain([slow, halved], 2, said.append)[0].ok is (cores < CORES_TO_GAIN)
    assert bool(said) is (cores < CORES_TO_GAIN), "and why it is not, is said"


def test_who_has_everything_at_the_first_look_is_no_division_by_nothing() -> None:
    """A bench that stood still while its nodes did not."""
    late = replace(FAIR, done_s=(registry._POLL_S,) * 3, delivered=0, busiest_s=0.0)
    gained, busiest = registry._gain([late, late], 2, lambda _: None)
    assert (gained.ratio, busiest.ratio) == (1.0, 1.0)
    assert all(rows_of(late).values())


def test_why_two_gain_nothing_is_said_by_what_was_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: range(2))
    said: list[str] = []
    registry._gain([FAIR, replace(FAIR, busiest_s=2.0)], 2, said.append)
    assert "all 2 were busy, with peers (0.90 cores beside one registry" in said[0]
    assert "2.0 times as much" in said[1]
    registry._gain([FAIR, replace(FAIR, idle=0.5)], 2, said.append)
    assert said[2].endswith("2 cores were idle for up to 50% of the time")


def test_the_defaults_of_the_command_are_those_of_the_bench() -> None:
    assert (bench.REGISTRY_PEERS, bench.REGISTRY_RECORDS) == (
        registry.PEERS,
        registry.RECORDS_EACH,
    )


def test_without_a_server_a_person_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("ciris_mesh.bench.cluster._DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoServer, match="apt-get install postgresql"):
        server_programs()


def test_a_cluster_leaves_nothing_behind() -> None:
    cluster()  # skips where there is none
    with Cluster() as made:
        folder = made.folder
        assert made.create() != made.create()
    assert not folder.exists()


@pytest.mark.slow
@pytest.mark.rns
def test_peers_of_two_registries_all_get_everything() -> None:
    cluster()  # skips where there is none
    arguments = ["bench", "registry", "--peers", "4", "--records", "5", "--registries", "2"]
    result = CliRunner().invoke(cli, [*arguments, "--json"])
    report = json.loads(result.stdout)
    rows = {row["quantity"]: row for row in report["rows"]}
    assert rows["2 registries: rows twice in the database"]["measured"] == 0
    assert rows["2 registries: all 4 peers hold all, s"]["measured"] > 0
    assert rows["1 registry: memory, MB"]["ok"]
    assert "records a second of 1 registry beside 2" in rows
