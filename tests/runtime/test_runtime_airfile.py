"""The kept hour: whole, private, as old as is sure, and never believed when it can't be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ciris_mesh.protocol.account import SavedInterface
from ciris_mesh.runtime.airfile import AirFile, boot_id

ROWS = (
    SavedInterface("LoRa", 12.5, ((300.0, "own", 1.25), (-30.0, "reticulum", 0.5))),
    SavedInterface("Roof", None, ()),
)


def test_what_was_written_is_read_with_its_age(tmp_path: Path) -> None:
    file = AirFile(tmp_path / "air.json", lambda: "this")
    file.write(ROWS, 1_000.0)
    assert file.read(1_060.0) == (ROWS, 60.0)
    assert (tmp_path / "air.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("before", "now"), [("this", "other"), ("", ""), ("this", "")])
def test_after_another_boot_the_age_is_not_known(tmp_path: Path, before: str, now: str) -> None:
    AirFile(tmp_path / "air.json", lambda: before).write(ROWS, 1_000.0)
    assert AirFile(tmp_path / "air.json", lambda: now).read(2_000.0) == (ROWS, None)


def test_a_clock_that_went_back_gives_no_age(tmp_path: Path) -> None:
    file = AirFile(tmp_path / "air.json", lambda: "this")
    file.write(ROWS, 1_000.0)
    assert file.read(999.0) == (ROWS, None)


def test_nothing_there_is_nothing_kept(tmp_path: Path) -> None:
    assert AirFile(tmp_path / "air.json").read(0.0) == ((), None)


GOOD = {"schema": 1, "boot": "b", "at_s": 0.0, "interfaces": [["LoRa", 1.0, [[0.0, "own", 1.0]]]]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        json.dumps({**GOOD, "schema": 2}).encode(),
        json.dumps({**GOOD, "at_s": "NaN"}).encode(),
        json.dumps({**GOOD, "interfaces": 7}).encode(),
        json.dumps({**GOOD, "interfaces": [["LoRa", 1.0]]}).encode(),
        json.dumps({**GOOD, "interfaces": [["LoRa", -1.0, []]]}).encode(),
        json.dumps({**GOOD, "interfaces": [["LoRa", 1.0, [[0.0, "nobody", 1.0]]]]}).encode(),
        json.dumps({**GOOD, "interfaces": [["LoRa", 1.0, [[0.0, "own", -1.0]]]]}).encode(),
    ],
)
def test_what_is_no_such_file_is_told_apart(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "air.json").write_bytes(body)
    assert AirFile(tmp_path / "air.json").read(0.0) == (None, None)


def test_a_file_without_end_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "air.json").open("wb") as file:
        file.truncate(9 * 1024 * 1024)
    assert AirFile(tmp_path / "air.json").read(0.0) == (None, None)


def test_a_disk_that_says_no_costs_nothing_else(tmp_path: Path) -> None:
    AirFile(tmp_path / "nowhere" / "air.json").write(ROWS, 0.0)


def test_a_boot_has_a_name_that_stays() -> None:
    assert boot_id() == boot_id()
