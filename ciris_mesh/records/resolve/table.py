"""Every question, and the one way to ask it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

from ciris_mesh.errors import LocalProtocolError, TooManyRows
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.resolve import (
    attestations,
    chains,
    groups,
    keys,
    locations,
    occurrences,
    operations,
)
from ciris_mesh.records.resolve.base import Reply, Rows, Rule, Status, Step, spelled
from ciris_mesh.records.resolve.freshness import Confirmed, Freshness, freshness
from ciris_mesh.records.resolve.pending import Pending, more_restrictive
from ciris_mesh.records.resolve.view import View
from ciris_mesh.records.resolve.vouched import instead
from ciris_mesh.records.rules.base import Trust

#: Grows with the members of Answer; a number scripts can look at.
ANSWER_SCHEMA: Final = 1

#: (view, subject, second subject or "") -> reply.
Ask: TypeAlias = Callable[[View, str, str], Reply]

_K: Final = EnvelopeKind
_KEYS: Final = frozenset({_K.KEY, _K.REVOCATION})


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        kinds: what it is read from; freshness is told of these.
        is_about_key: the subject is a key id, so names people gave to keys are taken for it.
        more: what the second subject is; "" when there is none.
    """

    ask: Ask
    kinds: frozenset[EnvelopeKind]
    is_about_key: bool = True
    more: str = ""


_DEVICES: Final = _KEYS | {_K.IDENTITY_OCCURRENCE, _K.IDENTITY_OCCURRENCE_REVOCATION}
_GROUPS: Final = _DEVICES | {
    _K.FAMILY,
    _K.COMMUNITY,
    _K.FAMILY_MEMBERSHIP_REVOCATION,
    _K.COMMUNITY_MEMBERSHIP_REVOCATION,
}
_ORGANIZATIONS: Final = _KEYS | {_K.ORGANIZATION, _K.ORG_MEMBERSHIP}
_ATTESTATIONS: Final = _KEYS | {_K.ATTESTATION}

QUESTIONS: Final[Mapping[str, Question]] = MappingProxyType(
    {
        "key": Question(keys.key_answer, _KEYS),
        "chain": Question(chains.chain_answer, _KEYS),
        "members": Question(groups.members_answer, _GROUPS, is_about_key=False),
        "occurrences": Question(occurrences.occurrences_answer, _DEVICES),
        "org": Question(operations.organization_answer, _ORGANIZATIONS, is_about_key=False),
        "membership": Question(
            operations.membership_answer, _ORGANIZATIONS, is_about_key=False, more="the member"
        ),
        "partner": Question(
            operations.partner_answer, _KEYS | {_K.PARTNER_RECORD}, is_about_key=False
        ),
        "revoked": Question(keys.revoked_answer, _KEYS),
        "attestations": Question(attestations.attestations_answer, _ATTESTATIONS),
        "location": Question(locations.location_answer, _ATTESTATIONS | {_K.LOCATION_PROOF}),
    }
)

Found: TypeAlias = (
    keys.KeyFound
    | chains.ChainFound
    | keys.RevokedFound
    | groups.MembersFound
    | occurrences.OccurrencesFound
    | operations.WinnerFound
    | attestations.AttestationsFound
    | locations.LocationFound
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is told. `--json` prints exactly this.

    Attributes:
        subject, more: what was asked about.
        as_of: the instant asked about, RFC 3339.
        found: by question; None when the limits were exceeded.
        steps: how the answer came about.
        freshness: how much of what there is can be missing here.
        vouched_by: vouchers on whose word alone it rests, since no record here answers; mostly ().
    """

    schema: int
    question: str
    subject: str
    more: str
    as_of: str
    status: Status
    found: Found | None
    steps: tuple[Step, ...]
    freshness: Freshness
    vouched_by: tuple[str, ...] = ()


def resolve(
    question: str,
    subject: str,
    rows: Rows,
    trust: Trust,
    at_ns: int,
    *,
    more: str = "",
    confirmed: Iterable[Confirmed] = (),
    tau_partial_s: float,
    pending: Sequence[Pending] = (),
) -> Answer:
    """Answer a question. The same rows, trust and instant give the same answer.

    Args:
        subject: a key id, or the id of a group, organization or license; "" with `revoked` asks
            for everybody.
        at_ns: the instant asked about, Unix nanoseconds.
        confirmed: what peers confirmed; empty for a node that is alone.
        pending: removals of which the first half is here; with some of them it is another set.

    Raises:
        LocalProtocolError: there is no such question.
    """
    known = QUESTIONS.get(question)
    if known is None:
        raise LocalProtocolError(f"{question!r} is no question; one of: {', '.join(QUESTIONS)}")

    def ask(of: Rows) -> Reply:
        view = View(of, trust, at_ns)
        return instead(question, view, subject, known.ask(view, subject, more))

    try:
        reply = ask(rows)
        if pending:
            reply = more_restrictive(reply, ask, rows, trust, at_ns, pending)
    except TooManyRows as error:
        reply = Reply(Status.TOO_MANY, None, (Step(Rule.TOO_MANY, note=str(error)),))
    return Answer(
        schema=ANSWER_SCHEMA,
        question=question,
        subject=subject,
        more=more,
        as_of=spelled(at_ns),
        status=reply.status,
        found=reply.found,
        steps=reply.steps,
        freshness=freshness(known.kinds, confirmed, tau_partial_s),
        vouched_by=reply.vouched_by,
    )
