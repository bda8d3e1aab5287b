"""Media by interface, as Reticulum prints them and as it names their classes."""

from __future__ import annotations

import pytest

from ciris_mesh.transport.medium import link_class, medium_of, mode_name


@pytest.mark.parametrize(
    ("name", "bitrate", "medium"),
    [
        ("TCPClientInterface", 10_000_000, "tcp"),
        ("TCPInterface[hub/192.0.2.1:4242]", None, "tcp"),
        ("BackboneClientInterface", 1_000_000_000, "tcp"),
        ("AutoInterfacePeer", 10_000_000, "tcp"),
        ("RNodeInterface[radio]", None, "radio"),
        ("RNodeSubInterface", 5_468, "radio"),
        ("VirtualRNodeInterface", 980, "radio"),
        ("KISSInterface", 1_200, "radio"),
        ("SerialInterface", 115_200, "serial"),
        ("LocalClientInterface", 1_000_000_000, "unknown"),
        ("Shared Instance[rns/default]", None, "unknown"),
        ("PipeInterface", 1_000_000, "unknown"),
        ("SomebodysInterface", 9_600, "radio"),
        ("SomebodysInterface", None, "unknown"),
        ("SomebodysInterface", 0, "unknown"),
    ],
)
def test_the_medium_of_an_interface(name: str, bitrate: int | None, medium: str) -> None:
    assert medium_of(name, bitrate) == medium


@pytest.mark.parametrize(
    ("name", "bitrate", "found"),
    [
        ("TCPClientInterface", 10_000_000, "tcp"),
        ("RNodeInterface", 5_468, "radio fast"),  # SF7 in 125 kHz
        ("RNodeInterface", 3_125, "radio fast"),  # SF8
        ("RNodeInterface", 2_000, "radio fast"),
        ("RNodeInterface", 1_999, "radio slow"),
        ("RNodeInterface", 1_757, "radio slow"),  # SF9
        ("RNodeInterface", None, "radio slow"),
        ("KISSInterface", 1_200, "radio slow"),
        ("SomebodysInterface", 9_600, "radio fast"),
        ("SerialInterface", 115_200, "serial"),
        ("LocalServerInterface", 1_000_000_000, "local"),
        ("Shared Instance[rns/default]", None, "local"),
        ("PipeInterface", 1_000_000, "unknown"),
    ],
)
def test_the_class_of_an_interface(name: str, bitrate: int | None, found: str) -> None:
    assert link_class(name, medium_of(name, bitrate), bitrate) == found


def test_modes_have_reticulum_s_names() -> None:
    RNS = pytest.importorskip("RNS.Interfaces.Interface")
    named = {
        name.removeprefix("MODE_").lower().replace("_", " "): value
        for name, value in vars(RNS.Interface).items()
        if name.startswith("MODE_")
    }
    assert len(named) >= 7
    assert {mode_name(value): value for value in named.values()} == named
    assert mode_name(None) == mode_name(99) == mode_name("1") == ""
