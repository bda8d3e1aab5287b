"""How much strangers may leave here, whoever brings it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache

import pytest

from ciris_mesh.directory.base import OWN, Source
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.pools import PoolLimits
from ciris_mesh.directory.quotas import SAME_MAX, is_ours
from ciris_mesh.records.authoring import assemble, author, draft
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.hybrid import FederationKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Verdict
from support.keys import alice, bob, carol
from support.records import AT_MS, columns, group_columns, member, sample, trust_in

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


# -- records that say the same -------------------------------------------------------------------


@cache
def withdrawn(n: int) -> bytes:
    """alice takes her first attestation back, for the n-th time."""
    about = parse_envelope(K.ATTESTATION, sample(K.ATTESTATION, alice(), 0))
    given = {
        "attested_key_id": alice().key_id,
        "attestation_type": "withdraws",
        "withdraws_admission_rule": 1,
        "attestation_envelope": {
            "references_attestation_id": about.record["attestation_id"],
            "n": n,
        },
    }
    return author(K.ATTESTATION, given, alice(), at_ms=AT_MS)


def test_what_was_said_before_is_written_and_counts_for_nothing_new(open_directory: Open) -> None:
    directory = open_with(open_directory)
    attest(directory, alice(), 0)
    assert told(directory.admit(K.ATTESTATION, withdrawn(0), HUB, now_ms=AT_MS)) == ("admitted", "")
    generation = directory.generation(K.ATTESTATION)
    verdict = directory.admit(K.ATTESTATION, withdrawn(1), HUB, now_ms=AT_MS)
    assert told(verdict) == ("superseded", "")
    assert verdict.outcome.is_change
    assert verdict.outcome.is_shelved
    assert directory.generation(K.ATTESTATION) > generation
    assert verdict.envelope_id in {one.envelope_hash for one in directory.holdings(K.ATTESTATION)}
    again = directory.admit(K.ATTESTATION, withdrawn(1), HUB, now_ms=AT_MS)
    assert told(again) == ("duplicate", "")


def test_so_often_and_no_more(open_directory: Open) -> None:
    directory = open_with(open_directory)
    attest(directory, alice(), 0)
    raws = [withdrawn(n) for n in range(SAME_MAX + 2)]
    verdicts = directory.admit_many(K.ATTESTATION, [*raws, raws[1]], HUB, now_ms=AT_MS)
    assert [told(verdict) for verdict in verdicts] == [
        ("admitted", ""),
        *[("superseded", "")] * (SAME_MAX - 1),
        *[("refused", "said_often_enough")] * 2,
        ("duplicate", ""),
    ]
    assert len(directory.holdings(K.ATTESTATION)) == 1 + SAME_MAX
    assert directory.pools().refused == 0, "nothing is wrong with the bytes"
    last = directory.admit(K.ATTESTATION, raws[-1], OWN, now_ms=AT_MS)
    assert told(last) == ("refused", "said_often_enough"), "whoever brings it"
    counts = directory.outcome_counts()
    assert counts["peer", "superseded", ""] == SAME_MAX - 1
    assert counts["peer", "refused", "said_often_enough"] == 2


def test_one_partner_record_in_many_wrappers_is_one_that_was_repeated(
    open_directory: Open,
) -> None:
    """The ids cover who signed and the threshold stated, and no signature covers those."""
    stewards = (alice(), bob(), carol())
    directory = open_directory(trust=trust_in(*stewards))
    for one in stewards:
        directory.admit(K.KEY, sample(K.KEY, one), OWN, now_ms=AT_MS)
    prepared = draft(K.PARTNER_RECORD, columns(K.PARTNER_RECORD, "x", 1), alice(), at_ms=AT_MS)
    signatures = {one.key_id: one.sign(prepared.message) for one in stewards}
    raws = [
        assemble(prepared, {name: signatures[name] for name in names}, threshold=threshold + 1)
        for size in (1, 2, 3)
        for names in itertools.combinations(sorted(signatures), size)
        for threshold in range(size)
    ]
    assert len(raws) == 3 + 2 * 3 + 3
    verdicts = directory.admit_many(K.PARTNER_RECORD, raws, HUB, now_ms=AT_MS)
    outcomes = [verdict.outcome for verdict in verdicts]
    assert outcomes.count(Outcome.ADMITTED) == 1
    assert outcomes.count(Outcome.SUPERSEDED) == SAME_MAX, "one more, for all three signed it"
    assert outcomes.count(Outcome.REFUSED) == len(raws) - SAME_MAX - 1
    most = [len(row.signers) for _, row in directory.rows(K.PARTNER_RECORD, limit=100)]
    assert max(most) == 3


def test_what_is_counted_is_what_stands_as_truth(open_directory: Open) -> None:
    """Bridged rows say nothing yet; one that moves up is counted then."""
    directory = open_with(open_directory)
    raws = [withdrawn(n) for n in range(2)]
    for raw in raws:
        verdict = directory.admit(K.ATTESTATION, raw, Source("registry", "r"), now_ms=AT_MS)
        assert told(verdict) == ("admitted", "reference_unknown"), "and why only bridged"
    assert directory.holdings(K.ATTESTATION) == []
    attest(directory, alice(), 0)
    assert len(directory.holdings(K.ATTESTATION)) == 3
    counts = directory.outcome_counts()
    assert counts["registry", "upgraded", ""] == counts["registry", "superseded", ""] == 1
