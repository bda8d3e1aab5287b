"""`export` and `import`: all records of this node in one file, and a file's records in."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from ciris_mesh.cli.app import App, Failure, print_json
from ciris_mesh.cli.node import ask, locked_home, open_directory
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.errors import NodeNotRunning
from ciris_mesh.records.kinds import EnvelopeKind

if TYPE_CHECKING:
    from ciris_mesh.runtime.bundle import Admit, ImportReport, Pages, Progress

#: A node on a small board admits a batch of 512 KiB in seconds; one that stores at the same time
#: what peers send may need longer.
BATCH_TIMEOUT_S: Final = 120.0
#: Damaged places shown; `--json` lists more.
_SHOWN_MAX: Final = 10

_DAMAGE: Final = {
    "checksum": "does not match its checksum",
    "not_a_record": "is no record",
    "too_large": "claims to be larger than any record",
    "cut_short": "ends too early: the file was cut short",
    "after_end": "follows the end of the bundle and was not read",
    "records_missing": "counts other records than are in the file",
}


@click.command("export", cls=Verb)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The same as FILE, for scripts that name what they give.",
)
@click.option(
    "--kind",
    "kinds",
    type=click.Choice([kind.value for kind in EnvelopeKind]),
    multiple=True,
    metavar="KIND",
    help="Only records of this kind; may be given several times.",
)
@click.option("--force", is_flag=True, help="Replace the file when it is there already.")
@click.pass_obj
def export(
    app: App, *, file: Path | None, out: Path | None, kinds: tuple[str, ...], force: bool
) -> None:
    """Write the records this node holds, with their signatures, into FILE.

    Without FILE they go to standard output, for another program.

    Any node can import it: what it holds is verified there like records from a peer. It contains
    no secrets of this node. The file appears whole or not at all.
    """
    from ciris_mesh.runtime.bundle import bundled_rows, export_bundle, write_bundle
    from ciris_mesh.ui.words import count

    if file is not None and out is not None:
        raise click.UsageError("give FILE once, by itself or with --out")
    out = out or file
    if out is None and sys.stdout.isatty():
        raise Failure("a bundle is not for the screen: add a FILE, or pipe it to a program")
    chosen = [EnvelopeKind(kind) for kind in kinds] or list(EnvelopeKind)
    with record_pages(app) as pages, progress_bar(app, "export", None) as progress:
        rows = bundled_rows(pages, chosen)
        if out is None:
            written = write_bundle(sys.stdout.buffer, rows, progress)
        else:
            written = export_bundle(out, rows, progress, replace=force)
    app.talk(f"{count(written, 'record')} written{f' to {out}' if out else ''}.")


@click.command("import", cls=Verb)
@click.argument("file", type=click.File("rb"))
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@click.pass_context
def import_(ctx: click.Context, *, file: BinaryIO, as_json: bool) -> None:
    """Admit the records of a bundle, each verified like one from a peer.

    FILE is what `ciris-mesh export` wrote; "-" reads standard input. An import that was
    interrupted can be run again. The exit code is 0 when the whole file was read and nothing in
    it was malformed or refused, and 1 otherwise; what was intact and valid is stored either way.
    """
    from ciris_mesh.runtime.bundle import import_bundle

    app: App = ctx.obj
    with admission(app) as admit, progress_bar(app, "import", _size(file)) as progress:
        report = import_bundle(file, admit, progress)
    if as_json:
        print_json(report_fields(report))
    else:
        show_report(report)
    advise(app, report)
    if not report.is_clean:
        ctx.exit(1)


def _size(file: BinaryIO) -> int | None:
    if not file.seekable():
        return None
    size = file.seek(0, 2)
    file.seek(0)
    return size


@contextmanager
def progress_bar(app: App, title: str, total: int | None) -> Iterator[Progress]:
    """A bar on stderr over bytes, with the records beside it."""
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.progress import bar
    from ciris_mesh.ui.words import count, size

    console = make_console(stderr=True)
    console.quiet = app.verbosity < 0
    with bar(console, title, total) as report:
        yield lambda records, done: report(done, f"{count(records, 'record')}, {size(done)}")


# -- the running node, or the store of one that does not run -----------------------------------


@contextmanager
def record_pages(app: App) -> Iterator[Pages]:
    """Pages of what is held: from the running node, or the store of one that does not run."""
    from ciris_mesh.runtime.bundle import Page, page_of

    def from_node(kind: EnvelopeKind | None, after: int) -> Page:
        answer = ask(app, "export_page", timeout_s=BATCH_TIMEOUT_S, kind=kind, after=after)
        rows = tuple(
            (row["position"], EnvelopeKind(row["kind"]), base64.b64decode(row["envelope_base64"]))
            for row in answer["rows"]
        )
        return Page(rows, answer["after"], answer["is_last"])

    if _answers(app, lambda: ask(app, "status")):
        yield from_node
        return
    with locked_home(app) as home, open_directory(home) as directory:
        yield lambda kind, after: page_of(directory, kind, after)


@contextmanager
def admission(app: App) -> Iterator[Admit]:
    """What admits records: the running node, or the store of one that does not run."""
    from ciris_mesh.records.outcome import Outcome, Reason
    from ciris_mesh.runtime.bundle import Answer, Offered, admit_mixed
    from ciris_mesh.runtime.clock import SystemClock

    def by_node(offered: Any) -> list[Answer]:
        records = [_as_request(*one) for one in offered]
        answers = ask(app, "import_batch", timeout_s=BATCH_TIMEOUT_S, records=records)
        return [(Outcome(one["outcome"]), Reason(one["reason"])) for one in answers]

    def _as_request(kind: EnvelopeKind, envelope: bytes) -> dict[str, str]:
        return {"kind": kind.value, "envelope_base64": base64.b64encode(envelope).decode()}

    if _answers(app, lambda: by_node([])):
        yield by_node
        return
    clock = SystemClock()
    with locked_home(app) as home, open_directory(home) as directory:

        def by_store(offered: Any) -> list[Answer]:
            whole: list[Offered] = offered
            return admit_mixed(directory, whole, now_ms=clock.wall_ms())

        yield by_store


def _answers(app: App, question: Callable[[], object]) -> bool:
    try:
        question()
    except NodeNotRunning:
        return False
    return True


# -- what became of it ---------------------------------------------------------------------------


def report_fields(report: ImportReport) -> dict[str, Any]:
    """What `--json` says of an import."""
    return {
        "read": report.read,
        "clean": report.is_clean,
        "outcomes": [
            {"outcome": outcome.value, "reason": reason.value, "count": count}
            for (outcome, reason), count in sorted(report.outcomes.items())
        ],
        "damaged": report.damaged,
        "damage": [
            {"reason": one.reason, "offset": one.offset, "size_bytes": one.size_bytes}
            for one in report.damage
        ],
        "gave_up": report.gave_up,
    }


def show_report(report: ImportReport) -> None:
    """Print how many records were read, and what became of them, a line an outcome."""
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.tables import grid
    from ciris_mesh.ui.words import count

    click.echo(f"{count(report.read, 'record')} read.")
    if not report.outcomes:
        return
    click.echo("What became of them:\n")
    table = grid("outcome", "reason", "records", right=("records",))
    for (outcome, reason), number in sorted(report.outcomes.items()):
        table.add_row(outcome.value, reason.value, str(number))
    make_console().print(table)


def advise(app: App, report: ImportReport) -> None:
    """Say what a person may have to do, on stderr."""
    from ciris_mesh.records.outcome import Outcome
    from ciris_mesh.ui.words import count

    for one in report.damage[:_SHOWN_MAX]:
        where = f"byte {one.offset}" + (f", {one.size_bytes} bytes" if one.size_bytes else "")
        app.talk(f"Damaged at {where}: {_DAMAGE[one.reason]}.")
    if report.damaged > _SHOWN_MAX:
        app.talk(f"And {report.damaged - _SHOWN_MAX} more damaged places.")
    if report.gave_up:
        app.talk(f"Not read to its end: {report.gave_up}.")
    if report.damaged:
        app.talk("What was intact is imported; get another copy of the file for the rest.")
    if waiting := report.of(Outcome.DEFERRED):
        app.talk(f"{count(waiting, 'record')} wait for what they need: they count when it arrives.")
