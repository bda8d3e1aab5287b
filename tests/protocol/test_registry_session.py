"""The registry nodes' flow, against what CIRISEdge's own session code did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.errors import LocalProtocolError, UnexpectedMessage
from ciris_mesh.protocol.events import Start
from ciris_mesh.protocol.registry_session import RegistrySession, step_registry
from ciris_mesh.protocol.report import SessionRole, Unknown
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.frame import try_unwrap, wrap
from ciris_mesh.wire.messages import Deliver, Diff, EnvelopeRef, ReplicationMessage, Summary
from support.pair import Host

VECTORS = Path(__file__).parent.parent / "vectors"
FILES = ["crpl_frames_edge_1.6.3.json", "crpl_frames_edge_3.7.1.json"]


def load(file: str) -> Any:
    return json.loads((VECTORS / file).read_text())


TRACES = [(file, trace) for file in FILES for trace in load(file)["session_traces"]]


def message_in(frame_hex: str) -> ReplicationMessage:
    unwrapped = try_unwrap(bytes.fromhex(frame_hex))
    assert unwrapped is not None
    assert isinstance(unwrapped.message, ReplicationMessage)
    return unwrapped.message


def registry_host(role: SessionRole, kind: str, local: list[dict[str, Any]], names: Any) -> Host:
    made = Host(RegistrySession(role, EnvelopeKind(kind)), step_registry, EnvelopeKind(kind))
    made.name_of = names
    for row in local:
        id_ = bytes.fromhex(row["hash"])
        made.held[id_] = bytes.fromhex(row["bytes_hex"])
        made.seqs[id_] = row["seq"]
    return made


def replay(trace: dict[str, Any]) -> dict[str, Host]:
    rows = [*trace["initiator_local"], *trace["responder_local"]]
    ids = {bytes.fromhex(row["bytes_hex"]): bytes.fromhex(row["hash"]) for row in rows}
    roles = {"A": SessionRole.INITIATOR, "B": SessionRole.RESPONDER}
    locals_ = {"A": trace["initiator_local"], "B": trace["responder_local"]}
    return {
        side: registry_host(roles[side], trace["kind"], locals_[side], ids.__getitem__)
        for side in "AB"
    }


@pytest.mark.parametrize(
    ("file", "trace"), TRACES, ids=[f"{file[17:22]}-{trace['name']}" for file, trace in TRACES]
)
def test_every_session_trace_is_reproduced(file: str, trace: dict[str, Any]) -> None:
    hosts = replay(trace)
    if trace["name"] == "cache_miss_on_fetch":
        hosts["A"].hidden = set(hosts["A"].held)
    for line in trace["trace"]:
        host, expected = hosts[line["at"]], line["result"]
        reports_before = len(host.reports)
        host.feed(Start()) if line["event"] == "start_round" else host.receive(
            message_in(line["frame_hex"])
        )
        sent = [wrap(message).hex() for message in host.outbox]
        host.outbox.clear()
        assert sent == [frame["frame_hex"] for frame in expected.get("frames", [])]
        if "complete" in expected:
            assert host.session.complete is expected["complete"]
        check_report(host, reports_before, expected)
    for side in "AB":
        admitted = [envelope.hex() for envelope in hosts[side].admitted]
        assert admitted == trace[f"{side}_admitted"], file


def check_report(host: Host, reports_before: int, expected: dict[str, Any]) -> None:
    if expected["outcome"] != "applied":
        assert len(host.reports) == reports_before
        return
    report = host.reports[-1]
    assert report.admitted == expected["admitted"]
    assert report.refused + report.held == expected["refused"]  # they count duplicates as refused
    assert str(report.staleness) == expected["staleness"]
    assert report.kind.value == expected["kind"]


@pytest.mark.parametrize("file", FILES)
def test_every_single_step_of_a_responder_is_reproduced(file: str) -> None:
    vectors = load(file)
    local = vectors["session_traces"][0]["initiator_local"][:1]  # the responder holds "env_1"
    ids = {bytes.fromhex(row["bytes_hex"]): bytes.fromhex(row["hash"]) for row in local}
    host = registry_host(
        SessionRole.RESPONDER, "key", local, lambda e: ids.get(e, e.ljust(32, b"\0")[:32])
    )
    host.offered = host.refs()
    for line in vectors["responder_single_steps"]:
        expected = line["result"]
        reports_before = len(host.reports)
        if expected["outcome"] == "unexpected_message":
            with pytest.raises(UnexpectedMessage):
                host.receive(message_in(line["frame_hex"]))
        else:
            host.receive(message_in(line["frame_hex"]))
        sent = [wrap(message).hex() for message in host.outbox]
        host.outbox.clear()
        assert sent == [
            frame if isinstance(frame, str) else frame["frame_hex"]
            for frame in expected.get("frames", [])
        ], line["name"]
        assert host.session.complete is expected["complete"], line["name"]
        check_report(host, reports_before, expected)


def test_a_deliver_without_a_diff_says_unknown() -> None:
    host = registry_host(SessionRole.RESPONDER, "key", [], lambda e: e.ljust(32, b"\0")[:32])
    host.receive(Deliver(EnvelopeKind.KEY, (b"x",)))
    assert host.reports[0].staleness == Unknown()
    assert host.reports[0].admitted == 1


def test_the_want_count_survives_until_the_deliver_comes_later() -> None:
    host = registry_host(SessionRole.RESPONDER, "key", [], lambda e: e.ljust(32, b"\0")[:32])
    host.receive(Summary(EnvelopeKind.KEY, (EnvelopeRef(b"x".ljust(32, b"\0"), 1),)))
    host.receive(Diff(EnvelopeKind.KEY, ()))
    host.receive(Deliver(EnvelopeKind.KEY, (b"x",)))
    assert str(host.reports[0].staleness) == "InSync"


def test_a_responder_cannot_start_a_round() -> None:
    with pytest.raises(LocalProtocolError):
        step_registry(RegistrySession(SessionRole.RESPONDER, EnvelopeKind.KEY), Start())


def test_after_reset_a_round_starts_from_nothing() -> None:
    session = RegistrySession(SessionRole.INITIATOR, EnvelopeKind.KEY, summary_sent=True, wanted=3)
    assert session.reset() == RegistrySession(SessionRole.INITIATOR, EnvelopeKind.KEY)
