"""Attestations: who they speak of, with what authority, and what they take back.

The attester is the signer; the signatures saw to that. Source: records-and-protocol.md, sections
1.3, 3.7, 4.1 and 4.1a.

    reserved dimensions    only by keys rooted here as what the dimension belongs to
    delegates_to           scopes the delegate's kind of key may hold: infrastructure has no agency
    supersedes, recants    only by who made what they name
    withdraws              by one of four rules, which the record names:
                           1 who made it   2 whom it is about   3 who may act for the latter
                           4 who may act, by a chain of delegations, for who made it

That two attestations say the same is no reason for a rule to refuse one: how many of those are
written is admission's business, and which counts is decided later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from ciris_mesh.records.delegation import ScopeReason, delegation_problem
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.jsontext import JsonNumber, JsonValue
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.rules.base import (
    Facts,
    Finding,
    Trust,
    deferred,
    first,
    made_at_ms,
    missing_keys,
    refused,
    signed_members,
    text,
)
from ciris_mesh.records.rules.delegations import (
    DELEGATION_LINKS_MAX,
    SCOPE_MEMBER,
    may_act_for,
)
from ciris_mesh.records.rules.keys import rooted_as
from ciris_mesh.records.tokens import (
    DELEGATES_TO,
    REFERENCE_MEMBER,
    REFERRING_TYPES,
    key_token,
    token,
)

WITHDRAWS: Final = "withdraws"

_TYPES: Final = REFERRING_TYPES | {"scores", DELEGATES_TO}

#: The first word, or first words, of a dimension -> the identity type it is reserved for.
RESERVED_DIMENSIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "accord": "accord_holder",
        "substrate": "substrate_persist",
        "content_rating": "trusted_publisher",
        "transparency_log:cosigned": "witness",
    }
)

#: These stay with the node that made them; at tier `local` they may.
_PRIVATE_SCOPES: Final = frozenset({"self", "family"})

#: A type that may hold every scope, so that only the scopes themselves are looked at.
_HOLDS_ANY: Final = "user"


def content(envelope: Envelope, trust: Trust) -> Finding:
    """The record says what its type must say."""
    return first(_problems(envelope))


def standing(envelope: Envelope, facts: Facts, trust: Trust) -> Finding:
    """Both keys are known, and the attester may say this."""
    return first(_objections(envelope, facts, trust))


def _problems(envelope: Envelope) -> Iterator[Finding]:
    type_, members = text(envelope, "attestation_type"), signed_members(envelope)
    if type_ not in _TYPES:
        yield refused(Reason.ATTESTATION_TYPE_UNKNOWN, f"{type_[:40]!r} is no attestation type")
    dimension = members.get("dimension", None if type_ == "scores" else "none")
    if not isinstance(dimension, str) or not dimension:
        yield refused(Reason.DIMENSION_MISSING, "a score is about a dimension, told as text")
    if type_ in REFERRING_TYPES and not _reference(members):
        yield refused(Reason.REFERENCE_MISSING, f"{type_} names an attestation it is about")
    if type_ == DELEGATES_TO:
        problem = delegation_problem(_scopes(members), _HOLDS_ANY)
        if problem is not ScopeReason.NONE:
            yield refused(Reason.SCOPES_MALFORMED, problem.value)
    if _withdraws_rule(envelope) not in (_WITHDRAWS_RULES if type_ == WITHDRAWS else ("",)):
        yield refused(Reason.WITHDRAWS_RULE_INVALID, "withdraws, and it alone, names rule 1 to 4")
    if envelope.record.get("cohort_scope") in _PRIVATE_SCOPES and not envelope.tier_local:
        yield refused(Reason.SCOPE_PRIVATE, "what is for oneself or the family stays local")


def _objections(envelope: Envelope, facts: Facts, trust: Trust) -> Iterator[Finding]:
    attested = text(envelope, "attested_key_id")
    if missing := missing_keys(facts, [attested]):
        yield deferred(Reason.KEY_UNKNOWN, f"the key of {attested} is not here", *missing)
    word = reserved_for(signed_members(envelope).get("dimension"))
    if word is not None:
        rooted = rooted_as(word, text(envelope, "attesting_key_id"), facts, trust)
        if not rooted.is_fine:
            yield rooted
    match text(envelope, "attestation_type"):
        case "delegates_to":
            yield from _delegate_objections(envelope, facts)
        case "supersedes" | "recants" | "withdraws":
            yield from _reference_objections(envelope, facts)
        case _:
            pass


def reserved_for(dimension: JsonValue) -> str | None:
    """The identity type a dimension is reserved for; None when everybody may use it."""
    if not isinstance(dimension, str):
        return None
    found = (
        word
        for prefix, word in RESERVED_DIMENSIONS.items()
        if dimension == prefix or dimension.startswith(f"{prefix}:")
    )
    return next(found, None)


def _delegate_objections(envelope: Envelope, facts: Facts) -> Iterator[Finding]:
    """What a key is, it says itself: another's word must not give it agency."""
    delegate, scopes = text(envelope, "attested_key_id"), _scopes(signed_members(envelope))
    problem = ScopeReason.NONE
    for record in facts.named(key_token(delegate)):
        if record.signers == (delegate,):
            problem = delegation_problem(scopes, text(record, "identity_type"))
            if problem is ScopeReason.NONE:
                return
    detail = problem.value or "the delegate has not said itself what it is"
    yield deferred(Reason.DELEGATE_TYPE_NOT_ALLOWED, detail, key_token(delegate))


def _reference_objections(envelope: Envelope, facts: Facts) -> Iterator[Finding]:
    reference = _reference(signed_members(envelope))
    name = token(EnvelopeKind.ATTESTATION, reference)
    waits_for = [name]
    is_known = False
    for record in facts.named(name):
        is_known = True
        is_entitled, tokens = _entitlement(envelope)(envelope, record, facts)
        if is_entitled:
            return
        waits_for += tokens
    if not is_known:
        yield deferred(Reason.REFERENCE_UNKNOWN, f"attestation {reference[:40]} is not here", name)
    yield deferred(
        Reason.REFERENCE_NOT_ENTITLED,
        f"attestation {reference[:40]} is not this attester's to take back",
        *waits_for,
    )


_Answer = tuple[bool, tuple[str, ...]]
_Entitlement = Callable[[Envelope, Envelope, Facts], _Answer]


def _by_producer(envelope: Envelope, about: Envelope, facts: Facts) -> _Answer:
    return text(envelope, "attesting_key_id") == text(about, "attesting_key_id"), ()


def _by_subject(envelope: Envelope, about: Envelope, facts: Facts) -> _Answer:
    return text(envelope, "attesting_key_id") in _subjects(about), ()


def _by_subjects_delegate(envelope: Envelope, about: Envelope, facts: Facts) -> _Answer:
    return _for_any(_subjects(about), envelope, facts, links_max=1)


def _by_producers_delegates(envelope: Envelope, about: Envelope, facts: Facts) -> _Answer:
    producer = (text(about, "attesting_key_id"),)
    return _for_any(producer, envelope, facts, links_max=DELEGATION_LINKS_MAX)


def _for_any(
    principals: tuple[str, ...], envelope: Envelope, facts: Facts, *, links_max: int
) -> _Answer:
    actor, at_ms = text(envelope, "attesting_key_id"), made_at_ms(envelope)
    tokens: tuple[str, ...] = ()
    for principal in principals:
        may, missing = may_act_for(principal, actor, at_ms, facts, links_max=links_max)
        if may:
            return True, ()
        tokens += missing
    return False, tokens


_WITHDRAWS_RULES: Final[Mapping[str, _Entitlement]] = {
    "1": _by_producer,
    "2": _by_subject,
    "3": _by_subjects_delegate,
    "4": _by_producers_delegates,
}


def _entitlement(envelope: Envelope) -> _Entitlement:
    return _WITHDRAWS_RULES.get(_withdraws_rule(envelope), _by_producer)


def _subjects(about: Envelope) -> tuple[str, ...]:
    named = about.record.get("subject_key_ids")
    listed = map(str, named) if isinstance(named, list) else ()
    return (text(about, "attested_key_id"), *listed)


def _withdraws_rule(envelope: Envelope) -> str:
    rule = envelope.record.get("withdraws_admission_rule")
    return rule.token if isinstance(rule, JsonNumber) else ""


def _reference(members: Mapping[str, JsonValue]) -> str:
    reference = members.get(REFERENCE_MEMBER)
    return reference if isinstance(reference, str) else ""


def _scopes(members: Mapping[str, JsonValue]) -> list[str]:
    scopes = members.get(SCOPE_MEMBER)
    listed = scopes if isinstance(scopes, list) else []
    texts = [scope for scope in listed if isinstance(scope, str)]
    return texts if len(texts) == len(listed) else []
