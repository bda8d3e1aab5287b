"""What Reticulum says of its interfaces, and over which of them a link goes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest

from ciris_mesh.transport import rns_media
from ciris_mesh.transport import rns_seam as seam
from ciris_mesh.transport.base import Address, LoraRow
from ciris_mesh.transport.medium import link_class
from ciris_mesh.transport.rns_media import interface_rows, link_way

PEER = Address(b"p" * 16)


class RNodeInterface:
    """As much of Reticulum's as is looked at."""

    def __init__(self, **settings: object) -> None:
        self.bitrate = 3_125
        self.__dict__.update(settings)

    def __str__(self) -> str:
        return "RNodeInterface[LoRa]"


class LocalClientInterface(RNodeInterface):
    """The way to an rnsd."""


LORA: dict[str, object] = {"frequency": 868_100_000, "bandwidth": 125_000, "sf": 8, "cr": 5}


def entry(**changes: object) -> dict[str, Any]:
    return {"interfaces": [{"name": "RNodeInterface[LoRa]", "type": "RNodeInterface", **changes}]}


def test_a_radio_of_this_process_says_what_it_is_set_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seam, "interfaces", lambda: [RNodeInterface(**LORA)])
    (row,) = interface_rows(entry(txb=7, airtime_long=1.5), ())
    assert (row.medium, row.tx_bytes) == ("radio", 7)
    assert row.lora == LoraRow(868_100_000, 125_000, 8, 5)
    assert row.airtime_hour == pytest.approx(0.015)


@pytest.mark.parametrize("lacks", LORA)
def test_half_of_the_settings_are_none(monkeypatch: pytest.MonkeyPatch, lacks: str) -> None:
    settings = {name: value for name, value in LORA.items() if name != lacks}
    monkeypatch.setattr(seam, "interfaces", lambda: [RNodeInterface(**settings)])
    (row,) = interface_rows(entry(airtime_long=0.0), ())
    assert row.lora is None
    assert row.airtime_hour is None, "0 until the radio first says"


def test_a_radio_of_another_process_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seam, "interfaces", lambda: [LocalClientInterface()])
    (row,) = interface_rows(entry(), ())
    assert row.lora is None


def test_what_an_rnsd_tells_is_enough_for_class_and_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer comes as bytes over a socket, so nothing in it is an interface."""
    monkeypatch.setattr(seam, "interfaces", lambda: [LocalClientInterface()])
    rows = [
        {"name": "Shared Instance[rns/default]", "type": "LocalServerInterface", "mode": 1},
        {"name": "RNodeInterface[roof]", "type": "RNodeInterface", "bitrate": 976.5, "mode": 7},
        {"name": "TCPInterface[hub]", "type": "TCPClientInterface", "bitrate": 10**7, "mode": 5},
    ]
    told = msgpack.unpackb(msgpack.packb({"interfaces": rows}))
    found = interface_rows(told, ())
    assert [link_class(row.name, row.medium, row.bitrate_bps) for row in found] == [
        "local",
        "radio slow",
        "tcp",
    ]
    assert [row.mode for row in found] == ["full", "internal", "boundary"]


@pytest.mark.parametrize(
    ("interface", "address", "way"),
    [
        (None, PEER, ("unknown", "")),
        (RNodeInterface(), None, ("radio", "RNodeInterface[LoRa]")),
        (LocalClientInterface(), None, ("unknown", "")),
        (LocalClientInterface(), PEER, ("tcp", "TCPInterface[hub]")),
    ],
)
def test_the_way_of_a_link(
    monkeypatch: pytest.MonkeyPatch,
    interface: object,
    address: Address | None,
    way: tuple[str, str],
) -> None:
    monkeypatch.setattr(seam, "destination_hash", lambda *_: b"")
    monkeypatch.setattr(seam, "next_hop_name", lambda _: "TCPInterface[hub]")
    link: Any = SimpleNamespace(attached_interface=interface)
    assert link_way(link, address) == way
    assert rns_media.link_medium(link, address) == way[0]


def test_blackholed_identities_are_told_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [number.to_bytes(16, "big") for number in range(rns_media.BLACKHOLED_MAX + 5)]
    monkeypatch.setattr(seam, "blackholed", lambda: many)
    assert len(rns_media.blackholed()) == rns_media.BLACKHOLED_MAX

    def gone() -> list[bytes]:
        raise ConnectionRefusedError

    monkeypatch.setattr(seam, "blackholed", gone)
    assert rns_media.blackholed() == frozenset()
