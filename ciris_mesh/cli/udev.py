"""`setup --udev`: a rule that makes a radio's port open to a group, under a name that lasts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ciris_mesh.cli.app import App, Failure, print_json

if TYPE_CHECKING:
    from ciris_mesh.transport.serialports import UsbDevice

_RULES: Final = Path("/etc/udev/rules.d")
#: Groups that own serial ports, by distribution; the first that exists is taken.
_PORT_GROUPS: Final = ("dialout", "plugdev", "uucp")
_APPLY: Final = "sudo udevadm control --reload && sudo udevadm trigger --subsystem-match=tty"


def write_rule(
    app: App, *, port: str, group: str, rules: Path | None, yes: bool, as_json: bool
) -> None:
    """Show the rule, write it on yes, and say what else is needed."""
    from ciris_mesh.runtime.udevrule import RULES_FILE, link_name, udev_rules

    devices = _devices(port)
    chosen = group or _group()
    text = udev_rules(devices, chosen)
    path = (rules or _RULES) / RULES_FILE
    before = path.read_text() if path.is_file() else None
    if not (yes and as_json):
        click.echo(f"--- {path} ({'new' if before is None else 'the present one is kept as .bak'})")
        click.echo(text, nl=False)
    if not yes and not click.confirm("Write it?", err=True):
        raise Failure("nothing was written")
    if before != text:
        _write(path, before, text)
    names = [f"/dev/{link_name(device)}" for device in devices]
    user = os.environ.get("SUDO_USER", "")
    commands = [_APPLY, *([f"sudo usermod -aG {chosen} {user}"] if _lacks(user, chosen) else [])]
    if as_json:
        print_json({"rules": str(path), "group": chosen, "ports": names, "next": commands})
        return
    app.talk("Next:\n  " + "\n  ".join(commands) + f"\nThe port is then {', '.join(names)}")


def _write(path: Path, before: str | None, text: str) -> None:
    from ciris_mesh.runtime.files import write_atomic

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if before is not None:
            write_atomic(path.with_name(f"{path.name}.bak"), before.encode())
        write_atomic(path, text.encode())
        path.chmod(0o644)
    except PermissionError:
        raise Failure(
            f'{path} is root\'s: run this again as sudo "$(command -v ciris-mesh)" setup --udev'
        ) from None


def _devices(port: str) -> list[UsbDevice]:
    """What is plugged in there, or at every port there is.

    Raises:
        Failure: nothing is, or it is no USB device.
    """
    from ciris_mesh.transport.serialports import list_ports, usb_device

    ports = [port] if port else [each.path for each in list_ports()]
    if not ports:
        raise Failure("no serial port is there: plug the radio in, and run this again")
    found = [device for each in ports if (device := usb_device(each)) is not None]
    if not found:
        raise Failure(
            f"{', '.join(ports)}: not a USB port, so there is nothing a rule could know it by; "
            "look at its group with: ciris-mesh doctor"
        )
    return found


def _group() -> str:
    import grp

    there = {each.gr_name for each in grp.getgrall()}
    return next((name for name in _PORT_GROUPS if name in there), "dialout")


def _lacks(user: str, group: str) -> bool:
    """Whether a user, the one behind sudo, is no member of a group yet."""
    import grp

    try:
        return bool(user) and user not in grp.getgrnam(group).gr_mem
    except KeyError:
        return bool(user)
