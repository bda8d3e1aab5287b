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
