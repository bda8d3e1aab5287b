"""Several signers: files go round, every byte is checked, and only a full set is submitted."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.clock import BUILD_DATE_MS, SystemClock
from support.authoring import TakingNode, introduce, key_of, previewed, shells
from support.cli import Shell

CELL = "872830828ffffff"
PROPOSE = (
    *("--license-id", "L1", "--partner-id", "P1", "--org-id", "org-1", "--license-type", "std"),
    *("--max-autonomy-tier", "A2", "--deployment-limit", "5", "--offline-grace-hours", "72"),
    *("--revision", "1", "--expires", "2030-06-10T12:00:00Z"),
    *("--grant", "b", "--grant", "a", "--grant", "b", "--deny", "z", "--region", "eu"),
    *("--template", "t1"),
)


class Round:
    """Three nodes; the first proposes and assembles, and a taking node runs in its home."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.nodes = shells(path, "alice", "bob", "carol")
        self.ids = tuple(key_of(node).key_id for node in self.nodes)
        self.taking = TakingNode(self.nodes[0], tuple(key_of(node) for node in self.nodes[1:]))

    def file(self, name: str) -> str:
        return str(self.path / name)

    def family(self, *more: str, name: str = "p.json") -> str:
        founders = [word for other in self.ids[1:] for word in ("--founder", other)]
        rule = ("--protocol", "quorum:2/3", "--cosign-file", self.file(name))
        self.nodes[0].ok("family", "create", "The Smiths", *founders, *rule, *more)
        return self.file(name)

    def partner(self, *more: str, threshold: int = 2, name: str = "p.json") -> str:
        stewards = [word for steward in self.ids for word in ("--steward", steward)]
        needs = ("--threshold", str(threshold))
        self.nodes[0].ok("partner", "propose", self.file(name), *PROPOSE, *stewards, *needs, *more)
        return self.file(name)

    def signed(self, file: str, *signers: int) -> list[str]:
        """A copy of the file signed by each of these nodes."""
        copies = [self.file(f"copy-{number}.json") for number in signers]
        for number, copy in zip(signers, copies, strict=True):
            self.nodes[number].ok("cosign", "sign", file, "--output", copy, "--yes")
        return copies

    def assemble(self, *files: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.nodes[0].json("cosign", "assemble", *files, "--yes")
        return answer

    def failure(self, *files: str) -> str:
        count = len(self.taking.held)
        line = self.nodes[0].error("cosign", "assemble", *files, "--yes")
        assert len(self.taking.held) == count
        return line


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Round]:
    it = Round(tmp_path)
    with it.taking.running():
        yield it


def edit(path: str, change: Callable[[dict[str, Any]], object]) -> None:
    members = json.loads(Path(path).read_text())
    change(members)
    Path(path).write_text(json.dumps(members))


# -- proposing -----------------------------------------------------------------------------------


def test_a_partner_proposal_holds_the_columns_and_the_exact_bytes(it: Round) -> None:
    path = it.partner()
    members = json.loads(Path(path).read_text())
    signed = json.loads(bytes.fromhex(members["signed_bytes_hex"]))
    assert signed == members["record"]["signed_envelope"]
    assert signed["capabilities_granted"] == ["a", "b"]
    assert signed["capabilities_denied"] == ["z"]
    assert signed["geographic_restrictions"] == ["eu"]
    assert signed["allowed_identity_templates"] == ["t1"]
    assert (signed["revision"], signed["status"]) == (1, "active")
    assert signed["requires_supervisor"] is True
    assert members["threshold"] == 2
    assert members["invited"] == sorted(it.ids)
    assert members["signatures"] == []


def test_nothing_is_signed_or_stored_by_proposing(it: Round) -> None:
    it.partner()
    it.family(name="f.json")
    assert it.taking.held == []


def test_a_proposal_is_shown_and_told(it: Round) -> None:
    file = it.file("p.json")
    result = it.nodes[0].run("partner", "propose", file, *PROPOSE, "--threshold", "2", "--json")
    assert json.loads(result.stdout) == {
        "kind": "partner_record",
        "envelope_id": None,
        "outcome": "proposed",
        "reason": "",
        "file": file,
        "threshold": 2,
        "signers": [],
        "invited": [],
    }
    assert previewed(result.stderr)["license_id"] == "L1"
    assert "runs: ciris-mesh partner sign p.json" in result.stderr
    assert "ciris-mesh partner assemble p.json" in result.stderr


def test_what_is_advised_does_it(it: Round) -> None:
    """The commands that a proposal names, and `partner show` counts what is needed."""
    file = it.partner(threshold=1)
    assert "partner_record, 1 signature needed" in it.nodes[0].ok("partner", "show", file)
    line = it.nodes[0].error("partner", "assemble", file, "--yes")
    assert "0 of 1 signature: " in line
    assert "run ciris-mesh partner sign on a copy" in line
    it.nodes[0].ok("partner", "sign", file, "--yes")
    assert len(it.nodes[0].ok("partner", "assemble", file, "--yes").strip()) == 64
    family = it.family(name="f.json")
    assert "run ciris-mesh cosign sign on a copy" in it.nodes[0].error(
        "cosign", "assemble", family, "--yes"
    )


def test_files_are_private_and_never_overwritten(it: Round) -> None:
    path = Path(it.partner())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    line = it.nodes[0].error("partner", "propose", str(path), *PROPOSE, "--threshold", "2", "-q")
    assert "exists already" in line
    assert path.read_bytes() == before
    copy = it.signed(str(path), 0)[0]
    assert stat.S_IMODE(Path(copy).stat().st_mode) == 0o600
    line = it.nodes[1].error("cosign", "sign", str(path), "--output", copy, "--yes", "-q")
    assert "exists already" in line
    assert sorted(each.name for each in it.path.glob("*.json")) == ["copy-0.json", "p.json"]
    assert list(it.path.glob(".*")) == []


def test_signing_replaces_the_file_when_no_other_is_named(it: Round) -> None:
    path = Path(it.partner())
    path.chmod(0o644)
    it.nodes[1].ok("partner", "sign", str(path), "--yes")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (signature,) = json.loads(path.read_text())["signatures"]
    assert signature["key_id"] == it.ids[1]


def test_payment_processor_ids_do_not_go_round(it: Round) -> None:
    words = [word if word != "P1" else "cus_123" for word in PROPOSE]
    line = it.nodes[0].error("partner", "propose", it.file("p"), *words, "--threshold", "2")
    assert "partner_id is a payment processor's id" in line
    granted = (*PROPOSE, "--grant", "price_9", "--threshold", "2")
    assert "capabilities_granted" in it.nodes[0].error("partner", "propose", it.file("p"), *granted)
    assert not Path(it.file("p")).exists()


def test_the_group_protocol_says_how_many_and_who(it: Round) -> None:
    members = json.loads(Path(it.family()).read_text())
    assert members["threshold"] == 2
    assert members["invited"] == sorted(it.ids)
    named = it.family("--threshold", "1", "--cosigner", it.ids[1], name="named.json")
    members = json.loads(Path(named).read_text())
    assert (members["threshold"], members["invited"]) == (1, [it.ids[1]])


VERBS = {
    EnvelopeKind.IDENTITY_OCCURRENCE: ("occurrence", "add", "x", "--device-class", "server"),
    EnvelopeKind.FAMILY: ("family", "create", "F"),
    EnvelopeKind.COMMUNITY: ("community", "create", "C"),
    EnvelopeKind.IDENTITY_OCCURRENCE_REVOCATION: ("remove", "occurrence", "x", "--unknown"),
    EnvelopeKind.FAMILY_MEMBERSHIP_REVOCATION: ("remove", "family-member", "f", "x", "--unknown"),
    EnvelopeKind.COMMUNITY_MEMBERSHIP_REVOCATION: (
        "remove",
        "community-member",
        "c",
        "x",
        "--unknown",
    ),
    EnvelopeKind.LOCATION_PROOF: ("location", "prove", CELL),
}


@pytest.mark.parametrize("kind", VERBS)
def test_every_kind_with_several_signers_goes_round_the_same_way(
    it: Round, kind: EnvelopeKind
) -> None:
    file = it.file("p.json")
    asked = [word for name in it.ids for word in ("--cosigner", name)]
    words = (*VERBS[kind], "--cosign-file", file, "--threshold", "3", *asked)
    proposed = it.nodes[0].json(*words)
    assert (proposed["outcome"], proposed["threshold"]) == ("proposed", 3)
    answer = it.assemble(*it.signed(file, 0, 1, 2))
    assert answer["envelope_id"] == proposed["envelope_id"] == it.taking.last.envelope_id
    assert it.taking.last.kind is kind
    assert it.taking.last.verification.signers == tuple(sorted(it.ids))


@pytest.mark.parametrize("kind", VERBS)
def test_two_signatures_are_needed_when_nothing_else_is_said(it: Round, kind: EnvelopeKind) -> None:
    answer = it.nodes[0].json(*VERBS[kind], "--cosign-file", it.file("p.json"))
    rule_asks_for_one = kind in (EnvelopeKind.FAMILY, EnvelopeKind.COMMUNITY)
    assert answer["threshold"] == (1 if rule_asks_for_one else 2)


# -- signing -------------------------------------------------------------------------------------


def test_what_is_previewed_is_what_is_signed(it: Round) -> None:
    file = it.partner()
    result = it.nodes[1].run("cosign", "sign", file, "--yes", "--json")
    told = json.loads(result.stdout)
    assert (told["outcome"], told["signers"]) == ("signed", [it.ids[1]])
    assert f"To be signed by {it.ids[1]} as partner_record" in result.stderr
    members = json.loads(Path(file).read_text())
    assert previewed(result.stderr) == json.loads(bytes.fromhex(members["signed_bytes_hex"]))


def test_a_signature_is_asked_for(it: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    file = it.partner()
    before = Path(file).read_bytes()
    result = it.nodes[1].run("cosign", "sign", file)
    assert result.exit_code == 1
    assert previewed(result.stderr)["license_id"] == "L1"
    assert "add --yes" in result.stderr.splitlines()[-1]
    monkeypatch.setattr("ciris_mesh.cli.signing.somebody_is_there", lambda: True)
    assert it.nodes[1].run("cosign", "sign", file, input="n\n").exit_code == 1
    assert Path(file).read_bytes() == before
    assert it.nodes[1].run("cosign", "sign", file, input="y\n").exit_code == 0
    assert Path(file).read_bytes() != before


def test_nothing_is_signed_before_the_build_date(
    it: Round, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = it.partner()
    monkeypatch.setattr(SystemClock, "wall_ms", lambda _: BUILD_DATE_MS - 1)
    assert "build date" in it.nodes[1].error("cosign", "sign", file, "--yes")
    assert "build date" in it.nodes[1].error(
        "partner", "propose", it.file("q"), *PROPOSE, "--threshold", "2"
    )


def test_who_was_not_asked_does_not_sign(it: Round) -> None:
    file = it.family("--cosigner", it.ids[0], "--cosigner", it.ids[1])
    before = Path(file).read_bytes()
    assert "not among those asked" in it.nodes[2].error("cosign", "sign", file, "--yes")
    assert Path(file).read_bytes() == before


def test_signing_twice_changes_nothing(it: Round) -> None:
    file = it.partner()
    it.nodes[1].ok("cosign", "sign", file, "--yes")
    before = Path(file).read_bytes()
    assert it.nodes[1].json("cosign", "sign", file, "--yes")["outcome"] == "duplicate"
    assert Path(file).read_bytes() == before
    copy = it.file("copy.json")
    assert it.nodes[1].ok("cosign", "sign", file, "--output", copy, "--yes") == f"{copy}\n"
    assert Path(copy).read_bytes() == before


def test_a_broken_signature_in_ones_own_name_is_noticed(it: Round) -> None:
    file = it.partner()
    it.nodes[1].ok("cosign", "sign", file, "--yes")
    edit(file, lambda members: members["signatures"][0].update(key_id=it.ids[2]))
    assert "does not stand" in it.nodes[2].error("cosign", "sign", file, "--yes")


TAMPERED: dict[str, Callable[[dict[str, Any]], object]] = {
    "the record": lambda it: it["record"].update(deployment_limit=5000),
    "the signed copy": lambda it: it["record"]["signed_envelope"].update(deployment_limit=5000),
    "the bytes": lambda it: it.update(signed_bytes_hex="7b7d"),
    "the kind": lambda it: it.update(kind="organization"),
    "the threshold": lambda it: it.update(threshold=0),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_tampered_file_is_neither_signed_nor_assembled_nor_shown(it: Round, what: str) -> None:
    file = it.partner()
    copies = it.signed(file, 0, 1)
    edit(file, TAMPERED[what])
    edit(copies[1], TAMPERED[what])
    before = Path(file).read_bytes()
    for words in (("cosign", "sign", file, "--yes"), ("cosign", "show", file)):
        line = it.nodes[1].error(*words)
        assert file in line
        assert "get it from its sender again" in line
    assert Path(file).read_bytes() == before
    assert copies[1] in it.failure(*copies)


def test_other_content_with_its_own_bytes_makes_the_signatures_fall(it: Round) -> None:
    """Somebody swaps the whole proposal for a consistent one and keeps the signatures."""
    honest = it.signed(it.partner(), 0, 1)
    greedy = it.partner("--grant", "everything", name="greedy.json")
    signatures = [json.loads(Path(copy).read_text())["signatures"][0] for copy in honest]
    ordered = sorted(signatures, key=lambda entry: str(entry["key_id"]))
    edit(greedy, lambda members: members.update(signatures=ordered))
    assert "does not stand (classical_signature_invalid)" in it.failure(greedy)


def test_a_missing_file_is_named(it: Round) -> None:
    assert it.file("none") in it.nodes[0].error("cosign", "sign", it.file("none"), "--yes")


def test_a_file_that_is_none_is_named(it: Round, tmp_path: Path) -> None:
    for text in ("", "{}", "x" * 600_000):
        path = tmp_path / "other"
        path.write_text(text)
        assert "no proposal as it was written" in it.nodes[0].error("cosign", "show", str(path))


# -- showing -------------------------------------------------------------------------------------


def test_show_says_who_signed_and_changes_nothing(it: Round) -> None:
    copy = it.signed(it.family(), 1)[0]
    before = Path(copy).read_bytes()
    shown = it.nodes[0].json("cosign", "show", copy)
    assert shown["signatures"] == {it.ids[1]: "valid"}
    assert shown["content"]["family_name"] == "The Smiths"
    assert (shown["kind"], shown["threshold"], shown["file"]) == ("family", 2, copy)
    assert it.nodes[2].json("cosign", "show", copy)["signatures"] == {it.ids[1]: "signer_unknown"}
    result = it.nodes[0].run("partner", "show", copy)
    assert f"signed by {it.ids[1]}: valid" in result.stdout
    assert previewed(result.stderr)["family_name"] == "The Smiths"
    assert Path(copy).read_bytes() == before


# -- assembling ----------------------------------------------------------------------------------


@pytest.mark.parametrize("signers", [(0, 1), (1, 2), (2, 1, 0)])
def test_enough_signatures_make_a_partner_record(it: Round, signers: tuple[int, ...]) -> None:
    copies = it.signed(it.partner(), *signers)
    answer = it.assemble(*copies)
    assert answer == {
        "kind": "partner_record",
        "envelope_id": it.taking.last.envelope_id,
        "outcome": "admitted",
        "reason": "",
        "detail": "",
        "signers": sorted(it.ids[number] for number in signers),
    }
    parsed = parse_envelope(EnvelopeKind.PARTNER_RECORD, it.taking.last.envelope)
    assert parsed.signers == tuple(answer["signers"])


def test_one_file_that_went_from_hand_to_hand(it: Round) -> None:
    file = it.partner(threshold=3)
    for node in it.nodes:
        node.ok("partner", "sign", file, "--yes")
    answer = it.nodes[0].json("partner", "assemble", file, "--yes")
    assert answer["signers"] == sorted(it.ids)


def test_assembling_is_shown_and_asked(it: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = it.signed(it.partner(), 0, 1)
    result = it.nodes[0].run("cosign", "assemble", *copies)
    assert result.exit_code == 1
    assert "add --yes" in result.stderr.splitlines()[-1]
    assert previewed(result.stderr)["license_id"] == "L1"
    assert it.taking.held == []
    monkeypatch.setattr("ciris_mesh.cli.signing.somebody_is_there", lambda: True)
    result = it.nodes[0].run("cosign", "assemble", *copies, input="y\n")
    assert "Submit this?" in result.stderr
    assert result.stdout == f"{it.taking.last.envelope_id}\n"
    assert f", {len(it.taking.last.envelope)} bytes with 2 signatures" in result.stderr


def test_too_few_signatures_submit_nothing(it: Round) -> None:
    file = it.partner()
    copies = it.signed(file, 1)
    line = it.failure(*copies)
    assert "1 of 2 signatures" in line
    assert it.ids[0] in line
    assert it.ids[2] in line
    assert "0 of 2 signatures" in it.failure(file)


def test_one_signature_twice_counts_once(it: Round) -> None:
    file = it.partner()
    (copy,) = it.signed(file, 1)
    assert "1 of 2 signatures" in it.failure(copy, copy)
    it.nodes[1].ok("cosign", "sign", file, "--yes")  # the same signer, other bytes
    assert Path(file).read_bytes() != Path(copy).read_bytes()
    assert "1 of 2 signatures" in it.failure(copy, file)


def test_a_signature_listed_twice_in_one_file_is_refused(it: Round) -> None:
    (copy,) = it.signed(it.partner(), 1)
    edit(copy, lambda members: members["signatures"].append(members["signatures"][0]))
    assert "each id once" in it.failure(copy)


def test_a_signature_in_another_name_is_refused(it: Round) -> None:
    copies = it.signed(it.partner(), 0, 1)
    edit(copies[1], lambda members: members["signatures"][0].update(key_id=it.ids[2]))
    line = it.failure(*copies)
    assert copies[1] in line
    assert f"the signature of {it.ids[2]} does not stand" in line


def test_a_signature_by_somebody_not_asked_is_refused(it: Round) -> None:
    file = it.family("--cosigner", it.ids[0], "--cosigner", it.ids[1])
    edit(file, lambda members: members.update(invited=[]))
    (copy,) = it.signed(file, 2)
    edit(copy, lambda members: members.update(invited=sorted(it.ids[:2])))
    assert f"{it.ids[2]} was not asked to sign" in it.failure(copy)


def test_a_signer_whose_key_is_not_known_is_named(it: Round, tmp_path: Path) -> None:
    (stranger,) = shells(tmp_path, "dave")
    file = it.nodes[0].json("location", "prove", CELL, "--cosign-file", it.file("p.json"))["file"]
    stranger.ok("cosign", "sign", file, "--yes")
    line = it.failure(file)
    assert f"the key of {key_of(stranger).key_id} is not known here" in line


def test_copies_of_two_proposals_are_not_mixed(it: Round) -> None:
    one = it.signed(it.partner(), 0)[0]
    other = it.partner("--grant", "more", name="other.json")
    it.nodes[1].ok("cosign", "sign", other, "--yes")
    line = it.failure(one, other)
    assert f"{other} is another proposal than {one}" in line


def test_at_least_one_file_is_needed(it: Round) -> None:
    assert it.nodes[0].run("cosign", "assemble").exit_code == 2


def test_with_no_node_running_it_is_stored_under_the_lock(tmp_path: Path) -> None:
    it = Round(tmp_path)
    introduce(*it.nodes)
    founders = [word for other in it.ids[1:] for word in ("--founder", other)]
    file = it.file("p.json")
    rule = ("--protocol", "unanimous", "--cosign-file", file)
    it.nodes[0].ok("family", "create", "The Smiths", *founders, *rule)
    answer = it.assemble(*it.signed(file, 0, 1, 2))
    assert (answer["outcome"], answer["signers"]) == ("admitted", sorted(it.ids))
    sh: Shell = it.nodes[0]
    row = sh.json("records", answer["envelope_id"])
    assert (row["kind"], row["shelf"]) == ("family", "federation")
    assert row["signers"] == sorted(it.ids)
