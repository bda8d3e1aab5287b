"""Attestations: who they speak of, with what authority, and what they take back.

The attester is the signer; the signatures saw to that. Source: records-and-protocol.md, sections
1.3, 3.7, 4.1 and 4.1a.

    reserved dimensions    only by keys rooted here as what the dimension belongs to
    delegates_to           scopes the delegate's kind of key may hold: infrastructure has no agency
    supersedes, recants    only by who made what they name
    withdraws              by one of four rules, which the record names:
                           1 who made it   2 whom it is about   3 who may act for the latter
                           4 who may act, by a chain of delegations, for who made it
                           By 3 and 4 the withdrawal is itself about whom it acts for, and by 4 it
                           names the delegates between in its `delegation_chain`.

That two attestations say the same is no reason for a rule to refuse one: how many of those are
written is admission's business, and which counts is decided later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

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
    deferred_until_all,
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
    missing_links,
)
from ciris_mesh.records.rules.keys import rooted_as
from ciris_mesh.records.tokens import (
    DELEGATES_TO,
    REFERENCE_MEMBER,
    REFERRING_TYPES,
    self_key_token,
    token,
)
from ciris_mesh.records.vouches import is_vouch, vouch_problem

WITHDRAWS: Final = "withdraws"
CHAIN_MEMBER: Final = "delegation_chain"

#: Dimensions are compared by these words, in lower case: what looks like a reserved one, is.
_NO_WORD: Final = re.compile(r"[^a-z0-9_]+")
_DIMENSION: Final = re.compile(r"[!-~]+")

BY_PRODUCER: Final = "1"
BY_SUBJECT: Final = "2"
BY_DELEGATE: Final = "3"
BY_CHAIN: Final = "4"
_WITHDRAWS_RULES: Final = (BY_PRODUCER, BY_SUBJECT, BY_DELEGATE, BY_CHAIN)

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
    yield from _dimension_problems(envelope, dimension)
    if type_ in REFERRING_TYPES and not _reference(members):
        yield refused(Reason.REFERENCE_MISSING, f"{type_} names an attestation it is about")
    if type_ == DELEGATES_TO:
        problem = delegation_problem(_scopes(members), _HOLDS_ANY)
        if problem is not ScopeReason.NONE:
            yield refused(Reason.SCOPES_MALFORMED, problem.value)
    if _withdraws_rule(envelope) not in (_WITHDRAWS_RULES if type_ == WITHDRAWS else ("",)):
        yield refused(Reason.WITHDRAWS_RULE_INVALID, "withdraws, and it alone, names rule 1 to 4")
    if CHAIN_MEMBER in members and not (_withdraws_rule(envelope) == BY_CHAIN and _chain(members)):
        yield refused(
            Reason.DELEGATION_CHAIN_MALFORMED,
            f"rule 4 alone names 1 to {DELEGATION_LINKS_MAX - 1} delegates between, each once",
        )
    if envelope.record.get("cohort_scope") in _PRIVATE_SCOPES and not envelope.tier_local:
        yield refused(Reason.SCOPE_PRIVATE, "what is for oneself or the family stays local")


def _dimension_problems(envelope: Envelope, dimension: JsonValue) -> Iterator[Finding]:
    if not isinstance(dimension, str) or not dimension:
        yield refused(Reason.DIMENSION_MISSING, "a score is about a dimension, told as text")
    elif not _DIMENSION.fullmatch(dimension):
        yield refused(Reason.DIMENSION_MALFORMED, "printable ASCII without spaces, and no more")
    elif is_vouch(envelope) and (problem := vouch_problem(envelope)):
        yield refused(Reason.VOUCH_MALFORMED, problem)


def _objections(envelope: Envelope, facts: Facts, trust: Trust) -> Iterator[Finding]:
    attested = text(envelope, "attested_key_id")
    if missing := missing_keys(facts, [attested]):
        yield deferred_until_all(Reason.KEY_UNKNOWN, f"the key of {attested} is not here", missing)
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
    if not isinstance(dimension, str) or _MAY_BE_RESERVED.match(dimension.lower()) is None:
        return None
    words = _words(dimension)
    found = (type_ for first, type_ in _RESERVED_WORDS if words[: len(first)] == first)
    return next(found, None)


def _words(dimension: str) -> list[str]:
    return [word for word in _NO_WORD.split(dimension.lower()) if word]


_RESERVED_WORDS: Final = [(_words(prefix), type_) for prefix, type_ in RESERVED_DIMENSIONS.items()]
#: What begins with none of their first words is not reserved: taking every dimension apart takes
#: ten times as long as seeing that.
_MAY_BE_RESERVED: Final = re.compile(
    rf"[^a-z0-9_]*(?:{'|'.join(words[0] for words, _ in _RESERVED_WORDS)})"
)


def _delegate_objections(envelope: Envelope, facts: Facts) -> Iterator[Finding]:
    """What a key is, it says itself: another's word must not give it agency."""
    delegate, scopes = text(envelope, "attested_key_id"), _scopes(signed_members(envelope))
    problem = ScopeReason.NONE
    said_itself = self_key_token(delegate)
    for types in facts.views(said_itself, _identity_type):
        problem = delegation_problem(scopes, types)
        if problem is ScopeReason.NONE:
            return
    detail = problem.value or "the delegate has not said itself what it is"
    yield deferred(Reason.DELEGATE_TYPE_NOT_ALLOWED, detail, said_itself)


class _Named(NamedTuple):
    """Of an attestation that is taken back: who made it, and whom it is about."""

    producer: str
    subjects: frozenset[str]


def _reference_objections(envelope: Envelope, facts: Facts) -> Iterator[Finding]:
    reference = _reference(signed_members(envelope))
    name = token(EnvelopeKind.ATTESTATION, reference)
    actor, principal = text(envelope, "attesting_key_id"), text(envelope, "attested_key_id")
    missing: tuple[str, ...] = ()
    if _withdraws_rule(envelope) in (BY_DELEGATE, BY_CHAIN):
        path = (principal, *_chain(signed_members(envelope)), actor)
        missing = missing_links(path, made_at_ms(envelope), facts)
    is_known = False
    for named in facts.views(name, _named):
        is_known = True
        if not missing and _is_entitled(_withdraws_rule(envelope), actor, principal, named):
            return
    if not is_known:
        yield deferred(Reason.REFERENCE_UNKNOWN, f"attestation {reference[:40]} is not here", name)
    yield deferred(
        Reason.REFERENCE_NOT_ENTITLED,
        f"attestation {reference[:40]} is not this attester's to take back",
        name,
        *missing,
    )


def _is_entitled(rule: str, actor: str, principal: str, named: _Named) -> bool:
    """Is what is named of whom the rule means? That delegates may act was looked at."""
    if rule in (BY_SUBJECT, BY_DELEGATE):
        return (actor if rule == BY_SUBJECT else principal) in named.subjects
    return (principal if rule == BY_CHAIN else actor) == named.producer


def _named(record: Envelope) -> _Named:
    listed = record.record.get("subject_key_ids")
    subjects = map(str, listed) if isinstance(listed, list) else ()
    about = frozenset([text(record, "attested_key_id"), *subjects])
    return _Named(text(record, "attesting_key_id"), about)


def _identity_type(record: Envelope) -> str:
    return text(record, "identity_type")


def _chain(members: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """The delegates between, as the withdrawal names them; () when there is no sound list."""
    chain = members.get(CHAIN_MEMBER)
    listed = chain if isinstance(chain, list) else []
    names = tuple(dict.fromkeys(name for name in listed if isinstance(name, str) and name))
    is_sound = len(names) == len(listed) < DELEGATION_LINKS_MAX
    return names if is_sound else ()


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
