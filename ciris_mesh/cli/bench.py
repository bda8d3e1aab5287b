"""`bench`: what things cost on this machine, as ratios to floors measured in the same run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ciris_mesh.cli.app import App, print_json
from ciris_mesh.cli.scratch import ended_by_signals, scratch_directory
from ciris_mesh.cli.verbs import Verb

if TYPE_CHECKING:
    from ciris_mesh.bench.records import Record
    from ciris_mesh.bench.report import Report

_Command = TypeVar("_Command", bound=Callable[..., Any])

#: Written out, so that help needs none of the bench's imports; a test compares them.
TCP_RECORDS: Final = 5_000
STORE_ROWS: Final = 1_000_000
BUDGET_HOURS: Final = 24
RADIO_RECORDS: Final = 10
RADIO_SF: Final = 8
#: A month; memory and time grow with it.
BUDGET_HOURS_MAX: Final = 720
TRANSCODE_RECORDS: Final = 400
RECONCILE_SEEDS: Final = 200
RECONCILE_RECORDS: Final = 1_000_000
REGISTRY_PEERS: Final = 50
REGISTRY_RECORDS: Final = 40
#: A day's work for two cores; nobody means more.
RECORDS_MAX: Final = 10_000_000

_seed_option = click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=1,
    show_default=True,
    metavar="S",
    help="What is made follows from it.",
)


def _records_option(default: int, text: str) -> Callable[[_Command], _Command]:
    return click.option(
        "--records",
        "count",
        type=click.IntRange(1, RECORDS_MAX),
        default=default,
        show_default=True,
        metavar="N",
        help=text,
    )


_json_option = click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")


@click.group()
def bench() -> None:
    """Measure this machine; the nodes and stores used are made for it and removed.

    Figures are ratios to a floor measured in the same run. The exit code is 0 when every one is
    within its limit and 1 when not.
    """


@bench.command(cls=Verb)
@click.argument("count", metavar="N", type=click.IntRange(1, RECORDS_MAX))
@_seed_option
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The bundle to write.",
)
@click.option("--force", is_flag=True, help="Replace the file when it is there already.")
@click.pass_obj
def records(app: App, *, count: int, seed: int, out: Path, force: bool) -> None:
    """Make N signed records and write them as a bundle that any node can import.

    60 % are attestations, 20 % keys, 20 % eight other kinds; organizations, memberships and
    partner records need a configuration that trusts somebody and are left out. Who says what
    follows from N and the seed; signatures, and so the bytes, differ from run to run, because
    ML-DSA signatures contain fresh randomness.
    """
    from ciris_mesh.bench.pool import all_cores
    from ciris_mesh.bench.records import Plan, made_records
    from ciris_mesh.runtime.bundle import export_bundle
    from ciris_mesh.ui import words
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.progress import bar

    console = make_console(stderr=True)
    console.quiet = app.verbosity < 0
    with ended_by_signals(), all_cores() as pool, bar(console, "sign", count) as report:
        made: Iterator[Record] = made_records(pool, Plan(count, seed))
        export_bundle(out, made, lambda done, size: report(done, words.size(size)), replace=force)
    app.talk(f"{words.count(count, 'record')} written to {out}.")


@bench.command(cls=Verb)
@_records_option(TCP_RECORDS, "How many records are replicated.")
@click.option(
    "--frame",
    type=click.Choice(["0x01", "0x81"]),
    default="0x01",
    show_default=True,
    help="What records travel in: the JSON of other nodes, or our own.",
)
@_seed_option
@_json_option
@click.pass_context
def tcp(ctx: click.Context, *, count: int, frame: str, seed: int, as_json: bool) -> None:
    """Replicate records to an empty node over loopback TCP.

    Two node processes speak Reticulum on 127.0.0.1. The time from their first link until the last
    record is verified and stored is compared with that of verifying the signatures alone, on all
    cores.
    """
    from ciris_mesh.bench.tcp import run

    app: App = ctx.obj

    def measure(root: Path) -> Report:
        return run(root, records=count, seed=seed, tell=app.talk, frame=frame)

    _measure(ctx, measure, as_json=as_json)


@bench.command(cls=Verb)
@_records_option(STORE_ROWS, "Rows of the large store.")
@_seed_option
@_json_option
@click.pass_context
def store(ctx: click.Context, *, count: int, seed: int, as_json: bool) -> None:
    """Compare and admit with a large store, beside a small one.

    The rows are written below admission into a scratch database; they were never signed and are
    shorter than real ones, which nothing measured here reads.
    """
    from ciris_mesh.bench.store import run

    app: App = ctx.obj
    _measure(ctx, lambda root: run(root, records=count, seed=seed, tell=app.talk), as_json=as_json)


def _measure(ctx: click.Context, run: Callable[[Path], Report], *, as_json: bool) -> None:
    with ended_by_signals(), scratch_directory(ctx.obj, "bench", keep=False) as root:
        report = run(root)
    _show(ctx, report, as_json=as_json)


@bench.command(cls=Verb)
@click.option(
    "--records",
    "count",
    type=click.IntRange(1, RECORDS_MAX),
    default=TRANSCODE_RECORDS,
    show_default=True,
    metavar="N",
    help="How many records are coded.",
)
@_seed_option
@_json_option
@click.pass_context
def transcode(ctx: click.Context, *, count: int, seed: int, as_json: bool) -> None:
    """Code records for radio and compare with what nobody can compress.

    Signatures, public keys, and the entropy of ids and times make up the floor; words count for
    nothing. Rows without a limit are for information.
    """
    from ciris_mesh.bench.transcode import run

    app: App = ctx.obj
    with ended_by_signals():
        report = run(records=count, seed=seed, tell=app.talk)
    _show(ctx, report, as_json=as_json)


@bench.command(cls=Verb)
@click.option(
    "--seeds",
    type=click.IntRange(1, RECORDS_MAX),
    default=RECONCILE_SEEDS,
    show_default=True,
    metavar="N",
    help="How many exchanges for each row of few differences; fewer is quicker.",
)
@click.option(
    "--records",
    "count",
    type=click.IntRange(1_000, RECORDS_MAX),
    default=RECONCILE_RECORDS,
    show_default=True,
    metavar="N",
    help="Records of the large view.",
)
@_seed_option
@_json_option
@click.pass_context
def reconcile(ctx: click.Context, *, seeds: int, count: int, seed: int, as_json: bool) -> None:
    """Find out which records two views do not share.

    Bytes are whole frames both ways. CPU is that of both sides; making the views, keeping bucket
    digests and reading a store are not in it.
    """
    from ciris_mesh.bench.reconcile import run

    app: App = ctx.obj
    with ended_by_signals():
        report = run(seeds=seeds, seed=seed, records=count, tell=app.talk)
    _show(ctx, report, as_json=as_json)


@bench.command(cls=Verb)
@click.option(
    "--hours",
    type=click.IntRange(1, BUDGET_HOURS_MAX),
    default=BUDGET_HOURS,
    show_default=True,
    metavar="H",
    help="How long, in simulated time.",
)
@_seed_option
@_json_option
@click.pass_context
def budget(ctx: click.Context, *, hours: int, seed: int, as_json: bool) -> None:
    """Simulate six nodes on one LoRa channel at 1 % duty, SF8, and watch what they send.

    Five hold 500 records and one none; ten new ones an hour are signed somewhere, some of them
    removals. Emulated RNodes carry the bytes that Reticulum would send. Nobody may exceed 1 % of
    any hour, nothing may be handed over past a removal, and what waits must be shown. Everything
    follows from the seed.
    """
    from ciris_mesh.bench.budget import run

    app: App = ctx.obj
    with ended_by_signals():
        report = run(hours=hours, seed=seed, tell=app.talk)
    _show(ctx, report, as_json=as_json)


@bench.command(cls=Verb)
@click.option(
    "--hours",
    type=click.IntRange(1, BUDGET_HOURS_MAX),
    default=BUDGET_HOURS,
    show_default=True,
    metavar="H",
    help="How long, in simulated time.",
)
@_seed_option
@_json_option
@click.pass_context
def gateway(ctx: click.Context, *, hours: int, seed: int, as_json: bool) -> None:
    """Simulate a gateway with 100 records from TCP for a cell of SF8 at 1 %, and one revocation.

    The records come in at once, the revocation when the first of them are on air. It must be the
    next thing the gateway hands to its radio, and nobody may exceed 1 % of any hour. TCP is not
    simulated; the cell is that of `bench budget`. Everything follows from the seed.
    """
    from ciris_mesh.bench.gateway import run

    app: App = ctx.obj
    with ended_by_signals():
        report = run(hours=hours, seed=seed, tell=app.talk)
    _show(ctx, report, as_json=as_json)


@bench.command(cls=Verb)
@click.option(
    "--peers",
    type=click.IntRange(2, 500),
    default=REGISTRY_PEERS,
    show_default=True,
    metavar="N",
    help="Peer processes; 60 MB of memory each.",
)
@_records_option(REGISTRY_RECORDS, "Records each peer begins with.")
@click.option(
    "--registries",
    type=click.IntRange(1, 8),
    default=1,
    show_default=True,
    metavar="R",
    help="Registry processes on one database. With more than one, one is measured first.",
)
@click.option(
    "--store",
    "url",
    metavar="URL",
    help="An empty PostgreSQL database. Left out: in a server made for this and removed.",
)
@_json_option
@click.pass_context
def registry(
    ctx: click.Context, *, peers: int, count: int, registries: int, url: str | None, as_json: bool
) -> None:
    """Let many peers exchange their records through a registry on PostgreSQL.

    Every peer and every registry is a process that speaks Reticulum on 127.0.0.1. The clock runs
    from when all have started until the last peer holds everybody's records.
    """
    from ciris_mesh.bench.registry import run

    app: App = ctx.obj

    def measure(root: Path) -> Report:
        return run(root, peers=peers, records=count, registries=registries, url=url, tell=app.talk)

    _measure(ctx, measure, as_json=as_json)


@bench.command(cls=Verb)
@click.option(
    "--records",
    "count",
    type=click.IntRange(1, 1_000),
    default=RADIO_RECORDS,
    show_default=True,
    metavar="N",
    help="How many new records are taken over in each run.",
)
@click.option(
    "--sf",
    type=click.IntRange(7, 12),
    default=RADIO_SF,
    show_default=True,
    help="Spreading factor.",
)
@click.option("--quick", is_flag=True, help="Like --records 3 --sf 7: the same rows, no limits.")
@click.option(
    "--speed",
    type=click.FloatRange(0.1, 1_000),
    default=1.0,
    show_default=True,
    metavar="X",
    help="Let the radio's time pass X times as fast. Reticulum's own timeouts don't.",
)
@_seed_option
@_json_option
@click.pass_context
def radio(
    ctx: click.Context, *, count: int, sf: int, quick: bool, speed: float, seed: int, as_json: bool
) -> None:
    """Replicate between two nodes that have nothing but a LoRa radio each.

    Node processes speak through Reticulum's own RNode driver to emulated radios: without loss,
    with a tenth of all frames lost, and in the JSON of other nodes. What the channel carried is
    compared with the records' own coded bytes in full frames. At speed 1, the only one that shows
    what happens in the field, it takes 15 minutes for 10 records. Limits are for those, at SF8.
    """
    from ciris_mesh.bench.radio import QUICK_RECORDS, QUICK_SF, run

    app: App = ctx.obj
    if quick:
        count, sf = QUICK_RECORDS, QUICK_SF

    def measure(root: Path) -> Report:
        return run(root, records=count, seed=seed, sf=sf, speed=speed, tell=app.talk)

    _measure(ctx, measure, as_json=as_json)


def _show(ctx: click.Context, report: Report, *, as_json: bool) -> None:
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.tables import grid

    if as_json:
        print_json(report.fields())
    else:
        numbers = ("measured", "floor", "ratio", "limit")
        table = grid(f"bench {report.bench}", *numbers, "", right=numbers)
        for row in report.rows:
            values = (row.measured, row.floor, row.ratio, row.limit)
            table.add_row(
                row.quantity,
                *("" if value is None else f"{value:.4g}" for value in values),
                "" if row.limit is None else "ok" if row.ok else "over",
                style="" if row.ok else "bad",
            )
        make_console().print(table)
    if not report.ok:
        ctx.exit(1)
