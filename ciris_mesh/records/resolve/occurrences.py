"""Which devices and services does an identity run as?

The identity vouches for an occurrence, or an occurrence that was active then does. The latest word
about one says until when; what the identity itself said last is not outlasted by what occurrences
say. A removal is for good, from its effective time on: by the identity, by the one that goes, or by
another that was active then, which cannot date it back. Records are gone through in the order of
their times; at one time removals come first. Source: records-and-protocol.md, sections 1.3 and
4.1a.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import groupby

from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.kinds import EnvelopeKind
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
    spelled,
)
from ciris_mesh.records.resolve.view import View
from ciris_mesh.records.timestamps import to_unix_ns


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A device or service. `by`: who vouched for it."""

    key_id: str
    device_class: str
    since: str
    until: str
    by: tuple[str, ...]
    record: str


@dataclass(frozen=True, slots=True)
class Gone:
    """Somebody who was removed. `record`: the removal."""

    key_id: str
    since: str
    by: tuple[str, ...]
    record: str


@dataclass(frozen=True, slots=True)
class OccurrencesFound:
    """The active ones at that time, and those removed; sorted by key id."""

    active: tuple[Occurrence, ...]
    removed: tuple[Gone, ...]


@dataclass(frozen=True, slots=True)
class _Removal:
    effective_ns: int
    record: Envelope


@dataclass(slots=True)
class Occurrences:
    """The occurrence records of one identity that stand.

    Attributes:
        standing: occurrence key id -> its records, vouched by somebody who could.
        removals: occurrence key id -> the removal in effect first.
        unvouched: records, of removals too, whose signer was no active occurrence at their time.
    """

    identity: str
    standing: dict[str, list[Envelope]] = field(default_factory=dict)
    removals: dict[str, _Removal] = field(default_factory=dict)
    unvouched: list[Envelope] = field(default_factory=list)

    def is_active(self, key_id: str, at_ns: int) -> bool:
        """True when the key was an occurrence of the identity at that time."""
        return self.record_at(key_id, at_ns) is not None

    def record_at(self, key_id: str, at_ns: int) -> Envelope | None:
        """The latest word by which it was; of equals the one that ends first."""
        removal = self.removals.get(key_id)
        if removal is not None and removal.effective_ns <= at_ns:
            return None
        made = [it for it in self.standing.get(key_id, ()) if made_at_ns(it) <= at_ns]
        latest = _latest(made)
        own = _latest(it for it in made if self.identity in it.signers)
        is_over = any(it is not None and _ends_by(it, at_ns) for it in (latest, own))
        return None if is_over else latest

    def vouches(self, signers: tuple[str, ...], at_ns: int) -> bool:
        """True when a signer is the identity, or was one of its occurrences then."""
        return any(it == self.identity or self.is_active(it, at_ns) for it in signers)


def occurrences_of(view: View, identity: str) -> Occurrences:
    """Read them. Whoever vouches was vouched for before: the least set that holds itself up."""
    found = Occurrences(identity)
    others: list[Envelope] = []
    for record in view.counting(name("occurrences", identity)):
        going = {identity, column(record, "occurrence_key_id")}
        if _is_removal(record) and not going.isdisjoint(record.signers):
            _note_removal(found, record, column_ns(record, "effective_at") or 0)
        else:
            others.append(record)
    others.sort(key=lambda it: (made_at_ns(it), it.envelope_id))
    for at_ns, at_once in groupby(others, key=made_at_ns):
        _take(found, list(at_once), at_ns)
    return found


def _take(found: Occurrences, records: list[Envelope], at_ns: int) -> None:
    """Records of one time, of which the order says nothing."""
    removals = [it for it in records if _is_removal(it)]
    standing = [it for it in removals if found.vouches(it.signers, at_ns)]
    for removal in standing:
        _note_removal(found, removal, max(at_ns, column_ns(removal, "effective_at") or 0))
    found.unvouched += [it for it in removals if it not in standing]
    waiting = [it for it in records if not _is_removal(it)]
    progress = True
    while progress:
        now = [it for it in waiting if found.vouches(it.signers, at_ns)]
        waiting = [it for it in waiting if it not in now]
        for record in now:
            found.standing.setdefault(column(record, "occurrence_key_id"), []).append(record)
        progress = bool(now)
    found.unvouched += waiting


def occurrences_answer(view: View, identity: str, more: str = "") -> Reply:
    """The active occurrences of an identity at that time."""
    named = name("occurrences", identity)
    found = occurrences_of(view, identity)
    reply = answer_from(view, found)
    steps = (*reply.steps, *view.remarks(named), *map(_unvouched, found.unvouched[:SHOWN_MAX]))
    is_known = view.is_known(named) or view.is_known(name("key", identity))
    return replace(reply, status=reply.status if is_known else Status.UNKNOWN, steps=steps)


def answer_from(view: View, found: Occurrences) -> Reply:
    """Which of these are active at that time."""
    active: list[Occurrence] = []
    steps: list[Step] = []
    for key_id in sorted(found.standing):
        record = found.record_at(key_id, view.at_ns)
        if record is not None:
            active.append(_occurrence(found, record, view.at_ns))
            by, at, until = " ".join(record.signers), own_time(record), active[-1].until
            steps.append(Step(Rule.OCCURRENCE, key_id, by, at, record_id(record), note=until))
        elif key_id not in found.removals:
            steps.append(Step(Rule.OCCURRENCE_NOT_IN_FORCE, key_id))
    removed = [_gone(it, key_id) for key_id, it in sorted(found.removals.items())]
    for it in removed:
        is_due = found.removals[it.key_id].effective_ns <= view.at_ns
        rule = Rule.OCCURRENCE_REMOVED if is_due else Rule.OCCURRENCE_REMOVED_LATER
        steps.append(Step(rule, it.key_id, " ".join(it.by), it.since, it.record))
    status = Status.ANSWERED if active else Status.EMPTY
    return Reply(status, OccurrencesFound(tuple(active), tuple(removed)), tuple(steps))


def _is_removal(record: Envelope) -> bool:
    return record.kind is not EnvelopeKind.IDENTITY_OCCURRENCE


def note_removal(found: Occurrences, removal: Envelope) -> None:
    """This removal counts; of several the one in effect first."""
    _note_removal(found, removal, column_ns(removal, "effective_at") or 0)


def _note_removal(found: Occurrences, removal: Envelope, effective_ns: int) -> None:
    key_id, noted = column(removal, "occurrence_key_id"), _Removal(effective_ns, removal)
    known = found.removals.get(key_id, noted)
    found.removals[key_id] = min(
        known, noted, key=lambda it: (it.effective_ns, it.record.envelope_id)
    )


def _latest(records: Iterable[Envelope]) -> Envelope | None:
    def order(record: Envelope) -> tuple[int, bool, int, bytes]:
        until_ns = column_ns(record, "valid_until")
        return -made_at_ns(record), until_ns is None, until_ns or 0, record.envelope_id

    return min(records, key=order, default=None)


def _ends_by(record: Envelope, at_ns: int) -> bool:
    until_ns = column_ns(record, "valid_until")
    return until_ns is not None and until_ns <= at_ns


def _occurrence(found: Occurrences, record: Envelope, at_ns: int) -> Occurrence:
    key_id = column(record, "occurrence_key_id")
    made = (it for it in found.standing[key_id] if made_at_ns(it) <= at_ns)
    own = _latest(it for it in made if found.identity in it.signers)
    ends = [column(it, "valid_until") for it in (record, own) if it is not None]
    return Occurrence(
        key_id=key_id,
        device_class=column(record, "device_class"),
        since=column(record, "asserted_at"),
        until=min(filter(None, ends), key=to_unix_ns, default=""),
        by=record.signers,
        record=record_id(record),
    )


def _gone(removal: _Removal, key_id: str) -> Gone:
    return Gone(
        key_id, spelled(removal.effective_ns), removal.record.signers, record_id(removal.record)
    )


def _unvouched(record: Envelope) -> Step:
    removal = Rule.OCCURRENCE_REMOVAL_UNVOUCHED
    rule = removal if _is_removal(record) else Rule.OCCURRENCE_UNVOUCHED
    by, at = record.signers[0], own_time(record)
    return Step(rule, column(record, "occurrence_key_id"), by, at, record_id(record))
