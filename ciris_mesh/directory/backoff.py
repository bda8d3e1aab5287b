"""A bounded memory of what is not worth trying again yet."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

_K = TypeVar("_K", bound=Hashable)


class BackoffMemory(Generic[_K]):
    """Keys that are out of bounds for a while; twice as long each time. Not thread-safe.

    Args:
        first_s: how long after the first time.
        longest_s: how long at most.
        entries_max: the oldest makes room.
    """

    def __init__(self, first_s: float, longest_s: float, entries_max: int) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._entries_max = entries_max
        self._entries: OrderedDict[_K, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: _K) -> bool:
        """It failed before, and was not forgotten."""
        return key in self._entries

    def note(self, key: _K, now_s: float) -> _K | None:
        """It failed (again). Nothing changes while an earlier failure still counts.

        Returns:
            A key that made room although it was still out of bounds: it would be tried again.
        """
        if self.is_active(key, now_s):
            return None
        before = self._entries.pop(key, None)
        wait_s = self._first_s if before is None else min(before[1] * 2, self._longest_s)
        self._entries[key] = now_s + wait_s, wait_s
        if len(self._entries) <= self._entries_max:
            return None
        forgotten, (until_s, _) = self._entries.popitem(last=False)
        return forgotten if now_s < until_s else None

    def is_active(self, key: _K, now_s: float) -> bool:
        """True while `key` is not worth trying."""
        entry = self._entries.get(key)
        return entry is not None and now_s < entry[0]

    def forget(self, key: _K) -> None:
        """It worked."""
        self._entries.pop(key, None)
