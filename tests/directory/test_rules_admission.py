"""Every kind's rule through the directory: attacks by every path, any order, restarts, races."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ciris_mesh.directory import core, views
from ciris_mesh.directory.admission import BRIDGEABLE
from ciris_mesh.directory.base import OWN, UNATTRIBUTED, Shelf, Source
from ciris_mesh.directory.buckets import digest_of
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.judgement import Candidate, Judgement
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.directory.pools import PoolLimits
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.records.authoring import author
from ciris_mesh.records.checks import outcome_of
from ciris_mesh.records.envelope import Envelope, parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.names import names_of
from ciris_mesh.records.outcome import Outcome, Reason
from ciris_mesh.records.rules import base
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.records.rules.table import judge_content
from ciris_mesh.records.timestamps import from_unix_ms
from support import forge
from support.copies import copies_held
from support.federation import TRUST, federation
from support.keys import alice, bob, key
from support.records import AT_MS, columns, sample, trust_in
from support.rulebook import (
    K,
    Record,
    fixed_signers,
    key_id,
    key_record,
    made,
    name_of,
    really_signed,
)

PEER, IMPORT, REGISTRY = Source("peer", "hub"), Source("import"), Source("registry", "r")
NOW_MS = AT_MS + 600_000


def signed(envelope: Envelope) -> Record:
    return envelope.kind, _signed(envelope.kind, envelope.raw)


@cache
def _signed(kind: EnvelopeKind, raw: bytes) -> bytes:
    return really_signed(parse_envelope(kind, raw))


def put(directory: DirectoryCore, *records: Record, source: Source = PEER) -> list[Outcome]:
    return [directory.admit(kind, raw, source, now_ms=NOW_MS).outcome for kind, raw in records]


# -- any order -----------------------------------------------------------------------------------


@cache
def everything() -> tuple[Record, ...]:
    return tuple(signed(envelope) for envelope in federation())


@cache
def expected() -> dict[EnvelopeKind, dict[bytes, frozenset[str]]]:
    """Ids of what comes in, and whose signatures are kept."""
    envelopes = [parse_envelope(kind, raw) for kind, raw in everything()]
    signers = fixed_signers(TRUST, envelopes)
    ids: dict[EnvelopeKind, dict[bytes, frozenset[str]]] = {kind: {} for kind in EnvelopeKind}
    for envelope in envelopes:
        if name_of(envelope) in signers:
            ids[envelope.kind][envelope.envelope_id] = signers[name_of(envelope)]
    return ids


def batches(order: Sequence[int]) -> Iterator[tuple[EnvelopeKind, list[bytes]]]:
    """Neighbours of one kind come as one delivery."""
    waiting: list[bytes] = []
    for place, number in enumerate(order):
        kind, raw = everything()[number]
        waiting.append(raw)
        last = place + 1 == len(order)
        if last or everything()[order[place + 1]][0] is not kind:
            yield kind, waiting
            waiting = []


_numbers = range(len(federation()))
_orders = st.permutations(_numbers).flatmap(
    lambda order: st.lists(st.sampled_from(_numbers), max_size=12).map(lambda more: order + more)
)
_sources = st.sampled_from([PEER, Source("peer", "relay"), IMPORT, OWN])


def assert_expected(directory: DirectoryCore) -> None:
    for kind, ids in expected().items():
        assert {ref.envelope_hash for ref in directory.holdings(kind)} == ids.keys(), kind
        assert directory.digest(kind) == digest_of(copies_held(directory, kind))
        for envelope_id, signers in ids.items():
            row = directory.get(kind, envelope_id)
            assert row is not None
            assert set(row.signers) == signers
            assert parse_envelope(kind, row.envelope).signers == row.signers


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@settings(
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(order=_orders, by_kind=st.booleans(), data=st.data())
def test_every_order_of_arrival_ends_on_the_same_shelves(
    store: str,
    order: list[int],
    by_kind: bool,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    order = sorted(order, key=lambda number: everything()[number][0]) if by_kind else order
    path = tmp_path_factory.mktemp("order") / "records.db"
    directory: DirectoryCore = (
        MemoryDirectory(trust=TRUST) if store == "memory" else SqliteDirectory(path, trust=TRUST)
    )
    try:
        for kind, raws in batches(order):
            directory.admit_many(kind, raws, data.draw(_sources), now_ms=NOW_MS)
        assert_expected(directory)
    finally:
        directory.close()


@settings(
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(order=_orders)
def test_small_limits_on_work_change_when_a_record_comes_in_not_whether(
    order: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "RELEASES_MAX", 2)
    monkeypatch.setattr(core, "OVERDUE_BATCH", 1)
    monkeypatch.setattr(base, "WAITS_MAX", 1)
    monkeypatch.setattr(views, "VIEWED_BYTES_MAX", views.VIEW_BYTES_MIN)
    directory = MemoryDirectory(trust=TRUST)
    for kind, raws in batches(order):
        directory.admit_many(kind, raws, PEER, now_ms=NOW_MS)
    for _ in everything():
        directory.retry_due(NOW_MS)
    assert directory.retry_due(NOW_MS) == [], "nothing is asked again without a reason"
    assert_expected(directory)
    directory.close()


def test_a_store_reopened_at_every_step_ends_on_the_same_shelves(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    for kind, raws in batches(list(reversed(_numbers))):
        directory = SqliteDirectory(path, trust=TRUST)
        directory.admit_many(kind, raws, PEER, now_ms=NOW_MS)
        directory.close()
    directory = SqliteDirectory(path, trust=TRUST)
    try:
        assert_expected(directory)
    finally:
        directory.close()


# -- attacks -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attack:
    """What mallory sends, to a node that holds `before`; `reason` says what becomes of it."""

    name: str
    reason: Reason
    sends: Envelope
    before: tuple[Envelope, ...] = ()

    @property
    def outcome(self) -> Outcome:
        return outcome_of(self.reason)


def _operational(kind: EnvelopeKind, by: str, **more: Any) -> Envelope:
    return made(kind, columns(kind, key_id(by), 1) | more, by)


def _partner(*by: str, **inner: Any) -> Envelope:
    given = columns(K.PARTNER_RECORD, "x", 1) | {"signed_envelope": inner}
    return made(K.PARTNER_RECORD, given, *by)


def _location(by: str, subject: str, cell: str, resolution: int) -> Envelope:
    given = {"subject_key_id": key_id(subject), "cell_id": cell, "cell_resolution": resolution}
    return made(K.LOCATION_PROOF, given, by)


def _score(by: str, dimension: str) -> Envelope:
    given = {
        "attested_key_id": key_id("alice"),
        "attestation_type": "scores",
        "attestation_envelope": {"dimension": dimension},
    }
    return made(K.ATTESTATION, given, by)


def _taken_over(kind: EnvelopeKind) -> tuple[Envelope, Envelope]:
    """alice's group, and mallory's record that claims to have founded it long before."""
    group = parse_envelope(kind, sample(kind, alice()))
    given = {
        **{name: group.record[name] for name in group.record if name != "persist_row_hash"},
        "members": [
            {"key_id": key_id("mallory"), "joined_at": "2000-01-01T00:00:00Z", "role": "founder"}
        ],
        "founded_at": "2000-01-01T00:00:00Z",
    }
    return group, made(kind, given, "mallory")


def _chain(length: int) -> tuple[Envelope, ...]:
    names = ["root", *(f"link{n}" for n in range(length - 2)), "mallory"]
    links = [key_record(name, "steward,witness", by=by) for by, name in itertools.pairwise(names)]
    return key_record("root", "steward"), *links


def _attacks() -> Iterator[Attack]:
    cosigned = "transparency_log:cosigned"
    yield Attack("wire threshold 1", Reason.STEWARDS_NOT_ENOUGH, _partner("alice"))
    yield Attack(
        "unsorted set",
        Reason.SET_UNSORTED,
        _partner("alice", "bob", capabilities_granted=["b", "a"]),
    )
    yield Attack(
        "precise location",
        Reason.LOCATION_TOO_PRECISE,
        _location("mallory", "mallory", "8f28308280f18f2", 15),
    )
    yield Attack(
        "a finer cell than it says",
        Reason.CELL_MALFORMED,
        _location("mallory", "mallory", "8828308281fffff", 7),
    )
    yield Attack(
        "another's location",
        Reason.NOT_DELEGATED,
        _location("mallory", "alice", "872830828ffffff", 7),
    )
    yield Attack(
        "self-promotion to steward",
        Reason.NOT_ROOTED,
        _score("mallory", cosigned),
        (key_record("mallory", "steward,witness", ref="steward"),),
    )
    yield Attack("chain of 65", Reason.NOT_ROOTED, _score("mallory", cosigned), _chain(65))
    yield Attack(
        "circle of vouching",
        Reason.NOT_ROOTED,
        _score("mallory", cosigned),
        (
            key_record("mallory", "witness", by="bob", ref="a"),
            key_record("bob", "witness", by="mallory", ref="b"),
        ),
    )
    yield Attack(
        "an organization of one's own",
        Reason.NOT_ORG_ADMIN,
        _operational(K.ORGANIZATION, "mallory"),
    )
    organization = made(K.ORGANIZATION, columns(K.ORGANIZATION, "x", 1), "chief")
    appointed = columns(K.ORG_MEMBERSHIP, "x", 1) | {
        "user_id": key_id("mallory"),
        "role": "org_admin",
    }
    yield Attack(
        "appointing oneself",
        Reason.NOT_ORG_ADMIN,
        made(K.ORG_MEMBERSHIP, appointed, "mallory"),
        (organization,),
    )
    yield Attack(
        "a payment id",
        Reason.PAYMENT_ID,
        _operational(K.ORGANIZATION, "chief", signed_envelope={"x": [{"y": "cus_1"}]}),
    )
    for kind in (K.FAMILY, K.COMMUNITY):
        group, theirs = _taken_over(kind)
        yield Attack(f"taking over a {kind.value}", Reason.CONSENSUS_NOT_REACHED, theirs, (group,))
    occurrence = {
        "identity_key_id": key_id("alice"),
        "occurrence_key_id": key_id("mallory"),
        "device_class": "phone",
    }
    yield Attack(
        "being another's device",
        Reason.OCCURRENCE_NOT_VOUCHED,
        made(K.IDENTITY_OCCURRENCE, occurrence, "mallory"),
    )
    del occurrence["device_class"]
    yield Attack(
        "taking another's device away",
        Reason.REMOVAL_NOT_VOUCHED,
        made(
            K.IDENTITY_OCCURRENCE_REVOCATION,
            occurrence | {"occurrence_key_id": key_id("bob")},
            "mallory",
        ),
    )
    evidence = {"identity_type": "accord_holder"}
    yield Attack(
        "accord holder without hardware",
        Reason.ACCORD_EVIDENCE_MISSING,
        key_record("mallory", "accord_holder", ref=str(evidence)),
    )
    yield Attack(
        "two words for one type",
        Reason.IDENTITY_TYPE_MALFORMED,
        key_record("mallory", "agent, steward", ref="spaced"),
    )


ATTACKS = tuple(_attacks())


@pytest.mark.parametrize("source", [PEER, IMPORT, OWN], ids=lambda source: source.path)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_ends_as_it_should_by_every_path(
    open_directory: Callable[..., DirectoryCore], attack: Attack, source: Source
) -> None:
    directory = open_directory(trust=TRUST)
    for name in ("alice", "bob", "chief", "mallory"):
        put(directory, signed(key_record(name)))
    put(directory, *map(signed, attack.before))
    before = directory.counts()
    kind, raw = signed(attack.sends)
    verdict = directory.admit(kind, raw, source, now_ms=NOW_MS)
    assert (verdict.outcome, verdict.reason) == (attack.outcome, attack.reason)
    assert directory.counts() == before, "on no shelf"
    is_waiting = attack.outcome is Outcome.DEFERRED
    assert directory.pools().deferred == is_waiting
    counter = (source.path, verdict.outcome.value, verdict.reason.value)
    assert directory.outcome_counts()[counter] == 1
    again = directory.admit(kind, raw, source, now_ms=NOW_MS)
    assert (again.outcome, again.reason) == (attack.outcome, attack.reason)
    assert directory.counts() == before


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_what_a_registry_brings_is_bridged_unless_nobody_may_say_it(
    open_directory: Callable[..., DirectoryCore], attack: Attack
) -> None:
    """It may bring the same unsigned; a signature makes nothing worse."""
    directory = open_directory(trust=TRUST)
    for name in ("alice", "bob", "chief", "mallory"):
        put(directory, signed(key_record(name)))
    put(directory, *map(signed, attack.before))
    before = directory.counts()
    kind, raw = signed(attack.sends)
    verdict = directory.admit(kind, raw, REGISTRY, now_ms=NOW_MS)
    if not judge_content(attack.sends, TRUST).is_fine and attack.reason not in BRIDGEABLE:
        assert (verdict.outcome, verdict.reason) == (Outcome.REFUSED, attack.reason)
        assert directory.counts() == before
        return
    assert (verdict.outcome, verdict.reason) == (Outcome.ADMITTED, attack.reason)
    assert directory.counts() == before | {(kind, Shelf.BRIDGED): 1}
    assert directory.pools().deferred == (attack.outcome is Outcome.DEFERRED)
    again = directory.admit(kind, raw, REGISTRY, now_ms=NOW_MS)
    assert again.outcome is Outcome.DUPLICATE
    assert directory.counts() == before | {(kind, Shelf.BRIDGED): 1}


def test_what_a_peer_was_refused_a_registry_may_still_bring(
    open_directory: Callable[..., DirectoryCore],
) -> None:
    directory = open_directory(trust=TRUST)
    put(directory, signed(key_record("alice")))
    record = signed(_partner("alice"))
    assert put(directory, record) == [Outcome.REFUSED]
    assert put(directory, record, source=REGISTRY) == [Outcome.ADMITTED]
    assert put(directory, record) == [Outcome.REFUSED]
    assert directory.counts()[K.PARTNER_RECORD, Shelf.BRIDGED] == 1


def test_a_bridged_record_moves_up_when_what_it_lacked_comes(
    open_directory: Callable[..., DirectoryCore],
) -> None:
    directory = open_directory(trust=trust_in(alice()))
    put(directory, (K.KEY, sample(K.KEY, alice())))
    removal = (K.FAMILY_MEMBERSHIP_REVOCATION, sample(K.FAMILY_MEMBERSHIP_REVOCATION, alice()))
    assert put(directory, removal, source=REGISTRY) == [Outcome.ADMITTED]
    assert directory.holdings(K.FAMILY_MEMBERSHIP_REVOCATION) == []
    [called] = names_of(parse_envelope(*removal))
    assert [row.kind for row in directory.named_rows(called, limit=9, others=9)] == [removal[0]]
    put(directory, (K.FAMILY, sample(K.FAMILY, alice())))
    assert len(directory.holdings(K.FAMILY_MEMBERSHIP_REVOCATION)) == 1
    found = [row.kind for row in directory.named_rows(called, limit=9)]
    assert sorted(found) == [K.FAMILY, removal[0]], "on whichever shelf, each once"
    assert directory.pools().deferred == 0


def test_a_bridged_record_by_an_unknown_signer_does_not_wait(
    open_directory: Callable[..., DirectoryCore],
) -> None:
    """Keys of registries may never come in here: all they bring would fill the pool."""
    directory = open_directory(trust=trust_in(alice()))
    assert put(directory, (K.FAMILY, sample(K.FAMILY, alice())), source=REGISTRY) == [
        Outcome.ADMITTED
    ]
    assert directory.counts() == {(K.FAMILY, Shelf.BRIDGED): 1}
    assert directory.pools().deferred == 0


def test_a_partner_record_waits_for_the_key_of_each_who_signed(
    open_directory: Callable[..., DirectoryCore],
) -> None:
    """Its id covers who signed, so no signature can be left out."""
    directory = open_directory(trust=TRUST)
    put(directory, signed(key_record("alice")))
    assert put(directory, signed(_partner("alice", "bob"))) == [Outcome.DEFERRED]
    put(directory, signed(key_record("bob")))
    assert len(directory.holdings(K.PARTNER_RECORD)) == 1


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_a_stranger_gets_no_further(
    open_directory: Callable[..., DirectoryCore], attack: Attack
) -> None:
    directory = open_directory(trust=TRUST)
    kind, raw = signed(attack.sends)
    verdict = directory.admit(kind, raw, UNATTRIBUTED, now_ms=NOW_MS)
    assert verdict.outcome is Outcome.REFUSED
    assert directory.counts() == {}
    assert directory.pools().first_contact == 0


def test_what_lets_the_attacks_twins_in(open_directory: Callable[..., DirectoryCore]) -> None:
    """The same kinds of records by those who may; or the table would show nothing."""
    directory = open_directory(trust=TRUST)
    for name in ("alice", "bob", "chief"):
        put(directory, signed(key_record(name)))
    assert set(put(directory, *map(signed, _chain(64)))) == {Outcome.ADMITTED}
    twins = [
        _partner("alice", "bob", capabilities_granted=["a", "b"]),
        _location("alice", "alice", "872830828ffffff", 7),
        _score("mallory", "transparency_log:cosigned"),
        made(K.ORGANIZATION, columns(K.ORGANIZATION, "x", 1), "chief"),
        made(K.ORG_MEMBERSHIP, columns(K.ORG_MEMBERSHIP, "x", 1), "chief"),
    ]
    assert set(put(directory, *map(signed, twins))) == {Outcome.ADMITTED}


@pytest.mark.parametrize(("cell", "resolution"), [("8f28308280f18f2", 15), ("8828308281fffff", 8)])
def test_a_registry_cannot_bring_what_may_not_be_held_at_all(
    open_directory: Callable[..., DirectoryCore], cell: str, resolution: int
) -> None:
    """Unsigned records of a registry are bridged; where somebody is, exactly, is not."""
    directory = open_directory(trust=TRUST)
    for raw, outcome in (
        (signed(_location("alice", "alice", cell, resolution))[1], Outcome.REFUSED),
        (signed(_location("alice", "alice", "872830828ffffff", 7))[1], Outcome.ADMITTED),
    ):
        bare = forge.unsigned(K.LOCATION_PROOF, raw)
        verdict = directory.admit(K.LOCATION_PROOF, bare, REGISTRY, now_ms=NOW_MS)
        assert verdict.outcome is outcome
    assert directory.counts() == {(K.LOCATION_PROOF, Shelf.BRIDGED): 1}


def test_a_bridged_row_is_nobodys_prerequisite(
    open_directory: Callable[..., DirectoryCore],
) -> None:
    directory = open_directory(trust=trust_in(alice()))
    put(directory, (K.KEY, sample(K.KEY, alice())))
    family, removal = sample(K.FAMILY, alice()), sample(K.FAMILY_MEMBERSHIP_REVOCATION, alice())
    bare = forge.unsigned(K.FAMILY, family)
    assert put(directory, (K.FAMILY, bare), source=REGISTRY) == [Outcome.ADMITTED]
    assert put(directory, (K.FAMILY_MEMBERSHIP_REVOCATION, removal)) == [Outcome.DEFERRED]
    assert put(directory, (K.FAMILY, family)) == [Outcome.UPGRADED]
    assert directory.pools().deferred == 0, "moving up releases what waited"
    assert len(directory.holdings(K.FAMILY_MEMBERSHIP_REVOCATION)) == 1


def test_garbage_around_a_record_does_not_keep_the_record_out(
    open_directory: Callable[..., DirectoryCore],
) -> None:
    """The same row signed by the wrong one waits; signed by the right one it comes in."""
    directory = open_directory(trust=TRUST)
    put(directory, *(signed(key_record(name)) for name in ("alice", "bob")))
    by_bob = signed(_location("bob", "alice", "872830828ffffff", 7))
    by_alice = signed(_location("alice", "alice", "872830828ffffff", 7))
    assert parse_envelope(*by_bob).envelope_id == parse_envelope(*by_alice).envelope_id
    assert put(directory, by_bob, by_alice) == [Outcome.DEFERRED, Outcome.ADMITTED]
    (signers,) = directory.signers(K.LOCATION_PROOF).values()
    assert signers == (key_id("alice"),)


# -- waiting -------------------------------------------------------------------------------------


def local(scope: str) -> bytes:
    given = columns(K.ATTESTATION, alice().key_id, 1) | {
        "tier": "local",
        "attested_key_id": "nobody-here",
        "cohort_scope": scope,
    }
    return author(K.ATTESTATION, given, alice(), at_ms=AT_MS)


def test_a_local_record_depends_on_nobody_else(
    open_directory: Callable[..., DirectoryCore],
) -> None:
    directory = open_directory()
    put(directory, (K.KEY, sample(K.KEY, alice())))
    assert put(directory, (K.ATTESTATION, local("self")), source=OWN) == [Outcome.ADMITTED]
    assert directory.counts()[K.ATTESTATION, Shelf.LOCAL] == 1
    assert not list(directory.named(f"attestation:{parse_id(local('self'))}"))


def parse_id(raw: bytes) -> str:
    return str(parse_envelope(K.ATTESTATION, raw).record["attestation_id"])


@pytest.mark.parametrize("column", ["scrub_timestamp", "asserted_at"])
def test_no_time_it_was_made_at_lies_ahead(
    open_directory: Callable[..., DirectoryCore], column: str
) -> None:
    directory = open_directory()
    put(directory, (K.KEY, sample(K.KEY, alice())))
    ahead = from_unix_ms(NOW_MS + 300_001)
    given = columns(K.ATTESTATION, alice().key_id, 1) | {column: ahead}
    raw = author(K.ATTESTATION, given, alice(), at_ms=AT_MS)
    verdict = directory.admit(K.ATTESTATION, raw, PEER, now_ms=NOW_MS)
    assert (verdict.outcome, verdict.reason) == (Outcome.DEFERRED, Reason.TIME_AHEAD)
    assert [v.outcome for v in directory.retry_due(NOW_MS + 1)] == [Outcome.ADMITTED]


def test_what_is_no_use_ever_is_refused_before_its_time_comes(
    open_directory: Callable[..., DirectoryCore],
) -> None:
    directory = open_directory()
    put(directory, (K.KEY, sample(K.KEY, alice())))
    given = columns(K.ATTESTATION, alice().key_id, 1) | {"attestation_type": "endorses"}
    raw = author(K.ATTESTATION, given, alice(), at_ms=NOW_MS + 10**9)
    verdict = directory.admit(K.ATTESTATION, raw, PEER, now_ms=NOW_MS)
    assert verdict.reason is Reason.ATTESTATION_TYPE_UNKNOWN
    assert directory.pools().deferred == 0


def test_what_comes_between_judging_and_waiting_is_not_missed(
    open_directory: Callable[..., DirectoryCore], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = open_directory(trust=trust_in(alice()))
    put(directory, (K.KEY, sample(K.KEY, alice())))
    judge = directory._admission.judge_all

    def judge_slowly(asked: Sequence[Candidate], now_ms: int) -> list[Judgement]:
        judged = judge(asked, now_ms)
        monkeypatch.setattr(directory._admission, "judge_all", judge)
        put(directory, (K.FAMILY, sample(K.FAMILY, alice())))
        return judged

    monkeypatch.setattr(directory._admission, "judge_all", judge_slowly)
    removal = sample(K.FAMILY_MEMBERSHIP_REVOCATION, alice())
    assert put(directory, (K.FAMILY_MEMBERSHIP_REVOCATION, removal)) == [Outcome.ADMITTED]
    assert directory.pools().deferred == 0


def test_who_is_trusted_after_a_restart_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "RELEASES_MAX", 20)
    path = tmp_path / "records.db"
    count = 23
    directory = SqliteDirectory(path, trust=trust_in(bob()))
    put(directory, (K.KEY, sample(K.KEY, alice())))
    raws = [sample(K.ORGANIZATION, alice(), n) for n in range(count)]
    directory.admit_many(K.ORGANIZATION, raws, PEER, now_ms=NOW_MS)
    assert directory.pools().deferred == count
    directory.close()
    directory = SqliteDirectory(path, trust=trust_in(alice()))
    try:
        directory.retry_due(NOW_MS)
        assert directory.pools().deferred == 3, "a few at a time"
        directory.retry_due(NOW_MS)
        assert directory.pools().deferred == 0
        assert len(directory.holdings(K.ORGANIZATION)) == count
        assert directory.retry_due(NOW_MS) == []
    finally:
        directory.close()


def test_who_signed_pays_for_what_waits_not_who_is_waited_for(
    open_directory: Callable[..., DirectoryCore],
) -> None:
    """mallory's attestations about a missing key must not push out alice's."""
    limits = replace(PoolLimits(), deferred_per_signer=3)
    directory = open_directory(limits=limits)
    put(directory, *(signed(key_record(name)) for name in ("alice", "mallory")))

    def about_bob(by: str, n: int) -> Record:
        given = columns(K.ATTESTATION, key_id(by), n) | {"attested_key_id": bob().key_id}
        return signed(made(K.ATTESTATION, given, by))

    put(directory, about_bob("alice", 0))
    put(directory, *(about_bob("mallory", n) for n in range(9)))
    assert directory.pools().deferred == 4
    put(directory, (K.KEY, sample(K.KEY, bob())))
    held = [set(signers) for signers in directory.signers(K.ATTESTATION).values()]
    assert held.count({alice().key_id}) == 1
    assert held.count({key("mallory").key_id}) == 3


def test_roots_alone_admit_nothing(open_directory: Callable[..., DirectoryCore]) -> None:
    directory = open_directory(trust=Trust(roots=TRUST.roots))
    put(directory, *(signed(key_record(name)) for name in ("alice", "bob", "chief")))
    organization = signed(made(K.ORGANIZATION, columns(K.ORGANIZATION, "x", 1), "chief"))
    assert directory.closed() == {K.ORGANIZATION, K.ORG_MEMBERSHIP, K.PARTNER_RECORD}
    assert put(directory, organization, signed(_partner("alice", "bob"))) == [
        Outcome.REFUSED,
        Outcome.REFUSED,
    ]
    assert directory.pools().deferred == 0
