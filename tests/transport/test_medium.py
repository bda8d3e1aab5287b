"""Media by interface, as Reticulum prints them and as it names their classes."""

from __future__ import annotations

import pytest

from ciris_mesh.transport.medium import medium_of


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
