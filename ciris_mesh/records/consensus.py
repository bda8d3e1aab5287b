"""What a roster's `consensus_protocol` asks for.

    founder_only       any one founder
    unanimous          every current member
    majority           more than half of the current members
    quorum:M/N         M of them, counted absolutely: N only records how many there were
    weighted:<text>    decided by a rubric this node does not have
    custom:<text>      decided by a rule this node does not have

The last two parse, so that such a roster can be held, and are never met here. Source:
records-and-protocol.md, section 1.3; the meaning of each word: CEG section 11.7 and 8.1.12.3.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.outcome import Reason

#: A protocol is a line in a roster, not a document.
TEXT_CHARS_MAX: Final = 256

_QUORUM: Final = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})")


class ConsensusForm(StrEnum):
    """The word a protocol begins with."""

    FOUNDER_ONLY = "founder_only"
    UNANIMOUS = "unanimous"
    MAJORITY = "majority"
    QUORUM = "quorum"
    WEIGHTED = "weighted"
    CUSTOM = "custom"


class Electorate(Enum):
    """Whose signatures are counted."""

    MEMBERS = "members"
    FOUNDERS = "founders"


@dataclass(frozen=True, slots=True)
class Requirement:
    """At least `count` of `who` must sign. It may be more than there are: then nobody can."""

    count: int
    who: Electorate


@dataclass(frozen=True, slots=True)
class ConsensusProtocol:
    """A parsed protocol. `needed` and `of` belong to QUORUM, `text` to WEIGHTED and CUSTOM."""

    form: ConsensusForm
    needed: int = 0
    of: int = 0
    text: str = ""

    def __str__(self) -> str:
        match self.form:
            case ConsensusForm.QUORUM:
                return f"quorum:{self.needed}/{self.of}"
            case ConsensusForm.WEIGHTED | ConsensusForm.CUSTOM:
                return f"{self.form.value}:{self.text}"
            case _:
                return self.form.value

    @property
    def is_deadlock_free(self) -> bool:
        """True for a quorum in which two halves cannot both win: the rule for founder quorums."""
        return 2 * self.needed > self.of

    def required(
        self, members: int, founders: int, *, basis: Electorate = Electorate.MEMBERS
    ) -> Requirement | None:
        """How many of whom must sign; None when only a rule elsewhere could tell.

        Args:
            members: how many members are active.
            founders: how many of those are founders.
            basis: FOUNDERS where only founders are counted whatever the protocol says
                (infrastructure communities).
        """
        size = members if basis is Electorate.MEMBERS else founders
        match self.form:
            case ConsensusForm.FOUNDER_ONLY:
                return Requirement(1, Electorate.FOUNDERS)
            case ConsensusForm.UNANIMOUS:
                return Requirement(max(1, size), basis)
            case ConsensusForm.MAJORITY:
                return Requirement(size // 2 + 1, basis)
            case ConsensusForm.QUORUM:
                return Requirement(self.needed, basis)
            case ConsensusForm.WEIGHTED | ConsensusForm.CUSTOM:
                return None

    def is_met(
        self,
        members: Collection[str],
        founders: Collection[str],
        signers: Collection[str],
        *,
        basis: Electorate = Electorate.MEMBERS,
    ) -> bool:
        """True when `signers`, whose signatures were verified, are enough of the right people.

        Key ids throughout. A founder who is no active member does not count, nor does anyone
        twice.
        """
        active = frozenset(members)
        voting = {Electorate.MEMBERS: active, Electorate.FOUNDERS: active & frozenset(founders)}
        requirement = self.required(len(active), len(voting[Electorate.FOUNDERS]), basis=basis)
        if requirement is None:
            return False
        return len(voting[requirement.who] & frozenset(signers)) >= requirement.count


def parse_consensus(text: str) -> ConsensusProtocol:
    """Read a `consensus_protocol` column. `str` of the result is `text` again.

    Raises:
        MalformedRecord: `value_not_allowed`: another word, M = 0 or M > N, a number with leading
            zeros, an empty, over-long or unprintable text.
    """
    word, mark, rest = text.partition(":")
    match word, mark:
        case (("founder_only" | "unanimous" | "majority"), ""):
            return ConsensusProtocol(ConsensusForm(word))
        case "quorum", ":":
            found = _QUORUM.fullmatch(rest)
            if found is not None and int(found[1]) <= int(found[2]):
                return ConsensusProtocol(ConsensusForm.QUORUM, int(found[1]), int(found[2]))
        case (("weighted" | "custom"), ":"):
            if 0 < len(rest) <= TEXT_CHARS_MAX and rest.isprintable():
                return ConsensusProtocol(ConsensusForm(word), text=rest)
        case _:
            pass
    raise MalformedRecord(
        Reason.VALUE_NOT_ALLOWED, f"{text[:40]!r} is no consensus protocol; try quorum:2/3"
    )
