"""Which devices and services does an identity run as?

The identity vouches for an occurrence, or an occurrence that was active then does. A removal is for
good, from its effective time on. Source: records-and-protocol.md, sections 1.3 and 4.1a.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

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
)
from ciris_mesh.records.resolve.view import View


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


@dataclass(slots=True)
class Occurrences:
    """The occurrence records of one identity that stand.

    Attributes:
        standing: occurrence key id -> its records, vouched by somebody who could.
        removals: occurrence key id -> the removal in effect first.
        unvouched: records whose voucher was no active occurrence when they were made.
    """

    identity: str
    standing: dict[str, list[Envelope]] = field(default_factory=dict)
    removals: dict[str, Envelope] = field(default_factory=dict)
    unvouched: list[Envelope] = field(default_factory=list)

    def is_active(self, key_id: str, at_ns: int) -> bool:
        """True when the key was an occurrence of the identity at that time."""
        return self.record_at(key_id, at_ns) is not None

    def record_at(self, key_id: str, at_ns: int) -> Envelope | None:
        """The latest record by which it was; of equals the one with the smallest id."""
        removal = self.removals.get(key_id)
        if removal is not None and _effective_ns(removal) <= at_ns:
            return None
        found = [it for it in self.standing.get(key_id, ()) if _is_in_force(it, at_ns)]
        return min(found, key=lambda it: (-made_at_ns(it), it.envelope_id), default=None)

    def vouches(self, signers: tuple[str, ...], at_ns: int) -> bool:
        """True when a signer is the identity, or was one of its occurrences then."""
        return any(it == self.identity or self.is_active(it, at_ns) for it in signers)


def occurrences_of(view: View, identity: str) -> Occurrences:
    """Read them. Whoever vouches was vouched for before: the least set that holds itself up."""
    found = Occurrences(identity)
    waiting: list[Envelope] = []
    for record in view.counting(name("occurrences", identity)):
        if record.kind is EnvelopeKind.IDENTITY_OCCURRENCE:
            waiting.append(record)
        elif not {identity, column(record, "occurrence_key_id")}.isdisjoint(record.signers):
            note_removal(found, record)
    progress = True
    while progress:
        now = [it for it in waiting if found.vouches(it.signers, made_at_ns(it))]
        waiting = [it for it in waiting if it not in now]
        for record in now:
            found.standing.setdefault(column(record, "occurrence_key_id"), []).append(record)
        progress = bool(now)
    found.unvouched = waiting
    return found


def occurrences_answer(view: View, identity: str, more: str = "") -> Reply:
    """The active occurrences of an identity at that time."""
    named = name("occurrences", identity)
    found = occurrences_of(view, identity)
    reply = answer_from(view, found)
    unvouched = (
        Step(Rule.OCCURRENCE_UNVOUCHED, column(it, "occurrence_key_id"), it.signers[0],
             own_time(it), record_id(it))
        for it in found.unvouched[:SHOWN_MAX]
    )  # fmt: skip
    steps = (*reply.steps, *view.remarks(named), *unvouched)
    is_known = view.is_known(named) or view.is_known(name("key", identity))
    return replace(reply, status=reply.status if is_known else Status.UNKNOWN, steps=steps)


def answer_from(view: View, found: Occurrences) -> Reply:
    """Which of these are active at that time."""
    active: list[Occurrence] = []
    steps: list[Step] = []
    for key_id in sorted(found.standing):
        record = found.record_at(key_id, view.at_ns)
        if record is not None:
            active.append(_occurrence(record))
            by, at = " ".join(record.signers), own_time(record)
            steps.append(Step(Rule.OCCURRENCE, key_id, by, at, record_id(record)))
        elif key_id not in found.removals:
            steps.append(Step(Rule.OCCURRENCE_NOT_IN_FORCE, key_id))
    removed = [_gone(it, key_id) for key_id, it in sorted(found.removals.items())]
    for it in removed:
        is_due = _effective_ns(found.removals[it.key_id]) <= view.at_ns
        rule = Rule.OCCURRENCE_REMOVED if is_due else Rule.OCCURRENCE_REMOVED_LATER
        steps.append(Step(rule, it.key_id, " ".join(it.by), it.since, it.record))
    status = Status.ANSWERED if active else Status.EMPTY
    return Reply(status, OccurrencesFound(tuple(active), tuple(removed)), tuple(steps))


def note_removal(found: Occurrences, removal: Envelope) -> None:
    """This removal counts; of several the one in effect first."""
    key_id = column(removal, "occurrence_key_id")
    known = found.removals.get(key_id, removal)
    found.removals[key_id] = min(known, removal, key=lambda it: (_effective_ns(it), it.envelope_id))


def _effective_ns(removal: Envelope) -> int:
    return column_ns(removal, "effective_at") or 0


def _is_in_force(record: Envelope, at_ns: int) -> bool:
    until_ns = column_ns(record, "valid_until")
    return made_at_ns(record) <= at_ns and (until_ns is None or at_ns < until_ns)


def _occurrence(record: Envelope) -> Occurrence:
    return Occurrence(
        key_id=column(record, "occurrence_key_id"),
        device_class=column(record, "device_class"),
        since=column(record, "asserted_at"),
        until=column(record, "valid_until"),
        by=record.signers,
        record=record_id(record),
    )


def _gone(removal: Envelope, key_id: str) -> Gone:
    return Gone(key_id, column(removal, "effective_at"), removal.signers, record_id(removal))
