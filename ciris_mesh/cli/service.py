"""`service`: a systemd unit for this node. It writes a file and runs nothing."""

from __future__ import annotations

import grp
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ciris_mesh.cli.app import App, Failure, print_json
from ciris_mesh.cli.verbs import Verb

if TYPE_CHECKING:
    from ciris_mesh.runtime.unit import Unit

_SYSTEM_UNITS: Final = Path("/etc/systemd/system")
_NAME: Final = "ciris-mesh.service"
#: Groups that own serial ports, by distribution; a unit may only name those that exist.
_PORT_GROUPS: Final = ("dialout", "plugdev", "uucp")


@click.group()
def service() -> None:
    """Let systemd start this node, watch it, and keep its log."""


@service.command(cls=Verb)
@click.option("--system", is_flag=True, help="For the whole machine, in /etc/systemd/system.")
@click.option("--user", is_flag=True, help="For your own user, which is usual without root.")
@click.option("--run-as", metavar="NAME", help="The user a system service runs as.")
@click.option("--units", type=click.Path(path_type=Path), hidden=True, help="Where units lie.")
@click.option("--print", "only_print", is_flag=True, help="Print the unit and write nothing.")
@click.option("-y", "--yes", is_flag=True, help="Write it without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
@click.pass_obj
def install(
    app: App,
    *,
    system: bool,
    user: bool,
    run_as: str | None,
    units: Path | None,
    only_print: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Write a systemd unit that runs this node, after showing it.

    The node tells systemd when it is ready, and feeds its watchdog only while rounds make progress;
    its log goes to the journal with levels. Nothing is started: the commands for that are printed.
    What a unit replaces is kept with the ending .bak.
    """
    from ciris_mesh.runtime.files import write_atomic
    from ciris_mesh.runtime.unit import unit_text

    if system and user:
        raise click.UsageError("--system or --user, not both.")
    is_system = system or (not user and os.geteuid() == 0)
    if run_as and not is_system:
        raise click.UsageError("--run-as goes with --system.")
    text = unit_text(_unit(app, _runs_as(run_as) if is_system else ""))
    if only_print:
        click.echo(text, nl=False)
        return
    folder = units or (_SYSTEM_UNITS if is_system else Path.home() / ".config/systemd/user")
    path = folder / _NAME
    if not (yes and as_json):
        click.echo(f"--- {path}\n{text}", nl=False)
    if not yes and not click.confirm("Write it?", err=True):
        raise Failure("nothing was written")
    folder.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_text() != text:
        write_atomic(path.with_name(f"{_NAME}.bak"), path.read_bytes())
    write_atomic(path, text.encode())
    path.chmod(0o644)
    option = "" if is_system else " --user"
    commands = [f"systemctl{option} daemon-reload", f"systemctl{option} enable --now ciris-mesh"]
    if not is_system:
        commands.append("loginctl enable-linger  # so that it runs while you are not logged in")
    if as_json:
        print_json({"unit": str(path), "next": commands})
    else:
        app.talk(
            "Next:\n  "
            + "\n  ".join(commands)
            + "\nIts log: journalctl"
            + option
            + " -u ciris-mesh"
        )


def _runs_as(given: str | None) -> str:
    return given or os.environ.get("SUDO_USER") or "root"


def _unit(app: App, user: str) -> Unit:
    """The unit for the node the options name.

    Raises:
        ConfigError: there is none.
    """
    from ciris_mesh.runtime.config import load_config
    from ciris_mesh.runtime.home import find_home
    from ciris_mesh.runtime.unit import Unit
    from ciris_mesh.transport.rns_config import reticulum_places

    home = find_home(app.config_dir).require()
    rns = app.rns_config_dir or load_config(home.config).reticulum.config_dir
    command = [*_program(), "--config", str(home.path)]
    if app.rns_config_dir is not None:
        command += ["--rnsconfig", str(app.rns_config_dir.expanduser().absolute())]
    places = reticulum_places()
    rns = rns or next((each for each in places if os.path.isfile(each / "config")), places[-1])
    return Unit(command, (home.path, rns.expanduser().absolute()), user, _groups() if user else ())


def _program() -> list[str]:
    """How to start this very program: by its script, else by the interpreter."""
    script = Path(sys.argv[0]).absolute()
    if script.name == "ciris-mesh" and os.access(script, os.X_OK):
        return [str(script)]
    beside = Path(sys.executable).with_name("ciris-mesh")
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("ciris-mesh")
    return [found] if found else [sys.executable, "-m", "ciris_mesh"]


def _groups() -> tuple[str, ...]:
    there = {each.gr_name for each in grp.getgrall()}
    return tuple(name for name in _PORT_GROUPS if name in there)
