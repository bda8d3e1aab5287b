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
from ciris_mesh.records.tokens import delegation_token, key_token, token
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
    by: str, what: Envelope, rule: int | None, type_: str = "withdraws", at_ms: int = AT_MS
) -> Envelope:
    inner = {"references_attestation_id": what.record["attestation_id"]}
    more = {} if rule is None else {"withdraws_admission_rule": rule}
    return attests(by, by, type_, inner, at_ms, **more)


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
    assert key_token(key_id("alice")) in finding.waits_for
    shelf.add(key_record("alice", "agent", by="root"))
    assert shelf.reason(record) is Reason.NOT_ROOTED, "rooted as something else"
    shelf.add(key_record("alice", word, by="root"))
    assert shelf.reason(record) is Reason.NONE


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
    assert finding.waits_for == (key_token(key_id("relay")),)
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
    score = shelf.add(attests("alice", "bob"))
    finding = shelf.asks(withdraws("dave", score, 3))
    assert finding.reason is Reason.REFERENCE_NOT_ENTITLED
    assert delegation_token(key_id("bob")) in finding.waits_for
    shelf.add(delegates("bob", "carol", ACT), delegates("carol", "dave", ACT))
    assert shelf.reason(withdraws("carol", score, 3)) is Reason.NONE
    assert shelf.reason(withdraws("dave", score, 3)) is Reason.REFERENCE_NOT_ENTITLED, (
        "directly, not by a chain"
    )
    assert shelf.reason(withdraws("bob", score, 3)) is Reason.REFERENCE_NOT_ENTITLED


def test_rule_4_a_chain_of_delegations_from_the_producer_withdraws(shelf: Shelf) -> None:
    score = shelf.add(attests("alice", "bob"))
    shelf.add(delegates("alice", "carol", ACT))
    finding = shelf.asks(withdraws("dave", score, 4))
    assert finding.reason is Reason.REFERENCE_NOT_ENTITLED
    assert {delegation_token(key_id(name)) for name in ("alice", "carol")} <= set(finding.waits_for)
    shelf.add(delegates("carol", "dave", ["act_on_behalf"]))
    assert shelf.reason(withdraws("dave", score, 4)) is Reason.NONE
    assert shelf.reason(withdraws("bob", score, 4)) is Reason.REFERENCE_NOT_ENTITLED


def test_any_record_under_the_id_will_do(shelf: Shelf) -> None:
    """Ids are free text: a second record under an id must not take the first one's place."""
    score = attests("alice", "bob")
    same_id = str(score.record["attestation_id"])
    shelf.add(attests("dave", "bob", attestation_id=same_id), score)
    for name in ("alice", "dave"):
        assert shelf.reason(withdraws(name, score, 1)) is Reason.NONE


def test_a_delegation_carries_the_scope_and_is_in_force(shelf: Shelf) -> None:
    score = shelf.add(attests("alice", "bob"))
    record = withdraws("carol", score, 4, at_ms=AT_MS + MINUTE_MS)
    shelf.add(
        delegates("alice", "carol", ["agency:decide"]),
        delegates("alice", "carol", ACT, AT_MS + 2 * MINUTE_MS),
        delegates("alice", "carol", ACT, expires_at=from_unix_ms(AT_MS + MINUTE_MS)),
    )
    assert shelf.reason(record) is Reason.REFERENCE_NOT_ENTITLED
    shelf.add(delegates("alice", "carol", ACT, expires_at=from_unix_ms(AT_MS + MINUTE_MS + 1)))
    assert shelf.reason(record) is Reason.NONE


def test_chains_of_delegations_are_short_and_circles_end(shelf: Shelf) -> None:
    score = shelf.add(attests("alice", "bob"))
    names = ["alice", *(f"d{n}" for n in range(DELEGATION_LINKS_MAX + 1))]
    for giver, taker in itertools.pairwise(names):
        shelf.add(delegates(giver, taker, ACT), delegates(taker, giver, ACT))
    shelf.know(*names)
    assert shelf.reason(withdraws(names[DELEGATION_LINKS_MAX], score, 4)) is Reason.NONE
    too_far = withdraws(names[DELEGATION_LINKS_MAX + 1], score, 4)
    assert shelf.reason(too_far) is Reason.REFERENCE_NOT_ENTITLED


# -- whose eyes it is for ------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["self", "family"])
def test_what_is_private_stays_local(shelf: Shelf, scope: str) -> None:
    assert shelf.reason(attests("alice", "bob", cohort_scope=scope)) is Reason.SCOPE_PRIVATE
    assert shelf.reason(attests("alice", "bob", cohort_scope=scope, tier="local")) is Reason.NONE
    assert shelf.reason(attests("alice", "bob", cohort_scope="species")) is Reason.NONE
