"""Who may attest what: each gate with a record it stops and a twin that passes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.rules.attestations import RESERVED_DIMENSIONS
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.records.rules.delegations import DELEGATION_LINKS_MAX
from ciris_mesh.records.timestamps import from_unix_ms
from ciris_mesh.records.tokens import (
    delegation_token,
    key_token,
    rooted_token,
    self_key_token,
    token,
)
from support.keys import key
from support.records import AT_MS
from support.rulebook import MINUTE_MS, K, Shelf, key_id, key_record, made

SCORE = {"dimension": "identity:continuity:v1", "score": 1}
ACT = ["agency:act_on_behalf"]


def attests(
    by: str,
    about: str,
    type_: str = "scores",
    inner: dict[str, Any] | None = None,
    at_ms: int = AT_MS,
    **more: Any,
) -> Envelope:
    columns = {
        "attested_key_id": key_id(about),
        "attestation_type": type_,
        "attestation_envelope": SCORE if inner is None else inner,
        **more,
    }
    return made(K.ATTESTATION, columns, by, at_ms=at_ms)


def delegates(by: str, to: str, scopes: list[str], at_ms: int = AT_MS, **more: Any) -> Envelope:
    return attests(by, to, "delegates_to", {"delegated_scope": scopes}, at_ms, **more)


def withdraws(
    by: str,
    what: Envelope,
    rule: int | None,
    type_: str = "withdraws",
    at_ms: int = AT_MS,
    *,
    acting_for: str = "",
    chain: Any = None,
) -> Envelope:
    inner: dict[str, Any] = {"references_attestation_id": what.record["attestation_id"]}
    if chain is not None:
        inner["delegation_chain"] = chain
    more = {} if rule is None else {"withdraws_admission_rule": rule}
    return attests(by, acting_for or by, type_, inner, at_ms, **more)


@pytest.fixture
def shelf() -> Shelf:
    made = Shelf(Trust(roots={key_id("root"): key("root").public.fingerprint}))
    made.know("alice", "bob", "carol", "dave")
    made.know("root", types="steward")
    return made


def test_both_keys_are_known(shelf: Shelf) -> None:
    assert shelf.reason(attests("alice", "bob")) is Reason.NONE
    finding = shelf.asks(attests("alice", "stranger"))
    assert finding.reason is Reason.KEY_UNKNOWN
    assert finding.waits_for == (key_token(key_id("stranger")),)


def test_the_type_is_a_known_one(shelf: Shelf) -> None:
    assert shelf.reason(attests("alice", "bob", "endorses")) is Reason.ATTESTATION_TYPE_UNKNOWN


@pytest.mark.parametrize("inner", [{}, {"dimension": ""}, {"dimension": 1}, {"dimension": None}])
def test_a_score_has_a_dimension(shelf: Shelf, inner: dict[str, Any]) -> None:
    assert shelf.reason(attests("alice", "bob", inner=inner)) is Reason.DIMENSION_MISSING
    if inner:
        said = {**inner, "delegated_scope": ACT}
        assert shelf.reason(attests("alice", "bob", "delegates_to", said)) is (
            Reason.DIMENSION_MISSING
        ), "what is said is text"


def test_other_types_need_no_dimension(shelf: Shelf) -> None:
    assert shelf.reason(delegates("alice", "bob", ACT)) is Reason.NONE


# -- reserved dimensions -------------------------------------------------------------------------


@pytest.mark.parametrize(("prefix", "word"), RESERVED_DIMENSIONS.items())
@pytest.mark.parametrize("rest", ["", ":v1"])
def test_a_reserved_dimension_needs_a_rooted_key_of_its_type(
    shelf: Shelf, prefix: str, word: str, rest: str
) -> None:
    record = attests("alice", "bob", inner={"dimension": prefix + rest})
    shelf.know("alice", types=word)
    finding = shelf.asks(record)
    assert finding.reason is Reason.NOT_ROOTED, "saying so of oneself is not enough"
    assert rooted_token(key_id("alice")) in finding.waits_for
    shelf.add(key_record("alice", "agent", by="root"))
    assert shelf.reason(record) is Reason.NOT_ROOTED, "rooted as something else"
    shelf.add(key_record("alice", word, by="root"))
    assert shelf.reason(record) is Reason.NONE


@pytest.mark.parametrize("dimension", ["Accord:x", "accord.x", "ACCORD/x", "accord-x", "::accord"])
def test_other_spellings_of_a_reserved_dimension_are_reserved_too(
    shelf: Shelf, dimension: str
) -> None:
    record = attests("alice", "bob", inner={"dimension": dimension})
    assert shelf.reason(record) is Reason.NOT_ROOTED
    shelf.add(key_record("alice", "accord_holder", by="root"))
    assert shelf.reason(record) is Reason.NONE


@pytest.mark.parametrize(
    "dimension",
    [" accord:x", "accord :x", "\uff41ccord:x", "acc\u200bord:x", "\u0430ccord:x", "d\n", "d\x7f"],
    ids=ascii,
)
def test_a_dimension_shows_what_it_is(shelf: Shelf, dimension: str) -> None:
    for type_, more in (("scores", {}), ("delegates_to", {"delegated_scope": ACT})):
        record = attests("alice", "bob", type_, {"dimension": dimension, **more})
        assert shelf.reason(record) is Reason.DIMENSION_MALFORMED
    assert shelf.reason(attests("alice", "bob", inner={"dimension": "a:B_c.1~"})) is Reason.NONE


@pytest.mark.parametrize("dimension", ["accords:v1", "my:accord:x", "transparency_log:read", "a"])
def test_what_only_looks_like_it_is_free(shelf: Shelf, dimension: str) -> None:
    assert shelf.reason(attests("alice", "bob", inner={"dimension": dimension})) is Reason.NONE


def test_no_type_of_attestation_evades_it(shelf: Shelf) -> None:
    inner = {"dimension": "accord:x", "delegated_scope": ACT}
    assert shelf.reason(attests("alice", "bob", "delegates_to", inner)) is Reason.NOT_ROOTED


# -- delegations ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scopes",
    [
        [],
        ["agency:fly"],
        ["infra:store", "infra:attest"],
        ["infra:store", "infra:store"],
        [f"x{n:02}" for n in range(33)],
    ],
    ids=["none", "unknown", "unsorted", "twice", "many"],
)
def test_scopes_are_a_short_sorted_set_of_known_words(shelf: Shelf, scopes: list[str]) -> None:
    assert shelf.reason(delegates("alice", "bob", scopes)) is Reason.SCOPES_MALFORMED
    assert shelf.reason(delegates("alice", "bob", ["infra:attest", "infra:store"])) is Reason.NONE


@pytest.mark.parametrize("scopes", ["infra:store", [1], None])
def test_scopes_are_a_list_of_texts(shelf: Shelf, scopes: Any) -> None:
    record = attests("alice", "bob", "delegates_to", {"delegated_scope": scopes})
    assert shelf.reason(record) is Reason.SCOPES_MALFORMED


def test_infrastructure_has_no_agency(shelf: Shelf) -> None:
    shelf.know("relay", types="node")
    assert shelf.reason(delegates("alice", "relay", ["infra:store"])) is Reason.NONE
    finding = shelf.asks(delegates("alice", "relay", ACT))
    assert finding.reason is Reason.DELEGATE_TYPE_NOT_ALLOWED
    assert finding.waits_for == (self_key_token(key_id("relay")),)
    shelf.add(key_record("relay", "agent", by="mallory"))
    assert shelf.reason(delegates("alice", "relay", ACT)) is Reason.DELEGATE_TYPE_NOT_ALLOWED, (
        "another's word does not make it an agent"
    )
    shelf.add(key_record("relay", "agent,node"))
    assert shelf.reason(delegates("alice", "relay", ACT)) is Reason.NONE


def test_a_delegate_says_itself_what_it_is(shelf: Shelf) -> None:
    shelf.add(key_record("tool", "agent", by="root"))
    assert shelf.reason(delegates("alice", "tool", ACT)) is Reason.DELEGATE_TYPE_NOT_ALLOWED


# -- taking back ---------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", ["withdraws", "supersedes", "recants"])
def test_what_is_taken_back_is_named_and_known(shelf: Shelf, type_: str) -> None:
    rule = 1 if type_ == "withdraws" else None
    score = attests("alice", "bob")
    record = withdraws("alice", score, rule, type_)
    finding = shelf.asks(record)
    assert finding.reason is Reason.REFERENCE_UNKNOWN
    assert finding.waits_for == (token(K.ATTESTATION, str(score.record["attestation_id"])),)
    shelf.add(score)
    assert shelf.reason(record) is Reason.NONE
    for inner in ({}, {"references_attestation_id": ""}, {"references_attestation_id": 1}):
        more = {} if rule is None else {"withdraws_admission_rule": rule}
        nameless = attests("alice", "bob", type_, inner, **more)
        assert shelf.reason(nameless) is Reason.REFERENCE_MISSING


def test_withdraws_names_one_of_four_rules_and_nothing_else_does(shelf: Shelf) -> None:
    score = shelf.add(attests("alice", "bob"))
    for rule in (None, 0, 5):
        assert shelf.reason(withdraws("alice", score, rule)) is Reason.WITHDRAWS_RULE_INVALID
    assert shelf.reason(withdraws("alice", score, 1)) is Reason.NONE
    for rule in (1, 7):
        stray = attests("alice", "bob", withdraws_admission_rule=rule)
        assert shelf.reason(stray) is Reason.WITHDRAWS_RULE_INVALID


@pytest.mark.parametrize("type_", ["supersedes", "recants"])
def test_only_who_made_it_supersedes_or_recants(shelf: Shelf, type_: str) -> None:
    score = shelf.add(attests("alice", "bob"))
    assert shelf.reason(withdraws("alice", score, None, type_)) is Reason.NONE
    assert shelf.reason(withdraws("bob", score, None, type_)) is Reason.REFERENCE_NOT_ENTITLED


def test_rule_1_the_producer_withdraws(shelf: Shelf) -> None:
    score = shelf.add(attests("alice", "bob", subject_key_ids=[key_id("carol")]))
    assert shelf.reason(withdraws("alice", score, 1)) is Reason.NONE
    for other in ("bob", "carol", "dave"):
        assert shelf.reason(withdraws(other, score, 1)) is Reason.REFERENCE_NOT_ENTITLED


def test_rule_2_whom_it_is_about_withdraws(shelf: Shelf) -> None:
    score = shelf.add(attests("alice", "bob", subject_key_ids=[key_id("carol")]))
    assert shelf.reason(withdraws("bob", score, 2)) is Reason.NONE
    assert shelf.reason(withdraws("carol", score, 2)) is Reason.NONE
    for other in ("alice", "dave"):
        assert shelf.reason(withdraws(other, score, 2)) is Reason.REFERENCE_NOT_ENTITLED


def test_rule_3_who_may_act_for_whom_it_is_about_withdraws(shelf: Shelf) -> None:
    score = shelf.add(attests("alice", "bob", subject_key_ids=[key_id("root")]))
    record = withdraws("dave", score, 3, acting_for="bob")
    finding = shelf.asks(record)
    assert finding.reason is Reason.REFERENCE_NOT_ENTITLED
    assert delegation_token(key_id("bob"), key_id("dave")) in finding.waits_for
    shelf.add(delegates("bob", "carol", ACT), delegates("carol", "dave", ACT))
    for who in ("bob", "root"):
        allowed = withdraws("carol", score, 3, acting_for=who)
        assert (shelf.reason(allowed) is Reason.NONE) is (who == "bob"), "for whom it says"
    assert shelf.reason(record) is Reason.REFERENCE_NOT_ENTITLED, "directly, not by a chain"
    assert shelf.reason(withdraws("bob", score, 3)) is Reason.REFERENCE_NOT_ENTITLED
    shelf.add(delegates("alice", "carol", ACT))
    producers = withdraws("carol", score, 3, acting_for="alice")
    assert shelf.reason(producers) is Reason.REFERENCE_NOT_ENTITLED, "for whom it is about"


def test_rule_4_a_chain_of_delegations_from_the_producer_withdraws(shelf: Shelf) -> None:
    score = shelf.add(attests("alice", "bob"))
    shelf.add(delegates("alice", "carol", ACT))
    assert shelf.reason(withdraws("carol", score, 4, acting_for="alice")) is Reason.NONE
    record = withdraws("dave", score, 4, acting_for="alice", chain=[key_id("carol")])
    finding = shelf.asks(record)
    assert finding.reason is Reason.REFERENCE_NOT_ENTITLED
    assert delegation_token(key_id("carol"), key_id("dave")) in finding.waits_for
    shelf.add(delegates("carol", "dave", ["act_on_behalf"]))
    assert shelf.reason(record) is Reason.NONE
    silent = withdraws("dave", score, 4, acting_for="alice")
    assert shelf.reason(silent) is Reason.REFERENCE_NOT_ENTITLED, "chains are named, not searched"
    shelf.add(delegates("bob", "carol", ACT))
    subjects = withdraws("dave", score, 4, acting_for="bob", chain=[key_id("carol")])
    assert shelf.reason(subjects) is Reason.REFERENCE_NOT_ENTITLED, "from who made it"


@pytest.mark.parametrize("rule", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "chain",
    [[], ["a", "a"], ["a", 1], [""], "a", {}, [f"d{n}" for n in range(DELEGATION_LINKS_MAX)]],
    ids=str,
)
def test_a_chain_is_a_short_list_of_keys(shelf: Shelf, rule: int, chain: Any) -> None:
    score = shelf.add(attests("alice", "bob"))
    record = withdraws("dave", score, rule, acting_for="alice", chain=chain)
    assert shelf.reason(record) is Reason.DELEGATION_CHAIN_MALFORMED


def test_only_rule_4_names_a_chain(shelf: Shelf) -> None:
    score = shelf.add(attests("alice", "bob"))
    chain = [key_id("carol")]
    for rule in (1, 2, 3):
        record = withdraws("alice", score, rule, chain=chain)
        assert shelf.reason(record) is Reason.DELEGATION_CHAIN_MALFORMED
    stray = attests("alice", "bob", inner={**SCORE, "delegation_chain": chain})
    assert shelf.reason(stray) is Reason.DELEGATION_CHAIN_MALFORMED


def test_any_record_under_the_id_will_do(shelf: Shelf) -> None:
    """Ids are free text: a second record under an id must not take the first one's place."""
    score = attests("alice", "bob")
    same_id = str(score.record["attestation_id"])
    shelf.add(attests("dave", "bob", attestation_id=same_id), score)
    for name in ("alice", "dave"):
        assert shelf.reason(withdraws(name, score, 1)) is Reason.NONE


def test_a_delegation_carries_the_scope_and_is_in_force(shelf: Shelf) -> None:
    score = shelf.add(attests("alice", "bob"))
    record = withdraws("carol", score, 4, at_ms=AT_MS + MINUTE_MS, acting_for="alice")
    shelf.add(
        delegates("alice", "carol", ["agency:decide"]),
        delegates("alice", "carol", ACT, AT_MS + 2 * MINUTE_MS),
        delegates("alice", "carol", ACT, expires_at=from_unix_ms(AT_MS + MINUTE_MS)),
    )
    assert shelf.reason(record) is Reason.REFERENCE_NOT_ENTITLED
    shelf.add(delegates("alice", "carol", ACT, expires_at=from_unix_ms(AT_MS + MINUTE_MS + 1)))
    assert shelf.reason(record) is Reason.NONE


def test_a_chain_of_all_the_links_there_may_be(shelf: Shelf) -> None:
    score = shelf.add(attests("alice", "bob"))
    names = ["alice", *(f"d{n}" for n in range(DELEGATION_LINKS_MAX))]
    shelf.know(*names)
    between = [key_id(name) for name in names[1:-1]]
    record = withdraws(names[-1], score, 4, acting_for="alice", chain=between)
    links = [delegates(giver, taker, ACT) for giver, taker in itertools.pairwise(names)]
    shelf.add(*links[1:])
    assert shelf.reason(record) is Reason.REFERENCE_NOT_ENTITLED
    shelf.add(links[0])
    assert shelf.reason(record) is Reason.NONE


def test_a_crowd_of_delegations_takes_nothing_away(shelf: Shelf) -> None:
    """Searching a chain up to a limit would: whoever is in it could fill the search."""
    score = shelf.add(attests("alice", "bob"))
    shelf.add(delegates("alice", "carol", ACT), delegates("carol", "dave", ACT))
    record = withdraws("dave", score, 4, acting_for="alice", chain=[key_id("carol")])
    assert shelf.reason(record) is Reason.NONE
    for n in range(300):
        columns = {
            "attested_key_id": f"sock{n}",
            "attestation_type": "delegates_to",
            "attestation_envelope": {"delegated_scope": ACT},
        }
        shelf.add(made(K.ATTESTATION, columns, "carol"))
    assert shelf.reason(record) is Reason.NONE


# -- whose eyes it is for ------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["self", "family"])
def test_what_is_private_stays_local(shelf: Shelf, scope: str) -> None:
    assert shelf.reason(attests("alice", "bob", cohort_scope=scope)) is Reason.SCOPE_PRIVATE
    assert shelf.reason(attests("alice", "bob", cohort_scope=scope, tier="local")) is Reason.NONE
    assert shelf.reason(attests("alice", "bob", cohort_scope="species")) is Reason.NONE
