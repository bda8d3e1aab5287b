"""What is said about a subject, and what of it still stands.

An attestation is current while it is in force and nobody who may took it back (`supersedes`,
`withdraws`, `recants`). A chain of those is never followed: what was taken back stays so, whatever
becomes of what took it back. Of several that refer to one attestation in the same way by the same
attester the latest counts, ties to the smallest id; the others are duplicates.

Anybody may speak about anybody. Where that is more than is read, what is said by keys that are
known here and by the subject itself is told, and that there is more. Source:
records-and-protocol.md, sections 1.3, 4.1 and 4.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ciris_mesh.errors import TooManyRows
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.jsontext import JsonNumber
from ciris_mesh.records.kinds import KINDS
from ciris_mesh.records.names import name, reference_of
from ciris_mesh.records.resolve.base import (
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
)
from ciris_mesh.records.resolve.facts import Judge, known_speakers
from ciris_mesh.records.resolve.view import View

_TOOK_BACK: Final = {
    "supersedes": "superseded",
    "withdraws": "withdrawn",
    "recants": "recanted",
}


@dataclass(frozen=True, slots=True)
class Attested:
    """One attestation.

    Attributes:
        state: current; superseded, withdrawn, recanted, expired, duplicate, not_entitled, or
            undecided where more refers to its id than is read.
        score: as it is written; "" without one.
        ended_by: the envelope id of what took it back or counts in its place.
    """

    record: str
    attestation_id: str
    type: str
    by: str
    about: str
    dimension: str
    score: str
    asserted_at: str
    expires_at: str
    reference: str
    state: str
    ended_by: str


@dataclass(frozen=True, slots=True)
class AttestationsFound:
    """About a subject at that time, each list by time and id.

    Attributes:
        unread: there is more than is read; only what known keys and the subject say is listed.
    """

    current: tuple[Attested, ...]
    past: tuple[Attested, ...]
    unread: bool


def attestations_answer(view: View, subject: str, more: str = "") -> Reply:
    """What is said about this key at that time?"""
    try:
        return _answer(view, subject, [name("about", subject)], unread=False)
    except TooManyRows:
        reply = _known_answer(view.afresh(), subject)
        if reply.status is not Status.ANSWERED:  # that nothing is said would not be true
            raise
        return reply


def _known_answer(view: View, subject: str) -> Reply:
    names = [name("about", subject, by) for by in sorted(known_speakers(view) | {subject})]
    read = [one for one in names if view.reader.some(one) is not None]
    return _answer(view, subject, read, unread=True)


def _answer(view: View, subject: str, names: Sequence[str], *, unread: bool) -> Reply:
    judge = Judge(view)
    records = [it for named in names for it in view.counting(named)]
    made = [it for it in records if made_at_ns(it) <= view.at_ns]
    duplicates = _duplicates(made)
    states = [(it, *_state(view, judge, it, duplicates.get(it.envelope_id))) for it in made]
    reply = _told([_attested(*each) for each in states], unread=unread)
    steps = [*reply.steps, *view.remarks(*names)]
    if len(records) > len(made):
        steps.append(Step(Rule.MADE_LATER, count=len(records) - len(made)))
    if unread:
        steps.append(Step(Rule.STRANGERS_UNREAD))
    is_known = any(map(view.is_known, (*names, name("key", subject))))
    status = reply.status if is_known else Status.UNKNOWN
    return replace(reply, status=status, steps=tuple(steps))


def answer_from(view: View, scores: list[Envelope], takers: list[Envelope]) -> Reply:
    """What these say, if each of the others takes back what its attester said under that id."""
    told = []
    for it in scores:
        taken = (column(it, "attesting_key_id"), column(it, "attestation_id"))
        by = [
            one for one in takers if (column(one, "attesting_key_id"), reference_of(one)) == taken
        ]
        first = min(by, key=lambda one: (made_at_ns(one), one.envelope_id), default=None)
        if first is not None:
            state = _TOOK_BACK[column(first, "attestation_type")]
            told.append(_attested(it, state, record_id(first)))
        else:
            told.append(_attested(it, "expired" if _is_over(view, it) else "current", ""))
    return _told(told, unread=False)


def _told(told: list[Attested], *, unread: bool) -> Reply:
    told.sort(key=lambda it: (it.asserted_at, it.record))
    current = tuple(it for it in told if it.state == "current")
    past = tuple(it for it in told if it.state != "current")
    status = Status.ANSWERED if current else Status.EMPTY
    found = AttestationsFound(current, past, unread)
    return Reply(status, found, tuple(map(_step, (*current, *past))))


def _duplicates(records: Iterable[Envelope]) -> dict[bytes, Envelope]:
    """Envelope id -> the record that counts in its place, by the structural key."""
    best: dict[tuple[str, str, str], Envelope] = {}
    known = sorted(records, key=lambda it: (-made_at_ns(it), it.envelope_id))
    found: dict[bytes, Envelope] = {}
    for it in known:
        reference = reference_of(it)
        key = reference, column(it, "attestation_type"), column(it, "attesting_key_id")
        if reference and best.setdefault(key, it) is not it:
            found[it.envelope_id] = best[key]
    return found


def _attested(record: Envelope, state: str, ended_by: str) -> Attested:
    inner = record.record[KINDS[record.kind].envelope_field or ""]
    said = inner if isinstance(inner, dict) else {}
    dimension, score = said.get("dimension"), said.get("score")
    return Attested(
        record=record_id(record),
        attestation_id=shown(column(record, "attestation_id")),
        type=column(record, "attestation_type"),
        by=column(record, "attesting_key_id"),
        about=column(record, "attested_key_id"),
        dimension=shown(dimension) if isinstance(dimension, str) else "",
        score=shown(score.token) if isinstance(score, JsonNumber) else "",
        asserted_at=own_time(record),
        expires_at=column(record, "expires_at"),
        reference=shown(reference_of(record)),
        state=state,
        ended_by=ended_by,
    )


def _state(view: View, judge: Judge, record: Envelope, instead: Envelope | None) -> tuple[str, str]:
    if view.reader.some(name("reference", column(record, "attestation_id"))) is None:
        return "undecided", ""
    takers = judge.takers(record, view.at_ns)
    if takers:
        first = min(takers, key=lambda it: (made_at_ns(it), it.envelope_id))
        return _TOOK_BACK[column(first, "attestation_type")], record_id(first)
    if instead is not None:
        return "duplicate", record_id(instead)
    if _is_over(view, record):
        return "expired", ""
    if not judge.finding(record).is_fine:
        return "not_entitled", ""
    return "current", ""


def _is_over(view: View, record: Envelope) -> bool:
    expires_ns = column_ns(record, "expires_at")
    return expires_ns is not None and expires_ns <= view.at_ns


def _step(told: Attested) -> Step:
    rule = Rule(f"attestation_{told.state}")
    at = told.expires_at if told.state == "expired" else told.asserted_at
    said = " ".join(filter(None, (told.dimension, told.score and f"= {told.score}")))
    note = " ".join(filter(None, (told.type, said)))
    return Step(rule, about=told.about, by=told.by, at=at, record=told.record, note=note)
