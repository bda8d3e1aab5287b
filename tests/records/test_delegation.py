"""Infrastructure has no agency: which scopes may go to whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.records.delegation import (
    AGENCY_WORDS,
    INFRA_WORDS,
    SCOPES_MAX,
    ScopeFamily,
    ScopeReason,
    delegation_problem,
    is_node_only,
    scope_family,
)

S = ScopeReason
INFRA = sorted(f"infra:{word}" for word in INFRA_WORDS)
AGENCY = sorted(f"agency:{word}" for word in AGENCY_WORDS)
NODES = ["node", "node,steward", "node,user", "node,witness"]
AGENTS = ["agent", "agent,node", "agent,node,steward"]


def problem(identity_type: str, *scopes: str) -> ScopeReason:
    return delegation_problem(sorted(scopes), identity_type)


# -- the two families ----------------------------------------------------------------------------


def test_there_are_six_and_four() -> None:
    assert (len(INFRA), len(AGENCY)) == (6, 4)
    assert not INFRA_WORDS & AGENCY_WORDS


@pytest.mark.parametrize("word", sorted(INFRA_WORDS))
def test_infra_scopes(word: str) -> None:
    assert scope_family(f"infra:{word}") is scope_family(word) is ScopeFamily.INFRA
    assert scope_family(f"agency:{word}") is ScopeFamily.UNKNOWN


@pytest.mark.parametrize("word", sorted(AGENCY_WORDS))
def test_agency_scopes(word: str) -> None:
    assert scope_family(f"agency:{word}") is scope_family(word) is ScopeFamily.AGENCY
    assert scope_family(f"infra:{word}") is ScopeFamily.UNKNOWN


@pytest.mark.parametrize("scope", ["infra:", "infra:*", "agency:*", "infra:Serve", "agency:act"])
def test_a_family_has_no_other_words(scope: str) -> None:
    assert scope_family(scope) is ScopeFamily.UNKNOWN


@pytest.mark.parametrize("scope", ["", "moderate", "sub_delegation", "INFRA:serve", " infra:serve"])
def test_other_words_are_no_family(scope: str) -> None:
    assert scope_family(scope) is ScopeFamily.OTHER


@pytest.mark.parametrize("words", NODES)
def test_nodes(words: str) -> None:
    assert is_node_only(words)


@pytest.mark.parametrize("words", [*AGENTS, "user", "steward", "", "nodes", "xnode", "Node"])
def test_what_is_no_bare_node(words: str) -> None:
    assert not is_node_only(words)


# -- who may hold what ---------------------------------------------------------------------------


@pytest.mark.parametrize("words", NODES)
def test_a_node_holds_infra_and_nothing_else(words: str) -> None:
    assert problem(words, *INFRA) is S.NONE
    for scope in INFRA:
        assert problem(words, scope) is S.NONE
    for scope in AGENCY:
        assert problem(words, scope) is S.AGENCY_ON_INFRA
        assert problem(words, *INFRA, scope) is S.AGENCY_ON_INFRA
    assert problem(words, "infra:serve", "moderate") is S.NODE_INFRA_ONLY


@pytest.mark.parametrize("words", NODES)
def test_old_spellings_do_not_slip_agency_onto_a_node(words: str) -> None:
    for word in AGENCY_WORDS:
        assert problem(words, word) is S.AGENCY_ON_INFRA
    for word in INFRA_WORDS:
        assert problem(words, word) is S.NODE_INFRA_ONLY


@pytest.mark.parametrize("words", [*AGENTS, "user", "user,wise_authority"])
def test_an_agent_or_a_person_holds_both(words: str) -> None:
    assert problem(words, *INFRA, *AGENCY) is S.NONE
    assert problem(words, "act_on_behalf", "message_io", "network_presence") is S.NONE
    assert problem(words, "moderate", "sub_delegation") is S.NONE


@pytest.mark.parametrize("words", ["steward", "primitive", "substrate_persist", "", "Agent"])
def test_nobody_else_has_agency(words: str) -> None:
    assert problem(words, "agency:decide") is S.AGENCY_ON_INFRA
    assert problem(words, "decide") is S.AGENCY_ON_INFRA
    assert problem(words, "infra:serve") is S.NONE
    assert problem(words, "moderate") is S.NONE


@pytest.mark.parametrize("words", [*NODES, *AGENTS, "user", "steward"])
def test_unknown_words_of_a_family_are_refused(words: str) -> None:
    assert problem(words, "infra:*") is S.UNKNOWN
    assert problem(words, "agency:everything") is S.UNKNOWN


# -- the list ------------------------------------------------------------------------------------


def test_a_delegation_delegates_something() -> None:
    assert delegation_problem([], "agent") is S.EMPTY
    assert delegation_problem(["infra:serve"], "agent") is S.NONE


def test_scopes_are_a_sorted_set() -> None:
    assert delegation_problem(["infra:store", "infra:serve"], "agent") is S.UNSORTED
    assert delegation_problem(["infra:serve", "infra:serve"], "agent") is S.UNSORTED
    assert delegation_problem(["infra:serve", "infra:store"], "agent") is S.NONE
    assert delegation_problem(["\U0001f600", "\uffff"], "agent") is S.NONE
    assert delegation_problem(["\uffff", "\U0001f600"], "agent") is S.UNSORTED


def test_a_list_has_a_length() -> None:
    scopes = [f"x{n:02}" for n in range(SCOPES_MAX)]
    assert delegation_problem(scopes, "agent") is S.NONE
    assert delegation_problem([*scopes, "y"], "agent") is S.TOO_MANY


# -- laws ----------------------------------------------------------------------------------------

scopes = st.sampled_from([*INFRA, *AGENCY, "serve", "decide", "moderate", "infra:x", "agency:x"])
types = st.sampled_from([*NODES, *AGENTS, "user", "steward", "partner"])


@given(st.sets(scopes, min_size=1), st.sampled_from(NODES))
def test_what_a_node_gets_is_infra(chosen: set[str], words: str) -> None:
    is_allowed = problem(words, *chosen) is S.NONE
    assert is_allowed == (chosen <= set(INFRA))


@given(st.sets(scopes, min_size=1), scopes, types)
def test_asking_for_more_never_allows_what_was_refused(
    chosen: set[str], extra: str, words: str
) -> None:
    if problem(words, *chosen) is not S.NONE:
        assert problem(words, *(chosen | {extra})) is not S.NONE


@given(st.sets(scopes, min_size=1), types)
def test_a_subset_of_what_is_allowed_is_allowed(chosen: set[str], words: str) -> None:
    if problem(words, *chosen) is S.NONE:
        for scope in chosen:
            assert problem(words, scope) is S.NONE


@given(st.text(max_size=20))
def test_every_text_has_one_family(text: str) -> None:
    family = scope_family(text)
    has_prefix = text.startswith(("infra:", "agency:"))
    assert (family is ScopeFamily.UNKNOWN) <= has_prefix
    assert (family is ScopeFamily.OTHER) <= (not has_prefix)
