"""Which troubles are told, when, and when they are over. Pure: state in, notices out.

A trouble is told once it has lasted, not again while it lasts, and told as RESOLVED once it has
been away for a while; so a link that comes and goes makes two messages and not two hundred.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

#: Alert name -> how long it must last before it is told, in seconds. A revoked key and a disk that
#: takes nothing will not get better by themselves; a radio may be unplugged for a moment.
LASTS_S: Final[Mapping[str, float]] = MappingProxyType(
    {
        "peer_stale": 0.0,
        "key_revoked": 0.0,
        "radio_lost": 60.0,
        "budget_exhausted": 900.0,
        "disk_full": 0.0,
        "disk_read_only": 0.0,
        "clock_untrusted": 60.0,
    }
)

#: Away for so long, it is over.
CLEAR_S: Final = 120.0
#: One trouble is told again at the earliest after this.
AGAIN_S: Final = 3600.0
#: Notices an hour to everybody, whatever happens: at SF8 one is a second of air.
HOUR_MAX: Final = 6
_HOUR_S: Final = 3600.0
#: Troubles followed at once; those after that are counted.
OPEN_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong now.

    Attributes:
        name: one of LASTS_S.
        subject: whom or what it is about, unique within the name.
        text: for people, without the word ALERT; under 200 bytes.
    """

    name: str
    subject: str
    text: str

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same trouble."""
        return self.name, self.subject


@dataclass(frozen=True, slots=True)
class Notice:
    """One line for people: `ALERT ...` or `RESOLVED ...`."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class _Open:
    trouble: Trouble
    since_s: float
    told_s: float | None = None
    clear_s: float | None = None


@dataclass(frozen=True, slots=True)
class AlertState:
    """What is wrong, what was told of it, and when. Times are monotonic seconds."""

    open: Mapping[tuple[str, str], _Open] = field(default_factory=lambda: MappingProxyType({}))
    last_told: Mapping[tuple[str, str], float] = field(default_factory=lambda: MappingProxyType({}))
    told_s: tuple[float, ...] = ()
    unfollowed: int = 0

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """What is wrong and was told, the oldest first."""
        told = [one for one in self.open.values() if one.told_s is not None]
        return tuple(one.trouble for one in sorted(told, key=lambda one: one.since_s))


def step(
    state: AlertState, troubles: Iterable[Trouble], now_s: float
) -> tuple[AlertState, tuple[Notice, ...]]:
    """Compare what is wrong now with what was, and say what is to be told.

    Args:
        troubles: everything that is wrong now, each once.

    Returns:
        The next state, and notices in the order in which things happened.
    """
    found = {trouble.key: trouble for trouble in troubles}
    opened = dict(state.open)
    for key, trouble in found.items():
        known = opened.get(key)
        if known is not None:
            opened[key] = replace(known, trouble=trouble, clear_s=None)
        elif len(opened) < OPEN_MAX:
            opened[key] = _Open(trouble, now_s)
    unfollowed = sum(key not in opened for key in found)
    for key, known in opened.items():
        if key not in found and known.clear_s is None:
            opened[key] = replace(known, clear_s=now_s)
    recent = tuple(at for at in state.told_s if now_s - at < _HOUR_S)
    again = {key: at for key, at in state.last_told.items() if now_s - at < AGAIN_S}
    return _tell(AlertState(opened, again, recent, unfollowed), now_s)


def _tell(state: AlertState, now_s: float) -> tuple[AlertState, tuple[Notice, ...]]:
    opened, again, told = dict(state.open), dict(state.last_told), list(state.told_s)
    notices: list[Notice] = []
    for key, known in sorted(opened.items(), key=lambda item: item[1].since_s):
        is_over = known.clear_s is not None and now_s - known.clear_s >= CLEAR_S
        if is_over and known.told_s is None:
            del opened[key]
        elif len(told) == HOUR_MAX:
            continue
        elif is_over:
            del opened[key]
            told.append(now_s)
            notices.append(_resolved(known))
        elif _is_due(known, now_s) and key not in again:
            opened[key] = replace(known, told_s=now_s)
            again[key] = now_s
            told.append(now_s)
            notices.append(Notice(known.trouble.name, f"ALERT {known.trouble.text}"))
    if notices and len(told) == HOUR_MAX:
        last = notices[-1]
        notices[-1] = replace(last, text=f"{last.text} (no more this hour; ask: status)")
    return replace(state, open=opened, last_told=again, told_s=tuple(told)), tuple(notices)


def _is_due(known: _Open, now_s: float) -> bool:
    is_there = known.clear_s is None and known.told_s is None
    return is_there and now_s - known.since_s >= LASTS_S[known.trouble.name]


def _resolved(known: _Open) -> Notice:
    assert known.clear_s is not None
    trouble = known.trouble
    lasted = span(known.clear_s - known.since_s)
    return Notice(trouble.name, f"RESOLVED {trouble.text}, after {lasted}")


def span(seconds: float) -> str:
    """A length of time as people say it: "40 s", "6 h 12 min", "3 d 4 h"."""
    whole = max(0, round(seconds))
    days, hours, minutes = whole // 86_400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{whole} s"
