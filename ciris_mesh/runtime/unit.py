"""The systemd unit of a node, as text. Pure.

What is locked away here was chosen so that serial ports, Reticulum's own sockets and the question
whether the clock is set still work: no PrivateDevices, which hides the radio, and no ProtectClock,
which forbids asking the kernel about NTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: A node that stands still this long is started again. A look takes a second on a busy board.
WATCHDOG_S: Final = 180

_BOTH: Final = """\
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_BLUETOOTH
SystemCallArchitectures=native
UMask=0077
"""
#: These need a manager with privileges.
_SYSTEM: Final = """\
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectHostname=yes
DevicePolicy=closed
DeviceAllow=char-ttyUSB rw
DeviceAllow=char-ttyACM rw
DeviceAllow=char-ttyAMA rw
DeviceAllow=char-ttyS rw
DeviceAllow=char-pts rw
"""


@dataclass(frozen=True, slots=True)
class Unit:
    """What a unit is made from.

    Attributes:
        command: the program with its options, without `run`.
        writes: directories the node writes to: its home, Reticulum's directory.
        user: who it runs as; empty for a unit of the user's own manager.
        groups: of serial ports that exist on this system.
    """

    command: Sequence[str]
    writes: Sequence[Path]
    user: str = ""
    groups: Sequence[str] = ()


def unit_text(unit: Unit) -> str:
    """The whole file."""
    is_system = bool(unit.user)
    wanted_by = "multi-user.target" if is_system else "default.target"
    who = f"User={unit.user}\n" if is_system else ""
    if is_system and unit.groups:
        who += f"SupplementaryGroups={' '.join(unit.groups)}\n"
    paths = "".join(f"ReadWritePaths=-{_escaped(str(path))}\n" for path in unit.writes)
    order = "Wants=network-online.target\nAfter=network-online.target time-sync.target\n"
    return (
        "# Written by: ciris-mesh service install\n"
        "[Unit]\n"
        "Description=ciris-mesh, a mesh node for signed federation records\n"
        f"{order if is_system else ''}"
        "StartLimitIntervalSec=0\n"
        "\n"
        "[Service]\n"
        "Type=notify\n"
        "NotifyAccess=main\n"
        f"ExecStart={' '.join(map(_escaped, (*unit.command, 'run')))}\n"
        f"{who}"
        "Restart=on-failure\n"
        "RestartSec=10\n"
        f"WatchdogSec={WATCHDOG_S}\n"
        "TimeoutStartSec=120\n"
        "TimeoutStopSec=10\n"
        "StateDirectory=ciris-mesh\n"
        "StateDirectoryMode=0700\n"
        f"{_BOTH}"
        f"{_SYSTEM + paths if is_system else ''}"
        "\n"
        "[Install]\n"
        f"WantedBy={wanted_by}\n"
    )


def _escaped(word: str) -> str:
    """One word of a unit's line: systemd reads quotes, backslashes, % and $ itself."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{word}"' if any(char.isspace() for char in word) else word
