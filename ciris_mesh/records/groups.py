"""Families and communities: their rosters as values, and ids that commit to how they began.

A group's id ends in `-` and 32 characters of lowercase base32 of a digest over its founding record:
everything in it but the id. So nobody can found a group under another's id, whenever their record
arrives and whatever date it bears, and every later roster under that id goes back to one founding
record. This is to groups what self-certifying ids are to keys.

    ciris-mesh/group/v1 ‖ 00 ‖ kind ‖ 00 ‖ JCS(record without its id and row hash)
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records import timestamps
from ciris_mesh.records.canonical import jcs
from ciris_mesh.records.consensus import (
    ConsensusProtocol,
    Electorate,
    parse_consensus,
)
from ciris_mesh.records.envelope import SIGNERS_FIT, Envelope
from ciris_mesh.records.h3cell import H3Cell, location_cell
from ciris_mesh.records.hybrid import key_digest
from ciris_mesh.records.jsontext import JsonNumber, JsonValue, from_plain
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.rows import ROW_HASH_FIELD, as_persisted
from ciris_mesh.records.threshold import FOUNDER_ROLE

GROUP_DOMAIN: Final = b"ciris-mesh/group/v1"
#: 160 bits. A founder may look for two founding records with one digest, to show each to others: of
#: n bits that takes about 2^(n/2) tries, so the 80 bits of a key id would be too few.
DIGEST_CHARS: Final = 32

#: The column that names a group of each kind.
ID_COLUMNS: Final[Mapping[EnvelopeKind, str]] = {
    EnvelopeKind.FAMILY: "family_key_id",
    EnvelopeKind.COMMUNITY: "community_key_id",
}

#: Rosters judged at once, by a few threads; 10 MB if each fills a whole envelope with odd content.
_ROSTERS_AT_HAND: Final = 8

_SUBKIND: Final = "cohort_subkind"
_GEOGRAPHIC: Final = "geographic"
_INFRASTRUCTURE: Final = "infrastructure"
_CONSTRAINT: Final = "geographic_constraint"


@dataclass(frozen=True, slots=True)
class Group:
    """One roster.

    Attributes:
        members: key ids, founders included.
        founders: the members whose role is `founder`.
        is_founding: the id commits to exactly this roster.
        is_entrenched: nobody may change it. Infrastructure communities always are.
        basis: whose signatures count; only founders' in infrastructure communities.
        cell: members of a geographic community live in it.
    """

    kind: EnvelopeKind
    group_id: str
    members: frozenset[str]
    founders: frozenset[str]
    protocol: ConsensusProtocol
    founded_at_ms: int
    is_founding: bool
    is_entrenched: bool
    basis: Electorate
    cell: H3Cell | None

    @property
    def signers_needed(self) -> int:
        """How many must sign what the whole roster decides: its founding, where it founds."""
        asked = self.protocol.required(len(self.members), len(self.founders), basis=self.basis)
        if asked is None:
            return len(self.members) if self.is_founding else 0
        return asked.count

    @property
    def voters(self) -> frozenset[str]:
        """Whose signatures can count when this roster decides."""
        asked = self.protocol.required(len(self.members), len(self.founders), basis=self.basis)
        is_theirs = asked is not None and asked.who is Electorate.FOUNDERS
        return self.founders if is_theirs else self.members

    def is_founded_by(self, signers: Collection[str]) -> bool:
        """True when `signers` may found this group: as its protocol asks, a founder among them.

        Where the protocol is a rule this node does not have, everybody listed must sign.
        """
        if not self.founders & frozenset(signers):
            return False
        if self.protocol.required(1, 1) is None:
            return self.members <= frozenset(signers)
        return self.protocol.is_met(self.members, self.founders, signers, basis=self.basis)

    def may_decide(self, signers: Collection[str], gone: Iterable[str]) -> bool:
        """True when `signers` are enough of those who have not gone to decide for the group.

        Who signs counts as present: whether they had been removed is asked when answers are made.
        """
        left = frozenset(gone) - frozenset(signers)
        members, founders = self.members - left, self.founders - left
        return self.protocol.is_met(members, founders, signers, basis=self.basis)


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """A roster to be read; the same one only as long as it is the same object."""

    envelope: Envelope

    def __hash__(self) -> int:
        return hash(self.envelope.raw)

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, _Asked)
        return self.envelope.record is other.envelope.record


def read_group(envelope: Envelope) -> Group:
    """Read a family or community. Again at once, as its rules do, costs next to nothing.

    Raises:
        MalformedRecord: `consensus_malformed`, `consensus_out_of_reach`, `members_not_unique`,
            `founder_missing` or `group_policy_malformed`.
    """
    return _read(_Asked(envelope))


@lru_cache(_ROSTERS_AT_HAND)
def _read(asked: _Asked) -> Group:
    envelope = asked.envelope
    record = envelope.record
    policy = record.get("policy_blob")
    roster = [member for member in _list(record["members"]) if isinstance(member, dict)]
    ids = [str(member["key_id"]) for member in roster]
    if len(set(map(key_digest, ids))) != len(ids):
        raise MalformedRecord(Reason.MEMBERS_NOT_UNIQUE, "one pair of keys is listed twice")
    founders = frozenset(
        str(member["key_id"]) for member in roster if member.get("role") == FOUNDER_ROLE
    )
    if not founders:
        raise MalformedRecord(Reason.FOUNDER_MISSING, "no member is a founder")
    try:
        protocol = parse_consensus(str(record["consensus_protocol"]))
    except MalformedRecord as error:
        raise MalformedRecord(Reason.CONSENSUS_MALFORMED, error.detail) from None
    is_infrastructure = _is_infrastructure(policy)
    if is_infrastructure and not _is_founder_quorum(protocol, len(founders)):
        raise _bad_policy("infrastructure is decided by a quorum of more than half its founders")
    group = Group(
        kind=envelope.kind,
        group_id=str(record[ID_COLUMNS[envelope.kind]]),
        members=frozenset(ids),
        founders=founders,
        protocol=protocol,
        founded_at_ms=timestamps.to_unix_ms(str(record["founded_at"])),
        is_founding=_is_founding(envelope),
        is_entrenched=is_infrastructure or record.get("consensus_protocol_entrenched") is True,
        basis=Electorate.FOUNDERS if is_infrastructure else Electorate.MEMBERS,
        cell=_cell(policy),
    )
    if group.signers_needed > SIGNERS_FIT:
        detail = f"{group.signers_needed} must sign, and an envelope holds {SIGNERS_FIT}"
        raise MalformedRecord(Reason.CONSENSUS_OUT_OF_REACH, detail)
    return group


def new_group_id(kind: EnvelopeKind, label: str, columns: Mapping[str, Any]) -> str:
    """The id of the group that these columns found, as `author` takes them.

    Args:
        label: what people read before the digest, such as `family-the-smiths`.
        columns: all but the id, plain Python values, times included.
    """
    given = {name: value for name, value in columns.items() if value is not None}
    record = {name: from_plain(value) for name, value in given.items()}
    return f"{label}-{founding_digest(kind, as_persisted(kind, record))}"


def founding_digest(kind: EnvelopeKind, record: Mapping[str, JsonValue]) -> str:
    """What the id of a group founded by this record ends in."""
    left_out = (ID_COLUMNS[kind], ROW_HASH_FIELD)
    content = {name: value for name, value in record.items() if name not in left_out}
    message = b"\0".join((GROUP_DOMAIN, kind.value.encode("ascii"), jcs(content)))
    digest = base64.b32encode(hashlib.sha256(message).digest()).decode("ascii")
    return digest[:DIGEST_CHARS].lower()


def is_group_id(text: str) -> bool:
    """True when the text could be the id of a group: a label, `-`, and the characters of a digest.

    Whether a record is the one it commits to is `Group.is_founding`.
    """
    label, _, digest = text.rpartition("-")
    alphabet = frozenset("abcdefghijklmnopqrstuvwxyz234567")
    return bool(label) and len(digest) == DIGEST_CHARS and set(digest) <= alphabet


def _is_founding(envelope: Envelope) -> bool:
    group_id = str(envelope.record[ID_COLUMNS[envelope.kind]])
    record = as_persisted(envelope.kind, envelope.record)
    return is_group_id(group_id) and group_id.endswith(founding_digest(envelope.kind, record))


def _is_infrastructure(policy: JsonValue) -> bool:
    if policy is None:
        return False
    if not isinstance(policy, dict):
        raise _bad_policy("policy_blob is no object")
    return policy.get(_SUBKIND) == _INFRASTRUCTURE


def _is_founder_quorum(protocol: ConsensusProtocol, founders: int) -> bool:
    return protocol.is_deadlock_free and protocol.of == founders


def _cell(policy: JsonValue) -> H3Cell | None:
    if not isinstance(policy, dict):
        return None
    constraint = policy.get(_CONSTRAINT)
    if policy.get(_SUBKIND) != _GEOGRAPHIC:
        if constraint is not None:
            raise _bad_policy(f"{_CONSTRAINT} belongs to geographic communities")
        return None
    match constraint:
        case {"cell_id": str(cell_id), "cell_resolution": JsonNumber(resolution), **rest} if (
            not rest and resolution.isdecimal()
        ):
            try:
                return location_cell(cell_id, int(resolution))
            except MalformedRecord as error:
                raise _bad_policy(error.detail) from None
        case _:
            raise _bad_policy(f"{_CONSTRAINT} has cell_id and cell_resolution")


def _bad_policy(detail: str) -> MalformedRecord:
    return MalformedRecord(Reason.GROUP_POLICY_MALFORMED, detail)


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []
