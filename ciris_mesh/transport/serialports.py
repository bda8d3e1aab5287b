"""Serial ports as this system has them: where, whose, may this user open them, who holds them.

Read from the file system and `/proc`; no port is ever opened, which would reset many boards.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Where a port keeps its name whatever else is plugged in.
BY_ID: Final = "serial/by-id"
_USB: Final = ("ttyUSB*", "ttyACM*")
#: A machine has tens of ports; a directory full of them is a mistake.
PORTS_MAX: Final = 64
#: From a port over its interface to its device; hubs lie above.
_USB_DEPTH: Final = 3
_SAID_CHARS: Final = 128


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a port open."""

    pid: int
    program: str
    user: str


@dataclass(frozen=True, slots=True)
class SerialPort:
    """One port.

    Attributes:
        path: as it would be configured.
        device: what that leads to, such as /dev/ttyUSB0; `path` itself when it is no link.
        usable: this user may read and write it.
        member: this process belongs to the port's group.
        holders: as far as this user may see them.
    """

    path: str
    device: str
    exists: bool
    owner: str = ""
    group: str = ""
    mode: int = 0
    usable: bool = False
    member: bool = False
    holders: tuple[Holder, ...] = ()

    @property
    def group_may(self) -> bool:
        """Members of the group may read and write it."""
        return self.mode & 0o060 == 0o060


@dataclass(frozen=True, slots=True)
class UsbDevice:
    """What a USB device says of itself, unchecked: its maker, product, and number if it has one."""

    port: str
    vendor: str
    product: str
    serial: str


def usb_device(path: str, sys: Path = Path("/sys")) -> UsbDevice | None:
    """The USB device behind a serial port; None when it is none, or not there."""
    tty = sys / "class/tty" / os.path.basename(os.path.realpath(path)) / "device"
    with contextlib.suppress(OSError):
        above = Path(os.path.realpath(tty))
        for place in (above, *list(above.parents)[:_USB_DEPTH]):
            if (place / "idVendor").is_file():
                said = (_said(place / name) for name in ("idVendor", "idProduct", "serial"))
                return UsbDevice(path, *said)
    return None


def _said(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()[:_SAID_CHARS]
    except OSError:
        return ""


def list_ports(dev: Path = Path("/dev")) -> tuple[SerialPort, ...]:
    """USB serial ports, by their lasting name where there is one."""
    by_id = sorted((dev / BY_ID).glob("*"))[:PORTS_MAX]
    named = {os.path.realpath(path) for path in by_id}
    bare = [
        path
        for pattern in _USB
        for path in sorted(dev.glob(pattern))
        if os.path.realpath(path) not in named
    ]
    return look_at(str(path) for path in (*by_id, *bare[:PORTS_MAX]))


def look_at(paths: Iterable[str]) -> tuple[SerialPort, ...]:
    """Look at these ports; one that is not there is said to be so."""
    known = [(path, os.path.realpath(path)) for path in paths]
    held = holders({device for _, device in known})
    return tuple(_port(path, device, held.get(device, ())) for path, device in known)


def holders(devices: Iterable[str]) -> dict[str, tuple[Holder, ...]]:
    """Device -> the other processes that have it open. One walk through `/proc`."""
    wanted, found = set(devices), dict[str, list[Holder]]()
    if not wanted:
        return {}
    for pid in _pids():
        for device in _open_files(pid) & wanted:
            found.setdefault(device, []).append(Holder(pid, program_of(pid), owner_of(pid)))
    return {device: tuple(each) for device, each in found.items()}


def program_of(pid: int) -> str:
    """The name of a process; empty when it is gone."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        names = [os.path.basename(os.fsdecode(word)) for word in words if word]
        # Of `python3 /usr/bin/rnsd -v` it is rnsd that people know.
        if len(names) > 1 and names[0].startswith("python"):
            return names[2] if names[1] == "-m" and len(names) > 2 else names[1]
        return names[0] if names else ""
    return ""


def owner_of(pid: int) -> str:
    """The user a process runs as; empty when it is gone."""
    with contextlib.suppress(OSError):
        return user_name(os.stat(f"/proc/{pid}").st_uid)
    return ""


def user_name(uid: int) -> str:
    """The name of a user of this system, or its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _pids() -> list[int]:
    return [
        int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()
    ]


def _open_files(pid: int) -> set[str]:
    found: set[str] = set()
    with contextlib.suppress(OSError):  # gone, or another user's
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found.add(os.readlink(entry.path))
    return found


def _port(path: str, device: str, held: tuple[Holder, ...]) -> SerialPort:
    try:
        found = os.stat(path)
    except OSError:
        return SerialPort(path, device, exists=False)
    return SerialPort(
        path,
        device,
        exists=True,
        owner=user_name(found.st_uid),
        group=_group_name(found.st_gid),
        mode=stat.S_IMODE(found.st_mode),
        usable=os.access(path, os.R_OK | os.W_OK, effective_ids=True),
        member=found.st_gid in (os.getegid(), *os.getgroups()),
        holders=held,
    )


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
