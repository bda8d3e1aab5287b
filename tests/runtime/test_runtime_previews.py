"""A removal goes ahead of its record: on the air in time, kept apart, and not for long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ciris_mesh.directory.base import OWN, Source
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.protocol.account import Source as Spent
from ciris_mesh.records.authoring import author
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason, Verdict
from ciris_mesh.records.preview import first_half
from ciris_mesh.records.resolve.base import Status
from ciris_mesh.runtime import previews as module
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.previews import PREVIEW_LIFE_S, Previews, Refused
from ciris_mesh.runtime.reporting import node_status
from ciris_mesh.runtime.resolving import answer
from ciris_mesh.transport.loopback import RADIO_NAME
from ciris_mesh.wire.mesh import CAPABILITY_PREVIEWS, CAPABILITY_TAKES_NOTHING, Preview
from ciris_mesh.wire.mesh_records import Records
from ciris_mesh.wire.transcode import encode_batch
from support.keys import alice, bob, key
from support.mesh import NOW_MS, TRUST, settle
from support.radio_mesh import RadioMesh, settings
from support.records import AT_MS, sample
from support.waiting import wait_until

K = EnvelopeKind
PEER = "peer"


def revocation(n: int = 0, by: str = "alice", at_ms: int = AT_MS) -> bytes:
    """`by` takes back its own key."""
    given = {"revoked_key_id": key(by).key_id, "reason": f"lost {n}"}
    return author(K.REVOCATION, given, key(by), at_ms=at_ms)


def preview_of(raw: bytes, kind: EnvelopeKind = K.REVOCATION) -> Preview:
    batch = encode_batch([(kind, first_half(kind, raw))])
    return Preview(parse_envelope(kind, raw).envelope_id, batch)


class World:
    """Previews over a directory that knows alice and bob, on a clock that stands still."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.directory = MemoryDirectory()
        for one in (alice(), bob()):
            self.directory.admit(K.KEY, sample(K.KEY, one), OWN, now_ms=NOW_MS)
        self.previews = Previews(self.directory, clock=lambda: self.now_s, wall_ms=lambda: NOW_MS)

    def take(self, raw: bytes, peer: str = PEER) -> Refused | None:
        return self.previews.take(peer, preview_of(raw))

    def arrives(self, raw: bytes) -> Verdict:
        source = Source("peer", PEER)
        return self.directory.admit(K.REVOCATION, raw, source, now_ms=NOW_MS)

    @property
    def records(self) -> list[str]:
        return [one.record for one in self.previews.pending()]


@pytest.fixture
def world() -> World:
    return World()


# --- the pool -------------------------------------------------------------------------------------


def test_what_stands_is_kept_until_its_record_comes(world: World) -> None:
    raw = revocation()
    assert world.take(raw) is None
    (kept,) = world.previews.pending()
    assert (kept.about, kept.removed, kept.peer) == (alice().key_id, alice().key_id, PEER)
    assert kept.record == parse_envelope(K.REVOCATION, raw).envelope_id.hex()
    assert world.take(raw) is None, "said again it is the same"
    assert len(world.records) == 1
    assert world.previews.settle([world.arrives(raw)]) == []
    assert world.records == []
    assert world.take(raw) is Refused.RECORD_IS_HERE


def test_a_record_that_came_another_way_ends_it_as_well(world: World) -> None:
    raw = revocation()
    world.take(raw)
    world.arrives(raw)
    assert world.records == []
    assert world.previews.expire() == [], "and nobody is to blame"
    assert world.take(revocation(1)) is None


def test_what_waits_here_stays_announced(world: World) -> None:
    raw = revocation()
    world.take(raw)
    envelope_id = parse_envelope(K.REVOCATION, raw).envelope_id
    deferred = Verdict(Outcome.DEFERRED, Reason.SIGNER_UNKNOWN, K.REVOCATION, envelope_id)
    assert world.previews.settle([deferred]) == []
    assert len(world.records) == 1


def test_a_record_that_does_not_stand_contradicts_it(world: World) -> None:
    raw = revocation()
    world.take(raw)
    broken = raw.replace(b'"scrub_signature_pqc":"', b'"scrub_signature_pqc":"AAAA', 1)
    envelope_id = parse_envelope(K.REVOCATION, raw).envelope_id
    assert world.arrives(broken).outcome is not Outcome.ADMITTED
    refused = Verdict(Outcome.REFUSED, Reason.PQC_SIGNATURE_INVALID, K.REVOCATION, envelope_id)
    (gone,) = world.previews.settle([refused])
    assert gone.record == envelope_id.hex()
    assert world.records == []
    assert world.take(revocation(1)) is Refused.LAPSED_BEFORE
    assert world.take(revocation(1), peer="another") is None, "the signer is not to blame"


def test_what_does_not_come_in_time_is_dropped_and_its_peer_not_heard_for_a_day(
    world: World,
) -> None:
    world.take(revocation())
    world.now_s = PREVIEW_LIFE_S - 1
    assert world.previews.expire() == []
    assert len(world.records) == 1
    world.now_s = PREVIEW_LIFE_S
    assert world.records == [], "nobody has to drop it first"
    assert len(world.previews.expire()) == 1
    assert world.previews.expire() == []
    assert world.take(revocation(1)) is Refused.LAPSED_BEFORE
    world.now_s += 86_400
    assert world.take(revocation(1)) is None


def test_each_peer_each_signer_and_all_together_have_a_limit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PREVIEWS_PER_PEER", 2)
    monkeypatch.setattr(module, "PREVIEWS_PER_SIGNER", 3)
    monkeypatch.setattr(module, "PREVIEWS_MAX", 4)
    said = [
        world.take(revocation(n, by), peer)
        for n, (by, peer) in enumerate(
            [
                ("alice", "one"),
                ("alice", "one"),
                ("bob", "one"),
                ("alice", "two"),
                ("alice", "two"),
                ("bob", "two"),
                ("bob", "three"),
            ]
        )
    ]
    assert said == [
        None, None, Refused.PEER_FULL, None, Refused.SIGNER_FULL, None, Refused.POOL_FULL,
    ]  # fmt: skip


def test_why_something_is_not_kept(world: World) -> None:
    raw = revocation()
    good = preview_of(raw)
    removal = K.IDENTITY_OCCURRENCE_REVOCATION
    occurrence = preview_of(sample(removal, alice()), removal)
    stranger = revocation(by="carol")
    ahead = revocation(at_ms=NOW_MS + 6 * 60_000)
    cases: list[tuple[Preview, Refused]] = [
        (Preview(good.envelope_id, b"\x01garbage"), Refused.MALFORMED),
        (Preview(good.envelope_id, encode_batch([])), Refused.MALFORMED),
        (Preview(good.envelope_id, encode_batch([(K.REVOCATION, b"{}")])), Refused.MALFORMED),
        (_of(K.KEY, b"{}"), Refused.NO_REMOVAL),
        (Preview(bytes(32), occurrence.batch), Refused.ANOTHER_RECORD),
        (preview_of(stranger), Refused.SIGNER_UNKNOWN),
        (preview_of(ahead), Refused.TIME_AHEAD),
        (preview_of(sample(K.REVOCATION, alice())), Refused.NO_STANDING),
        (preview_of(_forged(raw)), Refused.NOT_SIGNED),
    ]
    for message, refused in cases:
        assert world.previews.take(PEER, message) is refused
    assert world.records == []
    assert set(world.directory.counts()) == {(K.KEY, 2)}, "and nothing of it is a record"


def _of(kind: EnvelopeKind, raw: bytes) -> Preview:
    return Preview(bytes(32), encode_batch([(kind, raw)]))


def _forged(raw: bytes) -> bytes:
    return raw.replace(b'"reason":"lost 0"', b'"reason":"lost 9"')


def test_only_what_has_standing_and_fits_may_go_ahead(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, claim = revocation(), sample(K.REVOCATION, alice())
    for one in (raw, claim):
        world.arrives(one)

    def ahead(of: bytes, kind: EnvelopeKind = K.REVOCATION) -> Preview | None:
        row = world.directory.get(kind, parse_envelope(kind, of).envelope_id)
        assert row is not None
        return world.previews.of_row(row)

    assert ahead(raw) == preview_of(raw)
    assert ahead(claim) is None, "who else's key it takes back"
    assert ahead(sample(K.KEY, alice()), K.KEY) is None
    monkeypatch.setattr(module, "PREVIEW_BATCH_BYTES_MAX", 100)
    assert ahead(raw) is None


# --- on the air -----------------------------------------------------------------------------------


@pytest.fixture
def ends() -> Iterator[list[RadioMesh]]:
    meshes: list[RadioMesh] = []
    yield meshes
    for mesh in meshes:
        mesh.stop()


def pair(ends: list[RadioMesh], **config: Any) -> RadioMesh:
    """Two nodes that have met, and alice has hardly any air left."""
    mesh = RadioMesh("alice", "bob", **config)
    ends.append(mesh)
    mesh.start()
    mesh.let_pass(3_600)
    budget = mesh.nodes["alice"].runtime.budget
    assert budget is not None
    with budget.lock:
        free_s = budget.ledger.free_s(RADIO_NAME, mesh.clock())
        budget.ledger.charge(RADIO_NAME, free_s - 7.0, mesh.clock(), Spent.RETICULUM)
    mesh.said.clear()
    return mesh


def revoke(mesh: RadioMesh) -> bytes:
    """Alice takes back her own key; she is believed about nobody else."""
    verdict = mesh.nodes["alice"].runtime.admit_own(K.REVOCATION, revocation())
    assert verdict.envelope_id is not None
    return verdict.envelope_id


def status_of(node: Node, key_id: str) -> Status:
    return answer(
        node.directory, TRUST, "key", key_id, now_ms=NOW_MS, tau_partial_s=300.0,
        pending=node.runtime.previews.pending(),
    ).status  # fmt: skip


def announced(mesh: RadioMesh) -> list[Preview]:
    return [message for _, message in mesh.said if isinstance(message, Preview)]


def test_a_removal_without_air_goes_ahead_in_one_packet(ends: list[RadioMesh]) -> None:
    mesh = pair(ends)
    him, her = mesh.nodes["bob"], alice().key_id
    assert status_of(him, her) is Status.VALID
    envelope_id = revoke(mesh)
    mesh.let_pass_until(lambda: announced(mesh), 1, "it is announced")
    assert not any(isinstance(message, Records) for _, message in mesh.said)
    (message,) = announced(mesh)
    assert message.envelope_id == envelope_id
    (shown,) = node_status(him, uptime_s=0, clock="trusted").pending_removals
    assert (shown.kind, shown.removed, shown.by) == ("revocation", her, (her,))
    assert shown.record == envelope_id.hex()
    assert status_of(him, her) is Status.SUSPECT
    assert not mesh.has("bob", K.REVOCATION, envelope_id), "it is no record"

    mesh.let_pass_until(lambda: mesh.has("bob", K.REVOCATION, envelope_id), 6, "the record comes")
    assert status_of(him, her) is Status.REVOKED
    assert him.runtime.previews.pending() == ()
    assert len(announced(mesh)) == 1, "once"
    assert not {"preview_lapsed", "preview_contradicted"} & him.runtime.drops.snapshot().keys()
    for radio in mesh.radios.values():
        assert radio.worst_hour() <= 36.0


def test_removals_that_others_sign_go_ahead_as_well(ends: list[RadioMesh]) -> None:
    """Of these the views compare copies, and a preview names the record."""
    mesh = pair(ends)
    kind = K.IDENTITY_OCCURRENCE_REVOCATION
    envelope_id = mesh.put("alice", kind)
    mesh.let_pass_until(lambda: announced(mesh), 1, "it is announced")
    assert announced(mesh)[0].envelope_id == envelope_id
    (pending,) = mesh.nodes["bob"].runtime.previews.pending()
    assert (pending.about, pending.removed) == (alice().key_id, "laptop-0")
    mesh.let_pass_until(lambda: mesh.has("bob", kind, envelope_id), 6, "the record comes")
    assert mesh.nodes["bob"].runtime.previews.pending() == ()


def test_what_can_go_at_once_is_not_announced(ends: list[RadioMesh]) -> None:
    mesh = RadioMesh("alice", "bob", radio=settings("100%"))
    ends.append(mesh)
    mesh.start()
    envelope_id = revoke(mesh)
    mesh.let_pass_until(lambda: mesh.has("bob", K.REVOCATION, envelope_id), 1, "it is there")
    assert announced(mesh) == []


def test_it_is_passed_on_to_nobody(ends: list[RadioMesh]) -> None:
    mesh = pair(ends)
    mesh.add("carol", ("bob",))
    mesh.nodes["bob"].runtime.admit_imported([(K.KEY, mesh.key_record("carol"))])
    mesh.befriend("bob", "carol")
    mesh.nodes["carol"].start()
    revoke(mesh)
    mesh.let_pass_until(lambda: announced(mesh), 1, "it is announced")
    mesh.let_pass(600)
    assert {name for name, message in mesh.said if isinstance(message, Preview)} == {"alice"}
    assert mesh.nodes["carol"].runtime.previews.pending() == ()


def test_to_who_does_not_know_previews_none_is_sent(ends: list[RadioMesh]) -> None:
    mesh = pair(ends, capabilities=0xFFFF & ~CAPABILITY_PREVIEWS & ~CAPABILITY_TAKES_NOTHING)
    revoke(mesh)
    mesh.let_pass(1_200)
    assert announced(mesh) == []


def test_who_announces_rubbish_is_counted_and_has_less_of_the_air(ends: list[RadioMesh]) -> None:
    mesh = RadioMesh("alice")
    ends.append(mesh)
    node = mesh.nodes["alice"]
    node.start()
    node.add_peer(mesh.config("bob"))
    him = mesh.script("bob")
    him.capabilities = CAPABILITY_PREVIEWS
    him.dial("alice")
    him.introduce()
    wait_until(lambda: mesh.peer("alice", "bob").link is not None, "attributed")
    him.say(Preview(bytes(32), b"\x01rubbish"))
    settle(node)
    wait_until(lambda: "preview_malformed" in node.runtime.drops.snapshot(), "counted")
    mesh.peer("alice", "bob").waste.spend(100.0)
    him.say(Preview(bytes(32), b"\x01rubbish"))
    settle(node)
    wait_until(lambda: "preview_too_often" in node.runtime.drops.snapshot(), "counted")
    assert mesh.budget("alice").counts["penalty_preview"] == 1
