"""What is offered can stand at a node that has nothing else and knows only whom we know."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ciris_mesh.directory.base import Source
from ciris_mesh.directory.bridge import FederationDirectoryReplicationBridge
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.records.timestamps import from_unix_ms
from support.federation import PEOPLE, TRUST, federation
from support.keys import key
from support.records import AT_MS, group_columns, member
from support.rulebook import MINUTE_MS, key_columns, key_id, key_record, made, really_signed

K = EnvelopeKind
HUB = Source("peer", "hub")
NOW_MS = AT_MS + 10 * MINUTE_MS
FRIENDS = [key_id(name) for name in (*PEOPLE, "root")]

Open = Callable[..., DirectoryCore]
Record = tuple[EnvelopeKind, bytes]


@cache
def everything() -> tuple[Record, ...]:
    return tuple((one.kind, really_signed(one)) for one in federation())


def signed(envelope: Envelope) -> Record:
    return envelope.kind, really_signed(envelope)


def fill(directory: DirectoryCore, records: Iterable[Record]) -> None:
    for kind, raw in records:
        directory.admit(kind, raw, HUB, now_ms=NOW_MS)


def offered(directory: DirectoryCore, friends: frozenset[str]) -> list[Record]:
    """All that a peer would get from here."""
    bridge = FederationDirectoryReplicationBridge(directory, lambda: friends)
    found: list[Record] = []
    for kind in EnvelopeKind:
        ids = [ref.envelope_hash for ref in bridge.offer("zoe", kind)]
        served = bridge.serve("zoe", kind, ids, budget_bytes=1 << 24)
        assert len(served.sent_ids) == len(ids), "what is listed is served"
        found += [(kind, raw) for raw in served.envelopes]
    return found


def attestation(by: str, about: str, n: int = 0) -> Envelope:
    inner = {"dimension": "identity:continuity:v1", "n": n}
    columns = {
        "attested_key_id": key_id(about),
        "attestation_type": "scores",
        "attestation_envelope": inner,
    }
    return made(K.ATTESTATION, columns, by)


@pytest.fixture
def hub(open_directory: Open) -> DirectoryCore:
    directory = open_directory(trust=TRUST)
    directory.favour(lambda: frozenset({key_id("alice")}))
    return directory


def names(records: Iterable[Record]) -> set[Record]:
    return set(records)


def test_the_key_an_attestation_is_about_goes_with_it(hub: DirectoryCore) -> None:
    keys = [signed(key_record(name)) for name in ("alice", "bob", "carol")]
    about = signed(attestation("alice", "bob"))
    fill(hub, [*keys, about])
    assert names(offered(hub, frozenset({key_id("alice")}))) == names([*keys[:2], about])


def test_strangers_introduce_nobody(hub: DirectoryCore) -> None:
    mine = signed(key_record("alice"))
    fill(hub, [mine, signed(key_record("bob")), signed(key_record("mallory"))])
    fill(hub, [signed(attestation("mallory", "bob")), signed(attestation("bob", "mallory"))])
    assert offered(hub, frozenset({key_id("alice")})) == [mine]


def test_what_strangers_say_about_an_introduced_key_stays_here(hub: DirectoryCore) -> None:
    own, about = signed(key_record("bob")), signed(attestation("alice", "bob"))
    mine = signed(key_record("alice"))
    fill(hub, [mine, own, about, signed(key_record("mallory"))])
    vouched = made(K.KEY, key_columns("bob", "agent", "by a stranger"), "mallory")
    fill(hub, [signed(vouched), signed(attestation("mallory", "bob"))])
    assert names(offered(hub, frozenset({key_id("alice")}))) == names([mine, own, about])


def test_a_key_vouched_for_by_a_stranger_brings_that_key_along(hub: DirectoryCore) -> None:
    vouched = signed(made(K.KEY, key_columns("bob", "agent", "vouched"), "carol"))
    rest = [signed(key_record("alice")), signed(key_record("carol"))]
    about = signed(attestation("alice", "bob"))
    fill(hub, [*rest, vouched, about])
    assert names(offered(hub, frozenset({key_id("alice")}))) == names([*rest, vouched, about])


def test_who_becomes_a_friend_introduces_with_what_it_said_before(open_directory: Open) -> None:
    directory, friends = open_directory(trust=TRUST), set[str]()
    directory.favour(lambda: frozenset(friends))
    records = [signed(key_record("alice")), signed(key_record("bob"))]
    records.append(signed(attestation("alice", "bob")))
    fill(directory, records)
    assert offered(directory, frozenset()) == []
    friends.add(key_id("alice"))
    fill(directory, [signed(key_record("carol"))])
    assert names(offered(directory, frozenset(friends))) == names(records)


def test_a_restart_does_not_forget_who_was_a_stranger(open_directory: Open) -> None:
    directory = open_directory(trust=TRUST)
    records = [signed(key_record("alice")), signed(key_record("bob"))]
    records.append(signed(attestation("alice", "bob")))
    fill(directory, records)
    directory._load()  # what opening does; the store in memory cannot be opened twice
    friends = frozenset({key_id("alice")})
    directory.favour(lambda: friends)
    fill(directory, [signed(key_record("carol"))])
    assert names(offered(directory, friends)) == names(records)


def test_rooted_signers_introduce_as_friends_do(open_directory: Open) -> None:
    """Bob is rooted in this federation; carol is nobody."""
    directory = open_directory(trust=TRUST)
    rooting = [key_record("root", "steward"), key_record("bob", by="root", ref="vouched")]
    about = attestation("bob", "carol")
    records = [signed(one) for one in (*rooting, key_record("carol"), about)]
    fill(directory, [*records, signed(key_record("dave"))])
    assert directory.rooted() == {key_id("root"), key_id("bob")}
    assert names(offered(directory, directory.rooted())) == names(records)


def test_a_row_that_becomes_offered_changes_the_offer(hub: DirectoryCore) -> None:
    fill(hub, map(signed, (key_record("alice"), key_record("bob"))))
    friends = frozenset({key_id("alice")})
    bridge = FederationDirectoryReplicationBridge(hub, lambda: friends)
    assert len(bridge.offer("zoe", K.KEY)) == 1
    before = bridge.view_digest("zoe", K.KEY)
    fill(hub, [signed(attestation("alice", "bob"))])
    assert len(bridge.offer("zoe", K.KEY)) == 2
    assert bridge.view_digest("zoe", K.KEY) != before


def _group(founders: str, *by: str, protocol: str = "founder_only") -> Envelope:
    roster = [member(key_id(name), founder=True) for name in founders.split()]
    given = {"members": roster, "consensus_protocol": protocol}
    return made(K.FAMILY, group_columns(K.FAMILY, "f", given), *by)


def _later(group: Envelope, minutes: int, founders: str, *by: str) -> Envelope:
    at_ms = AT_MS + minutes * MINUTE_MS
    kept = {name: group.record[name] for name in group.record if name != "persist_row_hash"}
    roster = [member(key_id(name), founder=True) for name in founders.split()]
    given: dict[str, Any] = {**kept, "founded_at": from_unix_ms(at_ms), "members": roster}
    return made(K.FAMILY, given, *by, at_ms=at_ms)


def _leaves(group: Envelope, who: str, minutes: int = 1) -> Envelope:
    named = {"family_key_id": group.record["family_key_id"], "removed_identity_key_id": key_id(who)}
    at_ms = AT_MS + minutes * MINUTE_MS
    return made(K.FAMILY_MEMBERSHIP_REVOCATION, named, who, at_ms=at_ms)


def _stands_at_zoe(hub: DirectoryCore, last: Envelope) -> set[bytes]:
    """What zoe ends with of groups, if all that the hub passes on comes latest first."""
    zoe = MemoryDirectory(trust=TRUST)
    passed_on = offered(hub, frozenset({key_id("alice")}))
    fill(zoe, [signed(key_record("alice"))])
    first = zoe.admit(last.kind, really_signed(last), HUB, now_ms=NOW_MS)
    assert first.outcome is Outcome.DEFERRED, "what decided it makes the difference"
    fill(zoe, passed_on[::-1])
    return {ref.envelope_hash for ref in zoe.holdings(K.FAMILY)}


def test_the_roster_that_decided_goes_with_the_one_it_decided(hub: DirectoryCore) -> None:
    """alice is ours, bob who founded is not; the roster between them is passed on as well."""
    founding = _group("bob", "bob")
    between = _later(founding, 1, "alice bob", "bob")
    last = _later(founding, 2, "alice", "alice")
    fill(hub, [signed(key_record(name)) for name in ("alice", "bob")])
    fill(hub, [signed(it) for it in (founding, between, last)])
    ids = {it.envelope_id for it in (founding, between, last)}
    assert {ref.envelope_hash for ref in hub.holdings(K.FAMILY)} == ids
    assert _stands_at_zoe(hub, last) == ids


def test_who_had_gone_goes_with_what_fewer_could_decide_then(hub: DirectoryCore) -> None:
    founding = _group("alice bob carol", "alice", "bob", protocol="majority")
    removals = [_leaves(founding, "bob", 9), *(_leaves(founding, it) for it in ("bob", "carol"))]
    last = _later(founding, 2, "alice", "alice")
    fill(hub, [signed(key_record(name)) for name in ("alice", "bob", "carol")])
    fill(hub, [signed(it) for it in (founding, *removals, last)])
    ids = {founding.envelope_id, last.envelope_id}
    assert {ref.envelope_hash for ref in hub.holdings(K.FAMILY)} == ids
    assert _stands_at_zoe(hub, last) == ids


def test_who_was_removed_is_shown_to_have_been_a_member(hub: DirectoryCore) -> None:
    """A removal by alice, who is ours, of herself, from a group of a stranger's."""
    founding = _group("bob", "bob")
    between = _later(founding, 1, "alice bob", "bob")
    at_ms = AT_MS + 2 * MINUTE_MS
    named = {"family_key_id": founding.record["family_key_id"]}
    gone = {**named, "removed_identity_key_id": key_id("alice")}
    removal = made(K.FAMILY_MEMBERSHIP_REVOCATION, gone, "alice", at_ms=at_ms)
    fill(hub, [signed(key_record(name)) for name in ("alice", "bob")])
    fill(hub, [signed(it) for it in (founding, between, removal)])
    zoe = MemoryDirectory(trust=TRUST)
    fill(zoe, offered(hub, frozenset({key_id("alice")}))[::-1])
    assert len(zoe.holdings(K.FAMILY_MEMBERSHIP_REVOCATION)) == 1
    assert len(zoe.holdings(K.FAMILY)) == 2


@settings(max_examples=25, deadline=None)
@given(
    order=st.permutations(range(len(federation()))),
    friends=st.sets(st.sampled_from(FRIENDS)),
)
def test_what_is_offered_can_stand_by_itself(order: list[int], friends: set[str]) -> None:
    """A node that gets only our offer, and trusts as we do, ends with all of it on its shelf."""
    ours = frozenset(friends)
    hub, zoe = MemoryDirectory(trust=TRUST), MemoryDirectory(trust=TRUST)
    hub.favour(lambda: ours | {key("alice").key_id})
    fill(hub, [everything()[number] for number in order])
    known = ours | hub.rooted() | {key_id("alice")}
    passed_on = offered(hub, known)
    for kind, raw in passed_on:
        verdict = zoe.admit(kind, raw, HUB, now_ms=NOW_MS)
        assert verdict.outcome is not Outcome.REFUSED
    # Of a record with several signers, one may be nobody's friend: the rest stands without it.
    assert sum(zoe.counts().values()) == len(passed_on)
