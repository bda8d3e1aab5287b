"""What bridged rows count for, where a voucher of the configuration named them: last of all.

A vouched row proves nothing by itself, so it never stands beside what does. It is read only where
the federation shelf has no record at all under the name asked about, for the questions below, and
never on the way to a root, to an organization or to a license: those are not among them. It counts
while

    the configuration lists the voucher     the voucher's own key is valid at the time asked about
    the vouch was made by then              nobody who may took it back, and it has not expired

Nothing is made of a key that says it is a steward, of delegations, or of reserved dimensions. A
vouch names an id, so what the id does not cover is read of no row: who brought it could have put
there what he liked. Source: design.md, "Vouching".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from types import MappingProxyType
from typing import Final, TypeAlias

from ciris_mesh.errors import TooManyRows
from ciris_mesh.records.cosigning import is_cosigned
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.kinds import REMOVALS, EnvelopeKind
from ciris_mesh.records.names import name
from ciris_mesh.records.provenance import STEWARD_TYPE, identity_types
from ciris_mesh.records.resolve import attestations, groups, keys, locations, occurrences
from ciris_mesh.records.resolve.base import (
    ROWS_PER_NAME_MAX,
    SHOWN_MAX,
    Reply,
    Row,
    Rule,
    Status,
    Step,
    column,
    column_ns,
    made_at_ns,
    own_time,
    record_id,
    signed_at_ns,
)
from ciris_mesh.records.resolve.facts import TAKING, Judge
from ciris_mesh.records.resolve.view import View
from ciris_mesh.records.rules.attestations import reserved_for
from ciris_mesh.records.rules.base import signed_members
from ciris_mesh.records.tokens import bridged_token
from ciris_mesh.records.vouches import VOUCHABLE, vouch_of

#: (view, subject, vouched rows, where to find more) -> reply; None: nothing can be made of them.
_Read: TypeAlias = Callable[[View, str, list[Envelope], "_Vouched"], Reply | None]


#: References to one vouch that are read. Honest ones are few, but an id is free text: whoever can
#: get records in may refer to it, 3 kB each, and must not end what other vouches answer.
REFERENCES_MAX: Final = ROWS_PER_NAME_MAX


@dataclass(frozen=True, slots=True)
class _Question:
    """One question that vouched rows may answer: by which words its rows are named, and how."""

    words: tuple[str, ...]
    read: _Read


def instead(question: str, view: View, subject: str, reply: Reply) -> Reply:
    """The reply, or what vouched rows say where the federation shelf says nothing."""
    known = _QUESTIONS.get(question)
    if known is None or not view.trust.vouchers or reply.status not in _NOTHING:
        return reply
    try:
        names = [name(word, subject) for word in known.words]
        if any(view.reader.signers(one, 1) for one in names):
            return reply
        rows = [row for one in names for row in view.reader.vouched(one)]
        vouched = _Vouched(view)
        read = vouched.among(rows)
        said = known.read(view, subject, read, vouched) if read else None
    except TooManyRows:  # it is no worse than before there were vouchers
        return reply
    if said is None:
        return reply
    steps = [_step(it, vouched.vouches[it.envelope_id]) for it in read[:SHOWN_MAX]]
    vouches = vouched.vouches.values()
    by = tuple(sorted({column(vouch, "attesting_key_id") for vouch in vouches}))
    return replace(said, steps=(*steps, *said.steps), vouched_by=by)


#: The federation shelf says nothing, or nothing any more.
_NOTHING: Final = frozenset({Status.UNKNOWN, Status.EMPTY})


class _Vouched:
    """Finds the rows that count, each with its vouch: of several the one with the smallest id.

    Attributes:
        vouches: envelope id of each row that was found -> the vouch.
    """

    def __init__(self, view: View) -> None:
        self.vouches: dict[bytes, Envelope] = {}
        self._view = view
        self._judge = Judge(view)
        self._valid: dict[str, bool] = {}

    def among(self, rows: Iterable[Row]) -> list[Envelope]:
        """Those of these rows that somebody vouches for whose word counts now.

        Without those dated later, and those by a key that was revoked before.
        """
        return [it for it in (_as_vouched(row.envelope) for row in rows) if self._has(it)]

    def _has(self, row: Envelope) -> bool:
        counts, signed_ns = self._view.revocations.counts, signed_at_ns(row)
        if row.kind not in VOUCHABLE or made_at_ns(row) > self._view.at_ns:
            return False
        if not all(counts(signer, signed_ns) for signer in row.signers):
            return False
        found = (self._by(voucher, row) for voucher in sorted(self._view.trust.vouchers))
        vouch = min(chain.from_iterable(found), key=lambda it: it.envelope_id, default=None)
        if vouch is not None:
            self.vouches[row.envelope_id] = vouch
        return vouch is not None

    def _by(self, voucher: str, row: Envelope) -> list[Envelope]:
        token = bridged_token(voucher, row.kind, row.envelope_id)
        return [
            vouch
            for vouch in self._view.counting(token)
            if self._is_valid(voucher) and self._stands(vouch, row)
        ]

    def _is_valid(self, voucher: str) -> bool:
        """A vouch lapses with the voucher, also one made while its key was valid."""
        if voucher not in self._valid:
            status = keys.key_answer(self._view, voucher).status
            self._valid[voucher] = status is Status.VALID
        return self._valid[voucher]

    def _stands(self, vouch: Envelope, row: Envelope) -> bool:
        """Where a flood refers to the vouch nobody can tell whether it was taken back.

        Then the worse is taken: what gives does not count, and what takes away does.
        """
        at_ns, until_ns = self._view.at_ns, column_ns(vouch, "expires_at")
        if made_at_ns(vouch) > at_ns or (until_ns is not None and until_ns <= at_ns):
            return False
        referring = name("reference", column(vouch, "attestation_id"))
        if len(self._view.reader.signers(referring, REFERENCES_MAX + 1)) > REFERENCES_MAX:
            return _takes_away(row)
        return not self._judge.takers(vouch, at_ns)


def _as_vouched(row: Envelope) -> Envelope:
    """What its id covers: columns in their normal spelling, and of kinds 4 to 10 no signers.

    Signatures of a bridged row were not verified, and the same id comes with others.
    """
    claims = () if is_cosigned(row.kind) else row.claims
    return replace(row, record=row.row, claims=claims)


def _takes_away(row: Envelope) -> bool:
    is_taking = row.kind is EnvelopeKind.ATTESTATION and column(row, "attestation_type") in TAKING
    return row.kind in REMOVALS or is_taking


def _step(row: Envelope, vouch: Envelope) -> Step:
    said = vouch_of(vouch)
    registry = said.registry if said is not None else ""
    by, about = column(vouch, "attesting_key_id"), record_id(row)
    return Step(Rule.VOUCHED_FOR, about[:12], by, own_time(vouch), record_id(vouch), note=registry)


# -- what is made of them --------------------------------------------------------------------------


def _key(view: View, key_id: str, rows: list[Envelope], vouched: _Vouched) -> Reply | None:
    """The rules of keys, but for who signed; any vouched revocation revokes."""
    if any(STEWARD_TYPE in identity_types(column(it, "identity_type")) for it in rows):
        return None
    reply = keys.answer_from(view, key_id, rows)
    said = vouched.among(view.reader.vouched(name("revoked", key_id)))
    due = [it for it in said if (column_ns(it, "effective_at") or 0) <= view.at_ns]
    if not due:
        return reply
    first = min(due, key=lambda it: (column_ns(it, "effective_at") or 0, it.envelope_id))
    by, at = column(first, "revoking_key_id"), column(first, "effective_at")
    step = Step(Rule.REVOKED_BY, key_id, by, at, record_id(first), note="vouched")
    return Reply(Status.REVOKED, replace(reply.found, revoked_from=at), (*reply.steps, step))


def _members(view: View, group_id: str, rows: list[Envelope], _: _Vouched) -> Reply | None:
    """The latest roster, without whom a removal names."""
    rosters = [it for it in rows if it.kind in groups.GROUP_KINDS]
    if not rosters:
        return None
    roster = min(rosters, key=lambda it: (-made_at_ns(it), it.envelope_id))
    return groups.answer_from(view, roster, [it for it in rows if it not in rosters])


def _occurrences(view: View, identity: str, rows: list[Envelope], _: _Vouched) -> Reply | None:
    found = occurrences.Occurrences(identity)
    for it in rows:
        if it.kind is EnvelopeKind.IDENTITY_OCCURRENCE:
            found.standing.setdefault(column(it, "occurrence_key_id"), []).append(it)
        else:
            occurrences.note_removal(found, it)
    return occurrences.answer_from(view, found)


def _attestations(view: View, _: str, rows: list[Envelope], vouched: _Vouched) -> Reply | None:
    """Scores only, and of no reserved dimension; less what a vouched record takes back."""
    scores = [
        it
        for it in rows
        if column(it, "attestation_type") == "scores"
        and reserved_for(signed_members(it).get("dimension")) is None
    ]
    if not scores:
        return None
    referring = (
        view.reader.vouched(name("reference", column(it, "attestation_id"))) for it in scores
    )
    takers = [it for named in referring for it in vouched.among(named)]
    return attestations.answer_from(
        view, scores, [it for it in takers if column(it, "attestation_type") in TAKING]
    )


def _location(view: View, _: str, rows: list[Envelope], __: _Vouched) -> Reply | None:
    return locations.answer_from(view, rows)


_QUESTIONS: Final[Mapping[str, _Question]] = MappingProxyType(
    {
        "key": _Question(("key",), _key),
        "members": _Question(("family", "community"), _members),
        "occurrences": _Question(("occurrences",), _occurrences),
        "attestations": _Question(("about",), _attestations),
        "location": _Question(("location",), _location),
    }
)
