"""The rules of admission asked again, with only the records that count.

Admission judged a record by what was here; nothing that came later spoke against it. For an answer
the same rule looks at the same record again, and sees neither what signers signed after their
revocation nor delegations that were taken back before the record was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from ciris_mesh.errors import TooManyRows
from ciris_mesh.records.checks import public_key_of
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.hybrid import HybridPublicKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.names import name
from ciris_mesh.records.provenance import CHAIN_LINKS_MAX
from ciris_mesh.records.resolve.base import column, column_ns, made_at_ns, signed_at_ns
from ciris_mesh.records.resolve.view import View
from ciris_mesh.records.rules.base import Finding
from ciris_mesh.records.rules.keys import is_root
from ciris_mesh.records.rules.table import judge_standing
from ciris_mesh.records.tokens import (
    DELEGATES_TO,
    key_token,
    self_key_token,
    steward_token,
    token,
    vouched_token,
)

#: Attestations that take another back.
TAKING: Final = frozenset({"supersedes", "withdraws", "recants"})

_View = TypeVar("_View")

#: From when until when, Unix nanoseconds; None for no end.
_Term = tuple[int, int | None]

#: A withdrawal may rest on a delegation that was withdrawn by a delegate, and so on.
DEPTH_MAX: Final = 16


class Judge:
    """Judges records of one view again. What takes back is judged once each."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._entitled: dict[tuple[bytes, bytes], bool] = {}
        self._depth = 0
        self._stewards: dict[str, set[_Term]] | None = None

    def finding(self, envelope: Envelope, *, about: Envelope | None = None) -> Finding:
        """The rule's answer now.

        Args:
            about: of records under the id that `envelope` refers to, the only one to look at.

        Raises:
            TooManyRows: withdrawals rest on each other without an end.
        """
        if self._depth == DEPTH_MAX:
            raise TooManyRows("withdrawals that rest on each other", DEPTH_MAX)
        self._depth += 1
        try:
            facts = _Facts(self, self._view, made_at_ns(envelope), about)
            return judge_standing(envelope, facts, self._view.trust)
        finally:
            self._depth -= 1

    def stewards(self) -> frozenset[str]:
        """Who was a rooted steward at any time, by the records that count."""
        return frozenset(self._terms())

    def was_steward(self, key_id: str, at_ns: int) -> bool:
        """True when it was one at that time.

        A word holds when its signer was a steward as it was signed. That the steward's own record
        ends later takes nothing back, as no later revocation does; what it signs then is nothing.
        """
        return any(_covers(term, at_ns) for term in self._terms().get(key_id, ()))

    def _terms(self) -> dict[str, set[_Term]]:
        """Rooted stewards and from when until when. Looked for when first asked."""
        if self._stewards is None:
            found: dict[str, set[_Term]] = {}
            pending = [(root, term, 1) for root, term in self._root_terms()]
            while pending:
                key_id, term, links = pending.pop(0)
                terms = found.setdefault(key_id, set())
                if term in terms or links >= CHAIN_LINKS_MAX:
                    continue
                terms.add(term)
                below = self._view.counting(steward_token(key_id))
                said = (it for it in below if _covers(term, signed_at_ns(it)))
                pending += [(column(it, "key_id"), _term(it), links + 1) for it in said]
            self._stewards = {key_id: terms for key_id, terms in found.items() if terms}
        return self._stewards

    def _root_terms(self) -> Iterator[tuple[str, _Term]]:
        for root in sorted(self._view.trust.roots):
            records = self._view.counting(self_key_token(root))
            yield from ((root, _term(it)) for it in records if is_root(it, self._view.trust))

    def takers(self, about: Envelope, by_ns: int) -> list[Envelope]:
        """What takes this attestation back and was made by then, by those who may."""
        reference = column(about, "attestation_id")
        return [
            it
            for it in self._view.counting(name("reference", reference))
            if it.envelope_id != about.envelope_id
            and column(it, "attestation_type") in TAKING
            and made_at_ns(it) <= by_ns
            and self._is_entitled(it, about)
        ]

    def _is_entitled(self, taking: Envelope, about: Envelope) -> bool:
        pair = taking.envelope_id, about.envelope_id
        if pair not in self._entitled:
            self._entitled[pair] = self.finding(taking, about=about).is_fine
        return self._entitled[pair]


def known_speakers(view: View) -> frozenset[str]:
    """Whose word is read even where strangers said more than is read of anything.

    Keys this node's configuration names, rooted stewards, and whom those vouched for.
    """
    trust, stewards = view.trust, Judge(view).stewards()
    found = {*trust.pinned, *trust.roots, *trust.root_stewards, *trust.partner_stewards, *stewards}
    for steward in sorted(stewards):
        vouched = vouched_token(steward)
        if view.reader.some(vouched) is not None:
            found |= {column(it, "key_id") for it in view.counting(vouched)}
    return frozenset(found)


class _Facts:
    """The federation shelf as a rule sees it, for a record made at one time."""

    def __init__(self, judge: Judge, view: View, made_ns: int, about: Envelope | None) -> None:
        self._judge = judge
        self._view = view
        self._made_ns = made_ns
        self._about = about

    def public_key(self, key_id: str) -> HybridPublicKey | None:
        """See Facts."""
        record = self._view.reader.first(key_token(key_id))  # all of them say the same key
        return public_key_of(record) if record is not None else None

    def named(self, token_: str) -> Iterator[Envelope]:
        """See Facts."""
        about = self._about
        if about is not None and token_ == token(about.kind, column(about, "attestation_id")):
            yield about
            return
        for record in self._view.counting(token_):
            if self._is_word_in_force(record) and not self._is_taken_back(record):
                yield record

    def views(self, token_: str, read: Callable[[Envelope], _View]) -> Iterator[_View]:
        """See Facts."""
        return map(read, self.named(token_))

    def stewards(self) -> frozenset[str]:
        """See Facts."""
        return self._judge.stewards()

    def _is_word_in_force(self, record: Envelope) -> bool:
        """False for what is no steward's word, or not in force; of what keys say of others."""
        if record.kind is not EnvelopeKind.KEY or record.signers == (column(record, "key_id"),):
            return True
        was_steward = self._judge.was_steward(record.signers[0], signed_at_ns(record))
        return was_steward and _covers(_term(record), self._made_ns)

    def _is_taken_back(self, record: Envelope) -> bool:
        """A delegation, before the record in question was made: strictly, or this had no end."""
        is_attestation = record.kind is EnvelopeKind.ATTESTATION
        if not is_attestation or column(record, "attestation_type") != DELEGATES_TO:
            return False
        return bool(self._judge.takers(record, self._made_ns - 1))


def _term(record: Envelope) -> _Term:
    return column_ns(record, "valid_from") or 0, column_ns(record, "valid_until")


def _covers(term: _Term, at_ns: int) -> bool:
    since_ns, until_ns = term
    return since_ns <= at_ns and (until_ns is None or at_ns < until_ns)
