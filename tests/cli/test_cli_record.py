"""`record hash`, `record canonical` and `record verify` against the golden bytes, and beyond."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ciris_mesh.cli.commands import cli
from ciris_mesh.records.authoring import author_key
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from support import keys
from support.records import AT_MS, sample

VECTORS = Path(__file__).parent.parent / "vectors"


def vectors(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((VECTORS / name).read_text())
    return loaded


@pytest.fixture(autouse=True)
def _no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


def run(arguments: list[str], lines: list[str]) -> list[dict[str, Any]]:
    text = "".join(line + "\n" for line in lines)
    result = CliRunner().invoke(cli, ["record", *arguments], input=text)
    assert result.exit_code == 0, result.output
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(answers) == len(lines)
    return answers


def test_row_hashes_of_persist_4_15_0() -> None:
    for row in vectors("records_persist_4.15.0.json")["records"]:
        wrapper = json.dumps({row["wrapper_field"]: row["row"]}, ensure_ascii=False)
        (answer,) = run(["hash", "--kind", row["kind"]], [wrapper])
        assert answer == dict.fromkeys(("row_hash", "envelope_id"), row["persist_row_hash"])


def test_row_hash_edge_cases_keep_number_tokens() -> None:
    checked = 0
    for case in vectors("row_hash_edge_cases_persist_4.15.0.json")["cases"]:
        for name in ("input_row_text", "stored_row_text"):
            if name in case:
                (answer,) = run(["hash", "--kind", "key"], [f'{{"record":{case[name]}}}'])
                assert answer["row_hash"] == case["persist_row_hash"], (case["name"], name)
                checked += 1
        if "weight_lexeme" in case:
            row = json.dumps(case["stored_row"])
            row = re.sub(r'"weight": [^,]+', f'"weight": {case["weight_lexeme"]}', row)
            (answer,) = run(["hash", "--kind", "attestation"], [f'{{"attestation":{row}}}'])
            assert answer["row_hash"] == case["persist_row_hash"], case["name"]
            checked += 1
    assert checked >= 13


def test_records_admitted_by_a_live_node_have_the_hash_it_stored() -> None:
    confirmed = 0
    for row in vectors("records_admitted_by_edge_13.15.0.json")["records"]:
        if row["admitted_by_upstream_with_same_hash"]:
            (answer,) = run(["hash", "--kind", row["kind"]], [row["envelope_bytes_utf8"]])
            assert answer["row_hash"] == row["persist_row_hash"], row["kind"]
            confirmed += 1
    assert confirmed > 0


def test_canonical_bytes_of_persist_7_2_0() -> None:
    cases = vectors("canonical_persist_7.2.0.json")["cases"]
    texts = [case["input"] for case in cases]
    assert run(["canonical", "--form", "jcs"], texts) == [
        {"canonical": case["canonicalize_envelope_hex"]} for case in cases
    ]
    for case, answer in zip(cases, run(["canonical", "--form", "v1python"], texts), strict=True):
        if "signature" not in case["input"]:  # upstream's signing form drops signature members
            assert answer == {"canonical": case["canonicalize_envelope_for_signing_hex"]}


def test_jcs_samples() -> None:
    for case in vectors("derived_rows_and_v2_jcs.json")["jcs_samples"]:
        (answer,) = run(["canonical", "--form", "jcs"], [json.dumps(case["signed_record"])])
        assert answer == {"canonical": case["jcs_hex"]}


@pytest.mark.parametrize(
    ("text", "v1python", "jcs"),
    [
        ("1e5", "1e+5", "100000"),
        ("0.50", "0.50", "0.5"),
        ("-0", "0", "0"),
        ('"é"', '"\\u00e9"', '"é"'),
        ("null", "null", "null"),
        ("true", "true", "true"),
        ("[ ]", "[]", "[]"),
        ('{"b":1,"a":2}', '{"a":2,"b":1}', '{"a":2,"b":1}'),
    ],
)
def test_any_json_text_has_canonical_forms(text: str, v1python: str, jcs: str) -> None:
    for form, expected in (("v1python", v1python), ("jcs", jcs)):
        (answer,) = run(["canonical", "--form", form], [text])
        assert bytes.fromhex(answer["canonical"]).decode() == expected


BAD_JSON = ["", "{", '{"a":1,"a":2}', "NaN", '"\\ud800"', "[" * 10_000, "1 2", "\x00"]


@pytest.mark.parametrize("text", BAD_JSON)
def test_what_is_not_json_is_an_error_in_every_filter(text: str) -> None:
    for arguments in (["canonical", "--form", "jcs"], ["hash", "--kind", "key"]):
        (answer,) = run(arguments, [text])
        assert list(answer) == ["error"]
        assert answer["error"]
    (verdict,) = run(["verify", "--kind", "key"], [text])
    assert verdict["outcome"] == "malformed"
    assert verdict["reason"]


def test_each_line_is_answered_in_order_after_bad_ones() -> None:
    answers = run(["canonical", "--form", "jcs"], ["1", "{", "", "2"])
    assert [answer.get("canonical") for answer in answers] == ["31", None, None, "32"]


def test_a_hash_needs_the_kinds_own_wrapper() -> None:
    (answer,) = run(["hash", "--kind", "family"], ['{"record":{}}'])
    assert answer == {"error": 'no record here: expected {"family": {...}}'}
    for scalar in ("1", "[]", '{"family": 1}'):
        assert list(run(["hash", "--kind", "family"], [scalar])[0]) == ["error"]


def test_hash_validates_nothing() -> None:
    (answer,) = run(["hash", "--kind", "family"], ['{"family":{}}'])
    assert sorted(answer) == ["envelope_id", "row_hash"]
    assert len(answer["row_hash"]) == 64


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_kinds_11_to_13_are_named_by_their_wrapper(kind: EnvelopeKind) -> None:
    raw = sample(kind, keys.alice())
    (answer,) = run(["hash", "--kind", kind.value], [raw.decode()])
    assert (answer["row_hash"] == answer["envelope_id"]) is (KINDS[kind].number <= 10)


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    records = [author_key(key, identity_ref="x", at_ms=AT_MS) for key in (keys.alice(), keys.bob())]
    path.write_bytes(b"\n".join(records) + b"\n\n")
    return path


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_verify_knows_the_keys_of_a_file(kind: EnvelopeKind, keys_file: Path) -> None:
    raw = sample(kind, keys.alice()).decode()
    (answer,) = run(["verify", "--kind", kind.value, "--keys", str(keys_file)], [raw])
    assert sorted(answer) == ["checks", "outcome", "reason"]
    assert (answer["outcome"], answer["reason"]) == ("admitted", "")
    assert answer["checks"]
    assert all(sorted(check) == ["detail", "name", "ok"] for check in answer["checks"])
    assert all(check["ok"] for check in answer["checks"])


def test_verify_says_which_check_failed(keys_file: Path) -> None:
    raw = sample(EnvelopeKind.FAMILY, keys.alice()).decode()
    wrong = raw.replace('"founder"', '"guest"')
    assert wrong != raw
    (answer,) = run(["verify", "--kind", "family", "--keys", str(keys_file)], [wrong])
    assert answer["outcome"] == "refused"
    assert answer["reason"] == "classical_signature_invalid"
    assert [check["name"] for check in answer["checks"] if not check["ok"]] == ["ed25519"]


def test_verify_defers_what_an_unknown_key_signed(keys_file: Path) -> None:
    raw = sample(EnvelopeKind.FAMILY, keys.carol()).decode()
    (answer,) = run(["verify", "--kind", "family", "--keys", str(keys_file)], [raw])
    assert (answer["outcome"], answer["reason"]) == ("deferred", "signer_unknown")


def test_a_keys_file_that_is_none_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("\nnonsense\n")
    arguments = ["record", "verify", "--kind", "key", "--keys", str(path)]
    result = CliRunner().invoke(cli, arguments, input="")
    assert result.exit_code == 1
    assert "line 2 is no key record" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["hash"], ["hash", "--kind", "nope"], ["canonical", "--form", "yaml"], ["verify"], ["sign"]],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli, ["record", *arguments]).exit_code == 2
