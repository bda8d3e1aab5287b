"""Links of a real node, played against by hand: greeted, attributed, refused, settled, dropped."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from ciris_mesh.protocol.limits import CADENCE_S, NO_PROGRESS_TIMEOUT_S
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime import links
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.scheduler import ReplicationScheduler
from ciris_mesh.runtime.strangers import UNATTRIBUTED_ENVELOPES_MAX, UNATTRIBUTED_FRAMES_MAX
from ciris_mesh.transport.base import FrameReceived, LinkDown, LinkId, LinkIdentified
from ciris_mesh.wire.frame import FRAME_BYTES_MAX, MAGIC
from ciris_mesh.wire.mesh import BindingWanted, Digests, Hello, Refusal
from ciris_mesh.wire.messages import Deliver, Diff, Fetch, ReplicationMessage, Summary
from support.keys import key
from support.mesh import Mesh, ScriptedPeer, address, bound, settle
from support.records import sample
from support.waiting import DEADLINE_S, wait_until

KEY = EnvelopeKind.KEY

#: The clock that leaps goes on meanwhile, and a busy machine may take its time to say one word
#: more on a link on which no more is expected. Less than a link without a handshake is given.
LINGER_S = 0.7 * NO_PROGRESS_TIMEOUT_S


@pytest.fixture(autouse=True)
def lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "REFUSAL_LINGER_S", LINGER_S)


def drops(node: Node, reason: str) -> int:
    return node.runtime.drops.snapshot().get(reason, 0)


def connected(mesh: Mesh, name: str = "bob") -> ScriptedPeer:
    """A peer played by hand, dialled in and known to alice."""
    mesh.nodes["alice"].add_peer(mesh.config(name))
    peer = mesh.script(name)
    peer.dial("alice")
    peer.introduce()
    wait_until(lambda: mesh.peer("alice", name).link is not None, f"{name} attributed")
    return peer


def hold_up(node: Node, name: str) -> threading.Event:
    """Keep the worker of that peer's strand busy until the event is set."""
    go_on, busy = threading.Event(), threading.Event()

    def wait() -> None:
        busy.set()
        go_on.wait(DEADLINE_S)

    node.runtime._pool.submit(key(name).key_id, wait)
    assert busy.wait(DEADLINE_S)
    return go_on


def stranger(mesh: Mesh, name: str = "eve") -> ScriptedPeer:
    made = mesh.script(name)
    made.dial("alice")
    return made


# --- attribution ----------------------------------------------------------------------------------


def test_a_peer_that_dials_in_is_greeted_attributed_and_heard(mesh: Mesh, alice: Node) -> None:
    connected(mesh)
    peer = mesh.peer("alice", "bob")
    assert peer.state == "connected"
    assert peer.reason == ""
    assert peer.heard_s is not None
    assert alice.directory.public_key(key("bob").key_id) == key("bob").public


def test_a_peers_first_contact_key_moves_to_the_federation_shelf(mesh: Mesh, alice: Node) -> None:
    connected(mesh)
    wait_until(lambda: len(alice.directory.holdings(KEY)) == 2, "bob's key on the shelf")
    assert alice.directory.pools().first_contact == 0


def test_a_peer_that_is_dialled_is_compared_with_at_once(mesh: Mesh, alice: Node) -> None:
    bob = mesh.script("bob")
    alice.add_peer(mesh.config("bob"))
    mesh.clock.leap(5.0)
    bob.wait_dialled()
    bob.introduce()
    assert not bob.hear(Digests).reply


def test_a_binding_fetched_once_is_used_again_on_the_next_link(mesh: Mesh, alice: Node) -> None:
    bob = connected(mesh)
    alice.runtime.transport.hang_up(mesh.peer("alice", "bob").link.link)  # type: ignore[union-attr]
    bob.wait_down()
    bob.dial("alice")
    bob.shake_hands()
    wait_until(lambda: mesh.peer("alice", "bob").link is not None, "attributed again")
    assert bob.heard_nothing()


def test_a_stranger_is_told_so_listed_as_a_candidate_and_let_go(mesh: Mesh, alice: Node) -> None:
    eve = stranger(mesh)
    eve.introduce()
    assert eve.hear(Refusal).reason == "not_a_peer"
    (candidate,) = alice.runtime.peers.candidates()
    assert (candidate.key_id, candidate.address) == (key("eve").key_id, address("eve"))
    assert eve.link is not None, "the refusal must be readable"
    wait_until(lambda: drops(alice, "link_not_a_peer") == 1, "counted after it was said")
    settle(alice)
    mesh.clock.leap(LINGER_S)
    eve.wait_down()


def test_a_peer_with_another_key_than_its_invite_said_is_refused(mesh: Mesh, alice: Node) -> None:
    alice.add_peer(replace(mesh.config("bob"), fingerprint=bytes(32)))
    bob = stranger(mesh, "bob")
    bob.introduce()
    assert bob.hear(Refusal).reason == "fingerprint_mismatch"
    assert mesh.peer("alice", "bob").link is None
    wait_until(lambda: drops(alice, "link_fingerprint_mismatch") == 1, "counted after it was said")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda eve: eve.offer(bound("bob")), "binding_of_another"),
        (lambda eve: eve.offer(bound("eve", expiry_s=1)), "binding_invalid"),
        (lambda eve: eve.say(BindingWanted(), BindingWanted()), "out_of_turn"),
        (lambda eve: eve.say_hello(), "out_of_turn"),
    ],
    ids=["another's binding", "expired", "asked twice", "greeted twice"],
)
def test_a_handshake_that_fails_is_refused_counted_and_closed(
    mesh: Mesh, alice: Node, make: object, reason: str
) -> None:
    eve = stranger(mesh)
    eve.shake_hands()
    assert callable(make)
    make(eve)
    assert eve.hear(Refusal).reason == reason
    settle(alice)  # what is heard may be counted a moment later
    assert drops(alice, f"link_{reason}") == 1
    mesh.clock.leap(LINGER_S)
    eve.wait_down()


def test_a_rolled_back_binding_is_refused(mesh: Mesh, alice: Node) -> None:
    mesh._bindings["bob"] = bound("bob", epoch=5)
    bob = connected(mesh)
    alice.runtime.transport.hang_up(mesh.peer("alice", "bob").link.link)  # type: ignore[union-attr]
    bob.wait_down()
    mesh._bindings["bob"] = bound("bob", epoch=4)
    bob.dial("alice")
    bob.introduce()
    assert bob.hear(Refusal).reason == "binding_rolled_back"


def test_no_common_version_is_refused(mesh: Mesh, alice: Node) -> None:
    eve = stranger(mesh)
    eve.hear(Hello)
    eve.say_hello(wire_versions=(0x55,))
    assert eve.hear(Refusal).reason == "no_common_version"


def test_a_peer_whose_identity_moved_is_known_again_by_its_binding(mesh: Mesh, alice: Node) -> None:
    """The key is the peer; the Reticulum identity is where it lives, and its binding says so."""
    alice.add_peer(mesh.config("bob"))
    mesh._bindings["bob"] = bound("bob", to="bobs-new-board", epoch=9)
    bob = mesh.script("bob", transport_name="bobs-new-board")
    bob.dial("alice")
    bob.introduce()
    wait_until(lambda: mesh.peer("alice", "bob").config.address == bob.transport.address, "moved")
    assert alice.runtime.peers.at(bob.transport.address) is mesh.peer("alice", "bob")
    bob.wait_down()
    bob.dial("alice")
    bob.shake_hands()
    wait_until(lambda: mesh.peer("alice", "bob").link is not None, "attributed at the new place")


def test_a_link_on_which_nothing_is_said_is_closed(mesh: Mesh, alice: Node) -> None:
    """Otherwise a peer that hangs would never be dialled again, and strangers could fill us up."""
    eve = stranger(mesh)
    eve.hear(Hello)
    mesh.clock.leap(NO_PROGRESS_TIMEOUT_S + 1)
    eve.wait_down()
    assert drops(alice, "link_no_handshake") == 1


def test_a_peer_that_hangs_in_the_handshake_is_dialled_again(mesh: Mesh, alice: Node) -> None:
    bob = mesh.script("bob")
    alice.add_peer(mesh.config("bob"))
    mesh.clock.leap(5.0)
    bob.wait_dialled()
    mesh.clock.leap(NO_PROGRESS_TIMEOUT_S + 1)
    bob.wait_down()
    wait_until(lambda: not mesh.peer("alice", "bob").dialing, "the dial is over")
    assert mesh.peer("alice", "bob").state == "unreachable"
    assert mesh.peer("alice", "bob").reason == "no_handshake"
    mesh.clock.leap(CADENCE_S)
    bob.wait_dialled()
    assert bob.links_seen == 2


# --- what strangers may say -----------------------------------------------------------------------


def test_a_stranger_may_deliver_its_key_and_its_occurrence(mesh: Mesh, alice: Node) -> None:
    eve = stranger(mesh)
    occurrence = sample(EnvelopeKind.IDENTITY_OCCURRENCE, key("eve"))
    eve.say(
        Deliver(KEY, (mesh.key_record("eve"),)),
        Deliver(EnvelopeKind.IDENTITY_OCCURRENCE, (occurrence,)),
    )
    wait_until(lambda: alice.directory.pools().first_contact == 2, "both in the pool")
    assert len(alice.directory.holdings(KEY)) == 1
    assert drops(alice, "frame_unattributed") == 0


OTHER_WORDS: list[ReplicationMessage] = [
    Summary(KEY, ()),
    Diff(KEY, ()),
    Fetch(KEY, (bytes(32),)),
    *(
        Deliver(kind, ())
        for kind in EnvelopeKind
        if kind not in (KEY, EnvelopeKind.IDENTITY_OCCURRENCE)
    ),
]


@pytest.mark.parametrize("greeted", [False, True], ids=["before the hello", "turned away"])
@pytest.mark.parametrize("message", OTHER_WORDS, ids=lambda m: f"{type(m).__name__}-{m.kind.value}")
def test_all_else_a_stranger_says_is_counted_and_not_answered(
    mesh: Mesh, alice: Node, message: ReplicationMessage, greeted: bool
) -> None:
    eve = stranger(mesh)
    if greeted:
        eve.introduce()
        eve.hear(Refusal)
    else:
        eve.hear(Hello)
    eve.say(message)
    wait_until(lambda: drops(alice, "frame_unattributed") == 1, "counted")
    assert eve.heard_nothing()


def test_a_stranger_is_heard_out_only_so_long(mesh: Mesh, alice: Node) -> None:
    eve = stranger(mesh)
    for _ in range(UNATTRIBUTED_FRAMES_MAX):
        eve.say(Deliver(KEY, ()))
    eve.say(Deliver(KEY, (mesh.key_record("eve"),)))
    wait_until(lambda: drops(alice, "frame_unattributed") == 1, "counted")
    assert alice.directory.pools().first_contact == 0


def test_of_a_strangers_deliver_only_a_few_envelopes_are_looked_at(mesh: Mesh, alice: Node) -> None:
    eve = stranger(mesh)
    garbage = tuple(b"garbage %d" % n for n in range(UNATTRIBUTED_ENVELOPES_MAX))
    eve.say(Deliver(KEY, (*garbage, mesh.key_record("eve"))), Summary(KEY, ()))
    wait_until(lambda: drops(alice, "frame_unattributed") == 1, "the Summary after it")
    looked_at = sum(
        count
        for (path, _, _), count in alice.directory.outcome_counts().items()
        if path == "unattributed"
    )
    assert looked_at == UNATTRIBUTED_ENVELOPES_MAX
    assert alice.directory.pools().first_contact == 0


def test_a_stranger_gets_no_digests(mesh: Mesh, alice: Node) -> None:
    eve = stranger(mesh)
    eve.introduce()
    eve.hear(Refusal)
    eve.say(eve.digests(reply=False), Summary(KEY, ()))
    wait_until(lambda: drops(alice, "frame_unattributed") == 1, "the Summary after it")
    assert eve.heard_nothing()
    assert drops(alice, "digests_unattributed") == 1


def test_a_comparison_that_comes_before_the_binding_is_answered_after_it(
    mesh: Mesh, alice: Node
) -> None:
    """The peer knows us already, and we have forgotten it."""
    alice.add_peer(mesh.config("bob"))
    bob = mesh.script("bob")
    bob.dial("alice")
    bob.shake_hands()
    bob.say(bob.digests(reply=False))
    bob.hear(BindingWanted)
    bob.offer()
    bob.hear_reply()


# --- garbage --------------------------------------------------------------------------------------

GARBAGE = {
    "frame_notareplicationframe": b"no frame of ours",
    "frame_unknownversion": MAGIC + b"\x55{}",
    "frame_decodeerror": MAGIC + b"\x01{}",
}


@pytest.mark.parametrize(("reason", "frame"), GARBAGE.items(), ids=GARBAGE)
def test_garbage_closes_the_link_and_is_counted_and_others_are_undisturbed(
    mesh: Mesh, alice: Node, reason: str, frame: bytes
) -> None:
    bob, carol = connected(mesh, "bob"), connected(mesh, "carol")
    before = mesh.peer("alice", "carol").link
    bob.say_bytes(frame)
    bob.wait_down()
    wait_until(lambda: mesh.peer("alice", "bob").link is None, "the link is forgotten")
    assert drops(alice, reason) == 1
    assert mesh.peer("alice", "bob").reason == "sent_garbage"
    assert mesh.peer("alice", "carol").link is before
    carol.say(carol.digests(reply=False))
    carol.hear_reply()


@pytest.mark.parametrize(("reason", "frame"), GARBAGE.items(), ids=GARBAGE)
def test_a_strangers_garbage_closes_its_link(
    mesh: Mesh, alice: Node, reason: str, frame: bytes
) -> None:
    eve = stranger(mesh)
    eve.say_bytes(frame)
    eve.wait_down()
    assert drops(alice, reason) == 1


def test_when_no_frame_can_wait_any_more_the_sender_is_dropped_and_nobody_else(
    mesh: Mesh, alice: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame that is lost must take its link along: peers rely on their order."""
    bob, carol = connected(mesh, "bob"), connected(mesh, "carol")
    monkeypatch.setattr(links, "QUEUED_BYTES_MAX", 2000)
    bob.say(Deliver(KEY, (bytes(2000),)))
    bob.wait_down()
    assert drops(alice, "frame_no_room") == 1
    carol.say(carol.digests(reply=False))
    carol.hear_reply()
    monkeypatch.setattr(links, "QUEUED_BYTES_MAX", 4000)
    for _ in range(30):  # what was refused or worked off does not count as waiting
        carol.say(carol.digests(reply=False))
        carol.hear_reply()


def test_a_flood_ends_at_its_own_share_and_others_still_find_room(
    mesh: Mesh, alice: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob, carol = connected(mesh, "bob"), connected(mesh, "carol")
    before = mesh.peer("alice", "carol").link
    monkeypatch.setattr(links, "QUEUED_BYTES_SHARE_MAX", 10_000)
    monkeypatch.setattr(links, "QUEUED_BYTES_MAX", 20_000)
    go_on = hold_up(alice, "bob")
    try:
        for _ in range(3):
            bob.say_bytes(bytes(4_900))
        bob.wait_down()
        assert drops(alice, "frame_no_room") == 1
        carol.say(carol.digests(reply=False))
        carol.hear_reply()
        carol.say(Deliver(KEY, (bytes(2_000),)), carol.digests(reply=False))
        carol.hear_reply()
        assert mesh.peer("alice", "carol").link is before
    finally:
        go_on.set()


def test_a_new_link_does_not_bring_a_new_share(
    mesh: Mesh, alice: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frames of the old link wait on, and they are the same peer's."""
    bob = connected(mesh)
    monkeypatch.setattr(links, "QUEUED_BYTES_SHARE_MAX", 10_000)
    go_on = hold_up(alice, "bob")
    try:
        bob.say_bytes(bytes(9_000))
        bob.dial("alice")
        bob.say_bytes(bytes(2_000))
        bob.wait_down()
        assert drops(alice, "frame_no_room") == 1
    finally:
        go_on.set()


def test_a_share_worked_off_is_free_again(
    mesh: Mesh, alice: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = connected(mesh)
    monkeypatch.setattr(links, "QUEUED_BYTES_SHARE_MAX", 4_000)
    for _ in range(20):
        bob.say(bob.digests(reply=False))
        bob.hear_reply()
    assert drops(alice, "frame_no_room") == 0


def test_the_shares_are_worth_something() -> None:
    """A frame of the largest size always finds room, and one flood leaves most of it to others."""
    assert 2 * FRAME_BYTES_MAX < links.QUEUED_BYTES_SHARE_MAX < links.QUEUED_BYTES_MAX // 2


# --- losing and settling --------------------------------------------------------------------------


def test_a_lost_link_is_dialled_again_before_the_next_cadence(mesh: Mesh, alice: Node) -> None:
    bob = connected(mesh)
    mesh.network.drop_links(address("alice"), address("bob"))
    bob.wait_down()
    wait_until(lambda: mesh.peer("alice", "bob").state == "unreachable", "noticed")
    assert mesh.peer("alice", "bob").reason == "timeout"
    mesh.clock.leap(CADENCE_S / 5)
    bob.wait_dialled()
    bob.shake_hands()
    bob.hear(Digests)


def test_a_peer_that_refuses_us_is_not_dialled_in_a_hurry(mesh: Mesh, alice: Node) -> None:
    """It does not know us yet. Every second on a radio would be all there is to send."""
    bob = mesh.script("bob")
    alice.add_peer(mesh.config("bob"))
    mesh.clock.leap(5.0)
    bob.wait_dialled()
    bob.introduce()
    bob.say(Refusal("not_a_peer"))
    bob.wait_down()
    wait_until(lambda: mesh.peer("alice", "bob").reason == "refused_not_a_peer", "noted")
    for _ in range(2):
        mesh.clock.leap(CADENCE_S / 6)
        settle(alice)
    assert bob.links_seen == 1
    mesh.clock.leap(CADENCE_S)
    bob.wait_dialled()


def test_a_peer_that_breaks_every_link_is_dialled_in_a_hurry_once_a_cadence(
    mesh: Mesh, alice: Node
) -> None:
    bob = mesh.script("bob")
    alice.add_peer(mesh.config("bob"))
    mesh.clock.leap(5.0)
    for links_seen in (1, 2):
        bob.wait_dialled()
        assert bob.links_seen == links_seen
        if links_seen == 1:
            bob.introduce()
        else:
            bob.shake_hands()
        bob.hear(Digests)
        mesh.network.drop_links(address("alice"), address("bob"))
        bob.wait_down()
        wait_until(lambda: mesh.peer("alice", "bob").state == "unreachable", "noticed")
        mesh.clock.leap(CADENCE_S / 6)
    settle(alice)
    assert bob.links_seen == 2


def test_a_dial_that_fails_says_why_and_is_tried_again_at_the_cadence(
    mesh: Mesh, alice: Node
) -> None:
    alice.add_peer(mesh.config("bob"))
    mesh.clock.leap(5.0)
    wait_until(lambda: mesh.peer("alice", "bob").reason == "no_path", "reason")
    assert mesh.peer("alice", "bob").state == "unreachable"
    bob = mesh.script("bob")
    mesh.clock.leap(CADENCE_S)
    bob.wait_dialled()


def test_a_peer_that_announces_itself_is_dialled_soon(mesh: Mesh, alice: Node) -> None:
    alice.add_peer(mesh.config("bob"))
    mesh.clock.leap(5.0)
    wait_until(lambda: mesh.peer("alice", "bob").reason == "no_path", "reason")
    bob = mesh.script("bob")
    bob.transport.announce(b"\x01" * 23)
    wait_until(lambda: mesh.peer("alice", "bob").heard_s is not None, "heard")
    settle(alice)
    mesh.clock.leap(1.5)
    bob.wait_dialled()


def test_a_stranger_that_announces_itself_is_listed_and_not_dialled(
    mesh: Mesh, alice: Node
) -> None:
    eve = mesh.script("eve")
    eve.transport.announce(b"\x01" * 23)
    wait_until(lambda: list(alice.runtime.peers.candidates()), "listed")
    (candidate,) = alice.runtime.peers.candidates()
    assert (candidate.address, candidate.key_id, candidate.hops) == (address("eve"), "", 1)
    mesh.clock.leap(2 * CADENCE_S)
    settle(alice)
    assert eve.links_seen == 0


def test_of_two_links_the_peer_dialled_the_newer_counts(mesh: Mesh, alice: Node) -> None:
    """The older is a corpse: its dialler gave it up, and we have not noticed."""
    bob = connected(mesh)
    first = mesh.peer("alice", "bob").link
    bob.dial("alice")
    bob.shake_hands()
    wait_until(lambda: mesh.peer("alice", "bob").link is not first, "settled")
    wait_until(lambda: alice.runtime.transport.stats().links == 1, "one link")
    bob.say(bob.digests(reply=False))
    bob.hear_reply()


def test_what_comes_on_a_link_that_was_given_up_is_counted(mesh: Mesh, alice: Node) -> None:
    alice.add_peer(replace(mesh.config("bob"), fingerprint=bytes(32)))
    bob = stranger(mesh, "bob")
    bob.introduce()
    bob.hear(Refusal)
    bob.say(Summary(KEY, ()))
    wait_until(lambda: drops(alice, "frame_on_spare_link") == 1, "counted")
    bob.say(bob.digests(reply=False))
    wait_until(lambda: drops(alice, "digests_on_spare_link") == 1, "counted")


def test_what_was_under_way_on_a_link_that_was_replaced_is_no_fault(
    mesh: Mesh, alice: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = connected(mesh)
    first = bob.link
    monkeypatch.setattr(alice.runtime.transport, "hang_up", lambda _link: None)  # not noticed yet
    old = mesh.peer("alice", "bob").link
    bob.dial("alice")
    bob.shake_hands()
    wait_until(lambda: mesh.peer("alice", "bob").link is not old, "settled")
    second, bob.link = bob.link, first
    bob.say(bob.digests(reply=False), Summary(KEY, ()))
    bob.link = second
    bob.say(bob.digests(reply=False))
    bob.hear_reply()
    settle(alice)
    assert alice.runtime.drops.snapshot() == {}


@pytest.mark.parametrize("seed", range(6))
def test_two_nodes_that_dial_each_other_at_once_end_in_one_exchange_and_one_link(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReplicationScheduler, "trigger", lambda *_: None)  # nobody else dials
    mesh = Mesh(seed=seed, delay_s=(0.0, 0.005))
    try:
        one, two = mesh.started("alice", "bob")
        mesh.put("alice", EnvelopeKind.FAMILY)
        mesh.put("bob", EnvelopeKind.FAMILY)
        for node, other in ((one, "bob"), (two, "alice")):  # at the same moment, both
            node.runtime.transport.dial(address(other))
        mesh.wait_converged()
        mesh.wait_one_link("alice", "bob")
        mine, theirs = mesh.peer("alice", "bob").link, mesh.peer("bob", "alice").link
        assert mine is not None
        assert theirs is not None
        assert mine.inbound is not theirs.inbound, "both ends kept the same link"
        assert max(mine.link, theirs.link) <= 2, "one link each way was made, and one kept"
    finally:
        mesh.stop()


def test_a_removed_peers_link_is_closed_and_its_words_are_a_strangers(
    mesh: Mesh, alice: Node
) -> None:
    bob = connected(mesh)
    alice.runtime.remove_peer(key("bob").key_id)
    bob.wait_down()
    bob.dial("alice")
    bob.shake_hands()
    assert bob.hear(Refusal).reason == "not_a_peer"


def test_a_frame_of_a_link_nobody_knows_is_counted(mesh: Mesh, alice: Node) -> None:
    handle = alice.runtime._links.handle
    handle(FrameReceived(LinkId(999), b"x"))
    handle(LinkIdentified(LinkId(999), address("eve")))
    handle(LinkDown(LinkId(999), "closed"))
    assert drops(alice, "frame_of_unknown_link") == 1
