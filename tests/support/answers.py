"""A set of records to put questions to. Signed in name only unless a test says otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ciris_mesh.records.envelope import Envelope, parse_envelope
from ciris_mesh.records.resolve.base import Row, RowSet, Rule, Status, Step
from ciris_mesh.records.resolve.table import Answer, resolve
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.records.timestamps import from_unix_ms
from support.federation import TRUST, federation
from support.keys import key
from support.records import AT_MS, group_columns, member
from support.rulebook import K, fixpoint, key_id, key_record, made, name_of, really_signed

TAU_S = 300.0
NS_PER_MS = 1_000_000


def at(after_ms: int) -> str:
    """A time, milliseconds after the samples were signed, as columns have it."""
    return from_unix_ms(AT_MS + after_ms)


def ask(
    rows: Iterable[Row],
    question: str,
    subject: str,
    more: str = "",
    *,
    after_ms: int = 600_000,
    trust: Trust = TRUST,
) -> Answer:
    """Put a question to a set of rows."""
    at_ns = (AT_MS + after_ms) * NS_PER_MS
    return resolve(question, subject, RowSet(rows), trust, at_ns, more=more, tau_partial_s=TAU_S)


@dataclass
class World:
    """Records, on the federation shelf unless told otherwise."""

    trust: Trust = TRUST
    rows: list[Row] = field(default_factory=list)

    def add(self, *envelopes: Envelope, shelf: str = "federation") -> Envelope:
        """Put records here unasked; returns the last."""
        self.rows += [Row(envelope, shelf) for envelope in envelopes]
        return envelopes[-1]

    def know(self, *names: str) -> None:
        """Put self-signed key records here."""
        self.add(*map(key_record, names))

    def ask(
        self, question: str, subject: str, more: str = "", *, after_ms: int = 600_000
    ) -> Answer:
        """Put a question."""
        return ask(self.rows, question, subject, more, after_ms=after_ms, trust=self.trust)

    def status(
        self, question: str, subject: str, more: str = "", *, after_ms: int = 600_000
    ) -> Status:
        """The answer's word."""
        return self.ask(question, subject, more, after_ms=after_ms).status


def step(answer: Answer, rule: Rule) -> Step:
    """The one step that applied this rule."""
    (found,) = [it for it in answer.steps if it.rule is rule]
    return found


def rules(answer: Answer) -> set[Rule]:
    """The rules that were applied."""
    return {it.rule for it in answer.steps}


def hex_id(envelope: Envelope) -> str:
    """The envelope id as answers show it."""
    return envelope.envelope_id.hex()


# -- records ---------------------------------------------------------------------------------------


def revocation(
    by: str, of: str, after_ms: int = 0, *, effective_ms: int | None = None, region: str = "us"
) -> Envelope:
    """`by` revokes `of`, in effect at once unless told otherwise."""
    effective = at(after_ms if effective_ms is None else effective_ms)
    given = {
        "revoked_key_id": key_id(of),
        "effective_at": effective,
        "observed_region": region,
        "reason": "lost",
    }
    return made(K.REVOCATION, given, by, at_ms=AT_MS + after_ms)


def occurrence(of: str, device: str, by: str, after_ms: int = 0, **more: Any) -> Envelope:
    """`by` vouches that `device` is an occurrence of `of`."""
    given = {"identity_key_id": key_id(of), "occurrence_key_id": key_id(device)}
    kept = {"device_class": "laptop", **more}
    return made(K.IDENTITY_OCCURRENCE, {**given, **kept}, by, at_ms=AT_MS + after_ms)


def device_removal(
    of: str, device: str, by: str, after_ms: int, *, effective_ms: int | None = None
) -> Envelope:
    """`by` removes an occurrence."""
    given = {
        "identity_key_id": key_id(of),
        "occurrence_key_id": key_id(device),
        "effective_at": at(after_ms if effective_ms is None else effective_ms),
    }
    return made(K.IDENTITY_OCCURRENCE_REVOCATION, given, by, at_ms=AT_MS + after_ms)


def roster(founders: str, others: str = "") -> list[dict[str, Any]]:
    """Entries of a roster, by names."""
    return [
        *(member(key_id(name), founder=True) for name in founders.split()),
        *(member(key_id(name)) for name in others.split()),
    ]


def family(protocol: str, founders: str, others: str, *by: str, **more: Any) -> Envelope:
    """A founding record."""
    given = {"members": roster(founders, others), "consensus_protocol": protocol, **more}
    return made(K.FAMILY, group_columns(K.FAMILY, "us", given), *by)


def changed(group: Envelope, after_ms: int, founders: str, others: str, *by: str) -> Envelope:
    """A later roster of the same group."""
    kept = {name: group.record[name] for name in group.record if name != "persist_row_hash"}
    given: dict[str, Any] = {
        **kept,
        "founded_at": at(after_ms),
        "members": roster(founders, others),
    }
    return made(group.kind, given, *by, at_ms=AT_MS + after_ms)


def member_removal(
    group: Envelope, who: str, after_ms: int, *by: str, effective_ms: int | None = None
) -> Envelope:
    """Somebody is removed from a family."""
    given = {
        "family_key_id": group.record["family_key_id"],
        "removed_identity_key_id": key_id(who),
        "effective_at": at(after_ms if effective_ms is None else effective_ms),
    }
    return made(K.FAMILY_MEMBERSHIP_REVOCATION, given, *by, at_ms=AT_MS + after_ms)


def organization(by: str, after_ms: int, **more: Any) -> Envelope:
    """What `by` says of the organization acme."""
    given = {"org_id": "acme", "name": "Acme", "org_type": "internal", "status": "active"}
    return made(K.ORGANIZATION, {**given, **more}, by, at_ms=AT_MS + after_ms)


def grant(by: str, to: str, after_ms: int, role: str = "org_admin", **more: Any) -> Envelope:
    """`by` makes `to` something in acme."""
    given = {"org_id": "acme", "user_id": key_id(to), "role": role, "status": "active"}
    return made(K.ORG_MEMBERSHIP, {**given, **more}, by, at_ms=AT_MS + after_ms)


def attestation(
    by: str, about: str, type_: str, after_ms: int, inner: dict[str, Any], **more: Any
) -> Envelope:
    """`by` says something about `about`."""
    given: dict[str, Any] = {"attested_key_id": key_id(about), "attestation_type": type_}
    given |= {"attestation_envelope": inner, **more}
    return made(K.ATTESTATION, given, by, at_ms=AT_MS + after_ms)


def score(by: str, about: str, after_ms: int = 0, **more: Any) -> Envelope:
    """A score."""
    inner = {"dimension": "identity:continuity:v1", "score": 1}
    return attestation(by, about, "scores", after_ms, inner, **more)


def taking(
    by: str, type_: str, of: Envelope, after_ms: int, rule: int | None = None, between: str = ""
) -> Envelope:
    """`by` takes an attestation back; `between` names who delegated to it in between."""
    inner: dict[str, Any] = {"references_attestation_id": of.record["attestation_id"]}
    if between:
        inner["delegation_chain"] = [key_id(between)]
    # By rule 4 somebody acts for who made it, else for whom it is about, or for itself.
    column = "attesting_key_id" if rule == 4 else "attested_key_id"
    about = str(of.record[column]).rpartition("-")[0]
    more = {} if rule is None else {"withdraws_admission_rule": rule}
    return attestation(by, about, type_, after_ms, inner, **more)


def proof(
    subject: str, by: str, after_ms: int, cell: str = "872830828ffffff", **more: Any
) -> Envelope:
    """`by` says where `subject` is."""
    given = {"subject_key_id": key_id(subject), "cell_id": cell, "cell_resolution": 7, **more}
    return made(K.LOCATION_PROOF, given, by, at_ms=AT_MS + after_ms)


# -- the federation of the rules' tests ------------------------------------------------------------


@cache
def admitted(*, signed: bool = False) -> tuple[Row, ...]:
    """What of it may come in; `signed`: with signatures that stand."""
    fine = fixpoint(TRUST, federation())
    kept = [envelope for envelope in federation() if name_of(envelope) in fine]
    if signed:
        kept = [parse_envelope(it.kind, really_signed(it)) for it in kept]
    return tuple(Row(envelope) for envelope in kept)


@cache
def every_question() -> tuple[tuple[str, str, str], ...]:
    """Each question, put to whoever in that federation it could be put to."""
    people = ("alice", "bob", "carol", "dave", "erin", "mallory", "root", "laptop")
    asked = [
        (question, key_id(name), "")
        for name in people
        for question in ("key", "chain", "occurrences", "revoked", "attestations", "location")
    ]
    for row in admitted():
        match row.envelope.kind:
            case K.FAMILY | K.COMMUNITY as kind:
                asked.append(("members", str(row.envelope.record[f"{kind.value}_key_id"]), ""))
            case K.PARTNER_RECORD:
                asked.append(("partner", str(row.envelope.record["license_id"]), ""))
            case _:
                pass
    asked += [("membership", "acme", key_id(name)) for name in people]
    return tuple(dict.fromkeys([*asked, ("org", "acme", ""), ("revoked", "", "")]))


def fingerprints(*names: str) -> dict[str, bytes]:
    """Roots, as a configuration names them."""
    return {key_id(name): key(name).public.fingerprint for name in names}
