"""Complete traces: what each version signs, and that both halves are needed."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.hybrid import HybridPublicKey
from ciris_mesh.records.jsontext import from_plain
from ciris_mesh.records.trace import (
    COMPONENTS_MAX,
    TRACE_BYTES_MAX,
    TRACE_DEPTH_MAX,
    TRACE_VERSIONS,
    TraceReason,
    TraceVerification,
    canonical_trace_bytes,
    decode_any_base64,
    verify_trace,
)
from support.forge import no_pqc, wrong_classical, wrong_pqc
from support.keys import alice, bob, lookup, nobody
from support.traces import (
    VERSIONS,
    Trace,
    message_of,
    raw_trace,
    signed_trace,
    standard,
    unsigned_trace,
    url_safe,
)

R = TraceReason
OUTER = (
    "agent_id_hash", "completed_at", "components", "started_at", "task_id", "thought_id",
    "trace_id", "trace_level", "trace_schema_version",
)  # fmt: skip
SIGNED = {version: signed_trace(unsigned_trace(version)) for version in VERSIONS}
FULL = ["2.7.0", "2.7.9", "3.0.0"]


def judged(trace: Trace) -> TraceReason:
    return verify_trace(raw_trace(trace), lookup).reason


def put(version: str, **members: Any) -> Trace:
    """A good trace with members put in after signing."""
    return {**SIGNED[version], **members}


def without(version: str, name: str) -> Trace:
    return {key: value for key, value in SIGNED[version].items() if key != name}


def with_component(version: str, **members: Any) -> Trace:
    """An unsigned trace whose first component has other members."""
    trace = unsigned_trace(version)
    trace["components"][0].update(members)
    return trace


# -- what is taken -------------------------------------------------------------------------------


def test_the_versions_tested_are_all_there_are() -> None:
    assert set(VERSIONS) == TRACE_VERSIONS


@pytest.mark.parametrize("version", FULL)
def test_both_halves_over_the_canonical_bytes(version: str) -> None:
    answer = verify_trace(raw_trace(SIGNED[version]), lookup)
    assert answer == TraceVerification(R.NONE, "", alice().key_id, OUTER)


def test_a_legacy_trace_says_how_little_it_signs() -> None:
    answer = verify_trace(raw_trace(SIGNED["2.7.legacy"]), lookup)
    assert answer.reason is R.NONE
    assert answer.signed_members == ("components", "trace_level")
    assert judged(put("2.7.legacy", trace_id="another")) is R.NONE


@pytest.mark.parametrize("spell", [standard, url_safe])
def test_base64_comes_in_two_alphabets(spell: Any) -> None:
    assert judged(signed_trace(unsigned_trace("3.0.0"), spell=spell)) is R.NONE


@pytest.mark.parametrize("version", FULL)
def test_optional_members(version: str) -> None:
    trace = {**unsigned_trace(version), "task_id": "task-1", "cohort_target_id": "group"}
    answer = verify_trace(raw_trace(signed_trace(trace)), lookup)
    assert (answer.reason, answer.signed_members) == (R.NONE, OUTER)
    without_owner = signed_trace(trace)
    del without_owner["pqc_key_id"]
    assert judged(without_owner) is R.NONE


# -- the signed bytes ----------------------------------------------------------------------------


def test_v1python_up_to_version_two() -> None:
    message = message_of(unsigned_trace("2.7.0"))
    start = b'{"agent_id_hash":"deadbeef","completed_at":"2026-06-10T12:00:01+00:00","components":['
    assert message.startswith(start)
    assert b'"text":"gr\\u00fc\\u00df \\ud83d\\ude00"' in message
    raw = raw_trace(unsigned_trace("2.7.0")).replace(b": 0.5", b": 0.50")
    assert b'"score":0.50,' in message_of(raw)


def test_jcs_from_version_three() -> None:
    message = message_of(unsigned_trace("3.0.0"))
    assert '"text":"gr\u00fc\u00df \U0001f600"'.encode() in message
    raw = raw_trace(unsigned_trace("3.0.0")).replace(b": 0.5", b": 0.50")
    assert message_of(raw) == message


@pytest.mark.parametrize("version", FULL)
def test_an_absent_task_is_signed_as_null(version: str) -> None:
    trace = unsigned_trace(version)
    assert message_of({**trace, "task_id": None}) == message_of(trace)
    assert b'"task_id":null' in message_of(trace)


def test_components_have_four_or_five_members() -> None:
    for version, is_signed in (("2.7.0", False), ("2.7.9", True), ("3.0.0", True)):
        components = json.loads(message_of(unsigned_trace(version)))["components"]
        assert [("agent_id_hash" in it) for it in components] == [is_signed, is_signed]
        assert all(len(it) == 4 + is_signed for it in components)
        extra = with_component(version, extra="x")
        assert message_of(extra) == message_of(unsigned_trace(version))


@pytest.mark.parametrize(
    ("version", "is_signed"), [("2.7.0", False), ("2.7.9", True), ("3.0.0", True)]
)
def test_a_deployment_profile_is_signed_when_present(version: str, *, is_signed: bool) -> None:
    trace = {**unsigned_trace(version), "deployment_profile": {"tier": "pilot"}}
    assert (b"pilot" in message_of(trace)) is is_signed
    answer = verify_trace(raw_trace(signed_trace(trace)), lookup)
    assert ("deployment_profile" in answer.signed_members) is is_signed
    absent = {**trace, "deployment_profile": None}
    assert message_of(absent) == message_of(unsigned_trace(version))


def test_the_legacy_form_leaves_empties_out_at_every_depth() -> None:
    signed = json.loads(message_of(unsigned_trace("2.7.legacy")))
    assert sorted(signed) == ["components", "trace_level"]
    assert signed["components"][0]["data"] == {"text": "gr\u00fc\u00df \U0001f600", "n": 1}
    assert signed["components"][1]["data"] == {"score": 0.5, "list": ["x"], "no": False, "zero": 0}


def test_times_are_signed_as_written() -> None:
    trace = {**unsigned_trace("3.0.0"), "started_at": "2026-06-10T14:00:00+02:00"}
    assert b'"started_at":"2026-06-10T14:00:00+02:00"' in message_of(trace)
    assert judged(signed_trace(trace)) is R.NONE


def test_unknown_versions_have_no_canonical_bytes() -> None:
    value = from_plain({**unsigned_trace("3.0.0"), "trace_schema_version": "9.9.9"})
    assert isinstance(value, dict)
    with pytest.raises(MalformedRecord):
        canonical_trace_bytes(value)


# -- what was signed cannot be changed, and what was not is not promised -------------------------


@pytest.mark.parametrize("version", FULL)
@pytest.mark.parametrize("name", ["trace_id", "thought_id", "trace_level", "task_id"])
def test_a_signed_member_cannot_be_changed(version: str, name: str) -> None:
    assert name in OUTER
    assert judged(put(version, **{name: "other"})) is R.CLASSICAL_SIGNATURE_INVALID


@pytest.mark.parametrize("version", VERSIONS)
def test_a_component_cannot_be_changed(version: str) -> None:
    components = json.loads(json.dumps(SIGNED[version]["components"]))
    components[1]["data"]["zero"] = 1
    assert judged(put(version, components=components)) is R.CLASSICAL_SIGNATURE_INVALID
    assert judged(put(version, components=components[:1])) is R.CLASSICAL_SIGNATURE_INVALID
    swapped = SIGNED[version]["components"][::-1]
    assert judged(put(version, components=swapped)) is R.CLASSICAL_SIGNATURE_INVALID


def test_a_version_cannot_be_exchanged_for_another() -> None:
    for version in VERSIONS:
        for other in VERSIONS:
            reason = judged(put(version, trace_schema_version=other))
            assert (reason is R.NONE) == (other == version)


def test_a_cohort_is_nobodys_word() -> None:
    answer = verify_trace(raw_trace(put("3.0.0", cohort_scope="self")), lookup)
    assert answer.reason is R.NONE
    assert "cohort_scope" not in answer.signed_members


# -- signatures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (wrong_classical, R.CLASSICAL_SIGNATURE_INVALID),
        (wrong_pqc, R.PQC_SIGNATURE_INVALID),
        (no_pqc, R.PQC_SIGNATURE_MISSING),
    ],
)
def test_both_halves_are_needed(version: str, spoil: Any, expected: TraceReason) -> None:
    assert judged(signed_trace(unsigned_trace(version), spoil=spoil)) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("signature", R.CLASSICAL_SIGNATURE_MISSING),
        ("signature_ml_dsa_65", R.PQC_SIGNATURE_MISSING),
        ("pubkey_ml_dsa_65", R.PQC_KEY_MISSING),
    ],
)
def test_a_missing_part_is_named(name: str, expected: TraceReason) -> None:
    assert judged(without("3.0.0", name)) is expected
    assert judged(put("3.0.0", **{name: ""})) is expected
    assert judged(put("3.0.0", **{name: None})) is expected


@pytest.mark.parametrize("name", ["signature", "signature_ml_dsa_65", "pubkey_ml_dsa_65"])
@pytest.mark.parametrize("value", ["AAAA", "not base64!", 7, ["AAAA"], "A" * 89])
def test_a_part_that_is_none_is_named(name: str, value: Any) -> None:
    assert judged(put("3.0.0", **{name: value})) is R.SIGNATURE_MALFORMED


def test_the_signer_must_be_known() -> None:
    answer = verify_trace(raw_trace(SIGNED["3.0.0"]), nobody)
    assert answer == TraceVerification(R.SIGNER_UNKNOWN, alice().key_id)


def test_the_classical_key_is_the_directorys() -> None:
    def other_ed25519(key_id: str) -> HybridPublicKey:
        return HybridPublicKey(bob().public.ed25519, alice().public.mldsa65)

    answer = verify_trace(raw_trace(SIGNED["3.0.0"]), other_ed25519)
    assert answer.reason is R.CLASSICAL_SIGNATURE_INVALID


def test_a_post_quantum_key_the_directory_does_not_vouch_for_proves_nothing() -> None:
    trace = unsigned_trace("3.0.0")
    own = bob().sign(message_of(trace)).mldsa65
    forged = {
        **signed_trace(trace),
        "signature_ml_dsa_65": standard(own or b""),
        "pubkey_ml_dsa_65": standard(bob().public.mldsa65),
    }
    assert judged(forged) is R.PQC_KEY_NOT_BOUND
    assert judged(put("3.0.0", pqc_key_id=bob().key_id)) is R.PQC_KEY_NOT_BOUND


def test_another_signers_name_does_not_fit() -> None:
    assert judged(put("3.0.0", signature_key_id=bob().key_id, pqc_key_id=None)) is (
        R.PQC_KEY_NOT_BOUND
    )


# -- the shape -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [*(name for name in OUTER if name != "task_id"), "signature_key_id"]
)
def test_required_members(name: str) -> None:
    for trace in (without("3.0.0", name), put("3.0.0", **{name: 7}), put("3.0.0", **{name: ""})):
        assert judged(trace) is R.MALFORMED


@pytest.mark.parametrize("name", ["task_id", "cohort_scope", "cohort_target_id", "pqc_key_id"])
def test_optional_members_are_texts(name: str) -> None:
    assert judged(put("3.0.0", **{name: 7})) is R.MALFORMED


@pytest.mark.parametrize("components", [{}, "x", 7, [7], ["x"], [None], [[]], [{}]])
def test_components_are_a_list_of_objects(components: Any) -> None:
    assert judged(put("3.0.0", components=components)) is R.MALFORMED


@pytest.mark.parametrize("name", ["component_type", "data", "event_type", "timestamp"])
def test_members_of_a_component(name: str) -> None:
    values: list[Any] = [None, 7, []]
    for value in values:
        assert judged(put("3.0.0", components=[{**component(), name: value}])) is R.MALFORMED
    missing = {key: value for key, value in component().items() if key != name}
    assert judged(put("3.0.0", components=[missing])) is R.MALFORMED


def component() -> dict[str, Any]:
    made: dict[str, Any] = unsigned_trace("3.0.0")["components"][0]
    return made


@pytest.mark.parametrize("version", ["2.7.9", "3.0.0"])
def test_a_component_belongs_to_its_traces_agent(version: str) -> None:
    for value in ("cafe", None, 7):
        assert judged(signed_trace(with_component(version, agent_id_hash=value))) is R.MALFORMED


def test_before_that_a_components_agent_is_ignored() -> None:
    assert judged(signed_trace(with_component("2.7.0", agent_id_hash="cafe"))) is R.NONE


@pytest.mark.parametrize("version", ["2.7", "2.8.0", "4.0.0", "3.0.1", "legacy", "x" * 9999])
def test_unknown_versions_are_named(version: str) -> None:
    answer = verify_trace(raw_trace(put("3.0.0", trace_schema_version=version)), lookup)
    assert answer.reason is R.SCHEMA_UNKNOWN
    assert answer.detail == version[:40]


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"null", b"{", b'"x"', b"{}", b"\xff", b'{"a":1,"a":1}']
)
def test_what_is_no_trace(raw: bytes) -> None:
    assert verify_trace(raw, lookup).reason is R.MALFORMED


def test_number_of_components_size_and_depth_are_bounded() -> None:
    most = {**unsigned_trace("3.0.0"), "components": [component()] * COMPONENTS_MAX}
    assert judged(signed_trace(most)) is R.NONE
    over = {**most, "components": [component()] * (COMPONENTS_MAX + 1)}
    assert judged(signed_trace(over)) is R.MALFORMED
    long = signed_trace(with_component("3.0.0", data={"x": "y" * (TRACE_BYTES_MAX - 16_384)}))
    assert judged(long) is R.NONE
    longer = signed_trace(with_component("3.0.0", data={"x": "y" * TRACE_BYTES_MAX}))
    assert judged(longer) is R.MALFORMED
    deep = b"[" * TRACE_DEPTH_MAX + b"]" * TRACE_DEPTH_MAX
    raw = raw_trace(SIGNED["3.0.0"])[:-1] + b',"x":' + deep + b"}"
    assert verify_trace(raw, lookup).reason is R.MALFORMED
    assert verify_trace(raw.replace(deep, deep[1:-1]), lookup).reason is R.NONE
    assert verify_trace(b"[" * 10_000_000, lookup).reason is R.MALFORMED


def test_a_number_jcs_cannot_write_is_malformed() -> None:
    raw = raw_trace(SIGNED["3.0.0"]).replace(b": 0.5", b": 1e999")
    assert verify_trace(raw, lookup).reason is R.MALFORMED


# -- base64 --------------------------------------------------------------------------------------


@given(st.binary(min_size=1, max_size=40))
def test_every_spelling_of_either_alphabet_is_read(data: bytes) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        padded = encode(data).decode()
        assert decode_any_base64(padded) == data
        assert decode_any_base64(padded.rstrip("=")) == data


@pytest.mark.parametrize(
    "text", ["+-AA", "/_AA", "A", "AB==", "AA=", "AA===", "AA\n==", "A A=", "é"]
)
def test_other_texts_are_no_base64(text: str) -> None:
    assert decode_any_base64(text) is None


@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    assert verify_trace(data, lookup).reason is R.MALFORMED
