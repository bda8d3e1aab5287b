"""`registries`, and what `status` says of registry nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.records.hybrid import FederationKey
from ciris_mesh.runtime.config import load_config
from ciris_mesh.runtime.httpsettings import registry_settings
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.registries import RegistryConfig, RegistrySettings
from ciris_mesh.runtime.registryreport import registry_health, registry_rows
from ciris_mesh.runtime.runtime import RuntimeConfig
from ciris_mesh.runtime.status import ReasonCount, RegistryStatus
from ciris_mesh.transport.loopback import LoopbackNetwork, LoopbackTransport
from ciris_mesh.ui.console import make_console
from ciris_mesh.ui.tables import registries_view
from support.cli import Shell, answering, shell
from support.edge_model import EdgeModel
from support.edge_port import ModelPort
from support.keys import alice, carol

ROW: dict[str, Any] = {
    "key_id": "registry-eu",
    "address": "ab" * 16,
    "state": "connected",
    "reason": "",
    "last_heard_s": 4.0,
    "basis": "row",
    "basis_by": "seen",
    "basis_changes": 0,
    "rounds": {"completed": 120},
    "bridged": [{"outcome": "admitted", "reason": "signature_missing", "count": 7}],
    "refused": [{"outcome": "refused", "reason": "location_too_precise", "count": 1}],
    "declined": 3,
}


@pytest.fixture
def sh(tmp_path: Path) -> Shell:
    return shell(tmp_path / "home")


def settings(key: FederationKey) -> RuntimeConfig:
    config = RegistryConfig(key.key_id, key.public.ed25519)
    return RuntimeConfig(registries=RegistrySettings((config,)))


def test_the_answer_here_has_the_members_of_the_real_one() -> None:
    assert set(ROW) == set(RegistryStatus.__dataclass_fields__)
    assert set(ROW["bridged"][0]) == set(ReasonCount.__dataclass_fields__)


def test_json_is_what_the_node_said(sh: Shell) -> None:
    with answering(sh.home, {"registries": lambda _: [ROW]}):
        assert sh.json("registries") == [ROW]


def test_the_screen_says_why_what_it_brought_is_only_bridged(sh: Shell) -> None:
    with answering(sh.home, {"registries": lambda _: [ROW]}):
        lines = sh.run("registries").output.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert any("registry-eu" in line and "connected" in line and "120" in line for line in lines)
    assert "registry-eu, bridged: 7 signature_missing" in lines
    assert "registry-eu, not taken: 1 location_too_precise" in lines
    assert "registry-eu, asked again for: 3 times a record it was given" in lines


def test_without_one_it_says_where_to_name_them(sh: Shell) -> None:
    with answering(sh.home, {"registries": lambda _: []}):
        assert "[trust] registries" in sh.run("registries").output


def test_a_node_reports_what_is_configured_whether_or_not_it_listens() -> None:
    transport = LoopbackTransport(LoopbackNetwork(), "alice")
    deaf = Node(alice(), transport, config=settings(carol()))
    (row,) = registry_rows(deaf.runtime)
    assert (row.key_id, row.state, row.reason) == (carol().key_id, "not heard", "edge_off")
    assert "edge = yes" in next(iter(registry_health([row])))
    port = ModelPort(carol(), EdgeModel())
    node = Node(alice(), transport, config=settings(carol()), edge=port)
    (row,) = registry_rows(node.runtime)
    assert (row.state, row.reason, row.basis, row.basis_by) == (
        "not heard", "not_heard", "row", "assumed",
    )  # fmt: skip
    make_console().print(registries_view([row]))


def test_a_basis_that_was_wrong_is_a_problem_to_put_right() -> None:
    row = RegistryStatus(
        "registry-eu", "ab" * 16, "connected", "", 1.0, "bytes", "seen", 1, {"completed": 1}
    )
    (problem,) = registry_health([row])
    assert "write bytes behind its key" in problem


# -- pinned by command -----------------------------------------------------------------------------

KEY = "11" * 32
PIN = ("peer", "add", "registry-eu", "--registry", KEY)


def configured(sh: Shell) -> dict[str, str]:
    """Key id -> key of the registries this node would be started with."""
    settings = registry_settings(load_config(sh.home.config), sh.home)
    return {each.key_id: each.ed25519.hex() for each in settings.peers}


def test_a_registry_is_pinned_and_removed_by_command(sh: Shell) -> None:
    result = sh.run(*PIN, "--ids", "row")
    assert result.stdout == "registry-eu\n"
    assert "edge = yes in [registry]" in result.stderr, "without it nothing would happen"
    assert configured(sh) == {"registry-eu": KEY}
    assert sh.json(*PIN) == {
        "key_id": "registry-eu", "ed25519": KEY, "basis": "", "bootstrap": False,
    }  # fmt: skip
    assert sh.json("peer", "remove", "registry-eu") == {"removed": "registry-eu"}
    assert configured(sh) == {}


def test_a_running_node_pins_and_removes_itself(sh: Shell) -> None:
    asked: list[dict[str, object]] = []

    def pinned(arguments: dict[str, object]) -> object:
        asked.append(arguments)
        return {**arguments, "ed25519": KEY}

    with answering(sh.home, {"registry_pin": pinned}):
        assert sh.run(*PIN, "--bootstrap").stdout == "registry-eu\n"
    assert asked == [{"key_id": "registry-eu", "ed25519": KEY, "basis": "", "bootstrap": True}]
    assert configured(sh) == {}, "the book is the node's to write while it runs"
    sh.ok(*PIN)
    with answering(sh.home, {"registry_unpin": lambda given: {"removed": given["key_id"]}}):
        assert sh.json("peer", "remove", "registry-eu") == {"removed": "registry-eu"}


def test_a_bootstrap_registry_is_removed_only_by_saying_so(sh: Shell) -> None:
    sh.ok(*PIN, "--bootstrap")
    assert "--even-bootstrap" in sh.error("peer", "remove", "registry-eu")
    assert configured(sh) == {"registry-eu": KEY}
    sh.ok("peer", "remove", "registry-eu", "--even-bootstrap")
    assert configured(sh) == {}


def test_another_key_for_a_pinned_registry_is_an_error(sh: Shell) -> None:
    sh.ok(*PIN)
    assert "with another key" in sh.error(*PIN[:-1], "22" * 32)
    assert configured(sh) == {"registry-eu": KEY}


@pytest.mark.parametrize(
    "wrong",
    [
        (*PIN[:-1], "11"),
        (*PIN[:-1], "zz" * 32),
        ("peer", "add", "a b", "--registry", KEY),
        (*PIN, "--alias", "eu"),
        (*PIN, "--kinds", "key"),
        (*PIN, "--direction", "send"),
        (*PIN, "--note", "x"),
        ("peer", "add", "ciris-mesh:1:x", "--ids", "row"),
    ],
)
def test_what_says_nothing_of_a_registry_is_wrong_usage(sh: Shell, wrong: tuple[str, ...]) -> None:
    assert sh.run(*wrong).exit_code == 2
    assert configured(sh) == {}


def test_peers_shows_registries_below_and_why_records_are_bridged(sh: Shell) -> None:
    with answering(sh.home, {"peers": lambda _: [], "registries": lambda _: [ROW]}):
        lines = sh.run("peers").output.splitlines()
        assert sh.json("peers") == []
    assert "registry-eu, bridged: 7 signature_missing" in lines
    with answering(sh.home, {"peers": lambda _: []}):  # an older node
        assert "registry" not in sh.ok("peers")
