"""Journey (b): a Raspberry Pi with an RNode, here an emulated one under Reticulum's own driver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.journeys import base_on_radio, invite_of, key_of
from support.screen import Machine, Screen, a_machine, fits, needs_a_machine

pytestmark = [pytest.mark.rns, pytest.mark.air, pytest.mark.slow, needs_a_machine]

PASSPHRASE = "correct horse battery"


@pytest.fixture
def machine() -> Iterator[Machine]:
    with a_machine() as made:
        yield made


def test_from_a_bare_board_to_a_node_that_keeps_what_it_has(machine: Machine) -> None:
    air = machine.person("air")
    lab = machine.root / "lab"
    radios = f"ciris-mesh ether --nodes 2 --speed 16 --dir {lab}"
    air.begin(radios)
    air.wait("2 radios at 3125 bit/s")
    base = base_on_radio(machine, f"{lab}/rnode1")
    pi = machine.person("pi")
    sets_up(pi, f"{lab}/rnode0", invite_of(machine.home(base)))
    base.run(f"ciris-mesh peer add '{invite_of(machine.home(pi))}' --alias field-3")
    looks_and_installs(pi)
    runs = machine.another(pi, "pi-2")
    runs.begin("ciris-mesh run")
    runs.wait("ready field-3-")
    record = signs_and_looks(pi, base, key_of(machine.home(base)))
    backs_up(pi)
    unplugs(pi, air, radios)

    runs.pull_the_plug()
    assert "no node is running here" in " ".join(pi.run("ciris-mesh status").split())
    runs.begin("ciris-mesh run")
    runs.wait("ready field-3-")
    assert record[:8] in pi.run("ciris-mesh records")
    pi.until("ciris-mesh doctor", "Nothing is wrong.")


def sets_up(pi: Screen, port: str, invite: str) -> None:
    pi.begin("ciris-mesh setup field")
    pi.answer("A name for its key:", "field-3")
    pi.wait("1 eu868-p Europe, 869.4-869.65 MHz, 10 % duty")
    pi.answer("Region: a number, or a name:", "1")
    pi.wait("No serial port is there now.")
    pi.answer("Port:", port)
    pi.answer("A peer's invite (empty to go on):", invite)
    pi.answer("A peer's invite (empty to go on):", "")
    pi.answer("Write this node's files in", "y")
    pi.answer("config too? [y/N]:", "y")
    said = pi.finish()
    assert "airtime_limit_long = 8" in said
    assert "+duty = 10%" in said
    assert "Look whether all is well: ciris-mesh doctor" in said


def looks_and_installs(pi: Screen) -> None:
    said = pi.run("ciris-mesh doctor")
    fits(said)
    assert "+ ok   airtime_limit" in said
    assert "1 failed." in said, "it does not run yet, and that is all"
    pi.begin("ciris-mesh service install")
    pi.answer("Write it? [y/N]:", "n")
    said = pi.finish(code=1)
    assert "Type=notify" in said
    assert "nothing was written" in said


def signs_and_looks(pi: Screen, base: Screen, other: str) -> str:
    assert "This node and its peers agree." in pi.run("ciris-mesh wait --converged")
    said = pi.run(f"ciris-mesh attest {other} --dimension trust:field:v1 --score 1 --yes")
    record = said.split()[-1]
    pi.run("ciris-mesh wait --converged")
    assert record[:8] in base.run("ciris-mesh records")
    for command, tells in (("peers", "fresh"), ("budget", "+ healthy: 1 radio within duty")):
        pi.until(f"ciris-mesh {command}", tells)
        fits(pi.run(f"ciris-mesh {command}"))
    pi.watch("ciris-mesh status -m", "batch.sent", "batch.taken", "RNodeInterface[RNode]")
    return record


def backs_up(pi: Screen) -> None:
    pi.begin("ciris-mesh backup node.cmb")
    pi.answer("Passphrase, at least 12 characters:", PASSPHRASE)
    pi.answer("Repeat for confirmation:", PASSPHRASE)
    assert "read back and compared" in " ".join(pi.finish().split())
    assert PASSPHRASE not in pi.shows()


def unplugs(pi: Screen, air: Screen, radios: str) -> None:
    air.press("C-c")
    air.finish()
    pi.until("ciris-mesh status", "RNodeInterface[RNode] is down; records wait until it is back")
    pi.until("ciris-mesh doctor", "x fail interfaces_down", "! warn port_missing")
    air.begin(radios)  # plugged in again: nobody else does anything
    pi.until("ciris-mesh status", "+ healthy: 1 peer")
