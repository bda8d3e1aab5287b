"""Which of several valid records counts: pure functions of a set of rows.

Nothing here depends on the order in which rows came, on how often, or on a clock; a chain of
`supersedes` is never followed. Rows are given as plain values; all were admitted, so all are
valid. Times are Unix nanoseconds. Source: records-and-protocol.md, sections 4.2 to 4.4, and
design.md, "Signatures and admission".

    lww_skew_bounded          organizations, memberships: the latest asserted_at
    withdrawal_forward_only   the same, unless any row of the group was ever withdrawn
    monotonic_quorum          partner records: the highest revision, then the stricter status
    revocation_answer         revocations: a set; the earliest valid one counts
    active_members            rosters: joined, and no removal in effect

Ties are broken down to the envelope id, so every order is total.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

#: How far ahead of the receiver's clock a row may say it was made.
SKEW_MS_MAX: Final = 5 * 60 * 1000

#: The closed set of places a revocation can have been observed in, and how many make a quorum.
REGIONS: Final = frozenset({"us", "eu", "apac"})
REGION_QUORUM: Final = 2

#: The stricter wins.
_STATUS_RANK: Final = {"active": 0, "suspended": 1, "revoked": 2}

_NS_PER_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class OperationalRow:
    """An organization or a membership, as merging sees it. One group's rows only.

    Attributes:
        is_final: withdrawn or deactivated; there is no way back.
    """

    envelope_id: bytes
    attestation_id: str
    asserted_at_ns: int
    is_final: bool


@dataclass(frozen=True, slots=True)
class PartnerRow:
    """A partner record, as merging sees it. One license's rows only.

    Raises:
        ValueError: the status is none of active, suspended, revoked.
    """

    envelope_id: bytes
    attestation_id: str
    asserted_at_ns: int
    revision: int
    status: str
    is_withdrawn: bool = False

    def __post_init__(self) -> None:
        if self.status not in _STATUS_RANK:
            raise ValueError(f"{self.status!r} is no status of a partner record")


_Row = TypeVar("_Row", OperationalRow, PartnerRow)


def is_ahead(asserted_at_ns: int, now_ms: int) -> bool:
    """True for a time more than five minutes ahead: such a row waits."""
    return asserted_at_ns > (now_ms + SKEW_MS_MAX) * _NS_PER_MS


def lww_skew_bounded(rows: Iterable[OperationalRow]) -> OperationalRow | None:
    """The row asserted last; of equals the smallest attestation id. None of no rows.

    The bound on skew is admission's (`is_ahead`): here it would make the answer depend on a clock.
    """
    return min(rows, key=lambda row: (-row.asserted_at_ns, *_tie(row)), default=None)


def withdrawal_forward_only(rows: Iterable[OperationalRow]) -> OperationalRow | None:
    """The winning row, or None once any row of the group is withdrawn or deactivated.

    A later active row does not bring the group back.
    """
    known = tuple(rows)
    return None if first_withdrawal(known) is not None else lww_skew_bounded(known)


def first_withdrawal(rows: Iterable[OperationalRow]) -> OperationalRow | None:
    """The earliest withdrawn or deactivated row: why a group resolves to none."""
    finals = (row for row in rows if row.is_final)
    return min(finals, key=lambda row: (row.asserted_at_ns, *_tie(row)), default=None)


def monotonic_quorum(rows: Iterable[PartnerRow]) -> PartnerRow | None:
    """The row that counts for a license.

    Highest revision, then revoked before suspended before active, then the latest asserted_at,
    then the smallest attestation id. None of no rows, and once any row was withdrawn.
    """
    known = tuple(rows)
    if any(row.is_withdrawn for row in known):
        return None
    return min(known, key=_partner_order, default=None)


def _partner_order(row: PartnerRow) -> tuple[int, int, int, str, bytes]:
    return (-row.revision, -_STATUS_RANK[row.status], -row.asserted_at_ns, *_tie(row))


def _tie(row: _Row) -> tuple[str, bytes]:
    return row.attestation_id, row.envelope_id


@dataclass(frozen=True, slots=True)
class RevocationRow:
    """One revocation of the key in question.

    Attributes:
        region: `us`, `eu` or `apac`, as the revocation says.
        content_hash: 32 bytes over the canonical signed bytes.
    """

    revoking_key_id: str
    revoked_at_ns: int
    effective_at_ns: int
    region: str
    content_hash: bytes


@dataclass(frozen=True, slots=True)
class RevocationAnswer:
    """What a key's revocations add up to.

    Attributes:
        effective_from_ns: from when on the key is revoked; None when it is not.
        regions: where valid revocations were observed, sorted; their number is the weight.
        quorum_reached_at_ns: when the second region had seen one; None below the quorum.
            Shown, never decided by: one valid revocation revokes.
        valid: the revocations that count, in the order of `ballot_order`.
        claims: those by somebody who has no say over this key, in the same order.
    """

    effective_from_ns: int | None
    regions: tuple[str, ...]
    quorum_reached_at_ns: int | None
    valid: tuple[RevocationRow, ...]
    claims: tuple[RevocationRow, ...]

    @property
    def weight(self) -> int:
        """0 to 3: regions that observed a valid revocation."""
        return len(self.regions)

    def counts(self, signed_at_ns: int) -> bool:
        """True when something the key signed at that time still counts."""
        return self.effective_from_ns is None or signed_at_ns < self.effective_from_ns


def revocation_answer(
    rows: Iterable[RevocationRow],
    key_id: str,
    ancestors: Collection[str],
    stewards: Collection[str],
) -> RevocationAnswer:
    """Read the revocations of `key_id` as a set: from the earliest valid one, for good.

    Args:
        ancestors: the key ids above it in its rooting chain.
        stewards: key ids from local configuration.
    """
    known = sorted(set(rows), key=ballot_order)
    entitled = {key_id, *ancestors, *stewards}
    valid = tuple(row for row in known if row.revoking_key_id in entitled)
    claims = tuple(row for row in known if row.revoking_key_id not in entitled)
    first_seen: dict[str, int] = {}
    for row in valid:
        if row.region in REGIONS:
            earlier = first_seen.get(row.region, row.revoked_at_ns)
            first_seen[row.region] = min(earlier, row.revoked_at_ns)
    seen = sorted(first_seen.values())
    return RevocationAnswer(
        effective_from_ns=min((row.effective_at_ns for row in valid), default=None),
        regions=tuple(sorted(first_seen)),
        quorum_reached_at_ns=seen[REGION_QUORUM - 1] if len(seen) >= REGION_QUORUM else None,
        valid=valid,
        claims=claims,
    )


def ballot_order(row: RevocationRow) -> tuple[int, bytes, str, int, str]:
    """Sorts the revocation to be shown first to the front: the latest, then the lowest hash.

    The rest makes the order total. Weight, which comes first in the ballot between groups of
    observations, is the same for all of one key's.
    """
    return (
        -row.revoked_at_ns,
        row.content_hash,
        row.revoking_key_id,
        row.effective_at_ns,
        row.region,
    )


@dataclass(frozen=True, slots=True)
class Ballot:
    """One node's account of a revocation: what it has seen and when."""

    weight: int
    signed_at_ns: int
    content_hash: bytes


def better_ballot(one: Ballot, other: Ballot) -> Ballot:
    """The account to keep: more weight, then the later, then the lower content hash."""
    return min(one, other, key=lambda it: (-it.weight, -it.signed_at_ns, it.content_hash))


@dataclass(frozen=True, slots=True)
class MemberRow:
    """An entry of a roster."""

    key_id: str
    joined_at_ns: int
    role: str | None = None


@dataclass(frozen=True, slots=True)
class RemovalRow:
    """A removal from that roster."""

    key_id: str
    effective_at_ns: int


def active_members(
    members: Iterable[MemberRow], removals: Iterable[RemovalRow], at_ns: int
) -> tuple[MemberRow, ...]:
    """Who is a member at `at_ns`: joined by then, and no removal in effect. Sorted.

    A removal is for good: an entry that says it joined afterwards changes nothing. Of several
    entries for one id the earliest counts, without a role where they disagree about it.
    """
    gone = {removal.key_id for removal in removals if removal.effective_at_ns <= at_ns}
    here: dict[str, MemberRow] = {}
    for row in members:
        if row.key_id in gone or row.joined_at_ns > at_ns:
            continue
        known = here.setdefault(row.key_id, row)
        role = row.role if row.role == known.role else None
        here[row.key_id] = MemberRow(row.key_id, min(row.joined_at_ns, known.joined_at_ns), role)
    return tuple(here[key_id] for key_id in sorted(here))
