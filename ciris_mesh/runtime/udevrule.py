"""A udev rule for a radio's USB port: a group that may open it, and a name that lasts. Pure.

On some systems members of `dialout` may not open a port (it belongs to another group, or to root
alone), and ports change their number when something else is plugged in. What a device says of
itself is written into a file that root's programs read, so only harmless letters are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from ciris_mesh.errors import ConfigError
from ciris_mesh.transport.serialports import UsbDevice

#: Before 73, where `uaccess` is looked at; behind 60, which makes /dev/serial/by-id.
RULES_FILE: Final = "70-ciris-mesh.rules"
_ID: Final = re.compile(r"[0-9a-f]{4}")
_SERIAL: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")
_GROUP: Final = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


def link_name(device: UsbDevice) -> str:
    """The lasting name below /dev, such as `rnode-0001`; by its maker where it has no number.

    Raises:
        ConfigError: as `udev_rules`.
    """
    if not _ID.fullmatch(device.vendor) or not _ID.fullmatch(device.product):
        raise ConfigError(f"{device.port} does not say what it is: no rule can name it")
    has_serial = _SERIAL.fullmatch(device.serial)
    return f"rnode-{device.serial if has_serial else f'{device.vendor}-{device.product}'}"


def udev_rules(devices: Iterable[UsbDevice], group: str) -> str:
    """The text of a rules file that lets `group` open these, and names each.

    Raises:
        ConfigError: a device without ids of maker and product, or a group nobody can have.
    """
    if not _GROUP.fullmatch(group):
        raise ConfigError(f"{group[:40]!r} is no name of a group")
    lines = ["# Written by: ciris-mesh setup --udev"]
    for device in devices:
        name = link_name(device)
        match = [
            'SUBSYSTEM=="tty"',
            f'ATTRS{{idVendor}}=="{device.vendor}"',
            f'ATTRS{{idProduct}}=="{device.product}"',
        ]
        if _SERIAL.fullmatch(device.serial):
            match.append(f'ATTRS{{serial}}=="{device.serial}"')
        lines.append(
            ", ".join([*match, 'MODE="0660"', f'GROUP="{group}"', f'SYMLINK+="{name}"'])
            + ', TAG+="uaccess"'
        )
    return "\n".join(lines) + "\n"
