"""What kind of medium an interface is, judged by Reticulum's own interface data.

"radio" decides timeouts, compression and what may be announced, so whatever is slow and unknown
counts as radio: too careful costs time, too careless costs other people's channel.
"""

from __future__ import annotations

from typing import Final

#: Below this an unknown interface is taken for a radio: the fastest LoRa setting (SF5, 500 kHz)
#: carries 62.5 kbit/s.
RADIO_BITRATE_MAX_BPS: Final = 62_500

#: Media on which bytes are dear.
SLOW_MEDIA: Final = ("radio", "serial")

#: Below this a radio is slow: Reticulum's own line (`Resource.RATE_VERY_SLOW`), under which it has
#: four packets out at most. At SF8 a hybrid record takes 11 s of air, at SF9 20 s: longer than what
#: is handed over at once, so nothing overtakes it.
SLOW_RADIO_BPS: Final = 2_000

#: Reticulum's numbers for what an interface is to a transport node (`Interface.MODE_*`).
_MODES: Final = {
    0x01: "full",
    0x02: "point to point",
    0x03: "access point",
    0x04: "roaming",
    0x05: "boundary",
    0x06: "gateway",
    0x07: "internal",
}

#: By the start of the class name or of the printed name of an interface.
_PREFIXES: Final = (
    ("VirtualRNode", "radio"),
    ("RNode", "radio"),
    ("KISS", "radio"),
    ("AX25KISS", "radio"),
    ("Weave", "radio"),
    ("Serial", "serial"),
    ("TCP", "tcp"),
    ("Backbone", "tcp"),
    ("Auto", "tcp"),
    ("UDP", "tcp"),
    ("I2P", "tcp"),
)

#: The link to an rnsd of this machine: says nothing about the medium behind it.
_LOCAL_PREFIXES: Final = ("Local", "Shared Instance")


def is_local(name: str) -> bool:
    """Say whether an interface only leads to this machine's rnsd."""
    return name.startswith(_LOCAL_PREFIXES)


def link_class(name: str, medium: str, bitrate_bps: int | None) -> str:
    """What an interface is for whoever waits for it: "tcp", "radio fast", "radio slow", "serial".

    A radio that does not say how fast it is counts as slow. "local" only leads to an rnsd of this
    machine; other media are what they are called.
    """
    if medium == "radio":
        return "radio fast" if (bitrate_bps or 0) >= SLOW_RADIO_BPS else "radio slow"
    return "local" if is_local(name) else medium


def mode_name(mode: object) -> str:
    """Reticulum's word for an interface's mode; empty when it is not known."""
    return _MODES.get(mode, "") if isinstance(mode, int) else ""


def medium_of(name: str, bitrate_bps: int | None) -> str:
    """Return "tcp", "serial", "radio" or "unknown" for a class name or printed name."""
    for prefix, medium in _PREFIXES:
        if name.startswith(prefix):
            return medium
    if is_local(name):
        return "unknown"
    if bitrate_bps is not None and 0 < bitrate_bps <= RADIO_BITRATE_MAX_BPS:
        return "radio"
    return "unknown"
