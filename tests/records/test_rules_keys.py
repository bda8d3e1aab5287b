"""What key records must show, and when a key counts as rooted here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.records.rules.keys import NONCE_AGE_MS_MAX, is_root, rooted_as
from ciris_mesh.records.timestamps import from_unix_ms
from ciris_mesh.records.tokens import STEWARDS, rooted_token
from support.keys import key
from support.records import AT_MS
from support.rulebook import Shelf, key_id, key_record

ROOTS = {key_id("root"): key("root").public.fingerprint}
TRUST = Trust(roots=ROOTS, hardware_types=frozenset({"tpm"}))
EVIDENCE = {
    "platform_attestation": {"hardware_type": "tpm", "quote": "q"},
    "nonce_captured_at": from_unix_ms(AT_MS - 1000),
}


@pytest.mark.parametrize("types", ["agent", "accord", "agent,steward", "agent,node,steward"])
def test_identity_types_are_a_sorted_set(types: str) -> None:
    assert Shelf().reason(key_record("alice", types)) is Reason.NONE


@pytest.mark.parametrize(
    "types", ["", "steward,agent", "agent,agent", "agent, steward", "agent,", ",agent", " agent"]
)
def test_any_other_spelling_of_identity_types_is_refused(types: str) -> None:
    assert Shelf().reason(key_record("alice", types)) is Reason.IDENTITY_TYPE_MALFORMED


def accord(evidence: Any) -> Reason:
    return Shelf(TRUST).reason(
        key_record("alice", "accord_holder,agent", attestation_evidence=evidence)
    )


def test_an_accord_holder_shows_its_hardware() -> None:
    assert accord(EVIDENCE) is Reason.NONE
    assert accord(None) is Reason.ACCORD_EVIDENCE_MISSING


def test_nobody_else_needs_to() -> None:
    assert Shelf(TRUST).reason(key_record("alice", "agent")) is Reason.NONE


@pytest.mark.parametrize(
    "change",
    [
        {"platform_attestation": None},
        {"platform_attestation": "tpm"},
        {"platform_attestation": {}},
        {"platform_attestation": {"hardware_type": 1}},
        {"nonce_captured_at": None},
        {"nonce_captured_at": "yesterday"},
        {"nonce_captured_at": 1},
    ],
)
def test_its_evidence_is_complete(change: dict[str, Any]) -> None:
    assert accord(EVIDENCE | change) is Reason.ACCORD_EVIDENCE_INCOMPLETE


@pytest.mark.parametrize(
    ("before_ms", "reason"),
    [
        (0, Reason.NONE),
        (NONCE_AGE_MS_MAX, Reason.NONE),
        (NONCE_AGE_MS_MAX + 1, Reason.ACCORD_EVIDENCE_STALE),
        (-1, Reason.ACCORD_EVIDENCE_STALE),
    ],
)
def test_its_evidence_is_of_the_day_of_signing(before_ms: int, reason: Reason) -> None:
    assert accord(EVIDENCE | {"nonce_captured_at": from_unix_ms(AT_MS - before_ms)}) is reason


def test_its_hardware_is_one_this_node_accepts() -> None:
    other = {"platform_attestation": {"hardware_type": "software"}}
    assert accord(EVIDENCE | other) is Reason.HARDWARE_TYPE_NOT_ACCEPTED
    record = key_record("alice", "accord_holder", attestation_evidence=EVIDENCE)
    assert Shelf(Trust()).reason(record) is Reason.HARDWARE_TYPE_NOT_ACCEPTED, "denied by default"


# -- rooted --------------------------------------------------------------------------------------


def rooted(shelf: Shelf, name: str, word: str = "witness") -> bool:
    finding = rooted_as(word, key_id(name), shelf, shelf.trust)
    assert finding.is_fine or finding.reason is Reason.NOT_ROOTED
    return finding.is_fine


def with_root(**options: Any) -> Shelf:
    shelf = Shelf(TRUST, **options)
    shelf.know("root", types="steward")
    return shelf


def test_a_key_a_root_vouched_for_is_rooted_as_what_the_root_signed() -> None:
    shelf = with_root()
    shelf.add(key_record("alice", "witness", by="root"))
    assert rooted(shelf, "alice")
    assert not rooted(shelf, "alice", "substrate_persist")


def test_calling_oneself_something_is_worth_nothing() -> None:
    shelf = with_root()
    shelf.add(key_record("alice", "agent", by="root"), key_record("alice", "witness"))
    assert not rooted(shelf, "alice"), "the root vouched for an agent"


def test_a_root_is_rooted_as_all_it_says() -> None:
    shelf = Shelf(TRUST)
    shelf.know("root", types="steward,witness")
    assert rooted(shelf, "root")
    assert not rooted(shelf, "root", "accord_holder"), "and as nothing else"


def test_nobody_else_can_say_that_a_key_is_a_root() -> None:
    record = key_record("root", "steward")
    assert is_root(record, TRUST)
    assert not is_root(key_record("root", "steward", by="alice"), TRUST)
    assert not is_root(key_record("root", "witness"), TRUST)
    assert not is_root(record, Trust(roots={key_id("root"): bytes(32)}))


def test_a_root_says_itself_that_it_is_a_steward() -> None:
    shelf = Shelf(TRUST)
    shelf.know("root", types="witness")
    shelf.add(key_record("alice", "witness", by="root"))
    assert not rooted(shelf, "alice")
    assert not rooted(shelf, "root")
    shelf.add(key_record("root", "steward", by="alice"))
    assert not rooted(shelf, "alice"), "nobody else can say it"
    shelf.know("root", types="steward")
    assert rooted(shelf, "alice")


def test_a_steward_who_is_no_root_here_roots_nobody() -> None:
    shelf = with_root()
    shelf.know("mallory", types="steward")
    shelf.add(key_record("alice", "witness", by="mallory"))
    assert not rooted(shelf, "alice")


def test_a_steward_made_by_a_root_roots_others() -> None:
    shelf = with_root()
    shelf.add(key_record("alice", "witness", by="zed"))
    shelf.add(key_record("zed", "agent", by="root", ref="first"))
    assert not rooted(shelf, "alice"), "who was signed for as an agent makes nobody anything"
    shelf.add(key_record("zed", "agent,steward", by="root"))
    assert rooted(shelf, "alice")


def test_nobody_promotes_himself_through_a_friend() -> None:
    shelf = with_root()
    shelf.add(key_record("bob", "agent", by="root"))
    shelf.know("sock")
    shelf.add(key_record("sock", "steward", by="bob"), key_record("bob", "witness", by="sock"))
    assert not rooted(shelf, "bob")
    shelf.add(key_record("bob", "steward,witness", by="bob", ref="myself"))
    assert not rooted(shelf, "bob")


def test_a_root_is_its_whole_fingerprint() -> None:
    shelf = Shelf(Trust(roots={key_id("root"): bytes(32)}))
    shelf.know("root", types="steward")
    shelf.add(key_record("alice", "witness", by="root"))
    assert not rooted(shelf, "alice")


def test_a_circle_of_vouching_ends_and_roots_nobody() -> None:
    shelf = with_root()
    shelf.add(key_record("a", "steward", by="b"), key_record("b", "steward,witness", by="a"))
    assert not rooted(shelf, "b")
    shelf.add(key_record("a", "steward", by="root"))
    assert rooted(shelf, "b"), "one honest link above is enough"


def test_what_could_root_it_is_waited_for() -> None:
    shelf = with_root()
    finding = rooted_as("witness", key_id("alice"), shelf, TRUST)
    assert finding.waits_for == (rooted_token(key_id("alice")), STEWARDS)
    assert rooted_token(key_id("alice")) in shelf.publishes(key_record("alice", by="root"))
    assert STEWARDS in shelf.publishes(key_record("zed", "steward", by="root"))
    assert not {rooted_token(key_id("alice")), STEWARDS} & (
        shelf.publishes(key_record("alice", by="mallory", ref="a"))
        | shelf.publishes(key_record("alice", "steward", ref="b"))
        | shelf.publishes(key_record("zed", "steward", by="mallory", ref="c"))
    ), "strangers wake nobody"


class CountingShelf(Shelf):
    """Counts the records that are looked at."""

    looked_at = 0
    stewards_known: frozenset[str] | None = None

    def stewards(self) -> frozenset[str]:
        return super().stewards() if self.stewards_known is None else self.stewards_known

    def named(self, token: str) -> Iterator[Envelope]:
        for record in super().named(token):
            self.looked_at += 1
            yield record


def test_strangers_who_vouch_cost_nothing() -> None:
    shelf = CountingShelf(TRUST)
    shelf.know("root", types="steward")
    crowd = [f"sybil{n}" for n in range(40)]
    shelf.add(*(key_record("alice", "witness", by=name, ref=name) for name in crowd))
    shelf.add(*(key_record("alice", "witness", ref=name) for name in crowd))
    shelf.stewards_known = shelf.stewards()
    shelf.looked_at = 0
    assert not rooted(shelf, "alice")
    assert shelf.looked_at == 0
    shelf.add(key_record("alice", "witness", by="root"))
    assert rooted(shelf, "alice")
    assert shelf.looked_at == 1
