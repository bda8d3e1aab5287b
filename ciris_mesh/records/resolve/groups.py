"""Who is an active member of a family or community?

The group's records are gone through in the order of their times, as if each had been decided then:

    founding     the roster the group's id commits to, founded by signers that count
    removal      by the removed or one of its occurrences, or decided by the roster in force
    new roster   decided by the roster in force; of several at one time the smallest id

Who was removed by then neither signs nor is counted. A removal is for good. Of things at one time
the founding comes first, then removals, then rosters, each by id. Source: records-and-protocol.md,
sections 1.3, 4.1a and 4.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.groups import Group, read_group
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.merge import MemberRow, RemovalRow, active_members
from ciris_mesh.records.names import name
from ciris_mesh.records.resolve.base import (
    SHOWN_MAX,
    Reply,
    Rule,
    Status,
    Step,
    column,
    column_ns,
    made_at_ns,
    own_time,
    record_id,
    shown,
    spelled,
)
from ciris_mesh.records.resolve.occurrences import Gone, Occurrences, occurrences_of
from ciris_mesh.records.resolve.view import View
from ciris_mesh.records.timestamps import to_unix_ns

GROUP_KINDS = (EnvelopeKind.FAMILY, EnvelopeKind.COMMUNITY)


@dataclass(frozen=True, slots=True)
class ActiveMember:
    """A member. `is_revoked`: its key was revoked by the time asked about; it stays a member."""

    key_id: str
    joined_at: str
    role: str
    is_revoked: bool


@dataclass(frozen=True, slots=True)
class MembersFound:
    """About a group at that time.

    Attributes:
        kind: family or community; "" when there is none.
        roster: the record in force.
        superseded: rosters that are not in force any more.
    """

    kind: str
    group_name: str
    protocol: str
    roster: str
    members: tuple[ActiveMember, ...]
    removed: tuple[Gone, ...]
    superseded: tuple[str, ...]


@dataclass(slots=True)
class _History:
    """A group as it was decided, up to some time."""

    roster: Envelope | None = None
    group: Group | None = None
    removals: list[Envelope] = field(default_factory=list)
    past: list[Envelope] = field(default_factory=list)
    listed: set[str] = field(default_factory=set)
    steps: list[Step] = field(default_factory=list)

    def gone(self, at_ns: int) -> frozenset[str]:
        """Who was removed by then."""
        return frozenset(_removed(it) for it in self.removals if _effective_ns(it) <= at_ns)

    def decides(self, signers: Iterable[str], at_ns: int) -> bool:
        """True when these are enough of the members who had not gone."""
        gone = self.gone(at_ns)
        return self.group is not None and self.group.may_decide(frozenset(signers) - gone, gone)

    def take(self, roster: Envelope, group: Group) -> None:
        """This roster is in force from now on."""
        if self.roster is not None:
            self.past.append(self.roster)
        self.roster, self.group = roster, group
        self.listed |= group.members


def members_answer(view: View, group_id: str, more: str = "") -> Reply:
    """The active members of a family or community at that time."""
    names = [name(kind.value, group_id) for kind in GROUP_KINDS]
    if not any(view.is_known(one) for one in names):
        return Reply(Status.UNKNOWN, _found(view, _History()))
    records = [record for one in names for record in view.counting(one)]
    history = _history(view, records)
    steps = [step for one in names for step in view.remarks(one)] + history.steps
    if history.roster is None:
        return Reply(Status.UNKNOWN, _found(view, history), tuple(steps))
    return _told(_found(view, history), steps)


def answer_from(view: View, roster: Envelope, removals: list[Envelope]) -> Reply:
    """Who is in the group if this is its roster, and these removals count."""
    return _told(_found(view, _History(roster, removals=removals)), [])


def _told(found: MembersFound, steps: Iterable[Step]) -> Reply:
    active = [
        Step(Rule.MEMBER_ACTIVE, it.key_id, at=it.joined_at, note="revoked" * it.is_revoked)
        for it in found.members
    ]
    status = Status.ANSWERED if found.members else Status.EMPTY
    return Reply(status, found, (*active, *steps))


def _history(view: View, records: Iterable[Envelope]) -> _History:
    history = _History()
    devices: dict[str, Occurrences] = {}
    for record, group in sorted(_events(records), key=_event_order):
        if made_at_ns(record) > view.at_ns:
            continue
        if group is not None:
            _new_roster(history, record, group)
            continue
        removed = _removed(record)
        if removed not in devices:
            devices[removed] = occurrences_of(view, removed)
        _removal(history, record, devices[removed])
    if history.roster is None:
        history.steps.append(Step(Rule.FOUNDING_MISSING))
    return history


_Event = tuple[Envelope, Group | None]


def _events(records: Iterable[Envelope]) -> Iterator[_Event]:
    for record in records:
        if record.kind not in GROUP_KINDS:
            yield record, None
            continue
        with suppress(MalformedRecord):  # a row from before there were rules decides nothing
            yield record, read_group(record)


def _event_order(event: _Event) -> tuple[int, int, bytes]:
    record, group = event
    rank = 1 if group is None else 0 if group.is_founding else 2
    return made_at_ns(record), rank, record.envelope_id


def _new_roster(history: _History, record: Envelope, group: Group) -> None:
    current = history.group
    if current is None:
        if group.is_founding and group.is_founded_by(record.signers):
            history.take(record, group)
            history.steps.append(_step(Rule.FOUNDED, record, note=str(group.protocol)))
        else:
            history.steps.append(_step(Rule.ROSTER_BEFORE_FOUNDING, record))
    elif current.is_entrenched:
        history.steps.append(_step(Rule.ROSTER_ENTRENCHED, record))
    elif group.founded_at_ms == current.founded_at_ms:
        history.past.append(record)
        history.steps.append(_step(Rule.ROSTER_TIE, record))
    elif history.decides(record.signers, made_at_ns(record)):
        history.take(record, group)
        history.steps.append(_step(Rule.ROSTER_CHANGED, record, note=str(group.protocol)))
    else:
        history.past.append(record)
        history.steps.append(_step(Rule.ROSTER_NOT_DECIDED, record))


def _removal(history: _History, record: Envelope, devices: Occurrences) -> None:
    removed, at_ns = _removed(record), made_at_ns(record)
    if removed not in history.listed:
        rule = Rule.REMOVAL_OF_NOBODY
    elif devices.vouches(record.signers, at_ns):
        rule = Rule.MEMBER_LEFT
    elif history.decides(record.signers, at_ns):
        rule = Rule.MEMBER_REMOVED
    else:
        rule = Rule.REMOVAL_NOT_DECIDED
    if rule in (Rule.MEMBER_LEFT, Rule.MEMBER_REMOVED):
        history.removals.append(record)
    step = _step(rule, record, about=removed)
    history.steps.append(step)


def _step(rule: Rule, record: Envelope, *, about: str = "", note: str = "") -> Step:
    by = " ".join(record.signers)
    at = column(record, "effective_at") or own_time(record)
    return Step(rule, about, by, at, record_id(record), note=note)


def _found(view: View, history: _History) -> MembersFound:
    roster, group = history.roster, history.group
    if roster is None:
        return MembersFound("", "", "", "", (), (), ())
    gone = {_removed(it) for it in history.removals}
    removals = [RemovalRow(_removed(it), _effective_ns(it)) for it in history.removals]
    members = [
        ActiveMember(it.key_id, spelled(it.joined_at_ns), it.role or "", _is_revoked(view, it))
        for it in active_members(_member_rows(roster), removals, view.at_ns)
    ]
    firsts = [_first_removal(history.removals, key_id) for key_id in sorted(gone)]
    return MembersFound(
        kind=roster.kind.value,
        group_name=shown(column(roster, f"{roster.kind.value}_name")),
        protocol=str(group.protocol) if group is not None else "",
        roster=record_id(roster),
        members=tuple(members),
        removed=tuple(_gone(it) for it in firsts),
        superseded=tuple(sorted(map(record_id, history.past)))[:SHOWN_MAX],
    )


def _first_removal(removals: Iterable[Envelope], key_id: str) -> Envelope:
    mine = [it for it in removals if _removed(it) == key_id]
    return min(mine, key=lambda it: (_effective_ns(it), it.envelope_id))


def _gone(removal: Envelope) -> Gone:
    at = column(removal, "effective_at")
    return Gone(_removed(removal), at, removal.signers, record_id(removal))


def _member_rows(roster: Envelope) -> list[MemberRow]:
    rows: list[MemberRow] = []
    listed = roster.record["members"]
    for entry in listed if isinstance(listed, list) else ():
        with suppress(ValueError, KeyError):
            if isinstance(entry, dict):
                role = entry.get("role")
                joined_ns = to_unix_ns(str(entry["joined_at"]))
                text = role if isinstance(role, str) else None
                rows.append(MemberRow(str(entry["key_id"]), joined_ns, text))
    return rows


def _is_revoked(view: View, member: MemberRow) -> bool:
    return not view.revocations.counts(member.key_id, view.at_ns)


def _removed(removal: Envelope) -> str:
    return column(removal, "removed_identity_key_id")


def _effective_ns(removal: Envelope) -> int:
    return column_ns(removal, "effective_at") or 0
