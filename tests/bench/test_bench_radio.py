"""The pure half of `bench radio`: packets read off the channel, floors, and rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from ciris_mesh.bench import radio
from ciris_mesh.bench.airwaves import needless_parts, packets
from ciris_mesh.bench.radio import Course, Outcomes, coded_bytes, floors
from ciris_mesh.bench.records import Plan
from ciris_mesh.errors import OperatorError
from ciris_mesh.radio.airtime import LoraSettings
from ciris_mesh.radio.ether import Heard, Sent
from ciris_mesh.runtime.recoding import batch_of

SF8 = LoraSettings(868_100_000, 125_000, 8, 5)
LINK = b"l" * 16


def content(context: int, body: bytes, first: int = 0x0C) -> bytes:
    """A packet as Reticulum makes it: flags, hops, destination, context, data."""
    return bytes((first, 0)) + LINK + bytes((context,)) + body


def sent(at_s: float, packet: bytes, station: int = 0) -> list[Sent]:
    mark = b"\x31" if len(packet) > 254 else b"\x30"
    frames = [mark + packet[at : at + 254] for at in range(0, len(packet), 254)]
    return [
        Sent(station, frame, SF8.frame_s(len(frame)), at_s + place, frame is frames[-1])
        for place, frame in enumerate(frames)
    ]


def heard(at_s: float, packet: bytes) -> list[Heard]:
    return [Heard(1, 0, each.frame, -80.0, 10.0, each.at_s) for each in sent(at_s, packet)]


def test_two_frames_are_one_packet() -> None:
    large, small = content(0x01, b"p" * 481), content(0x00, b"s" * 40)
    first, second = packets([*sent(1.0, large), *heard(1.0, large), *sent(9.0, small, 1)])
    assert (first.name, first.size_bytes, first.content) == ("part", 502, large)
    assert first.airtime_s == pytest.approx(SF8.packet_s(500))
    assert (second.name, second.size_bytes, second.station) == ("data", 60, 1)


@pytest.mark.parametrize(
    ("first", "context", "name"),
    [
        (0x0C, 0xFC, "close"),
        (0x0C, 0xFE, "set-up"),
        (0x0C, 0xFA, "data"),
        (0x0C, 0xFB, "identify"),
        (0x02, 0x00, "link request"),
        (0x01, 0x00, "announce"),
        (0x0F, 0xFF, "proof"),
        (0x0C, 0x77, "other"),
    ],
)
def test_packets_have_names(first: int, context: int, name: str) -> None:
    (packet,) = packets(sent(0.0, content(context, b"x" * 20, first)))
    assert packet.name == name


def test_a_keepalive_is_one_byte() -> None:
    (packet,) = packets(sent(0.0, content(0xFA, b"\xff")))
    assert packet.name == "keepalive"


def test_a_frame_that_was_cut_off_is_none() -> None:
    assert packets([Sent(0, b"\x30" + b"x" * 30, 0.1, 0.0, True, cut=True)]) == ()


def test_what_had_arrived_and_goes_again_is_counted() -> None:
    part = content(0x01, b"p" * 400)
    once: list[Sent | Heard] = [*sent(0.0, part), *heard(0.0, part)]
    assert needless_parts(once) == 0
    assert needless_parts([*once, *sent(20.0, part)]) == 1
    half: list[Sent | Heard] = [*sent(0.0, part), *heard(0.0, part)[:1], *sent(20.0, part)]
    assert needless_parts(half) == 0, "half of it is none"


def test_the_floor_is_full_frames_and_the_rest() -> None:
    size_bytes, airtime_s = floors(2 * 254 + 10, SF8)
    assert size_bytes == 2 * 255 + 11
    assert airtime_s == pytest.approx(2 * SF8.frame_s(255) + SF8.frame_s(11))


def test_the_records_are_coded_together_for_the_floor() -> None:
    plan = Plan(12, 3)
    made = [plan.make(number) for number in range(plan.count)]
    assert coded_bytes(made) == len(batch_of(made, is_slow=True))
    assert coded_bytes(made) < sum(len(batch_of([each], is_slow=True)) for each in made)


def outcomes(course: Course, *, admitted: int, parts: int = 70) -> Outcomes:
    """Two words after a greeting, and so many full parts."""
    said = packets([each for n in range(4) for each in sent(n, content(0xFA, b"w" * 20))])
    part = packets([each for n in range(parts) for each in sent(n, content(0x01, b"p" * 481))])
    return Outcomes(said, part, 0, admitted, coded_bytes=parts * 476)


def test_three_runs_make_one_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: list[str] = []

    def measure(root: Path, course: Course) -> Outcomes:
        course.tell(course.name)
        missing = 1 if course.loss else 0
        return outcomes(course, admitted=course.records - missing)

    monkeypatch.setattr(radio, "measure", measure)
    report = radio.run(tmp_path, records=10, seed=1, sf=8, speed=1.0, tell=told.append)
    assert sorted(told[1:]) == ["0x01", "10% loss", "no loss"]
    rows = {each.quantity: each for each in report.rows}
    assert rows["in-sync check over a link, packets"].measured == 2
    ratio = rows["10 new records, no loss, bytes on air"].ratio
    assert ratio == pytest.approx(502 / 476 * 254 / 255, abs=0.002)
    failed = [name for name, each in rows.items() if not each.ok]
    assert failed == ["10% loss, records missing"]
    assert {"no loss in 0x01, bytes on air", "no loss in 0x01, airtime s"} < set(rows)


def test_other_amounts_have_no_limit_but_that_all_arrives(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(radio, "measure", lambda _root, course: outcomes(course, admitted=3))
    report = radio.run(tmp_path, records=3, seed=1, sf=7, speed=1.0, tell=lambda _text: None)
    whole = radio.run(tmp_path, records=10, seed=1, sf=8, speed=1.0, tell=lambda _text: None)
    assert [each.limit for each in report.rows if "bytes on air" in each.quantity] == [None] * 3
    assert [each.limit for each in whole.rows if "bytes on air" in each.quantity] == [
        1.15,
        1.6,
        None,
    ]
    assert report.ok


def test_one_run_that_fails_ends_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also those that are told of first."""

    def measure(_root: Path, course: Course) -> Outcomes:
        if not course.loss:
            assert course.is_over.wait(240), "told to end"
        raise OperatorError(f"{course.name} ends")

    monkeypatch.setattr(radio, "measure", measure)
    with pytest.raises(OperatorError, match="10% loss ends"):
        radio.run(tmp_path, records=1, seed=1, sf=7, speed=1.0, tell=lambda _text: None)
