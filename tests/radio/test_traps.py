"""Each trap is found where it is, and nothing where there is none."""

from __future__ import annotations

from typing import Any

import pytest
from configobj import ConfigObj
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.radio.traps import Finding, Level, check
from ciris_mesh.transport.rns_config import TYPES

RADIO = """
  [[Radio]]
    type = RNodeInterface
    enabled = Yes
    port = /dev/serial/by-id/usb-radio
    frequency = 869525000
    bandwidth = 125000
    spreadingfactor = 8
    codingrate = 5
    txpower = 14
    airtime_limit_long = 8
"""
TCP = """
  [[Hub]]
    type = TCPClientInterface
    enabled = Yes
    target_host = hub.example.org
    target_port = 4242
"""
MULTI = """
  [[Both]]
    type = RNodeMultiInterface
    enabled = Yes
    port = /dev/serial/by-id/usb-radio
    [[[Low]]]
      frequency = 868200000
      bandwidth = 125000
      spreadingfactor = 8
      codingrate = 5
      txpower = 14
"""


def look(*blocks: str, transport: bool = False, there: bool = True) -> tuple[Finding, ...]:
    text = f"[reticulum]\n enable_transport = {'Yes' if transport else 'No'}\n[interfaces]\n"
    return check(
        ConfigObj((text + "".join(blocks)).splitlines()),
        known_types=TYPES,
        port_exists=lambda _port: there,
    )


def names(found: tuple[Finding, ...]) -> list[str]:
    return [each.name for each in found]


def with_(block: str, *lines: str) -> str:
    """The block with lines added, or replaced where the setting is there."""
    kept = [
        line
        for line in block.splitlines()
        if line.split("=")[0].strip() not in [each.split("=")[0].strip() for each in lines]
    ]
    return "\n".join([*kept, *(f"    {line}" for line in lines)]) + "\n"


def test_nothing_is_found_in_good_configurations() -> None:
    assert look(RADIO) == look(TCP) == look() == ()
    bridge = (with_(RADIO, "mode = internal"), with_(TCP, "mode = boundary"))
    assert look(*bridge, transport=True) == ()


@pytest.mark.parametrize(
    ("block", "level", "name"),
    [
        (with_(RADIO, "interface_mode = gateway"), Level.ERROR, "interface_mode_crashes"),
        (with_(RADIO, "interface_mode = internal"), Level.ERROR, "interface_mode_crashes"),
        (with_(TCP, "interface_mode = gw"), Level.ERROR, "interface_mode_crashes"),
        (
            with_(TCP, "interface_mode = full", "mode = gateway"),
            Level.WARNING,
            "interface_mode_hides_mode",
        ),
        (with_(TCP, "mode = gatway"), Level.ERROR, "unknown_mode"),
        (with_(RADIO, "mode = access_point"), Level.WARNING, "own_announces_blocked"),
        (with_(RADIO, "mode = AP"), Level.WARNING, "own_announces_blocked"),
        (with_(RADIO, "discoverable = yes"), Level.WARNING, "discoverable_forces_access_point"),
        (with_(RADIO, "announce_cap = 10"), Level.WARNING, "announce_cap_raised"),
        (with_(TCP, "bitrate = 9600"), Level.ERROR, "bitrate_breaks_tcp"),
        (with_(RADIO, "bitrate = 9600"), Level.WARNING, "bitrate_on_radio"),
        (with_(TCP, "type = BackboneInterface"), Level.ADVICE, "backbone_stalls"),
        (with_(RADIO, "flow_control = True"), Level.ERROR, "flow_control_wedges"),
        (with_(RADIO, "airtime_limit_long = 0"), Level.WARNING, "no_airtime_limit"),
        (with_(RADIO, "airtime_limit_long = 100"), Level.WARNING, "no_airtime_limit"),
        (with_(RADIO, "airtime_limit_long = soon"), Level.WARNING, "no_airtime_limit"),
        (with_(RADIO, "airtime_limit_long = 11"), Level.ERROR, "airtime_limit_over_band"),
        (with_(RADIO, "airtime_limit_long = 9.9"), Level.ADVICE, "airtime_limit_without_room"),
        (
            with_(RADIO, "frequency = 868200000", "spreadingfactor = 12", "airtime_limit_long = 1"),
            Level.WARNING,
            "queue_over_band",
        ),
        (with_(RADIO, "frequency = 869300000"), Level.ERROR, "outside_band"),
        (
            with_(RADIO, "frequency = 914900000", "bandwidth = 250000"),
            Level.WARNING,
            "needs_500_khz",
        ),
        (
            with_(RADIO, "frequency = 914900000", "bandwidth = 500000", "spreadingfactor = 10"),
            Level.WARNING,
            "dwell_over_400_ms",
        ),
        (with_(RADIO, "spreadingfactor = 13"), Level.ERROR, "invalid_radio"),
        (with_(RADIO, "txpower = 40"), Level.ERROR, "invalid_radio"),
        (with_(RADIO, "frequency = 868.2"), Level.ERROR, "invalid_radio"),
        (with_(RADIO, "port = /dev/ttyUSB0"), Level.ADVICE, "port_not_by_id"),
        (with_(TCP, "type = TcpInterface"), Level.ERROR, "unknown_type"),
        (MULTI, Level.WARNING, "no_airtime_limit"),
    ],
)
def test_each_trap(block: str, level: Level, name: str) -> None:
    found = look(block)
    assert [(each.level, each.name) for each in found] == [(level, name)]
    assert "\n" not in found[0].text
    assert len(found[0].text) < 240


@pytest.mark.parametrize(
    ("tcp", "radio", "name"),
    [
        ("full", "roaming", "uncapped_announces"),
        ("full", "boundary", "uncapped_announces"),
        ("gateway", "roaming", "uncapped_announces"),
        ("full", "full", "bridge_modes"),
        ("full", "gateway", "bridge_modes"),
        ("boundary", "roaming", None),
        ("boundary", "full", None),
        ("full", "internal", None),
    ],
)
def test_a_radio_beside_the_internet(tcp: str, radio: str, name: str | None) -> None:
    blocks = (with_(RADIO, f"mode = {radio}"), with_(TCP, f"mode = {tcp}"))
    assert names(look(*blocks, transport=True)) == ([name] if name else [])
    assert look(*blocks) == ()  # a node that forwards nothing has no bridge


def test_two_radios_are_no_bridge() -> None:
    second = with_(RADIO, "mode = roaming", "port = /dev/serial/by-id/other")
    second = second.replace("[[Radio]]", "[[Second]]")
    assert look(RADIO, second, transport=True) == ()


def test_what_is_switched_off_is_left_out() -> None:
    assert look(with_(RADIO, "enabled = No", "flow_control = yes")) == ()
    on = with_(RADIO, "enabled = No", "interface_enabled = true", "flow_control = yes")
    assert names(look(on)) == ["flow_control_wedges"]


def test_small_packets_on_tcp_are_no_trap() -> None:
    assert look(with_(TCP, "bitrate = 9600", "fixed_mtu = 500")) == ()
    assert look(with_(TCP, "bitrate = 62500")) == ()


@pytest.mark.parametrize(
    ("line", "is_warned"),
    [("", True), ("fast_flapping_grace = 100", False), ("block_fast_flapping = no", False)],
)
def test_who_listens_for_backbone_locks_out_who_comes_back(line: str, is_warned: bool) -> None:
    found = look(f"  [[All]]\n    type = BackboneInterface\n    enabled = yes\n    {line}\n")
    assert ("locks_out_who_comes_back" in names(found)) is is_warned


def test_a_port_that_is_not_there() -> None:
    assert names(look(RADIO, there=False)) == ["port_not_there"]
    (found,) = look(with_(RADIO, "port = /dev/serial/by-id/CHANGE-ME"), there=False)
    assert (found.name, "ls -l /dev/serial/by-id/" in found.text) == ("port_not_there", True)
    assert look(with_(RADIO, "port = tcp://10.0.0.7"), there=False) == ()
    assert look(TCP, there=False) == ()


def test_a_port_has_one_interface() -> None:
    second = RADIO.replace("[[Radio]]", "[[Second]]")
    (found,) = look(RADIO, second)
    assert (found.level, found.interface, found.name) == (Level.ERROR, "Second", "port_used_twice")
    assert "Radio's too" in found.text
    assert look(RADIO, with_(second, "port = /dev/serial/by-id/other")) == ()
    assert look(TCP, TCP.replace("[[Hub]]", "[[Other]]")) == ()


@pytest.mark.parametrize("sf", range(5, 13))
def test_a_limit_of_nothing_is_never_advised(sf: int) -> None:
    """0 means to Reticulum that there is none."""
    slow = with_(
        RADIO, "frequency = 868200000", f"spreadingfactor = {sf}", "airtime_limit_long = 0"
    )
    (found,) = look(slow)
    assert not found.text.endswith("= 0")


def test_the_limit_advised_is_one_that_keeps_the_law() -> None:
    (found,) = look(with_(RADIO, "airtime_limit_long = 0"))
    advised = found.text.rpartition("= ")[2]
    assert 8 <= float(advised) < 8.3
    assert look(with_(RADIO, f"airtime_limit_long = {advised}")) == ()


def test_several_at_once_come_in_the_order_of_the_interfaces() -> None:
    found = look(
        with_(TCP, "bitrate = 9600", "mode = x"), with_(RADIO, "mode = roaming"), transport=True
    )
    assert [(each.interface, each.name) for each in found] == [
        ("Hub", "unknown_mode"),
        ("Hub", "bitrate_breaks_tcp"),
        ("Radio", "uncapped_announces"),
    ]


values = st.one_of(st.text(max_size=12), st.integers().map(str), st.just("yes"))
keys = st.sampled_from(
    ["type", "enabled", "mode", "interface_mode", "bitrate", "frequency", "bandwidth", "txpower",
     "spreadingfactor", "codingrate", "airtime_limit_long", "port", "announce_cap", "x"]
)  # fmt: skip


@given(st.dictionaries(st.text(max_size=5), st.dictionaries(keys, values)))
def test_any_configuration_is_looked_through(sections: dict[str, Any]) -> None:
    for section in sections.values():
        section.update({"type": "RNodeInterface", "enabled": "yes"})
    config = {"interfaces": sections, "reticulum": {"enable_transport": "yes"}}
    for each in check(config, known_types=TYPES, port_exists=lambda _: True):
        assert len(each.text) < 300


@pytest.mark.parametrize("config", [{}, {"interfaces": "none"}, {"interfaces": {"x": "y"}}])
def test_strange_configurations_have_no_interfaces(config: dict[str, Any]) -> None:
    assert check(config, known_types=TYPES, port_exists=lambda _: True) == ()
