"""`ether`: emulated radios for Reticulum's own driver, no hardware."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ciris_mesh.cli.app import App, Failure, print_json
from ciris_mesh.cli.scratch import scratch_directory
from ciris_mesh.cli.verbs import Verb

if TYPE_CHECKING:
    from ciris_mesh.radio.airtime import LoraSettings
    from ciris_mesh.radio.pty_port import Ether
    from ciris_mesh.radio.topology import Reach

#: Written out, so that help needs none of the radio's imports; a test compares them.
NODES_MAX: Final = 64
BANDWIDTHS: Final = (
    "7810", "10420", "15630", "20830", "31250", "41670", "62500", "125000", "250000", "500000",
)  # fmt: skip
SHAPES: Final = ("full", "line", "star")
#: Faster than this the host's own pauses are all there is left.
SPEED_MAX: Final = 1_000.0
#: A topology of so many bytes names every pair of 64 nodes several times over.
TOPOLOGY_BYTES_MAX: Final = 262_144
#: A fault on the ether's thread is noticed this late.
_LOOK_S: Final = 1.0


@click.command(cls=Verb)
@click.option(
    "--nodes",
    type=click.IntRange(1, NODES_MAX),
    default=2,
    show_default=True,
    metavar="N",
    help="How many radios.",
)
@click.option(
    "--sf",
    type=click.IntRange(5, 12),
    default=8,
    show_default=True,
    help="Spreading factor in the configuration shown; radios use what their host sets.",
)
@click.option(
    "--bw",
    type=click.Choice(BANDWIDTHS),
    default="125000",
    show_default=True,
    metavar="HZ",
    help="Bandwidth, likewise.",
)
@click.option(
    "--cr", type=click.IntRange(5, 8), default=5, show_default=True, help="Coding rate 4:CR."
)
@click.option(
    "--frequency",
    type=click.IntRange(137_000_000, 3_000_000_000),
    default=868_100_000,
    show_default=True,
    metavar="HZ",
    help="Frequency, likewise.",
)
@click.option(
    "--loss",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    metavar="P",
    help="Probability that a LoRa frame is lost at one receiver.",
)
@click.option(
    "--speed",
    type=click.FloatRange(0.01, SPEED_MAX),
    default=1.0,
    show_default=True,
    metavar="X",
    help="Let the radio's time pass X times as fast.",
)
@click.option(
    "--topology",
    default="full",
    show_default=True,
    metavar="full|line|star|FILE",
    help="Who hears whom; a FILE has a line like `0 1` or `0 > 1 -90` for each pair.",
)
@click.option("--seed", type=int, metavar="S", help="Of slots and losses; by default any.")
@click.option("--for", "for_s", type=click.FloatRange(0), metavar="SECONDS", help="End by itself.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the ports appear; by default a new directory that is removed at the end.",
)
@click.option(
    "--socket",
    "by_socket",
    is_flag=True,
    help="Print configurations for VirtualRNodeInterface instead, which needs no serial port.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON line at the start, one at the end.")
@click.pass_obj
def ether(app: App, /, **options: Any) -> None:
    """Emulate LoRa radios on one channel until Ctrl-C or SIGTERM.

    Each radio is a serial port that Reticulum's own RNodeInterface opens like a real RNode. Start
    one Reticulum for each, with the configuration that is printed. At the end it is shown what
    each radio sent, heard and missed, in LoRa frames.
    """
    from ciris_mesh.cli.verbs import set_up_logging
    from ciris_mesh.radio.airtime import LoraSettings
    from ciris_mesh.runtime.ending import EndSignals

    set_up_logging(app.verbosity)
    settings = LoraSettings(options["frequency"], int(options["bw"]), options["sf"], options["cr"])
    reach = _reach(options["topology"], options["nodes"])
    with EndSignals() as ending, _place(app, options["directory"]) as directory:
        running = _build(directory, reach, options)
        running.start()
        try:
            _show_ports(running, settings, options)
            _wait(running, ending, options["for_s"])
        finally:
            elapsed_s = running.elapsed_s
            running.stop()
        _show_counters(running, elapsed_s, as_json=options["as_json"])


def _build(directory: Path, reach: Reach, options: dict[str, Any]) -> Ether:
    import random

    from ciris_mesh.radio.pty_port import Ether

    return Ether(
        directory,
        reach,
        randomness=random.Random(options["seed"]),
        loss=options["loss"],
        speed=options["speed"],
    )


def _reach(topology: str, nodes: int) -> Reach:
    from ciris_mesh.radio.topology import SHAPES as MAKERS
    from ciris_mesh.radio.topology import parse

    if topology in MAKERS:
        return MAKERS[topology](nodes)
    path = Path(topology)
    try:
        with path.open("rb") as file:
            content = file.read(TOPOLOGY_BYTES_MAX + 1)
        text = content.decode()
    except FileNotFoundError:
        raise Failure(
            f"topology {topology[:80]} is neither {', '.join(SHAPES)} nor a file here"
        ) from None
    except UnicodeDecodeError:
        raise Failure(f"{path} is no text") from None
    if len(content) > TOPOLOGY_BYTES_MAX:
        raise Failure(f"{path} is longer than {TOPOLOGY_BYTES_MAX} bytes")
    return parse(text, nodes)


@contextmanager
def _place(app: App, directory: Path | None) -> Iterator[Path]:
    if directory is not None:
        yield directory
    else:
        with scratch_directory(app, "ether", keep=False) as made:
            yield made


def _wait(running: Ether, ending: Any, for_s: float | None) -> None:
    """Wait for a signal, the time asked for, or a fault.

    Raises:
        Failure: the ether ended by itself.
    """
    end_s = math.inf if for_s is None else time.monotonic() + for_s
    while running.is_running:
        left_s = end_s - time.monotonic()
        if left_s <= 0 or ending.wait(min(left_s, _LOOK_S)):
            return
    raise Failure("the ether ended by a fault; the log line above says which")


def _show_ports(running: Ether, settings: LoraSettings, options: dict[str, Any]) -> None:
    from ciris_mesh.radio.blocks import rnode_block, virtual_block, whole_config
    from ciris_mesh.ui.words import count

    block = virtual_block if options["by_socket"] else rnode_block
    configs = [whole_config(place, block(place, settings)) for place in running.ports]
    if options["as_json"]:
        rows = [
            {"node": each.node, "port": str(each.port), "socket": str(each.socket), "config": text}
            for each, text in zip(running.ports, configs, strict=True)
        ]
        print_json({"event": "ready", "speed": options["speed"], "nodes": rows})
        return
    bitrate, pace = settings.bitrate_bps, options["speed"]
    radios = count(len(configs), "radio")
    click.echo(f"{radios} at {bitrate:.0f} bit/s, time {pace:g} x. Ctrl-C ends it.\n")
    click.echo("Save each part as the file `config` of a directory DIR, then: rnsd --config DIR")
    if options["by_socket"]:
        shim = "DIR/interfaces/VirtualRNodeInterface.py"
        click.echo(f"Before that: ciris-mesh interfaces show VirtualRNodeInterface > {shim}")
    click.echo()
    for place, text in zip(running.ports, configs, strict=True):
        click.echo(f"# ---- rnode{place.node} ----\n{text}")


def _show_counters(running: Ether, elapsed_s: float, *, as_json: bool) -> None:
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.radio import counters_view

    counters = running.counters()
    if as_json:
        rows = [asdict(each) for each in counters]
        print_json({"event": "ended", "channel_s": round(elapsed_s, 3), "nodes": rows})
    else:
        make_console().print(counters_view(counters, elapsed_s))
