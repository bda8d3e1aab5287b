"""`records`, `attest`, `revoke`: on a store nobody has open, and through a running node."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.runtime.clock import BUILD_DATE_MS, SystemClock
from ciris_mesh.runtime.setup import node_identity
from support.cli import Shell, answering, shell

BOB = "bob-abcdefghijklmnop"
ATTEST = (
    "attest",
    BOB,
    "--dimension",
    "identity:continuity:v1",
    "--score",
    "0.5",
    "--unknown",
    "--yes",
)


def own_id(sh: Shell) -> str:
    return node_identity(sh.home).key_id


def attest(sh: Shell) -> tuple[str, ...]:
    """As ATTEST, about the node itself: a key that is certainly here."""
    return ("attest", own_id(sh), *ATTEST[2:])


@pytest.fixture
def sh(tmp_path: Path) -> Shell:
    return shell(tmp_path / "home")


def test_attest_stores_a_record_signed_by_this_node(sh: Shell) -> None:
    envelope_id = sh.ok(*attest(sh)).strip()
    rows = sh.json("records")
    assert [row["kind"] for row in rows] == ["key", "attestation"]
    row = rows[1]
    assert row["envelope_id"] == envelope_id
    assert row["signers"] == [node_identity(sh.home).key_id]
    assert row["shelf"] == "federation"
    whole = sh.json("records", envelope_id)
    record = json.loads(whole["envelope"])["attestation"]
    assert record["attestation_type"] == "scores"
    assert record["attested_key_id"] == own_id(sh)
    assert record["attestation_envelope"]["score"] == 0.5


def test_rows_have_exactly_these_members(sh: Shell) -> None:
    sh.ok(*attest(sh))
    members = [
        "admitted_at_ms",
        "envelope_id",
        "kind",
        "position",
        "seq",
        "shelf",
        "signers",
        "subject",
    ]
    (row,) = sh.json("records", "--kind", "attestation")
    assert sorted(row) == members
    assert sorted(sh.json("records", row["envelope_id"])) == sorted([*members, "envelope"])


def test_what_will_be_signed_is_shown_first(sh: Shell) -> None:
    talk = sh.run(*attest(sh)).stderr
    shown = json.loads(talk[talk.index("{") :])
    assert shown["dimension"] == "identity:continuity:v1"
    assert shown["attested_key_id"] == own_id(sh)
    assert shown["record_kind"] == "attestation"


def test_without_anybody_to_ask_nothing_is_signed(sh: Shell) -> None:
    result = sh.run(*attest(sh)[:-1])
    assert result.exit_code == 1
    assert "add --yes" in result.stderr
    assert sh.json("records") == []


@pytest.mark.parametrize(("answer", "count"), [("y\n", 2), ("n\n", 0), ("\n", 0)])
def test_a_person_is_asked(
    sh: Shell, monkeypatch: pytest.MonkeyPatch, answer: str, count: int
) -> None:
    monkeypatch.setattr("ciris_mesh.cli.signing.somebody_is_there", lambda: True)
    result = sh.run(*attest(sh)[:-1], input=answer)
    assert "Sign this?" in result.stderr
    assert result.exit_code == (0 if count else 1)
    assert len(sh.json("records")) == count


def test_all_columns_of_an_attestation_can_be_given(sh: Shell) -> None:
    more = ("--type", "scores", "--weight", "0.25", "--expires", "2027-06-01T02:00:00+02:00")
    answer = sh.json(*attest(sh), *more)
    assert (answer["outcome"], answer["reason"]) == ("admitted", "")
    record = json.loads(sh.json("records", answer["envelope_id"])["envelope"])["attestation"]
    assert record["attestation_type"] == "scores"
    assert record["weight"] == 0.25
    assert record["expires_at"] == "2027-06-01T00:00:00Z"


def test_what_is_about_a_key_that_is_not_here_waits_and_says_so(sh: Shell) -> None:
    result = sh.run(*ATTEST)
    assert result.exit_code == 0
    assert f"Kept, not published yet: key_unknown the key of {BOB}" in result.stderr
    assert [row["kind"] for row in sh.json("records")] == ["key"]


def test_revoke(sh: Shell) -> None:
    answer = sh.json(
        "revoke", BOB, "--unknown", "--reason", "compromised", "--effective", "2026-01-01T00:00:00Z"
    )
    record = json.loads(sh.json("records", answer["envelope_id"])["envelope"])["revocation"]
    assert record["revoked_key_id"] == BOB
    assert record["reason"] == "compromised"
    assert record["effective_at"] == "2026-01-01T00:00:00Z"


def test_revoke_is_effective_now_when_nothing_is_said(sh: Shell) -> None:
    answer = sh.json("revoke", BOB, "--unknown")
    record = json.loads(sh.json("records", answer["envelope_id"])["envelope"])["revocation"]
    assert record["effective_at"] == record["revoked_at"]
    assert "reason" not in record


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((*ATTEST, "--expires", "tomorrow"), "'tomorrow' is no time"),
        ((*ATTEST, "--expires", "2026-01-01T00:00:00Z"), "is over already"),
        ((*ATTEST, "--weight", "nan"), "--weight nan is no number that can be signed"),
        (("revoke", BOB, "-y", "--effective", "2099-01-01T00:00:00Z"), "more than a year ahead"),
        (
            ("remove", "occurrence", BOB, "-y", "--effective", "2099-01-01T00:00:00Z"),
            "more than a year ahead",
        ),
        ((*ATTEST[:-3], "inf", "--unknown", "--yes"), "write one like 0.5"),
    ],
)
def test_what_cannot_be_signed_is_said_and_nothing_is_stored(
    sh: Shell, arguments: tuple[str, ...], text: str
) -> None:
    result = sh.run(*arguments)
    assert result.exit_code == 1
    assert text in result.stderr.splitlines()[-1]
    assert sh.json("records") == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("revoke", "two\nlines"),
        ("revoke", BOB, "--unknown", "--yes", "--reason", "x" * 201),
        ("revoke", BOB, "--unknown", "--yes", "--reason", "\u00e9" * 101),
        ("revoke", BOB, "--unknown", "--yes", "--reason", ""),
        ("attest", BOB, "--unknown", "--yes", "--score", "1", "--dimension", ""),
        ("attest", BOB, "--unknown", "--yes", "--score", "1", "--dimension", " "),
    ],
)
def test_what_can_be_no_part_of_a_record_is_wrong_usage(
    sh: Shell, arguments: tuple[str, ...]
) -> None:
    assert sh.run(*arguments).exit_code == 2
    assert sh.json("records") == []


def test_a_reason_of_200_bytes_is_signed(sh: Shell) -> None:
    answer = sh.json("revoke", BOB, "--unknown", "--reason", "\u00e9" * 100)
    assert answer["outcome"] == "admitted"


def test_nothing_is_signed_before_the_build_date(
    sh: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SystemClock, "wall_ms", lambda _: BUILD_DATE_MS - 1)
    assert "before" in sh.error(*attest(sh))
    assert sh.json("records") == []


def test_the_list_goes_on_where_it_ended(sh: Shell) -> None:
    for number in range(4):
        sh.ok("attest", own_id(sh), "--dimension", f"d:{number}", "--score", "1", "--yes")
    first = sh.json("records", "--limit", "2")
    assert len(first) == 2
    rest = sh.json("records", "--after", str(first[-1]["position"]))
    assert len(rest) == 3
    assert not {row["position"] for row in first} & {row["position"] for row in rest}
    result = sh.run("records", "--limit", "2")
    assert f"add --after {first[-1]['position']}" in result.stderr
    assert result.stdout.count(first[0]["envelope_id"][:8]) == 1


def test_a_table_of_records(sh: Shell) -> None:
    envelope_id = sh.ok(*attest(sh)).strip()
    text = sh.ok("records", "--kind", "attestation")
    line = text.splitlines()[-1]
    assert line.startswith(f"{envelope_id[:8]}..")
    assert line.split()[4:] == ["scores", f"{own_id(sh)[:8]}..", "identi..=0.5"]
    assert text.isascii()
    shown = sh.ok("records", envelope_id[:12])
    assert envelope_id in shown
    assert json.loads(shown[shown.index("{") :])["attestation"]["attested_key_id"] == own_id(sh)


def test_a_revocation_shows_whom_and_why(sh: Shell) -> None:
    sh.json("revoke", BOB, "--unknown", "--reason", "lost")
    line = sh.ok("records", "--kind", "revocation").splitlines()[-1]
    assert line.split()[4:] == ["bob-abcd..", "lost"]
    assert line.startswith(sh.json("records", "--kind", "revocation")[0]["envelope_id"][:8])


def test_wide_shortens_nothing(sh: Shell) -> None:
    envelope_id = sh.ok(*attest(sh)).strip()
    text = sh.ok("records", "--wide", "--kind", "attestation")
    assert f"{own_id(sh)}  scores {own_id(sh)} identity:continuity:v1=0.5\n" in text
    assert text.splitlines()[-1].startswith(envelope_id)


def test_a_record_is_shown_without_its_kilobytes_of_signature(sh: Shell) -> None:
    envelope_id = sh.ok(*attest(sh)).strip()
    shown = sh.ok("records", f"{envelope_id[:8]}..")
    record = json.loads(shown[shown.index("{") :])["attestation"]
    assert record["scrub_signature_pqc"].endswith("..")
    assert len(shown) < 3000
    whole = json.loads(sh.json("records", envelope_id)["envelope"])["attestation"]
    assert whole["scrub_signature_pqc"].startswith(record["scrub_signature_pqc"][:-2])
    assert len(whole["scrub_signature_pqc"]) > 4000


def test_an_empty_store(sh: Shell) -> None:
    assert sh.json("records") == []
    assert sh.run("records").stderr == "No records.\n"


@pytest.mark.parametrize("record_id", ["zz", "abc", "ab" * 33, "x" * 64])
def test_an_id_that_is_none_is_refused(sh: Shell, record_id: str) -> None:
    assert "no envelope id" in sh.error("records", record_id)


def test_an_unknown_id_is_said_to_be(sh: Shell) -> None:
    assert "no record with id" in sh.error("records", "ab" * 32)


# -- through a running node ----------------------------------------------------------------------

ROW = {
    "position": 7,
    "kind": "family",
    "envelope_id": "ab" * 32,
    "shelf": "bridged",
    "seq": 0,
    "subject": "fam",
    "signers": ["a", "b"],
    "admitted_at_ms": 1,
}


def test_a_running_node_is_asked(sh: Shell) -> None:
    asked: list[dict[str, Any]] = []

    def rows(arguments: dict[str, Any]) -> list[dict[str, Any]]:
        asked.append(arguments)
        return [ROW] if arguments["after"] < ROW["position"] else []

    whole = {**ROW, "envelope": '{"family": {}}'}
    with answering(sh.home, {"records": rows, "record": lambda _: whole}):
        assert sh.json("records", "--kind", "family") == [ROW]
        assert sh.json("records", "abababab") == whole
    assert asked[0]["kind"] == "family"
    assert asked[0]["after"] == 0


def test_a_bridged_record_says_what_it_lacks(sh: Shell) -> None:
    whole = {
        **ROW, "envelope": '{"family": {}}', "lacks": "signature_missing", "detail": "unsigned",
    }  # fmt: skip
    page = {"records": lambda asked: [] if asked["after"] else [ROW], "record": lambda _: whole}
    with answering(sh.home, page):
        assert sh.json("records", "abababab") == whole
        shown = sh.ok("records", "abababab")
    assert re.search(r"^lacks +signature_missing: unsigned\s*$", shown, re.MULTILINE)


def test_two_records_with_the_same_beginning_need_more_digits(sh: Shell) -> None:
    twins = [{**ROW, "envelope_id": "ab" * 31 + end} for end in ("00", "01")]

    def rows(arguments: dict[str, Any]) -> list[dict[str, Any]]:
        return [] if arguments["after"] else twins

    with answering(sh.home, {"records": rows}):
        assert "2 records have ids beginning with" in sh.error("records", "abababab")


@pytest.mark.parametrize("outcome", ["refused", "malformed"])
def test_a_record_the_node_does_not_take_is_a_failure(sh: Shell, outcome: str) -> None:
    answer = {"outcome": outcome, "reason": "signer_unknown", "envelope_id": None, "detail": "x"}
    with answering(sh.home, {"admit": lambda _: answer, "records": lambda _: []}):
        result = sh.run(*attest(sh))
    assert result.exit_code == 1
    assert f"not stored: {outcome} signer_unknown" in result.stderr


def test_a_record_that_waits_for_another_is_kept_and_not_to_be_signed_again(sh: Shell) -> None:
    answer = {
        "outcome": "deferred",
        "reason": "key_unknown",
        "envelope_id": "ab" * 32,
        "detail": "the key of bob is not here",
    }
    with answering(sh.home, {"admit": lambda _: answer, "records": lambda _: []}):
        result = sh.run(*attest(sh))
    assert result.exit_code == 0
    assert result.stdout == "ab" * 32 + "\n"
    assert "Kept, not published yet: key_unknown the key of bob is not here" in result.stderr


def test_the_node_gets_the_envelope(sh: Shell) -> None:
    asked: list[dict[str, Any]] = []

    def admit(arguments: dict[str, Any]) -> dict[str, Any]:
        asked.append(arguments)
        return {"outcome": "admitted", "reason": "", "envelope_id": "ab" * 32, "detail": ""}

    with answering(sh.home, {"admit": admit, "records": lambda _: []}):
        assert sh.ok(*attest(sh)) == "ab" * 32 + "\n"
    assert asked[0]["kind"] == "attestation"
    assert b'"attestation"' in bytes.fromhex(asked[0]["envelope_hex"])


# -- keys of this node, as `record verify` sees them ---------------------------------------------


@pytest.fixture
def signed(sh: Shell) -> str:
    envelope_id = sh.ok(*attest(sh)).strip()
    return str(sh.json("records", envelope_id)["envelope"])


def verify(sh: Shell, envelope: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(
        sh.ok("record", "verify", "--kind", "attestation", input=f"{envelope}\n")
    )
    return answer


def test_verify_knows_the_keys_of_this_nodes_store(sh: Shell, signed: str) -> None:
    assert verify(sh, signed)["outcome"] == "admitted"


def test_verify_asks_the_running_node_for_keys(sh: Shell, signed: str) -> None:
    key = sh.json("records", sh.json("records", "--kind", "key")[0]["envelope_id"])
    pages: Iterator[list[Any]] = iter([[key], []])
    with answering(sh.home, {"records": lambda _: next(pages), "record": lambda _: key}):
        assert verify(sh, signed)["outcome"] == "admitted"


def test_verify_defers_when_the_running_node_does_not_know_the_signer(
    sh: Shell, signed: str
) -> None:
    with answering(sh.home, {"records": lambda _: []}):
        answer = verify(sh, signed)
    assert (answer["outcome"], answer["reason"]) == ("deferred", "signer_unknown")


def test_verify_stores_nothing(sh: Shell, signed: str, tmp_path: Path) -> None:
    other = shell(tmp_path / "other", "bob")
    assert verify(other, signed)["reason"] == "signer_unknown"
    assert other.json("records") == []


def test_what_is_in_a_table_can_be_asked_about(sh: Shell) -> None:
    """An organization's record has an id nobody ever types; people know the organization."""
    me = own_id(sh)
    config = sh.home.config
    text = config.read_text().replace("\nroot_stewards =", f"\nroot_stewards = {me}", 1)
    config.write_text(text)
    sh.ok("org", "create", "acme", "Acme Ltd", "--type", "internal", "--yes")
    sh.ok("membership", "grant", me, "acme", "--role", "viewer", "--yes")
    sh.ok("family", "create", "us", "--yes")
    sh.ok("location", "prove", "872830828ffffff", "--yes")
    sh.ok("occurrence", "add", me, "--device-class", "phone", "--yes")
    lines = sh.ok("records", "--wide").splitlines()
    for said in (
        "acme active Acme Ltd",
        f"{me} acme viewer active",
        " us",
        f"{me} 872830828ffffff",
        f"{me} phone {me}",
    ):
        assert any(line.rstrip().endswith(said) for line in lines), said
    assert max(map(len, sh.ok("records").splitlines())) <= 80
