"""`family` and `community`: rosters, protocols, places."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.authoring import TakingNode, key_of
from support.cli import shell

BOB = "bob-abcdefghijklmnop"
CAROL = "carol-ponmlkjihgfedcba"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[TakingNode]:
    node = TakingNode(shell(tmp_path / "home"))
    with node.running():
        yield node


def founded(node: TakingNode, *arguments: str) -> dict[str, object]:
    node.sh.ok(*arguments, "--yes")
    return node.last.record


def roster(node: TakingNode) -> dict[str, str | None]:
    return {entry["key_id"]: entry.get("role") for entry in node.last.record["members"]}


def test_this_node_is_a_founder_and_the_others_are_what_they_are_named(node: TakingNode) -> None:
    record = founded(node, "family", "create", "F", "--founder", BOB, "--member", CAROL)
    me = key_of(node.sh).key_id
    assert roster(node) == {me: "founder", BOB: "founder", CAROL: None}
    assert [entry["key_id"] for entry in node.last.record["members"]] == sorted(roster(node))
    assert record["consensus_protocol"] == "founder_only"
    assert record["consensus_protocol_entrenched"] is False
    assert {entry["joined_at"] for entry in node.last.record["members"]} == {record["founded_at"]}


def test_this_node_can_be_a_plain_member(node: TakingNode) -> None:
    me = key_of(node.sh).key_id
    founded(node, "family", "create", "F", "--founder", BOB, "--member", me)
    assert roster(node) == {me: None, BOB: "founder"}


def test_one_key_is_not_founder_and_member(node: TakingNode) -> None:
    result = node.sh.run("family", "create", "F", "--founder", BOB, "--member", BOB, "--yes")
    assert result.exit_code == 2
    assert "choose one" in result.output


def test_ids_are_made_from_the_name_and_are_no_two_alike(node: TakingNode) -> None:
    first = founded(node, "family", "create", "The Sm\u00eeths & Co")["family_key_id"]
    second = founded(node, "family", "create", "The Sm\u00eeths & Co")["family_key_id"]
    assert isinstance(first, str)
    assert first.startswith("family-the-sm-ths-co-")
    assert first != second
    nameless = founded(node, "community", "create", "\u98a8")["community_key_id"]
    assert isinstance(nameless, str)
    assert nameless.startswith("community-")
    assert nameless.count("-") == 1


def test_an_id_can_be_given(node: TakingNode) -> None:
    assert founded(node, "family", "create", "F", "--id", "fam-1")["family_key_id"] == "fam-1"


@pytest.mark.parametrize(
    "protocol", ["founder_only", "unanimous", "majority", "quorum:1/1", "weighted:x", "custom:y"]
)
def test_protocols_one_founder_can_meet_or_nobody_here_can_judge(
    node: TakingNode, protocol: str
) -> None:
    record = founded(node, "community", "create", "C", "--protocol", protocol)
    assert record["consensus_protocol"] == protocol
    assert "policy_blob" not in record


@pytest.mark.parametrize(
    "protocol", ["", "quorum:3/2", "quorum:0/0", "quorum:01/2", "anarchy", "weighted:"]
)
@pytest.mark.parametrize("word", ["family", "community"])
def test_what_is_no_protocol_is_refused(node: TakingNode, word: str, protocol: str) -> None:
    assert "no consensus protocol" in node.sh.error(word, "create", "F", "--protocol", protocol)
    assert node.held == []


@pytest.mark.parametrize("protocol", ["unanimous", "majority", "quorum:2/3"])
def test_a_protocol_that_needs_several_leads_to_a_file(node: TakingNode, protocol: str) -> None:
    line = node.sh.error("family", "create", "F", "--founder", BOB, "--protocol", protocol, "--yes")
    assert "asks for 2 signatures" in line
    assert "--cosign-file FILE" in line
    assert node.held == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--protocol", "quorum:2/2"), "asks for 2 of its members, and there are 1"),
        (("--member", "ME"), "asks for 1 of its founders, and there are 0"),
    ],
)
def test_a_protocol_nobody_can_meet_is_refused(
    node: TakingNode, arguments: tuple[str, ...], text: str
) -> None:
    words = [key_of(node.sh).key_id if word == "ME" else word for word in arguments]
    assert text in node.sh.error("family", "create", "F", *words, "--yes")
    assert node.held == []


def test_a_protocol_that_takes_more_signatures_than_fit_is_refused(node: TakingNode) -> None:
    keys = [f"m{n}-{chr(97 + n) * 16}" for n in range(14)]
    others = [word for one in keys for word in ("--founder", one)]
    words = ("family", "create", "F", *others, "--protocol", "unanimous", "--cosign-file", "f")
    line = node.sh.error(*words, "--yes")
    assert "asks for 15 signatures and one record holds 14" in line
    assert node.held == []


def test_entrenched(node: TakingNode) -> None:
    record = founded(node, "family", "create", "F", "--entrenched")
    assert record["consensus_protocol_entrenched"] is True
    assert node.sh.run("community", "create", "C", "--entrenched").exit_code == 2


def test_a_geographic_community(node: TakingNode) -> None:
    record = founded(node, "community", "create", "C", "--cell", "872830828ffffff")
    assert record["policy_blob"] == {
        "cohort_subkind": "geographic",
        "geographic_constraint": {"cell_id": "872830828ffffff", "cell_resolution": 7},
    }


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("872830828FFFFFF", "in lowercase"),
        ("88196901e7fffff", "87196901effffff is the one around it"),
        ("riverside", "no H3 cell"),
    ],
)
def test_a_cell_that_must_not_be_told_is_refused(node: TakingNode, cell: str, text: str) -> None:
    assert text in node.sh.error("community", "create", "C", "--cell", cell, "--yes")
    assert node.held == []


def test_an_infrastructure_community(node: TakingNode) -> None:
    arguments = ("community", "create", "C", "--infrastructure", "--protocol", "quorum:1/1")
    record = founded(node, *arguments, "--member", BOB)
    assert record["policy_blob"] == {"cohort_subkind": "infrastructure"}


@pytest.mark.parametrize("protocol", ["founder_only", "majority", "quorum:1/2", "quorum:2/3"])
def test_an_infrastructure_community_decides_by_a_founder_quorum(
    node: TakingNode, protocol: str
) -> None:
    arguments = ("community", "create", "C", "--infrastructure", "--founder", BOB)
    line = node.sh.error(*arguments, "--protocol", protocol, "--yes")
    assert "--protocol quorum:2/2" in line
    assert node.held == []


def test_a_place_and_a_service_are_two_communities(node: TakingNode) -> None:
    arguments = ("community", "create", "C", "--infrastructure", "--cell", "872830828ffffff")
    assert node.sh.run(*arguments, "--yes").exit_code == 2
