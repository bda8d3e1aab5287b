"""`demo`: real nodes on this machine, nothing of the user's touched."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Final

import click

from ciris_mesh.cli.app import App
from ciris_mesh.cli.scratch import ended_by_signals, scratch_directory
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.demo.layout import NODES_MAX

#: Three nodes need seconds; many nodes on two cores need minutes.
TIMEOUT_S: Final = 60.0
TIMEOUT_PER_NODE_S: Final = 10.0
TIMEOUT_PER_RECORD_S: Final = 0.05

NEXT: Final = """
What next?
  ciris-mesh demo --nodes 6 --records 100   the same, larger
  ciris-mesh sim                            a federation of a thousand nodes
  ciris-mesh ether                          LoRa radios for Reticulum, without hardware
  ciris-mesh setup laptop                   a node of your own (or field, gateway, registry)"""


@click.command(cls=Verb)
@click.option(
    "--nodes",
    type=click.IntRange(2, NODES_MAX),
    default=3,
    show_default=True,
    metavar="N",
    help="How many nodes, each a process of its own.",
)
@click.option(
    "--records",
    type=click.IntRange(1, 100_000),
    default=13,
    show_default=True,
    metavar="R",
    help="How many records each node signs; 13 is one of each kind.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="Give up after this long; by default it grows with nodes and records.",
)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON on stdout.")
@click.option("--keep", is_flag=True, help="Keep the nodes' directories and say where they are.")
@click.pass_context
def demo(
    ctx: click.Context,
    *,
    nodes: int,
    records: int,
    timeout: float | None,
    as_json: bool,
    keep: bool,
) -> None:
    """Start real nodes on this machine, let each sign records, and watch them agree.

    The nodes are separate processes that speak Reticulum over loopback TCP. They live in a
    temporary directory and never see your Reticulum or your own node. The exit code is 0 when
    every envelope id of every kind is equal on all nodes at the end.
    """
    from ciris_mesh.demo.engine import Demo
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.demo import follow, result_text

    app: App = ctx.obj
    limit_s = timeout or (
        TIMEOUT_S + nodes * TIMEOUT_PER_NODE_S + nodes * records * TIMEOUT_PER_RECORD_S
    )
    console = make_console(stderr=True)
    console.quiet = app.verbosity < 0
    with (
        ended_by_signals(),
        scratch_directory(app, "demo", keep=keep) as root,
        follow(console) as show,
    ):
        result = Demo(root, nodes=nodes, records=records, timeout_s=limit_s, show=show).run()
    if as_json:
        click.echo(json.dumps(asdict(result)))
    else:
        make_console().print(result_text(result))
        app.talk(NEXT)
    if not result.converged:
        ctx.exit(1)
