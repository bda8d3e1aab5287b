"""To which root does this key lead?

A link counts while its record is in force, and was signed before its signer's revocation. Whether
the key is valid is another question (`keys`). Source: records-and-protocol.md, sections 3.5 and
4.1a.
"""

from __future__ import annotations

from dataclasses import dataclass

from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.names import name
from ciris_mesh.records.provenance import (
    ChainLink,
    Provenance,
    identity_types,
    link_of,
    root_of,
    verify_provenance_chain,
)
from ciris_mesh.records.resolve.ancestry import shortest_chains
from ciris_mesh.records.resolve.base import (
    Reply,
    Rule,
    Status,
    Step,
    column,
    column_ns,
    signed_at_ns,
)
from ciris_mesh.records.resolve.keys import is_revoked, record_names, revocation_steps
from ciris_mesh.records.resolve.view import View
from ciris_mesh.records.rules.keys import is_root


@dataclass(frozen=True, slots=True)
class ChainFound:
    """About a chain.

    Attributes:
        root: the configured root it ends at; "" when it ends at none.
        path: the keys walked, the one asked for first.
        reason: a word of `provenance.ProvenanceReason`; "" when rooted.
        at: the key the reason is about.
    """

    root: str
    path: tuple[str, ...]
    reason: str
    at: str


def chain_answer(view: View, key_id: str, more: str = "") -> Reply:
    """To which root does the chain of this key lead at that time?"""
    links = _Links(view)
    ancestry = shortest_chains(key_id, links.vouchers, links.is_vouched_by, links.roots())
    if ancestry.path:
        pairs = zip(ancestry.path, (*ancestry.path[1:], ancestry.path[-1]), strict=True)
        chain = [links.link(child, parent) for child, parent in pairs]
        judged = verify_provenance_chain(chain, view.trust.roots)
    else:
        judged = root_of(key_id, links.likeliest, view.trust.roots)
    # another question, but nobody should overlook it
    revoked = view.revocations.of(key_id, claims=False)
    steps = revocation_steps(view, revoked) if is_revoked(view, revoked) else []
    steps += [*view.remarks(*record_names(view, key_id)), *_chain_steps(links, judged)]
    is_known = bool(view.reader.signers(name("key", key_id), 1))
    status = Status.ROOTED if judged.root else Status.NOT_ROOTED
    status = status if is_known else Status.UNKNOWN
    found = ChainFound(judged.root or "", judged.path, judged.reason.value, judged.at)
    return Reply(status, found, tuple(steps))


class _Links:
    """Key records as links, those that were in force at the time asked about."""

    def __init__(self, view: View) -> None:
        self._view = view

    def roots(self) -> list[str]:
        """Configured roots whose own record is here and is in force."""
        trust = self._view.trust
        return [
            root
            for root in trust.roots
            if any(is_root(it, trust) for it in self._in_force(name("vouch", root, root)))
        ]

    def vouchers(self, key_id: str) -> list[str]:
        rooted = self._view.revocations.vouching.vouchers(key_id)
        return [one for one in rooted if self.is_vouched_by(key_id, one)]

    def is_vouched_by(self, key_id: str, root: str) -> bool:
        return bool(self._in_force(name("vouch", key_id, root)))

    def link(self, key_id: str, voucher: str) -> ChainLink:
        """The record of a key by this voucher; of several the one with the smallest id.

        A root's must say that it is a steward, so such a one is taken first.
        """
        records = self._in_force(name("vouch", key_id, voucher))
        return link_of(min(records, key=lambda it: (not _is_steward(it), it.envelope_id)))

    def likeliest(self, key_id: str) -> ChainLink | None:
        """For saying why there is no chain: somebody's word for the key before its own."""
        records = [it for named in record_names(self._view, key_id) for it in self._in_force(named)]
        found = min(
            records,
            key=lambda it: (it.signers == (key_id,), it.signers[0], it.envelope_id),
            default=None,
        )
        return link_of(found) if found is not None else None

    def is_revoked(self, key_id: str) -> bool:
        from_ns = self._view.revocations.from_ns(key_id)
        return from_ns is not None and from_ns <= self._view.at_ns

    def _in_force(self, name_: str) -> list[Envelope]:
        at_ns = self._view.at_ns
        return [
            it
            for it in self._view.counting(name_)
            if signed_at_ns(it) <= at_ns and (column_ns(it, "valid_from") or 0) <= at_ns
            if (until_ns := column_ns(it, "valid_until")) is None or at_ns < until_ns
        ]


def _is_steward(record: Envelope) -> bool:
    return "steward" in identity_types(column(record, "identity_type"))


def _chain_steps(links: _Links, judged: Provenance) -> list[Step]:
    steps = []
    for child, parent in zip(judged.path, judged.path[1:], strict=False):
        steps.append(Step(Rule.LINK, about=child, by=parent))
        if links.is_revoked(parent):
            steps.append(Step(Rule.LINK_SIGNED_BEFORE_REVOCATION, about=child, by=parent))
    if judged.root:
        steps.append(Step(Rule.ROOT, about=judged.root, count=len(judged.path)))
    else:
        steps.append(Step(Rule.NO_CHAIN, about=judged.at, note=judged.reason.value))
    return steps
