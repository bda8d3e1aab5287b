"""Waiting and dating: the two clocks, and when nothing may be signed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.errors import ClockUntrusted
from ciris_mesh.runtime import clock as clock_module
from ciris_mesh.runtime.clock import (
    ASSUME_TRUSTED,
    BUILD_DATE_MS,
    CLOCK_VARIABLE,
    Clock,
    ManualClock,
    SystemClock,
    clock_of,
    ensure_signing_allowed,
    signing_allowed,
    untrusted,
)
from ciris_mesh.runtime.setup import new_node
from ciris_mesh.runtime.timesource import (
    HOLD_MAX_S,
    RTC_SKEW_MAX_MS,
    TimeFacts,
    read_time_facts,
)


def test_the_build_date_is_the_day_in_utc() -> None:
    assert datetime.fromtimestamp(BUILD_DATE_MS / 1000, UTC) == datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("wall_ms", "allowed"),
    [(BUILD_DATE_MS, True), (BUILD_DATE_MS - 1, False), (0, False), (4_000_000_000_000, True)],
)
def test_signing_needs_a_clock_not_before_the_build_date(wall_ms: int, allowed: bool) -> None:
    clock = ManualClock(wall_ms=wall_ms)
    assert signing_allowed(clock) is allowed
    if allowed:
        ensure_signing_allowed(clock)
    else:
        with pytest.raises(ClockUntrusted):
            ensure_signing_allowed(clock)


@pytest.mark.parametrize("wall_ms", [0, -(10**20), 1_000_000_000_000])
def test_the_refusal_is_one_line_that_says_what_to_do(wall_ms: int) -> None:
    with pytest.raises(ClockUntrusted) as caught:
        ensure_signing_allowed(ManualClock(wall_ms=wall_ms))
    text = str(caught.value)
    assert "\n" not in text
    assert "2026-11-22" in text
    assert "date -s" in text


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(wall_ms=1_000, monotonic_s=5.0)
    assert (clock.monotonic_s(), clock.wall_ms()) == (5.0, 1_000)
    clock.advance(1.5)
    assert (clock.monotonic_s(), clock.wall_ms()) == (6.5, 2_500)
    clock.set_wall_ms(10)
    assert (clock.monotonic_s(), clock.wall_ms()) == (6.5, 10)
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)


def test_the_system_clock_is_a_clock() -> None:
    clock: Clock = SystemClock()
    first = clock.monotonic_s()
    assert clock.monotonic_s() >= first
    year = datetime.fromtimestamp(clock.wall_ms() / 1000, UTC).year
    assert 1970 <= year < 10_000  # milliseconds, not seconds or nanoseconds
    assert clock.wall_ms() > 10_000_000_000 or year == 1970


# --- who vouches for it ---------------------------------------------------------------------------

NOBODY = TimeFacts(
    BUILD_DATE_MS + 10**9,
    kernel_synced=False,
    timesync_flag=False,
    rtc_ms=None,
    boot_id="boot-1",
    boot_s=100.0,
)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the system say this of its clock, and no person vouch for it."""
    monkeypatch.delenv(CLOCK_VARIABLE)
    facts = NOBODY

    def say(**members: Any) -> None:
        nonlocal facts
        facts = replace(facts, **members)

    monkeypatch.setattr(clock_module, "read_time_facts", lambda _: facts)
    monkeypatch.setattr(SystemClock, "wall_ms", lambda _: facts.wall_ms)
    return say


System = Callable[..., None]


def test_a_date_alone_proves_nothing(system: System) -> None:
    assert SystemClock().source() == ""
    with pytest.raises(ClockUntrusted, match="nobody vouches for it"):
        ensure_signing_allowed(SystemClock())


@pytest.mark.parametrize(
    ("members", "source"),
    [
        ({"kernel_synced": True}, "ntp"),
        ({"timesync_flag": True}, "ntp"),
        ({"kernel_synced": None}, ""),
        ({"rtc_ms": NOBODY.wall_ms}, "rtc"),
        ({"rtc_ms": NOBODY.wall_ms - RTC_SKEW_MAX_MS}, "rtc"),
        ({"rtc_ms": NOBODY.wall_ms + RTC_SKEW_MAX_MS + 1}, ""),
        ({"rtc_ms": 946_684_800_000}, ""),  # an empty battery: the year 2000
        ({"kernel_synced": True, "wall_ms": BUILD_DATE_MS - 1}, ""),
        ({"rtc_ms": 0, "wall_ms": 0}, ""),
    ],
)
def test_the_system_vouches_by_ntp_or_a_battery(
    system: System, members: dict[str, Any], source: str
) -> None:
    system(**members)
    assert SystemClock().source() == source
    assert signing_allowed(SystemClock()) is bool(source)


@pytest.mark.parametrize("how", ["configuration", "environment"])
def test_a_person_may_vouch_but_not_for_a_time_before_the_build(
    system: System, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "environment":
        monkeypatch.setenv(CLOCK_VARIABLE, ASSUME_TRUSTED)
    clock = SystemClock(assume=how == "configuration")
    assert clock.source() == "assumed"
    system(kernel_synced=True)
    assert clock.source() == "ntp", "who knows better comes first"
    system(wall_ms=BUILD_DATE_MS - 1)
    assert clock.source() == ""


def test_a_clock_that_was_set_is_good_while_the_machine_runs_on(
    system: System, tmp_path: Path
) -> None:
    """chrony and the kernel forget within a day of being offline that there was an NTP server."""
    node = SystemClock(anchor=tmp_path / "clock", keeps=True)
    system(kernel_synced=True)
    assert node.source() == "ntp"
    day_s = 86_400
    system(
        kernel_synced=False,
        boot_s=100.0 + day_s,
        wall_ms=NOBODY.wall_ms + day_s * 1000,
    )
    assert node.source() == "held"
    assert SystemClock(anchor=tmp_path / "clock").source() == "held", "another process knows it too"
    assert SystemClock(anchor=tmp_path / "elsewhere").source() == ""


@pytest.mark.parametrize(
    "members",
    [
        {"boot_id": "boot-2"},
        {"boot_id": ""},
        {"boot_s": 99.0},
        {"wall_ms": NOBODY.wall_ms + 31_000},
        {"wall_ms": NOBODY.wall_ms - 31_000},
        {"boot_s": 101.0 + HOLD_MAX_S, "wall_ms": NOBODY.wall_ms + (1 + HOLD_MAX_S) * 1000},
    ],
    ids=["booted", "no boot id", "earlier", "turned ahead", "turned back", "too long ago"],
)
def test_it_is_not_after_a_boot_or_when_somebody_turned_it(
    system: System, tmp_path: Path, members: dict[str, Any]
) -> None:
    node = SystemClock(anchor=tmp_path / "clock", keeps=True)
    system(kernel_synced=True)
    node.source()
    system(**{"kernel_synced": False, **members})
    assert node.source() == ""
    assert SystemClock(anchor=tmp_path / "clock").source() == ""


def test_only_the_node_writes_and_seldom(system: System, tmp_path: Path) -> None:
    path = tmp_path / "clock"
    system(kernel_synced=True)
    SystemClock(anchor=path).source()
    assert not path.exists()
    node = SystemClock(anchor=path, keeps=True)
    node.source()
    first = path.read_bytes()
    system(boot_s=3_700.0, wall_ms=NOBODY.wall_ms + 3_600_000)
    node.source()
    assert path.read_bytes() == first
    system(boot_s=90_000.0, wall_ms=NOBODY.wall_ms + 89_900_000)
    node.source()
    assert path.read_bytes() != first


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"boot_id": 1, "boot_s": "x"}', b"\xff"])
def test_a_damaged_anchor_is_none(system: System, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "clock"
    path.write_bytes(data)
    assert SystemClock(anchor=path).source() == ""
    system(kernel_synced=True)
    SystemClock(anchor=path, keeps=True).source()
    assert json.loads(path.read_text())["boot_id"] == "boot-1"


def test_an_anchor_that_cannot_be_written_is_only_logged(system: System, tmp_path: Path) -> None:
    system(kernel_synced=True)
    assert SystemClock(anchor=tmp_path / "no" / "clock", keeps=True).source() == "ntp"


def test_records_of_others_raise_the_floor_and_nothing_more(system: System) -> None:
    later = NOBODY.wall_ms + 1
    assert "two rooted keys" in untrusted(SystemClock(), not_before_ms=later)
    system(wall_ms=later)
    assert "nobody vouches" in untrusted(SystemClock(), not_before_ms=later)
    system(kernel_synced=True)
    assert untrusted(SystemClock(), not_before_ms=later) == ""


def test_the_configuration_of_a_home_says_whether_a_person_vouches(
    system: System, tmp_path: Path
) -> None:
    plain = new_node(tmp_path / "plain", "plain")
    by_hand = new_node(
        tmp_path / "by-hand", "by-hand", settings={("node", "clock"): "assume-trusted"}
    )
    assert (clock_of(plain).source(), clock_of(by_hand).source()) == ("", "assumed")


def test_what_the_system_says_is_read_where_it_stands(tmp_path: Path) -> None:
    bare = read_time_facts(5, tmp_path)
    assert (bare.timesync_flag, bare.rtc_ms, bare.boot_id, bare.wall_ms) == (False, None, "", 5)
    for path, text in (
        ("run/systemd/timesync/synchronized", ""),
        ("sys/class/rtc/rtc0/since_epoch", "1795997476\n"),
        ("proc/sys/kernel/random/boot_id", "an-id\n"),
    ):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(text)
    full = read_time_facts(5, tmp_path)
    assert (full.timesync_flag, full.rtc_ms, full.boot_id) == (True, 1_795_997_476_000, "an-id")
    here = read_time_facts(5)
    assert here.kernel_synced in (True, False, None)
    assert here.boot_s > 0
