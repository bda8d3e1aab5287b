"""One record under one id, signed by more and more: nobody's signature keeps another's out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ciris_mesh.directory.base import Source
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.records.authoring import Draft, assemble, author, author_key, draft
from ciris_mesh.records.checks import verify_bytes
from ciris_mesh.records.hybrid import FederationKey, HybridSignature
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason, Verdict
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


def prepare(directory: DirectoryCore, kind: EnvelopeKind, *, shared: bool = False) -> None:
    """Admit what alice's record builds on, and, if shared, let bob speak for alice."""
    needed = [] if shared else prerequisites(kind, alice(), 1)
    if shared:
        device = {"identity_key_id": alice().key_id, "occurrence_key_id": bob().key_id}
        act = {
            "attested_key_id": bob().key_id,
            "attestation_type": "delegates_to",
            "attestation_envelope": {"delegated_scope": ["agency:act_on_behalf"]},
        }
        needed += [
            (one, author(one, given, alice(), at_ms=AT_MS - 1))
            for one, given in (
                (K.IDENTITY_OCCURRENCE, device | {"device_class": "phone"}),
                (K.ATTESTATION, act),
            )
        ]
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
    generation, digest = directory.generation(kind), directory.digest(kind)
    verdict = admit(directory, kind, by_alice, OTHER)
    assert (verdict.outcome, verdict.reason) == (Outcome.UPGRADED, Reason.NONE)
    assert held(directory, kind, admitted.envelope_id) == (ids("alice", "bob"), by_both)
    assert directory.generation(kind) > generation, "offers depend on who signed"
    assert directory.digest(kind) == digest, "the id is the same"
    for again in (by_alice, by_bob, by_both):
        assert admit(directory, kind, again).outcome is Outcome.DUPLICATE


@pytest.mark.parametrize("kind", COSIGNED)
def test_who_may_not_sign_alone_waits_and_joins(
    directory: DirectoryCore, kind: EnvelopeKind
) -> None:
    """A copy by the wrong one neither stands for the record nor is lost."""
    know(directory, "alice", "carol")
    prepare(directory, kind)
    verdict = admit(directory, kind, copy(kind, "carol"))
    assert verdict.outcome is Outcome.DEFERRED
    assert directory.pools().deferred == 1
    admitted = admit(directory, kind, copy(kind, "alice"))
    assert admitted.outcome is Outcome.ADMITTED
    assert admitted.envelope_id == verdict.envelope_id
    joined = (ids("alice", "carol"), copy(kind, "alice", "carol"))
    assert held(directory, kind, admitted.envelope_id) == joined
    assert directory.pools().deferred == 0


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
    assert directory.pools().deferred == 1, "the others may become known"
    assert admit(directory, kind, raw).outcome is Outcome.DUPLICATE
    know(directory, "carol")
    assert held(directory, kind)[0] == ids("alice", "carol")
    know(directory, "bob")
    assert held(directory, kind) == (ids("alice", "bob", "carol"), raw)
    assert directory.pools().deferred == 0


def test_a_signature_that_waits_is_not_lost_when_another_copy_comes(
    directory: DirectoryCore,
) -> None:
    know(directory, "alice")
    assert admit(directory, K.FAMILY, copy(K.FAMILY, "bob")).outcome is Outcome.DEFERRED
    assert admit(directory, K.FAMILY, copy(K.FAMILY, "alice"), OTHER).outcome is Outcome.ADMITTED
    know(directory, "bob")
    assert held(directory, K.FAMILY) == (ids("alice", "bob"), copy(K.FAMILY, "alice", "bob"))


def test_a_stranger_adds_no_signature(directory: DirectoryCore) -> None:
    know(directory, "alice", "bob")
    admit(directory, K.IDENTITY_OCCURRENCE, copy(K.IDENTITY_OCCURRENCE, "alice"))
    more = copy(K.IDENTITY_OCCURRENCE, "alice", "bob")
    verdict = admit(directory, K.IDENTITY_OCCURRENCE, more, Source("unattributed"))
    assert verdict.outcome is Outcome.DUPLICATE
    assert held(directory, K.IDENTITY_OCCURRENCE)[0] == ids("alice")


CROWD = tuple(f"a{n:02d}" for n in range(16))


def test_a_crowd_cannot_push_out_whom_the_record_names(directory: DirectoryCore) -> None:
    """Every key id of the crowd sorts before alice's."""
    know(directory, "alice", *CROWD)
    for name in CROWD:
        admit(directory, K.FAMILY, copy(K.FAMILY, name))
    assert directory.pools().deferred == len(CROWD), "none of them may found it"
    verdict = admit(directory, K.FAMILY, copy(K.FAMILY, "alice"))
    assert verdict.outcome is Outcome.ADMITTED
    assert directory.pools().deferred == 0
    signers, raw = held(directory, K.FAMILY)
    assert alice().key_id in signers
    assert set(signers) - {alice().key_id} == set(ids(*CROWD)[: len(signers) - 1])
    keys: dict[str, FederationKey] = {key(name).key_id: key(name) for name in (*CROWD, "alice")}
    found = verify_bytes(K.FAMILY, raw, lambda key_id: keys[key_id].public)
    assert found.verdict.outcome is Outcome.ADMITTED, "what is kept would be admitted anywhere"
    cut = CROWD[-1]
    assert admit(directory, K.FAMILY, copy(K.FAMILY, cut)).outcome is Outcome.DUPLICATE


_EVENTS = [
    *[(K.KEY, key_record(name)) for name in ("alice", "bob", "carol", "steward")],
    *[
        (kind, copy(kind, *signers))
        for kind in (K.FAMILY, K.LOCATION_PROOF)
        for signers in (
            ("alice",),
            ("alice", "bob"),
            ("alice", "carol"),
            ("alice", "bob", "steward"),
        )
    ],
    *[(K.FAMILY, copy(K.FAMILY, name)) for name in ("bob", "carol")],
]


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
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
        everyone = ("alice", "bob", "carol", "steward")
        for kind in (K.FAMILY, K.LOCATION_PROOF):
            assert held(directory, kind) == (ids(*everyone), copy(kind, *everyone))
        assert directory.pools().deferred == 0
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
    groups = [*groups, ["alice"]]
    for order in (groups, data.draw(st.permutations(groups))):
        directory = MemoryDirectory()
        know(directory, "alice", *CROWD)
        for names in order:
            admit(directory, K.FAMILY, copy(K.FAMILY, *names))
        found.append(held(directory, K.FAMILY))
    assert found[0] == found[1]
    assert len(found[0][1]) <= 64 * 1024
