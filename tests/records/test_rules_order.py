"""The two laws behind order independence, for the rules of all kinds together.

What is fine or refused stays so whatever else arrives; and what waits for tokens is released by
exactly those arrivals that matter, so every order ends in the same set.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ciris_mesh.records.checks import outcome_of
from ciris_mesh.records.cosigning import is_cosigned
from ciris_mesh.records.envelope import Claim, Envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.records.rules.table import RULES, judge_content, judge_counted
from ciris_mesh.records.tokens import published_by
from support.federation import TRUST, federation
from support.rulebook import Shelf, fixpoint, name_of, settled

ALL = federation()
EXPECTED = fixpoint(TRUST, ALL)

_subsets = st.sets(st.sampled_from(range(len(ALL))))
_orders = st.permutations(range(len(ALL)))
COSIGNED = [number for number, it in enumerate(ALL) if is_cosigned(it.kind)]
_repeats = st.lists(st.sampled_from(range(len(ALL))), max_size=20)


def comes_in(envelope: Envelope) -> bool:
    return name_of(envelope) in EXPECTED


def shelf_of(numbers: set[int]) -> Shelf:
    shelf = Shelf(TRUST)
    for number in numbers:
        shelf.add(ALL[number])
    return shelf


def test_every_kind_has_a_rule() -> None:
    assert set(RULES) == set(EnvelopeKind)


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_of_every_kind_something_comes_in_and_something_does_not(kind: EnvelopeKind) -> None:
    """Or these tests would show nothing. Anybody may revoke: that is a claim, no more."""
    found = {comes_in(envelope) for envelope in ALL if envelope.kind is kind}
    assert found == ({True} if kind is EnvelopeKind.REVOCATION else {True, False})


@settings(max_examples=300)
@given(order=_orders, repeats=_repeats)
def test_every_order_ends_in_the_same_set(order: list[int], repeats: list[int]) -> None:
    arrivals = [ALL[number] for number in [*order, *repeats]]
    assert settled(TRUST, arrivals) == EXPECTED


@settings(max_examples=300)
@given(order=st.lists(st.sampled_from(range(len(ALL))), unique=True))
def test_any_part_of_it_in_any_order_ends_in_what_that_part_allows(order: list[int]) -> None:
    arrivals = [ALL[number] for number in order]
    assert settled(TRUST, arrivals) == fixpoint(TRUST, arrivals)


@settings(max_examples=300)
@given(fewer=_subsets, more=_subsets, one=st.sampled_from(range(len(ALL))))
def test_what_is_decided_stays_decided(fewer: set[int], more: set[int], one: int) -> None:
    before = shelf_of(fewer).admits(ALL[one])
    after = shelf_of(fewer | more).admits(ALL[one])
    if not before.waits_for:
        assert after.reason is before.reason


@settings(max_examples=300)
@given(
    shelf=_subsets,
    one=st.sampled_from(COSIGNED),
    more=st.sets(st.sampled_from([envelope.signers[0] for envelope in ALL])),
)
def test_one_more_signer_makes_nothing_worse(shelf: set[int], one: int, more: set[str]) -> None:
    fewer, facts = ALL[one], shelf_of(shelf)
    signers = tuple(sorted(more | set(fewer.signers)))
    claims = tuple(Claim(name, fewer.claims[0].signature) for name in signers)
    before, after = facts.asks(fewer), facts.asks(replace(fewer, claims=claims))
    if not before.waits_for:
        assert after.reason is before.reason


@settings(max_examples=300)
@given(fewer=_subsets, more=_subsets, one=st.sampled_from(COSIGNED))
def test_who_counts_goes_on_counting_and_others_come_by_tokens(
    fewer: set[int], more: set[int], one: int
) -> None:
    envelope, before, after = ALL[one], shelf_of(fewer), shelf_of(fewer | more)
    if not judge_content(envelope, TRUST).is_fine:
        return
    counted = judge_counted(envelope, before, TRUST)
    grown = judge_counted(envelope, after, TRUST)
    assert counted.signers <= grown.signers <= set(envelope.signers)
    if counted.signers < grown.signers:
        published = {name for number in more for name in published_by(ALL[number])}
        assert published & set(counted.waits_for)


@settings(max_examples=300)
@given(shelf=_subsets, one=st.sampled_from(COSIGNED))
def test_who_does_not_count_changes_nothing(shelf: set[int], one: int) -> None:
    facts, envelope = shelf_of(shelf), ALL[one]
    if not judge_content(envelope, TRUST).is_fine:
        return
    counted = judge_counted(envelope, facts, TRUST).signers
    claims = tuple(claim for claim in envelope.claims if claim.key_id in counted)
    alone = facts.asks(replace(envelope, claims=claims))
    assert alone.reason is facts.asks(envelope).reason
    assert counted or not alone.is_fine


@pytest.mark.parametrize("number", COSIGNED)
def test_too_few_signers_are_never_refused(number: int) -> None:
    """Only what nobody's signature could cure is; so a bad copy never stands for a record."""
    facts, envelope = shelf_of(set(range(len(ALL)))), ALL[number]
    stranger = replace(envelope, claims=(Claim("stranger", envelope.claims[0].signature),))
    finding = facts.asks(envelope)
    if outcome_of(finding.reason) is not Outcome.REFUSED:
        assert outcome_of(facts.asks(stranger).reason) is Outcome.DEFERRED
