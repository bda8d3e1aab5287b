"""Laws of the filters over all their inputs, and our own golden bytes through them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ciris_mesh.cli.frame import decode_line, encode_line
from ciris_mesh.cli.record import canonical_line, hash_line, verify_line
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from support import keys
from support.records import sample

VECTORS = Path(__file__).parent.parent / "vectors"


def vectors(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((VECTORS / name).read_text())
    return loaded


# -- frames --------------------------------------------------------------------------------------

hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)
refs = st.fixed_dictionaries(
    {"envelope_hash": hashes, "seq": st.integers(min_value=0, max_value=2**64 - 1)}
)
kinds = st.sampled_from([kind.value for kind in EnvelopeKind])


def message(type_: str, **members: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"type": st.just(type_), "kind": kinds, **members})


messages = st.one_of(
    message("summary", refs=st.lists(refs, max_size=4)),
    message("diff", want=st.lists(hashes, max_size=4)),
    message("fetch", want=st.lists(hashes, max_size=4)),
    message("deliver", envelopes=st.lists(st.binary(max_size=40).map(bytes.hex), max_size=4)),
)


@given(messages, st.sampled_from([1, 2]))
def test_decode_undoes_encode_at_either_json_version(body: dict[str, Any], version: int) -> None:
    frame = encode_line(json.dumps({"version": version, "message": body}).encode())["frame"]
    assert decode_line(frame.encode()) == {
        "result": "message",
        "version": version,
        "message": body,
    }


@given(messages)
def test_without_a_version_the_kinds_own_is_taken(body: dict[str, Any]) -> None:
    frame = encode_line(json.dumps({"message": body}).encode())["frame"]
    expected = KINDS[EnvelopeKind(body["kind"])].frame_version
    assert decode_line(frame.encode())["version"] == expected


@given(st.binary(max_size=80))
@example(b"null")
@example(b'{"message": {"type": {}}}')
@example(b'{"version": null, "message": {"type": "diff", "kind": "key", "want": []}}')
def test_encode_answers_any_line_with_a_frame_or_an_error(line: bytes) -> None:
    assert list(encode_line(line)) in (["frame"], ["error"])


def test_our_own_golden_frames_decode_and_encode() -> None:
    checked = 0
    for case in vectors("mesh_frames.json")["valid_frames"]:
        answer = decode_line(case["frame_hex"].encode())
        assert answer["result"] == "message", case["name"]
        assert answer["version"] == 0x81
        assert encode_line(json.dumps(answer).encode()) == {"frame": case["frame_hex"]}
        shown = dict(answer["message"])
        assert shown.pop("type").replace("_", "") == case["type"].lower()
        assert shown == case["message"], case["name"]
        checked += 1
    assert checked >= 5


def test_our_own_decode_cases() -> None:
    cases = vectors("mesh_frames.json")["decode_cases"]
    for case in cases:
        assert decode_line(case["frame_hex"].encode())["result"] == case["result"], case["name"]


# -- records -------------------------------------------------------------------------------------

scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(values, st.sampled_from(["jcs", "v1python"]))
def test_canonical_bytes_mean_the_same_and_are_their_own_canonical_form(
    value: Any, form: str
) -> None:
    text = json.dumps(value).encode()
    canonical = bytes.fromhex(canonical_line(form, text)["canonical"])
    assert json.loads(canonical) == value
    assert bytes.fromhex(canonical_line(form, canonical)["canonical"]) == canonical


@given(values)
def test_canonical_bytes_do_not_depend_on_how_the_text_was_written(value: Any) -> None:
    texts = [
        json.dumps(value, ensure_ascii=ascii_, indent=indent).encode()
        for ascii_ in (True, False)
        for indent in (None, 1)
    ]
    assert len({canonical_line("jcs", text)["canonical"] for text in texts}) == 1


@given(st.binary(max_size=80), st.sampled_from(EnvelopeKind))
@example(b'{"record":{"persist_row_hash":1e999}}', EnvelopeKind.KEY)
@example(b'{"attestation":{"weight":1e999}}', EnvelopeKind.ATTESTATION)
@example(b'{"organization":{"x":1e999}}', EnvelopeKind.ORGANIZATION)
@example(b'{"family":{"members":[[],1,{}]}}', EnvelopeKind.FAMILY)
def test_any_line_gets_an_answer_of_the_right_shape(line: bytes, kind: EnvelopeKind) -> None:
    assert sorted(hash_line(kind, line)) in (["envelope_id", "row_hash"], ["error"])
    for form in ("jcs", "v1python"):
        assert list(canonical_line(form, line)) in (["canonical"], ["error"])
    assert sorted(verify_line(kind, line, keys.nobody, {})) == ["checks", "outcome", "reason"]


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_every_signed_column_is_bound(kind: EnvelopeKind) -> None:
    """Change any column of a good record: it is never admitted with the same signature."""
    raw = sample(kind, keys.alice())
    field = KINDS[kind].wrapper_field
    assert verify_line(kind, raw, keys.lookup, {})["outcome"] == "admitted"
    for name, value in json.loads(raw)[field].items():
        wrapper = json.loads(raw)
        wrapper[field][name] = _other(value)
        line = json.dumps(wrapper, separators=(",", ":")).encode()
        answer = verify_line(kind, line, keys.lookup, {})
        if name == "persist_row_hash" and KINDS[kind].number <= 10:
            assert answer["outcome"] == "admitted"  # recomputed here, whatever was sent
        else:
            assert answer["outcome"] in ("refused", "malformed", "deferred"), name


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return f"{value[:-1]}0" if not value.endswith("0") else f"{value[:-1]}1"
    if isinstance(value, int | float):
        return value + 1
    return [*value, "x"] if isinstance(value, list) else {**value, "x": 1}


def test_worked_examples_of_all_kinds() -> None:
    data = vectors("worked_examples.json")
    assert {row["kind"] for row in data["examples"]} == {kind.value for kind in EnvelopeKind}
    for row in data["examples"]:
        assert hash_line(EnvelopeKind(row["kind"]), row["wire"].encode()) == {
            "row_hash": row["persist_row_hash"],
            "envelope_id": row["envelope_id"],
        }
    for row in data["confirmed_rows"]:
        kind = EnvelopeKind(row["kind"])
        line = json.dumps({KINDS[kind].wrapper_field: row["record"]}).encode()
        assert hash_line(kind, line)["row_hash"] == row["persist_row_hash"]


def test_our_own_golden_records_hash_and_verify() -> None:
    data = vectors("mesh_records.json")
    for row in data["records"]:
        kind, line = EnvelopeKind(row["kind"]), row["envelope"].encode()
        assert hash_line(kind, line) == {
            "row_hash": row["row_hash"],
            "envelope_id": row["envelope_id"],
        }
        assert verify_line(kind, line, keys.lookup, {})["outcome"] == "admitted", kind


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_filler_signatures_never_verify(kind: EnvelopeKind) -> None:
    for row in vectors("worked_examples.json")["examples"]:
        if row["kind"] == kind.value:
            answer = verify_line(kind, row["wire"].encode(), keys.lookup, {})
            assert answer["outcome"] != "admitted"
            assert answer["reason"]
            assert not answer["checks"][-1]["ok"]


def test_a_record_of_another_kind_is_malformed() -> None:
    raw = sample(EnvelopeKind.FAMILY, keys.alice())
    answer = verify_line(EnvelopeKind.COMMUNITY, raw, keys.lookup, {})
    assert (answer["outcome"], answer["reason"]) == ("malformed", "wrong_wrapper")
