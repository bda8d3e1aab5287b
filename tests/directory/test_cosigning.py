"""One record under one id, signed by more and more: nobody's signature keeps another's out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ciris_mesh.directory import joining as joining_module
from ciris_mesh.directory.base import Shelf, Source, StoredRow
from ciris_mesh.directory.buckets import digest_of
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.records.authoring import Draft, assemble, author, author_key, draft
from ciris_mesh.records.checks import verify_bytes
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.hybrid import FederationKey, HybridSignature, verify_hybrid
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason, Verdict
from support.copies import copies_held
from support.keys import alice, bob, key
from support.records import AT_MS, columns, group_columns, member, prerequisites

K = EnvelopeKind
PEER, OTHER = Source("peer", "hub"), Source("peer", "relay")
COSIGNED = list(EnvelopeKind)[3:10]


def prepared(kind: EnvelopeKind, *, shared: bool = False) -> Draft:
    """alice's record; a shared one bob may make as well."""
    given = shared_columns(kind) if shared else columns(kind, alice().key_id, 1)
    return draft(kind, given, alice(), at_ms=AT_MS)


def shared_columns(kind: EnvelopeKind) -> dict[str, Any]:
    """Of a group with two founders, of a device that goes, or of alice, for whom bob may speak."""
    plain = columns(kind, alice().key_id, 1)
    if kind in (K.FAMILY, K.COMMUNITY):
        founders = [member(it.key_id, founder=True) for it in (alice(), bob())]
        return group_columns(kind, "both", {"members": founders})
    if kind is K.IDENTITY_OCCURRENCE_REVOCATION:
        return plain | {"occurrence_key_id": bob().key_id}
    for group in (K.FAMILY, K.COMMUNITY):
        column = f"{group.value}_key_id"
        if column in plain:
            return plain | {column: shared_columns(group)[column]}
    return plain


@cache
def signature(kind: EnvelopeKind, name: str, *, shared: bool = False) -> HybridSignature:
    """Made once: signing again gives other bytes that are as good."""
    return key(name).sign(prepared(kind, shared=shared).message)


@cache
def copy(kind: EnvelopeKind, *signers: str, shared: bool = False) -> bytes:
    """alice's record, signed by these."""
    signatures = {key(name).key_id: signature(kind, name, shared=shared) for name in signers}
    return assemble(prepared(kind, shared=shared), signatures)


@cache
def delegation(taker: str) -> bytes:
    act = {
        "attested_key_id": key(taker).key_id,
        "attestation_type": "delegates_to",
        "attestation_envelope": {"delegated_scope": ["agency:act_on_behalf"]},
    }
    return author(K.ATTESTATION, act, alice(), at_ms=AT_MS - 1)


def prepare(directory: DirectoryCore, kind: EnvelopeKind, *, shared: bool = False) -> None:
    """Admit what alice's record builds on, and, if shared, let bob speak for alice."""
    needed = [] if shared else prerequisites(kind, alice(), 1)
    if shared:
        device = {"identity_key_id": alice().key_id, "occurrence_key_id": bob().key_id}
        phone = author(
            K.IDENTITY_OCCURRENCE, device | {"device_class": "phone"}, alice(), at_ms=AT_MS - 1
        )
        needed += [(K.IDENTITY_OCCURRENCE, phone), (K.ATTESTATION, delegation("bob"))]
        word = kind.value.removesuffix("_membership_revocation")
        if word != kind.value:
            needed.append((K(word), copy(K(word), "alice", shared=True)))
    for one, raw in needed:
        assert admit(directory, one, raw).outcome is Outcome.ADMITTED


@cache
def key_record(name: str) -> bytes:
    return author_key(key(name), identity_ref=name, at_ms=AT_MS)


def know(directory: DirectoryCore, *names: str) -> None:
    raws = [key_record(name) for name in names]
    directory.admit_many(K.KEY, raws, Source("import"), now_ms=AT_MS)


def admit(
    directory: DirectoryCore, kind: EnvelopeKind, raw: bytes, source: Source = PEER
) -> Verdict:
    return directory.admit(kind, raw, source, now_ms=AT_MS)


def held(
    directory: DirectoryCore, kind: EnvelopeKind, envelope_id: bytes | None = None
) -> tuple[tuple[str, ...], bytes]:
    """Signers and bytes of this row, or of the one there is of this kind."""
    if envelope_id is None:
        (envelope_id,) = (ref.envelope_hash for ref in directory.holdings(kind))
    row = directory.get(kind, envelope_id)
    assert row is not None
    return row.signers, row.envelope


def ids(*names: str) -> tuple[str, ...]:
    return tuple(sorted(key(name).key_id for name in names))


@pytest.mark.parametrize("kind", COSIGNED)
def test_who_signs_first_keeps_nobody_out(directory: DirectoryCore, kind: EnvelopeKind) -> None:
    know(directory, "alice", "bob")
    prepare(directory, kind, shared=True)
    by_bob, by_alice = (copy(kind, name, shared=True) for name in ("bob", "alice"))
    by_both = copy(kind, "alice", "bob", shared=True)
    admitted = admit(directory, kind, by_bob)
    assert admitted.outcome is Outcome.ADMITTED
    generation = directory.generation(kind)
    assert directory.digest(kind) == digest_of(copies_held(directory, kind))
    verdict = admit(directory, kind, by_alice, OTHER)
    assert (verdict.outcome, verdict.reason) == (Outcome.UPGRADED, Reason.NONE)
    assert held(directory, kind, admitted.envelope_id) == (ids("alice", "bob"), by_both)
    assert directory.generation(kind) > generation, "offers depend on who signed"
    assert directory.digest(kind) == digest_of(copies_held(directory, kind)), "of who signed, too"
    for again in (by_alice, by_bob, by_both):
        assert admit(directory, kind, again).outcome is Outcome.DUPLICATE


def test_a_row_that_is_out_of_sight_for_a_moment_takes_on_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a shared database another node changed it, and this one has yet to look at it."""
    directory, kind = MemoryDirectory(), K.FAMILY
    know(directory, "alice", "bob")
    prepare(directory, kind, shared=True)
    admit(directory, kind, copy(kind, "bob", shared=True))
    with monkeypatch.context() as away:
        away.setattr(MemoryDirectory, "get", lambda *_: None)
        verdict = admit(directory, kind, copy(kind, "alice", shared=True))
        assert verdict.outcome is Outcome.DUPLICATE
    assert admit(directory, kind, copy(kind, "alice", shared=True)).outcome is Outcome.UPGRADED


@pytest.mark.parametrize("kind", COSIGNED)
def test_who_does_not_count_never_joins(directory: DirectoryCore, kind: EnvelopeKind) -> None:
    """Neither before the record is here, nor along with it, nor afterwards."""
    know(directory, "alice", "bob", "carol")
    prepare(directory, kind)
    by_alice = (ids("alice"), copy(kind, "alice"))
    verdict = admit(directory, kind, copy(kind, "bob"))
    assert verdict.outcome is Outcome.DEFERRED
    admitted = admit(directory, kind, copy(kind, "alice", "carol"))
    assert admitted.outcome is Outcome.ADMITTED
    assert key("carol").key_id in admitted.detail, "who brings it is told"
    assert admitted.envelope_id == verdict.envelope_id
    assert held(directory, kind, admitted.envelope_id) == by_alice
    for more in (["carol"], ["bob", "carol"], ["alice", "bob"]):
        assert admit(directory, kind, copy(kind, *more)).outcome is Outcome.DUPLICATE
    assert held(directory, kind, admitted.envelope_id) == by_alice


def test_a_signature_that_does_not_count_is_not_looked_at(directory: DirectoryCore) -> None:
    kind = K.LOCATION_PROOF
    know(directory, "alice", "bob")
    admit(directory, kind, copy(kind, "alice"))
    prepared_ = prepared(kind)
    forged = {alice().key_id: signature(kind, "alice"), bob().key_id: signature(kind, "alice")}
    raw = assemble(prepared_, forged)
    assert admit(directory, kind, raw).outcome is Outcome.DUPLICATE
    assert directory.pools().refused == 0
    assert admit(directory, K.ATTESTATION, delegation("bob")).outcome is Outcome.ADMITTED
    assert held(directory, kind) == (ids("alice"), copy(kind, "alice"))
    assert (directory.pools().deferred, directory.pools().refused) == (0, 1), "now it is"
    assert admit(directory, kind, copy(kind, "bob")).outcome is Outcome.UPGRADED


def test_who_comes_to_count_joins_then(directory: DirectoryCore) -> None:
    """A delegate's copy may come before the delegation does."""
    kind = K.LOCATION_PROOF
    know(directory, "alice", "bob")
    admit(directory, kind, copy(kind, "alice"))
    verdict = admit(directory, kind, copy(kind, "bob"))
    assert (verdict.outcome, directory.pools().deferred) == (Outcome.DUPLICATE, 1)
    prepare(directory, kind, shared=True)
    assert held(directory, kind) == (ids("alice", "bob"), copy(kind, "alice", "bob"))
    assert directory.pools().deferred == 0


def test_a_list_of_signers_that_is_none_is_refused(directory: DirectoryCore) -> None:
    kind = K.LOCATION_PROOF
    know(directory, "alice", "bob")
    admit(directory, kind, copy(kind, "alice"))
    wrapper = json.loads(copy(kind, "alice", "bob"))
    wrapper["authority"].reverse()
    verdict = admit(directory, kind, json.dumps(wrapper).encode())
    assert (verdict.outcome, verdict.reason) == (Outcome.MALFORMED, Reason.NOT_ONE_SPELLING)


def test_copies_that_come_together_are_all_joined(directory: DirectoryCore) -> None:
    """They are judged before any of them is written."""
    know(directory, *_FOUNDERS, "steward")
    signers = [("alice",), ("alice", "bob"), ("carol", "steward"), ("bob", "carol"), ("steward",)]
    raws = [founded(*names) for names in signers]
    verdicts = directory.admit_many(K.FAMILY, raws, PEER, now_ms=AT_MS)
    outcomes = [verdict.outcome for verdict in verdicts]
    assert outcomes.count(Outcome.ADMITTED) == 1
    assert held(directory, K.FAMILY) == (ids(*_FOUNDERS), founded(*_FOUNDERS))
    assert directory.pools().deferred == 0


def test_a_row_from_before_there_were_rules_takes_on_nobody(tmp_path: Path) -> None:
    know(directory := SqliteDirectory(tmp_path / "records.db"), "alice", "bob")
    try:
        given = shared_columns(K.FAMILY) | {"consensus_protocol": "quorum:3/2"}
        prepared_ = draft(K.FAMILY, given, alice(), at_ms=AT_MS)
        raws = [
            assemble(prepared_, {key(name).key_id: key(name).sign(prepared_.message)})
            for name in ("alice", "bob")
        ]
        old = parse_envelope(K.FAMILY, raws[0])
        row = StoredRow(
            K.FAMILY,
            old.envelope_id,
            Shelf.FEDERATION,
            old.seq,
            old.subject,
            old.signers,
            old.raw,
            AT_MS,
        )
        with directory._store.transaction(durable=False):
            directory._store.insert(row)
        assert admit(directory, K.FAMILY, raws[1]).outcome is Outcome.DUPLICATE
        assert held(directory, K.FAMILY) == (ids("alice"), raws[0])
        assert directory.pools().deferred == 0
    finally:
        directory.close()


def test_a_device_may_withdraw_itself(directory: DirectoryCore) -> None:
    kind = K.IDENTITY_OCCURRENCE_REVOCATION
    know(directory, "bob")
    assert admit(directory, kind, copy(kind, "bob", shared=True)).outcome is Outcome.ADMITTED


@pytest.mark.parametrize("kind", COSIGNED)
def test_a_signer_nobody_knows_keeps_no_record_waiting(
    directory: DirectoryCore, kind: EnvelopeKind
) -> None:
    know(directory, "alice")
    prepare(directory, kind)
    raw = copy(kind, "alice", "bob", "carol")
    assert admit(directory, kind, raw).outcome is Outcome.ADMITTED
    assert held(directory, kind) == (ids("alice"), copy(kind, "alice"))
    assert admit(directory, kind, raw).outcome is Outcome.DUPLICATE
    know(directory, "bob", "carol")
    assert held(directory, kind) == (ids("alice"), copy(kind, "alice"))


def test_what_is_partly_known_and_dated_ahead_comes_in_when_its_time_does(
    directory: DirectoryCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bob's key is not here, and the clock is behind: alice's signature is looked at once."""
    know(directory, "alice")
    raw = copy(K.LOCATION_PROOF, "alice", "bob")
    early_ms = AT_MS - 3_600_000
    verdict = directory.admit(K.LOCATION_PROOF, raw, PEER, now_ms=early_ms)
    assert (verdict.outcome, verdict.reason) == (Outcome.DEFERRED, Reason.TIME_AHEAD)
    asked: list[object] = []

    def counting(*arguments: Any) -> Any:
        asked.append(arguments)
        return verify_hybrid(*arguments)

    monkeypatch.setattr("ciris_mesh.records.checks.verify_hybrid", counting)
    (verdict,) = directory.retry_due(AT_MS)
    assert verdict.outcome is Outcome.ADMITTED
    assert held(directory, K.LOCATION_PROOF)[0] == ids("alice")
    assert asked == []


def test_a_signer_who_counts_joins_when_its_key_comes(directory: DirectoryCore) -> None:
    kind = K.IDENTITY_OCCURRENCE_REVOCATION
    know(directory, "alice", "carol")
    raw = copy(kind, "alice", "bob", "carol", shared=True)
    assert admit(directory, kind, raw).outcome is Outcome.ADMITTED
    assert held(directory, kind) == (ids("alice"), copy(kind, "alice", shared=True))
    assert directory.pools().deferred == 1
    know(directory, "bob")
    assert held(directory, kind) == (ids("alice", "bob"), copy(kind, "alice", "bob", shared=True))


def test_a_signer_who_counts_and_is_not_known_yet_joins_a_row_that_is_held(
    directory: DirectoryCore,
) -> None:
    kind = K.IDENTITY_OCCURRENCE_REVOCATION
    know(directory, "alice")
    by_alice, by_bob = (copy(kind, name, shared=True) for name in ("alice", "bob"))
    admitted = admit(directory, kind, by_alice)
    assert (admitted.outcome, admitted.detail) == (Outcome.ADMITTED, "")
    assert admit(directory, kind, by_bob).outcome is Outcome.DUPLICATE
    assert (directory.pools().deferred, directory.pools().refused) == (1, 0)
    know(directory, "bob")
    assert held(directory, kind) == (ids("alice", "bob"), copy(kind, "alice", "bob", shared=True))


def test_a_copy_that_brings_nobody_costs_no_look_at_other_records(
    directory: DirectoryCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(directory, *_FOUNDERS)
    admit(directory, K.FAMILY, founded("alice", "bob"))

    def looked(*_: object) -> None:
        raise AssertionError("the rules were asked")

    monkeypatch.setattr(joining_module, "judge_counted", looked)
    assert admit(directory, K.FAMILY, founded("bob")).outcome is Outcome.DUPLICATE


def test_a_signature_that_waits_is_not_lost_when_another_copy_comes(
    directory: DirectoryCore,
) -> None:
    kind = K.IDENTITY_OCCURRENCE_REVOCATION
    by_bob, by_alice = (copy(kind, name, shared=True) for name in ("bob", "alice"))
    know(directory, "alice")
    assert admit(directory, kind, by_bob).outcome is Outcome.DEFERRED
    assert admit(directory, kind, by_alice, OTHER).outcome is Outcome.ADMITTED
    know(directory, "bob")
    assert held(directory, kind) == (ids("alice", "bob"), copy(kind, "alice", "bob", shared=True))
    assert directory.pools().deferred == 0


def test_a_stranger_adds_no_signature(directory: DirectoryCore) -> None:
    kind = K.IDENTITY_OCCURRENCE_REVOCATION
    know(directory, "alice", "bob")
    admit(directory, kind, copy(kind, "alice", shared=True))
    more = copy(kind, "alice", "bob", shared=True)
    verdict = admit(directory, kind, more, Source("unattributed"))
    assert verdict.outcome is Outcome.DUPLICATE
    assert held(directory, kind)[0] == ids("alice")
    assert directory.pools().deferred == 0
    assert admit(directory, kind, more).outcome is Outcome.UPGRADED, "from a peer it is taken"


CROWD = tuple(f"a{n:02d}" for n in range(16))


@pytest.mark.parametrize("kind", COSIGNED)
def test_a_crowd_of_strangers_changes_nothing(directory: DirectoryCore, kind: EnvelopeKind) -> None:
    """Every key id of the crowd sorts before alice's, and with them she would not fit."""
    know(directory, "alice", *CROWD[:14])
    prepare(directory, kind)
    admitted = admit(directory, kind, copy(kind, "alice"))
    assert admitted.outcome is Outcome.ADMITTED
    row = held(directory, kind, admitted.envelope_id)
    for crowd in (CROWD[:13], CROWD[:1], [*CROWD[:7], "alice"]):
        assert admit(directory, kind, copy(kind, *crowd)).outcome is Outcome.DUPLICATE
    assert held(directory, kind, admitted.envelope_id) == row


# -- more who count than fit: alice founded a family that any one of its many members may change --


@cache
def crowded() -> Draft:
    everybody = [member(alice().key_id, founder=True)]
    everybody += [member(key(name).key_id) for name in CROWD]
    given = {"members": everybody, "consensus_protocol": "quorum:1/17"}
    return draft(K.FAMILY, group_columns(K.FAMILY, "many", given), alice(), at_ms=AT_MS)


@cache
def in_crowd(*names: str) -> bytes:
    prepared_ = crowded()
    return assemble(prepared_, {key(name).key_id: crowd_signature(name) for name in names})


@cache
def crowd_signature(name: str) -> HybridSignature:
    return key(name).sign(crowded().message)


def test_of_many_who_count_those_stay_without_whom_it_would_not_stand(
    directory: DirectoryCore,
) -> None:
    know(directory, "alice", *CROWD)
    admit(directory, K.FAMILY, in_crowd("alice"))
    for name in CROWD:
        admit(directory, K.FAMILY, in_crowd(name))
    signers, raw = held(directory, K.FAMILY)
    assert len(raw) <= 64 * 1024
    assert signers == (*ids(*CROWD)[: len(signers) - 1], alice().key_id), "her id sorts last"
    assert len(signers) == 13, "as many as fit"
    keys: dict[str, FederationKey] = {key(name).key_id: key(name) for name in (*CROWD, "alice")}
    found = verify_bytes(K.FAMILY, raw, lambda key_id: keys[key_id].public)
    assert found.verdict.outcome is Outcome.ADMITTED, "what is kept would be admitted anywhere"
    cut = CROWD[-1]
    assert admit(directory, K.FAMILY, in_crowd(cut)).outcome is Outcome.DUPLICATE


def test_whose_records_are_passed_on_is_kept_first(directory: DirectoryCore) -> None:
    """Or others of the group could keep a record from being offered."""
    friend = CROWD[-1]
    directory.favour(lambda: frozenset(ids(friend)))
    know(directory, "alice", *CROWD)
    for name in ("alice", friend, *CROWD):
        admit(directory, K.FAMILY, in_crowd(name))
    signers, _ = held(directory, K.FAMILY)
    assert set(ids(friend, "alice")) <= set(signers)


_FOUNDERS = ("alice", "bob", "carol")


@cache
def three() -> Draft:
    founders = [member(key(name).key_id, founder=True) for name in _FOUNDERS]
    given = group_columns(K.FAMILY, "three", {"members": founders})
    return draft(K.FAMILY, given, alice(), at_ms=AT_MS)


@cache
def founded(*signers: str) -> bytes:
    return assemble(three(), {key(name).key_id: founding_signature(name) for name in signers})


@cache
def founding_signature(name: str) -> HybridSignature:
    return key(name).sign(three().message)


_COPIES = (("alice",), ("alice", "bob"), ("bob", "carol"), ("alice", "bob", "steward"))
_EVENTS = [
    *[(K.KEY, key_record(name)) for name in ("alice", "bob", "carol", "steward")],
    *[(K.ATTESTATION, delegation(name)) for name in ("bob", "carol")],
    *[(K.FAMILY, founded(*signers)) for signers in _COPIES],
    *[(K.LOCATION_PROOF, copy(K.LOCATION_PROOF, *signers)) for signers in _COPIES],
    (K.FAMILY, founded("steward")),
    (K.LOCATION_PROOF, copy(K.LOCATION_PROOF, "steward")),
]


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(order=st.permutations(range(len(_EVENTS))), again=st.lists(st.sampled_from(_EVENTS)))
def test_any_order_of_copies_and_keys_ends_in_the_same_bytes(
    store: str,
    order: Sequence[int],
    again: list[tuple[EnvelopeKind, bytes]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    directory: DirectoryCore = (
        MemoryDirectory()
        if store == "memory"
        else SqliteDirectory(tmp_path_factory.mktemp("copies") / "records.db")
    )
    try:
        for kind, raw in [*(_EVENTS[index] for index in order), *again[:5]]:
            admit(directory, kind, raw)
        assert held(directory, K.FAMILY) == (ids(*_FOUNDERS), founded(*_FOUNDERS))
        located = copy(K.LOCATION_PROOF, *_FOUNDERS)
        assert held(directory, K.LOCATION_PROOF) == (ids(*_FOUNDERS), located)
    finally:
        directory.close()


_groups = st.lists(
    st.lists(st.sampled_from([*CROWD, "alice"]), min_size=1, max_size=8, unique=True), min_size=1
)


@settings(max_examples=15, deadline=None)
@given(groups=_groups, data=st.data())
def test_what_is_cut_off_does_not_depend_on_the_order_either(
    groups: list[list[str]], data: st.DataObject
) -> None:
    found = []
    groups = [*groups, ["alice"], *([name] for name in CROWD)]
    for order in (groups, data.draw(st.permutations(groups))):
        directory = MemoryDirectory()
        know(directory, "alice", *CROWD)
        for names in order:
            admit(directory, K.FAMILY, in_crowd(*names))
        found.append(held(directory, K.FAMILY))
    assert found[0] == found[1]
    assert len(found[0][1]) <= 64 * 1024
