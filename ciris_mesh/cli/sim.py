"""`sim`: a whole federation in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from ciris_mesh.cli.app import App, print_json
from ciris_mesh.cli.scratch import ended_by_signals
from ciris_mesh.cli.verbs import Verb

if TYPE_CHECKING:
    from ciris_mesh.sim.layout import Layout

#: Shape -> nodes, cells, registries when nothing else is said.
SHAPES: Final = {"federation": (1_000, 20, 5), "cell": (12, 1, 1)}
#: Two hours of a desk machine.
NODES_MAX: Final = 20_000
#: More at once than a sketch is simulated for.
RECORDS_MAX: Final = 200
HOURS: Final = 24 * 30
HOURS_MAX: Final = 24 * 365


@click.command(cls=Verb)
@click.option(
    "--topology",
    type=click.Choice(list(SHAPES)),
    is_flag=False,
    flag_value="federation",
    default="federation",
    show_default=True,
    help="Registries, gateways with cells, and leaves; or one cell, its gateway and a registry.",
)
@click.option(
    "--nodes",
    type=click.IntRange(1, NODES_MAX),
    metavar="N",
    help="All nodes; what is neither registry nor in a cell is a leaf. [1000, or 12]",
)
@click.option("--cells", type=click.IntRange(0, 1_000), metavar="N", help="[20, or 1]")
@click.option(
    "--cell-nodes",
    type=click.IntRange(1, 40),
    default=10,
    show_default=True,
    metavar="N",
    help="Field nodes of each cell; its gateway comes besides.",
)
@click.option("--registries", type=click.IntRange(1, 100), metavar="N", help="[5, or 1]")
@click.option(
    "--records",
    type=click.IntRange(1, RECORDS_MAX),
    default=5,
    show_default=True,
    metavar="N",
    help="Signed within the first hour, each at a node drawn from all.",
)
@click.option(
    "--duty", default="1%", show_default=True, metavar="1%|none", help="Of every radio's hour."
)
@click.option(
    "--loss",
    type=click.FloatRange(0, 0.5),
    default=0.02,
    show_default=True,
    metavar="P",
    help="Part of what is sent by radio that has to be sent again.",
)
@click.option(
    "--hours",
    type=click.IntRange(1, HOURS_MAX),
    default=HOURS,
    show_default=True,
    metavar="H",
    help="Give up after so long, in virtual time.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=1, show_default=True, metavar="S",
    help="Everything follows from it.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
@click.pass_context
def sim(ctx: click.Context, /, *, as_json: bool, **options: Any) -> None:
    """Let records spread through a federation of many nodes in virtual time.

    Real are the sizes of comparisons and sketches (the protocol's own messages are made and
    measured), the planner and the airtime ledger of every radio, prices on air at SF8, and the
    delays with which news is told. A model are TCP links (2 Mbit/s, 100 for registries, 50 ms, one
    piece of work at a time at each node), the time a record takes to verify (3 ms), the sizes of
    records, and the channel of a cell, where transfers wait for each other instead of colliding.
    Left out are failures, cryptography, and announces on TCP.

    The exit code is 0 when every node had every record in the end, and 1 when not.
    """
    import random

    from ciris_mesh.sim.federation import Federation, SimPlan

    app: App = ctx.obj
    layout = _layout(options, random.Random(options["seed"]))
    plan = SimPlan(options["records"], _rule(options["duty"]), options["loss"], options["hours"])
    with ended_by_signals():
        report = Federation(layout, plan, options["seed"], app.talk).run()
    if as_json:
        from ciris_mesh.cli.plain import dump

        print_json(dump(report))
    else:
        from ciris_mesh.ui.console import make_console
        from ciris_mesh.ui.sim import report_view

        make_console().print(report_view(report))
    if not report.converged:
        ctx.exit(1)


def _layout(options: dict[str, Any], chance: Any) -> Layout:
    from ciris_mesh.sim.layout import federation

    nodes, cells, registries = SHAPES[options["topology"]]
    return federation(
        nodes if options["nodes"] is None else options["nodes"],
        cells=cells if options["cells"] is None else options["cells"],
        cell_nodes=options["cell_nodes"],
        registries=registries if options["registries"] is None else options["registries"],
        chance=chance,
    )


def _rule(text: str) -> Any:
    from ciris_mesh.protocol.duty import parse_rule

    try:
        return parse_rule(text)
    except ValueError:
        raise click.BadParameter(f"{text} is no share of an hour", param_hint="--duty") from None
