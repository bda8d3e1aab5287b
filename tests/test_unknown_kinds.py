"""Content and direct messages stay out: what is none of the thirteen kinds is refused by name."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from ciris_mesh.errors import ControlError, DecodeError
from ciris_mesh.records.bundle import MAGIC
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Reason
from ciris_mesh.wire.frame import try_unwrap, wrap
from ciris_mesh.wire.messages import Deliver
from support.attacks import keys
from support.doors import AdmitDoor, DeliverDoor, ImportDoor
from support.keys import alice
from support.records import sample

#: What other software keeps, and what nobody does.
FOREIGN = ("content", "direct_message", "trace", "holds_bytes", "keys", "record")
FAMILY = sample(EnvelopeKind.FAMILY, alice())


def bundle_of(*records: tuple[str, bytes]) -> bytes:
    """A bundle as a program that knows these kinds writes it."""
    running = hashlib.sha256()
    parts = [MAGIC]
    for kind, envelope in records:
        digest = hashlib.sha256(kind.encode() + b"\0" + envelope)
        running.update(digest.digest())
        parts += [f"{kind} {len(envelope)} {digest.hexdigest()}\n".encode(), envelope, b"\n"]
    return b"".join([*parts, f"end {len(records)} {running.hexdigest()}\n".encode()])


def test_no_foreign_kind_is_known() -> None:
    assert not {kind.value for kind in EnvelopeKind} & set(FOREIGN)


def test_an_import_refuses_them_by_name_and_takes_the_rest(tmp_path: Path) -> None:
    door = ImportDoor(tmp_path, keys("alice"))
    before = door.counts()
    foreign = [(kind, b'{"%s":{}}' % kind.encode()) for kind in FOREIGN]
    told = door.send_bytes(bundle_of(*foreign))
    assert told == Counter({("refused", Reason.UNKNOWN_KIND.value): len(FOREIGN)})
    assert door.counts() == before
    disguised = bundle_of(("content", FAMILY), ("family", FAMILY))
    assert door.send_bytes(disguised) == Counter(
        {("refused", Reason.UNKNOWN_KIND.value): 1, ("admitted", ""): 1}
    )


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_frame_of_such_a_kind_is_no_message(kind: str, tmp_path: Path) -> None:
    door = DeliverDoor(tmp_path, keys("alice"))
    before = door.counts()
    frame = wrap(Deliver(EnvelopeKind.FAMILY, (FAMILY,)))
    foreign = frame.replace(b'"kind":"family"', b'"kind":"%s"' % kind.encode(), 1)
    assert foreign != frame
    for message in (foreign, foreign[:4] + b"\x02" + foreign[5:]):
        with pytest.raises(DecodeError, match=f"unknown kind '{kind}'"):
            try_unwrap(message)
        with pytest.raises(DecodeError):
            door.arrive(message)
    assert door.counts() == before
    door.arrive(frame)
    assert door.counts()[EnvelopeKind.FAMILY, next(iter(before))[1]] == 1


def test_the_control_socket_names_the_kinds_there_are(tmp_path: Path) -> None:
    door = AdmitDoor(tmp_path, keys("alice"))
    try:
        before = door.counts()
        row = {"envelope_base64": ""}
        for kind in FOREIGN:
            asked = {"kind": kind, "envelope_hex": FAMILY.hex()}
            with pytest.raises(ControlError, match=f"unknown kind '{kind}'; one of: key"):
                door.ask("admit", **asked)
            with pytest.raises(ControlError, match=f"unknown kind '{kind}'"):
                door.ask("import_batch", records=[{**row, "kind": kind}])
        assert door.counts() == before
        told = door.ask("admit", kind="family", envelope_hex=FAMILY.hex())
        assert told["outcome"] == "admitted"
    finally:
        door.close()


def test_what_calls_itself_of_a_known_kind_and_is_not_is_malformed(tmp_path: Path) -> None:
    """A content record under a known kind's name has the wrong wrapper."""
    door = DeliverDoor(tmp_path, keys("alice"))
    for kind in EnvelopeKind:
        told = door.send([(kind, b'{"content":{"body":"hello"}}')])
        assert told == Counter({("malformed", Reason.WRONG_WRAPPER.value): 1})
    door.close()
