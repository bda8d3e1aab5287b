"""Counting signatures: who counts, how often, and what is refused before counting."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import LocalProtocolError
from ciris_mesh.records.envelope import Claim
from ciris_mesh.records.hybrid import HybridPolicy, HybridSignature, verify_halves
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.threshold import (
    SIGNATURES_MAX,
    Member,
    QuorumPolicy,
    Tally,
    ThresholdReason,
    distinct_members,
    parse_quorum_policy,
    verify_founder_quorum,
    verify_quorum_policy,
    verify_threshold_signatures,
    verify_threshold_signatures_with_policy,
)
from support.forge import no_pqc, wrong_classical, wrong_pqc
from support.keys import alice, bob, key
from support.trust import claim, ids, member, renamed

MESSAGE = b'{"license_id":"l-1"}'
NAMES = ("alice", "bob", "carol", "steward")
ROSTER = [member(name) for name in NAMES]
PENDING = HybridPolicy.ALLOW_CLASSICAL_PENDING


def spoiled(name: str, spoil: object) -> Claim:
    assert callable(spoil)
    good = claim(name, MESSAGE)
    return Claim(good.key_id, spoil(good.signature))


# -- enough, and not enough ----------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [1, 2, 3])
def test_enough_members_signed(threshold: int) -> None:
    claims = [claim(name, MESSAGE) for name in ("alice", "bob", "carol")]
    tally = verify_threshold_signatures(MESSAGE, ROSTER, claims, threshold)
    assert tally == Tally(ThresholdReason.NONE, 3, threshold, ids("alice", "bob", "carol"))
    assert tally.is_met


def test_one_too_few() -> None:
    claims = [claim(name, MESSAGE) for name in ("alice", "bob")]
    tally = verify_threshold_signatures(MESSAGE, ROSTER, claims, 3)
    assert tally == Tally(ThresholdReason.INSUFFICIENT, 2, 3, ids("alice", "bob"))
    assert not tally.is_met


@pytest.mark.parametrize("threshold", [0, -1])
def test_a_threshold_of_nothing_is_refused(threshold: int) -> None:
    claims = [claim("alice", MESSAGE)]
    tally = verify_threshold_signatures(MESSAGE, ROSTER, claims, threshold)
    assert tally.reason is ThresholdReason.ZERO_THRESHOLD
    assert tally.count == 0


def test_a_threshold_above_the_roster_is_refused_and_one_at_it_is_not() -> None:
    claims = [claim(name, MESSAGE) for name in NAMES]
    over = verify_threshold_signatures(MESSAGE, ROSTER, claims, 5)
    assert over.reason is ThresholdReason.THRESHOLD_EXCEEDS_MEMBERS
    assert verify_threshold_signatures(MESSAGE, ROSTER, claims, 4).is_met


def test_an_empty_roster_can_decide_nothing() -> None:
    tally = verify_threshold_signatures(MESSAGE, [], [claim("alice", MESSAGE)], 1)
    assert tally.reason is ThresholdReason.THRESHOLD_EXCEEDS_MEMBERS


# -- who counts ----------------------------------------------------------------------------------


def test_strangers_are_passed_over() -> None:
    claims = [claim("steward", MESSAGE), claim("alice", MESSAGE)]
    tally = verify_threshold_signatures(MESSAGE, ROSTER[:2], claims, 1)
    assert tally.signers == ids("alice")


def test_a_member_counts_once() -> None:
    again = Claim(alice().key_id, alice().sign(MESSAGE))
    claims = [claim("alice", MESSAGE), again, claim("alice", MESSAGE)]
    tally = verify_threshold_signatures(MESSAGE, ROSTER, claims, 2)
    assert tally == Tally(ThresholdReason.INSUFFICIENT, 1, 2, ids("alice"))


@pytest.mark.parametrize("spoil", [wrong_classical, wrong_pqc, no_pqc])
def test_a_failing_signature_is_passed_over(spoil: object) -> None:
    claims = [spoiled("alice", spoil), claim("bob", MESSAGE)]
    tally = verify_threshold_signatures(MESSAGE, ROSTER, claims, 1)
    assert tally.signers == ids("bob")


@pytest.mark.parametrize("spoil", [wrong_classical, wrong_pqc, no_pqc])
def test_garbage_beside_a_good_signature_does_not_suppress_it(spoil: object) -> None:
    claims = [spoiled("alice", spoil), claim("alice", MESSAGE)]
    for order in (claims, claims[::-1]):
        assert verify_threshold_signatures(MESSAGE, ROSTER, order, 1).signers == ids("alice")


def test_a_signature_over_another_message_does_not_count() -> None:
    tally = verify_threshold_signatures(MESSAGE, ROSTER, [claim("alice", b"another")], 1)
    assert tally.reason is ThresholdReason.INSUFFICIENT


def test_a_signature_under_somebody_elses_id_does_not_count() -> None:
    pasted = Claim(bob().key_id, claim("alice", MESSAGE).signature)
    tally = verify_threshold_signatures(MESSAGE, ROSTER, [pasted, claim("alice", MESSAGE)], 2)
    assert tally.signers == ids("alice")


def test_one_key_under_two_names_is_one_member() -> None:
    alias = renamed("alice", "zoe")
    roster = [*ROSTER[:2], Member.of(alias.key_id, alias.public, "founder")]
    claims = [claim("alice", MESSAGE), Claim(alias.key_id, alias.sign(MESSAGE))]
    tally = verify_threshold_signatures(MESSAGE, roster, claims, 2)
    assert tally == Tally(ThresholdReason.INSUFFICIENT, 1, 2, ids("alice"))
    assert len(distinct_members(roster)) == 2


@pytest.mark.parametrize("shared", ["ed25519", "mldsa65"])
def test_a_shared_key_half_makes_one_member(shared: str) -> None:
    other = replace(member("bob"), **{shared: getattr(member("alice"), shared)})
    assert list(distinct_members([member("alice"), other])) == [min(alice().key_id, bob().key_id)]


def test_an_id_listed_with_two_keys_is_nobody() -> None:
    twice = [member("alice"), replace(member("bob"), key_id=alice().key_id)]
    tally = verify_threshold_signatures(
        MESSAGE, [*twice, member("carol")], [claim("alice", MESSAGE)], 1
    )
    assert tally == Tally(ThresholdReason.INSUFFICIENT, 0, 1)


def test_an_entry_listed_twice_is_one() -> None:
    assert list(distinct_members([member("alice"), member("alice")])) == [alice().key_id]


def test_the_work_is_bounded_and_garbage_by_strangers_is_free() -> None:
    def flood(key_id: str, count: int) -> list[Claim]:
        pqc = bytes(3309)
        return [Claim(key_id, HybridSignature(n.to_bytes(64, "big"), pqc)) for n in range(count)]

    good = claim("alice", MESSAGE)
    strangers = [*flood("stranger", 1000), good]
    assert verify_threshold_signatures(MESSAGE, ROSTER, strangers, 1).is_met
    most = [*flood(alice().key_id, SIGNATURES_MAX - 1), good]
    assert verify_threshold_signatures(MESSAGE, ROSTER, most, 1).is_met
    over = [*flood(alice().key_id, SIGNATURES_MAX), good]
    tally = verify_threshold_signatures(MESSAGE, ROSTER, over, 1)
    assert tally.reason is ThresholdReason.TOO_MANY_SIGNATURES


# -- both halves or neither ----------------------------------------------------------------------


def test_hybrid_needs_the_post_quantum_half_of_key_and_signature() -> None:
    keyless = replace(member("alice"), mldsa65=None)
    stripped = spoiled("alice", no_pqc)
    for roster, one in (
        ([keyless], claim("alice", MESSAGE)),
        ([keyless], stripped),
        ([member("alice")], stripped),
    ):
        assert verify_threshold_signatures(MESSAGE, roster, [one], 1).count == 0
    assert verify_threshold_signatures(
        MESSAGE, [member("alice")], [claim("alice", MESSAGE)], 1
    ).is_met


def test_pending_takes_the_classical_half_alone() -> None:
    stripped = spoiled("alice", no_pqc)
    for roster in ([member("alice")], [replace(member("alice"), mldsa65=None)]):
        tally = verify_threshold_signatures_with_policy(MESSAGE, roster, [stripped], 1, PENDING)
        assert tally.is_met


@pytest.mark.parametrize("spoil", [wrong_classical, wrong_pqc])
def test_pending_does_not_take_a_half_that_fails(spoil: object) -> None:
    tally = verify_threshold_signatures_with_policy(
        MESSAGE, ROSTER, [spoiled("alice", spoil)], 1, PENDING
    )
    assert tally.reason is ThresholdReason.INSUFFICIENT


def test_a_post_quantum_half_nobody_can_check_never_counts() -> None:
    keyless = replace(member("alice"), mldsa65=None)
    for policy in HybridPolicy:
        tally = verify_threshold_signatures_with_policy(
            MESSAGE, [keyless], [claim("alice", MESSAGE)], 1, policy
        )
        assert tally.count == 0


def test_halves_are_judged_with_a_reason() -> None:
    good = claim("alice", MESSAGE).signature
    ed25519 = alice().public.ed25519
    assert verify_halves(ed25519, alice().public.mldsa65, MESSAGE, good) is Reason.NONE
    assert verify_halves(ed25519, None, MESSAGE, good) is Reason.PQC_SIGNATURE_INVALID
    assert verify_halves(ed25519, None, MESSAGE, no_pqc(good)) is Reason.PQC_SIGNATURE_MISSING
    assert verify_halves(ed25519, None, MESSAGE, no_pqc(good), PENDING) is Reason.NONE
    broken = no_pqc(wrong_classical(good))
    assert verify_halves(ed25519, None, MESSAGE, broken) is Reason.CLASSICAL_SIGNATURE_INVALID


def test_key_lengths_are_the_callers_to_check() -> None:
    with pytest.raises(LocalProtocolError):
        verify_halves(bytes(31), None, MESSAGE, claim("alice", MESSAGE).signature)
    with pytest.raises(LocalProtocolError):
        Member("x", bytes(31), None)
    with pytest.raises(LocalProtocolError):
        Member("x", bytes(32), bytes(1951))


# -- quorum policies -----------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["1/1", "2/2", "2/3", "3/4", "3/5", "quorum:2/3"])
def test_policies_that_can_not_deadlock(text: str) -> None:
    policy = parse_quorum_policy(text)
    assert policy is not None
    assert policy.problem is ThresholdReason.NONE


@pytest.mark.parametrize("text", ["1/2", "2/4", "1/3", "quorum:50/100"])
def test_policies_that_can_deadlock(text: str) -> None:
    policy = parse_quorum_policy(text)
    assert policy is not None
    assert policy.problem is ThresholdReason.DEADLOCK_POLICY
    tally = verify_quorum_policy(MESSAGE, ROSTER, [claim("alice", MESSAGE)], text)
    assert tally.reason is ThresholdReason.DEADLOCK_POLICY


@pytest.mark.parametrize(
    "text",
    [
        "", "2", "2/", "/3", "0/3", "3/2", "0/0", "02/3", "2/03", " 2/3", "2/3 ", "2/3\n", "+2/3",
        "2:3", "quorum:", "quorum: 2/3", "Quorum:2/3", "quorum:quorum:2/3", "2/3/4", "1000000/1",
        "\u0662/\u0663", "majority",
    ],
)  # fmt: skip
def test_what_is_no_policy(text: str) -> None:
    assert parse_quorum_policy(text) is None
    tally = verify_quorum_policy(MESSAGE, ROSTER, [claim("alice", MESSAGE)], text)
    assert tally.reason is ThresholdReason.QUORUM_POLICY_MALFORMED


@given(st.integers(1, 999_999), st.integers(1, 999_999))
def test_two_winners_of_an_accepted_policy_share_a_member(needed: int, of: int) -> None:
    policy = parse_quorum_policy(f"quorum:{needed}/{of}")
    if needed > of:
        assert policy is None
        return
    assert policy == QuorumPolicy(needed, of) == parse_quorum_policy(f"{needed}/{of}")
    assert (policy.problem is ThresholdReason.NONE) == (needed + needed > of)


# -- founders ------------------------------------------------------------------------------------


def test_founders_alone_are_counted() -> None:
    roster = [member("alice"), member("bob"), member("carol", None), member("steward", "Founder")]
    claims = [claim(name, MESSAGE) for name in NAMES]
    tally = verify_founder_quorum(MESSAGE, roster, claims, 2)
    assert tally == Tally(ThresholdReason.NONE, 2, 2, ids("alice", "bob"))
    over = verify_founder_quorum(MESSAGE, roster, claims, 3)
    assert over.reason is ThresholdReason.THRESHOLD_EXCEEDS_MEMBERS


def test_members_who_are_no_founders_do_not_make_a_quorum() -> None:
    roster = [member("alice"), member("bob"), member("carol", "member")]
    claims = [claim("alice", MESSAGE), claim("carol", MESSAGE)]
    assert verify_founder_quorum(MESSAGE, roster, claims, 2).reason is ThresholdReason.INSUFFICIENT
    assert verify_threshold_signatures(MESSAGE, roster, claims, 2).is_met


def test_a_policy_states_how_many_founders_there_are() -> None:
    roster = [member("alice"), member("bob"), member("carol"), member("steward", "member")]
    claims = [claim("alice", MESSAGE), claim("bob", MESSAGE)]
    assert verify_quorum_policy(MESSAGE, roster, claims, "quorum:2/3").is_met
    for text in ("2/2", "3/4"):
        tally = verify_quorum_policy(MESSAGE, roster, claims, text)
        assert tally.reason is ThresholdReason.ROSTER_MISMATCH
    few = verify_quorum_policy(MESSAGE, roster, claims[:1], "2/3")
    assert few == Tally(ThresholdReason.INSUFFICIENT, 1, 2, ids("alice"))


def test_a_founder_listed_under_two_names_is_no_two_founders() -> None:
    alias = renamed("alice", "zoe")
    roster = [member("alice"), member("bob"), Member.of(alias.key_id, alias.public, "founder")]
    claims = [claim("alice", MESSAGE), claim("bob", MESSAGE)]
    three = verify_quorum_policy(MESSAGE, roster, claims, "2/3")
    assert three.reason is ThresholdReason.ROSTER_MISMATCH
    assert verify_quorum_policy(MESSAGE, roster, claims, "2/2").is_met


# -- laws ----------------------------------------------------------------------------------------

POOL = [
    *(claim(name, MESSAGE) for name in NAMES),
    *(spoiled(name, spoil) for name in NAMES[:2] for spoil in (wrong_pqc, no_pqc)),
    Claim("stranger", claim("alice", MESSAGE).signature),
]
MEMBERS = [*ROSTER, replace(member("alice"), key_id="other"), member("carol", None)]


@given(st.lists(st.sampled_from(POOL), max_size=6), st.permutations(MEMBERS), st.randoms())
def test_order_and_repetition_never_matter(
    claims: list[Claim], roster: list[Member], random: object
) -> None:
    expected = verify_threshold_signatures(MESSAGE, sorted_members(roster), claims, 2)
    shuffled = [*claims, *claims[:2]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert verify_threshold_signatures(MESSAGE, roster, shuffled, 2) == expected


def sorted_members(roster: list[Member]) -> list[Member]:
    return sorted(roster, key=lambda it: (it.key_id, it.role or ""))


@given(st.sets(st.sampled_from(NAMES)), st.sampled_from(POOL))
def test_another_signature_never_takes_away(names: set[str], extra: Claim) -> None:
    claims = [claim(name, MESSAGE) for name in sorted(names)]
    before = verify_threshold_signatures(MESSAGE, ROSTER, claims, 1)
    after = verify_threshold_signatures(MESSAGE, ROSTER, [*claims, extra], 1)
    assert set(before.signers) <= set(after.signers)
    assert before.signers == tuple(sorted(key(name).key_id for name in names))
