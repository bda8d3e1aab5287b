"""Where chance comes from: outside, so that a seed gives the same history again. Pure."""

from __future__ import annotations

from typing import Protocol


class Randomness(Protocol):
    """What is needed of `random.Random`."""

    def random(self) -> float:
        """A number from 0 to 1, 1 excluded."""
        ...

    def randrange(self, stop: int, /) -> int:
        """A whole number from 0 to `stop`, that excluded."""
        ...
