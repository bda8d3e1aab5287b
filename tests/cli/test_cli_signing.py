"""What all signing commands have in common: shown first, asked, submitted, told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.records.checks import verify_bytes
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.records.rows import ROW_HASH_FIELD
from ciris_mesh.records.rules.delegations import SCOPE_MEMBER
from ciris_mesh.runtime.clock import BUILD_DATE_MS, SystemClock
from support.authoring import TakingNode, key_of, previewed
from support.cli import Shell, answering, shell

BOB = "bob-abcdefghijklmnop"
CELL = "872830828ffffff"

#: Every verb that needs nothing to be there before, with the kind it signs.
VERBS: dict[str, tuple[EnvelopeKind, tuple[str, ...]]] = {
    "family": (EnvelopeKind.FAMILY, ("family", "create", "The Smiths", "--member", BOB)),
    "community": (EnvelopeKind.COMMUNITY, ("community", "create", "Riverside", "--cell", CELL)),
    "occurrence": (
        EnvelopeKind.IDENTITY_OCCURRENCE,
        ("occurrence", "add", "alice-laptop", "--device-class", "laptop"),
    ),
    "remove occurrence": (
        EnvelopeKind.IDENTITY_OCCURRENCE_REVOCATION,
        ("remove", "occurrence", "alice-laptop", "--unknown", "--reason", "lost"),
    ),
    "remove family-member": (
        EnvelopeKind.FAMILY_MEMBERSHIP_REVOCATION,
        ("remove", "family-member", "fam-1", BOB, "--unknown"),
    ),
    "remove community-member": (
        EnvelopeKind.COMMUNITY_MEMBERSHIP_REVOCATION,
        ("remove", "community-member", "com-1", BOB, "--unknown"),
    ),
    "location": (EnvelopeKind.LOCATION_PROOF, ("location", "prove", CELL)),
    "org": (EnvelopeKind.ORGANIZATION, ("org", "create", "org-1", "Acme", "--type", "internal")),
    "membership grant": (
        EnvelopeKind.ORG_MEMBERSHIP,
        ("membership", "grant", BOB, "org-1", "--role", "operator"),
    ),
    "membership end": (
        EnvelopeKind.ORG_MEMBERSHIP,
        ("membership", "end", BOB, "org-1", "--role", "operator"),
    ),
}
EVERY = pytest.mark.parametrize("verb", VERBS)


@pytest.fixture
def sh(tmp_path: Path) -> Shell:
    return shell(tmp_path / "home")


@pytest.fixture
def node(sh: Shell) -> Iterator[TakingNode]:
    node = TakingNode(sh)
    with node.running():
        yield node


def columns(record: dict[str, Any], kind: EnvelopeKind) -> dict[str, Any]:
    """What a preview has to show of a record: all that is signed."""
    member = KINDS[kind].envelope_field
    if member is not None:
        found: dict[str, Any] = record[member]
        return found
    return {name: value for name, value in record.items() if name != ROW_HASH_FIELD}


@EVERY
def test_the_running_node_gets_a_record_that_verifies(node: TakingNode, verb: str) -> None:
    kind, arguments = VERBS[verb]
    answer = node.sh.json(*arguments, "--yes")
    assert answer == {
        "kind": kind.value,
        "envelope_id": node.last.envelope_id,
        "outcome": "admitted",
        "reason": "",
        "detail": "",
    }
    assert node.last.kind is kind
    assert node.last.verification.signers == (key_of(node.sh).key_id,)


@EVERY
def test_what_is_signed_is_what_was_shown_with_signer_and_size(node: TakingNode, verb: str) -> None:
    kind, arguments = VERBS[verb]
    result = node.sh.run(*arguments, "--yes")
    assert result.stdout == f"{node.last.envelope_id}\n"
    title = result.stderr[: result.stderr.index("\n{")].splitlines()
    assert all(len(line) <= 80 for line in title)
    first = " ".join(title)
    assert first.startswith(f"To be signed by {key_of(node.sh).key_id} as {kind.value}, ")
    assert f" {len(node.last.envelope)} bytes with 1 signature:" in first
    assert previewed(result.stderr) == columns(node.last.record, kind)


@EVERY
def test_without_anybody_to_ask_it_is_shown_and_not_signed(node: TakingNode, verb: str) -> None:
    _, arguments = VERBS[verb]
    for more in ((), ("--json",), ("-q",)):
        result = node.sh.run(*arguments, *more)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert previewed(result.stderr)
        assert result.stderr.splitlines()[-1].startswith("ciris-mesh: ")
        assert "add --yes" in result.stderr.splitlines()[-1]
    assert node.held == []


@pytest.mark.parametrize(("answer", "count"), [("y\n", 1), ("n\n", 0), ("\n", 0)])
@EVERY
def test_a_person_is_asked(
    node: TakingNode, monkeypatch: pytest.MonkeyPatch, verb: str, answer: str, count: int
) -> None:
    monkeypatch.setattr("ciris_mesh.cli.signing.somebody_is_there", lambda: True)
    result = node.sh.run(*VERBS[verb][1], input=answer)
    assert "Sign this?" in result.stderr
    assert len(node.held) == count
    assert result.exit_code == (0 if count else 1)


@EVERY
def test_nothing_is_signed_before_the_build_date(
    node: TakingNode, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setattr(SystemClock, "wall_ms", lambda _: BUILD_DATE_MS - 1)
    assert "build date" in node.sh.error(*VERBS[verb][1], "--yes")
    assert node.held == []


#: These a node may sign on its own whatever its configuration: they are about itself.
OWN = {
    EnvelopeKind.FAMILY: ("family", "create", "Me alone"),
    EnvelopeKind.LOCATION_PROOF: VERBS["location"][1],
}


@pytest.mark.parametrize("kind", OWN)
def test_with_no_node_running_it_is_stored_under_the_lock(sh: Shell, kind: EnvelopeKind) -> None:
    answer = sh.json(*OWN[kind], "--yes")
    assert (answer["kind"], answer["outcome"]) == (kind.value, "admitted")
    row = sh.json("records", answer["envelope_id"])
    assert (row["kind"], row["shelf"]) == (kind.value, "federation")
    own = key_of(sh)
    raw = row["envelope"].encode()
    known = {own.key_id: own.public}
    assert verify_bytes(kind, raw, known.get).verdict.outcome.value == "admitted"


def test_an_occurrence_is_stored_once_its_own_key_is(sh: Shell) -> None:
    waiting = sh.run(*VERBS["occurrence"][1], "--yes")
    assert waiting.exit_code == 0
    assert "Kept, not published yet: key_unknown" in waiting.stderr
    own = ("occurrence", "add", key_of(sh).key_id, "--device-class", "laptop")
    assert sh.json(*own, "--yes")["outcome"] == "admitted"


def test_a_home_held_by_a_silent_node_is_left_alone(sh: Shell) -> None:
    from ciris_mesh.runtime.home import HomeLock

    with HomeLock(sh.home):
        result = sh.run(*VERBS["location"][1], "--yes")
    assert result.exit_code == 1
    assert "should it run and not answer" in result.stderr.splitlines()[-1]
    assert sh.json("records") == []


@EVERY
def test_a_refusal_of_the_node_is_told_and_fails(sh: Shell, verb: str) -> None:
    kind, arguments = VERBS[verb]
    said = {
        "outcome": "refused",
        "reason": "signer_not_allowed",
        "envelope_id": "ab" * 32,
        "detail": "not you",
    }
    with answering(sh.home, {"admit": lambda _: said, "records": lambda _: []}):
        result = sh.run(*arguments, "--yes", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"kind": kind.value, **said}
    last = result.stderr.splitlines()[-1]
    assert last.startswith("ciris-mesh: not stored: refused signer_not_allowed not you; see: ")
    assert last.endswith(" explain signer_not_allowed")


@pytest.mark.parametrize("outcome", [one for one in Outcome if one.is_shelved])
def test_whatever_put_it_on_a_shelf_counts_as_stored(sh: Shell, outcome: Outcome) -> None:
    said = {"outcome": outcome.value, "reason": "", "envelope_id": "ab" * 32, "detail": ""}
    with answering(sh.home, {"admit": lambda _: said, "records": lambda _: []}):
        result = sh.run(*VERBS["location"][1], "--yes")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "ab" * 32)


PAYMENT = [
    ("org", "create", "cus_12345", "Acme", "--type", "internal"),
    ("org", "create", "org-1", "sub_12345", "--type", "internal"),
    ("org", "create", "org-1", "Acme", "--type", "internal", "--partner-id", "pi_1"),
    ("membership", "grant", "card_77", "org-1", "--role", "viewer"),
    ("membership", "end", BOB, "txn_1", "--role", "viewer"),
]


@pytest.mark.parametrize("arguments", PAYMENT, ids=lambda words: words[2])
def test_payment_processor_ids_are_refused_in_operational_records(
    node: TakingNode, arguments: tuple[str, ...]
) -> None:
    line = node.sh.error(*arguments, "--yes")
    assert "payment processor's id" in line
    assert not any(word in line for word in arguments if "_" in word)
    assert node.held == []


def test_the_bare_prefix_is_a_word(node: TakingNode) -> None:
    node.sh.ok("org", "create", "org-1", "cus_", "--type", "internal", "--yes")
    assert node.last.record["name"] == "cus_"


@pytest.mark.parametrize(
    "arguments",
    [
        ("family", "create", "two\nlines"),
        ("family", "create", ""),
        ("family", "create", " blank"),
        ("family", "create", "x" * 201),
        ("family", "create", "F", "--founder", "two words"),
        ("occurrence", "add", "x", "--device-class", "toaster"),
        ("remove", "family-member", "fam 1", BOB),
        ("location", "prove", CELL, "--resolution", "16"),
        ("org", "create", "org 1", "Acme", "--type", "internal"),
        ("org", "update", "org-1"),
        ("membership", "grant", BOB, "org-1", "--role", "king"),
        ("location", "prove", CELL, "--threshold", "2"),
        ("location", "prove", CELL, "--cosigner", BOB),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(sh: Shell, arguments: tuple[str, ...]) -> None:
    assert sh.run(*arguments, "--yes").exit_code == 2


REFUSED_EVERYWHERE = [
    ("dimension_malformed", ("attest", "alice", "--dimension", "trust field", "--score", "1")),
    ("dimension_malformed", ("attest", "alice", "--dimension", "caf\u00e9", "--score", "1")),
    (
        "reference_missing",
        ("attest", "alice", "--dimension", "d", "--score", "1", "--type", "recants"),
    ),
    (
        "scopes_malformed",
        ("attest", "alice", "--dimension", "d", "--score", "1", "--type", "delegates_to"),
    ),
    (
        "members_not_unique",
        ("family", "create", "F", "--member", BOB, "--member", "x-abcdefghijklmnop"),
    ),
]


@pytest.mark.parametrize(("reason", "arguments"), REFUSED_EVERYWHERE)
def test_what_every_node_would_refuse_is_not_signed(
    node: TakingNode, reason: str, arguments: tuple[str, ...]
) -> None:
    result = node.sh.run(*arguments, "--yes")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"ciris-mesh: nothing was signed: {reason}: ")
    assert "To be signed" not in result.stderr
    assert node.held == []


def test_what_is_shown_cannot_steer_the_terminal(node: TakingNode) -> None:
    result = node.sh.run("family", "create", "Sm\u00eeth \u2019s", "--yes")
    assert result.stderr.isascii()
    assert previewed(result.stderr)["family_name"] == "Sm\u00eeth \u2019s"
    assert node.last.record["family_name"] == "Sm\u00eeth \u2019s"


def test_powers_are_given_as_a_set(node: TakingNode) -> None:
    scopes = ("infra:store", "agency:act_on_behalf", "infra:store")
    node.sh.ok(
        "delegate", BOB, *(word for it in scopes for word in ("--scope", it)), "--unknown", "-y"
    )
    record = node.last.record
    assert (record["attestation_type"], record["attested_key_id"]) == ("delegates_to", BOB)
    signed = record["attestation_envelope"]
    assert signed[SCOPE_MEMBER] == ["agency:act_on_behalf", "infra:store"]


def test_a_slip_in_a_scope_is_not_signed(node: TakingNode, sh: Shell) -> None:
    me = key_of(sh).key_id
    line = sh.error("delegate", me, "--scope", "infra:store", "--scope", "agncy:reason", "--yes")
    assert "the scope 'agncy:reason' has no meaning here; did you mean agency:reason?" in line
    assert "infra:transport" in line
    assert "Known: " in sh.error("delegate", me, "--scope", "swim", "--yes")
    assert node.held == []
    sh.ok("delegate", me, "--scope", "swim", "--unknown", "--yes")
    assert node.last.record["attestation_envelope"][SCOPE_MEMBER] == ["swim"]


def test_a_slip_in_a_dimension_is_pointed_out(tmp_path: Path) -> None:
    """These words are free: what this node said before is all there is to go by."""
    sh = shell(tmp_path / "home")
    me = key_of(sh).key_id

    def attest(dimension: str) -> str:
        result = sh.run("attest", me, "--dimension", dimension, "--score", "1", "--yes")
        return " ".join(result.stderr.split())

    assert "Look at" not in attest("trust:field:v1")
    said = "never used trsut:field:v1, and trust:field:v1 is much like it"
    assert said in attest("trsut:field:v1")
    for fine in ("trust:field:v1", "trust:field:v2", "weather:rain:v1"):
        assert "Look at" not in attest(fine), fine
    assert "accord:x is much like it" in attest("acord:x")


def test_what_is_no_power_is_not_given(node: TakingNode) -> None:
    result = node.sh.run("delegate", BOB, "--unknown", "--scope", "agency:fly", "--yes")
    assert (result.exit_code, node.held) == (1, [])
    assert result.stderr.startswith("ciris-mesh: nothing was signed: ")
    assert node.sh.run("delegate", BOB, "--yes").exit_code == 2
