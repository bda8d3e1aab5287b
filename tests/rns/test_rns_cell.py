"""Three nodes that hear each other by radio, or not: records arrive whatever befalls the radios.

Processes as `ciris-mesh run` makes them, Reticulum's own driver, emulated RNodes. The channel is
faster than a real one, so timeouts are judged elsewhere; here it is that nothing is lost.
"""

from __future__ import annotations

import pytest

from ciris_mesh.radio.topology import full, line, star
from support.cell import (
    KIND,
    PATIENCE_S,
    Cell,
    cell,
    have,
    hurry_for,
    only,
    peers,
    slowed,
    wait_for,
)
from support.node_processes import NodeProcess, wait_until

pytestmark = [pytest.mark.rns, pytest.mark.air, pytest.mark.slow]

NAMES = ("alice", "bob", "carol")
#: Of the channel.
HOUR_S = 3_600.0
ONLINE_S = 240.0
#: Slow enough to do something while records are on the way; and an hour in 38 s.
CALM, HASTY = 16.0, 96.0
#: What Reticulum's driver logs (rns 1.5.7): that it was off-line may be over when one looks.
OFFLINE = "is now offline"
#: So many bytes of alice's are on air when bob's radio goes: within the first of five records.
MIDDLE_BYTES = 2_000
RECORDS = 5
#: A machine that stood still while all was sent gets another chance.
TRIES = 5


def three(made: Cell) -> tuple[NodeProcess, NodeProcess, NodeProcess]:
    alice, bob, carol = (made.make(name) for name in NAMES)
    return alice, bob, carol


def online(node: NodeProcess) -> bool:
    return all(row["online"] for row in node.status()["interfaces"])


def send_some(made: Cell, alice: NodeProcess, signed: int) -> list[str]:
    """Let alice sign some records; returns when part of the first is on air."""
    before = made.ether.counters()[0].bytes_sent
    records = [alice.sign(1 + signed + number) for number in range(RECORDS)]
    wait_until(
        lambda: made.ether.counters()[0].bytes_sent - before > MIDDLE_BYTES,
        "they are on their way",
        PATIENCE_S,
    )
    return records


def test_all_hear_each_other() -> None:
    """A full mesh: what each signs comes to both others."""
    with cell() as made:
        alice, bob, carol = nodes = three(made)
        peers((alice, bob), (bob, carol), (carol, alice))
        made.run(*nodes)
        wait_for("all have what each signed", nodes, [node.sign(1) for node in nodes])
        counters = made.ether.counters()
    assert all(each.frames_sent > 0 for each in counters)
    assert all("out_of_reach" not in each.missed for each in counters)


def test_the_ends_of_a_line_are_peers_through_a_transport_node_between() -> None:
    """Two hops on one channel. Who stands between passes packets on and holds none of it."""
    with cell(line(3), routers=["bob"]) as made:
        alice, bob, carol = nodes = three(made)
        peers((alice, carol))
        made.run(*nodes)
        records = [alice.sign(1), carol.sign(2)]
        hurry_for("both ends have both", (alice, carol), records)
        assert bob.ids(KIND) == set()
        counters = made.ether.counters()  # before bob is asked: he goes on forwarding
        (radio,) = bob.call("budget")["interfaces"]
    assert radio["own_s"] == 0
    assert radio["used_s"] >= 0.9 * counters[1].airtime_s > 10, "what it forwards is counted"
    assert counters[2].missed["out_of_reach"] > 0, "carol hears nothing of alice's own"


def test_who_announced_before_the_router_was_there_is_found_all_the_same() -> None:
    """After a power cut nobody starts in order: an announce that no router heard is lost."""
    with cell(line(3), routers=["bob"]) as made:
        alice, bob, carol = three(made)
        peers((alice, carol))
        made.run(alice, carol)
        announced = made.ether.counters
        wait_until(
            lambda: announced()[0].frames_sent and announced()[2].frames_sent, "both announced"
        )
        made.run(bob)
        hurry_for("both ends have both", (alice, carol), [alice.sign(1), carol.sign(2)])


def test_two_that_do_not_hear_each_other_agree_by_a_third() -> None:
    """Hidden nodes talk at once and spoil each other's frames at the hub; all comes all the same.

    They are peers of the hub alone, which hands on what each signed.
    """
    with cell(star(3)) as made:
        hub, left, right = nodes = three(made)
        peers((hub, left), (hub, right))
        made.run(*nodes)
        hurry_for("all have what both signed", nodes, [left.sign(1), right.sign(2)])
        counters = made.ether.counters()
    assert counters[0].missed.get("collided", 0) > 0, "they spoke at once"
    assert min(counters[1].missed["out_of_reach"], counters[2].missed["out_of_reach"]) > 0


def test_a_plug_is_pulled_and_a_radio_starts_anew_while_records_come() -> None:
    """Each was acknowledged by its signer, so each is there in the end, at the third node too."""
    with cell(speed=CALM) as made:
        alice, bob, carol = nodes = three(made)
        peers((alice, bob), (bob, carol))
        made.run(*nodes)
        hurry_for("they know each other", nodes, [bob.sign(0)])

        records: list[str] = []
        while not made.ether.counters()[1].missed.get("off"):  # alice went on for a while
            records += send_some(made, alice, len(records))
            made.ether.unplug(1)
            wait_until(lambda: not online(bob), "bob says so", ONLINE_S)
            assert any("is down" in line for line in bob.status()["health"])
            made.ether.replug(1)
            wait_until(lambda: online(bob), "the driver found it again", ONLINE_S)
            assert len(records) < TRIES * RECORDS
        hurry_for("all have all", nodes, records)

        records = send_some(made, alice, len(records))
        made.ether.reset(0)
        wait_until(lambda: OFFLINE in alice.output, "alice's driver noticed", ONLINE_S)
        wait_until(lambda: online(alice), "and set it up again", ONLINE_S)
        hurry_for("all have these too", nodes, records)


def test_after_an_hour_apart_both_sides_find_each_other_by_themselves() -> None:
    """A hill between alice and the others for an hour of the channel; no host is told of it."""
    with cell(speed=HASTY) as made:
        alice, bob, carol = nodes = three(made)
        peers((alice, bob), (bob, carol))
        made.run(*nodes)
        hurry_for("they know each other", nodes, [node.sign(0) for node in nodes])
        made.ether.set_reach(only((1, 2)))
        parted_s = made.ether.elapsed_s
        records = [node.sign(1) for node in nodes]
        wait_for("who hear each other go on", (bob, carol), records[1:])
        wait_until(lambda: made.ether.elapsed_s - parted_s > HOUR_S, "an hour", ONLINE_S)
        assert not have([alice], records)
        assert not have([bob], records[:1])
        made.ether.set_reach(full(3))
        wait_for("all have all", nodes, records)


def test_a_far_slower_board_holds_up_nobody_and_gets_all() -> None:
    """Carol's process runs for a tenth of the time; the other two don't wait for it."""
    with cell() as made:
        alice, bob, carol = nodes = three(made)
        peers((alice, bob), (bob, carol), (carol, alice))
        made.run(*nodes)
        with slowed(carol):
            records = [node.sign(1) for node in nodes]
            hurry_for("the fast two agree", (alice, bob), records[:2])
            hurry_for("and the slow one has all", nodes, records)
