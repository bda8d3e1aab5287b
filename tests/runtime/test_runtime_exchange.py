"""What two peers do on a link: compare, repair, spread the news; and what each failure costs."""

from __future__ import annotations

import pytest

from ciris_mesh.directory.base import Source
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.protocol.limits import CADENCE_S, NO_PROGRESS_TIMEOUT_S, TAU_PARTIAL_S
from ciris_mesh.protocol.report import BoundedBy, InSync, StalenessSignal
from ciris_mesh.records.authoring import author
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.runtime.events import RoundEvent, RoundOutcome
from ciris_mesh.runtime.node import Node
from ciris_mesh.wire.mesh import Digests
from ciris_mesh.wire.messages import Deliver, Diff, EnvelopeRef, Fetch, Summary
from support.keys import key
from support.mesh import (
    NOW_MS,
    Mesh,
    ScriptedPeer,
    address,
    collect,
    compared,
    held,
    let_compare,
    settle,
)
from support.records import AT_MS, sample
from support.waiting import wait_until

KEY, FAMILY = EnvelopeKind.KEY, EnvelopeKind.FAMILY
ATTESTATION = EnvelopeKind.ATTESTATION


@pytest.fixture
def events(alice: Node) -> list[RoundEvent]:
    return collect(alice)


@pytest.fixture
def bob(mesh: Mesh, alice: Node) -> ScriptedPeer:
    """A peer played by hand, linked to alice and known; alice's first comparison is answered."""
    alice.add_peer(mesh.config("bob"))
    peer = mesh.script("bob")
    peer.dial("alice")
    peer.introduce()
    wait_until(lambda: mesh.peer("alice", "bob").link is not None, "attributed")
    wait_until(lambda: len(alice.directory.holdings(KEY)) == 2, "bob's key is on the shelf")
    settle(alice)
    return peer


def drops(node: Node, reason: str) -> int:
    return node.runtime.drops.snapshot().get(reason, 0)


def agree(bob: ScriptedPeer, node: Node) -> None:
    """Answer the node's comparisons until it is content: bob holds what it holds."""
    let_compare(bob, node)
    while node.handle.waiting_for():
        bob.hear(Digests)
        bob.say(bob.digests(compared(node), reply=True))
        settle(node)


def asked(bob: ScriptedPeer, *, unless: dict[EnvelopeKind, frozenset[bytes]]) -> None:
    """Wait for a comparison of the node's and answer it."""
    bob.hear(Digests)
    bob.say(bob.digests(dict(unless), reply=True))


def differing(bob: ScriptedPeer, node: Node, kind: EnvelopeKind, *ids: bytes) -> None:
    """Let the node compare, and answer that we differ in one kind."""
    let_compare(bob, node)
    asked(bob, unless={**held(node), kind: frozenset(ids)})


# --- comparing ------------------------------------------------------------------------------------


def test_equal_digests_need_no_round_and_make_the_board_fresh(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, events: list[RoundEvent]
) -> None:
    assert not alice.is_fresh(KEY)
    agree(bob, alice)
    assert alice.handle.waiting_for() == []
    assert all(alice.is_fresh(kind) for kind in EnvelopeKind)
    assert alice.runtime.board.standing(key("bob").key_id, KEY).signal == InSync()
    assert events == []


def test_whoever_waits_for_agreement_finds_it_fresh(
    alice: Node, bob: ScriptedPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`wait` and then `status`: the one must not be ahead of the other."""
    post, waiting = alice.runtime.board.post, dict[EnvelopeKind, str]()

    def noting(peer: str, kind: EnvelopeKind, signal: StalenessSignal) -> None:
        waiting[kind] = "".join(alice.handle.waiting_for())
        post(peer, kind, signal)

    monkeypatch.setattr(alice.runtime.board, "post", noting)
    agree(bob, alice)
    assert waiting.keys() == set(EnvelopeKind)
    assert all(kind.value in said.split(": ")[-1].split(", ") for kind, said in waiting.items())


def test_freshness_ends_after_tau_partial_without_a_confirmation(
    mesh: Mesh, alice: Node, bob: ScriptedPeer
) -> None:
    agree(bob, alice)
    mesh.network.cut(address("alice"), address("bob"))
    mesh.clock.leap(TAU_PARTIAL_S)
    assert not alice.is_fresh(KEY)


def test_a_comparison_of_the_peer_is_answered_and_puts_off_our_own(
    mesh: Mesh, alice: Node, bob: ScriptedPeer
) -> None:
    agree(bob, alice)
    for _ in range(6):
        mesh.clock.leap(CADENCE_S / 2)
        bob.say(bob.digests(compared(alice), reply=False))
        bob.hear_reply()
        settle(alice)
        assert bob.heard_nothing()
    mesh.clock.leap(CADENCE_S)
    assert not bob.hear(Digests).reply


def test_only_the_kinds_of_both_are_compared(mesh: Mesh) -> None:
    node = mesh.node("alice", kinds=[KEY, FAMILY])
    node.add_peer(mesh.config("bob"))
    node.start()
    bob = mesh.script("bob")
    bob.dial("alice")
    bob.introduce()
    bob.say(bob.digests(reply=False))
    assert [entry.kind for entry in bob.hear_reply().entries] == [KEY, FAMILY]


def test_a_kind_that_differs_goes_through_a_round(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, events: list[RoundEvent]
) -> None:
    differing(bob, alice, FAMILY, b"x" * 32)
    assert bob.hear(Summary) == Summary(FAMILY, ())
    envelope = sample(FAMILY, key("bob"))
    bob.say(Summary(FAMILY, (EnvelopeRef(_id(envelope), 1),)))
    assert bob.hear(Diff).want == (_id(envelope),)
    bob.say(Deliver(FAMILY, (envelope,)), Diff(FAMILY, ()))
    wait_until(lambda: events, "the round is over")
    (event,) = events
    assert (event.outcome, event.kind) == (RoundOutcome.COMPLETED, FAMILY)
    assert event.report is not None
    assert event.report.admitted == 1
    assert alice.get(FAMILY, _id(envelope)) is not None
    assert not bob.hear(Digests).reply, "after a round that moved something, compare again"


def _id(envelope: bytes, kind: EnvelopeKind = FAMILY) -> bytes:
    return parse_envelope(kind, envelope).envelope_id


def test_an_answer_nobody_asked_for_is_counted(alice: Node, bob: ScriptedPeer) -> None:
    agree(bob, alice)
    bob.say(bob.digests(reply=True))
    wait_until(lambda: drops(alice, "digests_unasked") == 1, "counted")


def test_an_unanswered_comparison_drops_the_link_and_a_new_one_is_made(
    mesh: Mesh, alice: Node, bob: ScriptedPeer
) -> None:
    mesh.clock.leap(CADENCE_S)
    bob.hear(Digests)
    mesh.clock.leap(NO_PROGRESS_TIMEOUT_S)
    bob.wait_down()
    assert drops(alice, "check_unanswered") == 1
    assert mesh.peer("alice", "bob").reason == "no_answer"
    mesh.clock.leap(CADENCE_S)
    bob.wait_dialled()
    bob.shake_hands()
    wait_until(lambda: mesh.peer("alice", "bob").link is not None, "attributed")
    settle(alice)
    if mesh.peer("alice", "bob").check_out:  # the dial was due twice, and the second time it asked
        asked(bob, unless=held(alice))
        settle(alice)
    agree(bob, alice)


def test_what_is_admitted_while_we_compare_is_not_taken_for_agreed(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise `wait --converged` would say so of a record nobody else has."""
    agree(bob, alice)
    view_digest = alice.runtime.bridge.view_digest

    def admit_then(peer: str, kind: EnvelopeKind) -> object:
        digest = view_digest(peer, kind)
        if kind is FAMILY:
            monkeypatch.undo()
            mesh.put("alice", FAMILY)
        return digest

    before = held(alice)
    monkeypatch.setattr(alice.runtime.bridge, "view_digest", admit_then)
    bob.say(bob.digests(dict(before), reply=False))
    bob.hear_reply()
    settle(alice)
    assert any("family" in reason for reason in alice.handle.waiting_for())


# --- rounds that go wrong -------------------------------------------------------------------------


def test_a_message_out_of_turn_ends_the_round_and_the_link(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, events: list[RoundEvent]
) -> None:
    bob.say(Diff(FAMILY, (b"x" * 32,)))
    bob.wait_down()
    (event,) = events
    assert (event.outcome, event.reason) == (RoundOutcome.REFUSED, "unexpected_message")
    assert drops(alice, "round_unexpectedmessage") == 1
    wait_until(lambda: mesh.peer("alice", "bob").reason == "unexpected_message", "reason")


def test_a_late_deliver_reaches_no_later_round(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, events: list[RoundEvent]
) -> None:
    """A frame carries no round number, so the link of a broken round must not live on."""
    differing(bob, alice, FAMILY, b"x" * 32)
    bob.hear(Summary)
    old = bob.link
    mesh.clock.leap(NO_PROGRESS_TIMEOUT_S)
    bob.wait_down()
    assert [event.outcome for event in events] == [RoundOutcome.TIMED_OUT]
    mesh.clock.leap(CADENCE_S)
    bob.wait_dialled()
    assert bob.link != old


def test_a_kind_that_is_not_served_is_counted_and_the_link_lives(mesh: Mesh) -> None:
    node = mesh.node("alice", kinds=[KEY])
    node.add_peer(mesh.config("bob"))
    node.start()
    bob = mesh.script("bob")
    bob.dial("alice")
    bob.introduce()
    bob.say(Summary(FAMILY, ()), bob.digests(reply=False))
    bob.hear_reply()
    assert drops(node, "kind_not_served") == 1


def test_link_loss_in_mid_round_resets_and_recovers(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, events: list[RoundEvent]
) -> None:
    envelope = sample(FAMILY, key("bob"))
    offer = Summary(FAMILY, (EnvelopeRef(_id(envelope), 1),))
    differing(bob, alice, FAMILY, b"x" * 32)
    bob.hear(Summary)
    bob.say(offer)
    bob.hear(Diff)
    mesh.network.drop_links(address("alice"), address("bob"))
    bob.wait_down()
    wait_until(lambda: events, "the round ended")
    assert (events[0].outcome, events[0].reason) == (RoundOutcome.ERROR, "link_down")
    mesh.clock.leap(CADENCE_S / 5)
    bob.wait_dialled()
    bob.shake_hands()
    asked(bob, unless={**held(alice), FAMILY: frozenset({_id(envelope)})})
    assert bob.hear(Summary).kind is FAMILY
    bob.say(offer)
    assert bob.hear(Diff).want == (_id(envelope),)
    bob.say(Deliver(FAMILY, (envelope,)), Diff(FAMILY, ()))
    wait_until(lambda: len(events) == 2, "the round completed")
    assert events[1].outcome is RoundOutcome.COMPLETED


def test_a_peer_gone_silent_is_timed_out_and_others_keep_their_cadence(mesh: Mesh) -> None:
    alice, bob, carol = mesh.started("alice", "bob", "carol")
    mesh.clock.leap(5.0)
    mesh.wait_converged()
    events = collect(alice)
    mesh.network.hold(address("alice"), address("bob"))
    mesh.network.hold(address("carol"), address("bob"))
    mesh.put("alice", FAMILY, 1)  # a round with bob would be due, and one with carol is
    wait_until(lambda: held(carol)[FAMILY] == held(alice)[FAMILY], "carol got it")
    mesh.clock.leap(1.0)
    settle(alice)
    settle(carol)
    # What is under way between the two by now would be given up as well.
    ends = mesh.peer("alice", "carol"), mesh.peer("carol", "alice")
    wait_until(lambda: not any(each.round or each.check_out for each in ends), "it is over")
    mesh.clock.leap(NO_PROGRESS_TIMEOUT_S)
    wait_until(lambda: mesh.peer("alice", "bob").link is None, "bob was given up")
    for n in range(2, 5):
        mesh.put("carol", FAMILY, n)
        wait_until(lambda: held(alice)[FAMILY] == held(carol)[FAMILY], "alice got it")
    assert all(
        event.outcome is RoundOutcome.COMPLETED for event in events if event.peer == carol.key_id
    )
    mesh.network.release(address("alice"), address("bob"))
    mesh.network.release(address("carol"), address("bob"))
    for _ in range(3):
        mesh.clock.leap(CADENCE_S)
        settle(alice)
    mesh.wait_converged()
    assert held(bob) == held(alice) == held(carol)


def test_what_a_peer_offers_and_does_not_deliver_is_not_asked_for_all_the_time(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, events: list[RoundEvent]
) -> None:
    ghost = EnvelopeRef(b"x" * 32, 1)
    differing(bob, alice, FAMILY, ghost.envelope_hash)
    bob.hear(Summary)
    bob.say(Summary(FAMILY, (ghost,)))
    assert bob.hear(Diff).want == (ghost.envelope_hash,)
    bob.say(Deliver(FAMILY, ()), Diff(FAMILY, ()))
    wait_until(lambda: events, "over")
    assert events[0].report is not None
    assert events[0].report.staleness == BoundedBy(1)
    assert not alice.is_fresh(FAMILY)
    differing(bob, alice, FAMILY, ghost.envelope_hash)
    bob.hear(Summary)
    bob.say(Summary(FAMILY, (ghost,)))
    assert bob.hear(Diff).want == ()


def test_a_kind_that_never_agrees_is_tried_ever_more_seldom_and_news_at_once(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, events: list[RoundEvent]
) -> None:
    rounds = 0
    for _ in range(16):
        done = len(events)
        differing(bob, alice, FAMILY, b"x" * 32)
        settle(alice)
        if alice.runtime.scheduler.is_busy(key("bob").key_id):
            bob.hear(Summary)
            bob.say(Summary(FAMILY, ()), Diff(FAMILY, ()))
            wait_until(lambda done=done: len(events) > done, "over")  # type: ignore[misc]
            rounds += 1
    assert 2 <= rounds <= 6
    mesh.put("alice", FAMILY)
    mesh.clock.leap(1.0)
    asked(bob, unless={**held(alice), FAMILY: frozenset()})
    assert len(bob.hear(Summary).refs) == 1


# --- news -----------------------------------------------------------------------------------------


def test_an_own_record_is_told_at_once_and_not_at_the_cadence(
    mesh: Mesh, alice: Node, bob: ScriptedPeer
) -> None:
    agree(bob, alice)
    settle(alice)
    assert bob.heard_nothing()
    mesh.put("alice", FAMILY)
    mesh.clock.leap(0.5)
    assert not bob.hear(Digests).reply


@pytest.mark.parametrize("is_imported", [False, True])
def test_a_record_that_says_nothing_new_is_told_as_well(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, is_imported: bool
) -> None:
    mesh.put("alice", ATTESTATION)
    about = parse_envelope(ATTESTATION, sample(ATTESTATION, key("alice"))).record
    given = {
        "attested_key_id": key("alice").key_id,
        "attestation_type": "recants",
        "attestation_envelope": {"references_attestation_id": about["attestation_id"]},
    }
    first, again = (author(ATTESTATION, given, key("alice"), at_ms=AT_MS) for _ in range(2))
    alice.runtime.admit_own(ATTESTATION, first)
    settle(alice)
    agree(bob, alice)
    settle(alice)
    assert bob.heard_nothing()
    if is_imported:
        ((outcome, _),) = alice.runtime.admit_imported([(ATTESTATION, again)])
    else:
        outcome = alice.runtime.admit_own(ATTESTATION, again).outcome
    assert outcome is Outcome.SUPERSEDED
    mesh.clock.leap(0.5)
    assert not bob.hear(Digests).reply


def test_records_written_together_travel_together(
    mesh: Mesh, alice: Node, bob: ScriptedPeer
) -> None:
    agree(bob, alice)
    for n in range(5):
        mesh.put("alice", FAMILY, n)
    mesh.clock.leap(0.5)
    bob.hear(Digests)
    settle(alice)
    assert bob.heard_nothing()


def test_news_that_comes_in_the_middle_of_a_round_is_told_right_after_it(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, events: list[RoundEvent]
) -> None:
    agree(bob, alice)
    differing(bob, alice, KEY, b"x" * 32)
    bob.hear(Summary)
    mesh.put("alice", FAMILY)
    mesh.clock.leap(1.0)  # the check for the news is due now, and skipped
    settle(alice)
    bob.say(Summary(KEY, ()), Diff(KEY, ()))
    wait_until(lambda: events, "over")
    assert not bob.hear(Digests).reply


def test_what_one_peer_brought_is_passed_on_to_the_others_at_once(mesh: Mesh) -> None:
    """A line of three: what the first signs reaches the last through the one between."""
    for name in ("alice", "bob", "carol"):
        mesh.node(name)
    for one, two in (("alice", "bob"), ("bob", "carol")):
        mesh.befriend(one, two)
    for node in mesh.nodes.values():
        node.start()
    mesh.clock.leap(CADENCE_S)
    mesh.wait_converged()
    for node in mesh.nodes.values():
        settle(node)  # every cadence has just begun
    new = mesh.put("alice", FAMILY)
    wait_until(lambda: new in held(mesh.nodes["carol"])[FAMILY], "carol has it from bob")


def test_a_node_without_stewards_is_content_without_what_it_could_not_admit(mesh: Mesh) -> None:
    organization = EnvelopeKind.ORGANIZATION
    alice = mesh.node("alice")
    bob = mesh.node("bob", directory=MemoryDirectory())
    mesh.befriend("alice", "bob")
    ids = {mesh.put("alice", organization, n) for n in range(3)}
    events = collect(alice), collect(bob)
    alice.start()
    bob.start()
    for _ in range(3):
        mesh.clock.leap(CADENCE_S)
        mesh.wait_converged()
        for node in (alice, bob):
            settle(node)
    assert held(alice)[organization] == ids
    assert held(bob)[organization] == frozenset()
    assert bob.directory.pools().deferred == bob.directory.pools().refused == 0
    assert organization not in {event.kind for heard in events for event in heard}
    assert organization in alice.runtime.kinds - bob.runtime.kinds


def test_a_new_peers_key_is_news_for_the_other_peers(mesh: Mesh) -> None:
    alice, bob = mesh.started("alice", "bob")
    mesh.clock.leap(CADENCE_S)
    mesh.wait_converged()
    carol = mesh.node("carol")
    carol.start()
    mesh.befriend("alice", "carol")
    mesh.clock.leap(5.0)
    wait_until(lambda: held(bob)[KEY] == held(alice)[KEY] == held(carol)[KEY], "all three keys")
    assert len(held(bob)[KEY]) == 3


# --- what may be offered --------------------------------------------------------------------------


def test_records_of_signers_nobody_trusts_here_are_never_offered_or_served(
    mesh: Mesh, alice: Node, bob: ScriptedPeer
) -> None:
    """Eve's records were imported: held, verified, on the shelf, and nobody's business."""
    imported = Source("import")
    alice.directory.admit(KEY, mesh.key_record("eve"), imported, now_ms=NOW_MS)
    verdict = alice.directory.admit(FAMILY, sample(FAMILY, key("eve")), imported, now_ms=NOW_MS)
    eves = verdict.envelope_id
    assert eves in held(alice)[FAMILY]
    mine = mesh.put("alice", FAMILY)
    bob.say(Summary(FAMILY, ()))
    row = alice.get(FAMILY, mine)
    assert row is not None
    assert [ref.envelope_hash for ref in bob.hear(Summary).refs] == [row.copy_id]
    bob.hear(Diff)
    assert eves is not None
    bob.say(Fetch(FAMILY, (eves,)), Diff(FAMILY, (eves, row.copy_id)))
    assert bob.hear(Deliver).envelopes == ()
    assert bob.hear(Deliver).envelopes == (row.envelope,)


def test_a_peers_digest_does_not_depend_on_what_it_may_not_see(
    mesh: Mesh, alice: Node, bob: ScriptedPeer
) -> None:
    visible = compared(alice)
    imported = Source("import")
    alice.directory.admit(KEY, mesh.key_record("eve"), imported, now_ms=NOW_MS)
    alice.directory.admit(FAMILY, sample(FAMILY, key("eve")), imported, now_ms=NOW_MS)
    bob.say(bob.digests(visible, reply=False))
    assert bob.hear_reply().entries == bob.digests(visible, reply=True).entries
