"""`backup` and `restore`: a whole node into one file, and out of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from ciris_mesh.cli.app import App, Failure, print_json
from ciris_mesh.cli.bundle import advise, progress_bar, record_pages, report_fields, show_report
from ciris_mesh.cli.node import locked_home, node_home, open_directory
from ciris_mesh.cli.passphrase import passphrase_option, read_passphrase
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.errors import NodeNotRunning

if TYPE_CHECKING:
    from ciris_mesh.runtime.backup import Opened
    from ciris_mesh.runtime.bundle import ImportReport
    from ciris_mesh.runtime.home import Home

_DAY: Final = "%Y-%m-%d %H:%M UTC"


@click.command(cls=Verb)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@passphrase_option
@click.option("--force", is_flag=True, help="Replace the file when it is there already.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.pass_obj
def backup(
    app: App, *, file: Path, passphrase_file: Path | None, force: bool, as_json: bool
) -> None:
    """Write this node into FILE: keys and settings under a passphrase, and its records.

    The node may run meanwhile. FILE is opened with the passphrase and compared with what is here
    before success is said. Keep it off this machine, and the passphrase off FILE: nobody can open
    it without. `ciris-mesh restore --check FILE` tries it again any time.
    """
    from ciris_mesh.records.kinds import EnvelopeKind
    from ciris_mesh.runtime.backup import files_of, write_backup
    from ciris_mesh.runtime.bundle import bundled_rows
    from ciris_mesh.ui.words import count, size

    home = node_home(app)
    files = files_of(home)
    passphrase = read_passphrase(passphrase_file, new=True)
    with record_pages(app) as pages, progress_bar(app, "backup", None) as progress:
        about = write_backup(
            file,
            files,
            bundled_rows(pages, list(EnvelopeKind)),
            passphrase,
            now_ms=time.time_ns() // 1_000_000,
            progress=progress,
            replace=force,
        )
    written = file.stat().st_size
    if as_json:
        print_json({"file": str(file), "records": about.records, "bytes": written})
        return
    click.echo(f"{file}: {count(about.records, 'record')}, {size(written)}, read back and compared")


@click.command(cls=Verb)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@passphrase_option
@click.option("--check", is_flag=True, help="Only see that FILE opens and is whole.")
@click.option("--keys-only", is_flag=True, help="Leave the records out; peers will send them.")
@click.option(
    "--replace",
    is_flag=True,
    help="Move a node that is there aside, to <home>.old-1, instead of refusing.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.pass_context
def restore(
    ctx: click.Context,
    *,
    file: Path,
    passphrase_file: Path | None,
    check: bool,
    keys_only: bool,
    replace: bool,
    as_json: bool,
) -> None:
    """Make the node in FILE again, here; every record is verified like one from a peer.

    Where the same node is already, only records that are missing come in, so a restore that was
    interrupted is simply run again. Never let two copies of one node run: peers would take them
    for one that contradicts itself.
    """
    from ciris_mesh.runtime.backup import open_backup

    app: App = ctx.obj
    with file.open("rb") as source:
        opened = open_backup(
            source, read_passphrase(passphrase_file, new=False), keys_only=keys_only
        )
        if check:
            _tell(opened, as_json=as_json)
            return
        home = _make_home(app, opened, replace=replace)
        try:
            report = None if keys_only else _import(app, opened, source, file.stat().st_size)
        except NodeNotRunning:
            raise Failure(f"this node runs in {home.path}; stop it first") from None
    _conclude(ctx, home, report, as_json=as_json)


def _tell(opened: Opened, *, as_json: bool) -> None:
    from ciris_mesh.runtime.keyfiles import parse_key_file
    from ciris_mesh.ui.words import count

    about = opened.about
    key_id = parse_key_file(opened.files["federation.key"]).key().key_id
    if as_json:
        print_json(
            {
                "key_id": key_id,
                "made_ms": about.made_ms,
                "records": about.records,
                "files": sorted(opened.files),
            }
        )
        return
    made = time.strftime(_DAY, time.gmtime(about.made_ms / 1000))
    click.echo(f"{key_id}, {count(about.records, 'record')}, made {made}: opens and is whole")


def _make_home(app: App, opened: Opened, *, replace: bool) -> Home:
    """The home to restore into: a new one, or the one this backup is of."""
    from ciris_mesh.runtime.backup import restored_files
    from ciris_mesh.runtime.clock import SystemClock, signing_allowed
    from ciris_mesh.runtime.home import create_home, find_home

    home = find_home(app.config_dir)
    if not replace and home.exists:
        if home.federation_key.read_bytes() == opened.files["federation.key"]:
            return home
        raise Failure(
            f"another node lives in {home.path}; choose another place with --config, or move it "
            "aside with --replace"
        )
    files = restored_files(opened, may_sign=signing_allowed(SystemClock()))
    return create_home(home.path, files, replace=replace)


def _import(app: App, opened: Opened, source: BinaryIO, size: int) -> ImportReport:
    from ciris_mesh.runtime.backup import behind
    from ciris_mesh.runtime.bundle import admit_mixed, import_bundle
    from ciris_mesh.runtime.clock import SystemClock

    clock = SystemClock()
    with (
        locked_home(app) as home,
        open_directory(home) as directory,
        progress_bar(app, "restore", size - opened.bundle_at) as progress,
    ):
        return import_bundle(
            behind(source, opened.bundle_at),
            lambda offered: admit_mixed(directory, offered, now_ms=clock.wall_ms()),
            progress,
        )


def _conclude(
    ctx: click.Context, home: Home, report: ImportReport | None, *, as_json: bool
) -> None:
    app: App = ctx.obj
    if as_json:
        fields = report_fields(report) if report is not None else None
        print_json({"home": str(home.path), "records": fields})
    elif report is not None:
        show_report(report)
    if report is not None:
        advise(app, report)
    app.talk(
        f"\nRestored into {home.path}. Peers know this node as before.\n"
        "Start it only when its other copy is gone. Next: ciris-mesh run"
    )
    if report is not None and not report.is_clean:
        ctx.exit(1)
