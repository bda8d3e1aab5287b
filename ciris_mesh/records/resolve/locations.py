"""Where is a subject? The latest place that was neither withdrawn nor is over.

Subject and time name a proof, so a withdrawal is a record with the same two and `withdrawn_at`.
Source: records-and-protocol.md, sections 1.3, 4.1 and 4.1a.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.names import name
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
)
from ciris_mesh.records.resolve.facts import Judge
from ciris_mesh.records.resolve.view import View


@dataclass(frozen=True, slots=True)
class Place:
    """One location proof. `cell`: an H3 id of resolution 7 or coarser."""

    cell: str
    asserted_at: str
    valid_until: str
    by: tuple[str, ...]
    record: str


@dataclass(frozen=True, slots=True)
class LocationFound:
    """Where a subject is at that time; None when nobody knows."""

    place: Place | None


def location_answer(view: View, subject: str, more: str = "") -> Reply:
    """Where is this key at that time?"""
    named = name("location", subject)
    judge = Judge(view)
    steps = view.remarks(named)
    made = [it for it in view.counting(named) if made_at_ns(it) <= view.at_ns]
    fine = [it for it in made if judge.finding(it).is_fine]
    steps += [_step(Rule.PLACE_NOT_ENTITLED, it) for it in made if it not in fine]
    reply = answer_from(view, fine)
    is_known = view.is_known(named) or view.is_known(name("key", subject))
    status = reply.status if is_known else Status.UNKNOWN
    return replace(reply, status=status, steps=(*steps, *reply.steps))


def answer_from(view: View, fine: list[Envelope]) -> Reply:
    """The latest of these places that holds at that time."""
    steps: list[Step] = []
    withdrawn = {made_at_ns(it): it for it in fine if _is_over(view, it, "withdrawn_at")}
    found: Envelope | None = None
    for record in sorted(fine, key=lambda it: (-made_at_ns(it), it.envelope_id)):
        if made_at_ns(record) in withdrawn:
            if record is withdrawn[made_at_ns(record)]:
                steps.append(_step(Rule.PLACE_WITHDRAWN, record))
        elif _is_over(view, record, "valid_until"):
            steps.append(_step(Rule.PLACE_OVER, record))
        else:
            found = record
            steps.append(_step(Rule.PLACE, record))
            break
    status = Status.ANSWERED if found is not None else Status.EMPTY
    place = _place(found) if found is not None else None
    return Reply(status, LocationFound(place), tuple(steps))


def _is_over(view: View, record: Envelope, until: str) -> bool:
    until_ns = column_ns(record, until)
    return until_ns is not None and until_ns <= view.at_ns


def _place(record: Envelope) -> Place:
    return Place(
        cell=column(record, "cell_id"),
        asserted_at=own_time(record),
        valid_until=column(record, "valid_until"),
        by=record.signers,
        record=record_id(record),
    )


def _step(rule: Rule, record: Envelope) -> Step:
    by = " ".join(record.signers)
    cell = column(record, "cell_id")
    return Step(rule, about=cell, by=by, at=own_time(record), record=record_id(record))
