"""`vouch`: what is signed and shown, what is refused, and that answers say whose word it was."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.directory.base import Source
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.records.envelope import Envelope, parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.clock import BUILD_DATE_MS
from ciris_mesh.runtime.setup import node_identity
from support import forge
from support.cli import Shell, answering, shell
from support.keys import key
from support.rulebook import key_record, really_signed
from support.vouching import REGISTRY, bare

K = EnvelopeKind
PLACE, RIVER = bare(K.LOCATION_PROOF, "dave"), bare(K.FAMILY, "dave")
STEWARD = parse_envelope(
    K.KEY,
    forge.edited(
        K.KEY,
        really_signed(key_record("root", "steward")),
        lambda it: it["record"].pop("scrub_signature_pqc"),
    ),
)
DAVE = key("dave").key_id


@pytest.fixture
def sh(tmp_path: Path) -> Shell:
    """A node that exchanges with a registry and has some of its rows."""
    sh = shell(tmp_path / "home")
    own = node_identity(sh.home).key_id
    configure(sh, f"registries = {REGISTRY} {'11' * 32}", f"vouchers = {own}")
    directory = SqliteDirectory(sh.home.database)
    for row in (PLACE, RIVER, STEWARD):
        source = Source("registry", REGISTRY)
        directory.admit(row.kind, row.raw, source, now_ms=BUILD_DATE_MS + 1)
    directory.close()
    return sh


def configure(sh: Shell, *lines: str) -> None:
    text = sh.home.config.read_text()
    for line in lines:
        name = line.partition(" ")[0]
        text, count = re.subn(rf"(?m)^{name} =.*$", line, text)
        assert count == 1, name
    sh.home.config.write_text(text)


def hex_of(row: Envelope) -> str:
    return row.envelope_id.hex()


def test_a_vouch_is_shown_signed_and_stored(sh: Shell) -> None:
    result = sh.run("vouch", REGISTRY, hex_of(PLACE)[:12], "--yes")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stderr[result.stderr.index("{") : result.stderr.rindex("}") + 1])
    assert said["dimension"] == "registry:vouched:v1"
    assert said["registry_key_id"] == REGISTRY
    assert said["vouched_kind"] == "location_proof"
    assert said["vouched_ids"] == [hex_of(PLACE)]
    assert f"{hex_of(PLACE)[:12]}  location_proof of" in result.stderr
    (row,) = sh.json("records", "--kind", "attestation")
    assert row["envelope_id"] == result.stdout.strip()
    assert row["shelf"] == "federation"


def test_json_says_which_ids_were_vouched_for(sh: Shell) -> None:
    answer = sh.json("vouch", REGISTRY, hex_of(PLACE))
    assert (answer["outcome"], answer["vouched_ids"]) == ("admitted", [hex_of(PLACE)])


def test_an_answer_rests_on_the_vouch_until_it_is_withdrawn(sh: Shell) -> None:
    own = node_identity(sh.home).key_id
    assert "not known where" in sh.ok("resolve", "location", DAVE)
    vouch_id = sh.ok("vouch", REGISTRY, hex_of(PLACE), "--yes").strip()
    answer = sh.json("resolve", "location", DAVE)
    assert (answer["status"], answer["vouched_by"]) == ("answered", [own])
    shown = sh.ok("resolve", "location", DAVE)
    assert f"VOUCHED ONLY: {hex_of(PLACE)[:12]} of the registry {REGISTRY}" in shown
    assert own in shown
    assert max(map(len, shown.splitlines())) <= 80
    sh.ok("withdraw", vouch_id, "--yes")
    assert "not known where" in sh.ok("resolve", "location", DAVE)


def test_who_does_not_list_the_voucher_is_told_nothing(sh: Shell) -> None:
    sh.ok("vouch", REGISTRY, hex_of(PLACE), "--yes")
    configure(sh, "vouchers =")
    assert "not known where" in sh.ok("resolve", "location", DAVE)


def test_what_cannot_be_vouched_for_is_refused_with_the_reason(sh: Shell) -> None:
    assert "is no registry this node exchanges with" in sh.error("vouch", "eve", hex_of(PLACE))
    assert "vouch for it apart" in sh.error("vouch", REGISTRY, hex_of(PLACE), hex_of(RIVER))
    assert "steward" in sh.error("vouch", REGISTRY, hex_of(STEWARD))
    assert "no record with id" in sh.error("vouch", REGISTRY, "ab" * 32)
    own = sh.ok("attest", node_identity(sh.home).key_id, "--dimension", "x:y", "--score", "1", "-y")
    assert "only bridged records" in sh.error("vouch", REGISTRY, own.strip())
    assert sh.run("vouch", REGISTRY).exit_code == 2
    assert [row["kind"] for row in sh.json("records", "--kind", "attestation")] == ["attestation"]


def test_a_running_node_says_who_brought_it_and_what_it_lacks(sh: Shell) -> None:
    row = {
        "position": 3,
        "kind": "location_proof",
        "envelope_id": hex_of(PLACE),
        "shelf": "bridged",
        "seq": 0,
        "subject": "dave",
        "signers": [],
        "admitted_at_ms": 1,
    }
    told: dict[str, Any] = {
        **row,
        "envelope": PLACE.raw.decode(),
        "lacks": "signature_missing",
        "detail": "",
        "brought_by": "registry-us",
        "vouched_by": ["gw"],
    }
    page = {"records": lambda asked: [] if asked["after"] else [row], "record": lambda _: told}
    with answering(sh.home, page):
        assert "was brought by 'registry-us'" in sh.error("vouch", REGISTRY, hex_of(PLACE))
        shown = sh.ok("records", hex_of(PLACE))
    assert re.search(r"^brought by +registry-us\s*$", shown, re.MULTILINE)
    assert re.search(r"^vouched by +gw\s*$", shown, re.MULTILINE)
