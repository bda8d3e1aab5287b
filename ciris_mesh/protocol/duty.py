"""What one radio interface may send, and how people write it. Pure; no legal advice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from ciris_mesh.protocol.window import HOUR_S


@dataclass(frozen=True, slots=True)
class Rule:
    """What one interface may send.

    Attributes:
        duty: share of each hour, above 0 and up to 1; None for no limit.
        frame_s_max: longest time on air of one frame; None for no limit.

    Raises:
        ValueError: no such share or time.
    """

    duty: float | None
    frame_s_max: float | None = None

    def __post_init__(self) -> None:
        if self.duty is not None and not 0 < self.duty <= 1:
            raise ValueError(f"a duty of {self.duty} is no share of an hour")
        if self.frame_s_max is not None and not 0 < self.frame_s_max < math.inf:
            raise ValueError(f"{self.frame_s_max} s is no length of a frame")

    @property
    def limit_s(self) -> float | None:
        """Seconds in each hour; None for no limit."""
        return None if self.duty is None else self.duty * HOUR_S

    def __str__(self) -> str:
        if self.duty is not None:
            return f"{100 * self.duty:g}%"
        return "none" if self.frame_s_max is None else "dwell"


#: No limit by law, or one that somebody else enforces.
FREE: Final = Rule(None)
#: FCC 15.247: a frame of at most 0.4 s.
DWELL: Final = Rule(None, 0.4)


def parse_rule(text: str) -> Rule:
    """Read "1%", "0.1 %", "dwell" or "none".

    Raises:
        ValueError: none of these.
    """
    words = {"dwell": DWELL, "none": FREE}
    if text in words:
        return words[text]
    number, sign, rest = text.partition("%")
    if not sign or rest:
        raise ValueError(f"{text} is no limit")
    return Rule(float(number) / 100)
