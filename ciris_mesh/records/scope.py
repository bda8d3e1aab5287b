"""Scopes: which part of the federation a node wants, and what two nodes make of their two.

    all           everything
    trust         keys, occurrences, revocations, removals, and what those rely on
    communities   those named, their members, and what records of theirs rely on

Of both nodes' scopes the *common* one is what is in each: nothing else is compared, asked for or
offered, either way. Which records are in a scope follows from what is held (`directory.scoping`),
so two nodes agree on it as far as they hold the same; what one counts in and the other does not is
known to both once it was offered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ciris_mesh.records.kinds import EnvelopeKind

#: Communities in one scope. A node that wants more wants everything.
COMMUNITIES_MAX: Final = 8
#: Of one id: a name, a dash and 32 characters, with room.
COMMUNITY_ID_BYTES_MAX: Final = 128
#: Spelled out, with what separates them.
SCOPE_BYTES_MAX: Final = COMMUNITIES_MAX * (COMMUNITY_ID_BYTES_MAX + 1)
HASH_BYTES: Final = 8

#: A record that ended more than so many days before a view's day is out of it (design.md, "Rounds
#: and views").
DAYS_KEPT: Final = 30

_K: Final = EnvelopeKind
#: Of these kinds `trust` wants every record.
TRUST_KINDS: Final = frozenset(
    {
        _K.KEY,
        _K.REVOCATION,
        _K.IDENTITY_OCCURRENCE,
        _K.IDENTITY_OCCURRENCE_REVOCATION,
        _K.FAMILY_MEMBERSHIP_REVOCATION,
        _K.COMMUNITY_MEMBERSHIP_REVOCATION,
    }
)
#: Of these what it takes to judge removals: the groups' rosters, and where their members live.
TRUST_RELIED_KINDS: Final = frozenset({_K.FAMILY, _K.COMMUNITY, _K.LOCATION_PROOF})
#: What may concern a member of a community, or the community.
COMMUNITY_KINDS: Final = frozenset(
    {
        _K.KEY,
        _K.ATTESTATION,
        _K.REVOCATION,
        _K.IDENTITY_OCCURRENCE,
        _K.COMMUNITY,
        _K.IDENTITY_OCCURRENCE_REVOCATION,
        _K.COMMUNITY_MEMBERSHIP_REVOCATION,
        _K.LOCATION_PROOF,
    }
)


@dataclass(frozen=True, slots=True)
class Scope:
    """A scope. Make one by `communities`, or take `ALL` or `TRUST`.

    Attributes:
        word: "all", "trust" or "communities".
        ids: of the last, the communities' ids, sorted.
    """

    word: str
    ids: tuple[str, ...] = ()

    @property
    def kinds(self) -> frozenset[EnvelopeKind]:
        """Kinds of which anything is in it."""
        match self.word:
            case "trust":
                return TRUST_KINDS | TRUST_RELIED_KINDS
            case "communities":
                return COMMUNITY_KINDS
            case _:
                return frozenset(EnvelopeKind)

    @property
    def whole(self) -> frozenset[EnvelopeKind]:
        """Kinds of which all is in it."""
        match self.word:
            case "trust":
                return TRUST_KINDS
            case "communities":
                return frozenset()
            case _:
                return frozenset(EnvelopeKind)

    @property
    def hash8(self) -> bytes:
        """What a hello says of it (wire/WIRE.md)."""
        spelled = self.word.encode() + (b"\0" + self.spelled if self.ids else b"")
        return hashlib.sha256(spelled).digest()[:HASH_BYTES]

    @property
    def spelled(self) -> bytes:
        """Its communities, as a peer is told them."""
        return b"\0".join(one.encode() for one in self.ids)


ALL: Final = Scope("all")
TRUST: Final = Scope("trust")


def communities(ids: Iterable[str]) -> Scope:
    """The scope of these communities.

    Raises:
        ValueError: none or too many, or an id that no community has.
    """
    ordered = tuple(sorted(set(ids)))
    if not 1 <= len(ordered) <= COMMUNITIES_MAX:
        raise ValueError(f"1 to {COMMUNITIES_MAX} communities")
    if not all(one.isprintable() and 0 < len(one.encode()) <= COMMUNITY_ID_BYTES_MAX
               for one in ordered):  # fmt: skip
        raise ValueError(f"ids are printable, at most {COMMUNITY_ID_BYTES_MAX} bytes")
    return Scope("communities", ordered)


def read_spelled(spelled: bytes) -> Scope:
    """The scope a peer spelled.

    Raises:
        ValueError: it is none, or not in the one spelling.
    """
    scope = communities(spelled.decode().split("\0"))
    if scope.spelled != spelled:
        raise ValueError("communities out of order or twice")
    return scope


@dataclass(frozen=True, slots=True)
class Terms:
    """What two peers agreed to compare.

    Attributes:
        scopes: the partial ones among both nodes' scopes; what is in each is common.
        day: days since 1970, the older of both; 0 when nothing is too old.
    """

    scopes: frozenset[Scope] = frozenset()
    day: int = 0

    @property
    def kinds(self) -> frozenset[EnvelopeKind]:
        """Kinds of which anything is compared."""
        return frozenset(EnvelopeKind).intersection(*(one.kinds for one in self.scopes))

    def takes_whole(self, kind: EnvelopeKind) -> bool:
        """Is all of this kind compared, but for what is too old?"""
        return all(kind in one.whole for one in self.scopes)

    @property
    def first_day(self) -> int:
        """What ended before this day is out."""
        return max(0, self.day - DAYS_KEPT)


def terms_of(ours: Scope, theirs: Scope, day: int) -> Terms:
    """What a node with this scope and one with that compare, as of `day`."""
    return Terms(frozenset({ours, theirs} - {ALL}), day)
