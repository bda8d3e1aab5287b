"""RFC 3339 times in and out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.records import timestamps
from ciris_mesh.records.timestamps import (
    ceg,
    from_unix_ms,
    is_normalized,
    normalize,
    to_unix_ms,
    to_unix_ns,
)

FIRST_MS = -62_167_219_200_000
LAST_MS = 253_402_300_799_999


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("2026-06-10T12:00:00Z", "2026-06-10T12:00:00Z"),
        ("2026-06-10T12:00:00.0Z", "2026-06-10T12:00:00Z"),
        ("2026-06-10T12:00:00.000000000000Z", "2026-06-10T12:00:00Z"),
        ("2026-06-10T12:00:00.1Z", "2026-06-10T12:00:00.100Z"),
        ("2026-06-10T12:00:00.1200Z", "2026-06-10T12:00:00.120Z"),
        ("2026-06-10T12:00:00.1234Z", "2026-06-10T12:00:00.123400Z"),
        ("2026-06-10T12:00:00.123456Z", "2026-06-10T12:00:00.123456Z"),
        ("2026-06-10T12:00:00.1234567Z", "2026-06-10T12:00:00.123456700Z"),
        ("2026-06-10T12:00:00.000000001Z", "2026-06-10T12:00:00.000000001Z"),
        ("2026-06-10T12:00:00.1234567899Z", "2026-06-10T12:00:00.123456789Z"),
        ("2026-06-10T12:00:00+00:00", "2026-06-10T12:00:00Z"),
        ("2026-06-10T12:00:00-00:00", "2026-06-10T12:00:00Z"),
        ("2026-06-10T12:00:00+02:00", "2026-06-10T10:00:00Z"),
        ("2026-06-10T12:00:00.5-05:30", "2026-06-10T17:30:00.500Z"),
        ("2026-06-10T12:00:00+0200", "2026-06-10T10:00:00Z"),
        ("2026-01-01T00:30:00+01:00", "2025-12-31T23:30:00Z"),
        ("2024-02-28T23:30:00-01:00", "2024-02-29T00:30:00Z"),
        ("2026-06-10t12:00:00z", "2026-06-10T12:00:00Z"),
        ("2026-06-10 12:00:00Z", "2026-06-10T12:00:00Z"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:60Z"),
        ("2016-12-31T23:59:60.25Z", "2016-12-31T23:59:60.250Z"),
        ("2017-01-01T00:59:60+01:00", "2016-12-31T23:59:60Z"),
        ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
        ("0000-02-29T00:00:00Z", "0000-02-29T00:00:00Z"),
        ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999Z"),
    ],
)
def test_normal_form(text: str, normal: str) -> None:
    assert normalize(text) == normal
    assert normalize(normal) == normal
    assert is_normalized(text) == (text == normal)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-06-10",
        "2026-06-10T12:00:00",
        "2026-06-10T12:00Z",
        "2026-6-10T12:00:00Z",
        "2026-06-10T12:00:00.Z",
        "2026-06-10T12:00:00,5Z",
        "2026-06-10T12:00:00 Z ",
        " 2026-06-10T12:00:00Z",
        "2026-06-10T12:00:00Z\n",
        "2026-02-29T12:00:00Z",
        "1900-02-29T12:00:00Z",
        "2026-04-31T12:00:00Z",
        "2026-00-10T12:00:00Z",
        "2026-13-10T12:00:00Z",
        "2026-06-00T12:00:00Z",
        "2026-06-10T24:00:00Z",
        "2026-06-10T12:60:00Z",
        "2026-06-10T12:00:61Z",
        "2026-06-10T12:00:00+24:00",
        "2026-06-10T12:00:00+01:60",
        "2026-06-10T12:00:00+01",
        "2026-06-10T12:00:00UTC",
        "20260610T120000Z",
        "+2026-06-10T12:00:00Z",
        "0000-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "\u0662026-06-10T12:00:00Z",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|day|offset"):
        normalize(text)
    assert not is_normalized(text)


def test_unix_units() -> None:
    assert to_unix_ms("1970-01-01T00:00:00Z") == 0
    assert to_unix_ms("1969-12-31T23:59:59.999Z") == -1
    assert to_unix_ms("2026-06-10T12:00:00.123999999Z") == 1_781_092_800_123
    assert to_unix_ns("1970-01-01T00:00:00.000000007Z") == 7
    assert to_unix_ms("2016-12-31T23:59:60Z") == to_unix_ms("2017-01-01T00:00:00Z")


def test_two_ways_to_print_a_moment() -> None:
    assert from_unix_ms(1_781_092_800_000) == "2026-06-10T12:00:00Z"
    assert from_unix_ms(1_781_092_800_120) == "2026-06-10T12:00:00.120Z"
    assert ceg(1_781_092_800_000) == "2026-06-10T12:00:00.000Z"
    assert ceg(1_781_092_800_120) == "2026-06-10T12:00:00.120Z"


@pytest.mark.parametrize("ms", [FIRST_MS - 1, LAST_MS + 1])
@pytest.mark.parametrize("show", [from_unix_ms, ceg])
def test_years_of_four_digits_only(show: type[str], ms: int) -> None:
    with pytest.raises(ValueError, match="outside the years"):
        show(ms)


@given(st.integers(FIRST_MS, LAST_MS))
def test_milliseconds_survive_both_forms(ms: int) -> None:
    assert to_unix_ms(from_unix_ms(ms)) == ms
    assert to_unix_ms(ceg(ms)) == ms
    assert is_normalized(from_unix_ms(ms))
    assert normalize(ceg(ms)) == from_unix_ms(ms)


@given(
    st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31)),  # noqa: DTZ001
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_agrees_with_the_standard_library(moment: datetime, offset_min: int) -> None:
    local = moment.replace(tzinfo=timezone(timedelta(minutes=offset_min)))
    ours = normalize(local.isoformat())
    assert datetime.fromisoformat(ours) == local
    since_1970 = local - datetime(1970, 1, 1, tzinfo=UTC)
    assert to_unix_ns(local.isoformat()) == since_1970 // timedelta(microseconds=1) * 1000


@given(st.text("0123456789-:.TZ+ ", max_size=30))
def test_normalizing_twice_changes_nothing(text: str) -> None:
    try:
        once = normalize(text)
    except ValueError:
        return
    assert normalize(once) == once


SHAPES = st.one_of(
    st.from_regex(r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{3})?Z"),
    st.from_regex(r".{4}-.{2}-.{2}T.{2}:.{2}:.{2}(\..{3})?Z", fullmatch=True),
    st.datetimes().map(lambda it: it.isoformat(timespec="seconds") + "Z"),
    st.datetimes().map(lambda it: it.isoformat(timespec="milliseconds") + "Z"),
    st.sampled_from(
        [
            "2026-06-10T24:00:00Z",
            "2026-06-10T23:59:60Z",
            "0000-01-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-06-10T12:00:00,500Z",
            "2026-W01-1T12:00:00.000Z",
            "2026-06-10T12:00:00.000Z",
        ]
    ),
)


@given(SHAPES)
def test_the_short_way_reads_what_the_arithmetic_reads(text: str) -> None:
    """Whatever the standard library of some Python accepts besides."""
    try:
        expected = timestamps._parse(text)
    except ValueError:
        with pytest.raises(ValueError, match=r"time|day"):
            to_unix_ns(text)
        with pytest.raises(ValueError, match=r"time|day"):
            normalize(text)
        return
    seconds, fraction_ns, is_leap = expected
    assert to_unix_ns(text) == (seconds + is_leap) * 10**9 + fraction_ns
    whole = timestamps._date_and_clock(seconds, is_leap=is_leap)
    assert normalize(text) == f"{whole}{timestamps._shortest_fraction(fraction_ns)}Z"
