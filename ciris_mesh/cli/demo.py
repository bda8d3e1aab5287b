"""`demo`: real nodes on this machine, nothing of the user's touched."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ciris_mesh.cli.app import App
from ciris_mesh.cli.scratch import ended_by_signals, scratch_directory
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.demo.layout import FULL_MESH_NODES_MAX, NODES_MAX, node_name

if TYPE_CHECKING:
    from ciris_mesh.demo.network import Network
    from ciris_mesh.demo.progress import DemoResult

#: Three nodes need seconds; many nodes on two cores need minutes.
TIMEOUT_S: Final = 180.0
TIMEOUT_PER_NODE_S: Final = 10.0
TIMEOUT_PER_RECORD_S: Final = 0.05

NEXT: Final = """
What next?
  {radio}
  ciris-mesh sim             a federation of a thousand nodes
  ciris-mesh setup laptop    a node of your own (or field, gateway, registry)"""

#: The first of it: what was not shown just now.
NEXT_RADIO: Final = "ciris-mesh demo --radio    the same over LoRa radios, emulated"
NEXT_ETHER: Final = "ciris-mesh ether           emulated radios for a Reticulum of yours"

#: One of each kind, and by radio a few: each takes eleven seconds of air for each other node.
RECORDS: Final = 13
RADIO_RECORDS: Final = 3
#: Two minutes of a real channel in eight seconds. Above it the driver's pauses are what is left.
RADIO_SPEED: Final = 16.0
#: Of the channel at SF8, for each pair of nodes: getting to know each other both ways, and a
#: record; three times as long as it takes when nothing collides.
RADIO_MEET_S: Final = 180.0
RADIO_RECORD_S: Final = 45.0
#: The driver starts, and an exchange that failed is tried again after a minute.
RADIO_TIMEOUT_S: Final = 180.0


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
    metavar="R",
    help=f"How many records each node signs: {RECORDS} if not given, one of each kind; "
    f"{RADIO_RECORDS} with --radio.",
)
@click.option(
    "--radio",
    is_flag=True,
    help="Join the nodes by emulated LoRa radios, and show what each was on air for.",
)
@click.option(
    "--speed",
    type=click.FloatRange(1, 64),
    metavar="X",
    help=f"With --radio: let the channel's time pass X times as fast; {RADIO_SPEED:g} if not "
    "given, 1 is real time.",
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
    records: int | None,
    radio: bool,
    speed: float | None,
    timeout: float | None,
    as_json: bool,
    keep: bool,
) -> None:
    """Start real nodes on this machine, let each sign records, and watch them agree.

    The nodes are separate processes that speak Reticulum over loopback TCP. They live in a
    temporary directory and never see your Reticulum or your own node. The exit code is 0 when
    every envelope id of every kind is equal on all nodes at the end.

    With --radio they speak over one emulated LoRa channel instead, each through Reticulum's own
    RNodeInterface and a serial port of its own; no hardware is needed or touched. No duty is kept
    then: "takes at 1 %" says how many hours it would be with.
    """
    from ciris_mesh.demo.engine import Demo
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.demo import follow, result_view

    app: App = ctx.obj
    _check(nodes, radio=radio, speed=speed)
    pace = (speed or RADIO_SPEED) if radio else None
    count = records or (RADIO_RECORDS if radio else RECORDS)
    limit_s = timeout or _limit_s(nodes, count, pace)
    console = make_console(stderr=True)
    console.quiet = app.verbosity < 0
    with (
        ended_by_signals(),
        scratch_directory(app, "demo", keep=keep) as root,
        follow(console) as show,
    ):
        network = None if pace is None else _lora(root, nodes, pace)
        result = Demo(
            root, nodes=nodes, records=count, timeout_s=limit_s, show=show, network=network
        ).run()
    if as_json:
        click.echo(json.dumps(_members(result)))
    else:
        make_console().print(result_view(result))
        app.talk(NEXT.format(radio=NEXT_ETHER if radio else NEXT_RADIO))
    if not result.converged:
        ctx.exit(1)


def _check(nodes: int, *, radio: bool, speed: float | None) -> None:
    """Refuse what does not go together.

    Raises:
        UsageError: it does not.
    """
    if speed is not None and not radio:
        raise click.UsageError("--speed is of the radio's time: give --radio as well")
    if radio and nodes > FULL_MESH_NODES_MAX:
        raise click.UsageError(
            f"on one channel at most {FULL_MESH_NODES_MAX} nodes get to know each other in time"
        )


def _limit_s(nodes: int, records: int, pace: float | None) -> float:
    if pace is None:
        return TIMEOUT_S + nodes * TIMEOUT_PER_NODE_S + nodes * records * TIMEOUT_PER_RECORD_S
    pairs = nodes * (nodes - 1)
    return RADIO_TIMEOUT_S + pairs * (RADIO_MEET_S + records * RADIO_RECORD_S) / min(pace, 16.0)


def _lora(root: Path, nodes: int, pace: float) -> Network:
    from ciris_mesh.demo.network import VirtualLora

    return VirtualLora(root / "ether", tuple(map(node_name, range(nodes))), speed=pace)


def _members(result: DemoResult) -> dict[str, object]:
    """By TCP there is no channel to speak of."""
    members = asdict(result)
    if result.channel is None:
        del members["channel"]
    return members
