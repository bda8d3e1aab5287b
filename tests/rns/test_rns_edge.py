"""A node and a registry node on real Reticulum, each a process: the stand-in of `edge_peer`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.transport.limits import EDGE_LINKS_MAX
from support.edge_model import V1_KINDS
from support.edge_process import KEY_ID, EdgeProcess, pin
from support.golden import vectors
from support.node_processes import IMPATIENT, Mesh, NodeProcess, mesh, wait_until
from support.records import sample

pytestmark = pytest.mark.rns

K = EnvelopeKind
OTHER_SEED = bytes([9]) * 32

#: One round of all kinds every second, for both.
CADENCE = ("--cadence", "1")

#: What waits for round trips of a busy machine.
LONG_S = 400.0

Start = Callable[..., EdgeProcess]


@pytest.fixture
def net() -> Iterator[Mesh]:
    settings = {
        **IMPATIENT,
        ("registry", "edge"): "yes",
        ("trust", "registries"): f"{pin()}, {pin('registry-us', OTHER_SEED)}",
        ("rounds", "cadence_s"): "1",
        # A busy machine is no timeout: none of these tests may see one.
        ("rounds", "no_progress_timeout_s"): "60",
    }
    with mesh(settings) as made:
        yield made


@pytest.fixture
def node(net: Mesh) -> NodeProcess:
    made = net.make("gate")
    net.start(made)
    return made


@pytest.fixture
def start(net: Mesh) -> Iterator[Start]:
    started: list[EdgeProcess] = []

    def one(*flags: str, name: str = "eu", **who: Any) -> EdgeProcess:
        started.append(EdgeProcess(net.root / name, net.port, *flags, **who))
        return started[-1]

    yield one
    for each in started:
        each.stop()


def publish_all(edge: EdgeProcess) -> dict[EnvelopeKind, str]:
    """Have it offer one record of each kind, those a live 13.15.0 once took."""
    rows = vectors("records_admitted_by_edge_13.15.0")["records"]
    ids = {
        K(row["kind"]): edge.publish(K(row["kind"]), row["envelope_bytes_utf8"].encode())
        for row in rows
    }
    assert ids == {K(row["kind"]): row["persist_row_hash"] for row in rows}
    return ids


def bridged(node: NodeProcess) -> dict[str, int]:
    return {row["kind"]: row["bridged"] for row in node.status()["kinds"] if row["bridged"]}


def registry(node: NodeProcess, key_id: str = KEY_ID) -> dict[str, Any]:
    rows: list[dict[str, Any]] = node.status()["registries"]
    return next(row for row in rows if row["key_id"] == key_id)


def completed(node: NodeProcess) -> int:
    count: int = registry(node)["rounds"].get("completed", 0)
    return count


def exchange(node: NodeProcess, edge: EdgeProcess) -> dict[str, Any]:
    """All the registry offers is here, what it stores of ours is there; returns its state."""
    ids = publish_all(edge)
    ours = {K.KEY: next(iter(node.ids(K.KEY)))}
    for kind in (K.COMMUNITY, K.LOCATION_PROOF):
        ours[kind] = node.sign(0, kind)
    wait_until(lambda: len(bridged(node)) == len(ids), "all are bridged", LONG_S)
    wait_until(lambda: holds(edge, ours), "the registry stores our records under our ids", LONG_S)
    wait_rounds(node, 1)
    before = edge.state()
    wait_rounds(node, 3)
    state = edge.state()
    check_asked(before, state)
    assert registry(node)["rounds"].keys() == {"completed"}
    return state


def wait_rounds(node: NodeProcess, count: int) -> None:
    """Return when each kind had so many rounds more, on average."""
    more = completed(node) + count * len(V1_KINDS)
    wait_until(lambda: completed(node) >= more, f"{count} rounds of each kind", 9 * count + LONG_S)


def check_asked(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Nothing is asked for that is here.

    Where an answer was lost it is asked for again, and such a question may be late: one, not one a
    round.
    """
    for name, times in after["asked"].items():
        assert times - before["asked"].get(name, 0) <= 1, name


def holds(edge: EdgeProcess, ids: dict[EnvelopeKind, str]) -> bool:
    held = edge.state()["held"]
    return all(envelope_id in held[kind.value] for kind, envelope_id in ids.items())


def test_records_go_both_ways_on_the_links_there_are(node: NodeProcess, start: Start) -> None:
    """Resources on our link to it, Channel messages while that is busy."""
    edge = start(*CADENCE)
    state = exchange(node, edge)
    assert state["rooted"] == [node.key_id]
    assert state["reverse"] > 0
    shown = registry(node)
    assert (shown["state"], shown["address"], shown["basis"]) == (
        "connected", edge.address, "row",
    )  # fmt: skip
    assert sum(row["count"] for row in shown["bridged"]) == 9


@pytest.mark.soak
def test_frames_that_come_as_channel_messages_are_proved_and_taken(
    node: NodeProcess, start: Start
) -> None:
    """By hand: beside other work a Channel of rns 1.5.7 loses a proof now and then, and is given up
    after 40 s. Then the link is dialled again and all goes on, but not without a round in error.
    """
    edge = start(*CADENCE, "--channel")
    state = exchange(node, edge)
    assert state["channel"] > 10
    assert state["closed"] == 0, "a link whose Channel message is not proved is closed"


def test_a_registry_that_dials_back_is_answered_on_its_own_link(
    node: NodeProcess, start: Start
) -> None:
    edge = start("--cadence", "3", "--dials")  # a link for each is more than a busy machine bears
    state = exchange(node, edge)
    assert state["dialled"] > 10


def test_lies_in_announces_are_named_and_others_undisturbed(
    node: NodeProcess, start: Start
) -> None:
    honest = start(*CADENCE, "--epoch", "5")
    publish_all(honest)
    wait_until(lambda: len(bridged(node)) > 5, "the honest one exchanges", LONG_S)
    thief = start(name="thief", seed=OTHER_SEED, key_id="nobody")
    wait_until(lambda: node.drops("edge_unpinned") >= 1, "an unknown one is named")
    stolen = honest.do("announced")
    for lie, reason in (
        ({"key_id": KEY_ID}, "edge_other_key"),
        ({"key_id": KEY_ID, "public": stolen["public"]}, "edge_signature_invalid"),
        ({"raw": stolen["app_data"]}, "edge_signature_invalid"),
        ({"raw": "7b7d"}, "edge_unreadable"),
    ):
        count = node.drops(reason)

        def named(count: int = count, lie: Any = lie, reason: str = reason) -> bool:
            thief.do("announce", **lie)
            return node.drops(reason) > count

        wait_until(named, reason)
    wait_until(lambda: told_back(node, honest), "an older epoch is named")
    before = completed(node)
    wait_until(lambda: completed(node) > before + 10, "the honest one goes on")
    assert registry(node)["address"] == honest.address


def told_back(node: NodeProcess, edge: EdgeProcess) -> bool:
    edge.do("announce", epoch=4)
    return node.drops("edge_rolled_back") >= 1


@pytest.mark.slow
def test_links_that_do_not_play_by_the_rules_are_bounded(node: NodeProcess, start: Start) -> None:
    """How long a silent link may stay grows with its round trip, and so with the machine's load."""
    honest = start("--cadence", "5")
    publish_all(honest)
    wait_until(lambda: len(bridged(node)) > 5, "the honest one exchanges", LONG_S)
    other = start(name="us", seed=OTHER_SEED, key_id="registry-us")
    wait_until(lambda: registry(node, "registry-us")["address"], "it is found")
    gate = node.status()["address"]
    other.do("hold_link", address=gate, identify=False, size=1000)
    wait_until(lambda: node.drops("edge_stranger") >= 1, "nobody's bytes are turned away")
    wait_until(lambda: node.drops("edge_unidentified") >= 1, "nobody is let go", LONG_S)
    other.do("hold_link", address=gate, identify=True, size=8 * 1024 * 1024 + 1)
    wait_until(lambda: node.drops("frame_too_large") >= 1, "8 MiB and one are turned away", LONG_S)
    other.do("flood", address=gate, count=EDGE_LINKS_MAX + 16)
    wait_until(lambda: node.drops("too_many_links") >= 1, "a flood of links is bounded", LONG_S)
    before = completed(node)
    wait_until(lambda: completed(node) > before + 10, "the honest one goes on", LONG_S)


@pytest.mark.slow
def test_a_hundred_rounds_of_all_ten_kinds(node: NodeProcess, start: Start) -> None:
    edge = start(*CADENCE, "--pushes")
    publish_all(edge)
    for kind in (K.COMMUNITY, K.LOCATION_PROOF, K.REVOCATION, K.FAMILY):
        node.sign(1, kind)
    wait_until(lambda: len(bridged(node)) > 5, "it exchanges", LONG_S)
    wait_rounds(node, 1)
    before = edge.state()
    wait_rounds(node, 100)
    check_asked(before, edge.state())
    assert registry(node)["rounds"].keys() == {"completed"}, "no timeouts"


def test_a_registry_that_was_restarted_is_found_again(
    net: Mesh, node: NodeProcess, start: Start
) -> None:
    """What was verified is kept: the node needs no announce to permit it."""
    edge = start(*CADENCE)
    wait_until(lambda: completed(node) > 10, "they exchange")
    edge.stop()
    edge.process.wait()
    again = EdgeProcess(net.root / "eu", net.port, *CADENCE)
    try:
        assert again.address == edge.address
        again.publish(K.KEY, sample(K.KEY, node.identity.key, 5))
        wait_until(lambda: again.state()["frames"] > 20, "they exchange again")
    finally:
        again.stop()
