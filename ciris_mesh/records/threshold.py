"""M of N over identical bytes: who signed, and was that enough?

The roster and the number needed come from local configuration or from a roster already admitted,
never from the record that is being judged. Source: records-and-protocol.md, sections 3.3 and 3.4.

    zero_threshold               nothing would be enough for it: refused
    threshold_exceeds_members    nobody could reach it
    too_many_signatures          more by members than anybody needs to check
    insufficient                 counted, and not enough

A signature by someone who is not in the roster, or that fails, is passed over and never fatal:
whoever relays a record must not be able to spoil it by adding garbage. (Only an absurd number of
different signatures in members' names is; an envelope can carry one a member.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ciris_mesh.errors import LocalProtocolError
from ciris_mesh.records.envelope import Claim
from ciris_mesh.records.hybrid import HybridPolicy, HybridPublicKey, verify_halves
from ciris_mesh.records.kinds import ED25519_PUBLIC_BYTES, MLDSA65_PUBLIC_BYTES
from ciris_mesh.records.outcome import Reason

FOUNDER_ROLE: Final = "founder"

#: Four times what one envelope may carry: signatures gathered from several copies of a record.
SIGNATURES_MAX: Final = 64

_POLICY: Final = re.compile(r"(?:quorum:)?([1-9][0-9]{0,5})/([1-9][0-9]{0,5})")


class ThresholdReason(StrEnum):
    """Why a set of signatures is not enough; NONE when it is."""

    NONE = ""
    ZERO_THRESHOLD = "zero_threshold"
    THRESHOLD_EXCEEDS_MEMBERS = "threshold_exceeds_members"
    TOO_MANY_SIGNATURES = "too_many_signatures"
    INSUFFICIENT = "insufficient"
    QUORUM_POLICY_MALFORMED = "quorum_policy_malformed"
    DEADLOCK_POLICY = "deadlock_policy"
    ROSTER_MISMATCH = "roster_mismatch"


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of a roster.

    Attributes:
        ed25519: 32 bytes.
        mldsa65: 1952 bytes; None for a member who has no post-quantum key and so never counts
            where hybrid signatures are required.

    Raises:
        LocalProtocolError: a key has another length.
    """

    key_id: str
    ed25519: bytes
    mldsa65: bytes | None
    role: str | None = None

    def __post_init__(self) -> None:
        pqc_bytes = MLDSA65_PUBLIC_BYTES if self.mldsa65 is None else len(self.mldsa65)
        if (len(self.ed25519), pqc_bytes) != (ED25519_PUBLIC_BYTES, MLDSA65_PUBLIC_BYTES):
            raise LocalProtocolError("a member's key halves have 32 and 1952 bytes")

    @classmethod
    def of(cls, key_id: str, public: HybridPublicKey, role: str | None = None) -> Member:
        """The member behind a key of the directory."""
        return cls(key_id, public.ed25519, public.mldsa65, role)


@dataclass(frozen=True, slots=True)
class Tally:
    """What was counted.

    Attributes:
        count: members whose signature stands; 0 when it did not come to counting.
        needed: the threshold asked for.
        signers: those members' key ids, sorted.
    """

    reason: ThresholdReason
    count: int = 0
    needed: int = 0
    signers: tuple[str, ...] = ()

    @property
    def is_met(self) -> bool:
        """True when enough members signed."""
        return self.reason is ThresholdReason.NONE


@dataclass(frozen=True, slots=True)
class QuorumPolicy:
    """`needed` of `of` founders."""

    needed: int
    of: int

    @property
    def problem(self) -> ThresholdReason:
        """DEADLOCK_POLICY unless more than half are needed: two halves could disagree for ever."""
        is_majority = 2 * self.needed > self.of
        return ThresholdReason.NONE if is_majority else ThresholdReason.DEADLOCK_POLICY


def verify_threshold_signatures(
    message: bytes, members: Iterable[Member], signatures: Iterable[Claim], threshold: int
) -> Tally:
    """Count members whose hybrid signature over `message` stands. Both halves, always."""
    return verify_threshold_signatures_with_policy(
        message, members, signatures, threshold, HybridPolicy.REQUIRE_HYBRID
    )


def verify_threshold_signatures_with_policy(
    message: bytes,
    members: Iterable[Member],
    signatures: Iterable[Claim],
    threshold: int,
    policy: HybridPolicy,
) -> Tally:
    """As `verify_threshold_signatures`; ALLOW_CLASSICAL_PENDING is for what stays on this node.

    Under it a member's Ed25519 half is enough, but a post-quantum half that is present must
    verify, so one without a key to check it by does not count. The order of members and of
    signatures never matters.
    """
    roster = distinct_members(members)
    if threshold <= 0:
        return Tally(ThresholdReason.ZERO_THRESHOLD, needed=threshold)
    if threshold > len(roster):
        return Tally(ThresholdReason.THRESHOLD_EXCEEDS_MEMBERS, needed=threshold)
    claims = {claim for claim in signatures if claim.key_id in roster}
    if len(claims) > SIGNATURES_MAX:
        return Tally(ThresholdReason.TOO_MANY_SIGNATURES, needed=threshold)
    signers: set[str] = set()
    for claim in claims:
        member = roster[claim.key_id]
        if member.key_id not in signers and _stands(member, message, claim, policy):
            signers.add(member.key_id)
    reason = ThresholdReason.NONE if len(signers) >= threshold else ThresholdReason.INSUFFICIENT
    return Tally(reason, len(signers), threshold, tuple(sorted(signers)))


def verify_founder_quorum(
    message: bytes, members: Iterable[Member], signatures: Iterable[Claim], threshold: int
) -> Tally:
    """`verify_threshold_signatures` among the members whose role is `founder`."""
    return verify_threshold_signatures(message, founders(members), signatures, threshold)


def verify_quorum_policy(
    message: bytes, members: Iterable[Member], signatures: Iterable[Claim], policy: str
) -> Tally:
    """A founder quorum stated as text, whose N must be the number of founders there are.

    Returns:
        QUORUM_POLICY_MALFORMED, DEADLOCK_POLICY or ROSTER_MISMATCH before anything is counted.
    """
    parsed = parse_quorum_policy(policy)
    if parsed is None:
        return Tally(ThresholdReason.QUORUM_POLICY_MALFORMED)
    if parsed.problem is not ThresholdReason.NONE:
        return Tally(parsed.problem, needed=parsed.needed)
    electorate = founders(members)
    if parsed.of != len(distinct_members(electorate)):
        return Tally(ThresholdReason.ROSTER_MISMATCH, needed=parsed.needed)
    return verify_threshold_signatures(message, electorate, signatures, parsed.needed)


def parse_quorum_policy(text: str) -> QuorumPolicy | None:
    """Read `quorum:M/N` or `M/N`; None when it is neither, or M is 0 or more than N.

    One spelling a number: no leading zeros, no signs, no spaces. Whether the policy could
    deadlock is `QuorumPolicy.problem`.
    """
    found = _POLICY.fullmatch(text)
    if found is None:
        return None
    policy = QuorumPolicy(int(found[1]), int(found[2]))
    return policy if policy.needed <= policy.of else None


def founders(members: Iterable[Member]) -> tuple[Member, ...]:
    """The members whose role is exactly `founder`."""
    return tuple(member for member in members if member.role == FOUNDER_ROLE)


def distinct_members(members: Iterable[Member]) -> dict[str, Member]:
    """The roster as people: key id -> member, each id and each key once.

    An id listed with two different keys is nobody. A key half listed under two ids (the name in
    a self-certifying id is free) is one person, known by the smallest of the ids.
    """
    by_id: dict[str, Member] = {}
    ambiguous: set[str] = set()
    for member in members:
        known = by_id.setdefault(member.key_id, member)
        if (known.ed25519, known.mldsa65) != (member.ed25519, member.mldsa65):
            ambiguous.add(member.key_id)
    taken: set[bytes] = set()
    roster: dict[str, Member] = {}
    for key_id in sorted(by_id.keys() - ambiguous):
        halves = {half for half in (by_id[key_id].ed25519, by_id[key_id].mldsa65) if half}
        if not halves & taken:
            roster[key_id] = by_id[key_id]
        taken |= halves
    return roster


def _stands(member: Member, message: bytes, claim: Claim, policy: HybridPolicy) -> bool:
    reason = verify_halves(member.ed25519, member.mldsa65, message, claim.signature, policy)
    return reason is Reason.NONE
