"""Which medium a link's first hop is, and which interfaces there are, by Reticulum's own data.

As a client of an rnsd these functions ask it over its socket, so they never run with our lock
held nor on Reticulum's inbound thread.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from ciris_mesh.transport import rns_seam as seam
from ciris_mesh.transport.base import Address, InterfaceRow, LoraRow, TransferRow
from ciris_mesh.transport.medium import is_local, medium_of, mode_name
from ciris_mesh.transport.rns_seam_control import transfers

log = logging.getLogger(__name__)

#: Published lists may name any number; more than these nobody reads.
BLACKHOLED_MAX: Final = 1_000


def link_medium(rns: seam.Link, address: Address | None) -> str:
    """The medium of a link; through an rnsd, that of the path to its other end."""
    return link_way(rns, address)[0]


def link_way(rns: seam.Link, address: Address | None) -> tuple[str, str]:
    """The medium of a link and the name of its interface, empty when that is not known."""
    interface = rns.attached_interface
    if interface is None:
        return "unknown", ""
    name = type(interface).__name__
    if is_local(name):
        if address is None:
            return medium_of(name, interface.bitrate), ""
        name = seam.next_hop_name(seam.destination_hash(address, seam.MESH_ASPECTS))
        return medium_of(name, None), name
    return medium_of(name, interface.bitrate), str(interface)


def has_radio() -> bool:
    """Say whether any interface is a radio."""
    return any(row.medium == "radio" for row in interface_rows(reticulum_stats(), ()))


def reticulum_stats() -> dict[str, Any]:
    """Reticulum's counters; empty when they cannot be had."""
    try:
        return seam.interface_stats()
    except Exception:  # an rnsd that went away; Reticulum has no type for it
        log.warning("Reticulum's interface counters are not available", exc_info=True)
        return {}


def blackholed() -> frozenset[Address]:
    """Identities that Reticulum ignores; none when that cannot be had."""
    try:
        return frozenset(Address(each) for each in islice(seam.blackholed(), BLACKHOLED_MAX))
    except Exception:  # as above
        log.warning("Reticulum's blackholed identities are not available", exc_info=True)
        return frozenset()


def interface_rows(stats: dict[str, Any], configured: tuple[str, ...]) -> tuple[InterfaceRow, ...]:
    """One row per interface there is, and one, offline, per configured one that is missing.

    Reticulum goes on without an interface it could not make, say for a port in use.
    """
    entries = stats.get("interfaces", ())
    present = {str(entry.get("short_name")) for entry in entries}
    missing = (name for name in configured if name not in present)
    absent = (InterfaceRow(name, "unknown", False, None, 0, 0) for name in missing)  # noqa: FBT003
    own = {str(each): seam.lora_settings(each) for each in seam.interfaces()} if entries else {}
    return (*(_row(entry, own) for entry in entries), *absent)


def transfer_rows(links: Iterable[tuple[seam.Link, Address | None]]) -> tuple[TransferRow, ...]:
    """What is under way on these links, each with who is at its other end."""
    return tuple(TransferRow(address, *each) for link, address in links for each in transfers(link))


def _row(entry: dict[str, Any], own: dict[str, tuple[int, int, int, int] | None]) -> InterfaceRow:
    bitrate = entry.get("bitrate")
    bitrate_bps = int(bitrate) if bitrate else None
    lora = own.get(str(entry.get("name", "")))
    percent = entry.get("airtime_long")
    return InterfaceRow(
        name=str(entry.get("name", "")),
        medium=medium_of(str(entry.get("type", "")), bitrate_bps),
        online=bool(entry.get("status")),
        bitrate_bps=bitrate_bps,
        rx_bytes=int(entry.get("rxb") or 0),
        tx_bytes=int(entry.get("txb") or 0),
        lora=None if lora is None else LoraRow(*lora),
        airtime_hour=float(percent) / 100 if percent else None,  # 0 until the radio first says
        mode=mode_name(entry.get("mode")),
    )
