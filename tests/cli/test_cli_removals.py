"""`occurrence add`, `remove` and `location prove`: their own options."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.records.kinds import EnvelopeKind
from support.authoring import TakingNode, introduce, key_of, shells
from support.cli import Shell, shell

BOB = "bob-abcdefghijklmnop"
CAROL = "carol-abcdefghijklmnop"
CELL = "872830828ffffff"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[TakingNode]:
    node = TakingNode(shell(tmp_path / "home"))
    with node.running():
        yield node


def signed(node: TakingNode, *arguments: str) -> dict[str, Any]:
    node.sh.ok(*arguments, "--yes")
    return node.last.record


# -- occurrence ----------------------------------------------------------------------------------

ADD = ("occurrence", "add", "alice-phone", "--device-class", "phone")


def test_an_occurrence_is_of_this_node_unless_said_otherwise(node: TakingNode) -> None:
    record = signed(node, *ADD)
    assert record["identity_key_id"] == key_of(node.sh).key_id
    assert record["occurrence_key_id"] == "alice-phone"
    assert "encryption_pubkeys" not in record
    assert signed(node, *ADD, "--identity", BOB)["identity_key_id"] == BOB


def test_an_occurrence_can_end_by_itself(node: TakingNode) -> None:
    record = signed(node, *ADD, "--valid-until", "2030-01-01T01:00:00+01:00")
    assert record["valid_until"] == "2030-01-01T00:00:00Z"


def encryption_keys(*, mlkem_bytes: int = 1184) -> dict[str, str]:
    return {
        "x25519_base64": base64.b64encode(bytes(range(1, 33))).decode(),
        "ml_kem_768_base64": base64.b64encode(b"\x07" * mlkem_bytes).decode(),
    }


def test_encryption_keys_come_from_a_file(node: TakingNode, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(encryption_keys()))
    record = signed(node, *ADD, "--encryption-keys", str(path))
    assert record["encryption_pubkeys"] == encryption_keys()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        json.dumps({"x25519_base64": "AA=="}),
        json.dumps({"x25519_base64": encryption_keys()["x25519_base64"]}),
        json.dumps(encryption_keys(mlkem_bytes=1183)),
        json.dumps({**encryption_keys(), "more": "x"}),
        json.dumps({**encryption_keys(), "x25519_base64": 7}),
        " " * 9000,
    ],
)
def test_a_file_without_both_keys_is_refused(node: TakingNode, tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    line = node.sh.error(*ADD, "--encryption-keys", str(path), "--yes")
    assert str(path) in line
    assert "ml_kem_768_base64" in line
    assert node.held == []


def test_a_missing_file_is_named(node: TakingNode, tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    assert str(path) in node.sh.error(*ADD, "--encryption-keys", str(path), "--yes")


# -- remove --------------------------------------------------------------------------------------

REMOVALS = [
    (
        EnvelopeKind.IDENTITY_OCCURRENCE_REVOCATION,
        ("remove", "occurrence", "alice-phone", "--identity", BOB, "--unknown"),
        {"identity_key_id": BOB, "occurrence_key_id": "alice-phone"},
    ),
    (
        EnvelopeKind.FAMILY_MEMBERSHIP_REVOCATION,
        ("remove", "family-member", "fam-1", CAROL, "--unknown"),
        {"family_key_id": "fam-1", "removed_identity_key_id": CAROL},
    ),
    (
        EnvelopeKind.COMMUNITY_MEMBERSHIP_REVOCATION,
        ("remove", "community-member", "com-1", CAROL, "--unknown"),
        {"community_key_id": "com-1", "removed_identity_key_id": CAROL},
    ),
]


@pytest.mark.parametrize(("kind", "arguments", "subject"), REMOVALS)
def test_a_removal_names_who_when_why_and_who_saw_it(
    node: TakingNode, kind: EnvelopeKind, arguments: tuple[str, ...], subject: dict[str, str]
) -> None:
    record = signed(
        node,
        *arguments,
        *("--effective", "2026-11-20T09:00:00+01:00", "--reason", "moved away"),
        *("--witness", CAROL, "--witness", BOB, "--witness", CAROL),
    )
    assert node.last.kind is kind
    assert record.items() >= subject.items()
    assert record["effective_at"] == "2026-11-20T08:00:00Z"
    assert record["reason"] == "moved away"
    assert record["witness_set"] == [BOB, CAROL]


@pytest.mark.parametrize(("kind", "arguments", "subject"), REMOVALS)
def test_a_removal_is_effective_now_when_nothing_is_said(
    node: TakingNode, kind: EnvelopeKind, arguments: tuple[str, ...], subject: dict[str, str]
) -> None:
    record = signed(node, *arguments)
    assert record["effective_at"] in (record.get("removed_at"), record.get("revoked_at"))
    assert not {"reason", "witness_set"} & record.keys()


def test_a_device_is_removed_from_this_node_unless_said_otherwise(node: TakingNode) -> None:
    record = signed(node, "remove", "occurrence", "alice-phone", "--unknown")
    assert record["identity_key_id"] == key_of(node.sh).key_id


def removed_by(sh: Shell, *arguments: str) -> str:
    """The device that a node which does not run said is gone."""
    envelope = sh.json("records", sh.ok(*arguments, "--yes").strip())["envelope"]
    (record,) = (it for it in json.loads(envelope).values() if isinstance(it, dict))
    return str(record["occurrence_key_id"])


def test_who_is_not_there_is_not_removed(tmp_path: Path) -> None:
    """A removal is for good, and so is one that names the wrong key."""
    sh, phone, tablet = shells(tmp_path, "alice", "phone", "tablet")
    introduce(sh, phone, tablet)
    one, other = key_of(phone).key_id, key_of(tablet).key_id
    assert "No device of it is known." in sh.error("remove", "occurrence", one, "--yes")
    sh.ok("occurrence", "add", one, "--device-class", "phone", "--yes")
    line = sh.error("remove", "occurrence", other, "--yes")
    assert f"{other} is no device of {key_of(sh).key_id} by what is here" in line
    assert f"There are: {one}. Add --unknown" in line
    assert removed_by(sh, "remove", "occurrence", "phone") == one
    sh.ok("remove", "occurrence", other, "--unknown", "--yes")
    sh.ok("family", "create", "Us", "--member", one, "--yes")
    (us,) = (row["subject"] for row in sh.json("records", "--kind", "family"))
    line = sh.error("remove", "family-member", us, other, "--yes")
    assert f"{other} is no member of {us} by" in line
    assert one in line
    assert "No member of it is known." in sh.error("remove", "family-member", "su", one, "--yes")


def test_a_time_that_is_none_is_said(node: TakingNode) -> None:
    for arguments in ((*REMOVALS[1][1], "--effective"), (*ADD, "--valid-until")):
        assert "'soon' is no time" in node.sh.error(*arguments, "soon", "--yes")
    assert node.held == []


# -- location ------------------------------------------------------------------------------------


def test_the_resolution_comes_from_the_id(node: TakingNode) -> None:
    record = signed(node, "location", "prove", "85196903fffffff")
    assert record["cell_id"] == "85196903fffffff"
    assert record["cell_resolution"] == 5
    assert record["subject_key_id"] == key_of(node.sh).key_id
    assert "withdrawn_at" not in record


def test_a_delegate_can_prove_for_another(node: TakingNode) -> None:
    until = "2030-01-01T00:00:00Z"
    arguments = ("location", "prove", CELL, "--resolution", "7", "--subject", BOB)
    record = signed(node, *arguments, "--valid-until", until)
    assert (record["subject_key_id"], record["valid_until"]) == (BOB, until)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((CELL.upper(),), "in lowercase"),
        ((CELL, "--resolution", "6"), "has resolution 7, not 6"),
        (("88196901e7fffff",), "87196901effffff is the one around it"),
        (("8f196901e60d16e",), "too precise"),
        (("0872830828ffffff",), "no H3 cell"),
        (("52.1,5.3",), "no H3 cell"),
        (("87f400000ffffff",), "no such cell"),
    ],
)
def test_what_is_no_cell_or_too_precise_is_refused(
    node: TakingNode, arguments: tuple[str, ...], text: str
) -> None:
    assert text in node.sh.error("location", "prove", *arguments, "--yes")
    assert node.held == []
