"""A leaf that wants a part converges with a node that has everything, and carries no more."""

from __future__ import annotations

import pytest

from ciris_mesh.directory.base import OWN
from ciris_mesh.records.authoring import author
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.scope import TRUST, Scope, communities
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.runtime import RuntimeConfig
from ciris_mesh.wire.mesh import Digests, Hello, ScopeOffer, ScopeWanted
from ciris_mesh.wire.mesh_records import CAPABILITY_RECORDS, Records
from ciris_mesh.wire.messages import Deliver
from ciris_mesh.wire.transcode import encode_batch
from support.keys import key
from support.mesh import NOW_MS, Mesh, held, settle
from support.records import AT_MS, group_columns, member, sample
from support.waiting import wait_until

K = EnvelopeKind
PEOPLE = ("alice", "bob", "carol")
_MEMBERS = [member(key("alice").key_id, founder=True), member(key("bob").key_id)]
RIVER = group_columns(K.COMMUNITY, "river", {"members": _MEMBERS})
RIVER_ID = str(RIVER["community_key_id"])


def full(mesh: Mesh) -> Node:
    """A node that holds a record of every kind by each of three people, and their community."""
    node = mesh.node("hub", config=RuntimeConfig(pinned=frozenset(key(n).key_id for n in PEOPLE)))
    for name in PEOPLE:
        node.directory.admit(K.KEY, mesh.key_record(name), OWN, now_ms=NOW_MS)
    river = author(K.COMMUNITY, RIVER, key("alice"), at_ms=AT_MS)
    assert node.directory.admit(K.COMMUNITY, river, OWN, now_ms=NOW_MS).outcome.is_held
    for name in PEOPLE:
        for kind in EnvelopeKind:
            if kind is not K.KEY:
                raw = sample(kind, key(name))
                assert node.directory.admit(kind, raw, OWN, now_ms=NOW_MS).outcome.is_held
    return node


def leaf(mesh: Mesh, scope: Scope) -> Node:
    return mesh.node("leaf", config=RuntimeConfig(scope=scope))


def counts(node: Node) -> dict[EnvelopeKind, int]:
    return {kind: len(ids) for kind, ids in held(node).items() if ids}


def delivered(node: Node) -> int:
    """How many records peers ever brought, known or new."""
    counted = node.directory.outcome_counts().items()
    return sum(number for (path, _, _), number in counted if path == "peer")


def converge(mesh: Mesh, *nodes: Node) -> None:
    mesh.befriend("hub", "leaf")
    for node in nodes:
        node.start()
    mesh.wait_converged()


def test_a_leaf_of_trust_gets_keys_occurrences_and_removals(mesh: Mesh) -> None:
    hub, small = full(mesh), leaf(mesh, TRUST)
    converge(mesh, hub, small)
    assert counts(small) == {
        K.KEY: 5,  # three people, hub and leaf
        K.REVOCATION: 3,
        K.IDENTITY_OCCURRENCE: 3,
        K.FAMILY: 3,  # from which each removed itself
        K.COMMUNITY: 3,
        K.IDENTITY_OCCURRENCE_REVOCATION: 3,
        K.FAMILY_MEMBERSHIP_REVOCATION: 3,
        K.COMMUNITY_MEMBERSHIP_REVOCATION: 3,
    }
    assert small.directory.pools().deferred == 0
    assert small.runtime.kinds == TRUST.kinds


def test_a_leaf_of_one_community_gets_its_members_and_news_of_them(mesh: Mesh) -> None:
    hub, small = full(mesh), leaf(mesh, communities([RIVER_ID]))
    converge(mesh, hub, small)
    assert counts(small) == {
        K.KEY: 4,  # two members', and hub's and its own, which met
        K.ATTESTATION: 2,
        K.IDENTITY_OCCURRENCE: 2,
        K.COMMUNITY: 1,
        K.IDENTITY_OCCURRENCE_REVOCATION: 2,
        K.LOCATION_PROOF: 2,
    }
    before = counts(small)[K.ATTESTATION]
    hub.runtime.admit_own(K.ATTESTATION, sample(K.ATTESTATION, key("bob"), 5))
    hub.runtime.admit_own(K.ATTESTATION, sample(K.ATTESTATION, key("carol"), 5))
    wait_until(lambda: counts(small)[K.ATTESTATION] > before, "news of a member")
    mesh.wait_converged()
    assert counts(small)[K.ATTESTATION] == before + 1, "and of nobody else"


def test_a_leaf_offers_nothing_outside_its_scope_its_own_included(mesh: Mesh) -> None:
    hub, small = full(mesh), leaf(mesh, TRUST)
    own = small.put(K.ATTESTATION, {
        "attested_key_id": key("alice").key_id,
        "attestation_type": "scores",
        "attestation_envelope": {"dimension": "identity:continuity:v1"},
    }).envelope_id  # fmt: skip
    revoked = mesh.put("leaf", K.REVOCATION)
    converge(mesh, hub, small)
    assert own is not None
    assert hub.get(K.REVOCATION, revoked) is not None
    assert hub.get(K.ATTESTATION, own) is None


@pytest.mark.parametrize("scope", [TRUST, communities([RIVER_ID])], ids=lambda scope: scope.word)
def test_nothing_moves_again_after_both_started_anew(mesh: Mesh, scope: Scope) -> None:
    hub, small = full(mesh), leaf(mesh, scope)
    converge(mesh, hub, small)
    holdings = (held(hub), held(small))
    shelves = hub.directory, small.directory
    before = [delivered(node) for node in (hub, small)]
    hub.stop()
    small.stop()
    config = RuntimeConfig(pinned=frozenset(key(n).key_id for n in PEOPLE))
    hub = mesh.node("hub", directory=shelves[0], config=config)
    small = mesh.node("leaf", directory=shelves[1], config=RuntimeConfig(scope=scope))
    converge(mesh, hub, small)
    assert (held(hub), held(small)) == holdings
    assert [delivered(node) for node in (hub, small)] == before


def test_a_kind_outside_the_scope_is_not_taken_from_who_sends_it_all_the_same(mesh: Mesh) -> None:
    small = leaf(mesh, TRUST)
    small.start()
    small.add_peer(mesh.config("bob"))
    bob = mesh.script("bob")
    bob.capabilities = CAPABILITY_RECORDS
    bob.dial("leaf")
    bob.introduce()
    wait_until(lambda: mesh.peer("leaf", "bob").link is not None, "attributed")
    assert bob.hello is not None
    assert bob.hello.scope_hash == TRUST.hash8
    assert frozenset(bob.hello.kinds) <= TRUST.kinds
    raw = sample(K.ATTESTATION, key("bob"))
    bob.say(Deliver(K.ATTESTATION, (raw,)))
    bob.say(Records(1, encode_batch([(K.ATTESTATION, raw)])))
    settle(small)
    wait_until(
        lambda: small.runtime.drops.snapshot().get("kind_not_served", 0) >= 2,
        lambda: small.runtime.drops.snapshot(),
    )
    assert K.ATTESTATION not in counts(small)


def test_who_does_not_say_what_it_wants_is_not_talked_to(mesh: Mesh) -> None:
    hub = mesh.node("hub")
    hub.start()
    hub.add_peer(mesh.config("bob"))
    bob = mesh.script("bob")
    bob.dial("hub")
    bob.hello = bob.hear(Hello)
    river = communities([RIVER_ID])
    bob.say_hello(scope_hash=river.hash8)
    bob.hear(ScopeWanted)
    bob.offer()
    bob.say(bob.digests({}, reply=False))
    settle(hub)
    assert mesh.peer("hub", "bob").link is None, "known by name, and not by what it wants"
    bob.say(ScopeOffer(river.spelled))
    wait_until(lambda: mesh.peer("hub", "bob").link is not None, "attributed")
    reply = bob.hear(Digests)
    assert {entry.kind for entry in reply.entries} <= river.kinds
