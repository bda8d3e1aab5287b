"""`setup`: from a bare machine to a node that can run, by a few questions or by options alone."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ciris_mesh.cli.app import App, Failure, print_json
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.errors import ConfigError, OperatorError

if TYPE_CHECKING:
    from ciris_mesh.runtime.home import Home
    from ciris_mesh.runtime.setup_plan import Answers
    from ciris_mesh.transport.serialports import SerialPort

_ROLES: Final = ("field", "gateway", "registry", "laptop")
_REGIONS: Final = ("eu868-p", "eu868-m", "us915", "au915", "433")


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file that would be written.

    Attributes:
        before: what is there now; None when nothing is.
        problem: why it cannot be written; then `after` is only to be shown.
    """

    path: Path
    before: str | None
    after: str
    problem: str = ""


@click.command(cls=Verb)
@click.argument("role", type=click.Choice(_ROLES), required=False)
@click.option("--name", metavar="NAME", help="What the node's key is called; a new node needs one.")
@click.option("--region", type=click.Choice(_REGIONS), help="Where the radio is used.")
@click.option("--port", metavar="PATH", help="The radio's serial port, best by /dev/serial/by-id.")
@click.option("--hub", metavar="HOST:PORT", help="The public node to connect to.")
@click.option("--listen", metavar="HOST:PORT", help="Where a registry node listens.")
@click.option(
    "--clock",
    type=click.Choice(["system", "assume-trusted"]),
    help="Who vouches for the clock: the system, or you.",
)
@click.option("--peer", "peers", multiple=True, metavar="INVITE", help="A peer to add; repeatable.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="SECTION.NAME=VALUE",
    help="Any other setting of this node, such as web.enabled=yes; repeatable.",
)
@click.option("--write-rns", is_flag=True, help="Also write Reticulum's configuration.")
@click.option(
    "--udev", is_flag=True, help="Only write a udev rule that opens the radio's port to a group."
)
@click.option("--group", metavar="NAME", default="", help="That group: usually dialout.")
@click.option("--rules", type=click.Path(path_type=Path), hidden=True, help="Where rules lie.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing; write what the options say.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
@click.pass_obj
def setup(
    app: App, /, *, role: str | None, yes: bool, as_json: bool, write_rns: bool, **given: Any
) -> None:
    """Set up a node for a ROLE: its keys, its configuration, and interfaces for Reticulum.

    \b
    field      a radio, nothing else
    gateway    a radio on one side, the internet on the other
    registry   a server with a public address
    laptop     connects to a hub by TCP

    What is not given by an option is asked. Every file is shown before it is written, and what it
    replaces is kept with the ending .bak. Reticulum's configuration is another program's: its block
    is printed to be copied, and written only with --write-rns or a second yes.

    With --udev no ROLE is needed: it shows a rule for the radio that is plugged in, after which
    its port belongs to a group of yours and keeps one name, and writes that on yes, as root.
    """
    from ciris_mesh.runtime.home import find_home

    if given.pop("udev"):
        from ciris_mesh.cli.udev import write_rule

        where = {"group": given["group"], "rules": given["rules"]}
        write_rule(app, port=given["port"] or "", yes=yes, as_json=as_json, **where)
        return
    if role is None:
        raise click.UsageError(f"Name a role: {', '.join(_ROLES)}.")
    home = find_home(app.config_dir)
    answers, invites, name = _ask(app, home, role, given, ask=not yes)
    own = _own_file(home, answers, app, _said(given["settings"]))
    theirs = _their_file(app, answers)
    quiet = yes and as_json
    if not quiet:
        _show(home, own, theirs, name)
    if write_rns and theirs.problem:
        raise Failure(f"nothing was written: {theirs.problem}")
    if not yes and not click.confirm(f"Write this node's files in {home.path}?", err=True):
        raise Failure("nothing was written")
    written = _write_own(home, own, name)
    may_ask = not yes and not theirs.problem
    unwritten = [] if theirs.after == theirs.before else [str(theirs.path)]
    if write_rns or (may_ask and click.confirm(f"Write {theirs.path} too?", err=True)):
        written += _write(theirs)
        unwritten = []
    _add_peers(home, invites)
    if as_json:
        told = {"written": written, "unwritten": unwritten, "peers": len(invites)}
        print_json({"home": str(home.path), **told})
    else:
        _say_next(app, home, written, unwritten)


def _ask(
    app: App, home: Home, role: str, given: dict[str, Any], *, ask: bool
) -> tuple[Answers, tuple[str, ...], str]:
    from ciris_mesh.runtime.invite import parse_invite
    from ciris_mesh.runtime.setup_plan import Answers, host_and_port, region_of, role_of

    chosen = role_of(role)
    name = "" if home.exists else _name(given["name"], ask=ask)
    region = port = None
    if chosen.radio:
        region = given["region"] or _choose_region(ask=ask)
        port = given["port"] or _choose_port(ask=ask)
    hub = (given["hub"] or _ask_hub(ask=ask)) if chosen.hub else ""
    listen = (given["listen"] or "0.0.0.0:4242") if chosen.listens else ""
    for address in filter(None, (hub, listen)):
        host_and_port(address)
    clock = given["clock"] or _ask_clock(app, ask=ask)
    invites = tuple(given["peers"]) or (_ask_peers() if ask else ())
    for line in invites:
        parse_invite(line)
    answers = Answers(chosen, region_of(region) if region else None, port or "", hub, listen, clock)
    return answers, invites, name


def _name(given: str | None, *, ask: bool) -> str:
    """A name its key can have: said now, not after all the other questions."""
    from ciris_mesh.runtime.keyids import NAME_RULE, is_name

    def checked(text: str) -> str:
        if not is_name(text):
            raise click.BadParameter(f"use {NAME_RULE}", param_hint="--name")
        return text

    return checked(given) if given else _wanted("--name", "A name for its key", checked, ask=ask)


def _ask_hub(*, ask: bool) -> str:
    from ciris_mesh.runtime.setup_plan import host_and_port

    def checked(text: str) -> str:
        with _asked_again():
            host_and_port(text.strip())
        return text.strip()

    return _wanted("--hub", "Hub, as HOST:PORT", checked, ask=ask)


@contextmanager
def _asked_again() -> Iterator[None]:
    """What is wrong with an answer is said, and the question asked again."""
    try:
        yield
    except OperatorError as error:
        raise click.UsageError(str(error)) from None


def _wanted(option: str, question: str, checked: Callable[[str], str], *, ask: bool) -> str:
    if not ask:
        raise click.UsageError(f"With --yes, {option} must be given.")
    return str(click.prompt(question, value_proc=checked, err=True))


def _choose_region(*, ask: bool) -> str:
    """Let a person choose by what a region means: its short name alone says little."""
    from ciris_mesh.runtime.setup_plan import REGIONS

    if not ask:
        raise click.UsageError("With --yes, --region must be given.")
    for number, region in enumerate(REGIONS, 1):
        click.echo(f"  {number} {region.name:<8} {region.about}", err=True)
    known = {str(number): region.name for number, region in enumerate(REGIONS, 1)}
    kind = click.Choice((*known, *_REGIONS))
    answer = str(
        click.prompt("Region: a number, or a name", type=kind, show_choices=False, err=True)
    )
    return known.get(answer, answer)


def _choose_port(*, ask: bool) -> str:
    """Let a person choose among the ports there are, told whose each is and who holds it."""
    from ciris_mesh.transport.serialports import list_ports

    ports = list_ports()
    if not ask:
        raise click.UsageError(
            "With --yes, --port must be given; there are: "
            + (", ".join(port.path for port in ports) or "none now")
        )
    if not ports:
        click.echo("No serial port is there now. Plug the radio in, or name its port.", err=True)
        return str(click.prompt("Port", err=True))
    for number, port in enumerate(ports, 1):
        click.echo(f"  {number} {port_line(port)}", err=True)
    answer = str(click.prompt("Radio: a number, or a path", default="1", err=True))
    if answer.isdecimal() and 0 < int(answer) <= len(ports):
        return ports[int(answer) - 1].path
    return answer


def port_line(port: SerialPort) -> str:
    """One port: where it leads, whose it is, and what is in the way."""
    where = f" -> {port.device}" if port.device != port.path else ""
    held = ", ".join(f"{each.program} (pid {each.pid})" for each in port.holders)
    state = f"held by {held}" if held else "free"
    access = "" if port.usable else "; not open to you: see ciris-mesh setup --udev"
    return f"{port.path}{where}\n    owner {port.owner}, group {port.group}, {state}{access}"


def _ask_clock(app: App, *, ask: bool) -> str:
    from ciris_mesh.runtime.clock import SystemClock, untrusted
    from ciris_mesh.ui.words import wrapped

    problem = untrusted(SystemClock())
    if not problem:
        return "system"
    app.talk(wrapped(f"Clock: {problem}"))
    if ask and click.confirm("Is the clock right, and will you keep it so by hand?", err=True):
        return "assume-trusted"
    return "system"


def _ask_peers() -> tuple[str, ...]:
    """Invites, one at a time, until an empty line."""
    from ciris_mesh.runtime.invite import parse_invite

    def checked(text: str) -> str:
        with _asked_again():
            if text.strip():
                parse_invite(text)
        return text.strip()

    found: list[str] = []
    question = "A peer's invite (empty to go on)"
    while line := str(
        click.prompt(question, default="", show_default=False, value_proc=checked, err=True)
    ):
        found.append(line)
    return tuple(found)


# --- files ----------------------------------------------------------------------------------------


def _said(settings: Iterable[str]) -> dict[tuple[str, str], str]:
    """What --set says, by (section, name)."""
    from ciris_mesh.runtime.options import OPTIONS

    known = {(option.section, option.name) for option in OPTIONS}
    found: dict[tuple[str, str], str] = {}
    for text in settings:
        where, equals, value = text.partition("=")
        section, _, name = where.strip().partition(".")
        if not equals or (section, name) not in known:
            raise click.UsageError(
                f"--set {text[:60]!r} names no setting: write SECTION.NAME=VALUE; `ciris-mesh "
                "--exampleconfig` has all of them."
            )
        found[section, name] = value.strip()
    return found


def _own_file(
    home: Home, answers: Answers, app: App, said: dict[tuple[str, str], str]
) -> PlannedFile:
    from ciris_mesh.runtime.config import example_config, parse_config
    from ciris_mesh.runtime.setup_plan import own_settings, with_settings

    settings = {**own_settings(answers), **said}
    if app.rns_config_dir is not None:
        settings["reticulum", "config_dir"] = str(app.rns_config_dir.expanduser().absolute())
    before = home.config.read_text() if home.exists else None
    after = example_config(settings) if before is None else with_settings(before, settings)
    parse_config(after.encode(), str(home.config))
    return PlannedFile(home.config, before, after)


def _their_file(app: App, answers: Answers) -> PlannedFile:
    from ciris_mesh.runtime.setup_plan import reticulum_text, with_interfaces
    from ciris_mesh.transport.rns_config import reticulum_places

    places = reticulum_places() if app.rns_config_dir is None else (app.rns_config_dir.absolute(),)
    found = next((each for each in places if (each / "config").is_file()), places[-1])
    path = found / "config"
    before = path.read_text() if path.is_file() else None
    ours = reticulum_text(answers)
    try:
        return PlannedFile(path, before, with_interfaces(before or "", ours))
    except ConfigError as error:
        return PlannedFile(path, before, ours, problem=str(error))


def _show(home: Home, own: PlannedFile, theirs: PlannedFile, name: str) -> None:
    if own.before is None:
        click.echo(f"--- {home.path} (new, for this user alone)")
        click.echo(f"    federation.key  two fresh seeds of the key {name}")
        click.echo("    identity        a fresh Reticulum identity")
        click.echo("    storage/        empty")
    for line in _changes(own, against_default=True):
        click.echo(line)
    click.echo("\nFor Reticulum, which is another program: copy this, or let it be written.")
    for line in _changes(theirs, against_default=False):
        click.echo(line)


def _changes(planned: PlannedFile, *, against_default: bool) -> Iterator[str]:
    from ciris_mesh.runtime.config import example_config

    before = planned.before
    if planned.problem:
        yield f"--- {planned.path} (not to be written: {planned.problem})"
        yield from (f"    {line}" for line in planned.after.splitlines())
        return
    if before is None:
        before = example_config() if against_default else ""
        yield f"--- {planned.path} (new" + (", the explained default with)" if before else ")")
    else:
        yield f"--- {planned.path} (changed; the present one is kept as .bak)"
    lines = list(
        difflib.unified_diff(before.splitlines(), planned.after.splitlines(), lineterm="", n=0)
    )[2:]
    changed = [line for line in lines if not line.startswith("@@")]
    if planned.before is None and not against_default:
        changed = [line[1:] for line in changed]
    yield from (f"    {line}" for line in changed or ["nothing to change"])


def _write_own(home: Home, own: PlannedFile, name: str) -> list[str]:
    from ciris_mesh.runtime.home import create_home, new_identity
    from ciris_mesh.runtime.keyfiles import FederationSeeds, render_key_file

    if own.before is not None:
        return _write(own)
    files = {
        "config": own.after.encode(),
        "identity": new_identity(),
        "federation.key": render_key_file(FederationSeeds.generate(name)),
    }
    create_home(home.path, files)
    return [str(home.path / each) for each in files]


def _write(planned: PlannedFile) -> list[str]:
    """Write one file, the present one beside it as .bak. Nothing when nothing changes."""
    from ciris_mesh.runtime.files import write_atomic

    if planned.problem:
        raise Failure(planned.problem)
    if planned.after == planned.before:
        return []
    planned.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if planned.before is not None:
        write_atomic(planned.path.with_name(f"{planned.path.name}.bak"), planned.before.encode())
    write_atomic(planned.path, planned.after.encode())
    return [str(planned.path)]


def _add_peers(home: Home, invites: Iterable[str]) -> None:
    from ciris_mesh.runtime.clock import SystemClock
    from ciris_mesh.runtime.invite import parse_invite
    from ciris_mesh.runtime.peerbook import Peer, PeerBook

    book = PeerBook.load(home.peers)
    for line in invites:
        invite = parse_invite(line)
        added_at_ms = SystemClock().wall_ms()
        book.add(Peer(invite.key_id, invite.fingerprint, invite.address, added_at_ms=added_at_ms))


def _say_next(app: App, home: Home, written: list[str], unwritten: list[str]) -> None:
    from ciris_mesh.runtime.setup import node_identity

    for path in written:
        click.echo(f"wrote {path}")
    click.echo(
        f"\nThis node's invite, for the operators of its peers:\n{node_identity(home).invite}"
    )
    for path in unwritten:
        app.talk(
            f"\nNot written, for it is Reticulum's: {path}\n"
            "Copy the block above into it, or give the same command again with --write-rns."
        )
    app.talk("\nLook whether all is well: ciris-mesh doctor\nThen run it: ciris-mesh run")
