"""What goes out by radio stays within its duty, arrives all the same, and most urgent first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from ciris_mesh.protocol.account import Source
from ciris_mesh.protocol.radioplan import POLICY, KindPolicy, QuietHours
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.reporting import node_status
from ciris_mesh.transport.base import LinkId
from ciris_mesh.transport.loopback import RADIO_NAME
from ciris_mesh.wire.frame import try_unwrap
from ciris_mesh.wire.mesh import Digests, NoAir
from ciris_mesh.wire.mesh_reconcile import CAPABILITY_RECONCILE, Sketch, Wants
from ciris_mesh.wire.mesh_records import CAPABILITY_RECORDS, Records
from ciris_mesh.wire.transcode import decode_batch
from support.mesh import ScriptedPeer, held, settle
from support.radio_mesh import SF8, RadioMesh, settings
from support.waiting import wait_until

K = EnvelopeKind
LIMIT_S = 36.0
#: A link, as who dials it hears it: request, round trip, identity, end.
DIAL_S = math.fsum(map(SF8.packet_s, (86, 83, 211, 99)))
#: The least by which two packets can differ: five symbols.
GROUP_S = 5 * 2**8 / 125_000


@pytest.fixture
def ends() -> Iterator[list[RadioMesh]]:
    meshes: list[RadioMesh] = []
    yield meshes
    for mesh in meshes:
        mesh.stop()


@pytest.fixture
def two(ends: list[RadioMesh]) -> RadioMesh:
    ends.append(RadioMesh("alice", "bob"))
    return ends[0]


def in_interface(mesh: RadioMesh, name: str) -> tuple[float, float]:
    """Used and handed."""
    (radio,) = mesh.budget(name).interfaces
    assert radio.used_s is not None
    return radio.used_s, radio.handed_s


def beyond_s(mesh: RadioMesh, name: str) -> float:
    """What a node paid for in the last hour, besides what was heard of it and links it dialled."""
    (radio,) = mesh.budget(name).interfaces
    assert radio.used_s is not None
    heard_s = mesh.radios[name].between(mesh.clock() - 3_600, math.inf)
    return radio.used_s - heard_s - mesh.dials[name] * DIAL_S


def spend(mesh: RadioMesh, name: str, airtime_s: float) -> None:
    """Let something else of this node have used the air."""
    budget = mesh.nodes[name].runtime.budget
    assert budget is not None
    with budget.lock:
        budget.ledger.charge(RADIO_NAME, airtime_s, mesh.clock(), Source.RETICULUM)


# --- the budget is kept, and everything arrives ---------------------------------------------------


def test_no_hour_holds_more_than_the_duty_and_everything_arrives(two: RadioMesh) -> None:
    ids = [two.put("alice", K.FAMILY, n) for n in range(4)]
    his = two.put("bob", K.COMMUNITY, 9)
    two.start()
    two.let_pass(1_800)
    owed = two.owed("alice")
    assert 0 < owed < 4, "some of it went, and the rest is shown as owed"
    (row,) = two.budget("alice").owed
    assert (row.kind, row.records) == ("family", owed)
    assert row.size_bytes > 3_000 * owed
    (radio,) = two.budget("alice").interfaces
    assert radio.drain_h is not None
    assert radio.drain_h > 0.3
    for name in two.radios:
        assert beyond_s(two, name) > -0.001, "what is heard is paid for, records as well"

    two.let_pass_until(
        lambda: all(two.has("bob", K.FAMILY, each) for each in ids) and not two.owed("alice"),
        8,
        "all is there",
    )
    two.let_pass_until(lambda: two.has("alice", K.COMMUNITY, his), 4, "his is there")
    two.let_pass(1_800)
    for name, radio_ in two.radios.items():
        assert radio_.worst_hour() <= LIMIT_S, name
        assert in_interface(two, name)[1] == 0, "nothing is left open"
    batches = [message for _, message in two.said if isinstance(message, Records)]
    assert len(batches) == 5, "each record once"


def test_what_is_said_besides_records_is_paid_for(two: RadioMesh) -> None:
    """Hellos, comparisons and their answers, by the count of whoever listens. Who dials pays for
    the link as well, which nobody hears; now and then for one that the other brought first.
    """
    two.start()
    two.let_pass(3_000)
    for name in two.radios:
        said = sum(who == name for who, _ in two.said)
        assert said >= 2, two.said
        links, rest_s = divmod(beyond_s(two, name) + 0.001, DIAL_S)  # three digits are shown
        assert 0 <= links <= 1, two.dials
        assert rest_s <= said * GROUP_S + 0.002, two.said
    assert two.dials.total() >= 1


def test_rounds_of_summaries_keep_the_duty_as_well(ends: list[RadioMesh]) -> None:
    """With a node that knows neither sketches nor batches there is no order, but no excess."""
    mesh = RadioMesh("alice", "bob", capabilities=0)
    ends.append(mesh)
    ids = [mesh.put("alice", K.FAMILY, n) for n in range(2)]
    mesh.start()
    mesh.let_pass_until(lambda: all(mesh.has("bob", K.FAMILY, each) for each in ids), 8, "all")
    for radio in mesh.radios.values():
        assert radio.worst_hour() <= LIMIT_S


def test_at_most_fifteen_seconds_are_handed_over_at_a_time(ends: list[RadioMesh]) -> None:
    mesh = RadioMesh("alice", "bob", radio=settings("100%"))
    ends.append(mesh)
    for n in range(6):
        mesh.put("alice", K.FAMILY, n)
    mesh.start()
    mesh.let_pass_until(lambda: len(mesh.nodes["bob"].directory.holdings(K.FAMILY)) == 6, 1, "all")
    sizes = [len(message.batch) for _, message in mesh.said if isinstance(message, Records)]
    assert len(sizes) == 6
    assert max(sizes) < 5_000, "more than 15 s at SF8"


# --- what takes too long --------------------------------------------------------------------------


def test_a_join_that_takes_days_is_told_before_a_record_goes(two: RadioMesh) -> None:
    for n in range(80):
        two.put("alice", K.FAMILY, n)
    two.start()
    two.let_pass_until(lambda: two.budget("alice").joins, 2, "told")
    (join,) = two.budget("alice").joins
    assert 78 * 3_500 <= join.sent_bytes <= 80 * 3_500
    assert join.received_bytes == 0
    assert join.hours is not None
    assert join.hours > 24
    assert sum(isinstance(message, Records) for _, message in two.said) <= 2
    two.let_pass_until(lambda: two.budget("bob").joins, 2, "told there as well")
    (his,) = two.budget("bob").joins
    assert his.sent_bytes == 0
    assert 78 * 3_500 <= his.received_bytes <= 80 * 3_500
    health = node_status(two.nodes["bob"], uptime_s=0, clock="trusted").health
    assert any("ciris-mesh export FILE" in line and "24" not in line for line in health)
    families = two.nodes["alice"].directory.rows(K.FAMILY, limit=100)
    two.nodes["bob"].runtime.admit_imported([(K.FAMILY, row.envelope) for _, row in families])
    two.let_pass_until(
        lambda: not (two.budget("alice").joins or two.budget("bob").joins), 4, "carried over"
    )


# --- order ----------------------------------------------------------------------------------------


def test_a_removal_overtakes_all_that_is_not_handed_over(two: RadioMesh) -> None:
    ids = [two.put("alice", K.FAMILY, n) for n in range(4)]
    two.start()
    two.let_pass_until(lambda: two.owed("alice") == 3, 2, "one went")
    removal = two.put("alice", K.REVOCATION)
    key = two.put("alice", K.IDENTITY_OCCURRENCE)
    two.let_pass_until(lambda: two.has("bob", K.REVOCATION, removal), 2, "the removal is there")
    assert sum(two.has("bob", K.FAMILY, each) for each in ids) == 1
    two.let_pass_until(lambda: two.has("bob", K.IDENTITY_OCCURRENCE, key), 2, "then the occurrence")
    assert sum(two.has("bob", K.FAMILY, each) for each in ids) == 1
    for radio in two.radios.values():
        assert radio.worst_hour() <= LIMIT_S


def test_a_removal_ends_the_round_that_it_comes_into(ends: list[RadioMesh]) -> None:
    """There is air for everything; the order alone is what counts."""
    mesh = RadioMesh("alice", "bob", radio=settings("100%"))
    ends.append(mesh)
    for n in range(12):
        mesh.put("bob", K.COMMUNITY, n)
    mesh.start()
    # They agree, and he holds about as much: so she opens the next round, and he none.
    mesh.let_pass_until(lambda: not mesh.nodes["alice"].handle.waiting_for(), 2, "they agree")
    mesh.peer("bob", "alice").next_check_s = math.inf
    put: list[bytes] = []
    transport = mesh.nodes["alice"].runtime.transport
    send = transport.send

    def put_behind_the_first(link: LinkId, frame: bytes) -> None:
        send(link, frame)
        unwrapped = try_unwrap(frame)
        if not put and unwrapped is not None and isinstance(unwrapped.message, Records):
            put.append(b"")
            put[0] = mesh.put("alice", K.REVOCATION)

    transport.send = put_behind_the_first  # type: ignore[method-assign]
    for n in range(5):
        mesh.put("alice", K.FAMILY, n)
    # No time is made to pass: a tick in between might hand over another batch.
    wait_until(
        lambda: len(put) == 1 and mesh.has("bob", K.REVOCATION, put[0]), "the removal is there"
    )
    kinds = [kind for name, kind in _records_in_order(mesh) if name == "alice"]
    assert kinds[:2] == [K.FAMILY, K.REVOCATION]


def _records_in_order(mesh: RadioMesh) -> list[tuple[str, EnvelopeKind]]:
    return [
        (name, kind)
        for name, message in mesh.said
        if isinstance(message, Records)
        for kind, _ in decode_batch(message.batch)
    ]


# --- what the operator decides --------------------------------------------------------------------


def test_in_quiet_hours_only_a_removal_goes_out(ends: list[RadioMesh]) -> None:
    quiet = QuietHours(23 * 60, 6 * 60)
    mesh = RadioMesh("alice", "bob", radio=settings("100%", quiet=quiet))
    ends.append(mesh)
    hour = [1]
    for node in mesh.nodes.values():
        assert node.runtime._air is not None
        node.runtime._air._minute = lambda: 60 * hour[0]
    mesh.start()
    mesh.let_pass(1_800)
    family = mesh.put("alice", K.FAMILY)
    mesh.let_pass(7_200)
    assert not mesh.has("bob", K.FAMILY, family)
    removal = mesh.put("alice", K.REVOCATION)
    mesh.let_pass_until(lambda: mesh.has("bob", K.REVOCATION, removal), 1, "the removal is there")
    mesh.let_pass(3_600)
    assert not mesh.has("bob", K.FAMILY, family)
    assert mesh.owed("alice") == 1
    hour[0] = 7
    mesh.let_pass_until(lambda: mesh.has("bob", K.FAMILY, family), 1, "quiet is over")


def test_a_kind_that_is_off_is_not_spoken_of_by_radio(ends: list[RadioMesh]) -> None:
    policy = {**POLICY, K.FAMILY: KindPolicy.OFF}
    mesh = RadioMesh("alice", "bob", radio=settings("100%", policy=policy))
    ends.append(mesh)
    family, community = mesh.put("alice", K.FAMILY), mesh.put("alice", K.COMMUNITY)
    mesh.start()
    mesh.let_pass_until(lambda: mesh.has("bob", K.COMMUNITY, community), 1, "the other kind")
    mesh.let_pass(3_600)
    assert not mesh.has("bob", K.FAMILY, family)
    compared = [message for _, message in mesh.said if isinstance(message, Digests)]
    assert all(K.FAMILY not in {entry.kind for entry in each.entries} for each in compared)


def test_another_medium_is_not_looked_at(ends: list[RadioMesh]) -> None:
    mesh = RadioMesh("alice", "bob", medium="loopback", radio=settings("0.01%"))
    ends.append(mesh)
    ids = [mesh.put("alice", K.FAMILY, n) for n in range(6)]
    mesh.start()
    wait_until(lambda: all(mesh.has("bob", K.FAMILY, each) for each in ids), "all, at once")
    assert mesh.budget("alice").interfaces == ()
    assert mesh.budget("alice").owed == ()
    assert "no_air" not in mesh.nodes["alice"].runtime.drops.snapshot()


# --- no air ---------------------------------------------------------------------------------------


def test_who_has_no_air_to_answer_says_so_and_for_how_long(two: RadioMesh) -> None:
    two.start()
    two.let_pass(1_200)
    used_s, _ = in_interface(two, "bob")
    spend(two, "bob", LIMIT_S - used_s - 3.1)  # enough to answer, not to take a record
    family = two.put("alice", K.FAMILY)
    two.let_pass(300)
    words = [message for name, message in two.said if name == "bob"]
    hushes = [message for message in words if isinstance(message, NoAir)]
    assert len(hushes) == 1, "said once, and heard"
    assert K.FAMILY not in [kind for _, kind in _records_in_order(two)], "nothing in vain"
    assert 1_800 < hushes[0].wait_s <= 3_600
    assert two.nodes["alice"].runtime.drops.snapshot()["peer_no_air"] == 1
    before = len(two.said)
    two.let_pass(hushes[0].wait_s - 600)
    assert not [m for name, m in two.said[before:] if name == "alice"], "left alone until then"
    two.let_pass_until(lambda: two.has("bob", K.FAMILY, family), 2, "and then it goes")


def test_without_air_of_its_own_a_node_waits_and_says_nothing(two: RadioMesh) -> None:
    two.start()
    two.let_pass(1_200)
    spend(two, "alice", 36)
    family = two.put("alice", K.FAMILY)
    before = len(two.said)
    two.let_pass(1_800)
    words = [message for name, message in two.said[before:] if name == "alice"]
    assert all(isinstance(word, NoAir) for word in words), "to who compares with it, that much"
    assert len(words) <= 1
    assert two.nodes["alice"].runtime.drops.snapshot()["check_waits_for_air"] >= 1
    (radio,) = two.budget("alice").interfaces
    assert radio.free_s == 0
    two.let_pass_until(lambda: two.has("bob", K.FAMILY, family), 3, "an hour later it goes")


def test_what_interfaces_count_is_seen(two: RadioMesh) -> None:
    """Bytes nobody told the ledger of: announces, proofs, what is forwarded."""
    two.start()
    two.let_pass(600)
    used_s, _ = in_interface(two, "alice")
    transport = two.nodes["alice"].runtime.transport
    transport._tx_bytes += 2_000  # type: ignore[attr-defined]
    after_s, _ = in_interface(two, "alice")
    assert used_s + 5 < after_s < used_s + 20, "2,000 bytes are 5.7 s in full packets"


# --- over a restart -------------------------------------------------------------------------------


def test_the_hour_outlives_the_process(ends: list[RadioMesh], tmp_path: Path) -> None:
    file = tmp_path / "airtime.json"
    mesh = RadioMesh("alice", "bob", air_file=file)
    ends.append(mesh)
    mesh.put("alice", K.FAMILY)
    mesh.start()
    mesh.let_pass_until(lambda: not mesh.owed("alice") and len(mesh.said) > 8, 2, "it went")
    used_s, _ = in_interface(mesh, "alice")
    assert used_s > 10
    alice = mesh.nodes.pop("alice")
    alice.stop()
    assert file.stat().st_mode & 0o777 == 0o600
    again = mesh.add("alice", ("bob",), air_file=file, directory=alice.directory)
    again.start()
    assert in_interface(mesh, "alice")[0] >= used_s - 1


def test_an_hour_that_cannot_be_read_counts_as_full(ends: list[RadioMesh], tmp_path: Path) -> None:
    file = tmp_path / "airtime.json"
    file.write_text("{")
    mesh = RadioMesh("alice", "bob", air_file=file)
    ends.append(mesh)
    mesh.start()
    used_s, _ = in_interface(mesh, "alice")
    assert used_s >= LIMIT_S


# --- a peer that says it --------------------------------------------------------------------------


def scripted(mesh: RadioMesh) -> ScriptedPeer:
    mesh.nodes.pop("bob").stop()
    bob = mesh.script("bob")
    bob.capabilities = CAPABILITY_RECONCILE | CAPABILITY_RECORDS
    bob.dial("alice")
    bob.shake_hands()
    return bob


def test_no_air_where_air_is_no_matter_is_ignored(ends: list[RadioMesh]) -> None:
    mesh = RadioMesh("alice", "bob", medium="loopback")
    ends.append(mesh)
    mesh.nodes["alice"].start()
    bob = scripted(mesh)
    bob.say(NoAir(60))
    wait_until(
        lambda: mesh.nodes["alice"].runtime.drops.snapshot().get("no_air_unasked"), "counted"
    )
    assert bob.link is not None


def test_more_than_an_hour_is_not_believed(two: RadioMesh) -> None:
    alice = two.nodes["alice"]
    alice.start()
    bob = scripted(two)
    wait_until(lambda: two.peer("alice", "bob").link is not None, "a link")
    bob.say(NoAir(65_535))
    bob.wait_down()
    settle(alice)
    assert two.peer("alice", "bob").hushed_until_s <= two.clock() + 3_600


def test_who_sends_garbage_pays_with_its_share(two: RadioMesh) -> None:
    alice = two.nodes["alice"]
    alice.start()
    bob = scripted(two)
    wait_until(lambda: two.peer("alice", "bob").link is not None, "a link")
    bob.say_bytes(b"CRPL\x81garbage")
    bob.wait_down()
    assert two.budget("alice").counts["penalty_garbage"] == 1


def test_who_sends_a_hostile_sketch_pays_as_well(two: RadioMesh) -> None:
    alice = two.nodes["alice"]
    two.put("alice", K.FAMILY)
    alice.start()
    bob = scripted(two)
    bob.hear(Digests)
    bob.say(bob.digests({**held(alice), K.FAMILY: frozenset()}, reply=True))
    bob.say(Wants(bob.hear(Sketch).round_id, b"chck", b"\xff\xff"))
    bob.wait_down()
    wait_until(lambda: two.budget("alice").counts.get("penalty_sketch"), "counted")
    assert two.budget("alice").counts["penalty_sketch"] == 1
    assert alice.runtime.drops.snapshot()["reconcile_ranks_malformed"] == 1


def test_a_peer_that_goes_is_owed_nothing(two: RadioMesh) -> None:
    for n in range(3):
        two.put("alice", K.FAMILY, n)
    two.start()
    two.let_pass_until(lambda: two.owed("alice") == 2, 2, "something is owed")
    two.nodes["alice"].runtime.remove_peer(two.nodes["bob"].key_id)
    assert two.owed("alice") == 0
    assert in_interface(two, "alice")[1] == 0
