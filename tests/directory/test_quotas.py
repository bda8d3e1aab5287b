"""How much strangers may leave here, whoever brings it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ciris_mesh.directory.base import OWN, Source
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.pools import PoolLimits
from ciris_mesh.directory.quotas import is_ours
from ciris_mesh.records.authoring import author
from ciris_mesh.records.hybrid import FederationKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Verdict
from support.keys import alice, bob, carol
from support.records import AT_MS, columns, group_columns, member, sample

K = EnvelopeKind
HUB, RELAY = Source("peer", "hub"), Source("peer", "relay")

Open = Callable[..., DirectoryCore]


def attest(directory: DirectoryCore, by: FederationKey, n: int, source: Source = HUB) -> Verdict:
    return directory.admit(K.ATTESTATION, sample(K.ATTESTATION, by, n), source, now_ms=AT_MS)


def told(verdict: Verdict) -> tuple[str, str]:
    return verdict.outcome.value, verdict.reason.value


def open_with(open_directory: Open, **limits: int) -> DirectoryCore:
    """A directory that knows the keys of alice and bob by its own hand, which no quota counts."""
    directory = open_directory(limits=PoolLimits(**limits))
    for one in (alice(), bob()):
        directory.admit(K.KEY, sample(K.KEY, one), OWN, now_ms=AT_MS)
    return directory


def test_a_stranger_may_have_so_many_records_whoever_brings_them(open_directory: Open) -> None:
    directory = open_with(open_directory, stranger_rows_per_signer=2)
    assert told(attest(directory, alice(), 0)) == ("admitted", "")
    assert told(attest(directory, alice(), 1, RELAY)) == ("admitted", "")
    assert told(attest(directory, alice(), 2, RELAY)) == ("refused", "signer_quota")
    assert told(attest(directory, alice(), 0, RELAY)) == ("duplicate", "")
    assert told(attest(directory, bob(), 0)) == ("admitted", "")
    assert directory.outcome_counts()["peer", "refused", "signer_quota"] == 1


def test_a_peer_may_bring_so_many_records_of_strangers(open_directory: Open) -> None:
    directory = open_with(open_directory, stranger_rows_per_peer=1)
    assert told(attest(directory, alice(), 0)) == ("admitted", "")
    assert told(attest(directory, bob(), 0)) == ("refused", "peer_quota")
    assert told(attest(directory, bob(), 0, RELAY)) == ("admitted", "")


def test_what_was_refused_for_want_of_room_is_no_garbage(open_directory: Open) -> None:
    directory = open_with(open_directory, stranger_rows_per_peer=0)
    assert told(attest(directory, alice(), 0)) == ("refused", "peer_quota")
    directory.favour(lambda: frozenset({alice().key_id}))
    assert told(attest(directory, alice(), 0)) == ("admitted", "")


def test_own_imported_and_friends_records_have_no_quota(open_directory: Open) -> None:
    directory = open_with(open_directory, stranger_rows_per_signer=0, stranger_rows_per_peer=0)
    assert told(attest(directory, alice(), 0, OWN)) == ("admitted", "")
    assert told(attest(directory, alice(), 1, Source("import"))) == ("admitted", "")
    itself = Source("peer", alice().key_id)
    assert told(attest(directory, alice(), 2, itself)) == ("admitted", "")
    assert told(attest(directory, alice(), 3)) == ("refused", "signer_quota")


def test_friends_are_asked_again_for_every_batch(open_directory: Open) -> None:
    directory = open_with(open_directory, stranger_rows_per_signer=0)
    friends: set[str] = {alice().key_id}
    directory.favour(lambda: frozenset(friends))
    assert told(attest(directory, alice(), 0)) == ("admitted", "")
    friends.clear()
    assert told(attest(directory, alice(), 1)) == ("refused", "signer_quota")


def test_shares_are_still_spent_after_a_restart(open_directory: Open) -> None:
    directory = open_with(open_directory, stranger_rows_per_signer=1)
    attest(directory, alice(), 0)
    directory._load()  # what opening does; the store in memory cannot be opened twice
    assert told(attest(directory, alice(), 1)) == ("refused", "signer_quota")


def test_a_stranger_cannot_hide_behind_the_name_of_a_friend(open_directory: Open) -> None:
    """Where one signer of ours is enough it has to be a signature that stands."""
    directory = open_with(open_directory, stranger_rows_per_signer=0)
    directory.favour(lambda: frozenset({bob().key_id}))
    founders = [member(one.key_id, founder=True) for one in (alice(), bob())]
    shared = group_columns(K.FAMILY, "both", {"members": founders})
    raw = author(K.FAMILY, shared, alice(), at_ms=AT_MS)
    assert told(directory.admit(K.FAMILY, raw, HUB, now_ms=AT_MS)) == ("refused", "signer_quota")
    both = author(K.FAMILY, shared, alice(), at_ms=AT_MS, cosigners=[bob()])
    assert told(directory.admit(K.FAMILY, both, HUB, now_ms=AT_MS)) == ("admitted", "")
    own = columns(K.FAMILY, alice().key_id, 0)
    beside = author(K.FAMILY, own, alice(), at_ms=AT_MS, cosigners=[bob()])
    verdict = directory.admit(K.FAMILY, beside, HUB, now_ms=AT_MS)
    assert told(verdict) == ("refused", "signer_quota"), "bob has no say in that one"


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_whose_record_it_is(kind: EnvelopeKind) -> None:
    cosigned = 4 <= list(EnvelopeKind).index(kind) + 1 <= 10
    assert is_ours(kind, ["a"], {"a"}.__contains__)
    assert not is_ours(kind, [], {"a"}.__contains__)
    assert not is_ours(kind, ["b"], {"a"}.__contains__)
    assert is_ours(kind, ["a", "b"], {"a"}.__contains__) is cosigned


def test_a_flood_of_keys_and_what_they_sign_ends_at_the_quota(open_directory: Open) -> None:
    directory = open_with(open_directory, stranger_rows_per_signer=3, stranger_rows_per_peer=5)
    flood = [FederationKey.from_seeds(f"f{n}", bytes([n]) * 32, bytes([n]) * 32) for n in range(4)]
    for one in flood:
        directory.admit(K.KEY, sample(K.KEY, one), HUB, now_ms=AT_MS)
        for n in range(5):
            attest(directory, one, n)
    held = sum(directory.counts().values())
    assert held == 2 + 5
    assert attest(directory, carol(), 0).outcome is not Outcome.ADMITTED
