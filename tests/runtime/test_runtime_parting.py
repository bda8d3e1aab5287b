"""Links by radio last for one exchange; others stay."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from ciris_mesh.records.kinds import EnvelopeKind as K
from ciris_mesh.runtime.events import BatchEvent, BatchOutcome
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.radiocheck import RADIO_RETRY_S
from ciris_mesh.runtime.reporting import peer_status
from ciris_mesh.runtime.scheduler import ReplicationScheduler
from ciris_mesh.transport.base import LinkId, LinkIdentified, LinkUp, TransportEvent
from ciris_mesh.wire.frame import AnyMessage, try_unwrap
from ciris_mesh.wire.mesh import BindingOffer, Hello
from ciris_mesh.wire.mesh_reconcile import Sketch
from ciris_mesh.wire.mesh_records import Records
from support.keys import key
from support.mesh import Mesh, settle
from support.radio_mesh import RadioMesh, settings
from support.waiting import wait_until


@pytest.fixture
def ends() -> Iterator[list[Mesh]]:
    made: list[Mesh] = []
    yield made
    for mesh in made:
        mesh.stop()


def radio(ends: list[Mesh]) -> RadioMesh:
    mesh = RadioMesh("alice", "bob", radio=settings("10%"))
    ends.append(mesh)
    return mesh


def has_link(mesh: RadioMesh) -> bool:
    return any(
        peer.link is not None for node in mesh.nodes.values() for peer in node.runtime.peers.all()
    )


def waiting(mesh: RadioMesh) -> list[str]:
    return [each for node in mesh.nodes.values() for each in node.handle.waiting_for()]


def test_a_radio_link_is_closed_when_all_is_said_and_both_sides_know(ends: list[Mesh]) -> None:
    mesh = radio(ends)
    record = mesh.put("alice", K.FAMILY, 1)
    mesh.start()
    mesh.let_pass_until(lambda: mesh.has("bob", K.FAMILY, record), 2, "the record is there")
    mesh.calm()
    peers = [peer for node in mesh.nodes.values() for peer in node.runtime.peers.all()]
    wait_until(lambda: all(each.link is None and each.rests for each in peers), "both let go of it")
    assert [(each.reason, each.failures, each.state) for each in peers] == [("", 0, "idle")] * 2
    mesh.let_pass_until(lambda: not waiting(mesh), 2, "being at rest is no reason to wait for")
    assert not has_link(mesh)


def test_batches_are_shown_as_they_go_out_and_arrive(ends: list[Mesh]) -> None:
    mesh = radio(ends)
    record = mesh.put("alice", K.FAMILY, 1)
    mesh.start()
    mesh.let_pass_until(lambda: mesh.has("bob", K.FAMILY, record), 2, "the record is there")
    mesh.let_pass_until(lambda: not waiting(mesh), 2, "and that is known")
    recent = mesh.nodes["alice"].runtime.events.recent()
    batches = [event for _, event in recent if isinstance(event, BatchEvent)]
    assert [event.outcome for event in batches] == [BatchOutcome.SENT, BatchOutcome.TAKEN]
    assert all((event.peer, event.records) == (key("bob").key_id, 1) for event in batches)
    assert batches[0].airtime_s > 0
    assert [number for number, _ in recent] == sorted(number for number, _ in recent)


def test_a_peer_at_rest_is_fresh_and_one_out_of_reach_is_not(ends: list[Mesh]) -> None:
    mesh = radio(ends)
    mesh.start()
    mesh.let_pass_until(lambda: not waiting(mesh), 2, "they agree")
    mesh.let_pass_until(lambda: not has_link(mesh), 2, "and let go of the link")
    node, peer = mesh.nodes["alice"], mesh.peer("alice", "bob")
    shown = peer_status(node, peer)
    assert (shown.state, shown.medium, shown.fresh, shown.missing) == ("idle", "radio", True, 0)
    assert {row.kind for row in shown.kinds} == {kind.value for kind in peer.kinds}
    peer.rests = False  # as a dial that failed leaves it
    assert not peer_status(node, peer).fresh


def test_news_is_told_on_a_new_link(ends: list[Mesh]) -> None:
    mesh = radio(ends)
    mesh.start()
    mesh.let_pass(120)
    wait_until(lambda: not has_link(mesh), "the first exchange is over")
    record = mesh.put("bob", K.COMMUNITY, 2)
    mesh.let_pass_until(lambda: mesh.has("alice", K.COMMUNITY, record), 2, "the news is there")


def test_no_link_is_kept_alive_and_nothing_is_said_meanwhile(ends: list[Mesh]) -> None:
    mesh = radio(ends)
    mesh.start()
    mesh.let_pass(120)
    wait_until(lambda: not has_link(mesh), "the first exchange is over")
    before = len(mesh.said)
    mesh.let_pass(600)
    assert mesh.said[before:] == []


class Gate:
    """Stands before a node: what its transport reports waits here until it is opened.

    Attributes:
        said: (whether this node dialled, message) of every frame it sent.
    """

    def __init__(self, node: Node) -> None:
        self.said: list[tuple[bool, AnyMessage]] = []
        self.kept: list[TransportEvent] = []
        self._dialled: dict[LinkId, bool] = {}
        self._lock = threading.Lock()  # an event that comes while it is opened comes after
        self._is_open = False
        transport = node.runtime.transport
        start, self._send = transport.start, transport.send

        def start_behind(handler: Callable[[TransportEvent], None]) -> None:
            self._handler = handler
            start(self._take)

        transport.start = start_behind  # type: ignore[method-assign]
        transport.send = self._spy  # type: ignore[method-assign]

    def open(self) -> None:
        with self._lock:
            for event in self.kept:
                self._handler(event)
            self._is_open = True

    def _take(self, event: TransportEvent) -> None:
        with self._lock:
            if isinstance(event, LinkUp):
                self._dialled[event.link] = not event.inbound
            if self._is_open:
                self._handler(event)
            else:
                self.kept.append(event)

    def _spy(self, link: LinkId, frame: bytes) -> None:
        unwrapped = try_unwrap(frame)
        assert unwrapped is not None
        self.said.append((self._dialled[link], unwrapped.message))
        self._send(link, frame)


def test_two_that_dial_each_other_at_once_end_with_one_exchange(
    ends: list[Mesh], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both links are up at both ends before either end says a word."""
    monkeypatch.setattr(ReplicationScheduler, "trigger", lambda *_: None)  # nobody else dials
    mesh = radio(ends)
    family = mesh.put("alice", K.FAMILY, 3)
    community = mesh.put("bob", K.COMMUNITY, 4)
    gates = {name: Gate(node) for name, node in mesh.nodes.items()}
    for node in mesh.nodes.values():
        node.start()
    for name, other in (("alice", "bob"), ("bob", "alice")):
        mesh.nodes[name].runtime.transport.dial(mesh.nodes[other].runtime.transport.address)
    wait_until(
        lambda: all(
            [LinkUp, LinkUp, LinkIdentified] == sorted(map(type, gate.kept), key=str)[::-1]
            for gate in gates.values()
        ),
        "two links at both ends",
    )
    for gate in gates.values():
        gate.open()
    wait_until(  # on a clock that stands still, so that nothing is given up or tried again
        lambda: (
            mesh.has("bob", K.FAMILY, family)
            and mesh.has("alice", K.COMMUNITY, community)
            and not has_link(mesh)
        ),
        "both have both, and let go of the link",
    )

    first = min(mesh.nodes, key=lambda name: mesh.nodes[name].runtime.transport.address)
    for name, gate in gates.items():
        given_up = [type(message) for dialled, message in gate.said if dialled is (name != first)]
        kept = [type(message) for dialled, message in gate.said if dialled is (name == first)]
        assert given_up in ([], [Hello] if name != first else []), "a greeting without an answer"
        assert (kept.count(Hello), kept.count(Records), kept.count(BindingOffer)) == (1, 1, 0)
    opened = [each for gate in gates.values() for _, each in gate.said if isinstance(each, Sketch)]
    assert len(opened) == 1, "one of them asked what differs, once"


@pytest.mark.parametrize(("name", "other"), [("alice", "bob"), ("bob", "alice")])
def test_what_is_under_way_on_the_link_that_was_not_chosen_is_not_answered(
    name: str, other: str, ends: list[Mesh], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hanging up takes its time; an answer meanwhile would take air, and a binding 9 kB of it."""
    mesh = Mesh(medium="radio")
    ends.append(mesh)
    node = mesh.node(name)
    node.add_peer(mesh.config(other))
    node.start()
    peer = mesh.script(other)
    monkeypatch.setattr(node.runtime.transport, "hang_up", lambda _link: None)
    node.runtime.transport.dial(peer.transport.address)
    peer.wait_dialled()
    dialled_by_node = peer.link
    peer.hear(Hello)
    peer.dial(name)
    settle(node)
    if peer.transport.address < node.runtime.transport.address:
        peer.link = dialled_by_node
    peer.say_hello()
    settle(node)
    assert peer.heard_nothing()


def test_a_dial_that_came_to_nothing_is_tried_again_within_the_hour(ends: list[Mesh]) -> None:
    mesh = radio(ends)
    alice = mesh.nodes["alice"]
    alice.start()
    alice.handle.sync()
    (peer,) = alice.runtime.peers.all()
    wait_until(lambda: peer.failures > 0 and not peer.dialing, "bob is not there")
    assert peer.next_check_s <= mesh.clock() + RADIO_RETRY_S * 2**peer.failures


def test_other_links_stay(ends: list[Mesh]) -> None:
    mesh = RadioMesh("alice", "bob", medium="loopback")
    ends.append(mesh)
    mesh.put("alice", K.FAMILY, 1)
    for node in mesh.nodes.values():
        node.start()
    mesh.wait_converged()
    assert has_link(mesh)
