"""RFC 3339 times: one normal form for columns, one for signed envelopes.

Columns hold UTC with `Z` and the shortest of 0, 3, 6 or 9 fraction digits that is exact, as
chrono prints them. Signed envelopes hold exactly three digits (CEG section 0.5). Everything is
integer arithmetic on nanoseconds: no clock, no time zone database, no float. The standard library
reads the usual spellings faster; what it makes of them is checked against the arithmetic in tests.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

_TIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]"
    r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:([Zz])|([+-])([0-9]{2}):?([0-9]{2}))"
)

_NS_PER_S: Final = 1_000_000_000
_NS_PER_MS: Final = 1_000_000
_DAY_S: Final = 86_400
_DAYS_PER_MONTH: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

#: What the last records judged have in common; nothing longer than a time of nine digits and an
#: offset is kept, so it is 100 kB.
_REMEMBERED: Final = 512
_REMEMBERED_CHARS_MAX: Final = 40

#: 0000-01-01 and 9999-12-31T23:59:60, the years four digits can name.
_FIRST_S: Final = -62_167_219_200
_LAST_S: Final = 253_402_300_799


def normalize(text: str) -> str:
    """Return the column form of an RFC 3339 time.

    Also read, because upstream's parser does: a small `t` or a space before the hour, an offset
    without its colon, and more than nine fraction digits, of which the first nine count.

    Raises:
        ValueError: not such a time, no such day, or outside the years 0000 to 9999 in UTC.
    """
    return _known(text)[0] if len(text) <= _REMEMBERED_CHARS_MAX else _form_and_ns(text)[0]


def is_normalized(text: str) -> bool:
    """True when `text` is the column form of a real time."""
    try:
        return normalize(text) == text
    except ValueError:
        return False


def to_unix_ns(text: str) -> int:
    """Nanoseconds since 1970 in UTC; a leap second counts as the second after it.

    Raises:
        ValueError: as `normalize`.
    """
    return _known(text)[1] if len(text) <= _REMEMBERED_CHARS_MAX else _form_and_ns(text)[1]


def to_unix_ms(text: str) -> int:
    """Whole milliseconds since 1970 in UTC, rounded down. Raises as `normalize`."""
    known = _known(text) if len(text) <= _REMEMBERED_CHARS_MAX else _form_and_ns(text)
    return known[1] // _NS_PER_MS


def from_unix_ms(ms: int) -> str:
    """The column form of a moment given in milliseconds since 1970.

    Raises:
        ValueError: outside the years 0000 to 9999.
    """
    seconds, rest_ms = _split_ms(ms)
    return f"{_date_and_clock(seconds)}{_shortest_fraction(rest_ms * _NS_PER_MS)}Z"


def ceg(ms: int) -> str:
    """The form signed envelopes use: always three fraction digits. Raises as `from_unix_ms`."""
    seconds, rest_ms = _split_ms(ms)
    return f"{_date_and_clock(seconds)}.{rest_ms:03}Z"


def _form_and_ns(text: str) -> tuple[str, int]:
    """What `normalize` and `to_unix_ns` say, by a shorter way for what nearly all records use."""
    short_s = _seconds_of(text)
    if short_s is not None and not text.endswith(".000Z"):
        return text, short_s * _NS_PER_S + int(text[20:23] or 0) * _NS_PER_MS
    seconds, fraction_ns, is_leap = _parse(text)
    form = _date_and_clock(seconds, is_leap=is_leap) + _shortest_fraction(fraction_ns) + "Z"
    return form, (seconds + is_leap) * _NS_PER_S + fraction_ns


#: Judging a record asks a dozen times for the form of two or three times, and what they are.
_known = lru_cache(maxsize=_REMEMBERED)(_form_and_ns)


def _split_ms(ms: int) -> tuple[int, int]:
    seconds, rest_ms = divmod(ms, 1000)
    if not _FIRST_S <= seconds <= _LAST_S:
        raise ValueError("time outside the years 0000 to 9999")
    return seconds, rest_ms


def _parse(text: str) -> tuple[int, int, bool]:
    """(Unix seconds, nanoseconds within it, is leap second): `:60` is second 59 and True."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("not an RFC 3339 time")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    is_leap = second == 60
    if not _is_clock(hour, minute, second) or not 1 <= month <= 12:
        raise ValueError("no such time of day or month")
    if not 1 <= day <= _days_in_month(year, month):
        raise ValueError("no such day")
    seconds = _days_since_1970(year, month, day) * _DAY_S
    seconds += hour * 3600 + minute * 60 + second - is_leap
    if found[9] is not None:
        seconds -= _offset_s(found[9], int(found[10]), int(found[11]))
    if not _FIRST_S <= seconds <= _LAST_S:
        raise ValueError("time outside the years 0000 to 9999")
    return seconds, int(((found[7] or "") + "000000000")[:9]), is_leap


def _seconds_of(text: str) -> int | None:
    """Whole Unix seconds of a time in UTC with no or three fraction digits; None for others.

    `fromisoformat` reads more spellings than ours, and of this shape only ours.
    """
    if len(text) not in _SHORT_LENGTHS or text[4::3][:5] != "--T::" or text[-1] != "Z":
        return None
    if text[11:13] == "24" or (len(text) > 20 and text[19] != "."):
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    since = time - _EPOCH
    return since.days * _DAY_S + since.seconds


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: `2026-01-01T00:00:00Z`, and with three digits of a second.
_SHORT_LENGTHS: Final = (20, 24)


def _is_clock(hour: int, minute: int, second: int) -> bool:
    return hour <= 23 and minute <= 59 and second <= 60


def _offset_s(sign: str, hours: int, minutes: int) -> int:
    if hours > 23 or minutes > 59:
        raise ValueError("no such offset")
    offset_s = hours * 3600 + minutes * 60
    return -offset_s if sign == "-" else offset_s


def _shortest_fraction(fraction_ns: int) -> str:
    if fraction_ns == 0:
        return ""
    digits = f"{fraction_ns:09}"
    for length in (3, 6):
        if not digits[length:].strip("0"):
            return "." + digits[:length]
    return "." + digits


def _is_leap_year(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _days_in_month(year: int, month: int) -> int:
    return 29 if month == 2 and _is_leap_year(year) else _DAYS_PER_MONTH[month - 1]


def _days_since_1970(year: int, month: int, day: int) -> int:
    # Years begin in March, so the leap day is the last of its year.
    shifted = year - (month <= 2)
    month_days = (153 * ((month + 9) % 12) + 2) // 5
    return (
        365 * shifted + shifted // 4 - shifted // 100 + shifted // 400 + month_days + day - 719_469
    )


def _date_and_clock(seconds: int, *, is_leap: bool = False) -> str:
    days, second_of_day = divmod(seconds, _DAY_S)
    year, month, day = _date(days)
    minutes, second = divmod(second_of_day, 60)
    hour, minute = divmod(minutes, 60)
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second + is_leap:02}"


def _date(days: int) -> tuple[int, int, int]:
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (
        day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted_month + 2) // 5 + 1
    month = (shifted_month + 2) % 12 + 1
    return era * 400 + year_of_era + (month <= 2), month, day
