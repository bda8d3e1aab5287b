"""`withdraw`, `org update` and `membership end`: new records that build on old ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.records.authoring import author
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.clock import BUILD_DATE_MS, SystemClock
from support.authoring import Held, TakingNode, introduce, key_of, previewed, shells
from support.cli import Shell, shell
from support.keys import bob
from support.records import sample

BOB = bob().key_id
K = EnvelopeKind
#: Well before anything a test signs with the system's clock.
EARLIER_MS = BUILD_DATE_MS - 86_400_000


@pytest.fixture
def node(tmp_path: Path) -> Iterator[TakingNode]:
    node = TakingNode(shell(tmp_path / "home"), (bob(),))
    with node.running():
        yield node


def held(
    node: TakingNode, kind: EnvelopeKind, columns: dict[str, Any], *, by_bob: bool = False
) -> Held:
    """A record signed earlier, which the node has."""
    signer = bob() if by_bob else key_of(node.sh)
    taken = node.take(kind, author(kind, columns, signer, at_ms=EARLIER_MS))
    assert taken is node.last
    return taken


def attestation(attested: str, **more: Any) -> dict[str, Any]:
    envelope = {"dimension": "identity:continuity:v1", "score": 1}
    columns = {"attested_key_id": attested, "attestation_type": "scores"}
    return {**columns, "attestation_envelope": envelope, **more}


ORG = {"org_id": "org-1", "name": "Acme", "org_type": "internal", "status": "active"}
MEMBER = {"user_id": BOB, "org_id": "org-1", "role": "operator", "status": "active"}


# -- withdraw ------------------------------------------------------------------------------------


def test_an_attestation_is_withdrawn_by_its_producer(node: TakingNode) -> None:
    before = held(node, K.ATTESTATION, attestation(BOB))
    answer = node.sh.json("withdraw", before.envelope_id, "--yes")
    assert answer == {
        "kind": "attestation",
        "envelope_id": node.last.envelope_id,
        "outcome": "admitted",
        "reason": "",
        "detail": "",
        "withdraws": before.envelope_id,
    }
    record = node.last.record
    assert record["attestation_type"] == "withdraws"
    assert record["withdraws_admission_rule"] == 1
    assert record["attested_key_id"] == BOB
    said = record["attestation_envelope"]
    assert said["references_attestation_id"] == before.record["attestation_id"]
    assert said["dimension"] == "identity:continuity:v1"


@pytest.mark.parametrize("where", ["attested", "subjects"])
def test_an_attestation_is_withdrawn_by_its_subject(node: TakingNode, where: str) -> None:
    me = key_of(node.sh).key_id
    columns = attestation(me) if where == "attested" else attestation("x", subject_key_ids=[me])
    before = held(node, K.ATTESTATION, columns, by_bob=True)
    node.sh.ok("withdraw", before.envelope_id[:12], "--yes")
    assert node.last.record["withdraws_admission_rule"] == 2
    assert node.last.record["attesting_key_id"] == me


def test_an_attestation_between_others_is_not_ours_to_withdraw(node: TakingNode) -> None:
    before = held(node, K.ATTESTATION, attestation("carol-abcdefghijklmnop"), by_bob=True)
    line = node.sh.error("withdraw", before.envelope_id, "--yes")
    assert "only those two can withdraw it" in line
    assert node.last is before


CAROL = "carol-abcdefghijklmnop"
DAVE = "dave-abcdefghijklmnop"


@pytest.mark.parametrize(
    ("options", "rule", "chain"),
    [
        (("--for", CAROL), 3, None),
        (("--for", BOB), 4, None),
        (("--for", BOB, "--via", CAROL, "--via", DAVE), 4, [CAROL, DAVE]),
    ],
)
def test_a_delegate_withdraws_for_another(
    node: TakingNode, options: tuple[str, ...], rule: int, chain: list[str] | None
) -> None:
    before = held(node, K.ATTESTATION, attestation(CAROL), by_bob=True)
    node.sh.ok("withdraw", before.envelope_id, *options, "--yes")
    record = node.last.record
    assert (record["attested_key_id"], record["withdraws_admission_rule"]) == (options[1], rule)
    said = record["attestation_envelope"]
    assert said.get("delegation_chain") == chain
    assert said["references_attestation_id"] == before.record["attestation_id"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--for", DAVE), "neither said this"),
        (("--via", CAROL), "--via needs --for"),
        (("--for", CAROL, "--via", DAVE), "--via needs --for"),
    ],
)
def test_who_may_not_act_in_that_way(node: TakingNode, options: tuple[str, ...], text: str) -> None:
    before = held(node, K.ATTESTATION, attestation(CAROL), by_bob=True)
    assert text in node.sh.error("withdraw", before.envelope_id, *options, "--yes")
    assert node.last is before


def test_other_kinds_are_withdrawn_by_their_own(node: TakingNode) -> None:
    before = held(node, K.ORGANIZATION, ORG)
    line = node.sh.error("withdraw", before.envelope_id, "--for", BOB, "--yes")
    assert "only attestations" in line


def test_a_withdrawal_goes_no_further_than_what_it_withdraws(node: TakingNode) -> None:
    before = held(node, K.ATTESTATION, attestation(BOB, cohort_scope="family", tier="local"))
    node.sh.ok("withdraw", before.envelope_id, "--yes")
    assert node.last.record.items() >= {"cohort_scope": "family", "tier": "local"}.items()


def test_a_withdrawal_is_not_withdrawn(node: TakingNode) -> None:
    before = held(node, K.ATTESTATION, attestation(BOB, attestation_type="withdraws"))
    assert "attest anew" in node.sh.error("withdraw", before.envelope_id, "--yes")


def test_an_organization_is_withdrawn_whole(node: TakingNode) -> None:
    more = {"parent_org_id": "org-0", "partner_id": "p-1", "valid_until": "2030-01-01T00:00:00Z"}
    before = held(node, K.ORGANIZATION, {**ORG, **more})
    node.sh.ok("withdraw", before.envelope_id, "--yes")
    record = node.last.record
    assert record.items() >= {**ORG, **more, "status": "deactivated"}.items()
    assert record["withdrawn_at"] == record["asserted_at"]
    assert record["attestation_id"] != before.record["attestation_id"]


def test_a_membership_is_withdrawn(node: TakingNode) -> None:
    before = held(node, K.ORG_MEMBERSHIP, MEMBER)
    node.sh.ok("withdraw", before.envelope_id, "--yes")
    assert node.last.record.items() >= {**MEMBER, "status": "deactivated"}.items()
    assert "withdrawn_at" in node.last.record


@pytest.mark.parametrize("kind", [K.ORGANIZATION, K.ORG_MEMBERSHIP])
def test_what_another_signed_is_withdrawn_there(node: TakingNode, kind: EnvelopeKind) -> None:
    columns = ORG if kind is K.ORGANIZATION else MEMBER
    before = held(node, kind, columns, by_bob=True)
    assert f"signed by {BOB}" in node.sh.error("withdraw", before.envelope_id, "--yes")


@pytest.mark.parametrize(
    "ended", [{"status": "deactivated"}, {"withdrawn_at": "2026-01-01T00:00:00Z"}]
)
def test_what_was_ended_is_not_ended_again(node: TakingNode, ended: dict[str, str]) -> None:
    before = held(node, K.ORGANIZATION, {**ORG, **ended})
    assert "ended already" in node.sh.error("withdraw", before.envelope_id, "--yes")


def test_a_location_proof_is_withdrawn_under_its_own_name(node: TakingNode) -> None:
    me = key_of(node.sh).key_id
    columns = {"subject_key_id": me, "cell_id": "872830828ffffff", "cell_resolution": 7}
    before = held(node, K.LOCATION_PROOF, columns)
    node.sh.ok("withdraw", before.envelope_id, "--yes")
    record = node.last.record
    assert record["withdrawn_at"] > record["asserted_at"]
    for column in ("subject_key_id", "asserted_at", "cell_id", "cell_resolution"):
        assert record[column] == before.record[column]
    assert "already" in node.sh.error("withdraw", node.last.envelope_id, "--yes")


def test_the_location_of_another_is_theirs_to_withdraw(node: TakingNode) -> None:
    columns = {"subject_key_id": BOB, "cell_id": "872830828ffffff", "cell_resolution": 7}
    before = held(node, K.LOCATION_PROOF, columns)
    assert f"about {BOB}" in node.sh.error("withdraw", before.envelope_id, "--yes")


INSTEAD = {
    K.KEY: "revoke --help",
    K.REVOCATION: "stays away",
    K.IDENTITY_OCCURRENCE: "remove occurrence --help",
    K.FAMILY: "remove family-member --help",
    K.COMMUNITY: "remove community-member --help",
    K.IDENTITY_OCCURRENCE_REVOCATION: "stays away",
    K.FAMILY_MEMBERSHIP_REVOCATION: "stays away",
    K.COMMUNITY_MEMBERSHIP_REVOCATION: "stays away",
    K.PARTNER_RECORD: "--status revoked",
}


@pytest.mark.parametrize("kind", INSTEAD)
def test_other_kinds_have_another_way(node: TakingNode, kind: EnvelopeKind) -> None:
    node.take(kind, sample(kind, bob()))
    line = node.sh.error("withdraw", node.last.envelope_id, "--yes")
    assert f"kind {kind.value} cannot be withdrawn" in line
    assert INSTEAD[kind] in line


def test_every_kind_can_be_withdrawn_or_says_what_to_do() -> None:
    withdrawn = {K.ATTESTATION, K.ORGANIZATION, K.ORG_MEMBERSHIP, K.LOCATION_PROOF}
    assert withdrawn | INSTEAD.keys() == set(K)


@pytest.mark.parametrize(("record_id", "text"), [("ab" * 32, "no record"), ("zz", "no envelope")])
def test_an_id_that_leads_nowhere(node: TakingNode, record_id: str, text: str) -> None:
    assert text in node.sh.error("withdraw", record_id, "--yes")


def test_a_withdrawal_is_shown_first(node: TakingNode) -> None:
    before = held(node, K.ATTESTATION, attestation(BOB))
    result = node.sh.run("withdraw", before.envelope_id)
    assert result.exit_code == 1
    assert previewed(result.stderr)["withdraws_admission_rule"] == 1
    assert "add --yes" in result.stderr.splitlines()[-1]
    assert node.last is before


def test_nothing_is_withdrawn_before_the_build_date(
    node: TakingNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = held(node, K.ATTESTATION, attestation(BOB))
    monkeypatch.setattr(SystemClock, "wall_ms", lambda _: BUILD_DATE_MS - 1)
    assert "build date" in node.sh.error("withdraw", before.envelope_id, "--yes")


def test_with_no_node_running(tmp_path: Path) -> None:
    sh, other = shells(tmp_path, "alice", "bob")
    introduce(sh, other)
    bobs = key_of(other).key_id
    arguments = ("attest", bobs, "--unknown", "--dimension", "d:v1", "--score", "1", "--yes")
    before = sh.ok(*arguments).strip()
    answer = sh.json("withdraw", before, "--yes")
    assert (answer["outcome"], answer["withdraws"]) == ("admitted", before)
    envelope = json.loads(sh.json("records", answer["envelope_id"])["envelope"])
    assert envelope["attestation"]["attestation_type"] == "withdraws"


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        (K.ORGANIZATION, ORG),
        (K.ORG_MEMBERSHIP, MEMBER),
        (K.LOCATION_PROOF, {"cell_id": "872830828ffffff", "cell_resolution": 7}),
    ],
)
def test_what_was_withdrawn_is_not_withdrawn_again(
    node: TakingNode, kind: EnvelopeKind, columns: dict[str, Any]
) -> None:
    if kind is K.LOCATION_PROOF:
        columns = {"subject_key_id": key_of(node.sh).key_id, **columns}
    before, other = held(node, kind, columns), held(node, kind, {**columns, **_another(columns)})
    node.sh.ok("withdraw", before.envelope_id, "--yes")
    ending, count = node.last, len(node.held)
    line = node.sh.error("withdraw", before.envelope_id, "--yes")
    assert "taken back already, which is for good; nothing was signed" in line
    assert f"records {ending.envelope_id[:12]}" in line
    assert len(node.held) == count
    node.sh.ok("withdraw", other.envelope_id, "--yes")
    assert len(node.held) == count + 1, "another is another"


def _another(columns: dict[str, Any]) -> dict[str, Any]:
    """What makes it another record of its kind, about something else."""
    other = {"org_id": "org-2"} if "org_id" in columns else {}
    return other or {"asserted_at": "2026-01-01T00:00:00Z"}


def test_an_attestation_is_withdrawn_once(tmp_path: Path) -> None:
    """Read from the store, where the keys are by which withdrawals are judged."""
    sh, other = shells(tmp_path, "alice", "bob")
    introduce(sh, other)
    arguments = ("attest", key_of(other).key_id, "--unknown", "--dimension", "d:v1", "--score")
    before, another = (sh.ok(*arguments, score, "--yes").strip() for score in "12")
    ending = sh.json("withdraw", before, "--yes")["envelope_id"]
    held = sh.json("records")
    line = sh.error("withdraw", before, "--yes")
    assert "taken back already, which is for good; nothing was signed" in line
    assert f"records {ending[:12]}" in line
    assert sh.json("records") == held
    sh.ok("withdraw", another, "--yes")


def test_a_place_in_the_store_is_withdrawn_once(tmp_path: Path) -> None:
    sh = shell(tmp_path / "home")
    first, second = (sh.ok("location", "prove", "872830828ffffff", "--yes") for _ in "12")
    sh.ok("withdraw", first.strip(), "--yes")
    assert "taken back already" in sh.error("withdraw", first.strip(), "--yes")
    sh.ok("withdraw", second.strip(), "--yes")


# -- org update ----------------------------------------------------------------------------------


def update(node: TakingNode, *arguments: str) -> dict[str, Any]:
    node.sh.ok("org", "update", "org-1", *arguments, "--yes")
    return node.last.record


def test_an_update_keeps_what_is_not_named(node: TakingNode) -> None:
    more = {"parent_org_id": "org-0", "partner_id": "p-1", "valid_until": "2030-01-01T00:00:00Z"}
    before = held(node, K.ORGANIZATION, {**ORG, **more})
    record = update(node, "--status", "suspended")
    assert record.items() >= {**ORG, **more, "status": "suspended"}.items()
    assert record["attestation_id"] != before.record["attestation_id"]
    assert record["asserted_at"] > before.record["asserted_at"]


def test_an_update_changes_what_is_named(node: TakingNode) -> None:
    held(node, K.ORGANIZATION, ORG)
    record = update(
        node,
        *("--name", "Acme & Co", "--type", "partner", "--parent", "org-9"),
        *("--partner-id", "p-9", "--valid-until", "2031-01-01T00:00:00Z"),
    )
    assert record["name"] == "Acme & Co"
    assert (record["org_type"], record["parent_org_id"]) == ("partner", "org-9")
    assert (record["partner_id"], record["valid_until"]) == ("p-9", "2031-01-01T00:00:00Z")
    assert record["status"] == "active"


def test_an_update_builds_on_the_latest(node: TakingNode) -> None:
    held(node, K.ORGANIZATION, {**ORG, "name": "Second", "asserted_at": "2026-03-02T00:00:00Z"})
    held(node, K.ORGANIZATION, {**ORG, "name": "First", "asserted_at": "2026-03-01T00:00:00Z"})
    held(node, K.ORGANIZATION, {**ORG, "org_id": "org-2", "name": "Other"})
    assert update(node, "--status", "suspended")["name"] == "Second"


def test_an_update_of_what_is_not_known(node: TakingNode) -> None:
    assert "org create" in node.sh.error("org", "update", "org-1", "--name", "X", "--yes")


@pytest.mark.parametrize(
    "ended", [{"status": "deactivated"}, {"withdrawn_at": "2026-01-01T00:00:00Z"}]
)
def test_what_was_ended_is_not_updated(node: TakingNode, ended: dict[str, str]) -> None:
    held(node, K.ORGANIZATION, {**ORG, **ended, "asserted_at": "2026-01-01T00:00:00Z"})
    held(node, K.ORGANIZATION, ORG)
    count = len(node.held)
    assert "which is for good" in node.sh.error("org", "update", "org-1", "--name", "X", "--yes")
    assert len(node.held) == count


def test_an_update_that_would_lose_is_not_signed(node: TakingNode) -> None:
    held(node, K.ORGANIZATION, {**ORG, "asserted_at": "2099-01-01T00:00:00Z"})
    assert "set the clock" in node.sh.error("org", "update", "org-1", "--name", "X", "--yes")


def test_an_update_builds_on_what_counts_and_not_on_what_anybody_said(node: TakingNode) -> None:
    held(node, K.ORGANIZATION, ORG)
    later = {**ORG, "name": "Bob's", "asserted_at": "2026-03-02T00:00:00Z"}
    held(node, K.ORGANIZATION, later, by_bob=True)
    assert update(node, "--status", "suspended")["name"] == ORG["name"]


def test_only_what_is_asked_for_is_read(node: TakingNode) -> None:
    """However many other organizations and memberships there are."""
    held(node, K.ORGANIZATION, ORG)
    held(node, K.ORG_MEMBERSHIP, MEMBER)
    update(node, "--name", "X")
    node.sh.ok("membership", "end", BOB, "org-1", "--yes")
    assert node.lists == 0


# -- membership end ------------------------------------------------------------------------------


def test_ending_a_membership_names_the_role_known_here(node: TakingNode) -> None:
    held(node, K.ORG_MEMBERSHIP, {**MEMBER, "user_id": "somebody", "role": "viewer"})
    held(node, K.ORG_MEMBERSHIP, MEMBER)
    node.sh.ok("membership", "end", BOB, "org-1", "--yes")
    record = node.last.record
    assert record.items() >= {**MEMBER, "status": "deactivated"}.items()
    assert record["withdrawn_at"] == record["asserted_at"]


def test_ending_an_unknown_membership_needs_its_role(node: TakingNode) -> None:
    line = node.sh.error("membership", "end", BOB, "org-1", "--yes")
    assert "add --role" in line
    node.sh.ok("membership", "end", BOB, "org-1", "--role", "viewer", "--yes")
    assert node.last.record["role"] == "viewer"


def test_an_ended_membership_is_not_ended_again(node: TakingNode) -> None:
    held(node, K.ORG_MEMBERSHIP, MEMBER)
    node.sh.ok("membership", "end", BOB, "org-1", "--yes")
    count = len(node.held)
    line = node.sh.error("membership", "end", BOB, "org-1", "--yes")
    assert "which is for good; nothing was signed" in line
    assert node.last.envelope_id[:12] in line
    assert len(node.held) == count


def test_a_grant_is_active(node: TakingNode) -> None:
    arguments = ("membership", "grant", BOB, "org-1", "--role", "org_admin")
    node.sh.ok(*arguments, "--valid-until", "2030-01-01T00:00:00Z", "--yes")
    record = node.last.record
    assert record.items() >= {**MEMBER, "role": "org_admin", "status": "active"}.items()
    assert record["valid_until"] == "2030-01-01T00:00:00Z"
    assert "withdrawn_at" not in record


def test_the_store_is_searched_while_no_node_runs(tmp_path: Path) -> None:
    sh: Shell = shell(tmp_path / "home")
    assert "no organization" in sh.error("org", "update", "org-1", "--name", "X", "--yes")
    assert "no membership" in sh.error("membership", "end", BOB, "org-1", "--yes")
