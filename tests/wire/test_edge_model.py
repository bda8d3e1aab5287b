"""The stand-in registry node writes the frames a live 13.15.0 was seen to write."""

from __future__ import annotations

from typing import Any

import pytest

from ciris_mesh.wire.frame import try_unwrap, wrap
from ciris_mesh.wire.messages import Diff, Summary
from support.edge_model import EdgeModel, decode, encode
from support.golden import vectors

CAPTURED = [
    frame
    for session in vectors("crpl_wire_capture_edge_13.15.0")["sessions"]
    for frame in session["distinct_frames"]
    if frame["dir"] == "upstream->py"
]


def name(frame: Any) -> str:
    return f"{frame['carrier']}-{frame['type']}-{frame['kind']}"


@pytest.mark.parametrize("frame", CAPTURED, ids=name)
def test_it_writes_what_was_captured(frame: Any) -> None:
    data = bytes.fromhex(frame["frame_hex"])
    assert encode(decode(data)) == data


@pytest.mark.parametrize("frame", CAPTURED, ids=name)
def test_we_write_it_the_same(frame: Any) -> None:
    data = bytes.fromhex(frame["frame_hex"])
    unwrapped = try_unwrap(data)
    assert unwrapped is not None
    assert wrap(unwrapped.message) == data


def test_a_channel_message_carries_the_frame_and_nothing_else() -> None:
    """Reticulum's header: type, sequence, length, two bytes each."""
    raws = [frame for frame in CAPTURED if frame["carrier"] == "channel"]
    assert raws
    for frame in raws:
        raw, data = bytes.fromhex(frame["raw_hex"]), bytes.fromhex(frame["frame_hex"])
        assert raw[:2] == b"\0\0"
        assert int.from_bytes(raw[4:6], "big") == len(data)
        assert raw[6:] == data


@pytest.mark.parametrize("session", vectors("crpl_wire_capture_edge_13.15.0")["sessions"][1:])
def test_it_holds_a_captured_round_as_the_node_did(session: Any) -> None:
    """Seeded with what the node delivered, it answers our captured Diff with the same bytes."""
    frames = session["distinct_frames"]
    model = EdgeModel(stored_kinds=frozenset())
    for frame in frames:
        if (frame["dir"], frame["type"]) == ("upstream->py", "deliver"):
            unwrapped = try_unwrap(bytes.fromhex(frame["frame_hex"]))
            assert unwrapped is not None
            for envelope in getattr(unwrapped.message, "envelopes", ()):
                model.publish(unwrapped.message.kind, envelope)  # type: ignore[union-attr]
    answered = 0
    for frame in frames:
        data = bytes.fromhex(frame["frame_hex"])
        message = try_unwrap(data)
        if message is None or frame["dir"] != "py->upstream":
            continue
        if isinstance(message.message, Diff) and message.message.want:
            for answer in model.receive(data):
                delivers = [f["frame_hex"] for f in frames if f["type"] == "deliver"]
                answered += answer.hex() in delivers
        elif isinstance(message.message, Summary):
            assert [decode(each)["type"] for each in model.receive(data)] == ["summary", "diff"]
    assert answered
