"""`frame decode` and `frame encode` against the golden frames, and on anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.cli.commands import cli
from ciris_mesh.cli.frame import decode_line, encode_line
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.frame import FRAME_BYTES_MAX, wrap
from ciris_mesh.wire.mesh import BindingOffer, BindingWanted, Digests, Hello, KindDigest, Refusal
from ciris_mesh.wire.mesh_reconcile import BucketDigests, Sketch
from ciris_mesh.wire.mesh_records import Records, Taken

VECTORS = Path(__file__).parent.parent / "vectors"
EDGE = [
    json.loads((VECTORS / f"crpl_frames_edge_{version}.json").read_text())
    for version in ("1.6.3", "3.7.1")
]


def shown(message: dict[str, Any]) -> dict[str, Any]:
    """An upstream message (hashes and envelopes as byte arrays) in the filter's form."""
    short = dict(message)
    if "refs" in short:
        short["refs"] = [
            {"envelope_hash": bytes(ref["envelope_hash"]).hex(), "seq": ref["seq"]}
            for ref in short["refs"]
        ]
    for name in ("want", "envelopes"):
        if name in short:
            short[name] = [bytes(item).hex() for item in short[name]]
    return short


def run(command: str, lines: list[str]) -> list[dict[str, Any]]:
    text = "".join(line + "\n" for line in lines)
    result = CliRunner().invoke(cli, ["frame", command], input=text)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize("edge", EDGE, ids=["1.6.3", "3.7.1"])
def test_golden_frames_decode(edge: dict[str, Any]) -> None:
    frames = edge["valid_frames"]
    answers = run("decode", [frame["frame_hex"] for frame in frames])
    assert answers == [
        {
            "result": "message",
            "version": frame["version_byte"],
            "message": shown(frame["msg"]),
        }
        for frame in frames
    ]


@pytest.mark.parametrize("edge", EDGE, ids=["1.6.3", "3.7.1"])
def test_golden_frames_encode(edge: dict[str, Any]) -> None:
    frames = edge["valid_frames"]
    lines = [
        json.dumps({"version": frame["version_byte"], "message": shown(frame["msg"])})
        for frame in frames
    ]
    assert run("encode", lines) == [{"frame": frame["frame_hex"]} for frame in frames]


def expected(case: dict[str, Any]) -> dict[str, Any]:
    result = case["result"]
    if result["result"] == "replication":
        version = bytes.fromhex(case["frame_hex"])[4]
        return {"result": "message", "version": version, "message": shown(result["msg"])}
    if result["result"] == "not_replication":
        return {"result": "not_replication"}
    if result["variant"] == "UnknownVersion":
        return {"result": "unknown_version", "version": bytes.fromhex(case["frame_hex"])[4]}
    return {"result": "malformed"}


def test_every_decode_case_of_3_7_1() -> None:
    cases = EDGE[1]["decode_cases"]
    assert len(cases) == 41
    answers = run("decode", [case["frame_hex"] for case in cases])
    for case, answer in zip(cases, answers, strict=True):
        if answer["result"] == "malformed":
            assert answer.pop("reason"), case["name"]
        assert answer == expected(case), case["name"]


def test_captured_live_frames_survive_both_filters() -> None:
    capture = json.loads((VECTORS / "crpl_wire_capture_edge_13.15.0.json").read_text())
    frames = [
        frame["frame_hex"]
        for session in capture["sessions"]
        for frame in session["distinct_frames"]
        if frame["version"] == 1
    ]
    answers = run("decode", frames)
    known = [pair for pair in zip(frames, answers, strict=True) if pair[1]["result"] == "message"]
    assert len(known) > 20
    again = run("encode", [json.dumps(answer) for _, answer in known])
    assert [answer["frame"] for answer in again] == [frame for frame, _ in known]


@pytest.mark.parametrize(
    ("line", "reason"),
    [("zz", "not hex"), ("4352504", "not hex"), ("43 52 50 4c", "not hex"), ("é", "not hex")],
)
def test_lines_that_are_no_hex_are_malformed(line: str, reason: str) -> None:
    (answer,) = run("decode", [line])
    assert answer["result"] == "malformed"
    assert reason in answer["reason"]


def test_an_empty_line_is_an_empty_frame() -> None:
    assert run("decode", ["", "  "]) == [{"result": "not_replication"}] * 2


@pytest.mark.parametrize(("excess", "result"), [(0, "message"), (1, "malformed")])
def test_the_frame_limit_is_seen_through_the_filter(excess: int, result: str) -> None:
    frame = b'CRPL\x01{"type":"diff","kind":"key","want":[]}'
    frame += b" " * (FRAME_BYTES_MAX + excess - len(frame))
    (answer,) = run("decode", [frame.hex()])
    assert answer["result"] == result


def test_a_line_longer_than_any_frame_is_malformed_and_the_next_is_answered() -> None:
    answers = run("decode", ["00" * (9 * 1024 * 1024), "00"])
    assert answers[0]["result"] == "malformed"
    assert answers[1] == {"result": "not_replication"}


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (
            Hello((1, 2, 129), 3, (EnvelopeKind.KEY,), b"s" * 8, b"n" * 8, 7, b"v" * 8, b"b" * 8),
            {
                "type": "hello",
                "wire_versions": [1, 2, 129],
                "capabilities": 3,
                "kinds": ["key"],
                "scope_hash": "73" * 8,
                "nonce": "6e" * 8,
                "day": 7,
                "view_digest": "76" * 8,
                "binding_hash": "62" * 8,
            },
        ),
        (BindingWanted(), {"type": "binding_wanted"}),
        (
            BindingOffer(b"\x01", b""),
            {"type": "binding_offer", "binding": "01", "key_envelope": ""},
        ),
        (
            Digests((KindDigest(EnvelopeKind.KEY, 2, b"d" * 8),), reply=True),
            {
                "type": "digests",
                "entries": [{"kind": "key", "count": 2, "digest": "64" * 8}],
                "reply": True,
            },
        ),
        (Refusal("not_a_peer"), {"type": "refusal", "reason": "not_a_peer"}),
        (
            Sketch(1, b"salt", 28, over_buckets=False, counts=(9,), symbols=(1, 2)),
            {
                "type": "sketch",
                "round_id": 1,
                "salt": "73616c74",
                "width": 28,
                "over_buckets": False,
                "counts": [9],
                "symbols": [1, 2],
            },
        ),
        (Records(3, b"\x01ab"), {"type": "records", "round_id": 3, "batch": "016162"}),
        (Taken(3), {"type": "taken", "round_id": 3}),
        (BucketDigests(2, b"abc"), {"type": "bucket_digests", "round_id": 2, "digests": "616263"}),
    ],
)
def test_mesh_messages_go_both_ways(message: Any, fields: dict[str, Any]) -> None:
    answer = {"result": "message", "version": 129, "message": fields}
    frame = wrap(message).hex()
    assert decode_line(frame.encode()) == answer
    assert encode_line(json.dumps(answer).encode()) == {"frame": frame}


SUMMARY = {"type": "summary", "kind": "key", "refs": []}


def test_without_a_version_the_kind_decides() -> None:
    lines = [json.dumps({"message": {**SUMMARY, "kind": kind}}) for kind in ("key", "organization")]
    assert [bytes.fromhex(answer["frame"])[4] for answer in run("encode", lines)] == [1, 2]


def test_json_versions_do_not_gate_the_kind() -> None:
    lines = [
        json.dumps({"version": version, "message": {**SUMMARY, "kind": kind}})
        for version, kind in ((2, "key"), (1, "organization"))
    ]
    assert [bytes.fromhex(answer["frame"])[4] for answer in run("encode", lines)] == [2, 1]


REF = {"envelope_hash": "00" * 32, "seq": 0}


@pytest.mark.parametrize(
    ("item", "error"),
    [
        ("", "Expecting value"),
        ("[]", "expected an object"),
        ('{"version": 1}', "expected an object"),
        ({"version": 3, "message": SUMMARY}, "version 0x03"),
        ({"version": 129, "message": SUMMARY}, "version 0x81"),
        ({"version": 1, "message": {"type": "binding_wanted"}}, "does not carry binding_wanted"),
        ({"version": True, "message": SUMMARY}, "version is not an integer"),
        ({"version": 256, "message": SUMMARY}, "version is not an integer"),
        ({"message": {**SUMMARY, "type": "hostile"}}, "unknown message type 'hostile'"),
        ({"message": {**SUMMARY, "type": ["summary"]}}, "unknown message type"),
        ({"message": {**SUMMARY, "kind": "nope"}}, "unknown kind 'nope'"),
        ({"message": {**SUMMARY, "want": []}}, "unknown member 'want'"),
        ({"message": {"type": "summary", "kind": "key"}}, "member 'refs' is missing"),
        ({"message": {**SUMMARY, "refs": [{**REF, "seq": -1}]}}, "seq -1"),
        ({"message": {**SUMMARY, "refs": [{**REF, "seq": 2**64}]}}, "seq"),
        ({"message": {**SUMMARY, "refs": [{**REF, "seq": 1.0}]}}, "seq is not of type int"),
        ({"message": {**SUMMARY, "refs": [{**REF, "envelope_hash": "00"}]}}, "1 bytes, not 32"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_what_cannot_be_encoded_is_answered_with_an_error(item: Any, error: str) -> None:
    line = item if isinstance(item, str) else json.dumps(item)
    (answer,) = run("encode", [line])
    assert list(answer) == ["error"]
    assert error in answer["error"]


@given(st.binary(max_size=200))
def test_any_bytes_get_one_of_four_results(raw: bytes) -> None:
    for frame in (raw, b"CRPL" + raw, b"CRPL\x01" + raw, b"CRPL\x81" + raw):
        answer = decode_line(frame.hex().encode())
        assert answer["result"] in ("message", "not_replication", "unknown_version", "malformed")
        if answer["result"] == "message":
            assert decode_line(encode_line(json.dumps(answer).encode())["frame"].encode()) == answer
