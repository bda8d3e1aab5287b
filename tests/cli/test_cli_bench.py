"""`bench`: a bundle of any size, tables and JSON, and an exit code that tells."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ciris_mesh.bench import budget, radio, reconcile, store, tcp, transcode
from ciris_mesh.bench.report import Report, row
from ciris_mesh.cli import bench
from ciris_mesh.cli.commands import cli
from support.cli import shell


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["bench", *arguments])


def report(*, ratio: float) -> Report:
    return Report(
        "store", (row("rows", 2 * ratio, floor=2, limit=1.5), row("x", 0, floor=1, limit=0))
    )


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[[Report], list[tuple[Path, int, int]]]:
    """Let both benches give a report without measuring; returns what they were asked."""

    def give(result: Report) -> list[tuple[Path, int, int]]:
        asked: list[tuple[Path, int, int]] = []

        def measure(
            root: Path, *, records: int, seed: int, tell: Callable[[str], None], **others: str
        ) -> Report:
            assert root.is_dir()
            tell("measuring" + "".join(f" in {value}" for value in others.values()))
            asked.append((root, records, seed))
            return result

        monkeypatch.setattr(store, "run", measure)
        monkeypatch.setattr(tcp, "run", measure)
        return asked

    return give


Measured = Callable[[Report], list[tuple[Path, int, int]]]


def test_records_are_imported_as_any_bundle(tmp_path: Path) -> None:
    out = tmp_path / "r"
    made = run("records", "60", "--seed", "4", "--out", str(out))
    assert made.exit_code == 0, made.output
    assert made.stdout == ""
    assert made.stderr == f"60 records written to {out}.\n"
    answer = shell(tmp_path / "home").json("import", str(out))
    assert answer["outcomes"] == [{"outcome": "admitted", "reason": "", "count": 60}]
    again = run("records", "60", "--out", str(out))
    assert again.exit_code == 1
    assert "--force" in again.stderr


@pytest.mark.parametrize("name", ["tcp", "store"])
def test_a_bench_within_its_limits_ends_well(name: str, measured: Measured) -> None:
    asked = measured(report(ratio=1.25))
    result = run(name, "--records", "77", "--seed", "5", "--json")
    assert result.exit_code == 0
    assert result.stderr == ("measuring in 0x01\n" if name == "tcp" else "measuring\n")
    assert result.stdout.count("\n") == 1
    assert json.loads(result.stdout) == report(ratio=1.25).fields()
    ((root, records, seed),) = asked
    assert (records, seed) == (77, 5)
    assert not root.exists(), "what it used is removed"


@pytest.mark.parametrize("name", ["tcp", "store"])
def test_one_row_over_its_limit_is_exit_code_1(name: str, measured: Measured) -> None:
    measured(report(ratio=1.75))
    result = run(name)
    assert result.exit_code == 1
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["bench", "store", "measured", "floor", "ratio", "limit"]
    assert lines[1] == ["rows", "3.5", "2", "1.75", "1.5", "over"]
    assert lines[2] == ["x", "0", "1", "0", "0", "ok"]


def test_transcode_needs_no_files_and_shows_what_has_no_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[int, int]] = []

    def measure(*, records: int, seed: int, tell: Callable[[str], None]) -> Report:
        asked.append((records, seed))
        rows = (row("bytes", 101, floor=100, limit=1.02), row("ms", 3, floor=2, limit=None))
        return Report("transcode", rows)

    monkeypatch.setattr(transcode, "run", measure)
    result = run("transcode", "--records", "9", "--seed", "2")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[1:] == [["bytes", "101", "100", "1.01", "1.02", "ok"], ["ms", "3", "2", "1.5"]]
    assert json.loads(run("transcode", "--json").stdout)["rows"][1]["limit"] is None
    assert asked == [(9, 2), (transcode.RECORDS, 1)]


@pytest.mark.parametrize("frame", ["0x01", "0x81"])
def test_tcp_measures_the_frame_it_is_asked_for(frame: str, measured: Measured) -> None:
    measured(report(ratio=1))
    assert run("tcp", "--frame", frame).stderr == f"measuring in {frame}\n"
    assert list(tcp.LIMITS) == ["0x01", "0x81"]


def test_defaults_are_what_the_benches_say(measured: Measured) -> None:
    assert bench.TCP_RECORDS == tcp.RECORDS
    assert bench.STORE_ROWS == store.ROWS
    assert bench.TRANSCODE_RECORDS == transcode.RECORDS
    assert bench.RECONCILE_SEEDS == reconcile.SEEDS
    assert bench.RECONCILE_RECORDS == reconcile.RECORDS
    asked = measured(report(ratio=1))
    run("tcp")
    run("store")
    assert [records for _, records, _ in asked] == [tcp.RECORDS, store.ROWS]


def test_the_budget_is_simulated_as_long_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def simulate(*, hours: int, seed: int, tell: Callable[[str], None]) -> Report:
        tell("hour 1")
        asked.append((hours, seed))
        return report(ratio=1.25 if hours < 24 else 1.75)

    monkeypatch.setattr(budget, "run", simulate)
    result = run("budget", "--hours", "3", "--seed", "9", "--json")
    assert (result.exit_code, result.stderr) == (0, "hour 1\n")
    assert json.loads(result.stdout) == report(ratio=1.25).fields()
    assert run("budget").exit_code == 1
    assert asked == [(3, 9), (24, 1)]
    assert bench.BUDGET_HOURS == budget.HOURS
    assert run("budget", "--hours", "0").exit_code == 2


def test_reconcile_measures_as_told_and_talks_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, int]] = []

    def measure(*, seeds: int, seed: int, records: int, tell: Callable[[str], None]) -> Report:
        tell("measuring")
        asked.append((seeds, seed, records))
        return report(ratio=1.25)

    monkeypatch.setattr(reconcile, "run", measure)
    result = run("reconcile", "--seeds", "3", "--seed", "9", "--records", "5000", "--json")
    assert result.exit_code == 0
    assert result.stderr == "measuring\n"
    assert json.loads(result.stdout) == report(ratio=1.25).fields()
    assert run("reconcile").exit_code == 0
    assert asked == [(3, 9, 5_000), (reconcile.SEEDS, 1, reconcile.RECORDS)]
    monkeypatch.setattr(reconcile, "run", lambda **_: report(ratio=1.75))
    assert run("reconcile", "--json").exit_code == 1


def test_a_number_is_needed() -> None:
    for arguments in (
        ("records",),
        ("records", "0", "--out", "x"),
        ("tcp", "--records", "0"),
        ("reconcile", "--seeds", "0"),
    ):
        assert run(*arguments).exit_code == 2


def test_radio_measures_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, int, float]] = []

    def measure(
        _root: Path, *, records: int, seed: int, sf: int, speed: float, tell: Callable[[str], None]
    ) -> Report:
        asked.append((records, seed, sf, speed))
        tell("no loss")
        return report(ratio=1.25)

    monkeypatch.setattr(radio, "run", measure)
    result = run("radio", "--records", "2", "--sf", "7", "--speed", "16", "--json")
    assert (result.exit_code, result.stderr) == (0, "no loss\n")
    assert json.loads(result.stdout) == report(ratio=1.25).fields()
    assert run("radio").exit_code == 0
    assert run("radio", "--quick").exit_code == 0
    assert asked == [(2, 1, 7, 16.0), (10, 1, 8, 1.0), (3, 1, 7, 1.0)]
    assert (bench.RADIO_RECORDS, bench.RADIO_SF) == (radio.RECORDS, radio.SF)
    assert run("radio", "--sf", "5").exit_code == 2
