"""What earlier records of a batch said, by number: both ends count alike."""

from __future__ import annotations

from typing import Final

from ciris_mesh.errors import BatchRefused
from ciris_mesh.wire.transcode.grammar import BatchReason

#: 2026-01-01T00:00:00Z: where times are counted from until a batch has had one.
FIRST_TIME_NS: Final = 1_767_225_600_000_000_000


class Texts:
    """Texts in the order in which they were first said."""

    __slots__ = ("_place", "_said")

    def __init__(self) -> None:
        self._said: list[str] = []
        self._place: dict[str, int] = {}

    def add(self, text: str) -> None:
        """Remember a text; once."""
        if text not in self._place:
            self._place[text] = len(self._said)
            self._said.append(text)

    def place(self, text: str) -> int | None:
        """Its number, None when it was not said yet."""
        return self._place.get(text)

    def at(self, place: int) -> str:
        """The text of a number.

        Raises:
            BatchRefused: `bad_reference`.
        """
        if place >= len(self._said):
            raise BatchRefused(BatchReason.BAD_REFERENCE, f"{place} of {len(self._said)}")
        return self._said[place]

    def __len__(self) -> int:
        return len(self._said)

    def back(self, count: int) -> None:
        """Forget all but the first `count`."""
        for text in self._said[count:]:
            del self._place[text]
        del self._said[count:]


class Known:
    """All that a record may refer to.

    Attributes:
        keys: texts of KEY operations, and key ids that were derived.
        blobs: texts of UUID, HEX, TAILED and BASE64 operations.
        time_ns: the last time said.
    """

    __slots__ = ("blobs", "keys", "time_ns")

    def __init__(self) -> None:
        self.keys = Texts()
        self.blobs = Texts()
        self.time_ns = FIRST_TIME_NS

    def mark(self) -> tuple[int, int, int]:
        """A place to go back to."""
        return len(self.keys), len(self.blobs), self.time_ns

    def back(self, mark: tuple[int, int, int]) -> None:
        """Forget what came since `mark`."""
        self.keys.back(mark[0])
        self.blobs.back(mark[1])
        self.time_ns = mark[2]
