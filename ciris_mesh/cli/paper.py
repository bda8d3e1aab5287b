"""`identity paper` and `identity recover`: a node's secrets written down, and typed in again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ciris_mesh.cli.app import App, Failure
from ciris_mesh.cli.node import node_home
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.errors import BackupError

if TYPE_CHECKING:
    from ciris_mesh.runtime.paper import PaperKey

#: A person may look at a line again and again; a script that is wrong once stays wrong.
_TRIES: Final = 10


@click.command(cls=Verb)
@click.option(
    "--not-a-screen",
    is_flag=True,
    help="Write them even into a file or to another program, where they stay.",
)
@click.pass_obj
def paper(app: App, *, not_a_screen: bool) -> None:
    """Show this node's secrets as nine lines to write down by hand.

    Whoever has them is this node. A printer, a photograph or a file keeps copies where you do not
    see them; a pencil does not. `ciris-mesh identity recover` makes the node of them again.
    """
    from ciris_mesh.runtime.keyfiles import read_key_file
    from ciris_mesh.runtime.paper import PaperKey, paper_lines

    home = node_home(app)
    if not (not_a_screen or sys.stdout.isatty()):
        raise Failure(
            "these secrets are for a screen and a pencil, and this is a file or another program; "
            "add --not-a-screen if they are to go there"
        )
    seeds = read_key_file(home.federation_key)
    click.echo(f"ciris-mesh paper key 1\n{seeds.key().key_id}")
    for number, line in enumerate(paper_lines(PaperKey(seeds, home.identity_bytes())), 1):
        click.echo(f"{number}  {line}")
    app.talk("\nSecret: write it down, then clear this screen. Letters O, I, L and U do not occur.")


@click.command(cls=Verb)
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True, exists=True),
    metavar="FILE",
    help="Read the lines from a file instead of asking; - is standard input.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Move a node that is there aside, to <home>.old-1, instead of refusing.",
)
@click.pass_obj
def recover(app: App, *, source: Path | None, replace: bool) -> None:
    """Make the node on a paper again: its keys, a fresh configuration and an empty store.

    Each line is checked as you type it. Records come back from peers, from a backup or a bundle;
    peers and settings have to be given again.
    """
    from ciris_mesh.runtime.home import find_home
    from ciris_mesh.runtime.setup import node_from_secrets

    key = _asked_key() if source is None else _written_key(source)
    home = node_from_secrets(
        find_home(app.config_dir).path, key.seeds, key.identity, replace=replace
    )
    click.echo(key.seeds.key().key_id)
    app.talk(
        f"\nRecovered into {home.path}. Peers that know this node know it as before; add yours\n"
        "again, and start it only when its other copy is gone. Next: ciris-mesh run"
    )


def _asked_key() -> PaperKey:
    """Ask until it fits: who typed nine lines does not type them again for a slip in the id."""
    from ciris_mesh.runtime.paper import LINES, paper_key

    key_id = _asked_key_id()
    lines = [_asked(number) for number in range(1, LINES + 1)]
    for _ in range(_TRIES):
        try:
            return paper_key(key_id.rpartition("-")[0], lines, key_id)
        except BackupError as error:
            click.echo(f"  {error}", err=True)
            key_id = _asked_key_id()
    raise Failure("the key id still is of other lines; nothing was changed")


def _asked_key_id() -> str:
    from ciris_mesh.runtime.keyids import is_name

    for _ in range(_TRIES):
        answer: str = click.prompt("Key id, the line under the title", err=True)
        key_id = answer.strip().lower()
        if is_name(key_id.rpartition("-")[0]):
            return key_id
        click.echo("  a key id is a name, a hyphen and 16 letters and digits", err=True)
    raise Failure("that is still no key id; nothing was changed")


def _written_key(source: Path) -> PaperKey:
    from ciris_mesh.runtime.paper import LINES, paper_key, read_line

    texts = list(_written(source))
    if len(texts) != LINES + 1:
        raise Failure(f"{LINES + 1} lines are needed, the key id first; {len(texts)} are here")
    key_id = texts[0].strip()
    lines = [read_line(number, text) for number, text in enumerate(texts[1:], 1)]
    return paper_key(key_id.rpartition("-")[0], lines, key_id)


def _asked(number: int) -> bytes:
    from ciris_mesh.runtime.paper import read_line

    for _ in range(_TRIES):
        try:
            return read_line(number, click.prompt(f"Line {number}", err=True))
        except BackupError as error:
            click.echo(f"  {error}", err=True)
    raise Failure(f"line {number} is still wrong; nothing was changed")


def _written(source: Path) -> Iterator[str]:
    """Lines with something in them, without title and numbers."""
    text = sys.stdin.read() if str(source) == "-" else source.read_text(errors="replace")
    for line in text.splitlines():
        first, _, rest = line.strip().partition(" ")
        if first and not line.startswith("ciris-mesh paper key"):
            yield rest if first.isdigit() and len(first) == 1 else line
