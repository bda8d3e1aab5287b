"""The simulated federation: laid out as asked, the same for the same seed, and within the law."""

from __future__ import annotations

import io
import json
import random

import pytest
from click.testing import CliRunner

from ciris_mesh.cli.commands import cli
from ciris_mesh.cli.sim import SHAPES
from ciris_mesh.errors import OperatorError
from ciris_mesh.protocol.account import Source
from ciris_mesh.protocol.duty import FREE, Rule
from ciris_mesh.protocol.ledger import Ledger, Reservation
from ciris_mesh.sim.federation import Federation, SimPlan
from ciris_mesh.sim.layout import Layout, Role, federation
from ciris_mesh.sim.report import SimReport
from ciris_mesh.sim.sizes import comparison_bytes, exchange_bytes, taken_bytes
from ciris_mesh.ui.console import make_console
from ciris_mesh.ui.sim import report_view

DUTY = Rule(0.01)


def laid_out(nodes: int = 30, *, cells: int = 2, registries: int = 2, seed: int = 1) -> Layout:
    chance = random.Random(seed)
    return federation(nodes, cells=cells, cell_nodes=5, registries=registries, chance=chance)


def simulated(
    layout: Layout | None = None,
    *,
    records: int = 3,
    rule: Rule = DUTY,
    hours: int = 200,
    seed: int = 1,
) -> tuple[SimReport, Federation, list[str]]:
    said: list[str] = []
    plan = SimPlan(records, rule, 0.02, hours)
    made = Federation(layout or laid_out(), plan, seed, said.append)
    return made.run(), made, said


# --- who is there ---------------------------------------------------------------------------------


def test_everybody_is_there_and_reached_as_the_picture_has_it() -> None:
    layout = laid_out()
    counts = {role: layout.roles.count(role) for role in Role}
    assert counts == {Role.REGISTRY: 2, Role.GATEWAY: 2, Role.FIELD: 10, Role.LEAF: 16}
    for node, role in enumerate(layout.roles):
        assert bool(layout.tcp[node]) is role.has_tcp
        assert bool(layout.air[node]) is role.has_radio
        assert (layout.cells[node] >= 0) is role.has_radio
        for links in (layout.tcp, layout.air):
            assert all(node in links[other] for other in links[node]), "both ways"
        assert all(layout.cells[other] == layout.cells[node] for other in layout.air[node])
    assert layout.name(0) == "registry-1"
    assert layout.name(2) == "gateway-1"


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(OperatorError, match="are 14 nodes; allow for more nodes"):
        laid_out(13)


@pytest.mark.parametrize("registries", [1, 2])
def test_one_cell_alone_is_a_federation(registries: int) -> None:
    report, _, _ = simulated(laid_out(6 + registries, cells=1, registries=registries))
    assert report.converged


# --- sizes ----------------------------------------------------------------------------------------


def test_sizes_are_those_of_real_messages() -> None:
    """Ten differences of ten thousand records are 133 bytes at worst by the notes."""
    assert 300 < comparison_bytes() < 900
    assert exchange_bytes(5, 5) < exchange_bytes(40, 40) < exchange_bytes(200, 200)
    assert 133 <= exchange_bytes(5, 5) < 133 + 2 * 200
    assert taken_bytes() < 200
    with pytest.raises(AssertionError, match="several rounds"):
        exchange_bytes(400, 200)


# --- what comes of it -----------------------------------------------------------------------------


def test_all_get_all_and_the_hour_of_no_radio_is_exceeded() -> None:
    report, made, said = simulated()
    assert report.converged
    assert all(made.holds(node) == {0, 1, 2} for node in range(30))
    assert 0 < report.worst_hour_s <= 36
    assert report.converged_tcp_s is not None
    assert report.converged_cells_s is not None
    assert report.converged_tcp_s < report.converged_cells_s == report.converged_s
    tcp, radio = report.links
    assert (tcp.name, radio.name) == ("tcp", "radio")
    assert 3 * 10 * 3_400 < radio.size_bytes < 3 * 10 * 5_390 * 3, "once each, and not thrice"
    assert report.busiest.role == "registry"
    assert said == []


def test_everything_follows_from_the_seed() -> None:
    assert simulated()[0] == simulated()[0]
    assert simulated(seed=2)[0] != simulated()[0]


def test_without_air_it_is_said_that_they_did_not_converge() -> None:
    report, made, said = simulated(records=40, hours=7)
    assert not report.converged
    assert said[0].startswith("hour 6: ")
    assert report.converged_s is None
    lacking = sum(made.holds(node) != set(range(40)) for node in range(30))
    assert report.without_all == lacking > 0


def test_without_a_limit_a_cell_is_as_fast_as_its_channel() -> None:
    report, _, _ = simulated(rule=FREE)
    assert report.converged_s is not None
    assert report.converged_s < 3_600
    assert report.limit_s is None


def test_a_ledger_that_gives_too_much_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter(range(1, 1_000_000))

    def generous(_: Ledger, interface: str, airtime_s: float, *__: float, **___: float) -> object:
        return Reservation(next(numbers), interface, airtime_s)

    def commit(ledger: Ledger, paid: Reservation, now_s: float, **more: float | None) -> None:
        airtime_s = more.get("airtime_s") or paid.airtime_s
        ledger.charge(paid.interface, airtime_s, now_s, Source.OWN)

    monkeypatch.setattr(Ledger, "free_s", lambda *_, **__: 1_000.0)
    monkeypatch.setattr(Ledger, "reserve", generous)
    monkeypatch.setattr(Ledger, "commit", commit)
    report, _, _ = simulated(records=8)
    assert report.worst_hour_s > 36


# --- the command ----------------------------------------------------------------------------------


def test_the_defaults_are_those_of_the_requirement() -> None:
    assert SHAPES["federation"] == (1_000, 20, 5)


def test_the_command_prints_time_bytes_and_the_busiest_node() -> None:
    options = ["sim", "--topology", "cell", "--records", "2"]
    result = CliRunner().invoke(cli, options)
    assert result.exit_code == 0, result.output
    assert "converged: 12 nodes, 2 records" in result.stdout
    assert "busiest node" in result.stdout
    assert "hour 6" in result.stderr or "hour" not in result.stderr
    answer = json.loads(CliRunner().invoke(cli, [*options, "--json"]).stdout)
    assert (answer["nodes"], answer["converged"]) == (12, True)
    assert [link["name"] for link in answer["links"]] == ["tcp", "radio"]


def test_not_converged_is_exit_code_1_and_nonsense_2() -> None:
    options = ["sim", "--topology", "cell", "--hours", "1", "--json"]
    result = CliRunner().invoke(cli, options)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["converged"] is False
    assert CliRunner().invoke(cli, ["sim", "--duty", "much"]).exit_code == 2
    assert CliRunner().invoke(cli, ["sim", "--nodes", "3"]).exit_code == 1


def test_a_report_fits_80_columns() -> None:
    report, _, _ = simulated(hours=1)
    out = io.StringIO()
    make_console(out).print(report_view(report))
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("NOT converged: ")
    assert "never" in out.getvalue()
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.slow
def test_a_thousand_nodes_twenty_cells_and_five_registries() -> None:
    result = CliRunner().invoke(cli, ["sim", "--topology", "--json"])
    answer = json.loads(result.stdout)
    assert (answer["nodes"], answer["converged"]) == (1_000, True)
    assert answer["worst_hour_s"] <= 36
