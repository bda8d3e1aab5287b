"""What setup would write: for every role and region, and into what is there already."""

from __future__ import annotations

from pathlib import Path

import pytest
from configobj import ConfigObj

from ciris_mesh.errors import ConfigError
from ciris_mesh.radio.traps import Level
from ciris_mesh.radio.traps import check as find_traps
from ciris_mesh.runtime.config import example_config, parse_config
from ciris_mesh.runtime.setup_plan import (
    REGIONS,
    ROLES,
    Answers,
    host_and_port,
    interface_blocks,
    own_settings,
    region_of,
    reticulum_text,
    role_of,
    with_interfaces,
    with_settings,
)
from ciris_mesh.transport.rns_config import TYPES

PORT = "/dev/serial/by-id/usb-rnode"
FIELD = Answers(role_of("field"), region_of("us915"), PORT)
GATEWAY = Answers(role_of("gateway"), region_of("eu868-m"), PORT, hub="hub.example.org:4965")


def parsed(text: str) -> ConfigObj:
    return ConfigObj(text.splitlines())


@pytest.mark.parametrize("role", ROLES, ids=[each.name for each in ROLES])
@pytest.mark.parametrize("region", REGIONS, ids=[each.name for each in REGIONS])
def test_what_is_written_has_no_trap(role: object, region: object) -> None:
    from ciris_mesh.runtime.setup_plan import Region, Role

    assert isinstance(role, Role)
    assert isinstance(region, Region)
    answers = Answers(
        role,
        region if role.radio else None,
        PORT if role.radio else "",
        hub="[fd00::1]:4242" if role.hub else "",
        listen="0.0.0.0:4300" if role.listens else "",
    )
    text = reticulum_text(answers)
    assert "CHANGE-ME" not in text
    assert "example.org" not in text
    found = find_traps(parsed(text), known_types=TYPES, port_exists=lambda _: True)
    assert [each for each in found if each.level is not Level.ADVICE] == []
    settings = own_settings(answers)
    config = parse_config(example_config(settings).encode())
    assert config.warnings == ()
    if role.radio:
        assert str(config.radio.duty) == region.duty


def test_the_gateway_has_the_regions_radio_and_the_modes_that_matter() -> None:
    interfaces = parsed(reticulum_text(GATEWAY))["interfaces"]
    assert interfaces["RNode"]["frequency"] == "868300000" or interfaces["RNode"]["frequency"]
    assert (interfaces["RNode"]["mode"], interfaces["Hub"]["mode"]) == ("internal", "boundary")
    assert (interfaces["Hub"]["target_host"], interfaces["Hub"]["target_port"]) == (
        "hub.example.org",
        "4965",
    )
    assert interfaces["RNode"]["port"] == PORT
    assert "port" not in interfaces["Hub"]


def test_a_region_sets_the_radio_whole() -> None:
    ours = parsed(reticulum_text(FIELD))["interfaces"]["RNode"]
    assert (ours["frequency"], ours["bandwidth"], ours["airtime_limit_long"]) == (
        "914900000",
        "500000",
        "25",
    )


THEIRS = """# my own notes
[reticulum]
  enable_transport = No
  share_instance = Yes

[interfaces]
  # the lab
  [[Lab]]
    type = AutoInterface
    enabled = Yes

[logging]
  loglevel = 4
"""


def test_interfaces_are_added_and_all_else_stays() -> None:
    text = with_interfaces(THEIRS, reticulum_text(GATEWAY))
    found = parsed(text)
    assert list(found["interfaces"]) == ["Lab", "RNode", "Hub"]
    assert found["logging"]["loglevel"] == "4"
    assert found["reticulum"]["enable_transport"] == "Yes"
    for line in THEIRS.splitlines():
        assert line in text or "enable_transport" in line


def test_a_second_time_nothing_changes() -> None:
    once = with_interfaces(THEIRS, reticulum_text(GATEWAY))
    assert with_interfaces(once, reticulum_text(GATEWAY)) == once


def test_another_interface_of_that_name_is_not_touched() -> None:
    once = with_interfaces(THEIRS, reticulum_text(FIELD))
    with pytest.raises(ConfigError, match="an interface RNode already"):
        with_interfaces(once, reticulum_text(GATEWAY))


@pytest.mark.parametrize("before", ["", "\n", "[reticulum]\n", "[interfaces]"])
def test_a_configuration_without_interfaces_gets_them(before: str) -> None:
    text = with_interfaces(before, reticulum_text(FIELD))
    assert list(parsed(text)["interfaces"]) == ["RNode"]


def test_options_are_set_where_they_stand_and_comments_stay() -> None:
    before = "# hello\n[node]\n# of the node\nname = a\n  log_level = 4\n\n[radio]\nduty = 1%\n"
    after = with_settings(
        before,
        {("node", "log_level"): "2", ("node", "clock"): "system", ("trust", "pinned"): "x"},
    )
    found = parsed(after)
    assert dict(found["node"]) == {"clock": "system", "name": "a", "log_level": "2"}
    assert (found["radio"]["duty"], found["trust"]["pinned"]) == ("1%", "x")
    assert "# of the node\n" in after
    assert "# hello\n" in after
    assert with_settings(after, {("node", "log_level"): "2"}) == after


@pytest.mark.parametrize("text", ["", "host", ":4242", "host:", "host:0", "host:65536", "a b:1"])
def test_an_address_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError):
        host_and_port(text)


def test_blocks_are_found_by_name(tmp_path: Path) -> None:
    blocks = interface_blocks(THEIRS)
    assert list(blocks) == ["Lab"]
    assert blocks["Lab"].startswith("  [[Lab]]\n    type = AutoInterface")
