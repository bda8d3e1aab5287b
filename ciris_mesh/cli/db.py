"""`db`: the record store itself, while no node uses it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ciris_mesh.cli.app import App, Failure, print_json
from ciris_mesh.cli.node import locked_home
from ciris_mesh.cli.verbs import Verb

if TYPE_CHECKING:
    from ciris_mesh.directory.core import DirectoryCore
    from ciris_mesh.runtime.config import Config
    from ciris_mesh.runtime.home import Home
    from ciris_mesh.runtime.storework import Fault, Progress


@click.group()
def db() -> None:
    """Work on the record store itself. Stop the node first: one process uses it at a time.

    The store is a file in the node's home, or the PostgreSQL database that `url` under [store] in
    the configuration names.
    """


@db.command("migrate", cls=Verb)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.pass_obj
def migrate(app: App, *, as_json: bool) -> None:
    """Bring the store's tables to what this version uses. `run` does the same when it starts.

    A store in use is backed up first: a file beside the file, or a schema ciris_mesh_backup_N in
    the database. Other nodes that share the database must be stopped.
    """
    with locked_home(app) as home:
        before = _versions(home, _config(home))
        with _open(home):
            pass
        done = _versions(home, _config(home)) - before
    if as_json:
        print_json({"store": _shown(home), "migrated": done})
    elif done:
        app.talk(f"{_shown(home)}: {done} steps done.")
    else:
        app.talk(f"{_shown(home)}: nothing to do.")


@db.command("check", cls=Verb)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.pass_context
def check(ctx: click.Context, *, as_json: bool) -> None:
    """Verify every record in the store again, and compute every digest anew.

    Nothing is changed. The exit code is 1 when a row is broken or a digest is wrong.
    """
    from ciris_mesh.runtime.clock import clock_of
    from ciris_mesh.runtime.storework import check_store
    from ciris_mesh.ui.words import count

    app: App = ctx.obj
    with locked_home(app) as home, _open(home) as directory, _bar(app, "check") as progress:
        report = check_store(directory, progress, now_ms=clock_of(home).wall_ms())
        troubles = directory.troubles()
    if as_json:
        print_json({"store": _shown(home), **asdict(report), "troubles": troubles})
    else:
        app.talk(f"{_shown(home)}: {count(report.rows, 'row')} verified.")
        for line in troubles:
            click.echo(line)
        _show(report.faults)
        for kind in report.digests_wrong:
            click.echo(f"digest of {kind} is wrong")
        if report.not_today:
            click.echo(
                f"{count(report.not_today, 'row')} would not come in under today's configuration; "
                "what is here stays"
            )
    if not report.is_sound:
        app.talk("Copy what is sound into a new store: ciris-mesh db copy --to PLACE")
        ctx.exit(1)


@db.command("copy", cls=Verb)
@click.option(
    "--to",
    "to",
    required=True,
    metavar="PLACE",
    help="A file, or postgresql://user@host/name. Made when it is empty; what is there stays.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.pass_context
def copy(ctx: click.Context, *, to: str, as_json: bool) -> None:
    """Admit all records of this node's store into another store, then compare the two.

    Every record is verified on its way. Nothing is taken out of the old store, and the
    configuration is not touched: the last line says what to write there. The exit code is 1 when
    a record did not arrive.
    """
    from ciris_mesh.runtime.clock import clock_of
    from ciris_mesh.runtime.storework import copy_store
    from ciris_mesh.ui.words import count

    app: App = ctx.obj
    with (
        locked_home(app) as home,
        _open(home) as source,
        _open(home, _target(home, to)) as target,
        _bar(app, "copy") as progress,
    ):
        friends = _friends(home)
        target.favour(lambda: friends)
        report = copy_store(source, target, progress, now_ms=clock_of(home).wall_ms())
    if as_json:
        print_json({"from": _shown(home), "to": _shown_place(to), **asdict(report)})
    else:
        held = report.outcomes.get("held", 0)
        app.talk(
            f"{count(report.rows, 'row')} read, {held} stand in {_shown_place(to)} as here, "
            f"{report.missing} missing."
        )
        _show(report.faults)
    if not report.is_complete:
        ctx.exit(1)
    if "://" in to and not as_json:
        app.talk(f"To use it, write under [store] in {home.config}: url = {_shown_place(to)}")


def _config(home: Home) -> Config:
    from ciris_mesh.runtime.config import load_config

    return load_config(home.config)


def _target(home: Home, to: str) -> str | Path:
    place = to if "://" in to else Path(to).expanduser().absolute()
    if place == _place(home):
        raise Failure(f"{_shown_place(to)} is this node's store already; name another place")
    return place


def _place(home: Home) -> str | Path:
    from ciris_mesh.runtime.stores import place_of

    return place_of(home, _config(home))


def _shown(home: Home) -> str:
    return _shown_place(str(_place(home)))


def _shown_place(place: str) -> str:
    from ciris_mesh.directory.pg_connect import shown

    return shown(place) if "://" in place else place


def _friends(home: Home) -> frozenset[str]:
    """Whose records this node passes on: their prerequisites go along."""
    from ciris_mesh.runtime.keyfiles import read_key_file
    from ciris_mesh.runtime.peerbook import PeerBook

    peers = {peer.key_id for peer in PeerBook.load(home.peers).peers()}
    own = read_key_file(home.federation_key).key().key_id
    return frozenset({own, *peers, *_config(home).trust.pinned})


@contextmanager
def _open(home: Home, place: str | Path | None = None) -> Iterator[DirectoryCore]:
    from ciris_mesh.runtime.keyfiles import read_key_file
    from ciris_mesh.runtime.stores import open_store
    from ciris_mesh.runtime.trusting import trust_of

    config = _config(home)
    directory = open_store(
        _place(home) if place is None else place,
        node=read_key_file(home.federation_key).key().key_id,
        trust=trust_of(config.trust),
        shared=config.store.shared,
        follow=False,
    )
    try:
        yield directory
    finally:
        directory.close()


def _versions(home: Home, config: Config) -> int:
    """How many migrations a store has had; none when it is not there yet."""
    from ciris_mesh.directory.pg_schema import migrations_done
    from ciris_mesh.directory.schema import version_of
    from ciris_mesh.runtime.stores import place_of

    place = place_of(home, config)
    return migrations_done(place) if isinstance(place, str) else version_of(place)


@contextmanager
def _bar(app: App, title: str) -> Iterator[Progress]:
    """A bar on stderr over rows."""
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.progress import bar
    from ciris_mesh.ui.words import count

    console = make_console(stderr=True)
    console.quiet = app.verbosity < 0
    with bar(console, title, 100) as report:
        yield lambda done, total: report(100 * done // max(1, total), count(done, "row"))


def _show(faults: list[Fault]) -> None:
    for fault in faults:
        click.echo(f"{fault.kind} {fault.envelope_id} {fault.reason}")
